"""Outcomes to metrics, metrics to OTLP and Prometheus text."""

"""Envoy configuration for a policy, built with envoy-data-plane's types."""

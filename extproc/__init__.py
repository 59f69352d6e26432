"""Trace policies for Envoy: sampling, tags and latency metrics from one YAML file."""

from importlib.metadata import version

__version__ = version("extproc")

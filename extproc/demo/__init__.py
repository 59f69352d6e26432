"""The one-command demo: a real Envoy, sample upstreams and an OTLP receiver."""

"""What became of the traces that were kept: Jaeger's answer to a question, as text and as data."""

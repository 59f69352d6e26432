"""What extproc costs per request, through a real Envoy, beside what a user could pick instead: `python -m bench`."""

"""What Envoy's configuration and the server have to agree on, for each request to be timed by one source."""

KEY = "extproc-timings"
"""gRPC metadata of every ext_proc stream, by which the configuration says what times its request."""
ACCESS_LOG = "access-log"
"""Its value where that is Envoy's access log; anything else leaves it to the stream."""
FLUSH_SECONDS = 1.0
"""How long Envoy keeps an entry of the access log before it sends it."""

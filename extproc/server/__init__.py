"""The process: gRPC, health, admin HTTP, reload, drain, workers."""

import os

# gRPC's core would mix lines of its own, one per refused TLS handshake, into our JSON. It reads this when it is
# imported, which our modules do after this one. Set the variable to ERROR or INFO to see those lines.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

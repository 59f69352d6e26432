"""The process: gRPC, health, admin HTTP, reload, drain, workers.

gRPC's core reads its variables when it is imported, which our modules do after this one; a user's own settings win.
"""

import os

# It would mix lines of its own, one per refused TLS handshake, into our JSON. ERROR or INFO shows them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# Four threads of gRPC's EventEngine would read the sockets, and wake each other for every message. Without it the
# thread that serves the calls reads them itself: see grpc_server.py.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

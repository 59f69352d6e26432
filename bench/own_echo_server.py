"""The floor of our own transport: extproc's gRPC server, which answers 'continue' to everything, without looking."""

import signal
import sys

from bench.echo_server import ANSWERS
from extproc.server.grpc_server import GrpcServer, Stream
from extproc.server.service import METHOD


class Echo(Stream):
    """One stream."""

    __slots__ = ()

    def received(self, message: bytes) -> None:
        """Answer."""
        self.reply(ANSWERS[message[0]])


if __name__ == "__main__":
    server = GrpcServer({METHOD: lambda _: Echo()}, ())
    if not server.listen(sys.argv[1], None):
        sys.exit(f"cannot listen on {sys.argv[1]}")
    server.start()
    signal.pause()

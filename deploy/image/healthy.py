"""Asks a server whether it is well, for health checks of containers that hold no curl.

    python healthy.py http://127.0.0.1:9464/ready     any status below 400
    python healthy.py grpc://127.0.0.1:9090           grpc.health.v1 says SERVING

Exit codes: 0 well, 1 not, 2 usage.
"""

import sys
import urllib.request
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_SECONDS = 2.0


def _http(url: str) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS):  # noqa: S310  main lets in http only
        pass


def _grpc(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest()
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_TIMEOUT_SECONDS)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise OSError(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def main(arguments: list[str]) -> int:
    """Ask once, and say on standard error what is wrong."""
    url = urlsplit(arguments[0]) if len(arguments) == 1 else urlsplit("")
    if url.scheme not in {"http", "grpc"}:
        sys.stderr.write(f"{__doc__}")
        return 2
    try:
        _http(url.geturl()) if url.scheme == "http" else _grpc(url.netloc)
    except (OSError, grpc.RpcError) as error:
        sys.stderr.write(f"{url.geturl()}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

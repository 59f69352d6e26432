"""deploy/image/healthy.py, which health checks run."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from image import ROOT


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    """A server whose /ready answers 200 and everything else 503."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("path", "expected"), [("/ready", 0), ("/draining", 1)])
def test_http(http_port: int, path: str, expected: int) -> None:
    """A page below 400 is well, 503 is not."""
    assert expected == _healthy(f"http://127.0.0.1:{http_port}{path}").returncode


@pytest.mark.parametrize(
    ("status", "expected"),
    [(health_pb2.HealthCheckResponse.SERVING, 0), (health_pb2.HealthCheckResponse.NOT_SERVING, 1)],
)
def test_grpc(status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType", expected: int) -> None:
    """SERVING is well, NOT_SERVING is not."""
    server = grpc.server(ThreadPoolExecutor(1))
    service = health.HealthServicer()
    service.set("", status)
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert expected == _healthy(f"grpc://127.0.0.1:{port}").returncode
    finally:
        server.stop(None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/ready", "grpc://127.0.0.1:1"])
def test_nobody_there(url: str) -> None:
    """A server that is gone is not well, and the message names it."""
    result = _healthy(url)

    assert 1 == result.returncode
    assert result.stderr.startswith(f"{url}: ")


@pytest.mark.parametrize("arguments", [[], ["ftp://127.0.0.1"], ["http://a", "http://b"]])
def test_usage(arguments: list[str]) -> None:
    """Anything but one http or grpc URL is a mistake of whoever wrote the check."""
    result = _healthy(*arguments)

    assert 2 == result.returncode
    assert "python healthy.py http://" in result.stderr


def _healthy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy" / "image" / "healthy.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command

"""Receivers of OTLP for tests: the product's own over gRPC, one over HTTP, one that never answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from extproc.demo.otlp_receiver import OtlpReceiver


@asynccontextmanager
async def grpc_receiver(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[OtlpReceiver]:
    """Run an OtlpReceiver on a port of the system's choice."""
    receiver = OtlpReceiver()
    await receiver.start(credentials=credentials)
    try:
        yield receiver
    finally:
        await receiver.stop()


@dataclass(slots=True)
class HttpReceiver:
    """What came over http/protobuf: for each request its path, headers and message."""

    port: int = 0
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one export."""
        # aiohttp has undone the compression that Content-Encoding names.
        body = await request.read()
        if request.path.endswith("/v1/logs"):
            self.logs.append(ExportLogsServiceRequest.FromString(body))
        else:
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        self.headers.append(request.headers)
        self.paths.append(request.path)
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def http_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpReceiver]:
    """Run an HttpReceiver on a port of the system's choice."""
    receiver = HttpReceiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def silent_listener() -> AsyncIterator[int]:
    """Accept connections, read what comes and never answer. Yields the port."""

    async def swallow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with _listening(swallow) as port:
        yield port


@dataclass(slots=True)
class Forwarder:
    """A TCP forwarder and how many bytes went through it to the target."""

    target_port: int
    port: int = 0
    sent: int = 0

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the target and pass everything on, both ways."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        back = asyncio.create_task(_pass(upstream_reader, writer))
        while data := await reader.read(65536):
            self.sent += len(data)
            upstream_writer.write(data)
        upstream_writer.close()
        await back


@asynccontextmanager
async def forwarder(target_port: int) -> AsyncIterator[Forwarder]:
    """Run a Forwarder to a local port on a port of the system's choice."""
    forwarder = Forwarder(target_port)
    async with _listening(forwarder.forward) as forwarder.port:
        yield forwarder


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def _listening(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Serve a local port; at the end its connections are closed and their handlers done."""
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        await handle(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections.values():
            writer.close()
        await asyncio.gather(*connections)

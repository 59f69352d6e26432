"""A real Envoy with the printed configuration, a scripted server in extproc's place, an upstream and a collector."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
from aiohttp import web
from click.testing import CliRunner
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from yarl import URL

from envoy_process import EnvoyProcess
from extproc.cli.envoy import command
from extproc.demo.otlp_receiver import OtlpReceiver
from extproc.engine import wire_pb2 as wire

_POLICY = """
tracing:
  spans: {mode: MODE}
  sampling: {policy: always_on}
  attributes: {service.name: front, mesh.name: test}
  custom_tags:
    - {tag: plan, request_header: {name: x-plan}}
    - {tag: code, attribute: response.code}
    - {tag: route, attribute: xds.route_name}
    - {tag: "odd name:1", cookie: c}
    - {tag: level, literal: {value: "7"}}
    - {tag: other, metadata: {kind: {request: {}}, metadata_key: {key: com.example, path: [{key: a}, {key: b}]}}}
  policies:
    - match: {path: "/named/{id}"}
      sampling: {policy: always_on}
      span_name: "GET /named/{id}"
"""


def write_policy(folder: Path, mode: str = "annotate") -> str:
    """Write a policy file that uses everything that wiring looks at, with this `spans.mode`, and return its path."""
    path = folder / "policy.yaml"
    path.write_text(_POLICY.replace("MODE", mode))
    return str(path)


def printed(policy: str, *arguments: str) -> str:
    """What `extproc envoy` writes to stdout."""
    result = CliRunner().invoke(command, ["--policy", policy, *arguments])
    assert 0 == result.exit_code, result.output
    return str(result.stdout)


Edit = Callable[[str], str]
"""What a test changes in the printed text."""

FORCE_TRACE = "x-envoy-force-trace"

KEEP = {"x-keep": "1"}
"""The scripted server keeps the trace of a request with this header."""


def trace_id(headers: dict[str, str]) -> str:
    """The trace that an upstream was told of, in hex."""
    return headers["traceparent"].split("-")[1]


def flags(headers: dict[str, str]) -> str:
    """The trace flags that an upstream was told: 01 is sampled."""
    return headers["traceparent"].split("-")[3]


@dataclass(slots=True)
class Scripted:
    """A server that answers every message, and changes headers where the request has x-keep: it asks for a trace.

    It may be `silent`, or `absent` from its socket.
    """

    set_headers: dict[str, str] = field(default_factory=lambda: {FORCE_TRACE: "true"})
    remove_headers: tuple[str, ...] = ()
    received: list[wire.ProcessingRequest] = field(default_factory=list)
    silent: bool = False
    absent: bool = False
    socket: Path | None = None
    credentials: grpc.ServerCredentials | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen, unless absent, and say where."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(self._handlers())
        where = f"unix:{self.socket}"
        if not self.socket:
            where = f"127.0.0.1:{self._bind(server)}"
        elif not self.absent:
            server.add_insecure_port(where)
        await server.start()
        try:
            yield where
        finally:
            await server.stop(None)

    def _bind(self, server: grpc.aio.Server) -> int:
        if self.credentials:
            return server.add_secure_port("127.0.0.1:0", self.credentials)
        return server.add_insecure_port("127.0.0.1:0")

    def _handlers(self) -> "tuple[grpc.GenericRpcHandler[Any, Any], ...]":
        process = grpc.stream_stream_rpc_method_handler(self._process)
        health = grpc.unary_unary_rpc_method_handler(self._healthy)
        return (
            grpc.method_handlers_generic_handler("envoy.service.ext_proc.v3.ExternalProcessor", {"Process": process}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health}),
        )

    async def _healthy(self, request: bytes, context: object) -> bytes:
        del request, context
        return b"\x08\x01"

    async def _process(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        del context
        async for message in requests:
            request = wire.ProcessingRequest.FromString(message)
            self.received.append(request)
            if self.silent:
                await asyncio.Event().wait()
            yield self._answer(request).SerializeToString()

    def _answer(self, request: wire.ProcessingRequest) -> wire.ProcessingResponse:
        phase = request.WhichOneof("request")
        assert phase is not None
        answer = wire.ProcessingResponse()
        getattr(answer, phase).SetInParent()
        if phase == "request_headers":
            headers = {each.key: each.raw_value.decode() for each in request.request_headers.headers.headers}
            answer.dynamic_metadata.update({"extproc": _tags(headers)})
            if "x-keep" in headers:
                self._change(answer.request_headers.response)
        return answer

    def _change(self, common: wire.CommonResponse) -> None:
        common.clear_route_cache = FORCE_TRACE in self.set_headers
        common.header_mutation.remove_headers.extend(self.remove_headers)
        for name, value in self.set_headers.items():
            option = common.header_mutation.set_headers.add(append_action=wire.OVERWRITE_IF_EXISTS_OR_ADD)
            option.header.key, option.header.raw_value = name, value.encode()


def _tags(headers: dict[str, str]) -> dict[str, str | float]:
    tags: dict[str, str | float] = {"plan": "gold", "code": 200, "odd name:1": "odd", "sampling.probability": 0.125}
    if headers[":path"].startswith("/named/"):
        tags["span_name"] = "GET /named/{id}"
    return tags


@dataclass(slots=True)
class Bed:
    """Everything that runs, and what it has seen.

    `upstream` has the headers of each request that reached it, several of one name joined by `,`; its /slow goes on
    answering until `release`.
    """

    envoy: EnvoyProcess
    server: Scripted
    collector: OtlpReceiver
    client: aiohttp.ClientSession
    upstream: list[dict[str, str]]
    release: asyncio.Event

    async def get(self, path: str = "/", headers: dict[str, str] | None = None) -> dict[str, str]:
        """The headers that the upstream received for a request."""
        assert 200 == await self.status(path, headers)
        return self.upstream[-1]

    async def status(self, path: str = "/", headers: dict[str, str] | None = None) -> int:
        """The status that a request is answered with."""
        async with self.client.get(URL(self.envoy.url(path), encoded=True), headers=headers) as response:
            await response.read()
            return response.status

    async def spans(self) -> list[Span]:
        """All spans so far: one more trace is begun, and once that has arrived nothing is on its way any more."""
        last = trace_id(await self.get("/", KEEP))
        received = self.collector.spans
        await self.collector.wait_until(lambda: any(span.trace_id.hex() == last for _, span in received))
        return [span for _, span in received if span.trace_id.hex() != last]


@asynccontextmanager
async def _running(
    policy: str, server: Scripted, arguments: tuple[str, ...], *, edit: Edit, healthy: bool
) -> AsyncIterator[Bed]:
    seen: list[dict[str, str]] = []
    release = asyncio.Event()
    async with AsyncExitStack() as stack:
        upstream = await _upstream(seen, release)
        stack.push_async_callback(upstream.cleanup)
        collector = OtlpReceiver()
        stack.push_async_callback(collector.stop)
        await collector.start()
        listen = await stack.enter_async_context(server.serving())
        config = printed(
            policy,
            *("--upstream", f"users=127.0.0.1:{upstream.addresses[0][1]}"),
            *("--listen", listen),
            *("--collector", f"127.0.0.1:{collector.port}"),
            *("--envoy-listen", "127.0.0.1:0", "--envoy-admin", "127.0.0.1:0"),
            *arguments,
        )
        envoy = await stack.enter_async_context(EnvoyProcess(edit(config)))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        if healthy:
            await envoy.wait_for_stat("cluster.extproc.membership_healthy", 1)
        yield Bed(envoy, server, collector, client, seen, release)


async def _upstream(seen: list[dict[str, str]], release: asyncio.Event) -> web.AppRunner:
    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append({name.lower(): ",".join(request.headers.getall(name)) for name in request.headers})
        if request.path != "/slow":
            return web.Response(text="ok")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begin")
        await release.wait()
        return response

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def run(
    policy: str,
    check: Callable[[Bed], Awaitable[None]],
    *arguments: str,
    server: Scripted | None = None,
    edit: Edit = str,
    healthy: bool = True,
) -> None:
    """Run a check against an Envoy with the edited configuration, which has found the server if that is `healthy`."""

    async def main() -> None:
        async with _running(policy, server or Scripted(), arguments, edit=edit, healthy=healthy) as bed:
            await check(bed)

    asyncio.run(main())

"""The sample services behind a real Envoy, with `extproc serve` and what `extproc envoy` prints."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from envoy_process import EnvoyProcess
from example_process import ExampleProcess
from extproc.demo.otlp_receiver import OtlpReceiver, attributes_of
from otlp_receiver import forwarder, grpc_receiver
from server_process import ServerProcess
from wiring_bed import printed

POLICY = """
tracing:
  sampling: {policy: always_on}
  attributes: {service.name: envoy}
  policies:
    - name: dropped
      match: {headers: {x-drop: "1"}}
      sampling: {policy: always_off}
"""
GET_USER = "extproc.examples.users.v1.UserService/GetUser"
SERVICES = {"user-service": "http_service", "order-service": "http_service", "grpc-service": "grpc_service"}
ROUTES = {"/api/orders": "order_service", "/extproc.examples.users.v1.UserService/": "grpc_service"}
OF_ONE_ORDER = 8
"""Spans of GET /api/orders/{id}: three of Envoy's, two each of the HTTP services, one of the gRPC service."""

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


@dataclass(frozen=True, slots=True)
class Mesh:
    """Everything that runs, and where its telemetry arrives."""

    envoy: EnvoyProcess
    receiver: OtlpReceiver
    client: aiohttp.ClientSession

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body of a request through Envoy."""
        async with self.client.get(self.envoy.url(path), headers=headers) as response:
            return response.status, await response.text()

    async def spans(self, count: int) -> dict[bytes, tuple[str, Span]]:
        """All spans by their id, each with its service, once there are `count` of them."""
        await self.receiver.wait_until(lambda: len(self.receiver.spans) >= count)
        return {
            span.span_id: (str(attributes_of(resource.attributes)["service.name"]), span)
            for resource, span in self.receiver.spans
        }


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(grpc_receiver())
        # Services and Envoy have to know each other's port: the forwarder's is there before either.
        to_envoy = await stack.enter_async_context(forwarder(0))
        export = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        server = stack.enter_context(ServerProcess(folder, POLICY, environment=export))
        mesh = export | {
            "ENVOY_URL": f"http://127.0.0.1:{to_envoy.port}",
            "ENVOY_GRPC_TARGET": f"127.0.0.1:{to_envoy.port}",
        }
        services = {
            name: stack.enter_context(ExampleProcess(folder, program, mesh | {"OTEL_SERVICE_NAME": name}))
            for name, program in SERVICES.items()
        }
        await asyncio.to_thread(server.wait_ready)
        envoy = await stack.enter_async_context(EnvoyProcess(_config(server, services, receiver)))
        to_envoy.target_port = envoy.port
        client = await stack.enter_async_context(aiohttp.ClientSession())
        await envoy.wait_for_stat("cluster.extproc.membership_healthy", 1)
        yield Mesh(envoy, receiver, client)


def _config(server: ServerProcess, services: dict[str, ExampleProcess], receiver: OtlpReceiver) -> str:
    ports = {name: service.port for name, service in services.items()}
    return printed(
        str(server.policy),
        *("--upstream", f"user_service=127.0.0.1:{ports['user-service']}"),
        *("--upstream", f"order_service=127.0.0.1:{ports['order-service']}"),
        *("--upstream", f"grpc_service=grpc://127.0.0.1:{ports['grpc-service']}"),
        *(text for prefix, upstream in ROUTES.items() for text in ("--route", f"{prefix}={upstream}")),
        *("--collector", f"127.0.0.1:{receiver.port}", "--listen", server.grpc[0]),
        *("--envoy-listen", "127.0.0.1:0", "--envoy-admin", "127.0.0.1:0", "--message-timeout", "5s"),
    )


def _run(folder: Path, check: Callable[[Mesh], Awaitable[None]]) -> None:
    async def main() -> None:
        async with _running(folder) as mesh:
            await check(mesh)

    asyncio.run(main())


def test_one_trace_over_every_hop(tmp_path: Path) -> None:
    """An order is one trace in which each hop, Envoy three times among them, is the next one's parent."""

    async def check(mesh: Mesh) -> None:
        status, body = await mesh.get("/api/orders/1")
        assert 200 == status
        user = '{"id": "1", "name": "Alice", "email": "alice@example.com"}'
        assert f'{{"id": "1", "user": {user}, "amount": 100.0}}' == body
        spans = await mesh.spans(OF_ONE_ORDER)
        assert 1 == len({span.trace_id for _, span in spans.values()})
        (leaf,) = spans.keys() - {span.parent_span_id for _, span in spans.values()}
        chain = []
        while leaf:
            service, span = spans[leaf]
            chain.append((service, span.kind, span.name if service != "envoy" else ""))
            leaf = span.parent_span_id
        assert [
            ("envoy", SERVER, ""),
            ("order-service", SERVER, "GET /api/orders/{id}"),
            ("order-service", CLIENT, "GET /api/users/{id}"),
            ("envoy", SERVER, ""),
            ("user-service", SERVER, "GET /api/users/{id}"),
            ("user-service", CLIENT, GET_USER),
            ("envoy", SERVER, ""),
            ("grpc-service", SERVER, GET_USER),
        ] == chain[::-1]

    _run(tmp_path, check)


def test_not_found_is_404_and_an_error_on_the_span(tmp_path: Path) -> None:
    """A user whom nobody knows is NOT_FOUND, recorded on the gRPC server's span, and 404; the middleware counts it."""

    async def check(mesh: Mesh) -> None:
        assert 404 == (await mesh.get("/api/users/99"))[0]
        spans = (await mesh.spans(5)).values()
        by_service = {(service, span.kind): span for service, span in spans}
        for place in (("grpc-service", SERVER), ("user-service", CLIENT)):
            span = by_service[place]
            assert Status.STATUS_CODE_ERROR == span.status.code
            assert "NOT_FOUND" == attributes_of(span.attributes)["rpc.response.status_code"]
            assert ["exception"] == [event.name for event in span.events]
        assert "there is no user 99" == by_service["grpc-service", SERVER].status.message
        found = attributes_of(by_service["user-service", SERVER].attributes)
        assert ("/api/users/{id}", 404) == (found["http.route"], found["http.response.status_code"])
        missing: dict[str, str | int] = {"method": "GET", "path": "/api/users/{id}", "status_code": 404}
        names = ("envoy_http_requests_total", "envoy_http_errors_total", "envoy_http_request_duration_seconds")
        await mesh.receiver.wait_until(lambda: all(mesh.receiver.value(name, missing) == 1 for name in names))
        failed = {"rpc.method": GET_USER, "rpc.response.status_code": "NOT_FOUND"}
        await mesh.receiver.wait_until(lambda: mesh.receiver.value("rpc.server.call.duration", failed) == 1)

    _run(tmp_path, check)


def test_what_the_policy_drops_is_dropped_everywhere(tmp_path: Path) -> None:
    """A dropped trace has no span of anybody's, though its request was served at every hop and counted."""

    async def check(mesh: Mesh) -> None:
        assert 200 == (await mesh.get("/api/orders/1", {"x-drop": "1"}))[0]
        # Each process exports in order: once a later trace is complete, nothing of an earlier one is on its way.
        assert 200 == (await mesh.get("/api/orders/2"))[0]
        spans = await mesh.spans(OF_ONE_ORDER)
        assert OF_ONE_ORDER == len(spans)
        assert 1 == len({span.trace_id for _, span in spans.values()})
        called = {"rpc.method": GET_USER, "rpc.response.status_code": "OK"}
        await mesh.receiver.wait_until(lambda: mesh.receiver.value("rpc.server.call.duration", called) == 2)

    _run(tmp_path, check)

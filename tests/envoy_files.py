"""The configurations in envoy/, run: their names and ports become 127.0.0.1 and free ones, all else stays as it is."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import yaml
from aiohttp import web

from envoy_process import EnvoyProcess
from extproc.demo.otlp_receiver import OtlpReceiver
from server_process import ServerProcess
from system import ID, System, Upstream

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "envoy"
TLS_FOLDER = "/etc/envoy/tls"

GET_USER = "/extproc.examples.users.v1.UserService/GetUser"

Config = dict[str, Any]
Edit = Callable[[Config], None]
"""What a test changes in a parsed configuration, such as a limit that it could not reach otherwise."""


def load(name: str) -> Config:
    """A file of envoy/, parsed."""
    config: Config = yaml.safe_load((FOLDER / name).read_text())
    return config


def manager(config: Config, listener: str | None = None) -> Config:
    """The HTTP connection manager of a listener, by default the first."""
    listeners = config["static_resources"]["listeners"]
    found = next(each for each in listeners if listener in {None, each["name"]})
    typed: Config = found["filter_chains"][0]["filters"][0]["typed_config"]
    return typed


def filters(config: Config) -> dict[str, Config]:
    """The HTTP filters of the first listener by name, in their order."""
    return {each["name"]: each["typed_config"] for each in manager(config)["http_filters"]}


def clusters(config: Config) -> dict[str, Config]:
    """The clusters by name."""
    return {each["name"]: each for each in config["static_resources"]["clusters"]}


def limits(config: Config, cluster: str) -> Config:
    """The circuit breakers of a cluster, in a copy that no other cluster shares."""
    own = clusters(config)[cluster]
    own["circuit_breakers"] = {"thresholds": [dict(own["circuit_breakers"]["thresholds"][0])]}
    threshold: Config = own["circuit_breakers"]["thresholds"][0]
    return threshold


def change(config: Config, key: str, value: object) -> None:
    """Give a setting that the file has another value."""
    assert key in config, f"expected {key} among {', '.join(config)}"
    config[key] = value


def dialled(config: Config) -> list[Config]:
    """The socket addresses of every endpoint."""
    return [
        endpoint["endpoint"]["address"]["socket_address"]
        for cluster in config["static_resources"]["clusters"]
        for locality in cluster["load_assignment"]["endpoints"]
        for endpoint in locality["lb_endpoints"]
    ]


def named(address: Config) -> str:
    """A socket address as `host:port`."""
    return f"{address['address']}:{address['port_value']}"


def place(config: Config, ports: dict[str, int]) -> None:
    """Dial 127.0.0.1 instead of every `host:port` in `ports`, and listen on free ports."""
    admin = config["admin"]["address"]["socket_address"]
    endpoints = dialled(config)
    known = dict(ports)
    if named(admin) in map(named, endpoints):
        known[named(admin)] = _free_port()
    for address in (
        each["address"]["socket_address"] for each in (*config["static_resources"]["listeners"], config["admin"])
    ):
        address.update(address="127.0.0.1", port_value=known.get(named(address), 0))
    for address in endpoints:
        address.update(address="127.0.0.1", port_value=known[named(address)])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Service(Upstream):
    """An HTTP service that notes what reaches it, Envoy's health checks aside.

    Besides what Upstream can do, `?fail=N` answers 503 to the first N attempts of a request, and `?hold=N` lets the
    Nth and later ones wait for `release`.

    Attributes:
        attempts: how often each request came, by its x-test-id.
        connections: the caller's port of each attempt.
        release: lets go of those that are held.
        healthy: what /health says to Envoy.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    connections: list[int] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    healthy: bool = True

    async def stop(self) -> None:
        """Stop listening."""
        self.release.set()
        await super().stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("user-agent") == "Envoy/HC":
            return web.Response(status=200 if self.healthy else 503)
        name = request.headers.get(ID, "")
        self.attempts[name] += 1
        assert request.transport is not None
        self.connections.append(request.transport.get_extra_info("peername")[1])
        attempt = self.attempts[name]
        await request.read()
        if 0 < int(request.query.get("hold", "0")) <= attempt:
            await self.release.wait()
        response = await super()._handle(request)
        return web.Response(status=503) if attempt <= int(request.query.get("fail", "0")) else response


@dataclass(slots=True)
class GrpcUsers:
    """The gRPC service: GetUser answers what it is asked, with metadata `fail: N` only at the N+1st attempt.

    Attributes:
        attempts: how often each call came, by its x-test-id.
        metadata: of each call, the latest attempt's.
        healthy: what grpc.health.v1 says.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    healthy: bool = True
    port: int = 0
    _server: Any = None

    async def start(self) -> None:
        """Listen."""
        self._server = grpc.aio.server()
        user = grpc.unary_unary_rpc_method_handler(self._get_user)
        health = grpc.unary_unary_rpc_method_handler(self._check)
        handlers = (
            grpc.method_handlers_generic_handler(GET_USER.split("/")[1], {"GetUser": user}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health}),
        )
        self._server.add_generic_rpc_handlers(handlers)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(None)

    async def _get_user(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401  gRPC's
        sent = {str(key): str(value) for key, value in context.invocation_metadata()}
        name = sent.get(ID, "")
        self.metadata[name] = sent
        self.attempts[name] += 1
        if self.attempts[name] <= int(sent.get("fail", "0")):
            await context.abort(grpc.StatusCode[sent.get("code", "UNAVAILABLE")], "as asked")
        return request

    async def _check(self, request: bytes, context: object) -> bytes:
        del request, context
        return b"\x08\x01" if self.healthy else b"\x08\x02"


@dataclass
class Mesh(System):
    """A file of envoy/ at work: Envoy, extproc, the services and the collector. `upstream` is user-service."""

    upstream: Service
    orders: Service = field(default_factory=Service)
    users: GrpcUsers = field(default_factory=GrpcUsers)

    async def wait_for_error(self, error_type: str, count: int) -> None:
        """Return once extproc has counted exactly so many errors of a type."""
        await self.wait_for_metric(f'envoy_errors_total{{error_type="{error_type}"}}', count)

    async def span(self, trace_id: str) -> dict[str, object]:
        """The tags of Envoy's span of a trace, once it has arrived."""
        return self.tags((await self.wait_for_spans({trace_id}))[trace_id])


@asynccontextmanager
async def running(folder: Path, name: str, policy: str | Path, *, edit: Edit | None = None) -> AsyncIterator[Mesh]:
    """A file of envoy/ at work with a policy; `edit` may change the parsed file."""
    upstream, orders, users, collector = Service(), Service(), GrpcUsers(), OtlpReceiver()
    async with AsyncExitStack() as stack:
        for each in (upstream, orders, users, collector):
            stack.push_async_callback(each.stop)
            await each.start()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }
        server = stack.enter_context(ServerProcess(folder, policy, environment=environment))
        await asyncio.to_thread(server.wait_ready)
        ports = {
            "extproc:50051": int(server.grpc[0].rpartition(":")[2]),
            "otel-collector:4317": collector.port,
            "user-service:8080": upstream.port,
            "order-service:8080": orders.port,
            "grpc-service:9090": users.port,
        }
        config = load(name)
        place(config, ports)
        # A machine that is slow for a moment is not what is tried.
        change(filters(config)["envoy.filters.http.ext_proc"], "message_timeout", "5s")
        if edit is not None:
            edit(config)
        envoy = await stack.enter_async_context(EnvoyProcess(yaml.safe_dump(config)))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        await envoy.wait_for_stat("cluster.extproc.membership_healthy", 1)
        yield Mesh(envoy, server, upstream, collector, client, orders=orders, users=users)

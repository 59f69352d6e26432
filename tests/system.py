"""The whole: a real Envoy with the configuration that `extproc envoy` prints, `extproc serve`, an upstream, OTLP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from envoy_process import EnvoyProcess
from extproc.demo.otlp_receiver import OtlpReceiver, attributes_of
from server_process import ServerProcess
from wiring_bed import printed

ID = "x-test-id"
OK = 200


@dataclass(slots=True)
class Upstream:
    """A service that remembers the headers of each request, by its x-test-id.

    `/status/N` answers N, `/slow?seconds=S` and `/hung` answer late, `/late?seconds=S` ends its answer late, `/reset`
    hangs up.
    """

    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen[headers.get(ID, "")] = headers
        seconds = float(request.query.get("seconds", "0"))
        if request.path == "/reset" and request.transport is not None:
            request.transport.abort()
        if request.path in {"/slow", "/hung"}:
            await asyncio.sleep(seconds)
        if request.path == "/late":
            response = web.StreamResponse(headers={"x-kind": "late"})
            await response.prepare(request)
            await asyncio.sleep(seconds)
            await response.write(b"ok")
            return response
        status = int(request.path.rpartition("/")[2]) if request.path.startswith("/status/") else OK
        return web.Response(text="ok", status=status, headers={"x-kind": "plain"})


@dataclass(slots=True)
class System:
    """Everything that runs."""

    envoy: EnvoyProcess
    server: ServerProcess
    upstream: Upstream
    collector: OtlpReceiver
    client: aiohttp.ClientSession
    sent: int = 0

    async def send(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
        """One request; its status and its x-test-id."""
        self.sent += 1
        name = f"request-{self.sent}"
        sent = {ID: name} | (headers or {})
        async with self.client.request(method, self.envoy.url(path), headers=sent) as response:
            await response.read()
            return response.status, name

    async def send_all(self, paths: Iterable[str], headers: dict[str, str] | None = None) -> list[tuple[int, str]]:
        """Many requests, 16 at a time."""
        slots = asyncio.Semaphore(16)

        async def one(path: str) -> tuple[int, str]:
            async with slots:
                return await self.send(path, headers)

        return list(await asyncio.gather(*map(one, paths)))

    async def load_while(self, action: Callable[[], Awaitable[object]], path: str = "/load") -> list[int]:
        """Sends requests without a pause while `action` runs, and returns their statuses."""
        statuses: list[int] = []
        done = asyncio.Event()

        async def client() -> None:
            while not done.is_set():
                statuses.append((await self.send(path))[0])

        clients = [asyncio.create_task(client()) for _ in range(8)]
        try:
            await action()
        finally:
            done.set()
            await asyncio.gather(*clients)
        return statuses

    def upstream_trace(self, name: str) -> tuple[str, str]:
        """Trace id and flags that the upstream was told for a request."""
        _, trace_id, _, flags = self.upstream.seen[name]["traceparent"].split("-")
        return trace_id, flags

    def spans(self) -> dict[str, Span]:
        """Envoy's spans so far, by trace id."""
        return {span.trace_id.hex(): span for _, span in self.collector.spans}

    async def wait_for_spans(self, trace_ids: set[str]) -> dict[str, Span]:
        """Envoy's spans by trace id, once those of `trace_ids` are all there."""
        await self.collector.wait_until(lambda: trace_ids <= set(self.spans()))
        return self.spans()

    @staticmethod
    def tags(span: Span) -> dict[str, object]:
        """A span's attributes."""
        return dict(attributes_of(span.attributes))

    async def metric(self, series: str) -> float:
        """One series of the server's /metrics."""
        return await asyncio.to_thread(self.server.metric, series)

    async def wait_for_metric(self, series: str, value: float) -> None:
        """Return once a series has exactly this value."""
        found = None
        try:
            async with asyncio.timeout(10):
                while (found := await self.metric(series)) != value:  # noqa: ASYNC110  it happens in another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{series} is {found}, not {value}") from None


@asynccontextmanager
async def running(  # noqa: PLR0913  what can be varied of a whole system
    folder: Path,
    policy: str,
    *,
    wiring: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    listen: tuple[str, ...] = (),
    edit: Callable[[str], str] = lambda config: config,
) -> AsyncIterator[System]:
    """The system, ready: `flags` are the server's, `wiring` those of `extproc envoy`, `listen` goes to both.

    Without `listen` the server is on a port of the kernel's choice.

    `edit` may change the printed configuration.
    """
    upstream, collector = Upstream(), OtlpReceiver()
    await upstream.start()
    await collector.start()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    try:
        with ServerProcess(folder, policy, *listen, *flags, environment=environment) as server:
            await asyncio.to_thread(server.wait_ready)
            addresses = listen or ("--listen", server.grpc[0])
            config = printed(
                str(server.policy),
                *("--upstream", f"user_service=127.0.0.1:{upstream.port}"),
                *("--collector", f"127.0.0.1:{collector.port}"),
                *("--envoy-listen", "127.0.0.1:0", "--envoy-admin", "127.0.0.1:0"),
                *("--message-timeout", "5s"),  # a machine that is slow for a moment is not what is tried
                *addresses,
                *wiring,
            )
            async with EnvoyProcess(edit(config)) as envoy, aiohttp.ClientSession() as client:
                await envoy.wait_for_stat("cluster.extproc.membership_healthy", 1)
                yield System(envoy, server, upstream, collector, client)
    finally:
        await collector.stop()
        await upstream.stop()

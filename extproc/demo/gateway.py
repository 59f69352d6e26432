"""The demo's Envoy: its configuration, which `extproc envoy` would print too, and what its admin page tells."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from extproc.demo.processes import Child, DemoError, child, clean_environment
from extproc.policy.plan import Plan
from extproc.server.address import Address
from extproc.wiring.arguments import complete_routes
from extproc.wiring.document import Part, build
from extproc.wiring.settings import EXTPROC_CLUSTER, Collector, PathRoute, Settings, Upstream

_HOST = "127.0.0.1"
_MESSAGE_TIMEOUT = timedelta(seconds=5)
"""Envoy's patience with extproc, 200 ms by default: a laptop that is busy elsewhere would show undecided requests."""
_FLUSH_MILLISECONDS = 500
_FLUSH_KEY = "tracing.opentelemetry.flush_interval_ms"
_FLUSHES = 4
"""Envoy's main thread and its worker each count theirs, so that of four the worker has made one at least."""
_HEALTHY = "membership_healthy"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom Envoy talks to: extproc, the OTLP receiver, and the services by name."""

    server: Address
    receiver: Address
    services: Mapping[str, Address]


class Gateway:
    """A running Envoy. `url` is where it takes requests."""

    def __init__(self, process: Child, url: str, admin: "_Admin") -> None:
        self.process = process
        self.url = url
        self._admin = admin
        self._flushes_before = 0

    async def begin_flush(self) -> None:
        """From now on `flushed` is about spans that are finished by now."""
        self._flushes_before = (await self._counters())["timer_flushed"]

    async def flushed(self) -> int | None:
        """The number of spans that Envoy has sent in all, once it has sent every finished one; None before."""
        counters = await self._counters()
        return counters["spans_sent"] if counters["timer_flushed"] >= self._flushes_before + _FLUSHES else None

    async def _counters(self) -> Counter[str]:
        self.process.check()
        return await self._admin.counters("tracing.opentelemetry.")


@asynccontextmanager
async def gateway(executable: str, folder: Path, plan: Plan, neighbours: Neighbours) -> AsyncIterator[Gateway]:
    """Run the Envoy at `executable`, with one worker, for as long as the block lasts."""
    path, admin_path = folder / "envoy.json", folder / "envoy-admin"
    path.write_text(json.dumps(configuration(plan, neighbours)))
    command = [executable, "--config-path", str(path), "--admin-address-path", str(admin_path)]
    command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    async with child("envoy", command, clean_environment()) as process, aiohttp.ClientSession() as session:
        admin = _Admin(session, admin_path)
        await process.until(admin.is_ready)
        yield Gateway(process, f"http://{await admin.listener()}", admin)


def configuration(plan: Plan, neighbours: Neighbours) -> dict[str, object]:
    """Envoy's bootstrap. The services' paths are /api/users and /api/orders; anything else goes to the first."""
    services = tuple(Upstream(name, address) for name, address in neighbours.services.items())
    routes = [PathRoute(f"/api/{name.partition('-')[0]}s", name) for name in neighbours.services]
    settings = Settings(
        plan=plan,
        endpoints=(neighbours.server,),
        upstreams=services,
        routes=complete_routes(services, routes),
        message_timeout=_MESSAGE_TIMEOUT,
        listen=Address(_HOST, 0),
        admin=Address(_HOST, 0),
        collector=Collector(neighbours.receiver),
    )
    # Envoy keeps finished spans for up to five seconds; the demo has not that much time.
    quick = {"name": "demo", "static_layer": {_FLUSH_KEY: _FLUSH_MILLISECONDS}}
    return {**build(Part.BOOTSTRAP, settings), "layered_runtime": {"layers": [quick]}}


class _Admin:
    """Envoy's admin page, whose address Envoy writes to a file once it is there."""

    def __init__(self, session: aiohttp.ClientSession, address_file: Path) -> None:
        self._session = session
        self._address_file = address_file

    async def is_ready(self) -> bool:
        """Whether Envoy takes requests and has found extproc in good health."""
        if not self._address_file.exists() or not self._address_file.read_text():
            return False
        healthy = await self.counters(f"cluster.{EXTPROC_CLUSTER}.")
        return bool(healthy[_HEALTHY]) and "LIVE" in await self._get("/ready")

    async def listener(self) -> str:
        """Where the first listener really is, host:port."""
        statuses = json.loads(await self._get("/listeners?format=json"))["listener_statuses"]
        address = statuses[0]["local_address"]["socket_address"]
        return f"{address['address']}:{address['port_value']}"

    async def counters(self, prefix: str) -> Counter[str]:
        """Envoy's statistics by their names without `prefix`; 0 for those that are not there yet."""
        found = json.loads(await self._get(f"/stats?format=json&filter=^{prefix}"))["stats"]
        return Counter({each["name"].removeprefix(prefix): each["value"] for each in found if "value" in each})

    async def _get(self, path: str) -> str:
        url = f"http://{self._address_file.read_text().strip()}{path}"
        try:
            async with self._session.get(url) as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"envoy's admin page does not answer: {error!r}") from error

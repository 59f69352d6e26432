"""Everything that the demo runs, up together and down together."""

import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from extproc.demo.gateway import Gateway, Neighbours, gateway
from extproc.demo.otlp_receiver import OtlpReceiver
from extproc.demo.processes import Child, child, clean_environment
from extproc.demo.upstream import Upstream
from extproc.policy.plan import Plan
from extproc.server.address import Address, parse

POLICY = Path(__file__).with_name("policy.yaml")
"""The demo's policy file, written to be read."""

SERVICES = ("user-service", "order-service")

_HOST = "127.0.0.1"
_EXPORT_MILLISECONDS = "1000"


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs. `server` is `extproc serve`."""

    receiver: OtlpReceiver
    upstreams: tuple[Upstream, ...]
    server: Child
    gateway: Gateway

    def check(self) -> None:
        """Make sure that all of it still runs.

        Raises:
            DemoError: something has ended.
        """
        self.server.check()
        self.gateway.process.check()

    @property
    def runs(self) -> bool:
        """Whether all of it still runs."""
        return self.server.runs and self.gateway.process.runs


@asynccontextmanager
async def stack(envoy_path: str, plan: Plan, rng: random.Random) -> AsyncIterator[Stack]:
    """Start everything on free ports of 127.0.0.1 in a temporary folder; whatever happens, nothing of it stays.

    `envoy_path` is Envoy's executable.

    Raises:
        DemoError: something did not start.
    """
    async with AsyncExitStack() as stopping:
        folder = Path(stopping.enter_context(TemporaryDirectory(prefix="extproc-demo-")))
        receiver = OtlpReceiver()
        stopping.push_async_callback(receiver.stop)
        receiver_address = Address(_HOST, await receiver.start())
        upstreams = {name: Upstream(name, rng) for name in SERVICES}
        for upstream in upstreams.values():
            stopping.push_async_callback(upstream.stop)
            await upstream.start()
        server, address = await stopping.enter_async_context(_server(receiver_address))
        services = {name: Address(_HOST, upstream.port) for name, upstream in upstreams.items()}
        neighbours = Neighbours(address, receiver_address, services)
        envoy = await stopping.enter_async_context(gateway(envoy_path, folder, plan, neighbours))
        yield Stack(receiver, tuple(upstreams.values()), server, envoy)


@asynccontextmanager
async def _server(receiver: Address) -> AsyncIterator[tuple[Child, Address]]:
    """Run `extproc serve`, ready, and say where Envoy can call it."""
    environment = clean_environment() | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver}",
        "OTEL_METRIC_EXPORT_INTERVAL": _EXPORT_MILLISECONDS,
    }
    free = str(Address(_HOST, 0))
    command = [sys.executable, "-m", "extproc", "serve", "--policy", str(POLICY), "--listen", free, "--admin", free]
    async with child("extproc serve", command, environment) as process, aiohttp.ClientSession() as session:
        listening = json.loads(await process.find(_listening))

        async def is_ready() -> bool:
            try:
                async with session.get(f"http://{listening['admin']}/ready") as response:
                    return response.ok
            except aiohttp.ClientError:
                return False

        await process.until(is_ready)
        yield process, parse(listening["grpc"][0])


def _listening(line: str) -> str | None:
    """The line of extproc's log that says where it listens; its logs are JSON where nobody looks on."""
    return line if line.startswith("{") and json.loads(line).get("event") == "listening" else None

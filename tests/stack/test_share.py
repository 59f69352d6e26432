"""Replicas that share a rate through a real Redis."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from extproc.engine.exchange import Engine
from extproc.engine.states import Portion, States
from extproc.policy.load import load_text
from extproc.policy.plan import Plan
from extproc.server.shares import Shares
from extproc.telemetry.recorder import Recorder
from helpers import request_headers
from server_process import serving
from stack.tools import debian

REQUEST = request_headers({":method": "GET", ":path": "/"})


@contextmanager
def redis(port: int) -> Iterator[None]:
    """Redis on this port, ready, without a disk."""
    command = (
        str(debian("redis-server")),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603  our own command
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    continue
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def policy(port: int) -> str:
    """Two replicas share 100 traces a second."""
    limited = "{policy: rate_limited, traces_per_second: 100}"
    return f"tracing: {{share: {{replicas: 2, store: 'redis://127.0.0.1:{port}/0'}}, sampling: {limited}}}\n"


class Replica:
    """One that meets new traces, on a clock of its own."""

    def __init__(self, plan: Plan) -> None:
        self.now = 100.0
        self.states = States()
        self.recorder = Recorder()
        self._engine = Engine(plan, self.states)
        self.sharing = Shares(self.states, self.recorder, lambda: plan, Lock(), lambda: self.now)

    @property
    def share(self) -> float:
        """Its part of the rate."""
        return self.states.of("default", Portion).share

    async def second(self, count: int) -> int:
        """A second with so many new traces; how many of them are kept."""
        kept = 0
        for _ in range(count):
            self.now += 1 / count
            exchange = self._engine.begin(None)
            exchange.receive(REQUEST, self.now)
            outcome = exchange.finish(self.now)
            kept += outcome is not None and outcome.sampled
        await self.sharing.refresh()
        return kept


def test_replicas_share_by_their_traffic() -> None:
    """Whoever has three quarters of the traffic gets three quarters of the rate; without Redis each has half."""
    port = free_port()
    plan = load_text(policy(port).encode(), "policy.yaml", {})

    async def check() -> None:
        busy, calm = Replica(plan), Replica(plan)
        with redis(port):
            for _ in range(8):
                await busy.second(900)
                await calm.second(300)
            assert (0.75, 0.25) == (round(busy.share, 2), round(calm.share, 2))
            kept = await busy.second(900), await calm.second(300)
            assert abs(75 - kept[0]) <= 2
            assert abs(25 - kept[1]) <= 2
            assert {} == busy.recorder.collect().numbers
        await busy.second(900)
        await calm.second(300)
        assert (0.5, 0.5) == (busy.share, calm.share)
        assert {"extproc.store.errors": {(): 1}} == busy.recorder.collect().numbers
        with redis(port):
            for _ in range(3):
                await busy.second(900)
                await calm.second(300)
            assert (0.75, 0.25) == (round(busy.share, 2), round(calm.share, 2))
            await calm.sharing.close()
            await asyncio.sleep(3.1)
            await busy.second(900)
            assert 1 == round(busy.share, 6)
            await busy.sharing.close()

    asyncio.run(check())


def test_a_server_starts_without_its_store(tmp_path: Path) -> None:
    """The store is nothing that a server needs: it is ready without, and with workers of its own too."""
    with serving(tmp_path, policy(free_port()), "--workers", "2") as server:
        assert 200 == server.get("/ready")[0]
        assert 100 == server.metric('extproc_policy_rate{policy="default"}')
        assert 0 == server.stop()

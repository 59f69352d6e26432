"""The workers as the supervisor sees them: one in its own process, or several in processes of their own."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from extproc.policy.plan import Plan
from extproc.server.address import Address
from extproc.server.worker import Worker, WorkerSettings
from extproc.telemetry.delta import Delta

Receive = Callable[[Delta, str], None]
"""Takes what a worker recorded, and the worker's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSettings:
    """One WorkerSettings per worker, and what worker processes need besides."""

    workers: tuple[WorkerSettings, ...]
    log_level: str
    grace_seconds: float


class Pool(Protocol):
    """All workers together. What they record goes to the Receive that the pool was made with."""

    @property
    def ready(self) -> bool:
        """Whether every worker serves and none drains."""

    async def start(self, plan: Plan) -> tuple[Address, ...]:
        """Start every worker and return all real addresses.

        Raises:
            ListenError: an address is taken.
            TlsError: a certificate file cannot be used.
        """

    async def swap(self, plan: Plan) -> None:
        """Have every worker serve new requests by `plan`."""

    async def collect(self) -> None:
        """Hand over what was recorded until now, waiting half a second at most for a worker that is slow."""

    async def drain(self, grace_seconds: float) -> None:
        """Stop every worker without failing a request, and hand over what was recorded."""

    def kill(self) -> None:
        """Stop every worker at once."""


class LocalPool:
    """The one worker of `--workers 1`, on this process's own event loop."""

    _SOURCE = "0"

    def __init__(self, settings: PoolSettings, receive: Receive) -> None:
        self._settings = settings.workers[0]
        self._receive = receive
        self._worker: Worker | None = None
        self.ready = False

    async def start(self, plan: Plan) -> tuple[Address, ...]:
        """See Pool."""
        self._worker = Worker(plan, self._settings)
        addresses = await self._worker.start()
        self.ready = True
        return addresses

    async def swap(self, plan: Plan) -> None:
        """See Pool."""
        if self._worker is not None:
            await self._worker.swap(plan)

    async def collect(self) -> None:
        """See Pool."""
        if self._worker is not None:
            self._receive(self._worker.collect(), self._SOURCE)

    async def drain(self, grace_seconds: float) -> None:
        """See Pool."""
        self.ready = False
        if self._worker is not None:
            await self._worker.drain(grace_seconds)
            await self.collect()

    def kill(self) -> None:
        """See Pool. The process is about to end, and the worker with it."""
        self.ready = False

"""The workers as the supervisor sees them: one in its own process, or several in processes of their own."""

import dataclasses
from typing import Protocol

from extproc.policy.plan import Plan
from extproc.server.address import Address
from extproc.server.worker import Worker, WorkerSettings
from extproc.telemetry.store import Store


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSettings:
    """One WorkerSettings per worker, and what worker processes need besides."""

    workers: tuple[WorkerSettings, ...]
    log_level: str
    grace_seconds: float


class Pool(Protocol):
    """All workers together. What they record goes to the Store that the pool was made with."""

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
        """Bring the Store up to date, waiting half a second at most for a worker that is slow."""

    async def drain(self, grace_seconds: float) -> None:
        """Stop every worker without failing a request, and bring the Store up to date."""

    def kill(self) -> None:
        """Stop every worker at once."""


class LocalPool:
    """The one worker of `--workers 1`, on this process's own event loop."""

    _SOURCE = "0"

    def __init__(self, settings: PoolSettings, store: Store) -> None:
        self._settings = settings.workers[0]
        self._store = store
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
            self._store.add(self._worker.collect(), self._SOURCE)

    async def drain(self, grace_seconds: float) -> None:
        """See Pool."""
        self.ready = False
        if self._worker is not None:
            await self._worker.drain(grace_seconds)
            await self.collect()

    def kill(self) -> None:
        """See Pool. The process is about to end, and the worker with it."""
        self.ready = False

"""Several workers, each in a process of its own that is started again when it dies."""

import asyncio
import dataclasses
import functools
import math
import time
from collections.abc import Callable
from contextlib import suppress

from extproc.policy.plan import Plan
from extproc.server.address import Address
from extproc.server.listen import ListenError
from extproc.server.logs import get_logger
from extproc.server.pipe import Collect, Failed, Start, Started, Swap
from extproc.server.pool import PoolSettings, Receive
from extproc.server.worker import WorkerSettings
from extproc.server.worker_process import WorkerProcess
from extproc.telemetry.delta import Delta
from extproc.telemetry.instruments import WORKER_RESTARTS
from extproc.telemetry.store import Store

_START_SECONDS = 60.0
_SWAP_SECONDS = 10.0
_COLLECT_SECONDS = 0.5
_EXIT_SECONDS = 0.3
_HEALTHY_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_LAST_PAUSE_SECONDS = 5.0


@dataclasses.dataclass(slots=True)
class _Slot:
    """One worker's place: its settings (with real ports once known) and the process that fills it now."""

    number: int
    settings: WorkerSettings
    process: WorkerProcess | None = None
    serving: bool = False


class ProcessPool:
    """Keeps one worker process per WorkerSettings alive. The Store hears of those that die."""

    def __init__(self, settings: PoolSettings, store: Store, receive: Receive) -> None:
        self._settings = settings
        self._store = store
        self._receive = receive
        self._slots = [_Slot(number, worker) for number, worker in enumerate(settings.workers)]
        self._plan: Plan
        self._keeping: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()

    @property
    def ready(self) -> bool:
        """See Pool."""
        return not self._draining.is_set() and all(slot.serving for slot in self._slots)

    async def start(self, plan: Plan) -> tuple[Address, ...]:
        """See Pool."""
        self._plan = plan
        results = await asyncio.gather(*(self._launch(slot) for slot in self._slots), return_exceptions=True)
        for error in results:
            if error is not None:
                self.kill()
                await asyncio.gather(*(slot.process.wait() for slot in self._slots if slot.process))
                raise error
        self._keeping = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
        return tuple(address for slot in self._slots for address in slot.settings.addresses)

    async def swap(self, plan: Plan) -> None:
        """See Pool. A worker that is being started just now gets the plan when it is."""
        before, self._plan = self._plan, plan
        swap = Swap.of(plan)
        answers = await asyncio.gather(*(slot.process.ask(swap, _SWAP_SECONDS) for slot in self._slots if slot.process))
        refusals = [answer.reason for answer in answers if isinstance(answer, Failed)]
        if refusals:
            self._plan = before
            raise RuntimeError(refusals[0])

    async def collect(self) -> None:
        """See Pool. What arrives later than the wait is added then."""
        await asyncio.gather(*(slot.process.ask(Collect(), _COLLECT_SECONDS) for slot in self._slots if slot.process))

    async def drain(self, grace_seconds: float) -> None:
        """See Pool."""
        self._draining.set()
        for slot in self._slots:
            if slot.process:
                slot.process.drain(grace_seconds)
        _, late = await asyncio.wait(self._keeping, timeout=grace_seconds + _EXIT_SECONDS)
        if late:
            self.kill()
            await asyncio.wait(late)

    def kill(self) -> None:
        """See Pool."""
        self._draining.set()
        for slot in self._slots:
            if slot.process:
                slot.process.kill()

    async def _launch(self, slot: _Slot) -> None:
        """Fill the slot with a new process that serves the present Plan."""
        plan = self._plan
        slot.process = await WorkerProcess.spawn(functools.partial(self._receive_from, slot))
        question = Start(slot.number, slot.settings, plan, self._settings.log_level, self._settings.grace_seconds)
        match await slot.process.ask(question, _START_SECONDS):
            case Started(addresses):
                slot.settings = dataclasses.replace(slot.settings, addresses=addresses)
            case Failed(reason):
                raise ListenError(reason)
            case _:
                slot.process.kill()
                raise ListenError(f"worker {slot.number} did not start")
        if plan is not self._plan:
            await slot.process.ask(Swap.of(self._plan), _SWAP_SECONDS)
        slot.serving = True
        get_logger().info("worker started", worker=slot.number, pid=slot.process.pid)

    def _receive_from(self, slot: _Slot, delta: Delta) -> None:
        self._receive(delta, str(slot.number))

    async def _keep(self, slot: _Slot) -> None:
        """Wait for the slot's process to end and fill the slot again, until the pool drains."""
        pause, failure = Pause(), None
        while slot.process is not None:
            how = await slot.process.wait()
            slot.serving = False
            self._store.forget(str(slot.number))
            if self._draining.is_set():
                return
            self._store.count(WORKER_RESTARTS.name)
            get_logger().error("worker died", worker=slot.number, how=failure or how)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), pause.next_seconds())
                return
            try:
                await self._launch(slot)
                failure = None
            except ListenError as error:
                failure = str(error)
            if self._draining.is_set():
                slot.process.kill()


class Pause:
    """How long to wait before a worker is started again: not at all, unless it keeps dying."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._died_at = -math.inf
        self._seconds = 0.0

    def next_seconds(self) -> float:
        """The wait after a death now."""
        now = self._clock()
        again = now - self._died_at < _HEALTHY_SECONDS
        self._seconds = min(max(_FIRST_PAUSE_SECONDS, self._seconds * 2), _LAST_PAUSE_SECONDS) if again else 0.0
        self._died_at = now
        return self._seconds

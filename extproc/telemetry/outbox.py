"""Records on their way out: queued on the event loop, written beside it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from extproc.telemetry.background import Reporter, in_thread
from extproc.telemetry.instruments import EXPORT_DROPPED
from extproc.telemetry.store import Store

_Record = TypeVar("_Record")
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Loss:
    """How many of some records were not delivered, and why."""

    records: int
    reason: str


@dataclass(frozen=True, slots=True)
class Terms:
    """How records of one kind are delivered.

    Attributes:
        signal: what `extproc.export.dropped` calls them.
        what: what log lines call them.
        queue: how many wait at the most; what comes beyond is dropped and counted.
        batch: how many are written at once.
        delay_seconds: how long fewer than a batch may wait for more.
    """

    signal: str
    what: str
    queue: int
    batch: int
    delay_seconds: float = 0.0


class Sink(Protocol[_Taken_contra]):
    """Where records go. `write` blocks and belongs on a thread, one call at a time; the rest does not block."""

    def write(self, records: Sequence[_Taken_contra]) -> Loss | None:
        """Deliver the records; None where all were."""

    def interrupt(self) -> None:
        """Make a `write` under way return soon, if it can. The sink is of no use afterwards."""

    def close(self) -> None:
        """Let go of everything; no `write` is under way."""


class Outbox(Generic[_Record]):
    """Delivers records to one Sink after the other. Made and used on one event loop, which never waits for it.

    Args:
        store: Counts what is dropped.
        terms: How to deliver.
        clock: Monotonic seconds, for how often to log.
    """

    def __init__(self, store: Store, terms: Terms, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._terms = terms
        self._reporter = Reporter(terms.what, clock)
        self._waiting: deque[_Record] = deque()
        self._sink: Sink[_Record] | None = None
        self._busy: Sink[_Record] | None = None
        """The sink whose `write` is under way, with so many records."""
        self._batch = 0
        self._writing: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None

    def use(self, sink: Sink[_Record]) -> None:
        """Deliver to `sink` from now on, also what waits."""
        before, self._sink = self._sink, sink
        if before is not None and before is not self._busy:
            before.close()
        self._write()

    def put(self, records: Sequence[_Record]) -> None:
        """Queue records for delivery."""
        room = self._terms.queue - len(self._waiting)
        self._waiting.extend(records[:room])
        if len(records) > room:
            self._lost(Loss(len(records) - room, "more than can be delivered in time"))
        if len(self._waiting) >= self._terms.batch or not self._terms.delay_seconds:
            self._write()
        elif self._waiting and self._due is None:
            self._due = asyncio.get_running_loop().call_later(self._terms.delay_seconds, self._write)

    async def shutdown(self, timeout_seconds: float) -> None:
        """Deliver what is queued, within this time; what is left then is dropped and counted."""
        self._write()
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=timeout_seconds)
            self._writing.cancel()
        if self._busy is not None:
            self._busy.interrupt()
            self._lost(Loss(self._batch + len(self._waiting), f"not done within {timeout_seconds:g} s"))
        elif self._sink is not None:
            self._sink.close()

    def _write(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._waiting and self._sink is not None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting and self._sink is not None:
            sink = self._busy = self._sink
            batch = [self._waiting.popleft() for _ in range(min(self._terms.batch, len(self._waiting)))]
            self._batch = len(batch)
            loss = await in_thread(partial(_attempt, sink, batch), f"extproc-{self._terms.signal}")
            self._busy = None
            if loss is None:
                self._reporter.delivered()
            else:
                self._lost(loss)
            if sink is not self._sink:
                sink.close()

    def _lost(self, loss: Loss) -> None:
        self._store.count(EXPORT_DROPPED.name, loss.records, signal=self._terms.signal)
        self._reporter.failed(loss.reason, records=loss.records)


def _attempt(sink: Sink[_Record], records: Sequence[_Record]) -> Loss | None:
    try:
        return sink.write(records)
    except Exception as error:  # noqa: BLE001  a bug of ours must end as records dropped, not as a dead thread
        return Loss(len(records), repr(error))

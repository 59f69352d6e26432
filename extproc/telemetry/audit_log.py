"""Audit records on their way out: queued on the event loop, written beside it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from extproc.engine.audit import AuditRecord
from extproc.telemetry.background import Reporter, in_thread
from extproc.telemetry.instruments import EXPORT_DROPPED
from extproc.telemetry.store import Store

QUEUE_LIMIT: Final = 20_000
"""Records that wait at the most, a few tens of megabytes; what comes beyond is dropped and counted."""

_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Loss:
    """How many of some records were not delivered, and why."""

    records: int
    reason: str


class Sink(Protocol):
    """Where records go. `write` blocks and belongs on a thread, one call at a time; the rest does not block."""

    def write(self, records: Sequence[AuditRecord]) -> Loss | None:
        """Deliver the records; None where all were."""

    def interrupt(self) -> None:
        """Make a `write` under way return soon, if it can. The sink is of no use afterwards."""

    def close(self) -> None:
        """Let go of everything; no `write` is under way."""


class AuditLog:
    """Delivers records to one Sink after the other. Made and used on one event loop, which never waits for it.

    Args:
        store: Counts what is dropped.
        limit: See QUEUE_LIMIT.
        clock: Monotonic seconds, for how often to log.
    """

    def __init__(self, store: Store, *, limit: int = QUEUE_LIMIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._limit = limit
        self._reporter = Reporter("audit records", clock)
        self._waiting: deque[AuditRecord] = deque()
        self._sink: Sink | None = None
        self._busy: Sink | None = None
        """The sink whose `write` is under way, with so many records."""
        self._batch = 0
        self._writing: asyncio.Task[None] | None = None

    def use(self, sink: Sink) -> None:
        """Deliver to `sink` from now on, also what waits."""
        before, self._sink = self._sink, sink
        if before is not None and before is not self._busy:
            before.close()
        self._write()

    def put(self, records: Sequence[AuditRecord]) -> None:
        """Queue records for delivery."""
        room = self._limit - len(self._waiting)
        self._waiting.extend(records[:room])
        if len(records) > room:
            self._lost(Loss(len(records) - room, "more than can be delivered in time"))
        self._write()

    async def shutdown(self, timeout_seconds: float) -> None:
        """Deliver what is queued, within this time; what is left then is dropped and counted."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=timeout_seconds)
            self._writing.cancel()
        if self._busy is not None:
            self._busy.interrupt()
            self._lost(Loss(self._batch + len(self._waiting), f"not done within {timeout_seconds:g} s"))
        elif self._sink is not None:
            self._sink.close()

    def _write(self) -> None:
        if self._waiting and self._sink is not None and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting and self._sink is not None:
            sink = self._busy = self._sink
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._batch = len(batch)
            loss = await in_thread(partial(_attempt, sink, batch), "extproc-audit")
            self._busy = None
            if loss is None:
                self._reporter.delivered()
            else:
                self._lost(loss)
            if sink is not self._sink:
                sink.close()

    def _lost(self, loss: Loss) -> None:
        self._store.count(EXPORT_DROPPED.name, loss.records, signal="audit")
        self._reporter.failed(loss.reason, records=loss.records)


def _attempt(sink: Sink, records: Sequence[AuditRecord]) -> Loss | None:
    try:
        return sink.write(records)
    except Exception as error:  # noqa: BLE001  a bug of ours must end as records dropped, not as a dead thread
        return Loss(len(records), repr(error))

"""The queue between workers and the place where audit records go."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

from structlog.testing import capture_logs

from audits import audited
from extproc.engine.audit import AuditRecord
from extproc.telemetry.audit import TERMS
from extproc.telemetry.outbox import Loss, Outbox
from extproc.telemetry.store import Store


class Spy:
    """A sink that remembers, and may be told to fail or to hang."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.loss: Loss | None = None
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.interrupted = self.closed = False
        self.writes = 0
        self.started = threading.Event()

    def write(self, records: Sequence[AuditRecord]) -> Loss | None:
        """Take the records, once free."""
        self.writes += 1
        self.started.set()
        self.free.wait(10)
        if self.error is not None:
            raise self.error
        if self.loss is None:
            self.records += records
        return self.loss

    def interrupt(self) -> None:
        """Let a write go."""
        self.interrupted = True
        self.free.set()

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def dropped(store: Store) -> int:
    """How many audit records were dropped."""
    return store.snapshot().numbers["extproc.export.dropped"][("signal", "audit"),]


def numbered(count: int) -> list[AuditRecord]:
    """So many records, each with a resource of its own."""
    return [audited(resource=f"/{number}") for number in range(count)]


def test_everything_arrives_in_order_and_is_flushed() -> None:
    """What is put before the end is delivered at the end, in order, in several writes, and the sink is closed."""
    store, sink = Store(), Spy()

    async def main() -> None:
        log: Outbox[AuditRecord] = Outbox(store, TERMS)
        log.put(numbered(300))
        log.use(sink)
        log.put(numbered(700))
        await log.shutdown(10)

    asyncio.run(main())
    assert [*numbered(300), *numbered(700)] == sink.records
    assert (0, True, False) == (dropped(store), sink.closed, sink.interrupted)
    assert sink.writes > 1


def test_a_sink_that_hangs_is_not_waited_for() -> None:
    """Beyond its limit the queue drops and counts, `put` returns at once, and shutdown ends when it is told to."""
    store, sink = Store(), Spy()
    sink.free.clear()

    async def main() -> float:
        log: Outbox[AuditRecord] = Outbox(store, replace(TERMS, queue=100))
        loop = asyncio.get_running_loop()
        log.use(sink)
        log.put(numbered(60))
        await asyncio.to_thread(sink.started.wait, 10)
        began = loop.time()
        log.put(numbered(130))
        assert 30 == dropped(store)
        await log.shutdown(0.2)
        return loop.time() - began

    with capture_logs() as logs:
        seconds = asyncio.run(main())
    assert seconds < 5
    assert 30 + 60 + 100 == dropped(store)
    assert (True, False) == (sink.interrupted, sink.closed)
    assert [("audit records not delivered", 30)] == [(line["event"], line["records"]) for line in logs]


def test_failures_are_counted_and_told_once() -> None:
    """A sink that fails, or has a bug, costs its records, one log line a minute, and one when it is over."""
    store, sink, now = Store(), Spy(), 100.0

    async def until_settled(log: Outbox[AuditRecord], count: int) -> None:
        log.put(numbered(count))
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    async def main() -> None:
        nonlocal now
        log: Outbox[AuditRecord] = Outbox(store, TERMS, clock=lambda: now)
        log.use(sink)
        sink.loss = Loss(2, "audit.jsonl: No space left on device")
        await until_settled(log, 5)
        await until_settled(log, 5)
        now += 60
        sink.error = ValueError("bug")
        await until_settled(log, 5)
        sink.error = sink.loss = None
        await until_settled(log, 5)
        await log.shutdown(10)

    with capture_logs() as logs:
        asyncio.run(main())
    assert 2 + 2 + 5 == dropped(store)
    assert numbered(5) == sink.records
    assert [
        ("audit records not delivered", "audit.jsonl: No space left on device"),
        ("audit records not delivered", "ValueError('bug')"),
        ("audit records are delivered again", None),
    ] == [(line["event"], line.get("reason")) for line in logs]


def test_a_new_sink_takes_over() -> None:
    """What waits goes to the sink of now; one that is busy is closed when it is done, an idle one at once."""
    store, slow, idle, last = Store(), Spy(), Spy(), Spy()
    slow.free.clear()

    async def main() -> None:
        log: Outbox[AuditRecord] = Outbox(store, TERMS)
        log.use(slow)
        log.put(numbered(3))
        await asyncio.to_thread(slow.started.wait, 10)
        log.put(numbered(4))
        log.use(idle)
        log.use(last)
        assert (False, True) == (slow.closed, idle.closed)
        slow.free.set()
        await log.shutdown(10)

    asyncio.run(main())
    assert [numbered(3), [], numbered(4)] == [slow.records, idle.records, last.records]
    assert [True, True, True] == [slow.closed, idle.closed, last.closed]
    assert 0 == dropped(store)


def test_without_a_sink_nothing_is_done() -> None:
    """A server whose policies do not audit has nothing to flush."""
    store = Store()

    async def main() -> None:
        log: Outbox[AuditRecord] = Outbox(store, TERMS)
        log.put([])
        await log.shutdown(10)

    asyncio.run(main())
    assert 0 == dropped(store)

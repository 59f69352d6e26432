"""Supervisor and worker process talking, and how long the one waits before it starts the other again."""

import asyncio
import socket

from extproc.policy.load import load_text
from extproc.server.pipe import Collect, Frame, Pipe, Swap
from extproc.server.process_pool import Pause


def test_frames_arrive_whole_and_in_order() -> None:
    """Large or small, what one end sends the other receives; a closed end reads as None."""
    plan = load_text(b"tracing: {attributes: {a: '%s'}}" % (b"x" * 200_000), "policy.yaml", {})
    frames = [Frame(1, Collect()), Frame(2, Swap.of(plan)), Frame(3, Collect())]

    async def talk() -> list[Frame | None]:
        near, far = socket.socketpair()
        ours, theirs = await Pipe.open(near), await Pipe.open(far)
        for frame in frames:
            ours.send(frame)
        await ours.close()
        received = [await theirs.receive() for _ in range(len(frames) + 1)]
        theirs.send(frames[0])
        await theirs.close()
        return received

    assert [*frames, None] == asyncio.run(talk())


def test_plan_arrives_as_it_was_sent() -> None:
    """A Plan survives being taken to pieces, whatever the number of its policies."""
    for count in (0, 1, 20, 45):
        policies = b"".join(b"    - {match: {path: '/p%d'}, sampling: {policy: always_on}}\n" % n for n in range(count))
        text = b"tracing:\n  policies:%s\n" % (b"\n" + policies if count else b" []")
        plan = load_text(text, "policy.yaml", {})
        assert count == len(plan.policies)
        assert plan == Swap.of(plan).plan()


def test_worker_that_keeps_dying_is_started_ever_later() -> None:
    """At once the first time, then 0.1 s doubling to 5 s, and at once again after ten good seconds."""
    now = 100.0
    pause = Pause(lambda: now)
    assert [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] == [pause.next_seconds() for _ in range(9)]
    now += 10
    assert 0.0 == pause.next_seconds()

"""The stream handler alone, with a scripted gRPC context."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc.aio
import pytest

from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Outcome, Phase, Reason, StreamError
from extproc.policy.load import load_text
from extproc.server.service import Service
from extproc.telemetry.recorder import Recorder
from helpers import request_headers, response_headers

ENGINE = Engine(load_text(b"tracing: {}", "policy.yaml", {}))
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


def request(client: str) -> bytes:
    """Request headers of a downstream connection."""
    return request_headers({":method": "GET", ":path": "/"}, {"source.address": client})


RESPONSE = response_headers({":status": "200"})


class Spy(Recorder):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome] = []
        self.phases: list[Phase] = []
        self.errors: list[StreamError] = []
        self.changes: list[int] = []

    def request(self, outcome: Outcome) -> None:
        """Remember it."""
        self.outcomes.append(outcome)

    def message(self, phase: Phase, seconds: float) -> None:
        """Remember the phase."""
        assert seconds >= 0
        self.phases.append(phase)

    def stream_error(self, kind: StreamError) -> None:
        """Remember it."""
        self.errors.append(kind)

    def connections(self, change: int) -> None:
        """Remember it."""
        self.changes.append(change)


class Context:
    """Plays Envoy: what `read` returns or raises, one after the other; an Event is waited for first."""

    def __init__(self, script: Iterable[object], *, write_error: BaseException | None = None) -> None:
        self._script = iter(script)
        self._write_error = write_error
        self.replies: list[bytes] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What Envoy sends along."""
        return (("user-agent", "test"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))

    async def read(self) -> object:
        """The next step of the script."""
        step = next(self._script)
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = next(self._script)
        if isinstance(step, BaseException):
            raise step
        return step

    async def write(self, reply: bytes) -> None:
        """Take a reply."""
        if self._write_error is not None:
            raise self._write_error
        self.replies.append(reply)


def run(service: Service, context: Any) -> None:  # noqa: ANN401  stands in for gRPC's
    """One stream."""
    asyncio.run(service.process(None, context))


def test_end_of_stream_finishes_the_exchange() -> None:
    """Each message is answered, and when Envoy half-closes there is one outcome."""
    spy, context = Spy(), Context([request("a:1"), RESPONSE, EOF])
    run(Service(ENGINE, spy), context)
    assert 2 == len(context.replies)
    assert [Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS] == spy.phases
    assert [200] == [outcome.status_code for outcome in spy.outcomes]
    assert 0 == sum(spy.changes)


@pytest.mark.parametrize("end", [asyncio.CancelledError(), grpc.aio.UsageError()])
def test_reset_is_a_normal_end(end: BaseException) -> None:
    """A reset, noticed by gRPC or by us, leaves gRPC a cancelled handler and us an outcome."""
    spy = Spy()
    with pytest.raises(asyncio.CancelledError):
        run(Service(ENGINE, spy), Context([request("a:1"), end]))
    assert ["stream_reset"] == [outcome.error_type for outcome in spy.outcomes]
    assert [] == spy.errors


def test_message_is_counted_when_the_reset_overtakes_the_write() -> None:
    """Envoy resets the stream as soon as it has the last reply, which may be before our write returns."""
    spy = Spy()
    with pytest.raises(asyncio.CancelledError):
        run(Service(ENGINE, spy), Context([request("a:1")], write_error=asyncio.CancelledError()))
    assert [Phase.REQUEST_HEADERS] == spy.phases
    assert 1 == len(spy.outcomes)


def test_stream_without_a_message_leaves_nothing() -> None:
    """A stream that ends before its first message is no request."""
    spy = Spy()
    run(Service(ENGINE, spy), Context([EOF]))
    assert ([], [], 0) == (spy.outcomes, spy.phases, sum(spy.changes))


def test_bug_of_ours_ends_the_stream_with_ok(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is raised counts as `internal`, and the handler returns as if all were well."""
    monkeypatch.setattr(Exchange, "receive", lambda *_: int("what a client sent"))
    spy = Spy()
    service = Service(ENGINE, spy)
    for _ in range(3):
        run(service, Context([request("a:1")]))
    assert [StreamError.INTERNAL] * 3 == spy.errors
    logged = capsys.readouterr().out
    assert 1 == logged.count("stream error")
    assert "ValueError" in logged
    assert "what a client sent" not in logged


def test_connection_counts_once_while_any_request_of_it_is_in_flight() -> None:
    """Two requests of one client, one of another, one of nobody known."""
    spy = Spy()
    service = Service(ENGINE, spy)

    async def overlap() -> None:
        release = asyncio.Event()
        anonymous = request_headers({":method": "GET", ":path": "/"})
        first = [request("a:1"), request("a:1"), request("b:2"), anonymous]
        contexts: list[Any] = [Context([message, release, EOF]) for message in first]
        streams = [asyncio.create_task(service.process(None, context)) for context in contexts]
        await asyncio.sleep(0)
        service.count_connections()
        assert 3 == sum(spy.changes)
        release.set()
        await asyncio.gather(*streams)
        service.count_connections()

    asyncio.run(overlap())
    assert 0 == sum(spy.changes)


def test_a_stream_with_an_error_is_an_outcome_too() -> None:
    """Request headers that come twice are an error, counted once, of a request that counts once."""
    spy = Spy()
    context: Any = Context([request("a:1"), request("a:1"), EOF])
    run(Service(ENGINE, spy), context)
    assert (1, [StreamError.PROTOCOL]) == (len(spy.outcomes), spy.errors)


def test_streams_can_be_ended_with_ok() -> None:
    """At the end of a drain a stream that waits for Envoy returns, its outcome says why, and no new one is begun."""
    spy = Spy()
    service = Service(ENGINE, spy)

    async def drain() -> None:
        never: Any = Context([request("a:1"), asyncio.Event()])
        stream = asyncio.create_task(service.process(None, never))
        await asyncio.sleep(0)
        await service.wait_idle(0.01)
        service.end_streams()
        await stream
        await service.wait_idle(10)
        await service.process(None, never)

    asyncio.run(drain())
    assert ["server_shutdown"] == [outcome.error_type for outcome in spy.outcomes]


def test_running_exchange_keeps_its_engine() -> None:
    """A swap is for exchanges that begin after it."""
    spy = Spy()
    service = Service(ENGINE, spy)

    async def swap() -> None:
        release = asyncio.Event()
        context: Any = Context([request("a:1"), release, RESPONSE, EOF])
        stream = asyncio.create_task(service.process(None, context))
        await asyncio.sleep(0)
        service.engine = Engine(load_text(b"tracing: {enabled: false}", "policy.yaml", {}))
        release.set()
        await stream
        new: Any = Context([request("a:1"), EOF])
        await service.process(None, new)

    asyncio.run(swap())
    assert [Reason.DEFAULT, Reason.DISABLED] == [outcome.reason for outcome in spy.outcomes]

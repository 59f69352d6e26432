"""The service behind a real gRPC server in this process, spoken to as Envoy does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Outcome, Phase, Reason, StreamError
from extproc.policy.load import load_text
from extproc.server import service as service_module
from extproc.server.grpc_server import GrpcServer
from extproc.server.service import Service
from extproc.server.timings import ACCESS_LOG, KEY
from extproc.telemetry.recorder import Recorder
from helpers import request_headers, response_headers
from streams import Call, Channel, finish, open_stream, say

ENGINE = Engine(load_text(b"tracing: {}", "policy.yaml", {}))
RESPONSE = response_headers({":status": "200"})


def request(client: str | None) -> bytes:
    """Request headers of a downstream connection."""
    return request_headers({":method": "GET", ":path": "/"}, {"source.address": client} if client else None)


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


class Bed:
    """A service that is served, a channel to it, and what it recorded."""

    def __init__(self, engine: Engine = ENGINE) -> None:
        self.spy = Spy()
        self.service = Service(engine, self.spy)
        self.server = GrpcServer({service_module.METHOD: self.service.process}, ())
        self.channel: Channel = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bed"]:
        """Serve, and in the end wait for every stream to be over."""
        port = self.server.listen("127.0.0.1:0", None)
        self.server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
            yield self
            await self.until(lambda: self.service.idle)
        self.server.shut_down()
        await asyncio.to_thread(self.server.join, 5)

    async def open(self, *messages: bytes, traceparent: str | None = None) -> Call:
        """A stream whose messages are answered."""
        call = open_stream(self.channel, traceparent)
        for message in messages:
            await say(call, message)
        return call

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the server's thread will do."""
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110  the other thread has no event to wait for
                await asyncio.sleep(0.005)

    def count_connections(self) -> None:
        """As the worker does."""
        with self.server.lock:
            self.service.count_connections()


def test_end_of_stream_finishes_the_exchange() -> None:
    """Each message is answered, and when Envoy half-closes there is one outcome."""

    async def check() -> None:
        async with Bed().running() as bed:
            assert grpc.StatusCode.OK == await finish(await bed.open(request("a:1"), RESPONSE))
            assert [Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS] == bed.spy.phases
            assert [200] == [outcome.status_code for outcome in bed.spy.outcomes]

    asyncio.run(check())


def test_reset_is_a_normal_end() -> None:
    """It leaves an outcome and no error."""

    async def check() -> None:
        async with Bed().running() as bed:
            (await bed.open(request("a:1"))).cancel()
            await bed.until(lambda: bed.service.idle)
            assert ["stream_reset"] == [outcome.error_type for outcome in bed.spy.outcomes]
            assert [] == bed.spy.errors

    asyncio.run(check())


def test_stream_without_a_message_leaves_nothing() -> None:
    """A stream that ends before its first message is no request."""

    async def check() -> None:
        async with Bed().running() as bed:
            assert grpc.StatusCode.OK == await finish(await bed.open())
            bed.count_connections()
            assert ([], [], 0) == (bed.spy.outcomes, bed.spy.phases, sum(bed.spy.changes))

    asyncio.run(check())


def test_bug_of_ours_ends_the_stream_with_ok(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is raised counts as `internal`, and Envoy is told that all is well."""
    monkeypatch.setattr(Exchange, "receive", lambda *_: int("what a client sent"))

    async def check() -> None:
        async with Bed().running() as bed:
            for _ in range(3):
                call = await bed.open()
                await call.write(request("a:1"))
                assert grpc.StatusCode.OK == await call.code()
            assert [StreamError.INTERNAL] * 3 == bed.spy.errors

    asyncio.run(check())
    logged = capsys.readouterr().out
    assert 1 == logged.count("stream error")
    assert "ValueError" in logged
    assert "what a client sent" not in logged


def test_bug_at_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that are ended together end, each of them."""
    monkeypatch.setattr(Exchange, "finish", lambda *_, **__: int("x"))

    async def check() -> None:
        async with Bed().running() as bed:
            calls = [await bed.open(request("a:1")) for _ in range(3)]
            with bed.server.lock:
                bed.service.end_streams()
            assert [grpc.StatusCode.OK] * 3 == [await call.code() for call in calls]
            assert [StreamError.INTERNAL] * 3 == bed.spy.errors

    asyncio.run(check())


def test_connection_counts_once_while_any_request_of_it_is_in_flight() -> None:
    """Two requests of one client, one of another, one of nobody known."""

    async def check() -> None:
        async with Bed().running() as bed:
            calls = [await bed.open(request(client)) for client in ("a:1", "a:1", "b:2", None)]
            bed.count_connections()
            assert 3 == sum(bed.spy.changes)
            for call in calls:
                await finish(call)
            bed.count_connections()
            assert 0 == sum(bed.spy.changes)

    asyncio.run(check())


def test_a_stream_with_an_error_is_an_outcome_too() -> None:
    """Request headers that come twice are an error, counted once, of a request that counts once."""

    async def check() -> None:
        async with Bed().running() as bed:
            await finish(await bed.open(request("a:1"), request("a:1")))
            assert (1, [StreamError.PROTOCOL]) == (len(bed.spy.outcomes), bed.spy.errors)

    asyncio.run(check())


def test_streams_can_be_ended_with_ok() -> None:
    """At the end of a drain a stream that waits for Envoy ends, its outcome says why, and no new one is begun."""

    async def check() -> None:
        async with Bed().running() as bed:
            waiting = await bed.open(request("a:1"))
            assert not bed.service.idle
            with bed.server.lock:
                bed.service.end_streams()
            assert grpc.StatusCode.OK == await waiting.code()
            assert bed.service.idle
            late = await bed.open()
            assert grpc.StatusCode.OK == await late.code()
            assert ["server_shutdown"] == [outcome.error_type for outcome in bed.spy.outcomes]

    asyncio.run(check())


def test_running_exchange_keeps_its_engine() -> None:
    """A swap is for exchanges that begin after it."""

    async def check() -> None:
        async with Bed().running() as bed:
            call = await bed.open(request("a:1"))
            bed.service.engine = Engine(load_text(b"tracing: {enabled: false}", "policy.yaml", {}))
            await say(call, RESPONSE)
            await finish(call)
            await finish(await bed.open(request("a:1")))
            assert [Reason.DEFAULT, Reason.DISABLED] == [outcome.reason for outcome in bed.spy.outcomes]

    asyncio.run(check())


@pytest.mark.parametrize(("policy", "over"), [("{}", True), ("{match: {path: /}, audit: true}", False)])
def test_stream_ends_with_its_last_reply(policy: str, over: bool) -> None:  # noqa: FBT001  a row
    """Where the access log tells the rest, no stream waits for Envoy to end it; an audit record wants a status."""

    async def check() -> None:
        engine = Engine(load_text(f"tracing: {{audit: {{file: a}}, policies: [{policy}]}}".encode(), "policy.yaml", {}))
        async with Bed(engine).running() as bed:
            call = bed.channel.stream_stream(service_module.METHOD)(metadata=((KEY, ACCESS_LOG),))
            assert "request_headers" == (await say(call, request("a:1"))).phase
            if not over:
                assert not bed.service.idle
                await call.done_writing()
            assert grpc.StatusCode.OK == await call.code()
            await bed.until(lambda: bed.service.idle)
            assert [] == bed.spy.outcomes

    asyncio.run(check())

"""gRPC itself: a server in this process, and gRPC's own client."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs lack it
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from extproc.server.grpc_server import GrpcServer, Metadata, Stream
from extproc.server.health import Health
from streams import Call, Channel

ECHO = "/test.Echo/Talk"
STATUS = HealthCheckResponse.ServingStatus
RUNNING: set[Stream] = set()


class Echo(Stream):
    """Answers each message with itself; some have a meaning. Held until it is finished, as streams of ours are."""

    __slots__ = ("metadata",)

    def __init__(self, metadata: Metadata) -> None:
        super().__init__()
        self.metadata = metadata
        RUNNING.add(self)

    def ended(self) -> None:
        """Let go of it."""
        RUNNING.discard(self)

    def received(self, message: bytes) -> None:
        """Answer."""
        match message:
            case b"bug":
                int("what a client sent")
            case b"last":
                self.finish(b"bye")
            case b"twice":
                self.finish(b"once")
                self.finish(b"twice")
            case b"quiet":
                self.read()
            case b"metadata":
                self.reply(dict(self.metadata)["key"].encode())  # type: ignore[union-attr]  # no -bin key is sent
            case _:
                self.reply(message)


@asynccontextmanager
async def serving(health: Health | None = None) -> AsyncIterator[tuple[GrpcServer, Channel]]:
    """A server and a channel to it."""
    methods = {ECHO: Echo, **(health or Health()).methods()}
    server = GrpcServer(methods, ())
    port = server.listen("127.0.0.1:0", None)
    server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, channel
    server.shut_down()
    await asyncio.to_thread(server.join, 5)


def talk(channel: Channel) -> Call:
    """A call."""
    return channel.stream_stream(ECHO)(metadata=(("key", "value"),))


async def ask(call: Call, message: bytes) -> bytes:
    """One message and its answer."""
    async with asyncio.timeout(10):
        await call.write(message)
        answer: bytes = await call.read()
        return answer


def test_a_call_from_its_metadata_to_its_end() -> None:
    """Messages are answered in turn, or not at all, until the client half-closes."""

    async def check() -> None:
        async with serving() as (_, channel):
            call = talk(channel)
            assert b"value" == await ask(call, b"metadata")
            await call.write(b"quiet")
            assert b"again" == await ask(call, b"again")
            assert b"" == await ask(call, b"")
            await call.done_writing()
            assert grpc.StatusCode.OK == await call.code()

    asyncio.run(check())


def test_the_server_may_end_a_call() -> None:
    """With a last message; what the client sends afterwards is nobody's."""

    async def check() -> None:
        async with serving() as (_, channel):
            call = talk(channel)
            assert b"bye" == await ask(call, b"last")
            assert grpc.StatusCode.OK == await call.code()
            assert b"on" == await ask(talk(channel), b"on")

    asyncio.run(check())


def test_a_bug_costs_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    """The client is not left waiting, the others go on, and the log does not quote what was sent."""

    async def check() -> None:
        async with serving() as (_, channel):
            other, call = talk(channel), talk(channel)
            assert b"1" == await ask(other, b"1")
            await call.write(b"bug")
            async with asyncio.timeout(10):
                assert grpc.StatusCode.INTERNAL == await call.code()
            assert b"2" == await ask(other, b"2")

    asyncio.run(check())
    logged = capsys.readouterr().out
    assert "ValueError" in logged
    assert "what a client sent" not in logged


DEAF = """
import grpc, extproc.server
from extproc.server.grpc_server import GrpcServer, Stream

class Fatal(Stream):
    def received(self, message):
        raise SystemExit

server = GrpcServer({"/test.Echo/Talk": lambda _: Fatal()}, ())
port = server.listen("127.0.0.1:0", None)
server.start()
grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/test.Echo/Talk")(b"", timeout=20)
"""


def test_a_server_that_cannot_go_on_takes_its_process_along() -> None:
    """Nobody would notice a thread that is gone; a process that is gone is started again."""
    command = [sys.executable, "-c", DEAF]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own
    assert os.EX_SOFTWARE == done.returncode, done.stderr
    assert "gRPC server" in done.stdout


def test_a_call_ends_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What gRPC does not take is an error, not a call that waits for ever."""

    async def check() -> None:
        async with serving() as (_, channel):
            call = talk(channel)
            assert b"once" == await ask(call, b"twice")
            assert grpc.StatusCode.OK == await call.code()
            assert b"on" == await ask(talk(channel), b"on")

    asyncio.run(check())
    assert "RuntimeError" in capsys.readouterr().out


def test_an_unknown_method_is_said_to_be_one() -> None:
    """The code is gRPC's own."""

    async def check() -> None:
        async with serving() as (_, channel):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test.Echo/Nothing")(b"")
            assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()

    asyncio.run(check())


def test_calls_that_outlive_the_server_are_cancelled() -> None:
    """`join` waits as long as it is told, then ends them."""

    async def check() -> None:
        async with serving() as (server, channel):
            call = talk(channel)
            await ask(call, b"1")
            server.shut_down()
            assert b"2" == await ask(call, b"2")
            assert RUNNING
            await asyncio.to_thread(server.join, 0.1)
            assert not RUNNING
            async with asyncio.timeout(10):
                assert grpc.StatusCode.OK != await call.code()

    asyncio.run(check())


def test_a_call_that_has_come_is_served_by_a_server_that_shuts_down() -> None:
    """It was taken before, so it is answered."""

    async def check() -> None:
        for _ in range(10):
            async with serving() as (server, channel):
                assert b"0" == await ask(talk(channel), b"0")
                call = talk(channel)
                with server.lock:  # both wait for it: the thread with the call in its hands, and the one to shut down
                    shutting = asyncio.create_task(asyncio.to_thread(server.shut_down))
                    await asyncio.sleep(0.02)
                    asking = asyncio.create_task(ask(call, b"1"))
                    await asyncio.sleep(0.02)
                await shutting
                assert b"1" == await asking

    asyncio.run(check())


def test_a_connection_that_is_lost_ends_its_calls() -> None:
    """Also where it was the last one of a server that shuts down, which then has nothing to wait for."""

    async def check() -> None:
        async with serving() as (server, channel):
            for call in [talk(channel) for _ in range(20)]:
                await ask(call, b"1")
            server.shut_down()
            await channel.close()
            began = time.monotonic()
            await asyncio.to_thread(server.join, 10)
            assert time.monotonic() - began < 5
            assert not RUNNING

    asyncio.run(check())


def test_a_taken_port_is_said_to_be_one() -> None:
    """Port 0 stands for failure."""
    first, second = (GrpcServer({}, (("grpc.so_reuseport", 0),)) for _ in range(2))
    port = first.listen("127.0.0.1:0", None)
    assert port
    assert 0 == second.listen(f"127.0.0.1:{port}", None)


def test_calls_leave_nothing_behind() -> None:
    """However they end: half-closed, reset, ended by us."""
    rounds, each = 4, 300

    def left() -> int:
        gc.collect()
        return sum(isinstance(found, Stream | cygrpc.Call) for found in gc.get_objects())

    async def end(channel: Channel, number: int) -> None:
        call = talk(channel)
        match number % 4:
            case 0:
                await ask(call, b"1")
                await call.done_writing()
                await call.code()
            case 1:
                await ask(call, b"1")
                call.cancel()
            case 2:
                await ask(call, b"last")
            case _:
                await ask(call, b"1")
                await call.write(b"bug")
                await call.code()

    async def check() -> None:
        objects = []
        async with serving() as (_, channel):
            before = left()
            for _ in range(rounds):
                for start in range(0, each, 50):
                    await asyncio.gather(*(end(channel, start + number) for number in range(50)))
                await asyncio.sleep(0.3)
                objects.append(left())
        assert [before] * rounds == objects

    asyncio.run(check())


def test_watching_health() -> None:
    """Who watches hears how it is and each change; one that has gone is forgotten; an unknown service is said to be."""

    async def watch(channel: Channel, service: str) -> Call:
        method = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return method(HealthCheckRequest(service=service))

    async def check() -> None:
        health = Health("known")
        async with serving(health) as (server, channel):
            calls = [await watch(channel, service) for service in ("", "known", "unknown")]
            first = [(await call.read()).status for call in calls]
            assert [STATUS.SERVING, STATUS.SERVING, STATUS.SERVICE_UNKNOWN] == first
            calls[0].cancel()
            async with asyncio.timeout(10):
                while len(health.watches) > 2:  # noqa: ASYNC110  the other thread has no event to wait for
                    await asyncio.sleep(0.005)
            with server.lock:
                health.not_serving()
            assert STATUS.NOT_SERVING == (await calls[1].read()).status
            with server.lock:
                health.not_serving()
            late = await watch(channel, "")
            assert STATUS.NOT_SERVING == (await late.read()).status
            with pytest.raises(TimeoutError):  # nothing is new to them
                async with asyncio.timeout(0.1):
                    await asyncio.wait({asyncio.ensure_future(call.read()) for call in (*calls[1:], late)})
            for call in (calls[1], calls[2]):
                call.cancel()

    asyncio.run(check())


def test_health_is_not_asked_in_garbage() -> None:
    """It costs the call that it came in, and nobody hears of it later."""

    async def check() -> None:
        health = Health()
        async with serving(health) as (server, channel):
            for method in (channel.unary_unary("/grpc.health.v1.Health/Check"), watch_of(channel)):
                assert grpc.StatusCode.INTERNAL == await method(b"\xff").code()
            with server.lock:
                health.not_serving()
            assert not health.watches

    asyncio.run(check())


def watch_of(channel: Channel) -> Call:
    """Watch, in bytes."""
    return channel.unary_stream("/grpc.health.v1.Health/Watch")

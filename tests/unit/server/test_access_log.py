"""The access log's streams behind a real gRPC server in this process."""

import asyncio

import grpc
import grpc.aio
import pytest

from extproc.engine import access_log as engine
from extproc.server.access_log import METHOD, AccessLog
from extproc.server.grpc_server import GrpcServer
from extproc.telemetry.recorder import Recorder
from streams import Channel


def test_what_cannot_be_read_is_counted_and_the_log_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that breaks us costs itself; the stream goes on until it is ended, with an empty answer."""
    recorder = Recorder()
    log = AccessLog(recorder, dict)

    async def counted() -> list[str]:
        async with asyncio.timeout(10):
            while True:
                with server.lock:
                    errors = recorder.collect().numbers.get("extproc.stream.errors")
                if errors:
                    return [str(dict(attributes)["type"]) for attributes, count in errors.items() if count == 1]
                await asyncio.sleep(0.005)

    async def check() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as plain:
            channel: Channel = plain
            call = channel.stream_unary(METHOD)()
            await call.write(b"\xff")
            assert ["unreadable"] == await counted()
            monkeypatch.setattr(engine, "read", lambda *_: int("what a client sent"))
            await call.write(b"")
            assert ["internal"] == await counted()
            with server.lock:
                log.end()
            assert b"" == await call
            assert grpc.StatusCode.OK == await call.code()

    server = GrpcServer({METHOD: log.stream}, ())
    port = server.listen("127.0.0.1:0", None)
    server.start()
    asyncio.run(check())
    server.shut_down()
    server.join(5)

"""How a real server process ends: drained, interrupted, killed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2

from server_process import POLICY, serving
from streams import REQUEST, RESPONSE, Call, Channel, finish, open_stream, say, stream

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@WORKERS
def test_stream_in_flight_finishes(tmp_path: Path, workers: str) -> None:
    """SIGTERM ends readiness and health first; a stream in flight goes on to its own end, then we exit 0."""

    async def talk() -> None:
        async with stream(server.grpc[0]) as call, grpc.aio.insecure_channel(server.grpc[0]) as other:
            statuses = _watch_health(other)
            assert health_pb2.HealthCheckResponse.SERVING == (await statuses.read()).status
            server.process.send_signal(signal.SIGTERM)
            assert health_pb2.HealthCheckResponse.NOT_SERVING == (await statuses.read()).status
            assert 503 == (await asyncio.to_thread(server.get, "/ready"))[0]
            assert 200 == (await asyncio.to_thread(server.get, "/health"))[0]
            await asyncio.to_thread(server.poll, closed, "closed port")
            assert "response_headers" == (await say(call, RESPONSE)).phase
            assert grpc.StatusCode.OK == await finish(call)

    def closed() -> bool | None:
        ports = {c.laddr[1] for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr}
        return None if port in ports else True

    with serving(tmp_path, POLICY, "--workers", workers) as server:
        port = int(server.grpc[0].rpartition(":")[2])
        assert closed() is None
        asyncio.run(talk())
        assert 0 == server.process.wait(20)
        assert [] == server.logs("worker died")


@WORKERS
def test_new_streams_are_served_while_health_checks_move_them(tmp_path: Path, workers: str) -> None:
    """After SIGTERM, while new streams still come, they are answered."""

    async def talk() -> None:
        async with grpc.aio.insecure_channel(server.grpc[0]) as channel:
            await _whole(channel)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("draining")
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                await _whole(channel)

    async def _whole(channel: grpc.aio.Channel) -> None:
        call = open_stream(channel)
        await say(call, REQUEST)
        assert grpc.StatusCode.OK == await finish(call)

    with serving(tmp_path, POLICY, "--workers", workers, "--grace", "4") as server:
        asyncio.run(talk())
        assert 0 == server.process.wait(20)


@WORKERS
def test_stream_that_outlives_the_grace_period_ends_with_ok(tmp_path: Path, workers: str) -> None:
    """A long download keeps its stream open; we end it with OK in time, which Envoy takes as 'go on without me'."""

    async def talk() -> None:
        async with stream(server.grpc[0]) as call:
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert grpc.StatusCode.OK == await call.code()
            assert 0.5 < time.monotonic() - began < 4

    with serving(tmp_path, POLICY, "--workers", workers, "--grace", "4") as server:
        asyncio.run(talk())
        assert 0 == server.process.wait(20)


def test_idle_server_stops_soon(tmp_path: Path) -> None:
    """With nothing in flight the grace period is not waited for."""
    with serving(tmp_path) as server:
        began = time.monotonic()
        assert 0 == server.stop()
        assert time.monotonic() - began < 6


def test_ctrl_c_drains(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole process group; workers leave it to the supervisor, and all ends well."""
    with serving(tmp_path, POLICY, "--workers", "2") as server:
        os.killpg(server.process.pid, signal.SIGINT)
        assert 0 == server.process.wait(20)
        assert [] == server.logs("worker died")
        assert 1 == len(server.logs("stopped"))
        assert "Traceback" not in server.log_text


def test_whole_group_may_be_terminated(tmp_path: Path) -> None:
    """A service manager that signals every process gets the same drain."""
    with serving(tmp_path, POLICY, "--workers", "2") as server:
        os.killpg(server.process.pid, signal.SIGTERM)
        assert 0 == server.process.wait(20)
        assert [] == server.logs("worker died")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_ends_at_once(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Who cannot wait asks twice."""

    async def talk() -> None:
        async with stream(server.grpc[0]):
            server.process.send_signal(number)
            await asyncio.to_thread(server.wait_for_log, "draining")
            await asyncio.sleep(0.6)  # signals closer than half a second count as one
            server.process.send_signal(number)
            assert code == await asyncio.to_thread(server.process.wait, 6)

    with serving(tmp_path) as server:
        asyncio.run(talk())


def test_workers_do_not_outlive_the_supervisor(tmp_path: Path) -> None:
    """Killed without a chance to say so, the supervisor takes its workers and their sockets along."""
    path = tmp_path / "s.sock"
    with serving(tmp_path, POLICY, "--workers", "2", "--listen", f"unix:{path}") as server:
        workers = psutil.Process(server.process.pid).children()
        assert 2 == len(workers)
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=2)
        assert [] == alive
        assert [] == list(tmp_path.glob("s.sock*"))


def _watch_health(channel: Channel) -> Call:
    method = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(service=""))

"""A real server process with worker processes that die."""

import asyncio
import os
import signal
from pathlib import Path

import psutil

from server_process import POLICY, ServerProcess, serving
from streams import exchange, stream

RESTARTS = "extproc_worker_restarts_total"


def pid_of(server: ServerProcess, worker: int) -> int:
    """The process that fills a worker's place now."""
    return int([line for line in server.logs("worker started") if line["worker"] == worker][-1]["pid"])


def test_each_worker_has_its_own_address(tmp_path: Path) -> None:
    """Unix paths get -0, -1, and what each worker records adds up."""
    with serving(tmp_path, POLICY, "--workers", "2", "--listen", f"unix:{tmp_path}/s.sock") as server:
        assert [f"unix:{tmp_path}/s.sock-0", f"unix:{tmp_path}/s.sock-1"] == server.grpc
        for target in server.grpc:
            asyncio.run(exchange(target))
        assert 2 == server.policy_view()["default"]["counters"]["requests"]
        assert 0 == server.stop()
        assert [] == list(tmp_path.glob("s.sock*"))


def test_killed_worker_is_started_again(tmp_path: Path) -> None:
    """It comes back on its own address, its death is logged and counted once, and its connections are forgotten."""

    async def kill_with_a_stream_open() -> None:
        async with stream(server.grpc[0]):
            await asyncio.to_thread(server.poll, counted, "stream")
            victim.kill()
            await asyncio.to_thread(server.wait_for_log, "worker died")

    def counted() -> bool | None:
        return server.metric("envoy_active_connections") == 1 or None

    with serving(tmp_path, POLICY, "--workers", "2") as server:
        before = server.grpc
        victim = psutil.Process(pid_of(server, 0))
        asyncio.run(kill_with_a_stream_open())
        server.poll(lambda: server.get("/ready")[0] == 200 or None, "readiness")
        asyncio.run(exchange(before[0]))
        (line,) = server.logs("worker died")
        assert (0, "SIGKILL") == (line["worker"], line["how"])
        assert 1 == server.metric(RESTARTS)
        assert 0 == server.metric("envoy_active_connections")
        assert 2 == len(psutil.Process(server.process.pid).children())
        assert 0 == server.stop()


def test_restarted_worker_serves_the_policy_of_now(tmp_path: Path) -> None:
    """A worker that dies after a reload comes back with the policy that was reloaded."""
    with serving(tmp_path, POLICY, "--workers", "2") as server:
        server.policy.write_text("tracing: {custom_tags: [{tag: tier, literal: {value: iron}}]}\n")
        server.wait_for_log("policy reloaded")
        for worker in (0, 1):
            os.kill(pid_of(server, worker), signal.SIGKILL)
        server.wait_for_log("worker died", 2)
        server.poll(lambda: server.get("/ready")[0] == 200 or None, "readiness")
        assert ["iron", "iron"] == [asyncio.run(exchange(target)).metadata["tier"] for target in server.grpc]


def test_not_ready_while_a_worker_is_missing(tmp_path: Path) -> None:
    """A worker that cannot take its address back is tried again, and readiness waits for it."""
    path = tmp_path / "s.sock-0"
    with serving(tmp_path, POLICY, "--workers", "2", "--listen", f"unix:{tmp_path}/s.sock") as server:
        victim = psutil.Process(pid_of(server, 0))
        victim.suspend()
        path.unlink()
        path.write_text("in the way")
        victim.kill()
        line = server.wait_for_log("worker died", 2)
        assert "a file that is not a socket is in the way" in line["how"]
        assert 503 == server.get("/ready")[0]
        path.unlink()
        server.poll(lambda: server.get("/ready")[0] == 200 or None, "readiness")
        asyncio.run(exchange(server.grpc[0]))


def test_worker_told_to_stop_by_itself_is_replaced(tmp_path: Path) -> None:
    """SIGTERM to one worker drains that one; what it recorded is not lost, and another takes its place."""
    with serving(tmp_path, POLICY, "--workers", "2") as server:
        asyncio.run(exchange(server.grpc[0]))
        os.kill(pid_of(server, 0), signal.SIGTERM)
        assert "exit code 0" == server.wait_for_log("worker died")["how"]
        server.poll(lambda: server.get("/ready")[0] == 200 or None, "readiness")
        assert 1 == server.policy_view()["default"]["counters"]["requests"]

"""What requests through a real Envoy see of our restarts, where Envoy fails closed: nothing."""

import asyncio
import os
import signal
from pathlib import Path

from server_process import POLICY
from system import System, running

FAIL_CLOSED = ("--fail-closed", "--message-timeout", "5s")  # a slow machine is not what is tried here


def worker_pid(system: System, worker: int) -> int:
    """The process of one worker."""
    return int(next(line["pid"] for line in system.server.logs("worker started") if line["worker"] == worker))


def quick_health_checks(config: str) -> str:
    """Envoy's health checks, ten a second."""
    return config.replace("interval: 2s", "interval: 0.1s").replace(
        "no_traffic_interval: 1s", "no_traffic_interval: 0.1s"
    )


def test_long_download_survives_our_stop(tmp_path: Path) -> None:
    """A response that takes longer than the grace period is not cut when we end its stream."""

    async def talk() -> None:
        async with running(tmp_path, POLICY, wiring=FAIL_CLOSED, flags=("--grace", "1")) as system:
            download = asyncio.create_task(system.send("/late?seconds=5"))
            await system.wait_for_metric("envoy_active_connections", 1)
            assert 0 == await asyncio.to_thread(system.server.stop)
            assert not download.done()
            assert 200 == (await download)[0]
            assert 500 <= (await system.send("/status/200"))[0]

    asyncio.run(talk())


def test_worker_that_stops_fails_no_request(tmp_path: Path) -> None:
    """Under load, one worker is drained and replaced: health checks move the traffic and nobody notices."""

    async def talk() -> None:
        listen = ("--listen", f"unix:{tmp_path}/extproc", "--workers", "2")
        async with running(tmp_path, POLICY, wiring=FAIL_CLOSED, listen=listen, edit=quick_health_checks) as system:
            await system.envoy.wait_for_stat("cluster.extproc.membership_healthy", 2)

            async def restart() -> None:
                os.kill(worker_pid(system, 0), signal.SIGTERM)
                await asyncio.to_thread(system.server.wait_for_log, "worker died")
                await asyncio.to_thread(system.server.wait_for_log, "worker started", 3)
                await system.envoy.wait_for_stat("cluster.extproc.membership_healthy", 2)

            statuses = await system.load_while(restart)
            assert {200} == set(statuses)
            assert len(statuses) > 50

    asyncio.run(talk())


def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    """Swapping the policy is one reference: nothing waits for it."""

    async def talk() -> None:
        async with running(tmp_path, POLICY, wiring=FAIL_CLOSED) as system:

            async def reload() -> None:
                for number in range(3):
                    system.server.policy.write_text(
                        f"tracing: {{custom_tags: [{{tag: n, literal: {{value: n{number}}}}}]}}"
                    )
                    await asyncio.to_thread(system.server.wait_for_log, "policy reloaded", number + 1)

            assert {200} == set(await system.load_while(reload))

    asyncio.run(talk())

"""A real server process while its policy file changes."""

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

from server_process import ServerProcess, serving
from streams import REQUEST, RESPONSE, exchange, finish, open_stream, say

GOLD = "tracing: {custom_tags: [{tag: tier, literal: {value: gold}}]}\n"
IRON = "tracing: {custom_tags: [{tag: tier, literal: {value: iron}}]}\n"
BAD = "tracing:\n  sampling: {policy: probabilistic, ratio: five}\n"
PROMPTLY = 3  # seconds: a second is what is promised, and a test machine may be busy
ERRORS = 'extproc_policy_reloads_total{result="error"}'


def tier(server: ServerProcess, worker: int = 0) -> object:
    """The tag that a request gets now."""
    return asyncio.run(exchange(server.grpc[worker])).metadata["tier"]


def wait_for_reloads(server: ServerProcess, ok: int, error: int = 0) -> float:
    """Wait for so many reloads; the seconds it took."""
    began = time.monotonic()
    server.poll(lambda: server.policy_view()["reloads"] == {"ok": ok, "error": error} or None, f"{ok} reloads")
    return time.monotonic() - began


@pytest.mark.parametrize("workers", ["1", "2"])
def test_edit_is_picked_up_within_a_second(tmp_path: Path, workers: str) -> None:
    """An edit in place reaches every worker; a request that began before it ends with the policy it began with."""

    async def talk() -> None:
        async with grpc.aio.insecure_channel(server.grpc[0]) as channel:
            call = open_stream(channel)
            assert "gold" == (await say(call, REQUEST)).metadata["tier"]
            server.policy.write_text(IRON)
            assert await asyncio.to_thread(wait_for_reloads, server, 1) < PROMPTLY
            assert "response_headers" == (await say(call, RESPONSE)).phase
            assert grpc.StatusCode.OK == await finish(call)

    with serving(tmp_path, GOLD, "--workers", workers) as server:
        before = server.policy_view()
        asyncio.run(talk())
        assert ["iron"] * int(workers) == [tier(server, worker) for worker in range(int(workers))]
        after = server.policy_view()
        assert before["digest"] != after["digest"]
        assert before["loaded_at"] < after["loaded_at"]


def test_configmap_swap_is_picked_up(tmp_path: Path) -> None:
    """Kubernetes replaces the symlink ..data by rename; the file's own name never changes."""
    mount = tmp_path / "config"
    for version, text in (("..2026_1", GOLD), ("..2026_2", IRON)):
        (mount / version).mkdir(parents=True)
        (mount / version / "policy.yaml").write_text(text)
    (mount / "..data").symlink_to("..2026_1")
    (mount / "policy.yaml").symlink_to("..data/policy.yaml")
    with serving(tmp_path, mount / "policy.yaml") as server:
        assert "gold" == tier(server)
        (mount / "..data_tmp").symlink_to("..2026_2")
        (mount / "..data_tmp").rename(mount / "..data")
        shutil.rmtree(mount / "..2026_1")
        assert wait_for_reloads(server, 1) < PROMPTLY
        assert "iron" == tier(server)


def test_rename_and_replaced_folder_are_picked_up(tmp_path: Path) -> None:
    """Editors write beside and rename; a deployment may replace the whole folder."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "policy.yaml").write_text(GOLD)
    with serving(tmp_path, folder / "policy.yaml") as server:
        (folder / "new").write_text(IRON)
        (folder / "new").rename(folder / "policy.yaml")
        assert wait_for_reloads(server, 1) < PROMPTLY
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / "policy.yaml").write_text(GOLD)
        assert wait_for_reloads(server, 2) < PROMPTLY
        assert "gold" == tier(server)


def test_bad_edit_changes_nothing_until_it_is_fixed(tmp_path: Path) -> None:
    """A mistake keeps the last good policy, is logged once with its place, counted, and shown until it is fixed."""
    with serving(tmp_path, GOLD) as server:
        digest = server.policy_view()["digest"]
        server.policy.write_text(BAD)
        wait_for_reloads(server, 0, error=1)
        assert "gold" == tier(server)
        view = server.policy_view()
        assert digest == view["digest"]
        assert view["last_error"]["problems"][0].startswith(f"{server.policy}:2:")
        assert 1 == server.metric(ERRORS)
        (line,) = server.logs("policy not reloaded, the last good one stays")
        assert view["last_error"]["problems"][0] == line["problem"]
        server.policy.write_text(IRON)
        wait_for_reloads(server, 1, error=1)
        assert server.policy_view()["last_error"] is None
        assert "iron" == tier(server)


def test_missing_file_keeps_the_policy(tmp_path: Path) -> None:
    """A file that is gone is an error; when it is back, also unchanged, the error is over."""
    with serving(tmp_path, GOLD) as server:
        server.policy.unlink()
        wait_for_reloads(server, 0, error=1)
        assert "gold" == tier(server)
        server.policy.write_text(GOLD)
        wait_for_reloads(server, 1, error=1)
        assert server.policy_view()["last_error"] is None


def test_touching_the_file_does_nothing_and_sighup_always_reloads(tmp_path: Path) -> None:
    """Only content counts, but who sends SIGHUP wants the file, and the environment tags in it, read again."""
    with serving(tmp_path, GOLD) as server:
        os.utime(server.policy)
        server.process.send_signal(signal.SIGHUP)
        wait_for_reloads(server, 1)
        os.utime(server.policy)
        server.policy.write_text(IRON)
        wait_for_reloads(server, 2)
        assert 2 == len(server.logs("policy reloaded"))


def test_ratios_follow_the_file(tmp_path: Path) -> None:
    """Metrics name the ratio that each policy in force asks for; those of policies that are gone go too."""

    def ratios() -> list[str]:
        return [line for line in server.get("/metrics")[1].splitlines() if line.startswith("extproc_policy_ratio{")]

    some = "  - {name: some, match: {path: /a}, sampling: {policy: probabilistic, ratio: 0.25}}\n"
    none = "  - {name: none, match: {path: /b}, sampling: {policy: always_off}}\n"
    with serving(tmp_path, f"tracing:\n  policies:\n{some}{none}") as server:
        start = ratios()
        server.policy.write_text("tracing: {sampling: {policy: probabilistic, ratio: 0.5}}\n")
        wait_for_reloads(server, 1)
        changed = ratios()
        server.policy.write_text("tracing: {enabled: false}\n")
        wait_for_reloads(server, 2)
        assert [] == ratios()
    assert [
        'extproc_policy_ratio{policy="default"} 1.0',
        'extproc_policy_ratio{policy="some"} 0.25',
        'extproc_policy_ratio{policy="none"} 0.0',
    ] == start
    assert ['extproc_policy_ratio{policy="default"} 0.5'] == changed

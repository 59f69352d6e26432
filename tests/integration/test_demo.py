"""`extproc demo` for real: Envoy, the server, services and receiver, as a user would run it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

DEMO = (sys.executable, "-m", "extproc", "demo")


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end, with temporary files in `folder`."""
    return subprocess.run(  # noqa: S603  our own command
        [*DEMO, *arguments], env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, check=False
    )


@contextmanager
def demo_under_load(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A demo that would send requests for half a minute and has just begun to, with the processes that it started."""
    with subprocess.Popen(  # noqa: S603  our own command
        [*DEMO, "--duration", "30", "--format", "json"],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "sending requests" in line:
                    break
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run of `done` had its temporary files."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """A run of three seconds, told as JSON."""
    return run_demo(folder, "--duration", "3", "--format", "json")


def test_json(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    """Three seconds of load are consistent on every side, and nothing stays behind."""
    data: dict[str, Any] = json.loads(done.stdout)
    assert [] == [check for check in data["checks"] if not check["ok"]]
    assert (0, True, 9) == (done.returncode, data["ok"], len(data["checks"]))
    assert 0 == data["requests"]["failed"]
    assert 100 < data["requests"]["sent"] == sum(row["requests"] for row in data["policies"])
    assert [] == list(folder.iterdir())


def test_json_shows_policies_spans_and_latency(done: subprocess.CompletedProcess[str]) -> None:
    """Every policy has decided on something, spans carry what the file says, and both sides' latency is there."""
    data: dict[str, Any] = json.loads(done.stdout)

    policies = {row["policy"]: row for row in data["policies"]}
    assert ["debug", "health", "checkout", "orders", "users", "default"] == list(policies)
    assert {"health": 0.0, "checkout": 1.0} == {name: policies[name]["real_ratio"] for name in ("health", "checkout")}
    assert {0.15, 0.2, 0.1} == {policies[name]["expected_ratio"] for name in ("orders", "users", "default")}
    assert 3 == len(data["spans"])
    assert {"user_id", "cache", "mesh", "sampling.reason", "sampling.policy"} <= data["spans"][0]["tags"].keys()
    sides = {(row["side"], row["service"]) for row in data["latency"]}
    assert {(side, name) for side in ("upstream", "downstream") for name in ("user-service", "order-service")} == sides
    for row in data["latency"]:
        assert 0 < row["p50_seconds"] <= row["p90_seconds"] <= row["p99_seconds"]


def test_text(tmp_path: Path) -> None:
    """The text has every section, with nothing animated where nobody looks on."""
    done = run_demo(tmp_path, "--duration", "2")

    assert 0 == done.returncode
    for heading in ("Policies", "A kept span", "Latency", "Is all of this true?", "Where to go next"):
        assert heading in done.stdout
    assert (9, 0) == (done.stdout.count("✓"), done.stdout.count("✗"))
    assert "\x1b" not in done.stdout + done.stderr
    assert 3 == len(done.stderr.splitlines())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_everything(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C in the middle ends all processes and removes all files; the exit code says which signal it was."""
    with demo_under_load(tmp_path) as (process, children):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)

        assert 2 == len(children)
        assert (code, "", "stopped; nothing is left running\n") == (process.returncode, stdout, stderr)
        assert [] == [child for child in children if child.is_running()]
        assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("word", "name"), [("serve", "extproc serve"), ("--concurrency", "envoy")])
def test_dead_process_is_an_error(tmp_path: Path, word: str, name: str) -> None:
    """A process that dies under load ends the demo at once, with an error that names it; no result is shown."""
    with demo_under_load(tmp_path) as (process, children):
        next(child for child in children if word in child.cmdline()).kill()
        stdout, stderr = process.communicate(timeout=30)

        assert (1, "") == (process.returncode, stdout)
        assert f"Error: {name} ended with exit code -9" in stderr
        assert [] == [child for child in children if child.is_running()]

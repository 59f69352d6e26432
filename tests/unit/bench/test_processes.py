"""Processes are accounted for as a whole, and end with their block."""

import sys
from pathlib import Path

import psutil
import pytest

from bench.processes import BenchError, free_ports, listens, started

BURN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(60)"
CHILD = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {BURN!r}]); time.sleep(60)"


def test_cpu_of_children_counts(tmp_path: Path) -> None:
    """What a child of a program has run is the program's."""
    with started([sys.executable, "-c", CHILD], tmp_path / "log") as program:
        program.until(lambda: program.cpu_seconds() >= 0.3, "burning")
        assert program.resident_mib() > 10


def test_a_program_that_ends_early_tells_why(tmp_path: Path) -> None:
    """Waiting for a program that has ended is an error with its last words."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such port')"]
    with started(command, tmp_path / "log") as program, pytest.raises(BenchError, match="exit code 1\nno such port"):
        program.until(lambda: False, "the server")


def test_a_program_ends_with_its_block(tmp_path: Path) -> None:
    """Nothing is left running, also after an error."""
    pids: list[int] = []
    me = psutil.Process()

    def broken() -> None:
        with started([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log"):
            pids.extend(child.pid for child in me.children())
            raise BenchError("broken")

    with pytest.raises(BenchError, match="broken"):
        broken()
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_free_ports_are_in_a_row() -> None:
    """Workers' ports count up, so all of them have to be free."""
    first = free_ports(3)
    assert [False] * 3 == [listens(port) for port in range(first, first + 3)]

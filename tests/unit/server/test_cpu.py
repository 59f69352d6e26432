"""The processor's load, from files as the kernel writes them."""

from pathlib import Path

import pytest

from extproc.server.cpu import CpuMeter


class Kernel:
    """A /proc and a /sys of files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 50.0
        self.meter = CpuMeter(root, lambda: self.now)

    def write(self, path: str, text: str) -> None:
        """One file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def host(self, busy: int, idle: int) -> None:
        """So many ticks since the start, the processors' together."""
        self.write("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n")

    def cgroup(self, path: str, limit: str | None, used_seconds: float) -> None:
        """One cgroup's limit and use."""
        if limit is not None:
            self.write(f"sys/fs/cgroup{path}/cpu.max", f"{limit}\n")
        self.write(f"sys/fs/cgroup{path}/cpu.stat", f"usage_usec {round(used_seconds * 1e6)}\nuser_usec 1\n")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """One without a word to say."""
    return Kernel(tmp_path)


def test_the_hosts_load(kernel: Kernel) -> None:
    """Busy ticks of all ticks since the last reading; waiting for a disk is no work."""
    kernel.host(1000, 3000)
    assert None is kernel.meter.read()
    kernel.host(1300, 3100)
    assert 0.75 == kernel.meter.read()
    kernel.write("proc/stat", "cpu  1350 0 0 3150 100 0 0 0 50 0\n")
    assert 0.25 == kernel.meter.read()
    assert None is kernel.meter.read()


def test_a_cgroups_load_is_of_its_limit(kernel: Kernel) -> None:
    """Half a processor that is used for a quarter is busy by half, whatever the host does."""
    kernel.host(0, 1)
    kernel.write("proc/self/cgroup", "0::/pod/container\n")
    kernel.cgroup("/pod/container", "50000 100000", 7.0)
    assert None is kernel.meter.read()
    kernel.now += 2
    kernel.host(1000, 1)
    kernel.cgroup("/pod/container", "50000 100000", 7.5)
    assert 0.5 == kernel.meter.read()
    kernel.now += 1
    kernel.cgroup("/pod/container", "50000 100000", 8.5)
    assert 1.0 == kernel.meter.read()


def test_the_tightest_limit_counts(kernel: Kernel) -> None:
    """A cgroup without a limit is bound by the one that it is in."""
    kernel.write("proc/self/cgroup", "1:name=systemd:/other\n0::/pod/container\n")
    for used in (3.0, 3.5):
        kernel.now += 1
        kernel.cgroup("/pod/container", "max 100000", 1.0)
        kernel.cgroup("/pod", "100000 100000", used)
        load = kernel.meter.read()
    assert 0.5 == load


def test_without_a_limit_it_is_the_hosts(kernel: Kernel) -> None:
    """A namespace's own root has no cpu.max at all; version 1 has other files."""
    kernel.write("proc/self/cgroup", "0::/\n")
    kernel.cgroup("", None, 1.0)
    kernel.host(10, 90)
    kernel.meter.read()
    kernel.host(20, 180)
    assert 0.1 == kernel.meter.read()


def test_a_limit_that_is_changed_begins_anew(kernel: Kernel) -> None:
    """Use under one limit is no measure of another."""
    kernel.write("proc/self/cgroup", "0::/pod\n")
    kernel.cgroup("/pod", "100000 100000", 1.0)
    kernel.meter.read()
    kernel.now += 1
    kernel.cgroup("/pod", "200000 100000", 2.0)
    assert None is kernel.meter.read()
    kernel.now += 1
    kernel.cgroup("/pod", "200000 100000", 3.0)
    assert 0.5 == kernel.meter.read()


def test_where_nobody_knows(kernel: Kernel) -> None:
    """No kernel, or one that says something else: no reading, and no error."""
    assert None is kernel.meter.read()
    kernel.write("proc/stat", "cpu idle\n")
    assert None is kernel.meter.read()


def test_this_machine() -> None:
    """What this kernel says can be read."""
    meter, loads = CpuMeter(), list[float]()
    while not loads:
        loads = [load for load in [meter.read()] if load is not None]
    assert 0 <= loads[0] <= 1

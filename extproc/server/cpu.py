"""How busy the processor is: that of our cgroup where it has a limit, else the host's.

Only cgroup v2 is read; under v1 it is the host's. Where the kernel tells neither, there are no readings.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple

_MICROSECONDS = 1e6
_IDLE = slice(3, 5)  # idle and iowait, of the columns of /proc/stat's first line
_COLUMNS = 8  # user to steal; guests' time is part of user's


class _Limit(NamedTuple):
    """A cgroup with a limit: where it is, and how many processors' time it may use."""

    folder: Path
    processors: float


class CpuMeter:
    """The load since the last reading.

    Args:
        root: Where /proc and /sys are.
        clock: Monotonic, in seconds.
    """

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = monotonic) -> None:
        self._root = root
        self._clock = clock
        self._last: tuple[_Limit | None, float, float] | None = None

    def read(self) -> float | None:
        """The share of its time that the processor was busy, from 0 to 1; None the first time, and if nobody knows."""
        limit = self._limit()
        counted = self._host() if limit is None else self._cgroup(limit)
        last, self._last = self._last, None if counted is None else (limit, *counted)
        if counted is None or last is None or last[0] != limit or counted[1] <= last[2]:
            return None
        return min(1.0, max(0.0, (counted[0] - last[1]) / (counted[1] - last[2])))

    def _host(self) -> tuple[float, float] | None:
        """Busy time and all time so far, in the kernel's ticks."""
        words = self._text(self._root / "proc/stat").partition("\n")[0].split()[1 : _COLUMNS + 1]
        if not words or not all(word.isdigit() for word in words):
            return None
        ticks = [float(word) for word in words]
        return sum(ticks) - sum(ticks[_IDLE]), sum(ticks)

    def _cgroup(self, limit: _Limit) -> tuple[float, float] | None:
        """Time used and time that may be used so far, in seconds."""
        for line in self._text(limit.folder / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec" and value.isdigit():
                return int(value) / _MICROSECONDS, self._clock() * limit.processors
        return None

    def _limit(self) -> _Limit | None:
        """The tightest limit of our cgroup and those that it is in."""
        limits = []
        for folder in self._cgroups():
            quota, _, period = self._text(folder / "cpu.max").strip().partition(" ")
            if quota.isdigit() and period.isdigit() and int(period):
                limits.append(_Limit(folder, int(quota) / int(period)))
        return min(limits, key=lambda limit: limit.processors, default=None)

    def _cgroups(self) -> Iterator[Path]:
        mount = self._root / "sys/fs/cgroup"
        for line in self._text(self._root / "proc/self/cgroup").splitlines():
            if line.startswith("0::"):
                folder = mount / line.removeprefix("0::").lstrip("/")
                yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mount))

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""

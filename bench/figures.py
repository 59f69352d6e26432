"""Figures of one suite, read from results: per round, against another case in the same round, and their spread."""

import statistics
from collections.abc import Callable, Sequence

from bench.cases import CASES
from bench.results import Results, Sample

Read = Callable[[Sample], float]
_ORDER = {name: place for place, name in enumerate(CASES)}


class Figures:
    """What was measured of one suite.

    Attributes:
        reasons: Why points have no figures: a case with a single failed request has none, for what it then did was
            not its job.
        points: Those that have figures.
    """

    def __init__(self, results: Results, suite: str) -> None:
        failed = [(*place.split("/", 1), reason) for place, reason in results.failed.items()]
        self.reasons = {point: reason.splitlines()[0] for name, point, reason in failed if name == suite}
        samples = [sample for sample in results.samples if sample["suite"] == suite]
        for sample in samples:
            if sample["failures"]:
                self.reasons[sample["point"]] = f"{sample['failures']} of {sample['requests']} requests failed"
        self._samples = {
            (each["point"], each["phase"], each["round"]): each for each in samples if each["point"] not in self.reasons
        }
        self.points = sorted({point for point, _, _ in self._samples}, key=_place)

    def has(self, point: str, phase: str) -> bool:
        """Whether anything was measured there."""
        return bool(self.rounds(point, phase))

    def rounds(self, point: str, phase: str) -> list[int]:
        """The rounds that a point has."""
        return sorted(number for name, kind, number in self._samples if (name, kind) == (point, phase))

    def values(self, point: str, phase: str, read: Read) -> list[float]:
        """A figure of each round."""
        return [read(self._samples[point, phase, number]) for number in self.rounds(point, phase)]

    def against(self, point: str, other: str, phase: str, read: Callable[[Sample, Sample], float]) -> list[float]:
        """A figure of two points, for each round that has both."""
        both = [number for number in self.rounds(point, phase) if number in self.rounds(other, phase)]
        return [read(self._samples[point, phase, number], self._samples[other, phase, number]) for number in both]


def latency(percentile: str) -> Read:
    """Milliseconds at a percentile."""
    return lambda sample: float(sample["latency_ms"][percentile])


def figure(name: str) -> Read:
    """Any other figure of a sample."""
    return lambda sample: float(sample[name])


def cpu(sample: Sample) -> float:
    """Microseconds of CPU per request, the server's and Envoy's."""
    return float(sample["server_us"] + sample["envoy_us"])


def over(read: Read) -> Callable[[Sample, Sample], float]:
    """A figure as a multiple of the other's."""
    return lambda ours, theirs: read(ours) / read(theirs)


def added(read: Read) -> Callable[[Sample, Sample], float]:
    """A figure less the other's."""
    return lambda ours, theirs: read(ours) - read(theirs)


def spread(values: Sequence[float], digits: int) -> str:
    """Minimum – median – maximum, the one value there is, or a dash."""
    if len(values) < 2:  # noqa: PLR2004
        return middle(values, digits)
    return " – ".join(f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def middle(values: Sequence[float], digits: int) -> str:
    """The median, or a dash."""
    return f"{statistics.median(values):,.{digits}f}" if values else "–"


def _place(point: str) -> tuple[float, str]:
    try:
        return _ORDER.get(point) or float(point), point
    except ValueError:
        return 0, point

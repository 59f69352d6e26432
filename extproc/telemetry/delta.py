"""What a Recorder hands over: plain data that pickles, and the arithmetic of histograms."""

from dataclasses import dataclass, field
from operator import add, sub

from extproc.engine.audit import AuditRecord
from extproc.engine.span import Span
from extproc.telemetry.instruments import AttributeSet


@dataclass(frozen=True, slots=True)
class Distribution:
    """One histogram point. `buckets` has one count per bound and a last one for all above; `sum` is in its unit."""

    buckets: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values were recorded."""
        return sum(self.buckets)

    def __add__(self, other: "Distribution") -> "Distribution":
        return Distribution(tuple(map(add, self.buckets, other.buckets)), self.sum + other.sum)

    def __sub__(self, other: "Distribution") -> "Distribution":
        return Distribution(tuple(map(sub, self.buckets, other.buckets)), self.sum - other.sum)


@dataclass(frozen=True, slots=True)
class Delta:
    """What was recorded between two calls of `Recorder.collect`; of metrics only the points that changed, by name."""

    numbers: dict[str, dict[AttributeSet, int]] = field(default_factory=dict)
    histograms: dict[str, dict[AttributeSet, Distribution]] = field(default_factory=dict)
    audit: list[AuditRecord] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

"""The counters and histograms that recording adds to, and the rule that bounds how many there are."""

from bisect import bisect_left
from collections.abc import Mapping

from extproc.telemetry.delta import Distribution
from extproc.telemetry.instruments import OVERFLOW, AttributeSet


class NumberCell:
    """One counter since it was last taken. Recording is `cell.value += n`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def take(self) -> int | None:
        """Return what was added since the last call and start again from nothing; None if that is 0."""
        value, self.value = self.value, 0
        return value or None


class HistogramCell:
    """One histogram since it was last taken: `buckets` as in Distribution, `sum` in the instrument's unit.

    Hot callers find the bucket themselves, once for all cells with the same bounds, and add to `buckets` and `sum`.
    """

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def record(self, value: float) -> None:
        """Count one value. Bounds are inclusive, as OTLP's upper bounds are."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def take(self) -> Distribution | None:
        """Return what was recorded since the last call and start again from nothing; None if that is nothing."""
        if not any(self.buckets):
            return None
        taken = Distribution(tuple(self.buckets), self.sum)
        self.buckets = [0] * len(taken.buckets)
        self.sum = 0.0
        return taken


def admit(existing: Mapping[AttributeSet, object], attributes: AttributeSet, limit: int) -> AttributeSet:
    """Return the set under which a point with `attributes` is kept: its own, or OVERFLOW once there are `limit` - 1."""
    if attributes in existing or len(existing) < limit - 1:
        return attributes
    return OVERFLOW

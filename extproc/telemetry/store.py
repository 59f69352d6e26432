"""All workers' Deltas added up since the start: what OTLP, /metrics and /policy read.

A Store lives on one event loop. Its values are immutable and replaced when they change, so that a Snapshot, which
other threads may read, is a copy of dicts and not of every bucket.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from extproc.telemetry.cells import admit
from extproc.telemetry.delta import Delta, Distribution
from extproc.telemetry.instruments import (
    BY_NAME,
    CARDINALITY_LIMIT,
    INSTRUMENTS,
    AttributeSet,
    AttributeValue,
    Kind,
    attribute_set,
)

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every metric at one moment, all but gauges cumulative since `start_unix_nanos`. Safe to read from any thread."""

    start_unix_nanos: int
    time_unix_nanos: int
    numbers: Mapping[str, Mapping[AttributeSet, int]]
    gauges: Mapping[str, Mapping[AttributeSet, float]]
    histograms: Mapping[str, Mapping[AttributeSet, Distribution]]


class Store:
    """Cumulative values of every metric, and the present ones of gauges.

    Args:
        limit: Attribute sets per metric, the overflow set among them.
        clock: Unix time in nanoseconds.
    """

    def __init__(self, *, limit: int = CARDINALITY_LIMIT, clock: Callable[[], int] = time.time_ns) -> None:
        self._limit = limit
        self._clock = clock
        self._start_unix_nanos = clock()
        self._numbers: dict[str, dict[AttributeSet, int]] = {}
        self._gauges: dict[str, dict[AttributeSet, float]] = {}
        self._histograms: dict[str, dict[AttributeSet, Distribution]] = {}
        self._present: dict[str, dict[tuple[str, AttributeSet], int]] = {}
        """By source, what it added to up-down counters, by metric and attributes as kept."""
        for instrument in INSTRUMENTS:
            if instrument.kind is Kind.HISTOGRAM:
                self._histograms[instrument.name] = {}
            elif instrument.kind is Kind.GAUGE:
                self._gauges[instrument.name] = {}
            else:
                self._numbers[instrument.name] = dict.fromkeys(instrument.known, 0)

    def add(self, delta: Delta, source: str) -> None:
        """Add what a worker recorded. `source` names that worker, for `forget`."""
        for name, numbers in delta.numbers.items():
            up_down = BY_NAME[name].kind is Kind.UP_DOWN_COUNTER
            for attributes, change in numbers.items():
                kept = self._add_number(name, attributes, change)
                if up_down:
                    present = self._present.setdefault(source, {})
                    present[name, kept] = present.get((name, kept), 0) + change
        for name, histograms in delta.histograms.items():
            values = self._histograms[name]
            for attributes, recorded in histograms.items():
                kept = admit(values, attributes, self._limit)
                before = values.get(kept)
                values[kept] = recorded if before is None else before + recorded

    def forget(self, source: str) -> None:
        """Take back what a worker that is gone had added to up-down counters: its connections ended with it."""
        for (name, attributes), amount in self._present.pop(source, {}).items():
            self._numbers[name][attributes] -= amount

    def count(self, metric: str, amount: int = 1, **attributes: AttributeValue) -> None:
        """Add to a counter that the supervisor itself keeps.

        Raises:
            ValueError: `attributes` are not exactly those of the metric.
        """
        instrument = BY_NAME[metric]
        if set(attributes) != set(instrument.attributes):
            expected = ", ".join(instrument.attributes) or "none"
            raise ValueError(f"{metric}: expected the attributes {expected}, got {', '.join(attributes) or 'none'}")
        values = (attributes[name] for name in instrument.attributes)
        self._add_number(metric, attribute_set(instrument, *values), amount)

    def show(self, metric: str, points: Mapping[AttributeSet, float]) -> None:
        """Make these the points of a gauge, and all that it had before are gone. Those past the limit are left out."""
        self._gauges[metric] = dict(islice(points.items(), self._limit))

    def snapshot(self) -> Snapshot:
        """Copy the present values."""
        return Snapshot(
            start_unix_nanos=self._start_unix_nanos,
            time_unix_nanos=self._clock(),
            numbers=_frozen(self._numbers),
            gauges=_frozen(self._gauges),
            histograms=_frozen(self._histograms),
        )

    def _add_number(self, name: str, attributes: AttributeSet, change: int) -> AttributeSet:
        values = self._numbers[name]
        kept = admit(values, attributes, self._limit)
        values[kept] = values.get(kept, 0) + change
        return kept


def _frozen(tables: Mapping[str, Mapping[AttributeSet, _Value]]) -> Mapping[str, Mapping[AttributeSet, _Value]]:
    return MappingProxyType({name: MappingProxyType(dict(values)) for name, values in tables.items()})

"""A Snapshot as Prometheus text.

Names and labels follow OpenTelemetry's "Prometheus and OpenMetrics Compatibility": dots become underscores, the unit
is spelled out once, counters end in `_total` once, and the Resource is the `target_info` series.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from opentelemetry.sdk.resources import Resource
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from extproc.telemetry.delta import Distribution
from extproc.telemetry.instruments import INSTRUMENTS, AttributeSet, Instrument, Kind
from extproc.telemetry.store import Snapshot

_TYPES = {Kind.COUNTER: "counter", Kind.UP_DOWN_COUNTER: "gauge", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
_UNITS = {"s": "_seconds", "By": "_bytes"}
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def render(snapshot: Snapshot, resource: Resource) -> tuple[bytes, str]:
    """Return the body and the content type of an answer to GET /metrics."""
    return generate_latest(_Families(snapshot, resource)), CONTENT_TYPE_PLAIN_0_0_4


class _Families(Collector):
    """One Snapshot in the form that prometheus_client writes out."""

    def __init__(self, snapshot: Snapshot, resource: Resource) -> None:
        self._snapshot = snapshot
        self._resource = resource

    def collect(self) -> Iterator[Metric]:
        target = Metric("target", "Who these metrics come from.", "info")
        target.add_sample("target_info", _labels(self._resource.attributes.items()), 1)
        yield target
        for instrument in INSTRUMENTS:
            family = Metric(_family_name(instrument), instrument.description, _TYPES[instrument.kind])
            if instrument.kind is Kind.HISTOGRAM:
                _add_histograms(family, instrument, self._snapshot.histograms[instrument.name])
            elif instrument.kind is Kind.GAUGE:
                _add_numbers(family, self._snapshot.gauges[instrument.name])
            else:
                _add_numbers(family, self._snapshot.numbers[instrument.name])
            yield family


def _family_name(instrument: Instrument) -> str:
    """Name a family: for a counter without `_total`, which its samples and its TYPE line get."""
    name = _NOT_IN_A_NAME.sub("_", instrument.name).removesuffix("_total")
    unit = _UNITS.get(instrument.unit, "")
    return name if name.endswith(unit) else name + unit


def _add_numbers(family: Metric, points: Mapping[AttributeSet, float]) -> None:
    name = family.name + ("_total" if family.type == "counter" else "")
    for attributes, value in points.items():
        family.add_sample(name, _labels(attributes), value)


def _add_histograms(family: Metric, instrument: Instrument, points: Mapping[AttributeSet, Distribution]) -> None:
    bounds = [*map(repr, instrument.bounds), "+Inf"]
    for attributes, point in points.items():
        labels = _labels(attributes)
        for bound, below in zip(bounds, accumulate(point.buckets), strict=True):
            family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, below)
        family.add_sample(f"{family.name}_count", labels, point.count)
        family.add_sample(f"{family.name}_sum", labels, point.sum)


def _labels(attributes: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Turn attributes into labels; values whose names come out the same are joined by `;`, as specified."""
    labels: dict[str, str] = {}
    for name, value in sorted(attributes):
        label = _label_name(name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        labels[label] = f"{labels[label]};{text}" if label in labels else text
    return labels


def _label_name(name: str) -> str:
    label = _NOT_IN_A_NAME.sub("_", name)
    return f"key_{label}" if label[:1].isdigit() else label

"""A Snapshot in the OpenTelemetry SDK's data model, for OpenTelemetry's exporters."""

from collections.abc import Iterator, Mapping
from typing import cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from extproc import __version__
from extproc.telemetry.instruments import INSTRUMENTS, Instrument, Kind
from extproc.telemetry.store import Snapshot

_SCOPE = InstrumentationScope("extproc", __version__)
_NOT_RECORDED = cast("float", None)
"""Minimum and maximum: optional in OTLP, and over the life of a process they say nothing. The encoder omits None."""


def encode(snapshot: Snapshot, baseline: Mapping[str, Snapshot] | None) -> list[Metric]:
    """Return every metric that has points.

    With `baseline` None all are cumulative since the start. Otherwise it holds, by metric name, the snapshot that the
    receiver already has, and a metric is sent as what came since then (delta temporality). Up-down counters are always
    cumulative, as OpenTelemetry's temporality preferences have it, and gauges are what they are.
    """
    metrics = []
    for instrument in INSTRUMENTS:
        data = _data(instrument, snapshot, baseline)
        if data.data_points:
            metrics.append(Metric(instrument.name, instrument.description, instrument.unit, data))
    return metrics


def batches(resource: Resource, metrics: list[Metric], limit: int) -> Iterator[tuple[list[Metric], MetricsData]]:
    """Group metrics into requests of at most `limit` points, a metric never being split.

    A collector refuses gRPC messages above 4 MiB, and 2,000 histogram points come to about a quarter of that.
    """
    batch: list[Metric] = []
    for metric in metrics:
        if batch and count_points([*batch, metric]) > limit:
            yield batch, _request(resource, batch)
            batch = []
        batch.append(metric)
    if batch:
        yield batch, _request(resource, batch)


def count_points(metrics: list[Metric]) -> int:
    """How many data points `metrics` hold."""
    return sum(len(metric.data.data_points) for metric in metrics)


def _request(resource: Resource, metrics: list[Metric]) -> MetricsData:
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(_SCOPE, metrics, "")], "")])


def _data(
    instrument: Instrument, snapshot: Snapshot, baseline: Mapping[str, Snapshot] | None
) -> Gauge | Histogram | Sum:
    if instrument.kind is Kind.GAUGE:
        return _gauge(instrument, snapshot)
    delta = baseline is not None and instrument.kind is not Kind.UP_DOWN_COUNTER
    before = baseline.get(instrument.name) if baseline is not None and delta else None
    build = _histogram if instrument.kind is Kind.HISTOGRAM else _sum
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    return build(instrument, snapshot, before, temporality)


def _gauge(instrument: Instrument, snapshot: Snapshot) -> Gauge:
    start, now = snapshot.start_unix_nanos, snapshot.time_unix_nanos
    points = snapshot.gauges[instrument.name].items()
    return Gauge([NumberDataPoint(dict(attributes), start, now, value) for attributes, value in points])


def _sum(
    instrument: Instrument, snapshot: Snapshot, before: Snapshot | None, temporality: AggregationTemporality
) -> Sum:
    seen = before.numbers[instrument.name] if before else {}
    start = before.time_unix_nanos if before else snapshot.start_unix_nanos
    points = [
        NumberDataPoint(dict(attributes), start, snapshot.time_unix_nanos, value - seen.get(attributes, 0))
        for attributes, value in snapshot.numbers[instrument.name].items()
        if value != seen.get(attributes)
    ]
    return Sum(points, temporality, is_monotonic=instrument.kind is Kind.COUNTER)


def _histogram(
    instrument: Instrument, snapshot: Snapshot, before: Snapshot | None, temporality: AggregationTemporality
) -> Histogram:
    seen = before.histograms[instrument.name] if before else {}
    start = before.time_unix_nanos if before else snapshot.start_unix_nanos
    points = []
    for attributes, value in snapshot.histograms[instrument.name].items():
        known = seen.get(attributes)
        if value == known:
            continue
        change = value if known is None else value - known
        points.append(
            HistogramDataPoint(
                attributes=dict(attributes),
                start_time_unix_nano=start,
                time_unix_nano=snapshot.time_unix_nanos,
                count=change.count,
                sum=change.sum,
                bucket_counts=change.buckets,
                explicit_bounds=instrument.bounds,
                min=_NOT_RECORDED,
                max=_NOT_RECORDED,
            )
        )
    return Histogram(points, temporality)

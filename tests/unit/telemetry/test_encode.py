"""Snapshots in OpenTelemetry's data model: since the start, or since what the receiver has."""

from typing import Any

from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Metric
from opentelemetry.sdk.resources import Resource

from extproc.telemetry.encode import batches, count_points, encode
from extproc.telemetry.instruments import BY_NAME
from extproc.telemetry.recorder import Recorder
from extproc.telemetry.store import Store
from outcomes import answered

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
REQUESTS, DURATION = "envoy_http_requests_total", "http.server.request.duration"
RATIO = "extproc.policy.ratio"


class _Recording:
    """A Store whose clock counts snapshots from 1."""

    def __init__(self) -> None:
        self._ticks = 0
        self.recorder = Recorder()
        self.store = Store(clock=self._tick)

    def _tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def request(self, status: int = 200, connections: int = 0) -> None:
        self.recorder.request(answered(status_code=status))
        self.recorder.connections(connections)
        self.store.add(self.recorder.collect(), "0")


def _by_name(metrics: list[Metric]) -> dict[str, Any]:
    """Return the data of each metric; Any, for each has points of its own kind."""
    return {metric.name: metric.data for metric in metrics}


def test_cumulative() -> None:
    """Points carry all since the start, whatever was sent before."""
    recording = _Recording()
    recording.request()
    recording.store.snapshot()
    recording.request()
    metrics = _by_name(encode(recording.store.snapshot(), None))
    (requests,) = metrics[REQUESTS].data_points
    assert (2, 1, 3) == (requests.value, requests.start_time_unix_nano, requests.time_unix_nano)
    (duration,) = metrics[DURATION].data_points
    assert (2, 0.5, 2) == (duration.count, duration.sum, sum(duration.bucket_counts))
    assert BY_NAME[DURATION].bounds == duration.explicit_bounds
    assert {CUMULATIVE} == {data.aggregation_temporality for data in metrics.values()}
    assert metrics[REQUESTS].is_monotonic
    assert not metrics["envoy_active_connections"].is_monotonic


def test_units_and_descriptions() -> None:
    """They are the table's."""
    recording = _Recording()
    recording.request()
    for metric in encode(recording.store.snapshot(), None):
        instrument = BY_NAME[metric.name]
        assert (instrument.unit, instrument.description) == (metric.unit, metric.description)


def test_delta() -> None:
    """Points carry what came since the receiver's snapshot, unchanged ones none; connections stay as they are."""
    recording = _Recording()
    recording.request(200, connections=4)
    first = recording.store.snapshot()
    whole = _by_name(encode(first, {}))
    assert [1] == [point.value for point in whole[REQUESTS].data_points]
    recording.request(503, connections=-1)
    second = recording.store.snapshot()
    metrics = _by_name(encode(second, dict.fromkeys(BY_NAME, first)))
    assert {REQUESTS, "envoy_http_errors_total", "extproc.decisions", DURATION} <= set(metrics)
    assert "extproc.policy.reloads" not in metrics
    (requests,) = metrics[REQUESTS].data_points
    assert 503 == requests.attributes["status_code"]
    assert (1, 2, 3) == (requests.value, requests.start_time_unix_nano, requests.time_unix_nano)
    (upstream,) = metrics["envoy_upstream_latency_seconds"].data_points
    assert (1, 0.125, 2) == (upstream.count, upstream.sum, upstream.start_time_unix_nano)
    connections = metrics.pop("envoy_active_connections")
    assert [3] == [point.value for point in connections.data_points]
    assert CUMULATIVE == connections.aggregation_temporality
    assert {DELTA} == {data.aggregation_temporality for data in metrics.values()}


def test_gauges() -> None:
    """A gauge is sent whole each time, changed or not and whatever was sent before."""
    recording = _Recording()
    recording.store.show(RATIO, {(("policy", "orders"),): 0.25})
    first = recording.store.snapshot()
    for metrics in (encode(first, None), encode(recording.store.snapshot(), dict.fromkeys(BY_NAME, first))):
        ratio = _by_name(metrics)[RATIO]
        assert isinstance(ratio, Gauge)
        assert [({"policy": "orders"}, 0.25)] == [(point.attributes, point.value) for point in ratio.data_points]


def test_deltas_add_up() -> None:
    """A snapshot that was never delivered leaves its share to the next."""
    recording = _Recording()
    recording.request()
    first = recording.store.snapshot()
    recording.request()
    recording.store.snapshot()
    recording.request()
    metrics = _by_name(encode(recording.store.snapshot(), dict.fromkeys(BY_NAME, first)))
    assert [2] == [point.value for point in metrics[REQUESTS].data_points]


def test_batches() -> None:
    """Requests stay below the limit, a metric in one piece, and nothing is left out or sent twice."""
    recording = _Recording()
    for status in range(200, 210):
        recording.request(status)
    metrics = encode(recording.store.snapshot(), None)
    parts = list(batches(Resource({}), metrics, 12))
    assert len(parts) > 1
    assert metrics == [metric for batch, _ in parts for metric in batch]
    assert all(count_points(batch) <= 12 for batch, _ in parts)
    for batch, request in parts:
        assert batch == request.resource_metrics[0].scope_metrics[0].metrics

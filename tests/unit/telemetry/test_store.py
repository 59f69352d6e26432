"""Deltas of several workers, added up."""

import itertools
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.engine.outcome import Outcome, Phase, Reason, StreamError
from extproc.telemetry.delta import Delta
from extproc.telemetry.instruments import INSTRUMENTS, OVERFLOW, AttributeSet, Kind
from extproc.telemetry.recorder import Recorder
from extproc.telemetry.store import Snapshot, Store
from outcomes import answered, unanswered

CONNECTIONS = "envoy_active_connections"


def _connections(store: Store) -> int:
    return store.snapshot().numbers[CONNECTIONS][()]


def _recorded(*outcomes: Outcome) -> Delta:
    recorder = Recorder()
    for outcome in outcomes:
        recorder.request(outcome)
    return recorder.collect()


def test_workers_add_up() -> None:
    """The same attributes from two workers are one point."""
    store = Store()
    store.add(_recorded(answered()), "0")
    store.add(_recorded(answered()), "1")
    snapshot = store.snapshot()
    assert [2] == list(snapshot.numbers["envoy_http_requests_total"].values())
    (point,) = snapshot.histograms["http.server.request.duration"].values()
    assert (2, 0.5) == (point.count, point.sum)


def test_forget() -> None:
    """A dead worker's connections are gone, another's stay, and what it counted stays too."""
    store = Store()
    for source in ("0", "1"):
        recorder = Recorder()
        recorder.connections(2)
        recorder.request(answered())
        store.add(recorder.collect(), source)
        recorder.connections(1)
        store.add(recorder.collect(), source)
    assert 6 == _connections(store)
    store.forget("0")
    store.forget("0")
    store.forget("never seen")
    assert 3 == _connections(store)
    assert [2] == list(store.snapshot().numbers["envoy_http_requests_total"].values())


def test_forgotten_source_starts_anew() -> None:
    """A worker that takes a dead one's name counts from nothing."""
    store = Store()
    recorder = Recorder()
    recorder.connections(5)
    store.add(recorder.collect(), "0")
    store.forget("0")
    recorder.connections(1)
    store.add(recorder.collect(), "0")
    assert 1 == _connections(store)
    store.forget("0")
    assert 0 == _connections(store)


def test_limit_holds_across_workers() -> None:
    """Two workers' sets unite under one limit, and nothing is lost."""
    store = Store(limit=10)
    for source, first in (("0", 200), ("1", 300)):
        recorder = Recorder(limit=10)
        for status in range(first, first + 20):
            recorder.request(answered(status_code=status))
        store.add(recorder.collect(), source)
    snapshot = store.snapshot()
    requests = snapshot.numbers["envoy_http_requests_total"]
    assert 10 == len(requests)
    assert 40 == sum(requests.values())
    assert 31 == requests[OVERFLOW]
    durations = snapshot.histograms["http.server.request.duration"]
    assert 10 == len(durations)
    assert 40 == sum(point.count for point in durations.values())


def test_show() -> None:
    """A gauge's points are those that were shown last, up to the limit; a snapshot keeps what it had."""
    store = Store(limit=2)
    assert {} == store.snapshot().gauges["extproc.policy.ratio"]
    a, b, c = ((("policy", name),) for name in "abc")
    store.show("extproc.policy.ratio", {a: 0.5, b: 1.0, c: 0.0})
    before = store.snapshot()
    store.show("extproc.policy.ratio", {c: 0.25})
    assert {a: 0.5, b: 1.0} == before.gauges["extproc.policy.ratio"]
    assert {c: 0.25} == store.snapshot().gauges["extproc.policy.ratio"]


def test_count() -> None:
    """The supervisor's own counters are there at 0 before anything happens, and count."""
    store = Store()
    assert {(("result", "ok"),): 0, (("result", "error"),): 0} == store.snapshot().numbers["extproc.policy.reloads"]
    store.count("extproc.policy.reloads", result="ok")
    store.count("extproc.export.dropped", 7, signal="metrics")
    store.count("extproc.worker.restarts")
    numbers = store.snapshot().numbers
    assert 1 == numbers["extproc.policy.reloads"][("result", "ok"),]
    assert 7 == numbers["extproc.export.dropped"][("signal", "metrics"),]
    assert 1 == numbers["extproc.worker.restarts"][()]


@pytest.mark.parametrize("attributes", [{}, {"reason": "ok"}, {"result": "ok", "type": "x"}])
def test_count_asks_for_the_right_attributes(attributes: dict[str, Any]) -> None:
    """A counter of ours with the wrong attributes is a mistake in the code, and says what was expected."""
    with pytest.raises(ValueError, match=r"extproc\.policy\.reloads: expected the attributes result, got "):
        Store().count("extproc.policy.reloads", **attributes)


def test_snapshot_does_not_change() -> None:
    """A Snapshot stays as it was taken while the Store goes on, and cannot be written to."""
    store = Store()
    store.add(_recorded(answered()), "0")
    before = store.snapshot()
    store.add(_recorded(answered(), answered(status_code=404)), "0")
    assert [1] == list(before.numbers["envoy_http_requests_total"].values())
    assert [1] == [point.count for point in before.histograms["http.server.request.duration"].values()]
    with pytest.raises(TypeError):
        before.numbers["envoy_http_requests_total"][()] = 1  # type: ignore[index]


def test_times() -> None:
    """Everything is cumulative since the Store was made."""
    ticks = iter((100, 150, 175))
    store = Store(clock=lambda: next(ticks))
    first, second = store.snapshot(), store.snapshot()
    assert (100, 150) == (first.start_unix_nanos, first.time_unix_nanos)
    assert (100, 175) == (second.start_unix_nanos, second.time_unix_nanos)


# Multiples of 1/1024 s: sums of them are exact in whatever order they are added.
_SECONDS = st.integers(0, 20_000).map(lambda number: number / 1024)
_ANSWERED = st.builds(
    answered,
    method=st.sampled_from(["GET", "POST", "_OTHER"]),
    path=st.sampled_from(["*", "/a", "/a/{b}"]),
    status_code=st.sampled_from([200, 404, 503]),
    service=st.sampled_from(["a", "b"]),
    reason=st.sampled_from(list(Reason)),
    sampled=st.booleans(),
    error_type=st.sampled_from([None, "5xx", "UF"]),
    upstream_port=st.sampled_from([0, 80]),
    duration_seconds=_SECONDS,
    upstream_seconds=_SECONDS | st.none(),
    downstream_seconds=_SECONDS | st.none(),
)
_STEPS = st.one_of(
    st.tuples(st.just("request"), _ANSWERED | st.builds(unanswered, duration_seconds=_SECONDS)),
    st.tuples(st.just("message"), st.tuples(st.sampled_from(list(Phase)), _SECONDS)),
    st.tuples(st.just("stream_error"), st.sampled_from(list(StreamError))),
    st.tuples(st.just("connections"), st.sampled_from([1, -1])),
    st.tuples(st.just("collect"), st.none()),
    st.tuples(st.just("add"), st.none()),
)


class _Model:
    """Recording as one would write it with no thought of speed: a list of values for each point."""

    def __init__(self) -> None:
        self.numbers: Counter[tuple[str, AttributeSet]] = Counter()
        self.values: dict[tuple[str, AttributeSet], list[float]] = {}

    def request(self, outcome: Outcome) -> None:
        status, error = outcome.status_code, outcome.error_type
        request = {"method": outcome.method, "path": outcome.path, "status_code": status, "service": outcome.service}
        http = {"http.request.method": outcome.method, "http.response.status_code": status or None}
        route = outcome.path if outcome.path != "*" else None
        service = {"service": outcome.service}
        self._add("envoy_http_requests_total", request)
        self._add("extproc.decisions", {"policy": outcome.policy, "reason": outcome.reason, "sampled": outcome.sampled})
        if status >= 400:
            self._add("envoy_http_errors_total", request)
        if error:
            self._add("envoy_errors_total", {"error_type": error})
        server = {**http, "http.route": route, "url.scheme": outcome.scheme, "error.type": error}
        client = {**http, "server.address": outcome.service, "server.port": outcome.upstream_port or None}
        self._record("envoy_http_request_duration_seconds", request, outcome.duration_seconds)
        self._record("http.server.request.duration", server, outcome.duration_seconds)
        if status and outcome.upstream_seconds is not None:
            self._record("envoy_upstream_latency_seconds", service, outcome.upstream_seconds)
            self._record("http.client.request.duration", {**client, "error.type": error}, outcome.upstream_seconds)
        if status and outcome.downstream_seconds is not None:
            self._record("envoy_downstream_latency_seconds", service, outcome.downstream_seconds)

    def message(self, phase: Phase, seconds: float) -> None:
        self._record("extproc.message.duration", {"phase": phase}, seconds)

    def stream_error(self, kind: StreamError) -> None:
        self._add("extproc.stream.errors", {"type": kind})

    def connections(self, change: int) -> None:
        self._add(CONNECTIONS, {}, change)

    def _add(self, name: str, attributes: dict[str, Any], amount: int = 1) -> None:
        self.numbers[name, _set(attributes)] += amount

    def _record(self, name: str, attributes: dict[str, Any], value: float) -> None:
        self.values.setdefault((name, _set(attributes)), []).append(value)


def _set(attributes: dict[str, Any]) -> AttributeSet:
    return tuple((name, value) for name, value in attributes.items() if value is not None)


def _play(steps: list[tuple[str, Any]], recorder: Recorder, store: Store) -> _Model:
    """Do the steps to a recorder and to a model of it; what is left is collected and added at the end."""
    model = _Model()
    waiting: list[Delta] = []
    for name, argument in [*steps, ("collect", None), *[("add", None)] * (len(steps) + 1)]:
        if name == "collect":
            waiting.append(recorder.collect())
        elif name == "add":
            if waiting:
                store.add(waiting.pop(0), "0")
        else:
            arguments = (argument,) if isinstance(argument, Outcome) or not isinstance(argument, tuple) else argument
            getattr(recorder, name)(*arguments)
            getattr(model, name)(*arguments)
    return model


@settings(deadline=None)
@given(st.lists(_STEPS, max_size=60))
def test_nothing_is_lost(steps: list[tuple[str, Any]]) -> None:
    """However recording, collecting and adding are interleaved, the Store holds what a naive count would."""
    store = Store()
    model = _play(steps, Recorder(row_limit=3), store)
    snapshot = store.snapshot()
    numbers = {(name, key): value for name, points in snapshot.numbers.items() for key, value in points.items()}
    assert {key: value for key, value in model.numbers.items() if value} == {
        key: value for key, value in numbers.items() if value
    }
    assert {key: _expected(*key, values) for key, values in model.values.items()} == {
        (name, key): (point.buckets, point.sum)
        for name, points in snapshot.histograms.items()
        for key, point in points.items()
    }


@settings(deadline=None)
@given(st.lists(_STEPS, max_size=60), st.integers(2, 6), st.integers(2, 6))
def test_totals_survive_overflow(steps: list[tuple[str, Any]], recorder_limit: int, store_limit: int) -> None:
    """With any limits, no metric has more sets than it may, and its total is right."""
    store = Store(limit=store_limit)
    model = _play(steps, Recorder(limit=recorder_limit), store)
    snapshot = store.snapshot()
    for instrument in INSTRUMENTS:
        name = instrument.name
        assert _sets(snapshot, name) <= max(store_limit, len(instrument.known) + 1)
        if instrument.kind is Kind.HISTOGRAM:
            expected = [value for (metric, _), values in model.values.items() if metric == name for value in values]
            points = snapshot.histograms[name].values()
            assert (len(expected), sum(expected)) == (sum(p.count for p in points), sum(p.sum for p in points))
        elif instrument.kind is not Kind.GAUGE:
            expected_sum = sum(value for (metric, _), value in model.numbers.items() if metric == name)
            assert expected_sum == sum(snapshot.numbers[name].values())


def _sets(snapshot: Snapshot, name: str) -> int:
    return len(snapshot.numbers.get(name) or snapshot.histograms.get(name) or ())


def _expected(name: str, _key: AttributeSet, values: list[float]) -> tuple[tuple[int, ...], float]:
    (bounds,) = [instrument.bounds for instrument in INSTRUMENTS if instrument.name == name]
    edges = [float("-inf"), *bounds, float("inf")]
    buckets = [sum(low < value <= high for value in values) for low, high in itertools.pairwise(edges)]
    return tuple(buckets), float(sum(map(Fraction, values)))

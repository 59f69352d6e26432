"""What is recorded of a request, where it is bounded, and what it costs."""

import pickle

import pytest

from audits import audited
from extproc.engine.outcome import Phase, Reason, StreamError
from extproc.telemetry.delta import Delta, Distribution
from extproc.telemetry.instruments import INSTRUMENTS, OVERFLOW, SECONDS, Instrument, Kind
from extproc.telemetry.recorder import Recorder
from outcomes import answered, unanswered


def _only(seconds: float) -> Distribution:
    """Return the distribution of one value, by counting the bounds below it."""
    buckets = [0] * (len(SECONDS) + 1)
    buckets[sum(bound < seconds for bound in SECONDS)] = 1
    return Distribution(tuple(buckets), seconds)


def test_answered_request() -> None:
    """A request that went well is in every metric of requests, with the attributes of the table, and in no error."""
    recorder = Recorder()
    recorder.request(answered())
    request = (("method", "GET"), ("path", "/api/orders/{id}"), ("status_code", 200), ("service", "order-service"))
    http = (("http.request.method", "GET"), ("http.response.status_code", 200))
    server = (*http, ("http.route", "/api/orders/{id}"), ("url.scheme", "http"))
    client = (*http, ("server.address", "order-service"), ("server.port", 8080))
    service = (("service", "order-service"),)
    expected = Delta(
        numbers={
            "envoy_http_requests_total": {request: 1},
            "extproc.decisions": {(("policy", "orders"), ("reason", "policy"), ("sampled", True)): 1},
        },
        histograms={
            "envoy_http_request_duration_seconds": {request: _only(0.25)},
            "http.server.request.duration": {server: _only(0.25)},
            "envoy_upstream_latency_seconds": {service: _only(0.125)},
            "http.client.request.duration": {client: _only(0.125)},
            "envoy_downstream_latency_seconds": {service: _only(0.0625)},
        },
    )
    assert expected == recorder.collect()


def test_failed_request() -> None:
    """Status 400 and above counts as an HTTP error, an error type in envoy_errors_total and as error.type."""
    recorder = Recorder()
    recorder.request(answered(status_code=399))
    recorder.request(answered(status_code=400))
    recorder.request(answered(status_code=503, error_type="5xx"))
    delta = recorder.collect()
    statuses = [dict(key)["status_code"] for key in delta.numbers["envoy_http_errors_total"]]
    assert [400, 503] == statuses
    assert {(("error_type", "5xx"),): 1} == delta.numbers["envoy_errors_total"]
    for name in ("http.server.request.duration", "http.client.request.duration"):
        errors = [dict(key).get("error.type") for key in delta.histograms[name]]
        assert [None, None, "5xx"] == errors


def test_unanswered_request() -> None:
    """Without a response there is no latency to speak of, and no status code in OpenTelemetry's metric."""
    recorder = Recorder()
    recorder.request(unanswered())
    delta = recorder.collect()
    assert {"envoy_http_request_duration_seconds", "http.server.request.duration"} == set(delta.histograms)
    (server,) = delta.histograms["http.server.request.duration"]
    assert "http.response.status_code" not in dict(server)
    (request,) = delta.numbers["envoy_http_requests_total"]
    assert 0 == dict(request)["status_code"]


def test_latency_without_status_is_not_recorded() -> None:
    """Times that an Outcome claims for a response without a status are left out."""
    recorder = Recorder()
    recorder.request(unanswered(upstream_seconds=1.0, downstream_seconds=1.0))
    assert "envoy_upstream_latency_seconds" not in recorder.collect().histograms


def test_absent_attributes() -> None:
    """The path `*` is no route, and port 0 no port."""
    recorder = Recorder()
    recorder.request(answered(path="*", upstream_port=0))
    delta = recorder.collect()
    (server,) = delta.histograms["http.server.request.duration"]
    (client,) = delta.histograms["http.client.request.duration"]
    assert "http.route" not in dict(server)
    assert "server.port" not in dict(client)


@pytest.mark.parametrize("field", ["reason", "sampled", "policy"])
def test_decisions_apart(field: str) -> None:
    """Decisions that differ in one word are counted apart, though all else of the request is the same."""
    other = {"reason": Reason.PARENT, "sampled": False, "policy": "other"}[field]
    recorder = Recorder()
    recorder.request(answered())
    recorder.request(answered(**{field: other}))
    delta = recorder.collect()
    assert [1, 1] == list(delta.numbers["extproc.decisions"].values())
    assert [2] == list(delta.numbers["envoy_http_requests_total"].values())


def test_streams() -> None:
    """Messages are timed by phase in buckets fine enough for microseconds; errors and connections are counted."""
    recorder = Recorder()
    recorder.message(Phase.REQUEST_HEADERS, 0.00001)
    recorder.message(Phase.REQUEST_HEADERS, 0.00003)
    recorder.stream_error(StreamError.PROTOCOL)
    recorder.connections(1)
    recorder.connections(1)
    recorder.connections(-1)
    delta = recorder.collect()
    duration = delta.histograms["extproc.message.duration"][("phase", "request_headers"),]
    assert (1, 0, 1) == duration.buckets[:3]
    assert {"extproc.stream.errors": {(("type", "protocol"),): 1}, "envoy_active_connections": {(): 1}} == delta.numbers


def test_bounds_are_inclusive() -> None:
    """A value on a bound belongs to the bucket that ends there, as in OTLP and Prometheus."""
    recorder = Recorder()
    recorder.request(unanswered(duration_seconds=0.005))
    (point,) = recorder.collect().histograms["http.server.request.duration"].values()
    assert _only(0.005) == point
    assert 1 == point.buckets[0]


def test_collect_empties() -> None:
    """What was collected is not collected again; what comes after is."""
    recorder = Recorder()
    recorder.request(answered())
    first = recorder.collect()
    assert Delta() == recorder.collect()
    recorder.request(answered())
    assert first == recorder.collect()


def test_delta_pickles() -> None:
    """A Delta crosses a pipe between processes unchanged."""
    recorder = Recorder()
    recorder.request(answered())
    delta = recorder.collect()
    assert delta == pickle.loads(pickle.dumps(delta))  # noqa: S301  our own bytes


def test_attribute_sets_are_bounded() -> None:
    """Past the limit, the overflow set included, requests are counted together and none is lost."""
    recorder = Recorder(limit=10)
    for status in range(200, 230):
        recorder.request(answered(status_code=status))
    points = recorder.collect().numbers["envoy_http_requests_total"]
    assert 10 == len(points)
    assert 21 == points[OVERFLOW]
    assert 30 == sum(points.values())


def test_default_limit() -> None:
    """By default there are 2,000 sets per metric, the last of them the overflow."""
    recorder = Recorder()
    for number in range(2100):
        recorder.request(answered(path=f"/{number}"))
    points = recorder.collect().numbers["envoy_http_requests_total"]
    assert 2000 == len(points)
    assert 101 == points[OVERFLOW]


def test_forgotten_rows_find_their_cells_again() -> None:
    """When the remembered combinations are dropped, counts go on where they were."""
    recorder = Recorder(row_limit=2)
    for _ in range(3):
        for status in (200, 201, 202):
            recorder.request(answered(status_code=status))
    assert [3, 3, 3] == list(recorder.collect().numbers["envoy_http_requests_total"].values())


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_table(instrument: Instrument) -> None:
    """Exactly histograms have bounds, in order; a request's share the ones that the recorder looks up once."""
    assert (instrument.kind is Kind.HISTOGRAM) == bool(instrument.bounds)
    assert list(instrument.bounds) == sorted(set(instrument.bounds))
    if instrument.unit == "s" and instrument.bounds and instrument.name != "extproc.message.duration":
        assert SECONDS == instrument.bounds


def test_audit_records_are_kept_until_collected() -> None:
    """They come with the next Delta, once and in order; beyond the limit they are dropped and counted."""
    recorder = Recorder(audit_limit=2)
    kept = [audited(resource=f"/{number}") for number in range(3)]
    for record in kept:
        recorder.audit(record)
    first, second = recorder.collect(), recorder.collect()
    assert (kept[:2], []) == (first.audit, second.audit)
    assert {(("signal", "audit"),): 1} == first.numbers["extproc.export.dropped"]
    recorder.audit(kept[2])
    assert kept[2:] == recorder.collect().audit

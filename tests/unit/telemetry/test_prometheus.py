"""The text that Prometheus reads, as its own parser understands it."""

import pytest
from opentelemetry.sdk.resources import Resource
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from extproc.engine.outcome import Phase
from extproc.telemetry.instruments import INSTRUMENTS
from extproc.telemetry.prometheus import render
from extproc.telemetry.recorder import Recorder
from extproc.telemetry.store import Store
from outcomes import answered

RESOURCE = Resource({"service.name": "extproc", "mesh": "envoy"})


def _families(store: Store, resource: Resource = RESOURCE) -> dict[str, Metric]:
    body, _ = render(store.snapshot(), resource)
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def _value(family: Metric, sample: str, **labels: str) -> float:
    (value,) = [s.value for s in family.samples if s.name == sample and labels == s.labels]
    return value


def _store() -> Store:
    recorder = Recorder()
    recorder.request(answered())
    recorder.request(answered(status_code=503))
    recorder.message(Phase.REQUEST_HEADERS, 0.00002)
    recorder.connections(3)
    store = Store()
    store.add(recorder.collect(), "0")
    store.show("extproc.policy.ratio", {(("policy", "orders"),): 0.25})
    return store


def test_content_type() -> None:
    """Prometheus is told the text format that it gets."""
    assert "text/plain; version=0.0.4; charset=utf-8" == render(Store().snapshot(), RESOURCE)[1]


def test_names_and_types() -> None:
    """Every metric has a family from the start: dots as underscores, one unit, and `_total` once."""
    expected = {
        "target_info": "gauge",
        "envoy_http_requests": "counter",
        "envoy_http_request_duration_seconds": "histogram",
        "envoy_http_errors": "counter",
        "envoy_errors": "counter",
        "envoy_upstream_latency_seconds": "histogram",
        "envoy_downstream_latency_seconds": "histogram",
        "envoy_active_connections": "gauge",
        "http_server_request_duration_seconds": "histogram",
        "http_server_request_body_size_bytes": "histogram",
        "http_server_response_body_size_bytes": "histogram",
        "http_client_request_duration_seconds": "histogram",
        "envoy_upstream_attempts": "counter",
        "extproc_decisions": "counter",
        "extproc_policy_ratio": "gauge",
        "extproc_policy_rate": "gauge",
        "extproc_policy_effective_ratio": "gauge",
        "extproc_policy_dry_run": "counter",
        "extproc_policy_boosts": "counter",
        "extproc_store_errors": "counter",
        "extproc_message_duration_seconds": "histogram",
        "extproc_policy_reloads": "counter",
        "extproc_stream_errors": "counter",
        "extproc_export_dropped": "counter",
        "extproc_worker_restarts": "counter",
    }
    for store in (Store(), _store()):
        assert expected == {name: family.type for name, family in _families(store).items()}
    assert len(expected) == len(INSTRUMENTS) + 1


def test_known_series_before_anything_happened() -> None:
    """Failures are at 0 before the first one, so that a rate sees it."""
    families = _families(Store())
    assert 0 == _value(families["extproc_policy_reloads"], "extproc_policy_reloads_total", result="error")
    assert 0 == _value(families["extproc_worker_restarts"], "extproc_worker_restarts_total")
    assert 0 == _value(families["envoy_active_connections"], "envoy_active_connections")


def test_values() -> None:
    """Counters, gauges and histograms come out with what was recorded, booleans as true and false."""
    families = _families(_store())
    request = {"method": "GET", "path": "/api/orders/{id}", "service": "order-service"}
    requests = families["envoy_http_requests"]
    assert 1 == _value(requests, "envoy_http_requests_total", status_code="200", **request)
    decisions = families["extproc_decisions"]
    assert 2 == _value(decisions, "extproc_decisions_total", policy="orders", reason="policy", sampled="true")
    assert 3 == _value(families["envoy_active_connections"], "envoy_active_connections")
    assert 0.25 == _value(families["extproc_policy_ratio"], "extproc_policy_ratio", policy="orders")
    upstream = families["envoy_upstream_latency_seconds"]
    name, service = "envoy_upstream_latency_seconds", "order-service"
    assert 0 == _value(upstream, f"{name}_bucket", service=service, le="0.1")
    assert 2 == _value(upstream, f"{name}_bucket", service=service, le="0.25")
    assert 2 == _value(upstream, f"{name}_bucket", service=service, le="+Inf")
    assert 2 == _value(upstream, f"{name}_count", service=service)
    assert 0.25 == _value(upstream, f"{name}_sum", service=service)
    messages = families["extproc_message_duration_seconds"]
    assert 1 == _value(messages, "extproc_message_duration_seconds_bucket", phase="request_headers", le="2.5e-05")


def test_overflow() -> None:
    """What is past the limit is a series of its own."""
    store = Store(limit=2)
    for status in (200, 201, 202):
        recorder = Recorder()
        recorder.request(answered(status_code=status))
        store.add(recorder.collect(), "0")
    requests = _families(store)["envoy_http_requests"]
    assert 2 == _value(requests, "envoy_http_requests_total", otel_metric_overflow="true")


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ({"service.name": "a", "mesh": "envoy"}, {"service_name": "a", "mesh": "envoy"}),
        ({"a.b": "1", "a_b": "2"}, {"a_b": "1;2"}),
        ({"1st": "x"}, {"key_1st": "x"}),
        ({"quoted": 'say "hi"\n'}, {"quoted": 'say "hi"\n'}),
    ],
)
def test_target_info(attributes: dict[str, str], labels: dict[str, str]) -> None:
    """The resource is one series, its attributes valid and unique labels whatever they are called."""
    families = _families(Store(), Resource(attributes))
    assert 1 == _value(families["target_info"], "target_info", **labels)

"""What a real collector makes of what Envoy, extproc and the services send: series for Prometheus, spans for Jaeger."""

from collections import Counter

import pytest

from stack.evidence import Evidence, Span, total
from stack.scenario import DEBUGGED, REQUESTS, ROUNDS, USER, request_id

pytestmark = pytest.mark.timeout(1_200)  # the first run builds the collector


def _of_envoy(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.resource["service.name"] == "envoy-proxy"]


def test_requests_are_counted_once_each(evidence: Evidence) -> None:
    """By upstream the collector exposes exactly as many requests as went through Envoy, which counted as many."""
    counted = {name: total(evidence.metrics, "envoy_http_requests_total", service=name) for name in REQUESTS}
    assert REQUESTS == counted
    everything = total(evidence.envoy, "envoy_http_downstream_rq_total", envoy_http_conn_manager_prefix="ingress_http")
    assert REQUESTS.total() == everything
    for name, count in REQUESTS.items():
        assert count == total(evidence.metrics, "envoy_http_request_duration_seconds_count", service=name)
        assert count == total(evidence.metrics, "envoy_upstream_latency_seconds_count", service=name)


def test_decisions_are_counted_once_each(evidence: Evidence) -> None:
    """Every request has a decision, and the ratio that each policy asks for stands beside it."""
    assert REQUESTS.total() == total(evidence.metrics, "extproc_decisions_total")
    debugged = {"policy": "debug", "reason": "policy", "sampled": "true"}
    assert ROUNDS == total(evidence.metrics, "extproc_decisions_total", **debugged)
    ratios = {each.labels["policy"]: each.value for each in evidence.metrics if each.name == "extproc_policy_ratio"}
    assert {"default": 0.1, "debug": 1.0, "health": 0.0, "order": 0.15} == {
        name: ratios[name] for name in ("default", "debug", "health", "order")
    }


def test_series_say_whose_they_are(evidence: Evidence) -> None:
    """Each has mesh and proxy as in the guide, and the process that reported it; none has what tells nothing apart."""
    series = [each for each in evidence.metrics if each.name == "envoy_http_requests_total"]
    assert {"extproc", "user-service", "order-service"} == {each.labels["service_name"] for each in series}
    assert 3 == len({each.labels["service_instance_id"] for each in series})
    for each in series:
        assert ("envoy", "envoy") == (each.labels["mesh"], each.labels["proxy"])
        assert not [label for label in each.labels if label.startswith(("telemetry_", "otel_scope_"))]


def test_services_count_under_the_same_names(evidence: Evidence) -> None:
    """What a service counted itself differs by the label `service`, so that neither is taken for the other."""
    own = total(evidence.metrics, "envoy_http_requests_total", service_name="order-service")
    assert REQUESTS["order_service"] == own
    services = {each.labels["service_name"] for each in evidence.metrics if "service" in each.labels}
    assert {"extproc"} == services


def test_kept_traces_are_whole(evidence: Evidence) -> None:
    """A trace that a policy keeps has the spans of Envoy and of every service on its way, with one root."""
    roots = {span.tags["request_id"]: span for span in evidence.spans if span.tags.get("sampling.policy") == "debug"}
    assert {request_id(number) for number in range(1, ROUNDS + 1)} == set(roots)
    for root in roots.values():
        trace = [span for span in evidence.spans if span.trace_id == root.trace_id]
        services = Counter(span.resource["service.name"] for span in trace)
        assert {"envoy-proxy": 3, "order-service": 2, "user-service": 2, "grpc-service": 1} == services
        assert [root] == [span for span in trace if not span.parent_id]


def test_spans_of_envoy_have_tags(evidence: Evidence) -> None:
    """Envoy's span says what the policy file asks for, how the trace was decided and where the request went."""
    (root,) = [span for span in evidence.spans if span.tags.get("request_id") == request_id(1) and not span.parent_id]
    expected = {
        "user_id": USER,
        "mesh": "envoy",
        "service_name": "envoy-proxy",
        "sampling.policy": "debug",
        "sampling.reason": "policy",
        "sampling.probability": 1,
        "upstream_cluster.name": DEBUGGED.clusters[0],
        "http.status_code": "200",
    }
    assert expected == {name: root.tags[name] for name in expected}
    assert ("envoy", "envoy") == (root.resource["mesh"], root.resource["proxy"])


def test_as_many_spans_as_decisions(evidence: Evidence) -> None:
    """Envoy exported a span for each decision to keep and for no other, and all of them reached Jaeger."""
    kept = total(evidence.metrics, "extproc_decisions_total", sampled="true")
    assert kept == len(_of_envoy(evidence.spans))
    assert len(evidence.spans) == evidence.at_jaeger


def test_health_is_never_traced(evidence: Evidence) -> None:
    """A policy with always_off leaves no span."""
    assert ROUNDS == total(evidence.metrics, "envoy_http_requests_total", path="/health")
    urls = [str(span.tags["http.url"]) for span in _of_envoy(evidence.spans)]
    assert not [url for url in urls if url.endswith(("/health", "/ready"))]


def test_collector_has_nothing_to_say(evidence: Evidence) -> None:
    """It warns of nothing, such as a setting that it would rather not have."""
    assert [] == evidence.complaints

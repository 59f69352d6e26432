"""The main job through a real Envoy: sampling, tags and metrics as the policy file says."""

import asyncio
from pathlib import Path

import pytest

from system import System, running

POLICY = """
tracing:
  sampling: {policy: always_off}
  custom_tags:
    - {tag: user_id, request_header: {name: x-user-id, default_value: unknown}}
    - {tag: kind, response_header: {name: x-kind}}
    - {tag: code, attribute: response.code}
    - {tag: token, request_header: {name: authorization}, hash: sha256}
  policies:
    - name: half
      match: {path: "/half/{id}"}
      sampling: {policy: probabilistic, ratio: 0.5}
      custom_tags: [{tag: id, path: id}]
      span_name: "GET /half/{id}"
    - name: service
      match: {path: "/service", service: user-service}
      sampling: {policy: always_on}
    - name: all
      match: {headers: {x-debug: "1"}}
      sampling: {policy: always_on}
"""
REQUESTS = 400
HALF = 0x80000000000000


def test_sampling_is_exact_per_trace(tmp_path: Path) -> None:
    """For every request, the upstream's flag and the exported span follow R >= T on its very trace id."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            answers = await system.send_all(f"/half/{number}" for number in range(REQUESTS))
            assert {200} == {status for status, _ in answers}
            traces = [system.upstream_trace(name) for _, name in answers]
            kept = {trace_id for trace_id, _ in traces if int(trace_id[-14:], 16) >= HALF}
            assert REQUESTS == len(set(traces))
            assert [("01" if trace_id in kept else "00") for trace_id, _ in traces] == [flags for _, flags in traces]
            spans = await system.wait_for_spans(kept)
            _, last = await system.send("/anything", {"x-debug": "1"})
            await system.wait_for_spans({system.upstream_trace(last)[0]})
            assert kept | {system.upstream_trace(last)[0]} == set(system.spans())
            assert {"GET /half/{id}"} == {spans[trace_id].name for trace_id in kept}

    asyncio.run(check())


def test_tags_of_both_phases_are_on_envoys_span(tmp_path: Path) -> None:
    """Tags from the request and from the response arrive on the exported span, a secret only as its hash."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            headers = {"x-debug": "1", "x-user-id": "ann", "authorization": "Bearer secret"}
            _, name = await system.send("/status/404", headers)
            trace_id, flags = system.upstream_trace(name)
            assert "01" == flags
            tags = system.tags((await system.wait_for_spans({trace_id}))[trace_id])
            expected = {
                "user_id": "ann",
                "kind": "plain",
                "sampling.policy": "all",
                "sampling.reason": "policy",
                "token": "bffde20413347b7a00e1363de3f97ca69e419dc0aea55f4a4a75018fab3a0e8e",
            }
            assert expected == {key: tags[key] for key in expected}
            assert "404" == str(tags["code"])
            assert "secret" not in str(tags)
            assert "x-envoy-force-trace" not in system.upstream.seen[name]
            assert "x-client-trace-id" not in system.upstream.seen[name]

    asyncio.run(check())


@pytest.mark.parametrize("flags", ["00", "01"])
def test_parents_are_followed_both_ways(tmp_path: Path, flags: str) -> None:
    """A caller's decision stands, against the policy: its flag goes on to the upstream and decides on the export."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags
            against = {"x-debug": "1"} if flags == "00" else {}
            _, name = await system.send("/parent", {"traceparent": parent} | against)
            assert ("0af7651916cd43dd8448eb211c80319c", flags) == system.upstream_trace(name)
            _, last = await system.send("/anything", {"x-debug": "1"})
            spans = await system.wait_for_spans({system.upstream_trace(last)[0]})
            assert (flags == "01") == ("0af7651916cd43dd8448eb211c80319c" in spans)
            decision = 'extproc_decisions_total{policy="%s",reason="parent",sampled="%s"}'
            policy = "all" if flags == "00" else "default"
            await system.wait_for_metric(decision % (policy, str(flags == "01").lower()), 1)

    asyncio.run(check())


def test_the_service_is_the_cluster(tmp_path: Path) -> None:
    """A policy's service is compared with the cluster that the route leads to, `_` and `-` alike."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            _, name = await system.send("/service")
            assert "01" == system.upstream_trace(name)[1]

    asyncio.run(check())


async def _count(system: System) -> None:
    await system.send_all(f"/half/{number}" for number in range(60))
    await system.send_all(["/status/503"] * 7)
    await system.send_all(["/status/404"] * 5)
    await system.send_all(["/reset"] * 3, {"x-debug": "1"})
    half = '{method="GET",path="/half/{id}",service="user_service",status_code="200"}'
    await system.wait_for_metric("envoy_http_requests_total" + half, 60)
    other = '{method="GET",path="*",service="user_service",status_code="%s"}'
    await system.wait_for_metric("envoy_http_requests_total" + other % 503, 10)
    await system.wait_for_metric("envoy_http_errors_total" + other % 503, 10)
    await system.wait_for_metric("envoy_http_errors_total" + other % 404, 5)
    await system.wait_for_metric('envoy_errors_total{error_type="5xx"}', 7)
    await system.wait_for_metric('envoy_errors_total{error_type="UC"}', 3)
    await system.wait_for_metric('envoy_upstream_latency_seconds_count{service="user_service"}', 75)
    await system.wait_for_metric('envoy_downstream_latency_seconds_count{service="user_service"}', 75)
    await system.wait_for_metric("envoy_active_connections", 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_count_exactly(tmp_path: Path, workers: int) -> None:
    """Every request counts once, whoever answered it, in /metrics and over OTLP."""
    listen = ("--listen", f"unix:{tmp_path}/extproc", "--workers", str(workers))

    async def check() -> None:
        async with running(tmp_path, POLICY, listen=listen) as system:
            await system.envoy.wait_for_stat("cluster.extproc.membership_healthy", workers)
            await _count(system)
            count = system.collector.value
            await system.collector.wait_until(lambda: count("envoy_http_requests_total") == system.sent)
            assert system.sent == count("envoy_http_request_duration_seconds")
            assert system.sent == count("http.server.request.duration")
            assert system.sent == count("extproc.decisions")

    asyncio.run(check())


def test_requests_without_a_response_count_too(tmp_path: Path) -> None:
    """A client that gives up is one request of status 0; a timeout of Envoy's is its 504."""

    async def check() -> None:
        def impatient(config: str) -> str:
            return config.replace("timeout: 0s", "timeout: 1s")

        async with running(tmp_path, POLICY, edit=impatient) as system:
            status, _ = await system.send("/slow?seconds=3")
            assert 504 == status
            await system.wait_for_metric("envoy_active_connections", 0)
            hasty = asyncio.create_task(system.send("/slow?seconds=0.9"))
            await system.wait_for_metric("envoy_active_connections", 1)
            hasty.cancel()
            other = '{method="GET",path="*",service="user_service",status_code="%s"}'
            await system.wait_for_metric("envoy_http_requests_total" + other % 504, 1)
            await system.wait_for_metric('envoy_errors_total{error_type="UT"}', 1)
            await system.wait_for_metric("envoy_http_requests_total" + other % 0, 1)
            await system.wait_for_metric('envoy_errors_total{error_type="stream_reset"}', 1)

    asyncio.run(check())


def test_latencies(tmp_path: Path) -> None:
    """An upstream slow to its first byte shows upstream; one slow to its last byte shows only downstream."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            await system.send("/late?seconds=1")
            await system.wait_for_metric('envoy_downstream_latency_seconds_count{service="user_service"}', 1)
            upstream = await system.metric('envoy_upstream_latency_seconds_sum{service="user_service"}')
            downstream = await system.metric('envoy_downstream_latency_seconds_sum{service="user_service"}')
            assert 0 < upstream < 1 <= downstream
            await system.send("/slow?seconds=1")
            await system.wait_for_metric('envoy_downstream_latency_seconds_count{service="user_service"}', 2)
            assert upstream + 1 <= await system.metric('envoy_upstream_latency_seconds_sum{service="user_service"}')
            assert downstream + 1 <= await system.metric('envoy_downstream_latency_seconds_sum{service="user_service"}')

    asyncio.run(check())

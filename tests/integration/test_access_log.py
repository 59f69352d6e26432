"""Requests timed by Envoy's own access log: exact, and each of them once."""

import asyncio
import re
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from system import System, running

POLICY = """
tracing:
  sampling: {policy: always_off}
  policies:
    - name: half
      match: {path: "/half/{id}"}
      sampling: {policy: probabilistic, ratio: 0.5}
    - name: coded
      match: {path: "/status/*"}
      sampling: {policy: always_on}
      custom_tags: [{tag: code, attribute: response.code}]
    - name: rest
      match: {path: "/**"}
      sampling: {policy: always_on}
"""
ACCESS_LOG = ("--timings", "access-log")
SERVICE = 'service="user_service"'


def requests(path: str, status: int = 200, method: str = "GET", service: str = "user_service") -> str:
    """A series of envoy_http_requests_total."""
    labels = f'method="{method}",path="{path}",service="{service}",status_code="{status}"'
    return f"envoy_http_requests_total{{{labels}}}"


def histogram(name: str, part: str, labels: str = SERVICE) -> str:
    """The count or the sum of a histogram."""
    return f"{name}_{part}{{{labels}}}"


def test_counts_are_exact_over_thousands_of_requests(tmp_path: Path) -> None:
    """Any of two workers may get the log of a request that the other decided: nothing is lost or doubled."""
    number = 3000

    async def check() -> None:
        flags = ("--workers", "2")
        listen = ("--listen", f"unix:{tmp_path}/e.sock")
        async with running(tmp_path, POLICY, wiring=(*ACCESS_LOG, *flags), flags=flags, listen=listen) as system:
            answers = await system.send_all(f"/half/{each}" for each in range(number))
            assert {200} == {status for status, _ in answers}
            await system.wait_for_metric(requests("/half/{id}"), number)
            kept = sum(flags == "01" for _, flags in (system.upstream_trace(name) for _, name in answers))
            await system.wait_for_metric(decisions("half", "true"), kept)
            await system.wait_for_metric(decisions("half", "false"), number - kept)
            assert number == await system.metric(histogram("envoy_upstream_latency_seconds", "count"))
            assert number == await system.metric(f"envoy_upstream_attempts_total{{{SERVICE}}}")
            size = histogram("http_server_response_body_size_bytes", "sum", server("/half/{id}"))
            assert 2 * number == await system.metric(size)

    asyncio.run(check())


def decisions(policy: str, sampled: str) -> str:
    """A series of extproc.decisions."""
    return f'extproc_decisions_total{{policy="{policy}",reason="policy",sampled="{sampled}"}}'


def server(route: str, status: int = 200) -> str:
    """The labels of OpenTelemetry's server metrics."""
    return f'http_request_method="GET",http_response_status_code="{status}",http_route="{route}",url_scheme="http"'


def test_first_and_last_byte_are_told_apart(tmp_path: Path) -> None:
    """An upstream that is slow to its first byte is upstream latency, one that is slow to its last byte is not."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG) as system:
            began = perf_counter()
            await system.send("/slow?seconds=0.3")
            took = perf_counter() - began
            await system.wait_for_metric(requests("/**"), 1)
            upstream = await system.metric(histogram("envoy_upstream_latency_seconds", "sum"))
            downstream = await system.metric(histogram("envoy_downstream_latency_seconds", "sum"))
            assert 0.3 <= upstream <= downstream <= took
            began = perf_counter()
            await system.send("/late?seconds=0.3")
            took = perf_counter() - began
            await system.wait_for_metric(requests("/**"), 2)
            first_byte = await system.metric(histogram("envoy_upstream_latency_seconds", "sum")) - upstream
            whole = await system.metric(histogram("envoy_downstream_latency_seconds", "sum")) - downstream
            assert 0.3 <= whole <= took
            assert first_byte <= took - 0.3  # the rest of the time, when the upstream did not sleep

    asyncio.run(check())


def test_tags_of_the_response_still_arrive(tmp_path: Path) -> None:
    """A policy with a tag from the response is asked about it; the request counts once all the same."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG) as system:
            _, name = await system.send("/status/404")
            trace_id, _ = system.upstream_trace(name)
            tags = system.tags((await system.wait_for_spans({trace_id}))[trace_id])
            assert "404" == str(tags["code"])
            await system.wait_for_metric(requests("/status/*", 404), 1)

    asyncio.run(check())


def manager(config: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a printed configuration."""
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def query(name: str) -> dict[str, object]:
    """A match of requests with a query parameter."""
    return {"prefix": "/", "query_parameters": [{"name": name, "present_match": True}]}


async def _errors(system: System, kind: str, number: int) -> None:
    await system.wait_for_metric(f'envoy_errors_total{{error_type="{kind}"}}', number)


def test_failures_have_envoys_names(tmp_path: Path) -> None:
    """A reset upstream, a time-out, no upstream at all and a client that gives up each say what went wrong."""

    def edit(config: str) -> str:
        data = yaml.safe_load(config)
        host = manager(data)["route_config"]["virtual_hosts"][0]
        retry = {"retry_on": "reset", "num_retries": 2, "retry_back_off": {"base_interval": "0.01s"}}
        host["routes"][:0] = [
            {"match": query("limited"), "route": {"cluster": "user_service", "timeout": "0.2s"}},
            {"match": query("again"), "route": {"cluster": "user_service", "timeout": "0s", "retry_policy": retry}},
        ]
        return yaml.safe_dump(data)

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG, edit=edit) as system:
            assert 503 == (await system.send("/reset"))[0]
            await _errors(system, "UC", 1)
            assert 504 == (await system.send("/slow?seconds=2&limited=1"))[0]
            await _errors(system, "UT", 1)
            assert 503 == (await system.send("/reset?again=1"))[0]
            await system.wait_for_metric(f"envoy_upstream_attempts_total{{{SERVICE}}}", 5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await system.send("/slow?seconds=5")
            await _errors(system, "DC", 1)
            assert 0 == await system.metric(histogram("envoy_upstream_latency_seconds", "count"))
            await system.upstream.stop()
            assert 503 == (await system.send("/anything"))[0]
            await _errors(system, "UF", 1)

    asyncio.run(check())


def test_a_request_that_nobody_decided_counts(tmp_path: Path) -> None:
    """Envoy goes on without a server that does not answer, and its log tells of the request all the same."""

    def edit(config: str) -> str:
        data = yaml.safe_load(config)
        processor = manager(data)["http_filters"][0]["typed_config"]
        processor["grpc_service"]["envoy_grpc"]["cluster_name"] = "user_service"  # which speaks no gRPC
        return yaml.safe_dump(data)

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG, edit=edit) as system:
            await system.send("/half/1")
            await system.wait_for_metric(requests("*"), 1)

    asyncio.run(check())


def test_a_request_is_never_recorded_twice(tmp_path: Path) -> None:
    """Where the streams record and a log comes as well, the log is left out, counted and complained about."""

    def edit(config: str) -> str:
        streams = re.sub(r"\n.*initial_metadata: .*", "", config)
        assert streams != config
        return streams.replace("response_trailer_mode: SKIP", "response_trailer_mode: SEND")

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG, edit=edit) as system:
            await system.send_all(f"/half/{each}" for each in range(20))
            await system.wait_for_metric('extproc_stream_errors_total{type="recorded_twice"}', 20)
            assert 20 == await system.metric(requests("/half/{id}"))

    asyncio.run(check())


def test_a_restart_loses_nothing_that_envoy_has_sent(tmp_path: Path) -> None:
    """At SIGTERM the server waits for the log of requests that are over, and exports it."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=ACCESS_LOG) as system:
            await system.send("/half/first")
            await system.wait_for_metric(requests("/half/{id}"), 1)  # Envoy's log stream is open
            await system.send_all(f"/half/{each}" for each in range(50))
            await asyncio.to_thread(system.server.stop)
            assert 51 == system.collector.value("envoy_http_requests_total", {"path": "/half/{id}"})

    asyncio.run(check())


def test_a_grpc_upstream(tmp_path: Path) -> None:
    """A gRPC call through Envoy is a request like any other, on the connection it came by."""

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    async def check() -> None:
        upstream = grpc.aio.server()
        handler = {"Say": grpc.unary_unary_rpc_method_handler(echo)}
        upstream.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handler),))
        port = upstream.add_insecure_port("127.0.0.1:0")
        await upstream.start()
        route = ("--upstream", f"echo=grpc://127.0.0.1:{port}", "--route", "/test.Echo/=echo")
        async with running(tmp_path, POLICY, wiring=(*ACCESS_LOG, *route)) as system:
            target = system.envoy.url("/").removeprefix("http://").rstrip("/")
            async with grpc.aio.insecure_channel(target) as channel:
                assert b"hello" == await channel.unary_unary("/test.Echo/Say", bytes, bytes)(b"hello")
            await system.wait_for_metric(requests("/**", method="POST", service="echo"), 1)
            assert 1 == await system.metric(histogram("envoy_upstream_latency_seconds", "count", 'service="echo"'))
        await upstream.stop(None)

    asyncio.run(check())

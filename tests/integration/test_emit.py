"""Spans of our own, through a real Envoy that traces nothing."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from system import System, running

POLICY = """
tracing:
  spans: {mode: emit}
  sampling: {policy: always_off}
  custom_tags:
    - {tag: user_id, request_header: {name: x-user-id, default_value: unknown}}
  policies:
    - name: half
      match: {path: "/half/{id}"}
      sampling: {policy: probabilistic, ratio: 0.5}
      custom_tags: [{tag: id, path: id}, {tag: kind, response_header: {name: x-kind}}]
    - name: kept
      match: {path: "/status/*"}
      sampling: {policy: always_off}
      keep: {status: ">=500"}
    - name: slow
      match: {path: "/slow"}
      sampling: {policy: always_off}
      keep: {latency: ">200ms"}
    - name: named
      match: {path: "/named/{id}"}
      sampling: {policy: always_on}
      span_name: "read a thing"
    - name: own
      match: {path: "/own"}
      sampling: {policy: always_on, parent: ignore}
    - name: hung
      match: {path: "/hung"}
      sampling: {policy: always_on}
"""
TIMINGS = [(), ("--timings", "access-log")]
HALF = 0x80000000000000
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def served(spans: Iterable[Span]) -> dict[str, Span]:
    """The server spans by trace id."""
    return {span.trace_id.hex(): span for span in spans if span.kind == Span.SPAN_KIND_SERVER}


async def spans(system: System, *trace_ids: str) -> dict[str, Span]:
    """Our server spans by trace id, once those of these traces are there."""

    def found() -> dict[str, Span]:
        return served(span for _, span in system.collector.spans)

    await system.collector.wait_until(lambda: set(trace_ids) <= set(found()))
    return found()


@pytest.mark.parametrize("wiring", TIMINGS, ids=["stream", "access-log"])
def test_one_connected_trace(tmp_path: Path, wiring: tuple[str, ...]) -> None:
    """Client, our span, the upstream: ids, names, attributes, tags and times hang together."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=wiring) as system:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-user-id": "ann", "user-agent": "test"}
            _, name = await system.send("/half/7?token=secret", headers)
            found = (await spans(system, TRACE))[TRACE]
            assert PARENT == found.parent_span_id.hex()
            assert "GET /half/{id}" == found.name
            tags = system.tags(found)
            host = system.envoy.url("/").removeprefix("http://").rstrip("/").partition(":")
            expected = {
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "http.route": "/half/{id}",
                "url.path": "/half/7",
                "url.scheme": "http",
                "user_agent.original": "test",
                "server.address": host[0],
                "server.port": int(host[2]),
                "client.address": "127.0.0.1",
                "user_id": "ann",
                "id": "7",
                "kind": "plain",
                "sampling.reason": "parent",
                "sampling.policy": "half",
            }
            assert expected == {key: tags[key] for key in expected}
            assert set(tags) - set(expected) == {"client.port"}
            assert "secret" not in str(found)
            assert 0 < found.end_time_unix_nano - found.start_time_unix_nano < 5_000_000_000
            sent = system.upstream.seen[name]["traceparent"]
            upstream_parent = found.span_id.hex()
            if wiring:
                (leg,) = [span for _, span in system.collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
                assert (found.span_id, "user_service") == (leg.parent_span_id, system.tags(leg)["server.address"])
                assert found.start_time_unix_nano <= leg.start_time_unix_nano <= leg.end_time_unix_nano
                assert leg.end_time_unix_nano <= found.end_time_unix_nano
                upstream_parent = leg.span_id.hex()
            assert f"00-{TRACE}-{upstream_parent}-01" == sent

    asyncio.run(check())


@pytest.mark.parametrize("wiring", TIMINGS, ids=["stream", "access-log"])
def test_sampling_is_exact_and_says_its_probability(tmp_path: Path, wiring: tuple[str, ...]) -> None:
    """For each new trace, the exported span and the upstream's flag and tracestate follow R >= T on its id."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=wiring) as system:
            answers = await system.send_all(f"/half/{number}" for number in range(300))
            kept = set()
            for _, name in answers:
                trace_id, flags = system.upstream_trace(name)
                sampled = int(trace_id[-14:], 16) >= HALF
                assert ("01" if sampled else "00") == flags
                assert ("ot=th:8" if sampled else None) == system.upstream.seen[name].get("tracestate")
                kept |= {trace_id} if sampled else set()
            found = await spans(system, *kept)
            assert kept == set(found)
            assert {"ot=th:8"} == {span.trace_state for span in found.values()}
            assert {0.5} == {system.tags(span)["sampling.probability"] for span in found.values()}

    asyncio.run(check())


def parents(flag: str, state: str) -> dict[str, str]:
    """The headers of a caller."""
    return {"traceparent": f"00-{TRACE}-{PARENT}-{flag}", "tracestate": state}


@pytest.mark.parametrize(
    ("path", "flag", "state", "sampled", "expected"),
    [
        ("/half/1", "01", "a=1,ot=th:0;rv:ffffffffffffff,b=2", "01", "a=1,ot=th:0;rv:ffffffffffffff,b=2"),
        ("/half/1", "01", "a=1,ot=th:ff;rv:00000000000000", "01", "ot=rv:00000000000000,a=1"),
        ("/half/1", "00", "ot=th:8,a=1", "00", "a=1"),
        ("/half/1", "00", "ot=th:8", "00", None),
        ("/own", "00", "a=1,ot=rv:ffffffffffffff", "01", "ot=th:0;rv:ffffffffffffff,a=1"),
    ],
    ids=["followed", "impossible", "dropped", "nothing left", "ignored"],
)
def test_parents(  # noqa: PLR0913, PLR0917  a row of the table
    tmp_path: Path, path: str, flag: str, state: str, sampled: str, expected: str | None
) -> None:
    """Both flags are followed unless the policy ignores them; `th` stays true, `rv` and other members stay."""

    async def check() -> None:
        async with running(tmp_path, POLICY) as system:
            _, name = await system.send(path, parents(flag, state))
            assert (TRACE, sampled) == system.upstream_trace(name)
            assert expected == system.upstream.seen[name].get("tracestate")
            # A sampled trace that follows shows that this one would have come by now.
            _, last = await system.send("/named/1")
            found = await spans(system, system.upstream_trace(last)[0])
            assert (sampled == "01") == (TRACE in found)
            assert "read a thing" == found[system.upstream_trace(last)[0]].name

    asyncio.run(check())


@pytest.mark.parametrize("wiring", TIMINGS, ids=["stream", "access-log"])
def test_what_is_worth_keeping(tmp_path: Path, wiring: tuple[str, ...]) -> None:
    """A failed and a slow request have spans although their traces were dropped, and claim no probability."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=wiring) as system:
            names = {
                "error": (await system.send("/status/503"))[1],
                "latency": (await system.send("/slow?seconds=0.4"))[1],
            }
            await system.send("/status/404")
            await system.send("/slow")
            traces = {reason: system.upstream_trace(name) for reason, name in names.items()}
            assert {"00"} == {flags for _, flags in traces.values()}
            _, last = await system.send("/named/1")
            found = await spans(system, system.upstream_trace(last)[0], *(trace_id for trace_id, _ in traces.values()))
            assert len(found) == 3
            for reason, (trace_id, _) in traces.items():
                tags = system.tags(found[trace_id])
                assert reason == tags["sampling.reason"]
                assert "sampling.probability" not in tags
                assert "" == found[trace_id].trace_state
            failed = found[traces["error"][0]]
            assert (Status.STATUS_CODE_ERROR, "503") == (failed.status.code, system.tags(failed)["error.type"])

    asyncio.run(check())


@pytest.mark.parametrize("wiring", TIMINGS, ids=["stream", "access-log"])
def test_a_request_that_never_ends(tmp_path: Path, wiring: tuple[str, ...]) -> None:
    """A client that gives up leaves a span that says so, with what is known by then."""

    async def check() -> None:
        async with running(tmp_path, POLICY, wiring=wiring) as system:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await system.send("/hung?seconds=5")
            await system.collector.wait_until(lambda: bool(system.collector.spans))
            (span,) = served(span for _, span in system.collector.spans).values()
            assert 200_000_000 < span.end_time_unix_nano - span.start_time_unix_nano < 4_000_000_000
            assert Status.STATUS_CODE_ERROR == span.status.code
            assert ("DC" if wiring else "stream_reset") == system.tags(span)["error.type"]

    asyncio.run(check())

"""Where spans are our own: what the printed configuration lets the server do, on a running Envoy that has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from multidict import CIMultiDict

from wiring_bed import KEEP, Bed, Scripted, run, write_policy

_CALLERS = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00", "tracestate": "theirs=1"}
_OURS = {"traceparent": f"00-{'ab' * 16}-{'ef' * 8}-01", "tracestate": "ot=th:c,theirs=1"}
_REJECTED = "http.http.ext_proc.rejected_header_mutations"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The path of a policy file that uses everything that wiring looks at, with spans of our own."""
    return write_policy(tmp_path, "emit")


def _trace_context(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _OURS if name in headers}


async def _on_two_lines(bed: Bed) -> dict[str, str]:
    """What the upstream gets of a tracestate that its caller has written on two lines."""
    sent = CIMultiDict([*_CALLERS.items(), ("tracestate", "more=2"), *KEEP.items()])
    async with bed.client.get(bed.envoy.url(), headers=sent) as response:
        assert 200 == response.status
    received = bed.server.received[0].request_headers.headers.headers
    assert [b"theirs=1", b"more=2"] == [each.raw_value for each in received if each.key == "tracestate"]
    return _trace_context(bed.upstream[-1])


@pytest.mark.parametrize("options", [[], ["--edge"]])
@pytest.mark.parametrize("sent", [{}, _CALLERS], ids=["new", "parent"])
def test_the_upstream_gets_our_trace_context(policy: str, options: list[str], sent: dict[str, str]) -> None:
    """What the server sets reaches the upstream, in place of what a caller sent."""

    async def check(bed: Bed) -> None:
        assert _OURS == _trace_context(await bed.get(headers={**sent, **KEEP}))
        assert {_REJECTED: 0} == await bed.envoy.stats(_REJECTED)

    run(policy, check, *options, server=Scripted(set_headers=_OURS))


def test_every_line_of_a_header_is_replaced(policy: str) -> None:
    """A tracestate may come on several lines; none of them is left beside ours."""

    async def check(bed: Bed) -> None:
        assert _OURS == await _on_two_lines(bed)

    run(policy, check, server=Scripted(set_headers=_OURS))


def test_a_tracestate_can_be_removed(policy: str) -> None:
    """All its lines, and without an effect where there is none."""
    ours = {"traceparent": _OURS["traceparent"]}

    async def check(bed: Bed) -> None:
        assert ours == await _on_two_lines(bed)
        assert ours == _trace_context(await bed.get(headers=KEEP))
        assert {_REJECTED: 0} == await bed.envoy.stats(_REJECTED)

    run(policy, check, server=Scripted(set_headers=ours, remove_headers=("tracestate",)))


def test_the_server_may_change_nothing_else(policy: str) -> None:
    """Every other header that it sets or removes is left as it is, and Envoy counts it."""
    refused = ("x-envoy-force-trace", "x-client-trace-id", "x-traceparent", "traceparent-x", "authorization")
    server = Scripted(set_headers={**_OURS, **dict.fromkeys(refused, "true")}, remove_headers=("x-mine", "cookie"))

    async def check(bed: Bed) -> None:
        mine = {"x-mine": "1", "cookie": "a=b", "authorization": "secret"}
        upstream = await bed.get(headers={**mine, **KEEP})
        assert {**mine, **_OURS} == {name: upstream[name] for name in (*mine, *_OURS)}
        assert not {*refused} - mine.keys() & upstream.keys()
        assert {_REJECTED: 7} == await bed.envoy.stats(_REJECTED)

    run(policy, check, server=server)


@pytest.mark.parametrize(("options", "passed"), [([], _CALLERS), (["--edge"], {})], ids=["inside", "edge"])
def test_callers_are_believed_inside_and_not_at_the_edge(
    policy: str, options: list[str], passed: dict[str, str]
) -> None:
    """The server sees a caller's trace context, and the upstream gets it where nobody answers; at the edge neither."""

    async def check(bed: Bed) -> None:
        assert passed == _trace_context(await bed.get(headers=_CALLERS))
        received = bed.server.received[0].request_headers.headers.headers
        assert passed == _trace_context({each.key: each.raw_value.decode() for each in received})

    run(policy, check, *options, "--message-timeout", "100ms", server=Scripted(silent=True))


def test_nothing_is_warned_about(policy: str) -> None:
    """Envoy starts without a warning, also with an access log."""

    async def check(bed: Bed) -> None:
        assert "" == bed.envoy.log

    run(policy, check, "--edge", "--timings", "access-log")


def _traced(*, propagates: bool) -> Callable[[str], str]:
    """Add what a gateway may have: tracing of its own."""
    tracer = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "users"}},
        "service_name": "gateway",
    }

    def edit(config: str) -> str:
        whole: dict[str, Any] = yaml.safe_load(config)
        chain = whole["static_resources"]["listeners"][0]["filter_chains"][0]
        chain["filters"][0]["typed_config"]["tracing"] = {
            "random_sampling": {"value": 0},
            "no_context_propagation": not propagates,
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
        }
        return yaml.safe_dump(whole)

    return edit


def test_a_gateway_that_propagates_its_own_trace_overwrites_ours(policy: str) -> None:
    """Tracing that Envoy does itself writes its own parent, after the server has answered."""

    async def check(bed: Bed) -> None:
        context = _trace_context(await bed.get(headers={**_CALLERS, **KEEP}))
        assert _OURS["traceparent"][:35] == context["traceparent"][:35]
        assert _OURS["traceparent"] != context["traceparent"]

    run(policy, check, server=Scripted(set_headers=_OURS), edit=_traced(propagates=True))


def test_a_gateway_that_does_not_propagate_lets_ours_through(policy: str) -> None:
    """With no_context_propagation a gateway's own tracing is in nobody's way."""

    async def check(bed: Bed) -> None:
        assert _OURS == _trace_context(await bed.get(headers={**_CALLERS, **KEEP}))

    run(policy, check, server=Scripted(set_headers=_OURS), edit=_traced(propagates=False))

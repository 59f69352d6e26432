"""Spans of our own, and the tracestate that goes with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.exchange import Engine
from extproc.engine.span import Kind, Span, SpanContext
from extproc.engine.tracecontext import randomness, threshold_state
from extproc.policy.load import load_text
from helpers import read_reply, request_headers, response_headers

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
END = 1_700_000_000_000_000_000
POLICY = b"""
tracing:
  spans: {mode: emit}
  sampling: {policy: always_on}
  policies:
    - name: off
      match: {path: "/off"}
      sampling: {policy: always_off}
    - name: kept
      match: {path: "/kept/**"}
      sampling: {policy: probabilistic, ratio: 0}
      keep: {status: "5xx", latency: ">2s"}
"""
ENGINE = Engine(load_text(POLICY, "policy.yaml", {}))


def span(path: str, status: int = 200, seconds: float = 1.0, headers: dict[str, str] | None = None) -> Span | None:
    """The span of a request that took so long."""
    pseudo = {":method": "GET", ":path": path, ":scheme": "https", ":authority": "shop.example:8443"}
    exchange = ENGINE.begin(None)
    exchange.receive(request_headers(pseudo | (headers or {}), {"source.address": "[2001:db8::1]:4711"}), 10.0)
    exchange.receive(response_headers({":status": str(status)}), 10.5)
    outcome = exchange.finish(10.0 + seconds)
    assert outcome is not None
    assert [] == exchange.errors
    return exchange.span(outcome, END)


def test_a_span_is_what_the_conventions_say() -> None:
    """Names, attributes and times of OpenTelemetry's stable HTTP conventions; no query."""
    found = span("/a/b?token=secret", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "user-agent": "test"})
    assert found is not None
    assert (TRACE, PARENT, Kind.SERVER, "GET", False) == (
        found.trace_id,
        found.parent_id,
        found.kind,
        found.name,
        found.error,
    )
    assert (END - 1_000_000_000, END) == (found.start_unix_nanos, found.end_unix_nanos)
    assert {
        "http.request.method": "GET",
        "url.path": "/a/b",
        "url.scheme": "https",
        "server.address": "shop.example",
        "server.port": 8443,
        "client.address": "2001:db8::1",
        "client.port": 4711,
        "user_agent.original": "test",
        "http.response.status_code": 200,
        "sampling.reason": "parent",
    } == found.attributes


@pytest.mark.parametrize(
    ("path", "status", "seconds", "reason"),
    [
        ("/off", 500, 9.0, None),
        ("/kept/a", 200, 2.0, None),
        ("/kept/a", 499, 1.0, None),
        ("/kept/a", 500, 1.0, "error"),
        ("/kept/a", 599, 9.0, "error"),
        ("/kept/a", 200, 2.1, "latency"),
    ],
)
def test_keep(path: str, status: int, seconds: float, reason: str | None) -> None:
    """Of what was not sampled, only what the policy finds worth keeping is a span, and it claims no probability."""
    found = span(path, status, seconds)
    assert reason == (found.attributes["sampling.reason"] if found else None)
    if found:
        assert "sampling.probability" not in found.attributes
        assert ("", f"GET {path.removesuffix('a')}**") == (found.trace_state, found.name)


@pytest.mark.parametrize("host", ["a:" + "9" * 30, "a:" + "9" * 5000, "a:-1", "a:"])
def test_a_port_that_cannot_be_is_part_of_the_name(host: str) -> None:
    """A client's `Host` can't put a number on a span for which OTLP has no room."""
    found = span("/", headers={":authority": host})
    assert found is not None
    assert (host[:1024], None) == (found.attributes["server.address"], found.attributes.get("server.port"))


@pytest.mark.parametrize(("status", "error"), [(200, None), (404, None), (500, "500"), (503, "503")])
def test_status(status: int, error: str | None) -> None:
    """A server span is an error from 500 on."""
    found = span("/", status)
    assert found is not None
    assert (error is not None, error) == (found.error, found.attributes.get("error.type"))


def test_an_unknown_method_is_not_in_the_name() -> None:
    """Names are few; the method itself is an attribute."""
    exchange = ENGINE.begin(None)
    exchange.receive(request_headers({":method": "BREW", ":path": "/"}), 1.0)
    outcome = exchange.finish(2.0)
    assert outcome is not None
    found = exchange.span(outcome, END)
    assert found is not None
    assert ("HTTP", "_OTHER", "BREW") == (
        found.name,
        found.attributes["http.request.method"],
        found.attributes["http.request.method_original"],
    )
    assert (True, "stream_reset") == (found.error, found.attributes["error.type"])


def test_what_is_not_sampled_costs_no_span() -> None:
    """Without `keep` nothing is remembered of it; the upstream still has our span as its parent."""
    exchange = ENGINE.begin(None)
    reply = read_reply(exchange.receive(request_headers({":method": "GET", ":path": "/off"}), 1.0))
    assert reply.set_headers["traceparent"].endswith("-00")
    assert None is exchange.spanned


def test_the_trace_that_envoy_has_begun_is_used() -> None:
    """Where Envoy names a trace in its call to us, ours is the same."""
    exchange = ENGINE.begin(f"00-{TRACE}-{PARENT}-00")
    reply = read_reply(exchange.receive(request_headers({":method": "GET", ":path": "/"}), 1.0))
    version, trace_id, span_id, flags = reply.set_headers["traceparent"].split("-")
    assert ("00", TRACE, "01") == (version, trace_id, flags)
    assert span_id != PARENT
    assert "ot=th:0" == reply.set_headers["tracestate"]


def test_a_tracestate_without_a_parent_is_nobodys() -> None:
    """By the specification it is dropped: its `rv` would belie our `th`."""
    headers = {":method": "GET", ":path": "/off", "tracestate": "a=b,ot=rv:00000000000001"}
    reply = read_reply(ENGINE.begin(None).receive(request_headers(headers), 1.0))
    assert ["tracestate"] == reply.remove_headers
    headers[":path"] = "/"
    reply = read_reply(ENGINE.begin(None).receive(request_headers(headers), 1.0))
    assert "ot=th:0" == reply.set_headers["tracestate"]


@given(st.text(), st.none() | st.integers(0, 2**56 - 1), st.booleans())
def test_tracestate_is_never_broken(sent: str, threshold: int | None, follow: bool) -> None:  # noqa: FBT001  hypothesis
    """Whatever a client sends, `th` is what was decided, once, and the members of others stay."""
    written = threshold_state(TRACE, sent, threshold, follow=follow)
    members = [member.strip() for member in written.split(",") if member.strip()]
    own = [member for member in members if member.startswith("ot=")]
    if threshold is not None:
        digits = f"{threshold:014x}".rstrip("0") or "0"
        assert len(members) <= 32
        assert own[0].startswith(f"ot=th:{digits}")
    elif not follow:
        assert not any(value.startswith("th:") for member in own for value in member.removeprefix("ot=").split(";"))
    others = [member for each in sent.split(",") if (member := each.strip()) and not member.startswith("ot=")]
    assert others[:31] == [member for member in members if not member.startswith("ot=")][:31]


@given(st.integers(0, 2**56 - 1), st.integers(0, 2**56 - 1))
def test_a_followed_threshold_is_true(threshold: int, random_value: int) -> None:
    """A caller's `th` stays exactly if it keeps this trace."""
    digits = f"{threshold:014x}".rstrip("0") or "0"
    sent = f"ot=th:{digits};rv:{random_value:014x}"
    written = threshold_state(TRACE, sent, None, follow=True)
    assert (random_value >= threshold) == (f"th:{digits}" in written)
    assert random_value == randomness(TRACE, written)


@given(st.from_type(SpanContext))
def test_a_context_survives_the_access_log(context: SpanContext) -> None:
    """What is written for the log is read back; anything else is not taken for one."""
    ids = context._replace(trace_id=TRACE, span_id=PARENT, client_id=None, parent_id=PARENT)
    assert ids == SpanContext.parse(ids.text())
    assert None is SpanContext.parse("nonsense")

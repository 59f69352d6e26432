"""One exchange: what is answered, and the Outcome at its end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.exchange import Engine, Exchange
from extproc.engine.outcome import Outcome, Phase, Reason, StreamError
from extproc.policy.plan import Plan, Policy, Sampler, SamplerKind, Tag, TagSource
from helpers import piece, read_reply, request_headers, response_headers

ALWAYS_ON = Sampler(SamplerKind.ALWAYS_ON, 1.0, 0)
TAGS = (Tag("kind", TagSource.RESPONSE_HEADER, "content-type"), Tag("code", TagSource.ATTRIBUTE, "response.code"))
PLAN = Plan(policies=(), default=Policy("default", -1, ALWAYS_ON, tags=TAGS))
REQUEST = request_headers(
    {":method": "GET", ":path": "/a?b=c", ":authority": "h", ":scheme": "https"},
    {"xds.cluster_name": "user_service", "source.address": "10.0.0.1:4711"},
)
OK = response_headers({":status": "200", "content-type": "text/html"}, {"upstream.address": "10.0.0.2:8080"})
EXPECTED = Outcome(
    method="GET",
    path="*",
    service="user_service",
    scheme="https",
    status_code=200,
    policy="default",
    reason=Reason.DEFAULT,
    sampled=True,
    duration_seconds=4.0,
    upstream_seconds=1.5,
    downstream_seconds=4.0,
    upstream_port=8080,
    error_type=None,
)


def run(*messages: bytes, plan: Plan = PLAN) -> Exchange:
    """An exchange that has received these messages, at the seconds 1, 2.5, 4 and so on."""
    exchange = Engine(plan).begin(None)
    for number, message in enumerate(messages):
        exchange.receive(message, 1.0 + 1.5 * number)
    return exchange


def test_outcome() -> None:
    """A request that went well: times from the first message, upstream from our answer to its headers."""
    exchange = run(REQUEST, OK)
    assert EXPECTED == exchange.finish(5.0)
    assert "10.0.0.1:4711" == exchange.client


def test_the_moment_of_the_answer_can_be_moved() -> None:
    """Upstream latency begins when the answer was really sent."""
    exchange = run(REQUEST)
    exchange.answered_at = 1.25
    exchange.receive(OK, 2.5)
    assert EXPECTED._replace(upstream_seconds=1.25) == exchange.finish(5.0)


@pytest.mark.parametrize(("shutdown", "error"), [(False, "stream_reset"), (True, "server_shutdown")])
def test_no_response(shutdown: bool, error: str) -> None:  # noqa: FBT001  pytest passes by name
    """A stream that ends without response headers counts with status 0 and says who ended it."""
    expected = EXPECTED._replace(
        status_code=0, upstream_seconds=None, downstream_seconds=None, upstream_port=0, error_type=error
    )
    assert expected == run(REQUEST).finish(5.0, shutdown=shutdown)


def test_a_stream_without_messages_is_no_request() -> None:
    """Nothing is counted for a stream on which nothing was asked."""
    assert None is run().finish(5.0)


@pytest.mark.parametrize(
    ("status", "flags", "error"),
    [
        ("200", 0, None),
        ("404", 0, None),
        ("500", 0, "5xx"),
        ("503", 0x20, "UF"),
        ("503", 0x8000 | 0x20, "UF"),
        ("503", 0x80, "UO"),
        ("504", 0x4, "UT"),
        ("404", 0x100, "NR"),
        ("503", 1 << 40, "5xx"),
        ("200", 0x200, None),
        ("503", 0x200 | 0x2000000, "OM"),
        ("9999", 0, "stream_reset"),
        ("²00", 0, "stream_reset"),
    ],
)
def test_error_type(status: str, flags: int, error: str | None) -> None:
    """The error is Envoy's response flag where one tells, else the class of a 5xx status."""
    response = response_headers({":status": status}, {"response.flags": float(flags)})
    outcome = run(REQUEST, response).finish(5.0)
    assert outcome is not None
    assert error == outcome.error_type


@pytest.mark.parametrize(
    ("flags", "details", "error"),
    [
        (0, "rbac_access_denied_matched_policy[none]", "rbac_access_denied"),
        (0, "rbac_access_denied_matched_policy[who knows]", "rbac_access_denied"),
        (0, "via_upstream", None),
        (0x1000, "rbac_access_denied_matched_policy[none]", "UAEX"),
    ],
)
def test_a_denial(flags: int, details: str, error: str | None) -> None:
    """What the RBAC filter denies has no flag: its details tell, without the policy that they name."""
    attributes: dict[str, str | float] = {"response.flags": float(flags), "response.code_details": details}
    outcome = run(REQUEST, response_headers({":status": "403"}, attributes)).finish(5.0)
    assert outcome is not None
    assert error == outcome.error_type


def test_a_response_without_its_request() -> None:
    """Where Envoy was told not to send request headers, the request still counts, with what is known."""
    outcome = run(OK).finish(2.0)
    assert outcome is not None
    assert ("_OTHER", "unknown", 200, None) == (
        outcome.method,
        outcome.service,
        outcome.status_code,
        outcome.upstream_seconds,
    )


def test_unknown_methods_are_one() -> None:
    """A client can't make metric attributes out of invented methods."""
    outcome = run(request_headers({":method": "BREW", ":path": "/"})).finish(2.0)
    assert outcome is not None
    assert "_OTHER" == outcome.method


def test_bodies_and_trailers_are_let_through() -> None:
    """What Envoy was configured to send is answered with 'continue' in its own phase."""
    exchange = run(REQUEST)
    for phase in ("request_body", "request_body", "request_trailers", "response_body", "response_trailers"):
        reply = read_reply(exchange.receive(piece(phase, b"x"), 2.0))
        assert (phase, None) == (reply.phase, reply.echoed)
    assert [] == exchange.errors


@pytest.mark.parametrize("direction", ["request", "response"])
def test_full_duplex_bodies_are_given_back(direction: str) -> None:
    """In full duplex mode Envoy forgets a piece of body that the server does not send back."""
    first = request_headers({":path": "/"}, request_body="FULL_DUPLEX_STREAMED", response_body="FULL_DUPLEX_STREAMED")
    reply = read_reply(run(first).receive(piece(f"{direction}_body", b"some", end_of_stream=True), 2.0))
    assert (f"{direction}_body", b"some") == (reply.phase, reply.echoed)
    logged = Engine(PLAN).begin(None, logged=True)
    logged.receive(first, 0.0)
    assert not logged.over  # what Envoy has already sent would be lost


def test_mode_override_only_where_bodies_are_sent() -> None:
    """Bodies that no policy needs are switched off; a configuration that sends none stays as it is."""
    streamed = request_headers({":path": "/"}, response_body="STREAMED")
    override = read_reply(Engine(PLAN).begin(None).receive(streamed, 0.0)).override
    assert override is not None
    assert {"response_header_mode": "SEND", "response_trailer_mode": "SEND", "request_trailer_mode": "SKIP"} == {
        name: mode.name
        for name in ("response_header_mode", "response_trailer_mode", "request_trailer_mode")
        if (mode := getattr(override, name)).name
    }
    assert (0, 0) == (override.request_body_mode, override.response_body_mode)
    assert None is read_reply(Engine(PLAN).begin(None).receive(REQUEST, 0.0)).override


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        (b"\x12\xff", "request_headers"),
        (b"\x1a\xff", "response_headers"),
        (b"\x2a\xff", "response_body"),
        (b"\xff", "request_headers"),
        (b"", "request_headers"),
    ],
)
def test_an_unreadable_message_is_let_through(data: bytes, phase: str) -> None:
    """A message that can't be read is answered with 'continue' for the phase that its first byte names."""
    exchange = Engine(PLAN).begin(None)
    assert phase == read_reply(exchange.receive(data, 0.0)).phase
    exchange.finish(1.0)
    assert [StreamError.UNREADABLE] == exchange.errors


def test_after_request_headers_an_unreadable_message_is_taken_for_response_headers() -> None:
    """Without a phase in its first byte, the next message that Envoy owes us is assumed."""
    assert "response_headers" == read_reply(run(REQUEST).receive(b"\xff", 2.0)).phase


def test_a_bug_is_not_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside the engine becomes 'continue unchanged', is counted and kept for the log."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("extproc.engine.decide.Decider.policy", broken)
    exchange = run(REQUEST, OK)
    assert [StreamError.INTERNAL] == exchange.errors
    assert isinstance(exchange.failure, ZeroDivisionError)
    outcome = exchange.finish(5.0)
    assert outcome is not None
    assert 200 == outcome.status_code


def test_a_bug_while_finishing_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left for `finish` to read is as well guarded as what is read at once."""
    exchange = run(REQUEST, OK, plan=replace(PLAN, default=replace(PLAN.default, tags=())))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("extproc.engine.wire.read", broken)
    outcome = exchange.finish(5.0)
    assert outcome is not None
    assert (0, [StreamError.INTERNAL]) == (outcome.status_code, exchange.errors)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([REQUEST, OK, piece("request_body", b"x")]), max_size=6))
def test_any_bytes_are_answered(messages: list[bytes]) -> None:
    """No bytes make the engine raise, and every message gets a reply whose phase is set."""
    exchange = Engine(PLAN).begin(None)
    for message in messages:
        assert Phase(read_reply(exchange.receive(message, 0.0)).phase or "") == exchange.phase
    assert (exchange.finish(1.0) is None) == (not messages)


@given(st.integers(0, len(REQUEST) - 1), st.binary(min_size=1, max_size=4))
def test_mutilated_messages_are_answered(position: int, junk: bytes) -> None:
    """Nor do messages that are almost right."""
    reply = Engine(PLAN).begin(None).receive(REQUEST[:position] + junk + REQUEST[position + len(junk) :], 0.0)
    assert read_reply(reply).phase

"""Spans of our own, where Envoy's can't be used: one per request, and one for its upstream leg where that was timed.

Names, attributes and status follow OpenTelemetry's stable conventions for HTTP. The query is left out: it is where
clients put secrets.
"""

import random
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from extproc.engine.address import split_address
from extproc.engine.outcome import Outcome, Reason
from extproc.engine.request import method_label
from extproc.engine.sample import Decision
from extproc.engine.scan import TagValue
from extproc.engine.tracecontext import TraceContext, parse_traceparent, threshold_state
from extproc.policy.plan import ANY_PATH, Keep, Policy

Attribute = str | int | float | bool

_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_LONGEST = 1024
_INTEGERS = 2.0**53  # below it a float names one integer, and OTLP has room for it
_OTHER = "_OTHER"
_NONE = "-"
_PROBABILITY = "sampling.probability"
_NOT_ATTRIBUTES = frozenset({"span_name"})


class Kind(StrEnum):
    """Which side of a call a span stands for."""

    SERVER = "server"
    CLIENT = "client"


class Span(NamedTuple):
    """A span that is over. Ids are lower-case hex digits; `error` is its status, unset where that is False."""

    trace_id: str
    span_id: str
    parent_id: str | None
    trace_state: str
    kind: Kind
    name: str
    start_unix_nanos: int
    end_unix_nanos: int
    attributes: dict[str, Attribute]
    error: bool


class SpanContext(NamedTuple):
    """A request's place in its trace.

    `client_id` is the span of the upstream leg, where there will be one; then that is the upstream's parent.
    `trace_state` is what the upstream gets as tracestate, "" for none.
    """

    trace_id: str
    span_id: str
    client_id: str | None
    parent_id: str | None
    trace_state: str

    def traceparent(self, *, sampled: bool) -> str:
        """The header for the upstream."""
        return f"00-{self.trace_id}-{self.client_id or self.span_id}-{'01' if sampled else '00'}"

    def text(self) -> str:
        """One line, for the access log to bring back; see `parse`."""
        ids = self.trace_id, self.span_id, self.client_id or _NONE, self.parent_id or _NONE
        return " ".join((*ids, self.trace_state))

    @classmethod
    def parse(cls, text: str) -> "SpanContext | None":
        """What `text` wrote; None if it did not."""
        parts = text.split(" ", 4)
        if len(parts) != len(cls._fields) or not all(parts[:2]):
            return None
        trace_id, span_id, client_id, parent_id, trace_state = parts
        return cls(
            trace_id,
            span_id,
            None if client_id == _NONE else client_id,
            None if parent_id == _NONE else parent_id,
            trace_state,
        )


class Facts(NamedTuple):
    """What a request says of itself. `path` has no query; `client` is its downstream connection's address."""

    method: str
    path: str
    scheme: str
    host: str
    user_agent: str
    client: str | None
    status: int
    error_type: str | None


def new_trace(begun: str | None) -> str:
    """The traceparent of a trace without a parent: the one that Envoy has begun, or a new one."""
    if begun is not None and parse_traceparent(begun) is not None:
        return begun
    return f"00-{_random_id(128)}-{_random_id(64)}-00"


def begin(  # noqa: PLR0913  everything that is known of a trace at its decision
    parent: TraceContext | None,
    begun: str,
    tracestate: str | None,
    decision: Decision,
    threshold: int | None,
    *,
    leg: bool,
) -> SpanContext:
    """The span context of a request whose trace is decided.

    Args:
        parent: the caller's.
        begun: names the trace where there is no parent (see `new_trace`).
        tracestate: the caller's.
        decision: what becomes of the trace.
        threshold: the T that it has reached, None where its probability is not known, or is the caller's.
        leg: whether the upstream leg gets a span, too.
    """
    followed = decision.reason is Reason.PARENT
    trace_id = parent.trace_id if parent is not None else begun.split("-")[1]
    return SpanContext(
        trace_id,
        _random_id(64),
        _random_id(64) if leg else None,
        parent.span_id if parent is not None else None,
        threshold_state(trace_id, tracestate, threshold, follow=followed and decision.sampled),
    )


def _worth_keeping(keep: Keep | None, outcome: Outcome) -> str | None:
    """The reason to export a request that was not sampled: `error` or `latency`; None if there is none."""
    if keep is None:
        return None
    if keep.statuses is not None and keep.statuses[0] <= outcome.status_code <= keep.statuses[1]:
        return "error"
    slow = keep.over_seconds is not None and outcome.duration_seconds > keep.over_seconds
    return "latency" if slow else None


def finished(  # noqa: PLR0913, PLR0917  everything that is known of a request in the end
    context: SpanContext,
    policy: Policy,
    outcome: Outcome,
    facts: Facts,
    read_tags: Callable[[], dict[str, TagValue]],
    times: tuple[int, int],
) -> Span | None:
    """The request's own span, if it is to be exported; `times` are its beginning and its end in Unix nanoseconds."""
    if outcome.sampled:
        return _server_span(context, policy, facts, read_tags(), times)
    reason = _worth_keeping(policy.keep, outcome)
    if reason is None:
        return None
    return _without_probability(_server_span(context, policy, facts, read_tags(), times), reason)


def _server_span(
    context: SpanContext, policy: Policy, facts: Facts, tags: dict[str, TagValue], times: tuple[int, int]
) -> Span:
    name, template = policy.span_name, policy.path_template
    method = method_label(facts.method)
    attributes: dict[str, Attribute] = {
        "http.request.method": method,
        "url.path": facts.path[:_LONGEST],
        "url.scheme": facts.scheme,
    }
    if method == _OTHER:
        attributes["http.request.method_original"] = facts.method[:_LONGEST]
    if template != ANY_PATH:
        attributes["http.route"] = template
    attributes |= _address("server", facts.host, host=True)
    attributes |= _address("client", facts.client or "")
    if facts.user_agent:
        attributes["user_agent.original"] = facts.user_agent[:_LONGEST]
    attributes |= _result(facts, _SERVER_ERROR)
    attributes |= {key: _attribute(key, value) for key, value in tags.items() if key not in _NOT_ATTRIBUTES}
    verb = "HTTP" if method == _OTHER else method
    return Span(
        context.trace_id,
        context.span_id,
        context.parent_id,
        context.trace_state,
        Kind.SERVER,
        name or (verb if template == ANY_PATH else f"{verb} {template}"),
        *times,
        attributes,
        "error.type" in attributes,
    )


def client_span(context: SpanContext, facts: Facts, outcome: Outcome, times: tuple[int, int]) -> Span | None:
    """The span of the upstream leg, if it was to have one."""
    if context.client_id is None:
        return None
    method = method_label(facts.method)
    attributes: dict[str, Attribute] = {"http.request.method": method, "server.address": outcome.service}
    if outcome.upstream_port:
        attributes["server.port"] = outcome.upstream_port
    if outcome.attempts is not None and outcome.attempts > 1:
        attributes["http.request.resend_count"] = outcome.attempts - 1
    attributes |= _result(facts, _CLIENT_ERROR)
    return Span(
        context.trace_id,
        context.client_id,
        context.span_id,
        context.trace_state,
        Kind.CLIENT,
        "HTTP" if method == _OTHER else method,
        *times,
        attributes,
        "error.type" in attributes,
    )


def _without_probability(span: Span, reason: str) -> Span:
    """A span that was not sampled and is exported for `reason`: it stands for itself and for no others."""
    attributes = {key: value for key, value in span.attributes.items() if key != _PROBABILITY}
    return span._replace(attributes=attributes | {"sampling.reason": reason})


def _result(facts: Facts, error_from: int) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    if facts.status:
        found["http.response.status_code"] = facts.status
    failed = facts.status >= error_from
    flag = None if facts.error_type == "5xx" else facts.error_type
    if failed or flag is not None:
        found["error.type"] = flag or str(facts.status)
    return found


def _address(side: str, text: str, *, host: bool = False) -> dict[str, Attribute]:
    """`side`.address and `side`.port of `10.0.0.1:4711`, `[::1]:4711` or, of a host, `example.com`."""
    if not text:
        return {}
    address, port = split_address(text)
    if port is None:
        return {f"{side}.address": text[:_LONGEST]} if host or "/" in text else {}
    return {f"{side}.address": address[:_LONGEST], f"{side}.port": port}


def _attribute(name: str, value: TagValue) -> Attribute:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _INTEGERS and name != _PROBABILITY
    return int(value) if whole else value


def _random_id(bits: int) -> str:
    """Hex digits of so many random bits, not all of them 0."""
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"

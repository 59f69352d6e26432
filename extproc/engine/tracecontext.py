"""W3C trace context: what a `traceparent` says, and the randomness that a consistent decision rests on."""

import re
from dataclasses import dataclass

RANDOMNESS_BITS = 56
_RANDOMNESS_MASK = (1 << RANDOMNESS_BITS) - 1

# https://www.w3.org/TR/trace-context-2/#traceparent-header: version 00 is exactly this long, a later one may go on
# after a further dash; ff is no version, and ids of nothing but zeros are none.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(.*)",
    re.DOTALL,
)
_LENGTH = 55
_RANDOM_DIGITS = slice(21, 35)  # the last 7 bytes of the trace id
_ODD = frozenset("13579bdf")  # flags whose lowest bit, sampled, is set
_RANDOM_VALUE = re.compile(r"(?:^|,)[ \t]*ot=(?:[^,]*;)?rv:([0-9a-f]{14})(?=[;, \t]|$)")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A valid `traceparent`: `trace_id` is 32 lower-case hex digits, `sampled` its flag."""

    trace_id: str
    sampled: bool


def parse_traceparent(text: str | None) -> TraceContext | None:
    """What `text` says, or None where it is absent or not valid: then, by the specification, there is no parent."""
    if not text:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, flags, more = found.groups()
    if more and (text.startswith("00-") or not more.startswith("-")):
        return None
    return TraceContext(trace_id, sampled=flags[1] in _ODD)


def randomness(trace_id: str, tracestate: str | None) -> int:
    """R, 0 … 2^56-1: tracestate's `ot=rv:` where there is one, else the last 7 bytes of the trace id.

    Source: OpenTelemetry's "TraceState: probability sampling" specification.
    """
    if tracestate and "rv:" in tracestate:
        found = _RANDOM_VALUE.search(tracestate)
        if found:
            return int(found[1], 16)
    return int(trace_id, 16) & _RANDOMNESS_MASK


def trace_randomness(traceparent: str | None) -> int | None:
    """R of the trace that Envoy's own `traceparent` names, or None where it names none.

    Envoy wrote it, so it is taken as it is: what a client sends goes through parse_traceparent.
    """
    if traceparent is None or len(traceparent) != _LENGTH:
        return None
    try:
        return int(traceparent[_RANDOM_DIGITS], 16) & _RANDOMNESS_MASK
    except ValueError:
        return None

"""W3C trace context: what a `traceparent` says, and the randomness that a consistent decision rests on."""

import re
from dataclasses import dataclass

RANDOMNESS_BITS = 56
_RANDOMNESS_MASK = (1 << RANDOMNESS_BITS) - 1

# https://www.w3.org/TR/trace-context-2/#traceparent-header: version 00 is exactly this long, a later one may go on
# after a further dash; ff is no version.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
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
    version, trace_id, parent_id, flags, more = found.groups()
    if not (int(trace_id, 16) and int(parent_id, 16)) or (version == "00" and more):
        return None
    return TraceContext(trace_id, sampled=bool(int(flags, 16) & 1))


def randomness(trace_id: str, tracestate: str | None) -> int:
    """R, 0 … 2^56-1: tracestate's `ot=rv:` where there is one, else the last 7 bytes of the trace id.

    Source: OpenTelemetry's "TraceState: probability sampling" specification.
    """
    if tracestate and "rv:" in tracestate:
        found = _RANDOM_VALUE.search(tracestate)
        if found:
            return int(found[1], 16)
    return int(trace_id, 16) & _RANDOMNESS_MASK

"""W3C trace context: what a `traceparent` says, and the randomness that a consistent decision rests on."""

import re
from dataclasses import dataclass

RANDOMNESS_BITS = 56
_RANDOMNESS_MASK = (1 << RANDOMNESS_BITS) - 1

# https://www.w3.org/TR/trace-context-2/#traceparent-header: version 00 is exactly this long, a later one may go on
# after a further dash; ff is no version, and ids of nothing but zeros are none.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(.*)",
    re.DOTALL,
)
_LENGTH = 55
_RANDOM_DIGITS = slice(21, 35)  # the last 7 bytes of the trace id
_ODD = frozenset("13579bdf")  # flags whose lowest bit, sampled, is set
_THRESHOLD = re.compile("[0-9a-f]{1,14}")
_MEMBERS = 32  # of a tracestate, at the most
_RANDOM_VALUE = re.compile(r"(?:^|,)[ \t]*ot=(?:[^,]*;)?rv:([0-9a-f]{14})(?=[;, \t]|$)")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A valid `traceparent`: `trace_id` is 32 lower-case hex digits, `span_id` 16, `sampled` its flag."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(text: str | None) -> TraceContext | None:
    """What `text` says, or None where it is absent or not valid: then, by the specification, there is no parent."""
    if not text:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags, more = found.groups()
    if more and (text.startswith("00-") or not more.startswith("-")):
        return None
    return TraceContext(trace_id, span_id, sampled=flags[1] in _ODD)


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


def threshold_state(trace_id: str, tracestate: str | None, threshold: int | None, *, follow: bool) -> str:
    """The `tracestate` for the upstream, "" for none.

    With `threshold` its `ot=th:` says that the trace was kept with the probability of that T. Without, `th` goes, since
    nobody knows the probability; but `follow` keeps that of a caller whose decision was followed, unless it can't be
    true of this trace. `rv` and everything of other vendors stays as it is.
    """
    if threshold is None and (not tracestate or "th:" not in tracestate):
        return tracestate or ""
    members = [member for each in (tracestate or "").split(",") if (member := each.strip())]
    own = next((member for member in members if member.startswith("ot=")), "ot=")
    values = [value for value in own.removeprefix("ot=").split(";") if value]
    if follow and any(_holds(value, randomness(trace_id, tracestate)) for value in values):
        return tracestate or ""
    kept = [value for value in values if not value.startswith("th:")]
    if threshold is not None:
        kept.insert(0, f"th:{f'{threshold:014x}'.rstrip('0') or '0'}")
    others = [member for member in members if not member.startswith("ot=")]
    return ",".join([f"ot={';'.join(kept)}", *others][:_MEMBERS] if kept else others)


def _holds(value: str, random_value: int) -> bool:
    """Whether `value` is a `th` that keeps a trace of this randomness."""
    digits = value.removeprefix("th:")
    if digits == value or not _THRESHOLD.fullmatch(digits):
        return False
    return random_value >= int(digits.ljust(RANDOMNESS_BITS // 4, "0"), 16)

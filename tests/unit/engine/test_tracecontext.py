"""Reading traceparent and tracestate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.tracecontext import TraceContext, parse_traceparent, randomness

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{TRACE}-{PARENT}-01", TraceContext(TRACE, PARENT, sampled=True)),
        (f"00-{TRACE}-{PARENT}-00", TraceContext(TRACE, PARENT, sampled=False)),
        (f"00-{TRACE}-{PARENT}-03", TraceContext(TRACE, PARENT, sampled=True)),
        (f"00-{TRACE}-{PARENT}-fe", TraceContext(TRACE, PARENT, sampled=False)),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", TraceContext(TRACE, PARENT, sampled=True)),
        (f"cc-{TRACE}-{PARENT}-01", TraceContext(TRACE, PARENT, sampled=True)),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"cc-{TRACE}-{PARENT}-01.more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}-1", None),
        (f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01", None),
        (f" 00-{TRACE}-{PARENT}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_traceparent(text: str | None, expected: TraceContext | None) -> None:
    """A traceparent is read as W3C Trace Context says, and an invalid one is none at all."""
    assert expected == parse_traceparent(text)


@given(st.text(max_size=80))
def test_any_text_is_a_context_or_none(text: str) -> None:
    """No text makes the parser raise."""
    parse_traceparent(text)


@pytest.mark.parametrize(
    ("tracestate", "expected"),
    [
        (None, 0x48EB211C80319C),
        ("", 0x48EB211C80319C),
        ("ot=rv:6e6d1a75832a2f", 0x6E6D1A75832A2F),
        ("ot=th:8;rv:6e6d1a75832a2f", 0x6E6D1A75832A2F),
        ("ot=rv:6e6d1a75832a2f;th:8", 0x6E6D1A75832A2F),
        ("other=1, ot=rv:6e6d1a75832a2f", 0x6E6D1A75832A2F),
        ("ot=th:8,other=rv:6e6d1a75832a2f", 0x48EB211C80319C),
        ("ot=rv:6e6d1a75832a2", 0x48EB211C80319C),
        ("ot=rv:6e6d1a75832a2f0", 0x48EB211C80319C),
        ("ot=rv:6E6D1A75832A2F", 0x48EB211C80319C),
        ("not=rv:6e6d1a75832a2f", 0x48EB211C80319C),
    ],
)
def test_randomness(tracestate: str | None, expected: int) -> None:
    """R is tracestate's explicit randomness value where a valid one is there, else the last 7 bytes of the trace id."""
    assert expected == randomness(TRACE, tracestate)


@given(st.text(alphabet="ot=rv:;, abc0123", max_size=200))
def test_randomness_is_in_range_for_any_tracestate(tracestate: str) -> None:
    """R has 56 bits, whatever the client sends."""
    assert 0 <= randomness(TRACE, tracestate) < 1 << 56

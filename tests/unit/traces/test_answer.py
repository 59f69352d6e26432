"""Jaeger's answers: what is read of them, and that anything else is refused with its place."""

import json
import math
import re
from typing import Any

import pytest

from extproc.traces.answer import read_error, read_services, read_traces
from extproc.traces.trace import Sampling

TRACE = "0af7651916cd43dd8448eb211c80319c"
START = 1_763_000_000_000_000


def span(span_id: str, parent: str | None = None, **changes: object) -> dict[str, Any]:
    """A span as /api/traces shows it."""
    references = [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}] if parent else []
    made = {
        "traceID": TRACE,
        "spanID": span_id,
        "operationName": "op " + span_id,
        "references": references,
        "startTime": START,
        "duration": 1_000,
        "tags": [],
        "logs": [],
        "processID": "p1",
        "warnings": None,
    }
    return made | changes


def answer(*spans: dict[str, Any], **changes: object) -> bytes:
    """An answer with one trace of these spans."""
    processes = {name: {"serviceName": f"service-{name}", "tags": []} for name in ("p1", "p2")}
    trace = {"traceID": TRACE, "spans": list(spans), "processes": processes, "warnings": None}
    return json.dumps({"data": [trace | changes], "total": 0, "limit": 0, "offset": 0, "errors": None}).encode()


def test_a_trace() -> None:
    """Of its spans come the root, the services in their order, the time from first to last, errors and reasons."""
    tags = [
        {"key": "sampling.policy", "type": "string", "value": "checkout"},
        {"key": "sampling.reason", "type": "string", "value": "policy"},
    ]
    error = [{"key": "error", "type": "bool", "value": True}]
    late = span("b", "a", processID="p2", startTime=START + 500, duration=2_000, tags=error)
    (trace,) = read_traces(answer(late, span("a", tags=tags)))
    assert (TRACE, START, 2_500, 1) == (trace.trace_id, trace.start_us, trace.duration_us, trace.errors)
    assert ("service-p1", "service-p2") == trace.services
    assert ("service-p1", "op a") == (trace.root.service, trace.root.operation)
    assert Sampling("checkout", "policy") == trace.sampling
    assert [None, "a"] == [found.parent_id for found in trace.spans]


def test_order() -> None:
    """What began last comes first."""
    first = json.loads(answer(span("a")))["data"][0]
    later = json.loads(answer(span("b", startTime=START + 1), traceID="1"))["data"][0]
    found = read_traces(json.dumps({"data": [first, later]}).encode())
    assert ["1".zfill(32), TRACE] == [trace.trace_id for trace in found]


def test_nothing_found() -> None:
    """No data, null data and a trace whose spans are gone are no traces."""
    assert () == read_traces(b'{"data": []}')
    assert () == read_traces(b'{"data": null}')
    assert () == read_traces(answer())
    assert () == read_services(b'{"data": null, "total": 0}')


def test_parts_that_are_missing() -> None:
    """A span whose parent was dropped is a root; one whose process was dropped has no service."""
    (trace,) = read_traces(answer(span("b", "gone", processID="p9", tags=None, references=None)))
    assert ("", "op b", None) == (trace.root.service, trace.root.operation, trace.sampling)
    (trace,) = read_traces(answer(span("a", "a")))
    assert "a" == trace.root.span_id


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Invalid JSON: EOF while parsing a value"),
        (b"<!DOCTYPE html>", "Invalid JSON: expected value"),
        (b"[]", "Input should be an object"),
        (b'{"status":"OK"}', "data: Field required"),
        (b'{"data": {}}', "data: Input should be a valid array"),
        (b'{"data": ' + b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (b'{"data": [{"traceID": "a\\ud800"}]}', "Invalid JSON: "),
        (answer(span("a"), traceID="a\x1b[2J"), "data.0.traceID: String should match pattern"),
        (answer(span("../a")), "data.0.spans.0.spanID: String should match pattern"),
        (answer(span("a", startTime=-1)), "data.0.spans.0.startTime: Input should be greater than or equal to 0"),
        (answer(span("a", startTime=1.5)), "data.0.spans.0.startTime: Input should be a valid integer"),
        (answer(span("a", startTime="now")), "data.0.spans.0.startTime: Input should be a valid integer"),
        (answer(span("a", duration=10**18)), "data.0.spans.0.duration: Input should be less than"),
        (answer(span("a")).replace(b"1000,", b"9" * 5000 + b","), "Invalid JSON: number out of range"),
        (answer(span("a", operationName=None)), "data.0.spans.0.operationName: Input should be a valid string"),
        (answer(span("a", tags=[{"key": "a", "value": {}}])), "data.0.spans.0.tags.0.value"),
        (answer(span("a", tags=[{"key": "a", "value": math.inf}])), "data.0.spans.0.tags.0.value"),
    ],
)
def test_no_traces(body: bytes, said: str) -> None:
    """What is no such answer is refused, and the text says where it is not."""
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        read_traces(body)


def test_errors() -> None:
    """Jaeger's own words are found; what is not Jaeger's has none."""
    assert "no" == read_error(b'{"data":null,"errors":[{"code":400,"msg":"no"}]}\n')
    assert None is read_error(b'{"errors":[]}')
    assert None is read_error(b'{"errors":[{"code":400}]}')
    assert None is read_error(b"not found")

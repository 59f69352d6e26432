"""What was seen of the stack, and how it is read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from stack.queries import Query


@dataclass(frozen=True, slots=True)
class Span:
    """A span as the collector wrote it to its file."""

    resource: dict[str, Any]
    trace_id: str
    parent_id: str
    name: str
    tags: dict[str, Any]


@dataclass(slots=True)
class Evidence:
    """What was seen.

    Attributes:
        metrics: What the collector exposed after the rounds.
        envoy: What Envoy exposed then, and `spans` what the collector's file held.
        at_jaeger: How many spans had reached Jaeger then.
        complaints: What the collector had logged by then as a warning or an error.
        calm, fired: The alerts that had fired by then, and by the end.
        notified: Of Alertmanager's alerts in the end, who is told of each; nobody of one that another inhibits.
        answers: For each query what Prometheus answered in the end, NaN left out; for each selector how many series.
    """

    metrics: list[Sample] = field(default_factory=list)
    envoy: list[Sample] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    at_jaeger: int = 0
    complaints: list[str] = field(default_factory=list)
    calm: set[str] = field(default_factory=set)
    fired: set[str] = field(default_factory=set)
    notified: dict[str, set[str]] = field(default_factory=dict)
    answers: dict[Query, list[float | str]] = field(default_factory=dict)
    series: dict[str, int] = field(default_factory=dict)


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels."""
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def read_samples(text: str) -> list[Sample]:
    """The series of a page for Prometheus."""
    # Without the types, by which the parser would give Envoy's counters a _total that Prometheus does not give them.
    untyped = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [sample for family in text_string_to_metric_families(untyped) for sample in family.samples]


def read_spans(file: Path) -> list[Span]:
    """Those of the collector's file, up to its last whole line."""
    lines = file.read_text().splitlines(keepends=True)
    return [
        Span(
            resource=_attributes(group["resource"]),
            trace_id=span["traceId"],
            parent_id=span.get("parentSpanId", ""),
            name=span["name"],
            tags=_attributes(span),
        )
        for line in lines
        if line.endswith("\n")
        for group in json.loads(line)["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    """OTLP's JSON of attributes; each value is an object with the one key that names its kind."""
    return {each["key"]: next(iter(each["value"].values())) for each in holder.get("attributes", ())}

"""The demo's result as text for people and as data for programs."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from extproc.demo.evidence import SpanSeen
from extproc.demo.judge import Check
from extproc.demo.otlp_receiver import Value
from extproc.demo.run import Report
from extproc.demo.stack import POLICY

_FIRST_TAGS = (
    "sampling.policy",
    "sampling.reason",
    "sampling.probability",
    "user_id",
    "order_id",
    "page",
    "caller",
    "cache",
    "mesh",
    "http.method",
    "http.status_code",
    "upstream_cluster.name",
)
"""Tags worth showing; Envoy's spans have more."""

_FILE = shlex.quote(str(POLICY))
_UPSTREAMS = (
    "--upstream user-service=127.0.0.1:8080 --upstream order-service=127.0.0.1:8081 --route /api/orders=order-service"
)

NEXT = (
    ("read the policy that just ran", f"{POLICY}"),
    ("check one of your own", "extproc check policy.yaml"),
    ("ask what happens to a request", f"extproc explain {_FILE} GET /api/orders/o-1042"),
    (
        "print Envoy's configuration for it",
        f"extproc envoy --policy {_FILE} {_UPSTREAMS}",
    ),
    ("run the server", f"extproc serve --policy {_FILE}"),
    ("learn how it works", "docs/architecture.md, in the project's repository"),
)


def as_data(report: Report) -> dict[str, object]:
    """The report as JSON data, durations in seconds."""
    return {
        "ok": report.ok,
        "duration_seconds": report.duration_seconds,
        "requests": {"sent": report.requests, "failed": report.failed, "upstream_5xx": report.upstream_errors},
        "policies": [asdict(row) | {"real_ratio": row.real_ratio} for row in report.policies],
        "spans": [_span_data(span) for span in report.spans],
        "latency": [asdict(row) for row in report.latencies],
        "checks": [asdict(check) for check in report.checks],
        "next": [{"what": what, "how": how} for what, how in NEXT],
    }


def print_report(report: Report, console: Console) -> None:
    """Print the report as text."""
    sections: list[RenderableType] = [
        _summary(report),
        _policies(report),
        *(_span(span) for span in report.spans),
        _latencies(report),
        _checks(report.checks),
        _next(),
    ]
    for section in sections:
        console.print()
        console.print(section, soft_wrap=not isinstance(section, Table), highlight=False)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _span_data(span: SpanSeen) -> dict[str, object]:
    return {"trace_id": span.trace_id, "name": span.name, "seconds": span.seconds, "tags": dict(span.tags)}


def _summary(report: Report) -> Text:
    kept = sum(row.kept + row.parents_kept for row in report.policies)
    return Text(
        f"{report.requests:,} requests in {report.duration_seconds:g} s, {report.failed:,} failed, "
        f"{report.upstream_errors:,} answered with an error by a service; {kept:,} traces kept",
        style="bold",
    )


def _policies(report: Report) -> Table:
    table = _table("Policies: of the traces that began here, how many each kept", "policy")
    for heading in ("requests", "new traces", "kept", "expected", "real", "callers kept"):
        table.add_column(heading, justify="right")
    for row in report.policies:
        numbers = (f"{number:,}" for number in (row.requests, row.new_traces, row.kept))
        real = "–" if row.real_ratio is None else f"{row.real_ratio:.1%}"
        callers = f"{row.parents_kept:,} of {row.with_parent:,}"
        table.add_row(row.policy, *numbers, f"{row.expected_ratio:.0%}", real, callers)
    return table


def _span(span: SpanSeen) -> Table:
    table = _table(f"A kept span: {span.name}, {1000 * span.seconds:.1f} ms", "tag")
    table.add_column("value", overflow="fold")
    table.add_row("(trace id)", span.trace_id)
    for name, value in _shown_tags(span.tags).items():
        table.add_row(name, Text(str(value)))
    return table


def _shown_tags(tags: Mapping[str, Value]) -> dict[str, Value]:
    return {name: tags[name] for name in _FIRST_TAGS if name in tags}


def _latencies(report: Report) -> Table:
    table = _table("Latency, interpolated in the buckets of the OTLP histograms", "side", "service")
    for heading in ("requests", "p50", "p90", "p99"):
        table.add_column(heading, justify="right")
    for row in report.latencies:
        seconds = (row.p50_seconds, row.p90_seconds, row.p99_seconds)
        table.add_row(row.side, row.service, f"{row.count:,}", *(f"{1000 * each:.0f} ms" for each in seconds))
    return table


def _checks(checks: tuple[Check, ...]) -> Group:
    lines = [Text("Is all of this true?", style="bold")]
    lines += [
        Text.assemble(("  ✓ ", "green") if check.ok else ("  ✗ ", "bold red"), f"{check.name}: {check.detail}")
        for check in checks
    ]
    return Group(*lines)


def _next() -> Group:
    lines = [Text("Where to go next", style="bold")]
    for what, how in NEXT:
        lines += [Text(f"  {what}", style="dim"), Text(f"    {how}", style="cyan")]
    return Group(*lines)

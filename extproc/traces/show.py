"""Traces as a table for people and as data for programs."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich import box
from rich.table import Table
from rich.text import Text

from extproc.traces.printable import printable
from extproc.traces.trace import Sampling, Span, Trace

_MICROSECONDS = 1_000_000
_MILLISECOND = 1_000


def as_table(traces: Iterable[Trace]) -> Table:
    """One line per trace."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trace", no_wrap=True)
    table.add_column("began (UTC)", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("spans", justify="right")
    table.add_column("errors", justify="right")
    table.add_column("begins with", overflow="fold")
    table.add_column("services", overflow="fold")
    table.add_column("kept by", overflow="fold")
    for trace in traces:
        table.add_row(
            trace.trace_id,
            f"{_time(trace.start_us):%Y-%m-%d %H:%M:%S}",
            _duration(trace.duration_us),
            str(len(trace.spans)),
            Text(str(trace.errors), "red" if trace.errors else "dim"),
            Text(printable(f"{trace.root.service}: {trace.root.operation}")),
            Text(", ".join(printable(service) for service in trace.services)),
            Text(_kept_by(trace.sampling)),
        )
    return table


def as_data(trace: Trace) -> dict[str, object]:
    """One trace as JSON data, with all of its spans; times as in RFC 3339, durations in seconds."""
    root, sampling = trace.root, trace.sampling
    return {
        "trace_id": trace.trace_id,
        "start": _rfc3339(trace.start_us),
        "duration_seconds": trace.duration_us / _MICROSECONDS,
        "errors": trace.errors,
        "services": list(trace.services),
        "root": {"service": root.service, "operation": root.operation},
        "sampling": None if sampling is None else {"policy": sampling.policy, "reason": sampling.reason},
        "spans": [_span_data(span) for span in trace.spans],
    }


def _span_data(span: Span) -> dict[str, object]:
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "service": span.service,
        "operation": span.operation,
        "start": _rfc3339(span.start_us),
        "duration_seconds": span.duration_us / _MICROSECONDS,
        "failed": span.failed,
        "tags": dict(span.tags),
    }


def _kept_by(sampling: Sampling | None) -> str:
    if sampling is None:
        return "–"
    reason = f" ({sampling.reason})" if sampling.reason else ""
    return printable((sampling.policy or "–") + reason)


def _time(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _rfc3339(microseconds: int) -> str:
    return _time(microseconds).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _duration(microseconds: int) -> str:
    if microseconds < _MILLISECOND:
        return f"{microseconds} µs"
    if microseconds < _MICROSECONDS:
        return f"{microseconds / _MILLISECOND:.1f} ms"
    return f"{microseconds / _MICROSECONDS:.1f} s"

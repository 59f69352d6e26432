"""Requests that were found in a log, as a table for people and as data for programs."""

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from extproc.replay.fields import AUTHORITY, METHOD, PATH
from extproc.replay.find import Found
from extproc.replay.moment import rfc3339
from extproc.traces.printable import printable


def as_data(found: Found) -> dict[str, object]:
    """One request as JSON data; `trace_id_drawn` says that the log has no trace id for it."""
    entry, outcome = found
    return {
        "file": entry.file,
        "line": entry.line,
        "time": rfc3339(entry.unix_seconds),
        "method": entry.headers.get(METHOD),
        "path": entry.headers.get(PATH),
        "host": entry.headers.get(AUTHORITY),
        "service": entry.service or None,
        "trace_id": entry.trace_id,
        "trace_id_drawn": entry.drawn,
        "policy": outcome.policy,
        "reason": outcome.reason,
        "sampled": outcome.sampled,
    }


def as_table(found: Iterable[Found]) -> Table:
    """One line for each; a trace id that was drawn is marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("line", "time (UTC)", "method"):
        table.add_column(heading, no_wrap=True)
    for heading in ("path", "service", "policy"):
        table.add_column(heading, overflow="fold")
    for heading in ("fate", "trace"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        entry, outcome = each
        fate = Text("kept", "green") if outcome.sampled else Text("not kept", "yellow")
        table.add_row(
            Text(printable(f"{entry.file}:{entry.line}")),
            rfc3339(entry.unix_seconds) or "–",
            Text(printable(entry.headers.get(METHOD, "–"))),
            Text(printable(entry.headers.get(PATH, "–"))),
            Text(printable(entry.service or "–")),
            Text(printable(outcome.policy)),
            Text.assemble(fate, f" ({outcome.reason})"),
            f"{entry.trace_id} (drawn)" if entry.drawn else entry.trace_id,
        )
    return table

"""A simulation as tables for people and as data for programs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from extproc.policy.plan import DEFAULT_POLICY
from extproc.replay.moment import rfc3339, utc
from extproc.replay.reading import Reading
from extproc.replay.simulation import Simulation
from extproc.replay.tally import Count, Tally
from extproc.replay.unseen import unseen

_NOTHING: Final = "–"
_ALL: Final = "all"
_MINUTE: Final = 60
_MOST_CHANGES: Final = 20
"""Rows of the text's last table; the data have all."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A policy's figures: requests that it matched, their share of all, those whose traces are kept."""

    name: str
    matched: int
    share: float | None
    kept: int
    ratio: float | None
    parents: int
    spans_per_second: float | None
    dry_run: bool


def as_data(simulation: Simulation, reading: Reading, against: str | None) -> dict[str, object]:
    """Everything as JSON data; times as in RFC 3339. `against` is the other policy's file."""
    bad = reading.first_bad
    return {
        "log": {
            "lines": reading.lines,
            "bad": reading.bad,
            "first_bad": None if bad is None else asdict(bad),
            "requests": reading.requests,
            "skipped": reading.skipped,
            "trace_ids_drawn": reading.drawn,
            "from": rfc3339(simulation.began),
            "to": rfc3339(simulation.ended),
            "seconds": simulation.seconds,
        },
        **_tally_data(simulation.tally, simulation.seconds),
        "unseen": [{"input": name, "policies": asking} for name, asking in _unseen(simulation, reading).items()],
        "against": None if against is None else _against_data(simulation, against),
    }


def as_text(simulation: Simulation, reading: Reading, against: str | None) -> RenderableType:
    """The same as tables."""
    parts: list[RenderableType] = [Text(_summary(simulation, reading), "bold"), _policies(simulation)]
    if against is not None and simulation.before is not None:
        parts += [_comparison(simulation, simulation.before, against), *_changes(simulation)]
    return Group(*parts)


def warnings(simulation: Simulation, reading: Reading) -> Iterator[str]:
    """What makes the figures less than they seem."""
    if reading.complaint:
        yield reading.complaint
    for name, asking in _unseen(simulation, reading).items():
        yield f"the log does not have {name}, which {', '.join(asking)} asks for"


def _unseen(simulation: Simulation, reading: Reading) -> dict[str, tuple[str, ...]]:
    return unseen(simulation.plan, reading.names) if reading.requests else {}


def _tally_data(tally: Tally, seconds: float | None) -> dict[str, object]:
    *policies, default, total = map(asdict, _rows(tally, seconds))
    return {"policies": policies, "unmatched": default, "total": total}


def _against_data(simulation: Simulation, against: str) -> dict[str, object]:
    difference = simulation.difference
    tally = _tally_data(simulation.before, simulation.seconds) if simulation.before is not None else {}
    changes = [{"from": names[0], "to": names[1]} | asdict(change) for names, change in difference.changes.items()]
    return {"policy": against, **tally, "changed": asdict(difference.total), "changes": changes}


def _rows(tally: Tally, seconds: float | None) -> list[_Row]:
    """The policies in their order, then the default, then all of them together."""
    total = tally.total

    def row(name: str, count: Count) -> _Row:
        return _Row(
            name=name,
            matched=count.matched,
            share=count.matched / total.matched if total.matched else None,
            kept=count.kept,
            ratio=count.ratio,
            parents=count.parents,
            spans_per_second=count.kept / seconds if seconds else None,
            dry_run=name in tally.trials,
        )

    return [row(name, count) for name, count in (*tally.policies.items(), (_ALL, total))]


def _summary(simulation: Simulation, reading: Reading) -> str:
    drawn = f", {reading.drawn:,} without a trace id of their own" if reading.drawn else ""
    if simulation.began is None:
        return f"{reading.requests:,} requests at unknown times{drawn}"
    seconds = simulation.seconds or 0.0
    covered = f"{seconds:.3g} s" if seconds < _MINUTE else str(timedelta(seconds=round(seconds)))
    return f"{reading.requests:,} requests in {covered}{drawn}, from {utc(simulation.began):%Y-%m-%d %H:%M:%S} UTC"


def _policies(simulation: Simulation) -> Table:
    table = _table("policy", "matched", "share", "kept", "ratio", "by callers", "spans/s")
    for row in _rows(simulation.tally, simulation.seconds):
        table.add_row(
            Text.assemble(_name(row.name), " (dry run)" if row.dry_run else ""),
            f"{row.matched:,}",
            _percent(row.share),
            f"{row.kept:,}",
            _percent(row.ratio),
            f"{row.parents:,}",
            _rate(row.spans_per_second),
            style="dim" if not row.matched else None,
        )
    return table


def _comparison(simulation: Simulation, before: Tally, against: str) -> RenderableType:
    table = _table("policy", "matched", "kept", "spans/s")
    old, new = ({row.name: row for row in _rows(each, simulation.seconds)} for each in (before, simulation.tally))
    last = (DEFAULT_POLICY, _ALL)
    for name in (*(name for name in old | new if name not in last), *last):
        rows = old.get(name), new.get(name)
        table.add_row(
            _name(name),
            _step(*(f"{row.matched:,}" if row else _NOTHING for row in rows)),
            _step(*(f"{row.kept:,}" if row else _NOTHING for row in rows)),
            _step(*(_rate(row.spans_per_second) if row else _NOTHING for row in rows)),
        )
    return Group(Text(f"Against {against}: before → after", "bold"), table)


def _changes(simulation: Simulation) -> Iterator[RenderableType]:
    total = simulation.difference.total
    yield Text(f"{total.requests:,} requests changed: {total.gained:,} newly kept, {total.lost:,} no longer", "bold")
    changes = sorted(simulation.difference.changes.items(), key=lambda item: -item[1].requests)
    if not changes:
        return
    table = _table("before", "changed", "newly kept", "no longer")
    table.add_column("after", overflow="fold")
    for (old, new), change in changes[:_MOST_CHANGES]:
        numbers = (f"{number:,}" for number in (change.requests, change.gained, change.lost))
        table.add_row(_name(old), *numbers, _name(new))
    yield table
    if len(changes) > _MOST_CHANGES:
        yield Text(f"and {len(changes) - _MOST_CHANGES:,} more: --format json has all")


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(name: str) -> Text:
    return Text("default (no policy)" if name == DEFAULT_POLICY else name)


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.1%}"


def _rate(per_second: float | None) -> str:
    return _NOTHING if per_second is None else f"{per_second:,.3g}"


def _step(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"

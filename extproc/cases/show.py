"""Failed tests as text: what was expected, marked by `-`, and what is there, by `+`."""

import json
from collections.abc import Iterable, Iterator

import click

from extproc.cases.run import Mismatch, Result, Value
from extproc.engine.scan import TagValue


def failure(file: str, result: Result) -> str:
    """A failed test with its place and all of its mismatches."""
    case = result.case
    head = f"{file}:{case.place.line}:{case.place.column}: {click.style(case.name, bold=True)}"
    return "\n".join([head, *(f"  {line}" for line in differences(result.mismatches))])


def differences(mismatches: Iterable[Mismatch]) -> Iterator[str]:
    """The lines of a difference."""
    for mismatch in mismatches:
        yield mismatch.key
        if isinstance(mismatch.expected, dict) and isinstance(mismatch.got, dict):
            yield from _tags(mismatch.expected, mismatch.got)
        else:
            yield _removed(_text(mismatch.expected))
            yield _added(_text(mismatch.got))
        if mismatch.note:
            yield f"    {mismatch.note}"


def _tags(expected: dict[str, TagValue], got: dict[str, TagValue]) -> Iterator[str]:
    for name in sorted(expected | got):
        if name in expected and name in got and expected[name] == got[name]:
            yield f"    {name}: {_text(got[name])}"
            continue
        if name in expected:
            yield _removed(f"{name}: {_text(expected[name])}")
        if name in got:
            yield _added(f"{name}: {_text(got[name])}")


def _text(value: Value) -> str:
    """As JSON has it: a text "1" is not the number 1."""
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _removed(text: str) -> str:
    return click.style(f"  - {text}", fg="red")


def _added(text: str) -> str:
    return click.style(f"  + {text}", fg="green")

"""What is wrong with a policy file: where, and as one line that says what to write instead."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str | int, ...]
"""The way from the top of the document to a value: keys and zero-based list positions."""

_LONGEST_SHOWN = 60
_PLAIN_KEY = re.compile(r":?[\w-]+", re.ASCII)


class Place(NamedTuple):
    """Line and column in the file, both counted from 1; columns are characters."""

    line: int
    column: int


START = Place(1, 1)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or something to be warned of. `path` is relative to `tracing`, `code` one of `codes`."""

    file: str
    line: int
    column: int
    path: str
    message: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}"


class PolicyError(Exception):
    """A policy file that cannot be used, with everything that is wrong with it in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before it knows its file. Without a `place` of its own it stands where its path leads."""

    path: Path
    message: str
    place: Place | None = None
    code: str = ""


class FieldError(ValueError):
    """A value that a field refuses. `at` leads from the field to the part that is meant."""

    def __init__(self, expected: str, advice: str, got: str | None = None, at: Path = (), code: str = "") -> None:
        self.expected = expected
        self.advice = advice
        self.got = got
        self.at = at
        self.code = code
        super().__init__(sentence(expected, got or "something else", advice))


def sentence(expected: str, got: str, advice: str) -> str:
    """The one shape of every message."""
    return f"expected {expected}, got {got}; try {advice}"


def shown(value: object) -> str:
    """`value` as part of a message: one line, in YAML's words, never long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    if isinstance(value, str):
        return repr(shortened(value))
    return shortened(str(value))


def shortened(text: str) -> str:
    """The beginning of `text`, marked where it was cut."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def path_text(path: Path) -> str:
    """`path` as a reader writes it: `policies[2].sampling.ratio`, `attributes['service.name']`."""
    inner = path[1:] if len(path) > 1 and path[0] == "tracing" else path
    text = ""
    for step in inner:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step) and len(step) <= _LONGEST_SHOWN:
            text += f".{step}" if text else step
        else:
            text += f"[{shown(step)}]"
    return text or "tracing"

"""A YAML document as plain data that still knows where each key stands."""

from collections.abc import Callable
from typing import Any, Protocol

from extproc.policy.problems import START, Finding, Path, Place

Relocate = Callable[[Place], Place]
"""From a place in the text that was parsed to one in the file that holds it."""


class Mark(Protocol):
    """A place as the YAML parser counts it: from 0."""

    @property
    def line(self) -> int:
        """The line."""

    @property
    def column(self) -> int:
        """The column, in characters."""


class Tree:
    """A document of dict, list, str, int, float, bool and None.

    Attributes:
        data: the document; None where there is none.
        findings: what is wrong with the YAML itself.
        broken: whether `data` is incomplete, so that looking for further problems would mislead.
        unread: the paths whose values could not be read.
        nulls: whether any value is null.
        marks: by identity of the collection, a mark for each of its keys or items.
        blocks: by collection and key, the line (from 1) of the `|` of a literal block.
    """

    __slots__ = ("_kept", "blocks", "broken", "data", "findings", "marks", "nulls", "relocate", "unread")

    def __init__(self, relocate: Relocate) -> None:
        self.data: Any = None
        self.findings: list[Finding] = []
        self.broken = False
        self.unread: set[Path] = set()
        self.nulls = False
        self.marks: dict[int, Any] = {}
        self.blocks: dict[tuple[int, str], int] = {}
        self.relocate = relocate
        self._kept: list[Any] = []

    def keep(self, data: dict[str, Any] | list[Any], marks: dict[str, Mark] | list[Mark]) -> None:
        """Note where the keys or items of a collection stand, and keep it: its identity must stay its own."""
        self.marks[id(data)] = marks
        self._kept.append(data)

    def place(self, path: Path) -> Place:
        """Where the last step of `path` stands; for a missing key, where the mapping that lacks it stands."""
        found, data = None, self.data
        for step in path:
            marks = self.marks.get(id(data))
            try:
                found, data = marks[step], data[step]  # type: ignore[index]  # None ends the walk too
            except (LookupError, TypeError):
                break
        return self.relocate(START) if found is None else self.at(found)

    def at(self, mark: Mark | None) -> Place:
        """The place in the file of a mark."""
        return self.relocate(Place(mark.line + 1, mark.column + 1) if mark else START)

    def fail(self, finding: Finding) -> None:
        """Add a finding after which nothing more can be said about the document."""
        self.findings.append(finding)
        self.broken = True

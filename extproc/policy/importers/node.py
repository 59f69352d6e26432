"""A value in somebody else's configuration, with its path, read by what it is expected to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from extproc.policy.problems import Finding, Path, sentence, shown

_UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its path; a false one is nothing. What is wrong is collected, and something harmless read instead.

    A null is as good as nothing: all of these formats have it so.
    """

    value: Any
    path: Path = ()
    wrong: list[Finding] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.value is not None

    def get(self, key: str) -> "Node":
        """What a mapping has under `key`."""
        found = self.mapping().get(key)
        known = self.value is None or isinstance(self.value, dict)
        return Node(found, (*self.path, key), self.wrong if known else [])  # one complaint is enough

    def mapping(self) -> dict[str, Any]:
        """The mapping that this is."""
        if self.value is None or isinstance(self.value, dict):
            return self.value or {}
        self.fail("a mapping", "{}")
        return {}

    def keys(self) -> list[str]:
        """The keys of the mapping that have a value."""
        return [key for key, value in self.mapping().items() if value is not None]

    def items(self) -> Iterator["Node"]:
        """The items of a list."""
        if isinstance(self.value, list):
            for index, item in enumerate(self.value):
                yield Node(item, (*self.path, index), self.wrong)
        elif self.value is not None:
            self.fail("a list", "[]")

    def text(self, default: str = "") -> str:
        """A string; a number or boolean as it is written."""
        if self.value is None:
            return default
        if isinstance(self.value, dict | list):
            self.fail("a string", '"text"')
            return default
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    def number(self, low: float, high: float, default: float | None = None) -> float:
        """A number from `low` to `high`; without a `default` it has to be there."""
        if self.value is None and default is not None:
            return default
        good = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if good and low <= self.value <= high:
            return float(self.value)
        expected = f"a number from {low:g} to {high:g}" if high < _UNLIMITED else f"a number from {low:g}"
        self.fail(expected, f"{max(low, 0.1):g}")
        return low

    def choice(self, choices: Sequence[str]) -> str:
        """One of `choices`."""
        text = self.text()
        if text not in choices:
            self.fail(f"one of {', '.join(choices)}", choices[0])
        return text

    def fail(self, expected: str, example: str) -> None:
        """Say what should have been here."""
        key = f"{self.path[-1]}: " if self.path and isinstance(self.path[-1], str) else ""
        self.wrong.append(Finding(self.path, sentence(expected, shown(self.value), f"{key}{example}")))

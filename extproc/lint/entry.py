"""A policy as it is written and as it is meant, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from extproc.policy.load import PolicyFile
from extproc.policy.plan import Policy
from extproc.policy.problems import Path, shown

_ROOT: Path = ("tracing",)


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy: `raw` is what stands in the file at `path`, which begins on `line`; for the default, all of it."""

    policy: Policy
    raw: dict[str, Any]
    path: Path
    line: int

    def at(self, *keys: str) -> Path:
        """The path that leads to `keys` in this policy, or as far as they are written."""
        value: Any = self.raw
        for count, key in enumerate(keys):
            if key not in value:
                return (*self.path, *keys[:count])
            value = value[key]
        return (*self.path, *keys)

    def items(self, *keys: str) -> dict[str, Any]:
        """The mapping at `keys`, empty where there is none."""
        value: Any = self.raw
        for key in keys:
            value = value.get(key, {})
        return value if isinstance(value, dict) else {}

    def tags(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Each tag of its list as it is written, and its path."""
        for index, tag in enumerate(self.raw.get("custom_tags", ())):
            yield tag, (*self.path, "custom_tags", index)

    def __str__(self) -> str:
        return f"{shown(self.policy.name)} on line {self.line}"


def default(file: PolicyFile) -> Entry:
    """What holds where no policy matches."""
    return Entry(file.plan.default, file.tree.data["tracing"], _ROOT, file.tree.place(_ROOT).line)


def policies(file: PolicyFile) -> Iterator[Entry]:
    """The policies in file order."""
    written = file.tree.data["tracing"].get("policies", ())
    for policy, raw in zip(file.plan.policies, written, strict=True):
        path = (*_ROOT, "policies", policy.index)
        yield Entry(policy, raw, path, file.tree.place(path).line)

"""Many string comparisons looked up at once."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from extproc.policy.plan import Operator, StringMatch

Item = TypeVar("Item")


class StringTable(Generic[Item]):
    """Items keyed by StringMatch; a look-up costs the same for ten of them and for ten thousand.

    Exact operands are in a dict, those with a fixed beginning or end in one dict per length of it. What comes out are
    candidates: a glob with more than one star has still to be compared in full.
    """

    __slots__ = ("_exact", "_prefixes", "_suffixes")

    def __init__(self) -> None:
        self._exact: dict[str, Item] = {}
        self._prefixes: dict[int, dict[str, Item]] = {}
        self._suffixes: dict[int, dict[str, Item]] = {}

    @staticmethod
    def holds(match: StringMatch | None) -> bool:
        """Whether this comparison can be looked up; the others have to be tried one by one."""
        return match is not None and _affix(match) is not None

    def slot(self, match: StringMatch) -> tuple[dict[str, Item], str]:
        """The dict, and the key in it, where the item for `match` belongs."""
        operator, affix = _affix(match) or (Operator.EXACT, match.operand)
        if operator is Operator.EXACT:
            return self._exact, affix
        tables = self._prefixes if operator is Operator.PREFIX else self._suffixes
        return tables.setdefault(len(affix), {}), affix

    def candidates(self, text: str | None) -> Iterator[Item]:
        """The items whose comparison may hold for `text`."""
        if text is None:
            return
        if (item := self._exact.get(text)) is not None:
            yield item
        for length, table in self._prefixes.items():
            if (item := table.get(text[:length])) is not None:
                yield item
        for length, table in self._suffixes.items():
            if (item := table.get(text[-length:])) is not None:
                yield item


def _affix(match: StringMatch) -> tuple[Operator, str] | None:
    if match.operator in {Operator.EXACT, Operator.PREFIX, Operator.SUFFIX}:
        usable = match.operand or match.operator is Operator.EXACT
        return (match.operator, match.operand) if usable else None
    if match.operator is Operator.GLOB and match.chunks[0]:
        return Operator.PREFIX, match.chunks[0]
    if match.operator is Operator.GLOB and match.chunks[-1]:
        return Operator.SUFFIX, match.chunks[-1]
    return None

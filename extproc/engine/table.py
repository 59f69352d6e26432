"""Many string comparisons looked up at once."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from extproc.policy.plan import Operator, StringMatch

Item = TypeVar("Item")


class StringTable(Generic[Item]):
    """Items keyed by StringMatch; a look-up costs the same for ten of them and for ten thousand.

    Exact operands are in one dict, those with a fixed beginning or end in one dict per length of it. What comes out are
    candidates: a glob with more than one star has still to be compared in full.

    Attributes:
        exact: items by the whole string.
        affixes: for each length of a fixed beginning or end, the slice that cuts it off, and the items by it.
    """

    __slots__ = ("affixes", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, Item] = {}
        self.affixes: list[tuple[slice, dict[str, Item]]] = []

    @staticmethod
    def holds(match: StringMatch | None) -> bool:
        """Whether this comparison can be looked up; the others have to be tried one by one."""
        return match is not None and _affix(match) is not None

    def slot(self, match: StringMatch) -> tuple[dict[str, Item], str]:
        """The dict, and the key in it, where the item for `match` belongs."""
        operator, affix = _affix(match) or (Operator.EXACT, match.operand)
        if operator is Operator.EXACT:
            return self.exact, affix
        cut = slice(len(affix)) if operator is Operator.PREFIX else slice(-len(affix), None)
        for existing, table in self.affixes:
            if existing == cut:
                return table, affix
        self.affixes.append((cut, {}))
        return self.affixes[-1][1], affix

    def by_affix(self, text: str) -> Iterator[Item]:
        """The items with a fixed beginning or end whose comparison may hold for `text`."""
        for cut, table in self.affixes:
            if (item := table.get(text[cut])) is not None:
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

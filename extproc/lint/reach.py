"""Policies that no request reaches: each of their requests is an earlier policy's."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from extproc.lint.space import METHOD, Space, chunks, last_segments, segment_text
from extproc.policy.plan import Operator, PathPattern, StringMatch

_Fact = tuple[object, str, str]
"""Where, how, and what: this segment begins with that text."""

_LENGTH = 32  # characters of a beginning or an end that are looked at


@dataclass(frozen=True, slots=True)
class Shadow:
    """A policy that decides nothing, and the earlier ones that take its requests, by position. `same`: no more."""

    position: int
    by: tuple[int, ...]
    same: bool


def shadows(spaces: Sequence[Space], lasting: Sequence[bool]) -> Iterator[Shadow]:
    """What is shadowed, provably. Only a `lasting` policy shadows: one that takes every request it matches, always."""
    known = _Known(spaces)
    for position, space in enumerate(spaces):
        by = _covering(spaces, position, known.candidates(position))
        if by:
            yield Shadow(position, by, same=len(by) == 1 and space.covers(spaces[by[0]]))
        if lasting[position]:
            known.add(position)


def _covering(spaces: Sequence[Space], position: int, candidates: Iterable[int]) -> tuple[int, ...]:
    """The policies that together take everything: one, or several that differ in their methods. () for none."""
    space = spaces[position]
    left, several = space.methods, []
    for candidate in candidates:
        earlier = spaces[candidate]
        if not earlier.covers(space, but=METHOD):
            continue
        if earlier.methods is None or (space.methods is not None and space.methods <= earlier.methods):
            return (candidate,)
        if left is not None and not left.isdisjoint(earlier.methods):
            several.append(candidate)
            left -= earlier.methods
        if left is not None and not left:
            return tuple(several)
    return ()


class _Known:
    """The policies seen so far, found again by what they fix.

    A policy can cover another only if that fixes all that it fixes itself, such as the host or how the first segment
    begins. So each is filed under the one of these facts that the fewest policies share.
    """

    def __init__(self, spaces: Sequence[Space]) -> None:
        self._spaces = spaces
        self._fixed = [frozenset(_fixed(space)) for space in spaces]
        self._shared = Counter(fact for facts in self._fixed for fact in facts)
        self._by_fact: defaultdict[_Fact | None, list[int]] = defaultdict(list)

    def add(self, position: int) -> None:
        rarest = min(self._fixed[position], key=lambda fact: self._shared[fact], default=None)
        self._by_fact[rarest].append(position)

    def candidates(self, position: int) -> list[int]:
        """Those that may cover this one, in file order."""
        facts = {None, *_met(self._spaces[position])}
        return sorted(chain.from_iterable(self._by_fact[fact] for fact in facts if fact in self._by_fact))


def _fixed(space: Space) -> Iterator[_Fact]:
    for place, match in _texts(space):
        if match.operator is Operator.EXACT:
            yield place, "is", match.operand
        elif match.operator is not Operator.REGEX:
            begin, end = chunks(match)[0][:_LENGTH], chunks(match)[-1][-_LENGTH:]
            if begin:
                yield place, "begins", begin
            if end:
                yield place, "ends", end


def _met(space: Space) -> Iterator[_Fact]:
    """Every fact by which a policy that covers `space` could be filed."""
    for place, match in _texts(space):
        if match.operator is Operator.EXACT:
            yield place, "is", match.operand
        begin, end = chunks(match)[0][:_LENGTH], chunks(match)[-1][-_LENGTH:]
        for length in range(1, len(begin) + 1):
            yield place, "begins", begin[:length]
        for length in range(1, len(end) + 1):
            yield place, "ends", end[-length:]


def _texts(space: Space) -> Iterator[tuple[object, StringMatch]]:
    """What each field, and each segment of the path from either end, has to be."""
    for field, condition in space.wanted.items():
        if isinstance(condition, StringMatch):
            yield field, condition
        elif isinstance(condition, PathPattern):
            for index, segment in enumerate(condition.head):
                if (match := segment_text(segment)) is not None:
                    yield index, match
            for index, segment in enumerate(reversed(last_segments(condition)), start=1):
                if (match := segment_text(segment)) is not None:
                    yield -index, match

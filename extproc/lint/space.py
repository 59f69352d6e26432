"""The requests that a policy matches, as sets that can be compared.

Everything here is sound and nothing is complete: True is proven, False means only that no proof was found. What a
pattern matches is the engine's word, so proofs that need an example ask the engine's own predicates.
"""

from dataclasses import dataclass

from extproc.engine.predicate import text_predicate
from extproc.policy.plan import Match, Operator, PathPattern, Policy, Segment, SegmentKind, StringMatch

Field = tuple[str, str]
"""Which field, and the name of the header or query parameter."""

Condition = PathPattern | StringMatch | frozenset[str]

METHOD: Field = ("method", "")
PATH: Field = ("path", "")

_PRESENT = StringMatch(Operator.PRESENT)
_ABSENT = StringMatch(Operator.ABSENT)
_OPPOSITE = {_PRESENT: _ABSENT, _ABSENT: _PRESENT}
_ALWAYS: dict[Field, Condition] = {
    PATH: PathPattern("/**", (), rest=True),
    ("service", ""): _PRESENT,
    ("host", ""): _PRESENT,
}
"""What every request fulfils: these fields are never absent, though they may be empty."""


@dataclass(frozen=True, slots=True)
class Space:
    """The requests for which every condition of `wanted` and none of `unwanted` holds."""

    wanted: dict[Field, Condition]
    unwanted: dict[Field, Condition]

    @property
    def methods(self) -> frozenset[str] | None:
        """The methods of these requests, None for any."""
        found = self.wanted.get(METHOD)
        return found if isinstance(found, frozenset) else None

    def implies(self, field: Field, condition: Condition) -> bool:
        """Whether all of these requests fulfil `condition`."""
        have = self.wanted.get(field)
        return have is not None and within(have, condition)

    def excludes(self, field: Field, condition: Condition) -> bool:
        """Whether none of these requests fulfils `condition`."""
        unwanted, have = self.unwanted.get(field), self.wanted.get(field)
        if unwanted is not None and within(condition, unwanted):
            return True
        return have is not None and disjoint(have, condition)

    def contradiction(self) -> Field | None:
        """A field for which no request can fulfil both what is wanted and what is unwanted."""
        return next((field for field, condition in self.unwanted.items() if self.implies(field, condition)), None)

    def covers(self, other: "Space", but: Field | None = None) -> bool:
        """Whether each request of `other` is one of these, but for what is wanted of the field `but`."""
        wanted = (item for item in self.wanted.items() if item[0] != but)
        return all(other.implies(*item) for item in wanted) and all(
            other.excludes(*item) for item in self.unwanted.items()
        )


def space(policy: Policy) -> Space:
    """The requests that `policy` matches."""
    unwanted = _conditions(policy.exclude)
    opposite = {field: _OPPOSITE[found] for field, found in unwanted.items() if found in _OPPOSITE}
    return Space({**_ALWAYS, **opposite, **_conditions(policy.match)}, unwanted)


def _conditions(match: Match) -> dict[Field, Condition]:
    found: dict[Field, Condition] = {("header", name): expected for name, expected in match.headers}
    found |= {("query", name): expected for name, expected in match.query}
    if match.path is not None:
        found[PATH] = match.path
    if match.methods:
        found[METHOD] = match.methods
    if match.service is not None:
        found["service", ""] = match.service
    if match.host is not None:
        found["host", ""] = match.host
    return found


def within(narrow: Condition, wide: Condition) -> bool:
    """Whether whatever fulfils `narrow` fulfils `wide`; both are about the same field."""
    if isinstance(narrow, PathPattern) and isinstance(wide, PathPattern):
        return _path_within(narrow, wide)
    if isinstance(narrow, StringMatch) and isinstance(wide, StringMatch):
        return _text_within(narrow, wide)
    return isinstance(narrow, frozenset) and isinstance(wide, frozenset) and narrow <= wide


def disjoint(one: Condition, other: Condition) -> bool:
    """Whether nothing fulfils both; both are about the same field."""
    if isinstance(one, PathPattern) and isinstance(other, PathPattern):
        return _path_disjoint(one, other)
    if isinstance(one, StringMatch) and isinstance(other, StringMatch):
        return _text_disjoint(one, other)
    return isinstance(one, frozenset) and isinstance(other, frozenset) and one.isdisjoint(other)


def _text_within(narrow: StringMatch, wide: StringMatch) -> bool:
    if narrow == wide or wide.operator is Operator.PRESENT:
        return narrow.operator is not Operator.ABSENT or narrow == wide
    if narrow.operator in {Operator.ABSENT, Operator.REGEX} or wide.operator is Operator.ABSENT:
        return False
    if narrow.operator is Operator.EXACT:
        return text_predicate(wide)(narrow.operand)
    return wide.operator is not Operator.REGEX and text_predicate(wide)(_widest(narrow, wide))


def _widest(match: StringMatch, seen_by: StringMatch) -> str:
    """`match` as a text, with a character in place of what may be anything.

    That character stands nowhere in `seen_by`. Where that takes the text all the same, it does so by what it takes of
    anything, and so it takes every text of `match`.
    """
    anything = next(letter for letter in map(chr, range(0xE000, 0xF8FF)) if letter not in seen_by.operand)
    return anything.join(chunks(match))


def chunks(match: StringMatch) -> tuple[str, ...]:
    """The fixed parts of a text that `match` takes, in order, with anything between them."""
    if match.operator is Operator.GLOB:
        return match.chunks
    if match.operator is Operator.EXACT:
        return (match.operand,)
    if match.operator is Operator.PREFIX:
        return (match.operand, "")
    if match.operator is Operator.SUFFIX:
        return ("", match.operand)
    return ("", match.operand, "") if match.operator is Operator.CONTAINS else ("", "")


def _text_disjoint(one: StringMatch, other: StringMatch) -> bool:
    if Operator.ABSENT in {one.operator, other.operator}:
        return one.operator is not other.operator
    if one.operator is Operator.EXACT:
        return not text_predicate(other)(one.operand)
    if other.operator is Operator.EXACT:
        return not text_predicate(one)(other.operand)
    if Operator.REGEX in {one.operator, other.operator}:
        return False
    return _ends_differ(chunks(one), chunks(other))


def _ends_differ(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    begins = one[0].startswith(other[0]) or other[0].startswith(one[0])
    ends = one[-1].endswith(other[-1]) or other[-1].endswith(one[-1])
    return not (begins and ends)


def _path_within(narrow: PathPattern, wide: PathPattern) -> bool:
    if not wide.rest:
        same_length = not narrow.rest and len(narrow.head) == len(wide.head)
        return same_length and all(map(_segment_within, narrow.head, wide.head))
    first, last = narrow.head, last_segments(narrow)
    if _shortest(narrow) < _shortest(wide) or len(first) < len(wide.head) or len(last) < len(wide.tail):
        return False
    return all(map(_segment_within, first, wide.head)) and all(
        map(_segment_within, reversed(last), reversed(wide.tail))
    )


def _path_disjoint(one: PathPattern, other: PathPattern) -> bool:
    for pattern, against in ((one, other), (other, one)):
        if not pattern.rest:
            length = len(pattern.head)
            if length < _shortest(against) or (not against.rest and length > _shortest(against)):
                return True
    pairs = [*zip(one.head, other.head, strict=False)]
    pairs += zip(reversed(last_segments(one)), reversed(last_segments(other)), strict=False)
    return any(_segments_differ(*pair) for pair in pairs)


def last_segments(pattern: PathPattern) -> tuple[Segment, ...]:
    """The segments that are known from the end."""
    return pattern.tail if pattern.rest else pattern.head


def _shortest(pattern: PathPattern) -> int:
    return len(pattern.head) + pattern.minimum_rest + len(pattern.tail)


def _segment_within(narrow: Segment, wide: Segment) -> bool:
    text, wide_text = segment_text(narrow), segment_text(wide)
    if wide_text is None:
        return narrow != Segment(SegmentKind.LITERAL)  # anything but the empty segment
    return text is not None and _text_within(text, wide_text)


def _segments_differ(one: Segment, other: Segment) -> bool:
    text, other_text = segment_text(one), segment_text(other)
    if text is None or other_text is None:
        return Segment(SegmentKind.LITERAL) in {one, other}
    return _text_disjoint(text, other_text)


def segment_text(segment: Segment) -> StringMatch | None:
    """What the segment has to be, None for anything that is not empty."""
    if segment.kind is SegmentKind.LITERAL:
        return StringMatch(Operator.EXACT, segment.text)
    if segment.kind is SegmentKind.GLOB:
        return StringMatch(Operator.GLOB, segment.text, segment.chunks)
    return None

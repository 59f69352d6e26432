"""Which policy decides: the first in file order whose every field holds.

The policies stand in a tree over path segments. At each place where patterns end, a Bucket splits them further, by
service, host, headers and query, for as long as that tells them apart. A request walks down to a handful of candidates,
and only those are compared in full, lowest index first: the cost follows the request, not the number of policies.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from extproc.engine.predicate import Check, checks
from extproc.engine.request import Request
from extproc.engine.table import StringTable
from extproc.policy.plan import Match, Operator, PathPattern, Policy, Segment, SegmentKind, StringMatch

_SMALL = 4  # candidates that are sooner compared than split further

_Field = tuple[str, str]  # which field, and the name of the header or query parameter
_Read = Callable[[Request], str | None]


class Index:
    """Finds a request's policy, by its position among all."""

    __slots__ = ("_checks", "_root")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._checks = [tuple(_remaining_checks(policy)) for policy in policies]
        self._root = _tree(policies)

    def find(self, request: Request) -> int | None:
        """The position of the first policy in file order that `request` satisfies."""
        found: list[int] = []
        _walk(self._root, request, 0, found)
        if len(found) > 1:
            found.sort()
        for position in found:
            for check in self._checks[position]:
                if not check(request):
                    break
            else:
                return position
        return None


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Policies, by position, that the way down has led to; split by what `read` reads, unless they are few."""

    positions: tuple[int, ...] = ()
    read: _Read | None = None
    table: "StringTable[_Bucket] | None" = None
    others: "_Bucket | None" = None

    def collect(self, request: Request, found: list[int]) -> None:
        found += self.positions
        if self.read is not None and self.table is not None and (text := self.read(request)) is not None:
            if (bucket := self.table.exact.get(text)) is not None:
                bucket.collect(request, found)
            for bucket in self.table.by_affix(text) if self.table.affixes else ():
                bucket.collect(request, found)
        if self.others is not None:
            self.others.collect(request, found)


class _Node:
    """A place in the tree of path segments: the patterns that end here, and those that take any rest from here on."""

    __slots__ = ("children", "end", "ending", "other", "rest", "resting")

    def __init__(self) -> None:
        self.children: StringTable[_Node] = StringTable()
        self.other: _Node | None = None  # for segments that no table can look up
        self.ending: list[int] = []
        self.resting: list[int] = []
        self.end: _Bucket | None = None
        self.rest: _Bucket | None = None


def _walk(node: _Node, request: Request, depth: int, found: list[int]) -> None:
    segments = request.segments
    count = len(segments)
    while True:  # along the literal segments; only side ways recurse
        if node.rest is not None:
            node.rest.collect(request, found)
        if depth == count:
            if node.end is not None:
                node.end.collect(request, found)
            return
        segment = segments[depth]
        depth += 1
        if node.children.affixes:
            for child in node.children.by_affix(segment):
                _walk(child, request, depth, found)
        following = node.children.exact.get(segment)
        if node.other is not None and segment:
            if following is None:
                following = node.other
            else:
                _walk(node.other, request, depth, found)
        if following is None:
            return
        node = following


def _tree(policies: Sequence[Policy]) -> _Node:
    root = _Node()
    nodes = [root]
    for position, policy in enumerate(policies):
        pattern = policy.match.path
        node = root
        for segment in pattern.head if pattern else ():
            node = _child(node, segment, nodes)
        (node.ending if pattern and not pattern.rest else node.resting).append(position)
    for node in nodes:
        node.end = _bucket(policies, node.ending)
        node.rest = _bucket(policies, node.resting)
    return root


def _child(node: _Node, segment: Segment, nodes: list[_Node]) -> _Node:
    match = _segment_match(segment)
    if match is None or not node.children.holds(match):
        if node.other is None:
            node.other = _Node()
            nodes.append(node.other)
        return node.other
    table, key = node.children.slot(match)
    if key not in table:
        table[key] = _Node()
        nodes.append(table[key])
    return table[key]


def _segment_match(segment: Segment) -> StringMatch | None:
    if segment.kind is SegmentKind.LITERAL:
        return StringMatch(Operator.EXACT, segment.text)
    if segment.kind is SegmentKind.GLOB:
        return StringMatch(Operator.GLOB, chunks=segment.chunks)
    return None


def _bucket(policies: Sequence[Policy], positions: list[int], used: frozenset[_Field] = frozenset()) -> _Bucket | None:
    if not positions:
        return None
    splitter = _most_telling(policies, positions, used) if len(positions) > _SMALL else None
    if splitter is None:
        return _Bucket(tuple(positions))
    table: StringTable[_Bucket] = StringTable()
    groups: dict[tuple[int, str], tuple[dict[str, _Bucket], list[int]]] = {}
    others: list[int] = []
    for position in positions:
        match = _fields(policies[position].match).get(splitter)
        if match is None or not table.holds(match):
            others.append(position)
            continue
        slots, key = table.slot(match)
        groups.setdefault((id(slots), key), (slots, []))[1].append(position)
    used |= {splitter}
    for (_, key), (slots, members) in groups.items():
        bucket = _bucket(policies, members, used)
        if bucket is not None:
            slots[key] = bucket
    return _Bucket(read=_reader(splitter), table=table, others=_bucket(policies, others, used))


def _most_telling(policies: Sequence[Policy], positions: list[int], used: frozenset[_Field]) -> _Field | None:
    """The field in which these policies differ most, if any tells them apart."""
    operands: defaultdict[_Field, set[StringMatch]] = defaultdict(set)
    for position in positions:
        for name, match in _fields(policies[position].match).items():
            if name not in used and StringTable.holds(match):
                operands[name].add(match)
    best = max(operands, key=lambda name: len(operands[name]), default=None)
    return best if best is not None and len(operands[best]) > 1 else None


def _fields(match: Match) -> dict[_Field, StringMatch]:
    """The fields of `match` that a table may look up. A header named twice counts once: the rest is compared later."""
    fields: dict[_Field, StringMatch] = {("query", name): expected for name, expected in match.query}
    fields |= {("header", name): expected for name, expected in match.headers}
    if match.host is not None:
        fields["host", ""] = match.host
    if match.service is not None:
        fields["service", ""] = match.service
    return fields


def _reader(splitter: _Field) -> _Read:
    kind, name = splitter
    if kind == "service":
        return lambda request: request.service_key
    if kind == "host":
        return lambda request: request.host
    if kind == "header":
        return lambda request: request.headers.get(name)
    return lambda request: request.query.get(name)


def _remaining_checks(policy: Policy) -> Iterator[Check]:
    """The fields that the way through the tree leaves open: all but a path without globs and rest."""
    for name, check in checks(policy):
        if name != "path" or not _settled_by_tree(policy.match.path):
            yield check


def _settled_by_tree(pattern: PathPattern | None) -> bool:
    if pattern is None or pattern.rest:
        return False
    return all(segment.kind is not SegmentKind.GLOB for segment in pattern.head)

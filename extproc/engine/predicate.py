"""The fields of a `match` block as predicates: built once from the Plan, called per request.

Both the engine and `explain` call these, so what `explain` says failed is what the engine saw fail.
"""

from collections.abc import Callable, Iterator

import re2

from extproc.engine.request import Request
from extproc.policy.plan import Match, Operator, PathPattern, Policy, Segment, SegmentKind, StringMatch

Text = Callable[[str | None], bool]
Check = Callable[[Request], bool]


def text_predicate(match: StringMatch) -> Text:  # noqa: PLR0911  one return per operator, a table would hide the types
    """`match` as a function of a string that may be absent."""
    operand = match.operand
    match match.operator:
        case Operator.EXACT:
            return lambda text: text == operand
        case Operator.GLOB:
            return _glob_predicate(match.chunks)
        case Operator.PREFIX:
            return lambda text: text is not None and text.startswith(operand)
        case Operator.SUFFIX:
            return lambda text: text is not None and text.endswith(operand)
        case Operator.CONTAINS:
            return lambda text: text is not None and operand in text
        case Operator.REGEX:
            pattern = compile_regex(operand)
            return lambda text: text is not None and pattern.fullmatch(text) is not None
        case Operator.PRESENT:
            return lambda text: text is not None
        case Operator.ABSENT:
            return lambda text: text is None


def compile_regex(pattern: str) -> "re2._Regexp":
    """RE2, whose time is linear in the text: what a client sends cannot make a policy slow."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _glob_predicate(chunks: tuple[str, ...]) -> Text:
    head, *middle, tail = chunks
    shortest = sum(map(len, chunks))

    def matches(text: str | None) -> bool:
        if text is None or len(text) < shortest or not (text.startswith(head) and text.endswith(tail)):
            return False
        at, end = len(head), len(text) - len(tail)
        for chunk in middle:  # leftmost is always right for globs, so no backtracking
            at = text.find(chunk, at, end)
            if at < 0:
                return False
            at += len(chunk)
        return True

    return matches


def _segment_predicate(segment: Segment) -> Callable[[str], bool]:
    if segment.kind is SegmentKind.LITERAL:
        literal = segment.text
        return lambda text: text == literal
    if segment.kind is SegmentKind.GLOB:
        return _glob_predicate(segment.chunks)
    return bool


def path_check(pattern: PathPattern) -> Check:
    """Whether the request's path is one of `pattern`'s."""
    head = [_segment_predicate(segment) for segment in pattern.head]
    tail = [_segment_predicate(segment) for segment in pattern.tail]
    shortest = len(head) + pattern.minimum_rest + len(tail)

    def check(request: Request) -> bool:
        segments = request.segments
        count = len(segments)
        if count < shortest or not (pattern.rest or count == shortest):
            return False
        return all(accepts(text) for accepts, text in zip(head, segments, strict=False)) and all(
            accepts(text) for accepts, text in zip(tail, segments[count - len(tail) :], strict=True)
        )

    return check


def _path_checks(match: Match) -> Iterator[tuple[str, Check]]:
    if match.path is not None:
        yield "path", path_check(match.path)


def _other_checks(match: Match) -> Iterator[tuple[str, Check]]:
    if match.service is not None:
        service = text_predicate(match.service)
        yield "service", lambda request: service(request.service_key)
    if methods := match.methods:
        yield "method", lambda request: request.method in methods
    if match.host is not None:
        host = text_predicate(match.host)
        yield "host", lambda request: host(request.host)
    for name, expected in match.headers:
        yield f"headers.{name}", _header_check(name, text_predicate(expected))
    for name, expected in match.query:
        yield f"query.{name}", _query_check(name, text_predicate(expected))


def _header_check(name: str, predicate: Text) -> Check:
    return lambda request: predicate(request.headers.get(name))


def _query_check(name: str, predicate: Text) -> Check:
    return lambda request: predicate(request.query.get(name))


def _negated(check: Check) -> Check:
    return lambda request: not check(request)


def checks(policy: Policy) -> tuple[tuple[str, Check], ...]:
    """Every field of `policy`, in the order in which it is compared, by name: all must hold."""
    wanted = [*_path_checks(policy.match), *_other_checks(policy.match)]
    unwanted = [*_path_checks(policy.exclude), *_other_checks(policy.exclude)]
    return (*wanted, *((f"not.{field}", _negated(check)) for field, check in unwanted))

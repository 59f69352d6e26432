"""What stands in a `match` block, read into the Plan's patterns."""

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import re2

from extproc.policy.fields import is_printable, is_token, text_value
from extproc.policy.plan import Operator, PathPattern, Segment, SegmentKind, StringMatch
from extproc.policy.problems import FieldError, shown

_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PORT = re.compile(r":[0-9]+$")
_OPERATORS = {
    "exact": Operator.EXACT,
    "glob": Operator.GLOB,
    "prefix": Operator.PREFIX,
    "suffix": Operator.SUFFIX,
    "contains": Operator.CONTAINS,
    "regex": Operator.REGEX,
    "present": Operator.PRESENT,
}
OPERATOR_NAMES = tuple(_OPERATORS)
_MUST_HOLD_TEXT = (Operator.PREFIX, Operator.SUFFIX, Operator.CONTAINS)


def glob(text: str) -> StringMatch:
    """`text` with `*` for any characters or none; without a `*` it is compared as it is."""
    chunks = tuple(text.split("*"))
    return StringMatch(Operator.EXACT, text) if len(chunks) == 1 else StringMatch(Operator.GLOB, text, chunks)


def service(value: Any) -> StringMatch:  # noqa: ANN401  any YAML value
    """The name of an upstream cluster, `_` and `-` alike."""
    text = _text(value, "the name or glob of a service", "service: order-service")
    return glob(text.replace("_", "-"))


def host(value: Any) -> StringMatch:  # noqa: ANN401  any YAML value
    """The request's authority, without a port."""
    text = _text(value, "a host or glob", 'host: "*.example.com"').lower()
    if _PORT.search(text):
        raise FieldError("a host without its port", f"host: {_PORT.sub('', text)}")
    if "/" in text:
        raise FieldError("a host, not a URL", "host: api.example.com")
    return glob(text)


def _text(value: Any, expected: str, advice: str) -> str:  # noqa: ANN401  any YAML value
    if not isinstance(value, str) or not is_printable(value) or not value or " " in value:
        raise FieldError(expected, advice)
    return value


def methods(value: Any) -> frozenset[str]:  # noqa: ANN401  any YAML value
    """One method or several, in upper case."""
    if not isinstance(value, list):
        return frozenset([_method(value)])
    if not value:
        raise FieldError("at least one method", "method: [GET, POST]", "an empty list")
    found = set()
    for index, item in enumerate(value):
        try:
            found.add(_method(item))
        except FieldError as wrong:
            raise FieldError(wrong.expected, wrong.advice, shown(item), at=(index,)) from None
    return frozenset(found)


def _method(value: Any) -> str:  # noqa: ANN401  any YAML value
    text = text_value(value)
    if not isinstance(text, str) or not is_token(text):
        raise FieldError("an HTTP method", "method: [GET, POST]")
    return text.upper()


def string_match(value: Any) -> StringMatch:  # noqa: ANN401  any YAML value
    """A value, a glob, or a mapping of one operator to its operand."""
    if not isinstance(value, dict):
        text = text_value(value)
        if not isinstance(text, str):
            raise FieldError("a string or a mapping with one operator", '"gold" or {prefix: "gold-"}')
        return glob(text)
    for name in value:
        if name not in _OPERATORS:
            near = get_close_matches(name, _OPERATORS, 1)
            raise FieldError(f"one of {', '.join(_OPERATORS)}", near[0] if near else "prefix", shown(name), at=(name,))
    if len(value) != 1:
        got = " and ".join(value) or "none"
        raise FieldError(f"exactly one of {', '.join(_OPERATORS)}", 'prefix: "text"', got)
    ((name, operand),) = value.items()
    return _operation(_OPERATORS[name], name, operand)


def _operation(operator: Operator, name: str, operand: Any) -> StringMatch:  # noqa: ANN401  any YAML value
    if operator is Operator.PRESENT:
        if not isinstance(operand, bool):
            raise FieldError("true or false", "present: true", shown(operand), at=(name,))
        return StringMatch(Operator.PRESENT if operand else Operator.ABSENT)
    try:
        text = text_value(operand)
    except FieldError as wrong:
        raise FieldError(wrong.expected, f"{name}: {wrong.advice}", shown(operand), at=(name,)) from None
    if not isinstance(text, str):
        raise FieldError("a string", f'{name}: "text"', shown(operand), at=(name,))
    if operator in _MUST_HOLD_TEXT and not text:
        raise FieldError("some text", "present: true", "''", at=(name,))
    if operator is Operator.GLOB:
        return glob(text)
    if operator is Operator.REGEX:
        _check_regex(text, name)
    return StringMatch(operator, text)


def _check_regex(text: str, name: str) -> None:
    reason = _regex_error(text)
    if reason is not None:
        advice = "RE2's syntax: no look-around, no back-references"
        raise FieldError("a regular expression", advice, f"{shown(text)} ({reason})", at=(name,))


@lru_cache(maxsize=1024)
def _regex_error(text: str) -> str | None:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        return shown(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason))[1:-1]
    return None


def path_pattern(value: Any) -> PathPattern:  # noqa: ANN401  any YAML value
    """A path glob: `*`, `{name}` and `a*b` for one segment, `**` and a trailing `/*` for any rest."""
    if not isinstance(value, str):
        raise FieldError("a path or glob", 'path: "/api/*"')
    if not value.startswith("/"):
        raise FieldError("a path that begins with /", f"path: {shown('/' + value)}")
    if "?" in value or "#" in value:
        raise FieldError("a path without ? and #", "match.query for what follows the ?")
    if not is_printable(value):
        raise FieldError("a path without control characters", 'path: "/api/*"')
    texts = value[1:].split("/")
    _check_captures(texts)
    return _assembled(value, texts)


def _assembled(template: str, texts: list[str]) -> PathPattern:
    rests = texts.count("**")
    if rests > 1:
        raise FieldError("at most one **", f"path: {shown('/' + '/'.join(texts[: texts.index('**') + 1]))}")
    if rests == 1:
        at = texts.index("**")
        if texts[-1] == "*":
            raise FieldError("** or a trailing /*, not both", f"path: {shown('/' + '/'.join(texts[: at + 1]))}")
        return PathPattern(template, _segments(texts[:at]), rest=True, tail=_segments(texts[at + 1 :]))
    if texts[-1] == "*":
        return PathPattern(template, _segments(texts[:-1]), rest=True, minimum_rest=1)
    return PathPattern(template, _segments(texts))


def _segments(texts: list[str]) -> tuple[Segment, ...]:
    return tuple([_segment(text) for text in texts])


@lru_cache(maxsize=4096)
def _segment(text: str) -> Segment:
    if text == "*":
        return Segment(SegmentKind.ANY)
    if "**" in text:
        raise FieldError("** as a whole segment", "/**/ or a single *", shown(text))
    if "*" in text:
        return Segment(SegmentKind.GLOB, text, tuple(text.split("*")))
    capture = _CAPTURE.fullmatch(text)
    return Segment(SegmentKind.CAPTURE, capture[1]) if capture else Segment(SegmentKind.LITERAL, text)


def _check_captures(texts: list[str]) -> None:
    seen = set()
    for text in texts:
        if "{" not in text and "}" not in text:
            continue
        if not _CAPTURE.fullmatch(text):
            raise FieldError("{name} as a whole segment", "{order_id}", shown(text))
        if text in seen:
            raise FieldError("each capture once", "another name", f"{text} again")
        seen.add(text)


def captures(pattern: PathPattern) -> tuple[str, ...]:
    """The names that `pattern` captures."""
    segments = (*pattern.head, *pattern.tail)
    return tuple(segment.text for segment in segments if segment.kind is SegmentKind.CAPTURE)

"""What stands in a `match` block becomes the Plan's patterns."""

import pytest

from extproc.policy.patterns import captures, glob, host, methods, path_pattern, service, string_match
from extproc.policy.plan import Operator, PathPattern, Segment, SegmentKind, StringMatch
from extproc.policy.problems import FieldError


def _literal(text: str) -> Segment:
    return Segment(SegmentKind.LITERAL, text)


ANY = Segment(SegmentKind.ANY)
API = _literal("api")

PATHS = {
    "/": PathPattern("/", (_literal(""),)),
    "/api": PathPattern("/api", (API,)),
    "/api/": PathPattern("/api/", (API, _literal(""))),
    "/*": PathPattern("/*", (), rest=True, minimum_rest=1),
    "/**": PathPattern("/**", (), rest=True),
    "/api/*": PathPattern("/api/*", (API,), rest=True, minimum_rest=1),
    "/api/**": PathPattern("/api/**", (API,), rest=True),
    "/api/*/x": PathPattern("/api/*/x", (API, ANY, _literal("x"))),
    "/*/*": PathPattern("/*/*", (ANY,), rest=True, minimum_rest=1),
    "/a*b": PathPattern("/a*b", (Segment(SegmentKind.GLOB, "a*b", ("a", "b")),)),
    "/api/v*": PathPattern("/api/v*", (API, Segment(SegmentKind.GLOB, "v*", ("v", "")))),
    "/{id}/*": PathPattern("/{id}/*", (Segment(SegmentKind.CAPTURE, "id"),), rest=True, minimum_rest=1),
    "/**/{id}": PathPattern("/**/{id}", (), rest=True, tail=(Segment(SegmentKind.CAPTURE, "id"),)),
    "/api/**/": PathPattern("/api/**/", (API,), rest=True, tail=(_literal(""),)),
    "/a[1]": PathPattern("/a[1]", (_literal("a[1]"),)),
}


@pytest.mark.parametrize("text", PATHS)
def test_path(text: str) -> None:
    """A path is split at its slashes, and a rest is what ** or a trailing * stands for."""
    assert PATHS[text] == path_pattern(text)


def test_captures_of_head_and_tail() -> None:
    """Captures are found on both sides of a **."""
    assert ("a", "b") == captures(path_pattern("/{a}/x/**/{b}"))


@pytest.mark.parametrize(
    "text", ["/**/**", "/**/*", "/***", "/{a}/{a}", "/x{a}", "/{}", "/{a-b}", "/}", "", "a", "/a?b"]
)
def test_path_that_is_none(text: str) -> None:
    """What would not match as it reads is refused."""
    with pytest.raises(FieldError):
        path_pattern(text)


def test_glob_needs_an_asterisk() -> None:
    """Only * is special: ? and [ stand for themselves."""
    assert StringMatch(Operator.EXACT, "a?[b]") == glob("a?[b]")
    assert StringMatch(Operator.GLOB, "a*b*", ("a", "b", "")) == glob("a*b*")
    assert StringMatch(Operator.GLOB, "*", ("", "")) == glob("*")


def test_names_are_normalised() -> None:
    """Services are compared with - for _, hosts in lower case, methods in upper case."""
    assert StringMatch(Operator.EXACT, "order-service") == service("order_service")
    assert StringMatch(Operator.GLOB, "*.example.com", ("", ".example.com")) == host("*.Example.COM")
    assert frozenset({"GET"}) == methods("get")
    assert frozenset({"GET", "POST"}) == methods(["get", "Post", "GET"])


def test_address_of_ipv6_is_a_host() -> None:
    """The colons of an address are no port."""
    assert StringMatch(Operator.EXACT, "[::1]") == host("[::1]")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, StringMatch(Operator.EXACT, "1")),
        ("", StringMatch(Operator.EXACT, "")),
        ({"exact": "a*"}, StringMatch(Operator.EXACT, "a*")),
        ({"exact": ""}, StringMatch(Operator.EXACT, "")),
        ({"glob": "a*"}, StringMatch(Operator.GLOB, "a*", ("a", ""))),
        ({"prefix": 1}, StringMatch(Operator.PREFIX, "1")),
        ({"suffix": "a"}, StringMatch(Operator.SUFFIX, "a")),
        ({"contains": "a"}, StringMatch(Operator.CONTAINS, "a")),
        ({"regex": "a+"}, StringMatch(Operator.REGEX, "a+")),
        ({"present": True}, StringMatch(Operator.PRESENT)),
        ({"present": False}, StringMatch(Operator.ABSENT)),
    ],
)
def test_value(value: object, expected: StringMatch) -> None:
    """A value is a text, a glob, or one operator."""
    assert expected == string_match(value)

"""The index of policies against a naive scan."""

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.engine.match import Index
from extproc.engine.predicate import checks, text_predicate
from extproc.engine.request import Request
from extproc.policy.plan import (
    Match,
    Operator,
    PathPattern,
    Policy,
    Sampler,
    SamplerKind,
    Segment,
    SegmentKind,
    StringMatch,
)

SAMPLER = Sampler(SamplerKind.ALWAYS_ON, 1.0, 0)
WORDS = ("", "a", "b", "ab", "ba", "aab", "api")

words = st.sampled_from(WORDS)


def glob(text: str) -> StringMatch:
    """A string with stars."""
    return StringMatch(Operator.GLOB, text, tuple(text.split("*")))


texts = st.one_of(
    words.map(lambda text: StringMatch(Operator.EXACT, text)),
    st.sampled_from(["*", "a*", "*b", "a*b", "*a*", "**"]).map(glob),
    st.sampled_from(["", "a", "ab"]).map(lambda text: StringMatch(Operator.PREFIX, text)),
    st.sampled_from(["", "a", "ab"]).map(lambda text: StringMatch(Operator.SUFFIX, text)),
    st.sampled_from(["", "a", "ab"]).map(lambda text: StringMatch(Operator.CONTAINS, text)),
    st.just(StringMatch(Operator.REGEX, "a+b?")),
    st.just(StringMatch(Operator.PRESENT)),
    st.just(StringMatch(Operator.ABSENT)),
)
segments = st.one_of(
    words.map(lambda text: Segment(SegmentKind.LITERAL, text)),
    st.just(Segment(SegmentKind.ANY)),
    st.just(Segment(SegmentKind.CAPTURE, "name")),
    st.sampled_from(["a*", "*b", "a*b", "*a*"]).map(
        lambda text: Segment(SegmentKind.GLOB, chunks=tuple(text.split("*")))
    ),
)
patterns = st.builds(
    PathPattern,
    template=st.just("/"),
    head=st.lists(segments, max_size=3).map(tuple),
    rest=st.just(True),  # noqa: FBT003
    minimum_rest=st.integers(0, 1),
    tail=st.lists(segments, max_size=2).map(tuple),
) | st.builds(PathPattern, template=st.just("/"), head=st.lists(segments, min_size=1, max_size=3).map(tuple))
named = st.lists(st.tuples(st.sampled_from(["x", "y"]), texts), max_size=2).map(tuple)
matches = st.builds(
    Match,
    path=st.none() | patterns,
    service=st.none() | texts,
    methods=st.sampled_from([frozenset(), frozenset({"GET"}), frozenset({"GET", "POST"})]),
    host=st.none() | texts,
    headers=named,
    query=named,
)
excludes = st.just(Match()) | matches
requests = st.builds(
    lambda path, query, headers, method, host, service: Request(
        {":path": "/" + "/".join(path) + query, ":method": method, ":authority": host, **headers}, service
    ),
    st.lists(words, max_size=4),
    st.sampled_from(["", "?x=a", "?x=a&y=ab&x=b", "?y"]),
    st.dictionaries(st.sampled_from(["x", "y"]), words),
    st.sampled_from(["GET", "POST", "PUT"]),
    words,
    words,
)


def naive(policies: list[Policy], request: Request) -> int | None:
    """The first whose every check holds."""
    return next((policy.index for policy in policies if all(check(request) for _, check in checks(policy))), None)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(matches, excludes), max_size=25), requests)
def test_index_equals_a_naive_scan(fields: list[tuple[Match, Match]], request: Request) -> None:
    """The index finds the very policy that comparing one after the other would find."""
    policies = [Policy(str(i), i, SAMPLER, match, exclude) for i, (match, exclude) in enumerate(fields)]
    assert naive(policies, request) == Index(policies).find(request)


@settings(max_examples=500)
@given(st.text("ab*", max_size=8).filter(lambda text: "*" in text), st.text("ab", max_size=10))
def test_globs(pattern: str, text: str) -> None:
    """A star stands for any text, also none, as in a shell."""
    assert fnmatchcase(text, pattern) == text_predicate(glob(pattern))(text)


@pytest.mark.parametrize("operator", [operator for operator in Operator if operator is not Operator.ABSENT])
def test_absent_satisfies_nothing_but_absent(operator: Operator) -> None:
    """An absent string has one meaning for every operator."""
    chunks = ("", "") if operator is Operator.GLOB else ()
    assert not text_predicate(StringMatch(operator, "", chunks))(None)
    assert text_predicate(StringMatch(Operator.ABSENT))(None)


def many(count: int, kind: str) -> list[Policy]:
    """Policies that differ in one field only."""

    def match(number: int) -> Match:
        exact = StringMatch(Operator.EXACT, f"name-{number}")
        if kind == "path":
            literal = (Segment(SegmentKind.LITERAL, "api"), Segment(SegmentKind.LITERAL, f"name-{number}"))
            return Match(path=PathPattern(f"/api/name-{number}/*", literal, rest=True, minimum_rest=1))
        if kind == "path glob":
            return Match(path=PathPattern("", (Segment(SegmentKind.GLOB, chunks=(f"name-{number}-", "")),)))
        if kind == "host suffix":
            return Match(host=StringMatch(Operator.GLOB, chunks=("", f".name-{number}")))
        if kind == "header":
            return Match(headers=(("x-name", exact),))
        return Match(service=exact) if kind == "service" else Match(host=exact)

    return [Policy(str(number), number, SAMPLER, match(number)) for number in range(count)]


@pytest.mark.parametrize("kind", ["path", "path glob", "service", "host", "host suffix", "header"])
def test_candidates_do_not_grow_with_the_number_of_policies(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2,000 policies that differ in one field, a handful is compared, not all."""
    compared: list[int] = []

    def spies(policy: Policy) -> tuple[tuple[str, Callable[[Request], bool]], ...]:
        def spy(request: Request) -> bool:
            del request
            compared.append(policy.index)
            return False

        return (("spy", spy),)

    monkeypatch.setattr("extproc.engine.match.checks", spies)
    index = Index(many(2000, kind))
    headers = {":path": "/api/name-7/x", ":authority": "a.name-7", "x-name": "name-7"}
    headers |= {":path": "/name-7-x"} if kind == "path glob" else {}
    headers |= {":authority": "name-7"} if kind == "host" else {}
    index.find(Request(headers, "name-7"))
    assert [7] == compared

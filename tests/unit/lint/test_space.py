"""Proofs about what policies match: never wrong, and found where people would find them."""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.engine.predicate import checks, path_check, text_predicate
from extproc.engine.request import Request
from extproc.lint.reach import Shadow, shadows
from extproc.lint.space import Space, disjoint, space, within
from extproc.policy.load import load_text
from extproc.policy.patterns import path_pattern, string_match
from extproc.policy.plan import PathPattern, Plan, Policy, StringMatch


def plan(*matches: str) -> Plan:
    """A plan with a policy for each `match`, in YAML's flow style."""
    policies = "".join(f"  - match: {match}\n" for match in matches)
    return load_text(f"tracing:\n  policies:\n{policies}".encode(), "policy.yaml", {})


def covers(earlier: str, later: str) -> bool:
    """Whether the first match is proven to take every request of the second."""
    one, other = plan(earlier, later).policies
    return space(one).covers(space(other))


COVERED = [
    ("{}", "{path: /a, method: GET}"),
    ("{path: /**}", "{}"),
    ("{service: '*'}", "{}"),
    ("{host: '*'}", "{service: a}"),
    ("{path: '/api/*'}", "{path: /api/orders}"),
    ("{path: '/api/*'}", "{path: /api/}"),
    ("{path: '/api/*'}", "{path: '/api/**/x'}"),
    ("{path: '/api/**'}", "{path: /api}"),
    ("{path: '/api/{id}'}", "{path: '/api/*x*'}"),
    ("{path: '/**/x'}", "{path: '/a/b/x'}"),
    ("{path: '/a*c'}", "{path: '/ab*c'}"),
    ("{path: '/{a}/x'}", "{path: '/{b}/x'}"),
    ("{method: [GET, POST]}", "{method: POST}"),
    ("{service: 'order-*'}", "{service: order_service}"),
    ("{host: '*.example.com'}", "{host: '*.a.example.com'}"),
    ("{headers: {x: {present: true}}}", "{headers: {x: '', y: b}}"),
    ("{headers: {x: {prefix: a}}}", "{headers: {x: abc}}"),
    ("{headers: {x: {contains: b}}}", "{headers: {x: 'a*b*c'}}"),
    ("{headers: {x: '*b*'}}", "{headers: {x: {suffix: ab}}}"),
    ("{headers: {x: {regex: '[0-9]+'}}}", "{headers: {x: 12}}"),
    ("{headers: {x: {regex: '[0-9]+'}}}", "{headers: {x: {regex: '[0-9]+'}}}"),
    ("{query: {q: {present: false}}}", "{query: {q: {present: false}}, path: /a}"),
    ("{not: {path: '/a/*'}}", "{path: /b}"),
    ("{not: {path: '/a/*'}}", "{not: {path: '/a/**'}}"),
    ("{not: {method: GET}}", "{method: [PUT, POST]}"),
    ("{not: {headers: {x: a}}}", "{headers: {x: b}}"),
    ("{headers: {x: {present: true}}}", "{not: {headers: {x: {present: false}}}}"),
]

NOT_COVERED = [
    ("{path: /a}", "{}"),
    ("{path: '/*'}", "{}"),  # OPTIONS * has another path
    ("{path: '/api/*'}", "{path: /api}"),
    ("{path: '/api/*'}", "{path: '/api/**'}"),
    ("{path: '/api/*/x'}", "{path: '/api/**/x'}"),
    ("{path: '/a/{id}'}", "{path: '/a/'}"),
    ("{path: '/{a}/*'}", "{path: '/**'}"),
    ("{path: '/ab*c'}", "{path: '/a*c'}"),
    ("{method: POST}", "{method: [GET, POST]}"),
    ("{method: GET}", "{}"),
    ("{headers: {x: a}}", "{headers: {x: {prefix: a}}}"),
    ("{headers: {x: a}}", "{headers: {y: a}}"),
    ("{headers: {x: 'a*'}}", "{headers: {x: {present: true}}}"),
    ("{headers: {x: {regex: '[^b]*'}}}", "{headers: {x: {prefix: a}}}"),
    ("{headers: {x: {present: true}}}", "{}"),
    ("{not: {path: '/a/*'}}", "{path: '/a/**'}"),
    ("{not: {headers: {x: a}}}", "{}"),
]


@pytest.mark.parametrize(("earlier", "later"), COVERED)
def test_covered(earlier: str, later: str) -> None:
    """What anyone would call covered is."""
    assert covers(earlier, later)


@pytest.mark.parametrize(("earlier", "later"), NOT_COVERED)
def test_not_covered(earlier: str, later: str) -> None:
    """What leaves a single request over is not."""
    assert not covers(earlier, later)


@pytest.mark.parametrize(
    "match",
    [
        "{path: /a/b, not: {path: '/a/*'}}",
        "{method: GET, not: {method: [GET, PUT]}}",
        "{headers: {x: a}, not: {headers: {X: {present: true}}}}",
        "{headers: {x: {present: false}}, not: {headers: {x: {present: false}}}}",
        "{not: {service: '*'}}",
        "{not: {path: '/**'}}",
        "{service: order, not: {service: 'order*'}}",
    ],
)
def test_contradiction(match: str) -> None:
    """What `not` takes away entirely is found."""
    assert space(plan(match).policies[0]).contradiction() is not None


@pytest.mark.parametrize(
    "match",
    [
        "{path: '/a/*', not: {path: /a/b}}",
        "{method: [GET, PUT], not: {method: GET}}",
        "{headers: {x: {present: true}}, not: {headers: {x: a}}}",
        "{not: {headers: {x: {present: true}}}}",
        "{path: /a, not: {path: /b}}",
    ],
)
def test_no_contradiction(match: str) -> None:
    """What leaves something is none."""
    assert space(plan(match).policies[0]).contradiction() is None


def _found(*matches: str) -> list[Shadow]:
    policies = plan(*matches).policies
    return list(shadows([space(policy) for policy in policies], [True] * len(policies)))


def test_methods_add_up() -> None:
    """Several policies that differ in their methods cover one that names them all, and not one that names none."""
    assert [Shadow(2, (0, 1), same=False)] == _found("{method: GET}", "{method: [PUT, POST]}", "{method: [GET, PUT]}")
    assert [] == _found("{method: GET}", "{method: [PUT, POST]}", "{}")
    assert [] == _found("{method: GET}", "{method: PUT}", "{method: [GET, PUT, POST]}")


def test_one_is_said_before_several() -> None:
    """One policy that covers all is named alone."""
    assert [Shadow(3, (2,), same=True)] == _found(
        "{method: GET, path: /a}", "{method: PUT, path: /a}", "{path: /a/}", "{path: /a/}"
    )


SEGMENTS = ["", "a", "b", "ab", "*", "{i}", "a*", "*b", "a*b"]
TEXTS = ["", "a", "b", "ab", "ba", "aab", "abb", "bb"]
OPERANDS = ["a", "b", "ab", "a*", "*b", "*", "a*b", "*a*"]


def _patterns() -> list[PathPattern]:
    """Every pattern of at most two segments, with and without a rest."""
    written = ["/**"]
    for length in (1, 2):
        for segments in product(SEGMENTS, repeat=length):
            named = [segment.replace("i", f"i{index}") for index, segment in enumerate(segments)]
            written.append("/" + "/".join(named))
            if named[-1] != "*":
                written += ["/" + "/".join([*named[:at], "**", *named[at:]]) for at in range(length + 1)]
    return [path_pattern(text) for text in dict.fromkeys(written)]


def _string_matches() -> list[StringMatch]:
    """Every operator with every operand."""
    found = [string_match({"present": present}) for present in (True, False)]
    found += [string_match({"regex": text}) for text in ("a+", "[ab]*", "a.*", "[^a]*", ".*", "(ab)?")]
    for name in ("exact", "glob", "prefix", "suffix", "contains"):
        found += [string_match({name: text}) for text in OPERANDS]
    return found


def _compare(conditions: Sequence[PathPattern | StringMatch], taken: Sequence[AbstractSet[object]]) -> tuple[int, int]:
    """Holds each proof against the examples; how many proofs there were."""
    proofs = [0, 0]
    for (one, takes), (other, others) in product(zip(conditions, taken, strict=True), repeat=2):
        if within(one, other):
            proofs[0] += 1
            assert takes <= others, (one, other)
        if disjoint(one, other):
            proofs[1] += 1
            assert takes.isdisjoint(others), (one, other)
    return proofs[0], proofs[1]


def test_proofs_about_paths_hold() -> None:
    """Each pattern against each, on every path of at most four segments; patterns of one length are nearly all told."""
    patterns = _patterns()
    paths = ["/" + "/".join(each) for length in range(1, 5) for each in product(["", "a", "b", "ab"], repeat=length)]
    requests = [Request({":path": path}, "") for path in [*paths, "*"]]
    taken = [{index for index, request in enumerate(requests) if path_check(pattern)(request)} for pattern in patterns]

    included, apart = _compare(patterns, taken)

    assert 2_000 < included
    assert 20_000 < apart


def test_proofs_about_texts_hold() -> None:
    """Each comparison against each, on texts and none."""
    matches = _string_matches()
    texts = [None, *TEXTS, *map("".join, product("ab", repeat=4))]
    taken = [{text for text in texts if text_predicate(match)(text)} for match in matches]

    included, apart = _compare(matches, taken)

    assert 300 < included
    assert 300 < apart


REQUESTS = [
    Request(
        {":method": method, ":path": path, ":authority": host} | ({"x": header} if header is not None else {}), host
    )
    for method, path, header, host in product(["GET", "PUT"], ["/a", "/a/b", "*"], [None, "", "a", "ab"], ["a", "ab"])
]
OPERATORS = st.one_of(
    st.sampled_from(["a", "a*", {"prefix": "a"}, {"contains": "b"}, {"regex": "a+"}]),
    st.builds(lambda value: {"present": value}, st.booleans()),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "path": st.sampled_from(["/a", "/a/*", "/a/**", "/{i}", "/**"]),
        "method": st.sampled_from([["GET"], ["PUT"], ["GET", "PUT"]]),
        "host": st.sampled_from(["a", "a*"]),
        "headers": st.fixed_dictionaries({"x": OPERATORS}),
    },
)
MATCHES = st.builds(lambda match, unwanted: {**match, "not": unwanted}, CONDITIONS, CONDITIONS)


def _policies(matches: list[dict[str, object]]) -> tuple[Policy, ...]:
    data = {"tracing": {"policies": [{"match": match} for match in matches]}}
    return load_text(json.dumps(data).encode(), "policy.json", {}).policies


def _matches(policy: Policy) -> set[int]:
    tests = [check for _, check in checks(policy)]
    return {index for index, request in enumerate(REQUESTS) if all(check(request) for check in tests)}


@settings(max_examples=300, deadline=None)
@given(st.lists(MATCHES, min_size=2, max_size=4))
def test_proofs_hold(matches: list[dict[str, object]]) -> None:
    """What is called covered, shadowed or contradictory is so for each request that the engine compares."""
    policies = _policies(matches)
    spaces = [space(policy) for policy in policies]
    taken = [_matches(policy) for policy in policies]

    for shadow in shadows(spaces, [True] * len(spaces)):
        assert taken[shadow.position] <= set().union(*(taken[position] for position in shadow.by))
    for requests, found in zip(taken, spaces, strict=True):
        assert found.contradiction() is None or not requests


@settings(max_examples=300, deadline=None)
@given(st.lists(MATCHES, min_size=2, max_size=5))
def test_no_proof_is_missed_by_looking_up(matches: list[dict[str, object]]) -> None:
    """The look-up by fixed texts finds every policy that comparing each with each would find."""
    spaces = [space(policy) for policy in _policies(matches)]

    found = {shadow.position for shadow in shadows(spaces, [True] * len(spaces))}

    assert {later for later in range(len(spaces)) if _covered_by_one(spaces, later)} <= found


def _covered_by_one(spaces: list[Space], later: int) -> bool:
    return any(spaces[earlier].covers(spaces[later]) for earlier in range(later))

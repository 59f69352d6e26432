"""The demo cannot lie: whatever is inconsistent in what it saw fails the check that is about it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from extproc.demo.evidence import Evidence, Seen, Sent, SpanSeen
from extproc.demo.judge import Check, all_hold, judge

Spoil = Callable[[Evidence], Evidence]


def failed(evidence: Evidence) -> set[str]:
    """The names of the checks that fail."""
    return {check.name for check in judge(evidence) if not check.ok}


def test_truth_holds(evidence: Evidence) -> None:
    """Every check holds for a run in which everything went as it should."""
    assert set() == failed(evidence)
    assert all_hold(judge(evidence))


def test_nothing_seen_shows_nothing() -> None:
    """Where nothing was sent and nothing arrived, no check holds."""
    nothing = Evidence({"default": 0.1}, sent=(), seen=(), spans=(), requests_counted=0, decisions_counted={})

    checks = judge(nothing)

    assert [False] * len(checks) == [check.ok for check in checks]
    assert {"nothing was seen that could show it"} == {check.detail for check in checks}


def new_trace(evidence: Evidence, *, kept: bool, policy: str = "orders") -> tuple[int, Seen]:
    """The first request whose new trace `policy` decided so, and its place."""
    policies = {sent.demo_id: sent.policy for sent in evidence.sent if sent.parent is None}
    return next(
        (index, seen)
        for index, seen in enumerate(evidence.seen)
        if seen.sampled is kept and policies.get(seen.demo_id) == policy
    )


def with_sent(evidence: Evidence, **changes: Any) -> Evidence:  # noqa: ANN401  whichever fields
    """The same with the first request changed."""
    first, *others = evidence.sent
    return replace(evidence, sent=(replace(first, **changes), *others))


def with_seen(evidence: Evidence, index: int, **changes: Any) -> Evidence:  # noqa: ANN401  whichever fields
    """The same with what an upstream saw of one request changed."""
    seen = list(evidence.seen)
    seen[index] = replace(seen[index], **changes)
    return replace(evidence, seen=tuple(seen))


def with_tag(evidence: Evidence, name: str, value: str) -> Evidence:
    """The same with one tag of the first span changed."""
    first, *others = evidence.spans
    return replace(evidence, spans=(replace(first, tags={**first.tags, name: value}), *others))


def lost_span(evidence: Evidence) -> Evidence:
    """A kept trace whose span never came."""
    return replace(evidence, spans=evidence.spans[1:])


def span_twice(evidence: Evidence) -> Evidence:
    """A kept trace whose span came twice."""
    return replace(evidence, spans=(*evidence.spans, evidence.spans[0]))


def stray_span(evidence: Evidence) -> Evidence:
    """A span of a trace that was not kept."""
    _, seen = new_trace(evidence, kept=False)
    sent = next(sent for sent in evidence.sent if sent.demo_id == seen.demo_id)
    tags = {**sent.tags, "sampling.policy": "orders", "sampling.reason": "policy"}
    return replace(
        evidence, spans=(*evidence.spans, SpanSeen(seen.trace_id, "ingress", server=True, tags=tags, seconds=0.01))
    )


def client_span(evidence: Evidence) -> Evidence:
    """A second span, of another kind, in a kept trace."""
    return replace(evidence, spans=(*evidence.spans, replace(evidence.spans[0], server=False)))


def flag_turned_on(evidence: Evidence) -> Evidence:
    """An upstream was told that a trace is kept which is not."""
    index, _ = new_trace(evidence, kept=False)
    return with_seen(evidence, index, sampled=True)


def flag_turned_off(evidence: Evidence) -> Evidence:
    """An upstream was told that a trace is not kept which is."""
    index, _ = new_trace(evidence, kept=True)
    return with_seen(evidence, index, sampled=False)


def parent_lost(evidence: Evidence) -> Evidence:
    """A request with a caller's trace, not kept, that reached its upstream as another trace."""
    index = next(
        index
        for index, (sent, seen) in enumerate(zip(evidence.sent, evidence.seen, strict=True))
        if sent.parent is not None and not seen.sampled
    )
    return with_seen(evidence, index, trace_id="1" * 32)


def other_ratio(evidence: Evidence) -> Evidence:
    """A file that says 60 % where 20 % are kept."""
    return replace(evidence, ratios={**evidence.ratios, "users": 0.6})


def unknown_policy(evidence: Evidence) -> Evidence:
    """A file without the policy that has to decide."""
    return replace(evidence, ratios={name: ratio for name, ratio in evidence.ratios.items() if name != "health"})


def decision_miscounted(evidence: Evidence) -> Evidence:
    """A decision counted for another reason."""
    counted = dict(evidence.decisions_counted)
    counted["users", "policy", True] -= 1
    counted["users", "default", True] = 1
    return replace(evidence, decisions_counted=counted)


def stranger(evidence: Evidence) -> Evidence:
    """A request at an upstream that the client never sent."""
    return replace(
        evidence, seen=(*evidence.seen, Seen("stranger", "user-service", "2" * 32, sampled=False, status=200))
    )


SPOILED: list[tuple[Spoil, set[str]]] = [
    (lambda e: with_sent(e, status=None, served=False), {"no failed request"}),
    (lambda e: with_sent(e, status=503, served=False), {"no failed request"}),
    (lambda e: with_sent(e, status=201), {"no failed request"}),
    (lambda e: replace(e, seen=(*e.seen, e.seen[0])), {"no failed request"}),
    (stranger, {"no failed request"}),
    (lost_span, {"kept traces arrived"}),
    (span_twice, {"kept traces arrived"}),
    (stray_span, {"no other trace exported"}),
    (client_span, {"no other trace exported"}),
    (flag_turned_on, {"kept traces arrived", "decisions are consistent", "decisions are counted"}),
    (flag_turned_off, {"no other trace exported", "decisions are consistent", "decisions are counted"}),
    (parent_lost, {"parents are followed"}),
    (other_ratio, {"ratios are real", "decisions are consistent"}),
    (unknown_policy, {"ratios are real"}),
    (lambda e: with_tag(e, "sampling.policy", "other"), {"spans are tagged"}),
    (lambda e: with_tag(e, "sampling.reason", "parental"), {"spans are tagged"}),
    (lambda e: with_tag(e, "user_id", "somebody-else"), {"spans are tagged"}),
    (lambda e: replace(e, requests_counted=e.requests_counted - 1), {"requests are counted"}),
    (lambda e: replace(e, requests_counted=e.requests_counted + 1), {"requests are counted"}),
    (decision_miscounted, {"decisions are counted"}),
]


@pytest.mark.parametrize(("spoil", "expected"), SPOILED)
def test_inconsistency_fails(evidence: Evidence, spoil: Spoil, expected: set[str]) -> None:
    """Each inconsistency fails the checks that are about it and no other, and the demo as a whole."""
    spoiled = spoil(evidence)

    assert expected == failed(spoiled)
    assert not all_hold(judge(spoiled))


def test_request_that_never_reached_an_upstream_fails(evidence: Evidence) -> None:
    """An answer that claims to be an upstream's, with no upstream knowing of it, is a failed request."""
    sent = Sent("ghost", "health", {}, status=200, served=True)

    assert "no failed request" in failed(replace(evidence, sent=(*evidence.sent, sent)))


def test_detail_has_numbers(evidence: Evidence) -> None:
    """A check that fails says on what, three examples at most."""
    none_answered = replace(
        evidence, sent=tuple(replace(sent, status=None, served=False) for sent in evidence.sent), seen=evidence.seen
    )

    check = next(check for check in judge(none_answered) if check.name == "no failed request")

    assert (
        Check(
            "no failed request",
            ok=False,
            detail="request 0: no answer; request 1: no answer; request 2: no answer; and 597 more",
        )
        == check
    )

"""Tests run against a Plan: what has not become of their requests what had to."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from extproc.cases.answer import Answer, Asked, headers_of, time_of
from extproc.cases.document import Test
from extproc.cases.load import Case
from extproc.engine.explain import Verdict, explain
from extproc.engine.scan import TagValue
from extproc.policy.plan import DEFAULT_POLICY, Plan

_LOWEST: Final = "1" + "0" * 31
"""The trace id that the fewest ratios keep: R is 0."""
_HIGHEST: Final = "f" * 32
"""The one that the most keep: R is 2^56-1."""

Value = TagValue | bool | dict[str, TagValue] | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that is not as expected; `note` says more, where there is more to say."""

    key: str
    expected: Value
    got: Value
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test: it has passed if nothing is a mismatch."""

    case: Case
    mismatches: tuple[Mismatch, ...]
    seconds: float


def run(asked: Asked, case: Case) -> Result:
    """Run one test."""
    began = time.perf_counter()
    mismatches = tuple(_mismatches(asked, case.test))
    return Result(case, mismatches, time.perf_counter() - began)


def _mismatches(asked: Asked, test: Test) -> Iterator[Mismatch]:
    answer = asked.answer(test.request, _HIGHEST)
    if test.exp_policy not in {None, answer.policy}:
        yield Mismatch("exp_policy", test.exp_policy, answer.policy, _why_not(asked.plan, test))
    if test.exp_reason not in {None, answer.reason}:
        yield Mismatch("exp_reason", test.exp_reason, str(answer.reason))
    if test.exp_span_name not in {None, answer.span_name}:
        yield Mismatch("exp_span_name", test.exp_span_name, answer.span_name)
    if test.exp_tags is not None and test.exp_tags != answer.tags:
        yield Mismatch("exp_tags", dict(test.exp_tags), answer.tags)
    if test.exp_sampled is not None:
        yield from _every_trace(asked, test, test.exp_sampled, answer)
    for index, each in enumerate(test.trace_test):
        sampled = asked.answer(test.request, each.trace_id).sampled
        if sampled != each.exp_sampled:
            yield Mismatch(f"trace_test[{index}].exp_sampled", each.exp_sampled, sampled, f"trace {each.trace_id}")


def _every_trace(asked: Asked, test: Test, expected: bool, highest: Answer) -> Iterator[Mismatch]:  # noqa: FBT001
    """Decisions only ever go up with R, so the two ends stand for all."""
    lowest = asked.answer(test.request, _LOWEST)
    if lowest.sampled == highest.sampled != expected:
        yield Mismatch("exp_sampled", expected, not expected)
    elif lowest.sampled != highest.sampled:
        yield Mismatch("exp_sampled", expected, not expected, "for some traces; trace_test tests those of given ids")


def _why_not(plan: Plan, test: Test) -> str:
    """Why the expected policy does not decide."""
    expected = test.exp_policy or ""
    if expected == DEFAULT_POLICY:
        return ""
    request = test.request
    verdicts = explain(plan, headers_of(request), request.service, _HIGHEST, time_of(request)).verdicts
    for verdict in verdicts:
        if verdict.policy.name == expected:
            return f"{expected}: {_reason(verdict)}"
    near = get_close_matches(expected, [verdict.policy.name for verdict in verdicts], 1)
    return f"the policy file has no {expected}" + (f"; try {near[0]}" if near else "")


def _reason(verdict: Verdict) -> str:
    if verdict.failed is None:
        return "is a dry run" if verdict.policy.dry_run else "would match too, but comes later"
    got = "nothing" if verdict.got is None else repr(verdict.got)
    return f"{verdict.failed}: expected {verdict.expected}, got {got}"

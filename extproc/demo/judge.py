"""Whether what the demo shows is true: each claim is checked against what another side saw."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from extproc.demo.evidence import Evidence, Sent, SpanSeen
from extproc.demo.tally import pairs, tallies
from extproc.policy.plan import DEFAULT_POLICY

_RANDOMNESS_DIGITS = 14
_RANDOMNESS_VALUES = 1 << 56
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: whether it holds, and in `detail` the numbers behind it."""

    name: str
    ok: bool
    detail: str


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Check every claim. None holds for want of evidence: where nothing was seen, nothing is shown to be right."""
    return tuple(_check(name, claim(evidence)) for name, claim in _CLAIMS.items())


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one claim rests on: the number of `cases` looked at, what `wrong` was found, and how to say that all is."""

    cases: int
    wrong: list[str]
    good: str


def _check(name: str, finding: _Finding) -> Check:
    if not finding.cases:
        return Check(name, ok=False, detail="nothing was seen that could show it")
    if not finding.wrong:
        return Check(name, ok=True, detail=finding.good)
    shown = "; ".join(finding.wrong[:_EXAMPLES])
    more = len(finding.wrong) - _EXAMPLES
    return Check(name, ok=False, detail=f"{shown}; and {more:,} more" if more > 0 else shown)


def _no_failed_request(evidence: Evidence) -> _Finding:
    arrivals = Counter(seen.demo_id for seen in evidence.seen)
    statuses = {seen.demo_id: seen.status for seen in evidence.seen}
    wrong = [
        f"request {sent.demo_id}: {problem}"
        for sent in evidence.sent
        if (problem := _failure(sent, arrivals[sent.demo_id], statuses.get(sent.demo_id)))
    ]
    strangers = len(arrivals.keys() - {sent.demo_id for sent in evidence.sent})
    wrong += [f"{strangers:,} requests at the upstreams that nobody sent"] if strangers else []
    count = len(evidence.sent)
    return _Finding(count, wrong, f"each of {count:,} requests was answered, once, by an upstream")


def _failure(sent: Sent, arrivals: int, upstream_status: int | None) -> str | None:
    if sent.status is None:
        return "no answer"
    if not sent.served:
        return f"an answer that no upstream gave, status {sent.status}"
    if arrivals != 1:
        return f"reached upstreams {arrivals} times"
    return None if sent.status == upstream_status else f"the upstream said {upstream_status}, Envoy {sent.status}"


def _kept_traces_arrived(evidence: Evidence) -> _Finding:
    spans = Counter(span.trace_id for span in evidence.spans if span.server)
    kept = [seen.trace_id for seen in evidence.seen if seen.sampled]
    wrong = [f"trace {trace_id}: {spans[trace_id]} server spans" for trace_id in kept if spans[trace_id] != 1]
    return _Finding(len(kept), wrong, f"the receiver has one server span of each of {len(kept):,} kept traces")


def _no_other_trace_exported(evidence: Evidence) -> _Finding:
    kept = {seen.trace_id for seen in evidence.seen if seen.sampled}
    wrong = [f"span of trace {span.trace_id}" for span in evidence.spans if span.trace_id not in kept]
    wrong += [f"span {span.name!r} beside Envoy's own" for span in evidence.spans if not span.server]
    dropped = sum(not seen.sampled for seen in evidence.seen)
    return _Finding(len(evidence.spans), wrong, f"it has no span of the other {dropped:,}, and no second one of any")


def _ratios(evidence: Evidence) -> _Finding:
    rows = [row for row in tallies(evidence) if row.new_traces]
    wrong = [
        f"{row.policy}: {row.kept:,} of {row.new_traces:,} kept, expected {row.expected_ratio:.0%}"
        for row in rows
        if not row.plausible
    ]
    unknown = {sent.policy for sent in evidence.sent} - evidence.ratios.keys()
    wrong += [f"policy {policy} is not in the file" for policy in sorted(unknown)]
    return _Finding(len(rows), wrong, f"all {len(rows)} policies keep what they say, within 4.5 standard deviations")


def _decisions_consistent(evidence: Evidence) -> _Finding:
    """Source: OpenTelemetry's consistent probability sampling, R = last 7 bytes of the trace id, keep if R >= T."""
    new = [(sent, seen) for sent, seen in pairs(evidence) if sent.parent is None]
    wrong = [
        f"trace {seen.trace_id} of {sent.policy} was {_fate(kept=seen.sampled)}"
        for sent, seen in new
        if seen.sampled is not _keeps(evidence.ratios.get(sent.policy, 0.0), seen.trace_id)
    ]
    return _Finding(len(new), wrong, f"R >= T, worked out again from each trace id, agrees on {len(new):,} new traces")


def _keeps(ratio: float, trace_id: str) -> bool:
    return int(trace_id[-_RANDOMNESS_DIGITS:], 16) >= (1 - ratio) * _RANDOMNESS_VALUES


def _parents_followed(evidence: Evidence) -> _Finding:
    followed = [(sent.parent, seen) for sent, seen in pairs(evidence) if sent.parent is not None]
    wrong = [
        f"trace {parent.trace_id}, {_fate(kept=parent.sampled)} by its caller, "
        f"became {seen.trace_id}, {_fate(kept=seen.sampled)}"
        for parent, seen in followed
        if (parent.trace_id, parent.sampled) != (seen.trace_id, seen.sampled)
    ]
    return _Finding(len(followed), wrong, f"{len(followed):,} requests with a caller's trace kept its id and decision")


def _spans_tagged(evidence: Evidence) -> _Finding:
    by_trace = {seen.trace_id: sent for sent, seen in pairs(evidence)}
    wrong = [
        f"span of trace {span.trace_id}: {problem}"
        for span in evidence.spans
        if (problem := _tag_problem(span, by_trace.get(span.trace_id)))
    ]
    count = len(evidence.spans)
    return _Finding(count, wrong, f"{count:,} spans say why they were kept, and carry their own request's tags")


def _tag_problem(span: SpanSeen, sent: Sent | None) -> str | None:
    expected = {"sampling.reason": _reason(sent), **sent.tags} if sent else {}
    if sent and sent.policy != DEFAULT_POLICY:
        expected["sampling.policy"] = sent.policy
    for name, value in expected.items():
        if (got := span.tags.get(name)) != value:
            return f"{name} is {got!r} and not {value!r}"
    return None if sent else "no request of ours"


def _requests_counted(evidence: Evidence) -> _Finding:
    sent, counted = len(evidence.sent), evidence.requests_counted
    wrong = [f"envoy_http_requests_total is {counted:,}, {sent:,} were sent"] if counted != sent else []
    return _Finding(sent, wrong, f"envoy_http_requests_total is {counted:,}, as many as were sent")


def _decisions_counted(evidence: Evidence) -> _Finding:
    true = Counter((sent.policy, _reason(sent), seen.sampled) for sent, seen in pairs(evidence))
    wrong = [
        f"{policy}, {reason}, {_fate(kept=kept)}: counted {counted:,}, real {true[policy, reason, kept]:,}"
        for policy, reason, kept in sorted(true.keys() | evidence.decisions_counted.keys())
        if (counted := evidence.decisions_counted.get((policy, reason, kept), 0)) != true[policy, reason, kept]
    ]
    return _Finding(
        len(true), wrong, "extproc.decisions agrees with the flags that upstreams saw, by policy and reason"
    )


def _reason(sent: Sent) -> str:
    if sent.parent is not None:
        return "parent"
    return "default" if sent.policy == DEFAULT_POLICY else "policy"


def _fate(*, kept: bool) -> str:
    return "kept" if kept else "not kept"


def all_hold(checks: Iterable[Check]) -> bool:
    """Whether the demo may say that all is well."""
    return all(check.ok for check in checks)


_CLAIMS: dict[str, Callable[[Evidence], _Finding]] = {
    "no failed request": _no_failed_request,
    "kept traces arrived": _kept_traces_arrived,
    "no other trace exported": _no_other_trace_exported,
    "ratios are real": _ratios,
    "decisions are consistent": _decisions_consistent,
    "parents are followed": _parents_followed,
    "spans are tagged": _spans_tagged,
    "requests are counted": _requests_counted,
    "decisions are counted": _decisions_counted,
}

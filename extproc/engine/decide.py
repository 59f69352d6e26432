"""Policies at work: whose a request is, whether its trace is kept, and what the reply says for it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from extproc.engine import sample, wire
from extproc.engine.audit import Auditor
from extproc.engine.enrich import Tags
from extproc.engine.match import Index
from extproc.engine.outcome import Phase, Reason
from extproc.engine.pace import pacer
from extproc.engine.pacing import probability
from extproc.engine.request import Request
from extproc.engine.sample import Decision
from extproc.engine.scan import Scanner, TagValue
from extproc.engine.states import States
from extproc.engine.tracecontext import RANDOMNESS_BITS, TraceContext, randomness, trace_randomness
from extproc.policy.plan import DEFAULT_POLICY, Plan, Policy, SpansMode, TagSource

FORCE_TRACE = wire.Mutation(set_headers=(("x-envoy-force-trace", "true"),), clear_route_cache=True)
"""Makes Envoy decide again on a trace that it has begun unsampled, and keep it."""

_ALWAYS = {":method", ":path", ":authority", ":scheme", "traceparent", "tracestate"}
_PROBABILITY = wire.tag_encoder("sampling.probability")
_DRY_RUN, _DRY_RUN_SAMPLED = wire.tag_encoder("sampling.dry_run"), wire.tag_encoder("sampling.dry_run.sampled")
_HEADER_SOURCES = {TagSource.REQUEST_HEADER, TagSource.RESPONSE_HEADER}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision of a policy, and what the reply to request headers says for it: encoded once, used ever after.

    `reply` has no metadata yet; `entries` are those that the policy settles, `record` the one for the access log.
    `threshold` is the T that a kept trace has reached, None where its probability is not known.
    """

    decision: Decision
    reply: bytes
    entries: bytes
    record: bytes
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a policy with `dry_run` would have done with a request; `entries` say so on its span."""

    policy: str
    sampled: bool
    entries: bytes


class Prepared:
    """A policy with everything that it alone settles.

    Attributes:
        kept, dropped: what becomes of a new trace.
        pacer: decides where that takes more than the sampler's threshold, else None.
        reads_response: whether response headers are needed while the access log times requests.
        alarm: sees its responses, where these may raise its ratio, else None.
        auditor: what audit records of its requests need, None where it has none.
    """

    __slots__ = (
        "_others",
        "alarm",
        "auditor",
        "dropped",
        "kept",
        "pacer",
        "path_template",
        "policy",
        "reads_response",
        "respects_parent",
        "sampler",
        "tags",
    )

    def __init__(self, policy: Policy, plan: Plan, states: States) -> None:
        self.policy = policy
        self.pacer, self.alarm = pacer(policy, states, plan.share.replicas)
        self.path_template = policy.path_template
        self.sampler = policy.sampler
        self.respects_parent = policy.sampler.respect_parent
        self.tags = Tags(policy)
        self.auditor = Auditor(policy, plan.audit.user_tag) if policy.audit and plan.audit is not None else None
        reason = Reason.POLICY if policy.index >= 0 else Reason.DEFAULT
        self.reads_response = self.tags.in_response or self.alarm is not None
        self.kept = self._verdict(Decision(sampled=True, reason=reason))
        self.dropped = self._verdict(Decision(sampled=False, reason=reason))
        self._others: dict[Decision, Verdict] = {}

    def decide(self, randomness: int, now: float, request: Request) -> Verdict:
        """The fate of a new trace of this R at `now`, in monotonic seconds."""
        if self.pacer is None:
            return self.kept if sample.keeps(self.sampler, randomness) else self.dropped
        kept, threshold = self.pacer.decide(randomness, now, request)
        verdict = self.kept if kept else self.dropped
        if threshold is None:
            return verdict
        entries = verdict.entries + _PROBABILITY(probability(threshold))
        return Verdict(verdict.decision, verdict.reply, entries, verdict.record, threshold if kept else None)

    def other(self, decision: Decision) -> Verdict:
        """The verdict for a decision that was not the policy's own."""
        verdict = self._others.get(decision)
        if verdict is None:
            verdict = self._others[decision] = self._verdict(decision)
        return verdict

    def _verdict(self, decision: Decision) -> Verdict:
        entries = b"".join(wire.tag_encoder(name)(value) for name, value in self._metadata(decision).items())
        record = wire.record_entry(
            {
                "policy": self.policy.name if self.policy.index >= 0 else DEFAULT_POLICY,
                "reason": decision.reason.value,
                "sampled": decision.sampled,
                "path": self.path_template,
            }
        )
        reply = wire.headers_reply(Phase.REQUEST_HEADERS, mutation(decision))
        known = decision.sampled and self.pacer is None and decision.reason is not Reason.PARENT
        return Verdict(decision, reply, entries, record, self.sampler.threshold if known else None)

    def _metadata(self, decision: Decision) -> dict[str, TagValue]:
        metadata: dict[str, TagValue] = {"sampling.reason": str(decision.reason)}
        if decision.reason is Reason.DISABLED:
            return metadata
        if self.policy.index >= 0:
            metadata["sampling.policy"] = self.policy.name
        if decision.reason is not Reason.PARENT and self.pacer is None:
            metadata["sampling.probability"] = self.sampler.probability
        if self.policy.span_name is not None:
            metadata["span_name"] = self.policy.span_name
        return metadata | self.tags.constants


def mutation(decision: Decision) -> wire.Mutation:
    """What Envoy has to be told: nothing where it follows a parent, or where its trace is to stay unsampled."""
    decided_here = decision.reason in {Reason.POLICY, Reason.DEFAULT}
    return FORCE_TRACE if decision.sampled and decided_here else wire.NO_MUTATION


class Decider:
    """All policies of a Plan.

    Attributes:
        scanner: reads the headers that matching, tags and decisions need.
        response_scanner: reads what metrics need of a response.
        emits: whether requests get spans of ours.
        policies: every policy by its name, the default among them.
        dry_runs: whether some policy is one.
        reads_responses: whether some policy waits for response headers.
    """

    __slots__ = (
        "_default",
        "_draw",
        "_enabled",
        "_index",
        "_prepared",
        "_trial_index",
        "_trials",
        "dry_runs",
        "emits",
        "policies",
        "reads_responses",
        "response_scanner",
        "scanner",
    )

    def __init__(
        self,
        plan: Plan,
        draw: Callable[[], int] = lambda: random.getrandbits(RANDOMNESS_BITS),
        *,
        states: States | None = None,
        unix_seconds: float = -math.inf,
    ) -> None:
        """With the policies that have not ended at `unix_seconds`, which remember what `states` has of them."""
        states = States() if states is None else states
        present = [policy for policy in plan.policies if policy.until is None or policy.until > unix_seconds]
        self._enabled = plan.enabled
        self._draw = draw
        self._prepared = [Prepared(policy, plan, states) for policy in present if not policy.dry_run]
        self._index = Index([prepared.policy for prepared in self._prepared])
        self._trials = [Prepared(policy, plan, states) for policy in present if policy.dry_run]
        self._trial_index = Index([prepared.policy for prepared in self._trials])
        self.dry_runs = bool(self._trials)
        self._default = Prepared(plan.default, plan, states)
        self.reads_responses = any(prepared.reads_response for prepared in (*self._prepared, self._default))
        self.emits = plan.enabled and plan.mode is SpansMode.EMIT
        self.policies = {policy.name: policy for policy in (*plan.policies, plan.default)}
        self.response_scanner = Scanner({":status"})
        always = _ALWAYS | {"user-agent"} if self.emits else _ALWAYS
        self.scanner = Scanner(always.union(*map(_headers, (*plan.policies, plan.default))))

    def policy(self, request: Request) -> Prepared:
        """The policy that decides on `request`, or the default."""
        position = self._index.find(request)
        return self._default if position is None else self._prepared[position]

    def trial(self, prepared: Prepared, request: Request) -> Prepared | None:
        """The dry run that would decide on `request` in place of `prepared`."""
        position = self._trial_index.find(request)
        if position is None or not self._enabled:
            return None
        trial = self._trials[position]
        return trial if prepared is self._default or trial.policy.index < prepared.policy.index else None

    def tried(
        self,
        prepared: Prepared,
        request: Request,
        parent: TraceContext | None,
        traceparent: str | None,
        now: float,
    ) -> Trial | None:
        """What the dry run would have decided; the arguments are those of `decide`."""
        trial = self.trial(prepared, request)
        if trial is None:
            return None
        sampled = self.decide(trial, request, parent, traceparent, now).decision.sampled
        name = trial.policy.name
        return Trial(name, sampled, _DRY_RUN(name) + _DRY_RUN_SAMPLED("true" if sampled else "false"))

    def decide(
        self,
        prepared: Prepared,
        request: Request,
        parent: TraceContext | None,
        traceparent: str | None,
        now: float,
    ) -> Verdict:
        """The fate of the request's trace at `now`; `traceparent` names it where the request has no parent."""
        if not self._enabled:
            return prepared.other(sample.disabled(parent))
        if parent is not None and prepared.respects_parent:
            return prepared.other(sample.follow(parent))
        return prepared.decide(self.randomness(request, parent, traceparent), now, request)

    def randomness(self, request: Request, parent: TraceContext | None, traceparent: str | None) -> int:
        """R of the request's trace; drawn at random where nobody has named the trace."""
        if parent is not None:
            return randomness(parent.trace_id, request.headers.get("tracestate"))
        begun = trace_randomness(traceparent)
        return self._draw() if begun is None else begun


def _headers(policy: Policy) -> set[str]:
    names = {name for match in (policy.match, policy.exclude) for name, _ in match.headers}
    names.update(tag.key for tag in policy.tags if tag.source in _HEADER_SOURCES)
    return names | ({"cookie"} if any(tag.source is TagSource.COOKIE for tag in policy.tags) else set())

"""Policies at work: whose a request is, whether its trace is kept, and what the reply says for it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from extproc.engine import sample, wire
from extproc.engine.enrich import Tags
from extproc.engine.match import Index
from extproc.engine.outcome import Phase, Reason
from extproc.engine.request import Request
from extproc.engine.sample import Decision
from extproc.engine.scan import Scanner, TagValue
from extproc.engine.tracecontext import RANDOMNESS_BITS, TraceContext, randomness, trace_randomness
from extproc.policy.plan import Plan, Policy, TagSource

FORCE_TRACE = wire.Mutation(set_headers=(("x-envoy-force-trace", "true"),), clear_route_cache=True)
"""Makes Envoy decide again on a trace that it has begun unsampled, and keep it."""

_ALWAYS = {":method", ":path", ":authority", ":scheme", "traceparent", "tracestate", ":status"}
_HEADER_SOURCES = {TagSource.REQUEST_HEADER, TagSource.RESPONSE_HEADER}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy with everything that it alone settles."""

    policy: Policy
    tags: Tags
    _replies: dict[Decision, tuple[bytes, bytes]] = field(default_factory=dict)

    def reply(self, decision: Decision) -> tuple[bytes, bytes]:
        """The reply to request headers without its metadata, and the metadata's entries that this policy settles.

        Both are encoded once for each kind of decision.
        """
        reply = self._replies.get(decision)
        if reply is None:
            constants = b"".join(wire.tag_encoder(name)(value) for name, value in self._metadata(decision).items())
            reply = wire.headers_reply(Phase.REQUEST_HEADERS, mutation(decision)), constants
            self._replies[decision] = reply
        return reply

    def _metadata(self, decision: Decision) -> dict[str, TagValue]:
        metadata: dict[str, TagValue] = {"sampling.reason": str(decision.reason)}
        if decision.reason is Reason.DISABLED:
            return metadata
        if self.policy.index >= 0:
            metadata["sampling.policy"] = self.policy.name
        if decision.reason is not Reason.PARENT:
            metadata["sampling.probability"] = self.policy.sampler.probability
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
        scanner: reads the headers that matching, tags, decisions and metrics need.
    """

    __slots__ = ("_default", "_draw", "_enabled", "_index", "_prepared", "scanner")

    def __init__(self, plan: Plan, draw: Callable[[], int] = lambda: random.getrandbits(RANDOMNESS_BITS)) -> None:
        self._enabled = plan.enabled
        self._draw = draw
        self._index = Index(plan.policies)
        self._prepared = [Prepared(policy, Tags(policy)) for policy in plan.policies]
        self._default = Prepared(plan.default, Tags(plan.default))
        self.scanner = Scanner(_ALWAYS.union(*map(_headers, (*plan.policies, plan.default))))

    def policy(self, request: Request) -> Prepared:
        """The policy that decides on `request`, or the default."""
        policy = self._index.find(request)
        return self._default if policy is None else self._prepared[policy.index]

    def decide(
        self, prepared: Prepared, request: Request, parent: TraceContext | None, traceparent: str | None
    ) -> Decision:
        """The fate of the request's trace; `traceparent` names it where the request has no parent."""
        if not self._enabled:
            return sample.disabled(parent)
        if parent is not None and prepared.policy.sampler.respect_parent:
            return sample.follow(parent)
        return sample.decide(prepared.policy, self.randomness(request, parent, traceparent))

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

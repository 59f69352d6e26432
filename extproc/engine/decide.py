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
from extproc.engine.tracecontext import RANDOMNESS_BITS, TraceContext, parse_traceparent, randomness
from extproc.policy.plan import Match, Plan, Policy, TagSource

FORCE_TRACE = wire.Mutation(set_headers=(("x-envoy-force-trace", "true"),), clear_route_cache=True)
"""Makes Envoy decide again on a trace that it has begun unsampled, and keep it."""

_REQUEST_HEADERS = frozenset({":method", ":path", ":authority", ":scheme", "traceparent", "tracestate"})
_RESPONSE_HEADERS = frozenset({":status"})


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

    def _metadata(self, decision: Decision) -> dict[str, wire.TagValue]:
        metadata: dict[str, wire.TagValue] = {"sampling.reason": str(decision.reason)}
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
        request_headers: names of the request headers that matching, tags and decisions read.
        response_headers: names of the response headers that tags and metrics read.
    """

    __slots__ = ("_default", "_draw", "_enabled", "_index", "_prepared", "request_headers", "response_headers")

    def __init__(self, plan: Plan, draw: Callable[[], int] = lambda: random.getrandbits(RANDOMNESS_BITS)) -> None:
        self._enabled = plan.enabled
        self._draw = draw
        self._index = Index(plan.policies)
        self._prepared = [Prepared(policy, Tags(policy)) for policy in plan.policies]
        self._default = Prepared(plan.default, Tags(plan.default))
        everyone = (*plan.policies, plan.default)
        self.request_headers = _REQUEST_HEADERS.union(*map(_request_headers, everyone))
        self.response_headers = _RESPONSE_HEADERS.union(
            tag.key for policy in everyone for tag in policy.tags if tag.source is TagSource.RESPONSE_HEADER
        )

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
        begun = parse_traceparent(traceparent)
        return randomness(begun.trace_id, None) if begun is not None else self._draw()


def _request_headers(policy: Policy) -> frozenset[str]:
    names = {name for match in (policy.match, policy.exclude) for name in _match_headers(match)}
    for tag in policy.tags:
        if tag.source is TagSource.REQUEST_HEADER:
            names.add(tag.key)
        elif tag.source is TagSource.COOKIE:
            names.add("cookie")
    return frozenset(names)


def _match_headers(match: Match) -> tuple[str, ...]:
    return tuple(name for name, _ in match.headers)

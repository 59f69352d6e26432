"""Why the engine decides as it does: the same code, run on one made-up request, with its steps written down."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from extproc.engine import wire
from extproc.engine.decide import Trial
from extproc.engine.exchange import Engine
from extproc.engine.outcome import Reason
from extproc.engine.predicate import checks
from extproc.engine.request import Request
from extproc.engine.scan import TagValue
from extproc.engine.tracecontext import parse_traceparent
from extproc.policy.plan import Match, Operator, Plan, Policy, Sampler, SegmentKind, StringMatch


@dataclass(frozen=True, slots=True)
class Verdict:
    """One policy's answer: `failed` is the first field that does not hold, None where all do."""

    policy: Policy
    failed: str | None
    expected: str = ""
    got: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happens to one request.

    Attributes:
        verdicts: every policy's answer, in file order.
        policy: the one that decides: the first whose every field holds, or the default.
        randomness: R of the trace, 0 … 2^56-1; None where a caller or the switch `enabled` has decided.
        captures: what the policy's path captures.
        metadata: tags and `sampling.*` as Envoy gets them with the reply to request headers.
        later: tags that wait for response headers.
        trial: what a dry run would have done.
    """

    method: str
    path: str
    host: str
    service: str
    trace_id: str
    verdicts: tuple[Verdict, ...]
    policy: Policy
    reason: Reason
    sampled: bool
    randomness: int | None
    captures: dict[str, str]
    metadata: dict[str, TagValue]
    later: tuple[str, ...]
    mutation: wire.Mutation
    trial: Trial | None

    @property
    def sampler(self) -> Sampler:
        """The sampler of the policy that decides."""
        return self.policy.sampler


def explain(
    plan: Plan, headers: dict[str, str], service: str, trace_id: str, unix_seconds: float = -math.inf
) -> Explanation:
    """Runs the request with these headers, pseudo headers among them, through the engine.

    `trace_id` names the trace that Envoy would begin; a `traceparent` among the headers overrides it. Policies that
    end before `unix_seconds` have ended. Samplers that remember others' traces have seen none.
    """
    engine = Engine(plan, unix_seconds=unix_seconds)
    decider = engine.decider
    request = Request(headers, service)
    begun = f"00-{trace_id}-0000000000000001-00"
    parent = parse_traceparent(headers.get("traceparent"))
    exchange = engine.begin(begun)
    reply = exchange.receive(wire.request_headers_message(headers.items(), {"xds.cluster_name": service}), 0.0)
    outcome = exchange.finish(0.0)
    if outcome is None or outcome.reason is None or exchange.failure is not None:
        raise RuntimeError("the engine failed on this request") from exchange.failure
    policy = decider.policy(request).policy
    metadata, mutation = wire.describe(reply)
    decided_here = outcome.reason in {Reason.POLICY, Reason.DEFAULT}
    return Explanation(
        method=request.method,
        path=headers.get(":path", ""),
        host=request.host,
        service=service,
        trace_id=parent.trace_id if parent else trace_id,
        verdicts=tuple(_verdict(candidate, request, unix_seconds) for candidate in plan.policies),
        policy=policy,
        reason=outcome.reason,
        sampled=outcome.sampled,
        randomness=decider.randomness(request, parent, begun) if decided_here else None,
        captures=_captures(policy, request),
        metadata=metadata,
        later=tuple(tag.name for tag in policy.tags if tag.in_response) if plan.enabled else (),
        mutation=mutation,
        trial=exchange.trial,
    )


def _verdict(policy: Policy, request: Request, unix_seconds: float) -> Verdict:
    if policy.until is not None and policy.until <= unix_seconds:
        return Verdict(policy, "until", f"a time before {_moment(policy.until)}", _moment(unix_seconds))
    for field, check in checks(policy):
        if not check(request):
            return Verdict(policy, field, _expected(policy, field), _got(request, field))
    return Verdict(policy, None)


def _moment(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="seconds")


def _expected(policy: Policy, field: str) -> str:
    if field.startswith("not."):
        return f"anything but {_operand(policy.exclude, field.removeprefix('not.'))}"
    return _operand(policy.match, field)


def _operand(match: Match, field: str) -> str:
    if field == "path":
        return match.path.template if match.path else ""
    if field == "method":
        return " or ".join(sorted(match.methods))
    kind, _, name = field.partition(".")
    fields = {"service": match.service, "host": match.host}
    text = dict(match.headers if kind == "headers" else match.query).get(name) if name else fields[kind]
    return _describe(text) if text else ""


def _describe(match: StringMatch) -> str:
    if match.operator in {Operator.EXACT, Operator.GLOB}:
        return match.operand or "*".join(match.chunks)
    return f"{match.operator} {match.operand}".rstrip()


def _got(request: Request, field: str) -> str | None:
    kind, _, name = field.removeprefix("not.").partition(".")
    if kind == "headers":
        return request.headers.get(name)
    if kind == "query":
        return request.query.get(name)
    return {"path": request.path, "method": request.method, "host": request.host, "service": request.service}[kind]


def _captures(policy: Policy, request: Request) -> dict[str, str]:
    pattern = policy.match.path
    if pattern is None:
        return {}
    at_end = request.segments[len(request.segments) - len(pattern.tail) :]
    pairs = [*zip(pattern.head, request.segments, strict=False), *zip(pattern.tail, at_end, strict=True)]
    return {segment.text: text for segment, text in pairs if segment.kind is SegmentKind.CAPTURE}

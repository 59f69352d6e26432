"""Whether a trace is kept, and why."""

from dataclasses import dataclass

from extproc.engine.outcome import Reason
from extproc.engine.tracecontext import TraceContext
from extproc.policy.plan import Policy, Sampler


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One trace's fate. There is one object for each, told apart by identity."""

    sampled: bool
    reason: Reason


_DECISIONS = {reason: {kept: Decision(kept, reason) for kept in (False, True)} for reason in Reason}
_DISABLED, _PARENT = _DECISIONS[Reason.DISABLED], _DECISIONS[Reason.PARENT]
_POLICY, _DEFAULT = _DECISIONS[Reason.POLICY], _DECISIONS[Reason.DEFAULT]


def keeps(sampler: Sampler, randomness: int) -> bool:
    """Whether `sampler` keeps a new trace of this randomness (R, 0 … 2^56-1).

    One comparison serves every sampler: always_on has the threshold 0, always_off 2^56, which no R reaches.
    Source: OpenTelemetry's consistent probability sampling, "keep if R >= T".
    """
    return randomness >= sampler.threshold


def decide(policy: Policy, randomness: int) -> Decision:
    """The fate of a trace that `policy` itself decides."""
    return (_POLICY if policy.index >= 0 else _DEFAULT)[keeps(policy.sampler, randomness)]


def follow(parent: TraceContext) -> Decision:
    """The caller's decision."""
    return _PARENT[parent.sampled]


def disabled(parent: TraceContext | None) -> Decision:
    """The decision while tracing is switched off: Envoy goes on following its callers."""
    return _DISABLED[parent is not None and parent.sampled]

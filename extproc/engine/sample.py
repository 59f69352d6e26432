"""Whether a trace is kept, and why."""

from dataclasses import dataclass

from extproc.engine.outcome import Reason
from extproc.engine.tracecontext import TraceContext
from extproc.policy.plan import Sampler


@dataclass(frozen=True, slots=True)
class Decision:
    """One trace's fate."""

    sampled: bool
    reason: Reason


def keeps(sampler: Sampler, randomness: int) -> bool:
    """Whether `sampler` keeps a new trace of this randomness (R, 0 … 2^56-1).

    One comparison serves every sampler: always_on has the threshold 0, always_off 2^56, which no R reaches.
    Source: OpenTelemetry's consistent probability sampling, "keep if R >= T".
    """
    return randomness >= sampler.threshold


def follow(parent: TraceContext) -> Decision:
    """The caller's decision."""
    return Decision(parent.sampled, Reason.PARENT)


def disabled(parent: TraceContext | None) -> Decision:
    """The decision while tracing is switched off: Envoy goes on following its callers."""
    return Decision(parent is not None and parent.sampled, Reason.DISABLED)

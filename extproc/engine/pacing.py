"""What deciding with memory looks like from outside: the interface of samplers that count, and their arithmetic."""

from typing import Protocol

from extproc.engine.request import Request
from extproc.engine.tracecontext import RANDOMNESS_BITS

NEVER = 1 << RANDOMNESS_BITS
"""The threshold that no R reaches."""

Paced = tuple[bool, int | None]
"""Whether a trace is kept, and T where that was a comparison with T: then its probability is known."""


class Pacer(Protocol):
    """Decides on new traces of one policy."""

    def decide(self, randomness: int, now: float, request: Request) -> Paced:
        """The fate of a trace of this R at `now`, in monotonic seconds."""


def probability(threshold: int) -> float:
    """The share of traces whose R reaches `threshold`."""
    return (NEVER - threshold) / NEVER

"""Requests by policy: how many traces began here, how many of them were kept, and whether that is a fair draw."""

import math
from dataclasses import dataclass

from extproc.demo.evidence import Evidence, Seen, Sent

_LEAST_PROBABILITY = math.erfc(4.5 / math.sqrt(2)) / 2
"""Of an outcome at least as far off, on one side: what 4.5 standard deviations mean where the normal curve fits."""


@dataclass(frozen=True, slots=True)
class PolicyTally:
    """One policy's requests: those that began a trace, and those that came with a caller's trace."""

    policy: str
    expected_ratio: float
    requests: int
    new_traces: int
    kept: int
    with_parent: int
    parents_kept: int

    @property
    def real_ratio(self) -> float | None:
        """The share of new traces that were kept; None if there were none."""
        return self.kept / self.new_traces if self.new_traces else None

    @property
    def plausible(self) -> bool:
        """Whether a sampler of the expected ratio keeps this many with a probability worth speaking of."""
        return is_plausible(self.kept, self.new_traces, self.expected_ratio)


def tallies(evidence: Evidence) -> tuple[PolicyTally, ...]:
    """One tally per policy, in the policy file's order, of the requests that reached an upstream."""
    reached = pairs(evidence)
    return tuple(_tally(policy, ratio, reached) for policy, ratio in evidence.ratios.items())


def pairs(evidence: Evidence) -> tuple[tuple[Sent, Seen], ...]:
    """Each request sent with what an upstream saw of it. Those that never reached one are left out."""
    seen = {each.demo_id: each for each in evidence.seen}
    return tuple((sent, seen[sent.demo_id]) for sent in evidence.sent if sent.demo_id in seen)


def is_plausible(kept: int, draws: int, probability: float) -> bool:
    """Whether `kept` of `draws` is within what 4.5 standard deviations allow, by the exact binomial distribution.

    The normal curve would condemn honest small counts: 9 of 20 at 10 % are 5 deviations off.
    """
    if probability in (0.0, 1.0):
        return kept == draws * probability
    return min(_tail(kept, draws, probability), _tail(draws - kept, draws, 1 - probability)) >= _LEAST_PROBABILITY


def _tally(policy: str, ratio: float, reached: tuple[tuple[Sent, Seen], ...]) -> PolicyTally:
    own = [(sent, seen) for sent, seen in reached if sent.policy == policy]
    new = [seen for sent, seen in own if sent.parent is None]
    followed = [seen for sent, seen in own if sent.parent is not None]
    return PolicyTally(
        policy=policy,
        expected_ratio=ratio,
        requests=len(own),
        new_traces=len(new),
        kept=sum(seen.sampled for seen in new),
        with_parent=len(followed),
        parents_kept=sum(seen.sampled for seen in followed),
    )


def _tail(least: int, draws: int, probability: float) -> float:
    """The probability of `least` or more successes in `draws`."""
    return math.fsum(_mass(count, draws, probability) for count in range(least, draws + 1))


def _mass(count: int, draws: int, probability: float) -> float:
    ways = math.lgamma(draws + 1) - math.lgamma(count + 1) - math.lgamma(draws - count + 1)
    return math.exp(ways + count * math.log(probability) + (draws - count) * math.log1p(-probability))

"""Samplers that remember: how many traces they keep depends on how many there were."""

import math

from extproc.engine.adaptive import CpuAdaptive, TargetAdaptive
from extproc.engine.boost import Alarm, Boosted
from extproc.engine.pacing import NEVER, Paced, Pacer
from extproc.engine.request import Request
from extproc.engine.states import BoostState, Portion, States, Tokens
from extproc.policy.plan import Policy, Sampler, SamplerKind


def pacer(policy: Policy, states: States, replicas: int) -> tuple[Pacer | None, Alarm | None]:
    """What decides for `policy`, None where its threshold alone does; and what has to see its responses, if so."""
    usual = _pacer(policy, states, replicas)
    if policy.boost is None:
        return usual, None
    alarm = Alarm(policy.boost, states.of(policy.name, BoostState))
    return Boosted(alarm, policy.boost.threshold, usual, policy.sampler.threshold), alarm


def _pacer(policy: Policy, states: States, replicas: int) -> Pacer | None:
    sampler = policy.sampler
    portion = states.portion(policy.name, replicas) if sampler.rate is not None else Portion()
    match sampler.kind:
        case SamplerKind.RATE_LIMITED:
            return RateLimited(sampler, states.of(policy.name, Tokens), portion)
        case SamplerKind.RESERVOIR:
            return Reservoir(sampler, states.of(policy.name, Tokens), portion)
    if sampler.adaptive is None:
        return None
    if sampler.adaptive.cpu is not None:
        return CpuAdaptive(policy, sampler.adaptive, states)
    return TargetAdaptive(policy, sampler.adaptive, states, portion)


class Bucket:
    """A token bucket: of `rate` tokens a second its portion flows in, and that of `burst` is saved at the most.

    It saves one token at least; without `burst` as many as flow in within a second.
    """

    __slots__ = ("_burst", "_portion", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float | None, tokens: Tokens, portion: Portion) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = tokens
        self._portion = portion

    def take(self, now: float) -> bool:
        """Take a token, if there is a whole one."""
        tokens, share = self._tokens, self._portion.share
        self._portion.seen += 1
        if now > tokens.at:
            tokens.level += (now - tokens.at) * self._rate * share
            tokens.at = now
        saved = math.ceil(self._rate * share) if self._burst is None else self._burst * share
        tokens.level = min(tokens.level, max(1.0, saved))
        if tokens.level < 1:
            return False
        tokens.level -= 1
        return True


class RateLimited:
    """Keeps a trace for each token. Which ones is a matter of when they come, so their probability is not known."""

    __slots__ = ("_bucket",)

    def __init__(self, sampler: Sampler, tokens: Tokens, portion: Portion) -> None:
        self._bucket = Bucket(sampler.rate or 0.0, sampler.burst or 0.0, tokens, portion)

    def decide(self, randomness: int, now: float, request: Request) -> Paced:  # noqa: ARG002  as Pacer has it
        """See Pacer."""
        return self._bucket.take(now), None


class Reservoir:
    """Keeps the first traces of each second, and of the others a share.

    Which of the two a trace meets is settled before it comes, so its probability is known: 1, or that of the share.
    Without a share nothing stands for the traces that are dropped, and nothing is said.
    """

    __slots__ = ("_bucket", "_first", "_threshold")

    def __init__(self, sampler: Sampler, tokens: Tokens, portion: Portion) -> None:
        self._bucket = Bucket(sampler.rate or 0.0, None, tokens, portion)
        self._threshold = sampler.threshold
        self._first = None if sampler.threshold == NEVER else 0

    def decide(self, randomness: int, now: float, request: Request) -> Paced:  # noqa: ARG002  as Pacer has it
        """See Pacer. Tokens come once a second, all at once."""
        if self._bucket.take(math.floor(now)):
            return True, self._first
        return randomness >= self._threshold, None if self._first is None else self._threshold

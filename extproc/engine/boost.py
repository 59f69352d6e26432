"""More traces for a while after something has begun to go wrong."""

import math

from extproc.engine.pacing import Paced, Pacer
from extproc.engine.request import Request
from extproc.engine.states import BOOST_SLICES, BoostState
from extproc.policy.plan import Boost

FEWEST = 10
"""Requests in a window that say something about their share of failures."""


class Alarm:
    """Watches the responses of a policy, and says for how long its ratio is raised.

    The window moves on by a tenth of itself.
    """

    __slots__ = ("_boost", "_slice_seconds", "_state")

    def __init__(self, boost: Boost, state: BoostState) -> None:
        self._boost = boost
        self._slice_seconds = boost.window_seconds / BOOST_SLICES
        self._state = state

    def active(self, now: float) -> bool:
        """Whether the ratio is raised at `now`, in monotonic seconds."""
        return now < self._state.until

    def observe(self, status: int, now: float) -> None:
        """Take the status of a response that is over at `now`; 0 is none seen."""
        state, boost = self._state, self._boost
        self._move_to(math.floor(now / self._slice_seconds))
        state.seen[state.slice % BOOST_SLICES] += 1
        if not boost.statuses[0] <= status <= boost.statuses[1]:
            return
        state.failed[state.slice % BOOST_SLICES] += 1
        seen, failed = sum(state.seen), sum(state.failed)
        if now >= state.rested_at and seen >= FEWEST and failed > boost.above * seen:
            state.until = now + boost.seconds
            state.rested_at = state.until + boost.cooldown_seconds
            state.begun += 1

    def _move_to(self, current: int) -> None:
        state = self._state
        for passed in range(max(state.slice + 1, current - BOOST_SLICES + 1), current + 1):
            state.seen[passed % BOOST_SLICES] = state.failed[passed % BOOST_SLICES] = 0
        state.slice = max(state.slice, current)


class Boosted:
    """A sampler that keeps more while an alarm is on.

    `pacer` decides otherwise, or where that is None `threshold`. With a ratio of 1 everything is kept for certain.
    With a lower one a trace is kept if it reaches either threshold; without a threshold of the sampler's own nobody
    knows its probability.
    """

    __slots__ = ("_alarm", "_boosted", "_pacer", "_threshold")

    def __init__(self, alarm: Alarm, boosted: int, pacer: Pacer | None, threshold: int) -> None:
        self._alarm = alarm
        self._boosted = boosted
        self._pacer = pacer
        self._threshold = threshold

    def decide(self, randomness: int, now: float, request: Request) -> Paced:
        """See Pacer."""
        active = self._alarm.active(now)
        if active and not self._boosted:
            return True, 0
        kept, threshold = self._usual(randomness, now, request)
        if not active:
            return kept, threshold
        if threshold is None:
            return kept or randomness >= self._boosted, None
        threshold = min(threshold, self._boosted)
        return randomness >= threshold, threshold

    def _usual(self, randomness: int, now: float, request: Request) -> Paced:
        if self._pacer is not None:
            return self._pacer.decide(randomness, now, request)
        return randomness >= self._threshold, self._threshold

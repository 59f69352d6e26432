"""What each policy really keeps: its own decisions of the last seconds, counted."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from extproc.engine.outcome import Reason
from extproc.telemetry.instruments import AttributeSet

_LOOK_SECONDS = 1.0
_LOOKS = 10
_OWN = {Reason.POLICY.value, Reason.DEFAULT.value}

_Counts = dict[str, tuple[int, int]]
"""By policy, how many new traces it has decided on, and how many it has kept."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Of a policy's new traces: the share that was kept, and how many were each second."""

    ratio: float
    traces_per_second: float


class Effective:
    """Rates over the last ten seconds. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, _Counts]] = deque([(clock(), {})], maxlen=_LOOKS + 1)
        self.rates: dict[str, Rate] = {}
        """By policy, of those that have decided on something."""

    def look(self, decisions: Mapping[AttributeSet, int]) -> bool:
        """Take the points of extproc.decisions, once a second; whether that was done."""
        now = self._clock()
        if now - self._seen[-1][0] < _LOOK_SECONDS:
            return False
        self._seen.append((now, _counts(decisions)))
        since, before = self._seen[0]
        after = self._seen[-1][1]
        self.rates = {
            policy: Rate((kept - was_kept) / (decided - was_decided), (kept - was_kept) / (now - since))
            for policy, (decided, kept) in after.items()
            for was_decided, was_kept in [before.get(policy, (0, 0))]
            if decided > was_decided
        }
        return True


def _counts(decisions: Mapping[AttributeSet, int]) -> _Counts:
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for attributes, count in decisions.items():
        values = dict(attributes)
        if values.get("reason") in _OWN:
            decided, kept = counts[str(values["policy"])]
            counts[str(values["policy"])] = decided + count, kept + (count if values["sampled"] else 0)
    return dict(counts)

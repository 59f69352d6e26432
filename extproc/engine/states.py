"""What samplers remember from one trace to the next: by the policy's name, so that it outlives a reload."""

import math
from collections.abc import Callable, Collection
from enum import Enum
from typing import TypeVar

_State = TypeVar("_State")


class Tokens:
    """What a token bucket holds: `level` tokens at the moment `at`, in monotonic seconds. A new one is full."""

    __slots__ = ("at", "level")

    def __init__(self) -> None:
        self.level = math.inf
        self.at = 0.0


class Level(Enum):
    """How much the processor has to do."""

    QUIET = "quiet"
    USUAL = "usual"
    BUSY = "busy"


class CpuReadings:
    """Every reading of the processor's load so far, added up; each is a share of its time, from 0 to 1."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def add(self, usage: float) -> None:
        """Take one more."""
        self.sum += usage
        self.count += 1


class CpuState:
    """The level that holds until `update_at`, and the readings that it has taken account of."""

    __slots__ = ("count", "level", "sum", "update_at")

    def __init__(self) -> None:
        self.level = Level.USUAL
        self.update_at = -math.inf
        self.sum = 0.0
        self.count = 0


class Cell:
    """One value of a key: its ratio, and what came of it.

    `seen` and `kept` are traces in this interval, `rate` are those of earlier ones per second. `budget` traces are to
    be kept in an interval; when `limit` are, its ratio has to fall at once.
    """

    __slots__ = ("budget", "kept", "kept_at", "limit", "rate", "ratio", "seen", "seen_at", "threshold")

    def __init__(self) -> None:
        self.seen = self.kept = self.threshold = 0
        self.ratio = 1.0
        self.rate: float | None = None
        self.budget = self.limit = 0.0
        self.seen_at = self.kept_at = -math.inf


class TargetState:
    """The cells of one key, which hold until `update_at`."""

    __slots__ = ("cells", "key", "update_at")

    def __init__(self) -> None:
        self.key: tuple[str, ...] = ()
        self.cells: dict[tuple[str | None, ...], Cell] = {}
        self.update_at = -math.inf

    def use(self, key: tuple[str, ...]) -> None:
        """Go on with this key; the values of another one mean nothing."""
        if key != self.key:
            self.key, self.cells = key, {}


BOOST_SLICES = 10
"""Parts of the window in which responses are counted."""


class BoostState:
    """Responses and failures among them, by the slice of the window; when a boost ends, and when another may begin."""

    __slots__ = ("begun", "failed", "rested_at", "seen", "slice", "until")

    def __init__(self) -> None:
        self.seen = [0] * BOOST_SLICES
        self.failed = [0] * BOOST_SLICES
        self.slice = -BOOST_SLICES
        self.until = self.rested_at = -math.inf
        self.begun = 0


class Portion:
    """The part of a policy's rate that is this worker's, from 0 to 1, and how many new traces it was to serve for.

    It is `fallback` until somebody holds it to another one.
    """

    __slots__ = ("_held", "fallback", "seen", "share")

    def __init__(self) -> None:
        self.share = self.fallback = 1.0
        self.seen = 0
        self._held = False

    def fall_back_to(self, share: float) -> None:
        """The part that it has while nobody holds it."""
        self.fallback = share
        if not self._held:
            self.share = share

    def hold(self, share: float) -> None:
        """Have this part until released."""
        self._held, self.share = True, share

    def release(self) -> None:
        """Have the fallback again."""
        self._held, self.share = False, self.fallback

    def take_seen(self) -> int:
        """How many new traces there were since this was last asked."""
        seen, self.seen = self.seen, 0
        return seen


class States:
    """The memory of one worker's samplers.

    Args:
        share: The part of this process's rates that is this worker's: one of the number of workers.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.cpu = CpuReadings()
        self._states: dict[tuple[str, type], object] = {}

    def of(self, policy: str, make: Callable[[], _State]) -> _State:
        """What `policy` remembers of this type; `make`, a class, makes what it begins with."""
        key = policy, make if isinstance(make, type) else type(make)
        found: _State = self._states.setdefault(key, make())  # type: ignore[assignment]  # by its key
        return found

    def portion(self, policy: str, replicas: int) -> Portion:
        """What `policy` may take of its rate, where so many replicas share it."""
        portion = self.of(policy, Portion)
        portion.fall_back_to(self.share / replicas)
        return portion

    def boosts(self) -> dict[str, int]:
        """How many boosts have begun since this was last asked, by the policy's name."""
        states = tuple(self._states.items())  # an engine that is being built may add to them
        begun = {key[0]: state for key, state in states if isinstance(state, BoostState) and state.begun}
        counts = {policy: state.begun for policy, state in begun.items()}
        for state in begun.values():
            state.begun = 0
        return counts

    def keep(self, policies: Collection[str]) -> None:
        """Forget the policies that are none of these."""
        self._states = {key: state for key, state in self._states.items() if key[0] in policies}

"""What samplers remember from one trace to the next: by the policy's name, so that it outlives a reload."""

import math
from collections.abc import Callable, Collection
from typing import TypeVar

_State = TypeVar("_State")


class Tokens:
    """What a token bucket holds: `level` tokens at the moment `at`, in monotonic seconds. A new one is full."""

    __slots__ = ("at", "level")

    def __init__(self) -> None:
        self.level = math.inf
        self.at = 0.0


class States:
    """The memory of one worker's samplers.

    Args:
        share: The part of each rate that is this worker's: one of its number of workers.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._states: dict[tuple[str, type], object] = {}

    def of(self, policy: str, make: Callable[[], _State]) -> _State:
        """What `policy` remembers of this type; `make`, a class, makes what it begins with."""
        key = policy, make if isinstance(make, type) else type(make)
        found: _State = self._states.setdefault(key, make())  # type: ignore[assignment]  # by its key
        return found

    def keep(self, policies: Collection[str]) -> None:
        """Forget the policies that are none of these."""
        self._states = {key: state for key, state in self._states.items() if key[0] in policies}

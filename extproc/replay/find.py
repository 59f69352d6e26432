"""The requests of a log on which a policy decides."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from extproc.engine.outcome import Outcome
from extproc.policy.plan import Plan
from extproc.replay.entry import Entry
from extproc.replay.replay import Replay


class Found(NamedTuple):
    """A request, and what becomes of it."""

    entry: Entry
    outcome: Outcome


def find(plan: Plan, entries: Iterable[Entry], policy: str | None) -> Iterator[Found]:
    """Those of `entries` on which the policy of this name decides; all of them where it is None."""
    replay = Replay(plan)
    for entry in entries:
        outcome, _ = replay.decide(entry)
        if policy in {None, outcome.policy}:
            yield Found(entry, outcome)

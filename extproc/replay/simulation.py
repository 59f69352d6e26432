"""A log replayed from its beginning to its end, under one Plan or under two."""

from collections.abc import Iterable

from extproc.policy.plan import Plan
from extproc.replay.difference import Difference
from extproc.replay.entry import Entry
from extproc.replay.replay import Replay
from extproc.replay.tally import Tally


class Simulation:
    """What a Plan makes of a log, beside what another one makes of it.

    Attributes:
        tally: of the Plan.
        before: of the other one.
        difference: from the other one to the Plan.
        began, ended: the first and the last time stamp, in seconds since 1970; None where there is none.
    """

    def __init__(self, plan: Plan, against: Plan | None = None) -> None:
        self._replay = Replay(plan)
        self._against = Replay(against) if against is not None else None
        self.plan = plan
        self.tally = Tally(plan)
        self.before = Tally(against) if against is not None else None
        self.difference = Difference()
        self.began: float | None = None
        self.ended: float | None = None

    @property
    def seconds(self) -> float | None:
        """The time that the log covers; None where its time stamps do not say any."""
        covered = self.ended - self.began if self.began is not None and self.ended is not None else 0.0
        return covered or None

    def run(self, entries: Iterable[Entry]) -> None:
        """Replay these requests too."""
        for entry in entries:
            self._cover(entry.unix_seconds)
            after = self._replay.decide(entry)
            self.tally.add(after)
            if self._against is not None and self.before is not None:
                before = self._against.decide(entry)
                self.before.add(before)
                self.difference.add(before.outcome, after.outcome)

    def _cover(self, unix_seconds: float | None) -> None:
        if unix_seconds is None:
            return
        if self.began is None or unix_seconds < self.began:
            self.began = unix_seconds
        if self.ended is None or unix_seconds > self.ended:
            self.ended = unix_seconds

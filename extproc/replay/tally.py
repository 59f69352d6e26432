"""What policies have decided, added up."""

from dataclasses import dataclass

from extproc.engine.outcome import Reason
from extproc.policy.plan import Plan
from extproc.replay.replay import Replayed


@dataclass(slots=True)
class Count:
    """Requests of one policy, or of several.

    Attributes:
        matched: all of them.
        kept: those whose traces are kept, whoever says so.
        parents: those whose callers have decided.
    """

    matched: int = 0
    kept: int = 0
    parents: int = 0

    @property
    def ratio(self) -> float | None:
        """The share that is kept, None of nothing."""
        return self.kept / self.matched if self.matched else None

    def add(self, *, kept: bool, parent: bool) -> None:
        """Count one more."""
        self.matched += 1
        self.kept += kept
        self.parents += parent


class Tally:
    """Counts by policy.

    Attributes:
        policies: every policy of the Plan in its order, and in the end the default, by name.
        trials: the names of those that are dry runs: each counts the requests that it would have decided on.
    """

    def __init__(self, plan: Plan) -> None:
        self.policies = {policy.name: Count() for policy in (*plan.policies, plan.default)}
        self.trials = frozenset(policy.name for policy in plan.policies if policy.dry_run)

    def add(self, replayed: Replayed) -> None:
        """Count one request."""
        outcome, trial = replayed
        parent = outcome.reason is Reason.PARENT
        self.policies[outcome.policy].add(kept=outcome.sampled, parent=parent)
        if trial is not None:
            self.policies[trial.policy].add(kept=trial.sampled, parent=parent)

    @property
    def total(self) -> Count:
        """All requests, each once."""
        counts = [count for name, count in self.policies.items() if name not in self.trials]
        return Count(
            sum(count.matched for count in counts),
            sum(count.kept for count in counts),
            sum(count.parents for count in counts),
        )

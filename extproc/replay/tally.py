"""What policies have decided, added up."""

from dataclasses import dataclass

from extproc.engine.outcome import Outcome, Reason
from extproc.policy.plan import Plan


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

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.matched += 1
        self.kept += outcome.sampled
        self.parents += outcome.reason is Reason.PARENT


class Tally:
    """Counts by policy.

    Attributes:
        policies: every policy of the Plan in its order, and in the end the default, by name.
    """

    def __init__(self, plan: Plan) -> None:
        self.policies = {policy.name: Count() for policy in (*plan.policies, plan.default)}

    def add(self, outcome: Outcome) -> None:
        """Count one request."""
        self.policies[outcome.policy].add(outcome)

    @property
    def total(self) -> Count:
        """All requests."""
        counts = self.policies.values()
        return Count(
            sum(count.matched for count in counts),
            sum(count.kept for count in counts),
            sum(count.parents for count in counts),
        )

"""What changes for the same requests from one Plan to another."""

from dataclasses import dataclass, field

from extproc.engine.outcome import Outcome


@dataclass(slots=True)
class Change:
    """Requests that went from one policy to one policy, perhaps the same.

    Attributes:
        requests: those of them for which the policy or the fate has changed.
        gained: those that are kept now and were not.
        lost: those that were kept and are not now.
    """

    requests: int = 0
    gained: int = 0
    lost: int = 0


@dataclass(slots=True)
class Difference:
    """Changes by the names of the policies before and after, as far as there are any."""

    changes: dict[tuple[str, str], Change] = field(default_factory=dict)

    def add(self, before: Outcome, after: Outcome) -> None:
        """Compare what becomes of one request."""
        if before.policy == after.policy and before.sampled == after.sampled:
            return
        change = self.changes.setdefault((before.policy, after.policy), Change())
        change.requests += 1
        change.gained += after.sampled > before.sampled
        change.lost += after.sampled < before.sampled

    @property
    def total(self) -> Change:
        """All of them."""
        changes = self.changes.values()
        return Change(
            sum(change.requests for change in changes),
            sum(change.gained for change in changes),
            sum(change.lost for change in changes),
        )

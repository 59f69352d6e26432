"""What policies ask for and a log does not have: such a policy cannot match here as it does in Envoy."""

from collections.abc import Collection, Iterator
from typing import Final

from extproc.policy.plan import Match, Plan, Policy, SamplerKind
from extproc.replay.fields import AUTHORITY, SERVICE, START_TIME, STATUS

_CPU: Final = "the load of the CPU"
"""No log has it: `adaptive` by the CPU stays where it begins."""
_LABELS: Final = {
    SERVICE: "the service",
    AUTHORITY: "the host",
    START_TIME: "the time",
    STATUS: "the status",
    _CPU: _CPU,
}
_WITHOUT_CLOCK: Final = frozenset({SamplerKind.ALWAYS_ON, SamplerKind.ALWAYS_OFF, SamplerKind.PROBABILISTIC})


def unseen(plan: Plan, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The inputs of which the log says nothing, each with the names of the policies that ask for it."""
    found: dict[str, list[str]] = {}
    for policy in (*plan.policies, plan.default):
        for name in _asked(policy) - set(names):
            found.setdefault(_LABELS.get(name, f"the header {name}"), []).append(policy.name)
    return {label: tuple(policies) for label, policies in sorted(found.items())}


def _asked(policy: Policy) -> set[str]:
    sampler = policy.sampler
    inputs = {name for match in (policy.match, policy.exclude) for name in _inputs(match)}
    if sampler.kind not in _WITHOUT_CLOCK or policy.until is not None:
        inputs.add(START_TIME)
    if sampler.adaptive is not None and sampler.adaptive.cpu is not None:
        inputs.add(_CPU)
    if policy.boost is not None:
        inputs |= {START_TIME, STATUS}
    return inputs


def _inputs(match: Match) -> Iterator[str]:
    yield from (name for name, _ in match.headers)
    if match.service is not None:
        yield SERVICE
    if match.host is not None:
        yield AUTHORITY

"""What became of somebody else's sampling rules: policies, and notes of what has no equal here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Mapping = dict[str, Any]
"""As it stands in a policy file."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy. `notes` say what the original asked for beyond it; `left_out` why there can be none."""

    name: str
    match: Mapping
    sampling: Mapping
    notes: tuple[str, ...] = ()
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """All of them in order, and what holds where none matches (`sampling_notes` are about that)."""

    notes: Sequence[str]
    sampling: Mapping
    rules: Sequence[Rule]
    sampling_notes: Sequence[str] = ()


def imported(notes: Sequence[str], sampling: Mapping, rules: Sequence[Rule], *sampling_notes: str) -> Imported:
    """All of it. A rule that takes everything is what holds where no other matches; those behind it never do."""
    last = next((index for index, rule in enumerate(rules) if rule.left_out is None and not rule.match), None)
    if last is None:
        return Imported(notes, sampling, rules, sampling_notes)
    final = rules[last]
    behind = [rule.name for rule in rules[last + 1 :]]
    lost = (f"It leaves nothing for those behind it: {', '.join(behind)}.",) if behind else ()
    return Imported(notes, final.sampling, rules[:last], (f"The rule {final.name!r}.", *final.notes, *lost))


def probability(ratio: float) -> Mapping:
    """`ratio` of the traces, by the sampler that says it best."""
    if ratio in {0, 1}:
        return {"policy": "always_on" if ratio else "always_off"}
    return {"policy": "probabilistic", "ratio": ratio}


def rate_limited(traces_per_second: float) -> Mapping:
    """At most so many."""
    if traces_per_second == 0:
        return {"policy": "always_off"}
    return {"policy": "rate_limited", "traces_per_second": traces_per_second}


def reservoir(traces_per_second: float, ratio: float) -> Mapping:
    """The first of each second and a share of the others."""
    if traces_per_second == 0 or ratio == 1:
        return probability(ratio)
    return {"policy": "reservoir", "traces_per_second": traces_per_second, "ratio": ratio}

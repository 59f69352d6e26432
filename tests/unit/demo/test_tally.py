"""Counting by policy, and what a sampler may honestly keep."""

import math

import pytest

from extproc.demo.evidence import Evidence
from extproc.demo.tally import is_plausible, tallies


def test_every_request_is_tallied_once(evidence: Evidence) -> None:
    """Policies come in the file's order, and their requests add up to those sent, new and with a caller's trace."""
    rows = tallies(evidence)

    assert list(evidence.ratios) == [row.policy for row in rows]
    assert len(evidence.sent) == sum(row.requests for row in rows)
    assert all(row.requests == row.new_traces + row.with_parent for row in rows)
    assert sum(seen.sampled for seen in evidence.seen) == sum(row.kept + row.parents_kept for row in rows)


@pytest.mark.parametrize(
    ("kept", "draws", "ratio", "expected"),
    [
        (10, 10, 1.0, True),
        (9, 10, 1.0, False),
        (0, 10, 0.0, True),
        (1, 10, 0.0, False),
        (200, 1000, 0.2, True),
        (255, 1000, 0.2, True),  # 4.3 standard deviations
        (260, 1000, 0.2, False),  # 4.7
        (146, 1000, 0.2, True),  # 4.3 below
        (140, 1000, 0.2, False),  # 4.7 below
        (9, 20, 0.1, True),  # 5.2, but with so few draws it happens
        (12, 20, 0.1, False),
        (0, 3, 0.1, True),
        (0, 0, 0.1, True),
        (36_000, 180_000, 0.2, True),
        (38_000, 180_000, 0.2, False),
    ],
)
def test_plausible(kept: int, draws: int, ratio: float, *, expected: bool) -> None:
    """As likely as 4.5 standard deviations or more; with a ratio of 0 or 1 there is nothing to chance."""
    assert expected == is_plausible(kept, draws, ratio)


def test_real_ratio_without_traces(evidence: Evidence) -> None:
    """A policy that decided on nothing has no ratio rather than 0 %."""
    row = next(row for row in tallies(evidence) if row.policy == "orders")

    assert row.real_ratio is not None
    assert math.isclose(row.kept / row.new_traces, row.real_ratio)
    assert [None] * 6 == [row.real_ratio for row in tallies(Evidence(evidence.ratios, (), (), (), 0, {}))]

"""Percentiles from buckets."""

import math

import pytest

from extproc.demo.evidence import Buckets, Evidence
from extproc.demo.latency import latencies, percentile


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((10, 0, 0, 0), 0.5, 0.05),  # in the middle of the first bucket
        ((0, 10, 0, 0), 0.5, 0.15),
        ((5, 5, 0, 0), 0.5, 0.1),  # on the border
        ((5, 0, 5, 0), 0.9, 0.36),  # past an empty bucket: 4/5 of 0.2 … 0.4
        ((0, 0, 0, 7), 0.99, 0.4),  # no upper bound: the lower one
        ((1, 0, 0, 0), 1.0, 0.1),
    ],
)
def test_percentile(counts: tuple[int, ...], share: float, expected: float) -> None:
    """Values lie evenly in their bucket."""
    assert math.isclose(expected, percentile(Buckets((0.1, 0.2, 0.4), counts), share))


def test_latencies_leave_out_what_has_no_values() -> None:
    """Services are sorted, upstream first, and those without a value are left out."""
    some, none = Buckets((0.1,), (4, 0)), Buckets((0.1,), (0, 0))
    evidence = Evidence({}, (), (), (), 0, {}, upstream={"b": some, "a": some, "c": none}, downstream={"a": some})

    found = [(row.side, row.service, row.count) for row in latencies(evidence)]

    assert [("upstream", "a", 4), ("upstream", "b", 4), ("downstream", "a", 4)] == found

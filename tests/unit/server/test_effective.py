"""What policies really keep, counted over the last seconds."""

import math

from extproc.server.effective import Effective, Rate
from extproc.telemetry.instruments import DECISIONS, AttributeSet, attribute_set


def points(*counts: tuple[str, str, bool, int]) -> dict[AttributeSet, int]:
    """The points of extproc.decisions."""
    return {attribute_set(DECISIONS, policy, reason, sampled): count for policy, reason, sampled, count in counts}


def test_rates_of_the_last_ten_seconds() -> None:
    """Only a policy's own decisions count, and what is older than ten seconds does not."""
    now = 100.0
    effective = Effective(lambda: now)
    now = 101.0
    seen = points(("a", "policy", True, 10), ("a", "policy", False, 30), ("a", "parent", True, 99))
    assert effective.look(seen | points(("default", "default", False, 4)))
    assert {"a": Rate(0.25, 10.0), "default": Rate(0.0, 0.0)} == effective.rates
    now = 101.5
    assert not effective.look(points(("a", "policy", True, 1000)))
    while now < 111:
        now = math.floor(now) + 1
        assert effective.look(points(("a", "policy", True, 20), ("a", "policy", False, 30)))
    assert {"a": Rate(1.0, 1.0)} == effective.rates
    now = 112.0
    assert effective.look(points(("a", "policy", True, 20), ("a", "policy", False, 30)))
    assert {} == effective.rates

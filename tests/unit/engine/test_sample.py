"""Consistent probability sampling."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.sample import keeps
from extproc.policy.load import load_text

TWO_56 = 1 << 56


@given(ratio=st.floats(0, 1), randomness=st.integers(0, TWO_56 - 1))
def test_kept_exactly_if_r_reaches_t(ratio: float, randomness: int) -> None:
    """The decision equals the specification's arithmetic: keep if R >= T, where T is (1 - ratio) of 2^56."""
    text = f"tracing: {{sampling: {{policy: probabilistic, ratio: {ratio!r}}}}}\n"
    sampler = load_text(text.encode(), "policy.yaml", {}).default.sampler
    threshold = TWO_56 - round(Fraction(ratio) * TWO_56)

    assert threshold == sampler.threshold
    assert (randomness >= threshold) == keeps(sampler, randomness)


@given(low=st.floats(0, 1), high=st.floats(0, 1), randomness=st.integers(0, TWO_56 - 1))
def test_a_higher_ratio_keeps_all_that_a_lower_one_keeps(low: float, high: float, randomness: int) -> None:
    """Samplers of different ratios agree: that is what makes the sampling consistent."""
    low, high = sorted((low, high))
    samplers = [
        load_text(
            f"tracing: {{sampling: {{policy: probabilistic, ratio: {ratio!r}}}}}\n".encode(), "f", {}
        ).default.sampler
        for ratio in (low, high)
    ]
    assert not keeps(samplers[0], randomness) or keeps(samplers[1], randomness)

"""A sampler in words, for people who ask why."""

from extproc.policy.plan import Sampler, SamplerKind

_PLAIN = {SamplerKind.ALWAYS_ON, SamplerKind.ALWAYS_OFF}
_ASSUMPTIONS = {
    SamplerKind.RATE_LIMITED: "while its bucket has tokens, as after a quiet time; without any, no trace is kept",
    SamplerKind.RESERVOIR: "being among the first of its second; of those that come later, it keeps those whose R >= T",
}


def name(sampler: Sampler) -> str:
    """The sampler and its numbers."""
    if sampler.kind in _PLAIN:
        return str(sampler.kind)
    if sampler.kind is SamplerKind.PROBABILISTIC:
        return f"{sampler.kind} {sampler.probability:g}"
    numbers = [f"{key} {value:g}" for key, value in sampler.settings().items() if isinstance(value, float)]
    return f"{sampler.kind} ({', '.join(numbers)})"


def assumption(sampler: Sampler) -> str | None:
    """What a decision takes for granted that only the server knows: which traces came before. None if nothing."""
    return _ASSUMPTIONS.get(sampler.kind)


def threshold(sampler: Sampler) -> int | None:
    """The T that R is compared with, whatever came before; None where nothing is."""
    return None if sampler.kind is SamplerKind.RATE_LIMITED else sampler.threshold

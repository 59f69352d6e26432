"""A sampler in words, for people who ask why."""

from extproc.policy.plan import Policy, Sampler, SamplerKind

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
    said = [f"{key} {_shown(value)}" for key, value in sampler.settings().items() if key not in {"policy", "parent"}]
    return f"{sampler.kind} ({', '.join(said)})"


def assumption(sampler: Sampler) -> str | None:
    """What a decision takes for granted that only the server knows: which traces came before. None if nothing."""
    if sampler.adaptive is None:
        return _ASSUMPTIONS.get(sampler.kind)
    if sampler.adaptive.cpu is not None:
        return "while the CPU has its usual load; T is another one while it is busy or quiet"
    return (
        "being the first of its key within a minute; of the others, it keeps those whose R >= T, and T follows traffic"
    )


def boost(policy: Policy) -> str | None:
    """What may keep more than the sampler does, None if nothing."""
    if policy.boost is None:
        return None
    found, (low, high) = policy.boost, policy.boost.statuses
    return (
        f"unless a boost is on: ratio {found.ratio:g} for {found.seconds:g}s, after more than "
        f"{found.above * 100:g}% of responses had a status from {low} to {high} within {found.window_seconds:g}s"
    )


def threshold(sampler: Sampler) -> int | None:
    """The T that R is compared with, whatever came before; None where nothing is."""
    follows_traffic = sampler.adaptive is not None and sampler.adaptive.cpu is None
    return None if sampler.kind is SamplerKind.RATE_LIMITED or follows_traffic else sampler.threshold


def _shown(value: str | float | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return value if isinstance(value, str) else f"{value:g}"

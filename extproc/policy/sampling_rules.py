"""What the keys of `sampling` say about each other."""

from collections.abc import Collection, Iterator
from typing import Any

from extproc.policy.document import Sampling, by_key
from extproc.policy.problems import Finding, Path, sentence, shown

_KEYS = by_key(Sampling).keys()
_COMMON = {"policy", "parent"}
RATIOS = ("base_ratio", "min_ratio", "max_ratio")
TARGET = "target_traces_per_second"
NEEDED: dict[str, tuple[str, ...]] = {
    "always_on": (),
    "always_off": (),
    "probabilistic": ("ratio",),
    "rate_limited": ("traces_per_second",),
    "reservoir": ("traces_per_second", "ratio"),
    "adaptive": (),
}
POSSIBLE: dict[str, tuple[str, ...]] = {
    "rate_limited": ("burst",),
    "adaptive": (*RATIOS, TARGET, "update_interval", "cpu_high", "cpu_low", "key"),
}
ONE_MODE = {TARGET: ("base_ratio", "cpu_high", "cpu_low"), "base_ratio": ("key",)}
"""Of adaptive's two ways, what does not go with the key that chooses it."""
_SOURCES = ("request_header", "path", "query", "cookie", "literal", "environment")
_WORDS = ("path", "service", "method")
_EXAMPLES = {
    "ratio": ("a number from 0 to 1", "ratio: 0.05"),
    "traces_per_second": ("a number above 0", "traces_per_second: 10"),
    "base_ratio": ("a number from 0 to 1", "base_ratio: 0.1"),
    "min_ratio": ("a number from 0 to 1", "min_ratio: 0.01"),
    "max_ratio": ("a number from 0 to 1", "max_ratio: 0.5"),
}


def sampling_findings(parent: dict[str, Any], path: Path, tags: dict[str, bool]) -> Iterator[Finding]:
    """The mistakes in one `sampling`. `tags` are those that its requests get: whether a key may name each."""
    raw = parent.get("sampling")
    if not isinstance(raw, dict) or not raw.keys() <= _KEYS:
        return
    path = (*path, "sampling")
    policy = raw.get("policy", "probabilistic")
    if raw.keys() <= {"parent"}:
        yield Finding((*path, "policy"), sentence("policy or ratio", "nothing", "policy: always_on"))
    elif isinstance(policy, str) and policy in NEEDED:
        yield from _own_keys(raw, path, policy)
        if policy == "adaptive":
            yield from _adaptive(raw, path)
            yield from _key(raw, path, tags)


def named_tags(parent: dict[str, Any]) -> dict[str, bool]:
    """By the name of each tag, whether its value can be read from request headers alone."""
    tags = parent.get("custom_tags")
    return {
        tag["tag"]: any(source in tag for source in _SOURCES)
        for tag in (tags if isinstance(tags, list) else ())
        if isinstance(tag, dict) and isinstance(tag.get("tag"), str)
    }


def _own_keys(raw: dict[str, Any], path: Path, policy: str) -> Iterator[Finding]:
    known = {*_COMMON, *NEEDED[policy], *POSSIBLE.get(policy, ())}
    others = [key for key in raw if key not in known]
    for key in others:
        advice = f"policy: {_user(key)}"
        if "policy" in raw:
            message = sentence(f"no {key} with policy: {policy}", shown(raw[key]), advice)
        else:
            message = sentence(f"policy with {key}", "nothing", advice)
        yield Finding((*path, key), message)
    if "policy" in raw or not others:
        yield from _missing(raw, path, NEEDED[policy], f"with policy: {policy}")


def _user(key: str) -> str:
    """The first sampler that takes `key`."""
    return next(policy for policy, keys in NEEDED.items() if key in (*keys, *POSSIBLE.get(policy, ())))


def _missing(raw: dict[str, Any], path: Path, needed: Collection[str], why: str) -> Iterator[Finding]:
    for key in needed:
        if key not in raw:
            expected, advice = _EXAMPLES[key]
            yield Finding((*path, key), sentence(f"{expected} {why}", "nothing", advice))


def _adaptive(raw: dict[str, Any], path: Path) -> Iterator[Finding]:
    if TARGET not in raw and not any(key in raw for key in RATIOS):
        expected = f"{TARGET}, or base_ratio, min_ratio and max_ratio"
        yield Finding((*path, TARGET), sentence(expected, "neither", f"{TARGET}: 10"))
        return
    chosen = TARGET if TARGET in raw else "base_ratio"
    for key in ONE_MODE[chosen]:
        if key in raw:
            advice = "min_ratio or max_ratio" if chosen == TARGET else f"{TARGET}: 10"
            yield Finding((*path, key), sentence(f"no {key} with {chosen}", shown(raw[key]), advice))
    if chosen != TARGET:
        yield from _missing(raw, path, RATIOS, "to adapt to the CPU")
    yield from _order(raw, path, ("min_ratio", "base_ratio", "max_ratio"))
    yield from _order(raw, path, ("cpu_low", "cpu_high"))


def _order(raw: dict[str, Any], path: Path, keys: tuple[str, ...]) -> Iterator[Finding]:
    """Each of `keys` that is there has to be at least what those before it are."""
    before: tuple[str, float] | None = None
    for key in keys:
        number = _number(raw.get(key))
        if number is None:
            continue
        if before is not None and number < before[1]:
            expected = f"{key} to be {before[0]} or more"
            yield Finding((*path, key), sentence(expected, shown(raw[key]), f"{key}: {raw[before[0]]}"))
        before = key, number


def _number(value: object) -> float | None:
    text = value.removesuffix("%") if isinstance(value, str) else value
    try:
        return float(text) if isinstance(text, str | int | float) and not isinstance(text, bool) else None
    except ValueError:
        return None


def _key(raw: dict[str, Any], path: Path, tags: dict[str, bool]) -> Iterator[Finding]:
    parts = raw.get("key")
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        if not isinstance(part, str) or part in _WORDS or tags.get(part):
            continue
        expected = f"one of {', '.join(_WORDS)} or a tag from a header, the path, the query or a cookie"
        usable = [name for name, usable in tags.items() if usable]
        yield Finding((*path, "key", index), sentence(expected, shown(part), (usable or _WORDS)[0]))

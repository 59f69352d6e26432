"""What the keys of a policy file say about each other.

Works on plain data and passes over what is no mapping or list, so that these mistakes are found beside those in single
values, which `shape` reports.
"""

from collections.abc import Iterator
from typing import Any

from extproc.policy.audit_rules import audit_findings
from extproc.policy.document import Sampling, Spans, Tracing, by_key
from extproc.policy.problems import Finding, Path, sentence, shown
from extproc.policy.tag_rules import tag_findings
from extproc.policy.yaml_tree import Tree

_SAMPLING_KEYS = by_key(Sampling).keys()
_SAMPLERS: dict[object, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "always_on": ((), ()),
    "always_off": ((), ()),
    "probabilistic": (("ratio",), ()),
    "rate_limited": (("traces_per_second",), ("burst",)),
    "reservoir": (("traces_per_second", "ratio"), ()),
}
"""What each sampler must have, and may have, beside `policy` and `parent`."""
_EXAMPLES = {
    "ratio": ("a number from 0 to 1", "ratio: 0.05"),
    "traces_per_second": ("a number above 0", "traces_per_second: 10"),
}
_TRACING_KEYS = by_key(Tracing).keys()
_SPANS_KEYS = by_key(Spans).keys()
_ROOT: Path = ("tracing",)


def findings(tree: Tree) -> Iterator[Finding]:
    """Everything that only two keys together make wrong."""
    tracing = mapping(mapping(tree.data).get("tracing"))
    yield from _sampling(tracing, _ROOT)
    yield from tag_findings(tracing, _ROOT, tree, captures=None)
    yield from audit_findings(tracing, _ROOT)
    annotates = _annotates(tracing)
    names: dict[str, Path] = {}
    for policy, path in mappings(tracing.get("policies"), (*_ROOT, "policies")):
        yield from _name(policy, path, names, tree)
        yield from _sampling(policy, path)
        yield from _keep(policy, path, annotates=annotates)
        match = mapping(policy.get("match"))
        yield from _conditions(match, (*path, "match"), tree)
        yield from _conditions(mapping(match.get("not")), (*path, "match", "not"), tree)
        yield from tag_findings(policy, path, tree, captures=_captures(match.get("path")))


def mapping(value: object) -> dict[str, Any]:
    """`value`, or an empty mapping where it is something else."""
    return value if isinstance(value, dict) else {}


def mappings(value: object, path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """The mappings in the list `value`, each with its path."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield item, (*path, index)


def _name(policy: dict[str, Any], path: Path, names: dict[str, Path], tree: Tree) -> Iterator[Finding]:
    name = policy.get("name")
    if not isinstance(name, str):
        return
    here = (*path, "name")
    first = names.setdefault(name, here)
    if first is not here:
        got = f"{shown(name)} again after line {tree.place(first).line}"
        yield Finding(here, sentence("a name of its own for each policy", got, f"name: {shown(name + '-2')}"))


def _sampling(parent: dict[str, Any], path: Path) -> Iterator[Finding]:
    raw = parent.get("sampling")
    if not isinstance(raw, dict) or not raw.keys() <= _SAMPLING_KEYS:
        return
    path = (*path, "sampling")
    policy = raw.get("policy", "probabilistic")
    if raw.keys() <= {"parent"}:
        yield Finding((*path, "policy"), sentence("policy or ratio", "nothing", "policy: always_on"))
        return
    if not isinstance(policy, str) or policy not in _SAMPLERS:
        return
    needed, possible = _SAMPLERS[policy]
    others = [key for key in raw if key not in {"policy", "parent", *needed, *possible}]
    for key in others:
        advice = f"policy: {_user(key)}"
        expected = f"no {key} with policy: {policy}" if "policy" in raw else f"policy with {key}"
        yield Finding((*path, key), sentence(expected, shown(raw[key]) if "policy" in raw else "nothing", advice))
    for key in needed if "policy" in raw or not others else ():
        if key not in raw:
            expected, advice = _EXAMPLES[key]
            yield Finding((*path, key), sentence(f"{expected} with policy: {policy}", "nothing", advice))


def _user(key: str) -> str:
    """The first sampler that takes `key`."""
    return next(str(name) for name, (needed, possible) in _SAMPLERS.items() if key in (*needed, *possible))


def _annotates(tracing: dict[str, Any]) -> bool:
    """Whether spans are Envoy's, unless `spans` has a mistake of its own or may be misspelt."""
    spans = tracing.get("spans", {})
    known = isinstance(spans, dict) and spans.keys() <= _SPANS_KEYS and tracing.keys() <= _TRACING_KEYS
    return known and spans.get("mode", "annotate") == "annotate"


def _keep(policy: dict[str, Any], path: Path, *, annotates: bool) -> Iterator[Finding]:
    keep = policy.get("keep")
    path = (*path, "keep")
    if annotates and "keep" in policy:
        yield Finding(path, sentence("spans.mode: emit with keep", "annotate", "spans: {mode: emit} under tracing"))
    elif isinstance(keep, dict) and not keep:
        yield Finding(path, sentence("status or latency", "neither", 'keep: {status: ">=500"}'))


def _conditions(match: dict[str, Any], path: Path, tree: Tree) -> Iterator[Finding]:
    """Header names are compared in lower case, so two keys may be one header."""
    path = (*path, "headers")
    seen: dict[str, str] = {}
    for name in mapping(match.get("headers")):
        first = seen.setdefault(name.lower(), name)
        if first != name:
            got = f"{shown(name)} after {shown(first)} on line {tree.place((*path, first)).line}"
            yield Finding((*path, name), sentence("each header once", got, "removing one of them"))


def _captures(pattern: object) -> frozenset[str]:
    """What `{name}` in a path captures; whether the path is a good one is found elsewhere."""
    segments = pattern.split("/") if isinstance(pattern, str) else []
    return frozenset(text[1:-1] for text in segments if text.startswith("{") and text.endswith("}"))

"""What the keys of a policy file say about each other.

Works on plain data and passes over what is no mapping or list, so that these mistakes are found beside those in single
values, which `shape` reports.
"""

from collections.abc import Iterator
from typing import Any

from extproc.policy.audit_rules import audit_findings
from extproc.policy.document import Spans, Tracing, by_key
from extproc.policy.problems import Finding, Path, sentence, shown
from extproc.policy.sampling_rules import named_tags, sampling_findings
from extproc.policy.tag_rules import tag_findings
from extproc.policy.yaml_tree import Tree

_TRACING_KEYS = by_key(Tracing).keys()
_SPANS_KEYS = by_key(Spans).keys()
_ROOT: Path = ("tracing",)


def findings(tree: Tree) -> Iterator[Finding]:
    """Everything that only two keys together make wrong."""
    tracing = mapping(mapping(tree.data).get("tracing"))
    tags = named_tags(tracing)
    yield from sampling_findings(tracing, _ROOT, tags)
    yield from tag_findings(tracing, _ROOT, tree, captures=None)
    yield from audit_findings(tracing, _ROOT)
    annotates = _annotates(tracing)
    names: dict[str, Path] = {}
    for policy, path in mappings(tracing.get("policies"), (*_ROOT, "policies")):
        yield from _name(policy, path, names, tree)
        yield from sampling_findings(policy, path, tags | named_tags(policy))
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

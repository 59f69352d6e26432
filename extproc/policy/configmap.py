"""A Kubernetes ConfigMap: the policy is the text under one of its data keys."""

from typing import Any

from extproc.policy.problems import Finding, Place, sentence, shown
from extproc.policy.source import LINE_BREAK, unprintable
from extproc.policy.yaml_reader import parse
from extproc.policy.yaml_tree import Relocate, Tree

_EXTENSIONS = (".yaml", ".yml", ".json")
_EXPECTED = "one key in data that ends in .yaml, .yml or .json and has a text with tracing: at its top"


def is_configmap(data: object) -> bool:
    """Whether a document is a ConfigMap rather than a policy file."""
    return isinstance(data, dict) and data.get("kind") == "ConfigMap"


def unwrap(outer: Tree, text: str) -> Tree:
    """The policy in the ConfigMap `outer`, read from `text`; its places are those of the outer file."""
    data = outer.data.get("data")
    texts = _texts(data)
    trees = {key: _parsed(outer, text, data, key) for key in texts}
    found = [key for key in texts if _may_be_policy(trees[key], texts[key])]
    if not found and len(texts) == 1:
        found = list(texts)
    if len(found) == 1:
        inner = trees[found[0]]
        inner.findings[:0] = outer.findings
        return inner
    outer.fail(Finding(("data",), _message(found)))
    return outer


def _texts(data: Any) -> dict[str, str]:  # noqa: ANN401  any YAML value
    items = data.items() if isinstance(data, dict) else ()
    return {key: text for key, text in items if isinstance(text, str) and key.endswith(_EXTENSIONS)}


def _parsed(outer: Tree, text: str, data: dict[str, str], key: str) -> Tree:
    relocate = _relocation(outer, text, data, key)
    control = unprintable(data[key])
    if control is None:
        return parse(data[key], relocate)
    tree = Tree(relocate)
    tree.fail(Finding(control.path, control.message, relocate(control.place or Place(1, 1))))
    return tree


def _may_be_policy(tree: Tree, text: str) -> bool:
    if tree.broken:
        return "tracing" in text
    return isinstance(tree.data, dict) and "tracing" in tree.data


def _message(found: list[str]) -> str:
    if found:
        return sentence(_EXPECTED, " and ".join(map(shown, found)), "a ConfigMap for each")
    return sentence(_EXPECTED, "none", "policy.yaml: |")


def _relocation(outer: Tree, text: str, data: dict[str, str], key: str) -> Relocate:
    """Line for line in a literal block; where lines are folded or escaped, the key has to do."""
    start = outer.blocks.get((id(data), key))
    if start is None:
        place = outer.place(("data", key))
        return lambda _: place
    indentation = _indentation(LINE_BREAK.split(text)[start:], LINE_BREAK.split(data[key]))
    return lambda inner: Place(start + inner.line, indentation + inner.column)


def _indentation(outer: list[str], inner: list[str]) -> int:
    return next((max(0, len(out) - len(line)) for out, line in zip(outer, inner, strict=False) if line), 0)

"""The text of a policy file: the policy itself, a ConfigMap that holds it, or several documents with such a ConfigMap.

The last is what `kubectl kustomize` and `helm template` print.
"""

import re
from collections.abc import Iterator

from extproc.policy import configmap
from extproc.policy.problems import Finding, sentence
from extproc.policy.yaml_reader import parse
from extproc.policy.yaml_tree import Tree

_MARKER = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)  # YAML ends a document there, whatever is open
_DATA = ("data",)  # where a ConfigMap is said to hold no policy
_CONTENT = re.compile(r"^(?!---|\.\.\.)[ \t]*[^\s#%]", re.MULTILINE)


def read(text: str) -> Tree:
    """The policy in `text`; its places are those of `text`. Never raises: what is wrong is in the tree's findings."""
    documents = list(_documents(text))
    if len(documents) > 1:
        maps = [(tree, part) for part in documents if configmap.is_configmap((tree := parse(part)).data)]
        if maps:
            return _policy(maps)
    tree = parse(text)
    return configmap.unwrap(tree, text) if not tree.broken and configmap.is_configmap(tree.data) else tree


def _policy(maps: list[tuple[Tree, str]]) -> Tree:
    """The one policy in the ConfigMaps."""
    policies: list[Tree] = []
    unreadable: list[Tree] = []
    for outer, part in maps:
        tree = outer if outer.broken else configmap.unwrap(outer, part)
        if len(maps) == 1:
            return tree
        if tree.broken:
            unreadable += [tree] if tree.findings[-1].path != _DATA else []
        elif isinstance(tree.data, dict) and "tracing" in tree.data:
            policies.append(tree)
    if len(policies) == 1:
        return policies[0]
    if unreadable and not policies:
        return unreadable[0]
    got = f"{len(policies) or 'none'} in {len(maps)} ConfigMaps"
    first = maps[0][0]
    first.findings.clear()
    first.fail(Finding((), sentence("one ConfigMap with a policy", got, "a file of its own for each policy")))
    return first


def _documents(text: str) -> Iterator[str]:
    """Each document of `text`, below as many empty lines as stand above it, so that its places are those of `text`."""
    starts = [0, *(marker.start() for marker in _MARKER.finditer(text))]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        document = text[start:end]
        if _CONTENT.search(document):
            yield "\n" * text.count("\n", 0, start) + document

"""What the keys of a case file say about each other."""

from collections.abc import Iterator
from typing import Any, Final

from extproc.cases.document import Test
from extproc.policy.document import by_key
from extproc.policy.problems import Finding, Path, sentence
from extproc.policy.rules import mapping, mappings
from extproc.policy.yaml_tree import Tree

_KEYS: Final = frozenset(by_key(Test))
_EXPECTATIONS: Final = tuple(key for key in by_key(Test) if key.startswith("exp_") or key == "trace_test")


def findings(tree: Tree) -> Iterator[Finding]:
    """Everything that only two keys together make wrong."""
    for test, path in mappings(mapping(tree.data).get("tests"), ("tests",)):
        request = test.get("request")
        if isinstance(request, dict):
            yield from _target(request, (*path, "request"))
        if not _expects(test) and test.keys() <= _KEYS:
            expected = f"one of {', '.join(_EXPECTATIONS)}"
            yield Finding((*path, "exp_policy"), sentence(expected, "none of them", "exp_policy: checkout"))
        headers = mapping(mapping(request).get("headers"))
        if test.get("trace_test") and any(name.lower() == "traceparent" for name in headers):
            message = sentence("no trace_test where a traceparent names the trace", "both", "exp_sampled: true")
            yield Finding((*path, "trace_test"), message)


def _target(request: dict[str, Any], path: Path) -> Iterator[Finding]:
    if "path" in request and "url" in request:
        yield Finding((*path, "url"), sentence("path or url", "both", "url alone"))
    elif "path" not in request and "url" not in request:
        yield Finding((*path, "path"), sentence("path or url", "neither", "path: /api/orders/7"))


def _expects(test: dict[str, Any]) -> bool:
    """Whether the test can fail: an empty list of traces expects nothing."""
    return any(key in test and not (key == "trace_test" and test[key] == []) for key in _EXPECTATIONS)

"""Policy file to Plan: the one way in."""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from extproc.policy import configmap, rules, shape
from extproc.policy.compile import compiled
from extproc.policy.document import Document
from extproc.policy.plan import Plan
from extproc.policy.problems import START, Finding, Place, PolicyError, Problem, path_text, sentence
from extproc.policy.source import LARGEST_BYTES, decode
from extproc.policy.yaml_reader import parse
from extproc.policy.yaml_tree import Tree


def load(path: Path) -> Plan:
    """The Plan of the policy file at `path`, with environment tags read from this process's environment.

    Raises:
        PolicyError: the file cannot be read, or with every problem in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        message = sentence("a file that can be read", f"{reason.lower()!r}", "another path or its permissions")
        raise PolicyError([Problem(str(path), *START, "tracing", message)]) from None
    return load_text(content, str(path), os.environ)


def load_text(text: bytes, name: str, environ: Mapping[str, str]) -> Plan:
    """The Plan of a policy file's content; `name` is what its problems call the file.

    Raises:
        PolicyError: with every problem in the text, in file order.
    """
    with _no_garbage_collection():
        read = _read(text, name, environ)  # whatever the plan does not need is gone when collecting resumes
    if isinstance(read, Plan):
        return read
    raise PolicyError(sorted(read, key=lambda problem: (problem.line, problem.column)))


def _read(content: bytes, name: str, environ: Mapping[str, str]) -> Plan | list[Problem]:
    text = decode(content)
    if isinstance(text, Finding):
        return [_problem(text, text.place or START, name)]
    tree = parse(text)
    if not tree.broken and configmap.is_configmap(tree.data):
        tree = configmap.unwrap(tree, text)
    document, findings = _checked(tree)
    if findings or document is None:
        return [_problem(finding, finding.place or tree.place(finding.path), name) for finding in findings]
    return compiled(document.tracing, environ, sha256(content).hexdigest())


def _checked(tree: Tree) -> tuple[Document | None, list[Finding]]:
    if tree.broken:
        return None, tree.findings
    document, findings = shape.check(tree.data, nulls=tree.nulls)
    known = {finding.path for finding in findings}
    findings += [finding for finding in rules.findings(tree) if finding.path not in known]
    return document, tree.findings + [finding for finding in findings if not _unread(finding, tree)]


def _unread(finding: Finding, tree: Tree) -> bool:
    """Whether the finding is about a value that the YAML itself kept from us."""
    return any(finding.path[:length] in tree.unread for length in range(len(finding.path) + 1))


def _problem(finding: Finding, place: Place, name: str) -> Problem:
    return Problem(name, place.line, place.column, path_text(finding.path), finding.message)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Look for no cycles meanwhile: there are none, and the search would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

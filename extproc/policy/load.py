"""Policy file to Plan: the one way in."""

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from extproc.policy import manifest, rules, shape
from extproc.policy.codes import CONTRADICTION, UNREADABLE, VALUE, YAML
from extproc.policy.compile import compiled
from extproc.policy.document import Document, Model
from extproc.policy.plan import Plan
from extproc.policy.problems import START, Finding, Place, PolicyError, Problem, path_text, sentence
from extproc.policy.source import LARGEST_BYTES, decode
from extproc.policy.yaml_tree import Tree

_Result = TypeVar("_Result")
_Root = TypeVar("_Root", bound=Model)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy file without mistakes: what it means, what it says, and where each key stands."""

    name: str
    text: str
    tree: Tree
    plan: Plan

    def problem(self, finding: Finding) -> Problem:
        """The finding with its place in the file."""
        return _problem(finding, finding.place or self.tree.place(finding.path), self.name)


def load(path: Path) -> Plan:
    """The Plan of the policy file at `path`, with environment tags read from this process's environment.

    Raises:
        PolicyError: the file cannot be read, or with every problem in it.
    """
    return load_text(content_of(path), str(path), os.environ)


def content_of(path: Path, top: str = "tracing") -> bytes:
    """The bytes of the file at `path`, whose top key is `top`; of one that is too large, too many.

    Raises:
        PolicyError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        message = sentence("a file that can be read", f"{reason.lower()!r}", "another path or its permissions")
        raise PolicyError([Problem(str(path), *START, top, message, UNREADABLE)]) from None


def load_text(text: bytes, name: str, environ: Mapping[str, str]) -> Plan:
    """The Plan of a policy file's content; `name` is what its problems call the file.

    Raises:
        PolicyError: with every problem in the text, in file order.
    """
    with _no_garbage_collection():
        read = _read(text, name, environ)
        result = read.plan if isinstance(read, PolicyFile) else read
        del read  # whatever the plan does not need is gone when collecting resumes
    return _or_raise(result)


def read_text(text: bytes, name: str, environ: Mapping[str, str]) -> PolicyFile:
    """The same with everything that is known of the file, for those who have more to say about it.

    Raises:
        PolicyError: with every problem in the text, in file order.
    """
    with _no_garbage_collection():
        result = _read(text, name, environ)
    return _or_raise(result)


def _or_raise(result: _Result | list[Problem]) -> _Result:
    if isinstance(result, list):
        raise PolicyError(sorted(result, key=lambda problem: (problem.line, problem.column)))
    return result


def _read(content: bytes, name: str, environ: Mapping[str, str]) -> PolicyFile | list[Problem]:
    text = decode(content)
    if isinstance(text, Finding):
        return [_problem(replace(text, code=UNREADABLE), text.place or START, name)]
    tree = manifest.read(text)
    document, findings = checked(tree, Document, rules.findings)
    if findings or document is None:
        return [_problem(finding, finding.place or tree.place(finding.path), name) for finding in findings]
    return PolicyFile(name, text, tree, compiled(document.tracing, environ, sha256(content).hexdigest()))


def checked(
    tree: Tree, root: type[_Root], contradictions: Callable[[Tree], Iterable[Finding]]
) -> tuple[_Root | None, list[Finding]]:
    """The document that a tree holds, or everything that is wrong with it.

    `root` is the mapping that a file of its kind holds, `contradictions` finds what its keys say about each other.
    """
    if tree.broken:
        return None, _coded(tree.findings, YAML)
    document, findings = shape.check(tree.data, root, nulls=tree.nulls)
    known = {finding.path for finding in findings}
    findings = _coded(findings, VALUE)
    findings += _coded((finding for finding in contradictions(tree) if finding.path not in known), CONTRADICTION)
    readable = [finding for finding in findings if not _unread(finding, tree)]
    return document, _coded(tree.findings, YAML) + readable


def _coded(findings: Iterable[Finding], code: str) -> list[Finding]:
    return [finding if finding.code else replace(finding, code=code) for finding in findings]


def _unread(finding: Finding, tree: Tree) -> bool:
    """Whether the finding is about a value that the YAML itself kept from us."""
    return any(finding.path[:length] in tree.unread for length in range(len(finding.path) + 1))


def _problem(finding: Finding, place: Place, name: str) -> Problem:
    return Problem(name, place.line, place.column, path_text(finding.path), finding.message, finding.code)


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

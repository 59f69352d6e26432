"""A case file read, or everything that is wrong with it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from extproc.cases import rules
from extproc.cases.document import Cases, Test
from extproc.policy.codes import UNREADABLE
from extproc.policy.load import checked, content_of
from extproc.policy.problems import START, Finding, Place, PolicyError, Problem, path_text
from extproc.policy.source import decode
from extproc.policy.yaml_reader import parse

_TOP: Final = "tests"


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a file: what failures call it, where it stands, and what it says."""

    name: str
    place: Place
    test: Test


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case file without mistakes."""

    name: str
    cases: tuple[Case, ...]


def load(path: Path) -> CaseFile:
    """The tests in the file at `path`.

    Raises:
        PolicyError: with every problem in the file, in its order.
    """
    name = str(path)
    text = decode(content_of(path, _TOP))
    if isinstance(text, Finding):
        raise PolicyError([_problem(replace(text, code=UNREADABLE), text.place or START, name)])
    tree = parse(text)
    document, findings = checked(tree, Cases, rules.findings)
    if findings or document is None:
        problems = [_problem(finding, finding.place or tree.place(finding.path), name) for finding in findings]
        raise PolicyError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return CaseFile(
        name,
        tuple(
            Case(test.name or f"{_TOP}[{index}]", tree.place((_TOP, index)), test)
            for index, test in enumerate(document.tests)
        ),
    )


def _problem(finding: Finding, place: Place, name: str) -> Problem:
    where = path_text(finding.path) if finding.path else _TOP
    return Problem(name, place.line, place.column, where, finding.message, finding.code)

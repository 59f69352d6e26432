"""What `extproc check` found in one file, and as data for programs."""

from collections.abc import Mapping
from dataclasses import dataclass

from extproc.lint.judge import warnings
from extproc.policy.codes import BY_CODE, Severity
from extproc.policy.load import read_text
from extproc.policy.problems import PolicyError, Problem


@dataclass(frozen=True, slots=True)
class Report:
    """What one file came to: errors, or the number of its policies and warnings."""

    file: str
    policies: int
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        """Whether there are no errors."""
        return not any(severity(problem) is Severity.ERROR for problem in self.problems)

    def as_data(self) -> dict[str, object]:
        """The report as JSON has it."""
        return {
            "file": self.file,
            "ok": self.usable,
            "policies": self.policies,
            "problems": [_as_data(problem) for problem in self.problems],
        }


def report(name: str, content: bytes, environ: Mapping[str, str]) -> Report:
    """The report on a file of this content."""
    try:
        file = read_text(content, name, environ)
    except PolicyError as error:
        return Report(name, 0, error.problems)
    return Report(name, len(file.plan.policies), tuple(warnings(file)))


def severity(problem: Problem) -> Severity:
    """How bad it is."""
    return BY_CODE[problem.code].severity


def _as_data(problem: Problem) -> dict[str, object]:
    return {
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "message": problem.message,
        "code": problem.code,
        "severity": severity(problem).value,
        "help": BY_CODE[problem.code].anchor,
    }

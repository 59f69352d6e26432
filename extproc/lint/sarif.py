"""Reports as SARIF 2.1.0, which code hosts show beside the changed lines.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from extproc import __version__
from extproc.lint.report import Report, severity
from extproc.policy.codes import RULES, Rule
from extproc.policy.problems import Problem

_INDEX = {rule.code: index for index, rule in enumerate(RULES)}


def as_sarif(reports: Sequence[Report]) -> dict[str, object]:
    """One run of `extproc check`."""
    driver = {"name": "extproc", "semanticVersion": __version__, "rules": [_rule(rule) for rule in RULES]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem) for report in reports for problem in report.problems],
    }
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": f"See {rule.anchor}."},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(problem: Problem) -> dict[str, object]:
    return {
        "ruleId": problem.code,
        "ruleIndex": _INDEX[problem.code],
        "level": severity(problem).value,
        "message": {"text": f"{problem.path}: {problem.message}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(problem.file)},
                    "region": {"startLine": problem.line, "startColumn": problem.column},
                },
                "logicalLocations": [{"fullyQualifiedName": problem.path}],
            }
        ],
    }


def _uri(file: str) -> str:
    """A relative reference for a relative path, which code hosts take from the top of the repository."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())

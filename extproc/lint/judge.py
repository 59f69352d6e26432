"""Everything that there is to warn about in a policy file."""

import re
from collections.abc import Iterator

from extproc.lint.cardinality import cardinality_findings, key_findings
from extproc.lint.entry import default, policies
from extproc.lint.matching import matching_findings
from extproc.lint.sampling import sampling_findings
from extproc.lint.tags import tag_findings
from extproc.policy.load import PolicyFile
from extproc.policy.problems import Finding, Problem
from extproc.policy.source import LINE_BREAK

_ALLOWED = re.compile(r"#.*\ballow:((?:[ ,]*EP[0-9]{3})+)")


def warnings(file: PolicyFile) -> list[Problem]:
    """The warnings in file order, without those that a comment on their line allows: `# allow: EP203`."""
    lines = LINE_BREAK.split(file.text)
    found = [file.problem(finding) for finding in _findings(file)]
    found = [problem for problem in found if problem.code not in _allowed(lines[problem.line - 1])]
    return sorted(found, key=lambda problem: (problem.line, problem.column))


def _findings(file: PolicyFile) -> Iterator[Finding]:
    whole, each = default(file), list(policies(file))
    yield from matching_findings(each)
    for entry in (whole, *each):
        yield from sampling_findings(entry, file.plan.mode)
        yield from tag_findings(entry, file.plan.mode)
        yield from key_findings(entry)
    yield from cardinality_findings(whole, each)


def _allowed(line: str) -> str:
    found = _ALLOWED.search(line)
    return found[1] if found else ""

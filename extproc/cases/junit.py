"""Results as JUnit XML, which CI systems read."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from junitparser import Failure, JUnitXml, TestCase, TestSuite

from extproc.cases.run import Result
from extproc.cases.show import differences


def write(path: Path, policy: str, results: Mapping[str, Iterable[Result]]) -> None:
    """Write the results by case file, each file as a suite, into the file at `path`. Raises OSError."""
    report = JUnitXml("extproc test")
    for file, found in results.items():
        suite = TestSuite(file)
        suite.add_testcases([_case(file, policy, result) for result in found])
        report.add_testsuite(suite)
    with path.open("wb") as output:
        report.write(output, pretty=True)


def _case(file: str, policy: str, result: Result) -> TestCase:
    case = TestCase(result.case.name, classname=policy, time=result.seconds)
    if result.mismatches:
        keys = ", ".join(mismatch.key for mismatch in result.mismatches)
        failure = Failure(f"{file}:{result.case.place.line}: {keys}", "mismatch")
        failure.text = "\n".join(map(click.unstyle, differences(result.mismatches)))
        case.result = [failure]
    return case

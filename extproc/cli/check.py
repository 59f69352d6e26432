"""`extproc check`: whether policy files can be used, and if not, every reason why."""

import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from extproc.policy.load import load, load_text
from extproc.policy.plan import Plan
from extproc.policy.problems import PolicyError, Problem
from extproc.policy.source import LARGEST_BYTES

_STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class _Report:
    """What one file came to."""

    file: str
    policies: int
    problems: tuple[Problem, ...]


@click.command(name="check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], output: str) -> None:
    """Check policy files and say everything that is wrong with them.

    FILE is a policy file, or a Kubernetes ConfigMap that holds one; - reads standard input. Each problem is one line,
    with its place, what was expected, what is there, and what to write instead:

    \b
      policy.yaml:14:9: policies[2].sampling.ratio: expected a number from 0 to 1, got 'five'; try ratio: 0.05

    Exits with 0 if every file can be used, with 1 if there are problems. Problems go to standard output, the summary
    to standard error.

    \b
    Examples:
      extproc check policy.yaml
      extproc check policies/*.yaml
      kubectl get configmap envoy-tracing-policy -o yaml | extproc check -
      extproc check --format json policy.yaml | jq '.files[].problems'
    """  # noqa: D301  click wants the control character itself
    reports = [_report(file) for file in files]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a file's name or key may hold what the terminal's encoding cannot say
    if output == "json":
        click.echo(json.dumps({"files": [_as_json(report) for report in reports]}, indent=2))
    else:
        _print(reports)
    if any(report.problems for report in reports):
        ctx.exit(1)


def _report(file: str) -> _Report:
    name = _STDIN if file == "-" else click.format_filename(file)
    try:
        plan = _plan(file)
    except PolicyError as error:
        return _Report(name, 0, error.problems)
    return _Report(name, len(plan.policies), ())


def _plan(file: str) -> Plan:
    if file == "-":
        return load_text(sys.stdin.buffer.read(LARGEST_BYTES + 1), _STDIN, os.environ)
    return load(Path(file))


def _as_json(report: _Report) -> dict[str, object]:
    return {
        "file": report.file,
        "ok": not report.problems,
        "policies": report.policies,
        "problems": [
            {"line": problem.line, "column": problem.column, "path": problem.path, "message": problem.message}
            for problem in report.problems
        ],
    }


def _print(reports: list[_Report]) -> None:
    colour = False if os.environ.get("NO_COLOR") else None
    for report in reports:
        for problem in report.problems:
            place = click.style(f"{problem.file}:{problem.line}:{problem.column}:", bold=True)
            click.echo(f"{place} {click.style(problem.path, fg='red')}: {problem.message}", color=colour)
        if not report.problems:
            click.echo(f"{report.file}: {click.style('ok', fg='green')}, {_policies(report.policies)}", err=True)
    count = sum(len(report.problems) for report in reports)
    if count:
        bad = sum(1 for report in reports if report.problems)
        click.echo(f"{_counted(count, 'problem')} in {_counted(bad, 'file')}", err=True)


def _policies(count: int) -> str:
    return f"{count} policy" if count == 1 else f"{count} policies"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""`extproc check`: whether policy files can be used, and whether they do what they say."""

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from extproc.cli.arguments import format_option
from extproc.lint.report import Report, report, severity
from extproc.lint.sarif import as_sarif
from extproc.policy.codes import Severity
from extproc.policy.load import content_of
from extproc.policy.problems import PolicyError, Problem
from extproc.policy.source import LARGEST_BYTES

_STDIN = "<stdin>"
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@click.command("check", short_help="Say what is wrong with policy files, and what is odd.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(allow_dash=True, path_type=str))
@format_option("text", "json", "sarif", text="Output format.")
@click.option(
    "--fail-on",
    type=click.Choice([Severity.WARNING.value, Severity.ERROR.value]),
    default=Severity.ERROR.value,
    show_default=True,
    help="What makes the exit code 1.",
)
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], output: str, fail_on: str) -> None:
    """Check policy files and say everything that is wrong with them, or odd.

    FILE is a policy file, or a Kubernetes manifest with a ConfigMap that holds one; - reads standard input. Each
    problem is one line, with its place, what was expected, what is there, and what to write instead:

    \b
      policy.yaml:14:9: policies[2].sampling.ratio: expected a number from 0 to 1, got 'five'; try ratio: 0.05

    A file that can be used may still get warnings, such as for a policy that no request reaches. Their codes are
    explained in docs/lint.md; a comment on their line allows them: # allow: EP101

    Exits with 0 if every file can be used, with 1 if there are problems. Problems go to standard output, the summary
    to standard error.

    \b
    Examples:
      extproc check policy.yaml
      extproc check policies/*.yaml
      extproc check --fail-on warning policy.yaml
      kubectl get configmap envoy-tracing-policy -o yaml | extproc check -
      extproc check --format json policy.yaml | jq '.files[].problems'
      extproc check --format sarif policies/*.yaml > extproc.sarif
    """  # noqa: D301  click wants the control character itself
    reports = [_report(file) for file in files]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a file's name or key may hold what the terminal's encoding cannot say
    if output == "json":
        click.echo(json.dumps({"files": [report.as_data() for report in reports]}, indent=2))
    elif output == "sarif":
        click.echo(json.dumps(as_sarif(reports), indent=2))
    else:
        _print(reports)
    if any(report.problems if fail_on == Severity.WARNING else not report.usable for report in reports):
        ctx.exit(1)


def _report(file: str) -> Report:
    if file == "-":
        return report(_STDIN, sys.stdin.buffer.read(LARGEST_BYTES + 1), os.environ)
    name = click.format_filename(file)
    try:
        return report(name, content_of(Path(file)), os.environ)
    except PolicyError as error:
        return Report(name, 0, error.problems)


def _print(reports: Sequence[Report]) -> None:
    colour = False if os.environ.get("NO_COLOR") else None
    for found in reports:
        for problem in found.problems:
            click.echo(_line(problem), color=colour)
        if found.usable:
            warned = f", {_counted(len(found.problems), 'warning')}" if found.problems else ""
            click.echo(f"{found.file}: {click.style('ok', fg='green')}, {_policies(found.policies)}{warned}", err=True)
    bad = [found for found in reports if not found.usable]
    if bad:
        count = sum(len(found.problems) for found in bad)
        click.echo(f"{_counted(count, 'problem')} in {_counted(len(bad), 'file')}", err=True)


def _line(problem: Problem) -> str:
    kind = severity(problem)
    place = click.style(f"{problem.file}:{problem.line}:{problem.column}:", bold=True)
    code = f"{click.style(f'warning {problem.code}', fg='yellow')}: " if kind is Severity.WARNING else ""
    return f"{place} {click.style(problem.path, fg=_COLOURS[kind])}: {code}{problem.message}"


def _policies(count: int) -> str:
    return f"{count} policy" if count == 1 else f"{count} policies"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""`extproc test`: unit tests of a policy."""

from pathlib import Path

import click

from extproc.cases import junit
from extproc.cases.answer import Asked
from extproc.cases.load import CaseFile, load
from extproc.cases.run import run
from extproc.cases.show import failure
from extproc.cli.arguments import load_policy, spell_out
from extproc.policy.problems import PolicyError, Problem

_FILE = click.Path(path_type=Path)


@click.command("test", short_help="Run unit tests of a policy.")
@click.argument("policy", type=_FILE)
@click.argument("cases", metavar="CASES...", type=_FILE, nargs=-1, required=True)
@click.option("--junit", "report", type=_FILE, metavar="FILE", help="Write the results as JUnit XML, too.")
@click.pass_context
def command(ctx: click.Context, policy: Path, cases: tuple[Path, ...], report: Path | None) -> None:
    """Run the tests of case files against a POLICY file.

    \b
    CASES is YAML:
      tests:
        - name: a checkout is kept, and names its order
          request: {method: POST, path: /api/orders/7, service: order-service, headers: {x-user-id: ann}}
          exp_policy: checkout
          exp_sampled: true
          exp_tags: {order_id: "7", user_id: ann}
        - name: a quarter of the users' traces is kept
          request: {url: "https://shop.example.com/api/users/42"}
          trace_test:
            - {trace_id: 4bf92f3577b34da6a3ce929d0e0e4736, exp_sampled: true}
            - {trace_id: 4bf92f3577b34da6a33e929d0e0e4736, exp_sampled: false}

    \b
    Examples:
      extproc test policy.yaml tests/*.yaml
      extproc test policy.yaml cases.yaml --junit report.xml

    docs/tools.md has every key. Exits with 0 if all tests pass, with 1 if one fails or a file has a problem. Failures
    go to standard output, with a difference: - is expected, + is there.
    """  # noqa: D301  click wants the control character itself
    spell_out()
    asked = Asked(load_policy(policy))
    results = {file.name: [run(asked, case) for case in file.cases] for file in _load(cases)}
    failed = [(file, result) for file, found in results.items() for result in found if result.mismatches]
    for file, result in failed:
        click.echo(failure(file, result))
    total = sum(map(len, results.values()))
    click.echo(f"{total - len(failed)} of {total} tests passed", err=True)
    if report is not None:
        try:
            junit.write(report, str(policy), results)
        except OSError as error:
            raise click.ClickException(f"{report}: {error.strerror or error}") from error
    if failed:
        ctx.exit(1)


def _load(paths: tuple[Path, ...]) -> list[CaseFile]:
    """The case files; the problems of all of them go to standard error."""
    files: list[CaseFile] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        try:
            files.append(load(path))
        except PolicyError as error:
            problems += error.problems
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise click.exceptions.Exit(1)
    return files

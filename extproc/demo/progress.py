"""What the demo does at the moment, on standard error: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console


class Progress:
    """Says what goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Say what comes next."""
        self._console.print(f"{text} …", style="dim", highlight=False)

    @contextmanager
    def load(self, duration_seconds: float) -> Iterator["LoadProgress"]:
        """Show the load while the block lasts."""
        if not self._console.is_terminal:
            self.step(f"sending requests for {duration_seconds:g} s")
        columns = (
            progress.TextColumn("sending requests"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} s  {task.fields[told]}"),
        )
        with progress.Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bar:
            yield LoadProgress(bar, bar.add_task("load", total=duration_seconds, told=""))


class LoadProgress:
    """The bar of one load."""

    def __init__(self, bar: progress.Progress, task: progress.TaskID) -> None:
        self._bar = bar
        self._task = task

    def update(self, seconds: float, requests: int, kept: int) -> None:
        """Show how far it is: seconds run, requests answered, kept traces that have reached the receiver."""
        rate = requests / seconds if seconds else 0.0
        told = f"{requests:,} requests ({rate:.0f}/s), {kept:,} traces kept"
        self._bar.update(self._task, completed=seconds, told=told)

"""The run: suite by suite, all cases of one alive at once, measured in turns."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.bed import Bed, Shared, running, shared
from bench.processes import BenchError
from bench.results import Results, Sample
from bench.suites import Suite


def run(suites: Mapping[str, Suite], results: Results) -> None:
    """Measure what the results do not have yet, showing progress on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with shared() as ports, Progress(*columns, console=Console(stderr=True)) as progress:
        for name, suite in suites.items():
            task = progress.add_task(name, total=len(suite.points) * suite.rounds)
            for _ in _measured(name, suite, ports, results):
                progress.advance(task)


def _measured(name: str, suite: Suite, ports: Shared, results: Results) -> Iterator[None]:
    """Each round of each point, once it is measured or known not to be."""
    wanted = [[point for point in suite.points if not results.has(name, point, n)] for n in range(suite.rounds)]
    if suite.whole and any(wanted):
        results.drop(name)
        wanted = [[*suite.points] for _ in wanted]
    with ExitStack() as stack:
        beds: dict[str, Bed] = {}
        for point in suite.points:
            if any(point in points for points in wanted):
                with _failing(results, name, point):
                    beds[point] = _started(stack, suite, point, ports, results.settings["warm_up_seconds"])
        for number, points in enumerate(wanted):
            for point in suite.points if number % 2 else reversed(suite.points):
                if point in points and point in beds:
                    with _failing(results, name, point):
                        results.add(_round(name, suite, point, number, beds[point]))
                yield


@contextmanager
def _failing(results: Results, name: str, point: str) -> Iterator[None]:
    try:
        yield
    except BenchError as error:
        results.fail(name, point, str(error))


def _started(stack: ExitStack, suite: Suite, point: str, ports: Shared, warm_up_seconds: float) -> Bed:
    """A point that is ready, has done its job once, and is warm."""
    bed = stack.enter_context(running(suite.points[point].case, ports))
    bed.check()
    for load in suite.points[point].phases.values():
        bed.measure(load, warm_up_seconds)
    return bed


def _round(name: str, suite: Suite, point: str, number: int, bed: Bed) -> list[Sample]:
    place = {"suite": name, "point": point, "round": number}
    return [
        {**place, "phase": phase, **bed.measure(load, suite.seconds, (number + 1) * load.requests)}
        for phase, load in suite.points[point].phases.items()
    ]

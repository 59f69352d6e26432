"""From results to plots: latency distributions, throughput against CPU, growth curves, memory."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.cases import CASES
from bench.figures import Figures, cpu, figure, latency
from bench.load import PERCENTILES
from bench.results import Results
from bench.suites import COMPARISON, FULL, MEMORY, RATE, Settings, suites

_STYLE: Any = {"svg.hashsalt": "extproc", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
_OVERLAPPING = "unix", "emit"


def draw(results: Results, folder: Path) -> list[str]:
    """Write what the results suffice for, and return the names of the plots."""
    folder.mkdir(exist_ok=True)
    compared = Figures(results, COMPARISON)
    plots: dict[str, Callable[[Axes], None]] = {}
    if compared.points:
        plots |= {
            "latency": lambda axes: _latency(axes, compared),
            "throughput": lambda axes: _throughput(axes, compared),
        }
    for name, suite in suites(Settings(**results.settings)).items():
        found = Figures(results, name)
        if suite.axis and found.points:
            plots[name] = _memory(found) if name == MEMORY else _growth(found, suite.axis)
    for name, plot in plots.items():
        with mpl.rc_context(_STYLE):
            canvas = Figure(figsize=(8, 4.5), layout="constrained")
            plot(canvas.subplots())
            canvas.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [*plots]


def _latency(axes: Axes, found: Figures) -> None:
    """Percentiles on an axis that gives each nine the same room."""
    places = [1 / (1 - percentile / 100) for percentile in PERCENTILES]
    for name in found.points:
        if name.endswith(_OVERLAPPING):
            continue
        middles = [statistics.median(found.values(name, RATE, latency(f"{each:g}"))) for each in PERCENTILES]
        axes.plot(places, middles, marker=".", label=name)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms", title="Latency at the constant rate")
    axes.set_xticks(places, [f"{each:g}" for each in PERCENTILES])
    axes.minorticks_off()
    axes.legend(ncols=2, fontsize=7)


def _throughput(axes: Axes, found: Figures) -> None:
    for name in found.points:
        place = [statistics.median(found.values(name, FULL, read)) for read in (cpu, figure("throughput"))]
        axes.scatter(*place, color="tab:red" if CASES[name].floor else "tab:blue")
        axes.annotate(name, (place[0], place[1]), xytext=(4, 2), textcoords="offset points", fontsize=7)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="CPU per request, server and Envoy, µs",
        ylabel="requests a second",
        title="At full load",
    )


def _growth(found: Figures, axis: str) -> Callable[[Axes], None]:
    def plot(axes: Axes) -> None:
        for phase, label in ((RATE, "at the constant rate"), (FULL, "at full load")):
            points = [point for point in found.points if found.has(point, phase)]
            if points:
                values = [found.values(point, phase, figure("server_us")) for point in points]
                middles = [statistics.median(each) for each in values]
                reach = [
                    [middle - min(each) for middle, each in zip(middles, values, strict=True)],
                    [max(each) - middle for middle, each in zip(middles, values, strict=True)],
                ]
                axes.errorbar(points, middles, yerr=reach, marker="o", capsize=3, label=label)
        axes.set(xlabel=axis, ylabel="server CPU per request, µs", ylim=(0, None), title=f"Growth with {axis}")
        axes.legend()

    return plot


def _memory(found: Figures) -> Callable[[Axes], None]:
    def plot(axes: Axes) -> None:
        for point in found.points:
            resident = found.values(point, FULL, figure("server_mib"))
            step = found.values(point, FULL, figure("requests"))[0]
            axes.plot([step * (place + 2) for place in range(len(resident))], resident, label=point)
        axes.set(xlabel="requests", ylabel="resident memory of the server, MiB", ylim=(0, None), title="Memory")
        axes.legend()

    return plot

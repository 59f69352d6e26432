"""From results to plots: latency distributions, throughput against CPU, growth curves, memory."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures import Figures, figure, latency
from bench.load import PERCENTILES
from bench.results import Results
from bench.suites import COMPARISON, FULL, MEMORY, RATE, Settings, suites

_STYLE: Any = {"svg.hashsalt": "extproc", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
Plot = Callable[[Figure], None]
_OVERLAPPING = "unix", "emit"


def draw(results: Results, folder: Path) -> list[str]:
    """Write what the results suffice for, and return the names of the plots."""
    folder.mkdir(exist_ok=True)
    compared = Figures(results, COMPARISON)
    plots: dict[str, Plot] = {}
    if compared.points:
        plots |= {
            "latency": lambda canvas: _latency(canvas, compared),
            "throughput": lambda canvas: _throughput(canvas, compared),
        }
    for name, suite in suites(Settings(**results.settings)).items():
        found = Figures(results, name)
        if suite.axis and found.points:
            plots[name] = _memory(found) if name == MEMORY else _growth(found, suite.axis)
    for name, plot in plots.items():
        with mpl.rc_context(_STYLE):
            canvas = Figure(figsize=(8, 4.5), layout="constrained")
            plot(canvas)
            canvas.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return [*plots]


def _latency(canvas: Figure, found: Figures) -> None:
    """Percentiles on an axis that gives each nine the same room."""
    axes = canvas.subplots()
    axes.set_prop_cycle(color=mpl.color_sequences["tab20"])
    places = [1 / (1 - percentile / 100) for percentile in PERCENTILES]
    for name in found.points:
        if name.endswith(_OVERLAPPING):
            continue
        middles = [statistics.median(found.values(name, RATE, latency(f"{each:g}"))) for each in PERCENTILES]
        axes.plot(places, middles, marker=".", label=name)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms", title="Latency at the constant rate")
    axes.set_xticks(places, [f"{each:g}" for each in PERCENTILES])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(ncols=2, fontsize=7)


def _throughput(canvas: Figure, found: Figures) -> None:
    """What a request costs beside how many there can be."""
    cost, most = canvas.subplots(1, 2, sharey=True)
    names = found.points[::-1]

    def middles(name: str) -> list[float]:
        return [statistics.median(found.values(point, FULL, figure(name))) for point in names]

    envoy = middles("envoy_us")
    cost.barh(names, envoy, label="Envoy")
    cost.barh(names, middles("server_us"), left=envoy, label="server")
    cost.set(xlabel="CPU per request, µs", title="At full load")
    cost.legend()
    most.barh(names, middles("throughput"), color="tab:green")
    most.set(xlabel="requests a second")


def _growth(found: Figures, axis: str) -> Plot:
    def plot(canvas: Figure) -> None:
        axes = canvas.subplots()
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


def _memory(found: Figures) -> Plot:
    def plot(canvas: Figure) -> None:
        axes = canvas.subplots()
        for point in found.points:
            resident = found.values(point, FULL, figure("server_mib"))
            step = found.values(point, FULL, figure("requests"))[0]
            axes.plot([step * (place + 2) for place in range(len(resident))], resident, label=point)
        axes.set(xlabel="requests", ylabel="resident memory of the server, MiB", ylim=(0, None), title="Memory")
        axes.margins(y=0.2)
        axes.legend(loc="lower right")

    return plot

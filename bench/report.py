"""From results to text: RESULTS.md with its plots, and the README's table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench import plots
from bench.cases import BASELINE, CASES, CHEAPEST, MAIN, OWN_ECHO
from bench.figures import Figures, added, cpu, figure, latency, middle, over, spread
from bench.processes import BenchError
from bench.results import Results
from bench.suites import COMPARISON, FULL, MEMORY, OVERHEAD, PAIRS, RATE, SINGLE, Settings, suites

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
_README = (
    BASELINE,
    "lua",
    "native",
    MAIN,
    CHEAPEST,
    "echo-python",
    OWN_ECHO,
    "peer-go",
    "peer-grpclib",
    "peer-grpc-sync",
)
_PERCENTILES = ("50", "90", "99", "99.9")
Rows = Iterable[Sequence[str]]


def write(results: Results, folder: Path) -> None:
    """Write RESULTS.md and plots/*.svg into a folder."""
    drawn = plots.draw(results, folder / "plots")
    (folder / "RESULTS.md").write_text(text(results, drawn))


def update(readme: Path, results: Results) -> None:
    """Put the table between the README's two markers.

    Raises:
        BenchError: the markers are not there.
    """
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{readme}: expected {BEGIN} and {END}")
    readme.write_text(f"{before}{begin}\n{readme_table(results)}{end}{after}")


def readme_table(results: Results) -> str:
    """The comparison in one line a case: medians of the rounds."""
    found = Figures(results, COMPARISON)
    rows = [
        (
            f"`{name}`",
            CASES[name].about,
            middle(found.against(name, BASELINE, RATE, added(latency("50"))), 2),
            middle(found.against(name, BASELINE, RATE, added(latency("99"))), 2),
            middle(found.values(name, RATE, figure("server_us")), 0),
            middle(found.values(name, RATE, figure("envoy_us")), 0),
            middle(found.values(name, FULL, figure("throughput")), 0),
            middle(found.values(name, RATE, figure("server_mib")), 0),
        )
        for name in _README
        if name in found.points
    ]
    head = ("case", "", "added p50 ms", "added p99 ms", "server µs", "Envoy µs", "most requests/s", "server MiB")
    machine = results.environment
    caption = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, flags: `{machine['flags'] or 'none'}`"
    smoke = " A smoke run: its figures say little." if results.settings["short"] else ""
    return f"\n{_table(head, rows)}\n{caption}.{smoke}\n\n"


def text(results: Results, drawn: Sequence[str] = ()) -> str:
    """RESULTS.md; `drawn` are the plots there are."""
    return "\n".join(part for part in _parts(results, drawn) if part).rstrip() + "\n"


def _parts(results: Results, drawn: Sequence[str]) -> Iterator[str]:
    flags = results.environment["flags"] or "none: the full run"
    yield f"# Results\n\nFlags: `{flags}`. Measured by `python -m bench`, written by `python -m bench report`."
    if results.settings["short"]:
        yield "A smoke run: it shows that the benchmark works, and its figures say little.\n"
    yield "Cells are min – median – max of the rounds. How to read them: [performance.md](../docs/performance.md).\n"
    yield _table(("environment", ""), [(name, value) for name, value in results.environment.items() if name != "flags"])
    set_to = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in results.settings.items())
    yield f"Settings: {set_to}.\n"
    yield from _comparison(Figures(results, COMPARISON), drawn)
    yield from _overhead(Figures(results, OVERHEAD))
    for name, suite in suites(Settings(**results.settings)).items():
        if suite.axis and name != MEMORY:
            yield from _growth(name, suite.axis, Figures(results, name), drawn)
    yield from _memory(Figures(results, MEMORY), drawn)
    yield from _failures(results)


def _comparison(found: Figures, drawn: Sequence[str]) -> Iterator[str]:
    if not found.points:
        return
    yield "## Ratios\n\nOver `none`: CPU of server and Envoy at the constant rate, and requests a second at full load."
    yield "Over the bare echo that is wired alike: the server's CPU, at the constant rate and at full load.\n"
    yield _table(
        ("case", "CPU over none", "throughput over none", "server CPU over echo", "the same at full load"),
        [
            (
                f"`{name}`",
                spread(found.against(name, BASELINE, RATE, over(cpu)), 2),
                spread(found.against(name, BASELINE, FULL, over(figure("throughput"))), 2),
                *(
                    spread(found.against(name, CASES[name].floor, phase, over(figure("server_us"))), 2)
                    for phase in (RATE, FULL)
                ),
            )
            for name in found.points
        ],
    )
    for phase, title in ((RATE, "at the constant rate"), (SINGLE, "at a constant rate on one connection")):
        yield f"## Latency added {title}, ms\n"
        yield _table(
            ("case", *(f"p{each}" for each in _PERCENTILES)),
            [
                (
                    f"`{name}`",
                    *(spread(found.against(name, BASELINE, phase, added(latency(each))), 2) for each in _PERCENTILES),
                )
                for name in found.points
                if name != BASELINE
            ],
        )
    yield from _plot("latency", drawn)
    yield "## Absolute figures\n\nCPU is microseconds per request; memory is resident, in MiB. At the constant rate:\n"
    yield _table(
        ("case", "", "server CPU", "Envoy CPU", "p50 ms", "p99 ms", "server MiB", "Envoy MiB"),
        [
            (
                f"`{name}`",
                CASES[name].about,
                *(spread(found.values(name, RATE, figure(each)), 0) for each in ("server_us", "envoy_us")),
                *(spread(found.values(name, RATE, latency(each)), 2) for each in ("50", "99")),
                *(spread(found.values(name, RATE, figure(each)), 0) for each in ("server_mib", "envoy_mib")),
            )
            for name in found.points
        ],
    )
    yield "At full load:\n"
    yield _table(
        ("case", "requests/s", "server CPU", "Envoy CPU", "p50 ms", "p99 ms"),
        [
            (
                f"`{name}`",
                *(
                    spread(found.values(name, FULL, figure(each)), 0)
                    for each in ("throughput", "server_us", "envoy_us")
                ),
                *(spread(found.values(name, FULL, latency(each)), 2) for each in ("50", "99")),
            )
            for name in found.points
        ],
    )
    yield from _plot("throughput", drawn)


def _overhead(found: Figures) -> Iterator[str]:
    pairs = [pair for pair in PAIRS if found.against(*pair, RATE, over(cpu))]
    if not pairs:
        return
    yield "## The server's CPU per request over that of a bare echo\n"
    yield _table(
        ("", "at the constant rate", "at full load"),
        [
            (
                f"`{name}` / `{floor}`",
                *(spread(found.against(name, floor, phase, over(figure("server_us"))), 2) for phase in (RATE, FULL)),
            )
            for name, floor in pairs
        ]
        + [
            (f"`{name}`, µs", *(spread(found.values(name, phase, figure("server_us")), 0) for phase in (RATE, FULL)))
            for name in found.points
        ],
    )


def _growth(name: str, axis: str, found: Figures, drawn: Sequence[str]) -> Iterator[str]:
    if not found.points:
        return
    yield f"## Growth with {axis}\n"
    yield _table(
        (
            axis,
            "server CPU at the constant rate",
            "p99 ms there",
            "requests/s at full load",
            "server CPU at full load",
            "server MiB",
        ),
        [
            (
                point,
                spread(found.values(point, RATE, figure("server_us")), 0),
                spread(found.values(point, RATE, latency("99")), 2),
                *(
                    spread(found.values(point, FULL, figure(each)), 0)
                    for each in ("throughput", "server_us", "server_mib")
                ),
            )
            for point in found.points
        ],
    )
    yield from _plot(name, drawn)


def _memory(found: Figures, drawn: Sequence[str]) -> Iterator[str]:
    if not found.points:
        return
    yield "## Resident memory over many requests, MiB\n"
    rows = []
    for point in found.points:
        resident = found.values(point, FULL, figure("server_mib"))
        step = found.values(point, FULL, figure("requests"))[0]
        places = (0, len(resident) // 2, len(resident) - 1)
        cells = (f"{resident[place]:.1f} after {step * (place + 2):,.0f}" for place in places)
        rows.append((point, *cells, f"{resident[-1] / resident[0]:.3f}"))
    yield _table(("", "start", "middle", "end", "end over start"), rows)
    yield from _plot(MEMORY, drawn)


def _failures(results: Results) -> Iterator[str]:
    rows = [
        (f"{suite}/{point}", reason)
        for suite in suites(Settings(**results.settings))
        for point, reason in Figures(results, suite).reasons.items()
    ]
    if rows:
        yield "## Failed, and left out above\n"
        yield _table(("case", "why"), rows)


def _plot(name: str, drawn: Sequence[str]) -> Iterator[str]:
    if name in drawn:
        yield f"![{name}](plots/{name}.svg)\n"


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

"""The report says what was measured, no more."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import plots, report
from bench.__main__ import HERE, main
from bench.figures import Figures, added, figure, latency, over, spread
from bench.results import Results
from bench.suites import COMPARISON, FULL, MEMORY, RATE, SHORT, SINGLE, Settings, suites

ENVIRONMENT = {"flags": "--short", "cpu": "a CPU", "cores": "2", "date": "today", "commit": "c0ffee"}


def sample(point: str, phase: str, number: int, cost: float, **changed: Any) -> dict[str, Any]:  # noqa: ANN401
    """A measurement whose every figure is `cost`, but for what is changed."""
    names = ("throughput", "seconds", "envoy_us", "server_us", "envoy_mib", "server_mib")
    figures = dict.fromkeys(names, cost) | {"requests": 100, "failures": 0}
    percentiles = dict.fromkeys(("50", "75", "90", "95", "99", "99.5", "99.9", "mean"), cost)
    place = {"suite": COMPARISON, "point": point, "phase": phase, "round": number}
    return {**place, **figures, "latency_ms": percentiles, **changed}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three rounds of a baseline, of extproc at two to four times as much, and of the echo between them."""
    found = Results(tmp_path / "results.json", ENVIRONMENT, vars_of(SHORT))
    for number, factor in enumerate((3.0, 2.0, 4.0)):
        for phase in (RATE, SINGLE, FULL):
            found.samples += [
                sample("none", phase, number, 10.0 * (number + 1), server_us=0.0),
                sample("echo-python", phase, number, 15.0 * (number + 1)),
                sample("extproc", phase, number, factor * 10.0 * (number + 1)),
            ]
    return found


def vars_of(settings: Settings) -> dict[str, Any]:
    """Settings as a file has them."""
    return {name: getattr(settings, name) for name in settings.__slots__}


def test_ratios_are_taken_within_rounds(results: Results) -> None:
    """A machine that gets slower from round to round does not change a ratio."""
    found = Figures(results, COMPARISON)
    ratios = found.against("extproc", "none", FULL, over(figure("throughput")))
    assert [3.0, 2.0, 4.0] == ratios
    assert "2.00 – 3.00 – 4.00" == spread(ratios, 2)
    assert [20.0, 20.0, 90.0] == found.against("extproc", "none", RATE, added(latency("99")))


def test_a_failed_request_takes_its_case_out(results: Results) -> None:
    """A case with a failure in one phase of one round has no figure at all, and the report says why."""
    results.samples.append(sample("extproc", RATE, 3, 1.0, failures=2))
    found = Figures(results, COMPARISON)
    assert "extproc" not in found.points
    assert {"extproc": "2 of 100 requests failed"} == found.reasons
    text = report.text(results)
    assert "| `extproc` |" not in text
    assert "| comparison/extproc | 2 of 100 requests failed |" in text


def test_a_case_that_did_not_start_is_named(results: Results) -> None:
    """Why a case could not be measured stands in the report."""
    results.failed["comparison/peer-go"] = "go is not on the PATH\nand more"
    assert "| comparison/peer-go | go is not on the PATH |" in report.text(results)


def test_flags_head_the_report(results: Results) -> None:
    """Whoever opens the report sees first how it was measured."""
    assert "Flags: `--short`" in "\n".join(report.text(results).splitlines()[:4])


def test_the_readme_table_replaces_what_is_between_its_markers(results: Results, tmp_path: Path) -> None:
    """All else stays, and doing it again changes nothing."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.update(readme, results)
    once = readme.read_text()
    report.update(readme, results)
    assert once == readme.read_text()
    assert once.startswith(f"before\n{report.BEGIN}\n")
    assert once.endswith(f"{report.END}\nafter\n")
    assert "old" not in once
    assert "| `extproc` |" in once


def test_growth_and_memory_are_drawn(results: Results, tmp_path: Path) -> None:
    """Each suite that has figures gets a plot, and every plot is in the report."""
    for name, suite in suites(SHORT).items():
        for point in suite.points:
            for phase in suite.points[point].phases:
                results.samples += [sample(point, phase, number, 7.0, suite=name) for number in range(3)]
    report.write(results, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    growing = {name for name, suite in suites(SHORT).items() if suite.axis}
    drawn = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert growing | {"latency", "throughput"} == drawn
    assert MEMORY in drawn
    assert all(f"](plots/{name}.svg)" in text for name in drawn)


def test_the_same_results_give_the_same_plots(results: Results, tmp_path: Path) -> None:
    """Plots have no date and no chance in them."""
    texts = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        plots.draw(results, folder)
        texts.append((folder / "latency.svg").read_text())
    assert texts[0] == texts[1]


def test_the_projects_own_report_is_that_of_its_results() -> None:
    """RESULTS.md and the README's table are what `python -m bench report` writes from results.json."""
    own = Results.read(HERE / "results.json")
    drawn = [path.stem for path in (HERE / "plots").iterdir()]
    assert report.text(own, drawn) == (HERE / "RESULTS.md").read_text()
    assert f"{report.BEGIN}\n{report.readme_table(own)}{report.END}" in (HERE.parent / "README.md").read_text()


def test_a_broken_file_is_told_in_words(tmp_path: Path) -> None:
    """The command ends with code 1 and names the file."""
    file = tmp_path / "results.json"
    file.write_text("{")
    done = CliRunner().invoke(main, ["report", "--results", str(file)])
    assert 1 == done.exit_code
    assert f"{file}: expected results of `python -m bench`" in done.stderr

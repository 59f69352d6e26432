"""The benchmark's harness, by a run that is too short for its figures to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cases import CASES
from bench.suites import SHORT, suites

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)  # the first run builds the load generator and the Go peer


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m bench` with these arguments."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603  our own command


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a short run, in which every case did its job and no request failed."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    done = bench("--short", "--results", file)
    assert 0 == done.returncode, done.stderr
    return file


def test_every_point_is_measured(results: Path) -> None:
    """Each phase of each round of each point of each suite has its figures."""
    samples = json.loads(results.read_text())["samples"]
    found = {(each["suite"], each["point"], each["phase"], each["round"]) for each in samples}
    wanted = {
        (name, point, phase, number)
        for name, suite in suites(SHORT).items()
        for point in suite.points
        for phase in suite.points[point].phases
        for number in range(suite.rounds)
    }
    assert wanted == found
    assert len(found) == len(samples)


def test_figures_are_of_the_right_kind(results: Path) -> None:
    """Cases with a server have its CPU and memory, the others none; percentiles grow; nothing failed."""
    for each in json.loads(results.read_text())["samples"]:
        if each["suite"] == "comparison":
            served = CASES[each["point"]].server != "none"
            assert served == (each["server_us"] > 0) == (each["server_mib"] > 0)
        assert each["envoy_us"] > 0
        assert 0 == each["failures"]
        percentiles = [value for name, value in each["latency_ms"].items() if name != "mean"]
        assert sorted(percentiles) == percentiles


def test_a_finished_run_has_nothing_to_resume(results: Path) -> None:
    """Going on with a run that is complete measures nothing again."""
    before = results.read_text()
    assert 0 == bench("--short", "--resume", "--results", results).returncode
    assert before == results.read_text()


def test_the_report_covers_every_case(results: Path) -> None:
    """Tables and plots are written beside the results."""
    assert 0 == bench("report", "--results", results).returncode
    text = (results.parent / "RESULTS.md").read_text()
    assert all(f"| `{name}` |" in text for name in CASES)
    assert "Failed, and left out" not in text
    plots = {path.name for path in (results.parent / "plots").iterdir()}
    assert {"latency.svg", "throughput.svg", "memory.svg", "policies.svg"} <= plots

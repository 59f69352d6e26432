"""Results grow with each measurement, and a run that was cut off goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import results as module
from bench.processes import BenchError
from bench.results import Results
from bench.suites import SHORT, Settings


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Go."""
    monkeypatch.setattr(module, "environment", lambda flags: {"flags": flags, "commit": "c0ffee"})


def sample(point: str, number: int) -> dict[str, object]:
    """A measurement."""
    return {"suite": "comparison", "point": point, "round": number, "phase": "rate", "failures": 0}


def test_each_measurement_is_kept_at_once(tmp_path: Path) -> None:
    """A file that is read after any measurement has all there were."""
    file = tmp_path / "results.json"
    kept = Results.new(file, SHORT, "--short")
    for number in range(3):
        kept.add([sample("none", number)])
        assert number + 1 == len(Results.read(file).samples)
    kept.fail("comparison", "peer-go", "no Go")
    found = Results.read(file)
    assert ({"comparison/peer-go": "no Go"}, "--short") == (found.failed, found.environment["flags"])
    assert [tmp_path / "results.json"] == [*tmp_path.iterdir()]


def test_a_run_goes_on(tmp_path: Path) -> None:
    """What was measured is not wanted again; what failed is tried again."""
    file = tmp_path / "results.json"
    kept = Results.new(file, SHORT, "")
    kept.add([sample("none", 0)])
    kept.fail("comparison", "lua", "no answer")
    found = Results.resumed(file, SHORT)
    assert [True, False, False] == [
        found.has("comparison", "none", 0),
        found.has("comparison", "none", 1),
        found.has("overhead", "none", 0),
    ]
    assert {} == found.failed


@pytest.mark.parametrize("other", [Settings(), replace(SHORT, rate=1.0)])
def test_other_settings_do_not_mix(tmp_path: Path, other: Settings) -> None:
    """Figures that were measured in another way stay apart."""
    file = tmp_path / "results.json"
    Results.new(file, SHORT, "").add([])
    with pytest.raises(BenchError, match="other settings"):
        Results.resumed(file, other)


def test_another_commit_does_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of another state of the code stay apart."""
    file = tmp_path / "results.json"
    Results.new(file, SHORT, "").add([])
    monkeypatch.setattr(module, "environment", lambda flags: {"flags": flags, "commit": "decaf"})
    with pytest.raises(BenchError, match="at commit c0ffee"):
        Results.resumed(file, SHORT)


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"environment": {}})])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """A file that is not ours is an error in words."""
    file = tmp_path / "results.json"
    file.write_text(text)
    with pytest.raises(BenchError, match="expected results of `python -m bench`"):
        Results.read(file)

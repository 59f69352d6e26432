"""Every file in tests/data/bad_cases is refused with exactly the text beside it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc.cli.test import command

BAD = Path(__file__).parents[2] / "data" / "bad_cases"
POLICY = Path(__file__).parents[3] / "policies" / "starter.yaml"
FILES = sorted(BAD.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_bad_file_is_refused_with_its_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with a case file is said whole and in order, as of a policy file, and nothing is run."""
    monkeypatch.chdir(BAD)
    result = CliRunner().invoke(command, [str(POLICY), file.name])
    assert file.with_suffix(".txt").read_text("utf-8") == result.stderr
    assert (1, "") == (result.exit_code, result.stdout)


def test_every_expectation_has_its_file() -> None:
    """No text is left behind by a file that was renamed."""
    assert [file.stem for file in FILES] == sorted(file.stem for file in BAD.glob("*.txt"))


def test_all_files_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems of several files are said at once, also of those that cannot be read."""
    monkeypatch.chdir(BAD)
    result = CliRunner().invoke(command, [str(POLICY), "no_tests.yaml", "missing.yaml", "a_list.yaml"])
    lines = result.stderr.splitlines()
    assert ["no_tests.yaml:1:1", "missing.yaml:1:1", "a_list.yaml:1:1"] == [line.split(": ")[0] for line in lines]
    assert "tests: expected a file that can be read, got 'no such file or directory'" in lines[1]

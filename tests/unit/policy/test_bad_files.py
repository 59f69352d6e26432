"""Every file in tests/data/bad is refused with exactly the text beside it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc.cli.check import command

BAD = Path(__file__).parents[2] / "data" / "bad"
FILES = sorted(BAD.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_bad_file_is_refused_with_its_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` prints for a bad file is, whole and in order, what is written beside it."""
    monkeypatch.chdir(BAD)

    result = CliRunner().invoke(command, [file.name])

    assert file.with_suffix(".txt").read_text(encoding="utf-8") == result.stdout
    assert 1 == result.exit_code


def test_every_expectation_has_its_file() -> None:
    """No text is left behind by a file that was renamed."""
    assert [file.stem for file in FILES] == sorted(file.stem for file in BAD.glob("*.txt"))


def test_no_message_is_pydantics() -> None:
    """Every line has the shape of our own messages."""
    lines = [line for file in BAD.glob("*.txt") for line in file.read_text(encoding="utf-8").splitlines()]

    assert [] == [line for line in lines if not (": expected " in line and ", got " in line and "; try " in line)]

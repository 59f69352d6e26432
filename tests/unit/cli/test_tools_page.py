"""docs/tools.md: every example of simulate, test and explain --log is run, and shows what it really says."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from extproc.cases import document
from extproc.cli import main
from extproc.policy.document import by_key

PAGE = (Path(__file__).parents[3] / "docs" / "tools.md").read_text("utf-8")
SECTIONS = ("extproc simulate", "extproc test", "extproc explain --log")
BLOCK = re.compile(r"^```([a-z]+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def section(name: str) -> str:
    """The text of one section."""
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def examples() -> Iterator[Any]:
    """Each command of a console block, with the lines that follow it."""
    for name in SECTIONS:
        for language, _, content in BLOCK.findall(section(name)):
            if language == "console":
                for example in content.split("$ ")[1:]:
                    command, _, shown = example.partition("\n")
                    yield pytest.param(command, shown, id=command)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's files are, each under the name that its block gives."""
    for name in SECTIONS:
        for _, file, content in BLOCK.findall(section(name)):
            if file:
                (tmp_path / file).write_text(content, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(text: str) -> list[str]:
    """The lines that are not blank, without what is invisible at their ends."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(("command", "shown"), list(examples()))
@pytest.mark.usefixtures("folder")
def test_example(command: str, shown: str) -> None:
    """A command prints what stands below it."""
    program, *arguments = shlex.split(command)
    assert "extproc" == program
    assert lines(shown) == lines(CliRunner().invoke(main, arguments).output)


def test_every_section_has_examples() -> None:
    """None of the above is left out because the page has changed its shape."""
    commands = [example.id.split()[1] for example in examples()]
    assert ["simulate", "simulate", "test", "test", "explain"] == commands


def rows(name: str) -> list[str]:
    """First column of every table in a section, as far as it is code."""
    return [
        word for row in re.findall(r"^\| (`.*?) \|", section(name), re.MULTILINE) for word in re.findall("`(.*?)`", row)
    ]


@pytest.mark.usefixtures("folder")
def test_json_has_the_keys_that_the_page_names() -> None:
    """The table of JSON's keys is complete."""
    arguments = ["simulate", "edited.yaml", "access.log", "--against", "policy.yaml", "--format", "json"]
    found = json.loads(CliRunner().invoke(main, arguments).stdout)
    assert set(found) <= set(rows("extproc simulate"))
    text = section("extproc simulate").partition("`--format json`")[2].partition("###")[0]
    rows_of = [found["policies"][0], found["against"]["changes"][0], found["log"]["first_bad"]]
    named = set(re.findall("`(.*?)`", text))
    for part in (found, found["log"], found["against"], found["against"]["changed"], *rows_of):
        assert set(part) <= named


def test_the_keys_of_case_files_are_named() -> None:
    """The tables of a test's and a request's keys are complete."""
    assert {*by_key(document.Test), *by_key(document.Request), "default"} >= set(rows("extproc test"))
    assert {*by_key(document.Test), *by_key(document.Request)} <= {*rows("extproc test")}


@pytest.mark.usefixtures("folder")
def test_the_keys_of_found_requests_are_named() -> None:
    """So are the keys of a request that was found."""
    arguments = ["explain", "policy.yaml", "--log", "access.log", "--format", "json"]
    (first, *_) = json.loads(CliRunner().invoke(main, arguments).stdout)["requests"]
    assert set(first) <= set(re.findall("`(.*?)`", section("extproc explain --log")))


@pytest.mark.usefixtures("folder")
def test_the_command_in_the_text_runs() -> None:
    """The last line's question has an answer."""
    command = section("extproc explain --log").strip().rpartition("`extproc ")[2].removesuffix("`.")
    assert "decides: every field holds" in CliRunner().invoke(main, shlex.split(command)).stdout

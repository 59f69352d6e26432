"""A real Envoy's own access logs, replayed: the same counts as the metrics of the server that decided."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from access_logs import (
    FILE_LOG,
    POLICY,
    REQUESTS,
    Counts,
    connection_manager,
    counts,
    json_format,
    send,
    server_counts,
    simulated,
)
from extproc.cli import main
from system import running


def with_logs(folder: Path, config: str) -> str:
    """The configuration with an access log in Envoy's default format, and one as the documentation has it."""
    data = yaml.safe_load(config)
    connection_manager(data)["access_log"] = [
        {"name": "text", "typed_config": {"@type": FILE_LOG, "path": str(folder / "text.log")}},
        {
            "name": "json",
            "typed_config": {
                "@type": FILE_LOG,
                "path": str(folder / "json.log"),
                "log_format": {"json_format": json_format()},
            },
        },
    ]
    return yaml.safe_dump(data)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    """The folder with both logs of one run, and what the server counted."""
    folder = tmp_path_factory.mktemp("simulate")

    async def run() -> Counts:
        async with running(folder, POLICY, edit=lambda config: with_logs(folder, config)) as system:
            await send(system)
            return await server_counts(system)

    return folder, asyncio.run(run())  # Envoy has ended, and so has written everything


def test_json_log_has_the_servers_counts(recorded: tuple[Path, Counts]) -> None:
    """With the documented format every figure is the server's: matched, kept and callers', of every policy."""
    folder, expected = recorded
    found = simulated(folder, "json.log")
    assert expected == counts(found)
    assert {"half", "robots", "gold", "everything", "default"} == set(expected)
    assert (215, 12) == (expected["half"][0], expected["half"][2])
    assert 50 < expected["half"][1] < 165, "chance, but not by ten standard deviations"
    log = found["log"]
    assert (REQUESTS + 1, REQUESTS, 1, 0, 0) == tuple(
        log[key] for key in ("lines", "requests", "skipped", "bad", "trace_ids_drawn")
    )
    assert [] == found["unseen"]
    assert 0 < log["seconds"] < 60


def test_text_log_has_the_servers_counts_as_far_as_it_goes(recorded: tuple[Path, Counts]) -> None:
    """Envoy's default format matches what does not need more than it has; its trace ids are drawn."""
    folder, expected = recorded
    found = simulated(folder, "text.log")
    have = counts(found)
    for policy in ("robots", "everything"):
        assert expected[policy] == have[policy]
    assert expected["half"][0] == have["half"][0]
    assert abs(have["half"][1] - have["half"][0] / 2) < 40  # more than five standard deviations
    assert expected["default"][0] + expected["gold"][0] == have["default"][0]
    assert ["the header x-tier", "the service"] == [each["input"] for each in found["unseen"]]
    assert (REQUESTS, 1, 0, REQUESTS) == tuple(
        found["log"][key] for key in ("requests", "skipped", "bad", "trace_ids_drawn")
    )


def test_an_edit_on_a_real_log(recorded: tuple[Path, Counts], tmp_path: Path) -> None:
    """A policy that keeps all that another keeps half of gains the other half, and nobody's parents."""
    folder, expected = recorded
    edited = tmp_path / "edited.yaml"
    edited.write_text(POLICY.replace("ratio: 0.5", "ratio: 1"))
    changed = simulated(folder, "json.log", "--against", str(edited))["against"]["changed"]
    lost = 203 - (expected["half"][1] - 7)
    assert {"requests": lost, "gained": 0, "lost": lost} == changed


def test_the_requests_of_a_policy_are_found(recorded: tuple[Path, Counts]) -> None:
    """`explain --log` finds those that the server counted for a policy, with the trace ids that were decided on."""
    folder, expected = recorded
    arguments = ("--log", str(folder / "json.log"), "--policy", "half", "--limit", "1000", "--format", "json")
    result = CliRunner().invoke(main, ["explain", str(folder / "policy.yaml"), *arguments])
    requests = json.loads(result.stdout)["requests"]
    assert expected["half"] == (
        len(requests),
        sum(request["sampled"] for request in requests),
        sum(request["reason"] == "parent" for request in requests),
    )
    logged = [json.loads(line) for line in (folder / "json.log").read_text().splitlines()]
    sampled = {
        line["traceparent"][3:35] for line in logged if line["traceparent"] and line["traceparent"].endswith("1")
    }
    assert {request["trace_id"] for request in requests if request["sampled"]} <= sampled

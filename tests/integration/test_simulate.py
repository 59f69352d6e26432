"""A real Envoy's own access logs, replayed: the same counts as the metrics of the server that decided."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main
from system import System, running

DOCS = Path(__file__).parents[2] / "docs" / "tools.md"
POLICY = """
tracing:
  sampling: {policy: always_off}
  policies:
    - {name: half, match: {path: "/half/{id}", method: GET}, sampling: {ratio: 0.5}}
    - {name: robots, match: {headers: {user-agent: "*bot*"}}, sampling: {policy: always_off}}
    - {name: gold, match: {service: user-service, headers: {x-tier: gold}}, sampling: {policy: always_on}}
    - name: everything
      match: {path: "/all/**", host: "*.example.com", query: {page: "2"}}
      sampling: {policy: always_on}
    - {name: never, match: {path: "/never"}}
"""
HOST = {"host": "shop.example.com"}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

REQUESTS = 231
"""What `send` sends."""

Counts = dict[str, tuple[int, int, int]]
"""Matched, kept and decided by callers, by policy."""


def json_format() -> dict[str, str]:
    """The format that docs/tools.md recommends."""
    block = re.search(r"```yaml envoy\.yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert block
    config: dict[str, Any] = yaml.safe_load(block[1])["access_log"][0]["typed_config"]
    assert FILE_LOG == config["@type"]
    found: dict[str, str] = config["log_format"]["json_format"]
    return found


def with_logs(folder: Path, config: str) -> str:
    """The configuration with an access log in Envoy's default format, and one as the documentation has it."""
    data = yaml.safe_load(config)
    manager = data["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] = [
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


async def send(system: System) -> None:
    """Requests for each policy, with and without parents, and bytes that are none."""
    await system.send_all((f"/half/{number}" for number in range(200)), HOST)
    await system.send_all(["/half/post"] * 3, HOST | {"x-tier": "gold"})
    for flags, number in (("01", 7), ("00", 5)):
        await system.send_all(["/half/parent"] * number, {"traceparent": PARENT + flags})
    await system.send("/half/1", HOST, "POST")
    await system.send_all(["/robots.txt"] * 4, {"user-agent": 'a "good" bot "x" "y"'})
    await system.send_all(["/all/a%20b?page=2"] * 6, HOST)
    await system.send_all(["/all/a?page=3", "/other", "/other"], HOST | {"x-tier": "silver"})
    await system.send_all(["/gold"] * 2, HOST | {"x-tier": "gold"})
    reader, writer = await asyncio.open_connection("127.0.0.1", system.envoy.port)
    writer.write(b"no HTTP at all\r\n\r\n")
    await writer.drain()
    await reader.read()
    writer.close()


async def metrics_of(system: System, requests: int) -> str:
    """The server's metrics, once it has counted so many."""
    async with asyncio.timeout(10):
        while True:
            _, metrics = await asyncio.to_thread(system.server.get, "/metrics")
            if requests == sum(matched for matched, _, _ in server_counts(metrics).values()):
                return metrics
            await asyncio.sleep(0.05)


def server_counts(metrics: str) -> Counts:
    """What the server's metrics say."""
    found: dict[str, list[int]] = {}
    for policy, reason, sampled, value in re.findall(
        r'extproc_decisions_total\{policy="(.*?)",reason="(.*?)",sampled="(.*?)"\} (\S+)', metrics
    ):
        counts = found.setdefault(policy, [0, 0, 0])
        number = int(float(value))
        counts[0] += number
        counts[1] += number * (sampled == "true")
        counts[2] += number * (reason == "parent")
    return {policy: (counts[0], counts[1], counts[2]) for policy, counts in found.items()}


def simulated(folder: Path, log: str, *arguments: str) -> dict[str, Any]:
    """What `extproc simulate` says of a log."""
    command = ["simulate", str(folder / "policy.yaml"), str(folder / log), "--format", "json", *arguments]
    result = CliRunner().invoke(main, command)
    assert 0 == result.exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def counts(found: dict[str, Any]) -> Counts:
    """The same as counts, without policies that nothing came to."""
    rows = [*found["policies"], found["unmatched"]]
    return {row["name"]: (row["matched"], row["kept"], row["parents"]) for row in rows if row["matched"]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    """The folder with both logs of one run, and what the server counted."""
    folder = tmp_path_factory.mktemp("simulate")

    async def run() -> str:
        async with running(folder, POLICY, edit=lambda config: with_logs(folder, config)) as system:
            await send(system)
            return await metrics_of(system, REQUESTS)

    metrics = asyncio.run(run())
    return folder, server_counts(metrics)  # Envoy has ended, and so has written everything


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

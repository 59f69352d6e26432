"""Requests through a real Envoy that writes access logs, what its server counted of them, and what the logs say."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from extproc.cli import main
from system import System

DOCS = Path(__file__).parents[1] / "docs" / "tools.md"
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


def connection_manager(config: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager of a printed configuration."""
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


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


async def server_counts(system: System) -> Counts:
    """What the server's metrics say, once they have all requests of `send`."""
    async with asyncio.timeout(10):
        while True:
            _, metrics = await asyncio.to_thread(system.server.get, "/metrics")
            found = _counts(metrics)
            if REQUESTS == sum(matched for matched, _, _ in found.values()):
                return found
            await asyncio.sleep(0.05)


def _counts(metrics: str) -> Counts:
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

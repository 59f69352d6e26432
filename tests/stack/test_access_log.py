"""A real Envoy's access log as OTLP, by way of a real collector into a file: the counts of the server that decided."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from access_logs import (
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
from stack import tools
from stack.bed import reserved_ports
from stack.program import Program
from system import running

pytestmark = pytest.mark.timeout(1_200)  # the first run builds the collector

OTLP_LOG = "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CLUSTER = "collector_of_logs"
TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""Envoy's default format, which its OpenTelemetry access logger has to be told."""


def collector(folder: Path, port: int, health: int) -> Program:
    """A collector that writes what it receives into a file."""
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"file": {"path": str(folder / "otlp.jsonl")}},
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["file"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    path = folder / "collector.yaml"
    path.write_text(yaml.safe_dump(config))
    command = (tools.collector(), "--config", path)
    return Program(command, f"http://127.0.0.1:{health}/", folder / "collector.log")


def with_otlp(config: str, port: int, form: str) -> str:
    """The configuration with an access log as OTLP, of the documented keys or of text."""
    data = yaml.safe_load(config)
    keys = {name: value for name, value in json_format().items() if name != "start_time"}
    values = {"values": [{"key": name, "value": {"string_value": value}} for name, value in keys.items()]}
    common = {
        "log_name": form,
        "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}},
        "transport_api_version": "V3",
        "buffer_flush_interval": "0.1s",
    }
    forms: dict[str, dict[str, Any]] = {
        "attributes": {"attributes": values},
        "body": {"body": {"kvlist_value": values}},
        "text": {"body": {"string_value": TEXT}},
    }
    logger = {"@type": OTLP_LOG, "common_config": common} | forms[form]
    connection_manager(data)["access_log"] = [{"name": "otlp", "typed_config": logger}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2 = {"@type": f"type.googleapis.com/{HTTP}", "explicit_http_config": {"http2_protocol_options": {}}}
    data["static_resources"]["clusters"].append(
        {
            "name": CLUSTER,
            "typed_extension_protocol_options": {HTTP: http2},
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
    )
    return yaml.safe_dump(data)


async def record(folder: Path, form: str) -> Counts:
    """Send requests with such a log; what the server counted, once the collector's file has them all."""
    with reserved_ports("otlp", "health") as ports:
        program = collector(folder, ports["otlp"], ports["health"])
        async with aiohttp.ClientSession() as client:
            await program.start(client)
        try:
            async with running(folder, POLICY, edit=lambda config: with_otlp(config, ports["otlp"], form)) as system:
                await send(system)
                expected = await server_counts(system)
                async with asyncio.timeout(20):
                    while logged(folder) <= REQUESTS:  # noqa: ASYNC110  it happens in another process
                        await asyncio.sleep(0.05)
        finally:
            await program.stop()
    return expected


def logged(folder: Path) -> int:
    """How many records the file has."""
    path = folder / "otlp.jsonl"
    return path.read_text().count('"timeUnixNano"') if path.exists() else 0


@pytest.mark.parametrize("form", ["attributes", "body", "text"])
def test_otlp_log_has_the_servers_counts(tmp_path: Path, form: str) -> None:
    """With the documented keys every figure is the server's; text lacks headers and services, but not the traces."""
    expected = asyncio.run(record(tmp_path, form))
    found = simulated(tmp_path, "otlp.jsonl")
    log = found["log"]
    assert (REQUESTS, 1, 0, 0) == tuple(log[key] for key in ("requests", "skipped", "bad", "trace_ids_drawn"))
    if form != "text":
        assert expected == counts(found)
        assert [] == found["unseen"]
        return
    have = counts(found)
    assert expected["robots"] == have["robots"]
    assert expected["everything"] == have["everything"]
    assert expected["half"][0] == have["half"][0]
    assert ["the header x-tier", "the service"] == [each["input"] for each in found["unseen"]]

"""Audit records over OTLP, without Envoy: what the variables say, and receivers that do not answer."""

import asyncio
import os
import time

import pytest

from audits import audited
from extproc.engine.audit import AuditRecord
from extproc.policy.load import load_text
from extproc.telemetry.audit import open_sink
from extproc.telemetry.outbox import Loss, Sink
from otlp_receiver import grpc_receiver, http_receiver, silent_listener


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(variable)


def sink_for(port: int) -> Sink[AuditRecord]:
    """The sink of a policy file whose collector is at this port."""
    text = f"tracing: {{collector: {{endpoint: '127.0.0.1:{port}', insecure: true}}, audit: {{otlp: true}}}}"
    sink = open_sink(load_text(text.encode(), "policy.yaml", {}))
    assert sink is not None
    return sink


def test_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http/protobuf: path, headers and compression, and a record in no trace has none."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-api-token=secret")

    async def check() -> None:
        async with http_receiver() as receiver:
            sink = sink_for(receiver.port)
            assert await asyncio.to_thread(sink.write, [audited(), audited(trace_id=None)]) is None
            sink.close()
            headers = receiver.headers[0]
            assert (["/v1/logs"], "gzip", "secret") == (
                receiver.paths,
                headers["Content-Encoding"],
                headers["x-api-token"],
            )
            logs = receiver.logs[0].resource_logs[0].scope_logs[0].log_records
            assert [audited().trace_id, ""] == [log.trace_id.hex() for log in logs]
            assert [1772366400123400000] * 2 == [round(log.time_unix_nano, -3) for log in logs]

    asyncio.run(check())


def test_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint in the environment wins over the file's collector, the one for logs over the one for all."""

    async def check() -> None:
        async with grpc_receiver() as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
            sink = sink_for(2)
            assert await asyncio.to_thread(sink.write, [audited()]) is None
            sink.close()
            assert 1 == len(receiver.logs)

    asyncio.run(check())


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_receiver_that_never_answers(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """Its records are given up after OTEL_EXPORTER_OTLP_TIMEOUT, whose default is 10 s, and counted."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")

    async def check() -> Loss | None:
        async with silent_listener() as port:
            return await asyncio.to_thread(sink_for(port).write, [audited()] * 3)

    began = time.monotonic()
    loss = asyncio.run(check())
    assert loss is not None
    assert 3 == loss.records
    assert loss.reason != "no reason given"
    assert time.monotonic() - began < 5

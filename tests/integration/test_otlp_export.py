"""Metrics to real OTLP receivers: every protocol, and collectors in every state of disrepair."""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from structlog.testing import capture_logs

from extproc.demo.otlp_receiver import OtlpReceiver, attributes_of
from extproc.policy.plan import Collector
from extproc.telemetry.export import Exporter
from extproc.telemetry.recorder import Recorder
from extproc.telemetry.store import Store
from otlp_receiver import forwarder, grpc_receiver, http_receiver, silent_listener
from outcomes import answered

REQUESTS, DURATION = "envoy_http_requests_total", "http.server.request.duration"
CONNECTIONS, DROPPED = "envoy_active_connections", "extproc.export.dropped"
ATTRIBUTES = (("service.name", "mesh-app"), ("mesh.name", "blue"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from no OTEL_* variables but a short interval, and none by which `requests` overrides a certificate."""
    for variable in [name for name in os.environ if name.startswith("OTEL_") or name.endswith("_CA_BUNDLE")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")


def _record(store: Store, requests: int = 1, **changes: Any) -> None:  # noqa: ANN401  any field of Outcome
    recorder = Recorder()
    for _ in range(requests):
        recorder.request(answered(**changes))
    store.add(recorder.collect(), "0")


def _local(port: int) -> Collector:
    return Collector(f"127.0.0.1:{port}", insecure=True)


def _dropped(store: Store) -> int:
    return store.snapshot().numbers[DROPPED][("signal", "metrics"),]


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until(condition: Any, timeout_seconds: float = 10.0) -> None:  # noqa: ANN401  any callable
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110  what the Store counts sets no event
            await asyncio.sleep(0.005)


async def _timed(awaitable: Coroutine[Any, Any, None]) -> float:
    start = time.monotonic()
    await awaitable
    return time.monotonic() - start


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, and wait for export threads that it left behind."""
    asyncio.run(main)
    for thread in threading.enumerate():
        if thread.name == "extproc-export":
            thread.join(10)
            assert not thread.is_alive()


def test_grpc() -> None:
    """Over gRPC, at the interval: values, attributes, resource, scope and units arrive as recorded."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            store = Store()
            recorder = Recorder()
            recorder.connections(3)
            store.add(recorder.collect(), "0")
            _record(store, 2)
            exporter = Exporter(store, _local(receiver.port), ATTRIBUTES)
            running = asyncio.create_task(exporter.run())
            await receiver.wait_until(lambda: receiver.value(REQUESTS) == 2)
            _record(store, status_code=503)
            await receiver.wait_until(lambda: receiver.value(REQUESTS) == 3)
            assert 1 == receiver.value(REQUESTS, {"status_code": 503, "method": "GET"})
            assert 3 == receiver.value(DURATION)
            assert 3 == receiver.value(CONNECTIONS)
            _check_description(receiver)
            await exporter.shutdown(5)
            await running

    _run(main())


def _check_description(receiver: OtlpReceiver) -> None:
    (received,) = receiver.metrics[-1].resource_metrics
    resource = attributes_of(received.resource.attributes)
    assert ("mesh-app", "blue", "envoy") == (resource["service.name"], resource["mesh"], resource["proxy"])
    (scope,) = received.scope_metrics
    assert "extproc" == scope.scope.name
    metrics = {metric.name: metric for metric in scope.metrics}
    assert "s" == metrics[DURATION].unit
    assert AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE == metrics[REQUESTS].sum.aggregation_temporality
    assert metrics[REQUESTS].sum.is_monotonic
    assert not metrics[CONNECTIONS].sum.is_monotonic
    point = metrics[DURATION].histogram.data_points[0]
    assert len(point.explicit_bounds) + 1 == len(point.bucket_counts)
    assert point.count == sum(point.bucket_counts)
    assert not point.HasField("min")
    assert point.start_time_unix_nano < point.time_unix_nano


def test_last_flush() -> None:
    """What was recorded after the last interval leaves at shutdown, also when no interval ever passed."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            store = Store()
            exporter = Exporter(store, _local(receiver.port), ())
            running = asyncio.create_task(exporter.run())
            await receiver.wait_until(lambda: bool(receiver.metrics))
            _record(store)
            await exporter.shutdown(5)
            await running
            assert 1 == receiver.value(REQUESTS)
            unstarted = Exporter(store, _local(receiver.port), ())
            _record(store)
            await unstarted.shutdown(5)
            assert 2 == receiver.value(REQUESTS)
            received = len(receiver.metrics)
            await unstarted.shutdown(5)
            assert received == len(receiver.metrics)

    _run(main())


def test_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint and headers in the environment win over the file's collector."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-token=s%20ecret")
            store = Store()
            _record(store)
            await Exporter(store, _local(_unused_port()), ()).shutdown(5)
            assert 1 == receiver.value(REQUESTS)
            assert "s ecret" == receiver.headers[0]["x-api-token"]
            assert 0 == _dropped(store)

    _run(main())


def test_grpc_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gzip the same metrics take less than half the bytes."""

    async def main() -> None:
        sent = {}
        for compression in ("none", "gzip"):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            async with grpc_receiver() as receiver, forwarder(receiver.port) as path:
                store = Store()
                for status in range(200, 260):
                    _record(store, status_code=status)
                await Exporter(store, _local(path.port), ()).shutdown(5)
                assert 60 == receiver.value(REQUESTS)
                sent[compression] = path.sent
        assert sent["gzip"] < sent["none"] / 2

    _run(main())


def test_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over http/protobuf: path, content type, headers and compression."""

    async def main() -> None:
        async with http_receiver() as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-api-token=secret")
            store = Store()
            _record(store)
            exporter = Exporter(store, _local(receiver.port), ATTRIBUTES)
            running = asyncio.create_task(exporter.run())
            await _until(lambda: receiver.metrics)
            _record(store)
            await exporter.shutdown(5)
            await running
            assert {"/v1/metrics"} == set(receiver.paths)
            headers = receiver.headers[0]
            sent = (headers["Content-Type"], headers["Content-Encoding"], headers["x-api-token"])
            assert ("application/x-protobuf", "gzip", "secret") == sent
            assert 2 == _latest_requests(receiver.metrics[-1])

    _run(main())


def _latest_requests(request: Any) -> int:  # noqa: ANN401  a protobuf message
    metrics = {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = metrics[REQUESTS].sum.data_points
    value: int = point.as_int
    return value


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


def test_grpc_tls(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path) -> None:
    """Over TLS on both sides, with the certificates that the variables name."""
    server, client = authority.issue_cert("localhost"), authority.issue_cert("client")
    root, chain, key = tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key"
    authority.cert_pem.write_to_path(root)
    client.cert_chain_pems[0].write_to_path(chain)
    client.private_key_pem.write_to_path(key)
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )

    async def main() -> None:
        async with grpc_receiver(credentials) as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(root))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(chain))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(key))
            store = Store()
            _record(store)
            await Exporter(store, Collector(f"localhost:{receiver.port}"), ()).shutdown(5)
            assert 1 == receiver.value(REQUESTS)

    _run(main())


def test_http_tls(monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path) -> None:
    """HTTPS with a private authority."""
    root = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(root)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)

    async def main() -> None:
        async with http_receiver(tls) as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(root))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://localhost:{receiver.port}")
            store = Store()
            _record(store)
            await Exporter(store, None, ()).shutdown(5)
            assert 1 == _latest_requests(receiver.metrics[-1])

    _run(main())


def test_unreadable_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A certificate that is not there is a failed export that names it, not an export with other trust."""
    missing = tmp_path / "missing.pem"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(missing))

    async def main() -> None:
        store = Store()
        with capture_logs() as logs:
            await Exporter(store, Collector("localhost:4317"), ()).shutdown(5)
        (line,) = logs
        assert f"FileNotFoundError: [Errno 2] No such file or directory: '{missing}'" == line["reason"]
        assert _dropped(store) > 0

    _run(main())


def test_delta_temporality(monkeypatch: pytest.MonkeyPatch) -> None:
    """With delta preferred, what was delivered is not sent again, and the receiver's sum is right."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")

    async def main() -> None:
        async with grpc_receiver() as receiver:
            store = Store()
            exporter = Exporter(store, _local(receiver.port), ())
            running = asyncio.create_task(exporter.run())
            for total in (1, 2, 3):
                _record(store)
                await receiver.wait_until(lambda total=total: total == _sum_of_deltas(receiver))  # type: ignore[misc]
            _record(store)
            await exporter.shutdown(5)
            await running
            assert 4 == _sum_of_deltas(receiver)

    _run(main())


def test_failed_deltas_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """With delta preferred, what a collector missed while it was down arrives once it is up."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    port = _unused_port()

    async def main() -> None:
        store = Store()
        _record(store)
        with capture_logs() as logs:
            exporter = Exporter(store, _local(port), ())
            running = asyncio.create_task(exporter.run())
            await _until(lambda: _dropped(store) > 0)
            receiver = OtlpReceiver()
            await receiver.start(port=port)
            _record(store)
            await receiver.wait_until(lambda: _sum_of_deltas(receiver) == 2)
            await exporter.shutdown(5)
            await running
            await receiver.stop()
        assert ["metrics not delivered", "metrics are delivered again"] == [line["event"] for line in logs]

    _run(main())


def _sum_of_deltas(receiver: OtlpReceiver) -> int:
    metrics = [
        metric
        for request in receiver.metrics
        for received in request.resource_metrics
        for scope in received.scope_metrics
        for metric in scope.metrics
        if metric.name == REQUESTS
    ]
    delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert {delta} >= {metric.sum.aggregation_temporality for metric in metrics}
    return sum(point.as_int for metric in metrics for point in metric.sum.data_points)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nothing_listens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    """A collector that is down costs a counter and one log line of ours; shutdown waits no longer than it may."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")

    async def main() -> None:
        store = Store()
        _record(store)
        with capture_logs() as logs:
            exporter = Exporter(store, _local(_unused_port()), ())
            running = asyncio.create_task(exporter.run())
            await _until(lambda: _dropped(store) > 0)
            before = _dropped(store)
            _record(store)
            await _until(lambda: _dropped(store) > before)
            assert 1.0 + 0.9 > await _timed(exporter.shutdown(1))
            await running
        (line,) = logs
        assert "metrics not delivered" == line["event"]
        assert [] == [record.name for record in caplog.records]
        assert 2 == sum(store.snapshot().numbers[REQUESTS].values())

    _run(main())


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_never_answers(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """A collector that hangs holds up one export at a time, skipped ones are counted, and shutdown is on time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)

    async def main() -> None:
        async with silent_listener() as port:
            store = Store()
            exporter = Exporter(store, _local(port), ())
            running = asyncio.create_task(exporter.run())
            with capture_logs() as logs:
                await _until(lambda: _dropped(store) > 0)
            assert ["the export before is still under way"] == [line["reason"] for line in logs]
            assert 1 == len([t for t in threading.enumerate() if t.name == "extproc-export"])
            before = _dropped(store)
            elapsed = await _timed(exporter.shutdown(0.6))
            assert 5 > elapsed
            await running
            assert _dropped(store) > before

    _run(main())


def test_export_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_METRIC_EXPORT_TIMEOUT ends an export that hangs, and the next one starts."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", "100")

    async def main() -> None:
        async with silent_listener() as port:
            store = Store()
            exporter = Exporter(store, _local(port), ())
            points = sum(map(len, store.snapshot().numbers.values()))
            running = asyncio.create_task(exporter.run())
            await _until(lambda: _dropped(store) >= 3 * points)
            await exporter.shutdown(0.2)
            await running

    _run(main())


def test_no_endpoint() -> None:
    """With no endpoint anywhere there is no export, one line says so, and a policy may name one later."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            store = Store()
            _record(store)
            with capture_logs() as logs:
                exporter = Exporter(store, None, ())
                running = asyncio.create_task(exporter.run())
                exporter.reconfigure(None, ATTRIBUTES)
            (line,) = logs
            assert ("info", "metrics are only at /metrics") == (line["log_level"], line["event"])
            exporter.reconfigure(_local(receiver.port), ATTRIBUTES)
            await receiver.wait_until(lambda: receiver.value(REQUESTS) == 1)
            assert "mesh-app" == exporter.resource.attributes["service.name"]
            exporter.reconfigure(None, ATTRIBUTES)
            await exporter.shutdown(5)
            await running

    _run(main())


@pytest.mark.parametrize("variable", [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")])
def test_switched_off(monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    """Switched off by the environment, nothing is sent, at shutdown neither."""
    monkeypatch.setenv(*variable)

    async def main() -> None:
        async with grpc_receiver() as receiver:
            exporter = Exporter(Store(), _local(receiver.port), ())
            await exporter.shutdown(5)
            assert [] == receiver.metrics

    _run(main())


def test_reconfigure_moves() -> None:
    """After a reload that names another collector and other attributes, metrics go there, under the new name."""

    async def main() -> None:
        async with grpc_receiver() as old, grpc_receiver() as new:
            store = Store()
            _record(store)
            exporter = Exporter(store, _local(old.port), ())
            running = asyncio.create_task(exporter.run())
            await old.wait_until(lambda: old.value(REQUESTS) == 1)
            exporter.reconfigure(_local(new.port), ATTRIBUTES)
            await new.wait_until(lambda: new.value(REQUESTS) == 1)
            resource = attributes_of(new.metrics[0].resource_metrics[0].resource.attributes)
            assert "mesh-app" == resource["service.name"]
            await exporter.shutdown(5)
            await running

    _run(main())


def test_many_points() -> None:
    """More points than a collector takes in one message arrive in several."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            store, recorder = Store(), Recorder()
            for number in range(3000):
                recorder.request(answered(path=f"/{number}", service=f"service-{number}"))
            store.add(recorder.collect(), "0")
            await Exporter(store, _local(receiver.port), ()).shutdown(20)
            assert len(receiver.metrics) > 5
            assert max(request.ByteSize() for request in receiver.metrics) < 4 * 1024 * 1024
            for name in (REQUESTS, DURATION, "http.client.request.duration"):
                assert 3000 == receiver.value(name)
            assert 1001 == receiver.value(REQUESTS, {"otel.metric.overflow": True})

    _run(main())

"""The receiver that the demo and other tests rely on, fed by OpenTelemetry's own SDK."""

import asyncio

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from extproc.demo.otlp_receiver import OtlpReceiver, attributes_of
from otlp_receiver import grpc_receiver


def _send_span(port: int) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "a"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"127.0.0.1:{port}", insecure=True)))
    with provider.get_tracer("test").start_as_current_span("checkout", attributes={"page": 1}):
        pass
    provider.shutdown()


def _send_metrics(port: int, service: str, first: int, second: int) -> None:
    exporter = OTLPMetricExporter(f"127.0.0.1:{port}", insecure=True)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({"service.name": service}), shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter("things")
    histogram = provider.get_meter("test").create_histogram("sizes")
    for amount in (first, second):
        counter.add(amount, {"kind": "x", "even": True})
        counter.add(1, {"kind": "y"})
        histogram.record(0.5)
        provider.force_flush()
    provider.shutdown()


def test_spans() -> None:
    """A span arrives with its attributes and its resource, and wakes who waits for it."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            sending = asyncio.to_thread(_send_span, receiver.port)
            await asyncio.gather(sending, receiver.wait_until(lambda: bool(receiver.spans)))
            ((resource, span),) = receiver.spans
            assert "checkout" == span.name
            assert {"page": 1} == attributes_of(span.attributes)
            assert "a" == attributes_of(resource.attributes)["service.name"]

    asyncio.run(main())


def test_values() -> None:
    """A metric's value is its latest one, added up over the series and services that match."""

    async def main() -> None:
        async with grpc_receiver() as receiver:
            await asyncio.to_thread(_send_metrics, receiver.port, "a", 1, 2)
            await asyncio.to_thread(_send_metrics, receiver.port, "b", 10, 20)
            assert 3 + 30 == receiver.value("things", {"kind": "x"})
            assert 33 == receiver.value("things", {"even": True})
            assert 33 + 4 == receiver.value("things")
            assert 4 == receiver.value("sizes")
            assert 0 == receiver.value("things", {"kind": "z"})
            assert 0 == receiver.value("nothing")

    asyncio.run(main())


def test_stop_keeps() -> None:
    """A stopped receiver still tells what it received, and can be stopped again."""

    async def main() -> None:
        receiver = OtlpReceiver()
        port = await receiver.start()
        assert port == receiver.port != 0
        await asyncio.to_thread(_send_metrics, port, "a", 1, 2)
        await receiver.stop()
        await receiver.stop()
        assert 3 == receiver.value("things", {"kind": "x"})

    asyncio.run(main())

"""Telemetry of the sample services: OpenTelemetry, set up by its own OTEL_* variables, and the middleware's metrics.

Spans and metrics leave in batches from threads of their own (OTEL_BSP_*, OTEL_METRIC_EXPORT_INTERVAL), and only where
OTEL_EXPORTER_OTLP_ENDPOINT says where to. W3C trace context and baggage are OpenTelemetry's default (OTEL_PROPAGATORS).
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Thread

from opentelemetry import context, propagate
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode

_SCOPE = "extproc.examples"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_FIRST_ERROR_STATUS = 400
_FLUSH_SECONDS = 3.0


class Telemetry:
    """The spans and metrics of one service, whose name is `service`."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider) -> None:
        self.service = str(tracers.resource.attributes["service.name"])
        self._tracers, self._meters = tracers, meters
        self._tracer = tracers.get_tracer(_SCOPE)
        meter = meters.get_meter(_SCOPE)
        # Names, units, texts and bounds are those of extproc's metrics: a collector sees one family, told apart by job.
        self._requests = meter.create_counter(
            "envoy_http_requests_total", "{request}", "Requests that Envoy sent us, by outcome."
        )
        self._duration = meter.create_histogram(
            "envoy_http_request_duration_seconds",
            "s",
            "From a request's first message to the end of its stream.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._errors = meter.create_counter(
            "envoy_http_errors_total", "{request}", "Requests answered with status 400 or above."
        )
        self._calls = meter.create_histogram(
            "rpc.server.call.duration",
            "s",
            "Duration of incoming remote procedure calls.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    @contextmanager
    def serving(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request that came, in the trace that its headers name."""
        token = context.attach(propagate.extract(headers))
        try:
            with self._span(name, SpanKind.SERVER, attributes) as span:
                yield span
        finally:
            context.detach(token)

    @contextmanager
    def calling(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[tuple[Span, dict[str, str]]]:
        """The span of a request to another service, and the headers that tell it of this trace."""
        with self._span(name, SpanKind.CLIENT, attributes) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            yield span, headers

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an HTTP request; `path` is a route's template, so that the number of series is bounded."""
        attributes: dict[str, str | int] = {"method": method, "path": path, "status_code": status}
        self._requests.add(1, attributes)
        self._duration.record(seconds, attributes)
        if status >= _FIRST_ERROR_STATUS:
            self._errors.add(1, attributes)

    def count_call(self, method: str, code: str, seconds: float) -> None:
        """Count a gRPC call; `method` is package.Service/Method."""
        attributes = {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code}
        self._calls.record(seconds, attributes if code == "OK" else attributes | {"error.type": code})

    def shutdown(self) -> None:
        """Export what has not been exported yet, for some seconds at the most: the collector may be away."""
        flushes = [Thread(target=each.shutdown, daemon=True) for each in (self._tracers, self._meters)]
        for flush in flushes:
            flush.start()
        for flush in flushes:
            flush.join(_FLUSH_SECONDS)

    def _span(self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> AbstractContextManager[Span]:
        # Errors are recorded by hand: frameworks answer with exceptions, not all of which are errors.
        return self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        )


def record_error(span: Span, error_type: str, error: Exception | None = None) -> None:
    """Mark a span as failed, with what was raised if anything was. `error_type` is one of few words."""
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR, None if error is None else str(error))
    if error is not None:
        span.record_exception(error)


def from_environment() -> Telemetry:
    """Telemetry as OTEL_* variables say; nothing is exported where they name no endpoint."""
    ours = {"service.version": "1.0.0", "service.instance.id": str(uuid.uuid4()), "mesh": "envoy", "proxy": "envoy"}
    # Once more the environment, which should win over what the code gives.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    if _exports("TRACES"):
        spans = HttpSpanExporter() if _over_http("TRACES") else GrpcSpanExporter()
        tracers.add_span_processor(BatchSpanProcessor(spans))
    readers = []
    if _exports("METRICS"):
        metrics = HttpMetricExporter() if _over_http("METRICS") else GrpcMetricExporter()
        readers.append(PeriodicExportingMetricReader(metrics))
    return Telemetry(tracers, MeterProvider(readers, resource, shutdown_on_exit=False))


def _exports(signal: str) -> bool:
    return os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp") == "otlp" and bool(_setting(signal, "ENDPOINT"))


def _over_http(signal: str) -> bool:
    return _setting(signal, "PROTOCOL") == "http/protobuf"


def _setting(signal: str, name: str) -> str:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")

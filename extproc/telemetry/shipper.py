"""OpenTelemetry's own OTLP exporters, as one blocking call that can be interrupted and says why it failed."""

import logging
import os
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final
from typing import Protocol as Interface

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OTLPSpanExporterGrpc
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OTLPSpanExporterHttp
from opentelemetry.sdk.trace.export import SpanExportResult

from extproc.telemetry.settings import Compression, Delivery, Protocol, Signal, Target

_FILES: Final = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.common._aggregation",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.common._internal.metrics_encoder",
    "opentelemetry.exporter.otlp.proto.common._internal",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)


class _GrpcTraces(OTLPSpanExporterGrpc):
    """Takes requests that are encoded already."""

    def _translate_data(self, data: Any) -> Any:  # noqa: ANN401  ExportTraceServiceRequest
        return data

    def _count_data(self, data: Any) -> int:  # noqa: ANN401  the same
        return _count_spans(data)


class _HttpTraces(OTLPSpanExporterHttp):
    """The same."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ANN401  ExportTraceServiceRequest
        """Deliver, retrying within the time-out."""
        sent = self._client.export(spans.SerializeToString())
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def _count_spans(request: Any) -> int:  # noqa: ANN401  ExportTraceServiceRequest
    return sum(len(scope.spans) for sent in request.resource_spans for scope in sent.scope_spans)


class _Exporter(Interface):
    """What the exporters of all signals have in common."""

    def export(self, data: Any, /) -> Enum:  # noqa: ANN401  each signal has its own
        """Deliver, retrying within the time-out."""

    def shutdown(self) -> None:
        """Give up what is under way."""


_GRPC: Final[dict[Signal, Callable[..., _Exporter]]] = {
    Signal.METRICS: GrpcMetrics,
    Signal.LOGS: GrpcLogs,
    Signal.TRACES: _GrpcTraces,
}
_HTTP: Final[dict[Signal, Callable[..., _Exporter]]] = {
    Signal.METRICS: HttpMetrics,
    Signal.LOGS: HttpLogs,
    Signal.TRACES: _HttpTraces,
}


class Shipper:
    """One connection to one collector, for one signal.

    `ship` blocks and belongs on a thread of its own; `interrupt` may be called from any other. The exporter is made
    at the first `ship`, so that certificates are read, and may be found missing, off the event loop.
    """

    def __init__(self, target: Target, delivery: Delivery, timeout_seconds: float) -> None:
        self._target = target
        self._delivery = delivery
        self._timeout_seconds = timeout_seconds
        self._exporter: _Exporter | None = None
        self._interrupted = False

    def ship(self, data: Any) -> str | None:  # noqa: ANN401  by signal
        """Deliver `data`, retrying within the time-out. Returns None, or what went wrong. Raises nothing."""
        _REASON.listen()
        try:
            exporter = self._exporter = self._exporter or self._open()
            if self._interrupted:
                exporter.shutdown()
                return "interrupted"
            result = exporter.export(data)
        # Anything may come out of the exporters: a closed channel, a broken certificate, a bug.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        return None if result.name == "SUCCESS" else _REASON.last

    def interrupt(self) -> None:
        """Make a `ship` under way return soon: it stops waiting and retrying. The Shipper is of no use afterwards."""
        self._interrupted = True
        if self._exporter is not None:
            self._exporter.shutdown()

    def _open(self) -> _Exporter:
        signal, target, gzip = self._delivery.signal, self._target, self._delivery.compression is Compression.GZIP
        _check_files(signal)
        if self._delivery.protocol is Protocol.HTTP:
            return _HTTP[signal](
                endpoint=target.endpoint,
                timeout=self._timeout_seconds,
                compression=HttpCompression.Gzip if gzip else HttpCompression.NoCompression,
            )
        return _GRPC[signal](
            endpoint=target.endpoint,
            insecure=target.insecure,
            timeout=self._timeout_seconds,
            compression=grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        )


def _check_files(signal: Signal) -> None:
    """Raise OSError for a certificate that cannot be read: the exporters would go on with another trust than asked."""
    for name in _FILES:
        for variable in (f"OTEL_EXPORTER_OTLP_{signal}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if path := os.environ.get(variable):
                Path(path).read_bytes()


class _Said(threading.local):
    """What an export of this thread has said."""

    attempt = ""
    end = ""


class _Reason(logging.Filter):
    """Keeps what the exporters say for our own line and lets none of it through: they log every attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._said = _Said()

    @property
    def last(self) -> str:
        """Why the export failed. Over HTTP the last line says only that it did, and the one before why."""
        attempt, end = self._said.attempt, self._said.end
        if attempt and "error" not in end.lower():
            return f"{end} {attempt}".strip()
        return end or "no reason given"

    def listen(self) -> None:
        """Stand first on the exporters' loggers, before a filter of theirs that hides repeated lines."""
        self._said.attempt = self._said.end = ""
        for name in _LOGGERS:
            filters = logging.getLogger(name).filters
            if self not in filters:
                filters.insert(0, self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a line, and suppress it."""
        if record.levelno < logging.ERROR:
            self._said.attempt = record.getMessage()
        else:
            self._said.end = record.getMessage()
        return False


_REASON: Final = _Reason()

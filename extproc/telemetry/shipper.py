"""OpenTelemetry's own OTLP exporters, as one blocking call that can be interrupted and says why it failed."""

import logging
import os
from pathlib import Path
from typing import Final

import grpc
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

from extproc.telemetry.settings import Compression, Protocol, Settings, Target

_FILES: Final = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.common._aggregation",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.common._internal.metrics_encoder",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.grpc.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
)


class Shipper:
    """One connection to one collector.

    `ship` blocks and belongs on a thread of its own; `interrupt` may be called from any other. The exporter is made
    at the first `ship`, so that certificates are read, and may be found missing, off the event loop.
    """

    def __init__(self, target: Target, settings: Settings, timeout_seconds: float) -> None:
        self._target = target
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._exporter: MetricExporter | None = None
        self._interrupted = False

    def ship(self, data: MetricsData) -> str | None:
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
        return None if result is MetricExportResult.SUCCESS else _REASON.last

    def interrupt(self) -> None:
        """Make a `ship` under way return soon: it stops waiting and retrying. The Shipper is of no use afterwards."""
        self._interrupted = True
        if self._exporter is not None:
            self._exporter.shutdown()

    def _open(self) -> MetricExporter:
        _check_files()
        target, gzip = self._target, self._settings.compression is Compression.GZIP
        if self._settings.protocol is Protocol.HTTP:
            return HttpExporter(
                endpoint=target.endpoint,
                timeout=self._timeout_seconds,
                compression=HttpCompression.Gzip if gzip else HttpCompression.NoCompression,
            )
        return GrpcExporter(
            endpoint=target.endpoint,
            insecure=target.insecure,
            timeout=self._timeout_seconds,
            compression=grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        )


def _check_files() -> None:
    """Raise OSError for a certificate that cannot be read: the exporters would go on with another trust than asked."""
    for name in _FILES:
        for variable in (f"OTEL_EXPORTER_OTLP_METRICS_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if path := os.environ.get(variable):
                Path(path).read_bytes()


class _Reason(logging.Filter):
    """Keeps what the exporters say for our own line and lets none of it through: they log every attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._attempt = ""
        self._end = ""

    @property
    def last(self) -> str:
        """Why the export failed. Over HTTP the last line says only that it did, and the one before why."""
        if self._attempt and "error" not in self._end.lower():
            return f"{self._end} {self._attempt}".strip()
        return self._end or "no reason given"

    def listen(self) -> None:
        """Stand first on the exporters' loggers, before a filter of theirs that hides repeated lines."""
        self._attempt = self._end = ""
        for name in _LOGGERS:
            filters = logging.getLogger(name).filters
            if self not in filters:
                filters.insert(0, self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a line, and suppress it."""
        if record.levelno < logging.ERROR:
            self._attempt = record.getMessage()
        else:
            self._end = record.getMessage()
        return False


_REASON: Final = _Reason()

"""Audit records as OTLP logs."""

from collections.abc import Sequence

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from extproc import __version__
from extproc.engine.audit import AuditRecord
from extproc.telemetry.outbox import Loss
from extproc.telemetry.settings import Delivery, Target
from extproc.telemetry.shipper import Shipper

EVENT_NAME = "extproc.audit"

_SCOPE = InstrumentationScope("extproc", __version__)
_NO_SPAN = 0


class AuditOtlp:
    """A Sink: an OTLP receiver of logs.

    The SDK's BatchLogRecordProcessor is left out: it would queue a second time, and drop without saying how many.
    """

    def __init__(self, target: Target, delivery: Delivery, resource: Resource) -> None:
        self._shipper = Shipper(target, delivery, delivery.request_timeout_seconds)
        self._resource = resource

    def write(self, records: Sequence[AuditRecord]) -> Loss | None:
        """See Sink."""
        reason = self._shipper.ship([ReadableLogRecord(_log(record), self._resource, _SCOPE) for record in records])
        return None if reason is None else Loss(len(records), reason)

    def interrupt(self) -> None:
        """See Sink."""
        self._shipper.interrupt()

    def close(self) -> None:
        """See Sink."""
        self._shipper.interrupt()


def _log(record: AuditRecord) -> LogRecord:
    fields = record.fields()
    body, trace_id = fields.pop("action"), fields.pop("trace_id", None)
    nanos = round(record.unix_seconds * 1e9)
    return LogRecord(
        timestamp=nanos,
        observed_timestamp=nanos,
        context=_in_trace(str(trace_id), sampled=record.sampled) if trace_id is not None else Context(),
        severity_text="INFO",
        severity_number=SeverityNumber.INFO,
        body=body,
        attributes={f"audit.{name}": value for name, value in fields.items()},
        event_name=EVENT_NAME,
    )


def _in_trace(trace_id: str, *, sampled: bool) -> Context:
    """A context with a trace and no span: the spans are Envoy's, and it does not say which."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return set_span_in_context(
        NonRecordingSpan(SpanContext(int(trace_id, 16), _NO_SPAN, is_remote=True, trace_flags=flags))
    )

"""Where a policy file wants spans of ours, and how they are gathered on the way."""

import structlog

from extproc.policy.plan import Plan, SpansMode
from extproc.telemetry.outbox import Terms
from extproc.telemetry.resource import build_resource
from extproc.telemetry.settings import Signal, find_target, read_batching, read_delivery
from extproc.telemetry.span_otlp import SpanOtlp


def read_terms() -> Terms:
    """How spans are gathered, by OpenTelemetry's variables for its batch processor."""
    batching = read_batching()
    return Terms("traces", "spans", batching.queue, batching.batch, batching.delay_seconds)


def open_sink(plan: Plan) -> SpanOtlp | None:
    """The OTLP receiver of a plan's spans, None if it emits none or nothing says where to."""
    if plan.mode is not SpansMode.EMIT:
        return None
    delivery = read_delivery(Signal.TRACES)
    target = find_target(delivery, plan.collector)
    if target is None:
        why = "no OTLP endpoint is configured" if delivery.enabled else "switched off by the environment"
        structlog.get_logger().warning("spans go nowhere", reason=why)
        return None
    return SpanOtlp(target, delivery, build_resource(plan.attributes))

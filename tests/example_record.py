"""Telemetry of a sample service that stays in memory, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Record:
    """`telemetry` to give to a service, and what was recorded with it."""

    telemetry: Telemetry = field(init=False)
    _spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    _metrics: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        """Record with the real SDK."""
        tracers = TracerProvider(resource=Resource({"service.name": "sample"}), shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics], shutdown_on_exit=False)
        object.__setattr__(self, "telemetry", Telemetry(tracers, meters))

    def spans(self) -> list[ReadableSpan]:
        """The finished spans, in the order in which they ended."""
        return list(self._spans.get_finished_spans())

    def metrics(self) -> dict[str, Metric]:
        """The metrics that have points, by name."""
        data = self._metrics.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self) -> dict[str, list[tuple[Mapping[str, object], float]]]:
        """Attributes and number of each series, by metric; of a histogram, how many values it holds."""
        return {
            name: [(dict(point.attributes or {}), _number(point)) for point in metric.data.data_points]
            for name, metric in self.metrics().items()
        }


def _number(point: object) -> float:
    if isinstance(point, HistogramDataPoint):
        return point.count
    assert isinstance(point, NumberDataPoint)
    return point.value

"""An OTLP receiver in this process: gRPC, traces, metrics and logs, everything kept in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import grpc
import grpc.aio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Point = NumberDataPoint | HistogramDataPoint
Value = str | bool | int | float
_Request = TypeVar("_Request", ExportMetricsServiceRequest, ExportTraceServiceRequest, ExportLogsServiceRequest)
_Response = TypeVar("_Response", ExportMetricsServiceResponse, ExportTraceServiceResponse, ExportLogsServiceResponse)

_Context = grpc.aio.ServicerContext[Any, Any]

_METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
_TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class OtlpReceiver:
    """Receives what OTLP exporters and Envoy send, on one event loop.

    Attributes:
        port: Where it listens; 0 before `start`.
        spans: Every span received, with its resource.
        logs: Every log record received, with its resource.
        metrics: Every metrics request received.
        headers: The gRPC metadata of each request of any kind, in the order of arrival.
    """

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[tuple[Resource, Span]] = []
        self.logs: list[tuple[Resource, LogRecord]] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self._arrived = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Listen, with TLS if there are `credentials`. Returns the port, chosen by the system where `port` is 0."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (
                _handler(_LOGS_SERVICE, self._export_logs, ExportLogsServiceRequest),
                _handler(_METRICS_SERVICE, self._export_metrics, ExportMetricsServiceRequest),
                _handler(_TRACE_SERVICE, self._export_spans, ExportTraceServiceRequest),
            )
        )
        address = f"{host}:{port}"
        self.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        await server.start()
        self._server = server
        return self.port

    async def stop(self) -> None:
        """Stop listening and drop the connections. What was received stays."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def wait_until(self, condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
        """Return once `condition` holds, looking again at every arrival.

        Raises:
            TimeoutError: It still does not hold after `timeout_seconds`.
        """
        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(condition)

    def value(self, name: str, attributes: Mapping[str, Value] | None = None) -> float:
        """Add up the latest points of a cumulative metric whose attributes include `attributes`; 0 if there is none.

        Of a histogram, the number of values recorded. Points of different resources are different series.
        """
        return sum(_number(point) for point in self.latest(name, attributes))

    def latest(self, name: str, attributes: Mapping[str, Value] | None = None) -> list[Point]:
        """Return the latest point of each series of a metric whose attributes include `attributes`."""
        wanted = dict(attributes or {}).items()
        series: dict[tuple[bytes, frozenset[tuple[str, Value]]], Point] = {}
        for resource, metric in self._received_metrics():
            if metric.name != name:
                continue
            points: list[Point] = [*metric.sum.data_points, *metric.gauge.data_points]
            points += metric.histogram.data_points
            for point in points:
                found = attributes_of(point.attributes)
                if wanted <= found.items():
                    series[resource.SerializeToString(deterministic=True), frozenset(found.items())] = point
        return list(series.values())

    def _received_metrics(self) -> Iterator[tuple[Resource, Metric]]:
        for request in self.metrics:
            for received in request.resource_metrics:
                for scope in received.scope_metrics:
                    for metric in scope.metrics:
                        yield received.resource, metric

    async def _export_metrics(
        self, request: ExportMetricsServiceRequest, context: _Context
    ) -> ExportMetricsServiceResponse:
        self.metrics.append(request)
        await self._announce(context)
        return ExportMetricsServiceResponse()

    async def _export_spans(self, request: ExportTraceServiceRequest, context: _Context) -> ExportTraceServiceResponse:
        for received in request.resource_spans:
            self.spans += [(received.resource, span) for scope in received.scope_spans for span in scope.spans]
        await self._announce(context)
        return ExportTraceServiceResponse()

    async def _export_logs(self, request: ExportLogsServiceRequest, context: _Context) -> ExportLogsServiceResponse:
        for received in request.resource_logs:
            self.logs += [(received.resource, log) for scope in received.scope_logs for log in scope.log_records]
        await self._announce(context)
        return ExportLogsServiceResponse()

    async def _announce(self, context: _Context) -> None:
        self.headers.append({key: str(value) for key, value in context.invocation_metadata() or ()})
        async with self._arrived:
            self._arrived.notify_all()


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Return OTLP attributes, of a point, span or resource, as a dict; those that are lists or maps as ''."""
    return {pair.key: _scalar(pair.value) for pair in pairs}


def _scalar(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case _:
            return value.string_value


def _number(point: Point) -> float:
    if isinstance(point, HistogramDataPoint):
        return point.count
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _handler(
    service: str, export: Callable[[_Request, _Context], Awaitable[_Response]], request: type[_Request]
) -> "grpc.GenericRpcHandler[_Request, _Response]":
    method = grpc.unary_unary_rpc_method_handler(
        export,
        request_deserializer=request.FromString,
        response_serializer=_serialize,
    )
    return grpc.method_handlers_generic_handler(service, {"Export": method})


def _serialize(response: _Response) -> bytes:
    return response.SerializeToString()

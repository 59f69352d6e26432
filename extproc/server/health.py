"""The standard gRPC health service, which Envoy's health checks and Kubernetes' probes ask."""

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

_SERVICE = "grpc.health.v1.Health"
_Response = health_pb2.HealthCheckResponse


class Health:
    """Answers for the whole server ("") and for each service that it is made with."""

    def __init__(self, *services: str) -> None:
        self._services = ("", *services)
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it

    async def serving(self) -> None:
        """Answer SERVING from now on."""
        for service in self._services:
            await self._servicer.set(service, _Response.SERVING)

    async def not_serving(self) -> None:
        """Answer NOT_SERVING from now on, for good, and tell those who watch."""
        await self._servicer.enter_graceful_shutdown()

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """The service's methods by their full names."""
        return {
            f"/{_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(
                self._servicer.Check,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=_Response.SerializeToString,
            ),
            f"/{_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(
                self._servicer.Watch,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=_Response.SerializeToString,
            ),
        }

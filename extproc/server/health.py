"""The standard gRPC health service, which Envoy's health checks and Kubernetes' probes ask."""

from collections.abc import Callable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from extproc.server.grpc_server import NOT_FOUND, Metadata, Stream

_SERVICE = "grpc.health.v1.Health"
_STATUS = HealthCheckResponse.ServingStatus


class Health:
    """Answers for the whole server ("") and for each service that it is made with: SERVING until it is told otherwise.

    Like its streams it needs the server's lock.
    """

    def __init__(self, *services: str) -> None:
        self._services = ("", *services)
        self._status = _STATUS.SERVING
        self.watches: set[_Watch] = set()

    def not_serving(self) -> None:
        """Answer NOT_SERVING from now on, for good, and tell those who watch."""
        self._status = _STATUS.NOT_SERVING
        for watch in tuple(self.watches):
            watch.tell()

    def status(self, service: str) -> "HealthCheckResponse.ServingStatus.ValueType | None":
        """Of a service, None if there is no such service."""
        return self._status if service in self._services else None

    def methods(self) -> dict[str, Callable[[Metadata], Stream]]:
        """The service's methods by their full names."""
        return {
            f"/{_SERVICE}/Check": lambda _: _Check(self),
            f"/{_SERVICE}/Watch": lambda _: _Watch(self),
        }


class _Check(Stream):
    """One question, one answer."""

    __slots__ = ("_health",)

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    def received(self, message: bytes) -> None:
        """Answer."""
        status = self._health.status(HealthCheckRequest.FromString(message).service)
        if status is None:
            self.finish(code=NOT_FOUND)
        else:
            self.finish(HealthCheckResponse(status=status).SerializeToString())


class _Watch(Stream):
    """One question, an answer now and at each change."""

    __slots__ = ("_health", "_sending", "_service", "_told")

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health
        self._service = ""
        self._sending = False
        self._told: int | None = None

    def received(self, message: bytes) -> None:
        """Answer, and stay."""
        self._service = HealthCheckRequest.FromString(message).service
        self._health.watches.add(self)
        self.until_gone(lambda: self._health.watches.discard(self))
        self.tell()

    def tell(self) -> None:
        """Say how things are, if that is new."""
        status = self._health.status(self._service)
        if status is None:
            status = _STATUS.SERVICE_UNKNOWN
        if status != self._told and not self._sending:
            self._told, self._sending = status, True
            self.send(HealthCheckResponse(status=status).SerializeToString(), self._sent)

    def _sent(self) -> None:
        self._sending = False
        self.tell()

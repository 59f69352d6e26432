"""An ordinary gRPC service behind Envoy: UserService, and gRPC's own health service.

HOST and PORT say where it listens (127.0.0.1:9090), OTEL_* what becomes of its telemetry.
"""

import asyncio
import logging
import os
import re
import signal
import time

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc

import users_pb2_grpc
from telemetry import Telemetry, from_environment, record_error
from users_pb2 import GetUserRequest, GetUserResponse

GET_USER = "extproc.examples.users.v1.UserService/GetUser"

_USERS = {
    "1": GetUserResponse(id="1", name="Alice", email="alice@example.com"),
    "2": GetUserResponse(id="2", name="Bob", email="bob@example.com"),
}
_ID = re.compile("[0-9]{1,9}")
_GRACE_SECONDS = 5.0


class RefusedError(Exception):
    """A call that is answered with `code`."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class UserService(users_pb2_grpc.UserServiceServicer):
    """Looks users up, in a span per call."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def GetUser(  # noqa: N802  gRPC names it
        self, request: GetUserRequest, context: "grpc.aio.ServicerContext[GetUserRequest, GetUserResponse]"
    ) -> GetUserResponse:
        """Answer one call; what goes wrong is on its span."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        attributes = {"rpc.system.name": "grpc", "rpc.method": GET_USER}
        began, code = time.perf_counter(), grpc.StatusCode.OK
        with self._telemetry.serving(GET_USER, metadata, attributes) as span:
            try:
                user = _find(request.id)
            except RefusedError as refused:
                code = refused.code
                record_error(span, code.name, refused)
                await context.abort(code, str(refused))
            except Exception as error:
                code = grpc.StatusCode.UNKNOWN  # which gRPC makes of it
                record_error(span, code.name, error)
                raise
            else:
                span.set_attribute("user.id", user.id)
                return user
            finally:
                span.set_attribute("rpc.response.status_code", code.name)
                self._telemetry.count_call(GET_USER, code.name, time.perf_counter() - began)


def _find(user_id: str) -> GetUserResponse:
    if not _ID.fullmatch(user_id):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "a user id is one to nine digits")
    if user_id not in _USERS:
        raise RefusedError(grpc.StatusCode.NOT_FOUND, f"there is no user {user_id}")
    return _USERS[user_id]


async def serve(telemetry: Telemetry, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; calls in flight have a few seconds to end."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    users_pb2_grpc.add_UserServiceServicer_to_server(UserService(telemetry), server)
    healthy = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    logging.getLogger("grpc_service").info("listening on %s:%d", host, port)
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    await told_to_stop.wait()
    await healthy.enter_graceful_shutdown()
    await server.stop(_GRACE_SECONDS)


def main() -> None:
    """Run the service."""
    logging.basicConfig(level=logging.INFO)
    telemetry = from_environment()
    try:
        asyncio.run(serve(telemetry, os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9090"))))
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    main()

"""An ordinary HTTP service behind Envoy. It runs twice, as user-service and as order-service.

GET /api/orders/{id} asks for GET /api/users/{id}, which asks UserService.GetUser, both through Envoy again: one trace
shows every hop. HOST and PORT say where it listens (127.0.0.1:8080), ENVOY_URL and ENVOY_GRPC_TARGET where Envoy does
(port 10000), OTEL_SERVICE_NAME who it is, and the other OTEL_* what becomes of its telemetry.
"""

import logging
import os
import time
from collections.abc import AsyncIterator

import aiohttp
import grpc
import grpc.aio
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from telemetry import Telemetry, from_environment, record_error
from users_pb2 import GetUserRequest, GetUserResponse
from users_pb2_grpc import UserServiceStub

GET_USER = "extproc.examples.users.v1.UserService/GetUser"

_USERS = {"1": "Alice", "2": "Bob"}
_ORDERS = {"1": {"id": "1", "user": "1", "amount": 100.0}, "2": {"id": "2", "user": "2", "amount": 200.0}}

_PROBES = frozenset({"/health", "/ready"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_NO_ROUTE = "*"
_SERVER_ERROR = 500
_MOST_CHARACTERS = 256
"""What a span keeps of anything that a client made up."""

_HTTP_SECONDS, _GRPC_SECONDS = 5.0, 2.0
_GRPC_ANSWERS = {
    grpc.StatusCode.NOT_FOUND: web.HTTPNotFound,
    grpc.StatusCode.DEADLINE_EXCEEDED: web.HTTPGatewayTimeout,
}
_SHUTDOWN_SECONDS = 5.0
_KEEPALIVE_SECONDS = 3700.0
"""Longer than Envoy keeps an idle connection, an hour: else it would send on one that we are just closing."""


class Mesh:
    """The other services, to which Envoy leads. Where they have no answer, raises the HTTP error to answer with."""

    def __init__(
        self, telemetry: Telemetry, url: URL, session: aiohttp.ClientSession, target: str, channel: grpc.aio.Channel
    ) -> None:
        self._telemetry, self._url, self._session = telemetry, url, session
        self._stub = UserServiceStub(channel)
        self._http_attributes = _server(url) | {"http.request.method": "GET"}
        self._grpc_attributes = _server(URL(f"grpc://{target}")) | {"rpc.system.name": "grpc", "rpc.method": GET_USER}

    async def user(self, user_id: str) -> object:
        """GET /api/users/{id} of user-service."""
        url = self._url / "api/users" / user_id
        attributes = self._http_attributes | {"url.full": str(url)}
        with self._telemetry.calling("GET /api/users/{id}", attributes) as (span, headers):
            try:
                async with self._session.get(url, headers=headers) as response:
                    span.set_attribute("http.response.status_code", response.status)
                    response.raise_for_status()
                    return await response.json()
            except (aiohttp.ClientError, TimeoutError) as error:
                record_error(span, str(getattr(error, "status", type(error).__name__)), error)
                late = isinstance(error, TimeoutError)
                raise (web.HTTPGatewayTimeout if late else web.HTTPBadGateway) from error

    async def user_details(self, user_id: str) -> GetUserResponse:
        """UserService.GetUser of grpc-service."""
        with self._telemetry.calling(GET_USER, self._grpc_attributes) as (span, headers):
            code = grpc.StatusCode.OK
            try:
                request = GetUserRequest(id=user_id)
                metadata = tuple(headers.items())
                user: GetUserResponse = await self._stub.GetUser(request, timeout=_GRPC_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                record_error(span, code.name, error)
                raise _GRPC_ANSWERS.get(code, web.HTTPBadGateway) from error
            finally:
                span.set_attribute("rpc.response.status_code", code.name)
            return user


def _server(url: URL) -> dict[str, str | int]:
    return {"server.address": str(url.host), "server.port": int(url.port or 0)}


_TELEMETRY = web.AppKey("telemetry", Telemetry)
_MESH = web.AppKey("mesh", Mesh)
_routes = web.RouteTableDef()


@_routes.get("/")
async def _home(request: web.Request) -> web.Response:
    return web.Response(text=f"Hello from {request.app[_TELEMETRY].service} behind Envoy!\n")


@_routes.get("/api/users")
async def _list_users(_request: web.Request) -> web.Response:
    return web.json_response({"users": [{"id": user_id, "name": name} for user_id, name in _USERS.items()]})


@_routes.get("/api/users/{id:[0-9]{1,9}}")
async def _get_user(request: web.Request) -> web.Response:
    user = await request.app[_MESH].user_details(request.match_info["id"])
    return web.json_response({"id": user.id, "name": user.name, "email": user.email})


@_routes.get("/api/orders")
async def _list_orders(_request: web.Request) -> web.Response:
    return web.json_response({"orders": list(_ORDERS.values())})


@_routes.get("/api/orders/{id:[0-9]{1,9}}")
async def _get_order(request: web.Request) -> web.Response:
    order = _ORDERS.get(request.match_info["id"])
    if order is None:
        raise web.HTTPNotFound
    return web.json_response(order | {"user": await request.app[_MESH].user(str(order["user"]))})


@_routes.get("/health")
async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


@_routes.get("/ready")
async def _ready(_request: web.Request) -> web.Response:
    # There is nothing to wait for: who waited for Envoy would wait for one that waits for us.
    return web.json_response({"status": "ready"})


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Span and metrics of a request, named by its route and never by its path, which anybody can make up."""
    route = _route(request)
    if route in _PROBES:
        return await handler(request)
    telemetry = request.app[_TELEMETRY]
    method = request.method if request.method in _METHODS else "_OTHER"
    began, status = time.perf_counter(), _SERVER_ERROR
    with telemetry.serving(_span_name(method, route), request.headers, _attributes(request, method, route)) as span:
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            status = refusal.status
            raise
        except Exception as error:
            span.record_exception(error)
            raise
        else:
            status = response.status
            return response
        finally:
            span.set_attribute("http.response.status_code", status)
            if status >= _SERVER_ERROR:
                record_error(span, str(status))
            telemetry.count_request(method, route, status, time.perf_counter() - began)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return _NO_ROUTE if resource is None else resource.canonical


def _span_name(method: str, route: str) -> str:
    verb = "HTTP" if method == "_OTHER" else method
    return verb if route == _NO_ROUTE else f"{verb} {route}"


def _attributes(request: web.Request, method: str, route: str) -> dict[str, str]:
    """OpenTelemetry's stable HTTP conventions, of what is known when a request comes."""
    attributes = {
        "http.request.method": method,
        "url.scheme": request.scheme,
        "url.path": request.rel_url.raw_path[:_MOST_CHARACTERS],
        "user_agent.original": request.headers.get("user-agent", "")[:_MOST_CHARACTERS],
    }
    return attributes if route == _NO_ROUTE else attributes | {"http.route": route}


def application(telemetry: Telemetry, envoy_url: str, grpc_target: str) -> web.Application:
    """The service, as aiohttp runs it."""

    async def mesh(app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=_HTTP_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, grpc.aio.insecure_channel(grpc_target) as channel:
            app[_MESH] = Mesh(telemetry, URL(envoy_url), session, grpc_target, channel)
            yield

    app = web.Application(middlewares=[_observe])
    app[_TELEMETRY] = telemetry
    app.cleanup_ctx.append(mesh)
    app.add_routes(_routes)
    return app


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests in flight have a few seconds to end."""
    logging.basicConfig(level=logging.INFO)
    telemetry = from_environment()
    envoy_url = os.environ.get("ENVOY_URL", "http://127.0.0.1:10000")
    try:
        web.run_app(
            application(telemetry, envoy_url, os.environ.get("ENVOY_GRPC_TARGET", "127.0.0.1:10000")),
            host=os.environ.get("HOST", "127.0.0.1"),
            port=int(os.environ.get("PORT", "8080")),
            shutdown_timeout=_SHUTDOWN_SECONDS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            access_log=None,
            print=logging.getLogger("http_service").info,
        )
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    main()

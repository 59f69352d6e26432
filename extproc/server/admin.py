"""The admin HTTP server: liveness, readiness, the active policy, metrics. It shows and changes nothing."""

import dataclasses
import ipaddress
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from extproc.server.address import Address
from extproc.server.listen import ListenError


class Status(Protocol):
    """What the admin server shows."""

    @property
    def ready(self) -> bool:
        """Whether traffic should come."""

    async def policy(self) -> dict[str, Any]:
        """The answer to /policy."""

    async def metrics(self) -> tuple[bytes, str]:
        """The answer to /metrics and its content type."""


class Admin:
    """Answers GET and HEAD on one address."""

    def __init__(self, status: Status) -> None:
        self._status = status
        app = web.Application(middlewares=[_errors_as_json])
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/policy", self._policy)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)

    async def start(self, address: Address) -> Address:
        """Listen, and return the address with its real port.

        Raises:
            ListenError: the address is taken.
        """
        await self._runner.setup()
        site = (
            web.UnixSite(self._runner, address.path)
            if address.path
            else web.TCPSite(self._runner, address.host, address.port)
        )
        try:
            await site.start()
        except OSError as error:
            raise ListenError(f"cannot listen on {address} for admin: {os.strerror(error.errno or 0)}") from error
        return address if address.path else dataclasses.replace(address, port=self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._status.ready:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready"}, status=503)

    async def _policy(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._status.policy())

    async def _metrics(self, _request: web.Request) -> web.Response:
        body, content_type = await self._status.metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach the address."""
    if address.path or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return web.json_response({"error": error.reason.lower()}, status=error.status, headers=headers)

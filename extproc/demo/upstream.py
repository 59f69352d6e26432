"""A sample service behind Envoy that notes what reached it."""

import asyncio
import random

from aiohttp import web

from extproc.demo.evidence import Seen
from extproc.engine.tracecontext import parse_traceparent

DEMO_ID = "x-demo-id"
"""The client's name for a request; an upstream's answer repeats it, which no answer of Envoy's own does."""

_MEDIAN_MILLISECONDS = 18.0
_SPREAD = 1.0
_LEAST_SECONDS, _MOST_SECONDS = 0.002, 0.333
_ERROR_SHARE = 0.02
_ERRORS = (500, 503)
_CACHE_HITS = 0.7
_IDLE_SECONDS = 3600.0
"""Longer than any demo: a connection that we close just as Envoy sends on it would be a failed request."""


class Upstream:
    """Answers anything, after a while, and sometimes with an error.

    Attributes:
        port: Where it listens on 127.0.0.1; 0 before `start`.
        seen: Every request that arrived, with its trace id and sampled flag; both are empty if it had no traceparent.
    """

    def __init__(self, service: str, rng: random.Random) -> None:
        self.port = 0
        self.seen: list[Seen] = []
        self._service = service
        self._rng = rng
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, keepalive_timeout=_IDLE_SECONDS, shutdown_timeout=0.2
        )

    async def start(self) -> None:
        """Listen on a free port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        demo_id = request.headers.get(DEMO_ID, "")
        status = self._draw_status(request)
        trace = parse_traceparent(request.headers.get("traceparent"))
        trace_id, sampled = (trace.trace_id, trace.sampled) if trace else ("", False)
        self.seen.append(Seen(demo_id, self._service, trace_id, sampled, status))
        await asyncio.sleep(self._draw_seconds(request))
        headers = {DEMO_ID: demo_id, "x-cache": "hit" if self._rng.random() < _CACHE_HITS else "miss"}
        return web.json_response({"service": self._service, "path": request.path}, status=status, headers=headers)

    def _draw_status(self, request: web.Request) -> int:
        if request.path != "/health" and self._rng.random() < _ERROR_SHARE:
            return self._rng.choice(_ERRORS)
        return 201 if request.method == "POST" else 200

    def _draw_seconds(self, request: web.Request) -> float:
        """Most answers are quick, a few take long, none longer than a third of a second."""
        if request.path == "/health":
            return _LEAST_SECONDS
        drawn = _MEDIAN_MILLISECONDS / 1000 * self._rng.lognormvariate(0, _SPREAD)
        return min(max(drawn, _LEAST_SECONDS), _MOST_SECONDS)

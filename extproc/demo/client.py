"""The demo's client: a steady mix of requests through Envoy, never more at once than it should."""

import asyncio
import itertools
import random
from collections.abc import Callable

import aiohttp

from extproc.demo.evidence import Sent
from extproc.demo.requests import Request, draw_request
from extproc.demo.upstream import DEMO_ID

_REQUESTS_PER_SECOND = 200
_AT_ONCE = 64
_CATCH_UP_SECONDS = 0.1
"""Requests that are late by more are left out: a machine that was busy is not flooded afterwards."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Client:
    """Sends requests to `base_url`.

    Attributes:
        sent: Every request that is over, answered or not.
    """

    def __init__(self, base_url: str, rng: random.Random) -> None:
        self.sent: list[Sent] = []
        self._base_url = base_url
        self._rng = rng
        self._numbers = itertools.count(1)

    async def run(self, duration_seconds: float, go_on: Callable[[float], bool]) -> None:
        """Send for `duration_seconds`, or until `go_on`, given the seconds run, says no; wait for the last answers."""
        loop, slots = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)
        began = due = loop.time()
        connector = aiohttp.TCPConnector(limit=_AT_ONCE)
        async with (
            aiohttp.ClientSession(self._base_url, connector=connector, timeout=_TIMEOUT) as session,
            asyncio.TaskGroup() as requests,
        ):
            while (now := loop.time()) < began + duration_seconds and go_on(now - began):
                await asyncio.sleep(due - now)
                await slots.acquire()
                requests.create_task(self._send(session, slots))
                due = max(due + 1 / _REQUESTS_PER_SECOND, loop.time() - _CATCH_UP_SECONDS)

    async def _send(self, session: aiohttp.ClientSession, slots: asyncio.Semaphore) -> None:
        request, demo_id = draw_request(self._rng), str(next(self._numbers))
        try:
            status, served = await _ask(session, request, demo_id)
        except (aiohttp.ClientError, TimeoutError):
            status, served = None, False
        finally:
            slots.release()
        self.sent.append(Sent(demo_id, request.policy, request.tags, request.parent, status, served))


async def _ask(session: aiohttp.ClientSession, request: Request, demo_id: str) -> tuple[int, bool]:
    headers = request.headers | {DEMO_ID: demo_id}
    async with session.request(request.method, request.path, headers=headers) as response:
        await response.read()
        return response.status, response.headers.get(DEMO_ID) == demo_id

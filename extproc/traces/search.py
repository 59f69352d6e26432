"""Asks Jaeger for traces, over `/api/traces`, which has been the same since Jaeger 1 and which other stores speak too.

The newer `/api/v3/traces` takes no tags over HTTP in Jaeger 2.13, and its parameters were renamed in 2.20.
"""

import os
import time
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from json import dumps
from typing import Final

import aiohttp
from yarl import URL

from extproc.traces.answer import read_error, read_services, read_traces
from extproc.traces.printable import printable
from extproc.traces.query import Query
from extproc.traces.trace import Trace

LARGEST_BYTES: Final = 64 * 1024 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
_OK: Final = 200
_SERVICES_COMPARED: Final = 2_000
_MICROSECONDS: Final = 1_000_000


class SearchError(Exception):
    """There is no answer, or none that can be used; its text says why and what to try."""


async def search(jaeger: URL, query: Query) -> tuple[Trace, ...]:
    """Return the traces that Jaeger has, those that began last first.

    Args:
        jaeger: Where its query API is, with the prefix that it may be served under.
        query: What is asked for.

    Raises:
        SearchError: Jaeger can't be reached, what answers is not Jaeger, it reports an error, or it has never heard of
            the service.
    """
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        client = _Client(session, jaeger)
        traces = await client.traces(query)
        if not traces:
            await client.know(query.service)
    return traces


class _Client:
    """One Jaeger."""

    def __init__(self, session: aiohttp.ClientSession, jaeger: URL) -> None:
        self._session = session
        self._base = jaeger
        self._name = str(jaeger.with_user(None))  # whoever reads the error need not know the password

    async def traces(self, query: Query) -> tuple[Trace, ...]:
        """Search."""
        now_us = int(time.time() * _MICROSECONDS)
        parameters = {
            "service": query.service,
            "start": str(now_us - query.since_seconds * _MICROSECONDS),
            "end": str(now_us),
            "limit": str(query.limit),
        }
        if query.tags:
            parameters["tags"] = dumps(dict(query.tags))
        body = await self._get("api/traces", parameters)
        try:
            return read_traces(body)
        except ValueError as error:
            raise self._not_jaeger(str(error)) from error

    async def know(self, service: str) -> None:
        """Return if Jaeger has ever had a span of the service."""
        body = await self._get("api/services", {})
        try:
            services = read_services(body)
        except ValueError as error:
            raise self._not_jaeger(str(error)) from error
        if service in services:
            return
        known = tuple(islice(services, _SERVICES_COMPARED))
        near = get_close_matches(service, known, 3, 0.5) or sorted(known)[:10]
        told = f"; it knows {', '.join(map(printable, near))}" if near else ", nor any other: no span has reached it"
        raise SearchError(f"Jaeger knows no service {service!r}{told}")

    async def _get(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Fetch one page, of LARGEST_BYTES at most, that Jaeger answered with 200."""
        url = self._base / path
        try:
            async with self._session.get(url, params=parameters, allow_redirects=False) as response:
                body = await _read(response)
        except TimeoutError as error:
            raise SearchError(f"{self._name} does not answer; ask for less with --since and --limit") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            told = f"no answer from Jaeger at {self._name}: {printable(_reason(error))}"
            raise SearchError(f"{told}; --jaeger says where it is") from error
        except aiohttp.ClientError as error:
            raise self._not_jaeger(str(error)) from error
        if response.status != _OK:
            raise self._refused(response, body)
        return body

    def _refused(self, response: aiohttp.ClientResponse, body: bytes) -> SearchError:
        if (message := read_error(body)) is not None:
            return SearchError(f"Jaeger answers {response.status}: {printable(message)}")
        target = response.headers.get("Location")
        return self._not_jaeger(f"status {response.status}" + (f", to {target}" if target else ""))

    def _not_jaeger(self, reason: str) -> SearchError:
        told = f"what answers at {self._name} is not Jaeger's query API ({printable(reason)})"
        return SearchError(f"{told}; that has port 16686 where nobody changed it")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body, which may be compressed, but no more of it than we want to hold."""
    parts: list[bytes] = []
    length = 0
    async for part in response.content.iter_any():
        length += len(part)
        if length > LARGEST_BYTES:
            raise SearchError(
                f"Jaeger's answer is larger than {LARGEST_BYTES // 1024**2} MiB; ask for less with --since and --limit"
            )
        parts.append(part)
    return b"".join(parts)


def _reason(error: aiohttp.ClientError) -> str:
    """Why there is no connection, as the system says it where aiohttp wraps that into more."""
    cause = error.__cause__
    return os.strerror(cause.errno) if isinstance(cause, ConnectionError) and cause.errno else str(cause or error)

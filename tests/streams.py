"""A client that speaks ext_proc in raw bytes, as Envoy does: one stream per request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from helpers import Reply, read_reply, request_headers, response_headers

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

REQUEST = request_headers(
    {":method": "GET", ":path": "/", ":authority": "shop.example.com", ":scheme": "http"},
    {"xds.cluster_name": "shop", "source.address": "127.0.0.1:40000"},
)
RESPONSE = response_headers({":status": "200"}, {"response.code": 200})

Channel = Any  # grpc.aio.Channel, of which the stubs demand serializers
Call = Any  # grpc.aio.StreamStreamCall[bytes, bytes], generic in the stubs alone


def open_stream(channel: Channel, traceparent: str | None = None, *, wait_for_ready: bool = True) -> Call:
    """Begin a stream."""
    metadata = (("traceparent", traceparent),) if traceparent else ()
    return channel.stream_stream(METHOD)(metadata=metadata, wait_for_ready=wait_for_ready)


async def say(call: Call, message: bytes, timeout_seconds: float = 10) -> Reply:
    """Send one message and read its reply."""
    async with asyncio.timeout(timeout_seconds):
        await call.write(message)
        return read_reply(await call.read())


async def finish(call: Call) -> grpc.StatusCode:
    """Half-close, as Envoy does after the last reply, and return the status."""
    await call.done_writing()
    code: grpc.StatusCode = await call.code()
    return code


async def exchange(target: str, *, channel: Channel | None = None) -> Reply:
    """One whole request and response; the reply to request headers."""
    if channel is None:
        async with grpc.aio.insecure_channel(target) as own:
            return await exchange(target, channel=own)
    call = open_stream(channel)
    reply = await say(call, REQUEST)
    await say(call, RESPONSE)
    await finish(call)
    return reply


@asynccontextmanager
async def stream(target: str) -> AsyncIterator[Call]:
    """A stream on a channel of its own whose request headers are answered."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = open_stream(channel)
        await say(call, REQUEST)
        yield call

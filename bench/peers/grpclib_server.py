"""The job on envoy-data-plane and grpclib: `python -m bench.peers.grpclib_server HOST:PORT SERVICES RATIO`."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    CommonResponse,
    ExternalProcessorBase,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from envoy_data_plane.google.protobuf import Struct, Value
from grpclib.events import RecvRequest, listen
from grpclib.server import Server

from bench.peers.job import ATTRIBUTES, FORCE_TRACE, NAMESPACE, Sampler, histograms

_traceparent: ContextVar[str] = ContextVar("traceparent")


class Processor(ExternalProcessorBase):
    """Answers Envoy."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._upstream, self._downstream = histograms()

    async def process(self, messages: AsyncIterator[ProcessingRequest]) -> AsyncIterator[ProcessingResponse]:
        """Serve one HTTP request."""
        began = answered = time.monotonic()
        service: dict[str, str] = {}
        try:
            async for message in messages:
                if message.request_headers is not None:
                    service = {"service": _service(message)}
                    yield self._request_headers(message)
                    answered = time.monotonic()
                elif message.response_headers is not None:
                    self._upstream.record(time.monotonic() - answered, service)
                    yield ProcessingResponse(response_headers=HeadersResponse())
                elif message.response_trailers is not None:
                    yield ProcessingResponse(response_trailers=TrailersResponse())
        finally:
            self._downstream.record(time.monotonic() - began, service)

    def _request_headers(self, message: ProcessingRequest) -> ProcessingResponse:
        assert message.request_headers is not None  # noqa: S101  the caller has looked
        sent = message.request_headers.headers
        headers = {header.key: header.raw_value.decode() for header in sent.headers} if sent else {}
        decision = self._sampler.decide(headers, _traceparent.get(""))
        response = HeadersResponse(response=_force() if decision.force else None)
        tags = {name: _value(value) for name, value in decision.tags.items()}
        metadata = Struct(fields={NAMESPACE: Value(struct_value=Struct(fields=tags))})
        return ProcessingResponse(request_headers=response, dynamic_metadata=metadata)


def _service(message: ProcessingRequest) -> str:
    return message.attributes[ATTRIBUTES].fields["xds.cluster_name"].string_value or ""


def _force() -> CommonResponse:
    header = HeaderValue(key=FORCE_TRACE, raw_value=b"true")
    action = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    mutation = HeaderMutation(set_headers=[HeaderValueOption(header=header, append_action=action)])
    return CommonResponse(header_mutation=mutation, clear_route_cache=True)


def _value(value: str | float) -> Value:
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


async def _note(event: RecvRequest) -> None:
    _traceparent.set(str(event.metadata.get("traceparent", "")))


async def serve(address: str, services: int, ratio: float) -> None:
    """Serve until it is killed."""
    server = Server([Processor(Sampler(services, ratio))])
    listen(server, RecvRequest, _note)
    host, _, port = address.rpartition(":")
    await server.start(host, int(port))
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))

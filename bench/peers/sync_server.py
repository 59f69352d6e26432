"""The job on grpc's threaded server: `python -m bench.peers.sync_server HOST:PORT SERVICES RATIO`.

Messages are read and built by classes generated from the .proto, as one would do; here those of proto/.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from bench.peers.job import ATTRIBUTES, FORCE_TRACE, NAMESPACE, Sampler, histograms
from extproc.engine import wire_pb2 as pb

_THREADS = 300  # a request has one for as long as it lasts


class Processor:
    """Answers Envoy."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._upstream, self._downstream = histograms()

    def process(
        self,
        messages: Iterator[pb.ProcessingRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[pb.ProcessingResponse]:
        """Serve one HTTP request."""
        traceparent = str(dict(context.invocation_metadata()).get("traceparent", ""))
        began = answered = time.monotonic()
        service: dict[str, str] = {}
        try:
            for message in messages:
                response = pb.ProcessingResponse()
                match message.WhichOneof("request"):
                    case "request_headers":
                        service = {"service": message.attributes[ATTRIBUTES].fields["xds.cluster_name"].string_value}
                        self._answer(message, traceparent, response)
                        answered = time.monotonic()
                    case "response_headers":
                        self._upstream.record(time.monotonic() - answered, service)
                        response.response_headers.SetInParent()
                    case _:
                        response.response_trailers.SetInParent()
                yield response
        except grpc.RpcError:  # the ordinary end: Envoy needs nothing more
            pass
        finally:
            self._downstream.record(time.monotonic() - began, service)

    def _answer(self, message: pb.ProcessingRequest, traceparent: str, response: pb.ProcessingResponse) -> None:
        headers = {header.key: header.raw_value.decode() for header in message.request_headers.headers.headers}
        decision = self._sampler.decide(headers, traceparent)
        response.request_headers.SetInParent()
        response.dynamic_metadata.update({NAMESPACE: decision.tags})
        if decision.force:
            common = response.request_headers.response
            common.clear_route_cache = True
            option = common.header_mutation.set_headers.add(append_action=pb.OVERWRITE_IF_EXISTS_OR_ADD)
            option.header.key, option.header.raw_value = FORCE_TRACE, b"true"


def serve(address: str, services: int, ratio: float) -> None:
    """Serve until it is killed."""
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    handler = grpc.stream_stream_rpc_method_handler(
        Processor(Sampler(services, ratio)).process,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Process": handler}),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

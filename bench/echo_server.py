"""What is compared with: a bare grpc.aio server on uvloop that answers 'continue' to everything, without looking."""

import sys

import grpc
import uvloop

# ProcessingResponse with nothing but its oneof set, by the first byte of the request: fields 2, 3 and 7 of
# ProcessingRequest are request headers, response headers and response trailers, answered by 1, 2 and 6.
ANSWERS = {0x12: b"\x0a\x00", 0x1A: b"\x12\x00", 0x3A: b"\x32\x00"}


async def process(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    """Echoes one stream."""
    while (message := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
        await context.write(ANSWERS[message[0]])


async def serve(address: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(process)
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Process": handler}),))
    server.add_insecure_port(address)
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

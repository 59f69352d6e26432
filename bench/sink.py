"""An OTLP receiver that throws everything away unread: `python -m bench.sink PORT`."""

import sys

import grpc
import uvloop


class _Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic for the stubs alone
    """Answers every method with an empty message, which stands for a full success in OTLP."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(_take)


async def _take(request: bytes, context: object) -> bytes:
    del request, context
    return b""


async def serve(port: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Anything(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

"""The sample gRPC service, over a real connection."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from example_record import Record
from grpc_service import GET_USER, UserService
from users_pb2 import GetUserRequest, GetUserResponse
from users_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
CONVENTIONS = {"rpc.system.name": "grpc", "rpc.method": GET_USER}


def _called(record: Record, check: Callable[[UserServiceStub], Awaitable[None]]) -> None:
    async def main() -> None:
        server = grpc.aio.server()
        add_UserServiceServicer_to_server(UserService(record.telemetry), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await check(UserServiceStub(channel))
        await server.stop(None)

    asyncio.run(main())


def test_a_user_is_found_in_a_span_of_the_callers_trace() -> None:
    """The answer is the user; the span is named by the method and belongs to the trace that the metadata name."""
    record = Record()

    async def check(stub: UserServiceStub) -> None:
        metadata = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
        answer = await stub.GetUser(GetUserRequest(id="1"), metadata=metadata)
        assert GetUserResponse(id="1", name="Alice", email="alice@example.com") == answer

    _called(record, check)
    (span,) = record.spans()
    assert (GET_USER, SpanKind.SERVER) == (span.name, span.kind)
    assert span.parent is not None
    assert (TRACE, 0xB7AD6B7169203331) == (f"{span.context.trace_id:032x}", span.parent.span_id)
    assert CONVENTIONS | {"user.id": "1", "rpc.response.status_code": "OK"} == dict(span.attributes or {})
    assert StatusCode.UNSET == span.status.status_code
    assert {
        "rpc.server.call.duration": [(CONVENTIONS | {"rpc.response.status_code": "OK"}, 1)],
    } == record.points()


@pytest.mark.parametrize(
    ("user_id", "code", "message"),
    [
        ("99", "NOT_FOUND", "there is no user 99"),
        ("", "INVALID_ARGUMENT", "a user id is one to nine digits"),
        ("1234567890", "INVALID_ARGUMENT", "a user id is one to nine digits"),
        ("1\n", "INVALID_ARGUMENT", "a user id is one to nine digits"),
        ("x" * 10_000, "INVALID_ARGUMENT", "a user id is one to nine digits"),
    ],
    ids=["nobody", "empty", "long", "line feed", "very long"],
)
def test_errors_are_on_the_span(user_id: str, code: str, message: str) -> None:
    """A refused call has its code as the answer, on the span with what was raised, and in the metric."""
    record = Record()

    async def check(stub: UserServiceStub) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetUser(GetUserRequest(id=user_id))
        assert (code, message) == (caught.value.code().name, caught.value.details())

    _called(record, check)
    (span,) = record.spans()
    assert (StatusCode.ERROR, message) == (span.status.status_code, span.status.description)
    failed = {"rpc.response.status_code": code, "error.type": code}
    assert CONVENTIONS | failed == dict(span.attributes or {})
    (event,) = span.events
    assert "exception" == event.name
    assert message == (event.attributes or {})["exception.message"]
    assert [(CONVENTIONS | failed, 1)] == record.points()["rpc.server.call.duration"]


def test_a_mistake_of_ours_is_on_the_span_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is raised is recorded as well, under the code that gRPC answers then."""
    record = Record()
    monkeypatch.setattr("grpc_service._find", lambda _user_id: 1 // 0)

    async def check(stub: UserServiceStub) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetUser(GetUserRequest(id="1"))
        assert grpc.StatusCode.UNKNOWN == caught.value.code()

    _called(record, check)
    (span,) = record.spans()
    assert (StatusCode.ERROR, "UNKNOWN") == (span.status.status_code, (span.attributes or {})["error.type"])
    assert ["exception"] == [event.name for event in span.events]

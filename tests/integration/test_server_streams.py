"""A real server process, spoken to as Envoy does: streams, health, metrics."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2

from helpers import request_headers
from server_process import serving
from streams import REQUEST, RESPONSE, Channel, exchange, finish, open_stream, say, stream

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
POLICY = """
tracing:
  sampling: {policy: always_off}
  policies:
    - name: users
      match: {path: "/api/users/{id}"}
      sampling: {policy: always_on}
      custom_tags: [{tag: id, path: id}]
"""
USERS = request_headers(
    {":method": "GET", ":path": "/api/users/7", ":authority": "a", ":scheme": "http"},
    {"xds.cluster_name": "users", "source.address": "10.0.0.9:555"},
)


def test_answers_on_every_address(tmp_path: Path) -> None:
    """TCP and Unix sockets may be served side by side, and each answers by the policy."""
    socket = tmp_path / "extproc.sock"

    async def talk(target: str) -> dict[str, object]:
        async with grpc.aio.insecure_channel(target) as channel:
            call = open_stream(channel, SAMPLED)
            reply = await say(call, USERS)
            await say(call, RESPONSE)
            assert grpc.StatusCode.OK == await finish(call)
            return reply.metadata

    with serving(tmp_path, POLICY, "--listen", f"unix:{socket}", "--listen", "127.0.0.1:0") as server:
        assert 2 == len(server.grpc)
        for target in server.grpc:
            metadata = asyncio.run(talk(target))
            assert "7" == metadata["id"]
        assert 0 == server.stop()
        assert not socket.exists()


def test_counts_are_exact_when_read(tmp_path: Path) -> None:
    """Whatever has ended before /metrics or /policy is read is in it."""

    async def talk(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            await asyncio.gather(*(exchange(target, channel=channel) for _ in range(20)))
            call = open_stream(channel)
            await say(call, USERS)
            await finish(call)

    with serving(tmp_path, POLICY) as server:
        asyncio.run(talk(server.grpc[0]))
        view = server.policy_view()
        assert {"requests": 20, "sampled": 0, "by_reason": {"default": 20}} == view["default"]["counters"]
        assert {"requests": 1, "sampled": 1, "by_reason": {"policy": 1}} == view["policies"][0]["counters"]
        shop = '{method="GET",path="*",service="shop",status_code="200"}'
        assert 20 == server.metric(f"envoy_http_requests_total{shop}")
        assert 1 == server.metric('envoy_errors_total{error_type="stream_reset"}')
        assert 21 == server.metric('extproc_message_duration_seconds_count{phase="request_headers"}')
        assert 0 == server.metric("envoy_active_connections")


def test_counts_connections_with_a_request_in_flight(tmp_path: Path) -> None:
    """Two requests of one downstream connection count once, for as long as one of them is in flight."""

    async def talk(target: str) -> None:
        async with stream(target) as first, stream(target) as second:
            assert 1 == await asyncio.to_thread(server.metric, "envoy_active_connections")
            await finish(first)
            assert 1 == await asyncio.to_thread(server.metric, "envoy_active_connections")
            second.cancel()
        await asyncio.to_thread(server.poll, gone, "reset stream's end")

    def gone() -> bool | None:
        return server.metric("envoy_active_connections") == 0 or None

    with serving(tmp_path) as server:
        asyncio.run(talk(server.grpc[0]))


def test_unreadable_message_is_answered_and_logged_once(tmp_path: Path) -> None:
    """What we cannot read gets 'continue', a count, and one line a minute that does not quote it."""

    async def talk(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            for _ in range(3):
                call = open_stream(channel)
                assert "request_headers" == (await say(call, b"\x12\xffsecret")).phase
                await finish(call)

    with serving(tmp_path) as server:
        asyncio.run(talk(server.grpc[0]))
        assert 3 == server.metric('extproc_stream_errors_total{type="unreadable"}')
        assert 1 == len(server.logs("stream error"))
        assert "secret" not in server.log_text


def test_nothing_is_logged_per_request(tmp_path: Path) -> None:
    """A hundred requests, reset or not, leave no line behind."""

    async def talk(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            for _ in range(50):
                await exchange(target, channel=channel)
                call = open_stream(channel)
                await say(call, REQUEST)
                call.cancel()

    with serving(tmp_path, POLICY, "--log-level", "debug") as server:
        before = server.log_text
        asyncio.run(talk(server.grpc[0]))
        assert before == server.log_text


def test_health_service(tmp_path: Path) -> None:
    """grpc.health.v1 answers for the server and the ext_proc service; there is no reflection."""

    async def check(channel: Channel, service: str) -> int:
        method = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await method(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)
        return int(answer.status)

    async def talk(target: str) -> None:
        serving_status = health_pb2.HealthCheckResponse.SERVING
        async with grpc.aio.insecure_channel(target) as channel:
            untyped: Channel = channel
            assert serving_status == await check(channel, "")
            assert serving_status == await check(channel, "envoy.service.ext_proc.v3.ExternalProcessor")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(channel, "nothing")
            assert grpc.StatusCode.NOT_FOUND == caught.value.code()
            reflection = untyped.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reflection(b"")
            assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()

    with serving(tmp_path) as server:
        asyncio.run(talk(server.grpc[0]))


def test_body_that_envoy_buffers_is_accepted(tmp_path: Path) -> None:
    """A message of a few megabytes, more than gRPC takes by default, is answered."""

    async def talk(target: str) -> str | None:
        async with grpc.aio.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
            call = open_stream(channel)
            big = request_headers({":method": "GET", ":path": "/", "x-big": "x" * (6 << 20)})
            return (await say(call, big)).phase

    with serving(tmp_path) as server:
        assert "request_headers" == asyncio.run(talk(server.grpc[0]))


def test_aborted_streams_leave_nothing_behind(tmp_path: Path) -> None:
    """Thousands of requests that never end, each with a span of ours: every one is recorded, and memory stays flat."""
    rounds, each = 4, 1000
    policy = "tracing: {spans: {mode: emit}, sampling: {policy: always_on}}"

    async def abort(target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            for _ in range(each // 50):
                calls = [open_stream(channel) for _ in range(50)]
                await asyncio.gather(*(say(call, REQUEST) for call in calls))
                for call in calls:
                    call.cancel()

    with serving(tmp_path, policy, environment={"OTEL_BSP_MAX_QUEUE_SIZE": "512"}) as server:
        process = psutil.Process(server.process.pid)
        resident = []
        for number in range(rounds):
            asyncio.run(abort(server.grpc[0]))
            series = 'envoy_errors_total{error_type="stream_reset"}'
            server.poll(lambda: server.metric(series) == each * (number + 1) or None, series)  # noqa: B023  called at once
            resident.append(process.memory_info().rss)
        assert resident[-1] < 1.05 * resident[1]
        assert 0 == server.metric("envoy_active_connections")

"""The sample services as processes: how they start, export and stop."""

import asyncio
import re
import signal
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from example_process import ExampleProcess
from extproc.demo.otlp_receiver import attributes_of
from otlp_receiver import grpc_receiver, http_receiver, silent_listener
from users_pb2 import GetUserRequest
from users_pb2_grpc import UserServiceStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NEVER = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
"""Nothing is exported before the end."""


async def _get(process: ExampleProcess, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(process.url + path) as response:
        await response.read()
        return response.status


async def _health(process: ExampleProcess) -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return int(answer.status)


@pytest.mark.parametrize("script", [False, True], ids=["module", "script"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_http_service_starts_and_stops(tmp_path: Path, number: signal.Signals, *, script: bool) -> None:
    """Run either way it is ready once it says so, stops with 0, and without a collector says nothing of one."""
    with ExampleProcess(tmp_path, "http_service", {}, script=script) as process:
        assert [200, 200, 200] == [asyncio.run(_get(process, path)) for path in ("/ready", "/health", "/api/users")]
        assert 0 == process.stop(number)
        running = rf"INFO:http_service:=+ Running on {process.url} =+\n\(Press CTRL\+C to quit\)\n"
        assert re.fullmatch(running, process.log)


@pytest.mark.parametrize("script", [False, True], ids=["module", "script"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_grpc_service_starts_and_stops(tmp_path: Path, number: signal.Signals, *, script: bool) -> None:
    """The same of the gRPC service, whose health service says that it serves."""
    with ExampleProcess(tmp_path, "grpc_service", {}, script=script) as process:
        assert SERVING == asyncio.run(_health(process))
        assert 0 == process.stop(number)
        assert f"INFO:grpc_service:listening on 127.0.0.1:{process.port}\n" == process.log


def test_a_request_in_flight_is_answered(tmp_path: Path) -> None:
    """SIGTERM while another service keeps us waiting does not break off the request."""

    async def check() -> None:
        asked, released = asyncio.Event(), asyncio.Event()

        async def answer(_request: web.Request) -> web.Response:
            asked.set()
            await released.wait()
            return web.json_response({"id": "1"})

        upstream = web.Application()
        upstream.router.add_get("/api/users/1", answer)
        async with TestServer(upstream) as server:
            environment = {"ENVOY_URL": f"http://127.0.0.1:{server.port}"}
            with ExampleProcess(tmp_path, "http_service", environment) as process:
                request = asyncio.create_task(_get(process, "/api/orders/1"))
                await asked.wait()
                stopping = asyncio.create_task(asyncio.to_thread(process.stop))
                await _until_refused(process)
                released.set()
                assert (200, 0) == (await request, await stopping)

    asyncio.run(check())


async def _until_refused(process: ExampleProcess) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await _get(process, "/health")
            except aiohttp.ClientError:
                return
            await asyncio.sleep(0.02)


def test_what_is_left_is_exported_at_the_end(tmp_path: Path) -> None:
    """Spans and metrics that wait for their batch leave on SIGTERM, under the service's name and attributes."""

    async def check() -> None:
        async with grpc_receiver() as receiver:
            environment = NEVER | {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
                "OTEL_SERVICE_NAME": "order-service",
                "OTEL_RESOURCE_ATTRIBUTES": "service.version=2.0.0,deployment.environment.name=test,mesh=other",
            }
            with ExampleProcess(tmp_path, "http_service", environment) as process:
                assert 200 == await _get(process, "/api/orders")
                assert 0 == await asyncio.to_thread(process.stop)
            ((resource, span),) = receiver.spans
            assert "GET /api/orders" == span.name
            found = attributes_of(resource.attributes)
            assert found.pop("service.instance.id")
            assert {
                "service.name": "order-service",
                "service.version": "2.0.0",
                "deployment.environment.name": "test",
                "mesh": "other",
                "proxy": "envoy",
            } == {name: value for name, value in found.items() if not name.startswith("telemetry.sdk.")}
            assert 1 == receiver.value("envoy_http_requests_total", {"path": "/api/orders", "status_code": 200})

    asyncio.run(check())


def test_the_grpc_service_exports_at_the_end_too(tmp_path: Path) -> None:
    """Its span and its metric leave on SIGTERM."""

    async def check() -> None:
        async with grpc_receiver() as receiver:
            environment = NEVER | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}"}
            with ExampleProcess(tmp_path, "grpc_service", environment) as process:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
                    await UserServiceStub(channel).GetUser(GetUserRequest(id="2"))
                await _health(process)
                assert 0 == await asyncio.to_thread(process.stop)
            assert ["extproc.examples.users.v1.UserService/GetUser"] == [span.name for _, span in receiver.spans]
            assert 1 == receiver.value("rpc.server.call.duration", {"rpc.response.status_code": "OK"})

    asyncio.run(check())


def test_http_protobuf_and_a_signals_own_variables(tmp_path: Path) -> None:
    """OTLP over HTTP, metrics to an endpoint of their own and traces nowhere, as the variables say."""

    async def check() -> None:
        async with http_receiver() as receiver:
            environment = NEVER | {
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{receiver.port}/v1/metrics",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            }
            with ExampleProcess(tmp_path, "http_service", environment) as process:
                await _get(process, "/")
                assert 0 == await asyncio.to_thread(process.stop)
            assert ["/v1/metrics"] == receiver.paths
            scopes = receiver.metrics[0].resource_metrics[0].scope_metrics
            names = {metric.name for scope in scopes for metric in scope.metrics}
            assert {"envoy_http_requests_total", "envoy_http_request_duration_seconds"} == names

    asyncio.run(check())


def test_an_exporter_can_be_switched_off(tmp_path: Path) -> None:
    """OTEL_TRACES_EXPORTER=none leaves metrics alone."""

    async def check() -> None:
        async with grpc_receiver() as receiver:
            environment = NEVER | {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
                "OTEL_TRACES_EXPORTER": "none",
            }
            with ExampleProcess(tmp_path, "http_service", environment) as process:
                await _get(process, "/")
                assert 0 == await asyncio.to_thread(process.stop)
            assert [] == receiver.spans
            assert 1 == receiver.value("envoy_http_requests_total")

    asyncio.run(check())


def test_a_collector_that_is_silent_does_not_keep_it(tmp_path: Path) -> None:
    """The last export is given up before a container would be killed, which is 15 s in our compose file."""

    async def check() -> None:
        async with silent_listener() as port:
            environment = NEVER | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
            with ExampleProcess(tmp_path, "http_service", environment) as process:
                assert 200 == await _get(process, "/")
                began = asyncio.get_running_loop().time()
                assert 0 == await asyncio.to_thread(process.stop)
                assert asyncio.get_running_loop().time() - began < 15

    asyncio.run(check())

"""envoy/grpc.yaml: calls reach a healthy gRPC service, are tried again where that helps, and are traced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from envoy_files import GET_USER, Config, Edit, Mesh, change, clusters, limits, running
from extproc.demo.otlp_receiver import attributes_of
from system import ID

POLICY = """
tracing:
  sampling: {policy: always_on}
  custom_tags: [{tag: user_id, request_header: {name: x-user-id, default_value: unknown}}]
"""
ANN = b"\n\x03ann"

_HEALTHY = "cluster.grpc_service.membership_healthy"


@asynccontextmanager
async def _calling(folder: Path, name: str = "grpc.yaml", edit: Edit | None = None) -> AsyncIterator[tuple[Mesh, Any]]:
    """The mesh, and GetUser through its Envoy."""
    async with running(folder, name, POLICY, edit=edit) as mesh:
        await mesh.envoy.wait_for_stat(_HEALTHY, 1)
        channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{mesh.envoy.port}")  # whose stubs demand serializers
        async with channel:
            yield mesh, channel.unary_unary(GET_USER)


async def _code(call: Any, **metadata: str) -> grpc.StatusCode:  # noqa: ANN401  gRPC's
    """The status of a call, which is answered with its own request."""
    name = metadata.pop("name", "")
    try:
        assert ANN == await call(ANN, metadata=((ID, name), *metadata.items()))
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(("name", "service"), [("grpc.yaml", "envoy-grpc-proxy"), ("advanced.yaml", "envoy-proxy")])
def test_a_call_is_answered_counted_and_traced(tmp_path: Path, name: str, service: str) -> None:
    """The service sees the trace that Envoy exports, with the policy's tags, on both files that lead to it."""

    async def check() -> None:
        async with _calling(tmp_path, name) as (mesh, call):
            assert ANN == await call(ANN, metadata=((ID, "a"), ("x-user-id", "ann")))
            _, trace, _, flags = mesh.users.metadata["a"]["traceparent"].split("-")
            assert "01" == flags
            tags = await mesh.span(trace)
            assert ("ann", "grpc_service") == (tags["user_id"], tags["upstream_cluster"])
            assert "0" == tags["grpc.status_code"]
            assert {service} == {attributes_of(each.attributes)["service.name"] for each, _ in mesh.collector.spans}
            labels = '{method="POST",path="*",service="grpc_service",status_code="200"}'
            await mesh.wait_for_metric("envoy_http_requests_total" + labels, 1)
            assert "" == mesh.envoy.log

    asyncio.run(check())


@pytest.mark.parametrize("name", ["grpc.yaml", "advanced.yaml"])
def test_a_service_that_is_unavailable_is_asked_again(tmp_path: Path, name: str) -> None:
    """UNAVAILABLE is tried up to three times more; what is no use to try again is not."""

    async def check() -> None:
        async with _calling(tmp_path, name) as (mesh, call):
            assert grpc.StatusCode.OK is await _code(call, name="twice", fail="2")
            assert grpc.StatusCode.UNAVAILABLE is await _code(call, name="always", fail="9")
            assert grpc.StatusCode.NOT_FOUND is await _code(call, name="unknown", fail="9", code="NOT_FOUND")
            assert {"twice": 3, "always": 4, "unknown": 1} == mesh.users.attempts
            await mesh.wait_for_error("URX", 1)

    asyncio.run(check())


def test_a_service_that_is_not_serving_is_seen(tmp_path: Path) -> None:
    """Envoy asks grpc.health.v1 and takes its word, both ways."""

    def quick(config: Config) -> None:
        check = clusters(config)["grpc_service"]["health_checks"][0]
        for key in ("interval", "no_traffic_interval"):
            change(check, key, "0.05s")

    async def check() -> None:
        async with _calling(tmp_path, edit=quick) as (mesh, call):
            mesh.users.healthy = False
            async with asyncio.timeout(10):
                while 1 in (await mesh.envoy.stats(_HEALTHY)).values():  # noqa: ASYNC110  Envoy does it
                    await asyncio.sleep(0.02)
            mesh.users.healthy = True
            await mesh.envoy.wait_for_stat(_HEALTHY, 1)
            assert grpc.StatusCode.OK is await _code(call)

    asyncio.run(check())


def test_calls_beyond_the_limit_are_refused_at_once(tmp_path: Path) -> None:
    """Over HTTP/2 max_requests is the limit that acts: UNAVAILABLE, and the error UO."""

    def small(config: Config) -> None:
        change(limits(config, "grpc_service"), "max_requests", 0)

    async def check() -> None:
        async with _calling(tmp_path, edit=small) as (mesh, call):
            assert grpc.StatusCode.UNAVAILABLE is await _code(call, name="a")
            assert 0 == mesh.users.attempts["a"]
            await mesh.wait_for_error("UO", 1)

    asyncio.run(check())

"""What envoy/advanced.yaml does with a request: where it goes, whether its trace is kept, what browsers may do."""

import asyncio
from pathlib import Path

import pytest
from yarl import URL

from envoy_files import ROOT, Config, Mesh, Service, change, clusters, manager, running

STACK = ROOT / "policies" / "stack.yaml"
REQUESTS = 300
HALF = 0x80000000000000
OFF = "tracing: {sampling: {policy: always_off}}\n"
APP = "https://app.example.com"
REQUEST_ID = "7b674932-635d-4ceb-b907-12674f8c7267"


def _requests(service: str, status: int = 200, method: str = "GET", path: str = "*") -> str:
    labels = f'method="{method}",path="{path}",service="{service}",status_code="{status}"'
    return f"envoy_http_requests_total{{{labels}}}"


def test_paths_lead_to_their_services(tmp_path: Path) -> None:
    """Each API goes to its service, all else to the default, and extproc counts each by its cluster."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", OFF) as mesh:
            for path in ("/api/users", "/api/users/1"):
                assert 1 == mesh.upstream.attempts[(await mesh.send(path))[1]]
            for path in ("/api/orders", "/api/orders/1?a=/api/users"):
                assert 1 == mesh.orders.attempts[(await mesh.send(path))[1]]
            for path in ("/", "/api/usersettings", "/api"):
                assert 1 == mesh.upstream.attempts[(await mesh.send(path))[1]]
            for service, count in (("user_service", 2), ("order_service", 2), ("default_service", 3)):
                await mesh.wait_for_metric(_requests(service), count)

    asyncio.run(check())


def test_sampling_is_exact_per_trace(tmp_path: Path) -> None:
    """For each trace id, the flag that the service sees and the exported span follow R >= T."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", "tracing: {sampling: {ratio: 0.5}}\n") as mesh:
            answers = await mesh.send_all(f"/api/users/{number}" for number in range(REQUESTS))
            assert {200} == {status for status, _ in answers}
            traces = dict(mesh.upstream_trace(name) for _, name in answers)
            assert REQUESTS == len(traces)
            kept = {trace for trace in traces if int(trace[-14:], 16) >= HALF}
            assert kept == {trace for trace, flags in traces.items() if flags == "01"}
            assert kept == set(await mesh.wait_for_spans(kept))

    asyncio.run(check())


def test_tags(tmp_path: Path) -> None:
    """Spans have the tags of the policy, for every request and for its own path, and say how they were decided."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", STACK) as mesh:
            headers = {"x-debug": "1", "x-user-id": "ann", "x-request-id": REQUEST_ID}
            _, name = await mesh.send("/api/orders/7", headers)
            tags = await mesh.span(_trace(mesh.orders, name))
            expected = {
                "user_id": "ann",
                "request_id": REQUEST_ID,
                "service_name": "envoy-proxy",
                "mesh": "envoy",
                "sampling.policy": "debug",
                "sampling.reason": "policy",
                "sampling.probability": 1.0,
                "upstream_cluster": "order_service",
            }
            assert expected == {key: tags.get(key) for key in expected}
            parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            _, name = await mesh.send("/api/orders/7", parent)
            assert "7" == (await mesh.span(_trace(mesh.orders, name)))["order_id"]

    asyncio.run(check())


@pytest.mark.parametrize(("request_id", "flags"), [(REQUEST_ID, "01"), ("01234567", "01"), ("order-17", "00")])
def test_a_request_id_has_to_begin_with_hex_digits(tmp_path: Path, request_id: str, flags: str) -> None:
    """Envoy traces no request whose x-request-id does not begin with eight of them, whoever asks for the trace."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", STACK) as mesh:
            _, name = await mesh.send("/api/users", {"x-debug": "1", "x-request-id": request_id})
            assert (request_id, flags) == (mesh.upstream.seen[name]["x-request-id"], mesh.upstream_trace(name)[1])

    asyncio.run(check())


def test_at_the_edge_any_request_id_will_do(tmp_path: Path) -> None:
    """Where callers are not trusted Envoy makes one of its own."""

    def edge(config: Config) -> None:
        change(manager(config), "use_remote_address", value=True)

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", STACK, edit=edge) as mesh:
            _, name = await mesh.send("/api/users", {"x-debug": "1", "x-request-id": "order-17"})
            assert "01" == mesh.upstream_trace(name)[1]
            assert "order-17" != mesh.upstream.seen[name]["x-request-id"]

    asyncio.run(check())


def _trace(service: Service, name: str) -> str:
    return service.seen[name]["traceparent"].split("-")[1]


def test_a_script_of_the_app_may_call(tmp_path: Path) -> None:
    """Envoy answers its preflight, and the answer to its request lets the browser hand it over."""
    asked = {"origin": APP, "access-control-request-method": "PUT", "access-control-request-headers": "traceparent"}

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", OFF) as mesh:
            async with mesh.client.options(mesh.envoy.url("/api/users/1"), headers=asked) as preflight:
                assert (200, APP) == (preflight.status, preflight.headers["access-control-allow-origin"])
                assert "PUT" in preflight.headers["access-control-allow-methods"].split(", ")
                assert "traceparent" in preflight.headers["access-control-allow-headers"].split(", ")
            assert 0 == sum(mesh.upstream.attempts.values())
            async with mesh.client.get(mesh.envoy.url("/api/users/1"), headers={"origin": APP}) as answer:
                assert (200, APP) == (answer.status, answer.headers["access-control-allow-origin"])
            await mesh.wait_for_metric(_requests("user_service", method="OPTIONS"), 1)
            await mesh.wait_for_metric(_requests("user_service"), 1)

    asyncio.run(check())


def test_scripts_of_others_may_not(tmp_path: Path) -> None:
    """Nothing tells a browser to hand over an answer to another page."""
    asked = {"origin": "https://evil.example.com", "access-control-request-method": "GET"}

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", OFF) as mesh:
            for method in ("OPTIONS", "GET"):
                async with mesh.client.request(method, mesh.envoy.url("/api/users/1"), headers=asked) as answer:
                    assert "access-control-allow-origin" not in answer.headers

    asyncio.run(check())


def test_requests_go_where_it_is_healthy(tmp_path: Path) -> None:
    """Of two endpoints the one that fails its health checks gets nothing, until it passes them again."""
    second = Service(healthy=False)

    def with_a_second_endpoint(config: Config) -> None:
        orders = clusters(config)["order_service"]
        endpoints = orders["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoints.append(
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": second.port}}}}
        )
        for key in ("interval", "no_traffic_interval"):
            change(orders["health_checks"][0], key, "0.05s")

    async def check() -> None:
        await second.start()
        try:
            async with running(tmp_path, "advanced.yaml", OFF, edit=with_a_second_endpoint) as mesh:
                await mesh.envoy.wait_for_stat("cluster.order_service.membership_healthy", 1)
                await mesh.send_all(["/api/orders"] * 20)
                assert (20, 0) == (sum(mesh.orders.attempts.values()), sum(second.attempts.values()))
                second.healthy = True
                await mesh.envoy.wait_for_stat("cluster.order_service.membership_healthy", 2)
                await mesh.send_all(["/api/orders"] * 20)
                assert 40 == sum(mesh.orders.attempts.values()) + sum(second.attempts.values())
                assert second.attempts
        finally:
            await second.stop()

    asyncio.run(check())


def test_of_envoys_admin_only_statistics_can_be_reached(tmp_path: Path) -> None:
    """The port that is open to the network serves what Prometheus and probes need, and no more."""
    served = [("GET", "/stats/prometheus"), ("GET", "/stats/prometheus?usedonly"), ("GET", "/ready")]
    not_served = [
        ("POST", "/stats/prometheus"),
        ("GET", "/"),
        ("GET", "/stats"),
        ("GET", "/config_dump"),
        ("GET", "/ready/../config_dump"),
        ("GET", "/ready%2f..%2fconfig_dump"),
        ("GET", "//config_dump"),
        ("POST", "/quitquitquit"),
        ("POST", "/logging?level=trace"),
    ]

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", OFF) as mesh:
            assert [200] * len(served) == [await _status(mesh, *each) for each in served]
            assert [404] * len(not_served) == [await _status(mesh, *each) for each in not_served]

    asyncio.run(check())


async def _status(mesh: Mesh, method: str, path: str) -> int:
    url = URL(f"http://127.0.0.1:{mesh.envoy.ports['stats']}{path}", encoded=True)
    async with mesh.client.request(method, url) as response:
        return response.status

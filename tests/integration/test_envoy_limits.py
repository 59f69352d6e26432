"""The limits, retries and timeouts of envoy/advanced.yaml act, and extproc counts what they cut off."""

import asyncio
from pathlib import Path

import aiohttp

from envoy_files import Config, Mesh, change, clusters, limits, manager, running

POLICY = "tracing: {sampling: {policy: always_off}}\n"

_ASKED = "http.ingress_http.ext_proc.streams_started"


def _routes(config: Config) -> dict[str, Config]:
    """The routes of the first listener by name, each as what is done with its requests."""
    routes = manager(config)["route_config"]["virtual_hosts"][0]["routes"]
    return {each["name"]: each["route"] for each in routes}


async def _held(mesh: Mesh, path: str, count: int) -> list[asyncio.Task[tuple[int, str]]]:
    """The first requests, which user-service has and does not answer before its `release`."""
    held = [asyncio.create_task(mesh.send(path)) for _ in range(count)]
    await _arrived(mesh, count)
    return held


async def _arrived(mesh: Mesh, count: int) -> None:
    """Return once user-service has been asked so many times."""
    async with asyncio.timeout(10):
        while len(mesh.upstream.connections) < count:  # noqa: ASYNC110  Envoy does it
            await asyncio.sleep(0.01)


async def _answers(tasks: list[asyncio.Task[tuple[int, str]]]) -> list[int]:
    return [status for status, _ in await asyncio.gather(*tasks)]


def test_what_overflows_is_answered_at_once(tmp_path: Path) -> None:
    """Beyond connections and the queue, 503 with the flag UO; what waits in the queue is served."""

    def small(config: Config) -> None:
        change(limits(config, "default_service"), "max_connections", 1)
        change(limits(config, "default_service"), "max_pending_requests", 1)

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=small) as mesh:
            served = await _held(mesh, "/x?hold=1", 1)
            waiting = asyncio.create_task(mesh.send("/y"))
            await mesh.envoy.wait_for_stat("cluster.default_service.upstream_rq_pending_active", 1)
            assert [503, 503] == [(await mesh.send("/z"))[0] for _ in range(2)]
            await mesh.wait_for_error("UO", 2)
            mesh.upstream.release.set()
            assert [200, 200] == await _answers([*served, waiting])
            assert 1 == len(set(mesh.upstream.connections))

    asyncio.run(check())


def test_no_more_requests_at_a_time_than_allowed(tmp_path: Path) -> None:
    """max_requests holds for HTTP/1 too, where each request has a connection."""

    def small(config: Config) -> None:
        change(limits(config, "default_service"), "max_requests", 3)

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=small) as mesh:
            held = await _held(mesh, "/x?hold=1", 3)
            assert 503 == (await mesh.send("/z"))[0]
            await mesh.wait_for_error("UO", 1)
            mesh.upstream.release.set()
            assert [200, 200, 200] == await _answers(held)
            assert 3 == len(set(mesh.upstream.connections))

    asyncio.run(check())


def test_a_connection_carries_a_hundred_requests(tmp_path: Path) -> None:
    """After 100 requests Envoy makes another connection to the service."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY) as mesh:
            assert {200} == {(await mesh.send("/x"))[0] for _ in range(250)}
            used = mesh.upstream.connections
            assert [100, 100, 50] == [used.count(port) for port in dict.fromkeys(used)]

    asyncio.run(check())


def test_failures_are_retried(tmp_path: Path) -> None:
    """A GET that fails twice is tried three times, as the service can see; its client and extproc see one, with 200."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY) as mesh:
            status, name = await mesh.send("/api/users?fail=2")
            assert (200, 3) == (status, mesh.upstream.attempts[name])
            assert "3" == mesh.upstream.seen[name]["x-envoy-attempt-count"]
            labels = '{method="GET",path="*",service="user_service",status_code="200"}'
            await mesh.wait_for_metric("envoy_http_requests_total" + labels, 1)

    asyncio.run(check())


def test_retries_end(tmp_path: Path) -> None:
    """A service that goes on failing is asked 3 more times for users, 2 for orders; the error is URX."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY) as mesh:
            status, name = await mesh.send("/api/users?fail=9")
            assert (503, 4) == (status, mesh.upstream.attempts[name])
            status, name = await mesh.send("/api/orders?fail=9")
            assert (503, 3) == (status, mesh.orders.attempts[name])
            await mesh.wait_for_error("URX", 2)

    asyncio.run(check())


def test_what_may_have_been_done_is_not_done_again(tmp_path: Path) -> None:
    """A POST that a service failed at is not repeated, for it may have had its effect."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY) as mesh:
            for path, service in (("/api/users?fail=1", mesh.upstream), ("/api/orders?fail=1", mesh.orders)):
                status, name = await mesh.send(path, method="POST")
                assert (503, 1) == (status, service.attempts[name])
            await mesh.wait_for_error("5xx", 2)

    asyncio.run(check())


def test_what_never_arrived_is_sent_again(tmp_path: Path) -> None:
    """A POST that reached no service, since one of two endpoints is gone, goes to the other."""

    def with_a_dead_endpoint(config: Config) -> None:
        users = clusters(config)["user_service"]
        del users["health_checks"]
        endpoints = users["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoints.append({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}})

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=with_a_dead_endpoint) as mesh:
            answers = [await mesh.send("/api/users", method="POST") for _ in range(8)]
            assert [(200, 1)] * 8 == [(status, mesh.upstream.attempts[name]) for status, name in answers]
            await mesh.envoy.wait_for_stat("cluster.user_service.upstream_rq_retry_success", 1)

    asyncio.run(check())


def test_retries_have_a_budget(tmp_path: Path) -> None:
    """With as many retries under way as the budget has, a failure is the client's: 503 with the flag UO."""

    def small(config: Config) -> None:
        change(
            limits(config, "user_service"), "retry_budget", {"budget_percent": {"value": 0}, "min_retry_concurrency": 1}
        )

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=small) as mesh:
            retried = asyncio.create_task(mesh.send("/api/users?fail=1&hold=2"))
            await _arrived(mesh, 2)
            status, name = await mesh.send("/api/users?fail=1")
            assert (503, 1) == (status, mesh.upstream.attempts[name])
            await mesh.wait_for_error("UO", 1)
            mesh.upstream.release.set()
            assert 200 == (await retried)[0]

    asyncio.run(check())


def test_each_try_has_its_time(tmp_path: Path) -> None:
    """A service that hangs is given up after per_try_timeout and asked again, four times in all; then 504 with UT."""

    def hasty(config: Config) -> None:
        change(_routes(config)["users"]["retry_policy"], "per_try_timeout", "0.2s")

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=hasty) as mesh:
            status, name = await mesh.send("/api/users?hold=1")
            assert (504, 4) == (status, mesh.upstream.attempts[name])
            await mesh.wait_for_error("UT", 1)

    asyncio.run(check())


def test_a_request_has_its_time(tmp_path: Path) -> None:
    """After the route's timeout, which ends a try as well, the client gets 504, with the flag UT."""

    def hasty(config: Config) -> None:
        for route in _routes(config).values():
            change(route, "timeout", "0.5s")

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=hasty) as mesh:
            for path, method in (("/api/users", "GET"), ("/api/users", "POST"), ("/", "GET")):
                status, name = await mesh.send(path + "?hold=1", method=method)
                assert (504, 1) == (status, mesh.upstream.attempts[name])
            assert 504 == (await mesh.send("/api/orders?hold=1"))[0]
            await mesh.wait_for_error("UT", 4)

    asyncio.run(check())


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """What comes before Envoy closes the connection."""
    async with asyncio.timeout(10):
        return await reader.read()


def test_envoy_accepts_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """One connection too many is closed at once, and statistics can be read all the same."""

    def small(config: Config) -> None:
        monitor = config["overload_manager"]["resource_monitors"][0]["typed_config"]
        change(monitor, "max_active_downstream_connections", 2)

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=small) as mesh:
            assert 200 == (await mesh.send("/"))[0]
            _, second = await asyncio.open_connection("127.0.0.1", mesh.envoy.port)
            reader, third = await asyncio.open_connection("127.0.0.1", mesh.envoy.port)
            assert b"" == await _ended(reader)
            assert 200 == (await mesh.send("/"))[0]
            assert 200 == await _statistics(mesh)
            for writer in (second, third):
                writer.close()

    asyncio.run(check())


async def _statistics(mesh: Mesh) -> int:
    url = f"http://127.0.0.1:{mesh.envoy.ports['stats']}/stats/prometheus"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert "envoy_server_live" in await response.text()
        return response.status


def test_without_memory_requests_are_refused(tmp_path: Path) -> None:
    """Near the limit of its memory Envoy answers 503 by itself, and statistics can be read all the same."""

    def small(config: Config) -> None:
        monitor = config["overload_manager"]["resource_monitors"][1]["typed_config"]
        change(monitor, "max_heap_size_bytes", 1024)

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=small) as mesh:
            for action in ("shrink_heap", "stop_accepting_requests"):
                await mesh.envoy.wait_for_stat(f"overload.envoy.overload_actions.{action}.active", 1)
            status, name = await mesh.send("/")
            assert (503, 0) == (status, mesh.upstream.attempts[name])
            assert 200 == await _statistics(mesh)
            assert {"http.ingress_http.ext_proc.streams_started": 0} == await mesh.envoy.stats(_ASKED)

    asyncio.run(check())


def test_idle_connections_end(tmp_path: Path) -> None:
    """A client's connection without requests is closed after idle_timeout."""

    def hasty(config: Config) -> None:
        change(manager(config)["common_http_protocol_options"], "idle_timeout", "0.2s")
        manager(config)["drain_timeout"] = "0.1s"  # how long it then waits for a last request, by default 5 s

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=hasty) as mesh:
            reader, writer = await asyncio.open_connection("127.0.0.1", mesh.envoy.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await _ended(reader)).startswith(b"HTTP/1.1 200")
            writer.close()

    asyncio.run(check())


def test_what_makes_no_progress_ends(tmp_path: Path) -> None:
    """A request that waits for an answer longer than stream_idle_timeout is answered 504, with the flag SI."""

    def hasty(config: Config) -> None:
        change(manager(config), "stream_idle_timeout", "0.2s")

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=hasty) as mesh:
            assert 504 == (await mesh.send("/?hold=1"))[0]
            await mesh.wait_for_error("SI", 1)

    asyncio.run(check())


def test_a_request_has_to_arrive(tmp_path: Path) -> None:
    """A request whose body does not come is answered 408 after request_timeout."""

    def hasty(config: Config) -> None:
        change(manager(config), "request_timeout", "0.2s")

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY, edit=hasty) as mesh:
            reader, writer = await asyncio.open_connection("127.0.0.1", mesh.envoy.port)
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
            assert (await _ended(reader)).startswith(b"HTTP/1.1 408")
            labels = '{method="POST",path="*",service="default_service",status_code="408"}'
            await mesh.wait_for_metric("envoy_http_errors_total" + labels, 1)
            writer.close()

    asyncio.run(check())


def test_the_guides_limits_are_in_force(tmp_path: Path) -> None:
    """Envoy itself tells the numbers of the guide's resource limits."""

    async def check() -> None:
        async with running(tmp_path, "advanced.yaml", POLICY) as mesh:
            described = await mesh.envoy.admin("/clusters")
            for name in ("user_service", "order_service", "default_service", "grpc_service"):
                assert f"{name}::default_priority::max_connections::10000\n" in described
                assert f"{name}::default_priority::max_pending_requests::1000\n" in described

    asyncio.run(check())

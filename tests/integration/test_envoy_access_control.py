"""envoy/access-control.yaml: extproc's tags say who asks, Envoy's RBAC filter who may, and what it denies is seen."""

import asyncio
from pathlib import Path
from typing import Any

from envoy_files import ROOT, Config, manager, running

NAME = "access-control.yaml"
POLICY = ROOT / "policies" / NAME

ANN = {"x-user-id": "ann"}
ROOT_USER = {"x-user-id": "eve", "x-user-role": "admin"}
DENIED = 'envoy_errors_total{error_type="rbac_access_denied"}'


def test_who_may_do_what(tmp_path: Path) -> None:
    """Whoever is known may read, admins may write, probes may ask for health, and nobody anything else."""
    cases: list[tuple[int, str, str, dict[str, str]]] = [
        (200, "GET", "/api/users", ANN),
        (200, "HEAD", "/api/orders/1", ANN),
        (200, "POST", "/api/orders", ROOT_USER),
        (200, "GET", "/health", {}),
        (403, "GET", "/api/users", {}),
        (403, "POST", "/api/orders", ANN),
        (403, "DELETE", "/api/orders/1", {"x-user-id": "ann", "x-user-role": "administrator"}),
        (403, "POST", "/api/orders", {"x-user-role": "administrator, admin"}),
        (403, "GET", "/internal", ROOT_USER),
        (403, "GET", "/api%2F..%2Finternal", ROOT_USER),
        (403, "GET", "/health/x", {}),
    ]

    async def check() -> None:
        async with running(tmp_path, NAME, POLICY) as mesh:
            answers = [await mesh.send(path, headers, method) for _, method, path, headers in cases]
            assert [case[0] for case in cases] == [status for status, _ in answers]
            reached = [mesh.upstream.attempts[name] + mesh.orders.attempts[name] for _, name in answers]
            assert [1 if case[0] == 200 else 0 for case in cases] == reached

    asyncio.run(check())


def test_denials_are_counted(tmp_path: Path) -> None:
    """Each is one request with status 403 and one error, by the name of what denied it; what passes is no error."""

    async def check() -> None:
        async with running(tmp_path, NAME, POLICY) as mesh:
            for _ in range(3):
                await mesh.send("/api/orders", ANN, "POST")
            await mesh.send("/api/orders", ROOT_USER, "POST")
            await mesh.wait_for_metric(DENIED, 3)
            labels = '{method="POST",path="/api/*",service="order_service",status_code="%s"}'
            await mesh.wait_for_metric("envoy_http_requests_total" + labels % 200, 1)
            await mesh.wait_for_metric("envoy_http_errors_total" + labels % 403, 3)
            await mesh.collector.wait_until(
                lambda: 3 == mesh.collector.value("envoy_errors_total", {"error_type": "rbac_access_denied"})
            )

    asyncio.run(check())


def _who(span: dict[str, object]) -> dict[str, Any]:
    names = ("access", "user_id", "role", "action", "resource", "http.status_code")
    return {name: span.get(name) for name in names}


def test_denials_are_on_spans(tmp_path: Path) -> None:
    """The span of a denied request says who wanted to do what; one that passed says so as well."""

    async def check() -> None:
        async with running(tmp_path, NAME, POLICY) as mesh:
            await mesh.send("/api/orders/7?token=secret", ANN, "DELETE")
            await mesh.collector.wait_until(lambda: 1 == len(mesh.spans()))
            (denied,) = map(mesh.tags, mesh.spans().values())
            assert {
                "access": "denied",
                "user_id": "ann",
                "role": None,
                "action": "DELETE",
                "resource": "/api/orders/7",
                "http.status_code": "403",
            } == _who(denied)
            _, name = await mesh.send("/api/users", ROOT_USER, "POST")
            assert {
                "access": "allowed",
                "user_id": "eve",
                "role": "admin",
                "action": "POST",
                "resource": "/api/users",
                "http.status_code": "200",
            } == _who(await mesh.span(mesh.upstream_trace(name)[0]))

    asyncio.run(check())


def test_without_extproc_nobody_gets_in(tmp_path: Path) -> None:
    """Who asks is not known then, so everything is denied but the probes."""

    async def check() -> None:
        async with running(tmp_path, NAME, POLICY) as mesh:
            assert 0 == await asyncio.to_thread(mesh.server.stop)
            assert 403 == (await mesh.send("/api/users", ROOT_USER))[0]
            assert 200 == (await mesh.send("/health"))[0]

    asyncio.run(check())


def test_extproc_has_to_come_first(tmp_path: Path) -> None:
    """Behind the RBAC filter, which then has no tags, it hears of an answer to a request that it was not told of."""

    def swapped(config: Config) -> None:
        filters = manager(config)["http_filters"]
        filters[0], filters[1] = filters[1], filters[0]

    async def check() -> None:
        async with running(tmp_path, NAME, POLICY, edit=swapped) as mesh:
            assert 403 == (await mesh.send("/api/users", ANN))[0]
            labels = '{method="_OTHER",path="*",service="unknown",status_code="403"}'
            await mesh.wait_for_metric("envoy_http_requests_total" + labels, 1)

    asyncio.run(check())

"""The sample HTTP service, over real connections to it and from it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from example_record import Record
from extproc.telemetry.instruments import BY_NAME
from grpc_service import GET_USER, UserService
from http_service import application
from otlp_receiver import silent_listener
from users_pb2_grpc import add_UserServiceServicer_to_server

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
Client = TestClient[web.Request, web.Application]


@dataclass(slots=True)
class Users:
    """What answers in Envoy's place: GET /api/users/{id} with `status`, and the real gRPC service."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request, and keep its headers."""
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        return web.json_response({"id": request.path.rpartition("/")[2], "name": "Zoë"}, status=self.status)


@asynccontextmanager
async def _grpc_service() -> AsyncIterator[int]:
    server = grpc.aio.server()
    add_UserServiceServicer_to_server(UserService(Record().telemetry), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def _run(
    record: Record,
    check: Callable[[Client], Awaitable[None]],
    *,
    users: Users | None = None,
    silent: bool = False,
) -> None:
    async def main() -> None:
        upstream = web.Application()
        upstream.router.add_get("/api/users/{id}", (users or Users()).answer)
        async with TestServer(upstream) as http, _grpc_service() as port, silent_listener() as nobody:
            url = f"http://127.0.0.1:{nobody if silent else http.port}"
            target = f"127.0.0.1:{nobody if silent else port}"
            async with TestClient(TestServer(application(record.telemetry, url, target))) as client:
                await check(client)

    asyncio.run(main())


def _attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/api/users", {"users": [{"id": "1", "name": "Alice"}, {"id": "2", "name": "Bob"}]}),
        ("/api/users/2", {"id": "2", "name": "Bob", "email": "bob@example.com"}),
        (
            "/api/orders",
            {"orders": [{"id": "1", "user": "1", "amount": 100.0}, {"id": "2", "user": "2", "amount": 200.0}]},
        ),
        ("/api/orders/2", {"id": "2", "user": {"id": "2", "name": "Zoë"}, "amount": 200.0}),
        ("/health", {"status": "healthy"}),
        ("/ready", {"status": "ready"}),
    ],
)
def test_answers(path: str, answer: object) -> None:
    """Each path has its JSON."""

    async def check(client: Client) -> None:
        response = await client.get(path)
        assert (200, answer) == (response.status, await response.json())

    _run(Record(), check)


def test_the_greeting_names_the_service() -> None:
    """The root says who answers, which is OpenTelemetry's service.name."""

    async def check(client: Client) -> None:
        assert "Hello from sample behind Envoy!\n" == await (await client.get("/")).text()

    _run(Record(), check)


def test_spans_of_a_request_and_of_the_call_that_it_makes() -> None:
    """Both are named by the route, tagged by the conventions, in the caller's trace; the next service is told of it."""
    record, users = Record(), Users()

    async def check(client: Client) -> None:
        headers = PARENT | {"tracestate": "a=b", "baggage": "tier=gold", "user-agent": "test"}
        await client.get("/api/orders/1?secret=1", headers=headers)

    _run(record, check, users=users)
    client, server = record.spans()
    assert ("GET /api/users/{id}", "GET /api/orders/{id}") == (client.name, server.name)
    assert {
        "http.request.method": "GET",
        "http.route": "/api/orders/{id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/api/orders/1",
        "user_agent.original": "test",
    } == _attributes(server)
    found = _attributes(client)
    assert str(found.pop("url.full")).endswith(f":{found.pop('server.port')}/api/users/1")
    assert {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
    } == found
    assert server.parent is not None
    assert 0xB7AD6B7169203331 == server.parent.span_id
    assert client.parent is not None
    assert server.context.span_id == client.parent.span_id
    trace, span = f"{client.context.trace_id:032x}", f"{client.context.span_id:016x}"
    assert (f"00-{trace}-{span}-01", "a=b", "tier=gold") == tuple(
        users.headers[name] for name in ("traceparent", "tracestate", "baggage")
    )
    assert {StatusCode.UNSET} == {each.status.status_code for each in record.spans()}


def test_what_is_not_sampled_is_not_recorded_but_passed_on() -> None:
    """A trace that was dropped leaves no span, and its id and flag go on to the next service."""
    record, users = Record(), Users()

    async def check(client: Client) -> None:
        await client.get("/api/orders/1", headers={"traceparent": PARENT["traceparent"].removesuffix("1") + "0"})

    _run(record, check, users=users)
    assert [] == record.spans()
    _, trace, _, flags = users.headers["traceparent"].split("-")
    assert ("0af7651916cd43dd8448eb211c80319c", "00") == (trace, flags)


def test_probes_are_neither_traced_nor_counted() -> None:
    """What Envoy and Kubernetes ask every few seconds says nothing about requests."""
    record = Record()

    async def check(client: Client) -> None:
        await client.get("/health")
        await client.get("/ready")

    _run(record, check)
    assert ([], {}) == (record.spans(), record.points())


def test_a_missing_user_is_404_and_an_error_of_the_call() -> None:
    """NOT_FOUND marks the client's span; the server's follows HTTP, where a 404 is the caller's mistake."""
    record = Record()

    async def check(client: Client) -> None:
        assert 404 == (await client.get("/api/users/99")).status

    _run(record, check)
    client, server = record.spans()
    assert GET_USER == client.name
    assert StatusCode.ERROR == client.status.status_code
    found = _attributes(client)
    assert ("grpc", GET_USER) == (found["rpc.system.name"], found["rpc.method"])
    assert ("NOT_FOUND", "NOT_FOUND") == (found["rpc.response.status_code"], found["error.type"])
    assert ["exception"] == [event.name for event in client.events]
    assert (StatusCode.UNSET, 404) == (server.status.status_code, _attributes(server)["http.response.status_code"])


@pytest.mark.parametrize(("status", "error_type"), [(404, "404"), (500, "500"), (503, "503")])
def test_an_answer_that_is_no_good_is_502(status: int, error_type: str) -> None:
    """An order whose user can't be had fails, and both spans say so."""
    record = Record()

    async def check(client: Client) -> None:
        assert 502 == (await client.get("/api/orders/1")).status

    _run(record, check, users=Users(status=status))
    client, server = record.spans()
    assert [StatusCode.ERROR] * 2 == [span.status.status_code for span in (client, server)]
    assert [error_type, "502"] == [_attributes(span)["error.type"] for span in (client, server)]


@pytest.mark.parametrize("path", ["/api/orders/1", "/api/users/1"])
def test_no_answer_in_time_is_504(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a service that is silent."""
    record = Record()
    monkeypatch.setattr("http_service._HTTP_SECONDS", 0.2)
    monkeypatch.setattr("http_service._GRPC_SECONDS", 0.2)

    async def check(client: Client) -> None:
        assert 504 == (await client.get(path)).status

    _run(record, check, silent=True)
    client, server = record.spans()
    assert [StatusCode.ERROR] * 2 == [span.status.status_code for span in (client, server)]
    assert "504" == _attributes(server)["error.type"]


def test_a_refused_connection_is_502() -> None:
    """The span of a call says what was raised where there was no answer at all."""
    record = Record()

    async def main() -> None:
        async with silent_listener() as port:
            pass
        service = application(record.telemetry, f"http://127.0.0.1:{port}", f"127.0.0.1:{port}")
        async with TestClient(TestServer(service)) as client:
            assert [502, 502] == [(await client.get(path)).status for path in ("/api/orders/1", "/api/users/1")]

    asyncio.run(main())
    errors = [_attributes(span)["error.type"] for span in record.spans()]
    assert ["ClientConnectorError", "502", "UNAVAILABLE", "502"] == errors


def test_a_mistake_of_ours_is_500_and_on_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a handler raises is recorded and counted."""
    record = Record()
    monkeypatch.setattr("http_service._ORDERS", {"1": {}})

    async def check(client: Client) -> None:
        assert 500 == (await client.get("/api/orders/1")).status

    _run(record, check)
    (span,) = record.spans()
    assert (StatusCode.ERROR, "500") == (span.status.status_code, _attributes(span)["error.type"])
    assert ["KeyError"] == [(event.attributes or {})["exception.type"] for event in span.events]
    assert 500 == record.points()["envoy_http_errors_total"][0][0]["status_code"]


def test_metrics_hold_nothing_that_a_client_made_up() -> None:
    """Paths that don't exist, strange ids and strange methods share one series each."""
    record = Record()

    async def check(client: Client) -> None:
        for path in ("/nowhere", "/api/users/1234567890", "/api/users/x", "/api/orders/1/2", "/api/orders/%0a"):
            assert 404 == (await client.get(path)).status
        for method in ("PROPFIND", "MKCOL"):
            assert 405 == (await client.request(method, "/api/users")).status
        await client.get("/" + "x" * 1000, headers={"user-agent": "y" * 1000})

    _run(record, check)
    missing = {"method": "GET", "path": "*", "status_code": 404}
    strange = {"method": "_OTHER", "path": "*", "status_code": 405}
    expected = [(missing, 6), (strange, 2)]
    names = ("envoy_http_requests_total", "envoy_http_errors_total", "envoy_http_request_duration_seconds")
    assert dict.fromkeys(names, expected) == record.points()
    assert {"GET", "HTTP"} == {span.name for span in record.spans()}
    assert all(len(str(value)) <= 256 for span in record.spans() for value in _attributes(span).values())


def test_metrics_of_the_middleware() -> None:
    """Requests count by method, route and status; only those from 400 on are errors."""
    record = Record()

    async def check(client: Client) -> None:
        for path in ("/api/users/1", "/api/users/2", "/api/users/99", "/"):
            await client.get(path)

    _run(record, check)
    users = {"method": "GET", "path": "/api/users/{id}"}
    ok, missing = users | {"status_code": 200}, users | {"status_code": 404}
    root = {"method": "GET", "path": "/", "status_code": 200}
    everything = [(ok, 2), (missing, 1), (root, 1)]
    assert {
        "envoy_http_requests_total": everything,
        "envoy_http_request_duration_seconds": everything,
        "envoy_http_errors_total": [(missing, 1)],
    } == record.points()


def test_metrics_are_the_same_families_as_extprocs() -> None:
    """A collector that has both gets one name with one unit, one text and one set of bounds."""
    record = Record()
    record.telemetry.count_request("GET", "/", 500, 0.1)
    metrics = record.metrics()
    assert 3 == len(metrics)
    for name, metric in metrics.items():
        assert (BY_NAME[name].unit, BY_NAME[name].description) == (metric.unit, metric.description)
    (point,) = metrics["envoy_http_request_duration_seconds"].data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert BY_NAME["envoy_http_request_duration_seconds"].bounds == tuple(point.explicit_bounds)


def test_a_server_that_hangs_up_is_502() -> None:
    """A connection that ends without an answer is an error like any other."""
    record = Record()

    async def main() -> None:
        async def hang_up(request: web.Request) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        upstream = web.Application()
        upstream.router.add_get("/{path:.*}", hang_up)
        async with TestServer(upstream) as http:
            service = application(record.telemetry, f"http://127.0.0.1:{http.port}", "127.0.0.1:1")
            async with TestClient(TestServer(service)) as client:
                assert 502 == (await client.get("/api/orders/1")).status

    asyncio.run(main())
    assert issubclass(getattr(aiohttp, str(_attributes(record.spans()[0])["error.type"])), aiohttp.ClientError)

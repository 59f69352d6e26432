"""`extproc traces` against a real Jaeger, with spans of a real Envoy that extproc decided on."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

from extproc.cli import main
from jaeger_process import JaegerProcess
from stack import tools
from system import running

pytestmark = pytest.mark.timeout(1_200)  # the first run builds Jaeger

SEEN_SECONDS = 20.0
ORDERS = "orders"
POLICY = """
tracing:
  sampling: {policy: always_off}
  attributes: {service.name: front-envoy}
  custom_tags:
    - {tag: user_id, request_header: {name: x-user-id, default_value: unknown}}
  policies:
    - name: checkout
      match: {path: "/api/orders/{order_id}"}
      sampling: {policy: always_on}
      custom_tags: [{tag: order_id, path: order_id}]
    - name: failing
      match: {path: "/status/*"}
      sampling: {policy: always_on}
"""


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JaegerProcess]:
    """A Jaeger that has Envoy's spans of five requests, of which four are kept, and a service's span of one of them."""
    with JaegerProcess(tools.jaeger()) as process:
        asyncio.run(_fill(process, tmp_path_factory.mktemp("server")))
        yield process


async def _fill(jaeger: JaegerProcess, folder: Path) -> None:
    async with running(folder, POLICY, wiring=("--collector", jaeger.otlp)) as system:
        for user in ("1", "2"):
            _, name = await system.send(f"/api/orders/{user}", {"x-user-id": user})
        _serve_order(jaeger, system.upstream.seen[name])
        await system.send("/status/503")
        await system.send("/api/orders/3", {"x-user-id": "3"})
        await system.send("/elsewhere")
        async with asyncio.timeout(SEEN_SECONDS):
            while len(await asyncio.to_thread(found, jaeger, "--service", "front-envoy")) < 4:  # noqa: ASYNC110  it happens in another process
                await asyncio.sleep(0.05)


def _serve_order(jaeger: JaegerProcess, headers: dict[str, str]) -> None:
    """The span that an upstream would send: it failed."""
    tracers = TracerProvider(resource=Resource({"service.name": ORDERS}), shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(jaeger.otlp, insecure=True)))
    with tracers.get_tracer("test").start_as_current_span("GET /api/orders", extract(headers)) as span:
        span.set_status(StatusCode.ERROR, "out of stock")
    tracers.shutdown()


def traces(jaeger: JaegerProcess, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["traces", "--jaeger", jaeger.query, *arguments])


def found(jaeger: JaegerProcess, *arguments: str) -> list[dict[str, Any]]:
    """The traces that it finds; none where Jaeger does not know the service yet."""
    result = traces(jaeger, "--format", "json", *arguments)
    if "Jaeger knows no service" in result.stderr:
        return []
    assert 0 == result.exit_code, result.output
    answer: list[dict[str, Any]] = json.loads(result.stdout)["traces"]
    return answer


def tags(trace: dict[str, Any]) -> dict[str, Any]:
    """The tags of a trace's root."""
    (root,) = [span for span in trace["spans"] if span["parent_id"] is None]
    root_tags: dict[str, Any] = root["tags"]
    return root_tags


def test_service(jaeger: JaegerProcess) -> None:
    """Every trace that was kept is found, the last first, and says which policy kept it."""
    kept = found(jaeger, "--service", "front-envoy", "--since", "5m")
    sampling = [(trace["sampling"]["policy"], trace["sampling"]["reason"]) for trace in kept]
    assert [("checkout", "policy"), ("failing", "policy"), ("checkout", "policy"), ("checkout", "policy")] == sampling
    assert ["3", None, "2", "1"] == [tags(trace).get("order_id") for trace in kept]
    starts = [trace["start"] for trace in kept]
    assert starts == sorted(starts, reverse=True)


def test_one_trace_of_two_services(jaeger: JaegerProcess) -> None:
    """Envoy's span and that of the service behind it are one trace: the tree, the services, the error."""
    (trace,) = found(jaeger, "--service", ORDERS)
    assert (["front-envoy", ORDERS], 1) == (trace["services"], trace["errors"])
    assert "front-envoy" == trace["root"]["service"]
    envoy, order = trace["spans"]
    assert (None, envoy["span_id"]) == (envoy["parent_id"], order["parent_id"])
    assert (False, True) == (envoy["failed"], order["failed"])
    assert trace["duration_seconds"] >= envoy["duration_seconds"] > 0


@pytest.mark.parametrize(
    ("wanted", "orders"),
    [
        (("user_id=2",), ["2"]),
        (("sampling.policy=checkout",), ["3", "2", "1"]),
        (("sampling.policy=checkout", "user_id=1"), ["1"]),
        (("http.status_code=503",), [None]),
        (("user_id=4",), []),
    ],
)
def test_tags(jaeger: JaegerProcess, wanted: tuple[str, ...], orders: list[str | None]) -> None:
    """Tags choose: those of a policy, of extproc and of Envoy, alone and together."""
    options = [option for tag in wanted for option in ("--tag", tag)]
    assert orders == [tags(trace).get("order_id") for trace in found(jaeger, "--service", "front-envoy", *options)]


def test_limit(jaeger: JaegerProcess) -> None:
    """No more come than were asked for, and it is said that there may be more."""
    result = traces(jaeger, "--service", "front-envoy", "--limit", "2")
    assert (0, "2 traces of front-envoy, and maybe more: --limit\n") == (result.exit_code, result.stderr)


def test_table(jaeger: JaegerProcess) -> None:
    """The table has a line for each."""
    (trace,) = found(jaeger, "--service", ORDERS)
    result = traces(jaeger, "--service", ORDERS)
    assert 0 == result.exit_code
    (line,) = [line for line in result.stdout.splitlines() if trace["trace_id"] in line]
    assert line.rstrip().endswith("checkout (policy)")
    assert f"front-envoy, {ORDERS}" in line


def test_unknown_service(jaeger: JaegerProcess) -> None:
    """A name that Jaeger has never heard is an error that names the nearest one."""
    result = traces(jaeger, "--service", "front_envoy")
    assert (1, "Error: Jaeger knows no service 'front_envoy'; it knows front-envoy\n") == (
        result.exit_code,
        result.stderr,
    )


def test_not_the_query_api(jaeger: JaegerProcess) -> None:
    """Jaeger's other port is told apart from its query API."""
    result = CliRunner().invoke(main, ["traces", "--service", "s", "--jaeger", f"http://{jaeger.otlp}"])
    assert 1 == result.exit_code
    assert f"what answers at http://{jaeger.otlp} is not Jaeger's query API" in result.stderr

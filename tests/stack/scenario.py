"""What is done to the stack, and what was seen of it: ordinary traffic first, then one incident after the other."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from stack.bed import Stack, running
from stack.evidence import Evidence, read_samples, read_spans, total
from stack.queries import Query, selectors

ROUNDS = 4
USER = "7"

_PATIENCE_SECONDS, _POLL_SECONDS = 60.0, 0.1
_FAILED_REQUESTS = 40
"""More than the tenth of a request a second, over five minutes, from which on HighErrorRate fires."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a round, what it is answered with, and each cluster that Envoy sends it on to."""

    path: str
    clusters: tuple[str, ...]
    status: int = 200
    method: str = "GET"


ROUND = (
    Request("/api/orders/1", ("order_service", "user_service", "grpc_service")),
    Request("/api/orders", ("order_service",)),
    Request("/api/users/1", ("user_service", "grpc_service")),
    Request("/api/users/9", ("user_service", "grpc_service"), 404),
    Request("/api/users", ("user_service",)),
    Request("/api/users", ("user_service",), 405, "POST"),
    Request("/api/other", ("default_service",), 404),
    Request("/", ("default_service",)),
    Request("/health", ("default_service",)),
    Request("/ready", ("default_service",)),
)
DEBUGGED = Request("/api/orders/2", ("order_service", "user_service", "grpc_service"))
"""The request of each round that is sent with `x-debug: 1`, whose trace is kept."""

REQUESTS = Counter(
    {
        name: ROUNDS * count
        for name, count in Counter(cluster for request in (*ROUND, DEBUGGED) for cluster in request.clusters).items()
    }
)
"""By cluster, how many requests of all rounds go through Envoy."""


def request_id(number: int) -> str:
    """The x-request-id of a round's debugged request: a UUID, for Envoy traces nothing that has another."""
    return str(uuid.UUID(int=number))


async def play(folder: Path, queries: list[Query]) -> Evidence:
    """Run the stack and everything that happens to it."""
    evidence = Evidence()
    async with running(folder) as stack:
        await _rounds(stack)
        await _observe(stack, evidence)
        await _a_policy_that_is_wrong(stack)
        await _a_service_that_is_gone(stack)
        await _no_jaeger(stack)
        await _no_collector(stack)
        await _no_extproc(stack)
        evidence.fired = await _fired(stack)
        evidence.notified = await _notified(stack)
        for query in queries:
            evidence.answers[query] = await _ask(stack, query)
            for selector in selectors(query.expression):
                evidence.series[selector] = len(await _values(stack, f"last_over_time({selector}[10m])"))
    return evidence


async def _rounds(stack: Stack) -> None:
    """Each round has been scraped when the next begins, so that Prometheus sees every series rise."""
    for number in range(1, ROUNDS + 1):
        statuses = await asyncio.gather(
            *(stack.send(each.path, each.method, x_user_id=USER) for each in ROUND),
            stack.send(DEBUGGED.path, x_user_id=USER, x_debug="1", x_request_id=request_id(number)),
        )
        assert [each.status for each in (*ROUND, DEBUGGED)] == statuses
        await _until_scraped(stack, number)


async def _observe(stack: Stack, evidence: Evidence) -> None:
    evidence.metrics = read_samples(await stack.text("otel-collector:8889"))
    evidence.envoy = read_samples(await stack.text("envoy:9901", "/stats/prometheus"))
    kept = total(evidence.metrics, "extproc_decisions_total", sampled="true")

    async def written() -> bool:
        evidence.spans = read_spans(stack.traces)
        evidence.at_jaeger = len(stack.jaeger.spans)
        of_envoy = sum(span.resource["service.name"] == "envoy-proxy" for span in evidence.spans)
        return of_envoy == kept and evidence.at_jaeger == len(evidence.spans)

    await _until(written, f"{kept:.0f} spans of Envoy")
    lines = stack.collector.log.read_text().splitlines()
    evidence.complaints = [line for line in lines if "\tinfo\t" not in line]
    evidence.calm = await _fired(stack)


async def _a_policy_that_is_wrong(stack: Stack) -> None:
    stack.extproc.policy.write_text("tracing: {sampling: {policy: sometimes}}\n")
    await _until_fired(stack, "PolicyReloadFailing")


async def _a_service_that_is_gone(stack: Stack) -> None:
    """Its callers answer 502: a few first, for Prometheus to know the series from which it then rises."""
    stack.services["grpc-service"].stop()
    await _until_scraped_with(stack, 1)
    await _until_scraped_with(stack, _FAILED_REQUESTS)
    await _until_fired(stack, "HighErrorRate")


async def _until_scraped_with(stack: Stack, failing: int) -> None:
    failed = 'sum(envoy_http_requests_total{service="user_service", status_code="502"})'
    before = sum(await _values(stack, failed))
    assert {502} == set(await asyncio.gather(*(stack.send("/api/users/1") for _ in range(failing))))

    async def scraped() -> bool:
        return sum(await _values(stack, failed)) == before + failing

    await _until(scraped, f"{failing} more requests that failed")


async def _no_jaeger(stack: Stack) -> None:
    """One trace after the other is lost, some in the queue's place that was taken, and the counters of both rise."""
    await stack.jaeger.stop()
    rises = [f"increase(otelcol_exporter_{what}_failed_spans[10m]) > 0" for what in ("send", "enqueue")]

    async def lost() -> bool:
        await stack.send("/", x_debug="1")
        return all([await _values(stack, rise) for rise in rises])

    await _until(lost, "spans that the collector lost")
    await _until_fired(stack, "TracesDropping")


async def _no_collector(stack: Stack) -> None:
    """What extproc could not deliver meanwhile is known once the collector is back."""
    await stack.collector.stop()

    async def dropped() -> bool:
        return await asyncio.to_thread(stack.extproc.metric, 'extproc_export_dropped_total{signal="metrics"}') > 0

    await _until(dropped, "points that extproc dropped")
    await _until_fired(stack, "TargetDown")
    await stack.collector.start(stack.client)
    await _until_fired(stack, "ExportDropping")


async def _no_extproc(stack: Stack) -> None:
    """Requests go on without it."""
    stack.extproc.process.kill()

    async def passed() -> bool:
        assert {200} == set(await asyncio.gather(*(stack.send("/") for _ in range(10))))
        return {"ExtprocDown", "ExtprocFailingOpen"} <= await _fired(stack)

    await _until(passed, "ExtprocDown and ExtprocFailingOpen")


async def _until_scraped(stack: Stack, rounds: int) -> None:
    """Return once Prometheus knows of the requests of so many rounds, from extproc, from Envoy and from a service."""
    expected = {
        'envoy_http_requests_total{service!=""}': REQUESTS.total(),
        'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="ingress_http"}': REQUESTS.total(),
        'envoy_http_requests_total{service_name="order-service"}': REQUESTS["order_service"],
    }

    async def scraped() -> bool:
        counts = [sum(await _values(stack, f"sum({series})")) for series in expected]
        return counts == [count * rounds // ROUNDS for count in expected.values()]

    await _until(scraped, f"requests of {rounds} rounds")


async def _until_fired(stack: Stack, alert: str) -> None:
    async def fires() -> bool:
        return alert in await _fired(stack)

    await _until(fires, alert)


async def _until(done: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await done():  # noqa: ASYNC110  it happens in other processes
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"no {what}") from None


async def _fired(stack: Stack) -> set[str]:
    """The alerts that have fired so far."""
    query = 'group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[15m]))'
    answer = await stack.api("prometheus:9090", "/api/v1/query", query=query)
    return {series["metric"]["alertname"] for series in answer["data"]["result"]}


async def _notified(stack: Stack) -> dict[str, set[str]]:
    """By alert the receivers that Alertmanager has for it; once it has inhibited what ExtprocDown explains."""
    found: dict[str, set[str]] = {}

    async def settled() -> bool:
        found.clear()
        for alert in await stack.api("alertmanager:9093", "/api/v2/alerts"):
            receivers = {each["name"] for each in alert["receivers"]} if alert["status"]["state"] == "active" else set()
            found.setdefault(alert["labels"]["alertname"], set()).update(receivers)
        return found.get("ExtprocFailingOpen") == set()

    await _until(settled, "inhibition")
    return found


async def _ask(stack: Stack, query: Query) -> list[float | str]:
    if query.label is None:
        return list(await _values(stack, query.expression))
    parameters = {"match[]": query.expression}
    answer = await stack.api("prometheus:9090", f"/api/v1/label/{query.label}/values", **parameters)
    return list(answer["data"])


async def _values(stack: Stack, expression: str) -> list[float]:
    """The values of a query now; NaN, which a rate of nothing makes of a quotient, is none."""
    answer = await stack.api("prometheus:9090", "/api/v1/query", query=expression)
    values = [float(series["value"][1]) for series in answer["data"]["result"]]
    return [value for value in values if value == value]  # noqa: PLR0124  NaN is not itself

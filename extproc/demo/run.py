"""One run of the demo: start, load, let everything arrive, stop, judge."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from extproc.demo.client import Client
from extproc.demo.evidence import Buckets, Evidence, Sent, SpanSeen
from extproc.demo.judge import Check, all_hold, judge
from extproc.demo.latency import Latency, latencies
from extproc.demo.otlp_receiver import OtlpReceiver, attributes_of
from extproc.demo.processes import find_envoy
from extproc.demo.progress import Progress
from extproc.demo.stack import POLICY, Stack, stack
from extproc.demo.tally import PolicyTally, tallies
from extproc.policy.load import load
from extproc.policy.plan import Plan
from extproc.telemetry import instruments

_ARRIVAL_SECONDS = 10.0
_POLL_SECONDS = 0.05
_SHOWN_SPANS = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo shows."""

    duration_seconds: float
    requests: int
    failed: int
    upstream_errors: int
    policies: tuple[PolicyTally, ...]
    spans: tuple[SpanSeen, ...]
    latencies: tuple[Latency, ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all that it shows is consistent."""
        return all_hold(self.checks)


async def run(duration_seconds: float, progress: Progress) -> Report:
    """Run the demo with load for `duration_seconds`.

    Raises:
        DemoError: it cannot be run here, or something of it broke.
    """
    envoy_path = find_envoy()
    rng = random.Random()  # noqa: S311  a load is no secret
    progress.step("starting Envoy, extproc, two services and an OTLP receiver")
    plan = load(POLICY)
    async with stack(envoy_path, plan, rng) as running:
        client = Client(running.gateway.url, rng)
        with progress.load(duration_seconds) as shown:

            def go_on(seconds: float) -> bool:
                shown.update(seconds, len(client.sent), len(running.receiver.spans))
                return running.runs

            await client.run(duration_seconds, go_on)
        running.check()
        progress.step("letting the last spans and metrics arrive")
        await _settle(running)
    return make_report(duration_seconds, _evidence(plan, client.sent, running))


def make_report(duration_seconds: float, evidence: Evidence) -> Report:
    """Judge and sum up what was seen."""
    statuses = [sent.status for sent in evidence.sent if sent.served and sent.status is not None]
    return Report(
        duration_seconds=duration_seconds,
        requests=len(evidence.sent),
        failed=len(evidence.sent) - len(statuses),
        upstream_errors=sum(status >= 500 for status in statuses),  # noqa: PLR2004  server errors of HTTP
        policies=tallies(evidence),
        spans=_choose(evidence),
        latencies=latencies(evidence),
        checks=judge(evidence),
    )


async def _settle(running: Stack) -> None:
    """Drain extproc, which flushes its metrics, and wait until all spans that Envoy has sent are here.

    Where they do not come in time it goes on: what is missing shows in the checks.
    """
    gateway, receiver = running.gateway, running.receiver
    await gateway.begin_flush()
    await running.server.stop()

    with suppress(TimeoutError):
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            # The count is in another process, so that there is no event to wait for.
            while (sent := await gateway.flushed()) is None or sent > len(receiver.spans):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    await gateway.process.stop()


def _evidence(plan: Plan, sent: list[Sent], running: Stack) -> Evidence:
    receiver = running.receiver
    decisions: Counter[tuple[str, str, bool]] = Counter()
    for point in receiver.latest(instruments.DECISIONS.name):
        found = attributes_of(point.attributes)
        key = str(found["policy"]), str(found["reason"]), bool(found["sampled"])
        decisions[key] += round(receiver.value(instruments.DECISIONS.name, found))
    return Evidence(
        ratios={policy.name: policy.sampler.probability for policy in (*plan.policies, plan.default)},
        sent=tuple(sent),
        seen=tuple(seen for upstream in running.upstreams for seen in upstream.seen),
        spans=tuple(_span(span) for _, span in receiver.spans),
        requests_counted=round(receiver.value(instruments.REQUESTS.name)),
        decisions_counted=decisions,
        upstream=_buckets(receiver, instruments.UPSTREAM_LATENCY.name),
        downstream=_buckets(receiver, instruments.DOWNSTREAM_LATENCY.name),
    )


def _span(span: Span) -> SpanSeen:
    return SpanSeen(
        trace_id=span.trace_id.hex(),
        name=span.name,
        server=span.kind == Span.SPAN_KIND_SERVER,
        tags=attributes_of(span.attributes),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _buckets(receiver: OtlpReceiver, metric: str) -> dict[str, Buckets]:
    return {
        str(attributes_of(point.attributes)["service"]): Buckets(
            tuple(point.explicit_bounds), tuple(point.bucket_counts)
        )
        for point in receiver.latest(metric)
        if isinstance(point, HistogramDataPoint)
    }


def _choose(evidence: Evidence) -> tuple[SpanSeen, ...]:
    """A few kept spans of different policies, those with the most to show first."""
    best: dict[object, SpanSeen] = {}
    for span in evidence.spans:
        key = span.tags.get("sampling.policy", "default")
        if key not in best or _richness(span) > _richness(best[key]):
            best[key] = span
    return tuple(sorted(best.values(), key=_richness, reverse=True)[:_SHOWN_SPANS])


def _richness(span: SpanSeen) -> int:
    """How many tags it has, but for Envoy's `error`: an ordinary request shows as much as one that went wrong."""
    return len(span.tags.keys() - {"error"})

"""The job of the Python peers, as one would write it for this one purpose with OpenTelemetry's SDK."""

from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

ATTRIBUTES = "envoy.filters.http.ext_proc"
NAMESPACE = "extproc"
FORCE_TRACE = "x-envoy-force-trace"
_RANDOM_DIGITS = slice(18, 32)
_RANDOM_BITS = 56
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides for all paths with one prefix."""

    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found about a request: its tags, and whether Envoy is to begin a trace."""

    tags: dict[str, str | float]
    force: bool


class Sampler:
    """So many policies on path prefixes, each with the same ratio."""

    def __init__(self, services: int, ratio: float) -> None:
        self._policies = [Policy(f"service-{n}", f"/api/service-{n}/") for n in range(services)]
        self._ratio = ratio
        self._threshold = round((1 - ratio) * 2**_RANDOM_BITS)

    def decide(self, headers: dict[str, str], traceparent: str) -> Decision:
        """Decide by the request's headers and the trace that Envoy has begun for it."""
        path = headers[":path"]
        matched = next((policy for policy in self._policies if path.startswith(policy.prefix)), None)
        parent = "traceparent" in headers
        tags: dict[str, str | float] = {
            "user_id": headers.get("x-user-id", "unknown"),
            "mesh": "envoy",
            "sampling.policy": matched.name if matched else "default",
            "sampling.reason": "parent" if parent else "policy" if matched else "default",
            "sampling.probability": self._ratio,
        }
        random = int(traceparent.split("-")[1][_RANDOM_DIGITS], 16) if traceparent else 0
        return Decision(tags, force=not parent and random >= self._threshold)


def histograms() -> tuple[Histogram, Histogram]:
    """Upstream and downstream latency, exported by OTLP as the environment says."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    meter = MeterProvider([reader]).get_meter("peer")
    names = ("envoy_upstream_latency_seconds", "envoy_downstream_latency_seconds")
    upstream, downstream = (
        meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=_BOUNDS) for name in names
    )
    return upstream, downstream

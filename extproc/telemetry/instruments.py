"""Every metric there is: one table that recording, OTLP and Prometheus text all read."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extproc.engine.outcome import StreamError

AttributeValue = str | int | bool
AttributeSet = tuple[tuple[str, AttributeValue], ...]
"""The attributes of one point, in the order of its instrument's `attributes`; those that do not apply are left out."""

CARDINALITY_LIMIT: Final = 2000
"""Attribute sets per metric, the overflow set among them: OpenTelemetry metrics SDK, "Cardinality limits"."""

OVERFLOW: Final[AttributeSet] = (("otel.metric.overflow", True),)
"""The one set that stands for all that came after the limit."""


class Kind(StrEnum):
    """How a metric's points add up."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up_down_counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric: `unit` in UCUM, `bounds` the inclusive upper bounds of its buckets, in that unit.

    `known` are the sets that exist at 0 before anything is recorded: a rate over a series that springs into being at
    1 misses that first event, which for failures is the one that matters.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    known: tuple[AttributeSet, ...] = ()


SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""OpenTelemetry's advice for durations: semantic conventions, `http.server.request.duration`."""

MICROSECONDS_AND_UP: Final = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, *SECONDS)
"""The same with finer bounds from 10 µs: one message takes us tens of microseconds."""

BYTES: Final = (0, 128, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
"""From nothing to 16 MiB: OpenTelemetry gives no advice for sizes."""

_REQUEST: Final = ("method", "path", "status_code", "service")
_SERVER: Final = (
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "url.scheme",
    "error.type",
)


def _each(attribute: str, values: Iterable[str]) -> tuple[AttributeSet, ...]:
    return tuple(((attribute, str(value)),) for value in values)


def _counter(
    name: str, unit: str, description: str, *attributes: str, known: tuple[AttributeSet, ...] = ()
) -> Instrument:
    return Instrument(name, Kind.COUNTER, unit, description, attributes, known=known)


def _histogram(
    name: str, description: str, *attributes: str, bounds: tuple[float, ...] = SECONDS, unit: str = "s"
) -> Instrument:
    return Instrument(name, Kind.HISTOGRAM, unit, description, attributes, bounds)


REQUESTS = _counter("envoy_http_requests_total", "{request}", "Requests that Envoy sent us, by outcome.", *_REQUEST)
REQUEST_DURATION = _histogram(
    "envoy_http_request_duration_seconds", "From a request's first message to the end of its stream.", *_REQUEST
)
HTTP_ERRORS = _counter("envoy_http_errors_total", "{request}", "Requests answered with status 400 or above.", *_REQUEST)
ERRORS = _counter("envoy_errors_total", "{error}", "Requests that failed, by what went wrong.", "error_type")
UPSTREAM_LATENCY = _histogram(
    "envoy_upstream_latency_seconds", "From the request's headers to the response's, by upstream service.", "service"
)
DOWNSTREAM_LATENCY = _histogram(
    "envoy_downstream_latency_seconds", "From the response's headers to the end of the request.", "service"
)
ACTIVE_CONNECTIONS = Instrument(
    "envoy_active_connections",
    Kind.UP_DOWN_COUNTER,
    "{connection}",
    "Downstream connections with a request under way.",
    known=((),),
)
SERVER_DURATION = _histogram(
    "http.server.request.duration",
    "Duration of HTTP server requests.",
    *_SERVER,
)
REQUEST_SIZE = _histogram(
    "http.server.request.body.size", "Size of HTTP server request bodies.", *_SERVER, bounds=BYTES, unit="By"
)
RESPONSE_SIZE = _histogram(
    "http.server.response.body.size", "Size of HTTP server response bodies.", *_SERVER, bounds=BYTES, unit="By"
)
ATTEMPTS = _counter(
    "envoy_upstream_attempts_total", "{attempt}", "Requests to upstreams, retries among them.", "service"
)
CLIENT_DURATION = _histogram(
    "http.client.request.duration",
    "Duration of HTTP client requests.",
    "http.request.method",
    "http.response.status_code",
    "server.address",
    "server.port",
    "error.type",
)
DECISIONS = _counter(
    "extproc.decisions", "{decision}", "Sampling decisions, by policy and reason.", "policy", "reason", "sampled"
)
POLICY_RATIO = Instrument(
    "extproc.policy.ratio", Kind.GAUGE, "1", "Share of new traces that each policy in force is to keep.", ("policy",)
)
POLICY_RATE = Instrument(
    "extproc.policy.rate",
    Kind.GAUGE,
    "{trace}/s",
    "New traces a second that each policy with such a limit or target is to keep.",
    ("policy",),
)
POLICY_EFFECTIVE_RATIO = Instrument(
    "extproc.policy.effective_ratio",
    Kind.GAUGE,
    "1",
    "Share of new traces that each policy has kept in the last ten seconds.",
    ("policy",),
)
DRY_RUNS = _counter(
    "extproc.policy.dry_run",
    "{decision}",
    "Decisions of policies with dry_run, which nobody has followed.",
    "policy",
    "sampled",
)
BOOSTS = _counter("extproc.policy.boosts", "{boost}", "Times a worker has raised a policy's ratio.", "policy")
STORE_ERRORS = _counter(
    "extproc.store.errors", "{error}", "Times the store of share did not answer a worker in time.", known=((),)
)
MESSAGE_DURATION = _histogram(
    "extproc.message.duration",
    "Time taken to answer one message from Envoy.",
    "phase",
    bounds=MICROSECONDS_AND_UP,
)
POLICY_RELOADS = _counter(
    "extproc.policy.reloads",
    "{reload}",
    "Times the policy file was read again; after an error the last good policy stays.",
    "result",
    known=_each("result", ("ok", "error")),
)
STREAM_ERRORS = _counter(
    "extproc.stream.errors",
    "{error}",
    "What Envoy sent and could not be used: a stream is then answered 'continue unchanged'.",
    "type",
    known=_each("type", StreamError),
)
EXPORT_DROPPED = _counter(
    "extproc.export.dropped",
    "{item}",
    "Data points, audit records and spans that were not delivered.",
    "signal",
    known=_each("signal", ("metrics", "traces", "audit")),
)
WORKER_RESTARTS = _counter(
    "extproc.worker.restarts", "{restart}", "Worker processes started again after they died.", known=((),)
)

INSTRUMENTS: Final = (
    REQUESTS,
    REQUEST_DURATION,
    HTTP_ERRORS,
    ERRORS,
    UPSTREAM_LATENCY,
    DOWNSTREAM_LATENCY,
    ACTIVE_CONNECTIONS,
    SERVER_DURATION,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    CLIENT_DURATION,
    ATTEMPTS,
    DECISIONS,
    POLICY_RATIO,
    POLICY_RATE,
    POLICY_EFFECTIVE_RATIO,
    DRY_RUNS,
    BOOSTS,
    STORE_ERRORS,
    MESSAGE_DURATION,
    POLICY_RELOADS,
    STREAM_ERRORS,
    EXPORT_DROPPED,
    WORKER_RESTARTS,
)

BY_NAME: Final = {instrument.name: instrument for instrument in INSTRUMENTS}


def attribute_set(instrument: Instrument, *values: AttributeValue | None) -> AttributeSet:
    """Pair an instrument's attributes with their values, in order, leaving out those that are None."""
    pairs = zip(instrument.attributes, values, strict=True)
    return tuple((name, value) for name, value in pairs if value is not None)

"""How telemetry leaves: OpenTelemetry's environment variables over the policy file's `collector`.

Endpoint, headers and certificates of the variables are read by OpenTelemetry's exporters themselves. What is read
here decides whether, how often and in which form we export, and the two of their variables at which they would fail:
a value they cannot read is reported and replaced by its default, never fatal. An empty variable counts as unset.
"""

import math
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlsplit

import structlog

from extproc.policy.plan import Collector

INTERVAL_MILLISECONDS: Final = 60_000.0
EXPORT_TIMEOUT_MILLISECONDS: Final = 30_000.0
REQUEST_TIMEOUT_SECONDS: Final = 10.0
BSP_QUEUE: Final = 2048
BSP_BATCH: Final = 512
BSP_DELAY_MILLISECONDS: Final = 5_000.0
REQUEST_SHARE: Final = 0.9
"""A request is given up at this share of the time left for the whole export."""


class Signal(StrEnum):
    """What is sent: the `signal` of OpenTelemetry's variables and, in small letters, of its URLs."""

    METRICS = "METRICS"
    LOGS = "LOGS"
    TRACES = "TRACES"


class Protocol(StrEnum):
    """OTEL_EXPORTER_OTLP_PROTOCOL."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


class Temporality(StrEnum):
    """OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE; ours being synchronous, lowmemory means delta for all."""

    CUMULATIVE = "cumulative"
    DELTA = "delta"
    LOW_MEMORY = "lowmemory"


class Compression(StrEnum):
    """OTEL_EXPORTER_OTLP_COMPRESSION."""

    NONE = "none"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the environment says about sending one signal, the same for the life of the process.

    `request_timeout_seconds` bounds one request with its retries: OTEL_EXPORTER_OTLP_TIMEOUT, in seconds as
    OpenTelemetry's Python exporters read it.
    """

    signal: Signal
    enabled: bool
    request_timeout_seconds: float
    protocol: Protocol
    compression: Compression


@dataclass(frozen=True, slots=True)
class Settings(Delivery):
    """The same for metrics, and when and in which form they are exported.

    `export_timeout_seconds` bounds one export of everything. A request gets less, so that it ends with a reason of its
    own.
    """

    interval_seconds: float
    export_timeout_seconds: float
    temporality: Temporality


@dataclass(frozen=True, slots=True)
class Batching:
    """How spans are gathered: OTEL_BSP_MAX_QUEUE_SIZE, _MAX_EXPORT_BATCH_SIZE and _SCHEDULE_DELAY."""

    queue: int
    batch: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where to export. With `endpoint` None the exporters take endpoint and security from the environment."""

    endpoint: str | None = None
    insecure: bool | None = None


def read_settings() -> Settings:
    """Read what the environment says about metrics, warning once of each value that means nothing."""
    _warn_of_exponential_histograms()
    export_timeout = _number("OTEL_METRIC_EXPORT_TIMEOUT", EXPORT_TIMEOUT_MILLISECONDS) / 1000
    delivery = read_delivery(Signal.METRICS)
    return Settings(
        signal=delivery.signal,
        enabled=delivery.enabled,
        request_timeout_seconds=min(delivery.request_timeout_seconds, REQUEST_SHARE * export_timeout),
        protocol=delivery.protocol,
        compression=delivery.compression,
        interval_seconds=_number("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL_MILLISECONDS) / 1000,
        export_timeout_seconds=export_timeout,
        temporality=_choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Temporality.CUMULATIVE),
    )


def read_delivery(signal: Signal) -> Delivery:
    """Read what the environment says about sending `signal`, warning of each value that means nothing."""
    return Delivery(
        signal=signal,
        enabled=_enabled(signal),
        request_timeout_seconds=_number(_first_set(signal, "TIMEOUT"), REQUEST_TIMEOUT_SECONDS),
        protocol=_choice(_first_set(signal, "PROTOCOL"), Protocol.GRPC),
        compression=_choice(_first_set(signal, "COMPRESSION"), Compression.NONE),
    )


def read_batching() -> Batching:
    """Read what the environment says about gathering spans, warning of each value that means nothing."""
    queue = max(1, int(_number("OTEL_BSP_MAX_QUEUE_SIZE", BSP_QUEUE)))
    return Batching(
        queue=queue,
        batch=min(queue, max(1, int(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BSP_BATCH)))),
        delay_seconds=_number("OTEL_BSP_SCHEDULE_DELAY", BSP_DELAY_MILLISECONDS) / 1000,
    )


def find_target(delivery: Delivery, collector: Collector | None) -> Target | None:
    """Return where to export, or None if that is switched off or nothing names an endpoint."""
    if not delivery.enabled:
        return None
    if _get(_first_set(delivery.signal, "ENDPOINT")):
        return Target()
    if collector is None:
        return None
    scheme = urlsplit(collector.endpoint).scheme if "://" in collector.endpoint else ""
    insecure = {"http": True, "https": False}.get(scheme, collector.insecure)
    if delivery.protocol is Protocol.HTTP:
        return Target(_http_url(delivery.signal, collector.endpoint, scheme, insecure=insecure))
    if not scheme and _get(_first_set(delivery.signal, "INSECURE")):
        return Target(collector.endpoint)
    return Target(collector.endpoint, insecure)


def _http_url(signal: Signal, endpoint: str, scheme: str, *, insecure: bool) -> str:
    """The URL of one signal; a file that names another signal's means that receiver all the same."""
    url = endpoint if scheme else f"{'http' if insecure else 'https'}://{endpoint}"
    for each in Signal:
        url = url.removesuffix(f"/v1/{each.lower()}")
    return f"{url.rstrip('/')}/v1/{signal.lower()}"


def _enabled(signal: Signal) -> bool:
    if _get("OTEL_SDK_DISABLED").lower() == "true":
        return False
    variable = f"OTEL_{signal}_EXPORTER"
    names = [name.strip().lower() for name in _get(variable).split(",") if name.strip()]
    # /metrics is there in any case, so that "prometheus" alone asks for no OTLP.
    known = ("otlp", "prometheus", "none") if signal is Signal.METRICS else ("otlp", "none")
    if not set(names) <= set(known):
        _warn(variable, ",".join(names), f"{', '.join(known[:-1])} or {known[-1]}", "otlp")
        return True
    return not names or "otlp" in names


def _first_set(signal: Signal, suffix: str) -> str:
    """Return the variable for this signal alone if it is set, else the one for all signals."""
    specific = f"OTEL_EXPORTER_OTLP_{signal}_{suffix}"
    return specific if _get(specific) else f"OTEL_EXPORTER_OTLP_{suffix}"


def _get(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _number(variable: str, default: float) -> float:
    text = _get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        _warn(variable, text, "a number above 0", f"{default:g}")
        return default
    return value


_Choice = TypeVar("_Choice", Protocol, Temporality, Compression)


def _choice(variable: str, default: _Choice) -> _Choice:
    text = _get(variable)
    kind = type(default)
    try:
        return kind(text.lower()) if text else default
    except ValueError:
        _warn(variable, text, " or ".join(kind), default)
        return default


def _warn_of_exponential_histograms() -> None:
    variable = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    if (text := _get(variable)) not in {"", "explicit_bucket_histogram"}:
        _warn(variable, text, "explicit_bucket_histogram", "explicit_bucket_histogram")


def _warn(variable: str, got: str, expected: str, used: str) -> None:
    structlog.get_logger().warning(
        f"{variable}: expected {expected}, got {got!r}; using {used}", variable=variable, value=got
    )

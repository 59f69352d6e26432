"""How metrics leave: OpenTelemetry's environment variables over the policy file's `collector`.

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
REQUEST_SHARE: Final = 0.9
"""A request is given up at this share of the time left for the whole export."""

_HTTP_PATH: Final = "/v1/metrics"


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
class Settings:
    """What the environment says, the same for the life of the process.

    `export_timeout_seconds` bounds one export of everything, `request_timeout_seconds` one request with its retries.
    The latter is OTEL_EXPORTER_OTLP_TIMEOUT, in seconds as OpenTelemetry's Python exporters read it, but less than
    the former, so that a request ends with a reason of its own.
    """

    enabled: bool
    interval_seconds: float
    export_timeout_seconds: float
    request_timeout_seconds: float
    protocol: Protocol
    temporality: Temporality
    compression: Compression


@dataclass(frozen=True, slots=True)
class Target:
    """Where to export. With `endpoint` None the exporters take endpoint and security from the environment."""

    endpoint: str | None = None
    insecure: bool | None = None


def read_settings() -> Settings:
    """Read the environment, warning once of each value that means nothing."""
    _warn_of_exponential_histograms()
    export_timeout = _number("OTEL_METRIC_EXPORT_TIMEOUT", EXPORT_TIMEOUT_MILLISECONDS) / 1000
    request_timeout = _number(_first_set("TIMEOUT"), REQUEST_TIMEOUT_SECONDS)
    return Settings(
        enabled=_enabled(),
        interval_seconds=_number("OTEL_METRIC_EXPORT_INTERVAL", INTERVAL_MILLISECONDS) / 1000,
        export_timeout_seconds=export_timeout,
        request_timeout_seconds=min(request_timeout, REQUEST_SHARE * export_timeout),
        protocol=_choice(_first_set("PROTOCOL"), Protocol.GRPC),
        temporality=_choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Temporality.CUMULATIVE),
        compression=_choice(_first_set("COMPRESSION"), Compression.NONE),
    )


def find_target(settings: Settings, collector: Collector | None) -> Target | None:
    """Return where to export, or None if that is switched off or nothing names an endpoint."""
    if not settings.enabled:
        return None
    if _get(_first_set("ENDPOINT")):
        return Target()
    if collector is None:
        return None
    scheme = urlsplit(collector.endpoint).scheme if "://" in collector.endpoint else ""
    insecure = {"http": True, "https": False}.get(scheme, collector.insecure)
    if settings.protocol is Protocol.HTTP:
        return Target(_http_url(collector.endpoint, scheme, insecure=insecure))
    if not scheme and _get(_first_set("INSECURE")):
        return Target(collector.endpoint)
    return Target(collector.endpoint, insecure)


def _http_url(endpoint: str, scheme: str, *, insecure: bool) -> str:
    url = endpoint if scheme else f"{'http' if insecure else 'https'}://{endpoint}"
    return url if url.endswith(_HTTP_PATH) else url.rstrip("/") + _HTTP_PATH


def _enabled() -> bool:
    if _get("OTEL_SDK_DISABLED").lower() == "true":
        return False
    names = [name.strip().lower() for name in _get("OTEL_METRICS_EXPORTER").split(",") if name.strip()]
    # /metrics is there in any case, so that "prometheus" alone asks for no OTLP.
    unknown = [name for name in names if name not in {"otlp", "none", "prometheus"}]
    if unknown:
        _warn("OTEL_METRICS_EXPORTER", ",".join(names), "otlp, prometheus or none", "otlp")
        return True
    return not names or "otlp" in names


def _first_set(suffix: str) -> str:
    """Return the variable for metrics alone if it is set, else the one for all signals."""
    specific = f"OTEL_EXPORTER_OTLP_METRICS_{suffix}"
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

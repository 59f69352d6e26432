"""What OpenTelemetry's variables and the policy file's `collector` come to."""

import os

import pytest
from structlog.testing import capture_logs

from extproc.policy.plan import Collector
from extproc.telemetry.settings import (
    Compression,
    Delivery,
    Protocol,
    Settings,
    Signal,
    Target,
    Temporality,
    find_target,
    read_delivery,
    read_settings,
)

DEFAULTS = Settings(
    signal=Signal.METRICS,
    enabled=True,
    interval_seconds=60.0,
    export_timeout_seconds=30.0,
    request_timeout_seconds=10.0,
    protocol=Protocol.GRPC,
    temporality=Temporality.CUMULATIVE,
    compression=Compression.NONE,
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(variable)


def _read(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> tuple[Settings, list[str]]:
    """Return the settings under `variables` and the warnings about them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as logs:
        settings = read_settings()
    return settings, [line["event"] for line in logs]


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables, or with empty ones, everything is as OpenTelemetry's specification has it."""
    assert (DEFAULTS, []) == _read(monkeypatch, {})
    empty = ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_METRICS_EXPORTER")
    assert (DEFAULTS, []) == _read(monkeypatch, dict.fromkeys(empty, ""))


def test_everything_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is followed, the one for metrics before the one for all signals."""
    variables = {
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        "OTEL_METRIC_EXPORT_TIMEOUT": "2000",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "1.5",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "DELTA",
    }
    expected = Settings(
        signal=Signal.METRICS,
        enabled=True,
        interval_seconds=5.0,
        export_timeout_seconds=2.0,
        request_timeout_seconds=1.5,
        protocol=Protocol.HTTP,
        temporality=Temporality.DELTA,
        compression=Compression.GZIP,
    )
    assert (expected, []) == _read(monkeypatch, variables)


def test_request_ends_before_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is given up before the export that it is part of."""
    settings, _ = _read(monkeypatch, {"OTEL_METRIC_EXPORT_TIMEOUT": "1000"})
    assert (1.0, 0.9) == (settings.export_timeout_seconds, settings.request_timeout_seconds)


@pytest.mark.parametrize(
    ("variable", "value", "warning"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "abc", "expected a number above 0, got 'abc'; using 60000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "expected a number above 0, got '0'; using 60000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "inf", "expected a number above 0, got 'inf'; using 60000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "-1", "expected a number above 0, got '-1'; using 30000"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "expected a number above 0, got '10s'; using 10"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "expected grpc or http/protobuf, got 'http/json'; using grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "expected none or gzip, got 'zstd'; using none"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "up",
            "expected cumulative or delta or lowmemory, got 'up'; using cumulative",
        ),
        ("OTEL_METRICS_EXPORTER", "console", "expected otlp, prometheus or none, got 'console'; using otlp"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2",
            "expected explicit_bucket_histogram, got 'base2'; using explicit_bucket_histogram",
        ),
    ],
)
def test_bad_values(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, warning: str) -> None:
    """A value that means nothing is reported once, in words that help, and the default stands in."""
    assert (DEFAULTS, [f"{variable}: {warning}"]) == _read(monkeypatch, {variable: value})


@pytest.mark.parametrize(
    ("variables", "enabled"),
    [
        ({"OTEL_METRICS_EXPORTER": "none"}, False),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp,prometheus"}, True),
        ({"OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_SDK_DISABLED": "1"}, True),
    ],
)
def test_switched_off(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, enabled: bool) -> None:
    """The environment alone can switch export off, whatever endpoint there is."""
    settings, warnings = _read(monkeypatch, variables)
    assert (enabled, []) == (settings.enabled, warnings)
    assert enabled == (find_target(settings, Collector("collector:4317")) is not None)


@pytest.mark.parametrize(
    ("protocol", "collector", "target"),
    [
        ("grpc", Collector("otel:4317", insecure=True), Target("otel:4317", insecure=True)),
        ("grpc", Collector("otel:4317"), Target("otel:4317", insecure=False)),
        ("grpc", Collector("http://otel:4317"), Target("http://otel:4317", insecure=True)),
        ("grpc", Collector("https://otel:4317", insecure=True), Target("https://otel:4317", insecure=False)),
        ("grpc", Collector("unix:/run/otel.sock", insecure=True), Target("unix:/run/otel.sock", insecure=True)),
        ("http/protobuf", Collector("otel:4318", insecure=True), Target("http://otel:4318/v1/metrics")),
        ("http/protobuf", Collector("otel:4318"), Target("https://otel:4318/v1/metrics")),
        ("http/protobuf", Collector("http://otel:4318/"), Target("http://otel:4318/v1/metrics")),
        ("http/protobuf", Collector("http://otel/otlp/v1/metrics"), Target("http://otel/otlp/v1/metrics")),
    ],
)
def test_file_target(monkeypatch: pytest.MonkeyPatch, protocol: str, collector: Collector, target: Target) -> None:
    """The file's endpoint is completed for the protocol; a scheme decides on TLS, else `insecure` does."""
    settings, _ = _read(monkeypatch, {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert target == find_target(settings, collector)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"])
def test_environment_wins(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """An endpoint in the environment leaves everything about it to the exporters."""
    settings, _ = _read(monkeypatch, {variable: "http://elsewhere:4317"})
    assert Target() == find_target(settings, Collector("otel:4317", insecure=True))


def test_insecure_in_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether to use TLS is the environment's word too, where the endpoint itself does not say."""
    settings, _ = _read(monkeypatch, {"OTEL_EXPORTER_OTLP_INSECURE": "true"})
    assert Target("otel:4317") == find_target(settings, Collector("otel:4317"))


def test_no_endpoint() -> None:
    """Nothing names an endpoint: there is no export."""
    assert find_target(read_settings(), None) is None


def test_logs_have_their_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of logs alone wins over what is said of all signals, and metrics do not hear of it."""
    variables = {
        "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "1.5",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "gzip",
    }
    settings, warnings = _read(monkeypatch, variables)
    expected = Delivery(
        Signal.LOGS, enabled=True, request_timeout_seconds=1.5, protocol=Protocol.HTTP, compression=Compression.GZIP
    )
    assert expected == read_delivery(Signal.LOGS)
    assert ([], 7.0, Protocol.GRPC) == (warnings, settings.request_timeout_seconds, settings.protocol)


@pytest.mark.parametrize(
    ("value", "enabled", "warning"),
    [
        ("none", False, []),
        ("otlp", True, []),
        ("prometheus", True, ["OTEL_LOGS_EXPORTER: expected otlp or none, got 'prometheus'; using otlp"]),
    ],
)
def test_logs_switched_off(monkeypatch: pytest.MonkeyPatch, value: str, *, enabled: bool, warning: list[str]) -> None:
    """Logs have a switch of their own."""
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", value)
    with capture_logs() as logs:
        delivery = read_delivery(Signal.LOGS)
    assert (enabled, warning) == (delivery.enabled, [line["event"] for line in logs])


@pytest.mark.parametrize(
    ("collector", "url"),
    [
        ("otel:4318", "https://otel:4318/v1/logs"),
        ("http://otel:4318", "http://otel:4318/v1/logs"),
        ("http://otel/otlp/v1/metrics", "http://otel/otlp/v1/logs"),
    ],
)
def test_file_target_of_logs(monkeypatch: pytest.MonkeyPatch, collector: str, url: str) -> None:
    """Logs go to the same receiver as metrics, under their own path."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert Target(url) == find_target(read_delivery(Signal.LOGS), Collector(collector))

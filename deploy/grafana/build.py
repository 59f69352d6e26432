"""Builds Grafana's dashboard: what Envoy serves, what the policies keep of it, and what extproc costs.

`make dashboards` writes it to dashboards/extproc.json, from where Grafana is provisioned.

Metrics of extproc have the names that the collector's Prometheus exporter gives them, those of Envoy the names of its
admin page /stats/prometheus. The sample services report `envoy_http_*` too: theirs have no label `service`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    SortOrder,
    TimeZoneBrowser,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

Panel: TypeAlias = timeseries.Panel | stat.Panel
Query: TypeAlias = tuple[str, str]
"""PromQL, and the name of each series that it gives."""

PROMETHEUS = DataSourceRef("prometheus", "prometheus")
SERVICE = '{service=~"$service"}'
REQUESTS = '{service=~"$service",path=~"$path"}'
FAILED = '{service=~"$service",path=~"$path",status_code=~"5.."}'
OWN = '{reason!~"parent|disabled"}'
"""The decisions that a policy's own sampling made."""
WINDOW = "[$__rate_interval]"
EXT_PROC = "envoy_http_ext_proc"
WIDTH = 24


def dashboard() -> Dashboard:
    """Return the whole of it."""
    built = (
        Dashboard("Envoy and extproc")
        .uid("extproc")
        .description("What Envoy serves, which traces the policies keep of it, and what that costs.")
        .tags(["envoy", "extproc"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone(TimeZoneBrowser)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(_variable("service", "Service", "envoy_http_requests_total"))
        .with_variable(_variable("path", "Path", f"envoy_http_requests_total{SERVICE}"))
    )
    for title, height, panels in (
        ("Now", 4, _now()),
        ("Traffic", 8, _traffic()),
        ("Traces kept, by policy", 8, _sampling()),
        ("What extproc costs", 8, _cost()),
    ):
        built = built.with_row(Row(title))
        for panel in panels:
            built = built.with_panel(panel.height(height))
    return built


def _now() -> list[Panel]:
    """One number each."""
    requests = f"sum(rate(envoy_http_requests_total{REQUESTS}{WINDOW}))"
    failed = f"sum(rate(envoy_http_requests_total{FAILED}{WINDOW}))"
    duration = f"sum by (le) (rate(envoy_http_request_duration_seconds_bucket{REQUESTS}{WINDOW}))"
    kept = f'sum(rate(extproc_decisions_total{{sampled="true"}}{WINDOW}))'
    return [
        _stat("Requests", units.RequestsPerSecond, requests, "blue"),
        _stat("Answered 5xx", units.PercentUnit, f"({failed} or vector(0)) / {requests}", "green", (0.05, "red")),
        _stat("p95", units.Seconds, f"histogram_quantile(0.95, {duration})", "green", (1, "red")),
        _stat(
            "Traces kept",
            units.PercentUnit,
            f"({kept} or vector(0)) / sum(rate(extproc_decisions_total{WINDOW}))",
            "blue",
        ),
        _stat(
            "Requests without extproc",
            units.Short,
            f"sum(increase({EXT_PROC}_failure_mode_allowed[$__range]))",
            "green",
            (1, "red"),
            description="Within the time shown: Envoy let them go on because extproc failed or took too long.",
        ),
        _stat(
            "extproc servers in use",
            units.Short,
            'min(envoy_cluster_membership_healthy{envoy_cluster_name="extproc"})',
            "red",
            (1, "green"),
            description="As seen by the Envoy that sees the fewest.",
        ),
    ]


def _traffic() -> list[Panel]:
    """The guide's six."""
    return _row(
        _graph(
            "Request Rate",
            units.RequestsPerSecond,
            (f"sum by (method, path) (rate(envoy_http_requests_total{REQUESTS}{WINDOW}))", "{{method}} {{path}}"),
        ),
        _graph(
            "Request Duration",
            units.Seconds,
            *(_quantile(share, "envoy_http_request_duration_seconds", REQUESTS) for share in ("0.95", "0.50")),
        ),
        _graph(
            "Error Rate",
            "errors/s",
            (f"sum by (error_type) (rate(envoy_errors_total{WINDOW}))", "{{error_type}}"),
            description="Of all services: by Envoy's response flag (UF, UT, UO, …), 5xx, or how the stream ended.",
        ),
        _graph("Active Connections", units.Short, ("sum(envoy_active_connections)", "active connections")),
        _graph(
            "Upstream Latency",
            units.Seconds,
            _quantile("0.95", "envoy_upstream_latency_seconds", SERVICE, by="service"),
        ),
        _graph(
            "Downstream Latency",
            units.Seconds,
            _quantile("0.95", "envoy_downstream_latency_seconds", SERVICE, by="service"),
        ),
    )


def _sampling() -> list[Panel]:
    """What each policy keeps, and whether that is what it was told to keep."""
    made = f"sum by (policy) (rate(extproc_decisions_total{OWN}[5m]))"
    kept = 'sum by (policy) (rate(extproc_decisions_total{sampled="true",reason!~"parent|disabled"}[5m]))'
    ratio = _graph(
        "Kept against target",
        units.PercentUnit,
        (f"({kept} or 0 * {made}) / {made}", "{{policy}}"),
        ("max by (policy) (extproc_policy_ratio)", "{{policy}}, target"),
        description="Over five minutes, without the traces whose caller had decided.",
    ).override_by_regexp(
        "/, target$/",
        [
            DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
            DynamicConfigValue("custom.fillOpacity", 0),
        ],
    )
    return [
        *_row(
            _decisions("Kept", "policy", '{sampled="true"}'),
            _decisions("Dropped", "policy", '{sampled="false"}'),
            _decisions("Why", "reason", ""),
        ),
        ratio.span(WIDTH),
    ]


def _cost() -> list[Panel]:
    """Extproc's own time and failures, and what Envoy says of it."""
    message = "extproc_message_duration_seconds"
    without = [(f"sum(rate({EXT_PROC}_{name}{WINDOW}))", name.replace("_", " ")) for name in _EXT_PROC_FAILURES]
    return [
        *_row(
            _graph(
                "Time per message",
                units.Seconds,
                *(_quantile(share, message, "", by="phase") for share in ("0.99", "0.50")),
                description="Envoy sends one message for a request's headers and one for its response's.",
            ),
            _graph(
                "Stream errors",
                "errors/s",
                (f"sum by (type) (rate(extproc_stream_errors_total{WINDOW}))", "{{type}}"),
                description="Requests that extproc let pass unchanged because it could do no better.",
            ),
            _graph(
                "Policy reloads",
                units.Short,
                (f"sum by (result) (increase(extproc_policy_reloads_total{WINDOW}))", "{{result}}"),
                description="After an error the last good policy stays in force.",
            ),
        ),
        _graph(
            "Export drops",
            "data points/s",
            (f"sum by (signal) (rate(extproc_export_dropped_total{WINDOW}))", "{{signal}}"),
            description="What OTLP did not deliver: the collector was away. Requests do not notice.",
        ).span(WIDTH // 2),
        _graph(
            "Failing open",
            units.RequestsPerSecond,
            *without,
            description="Envoy's own count: requests that went on without extproc, and why.",
        ).span(WIDTH // 2),
    ]


_EXT_PROC_FAILURES = ("failure_mode_allowed", "streams_failed", "message_timeouts")


def _decisions(title: str, by: str, which: str) -> timeseries.Panel:
    query = f"sum by ({by}) (rate(extproc_decisions_total{which}{WINDOW}))"
    return _graph(title, "traces/s", (query, f"{{{{{by}}}}}"))


def _quantile(share: str, histogram: str, which: str, by: str = "") -> Query:
    labels = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} p{share[2:]}" if by else f"p{share[2:]}"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{which}{WINDOW})))", name


def _row(*panels: timeseries.Panel) -> list[Panel]:
    """Three side by side."""
    return [panel.span(WIDTH // 3) for panel in panels]


def _graph(title: str, unit: str, *queries: Query, description: str = "") -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .show_points(VisibilityMode.NEVER)
        .legend(common_builders.VizLegendOptions().show_legend(True))  # noqa: FBT003  the builder's own
        .tooltip(common_builders.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if description:
        panel = panel.description(description)
    return panel.targets(_targets(queries))


def _stat(
    title: str, unit: str, query: str, color: str, *steps: tuple[float, str], description: str = ""
) -> stat.Panel:
    """A number in `color`, or in that of the last of `steps` that it has reached."""
    thresholds = [Threshold(None, color), *(Threshold(value, name) for value, name in steps)]
    panel = (
        stat.Panel()
        .title(title)
        .datasource(PROMETHEUS)
        .unit(unit)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds))
        .span(WIDTH // 6)
    )
    if description:
        panel = panel.description(description)
    return panel.targets(_targets([(query, title)]))


def _targets(queries: Iterable[Query]) -> list[builder.Builder[variants.Dataquery]]:
    return [
        Dataquery().datasource(PROMETHEUS).ref_id(reference).expr(expression).legend_format(name).range()
        for reference, (expression, name) in zip(ascii_uppercase, queries, strict=False)
    ]


def _variable(name: str, label: str, series: str) -> QueryVariable:
    """A choice of one label's values; all of them at first."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(f"label_values({series}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003  the builder's own
        .include_all(True)  # noqa: FBT003
        .all_value(".+")
    )


if __name__ == "__main__":
    text = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(dashboard().build())
    Path(sys.argv[1]).write_text(f"{text}\n", encoding="utf-8")

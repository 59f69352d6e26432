"""Grafana's dashboard asks for what really arrives: each query selects series that extproc or a real Envoy exposes."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from system import running

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
COMMITTED = GRAFANA / "dashboards" / "extproc.json"
DASHBOARD: dict[str, Any] = json.loads(COMMITTED.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
MACROS = {"$__rate_interval": "1m", "$__range": "1h", "$service": ".+", "$path": ".+"}
POLICY = """
tracing:
  sampling: {policy: always_off}
  policies:
    - {name: kept, match: {path: "/kept/*"}, sampling: {policy: always_on}}
"""


class Query(NamedTuple):
    """PromQL, and what Grafana calls each series that it gives."""

    panel: str
    expression: str
    legend: str


QUERIES = [
    Query(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    """What extproc and Envoy expose after requests that went well, failed, were kept and were dropped, by name."""

    async def scrape() -> str:
        async with running(tmp_path_factory.mktemp("server"), POLICY) as system:
            await system.send_all(["/kept/1", "/dropped", "/status/503"])
            await system.wait_for_metric('extproc_decisions_total{policy="kept",reason="policy",sampled="true"}', 1)
            await system.wait_for_metric(
                'extproc_decisions_total{policy="default",reason="default",sampled="false"}', 2
            )
            ours = await asyncio.to_thread(system.server.get, "/metrics")
            return ours[1] + await system.envoy.admin("/stats/prometheus")

    # Without the types, by which the parser would give Envoy's counters a _total that Prometheus does not give them.
    untyped = "\n".join(line for line in asyncio.run(scrape()).splitlines() if not line.startswith("#"))
    by_name: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(untyped):
        for sample in family.samples:
            by_name.setdefault(sample.name, []).append(sample)
    return by_name


def parse(expression: str) -> promql.Expr:
    """The expression as Prometheus reads it, once Grafana has filled in its variables."""
    for macro, value in MACROS.items():
        expression = expression.replace(macro, value)
    return promql.parse(expression)


def within(expression: promql.Expr) -> list[promql.Expr]:
    """It and all of its parts."""
    parts: list[promql.Expr] = []
    promql.walk(expression, parts.append)
    return parts


def selected(expression: promql.Expr, samples: dict[str, list[Sample]]) -> list[list[Sample]]:
    """For each selector in it, the samples that it selects."""
    selectors = [part for part in within(expression) if isinstance(part, promql.VectorSelector)]
    return [
        [sample for sample in samples.get(selector.name or "", []) if matches(selector, sample)]
        for selector in selectors
    ]


def matches(selector: promql.VectorSelector, sample: Sample) -> bool:
    """Whether a sample has the labels that a selector wants."""
    return all(holds(matcher, sample.labels.get(matcher.name, "")) for matcher in selector.matchers.matchers)


def holds(matcher: promql.Matcher, value: str) -> bool:
    """Whether a label may have this value."""
    alike = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
    found = re.fullmatch(matcher.value, value) is not None if alike else matcher.value == value
    return found == (matcher.op in (promql.MatchOp.Re, promql.MatchOp.Equal))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel}: {query.legend}")
def test_query_selects_what_is_exposed(query: Query, samples: dict[str, list[Sample]]) -> None:
    """Each selector finds series by their names and labels, and each label to group by is on one of them."""
    expression = parse(query.expression)
    for found in selected(expression, samples):
        assert found
    for part in within(expression):
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            for label in part.modifier.labels:
                assert all(any(label in sample.labels for sample in found) for found in selected(part.expr, samples))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel}: {query.legend}")
def test_legend_has_what_is_grouped_by(query: Query) -> None:
    """A name in a legend is a label that the query keeps."""
    groups = [part for part in within(parse(query.expression)) if isinstance(part, promql.AggregateExpr)]
    kept = {label for group in groups if group.modifier is not None for label in group.modifier.labels}
    assert kept - {"le"} == set(re.findall(r"\{\{(\w+)\}\}", query.legend))


@pytest.mark.parametrize("variable", DASHBOARD["templating"]["list"], ids=lambda variable: variable["name"])
def test_variable_has_values(variable: dict[str, Any], samples: dict[str, list[Sample]]) -> None:
    """A variable takes its values from a label that is there, and means all of them at first."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
    assert found is not None
    (series,) = selected(parse(found[1]), samples)
    assert {sample.labels[found[2]] for sample in series} > set()
    assert (variable["name"], True, ".+") == (found[2], variable["includeAll"], variable["allValue"])


def test_panels() -> None:
    """The guide's six and ours are there, of the kinds that Grafana still has."""
    titles = {panel["title"] for panel in PANELS}
    guide = {"Request Rate", "Request Duration", "Error Rate", "Active Connections"}
    guide |= {"Upstream Latency", "Downstream Latency"}
    ours = {"Kept", "Dropped", "Kept against target", "Time per message", "Stream errors", "Policy reloads"}
    ours |= {"Export drops", "Failing open", "Requests without extproc"}
    assert set() == (guide | ours) - titles
    assert {"timeseries", "stat"} == {panel["type"] for panel in PANELS}


def test_committed_file_is_what_the_script_builds(tmp_path: Path) -> None:
    """The JSON that Grafana reads has not been edited by hand: `make dashboards` gives the same bytes."""
    built = tmp_path / "built.json"
    subprocess.run([sys.executable, GRAFANA / "build.py", built], check=True)  # noqa: S603  our own script
    assert COMMITTED.read_bytes() == built.read_bytes()


def test_provisioning() -> None:
    """Grafana finds the dashboard, the dashboard its data source, and rates span as many scrapes as Grafana thinks."""
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/stack.yaml").read_text())["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert {"prometheus"} == used
    assert "http://prometheus:9090" == by_uid["prometheus"]["url"]
    assert "http://jaeger:16686" == by_uid["jaeger"]["url"]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert prometheus["global"]["scrape_interval"] == by_uid["prometheus"]["jsonData"]["timeInterval"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/stack.yaml").read_text())["providers"]
    assert "/var/lib/grafana/dashboards" == provider["options"]["path"]

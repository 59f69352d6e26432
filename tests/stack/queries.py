"""Every query of the dashboards and the alert rules, in a form that Prometheus answers if there is data at all."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import yaml

from envoy_files import ROOT

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES = ROOT / "deploy" / "prometheus"

_MACROS = {"$__rate_interval": "5m", "$__interval": "15s", "$__range": "5m"}
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<series>.+), *)?(?P<label>\w+)\)")
_COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}


class Query(NamedTuple):
    """Where it stands, and what to ask: PromQL, or with a `label` that label's values in the series selected."""

    place: str
    expression: str
    label: str | None = None


def dashboard_queries() -> list[Query]:
    """Of every dashboard: its panels' queries and its variables' own, each variable at "All"."""
    return [query for path in sorted(DASHBOARDS.glob("*.json")) for query in _of_dashboard(path)]


def rule_queries() -> list[Query]:
    """Of every rule: what an alert compares, without what it is compared with."""
    return [
        Query(f"{path.name}: {rule.get('alert') or rule['record']}", operand)
        for path in sorted(RULES.glob("*-rules.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        for operand in _operands(promql.parse(rule["expr"]))
    ]


def _of_dashboard(path: Path) -> Iterator[Query]:
    dashboard = json.loads(path.read_text())
    variables = dashboard["templating"]["list"]
    for variable in variables:
        found = _LABEL_VALUES.fullmatch(_filled(variable["query"], variables))
        assert found is not None, f"{variable['name']}: expected label_values(…), got {variable['query']}"
        yield Query(f"{path.name}: variable {variable['name']}", found["series"] or "{__name__!=''}", found["label"])
    for panel in _panels(dashboard["panels"]):
        for target in panel.get("targets", ()):
            yield Query(f"{path.name}: {panel['title']}", _filled(target["expr"], variables))


def _panels(panels: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All panels, those of folded rows among them."""
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", ()))


def _filled(expression: str, variables: Iterable[dict[str, Any]]) -> str:
    values = _MACROS | {f"${each['name']}": each.get("allValue") or ".*" for each in variables}
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(name, values[name])
    return expression


def selectors(expression: str) -> list[str]:
    """The series that a query selects from, each of which has to be there for it to mean anything."""
    found: list[promql.Expr] = []
    promql.walk(promql.parse(expression), found.append)
    return [str(part) for part in found if isinstance(part, promql.VectorSelector)]


def _operands(tree: promql.Expr) -> Iterator[str]:
    """What an alert looks at: of `a > 1 or b > 2` a and b. What a rule records is looked at as a whole."""
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) == "or":
        yield from _operands(tree.lhs)
        yield from _operands(tree.rhs)
    elif isinstance(tree, promql.BinaryExpr) and str(tree.op) in _COMPARISONS:
        yield str(tree.lhs)
    else:
        yield str(tree)

"""Alerts and dashboards on a real Prometheus, which scraped what really arrives."""

import pytest

from stack.evidence import Evidence
from stack.queries import Query, dashboard_queries, rule_queries, selectors

pytestmark = pytest.mark.timeout(1_200)  # the first run builds the collector

DASHBOARD_QUERIES, RULE_QUERIES = dashboard_queries(), rule_queries()


def test_there_are_queries() -> None:
    """Both kinds are found."""
    assert {"extproc.json"} <= {query.place.partition(":")[0] for query in DASHBOARD_QUERIES}
    assert {"envoy-rules.yml", "extproc-rules.yml"} == {query.place.partition(":")[0] for query in RULE_QUERIES}


@pytest.mark.parametrize("query", [*DASHBOARD_QUERIES, *RULE_QUERIES], ids=lambda query: query.place)
def test_query_returns_data(query: Query, evidence: Evidence) -> None:
    """A query has an answer, and each series that it selects from is there."""
    assert evidence.answers[query]
    assert {} == {each: 0 for each in selectors(query.expression) if not evidence.series[each]}


def test_quiet_in_ordinary_traffic(evidence: Evidence) -> None:
    """A few requests are too few for the throughput of production, and that is all there is to say of them."""
    assert {"LowThroughput"} == evidence.calm


def test_each_incident_fires_its_alert(evidence: Evidence) -> None:
    """A wrong policy file, a service, Jaeger, the collector and extproc away: each is told, and nothing else."""
    incidents = {"PolicyReloadFailing", "HighErrorRate", "TracesDropping", "TargetDown", "ExportDropping"}
    assert incidents | {"LowThroughput", "ExtprocDown", "ExtprocFailingOpen"} == evidence.fired


def test_alertmanager_tells_whom_it_should(evidence: Evidence) -> None:
    """What is critical goes to who is on call, the rest to the team; what ExtprocDown explains goes to nobody."""
    assert {"on-call"} == evidence.notified["ExtprocDown"]
    assert {"team"} == evidence.notified["PolicyReloadFailing"] == evidence.notified["HighErrorRate"]
    assert set() == evidence.notified["ExtprocFailingOpen"] == evidence.notified["LowThroughput"]

"""Requests in; decision, tags and mutations out: the cases that every engine has to pass."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.engine.exchange import Engine
from extproc.policy.load import load_text
from helpers import read_reply, request_headers, response_headers

CASES = Path(__file__).parents[2] / "data" / "cases"
DRY_RUN = ("sampling.dry_run", "sampling.dry_run.sampled")
OURS = ("sampling.reason", "sampling.policy", "sampling.probability", "span_name", *DRY_RUN)


def collect() -> list[Any]:
    """Every case of every file, with the file's policy."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        found += [pytest.param(document, case, id=f"{path.stem}: {case['name']}") for case in document["cases"]]
    return found


def first_message(request: dict[str, Any]) -> bytes:
    """The request of a case as Envoy would send it."""
    pseudo = {":method": request.get("method", "GET"), ":path": request.get("path", "/x"), ":scheme": "http"}
    headers = {":authority": request.get("host", "localhost")} | request.get("headers", {})
    sent = {name: value for name, value in (pseudo | headers).items() if value is not None}
    attributes = {"xds.cluster_name": request.get("service", "a-service")} | request.get("attributes", {})
    return request_headers(sent, attributes, request.get("metadata"))


@pytest.mark.parametrize(("document", "case"), collect())
def test_case(document: dict[str, Any], case: dict[str, Any]) -> None:
    """The engine decides, tags and mutates as the case says."""
    policy = yaml.safe_dump(document["policy"], sort_keys=False).encode()
    plan = load_text(policy, "policy.yaml", document.get("environment", {}))
    engine = Engine(plan, unix_seconds=document.get("unix_seconds", 0.0))
    request, expect = case["request"], case["expect"]
    trace_id = request.get("trace_id", "0af7651916cd43dd8448eb211c80319c")

    exchange = engine.begin(f"00-{trace_id}-b7ad6b7169203331-00")
    reply = read_reply(exchange.receive(first_message(request), 0.0))
    response = {":status": "200"} | case.get("response", {}).get("headers", {})
    later = read_reply(exchange.receive(response_headers(response, case.get("response", {}).get("attributes")), 1.0))
    outcome = exchange.finish(2.0)

    assert [] == exchange.errors
    assert outcome is not None
    assert expect["policy"] == outcome.policy
    assert "request_headers" == reply.phase
    assert "response_headers" == later.phase
    if "reason" in expect:
        assert (expect["reason"], expect["sampled"]) == (outcome.reason, outcome.sampled)
        assert expect["reason"] == reply.metadata["sampling.reason"]
        assert expect.get("probability") == reply.metadata.get("sampling.probability")
        assert expect.get("set", {}) == reply.set_headers
        assert expect.get("clear_route_cache", False) == reply.clear_route_cache
        assert expect.get("dry_run", []) == [reply.metadata[name] for name in DRY_RUN if name in reply.metadata]
        decided = expect["policy"] != "default" and expect["reason"] != "disabled"
        assert (expect["policy"] if decided else None) == reply.metadata.get("sampling.policy")
    if "tags" in expect:
        assert expect["tags"] == {name: value for name, value in reply.metadata.items() if name not in OURS}
        assert expect.get("span_name") == reply.metadata.get("span_name")
    if "tags" in expect or expect.get("reason") == "disabled":
        assert expect.get("response_tags", {"cache": "miss"} if "tags" in expect else {}) == later.metadata

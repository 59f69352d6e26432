"""`extproc explain`: what it says, and that it says what the engine does."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main

CASES = Path(__file__).parents[2] / "data" / "cases"
POLICY = """
tracing:
  sampling: {policy: probabilistic, ratio: 0.1}
  custom_tags: [{tag: user_id, request_header: {name: x-user-id, default_value: unknown}}]
  policies:
    - name: checkout
      match: {path: "/api/orders/{order_id}", method: [POST, PUT], service: order-service}
      sampling: {policy: probabilistic, ratio: 0.25}
      span_name: checkout
      custom_tags: [{tag: order, path: order_id}, {tag: cache, response_header: {name: x-cache}}]
    - name: gold
      match: {headers: {x-tier: gold}, not: {host: "*.internal"}}
      sampling: {policy: always_on}
    - name: orders
      match: {path: "/api/orders/*", query: {page: {present: true}}}
"""
KEPT = "0af7651916cd43dd84c0000000000000"
CHECKOUT = ("POST", "https://shop.example.com/api/orders/7?page=2", "--service", "order_service", "--trace-id", KEPT)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def explain(*arguments: str) -> Any:  # noqa: ANN401  JSON
    """The JSON form."""
    result = CliRunner().invoke(main, ["explain", *arguments, "--format", "json"])
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


def text(*arguments: str) -> str:
    """The text form."""
    result = CliRunner().invoke(main, ["explain", *arguments])
    assert 0 == result.exit_code, result.output
    return result.stdout


def test_text(policy: str) -> None:
    """The text names each policy's verdict, the arithmetic, the tags and what Envoy is told."""
    expected = f"""\
POST /api/orders/7?page=2   host shop.example.com   service order_service

Policies
  checkout  decides: every field holds
  gold      headers.x-tier: expected gold, got nothing
  orders    would match too, but comes later

Decision
  kept: policy checkout samples probabilistic 0.25
  trace {KEPT}
  R = c0000000000000 >= T = c0000000000000

Dynamic metadata, from which Envoy takes its tags
  order = 7
  sampling.policy = checkout
  sampling.probability = 0.25
  sampling.reason = policy
  span_name = checkout
  user_id = unknown
  cache, once the response is there

Header mutations
  set x-envoy-force-trace: true
  clear_route_cache: true
"""
    assert expected == text(policy, *CHECKOUT)


def test_json(policy: str) -> None:
    """The JSON has the same as data."""
    found = explain(policy, *CHECKOUT)
    assert [("checkout", True, True), ("gold", False, False), ("orders", True, False)] == [
        (entry["name"], entry["matches"], entry["decides"]) for entry in found["policies"]
    ]
    assert ("headers.x-tier", "gold", None) == tuple(found["policies"][1][key] for key in ("failed", "expected", "got"))
    assert {
        "policy": "checkout",
        "reason": "policy",
        "sampled": True,
        "trace_id": KEPT,
        "sampling": {"policy": "probabilistic", "ratio": 0.25, "parent": "respect"},
        "randomness": "c0000000000000",
        "threshold": "c0000000000000",
        "assumes": None,
        "boost": None,
    } == found["decision"]
    assert {"order_id": "7"} == found["captures"]
    assert "7" == found["tags"]["order"]
    assert ["cache"] == found["tags_from_response"]
    forced = {"set_headers": {"x-envoy-force-trace": "true"}, "remove_headers": [], "clear_route_cache": True}
    assert forced == found["mutations"]


def test_a_parent_decides(policy: str) -> None:
    """A traceparent among the headers is followed, and no mutation is needed for it."""
    parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    found = explain(policy, "GET", "/x", "-H", parent)
    assert ("parent", True) == (found["decision"]["reason"], found["decision"]["sampled"])
    assert "0af7651916cd43dd8448eb211c80319c" == found["decision"]["trace_id"]
    assert None is found["decision"]["randomness"]
    assert "the caller's traceparent says so" in text(policy, "GET", "/x", "-H", parent)


def test_fields_that_fail(policy: str) -> None:
    """Each policy names the first field that does not hold, with what was expected and what is there."""
    headers = ("-H", "X-Tier: gold", "-H", "Host: shop.internal:8080")
    found = explain(policy, "GET", "/api/orders/7", *headers)
    assert [
        ("service", "order-service", ""),
        ("not.host", "anything but *.internal", "shop.internal"),
        ("query.page", "present", None),
    ] == [(entry["failed"], entry["expected"], entry["got"]) for entry in found["policies"]]
    assert ("default", "default") == (found["decision"]["policy"], found["decision"]["reason"])
    assert "the default sampling samples probabilistic 0.1" in text(policy, "GET", "/api/orders/7", *headers)


def test_disabled(tmp_path: Path) -> None:
    """A file that switches tracing off is said to have done so."""
    path = tmp_path / "policy.yaml"
    path.write_text("tracing: {enabled: false}\n")
    assert "not kept: tracing.enabled is false" in text(str(path), "GET", "/")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("GET", "/", "--trace-id", "12"), "expected 32 hex digits that are not all zero, got '12'"),
        (("GET", "/", "--trace-id", "0" * 32), "expected 32 hex digits"),
        (("GET", "/", "-H", "oops"), "expected 'name: value', got 'oops'"),
        (("GET",), "Missing argument 'URL'"),
    ],
)
def test_usage(policy: str, arguments: tuple[str, ...], message: str) -> None:
    """A mistake on the command line is a usage error that says what to write."""
    result = CliRunner().invoke(main, ["explain", policy, *arguments])
    assert 2 == result.exit_code
    assert message in result.stderr


def test_a_bad_policy(tmp_path: Path) -> None:
    """A file with problems is not explained: they are printed, and the exit code is 1."""
    path = tmp_path / "policy.yaml"
    path.write_text("tracing: {sampling: {ratio: 2}}\n")
    result = CliRunner().invoke(main, ["explain", str(path), "GET", "/"])
    assert 1 == result.exit_code
    assert "policy.yaml:1:22: sampling.ratio: expected a number from 0 to 1, got 2" in result.stderr


def matching_cases() -> list[Any]:
    """The cases of matching.yaml, which the engine passes too."""
    document = yaml.safe_load((CASES / "matching.yaml").read_text())
    usable = [case for case in document["cases"] if (case["request"].get("path") or "").startswith("/")]
    return [pytest.param(document["policy"], case, id=case["name"]) for case in usable]


@pytest.mark.parametrize(("document", "case"), matching_cases())
def test_explain_agrees_with_the_engine(tmp_path: Path, document: object, case: dict[str, Any]) -> None:
    """The winner that explain shows is the engine's, and it is the first policy that it shows as matching."""
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    request = case["request"]
    headers = {"host": request.get("host", "localhost")} | request.get("headers", {})
    arguments = [f"-H{name}: {value}" for name, value in headers.items()]
    service = request.get("service", "a-service")
    found = explain(str(path), request.get("method", "GET"), request["path"], "--service", service, *arguments)
    assert case["expect"]["policy"] == found["decision"]["policy"]
    matching = [entry["name"] for entry in found["policies"] if entry["matches"]]
    assert case["expect"]["policy"] == (matching[0] if matching else "default")


SAMPLERS = """
tracing:
  policies:
    - {name: limited, match: {path: /limited}, sampling: {policy: rate_limited, traces_per_second: 10, burst: 20}}
    - {name: reserved, match: {path: /reserved}, sampling: {policy: reservoir, traces_per_second: 1, ratio: 0.25}}
    - name: by-cpu
      match: {path: /by-cpu}
      sampling: {policy: adaptive, base_ratio: 0.25, min_ratio: 0.125, max_ratio: 0.5}
    - {name: aim, match: {path: /aim}, sampling: {policy: adaptive, target_traces_per_second: 5, key: [path, method]}}
    - name: watched
      match: {path: /watched}
      sampling: {ratio: 0.25}
      boost: {when: {status: 5xx, above: 5%}, ratio: 0.5}
    - {name: past, match: {path: /past}, sampling: {policy: always_off}, until: 2020-01-01T00:00:00Z}
    - {name: tried, match: {path: /tried}, sampling: {policy: always_off}, dry_run: true}
"""


def test_samplers_that_count(tmp_path: Path) -> None:
    """What came before is known to the server alone, so explain says what it takes for granted."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SAMPLERS)
    limited = text(str(policy), "GET", "/limited", "--trace-id", KEPT)
    assert (
        f"""
Decision
  kept: policy limited samples rate_limited (traces_per_second 10, burst 20)
  trace {KEPT}
  while its bucket has tokens, as after a quiet time; without any, no trace is kept
"""
        in limited
    )
    assert "sampling.probability" not in limited
    low = KEPT.replace("c", "0")
    assert f"""
Decision
  kept: policy reserved samples reservoir (ratio 0.25, traces_per_second 1)
  trace {low}
  being among the first of its second; of those that come later, it keeps those whose R >= T
  R = 00000000000000 < T = c0000000000000
""" in text(str(policy), "GET", "/reserved", "--trace-id", low)
    decision = explain(str(policy), "GET", "/limited")["decision"]
    assert {"policy": "rate_limited", "traces_per_second": 10, "burst": 20, "parent": "respect"} == decision["sampling"]
    assert (None, True) == (decision["threshold"], "bucket" in decision["assumes"])


def test_samplers_that_adapt(tmp_path: Path) -> None:
    """The ratio of the moment is the server's, too."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SAMPLERS)
    numbers = "min_ratio 0.125, max_ratio 0.5, base_ratio 0.25, cpu_low 20%, cpu_high 80%, update_interval 60s"
    assert f"""
Decision
  kept: policy by-cpu samples adaptive ({numbers})
  trace {KEPT}
  while the CPU has its usual load; T is another one while it is busy or quiet
  R = c0000000000000 >= T = c0000000000000
""" in text(str(policy), "GET", "/by-cpu", "--trace-id", KEPT)
    numbers = "min_ratio 0, max_ratio 1, key [path, method], update_interval 10s, target_traces_per_second 5"
    assert f"""
Decision
  kept: policy aim samples adaptive ({numbers})
  trace {KEPT}
  being the first of its key within a minute; of the others, it keeps those whose R >= T, and T follows traffic

""" in text(str(policy), "GET", "/aim", "--trace-id", KEPT)


def test_a_boost_is_told(tmp_path: Path) -> None:
    """Whether it is on is known to the server alone; what sets it off is in the file."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SAMPLERS)
    assert f"""
Decision
  kept: policy watched samples probabilistic 0.25
  trace {KEPT}
  unless a boost is on: ratio 0.5 for 60s, after more than 5% of responses had a status from 500 to 599 within 30s
  R = c0000000000000 >= T = c0000000000000
""" in text(str(policy), "GET", "/watched", "--trace-id", KEPT)


def test_policies_that_do_not_decide(tmp_path: Path) -> None:
    """One that has ended says since when, one that is tried what it would have done."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(SAMPLERS)
    assert "  past      until: expected a time before 2020-01-01T00:00:00+00:00, got '" in text(
        str(policy), "GET", "/past"
    )
    tried = text(str(policy), "GET", "/tried")
    assert "  tried     would match too, but is a dry run\n" in tried
    assert "  sampling.dry_run = tried\n  sampling.dry_run.sampled = false\n" in tried
    assert "  kept: the default sampling samples always_on\n" in tried
    assert {"policy": "tried", "sampled": False} == explain(str(policy), "GET", "/tried")["dry_run"]

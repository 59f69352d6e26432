"""Other systems' sampling rules as policy files: the text, and what it decides."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.cli import main
from extproc.engine.explain import explain
from extproc.engine.match import Index
from extproc.engine.request import Request
from extproc.lint.report import report
from extproc.policy.codes import PARENT_IGNORED
from extproc.policy.importers import FORMATS, import_text
from extproc.policy.importers.wildcards import header, host, method, path, route, service, together
from extproc.policy.load import load_text
from extproc.policy.plan import Plan

DATA = Path(__file__).parents[2] / "data" / "import"
FILES = sorted(file for file in DATA.iterdir() if file.is_file())
BAD = sorted(file for file in (DATA / "bad").iterdir() if file.suffix != ".txt")


def kind(file: Path) -> str:
    """Whose format it is: the first word of its name."""
    return file.stem.partition("-")[0]


def imported(file: Path) -> str:
    """The policy file that a file becomes."""
    return import_text(file.read_bytes(), file.name, kind(file))


def run(*arguments: str, text: str | None = None) -> Result:
    """`extproc import` with these arguments."""
    return CliRunner().invoke(main, ["import", *arguments], input=text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_becomes_its_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command prints for a file is, whole, what stands in expected/."""
    monkeypatch.chdir(DATA)

    result = run(kind(file), file.name)

    assert (0, "") == (result.exit_code, result.stderr)
    assert (DATA / "expected" / f"{file.stem}.yaml").read_text("utf-8") == result.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_text_passes_check(file: Path) -> None:
    """It can be used, and there is nothing to warn of but what the original says itself."""
    found = report("policy.yaml", imported(file).encode(), {})

    assert found.usable
    expected = {PARENT_IGNORED} if "ignoring" in file.stem else set()
    assert expected == {problem.code for problem in found.problems}


def test_each_format_has_files() -> None:
    """The files of the tests above are there, good and bad."""
    assert set(FORMATS) == set(map(kind, FILES)) == set(map(kind, BAD))
    assert {file.stem for file in FILES} == {file.stem for file in (DATA / "expected").iterdir()}


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file_is_refused_with_its_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is wrong is said on standard error, with its place, and nothing is printed."""
    monkeypatch.chdir(file.parent)

    result = run(kind(file), file.name)

    assert (1, "") == (result.exit_code, result.stdout)
    assert file.with_suffix(".txt").read_text("utf-8") == result.stderr


def test_standard_input() -> None:
    """A - reads standard input, such as the value of an environment variable."""
    result = run("datadog", "-", text='[{"service": "shop", "sample_rate": 0.25}]')

    assert 0 == result.exit_code
    assert 0.25 == load_text(result.stdout.encode(), "p", {}).policies[0].sampler.probability


def test_problems_of_the_file_itself(tmp_path: Path) -> None:
    """A file that is not there, or no text, is a problem; a format that there is not is a usage error."""
    (tmp_path / "bytes.json").write_bytes(b"\xff")

    assert "none.json:1:1: tracing: expected a file that can be read" in run("jaeger", "none.json").stderr
    assert "bytes.json:1:1: document: expected UTF-8" in run("jaeger", str(tmp_path / "bytes.json")).stderr
    assert 2 == run("zipkin", "x.json").exit_code


def decides(plan: Plan, text: str, url: str = "/", service_name: str = "", **headers: str) -> str | None:
    """The policy that decides on `METHOD` and a URL; None for the default."""
    request = Request(
        {":method": text, ":path": url, ":authority": "shop.example:8080"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        service_name,
    )
    found = Index(plan.policies).find(request)
    return None if found is None else plan.policies[found].name


@pytest.mark.parametrize(
    ("name", "request_line", "service_name", "expected"),
    [
        ("jaeger", "POST /checkout", "shop-web", "shop-web POST /checkout"),
        ("jaeger", "GET /items/7?page=2", "shop-web", "shop-web HTTP GET /items/:id"),
        ("jaeger", "GET /ready", "shop-web", "/ready"),
        ("jaeger", "GET /slow", "shop-web", "shop-web"),
        ("jaeger", "POST /shop.mail.v1.Mailer/Send", "mailer", "mailer shop.mail.v1.Mailer/Send"),
        ("jaeger", "OPTIONS /", "mailer", "OPTIONS"),
        ("jaeger", "GET /", "stock-api", "stock_api"),
        ("jaeger", "GET /", "other", None),
        ("xray", "PUT /orders/1/items", "order-service", None),
        ("xray", "GET /search?q=a", "", "search"),
        ("xray-local", "POST /auctions/1/2/bids?x", "", "Bids"),
        ("xray-local", "POST /auctions/bids", "", None),
        ("xray-local", "GET /static/", "", "Static files"),
        ("datadog", "GET /healthz/deep", "any", "GET /health*"),
        ("datadog", "POST /health", "any", None),
        ("datadog", "PUT /orders/17", "checkout", "checkout * /orders/:id"),
        ("datadog", "GET /a/b/reviews", "catalog-eu", "catalog-* */reviews"),
        ("datadog", "GET /", "checkout", "checkout"),
    ],
)
def test_policy_takes_the_requests_of_its_rule(
    name: str, request_line: str, service_name: str, expected: str | None
) -> None:
    """A request is decided by the policy that its rule became."""
    (file,) = (each for each in FILES if each.stem == name)
    text, url = request_line.split()

    assert expected == decides(load_text(imported(file).encode(), "p", {}), text, url, service_name)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (path("/a/*"), ["/a/", "/a/b/c", "/a/?x"], ["/a", "/ab"]),
        (path("/a/*/c"), ["/a/b/c", "/a/b/x/c?q=/", "/a//c"], ["/a/c", "/a/b/c/d", "/a/b?/c"]),
        (path("/a?c"), ["/abc", "/a/c?d"], ["/ac", "/a?c", "/abbc"]),
        (path("/a.b{c}"), ["/a.b{c}"], ["/axb{c}"]),
        (path("*.png"), ["/x/y.png", "/y.png?v=1"], ["/y.pngx", "/y?.png"]),
        (path("*"), ["/", "/a/b"], []),
        (route("/users/:id/x"), ["/users/1/x"], ["/users//x", "/users/1/2/x"]),
        (route("/users/<int:id>"), ["/users/1"], ["/users/1/"]),
        (route("/users/{id:[0-9]+}"), ["/users/1"], ["/users/"]),
        (route("/{id}/{id}"), ["/{id}/{id}"], ["/1/2"]),
    ],
)
def test_paths(condition: dict[str, Any], yes: Sequence[str], no: Sequence[str]) -> None:
    """Their wildcards take slashes and never the query; parameters take one segment."""
    data = {"tracing": {"policies": [{"name": "it", "match": condition}]}}
    plan = load_text(yaml.safe_dump(data).encode(), "p", {})

    assert ["it"] * len(yes) + [None] * len(no) == [decides(plan, "GET", url) for url in (*yes, *no)]


def test_conditions() -> None:
    """What can be said by a field of its own is; what cannot is None."""
    assert {"host": "*.example.com"} == host("*.Example.com")
    assert {"headers": {":authority": {"regex": "(?i)a.(:[0-9]+)?"}}} == host("a?")
    assert {"headers": {":authority": {"regex": "(?i)a:80(:[0-9]+)?"}}} == host("a:80")
    assert {"method": ["POST", "PUT", "PATCH"]} == method("p*")
    assert {} == method("*") == service("*") == host("*")
    assert None is method("SELECT")
    assert None is service("a?")
    assert None is service("my service")
    assert {"headers": {"x": {"present": True}}} == header("x", "*")
    assert {"headers": {"x": {"regex": "a.b"}}} == header("x", "a?b")
    assert None is together({"path": "/a"}, {"path": "/b"})
    assert None is together({"headers": {"a": "1"}}, {"headers": {"a": "2"}})
    assert {"headers": {"a": "1", "b": "2"}} == together({"headers": {"a": "1"}}, {}, {"headers": {"b": "2"}})


def test_names_are_unique_and_can_be_used() -> None:
    """Rules of one name become policies of several; names that mean something here are changed."""
    rules = '[{"service": "a", "sample_rate": 0.1}, {"service": "a", "sample_rate": 0.2}, {"service": "default"}]'
    plan = load_text(import_text(rules.encode(), "r", "datadog").encode(), "p", {})

    assert ["a", "a (2)", "imported default"] == [policy.name for policy in plan.policies]


def fits(rule: dict[str, Any], attributes: Mapping[str, list[str]]) -> bool:
    """Whether a rule applies to a server span that begins a trace, as OpenTelemetry's configuration describes it."""
    values, patterns = rule.get("attribute_values"), rule.get("attribute_patterns")
    if "server" not in rule.get("span_kinds", ["server"]) or "none" not in rule.get("parent", ["none"]):
        return False
    if values is not None and not set(values["values"]) & set(attributes.get(values["key"], [])):
        return False
    return patterns is None or any(
        any(fnmatchcase(value, pattern) for pattern in patterns.get("included", ["*"]))
        and not any(fnmatchcase(value, pattern) for pattern in patterns.get("excluded", []))
        for value in attributes.get(patterns["key"], [])
    )


def share(sampler: dict[str, Any], attributes: Mapping[str, list[str]]) -> Fraction:
    """The share of new traces that a composable sampler keeps."""
    ((name, settings),) = sampler.items()
    if name == "rule_based":
        found = (rule["sampler"] for rule in settings["rules"] if fits(rule, attributes))
        return share(next(found, {"always_off": None}), attributes)
    if name == "parent_threshold":
        return share(settings["root"], attributes)
    return Fraction(settings["ratio"]) if name == "probability" else Fraction(name == "always_on")


def requests() -> Iterator[tuple[dict[str, str], dict[str, list[str]]]]:
    """Requests, as Envoy has them and as an instrumentation library would describe them."""
    paths = ["/livez", "/probe/ready", "/probe/a/b", "/admin/", "/admin/users", "/admin/assets/x", "/admin/x.map", "/"]
    for url, text, name, tier in product(paths, ["GET", "POST"], ["shop.example", "internal.example"], ["gold", ""]):
        headers = {":method": text, ":path": f"{url}?q=1", ":authority": f"{name}:8080", "user-agent": "curl/8.1"}
        attributes = {
            "http.request.method": [text],
            "url.path": [url],
            "http.route": ["/probe/:kind" if url == "/probe/ready" else url],
            "server.address": [name],
            "user_agent.original": ["curl/8.1"],
        }
        if tier:
            headers["x-tier"] = tier
            attributes["http.request.header.x-tier"] = [tier]
        yield headers, attributes


@pytest.mark.parametrize("name", ["otel", "otel-ignoring"])
def test_decides_as_the_rules_say(name: str) -> None:
    """On new traces the composite sampler, read by the words of its specification, and the policy agree."""
    sampler = yaml.safe_load((DATA / f"{name}.yaml").read_text("utf-8"))["tracer_provider"]["sampler"]
    composite = sampler.get("parent_based", {}).get("root", sampler)["composite/development"]
    plan = load_text(imported(DATA / f"{name}.yaml").encode(), "p", {})
    ids = [f"{(number * 0x9E3779B97F4A7C15) % 2**128 | 1:032x}" for number in range(1, 9)]

    compared = [
        (
            explain(plan, headers, "", trace_id).sampled,
            Fraction(int(trace_id, 16) % 2**56, 2**56) >= 1 - share(composite, attributes),
        )
        for headers, attributes in requests()
        for trace_id in ids
    ]

    assert [] == [index for index, (ours, expected) in enumerate(compared) if ours is not expected]
    assert {True, False} == {ours for ours, _ in compared}

"""`extproc envoy`: what each option changes in what is printed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from extproc.cli.envoy import command
from extproc.policy.plan import Plan, Policy, Sampler, SamplerKind, SpansMode
from extproc.wiring.comments import comments
from extproc.wiring.document import Part
from extproc.wiring.settings import Settings, Timings

_POLICY = """
tracing:
  collector: {endpoint: "otel.mesh:4317", insecure: true}
  attributes: {service.name: front}
  sampling: {policy: always_on}
  policies:
    - name: orders
      match: {path: /orders/*, service: order-service}
      sampling: {policy: always_on}
      span_name: orders
      custom_tags: [{tag: m, metadata: {kind: {request: {}}, metadata_key: {key: other, path: [{key: a}]}}}]
"""
_EMIT = _POLICY.replace("tracing:", "tracing:\n  spans: {mode: emit}")
_ORDERS = ("--upstream", "order_service=127.0.0.1:8080")

_SETTINGS = Settings(Plan((), Policy("default", -1, Sampler(SamplerKind.ALWAYS_ON, 1.0, 0))), endpoints=())

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command with a policy file."""
    path = tmp_path / "policy.yaml"

    def invoke(*arguments: str, policy: str = _POLICY) -> Result:
        path.write_text(policy)
        return CliRunner().invoke(command, ["--policy", str(path), *arguments])

    return invoke


def _keys(data: object) -> set[str]:
    """Every key at any depth."""
    if isinstance(data, dict):
        return set(data).union(*map(_keys, data.values()))
    return set().union(*map(_keys, data)) if isinstance(data, list) else set()


def _data(result: Result) -> Any:  # noqa: ANN401  JSON data
    assert (0, "") == (result.exit_code, result.stderr)
    return json.loads(result.stdout)


def _whole(run: Run, *arguments: str, policy: str = _POLICY) -> dict[str, Any]:
    data = _data(run(*_ORDERS, "--format", "json", *arguments, policy=policy))
    assert isinstance(data, dict)
    return data


def _manager(whole: dict[str, Any]) -> dict[str, Any]:
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert isinstance(manager, dict)
    return manager


def _filter(run: Run, *arguments: str) -> dict[str, Any]:
    config = _data(run("--only", "http-filter", "--format", "json", *arguments))[0]["typed_config"]
    assert isinstance(config, dict)
    return config


def _cluster(run: Run, name: str, *arguments: str) -> dict[str, Any]:
    clusters = {each["name"]: each for each in _whole(run, *arguments)["static_resources"]["clusters"]}
    cluster = clusters[name]
    assert isinstance(cluster, dict)
    return cluster


def _dialled(cluster: dict[str, Any]) -> list[Any]:
    endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return [endpoint["endpoint"]["address"] for endpoint in endpoints]


def _tcp(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@pytest.mark.parametrize("policy", [_POLICY, _EMIT], ids=list(SpansMode))
@pytest.mark.parametrize("part", list(Part))
def test_yaml_says_the_same_as_json(run: Run, part: Part, policy: str) -> None:
    """YAML adds comments and nothing else."""
    arguments = ("--only", part.value, *_ORDERS, "--edge")
    text = run(*arguments, policy=policy).stdout
    assert _data(run(*arguments, "--format", "json", policy=policy)) == yaml.safe_load(text)
    assert "# " in text


@pytest.mark.parametrize(
    ("policy", "mode", "edge"),
    [
        (_POLICY, SpansMode.ANNOTATE, []),
        (_POLICY, SpansMode.ANNOTATE, ["--edge"]),
        (_EMIT, SpansMode.EMIT, ["--edge"]),
    ],
)
def test_every_comment_is_printed(run: Run, policy: str, mode: SpansMode, edge: list[str]) -> None:
    """No comment has lost what it was about."""
    options = ("--tls-ca", "ca.pem", "--collector", "https://otel", "--timings", "access-log", *edge)
    printed = " ".join(run(*_ORDERS, *options, policy=policy).stdout.replace("# ", "").split())
    plan = replace(_SETTINGS.plan, mode=mode)
    settings = replace(_SETTINGS, plan=plan, timings=Timings.ACCESS_LOG, edge=bool(edge))
    assert [] == [text for text in comments(settings).values() if " ".join(text.split()) not in printed]


def test_edge(run: Run) -> None:
    """At the edge a caller's trace headers are dropped; elsewhere its decision is put where Envoy follows it."""
    follow = {"key": "x-client-trace-id", "value": "%REQ(traceparent)%"}
    helpers = [{"remove": "x-client-trace-id"}, {"remove": "x-envoy-force-trace"}]
    inside, edge = _manager(_whole(run)), _manager(_whole(run, "--edge"))
    inside_mutations, edge_mutations = (
        manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"] for manager in (inside, edge)
    )
    append = {"header": follow, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    assert [*helpers, {"append": append}] == inside_mutations
    assert [*helpers, {"remove": "traceparent"}, {"remove": "tracestate"}] == edge_mutations
    assert [False, True] == [inside["use_remote_address"], edge["use_remote_address"]]


def test_fail_closed_and_timeout(run: Run) -> None:
    """Fail-open and 200 ms unless told otherwise."""
    keys = ("failure_mode_allow", "message_timeout")
    default, told = _filter(run), _filter(run, "--fail-closed", "--message-timeout", "1.5s")
    assert [True, "0.200s"] == [default[key] for key in keys]
    assert [False, "1.500s"] == [told[key] for key in keys]


def test_workers(run: Run) -> None:
    """One endpoint per worker and address."""
    told = _cluster(run, "extproc", "--workers", "2", "--listen", "0.0.0.0:6000", "--listen", "unix:/x")
    expected = [
        _tcp("127.0.0.1", 6000),
        {"pipe": {"path": "/x-0"}},
        _tcp("127.0.0.1", 6001),
        {"pipe": {"path": "/x-1"}},
    ]
    assert expected == _dialled(told)
    assert [_tcp("127.0.0.1", 50051)] == _dialled(_cluster(run, "extproc"))


def test_names_are_looked_up(run: Run) -> None:
    """A host name makes a cluster that asks DNS, IPv4 first."""
    by_name = _cluster(run, "extproc", "--listen", "extproc.mesh:50051")
    assert ["STRICT_DNS", "V4_PREFERRED"] == [by_name["type"], by_name["dns_lookup_family"]]
    assert "STATIC" == _cluster(run, "extproc", "--listen", "[::1]:50051")["type"]


def test_tls(run: Run) -> None:
    """The CA, our certificate, and the names that the server's has to have."""
    assert "transport_socket" not in _cluster(run, "extproc")
    options = ("--tls-ca", "ca.pem", "--tls-cert", "c.pem", "--tls-key", "k.pem", "--listen", "extproc.mesh:1")
    context = _cluster(run, "extproc", *options)["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert "extproc.mesh" == context["sni"]
    certificate = {"certificate_chain": {"filename": "c.pem"}, "private_key": {"filename": "k.pem"}}
    assert [certificate] == common["tls_certificates"]
    name = {"san_type": "DNS", "matcher": {"exact": "extproc.mesh"}}
    expected = {"trusted_ca": {"filename": "ca.pem"}, "match_typed_subject_alt_names": [name]}
    assert expected == common["validation_context"]


def test_collector(run: Run) -> None:
    """The policy's collector, or the one that is named."""
    assert [_tcp("otel.mesh", 4317)] == _dialled(_cluster(run, "extproc_otel_collector"))
    named = _cluster(run, "extproc_otel_collector", "--collector", "https://other")
    assert [_tcp("other", 4317)] == _dialled(named)
    assert "transport_socket" in named


def test_upstreams_and_routes(run: Run) -> None:
    """Each upstream is a cluster of its own name; routes lead to them, the first one takes the rest."""
    options = ("--upstream", "users=grpc://users.mesh:9000", "--route", "/users=users", "--route", "/v1/=users")
    routes = _manager(_whole(run, *options))["route_config"]["virtual_hosts"][0]["routes"]
    matches = [{"path_separated_prefix": "/users"}, {"prefix": "/v1/"}, {"prefix": "/"}]
    assert matches == [each["match"] for each in routes]
    assert ["users", "users", "order_service"] == [each["route"]["cluster"] for each in routes]
    assert "typed_extension_protocol_options" in _cluster(run, "users", *options)
    assert "typed_extension_protocol_options" not in _cluster(run, "order_service")


def test_where_envoy_listens(run: Run) -> None:
    """The listener and the admin page."""
    whole = _whole(run, "--envoy-listen", "[::]:80", "--envoy-admin", "127.0.0.1:81")
    assert _tcp("::", 80) == whole["static_resources"]["listeners"][0]["address"]
    assert _tcp("127.0.0.1", 81) == whole["admin"]["address"]


def test_what_the_policy_decides(run: Run) -> None:
    """Tags, span names, resource and metadata come from the file."""
    tracing = _manager(_whole(run))["tracing"]
    assert ["m", "sampling.policy", "sampling.reason", "sampling.probability"] == [
        tag["tag"] for tag in tracing["custom_tags"]
    ]
    assert "%DYNAMIC_METADATA(extproc:span_name)%" == tracing["operation"]
    assert {"value": 0} == tracing["random_sampling"]
    assert "front" == tracing["provider"]["typed_config"]["service_name"]
    metadata = {"forwarding_namespaces": {"untyped": ["other"]}, "receiving_namespaces": {"untyped": ["extproc"]}}
    assert metadata == _filter(run)["metadata_options"]


def test_what_a_bare_policy_leaves_out(run: Run) -> None:
    """Nothing is printed for what the file does not use."""
    result = run("--only", "tracing", "--format", "json", policy="tracing: {sampling: {policy: always_on}}")
    tracing = _data(result)["tracing"]
    assert "operation" not in tracing
    assert "resource_detectors" not in tracing["provider"]["typed_config"]
    assert "envoy" == tracing["provider"]["typed_config"]["service_name"]


def test_spans_of_our_own_leave_envoys_tracing_alone(run: Run) -> None:
    """No tracing, no collector, no helper headers, nothing that only Envoy 1.40 knows; extproc sets the parent."""
    whole = _whole(run, policy=_EMIT)
    annotating = {
        "tracing",
        "early_header_mutation_extensions",
        "request_id_extension",
        "request_headers_to_remove",
        "emit_client_span",
        "value_type",
    }
    assert not annotating & _keys(whole)
    assert annotating <= _keys(_whole(run))
    assert ["extproc", "order_service"] == [each["name"] for each in whole["static_resources"]["clusters"]]
    rules = {"disallow_all": True, "allow_expression": {"regex": "^(traceparent|tracestate)$"}}
    ours, envoys = (_manager(each)["http_filters"][0]["typed_config"] for each in (whole, _whole(run)))
    del envoys["emit_client_span"]
    assert {**envoys, "mutation_rules": rules} == ours


def test_spans_of_our_own_at_the_edge(run: Run) -> None:
    """A caller's trace headers are dropped before extproc sees them."""
    [extension] = _manager(_whole(run, "--edge", policy=_EMIT))["early_header_mutation_extensions"]
    assert [{"remove": "traceparent"}, {"remove": "tracestate"}] == extension["typed_config"]["mutations"]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--edge"], ["early_header_mutation_extensions"]),
        (["--timings", "access-log"], ["access_log"]),
        (["--edge", "--timings", "access-log"], ["early_header_mutation_extensions", "access_log"]),
    ],
)
def test_what_is_left_of_tracing(run: Run, options: list[str], keys: list[str]) -> None:
    """With spans of our own the part has what else belongs into the connection manager."""
    assert keys == list(_data(run("--only", "tracing", "--format", "json", *options, policy=_EMIT)))


def test_nothing_is_left_of_tracing(run: Run) -> None:
    """A part without anything in it is not printed: it would look like a mistake of ours."""
    result = run("--only", "tracing", policy=_EMIT)
    assert (2, "") == (result.exit_code, result.stdout)
    message = (
        "Error: spans.mode emit needs nothing in Envoy's tracing; --only http-filter and --only cluster are all of it "
        "(--edge or --timings access-log would add to this part)\n"
    )
    assert result.stderr.endswith(message)


@pytest.mark.parametrize(
    ("arguments", "policy", "warning"),
    [
        (
            _ORDERS,
            _POLICY.replace("always_on}\n      span", "always_on, parent: ignore}\n      span"),
            (
                "warning: `parent: ignore` has no effect in orders: Envoy follows the decision of a traceparent that "
                "it sees; with --edge it does not see any\n"
            ),
        ),
        (
            ("--upstream", "orders=127.0.0.1:1"),
            _POLICY,
            (
                "warning: policy orders is for service order-service, and no --upstream has that name: it will match "
                "no request\n"
            ),
        ),
        (
            (*_ORDERS, "--collector", "otel:4318"),
            _POLICY,
            (
                "warning: the collector's port 4318 is usually OTLP over HTTP; Envoy sends its spans by gRPC: name "
                "that port with --collector HOST:4317\n"
            ),
        ),
    ],
)
def test_warnings(run: Run, arguments: tuple[str, ...], policy: str, warning: str) -> None:
    """What cannot work is said on stderr; the configuration is printed all the same."""
    result = run(*arguments, policy=policy)
    assert (0, warning) == (result.exit_code, result.stderr)
    assert "static_resources" in yaml.safe_load(result.stdout)


def test_a_policy_that_ignores_parents_works_at_the_edge(run: Run) -> None:
    """With --edge there is nothing to warn about."""
    policy = _POLICY.replace("always_on}\n      span", "always_on, parent: ignore}\n      span")
    assert "" == run(*_ORDERS, "--edge", policy=policy).stderr


def test_spans_of_our_own_have_nothing_to_be_warned_about(run: Run) -> None:
    """A parent can be ignored everywhere, and Envoy sends nothing to a collector."""
    policy = _EMIT.replace("always_on}\n      span", "always_on, parent: ignore}\n      span")
    assert _EMIT != policy
    assert "" == run(*_ORDERS, policy=policy.replace("otel.mesh:4317", "otel.mesh:4318")).stderr


def test_a_bad_policy(run: Run) -> None:
    """Every problem is on stderr, as `extproc check` says it, and nothing on stdout."""
    result = run(*_ORDERS, policy="tracing: {sampling: {policy: probabilistic, ratio: five}, nonsense: 1}")
    assert (1, "") == (result.exit_code, result.stdout)
    assert 2 == len(result.stderr.splitlines())
    assert "ratio: expected a number from 0 to 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected where requests go; try --upstream users=127.0.0.1:8080"),
        (
            ("--upstream", "users"),
            "Invalid value for '--upstream': expected NAME=HOST:PORT, got 'users'; try users=127.0.0.1:8080",
        ),
        (
            (*_ORDERS, "--listen", "localhost"),
            "Invalid value for '--listen': expected host:port or unix:/path, got 'localhost'; try localhost:50051",
        ),
        ((*_ORDERS, "--tls-key", "k"), "a certificate needs its key; give --tls-cert and --tls-key together"),
    ],
)
def test_usage(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """Usage errors say what to write and exit 2."""
    result = run(*arguments)
    assert (2, "") == (result.exit_code, result.stdout)
    assert f"Error: {message}\n" in result.stderr

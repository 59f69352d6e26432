"""Envoy's configuration for a case: what `extproc envoy` prints for ext_proc, plain ones for what needs no server."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from bench.cases import Case, Plain, Server
from bench.load import SERVICES
from extproc.cli.envoy import command

CHECKED = "/api/service-1/checked"
"""The route whose answers show, in headers, tags that Envoy has and the `traceparent` that the upstream got."""

_TAGS = ("user_id", "mesh", "tag_0", "sampling.policy")
SHOWN = {f"x-bench-{name}": f"%DYNAMIC_METADATA(extproc:{name})%" for name in _TAGS} | {
    "x-bench-trace": "%REQ(traceparent)%"
}
_TYPE = "type.googleapis.com/envoy"
_HTTP = f"{_TYPE}.extensions.filters.http"
_LUA = """
function envoy_on_request(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("extproc", "user_id", handle:headers():get("x-user-id") or "unknown")
  metadata:set("extproc", "mesh", "envoy")
end
"""


def configuration(case: Case, policy: Path, ports: dict[str, int], listen: str) -> str:
    """The whole configuration, as JSON.

    Args:
        case: What it is for.
        policy: Its policy file.
        ports: Where `envoy` and its `admin` are to listen, and where `upstream` and `sink` do.
        listen: Where the server listens.
    """
    config = _printed(case, policy, ports, listen) if case.server != Server.NONE else _plain(case, ports)
    (listener,) = config["static_resources"]["listeners"]
    listener["enable_reuse_port"] = False
    manager = _manager(config)
    (host,) = manager["route_config"]["virtual_hosts"]
    shown = [{"header": {"key": name, "value": value}} for name, value in SHOWN.items()]
    host["routes"].insert(0, {"match": {"path": CHECKED}, **_TO_UPSTREAM, "response_headers_to_add": shown})
    return json.dumps(config)


def upstream(port: int, admin: int) -> str:
    """An Envoy that plays the upstream of every case."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    return json.dumps(_bootstrap(port, admin, [answer], clusters=[]))


_TO_UPSTREAM: dict[str, Any] = {"route": {"cluster": "service", "timeout": "0s"}}


def _printed(case: Case, policy: Path, ports: dict[str, int], listen: str) -> dict[str, Any]:
    """What `extproc envoy` prints, less what a server that is only measured does not answer: health checks and logs."""
    arguments = ["--format=json", f"--policy={policy}", f"--listen={listen}", "--message-timeout=5s"]
    arguments += [f"--workers={case.workers}", f"--timings={case.timings}"]
    arguments += [f"--envoy-listen=127.0.0.1:{ports['envoy']}", f"--envoy-admin=127.0.0.1:{ports['admin']}"]
    arguments += [f"--upstream=service=127.0.0.1:{ports['upstream']}"]
    if case.mode == "annotate":
        arguments += [f"--collector=127.0.0.1:{ports['sink']}"]
    with redirect_stdout(StringIO()) as printed:
        command.main(arguments, standalone_mode=False)
    config: dict[str, Any] = json.loads(printed.getvalue())
    if case.server != Server.EXTPROC:
        _manager(config).pop("access_log", None)
        for cluster in config["static_resources"]["clusters"]:
            cluster.pop("health_checks", None)
    return config


def _plain(case: Case, ports: dict[str, int]) -> dict[str, Any]:
    """An Envoy without ext_proc."""
    routes: list[dict[str, Any]] = [{"match": {"prefix": "/"}, **_TO_UPSTREAM}]
    clusters = [_cluster("service", ports["upstream"]), _cluster("sink", ports["sink"], http2=True)]
    if case.plain == Plain.NATIVE:
        sampled = {"tracing": {"random_sampling": {"numerator": round(case.ratio * 100)}}}
        services = [{"match": {"prefix": f"/api/service-{n}/"}, **_TO_UPSTREAM, **sampled} for n in range(SERVICES)]
        routes = [*services, *routes]
    config = _bootstrap(ports["envoy"], ports["admin"], routes, clusters)
    manager = _manager(config)
    if case.plain == Plain.NATIVE:
        manager |= {"tracing": _tracing(case.ratio), "access_log": [_stats()]}
    if case.plain == Plain.LUA:
        lua = {"@type": f"{_HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": _LUA}}
        manager["http_filters"].insert(0, {"name": "lua", "typed_config": lua})
    return config


def _bootstrap(port: int, admin: int, routes: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_HTTP}.router.v3.Router"}}],
    }
    listener = {
        "name": "http",
        "address": _address(port),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _tracing(ratio: float) -> dict[str, Any]:
    provider = {
        "@type": f"{_TYPE}.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "sink"}},
        "service_name": "envoy",
    }
    return {
        "random_sampling": {"value": ratio * 100},
        "custom_tags": [
            {"tag": "user_id", "request_header": {"name": "x-user-id", "default_value": "unknown"}},
            {"tag": "mesh", "literal": {"value": "envoy"}},
        ],
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
    }


def _stats() -> dict[str, Any]:
    """Two histograms by service, out of the access log."""

    def histogram(name: str, value: str) -> dict[str, Any]:
        tags = [{"name": "service", "value_format": "%UPSTREAM_CLUSTER%"}]
        return {"stat": {"name": name, "tags": tags}, "unit": "Milliseconds", "value_format": value}

    config = {
        "@type": f"{_TYPE}.extensions.access_loggers.stats.v3.Config",
        "stat_prefix": "bench",
        "histograms": [
            histogram("downstream", "%DURATION%"),
            histogram("upstream", "%RESPONSE_DURATION%"),
        ],
    }
    return {"name": "stats", "typed_config": config}


def _cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    cluster: dict[str, Any] = {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}
    if http2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        explicit: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {options: {"@type": f"type.googleapis.com/{options}", **explicit}}
    return cluster


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _manager(config: dict[str, Any]) -> dict[str, Any]:
    (listener,) = config["static_resources"]["listeners"]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager

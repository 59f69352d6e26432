"""The configurations in envoy/: each is taken by Envoy, wired as `extproc envoy` prints it, and carries traffic."""

import asyncio
import difflib
import shlex
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from envoy_files import FOLDER, ROOT, TLS_FOLDER, clusters, dialled, load, manager, named, running
from envoy_process import validate
from extproc.demo.otlp_receiver import attributes_of
from wiring_bed import printed

FILES = sorted(path.name for path in FOLDER.iterdir())
PRINTED = {"basic.yaml": "starter.yaml", "tracing.yaml": "guide.yaml"}
"""The files that `extproc envoy` prints, and the policy file that each is for."""

WRITTEN = {
    "access-control.yaml": "access-control.yaml",
    "advanced-tls.yaml": "stack.yaml",
    "advanced.yaml": "stack.yaml",
    "grpc.yaml": "guide.yaml",
}
"""Those written by hand."""

NAMES = {
    "127.0.0.1:9902",
    "extproc:50051",
    "grpc-service:9090",
    "order-service:8080",
    "otel-collector:4317",
    "user-service:8080",
}
"""Where the files may lead: the services of docker-compose.yml and deploy/kubernetes/, and Envoy's own admin."""

TRACE = "0af7651916cd43dd8448eb211c80319c"
KEPT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
"""Headers of a request whose caller keeps the trace."""

REQUEST_ID = "7b674932-635d-4ceb-b907-12674f8c7267"


def _split(name: str) -> tuple[str, str]:
    """The comment at a file's beginning, and the rest."""
    lines = (FOLDER / name).read_text().splitlines(keepends=True)
    end = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[:end]), "".join(lines[end:])


def _parts(name: str) -> dict[str, Any]:
    """What `extproc envoy` prints for the policy file of a file written by hand, part by part."""
    policy = str(ROOT / "policies" / WRITTEN[name])
    options = ("--listen", "extproc:50051", "--collector", "otel-collector:4317")
    return {
        part: yaml.safe_load(printed(policy, *options, "--only", part))
        for part in ("http-filter", "tracing", "cluster")
    }


def test_every_file_is_tried() -> None:
    """There is nothing else in envoy/."""
    assert sorted([*PRINTED, *WRITTEN]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_envoy_takes_each_file(name: str, tmp_path: Path) -> None:
    """Envoy reads each file as it is, but for the folder of the certificates."""
    own = trustme.CA().issue_cert("envoy.example.com")
    own.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    own.private_key_pem.write_to_path(tmp_path / "tls.key")
    assert "" == validate((FOLDER / name).read_text().replace(TLS_FOLDER, str(tmp_path)))


@pytest.mark.parametrize("name", FILES)
def test_files_lead_to_the_services_of_the_stack(name: str) -> None:
    """Nothing is dialled that is not a service of the stack, and Envoy's admin is for its own machine alone."""
    config = load(name)
    assert {named(each) for each in dialled(config)} <= NAMES
    assert "127.0.0.1" == config["admin"]["address"]["socket_address"]["address"]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_files_are_what_is_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in a file's header prints the rest of it; where it does not, run `make envoy-files`."""
    monkeypatch.chdir(ROOT)
    header, rest = _split(name)
    lines = [line.removeprefix("#").removesuffix("\\") for line in header.splitlines() if line.startswith("#   ")]
    command = shlex.split(" ".join(lines))
    assert ["extproc", "envoy", "--policy", f"policies/{PRINTED[name]}"] == command[:4]
    assert printed(*command[3:]) == rest


@pytest.mark.parametrize("name", WRITTEN)
def test_the_filter_and_the_clusters_are_what_is_printed(name: str) -> None:
    """Files written by hand ask extproc as the printed configuration does, and before any other filter."""
    config, parts = load(name), _parts(name)
    assert parts["http-filter"] == manager(config)["http_filters"][:1]
    extproc, collector = parts["cluster"]
    assert extproc == clusters(config)["extproc"]
    collector["name"] = collector["load_assignment"]["cluster_name"] = "otel_collector"
    assert collector == clusters(config)["otel_collector"]


@pytest.mark.parametrize("name", WRITTEN)
def test_spans_are_decided_and_tagged_as_printed(name: str) -> None:
    """Files written by hand have the printed tracing. Their own are the resource, and tags behind those of extproc."""
    config, parts = manager(load(name)), _parts(name)["tracing"]
    own, expected = config["tracing"], parts["tracing"]
    assert expected["custom_tags"] == own["custom_tags"][: len(expected["custom_tags"])]
    for each in (own, expected):
        del each["custom_tags"], each["provider"]
    assert expected == own
    routes = parts.pop("route_config")
    assert routes == {key: config["route_config"][key] for key in routes}
    assert parts == {key: config.get(key) for key in parts}


@pytest.mark.parametrize("name", WRITTEN)
def test_paths_have_one_spelling(name: str) -> None:
    """Files written by hand treat paths and callers as the printed configuration does."""
    keys = ("use_remote_address", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action")
    basic, own = manager(load("basic.yaml")), manager(load(name))
    assert {key: basic[key] for key in keys} == {key: own.get(key) for key in keys}


def test_the_tls_variant_differs_in_tls_alone() -> None:
    """advanced-tls.yaml is advanced.yaml, comments and all, with one block added."""
    (_, plain), (_, tls) = _split("advanced.yaml"), _split("advanced-tls.yaml")
    changes = [line for line in difflib.ndiff(plain.splitlines(), tls.splitlines()) if line[0] in "+-"]
    assert {"+"} == {line[0] for line in changes}
    assert ["transport_socket"] == list(yaml.safe_load("\n".join(line[2:] for line in changes)))


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("access-control.yaml", "envoy-proxy"),
        ("advanced.yaml", "envoy-proxy"),
        ("basic.yaml", "my-gateway"),
        ("tracing.yaml", "go-envoy-app"),
    ],
)
def test_each_file_carries_traffic(name: str, service: str, tmp_path: Path) -> None:
    """With its own policy, a request reaches its service, is counted, and leaves a span; Envoy warns of nothing."""

    async def check() -> None:
        async with running(tmp_path, name, ROOT / "policies" / (PRINTED | WRITTEN)[name]) as mesh:
            status, request = await mesh.send("/api/users", {"x-user-id": "ann", **KEPT})
            assert (200, (TRACE, "01")) == (status, mesh.upstream_trace(request))
            span = (await mesh.wait_for_spans({TRACE}))[TRACE]
            assert "ann" == mesh.tags(span)["user_id"]
            assert "user_service" == mesh.tags(span)["upstream_cluster"]
            assert {service} == {attributes_of(each.attributes)["service.name"] for each, _ in mesh.collector.spans}
            await mesh.wait_for_metric('envoy_upstream_latency_seconds_count{service="user_service"}', 1)
            assert "" == mesh.envoy.log

    asyncio.run(check())


def test_tracing_tells_the_resource_and_the_tags_of_the_guide(tmp_path: Path) -> None:
    """Spans of tracing.yaml say who sent them and where it runs, and have the guide's four tags."""

    async def check() -> None:
        async with running(tmp_path, "tracing.yaml", ROOT / "policies" / "guide.yaml") as mesh:
            await mesh.send("/api/orders", {"x-user-id": "ann", "x-request-id": REQUEST_ID, **KEPT})
            span = (await mesh.wait_for_spans({TRACE}))[TRACE]
            expected = {"user_id": "ann", "request_id": REQUEST_ID, "service_name": "envoy-proxy", "mesh": "envoy"}
            assert expected == {key: mesh.tags(span)[key] for key in expected}
            resource = attributes_of(mesh.collector.spans[0][0].attributes)
            expected = {"service.version": "1.0.0", "deployment.environment": "production", "mesh.name": "envoy"}
            assert expected == {key: resource[key] for key in expected}

    asyncio.run(check())

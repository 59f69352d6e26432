"""What `extproc envoy` prints is taken by a real Envoy, and the facts that it rests on hold there."""

from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from envoy_process import validate
from wiring_bed import printed, write_policy

_UPSTREAM = ["--upstream", "users=127.0.0.1:1"]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The path of a policy file that uses everything that wiring looks at."""
    return write_policy(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--edge", "--fail-closed", "--message-timeout", "1.5s"],
        ["--workers", "2", "--listen", "extproc.mesh:50051"],
        ["--workers", "2", "--listen", "unix:/run/extproc.sock", "--listen", "[::1]:50051"],
        ["--envoy-listen", "[::1]:10000", "--envoy-admin", "unix:/tmp/admin.sock"],
        ["--collector", "https://otel.example.com", "--format", "json"],
        ["--upstream", "orders=grpc://orders.mesh:9000", "--route", "/orders=orders", "--route", "/v1/=orders"],
    ],
    ids=" ".join,
)
def test_envoy_takes_the_whole_configuration(policy: str, arguments: list[str]) -> None:
    """Envoy reads what is printed for each set of options."""
    assert "" == validate(printed(policy, *_UPSTREAM, *arguments))


@pytest.mark.parametrize("timings", ["stream", "access-log"])
@pytest.mark.parametrize("edge", [[], ["--edge"]])
@pytest.mark.parametrize("mode", ["annotate", "emit"])
def test_envoy_takes_either_mode(tmp_path: Path, mode: str, edge: list[str], timings: str) -> None:
    """Envoy reads what is printed for spans of its own and of ours, whatever times them and whoever calls."""
    assert "" == validate(printed(write_policy(tmp_path, mode), *_UPSTREAM, *edge, "--timings", timings))


@pytest.mark.parametrize("mutual", [False, True])
def test_envoy_takes_tls(policy: str, tmp_path: Path, mutual: bool) -> None:  # noqa: FBT001  a parameter of the test
    """Envoy reads the certificates that are named, for a host name, an IP address and a Unix socket."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = ca.issue_cert("envoy")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    arguments = ["--tls-ca", str(tmp_path / "ca.pem")]
    if mutual:
        arguments += ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    for listen in ("extproc.mesh:1", "10.0.0.1:1", "unix:/run/x.sock"):
        assert "" == validate(printed(policy, *_UPSTREAM, *arguments, "--listen", listen))


def _manager(whole: dict[str, Any]) -> dict[str, Any]:
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert isinstance(manager, dict)
    return manager


def test_parts_fit_into_a_whole(policy: str) -> None:
    """The parts printed one by one are the same as in the whole configuration."""
    whole = yaml.safe_load(printed(policy, *_UPSTREAM))
    manager = _manager(whole)
    tracing = yaml.safe_load(printed(policy, "--only", "tracing"))
    headers = tracing["route_config"].pop("request_headers_to_remove")
    assert {} == tracing.pop("route_config")
    assert headers == manager["route_config"]["request_headers_to_remove"]
    assert tracing == {key: manager[key] for key in tracing}
    assert yaml.safe_load(printed(policy, "--only", "http-filter")) == manager["http_filters"][:1]
    assert yaml.safe_load(printed(policy, "--only", "cluster")) == whole["static_resources"]["clusters"][:2]


def test_parts_fit_into_a_whole_without_spans_of_envoys(tmp_path: Path) -> None:
    """Where spans are our own there is one cluster, and a part for tracing only where something asks for it."""
    policy = write_policy(tmp_path, "emit")
    options = ("--edge", "--timings", "access-log")
    whole = yaml.safe_load(printed(policy, *_UPSTREAM, *options))
    manager = _manager(whole)
    tracing = yaml.safe_load(printed(policy, *options, "--only", "tracing"))
    assert ["early_header_mutation_extensions", "access_log"] == list(tracing)
    assert tracing == {key: manager[key] for key in tracing}
    assert yaml.safe_load(printed(policy, *options, "--only", "http-filter")) == manager["http_filters"][:1]
    assert yaml.safe_load(printed(policy, *options, "--only", "cluster")) == whole["static_resources"]["clusters"][:1]

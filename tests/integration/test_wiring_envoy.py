"""What `extproc envoy` prints is taken by a real Envoy, and the facts that it rests on hold there."""

from pathlib import Path

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


def test_parts_fit_into_a_whole(policy: str) -> None:
    """The parts printed one by one are the same as in the whole configuration."""
    whole = yaml.safe_load(printed(policy, *_UPSTREAM))
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    tracing = yaml.safe_load(printed(policy, "--only", "tracing"))
    headers = tracing["route_config"].pop("request_headers_to_remove")
    assert {} == tracing.pop("route_config")
    assert headers == manager["route_config"]["request_headers_to_remove"]
    assert tracing == {key: manager[key] for key in tracing}
    assert yaml.safe_load(printed(policy, "--only", "http-filter")) == manager["http_filters"][:1]
    assert yaml.safe_load(printed(policy, "--only", "cluster")) == whole["static_resources"]["clusters"][:2]

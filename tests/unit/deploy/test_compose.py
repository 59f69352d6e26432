"""docker-compose.yml: right by the specification's schema, and at one with every file that it names."""

import re
import subprocess
import sys
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from containers import COMPOSE, OURS, SERVICES, envoy_dials, envoy_listens, in_order, mounts, waits_for
from image import ROOT

NAMES = sorted(SERVICES)
DEPLOY = ROOT / "deploy"
LOOPBACK = "127.0.0.1"

JAEGER = {4317, 4318, 13133, 16686}
"""Where Jaeger listens without a configuration of its own; 9090, 9093 and 3000 are the defaults of the other three."""


def listens() -> dict[str, set[int]]:
    """The ports of each service, by its configuration and not by compose."""
    envoy = yaml.safe_load((ROOT / "envoy" / "advanced.yaml").read_text())
    outside = {address["port_value"] for address in envoy_listens(envoy) if address["address"] != LOOPBACK}
    collector = (DEPLOY / "otel-collector.yaml").read_text()
    return {
        "envoy": outside,
        "extproc": {_port(word) for word in SERVICES["extproc"]["command"] if re.fullmatch(r"0\.0\.0\.0:\d+", word)},
        "otel-collector": {
            int(port) for port in re.findall(r"0\.0\.0\.0}:(\d+)|port: (\d+)", collector) for port in port if port
        },
        "jaeger": JAEGER,
        "prometheus": {9090},
        "alertmanager": {9093},
        "grafana": {3000},
    } | {name: {int(SERVICES[name]["environment"]["PORT"])} for name in OURS if name != "extproc"}


def test_schema() -> None:
    """The Compose Specification's own schema takes it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    result = subprocess.run(  # noqa: S603  our own command
        [*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False
    )

    assert 0 == result.returncode, result.stdout + result.stderr


def test_whole_system_is_there() -> None:
    """Every part of the guide's system has its service."""
    guide = {"envoy", "otel-collector", "jaeger", "prometheus", "grafana"}
    ours = {"extproc", "user-service", "order-service", "grpc-service", "alertmanager"}

    assert guide | ours == set(SERVICES)


@pytest.mark.parametrize("name", NAMES)
def test_image_is_pinned(name: str) -> None:
    """Every image has a version, to the patch release."""
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_own_image_is_what_is_built(name: str) -> None:
    """An image of ours is built from a stage that the Dockerfile has, under the version of the package."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version

    assert SERVICES[name]["build"]["target"] in stages
    assert SERVICES[name]["image"].endswith(f":{version[1]}")


@pytest.mark.parametrize("name", NAMES)
def test_service_is_confined(name: str) -> None:
    """No container can write to its root, gain privileges, take all of the machine, or leave the one network."""
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"] is True
    assert (["ALL"], ["no-new-privileges:true"]) == (service["cap_drop"], service["security_opt"])
    assert {"cpus", "memory"} == set(limits)
    assert ["envoy-mesh"] == service["networks"]
    assert "unless-stopped" == service["restart"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)


def test_network() -> None:
    """There is one network, and it is the guide's."""
    assert ["envoy-mesh"] == list(COMPOSE["networks"])


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_for_this_machine_and_listened_on(name: str) -> None:
    """A published port is open to this machine alone, keeps its number, and the service listens on it."""
    for published in SERVICES[name].get("ports", ()):
        host, outer, inner = published.split(":")
        assert (LOOPBACK, outer) == (host, inner)
        assert int(inner) in listens()[name]


@pytest.mark.parametrize("name", NAMES)
def test_mounts_exist_and_are_read_only(name: str) -> None:
    """What is mounted from this folder is there, cannot be written to, and is used by the command or by default."""
    volumes = SERVICES[name].get("volumes", ())
    assert all(volume.endswith(":ro") for volume in volumes if volume.startswith("./"))
    assert {volume.split(":")[0] for volume in volumes if not volume.startswith("./")} <= set(COMPOSE["volumes"])
    for place, source in mounts(name).items():
        assert source.exists(), source
        words = SERVICES[name].get("command", ())
        named = any(place == path or place in path.parents for path in map(_path, words))
        assert named or name == "grafana", f"{place} is in no word of {words}"


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_command_are_mounted(name: str) -> None:
    """Every configuration that a command names is there to be read."""
    for path in map(_path, SERVICES[name].get("command", ())):
        if path.suffix in {".yaml", ".yml"}:
            place = next(place for place in mounts(name) if place == path or place in path.parents)
            assert (mounts(name)[place] / path.relative_to(place)).is_file()


def test_policies_are_mounted_as_a_folder() -> None:
    """The folder and not the file, so that an edit that replaces the file takes effect."""
    assert {PurePosixPath("/etc/extproc"): ROOT / "policies"} == mounts("extproc")


@pytest.mark.parametrize("name", NAMES)
def test_waits_only_for_health_that_is_checked(name: str) -> None:
    """Nobody waits for the health of a service without a check; of one with a check everybody does."""
    for other, condition in waits_for(name).items():
        checked = "healthcheck" in SERVICES[other] or other == "extproc"
        assert ("service_healthy" if checked else "service_started") == condition


def test_only_the_collector_has_no_check() -> None:
    """The image of extproc brings a check of its own, and the collector's holds nothing that could ask."""
    assert {"extproc", "otel-collector"} == {name for name in SERVICES if "healthcheck" not in SERVICES[name]}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_waiting_is_no_circle() -> None:
    """Everything can start."""
    assert set(SERVICES) == set(in_order(SERVICES))


@pytest.mark.parametrize("name", [name for name in NAMES if "healthcheck" in SERVICES[name]])
def test_health_is_asked_where_the_service_listens(name: str) -> None:
    """A check asks a port of its own container."""
    words = " ".join(SERVICES[name]["healthcheck"]["test"])
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1[:/](\d+)", words)}

    assert 1 == len(ports)
    assert ports <= listens()[name]


@pytest.mark.parametrize("name", NAMES)
def test_environment_calls_what_is_there(name: str) -> None:
    """An address in a variable is one that a service listens on."""
    for value in SERVICES[name].get("environment", {}).values():
        if found := re.fullmatch(r"(?:http://)?([a-z-]+):(\d+)", value):
            assert int(found[2]) in listens()[found[1]]


def test_envoy_calls_what_is_there() -> None:
    """Every address that Envoy's configuration dials is one that a service listens on."""
    envoy = yaml.safe_load((ROOT / "envoy" / "advanced.yaml").read_text())
    dialled = [(each["address"], each["port_value"]) for each in envoy_dials(envoy)]

    assert {"extproc", "otel-collector", "user-service", "order-service", "grpc-service"} <= {
        host for host, _ in dialled
    }
    assert all(port in listens()[host] for host, port in dialled if host != LOOPBACK)


@pytest.mark.parametrize(
    "file",
    ["otel-collector.yaml", "prometheus/prometheus.yml", "grafana/provisioning/datasources"],
)
def test_configurations_call_what_is_there(file: str) -> None:
    """Every address in the collector's, Prometheus' and Grafana's configuration is one that a service listens on."""
    path = DEPLOY / file
    texts = [each.read_text() for each in (path.rglob("*.y*ml") if path.is_dir() else [path])]
    found = {(host, int(port)) for text in texts for host, port in re.findall(rf"\b({'|'.join(NAMES)}):(\d+)", text)}

    assert found
    assert all(port in listens()[host] for host, port in found)


def test_no_secret_is_in_the_file() -> None:
    """No variable sets a password, key or token: Grafana is looked at without an account."""
    names = [variable for service in SERVICES.values() for variable in service.get("environment", {})]

    assert not [name for name in names if re.search("PASSWORD|SECRET|TOKEN|KEY", name)]
    grafana = SERVICES["grafana"]["environment"]
    assert ("true", "true") == (
        grafana["GF_AUTH_ANONYMOUS_ENABLED"],
        grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"],
    )


def test_extproc_has_longer_than_it_takes_to_drain() -> None:
    """Compose kills later than `serve` gives up on requests in flight."""
    service: dict[str, Any] = SERVICES["extproc"]

    assert "--grace" not in service["command"]
    assert 10 < int(service["stop_grace_period"].removesuffix("s"))


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _path(word: str) -> PurePosixPath:
    return PurePosixPath(word.rpartition("=")[2])

"""The files in deploy/prometheus/, by Prometheus' own tools: Debian's, and of the version that the deployments run."""

import asyncio
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from envoy_files import ROOT
from stack import tools
from stack.bed import PROMETHEUS_FOLDER, reserved_ports
from stack.program import Program

pytestmark = pytest.mark.timeout(1_200)  # the first run builds promtool

PROMTOOLS = {"Debian's": lambda: tools.debian("promtool"), "the deployments'": tools.promtool}
RULE_FILES = sorted(PROMETHEUS_FOLDER.glob("*-rules.yml"))
RULE_TESTS = sorted((PROMETHEUS_FOLDER / "tests").glob("*_test.yml"))
ALERTMANAGER = PROMETHEUS_FOLDER / "alertmanager.yml"
RULES = [rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
SERVICES = ROOT / "deploy" / "kubernetes" / "base"
PODS = ("127.0.0.2", "127.0.0.3")


def run(*command: str | Path) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own commands
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=[*PROMTOOLS.values()], ids=[*PROMTOOLS])
def promtool(request: pytest.FixtureRequest) -> Path:
    """Either promtool."""
    get: Callable[[], Path] = request.param
    return get()


def test_configuration(promtool: Path) -> None:
    """Prometheus takes the file of docker-compose.yml and finds the rules."""
    assert f"SUCCESS: {len(RULE_FILES)} rule files found" in run(
        promtool, "check", "config", PROMETHEUS_FOLDER / "prometheus.yml"
    )


def test_configuration_for_kubernetes() -> None:
    """It takes the one for Kubernetes too; Debian's is built without that service discovery."""
    file = PROMETHEUS_FOLDER / "prometheus-kubernetes.yml"
    assert f"SUCCESS: {len(RULE_FILES)} rule files found" in run(tools.promtool(), "check", "config", file)


def test_rules(promtool: Path) -> None:
    """The rules are sound, without duplicates."""
    found = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert len(RULES) == sum(map(int, re.findall(r"SUCCESS: (\d+) rules found", found)))


def test_rules_on_series(promtool: Path) -> None:
    """Every alert fires when it should, with these words, and stays silent when it should."""
    run(promtool, "test", "rules", *RULE_TESTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_tried_both_ways(alert: str) -> None:
    """There is a moment at which the alert fires, and one at which it does not."""
    cases = [
        bool(case["exp_alerts"])
        for file in RULE_TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert {True, False} == set(cases)


def test_alertmanager() -> None:
    """Alertmanager takes its file, and what inhibits or is inhibited are alerts and jobs that there are."""
    run(tools.debian("amtool"), "check-config", ALERTMANAGER)
    config = yaml.safe_load(ALERTMANAGER.read_text())
    matchers = [
        matcher.partition(" ")[::2]
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    names = [re.findall(r"[\w-]+", value) for label, value in matchers if label == "alertname"]
    jobs = [re.findall(r"[\w-]+", value) for label, value in matchers if label == "job"]
    assert {name for found in names for name in found} <= set(ALERTS)
    assert [[job["job_name"]] for job in _scrape_configs() if job["job_name"] == "otel-collector"] == jobs


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "team"), ("info", "team"), ("other", "team")]
)
def test_route(severity: str, receiver: str) -> None:
    """Who is on call hears of what is critical, the team of everything else."""
    route = run(
        tools.debian("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}"
    )
    assert receiver == route.strip()


def test_severities() -> None:
    """Each alert has one that the route knows."""
    assert {"critical", "warning", "info"} == {rule["labels"]["severity"] for rule in RULES if "alert" in rule}


def test_targets_are_services_of_compose() -> None:
    """What is scraped, and where alerts go, are services of docker-compose.yml."""
    config = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())
    found = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = [target for each in found for static in each["static_configs"] for target in static["targets"]]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {target.partition(":")[0] for target in targets} <= set(services)


def test_versions() -> None:
    """The deployments' images are of the versions that are tried here."""
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.yaml")]
    images = {image for file in files for image in re.findall(r"image: (\S+:\S+)", file.read_text())}
    known = {"otel/opentelemetry-collector-contrib", "prom/prometheus"}
    assert {
        f"otel/opentelemetry-collector-contrib:{tools.COLLECTOR_VERSION}",
        f"prom/prometheus:v{tools.PROMETHEUS_VERSION}",
    } == {image for image in images if image.partition(":")[0] in known}


def test_pods_of_envoy_are_found(tmp_path: Path) -> None:
    """Of all pods that Kubernetes would tell of, Envoy's are scraped, once each, where its Service says."""
    config = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus-kubernetes.yml").read_text())
    job = config["scrape_configs"][0]
    del job["kubernetes_sd_configs"]
    job["static_configs"] = list(_discovered())
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    with reserved_ports("prometheus") as ports:
        targets = asyncio.run(_targets(file, ports["prometheus"]))
    assert [f"http://{pod}:9901/stats/prometheus" for pod in PODS] == [each["scrapeUrl"] for each in targets]
    expected = {"job": "envoy-proxy", "kubernetes_namespace": "envoy-mesh", "kubernetes_name": "envoy"}
    for each, pod in zip(targets, PODS, strict=True):
        labels = expected | {"kubernetes_pod": f"envoy-{pod}", "app_kubernetes_io_name": "envoy"}
        assert labels | {"instance": f"{pod}:9901"} == each["labels"]


def _scrape_configs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    return found


def _discovered() -> Iterator[dict[str, Any]]:
    """What Prometheus would learn of two pods behind each Service: a target for each of its ports."""
    manifests = [each for file in sorted(SERVICES.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())]
    for service in (each for each in manifests if each and each["kind"] == "Service"):
        metadata = service["metadata"]
        named = {"label": metadata.get("labels", {}), "annotation": metadata.get("annotations", {})}
        meta = {
            f"service_{kind}_{re.sub(r'[^a-zA-Z0-9]', '_', name)}": value
            for kind, pairs in named.items()
            for name, value in pairs.items()
        }
        meta |= {"service_name": metadata["name"], "namespace": "envoy-mesh"}
        for pod in PODS:
            labels = {**meta, "pod_name": f"{metadata['name']}-{pod}"}
            yield {
                "targets": [f"{pod}:{port['port']}" for port in service["spec"]["ports"]],
                "labels": {f"__meta_kubernetes_{name}": value for name, value in labels.items()},
            }


async def _targets(config: Path, port: int) -> list[dict[str, Any]]:
    """The active targets of a Prometheus, by the address that it scrapes."""
    url = f"http://127.0.0.1:{port}"
    arguments = (f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'data'}")
    command = (tools.debian("prometheus"), *arguments, f"--web.listen-address=127.0.0.1:{port}")
    prometheus = Program(command, f"{url}/-/ready", config.parent / "prometheus.log")
    async with aiohttp.ClientSession() as client:
        try:
            await prometheus.start(client)
            targets: list[dict[str, Any]] = []
            async with asyncio.timeout(20):
                while not targets:
                    async with client.get(f"{url}/api/v1/targets", params={"state": "active"}) as answer:
                        targets = (await answer.json())["data"]["activeTargets"]
        finally:
            await prometheus.stop()
    return sorted(targets, key=lambda target: str(target["scrapeUrl"]))

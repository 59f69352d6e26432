"""deploy/kubernetes/, built by kustomize: valid by Kubernetes' own schemas, and at one with itself and with compose."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from containers import SERVICES, envoy_dials, envoy_listens
from extproc.cli.serve import command as serve
from extproc.policy.load import load_text
from image import ROOT
from stack.tools import kustomize, operator_schemas

pytestmark = pytest.mark.timeout(1_200)  # the first run builds kustomize

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("shared", "sidecar")
COMPONENTS = ("jaeger", "prometheus", "servicemonitor")
VERSIONS = ("1.34", "1.37")
"""The oldest that has all that is used (preStop's sleep), and the newest with a schema."""

LOOPBACK = "127.0.0.1"
Object = dict[str, Any]


class Manifests:
    """What an overlay comes to, with all components."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str) -> dict[str, Object]:
        """The objects of a kind by name."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    def pods(self) -> dict[str, Object]:
        """The pod template of each Deployment."""
        return {name: deployment["spec"]["template"] for name, deployment in self.of("Deployment").items()}

    def containers(self) -> Iterator[tuple[str, Object, Object]]:
        """The name of each Deployment, its pod's spec, and a container of it."""
        for name, pod in self.pods().items():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield name, pod["spec"], container

    def selected(self, labels: dict[str, str]) -> list[str]:
        """The Deployments whose pods have these labels."""
        assert labels, "an empty selector takes every pod"
        return [name for name, pod in self.pods().items() if labels.items() <= pod["metadata"]["labels"].items()]

    def file(self, pod: Object, container: Object, path: str) -> str:
        """The text of a file that a container has mounted from a ConfigMap."""
        for mount in container.get("volumeMounts", ()):
            if PurePosixPath(path).is_relative_to(mount["mountPath"]):
                volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
                data: dict[str, str] = self.of("ConfigMap")[volume["configMap"]["name"]]["data"]
                return data[str(PurePosixPath(path).relative_to(mount["mountPath"]))]
        raise AssertionError(f"{path} is not mounted")


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """An overlay with every component."""
    return _together(
        tmp_path_factory.mktemp(request.param),
        {
            "resources": [f"../overlays/{request.param}"],
            "components": [f"../components/{name}" for name in COMPONENTS],
        },
    )


@pytest.mark.parametrize("folder", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_builds_alone(folder: str) -> None:
    """The base and each overlay come to something without any component."""
    objects = _build(FOLDER / folder)

    assert {"Namespace", "Deployment", "Service", "ConfigMap", "HorizontalPodAutoscaler"} <= {
        each["kind"] for each in objects
    }


def test_documented_choice_builds(tmp_path: Path) -> None:
    """The kustomization of docs/deploy.md is the shared overlay with components, and images from a registry."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    built = _together(tmp_path, yaml.safe_load(block))

    assert {"extproc", "envoy", "jaeger", "prometheus"} <= set(built.pods())
    images = {container["name"]: container["image"] for _, _, container in built.containers()}
    assert "registry.example.com/extproc:0.1.0" == images["extproc"]
    assert "registry.example.com/extproc-examples:0.1.0" == images["service"]


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas(built: Manifests, version: str) -> None:
    """Every object is valid by the strict schemas of the oldest and the newest Kubernetes."""
    for each in built.objects:
        if each["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(each, version, strict=True)


def test_schema_of_service_monitors(built: Manifests) -> None:
    """A ServiceMonitor is valid by the operator's own definition, every key of it known."""
    crd = yaml.safe_load((operator_schemas() / "monitoring.coreos.com_servicemonitors.yaml").read_text())
    schema = _closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])

    monitors = built.of("ServiceMonitor")
    assert {"envoy", "otel-collector"} == set(monitors)
    for each in monitors.values():
        jsonschema.validate(each["spec"], schema)


def test_names_are_unique_and_in_the_namespace(built: Manifests) -> None:
    """No object stands there twice, and all are in envoy-mesh."""
    names = [(each["kind"], each["metadata"]["name"]) for each in built.objects]

    assert len(set(names)) == len(names)
    assert {"envoy-mesh"} == {
        each["metadata"].get("namespace", "envoy-mesh") for each in built.objects if each["kind"] != "Namespace"
    }
    assert ["envoy-mesh"] == list(built.of("Namespace"))


def test_pods_are_restricted(built: Manifests) -> None:
    """Every pod keeps to the "restricted" profile that its namespace enforces, and cannot write to its root."""
    assert (
        "restricted" == built.of("Namespace")["envoy-mesh"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    )
    for _, pod, container in built.containers():
        security, own = pod["securityContext"], container["securityContext"]
        assert (True, "RuntimeDefault") == (security["runAsNonRoot"], security["seccompProfile"]["type"])
        assert security["runAsUser"] > 0
        assert "runAsUser" not in own, "all containers of a pod are the same user, for the Unix socket's sake"
        assert (False, True) == (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"])
        assert {"drop": ["ALL"]} == own["capabilities"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [port for port in container.get("ports", ()) if "hostPort" in port]
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}


def test_only_prometheus_may_ask_kubernetes(built: Manifests) -> None:
    """Pods have no token for the API but Prometheus', which may read what it discovers and nothing else."""
    assert built.of("ServiceAccount")["default"]["automountServiceAccountToken"] is False
    accounts = {name: pod["spec"].get("serviceAccountName", "default") for name, pod in built.pods().items()}
    assert {"prometheus": "prometheus"} == {name: account for name, account in accounts.items() if account != "default"}
    assert set(accounts.values()) <= set(built.of("ServiceAccount"))
    rules = built.of("Role")["prometheus"]["rules"]
    assert {"get", "list", "watch"} == {verb for rule in rules for verb in rule["verbs"]}
    assert {"pods", "services", "endpointslices"} == {what for rule in rules for what in rule["resources"]}
    binding = built.of("RoleBinding")["prometheus"]
    assert ("Role", "prometheus") == (binding["roleRef"]["kind"], binding["roleRef"]["name"])
    assert [("prometheus", "envoy-mesh")] == [(each["name"], each["namespace"]) for each in binding["subjects"]]


def test_selectors_find_their_pods(built: Manifests) -> None:
    """Every selector takes the pods of the one Deployment that it is for, and of no other."""
    for name, each in built.of("Deployment").items():
        assert [name] == built.selected(each["spec"]["selector"]["matchLabels"])
    for name, each in built.of("Service").items():
        assert [name] == built.selected(each["spec"]["selector"])
    for name, each in built.of("PodDisruptionBudget").items():
        assert [name] == built.selected(each["spec"]["selector"]["matchLabels"])
    for each in built.of("NetworkPolicy").values():
        assert ["extproc"] == built.selected(each["spec"]["podSelector"]["matchLabels"])
        peers = [peer["podSelector"]["matchLabels"] for rule in each["spec"]["ingress"] for peer in rule["from"]]
        assert [["envoy"]] == [built.selected(labels) for labels in peers]


def test_ports_are_there(built: Manifests) -> None:
    """Every port that a Service, a probe, a policy or a monitor names is one of the container's."""
    ports = {name: _ports(pod["spec"]) for name, pod in built.pods().items()}
    for name, each in built.of("Service").items():
        for port in each["spec"]["ports"]:
            assert ports[name][port["targetPort"]] == port["port"]
    for name, _, container in built.containers():
        for probe in (container[key] for key in container if key.endswith("Probe")):
            port = probe["httpGet"]["port"] if "httpGet" in probe else probe["grpc"]["port"]
            assert port in {*ports[name], *ports[name].values()}
    for each in built.of("NetworkPolicy").values():
        assert all(port["port"] in ports["extproc"] for rule in each["spec"]["ingress"] for port in rule["ports"])
    for name, each in built.of("ServiceMonitor").items():
        service = built.of("Service")[name]
        assert each["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in each["spec"]["endpoints"]} <= named


def test_volumes_and_files_are_there(built: Manifests) -> None:
    """Every mount has its volume, every volume its ConfigMap, every file of a command its key; nothing is left over."""
    used = set()
    for _, pod, container in built.containers():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes)
        used |= {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume}
        for word in container.get("args", ()):
            path = word.rpartition("=")[2]
            if path.endswith((".yaml", ".yml")):
                assert built.file(pod, container, path)
    assert set(built.of("ConfigMap")) == used


def test_mounts_are_whole_folders(built: Manifests) -> None:
    """No file is mounted alone: an edit of its ConfigMap would never arrive."""
    assert not [
        mount for _, _, each in built.containers() for mount in each.get("volumeMounts", ()) if "subPath" in mount
    ]


def test_configmaps_hold_the_files_that_compose_mounts(built: Manifests) -> None:
    """Policy, Envoy, collector, Prometheus' rules and Alertmanager are configured by the same files in both."""
    texts = {text for each in built.of("ConfigMap").values() for text in each["data"].values()}
    files = ["policies/stack.yaml", "deploy/otel-collector.yaml", "deploy/prometheus/alertmanager.yml"]
    files += [str(path.relative_to(ROOT)) for path in (ROOT / "deploy" / "prometheus").glob("*-rules.yml")]

    assert {(ROOT / file).read_text() for file in files} <= texts
    prometheus = built.pods()["prometheus"]["spec"]
    (container,) = prometheus["containers"]
    settings = yaml.safe_load(built.file(prometheus, container, "/etc/prometheus/prometheus.yml"))
    assert ["*-rules.yml"] == settings["rule_files"]
    (target,) = (each["static_configs"][0]["targets"][0] for each in settings["alerting"]["alertmanagers"])
    assert _reachable(built, target)


def test_images_are_those_of_compose(built: Manifests) -> None:
    """Each image is the one, in the version, that compose runs."""
    compose = {service["image"] for service in SERVICES.values()}

    assert {container["image"] for _, _, container in built.containers()} == compose - {SERVICES["grafana"]["image"]}


def test_containers_have_bounds(built: Manifests) -> None:
    """Every container asks for CPU and memory and is limited in both, Envoy and the collector as in the guide."""
    found = {container["name"]: container["resources"] for _, _, container in built.containers()}

    assert all({"cpu", "memory"} == set(each["requests"]) == set(each["limits"]) for each in found.values())
    assert {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1000m", "memory": "512Mi"}} == found[
        "envoy"
    ]
    assert {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}} == found[
        "otel-collector"
    ]
    assert {"cpu": "500m", "memory": "512Mi"} == found["extproc"]["limits"] == found["service"]["limits"]


def test_autoscaler(built: Manifests) -> None:
    """Three to ten pods of extproc by CPU and memory; their Deployment does not fix the number."""
    (scaler,) = built.of("HorizontalPodAutoscaler").values()
    target = scaler["spec"]["scaleTargetRef"]

    assert (3, 10) == (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"])
    assert {"cpu": 70, "memory": 80} == {
        each["resource"]["name"]: each["resource"]["target"]["averageUtilization"] for each in scaler["spec"]["metrics"]
    }
    assert "replicas" not in built.of(target["kind"])[target["name"]]["spec"]
    assert "extproc" in {container["name"] for name, _, container in built.containers() if name == target["name"]}


def test_addresses_are_reachable(built: Manifests) -> None:
    """What Envoy dials and what variables and scrape targets name is a Service and a port of it."""
    pod = built.pods()["envoy"]["spec"]
    envoy = yaml.safe_load(built.file(pod, pod["containers"][0], "/etc/envoy/envoy.yaml"))
    dialled = {f"{each['address']}:{each['port_value']}" for each in envoy_dials(envoy) if each["address"] != LOOPBACK}
    variables = [
        each["value"].removeprefix("http://")
        for _, _, container in built.containers()
        for each in container.get("env", ())
        if ":" in each.get("value", "")
    ]
    prometheus = built.pods()["prometheus"]["spec"]
    scraped = yaml.safe_load(built.file(prometheus, prometheus["containers"][0], "/etc/prometheus/prometheus.yml"))
    targets = [
        target
        for job in scraped["scrape_configs"]
        for group in job.get("static_configs", ())
        for target in group["targets"]
    ]

    assert all((dialled, variables, targets))
    assert [] == [address for address in (*dialled, *variables, *targets) if not _reachable(built, address)]


def test_prometheus_finds_envoy(built: Manifests) -> None:
    """The annotations by which Prometheus finds Envoy's pods name a port and a page that Envoy has."""
    service = built.of("Service")["envoy"]
    annotations = service["metadata"]["annotations"]

    assert ("true", "/stats/prometheus") == (annotations["prometheus.io/scrape"], annotations["prometheus.io/path"])
    assert int(annotations["prometheus.io/port"]) in {port["port"] for port in service["spec"]["ports"]}


def test_envoy_listens_where_its_service_sends(built: Manifests) -> None:
    """Envoy's configuration listens on every port that its pod declares, for everyone."""
    pod = built.pods()["envoy"]["spec"]
    (container,) = pod["containers"]
    envoy = yaml.safe_load(built.file(pod, container, "/etc/envoy/envoy.yaml"))
    outside = {each["port_value"] for each in envoy_listens(envoy) if each["address"] != LOOPBACK}

    assert {port["containerPort"] for port in container["ports"]} == outside


def test_extproc_serves_what_its_command_says(built: Manifests) -> None:
    """The command of extproc is one that it takes, its policy is good, and it listens where it is called and probed."""
    name, pod, container = next(each for each in built.containers() if each[2]["name"] == "extproc")
    arguments = [part for word in container["args"] for part in word.split("=", 1)]
    policy = built.file(pod, container, arguments[arguments.index("--policy") + 1])
    words = iter(container["args"])
    assert "serve" == next(words)
    parsed = serve.make_context("serve", list(words)).params

    assert load_text(policy.encode(), "policy.yaml", {}).policies
    ports = {each["containerPort"] for each in container["ports"]}
    addresses_of = [*parsed["listen"], parsed["admin"]]
    open_ports = {int(each.rpartition(":")[2]) for each in addresses_of if each.startswith("0.0.0.0:")}
    assert ports == open_ports
    called = _called(built)
    if name == "envoy":
        assert [f"unix:{called}"] == list(parsed["listen"])
        socket = PurePosixPath(called)
        for each in (*pod["initContainers"], *pod["containers"]):
            (mount,) = (mount for mount in each["volumeMounts"] if mount["mountPath"] == str(socket.parent))
            assert (mount.get("readOnly", False), "emptyDir" in _volume(pod, mount)) == (each["name"] == "envoy", True)
    else:
        assert [f"0.0.0.0:{called.rpartition(':')[2]}"] == list(parsed["listen"])
        assert "None" == built.of("Service")["extproc"]["spec"]["clusterIP"]


def _called(built: Manifests) -> str:
    """Where Envoy calls extproc: host:port, or the path of a socket."""
    pod = built.pods()["envoy"]["spec"]
    envoy = yaml.safe_load(built.file(pod, pod["containers"][0], "/etc/envoy/envoy.yaml"))
    (cluster,) = (each for each in envoy["static_resources"]["clusters"] if each["name"] == "extproc")
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    if "pipe" in address:
        return str(address["pipe"]["path"])
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def _together(folder: Path, kustomization: Object) -> Manifests:
    """What a kustomization comes to that stands in a folder beside base, here in `folder`."""
    for key in ("resources", "components"):
        kustomization[key] = [
            os.path.relpath(FOLDER / "beside" / path, folder.resolve()) for path in kustomization[key]
        ]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return Manifests(_build(folder))


def _build(folder: Path) -> list[Object]:
    command = [str(kustomize()), "build", "--load-restrictor", "LoadRestrictionsNone", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    assert (0, "") == (result.returncode, result.stderr)
    return list(yaml.safe_load_all(result.stdout))


def _ports(pod: Object) -> dict[str, int]:
    every = (*pod.get("initContainers", ()), *pod["containers"])
    return {port["name"]: port["containerPort"] for container in every for port in container.get("ports", ())}


def _reachable(built: Manifests, address: str) -> bool:
    host, _, port = address.rpartition(":")
    service = built.of("Service").get(host)
    return service is not None and int(port) in {each["port"] for each in service["spec"]["ports"]}


def _volume(pod: Object, mount: Object) -> Object:
    found: Object = next(volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    return found


def _closed(schema: Object) -> Object:
    """The schema with unknown keys refused, as the Kubernetes API does with strict validation."""
    closed = {key: _closed(value) if isinstance(value, dict) else value for key, value in schema.items()}
    is_mapping = schema.get("type") == "object" and "properties" in schema
    return closed | {"additionalProperties": False} if is_mapping else closed

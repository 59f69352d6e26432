"""The images and docker-compose.yml at work, without a container engine: the same steps, files, commands and checks."""

import asyncio
import json
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import aiohttp
import pytest

from containers import OURS, Containers, free_port
from extproc.demo.otlp_receiver import OtlpReceiver, Value, attributes_of
from image import ROOT, Image, build

pytestmark = pytest.mark.timeout(600)  # the first test installs all packages anew

_DEBUG = {"x-debug": "1", "x-user-id": "u-7"}
_TAGS = {"sampling.policy": "debug", "user_id": "u-7", "mesh": "envoy"}
"""Of Envoy's span of such a request."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """The Dockerfile's stages."""
    return build(tmp_path_factory.mktemp("images"))


def test_images_are_not_root_and_hold_no_installer(images: dict[str, Image]) -> None:
    """The last stage is extproc; it and the samples run as nobody in particular, in an environment without pip."""
    assert "extproc" == next(reversed(images))
    for name in ("extproc", "examples"):
        image = images[name]
        assert "10001:10001" == image.user
        assert not list(image.inside("/opt/extproc").rglob("site-packages/pip"))
        assert list(image.inside("/opt/extproc").rglob("site-packages/extproc/**/*.pyc")), "compiled when built"
        assert not image.inside("/src").exists()


def test_image_serves_and_says_whether_it_is_healthy(images: dict[str, Image]) -> None:
    """The image's own command serves the mounted policy, writes nothing, and its health check tells when it is gone."""
    image = images["extproc"]
    before = _files(image)
    admin = f"127.0.0.1:{free_port()}"
    rewritten = {
        "/etc/extproc/policy.yaml": str(ROOT / "policies" / "stack.yaml"),
        "0.0.0.0:50051": "127.0.0.1:0",
        "0.0.0.0:9464": admin,
    }
    assert set(rewritten) <= set(image.command)
    assert ["50051", "9464"] == image.exposed
    command = image.argv([*image.entrypoint, *(rewritten.get(word, word) for word in image.command)])
    check = image.argv([word.replace("127.0.0.1:9464", admin) for word in image.healthcheck])
    assert not _succeeds(check, image)
    environment = image.variables() | {"OTEL_METRICS_EXPORTER": "none"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:  # noqa: S603  our own
        assert process.stderr is not None
        assert any("listening" == json.loads(line)["event"] for line in process.stderr)
        assert _succeeds(check, image)
        process.terminate()
        assert 0 == process.wait(20)
    assert not _succeeds(check, image)
    assert before == _files(image)


def test_compose_runs(images: dict[str, Image], tmp_path: Path) -> None:
    """What compose starts becomes healthy, in its order; one trace spans it, and metrics of all parts arrive."""
    asyncio.run(_compose_runs(images, tmp_path))


async def _compose_runs(images: dict[str, Image], folder: Path) -> None:
    policies = Path(shutil.copytree(ROOT / "policies", folder / "policies"))
    collector = OtlpReceiver()
    await collector.start()
    elsewhere = {"otel-collector:4317": collector.port}
    with Containers(folder, images, elsewhere, {"/etc/extproc": policies}) as containers:
        await containers.start()
        async with aiohttp.ClientSession() as client:
            url = containers.url("envoy", 10000, "/api/orders/1")
            async with client.get(url, headers=_DEBUG) as response:
                assert (200, "1") == (response.status, (await response.json())["id"])
            await _edit_takes_effect(client, containers, policies / "stack.yaml")
        await collector.wait_until(lambda: any(_TAGS.items() <= tags.items() for tags in _tags(collector)))
        await containers.stop()
        assert dict.fromkeys((*OURS, "envoy"), 0) == containers.exit_codes
    await collector.stop()

    assert {"envoy-proxy", "order-service", "user-service", "grpc-service"} in _traces(collector)
    assert 1 == collector.value("envoy_http_requests_total", {"service": "order_service", "status_code": 200})
    exporters = {
        attributes_of(received.resource.attributes)["service.name"]
        for request in collector.metrics
        for received in request.resource_metrics
    }
    assert {"extproc", "order-service", "user-service", "grpc-service"} <= exporters


def _tags(collector: OtlpReceiver) -> list[dict[str, Value]]:
    return [dict(attributes_of(span.attributes)) for _, span in collector.spans]


def _traces(collector: OtlpReceiver) -> list[set[object]]:
    """The services that have spans in each trace."""
    traces: dict[bytes, set[object]] = defaultdict(set)
    for resource, span in collector.spans:
        traces[span.trace_id].add(attributes_of(resource.attributes)["service.name"])
    return list(traces.values())


async def _edit_takes_effect(client: aiohttp.ClientSession, containers: Containers, policy: Path) -> None:
    """An editor's way of saving: a new file is put in the old one's place."""
    new = policy.with_suffix(".new")
    new.write_text(policy.read_text().replace("ratio: 0.2", "ratio: 0.5"))
    new.rename(policy)

    async def ratio_of_users() -> float:
        async with client.get(containers.url("extproc", 9464, "/policy")) as response:
            policies = {each["name"]: each for each in (await response.json())["policies"]}
            ratio: float = policies["users"]["sampling"]["ratio"]
            return ratio

    async with asyncio.timeout(10):
        while 0.5 != await ratio_of_users():  # noqa: ASYNC110  it happens in another process
            await asyncio.sleep(0.05)


def _succeeds(command: list[str], image: Image) -> bool:
    return 0 == subprocess.run(command, env=image.variables(), check=False, capture_output=True).returncode  # noqa: S603


def _files(image: Image) -> set[tuple[Path, int]]:
    folders = (image.root, image.inside("/opt/extproc").resolve())
    return {(path, path.lstat().st_mtime_ns) for folder in folders for path in folder.rglob("*") if not path.is_dir()}

"""docker-compose.yml as Docker Compose itself reads it, and its commands of Prometheus and Alertmanager, run."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from containers import SERVICES, free_port, mounts
from image import ROOT
from stack.tools import compose, debian

pytestmark = pytest.mark.timeout(1_200)  # the first run builds Compose


def test_compose_takes_the_file() -> None:
    """Docker Compose reads the file without a complaint, and sees in it what our tests see."""
    command = [str(compose()), "--file", str(ROOT / "docker-compose.yml"), "config", "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command

    assert (0, "") == (result.returncode, result.stderr)
    services = json.loads(result.stdout)["services"]
    assert set(SERVICES) == set(services)
    for name, service in services.items():
        assert SERVICES[name].get("command") == service["command"]
        assert (SERVICES[name].get("environment") or None) == service.get("environment")
        assert {volume["source"] for volume in service.get("volumes", ()) if volume["type"] == "bind"} == {
            str(ROOT / volume.split(":")[0]) for volume in SERVICES[name].get("volumes", ()) if volume.startswith("./")
        }


@pytest.mark.parametrize(
    ("name", "program"), [("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")]
)
def test_command_is_taken_and_health_is_where_it_is_asked(name: str, program: str, tmp_path: Path) -> None:
    """The real program starts with compose's command and configuration, and answers the page of its health check."""
    places = {str(place): str(source) for place, source in mounts(name).items()} | {f"/{name}": str(tmp_path)}
    words = [_placed(word, places) for word in SERVICES[name]["command"]]
    check = SERVICES[name]["healthcheck"]["test"][-1]
    port = free_port()
    command = [str(debian(program)), *words, f"--web.listen-address=127.0.0.1:{port}"]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  our own command
        try:
            assert _answers(process, check.replace(f":{SERVICES[name]['ports'][0].split(':')[2]}/", f":{port}/"))
        finally:
            process.terminate()


def _placed(word: str, places: dict[str, str]) -> str:
    """The word with a path of the container, behind its equals sign, replaced by one here."""
    option, equals, path = word.partition("=")
    for place, source in places.items():
        if path == place or path.startswith(f"{place}/"):
            return f"{option}{equals}{source}{path.removeprefix(place)}"
    return word


def _answers(process: subprocess.Popen[str], url: str) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  our own server
                return int(response.status) == 200
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    return False

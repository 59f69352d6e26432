"""docker-compose.yml as Docker Compose itself reads it."""

import json
import subprocess

import pytest

from containers import SERVICES
from image import ROOT
from stack.tools import compose

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

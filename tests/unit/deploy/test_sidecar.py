"""The sidecar's Envoy configuration, which is made of envoy/advanced.yaml."""

import runpy
from typing import Any

import yaml

from containers import envoy_dials
from envoy_process import validate
from image import ROOT

SCRIPT = runpy.run_path(str(ROOT / "deploy" / "kubernetes" / "sidecar_envoy.py"))


def test_file_is_what_is_made_now() -> None:
    """The committed file is what `make kubernetes` writes."""
    assert SCRIPT["config"]() == SCRIPT["SIDECAR"].read_text(encoding="utf-8")


def test_envoy_takes_it() -> None:
    """A real Envoy has nothing against it."""
    assert "" == validate(SCRIPT["config"]())


def test_only_the_call_of_extproc_differs() -> None:
    """All of it is advanced.yaml but the cluster of extproc, which has one endpoint, the socket, and no host."""
    advanced = yaml.safe_load((ROOT / "envoy" / "advanced.yaml").read_text())
    sidecar = yaml.safe_load(SCRIPT["config"]())

    assert {"extproc"} == {one["name"] for one, other in _clusters(advanced, sidecar) if one != other}
    assert "extproc" not in {address["address"] for address in envoy_dials(sidecar)}
    assert advanced | {"static_resources": 0} == sidecar | {"static_resources": 0}
    assert advanced["static_resources"]["listeners"] == sidecar["static_resources"]["listeners"]


def _clusters(*configs: dict[str, Any]) -> list[tuple[dict[str, Any], ...]]:
    return list(zip(*(config["static_resources"]["clusters"] for config in configs), strict=True))

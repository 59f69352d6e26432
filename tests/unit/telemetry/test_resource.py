"""Who the metrics come from, and who has the last word on it."""

import uuid

import pytest

from extproc import __version__
from extproc.telemetry.resource import build_resource


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)


def test_defaults() -> None:
    """With nothing given there is all that the semantic conventions ask of a service, and the mesh."""
    attributes = dict(build_resource(()).attributes)
    uuid.UUID(str(attributes.pop("service.instance.id")))
    assert attributes.pop("telemetry.sdk.version")
    assert {
        "service.name": "extproc",
        "service.version": __version__,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "mesh": "envoy",
        "proxy": "envoy",
    } == attributes


def test_instance_stays() -> None:
    """A reload of the policy does not make another instance of us."""
    first, second = build_resource(()), build_resource((("a", "b"),))
    assert first.attributes["service.instance.id"] == second.attributes["service.instance.id"]


def test_file() -> None:
    """The file's attributes win over our defaults."""
    given = {"service.name": "app", "service.version": "9", "service.instance.id": "me", "team": "payments"}
    attributes = build_resource(tuple(given.items())).attributes
    assert given == {name: attributes[name] for name in given}


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME wins over OTEL_RESOURCE_ATTRIBUTES, and that over the file."""
    file = (("service.name", "file"), ("team", "file"), ("kept", "file"))
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=attributes,team=pay%20ments")
    attributes = build_resource(file).attributes
    assert ("attributes", "pay ments", "file") == tuple(attributes[name] for name in ("service.name", "team", "kept"))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "name")
    assert "name" == build_resource(file).attributes["service.name"]


@pytest.mark.parametrize(
    ("given", "mesh", "proxy"),
    [
        ({"mesh.name": "m", "proxy.name": "p"}, "m", "p"),
        ({"mesh": "m", "proxy": "p", "mesh.name": "other"}, "m", "p"),
        ({"mesh.name": "m"}, "m", "envoy"),
    ],
)
def test_mesh(given: dict[str, str], mesh: str, proxy: str) -> None:
    """`mesh` and `proxy` are always there, from the file's own or from its `.name`s."""
    attributes = build_resource(tuple(given.items())).attributes
    assert (mesh, proxy) == (attributes["mesh"], attributes["proxy"])


def test_mesh_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may name the mesh too."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "mesh.name=other")
    assert "other" == build_resource((("mesh.name", "file"),)).attributes["mesh"]

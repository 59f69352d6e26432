"""Who these metrics come from: the OpenTelemetry Resource."""

import uuid
from collections.abc import Mapping
from functools import cache

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.version import __version__ as sdk_version

from extproc import __version__

_DEFAULT_MESH = "envoy"


def build_resource(attributes: tuple[tuple[str, str], ...]) -> Resource:
    """Return the Resource of this process.

    In order of precedence: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, the policy file's `attributes`, our defaults.
    `mesh` and `proxy` follow `mesh.name` and `proxy.name` where only those are given.
    """
    ours = Resource(
        {
            SERVICE_NAME: "extproc",
            SERVICE_VERSION: __version__,
            SERVICE_INSTANCE_ID: _instance_id(),
            TELEMETRY_SDK_LANGUAGE: "python",
            TELEMETRY_SDK_NAME: "opentelemetry",
            TELEMETRY_SDK_VERSION: sdk_version,
        }
    )
    # The detector, and not Resource.create: that lets what the code gives win over the environment.
    given = Resource(dict(attributes)).merge(OTELResourceDetector().detect())
    mesh = Resource({name: _mesh_or_proxy(given.attributes, name) for name in ("mesh", "proxy")})
    return ours.merge(given).merge(mesh)


@cache
def _instance_id() -> str:
    """One per process start: a restarted process is another source of cumulative values."""
    return str(uuid.uuid4())


def _mesh_or_proxy(given: Mapping[str, object], name: str) -> str:
    return str(given.get(name) or given.get(f"{name}.name") or _DEFAULT_MESH)

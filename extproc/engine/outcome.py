"""What the engine knows of a request once it is over: the record that becomes metrics."""

from enum import StrEnum
from typing import NamedTuple

UNKNOWN_SERVICE = "unknown"
"""The service of a request for which Envoy sent no `xds.cluster_name` attribute."""


class Reason(StrEnum):
    """Why a trace was kept or dropped; the same words in metrics, tags and `explain`."""

    PARENT = "parent"
    POLICY = "policy"
    DEFAULT = "default"
    DISABLED = "disabled"


class StreamError(StrEnum):
    """The `type` of extproc.stream.errors: what Envoy sent and we could not use.

    RECORDED_TWICE is an entry of the access log about a request that its ext_proc stream has recorded.
    """

    UNREADABLE = "unreadable"
    PROTOCOL = "protocol"
    INTERNAL = "internal"
    RECORDED_TWICE = "recorded_twice"


class Phase(StrEnum):
    """The phases of ext_proc, as named by its messages; the `phase` of extproc.message.duration."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    REQUEST_TRAILERS = "request_trailers"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"
    RESPONSE_TRAILERS = "response_trailers"


class Outcome(NamedTuple):
    """One request, over.

    Every field but the times is bounded by the policy file, by Envoy's configuration or by HTTP itself: `method` is
    one of HTTP's or `_OTHER`, `path` a template, `status_code` 0 where no response was seen.
    `error_type` is None for a request that went well, else one of Envoy's response flags (`UF`, `UT`, …),
    `rbac_access_denied`, `5xx`, `stream_reset` (the stream ended without response headers) or `server_shutdown` (we
    had to end it).
    `reason` is None where nobody decided, because Envoy asked nobody or went on without an answer.
    Measures come last, so that `outcome[:BOUNDED]` is the rest. Times are seconds; `upstream_seconds` and
    `downstream_seconds` are None where no response headers arrived. Bytes are those of bodies, `attempts` are requests
    to upstreams; only Envoy's access log knows them.
    """

    method: str
    path: str
    service: str
    scheme: str
    status_code: int
    policy: str
    reason: Reason | None
    sampled: bool
    upstream_port: int
    error_type: str | None
    duration_seconds: float
    upstream_seconds: float | None
    downstream_seconds: float | None
    request_bytes: int | None = None
    response_bytes: int | None = None
    attempts: int | None = None


BOUNDED = Outcome._fields.index("duration_seconds")
"""How many of an Outcome's fields are bounded: all that stand before its measures."""

"""What one line of an access log says, whichever format it is in: values by the names of Envoy's own headers.

A key of JSON or OTLP is a header's name with `_` for `-`, in any case. Some have a meaning of their own, and usual
configurations have more than one name for them.
"""

from functools import lru_cache
from typing import Final

Fields = dict[str, str | None]
"""Values by name. None is a value that the line says is not there: the name is one that the log has."""

METHOD: Final = ":method"
PATH: Final = ":path"
AUTHORITY: Final = ":authority"
ORIGINAL_PATH: Final = "x-envoy-original-path"
"""The path as it came, where a route has rewritten it since."""
REQUEST_ID: Final = "x-request-id"
START_TIME: Final = "start-time"
SERVICE: Final = "upstream-cluster"
STATUS: Final = "response-code"
TRACE_ID: Final = "trace-id"
REASON: Final = "sampling-reason"
"""Why extproc decided as it did; only with it a `traceparent` says what the caller decided."""
LOG_TYPE: Final = "access-log-type"

_SAME: Final = {
    "method": METHOD,
    "path": PATH,
    "authority": AUTHORITY,
    "host": AUTHORITY,
    "scheme": ":scheme",
    "x-envoy-origin-path": ORIGINAL_PATH,
    "request-id": REQUEST_ID,
    "@timestamp": START_TIME,
    "timestamp": START_TIME,
    "time": START_TIME,
    "status": STATUS,
    "traceid": TRACE_ID,
    "x-b3-traceid": TRACE_ID,
    "sampling.reason": REASON,
}
_ABSENT: Final = "-"


class LineError(ValueError):
    """A line that is no request of an access log; the message says what was expected."""


def add(fields: Fields, key: str, value: object) -> None:
    """Put a value under its key; the first that is there stays. Lists and mappings have no meaning, `-` is nothing."""
    name = _name(key)
    if fields.get(name) is None:
        fields[name] = _text(value)


@lru_cache(maxsize=4096)
def _name(key: str) -> str:
    name = _clean(key).lower().replace("_", "-")
    return _SAME.get(name, name)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return None if value == _ABSENT else _clean(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else None


def _clean(text: str) -> str:
    """`text` without half characters, which JSON can write and nothing can send."""
    return text if text.isascii() else text.encode(errors="replace").decode()

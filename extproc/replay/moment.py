"""Times of a log, as they are shown."""

from datetime import UTC, datetime


def utc(unix_seconds: float) -> datetime:
    """The moment so many seconds after 1970."""
    return datetime.fromtimestamp(unix_seconds, UTC)


def rfc3339(unix_seconds: float | None) -> str | None:
    """The same as text, to the millisecond as in Envoy's logs."""
    if unix_seconds is None:
        return None
    return utc(unix_seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")

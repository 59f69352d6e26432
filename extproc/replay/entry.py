"""A request of an access log, as the engine can decide on it again."""

import json
import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

from extproc.engine.outcome import Reason
from extproc.engine.tracecontext import parse_traceparent
from extproc.replay.fields import (
    LOG_TYPE,
    METHOD,
    ORIGINAL_PATH,
    PATH,
    REASON,
    REQUEST_ID,
    SERVICE,
    START_TIME,
    STATUS,
    TRACE_ID,
    Fields,
)
from extproc.replay.lines import Line

_NOT_HEADERS: Final = frozenset({START_TIME, SERVICE, STATUS, TRACE_ID, REASON, LOG_TYPE, "traceparent"})
_ENDS: Final = frozenset({None, "", "NotSet", "DownstreamEnd"})
_ID: Final = re.compile(r"(?!0+$)(?:[0-9a-f]{16}){1,2}")
_ID_DIGITS: Final = 32
_STATUS: Final = re.compile("[1-5][0-9][0-9]")
_YEAR_10000: Final = 253_402_300_800  # where Python's calendar ends


class Entry(NamedTuple):
    """One request.

    Attributes:
        headers: what the log has of its headers, by lower-case name, pseudo headers among them. A `traceparent` is
            there only where it is known to be the caller's.
        service: the upstream cluster, "" where the log does not say it.
        status: of the response, 0 where there was none or the log does not say it.
        trace_id: 32 hex digits; `drawn` says that they are not from the log.
    """

    file: str
    line: int
    unix_seconds: float | None
    headers: dict[str, str]
    service: str
    status: int
    trace_id: str
    drawn: bool


def entry(fields: Fields, line: Line) -> Entry | None:
    """The request that a line tells of; None where it tells of none, or of one that is not over yet."""
    if fields.get(METHOD) is None or fields.get(LOG_TYPE) not in _ENDS:
        return None
    headers = {name: value for name, value in fields.items() if value is not None and name not in _NOT_HEADERS}
    if original := headers.get(ORIGINAL_PATH):
        headers[PATH] = original
    sent = parse_traceparent(fields.get("traceparent"))
    if sent is not None and fields.get(REASON) == Reason.PARENT:
        headers["traceparent"] = fields["traceparent"] or ""
    logged = sent.trace_id if sent is not None else _logged_id(fields.get(TRACE_ID))
    return Entry(
        file=line.file,
        line=line.number,
        unix_seconds=_unix_seconds(fields.get(START_TIME)),
        headers=headers,
        service=fields.get(SERVICE) or "",
        status=int(status) if (status := fields.get(STATUS)) and _STATUS.fullmatch(status) else 0,
        trace_id=logged or _drawn_id(fields),
        drawn=logged is None,
    )


def _logged_id(text: str | None) -> str | None:
    """A trace id of 16 bytes, or of 8 as Zipkin has it."""
    lowered = text.lower() if text else ""
    return lowered.rjust(_ID_DIGITS, "0") if _ID.fullmatch(lowered) else None


def _drawn_id(fields: Fields) -> str:
    """A trace id for a request whose log has none: the same whenever it is read, and for all hops of one request."""
    seed = fields.get(REQUEST_ID) or json.dumps(fields, sort_keys=True)
    return blake2b(seed.encode(), digest_size=_ID_DIGITS // 2).hexdigest()


def _unix_seconds(text: str | None) -> float | None:
    """The time in ISO 8601 or in seconds since 1970; UTC where no zone is said."""
    if not text:
        return None
    try:
        if "-" in text[1:]:
            time = datetime.fromisoformat(text)
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        else:
            seconds = float(text)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _YEAR_10000 else None

"""Envoy's default access log format.

    [2026-11-22T18:21:26.449Z] "GET /a HTTP/1.1" 200 - 0 2 12 5 "-" "curl/8" "63c5d940-…" "example.com" "10.0.0.1:80"

Envoy escapes nothing, so a User-Agent may hold quotes and even look like further fields: what stands around it is read
from both ends.
"""

import re
from typing import Final

from extproc.policy.problems import sentence, shown
from extproc.replay.fields import AUTHORITY, METHOD, PATH, REQUEST_ID, START_TIME, STATUS, Fields, LineError, add

# time, method, path, protocol, status; flags, bytes in and out, duration, the upstream's own time
_HEAD: Final = re.compile(r'\[([^\]]*)\] "(\S+) (\S+) \S+" (\d+) \S+ \S+ \S+ \S+ \S+ "')
_BETWEEN: Final = '" "'
_LAST: Final = 3  # request id, authority, upstream host


def parse(text: str) -> Fields:
    """The fields of one line. Raises LineError."""
    head = _HEAD.match(text)
    if head is None or not text.endswith('"'):
        raise _wrong(text)
    front, *last = text[head.end() : -1].rsplit(_BETWEEN, _LAST)
    forwarded, between, agent = front.partition(_BETWEEN)
    if len(last) != _LAST or not between:
        raise _wrong(text)
    time, method, path, status = head.groups()
    fields: Fields = {}
    for name, value in (
        (START_TIME, time),
        (METHOD, method),
        (PATH, path),
        (STATUS, status),
        (AUTHORITY, last[1]),
        (REQUEST_ID, last[0]),
        ("x-forwarded-for", forwarded),
        ("user-agent", agent),
    ):
        add(fields, name, value)
    return fields


def _wrong(text: str) -> LineError:
    return LineError(sentence("Envoy's default access log format", shown(text), "json_format for a format of your own"))

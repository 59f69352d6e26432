"""The headers of a request that somebody has written down."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from extproc.replay.fields import AUTHORITY, METHOD, PATH


def request_headers(method: str, url: str, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """All headers, pseudo headers among them, of a request for a path or a whole URL.

    `headers` are by lower-case name; those of one name are joined by `,`, and `host` is the authority.
    """
    parts = urlsplit(url)
    path = parts.path or "/"
    request = {
        METHOD: method.upper(),
        ":scheme": parts.scheme or "http",
        AUTHORITY: parts.netloc.rpartition("@")[2],
        PATH: f"{path}?{parts.query}" if parts.query else path,
    }
    for name, value in headers:
        key = AUTHORITY if name == "host" else name
        request[key] = f"{request[key]},{value}" if key in request and key != AUTHORITY else value
    return request

"""A request as policies see it: bounded, decoded, and split into what matching compares."""

from urllib.parse import parse_qsl

from extproc.engine.scan import service_key

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_QUERY_LIMIT = 8192  # characters of a query string that are read
_QUERY_FIELDS = 256


def method_label(method: str) -> str:
    """`method` where it is one of HTTP's, else `_OTHER`, as OpenTelemetry's conventions have it."""
    return method if method in _METHODS else "_OTHER"


class Request:
    """The request headers of one exchange.

    Attributes:
        headers: the headers that some policy reads, and the pseudo headers, by lower-case name; several values of one
            header are joined by `,`.
        service: the upstream cluster's name as Envoy sent it, "" where it did not.
        segments: the path without its query, split at `/`, without the empty string before the leading slash.
    """

    __slots__ = ("_host", "_query", "_query_text", "headers", "method", "path", "segments", "service", "service_key")

    def __init__(self, headers: dict[str, str], service: str, key: str | None = None) -> None:
        self.headers = headers
        self.service = service
        self.service_key = service_key(service) if key is None else key
        self.method = headers.get(":method", "")
        path = headers.get(":path", "")
        if "#" in path:
            path = path.partition("#")[0]
        self.path, _, self._query_text = path.partition("?")
        self.segments = self.path.split("/")[1:]
        self._host: str | None = None
        self._query: dict[str, str] | None = None

    @property
    def host(self) -> str:
        """The authority in lower case, without its port."""
        if self._host is None:
            authority = self.headers.get(":authority", "").lower()
            name, colon, port = authority.rpartition(":")
            self._host = name if colon and port.isdigit() else authority
        return self._host

    @property
    def query(self) -> dict[str, str]:
        """The first value of each query parameter; of a very long query only the beginning is read."""
        if self._query is None:
            self._query = _parse_query(self._query_text)
        return self._query

    def cookie(self, name: str) -> str | None:
        """The first cookie of this name."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, equals, value = pair.partition("=")
            if equals and key.strip() == name:
                return value.strip().strip('"')
        return None


def _parse_query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text[:_QUERY_LIMIT].split("&", _QUERY_FIELDS)[:_QUERY_FIELDS]:
        for name, value in parse_qsl(pair, keep_blank_values=True, errors="replace"):
            found.setdefault(name, value)
    return found

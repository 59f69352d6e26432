"""What of a request reaches extproc: Envoy has rewritten paths and taken headers off by then.

Seen on Envoy 1.40 with the configuration that `extproc envoy` prints; tests/integration/test_lint_facts.py asks again.
"""

import re
from urllib.parse import quote, unquote

from extproc.policy.plan import PathPattern, Segment, SegmentKind

REMOVED = frozenset(
    {
        "host",  # it is :authority
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        # between Envoy and extproc, or between Envoys
        "x-client-trace-id",
        "x-envoy-force-trace",
        "x-envoy-internal",
        # what callers may not tell Envoy's router
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-ip-tags",
        "x-envoy-max-retries",
        "x-envoy-original-url",
        "x-envoy-retriable-header-names",
        "x-envoy-retriable-status-codes",
        "x-envoy-retry-grpc-on",
        "x-envoy-retry-on",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-stream-duration-ms",
    }
)
"""Headers that no request has when extproc sees it, whoever sent them."""

_PSEUDO_HEADERS = frozenset({":authority", ":method", ":path", ":protocol", ":scheme"})

_EMPTY = Segment(SegmentKind.LITERAL)
_KEPT = "/!$&'()*+,;=:@[]-._~%"  # beside letters and digits, what a path may hold as it is
_DECODED = re.compile("%(?:2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")  # unreserved: RFC 3986, 2.3
_SLASHES = re.compile(r"(?:%2[Ff]|%5[Cc]|\\|/)+")


def comes_with_requests(header: str) -> bool:
    """Whether extproc can see this request header, written in lower case."""
    return header in _PSEUDO_HEADERS if header.startswith(":") else header not in REMOVED


def comes_with_responses(header: str) -> bool:
    """Whether extproc can see this response header, written in lower case."""
    return not header.startswith(":") or header == ":status"


def path_comes(pattern: PathPattern) -> bool:
    """Whether Envoy ever writes a path as `pattern` wants it."""
    segments = (*pattern.head, *pattern.tail)
    if all(segment == _EMPTY for segment in segments):
        return True  # also `//`, the one path whose slashes are not merged
    if any(as_sent(f"/{segment.text}") != f"/{segment.text}" for segment in segments if segment.text):
        return False
    open_end = pattern.rest and not pattern.minimum_rest and not pattern.tail
    last_may_be_empty = open_end or not pattern.rest or bool(pattern.tail)
    return _EMPTY not in (segments[:-1] if last_may_be_empty else segments)


def as_sent(path: str) -> str:
    """`path`, or a pattern of paths, as Envoy writes it: one slash, no dots, nothing encoded that need not be."""
    decoded = _DECODED.sub(lambda found: unquote(found[0]), _SLASHES.sub("/", path))
    segments: list[str] = []
    for segment in decoded.split("/")[1:]:
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(_encoded(segment))
    if decoded.endswith(("/.", "/..")):
        segments.append("")
    return "/" + "/".join(segments)


def _encoded(segment: str) -> str:
    capture = segment.startswith("{") and segment.endswith("}")
    return segment if capture else quote(segment, safe=_KEPT)

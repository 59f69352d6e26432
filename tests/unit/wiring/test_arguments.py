"""The arguments of `extproc envoy`, and what is said about those that cannot be read."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from extproc.server.address import Address, parse
from extproc.wiring.arguments import (
    client_tls,
    complete_routes,
    endpoints,
    parse_collector,
    parse_duration,
    parse_route,
    parse_upstream,
)
from extproc.wiring.settings import ClientTls, Collector, PathRoute, Upstream

_A, _B = Upstream("a", Address("a", 1)), Upstream("b", Address("b", 1))


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("users=127.0.0.1:8080", Upstream("users", Address("127.0.0.1", 8080))),
        ("users=grpc://users.mesh:9000", Upstream("users", Address("users.mesh", 9000), http2=True)),
        ("users=unix:/run/users.sock", Upstream("users", Address(path="/run/users.sock"))),
        ("users=0.0.0.0:80", Upstream("users", Address("127.0.0.1", 80))),
    ],
)
def test_upstream(text: str, upstream: Upstream) -> None:
    """A name and an address, with HTTP/2 where it says grpc."""
    assert upstream == parse_upstream(text)


@pytest.mark.parametrize(
    ("text", "insecure", "collector"),
    [
        ("otel:4317", True, Collector(Address("otel", 4317))),
        ("otel:4317", False, Collector(Address("otel", 4317), tls=True)),
        ("otel", True, Collector(Address("otel", 4317))),
        ("[::1]", True, Collector(Address("::1", 4317))),
        ("http://otel:4317/", False, Collector(Address("otel", 4317))),
        ("https://otel", True, Collector(Address("otel", 4317), tls=True)),
    ],
)
def test_collector(text: str, insecure: bool, collector: Collector) -> None:  # noqa: FBT001  a parameter of the test
    """A scheme says whether there is TLS; without one the policy file's `insecure` does."""
    assert collector == parse_collector(text, insecure=insecure)


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("2s", 2)])
def test_duration(text: str, seconds: float) -> None:
    """Milliseconds and seconds, with their unit."""
    assert timedelta(seconds=seconds) == parse_duration(text)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (parse_upstream, "a:1", "expected NAME=HOST:PORT, got 'a:1'; try users=127.0.0.1:8080"),
        (parse_upstream, "=a:1", "expected NAME=HOST:PORT, got '=a:1'; try users=127.0.0.1:8080"),
        (parse_upstream, "a=b", "expected host:port or unix:/path, got 'b'; try b:50051"),
        (
            parse_upstream,
            "extproc=a:1",
            "'extproc' is the name of a cluster of our own; try extproc-upstream=a:1",
        ),
        (
            parse_upstream,
            "a=b:0",
            "expected the port that Envoy connects to, got b:0; try a port from 1 to 65535",
        ),
        (
            parse_route,
            "api=a",
            "expected PREFIX=NAME with a prefix that starts with '/', got 'api=a'; try /api/=users",
        ),
        (parse_duration, "5", "expected a duration above zero with its unit, got '5'; try 200ms or 1.5s"),
        (parse_duration, "0s", "expected a duration above zero with its unit, got '0s'; try 200ms or 1.5s"),
        (
            parse_collector,
            "ftp://a",
            "expected HOST:PORT or a URL with http:// or https://, got 'ftp://a'; try 127.0.0.1:4317",
        ),
    ],
)
def test_refused(read: Callable[[str], Any], text: str, message: str) -> None:
    """What cannot be read is answered with what to write instead."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        read(text)
    assert message == str(caught.value)


def test_the_first_upstream_takes_the_rest() -> None:
    """Longest prefix first, and the first upstream for whatever no route names."""
    routes = complete_routes([_A, _B], [PathRoute("/b/", "b"), PathRoute("/b/long/", "a")])
    assert ("/b/long/", "/b/", "/") == tuple(route.prefix for route in routes)
    assert "a" == routes[-1].upstream
    assert (PathRoute("/", "a"),) == complete_routes([_A], [])


@pytest.mark.parametrize(
    ("upstreams", "routes", "message"),
    [
        ([], [], "expected where requests go; try --upstream users=127.0.0.1:8080"),
        ([_A, _A], [], "upstream 'a' is given twice; give each its own name"),
        ([_A, _B], [], "no route leads to upstream 'b'; try --route /b/=b"),
        ([_A], [PathRoute("/c", "c")], "route /c leads to unknown upstream 'c'; try one of a"),
        ([_A], [PathRoute("/c", "a"), PathRoute("/c", "a")], "route /c is given twice; keep one"),
    ],
)
def test_routes_refused(upstreams: list[Upstream], routes: list[PathRoute], message: str) -> None:
    """Routes and upstreams that do not fit together are refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        complete_routes(upstreams, routes)
    assert message == str(caught.value)


def test_endpoints() -> None:
    """Each worker's addresses, to dial instead of to listen on."""
    listens = (parse("0.0.0.0:50051"), parse("unix:/x"))
    expected = ["127.0.0.1:50051", "unix:/x-0", "127.0.0.1:50052", "unix:/x-1"]
    assert expected == [str(address) for address in endpoints(listens, 2)]


def test_endpoints_of_two_kinds_refused() -> None:
    """Envoy would leave the Unix socket out without a word."""
    with pytest.raises(ValueError, match="not both; try a's IP address"):
        endpoints((parse("a:1"), parse("unix:/x")), 1)


def test_tls_files() -> None:
    """A CA alone, or all three."""
    assert client_tls(None, None, None) is None
    assert ClientTls("ca") == client_tls("ca", None, None)
    assert ClientTls("ca", "c", "k") == client_tls("ca", "c", "k")
    with pytest.raises(ValueError, match="--tls-cert and --tls-key together"):
        client_tls("ca", "c", None)
    with pytest.raises(ValueError, match="add --tls-ca"):
        client_tls(None, "c", "k")

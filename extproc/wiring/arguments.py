"""What `extproc envoy` is given on its command line, read: every error says what to write."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from extproc.server.address import Address, expand, parse
from extproc.wiring.hosts import is_ip
from extproc.wiring.settings import (
    COLLECTOR_CLUSTER,
    EXTPROC_CLUSTER,
    OTLP_PORT,
    ClientTls,
    Collector,
    PathRoute,
    Upstream,
)

_GRPC = "grpc://"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing listens here, it is read
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)")
_SECONDS = {"ms": 0.001, "s": 1.0}


def parse_duration(text: str) -> timedelta:
    """Read `200ms` or `1.5s`.

    Raises:
        ValueError: it is neither, or zero.
    """
    match = _DURATION.fullmatch(text)
    duration = timedelta(seconds=float(match[1]) * _SECONDS[match[2]]) if match else timedelta(0)
    if not duration:
        raise ValueError(f"expected a duration above zero with its unit, got {text!r}; try 200ms or 1.5s")
    return duration


def client_tls(ca: str | None, certificate: str | None, key: str | None) -> ClientTls | None:
    """The TLS files, if any.

    Raises:
        ValueError: one is missing that the others need.
    """
    if bool(certificate) != bool(key):
        raise ValueError("a certificate needs its key; give --tls-cert and --tls-key together")
    if not ca:
        if certificate:
            raise ValueError("TLS to extproc needs the CA that signed its certificate; add --tls-ca ca.pem")
        return None
    return ClientTls(ca, certificate or "", key or "")


def endpoints(listens: tuple[Address, ...], workers: int) -> tuple[Address, ...]:
    """Every address that Envoy finds a worker at, for a server that listens on `listens`.

    Raises:
        ValueError: there are no such addresses, or Envoy could not use them all in one cluster.
    """
    found = tuple(dialled(address) for worker in expand(listens, workers) for address in worker)
    names = [address.host for address in found if not address.path and not is_ip(address.host)]
    if names and any(address.path for address in found):
        raise ValueError(
            f"Envoy looks up host names or dials Unix sockets in one cluster, not both; try {names[0]}'s IP address"
        )
    return found


def dialled(address: Address) -> Address:
    """The address to connect to for one that is listened on: a wildcard becomes the loopback interface.

    Raises:
        ValueError: the port is 0, which says nothing about where to connect.
    """
    if address.path:
        return address
    if not address.port:
        raise ValueError(f"expected the port that Envoy connects to, got {address}; try a port from 1 to 65535")
    return replace(address, host=_WILDCARDS.get(address.host, address.host))


def parse_upstream(text: str) -> Upstream:
    """Read `NAME=HOST:PORT` or `NAME=unix:/path`; `grpc://` before the address means HTTP/2.

    Raises:
        ValueError: it is neither; the message says what to write.
    """
    name, equals, address = text.partition("=")
    if not equals or not name:
        raise ValueError(f"expected NAME=HOST:PORT, got {text!r}; try users=127.0.0.1:8080")
    if name in (EXTPROC_CLUSTER, COLLECTOR_CLUSTER):
        raise ValueError(f"{name!r} is the name of a cluster of our own; try {name}-upstream={address}")
    return Upstream(name, dialled(parse(address.removeprefix(_GRPC))), http2=address.startswith(_GRPC))


def parse_route(text: str) -> PathRoute:
    """Read `PREFIX=NAME`.

    Raises:
        ValueError: it is not that; the message says what to write.
    """
    prefix, equals, name = text.rpartition("=")
    if not equals or not name or not prefix.startswith("/"):
        raise ValueError(f"expected PREFIX=NAME with a prefix that starts with '/', got {text!r}; try /api/=users")
    return PathRoute(prefix, name)


def parse_collector(text: str, *, insecure: bool = True) -> Collector:
    """Read `host:port` or a URL; `https://` means TLS, `http://` none, without a scheme `insecure` decides.

    Raises:
        ValueError: it is neither; the message says what to write.
    """
    scheme, separator, rest = text.rpartition("://")
    if scheme not in ("", "http", "https") or (separator and not scheme):
        raise ValueError(f"expected HOST:PORT or a URL with http:// or https://, got {text!r}; try 127.0.0.1:4317")
    host = rest.partition("/")[0]
    tls = scheme == "https" if scheme else not insecure
    return Collector(dialled(parse(host if _has_port(host) else f"{host}:{OTLP_PORT}")), tls)


def complete_routes(upstreams: Sequence[Upstream], routes: Sequence[PathRoute]) -> tuple[PathRoute, ...]:
    """The routes in the order in which Envoy has to try them: the longest prefix first.

    Without a route for `/` the first upstream takes it.

    Raises:
        ValueError: a route leads nowhere, two claim the same prefix, or an upstream is never reached.
    """
    if not upstreams:
        raise ValueError("expected where requests go; try --upstream users=127.0.0.1:8080")
    names = [upstream.name for upstream in upstreams]
    every = list(routes)
    if all(route.prefix != "/" for route in routes):
        every.append(PathRoute("/", names[0]))
    _check_names(names, every)
    return tuple(sorted(every, key=lambda route: len(route.prefix), reverse=True))


def _check_names(names: list[str], routes: list[PathRoute]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"upstream {name!r} is given twice; give each its own name")
    for route in routes:
        if route.upstream not in names:
            raise ValueError(
                f"route {route.prefix} leads to unknown upstream {route.upstream!r}; try one of {', '.join(names)}"
            )
        if sum(other.prefix == route.prefix for other in routes) > 1:
            raise ValueError(f"route {route.prefix} is given twice; keep one")
    reached = {route.upstream for route in routes}
    for name in names:
        if name not in reached:
            raise ValueError(f"no route leads to upstream {name!r}; try --route /{name}/={name}")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")

"""Addresses that extproc listens on and Envoy dials: host:port or unix:/path, one of each per worker."""

import re
from dataclasses import dataclass, replace

_UNIX = "unix:"
_LONGEST_UNIX_PATH = 107  # bytes: Linux keeps 108 in sun_path, one of them the ending NUL
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address (`host`, `port`), or a Unix socket when `path` is not empty. An IPv6 `host` is without brackets."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def grpc_target(self) -> str:
        """The address as gRPC's servers and channels name it."""
        return str(self)


def parse(text: str) -> Address:
    """Read `host:port`, `[ipv6]:port` or `unix:/path`.

    Raises:
        ValueError: it is none of them; the message says what to write.
    """
    if text.startswith(_UNIX):
        return _unix(text.removeprefix(_UNIX), text)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"expected host:port or unix:/path, got {text!r}; try {_example(text)}")
    return Address(host=_host(host, port, text), port=_port(port, text))


def expand(addresses: tuple[Address, ...], workers: int) -> list[tuple[Address, ...]]:
    """Give each of `workers` its own addresses: ports count up, Unix paths get -0, -1, …; one worker keeps them as is.

    Port 0 stays 0, the kernel then picks one for each.

    Raises:
        ValueError: there are no workers, no such port, or two workers would share an address.
    """
    if workers < 1:
        raise ValueError(f"expected 1 or more workers, got {workers}")
    if workers == 1:
        result = [addresses]
    else:
        result = [tuple(_nth(address, index) for address in addresses) for index in range(workers)]
    _check_distinct(result)
    return result


def _nth(address: Address, index: int) -> Address:
    if address.path:
        path = f"{address.path}-{index}"
        return _unix(path, f"{_UNIX}{path}")
    if not address.port:
        return address
    port = address.port + index
    if port > 65535:  # noqa: PLR2004  the last port there is
        raise ValueError(f"{address} has no port left for worker {index}: {port} is past 65535; try a lower port")
    return replace(address, port=port)


def _check_distinct(per_worker: list[tuple[Address, ...]]) -> None:
    seen = set()
    for address in (address for addresses in per_worker for address in addresses):
        if address in seen:
            raise ValueError(
                f"{address} would be used twice; with N workers each address takes N ports, so leave N between them"
            )
        if address.path or address.port:
            seen.add(address)


def _unix(path: str, text: str) -> Address:
    if not path.startswith("/") or path == "/":
        raise ValueError(f"expected unix: and an absolute path, got {text!r}; try unix:/run/extproc.sock")
    size = len(path.encode())
    if size > _LONGEST_UNIX_PATH:
        raise ValueError(f"a Unix socket's path has {_LONGEST_UNIX_PATH} bytes at most, {text!r} has {size}")
    return Address(path=path)


def _host(host: str, port: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]") and _IPV6.fullmatch(host[1:-1]):
        return host[1:-1]
    if _IPV6.fullmatch(host):
        raise ValueError(f"expected an IPv6 address in brackets, got {text!r}; try [{host}]:{port or 50051}")
    if not _HOST.fullmatch(host):
        raise ValueError(f"expected host:port or unix:/path, got {text!r}; try 127.0.0.1:{port or 50051}")
    return host


def _port(port: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004  the last port there is
        raise ValueError(f"expected a port from 0 to 65535, got {port!r} in {text!r}; try 50051")
    return int(port)


def _example(text: str) -> str:
    if text.startswith("/"):
        return f"{_UNIX}{text}"
    if re.fullmatch(r"[0-9]+", text):
        return f"127.0.0.1:{text}"
    return f"{text or '127.0.0.1'}:50051"

"""Addresses as Envoy's configuration writes them."""

import ipaddress

from extproc.server.address import Address
from extproc.wiring.protos import core


def address(of: Address) -> core.Address:
    """A TCP address or a Unix socket."""
    if of.path:
        return core.Address(pipe=core.Pipe(path=of.path))
    return core.Address(socket_address=core.SocketAddress(address=of.host, port_value=of.port))


def is_ip(host: str) -> bool:
    """Whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

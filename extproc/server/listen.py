"""Binding a gRPC server to its addresses, with errors that say what is wrong."""

import dataclasses
import errno
import os
import socket
import stat
from pathlib import Path

import grpc

from extproc.server.address import Address
from extproc.server.grpc_server import GrpcServer


class ListenError(Exception):
    """An address that cannot be listened on; the message names it."""


def bind(server: GrpcServer, address: Address, credentials: grpc.ServerCredentials | None) -> Address:
    """Bind `server` to `address` and return the address with its real port.

    A Unix socket file that nobody listens on any more is removed first.

    Raises:
        ListenError: the address is taken, or not ours to take.
    """
    if address.path:
        _claim(address.path)
    port = server.listen(address.grpc_target(), credentials)
    if not port:
        raise ListenError(f"cannot listen on {address}: {_why(address)}")
    return address if address.path else dataclasses.replace(address, port=port)


def release(address: Address) -> None:
    """Remove a Unix socket's file, which a worker that was killed leaves behind."""
    if address.path:
        Path(address.path).unlink(missing_ok=True)


def _claim(path: str) -> None:
    """Remove a stale socket file. gRPC itself would remove one that another process still serves."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on unix:{path}: a file that is not a socket is in the way")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink(missing_ok=True)
            return
    raise ListenError(f"cannot listen on unix:{path}: another process listens there")


def _why(address: Address) -> str:
    """Try once more by hand, because gRPC keeps the reason to itself."""
    try:
        if address.path:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(address.path)
            release(address)
        else:
            family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[
                0
            ]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                probe.listen()
    except OSError as error:
        return error.strerror or os.strerror(error.errno or 0)
    return "gRPC refused it"

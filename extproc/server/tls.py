"""TLS and mutual TLS of the gRPC port, from certificate files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


class TlsError(Exception):
    """A certificate or key that cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate (its chain behind it), its key, and the CA that clients must be signed by, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Read and check the files.

    gRPC itself only answers "handshake failed" to each client when a file is bad, so OpenSSL checks them first.
    gRPC speaks TLS 1.2 and 1.3.

    Raises:
        TlsError: a file is missing, is not PEM, or the key is not the certificate's.
    """
    certificate, key = _read(files.certificate), _read(files.key)
    _check_pair(files)
    client_ca = None
    if files.client_ca is not None:
        client_ca = _read(files.client_ca)
        _check_ca(files.client_ca)
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error


def _check_pair(files: TlsFiles) -> None:
    _check_certificate(files.certificate, "certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{files.key}: not the key of the certificate in {files.certificate}") from error
        raise TlsError(f"{files.key}: expected a private key in PEM without a password") from error


def _check_ca(path: Path) -> None:
    _check_certificate(path, "CA certificate")


def _check_certificate(path: Path, what: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(f"{path}: expected a {what} in PEM") from error


def _no_password() -> str:
    """Called for an encrypted key; without it OpenSSL would ask on the terminal."""
    return ""

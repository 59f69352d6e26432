"""TLS and mutual TLS of the gRPC port, from certificate files that may be renewed while we serve."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from extproc.server.logs import get_logger


class TlsError(Exception):
    """A certificate or key that cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate (its chain behind it), its key, and the CA that clients must be signed by, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Read and check the files, and read them again for each new connection after they have changed.

    gRPC speaks TLS 1.2 and 1.3, nothing older.

    Raises:
        TlsError: a file is missing, is not PEM, or the key is not the certificate's.
    """
    certificates = _Certificates(files)
    return grpc.dynamic_ssl_server_credentials(
        certificates.load(),
        certificates.renewed,  # type: ignore[arg-type]  # gRPC takes None for 'as before', the stubs do not
        require_client_authentication=files.client_ca is not None,
    )


class _Certificates:
    """The files' content as gRPC wants it."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp: tuple[int, ...] = ()

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read and check the files.

        gRPC itself only fails each client's handshake when a file is bad, so OpenSSL checks them first.
        """
        files = self._files
        self._stamp = self._stamp_now()
        certificate, key = _read(files.certificate), _read(files.key)
        client_ca = None if files.client_ca is None else _read(files.client_ca)
        _check_certificate(files.certificate, "certificate")
        if files.client_ca is not None:
            _check_certificate(files.client_ca, "CA certificate")
        _check_pair(files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new content if the files have changed. Called by gRPC, on a thread of its own, for each new connection.

        Files that cannot be used, such as a pair of which one half is written, leave things as they are.
        """
        try:
            if self._stamp_now() == self._stamp:
                return None
            configuration = self.load()
        except (OSError, TlsError) as error:
            get_logger().error("certificates not renewed, the last good ones stay", problem=str(error))
            return None
        get_logger().info("certificates renewed", certificate=str(self._files.certificate))
        return configuration

    def _stamp_now(self) -> tuple[int, ...]:
        files = (self._files.certificate, self._files.key, self._files.client_ca)
        return tuple(path.stat().st_mtime_ns for path in files if path is not None and path.exists())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error


def _check_certificate(path: Path, what: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(f"{path}: expected a {what} in PEM") from error


def _check_pair(files: TlsFiles) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{files.key}: not the key of the certificate in {files.certificate}") from error
        raise TlsError(f"{files.key}: expected a private key in PEM without a password") from error


def _no_password() -> str:
    """Stand in for the terminal, at which OpenSSL would ask for an encrypted key's password."""
    return ""

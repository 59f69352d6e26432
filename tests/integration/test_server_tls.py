"""A real server process behind TLS and mutual TLS."""

import asyncio
import socket
import ssl
import warnings
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from server_process import POLICY, ServerProcess, serving
from streams import REQUEST, finish, open_stream, say


class Certificates:
    """A CA, and files that it has signed."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.issue()

    def issue(self) -> None:
        """Write a new server certificate and its key."""
        issued = self.authority.issue_cert("127.0.0.1", "localhost")
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes the server use them."""
        return ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))

    def client(self, *, with_certificate: bool = False) -> grpc.ChannelCredentials:
        """A client's side."""
        if not with_certificate:
            return grpc.ssl_channel_credentials(self.ca.read_bytes())
        issued = self.authority.issue_cert("client")
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
        )


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Fresh ones."""
    return Certificates(tmp_path)


async def talk(target: str, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """One stream; how it ended."""
    async with grpc.aio.secure_channel(target, credentials) as channel:
        call = open_stream(channel, wait_for_ready=False)
        try:
            await say(call, REQUEST)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await finish(call)


def served_certificate(target: str, certificates: Certificates) -> bytes | None:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.set_alpn_protocols(["h2"])
    host, port = target.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True)


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    """With a certificate, only TLS is spoken."""
    with serving(tmp_path, POLICY, *certificates.flags) as server:
        assert grpc.StatusCode.OK == asyncio.run(talk(server.grpc[0], certificates.client()))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_mutual_tls(tmp_path: Path, certificates: Certificates, workers: str) -> None:
    """A client without a certificate, or with one of another CA, is refused."""
    (tmp_path / "other").mkdir()
    stranger = Certificates(tmp_path / "other").client(with_certificate=True)
    flags = (*certificates.flags, "--tls-client-ca", str(certificates.ca), "--workers", workers)
    with serving(tmp_path, POLICY, *flags) as server:
        target = server.grpc[-1]
        assert grpc.StatusCode.OK == asyncio.run(talk(target, certificates.client(with_certificate=True)))
        assert grpc.StatusCode.UNAVAILABLE == asyncio.run(talk(target, certificates.client()))
        assert grpc.StatusCode.UNAVAILABLE == asyncio.run(talk(target, stranger))
        assert len(server.logs()) == len(server.log_text.splitlines()), server.log_text


def test_old_tls_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """TLS 1.2 is the oldest version that is spoken."""
    with serving(tmp_path, POLICY, *certificates.flags) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions, which are the point
        host, port = server.grpc[0].rsplit(":", 1)
        for version, accepted in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.create_default_context(cafile=str(certificates.ca))
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else OpenSSL itself would not try
            context.set_alpn_protocols(["h2"])
            context.minimum_version = context.maximum_version = version
            with socket.create_connection((host, int(port))) as plain:
                try:
                    context.wrap_socket(plain, server_hostname=host).close()
                    assert accepted
                except (ssl.SSLError, ConnectionError):
                    assert not accepted


def test_renewed_certificate_is_served(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate that is renewed in place is shown to new connections; half a renewal is not."""
    with serving(tmp_path, POLICY, *certificates.flags) as server:
        before = served_certificate(server.grpc[0], certificates)
        key = certificates.key.read_bytes()
        certificates.issue()
        new_key = certificates.key.read_bytes()
        certificates.key.write_bytes(key)
        assert before == served_certificate(server.grpc[0], certificates)
        assert "not the key of" in server.wait_for_log("certificates not renewed, the last good ones stay")["problem"]
        certificates.key.write_bytes(new_key)
        assert before != served_certificate(server.grpc[0], certificates)
        server.wait_for_log("certificates renewed")


def test_bad_files_stop_the_start(tmp_path: Path, certificates: Certificates) -> None:
    """Each mistake is an error that names the file."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    cert, key = str(certificates.certificate), str(certificates.key)
    for flags, message in (
        (("--tls-cert", f"{tmp_path}/none.pem", "--tls-key", key), f"{tmp_path}/none.pem: No such file or directory"),
        (("--tls-cert", str(junk), "--tls-key", key), f"{junk}: expected a certificate in PEM"),
        (("--tls-cert", cert, "--tls-key", str(junk)), f"{junk}: expected a private key in PEM without a password"),
        (("--tls-cert", cert, "--tls-key", str(other.key)), f"{other.key}: not the key of the certificate in {cert}"),
        ((*certificates.flags, "--tls-client-ca", str(junk)), f"{junk}: expected a CA certificate in PEM"),
    ):
        with ServerProcess(tmp_path, POLICY, *flags) as server:
            assert 1 == server.process.wait(30)
            assert f"Error: {message}\n" in server.log_text

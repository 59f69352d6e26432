"""envoy/advanced-tls.yaml: TLS from 1.2, with the suites that it names and no others."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme

from envoy_files import TLS_FOLDER, Config, Mesh, change, running
from system import ID

POLICY = "tracing: {sampling: {policy: always_on}}\n"
NAME = "envoy.example.com"
V1_1, V1_2, V1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SUITES = ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]


def _context(config: Config) -> Config:
    """What the first listener says about TLS."""
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    found: Config = chain["transport_socket"]["typed_config"]["common_tls_context"]
    return found


@asynccontextmanager
async def _serving(folder: Path, *, old: bool = False) -> AsyncIterator[tuple[Mesh, Path]]:
    """The mesh and the CA of its certificate; an `old` one takes TLS 1.0 and up with suites of that time."""
    ca = trustme.CA(key_type=trustme.KeyType.RSA)
    own = ca.issue_cert(NAME, key_type=trustme.KeyType.RSA)
    own.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    own.private_key_pem.write_to_path(folder / "tls.key")
    ca.cert_pem.write_to_path(folder / "ca.pem")

    def edit(config: Config) -> None:
        for source in _context(config)["tls_certificates"][0].values():
            change(source, "filename", source["filename"].replace(TLS_FOLDER, str(folder)))
        if old:
            _context(config)["tls_params"].update(
                tls_minimum_protocol_version="TLSv1_0", cipher_suites=["ECDHE-RSA-AES128-SHA"]
            )

    async with running(folder, "advanced-tls.yaml", POLICY, edit=edit) as mesh:
        yield mesh, folder / "ca.pem"


def _client(ca: Path, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A client that speaks one version of TLS, also such as are switched off by default."""
    context = ssl.create_default_context(cafile=ca)
    context.set_ciphers(ciphers + ":@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # to name TLS 1.1 is deprecated
        context.minimum_version = context.maximum_version = version
    return context


async def _agreed(mesh: Mesh, context: ssl.SSLContext) -> tuple[str, str]:
    """The version and the suite that Envoy and a client agree on.

    Raises:
        ssl.SSLError: there is none.
    """
    _, writer = await asyncio.open_connection("127.0.0.1", mesh.envoy.port, ssl=context, server_hostname=NAME)
    session = writer.get_extra_info("ssl_object")
    writer.close()
    await writer.wait_closed()
    return session.version(), session.cipher()[0]


def test_what_is_agreed_on(tmp_path: Path) -> None:
    """TLS 1.2 with each of the suites, and TLS 1.3."""

    async def check() -> None:
        async with _serving(tmp_path) as (mesh, ca):
            for suite in SUITES:
                assert ("TLSv1.2", suite) == await _agreed(mesh, _client(ca, V1_2, suite))
            version, _ = await _agreed(mesh, _client(ca, V1_3, "DEFAULT"))
            assert "TLSv1.3" == version

    asyncio.run(check())


def test_what_is_refused(tmp_path: Path) -> None:
    """TLS 1.1, and TLS 1.2 with suites that have no forward secrecy or no authenticated encryption."""

    async def check() -> None:
        async with _serving(tmp_path) as (mesh, ca):
            with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
                await _agreed(mesh, _client(ca, V1_1, "ALL"))
            for suite in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA"):
                with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
                    await _agreed(mesh, _client(ca, V1_2, suite))

    asyncio.run(check())


def test_the_client_can_do_what_is_refused(tmp_path: Path) -> None:
    """The same client is accepted by an Envoy with laxer parameters, so it is the file that refuses it."""

    async def check() -> None:
        async with _serving(tmp_path, old=True) as (mesh, ca):
            assert ("TLSv1.1", "ECDHE-RSA-AES128-SHA") == await _agreed(mesh, _client(ca, V1_1, "ALL"))
            assert ("TLSv1.2", "ECDHE-RSA-AES128-SHA") == await _agreed(mesh, _client(ca, V1_2, "ALL"))

    asyncio.run(check())


def test_requests_by_https(tmp_path: Path) -> None:
    """Requests go their way as without TLS: to the service, traced, and counted as https."""

    async def check() -> None:
        async with _serving(tmp_path) as (mesh, ca):
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
            session = aiohttp.ClientSession(f"https://127.0.0.1:{mesh.envoy.port}", connector=connector)
            headers = {ID: "a"}
            async with session, session.get("/api/users/1", server_hostname=NAME, headers=headers) as response:
                assert 200 == response.status
            trace, flags = mesh.upstream_trace("a")
            assert "01" == flags
            assert "user_service" == (await mesh.span(trace))["upstream_cluster"]
            assert "https" == mesh.upstream.seen["a"]["x-forwarded-proto"]
            labels = 'http_request_method="GET",http_response_status_code="200",url_scheme="https"'
            await mesh.wait_for_metric(f"http_server_request_duration_seconds_count{{{labels}}}", 1)

    asyncio.run(check())

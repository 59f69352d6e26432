"""TLS from Envoy to extproc and to the collector."""

from collections.abc import Sequence

from extproc.server.address import Address
from extproc.wiring.hosts import is_ip
from extproc.wiring.protos import core, matcher, pack, tls
from extproc.wiring.settings import ClientTls

_NAME = "envoy.transport_sockets.tls"
_ALPN = ["h2"]
_SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian, Ubuntu, Alpine and Envoy's own images keep them; Envoy has no setting for 'those of the system'."""


def extproc_socket(files: ClientTls, endpoints: Sequence[Address]) -> core.TransportSocket:
    """Check the server's certificate against our CA and the names that Envoy dials.

    A Unix socket has no name to check: there the CA alone vouches.
    """
    hosts = list(dict.fromkeys(each.host for each in endpoints if not each.path))
    validation = tls.CertificateValidationContext(
        trusted_ca=core.DataSource(filename=files.ca),
        match_typed_subject_alt_names=[_alternative_name(host) for host in hosts],
    )
    names = [host for host in hosts if not is_ip(host)]
    return _socket(validation, sni=names[0] if names else "", certificates=_certificates(files))


def collector_socket(collector: Address) -> core.TransportSocket:
    """Check the collector's certificate against the system's CAs."""
    validation = tls.CertificateValidationContext(
        trusted_ca=core.DataSource(filename=_SYSTEM_CAS),
        match_typed_subject_alt_names=[_alternative_name(collector.host)] if collector.host else [],
    )
    return _socket(validation, sni="" if is_ip(collector.host) else collector.host, certificates=[])


def _socket(
    validation: tls.CertificateValidationContext, *, sni: str, certificates: list[tls.TlsCertificate]
) -> core.TransportSocket:
    common = tls.CommonTlsContext(
        tls_certificates=certificates, validation_context=validation, alpn_protocols=list(_ALPN)
    )
    return core.TransportSocket(
        name=_NAME, typed_config=pack(tls.UpstreamTlsContext(common_tls_context=common, sni=sni))
    )


def _certificates(files: ClientTls) -> list[tls.TlsCertificate]:
    if not files.certificate:
        return []
    chain, key = core.DataSource(filename=files.certificate), core.DataSource(filename=files.key)
    return [tls.TlsCertificate(certificate_chain=chain, private_key=key)]


def _alternative_name(host: str) -> tls.SubjectAltNameMatcher:
    kinds = tls.SubjectAltNameMatcherSanType
    return tls.SubjectAltNameMatcher(
        san_type=kinds.IP_ADDRESS if is_ip(host) else kinds.DNS, matcher=matcher.StringMatcher(exact=host)
    )

"""`extproc serve`: run the server that Envoy calls."""

import sys
from pathlib import Path

import click
import uvloop

from extproc.policy.problems import PolicyError
from extproc.server import logs
from extproc.server.address import Address, expand, parse
from extproc.server.listen import ListenError
from extproc.server.process import Process, Settings
from extproc.server.shares import StoreError
from extproc.server.tls import TlsError, TlsFiles
from extproc.telemetry.audit import AuditError

_ADDRESS = "ADDR"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("serve", short_help="Run the server that Envoy calls.")
@click.option("--policy", required=True, type=_FILE, metavar="FILE", help="The policy file; edits are picked up.")
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:50051",),
    show_default=True,
    metavar=_ADDRESS,
    help="Where Envoy calls: host:port or unix:/path. May be given more than once.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes, one per core at most. Each has its own address: ports count up, Unix paths get -0, -1, ….",
)
@click.option(
    "--admin", default="127.0.0.1:9464", show_default=True, metavar=_ADDRESS, help="HTTP for people and Prometheus."
)
@click.option(
    "--grace",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Seconds that requests in flight have after SIGTERM.",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Serve TLS with this certificate (PEM, chain included).")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The certificate's private key (PEM).")
@click.option("--tls-client-ca", type=_FILE, metavar="FILE", help="Let in only clients with a certificate of this CA.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(logs.LEVELS), help="Least level logged."
)
def command(
    policy: Path,
    listen: tuple[str, ...],
    workers: int,
    admin: str,
    grace: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    log_level: str,
) -> None:
    """Run the ext_proc server that Envoy calls for every HTTP request.

    \b
    On a developer's machine:
        extproc serve --policy policy.yaml
    Two processes behind Unix sockets, as `extproc envoy --workers 2` wires them:
        extproc serve --policy policy.yaml --listen unix:/run/extproc/extproc.sock --workers 2
    Mutual TLS:
        extproc serve --policy policy.yaml --tls-cert tls.crt --tls-key tls.key --tls-client-ca ca.crt

    \b
    Edit the policy file and it is picked up within a second; a mistake in it changes nothing and is logged.
    SIGHUP reads it again at once. SIGTERM and Ctrl-C let requests in flight finish, a second one ends at once.

    \b
    Ask it (admin address):
        /health   the process lives             /policy    the active policy and what it has decided
        /ready    traffic may come              /metrics   Prometheus text

    Metrics go by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT or the policy file's `collector` says; the standard OTEL_*
    variables apply. Logs go to standard error, as text on a terminal and as JSON elsewhere.
    """  # noqa: D301  \b is click's mark for text that it must not wrap
    tls = _tls(tls_cert, tls_key, tls_client_ca)
    settings = Settings(policy, _addresses(listen, workers), _address(admin, "--admin"), grace, tls, log_level)
    logs.configure(log_level)
    try:
        uvloop.run(Process(settings).run())
    except PolicyError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except (AuditError, StoreError) as error:
        raise click.ClickException(f"{policy}: {error}") from error
    except (ListenError, TlsError) as error:
        raise click.ClickException(str(error)) from error


def _addresses(texts: tuple[str, ...], workers: int) -> tuple[tuple[Address, ...], ...]:
    addresses = tuple(_address(text, "--listen") for text in texts)
    try:
        return tuple(expand(addresses, workers))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error


def _address(text: str, option: str) -> Address:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    if certificate is not None and key is not None:
        return TlsFiles(certificate, key, client_ca)
    if certificate or key or client_ca:
        raise click.UsageError("TLS needs both --tls-cert and --tls-key")
    return None

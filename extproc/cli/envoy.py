"""`extproc envoy`: print the Envoy configuration that a policy file needs."""

from pathlib import Path
from typing import Any

import click

from extproc.cli.arguments import Parsed, format_option, load_policy
from extproc.policy.plan import Plan
from extproc.server.address import parse
from extproc.wiring.arguments import (
    client_tls,
    complete_routes,
    endpoints,
    parse_collector,
    parse_duration,
    parse_route,
    parse_upstream,
)
from extproc.wiring.comments import comments
from extproc.wiring.document import Part, build
from extproc.wiring.render import as_json, as_yaml
from extproc.wiring.settings import Collector, Settings, Timings
from extproc.wiring.warn import warnings

_DEFAULT_COLLECTOR = "127.0.0.1:4317"
_NOTHING_TO_PRINT = (
    "spans.mode emit needs nothing in Envoy's tracing; --only http-filter and --only cluster are all of it "
    "(--edge or --timings access-log would add to this part)"
)

_ADDRESS = Parsed("ADDR", parse)
_ENVOY_ADDRESS = Parsed("HOST:PORT", parse)
_FILE = click.Path(path_type=str)


@click.command("envoy")
@click.option(
    "--policy",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The policy file: its tags, span names and attributes decide what Envoy is told.",
)
@click.option(
    "--only",
    type=click.Choice([part.value for part in Part]),
    default=Part.BOOTSTRAP.value,
    show_default=True,
    help="Print one part, to paste into a configuration of your own.",
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    type=Parsed("NAME=HOST:PORT", parse_upstream),
    help="A service behind Envoy; NAME is what a policy's `service` is compared with. "
    "grpc://HOST:PORT for one that speaks HTTP/2. The first one takes every path without a --route.",
)
@click.option(
    "--route",
    "routes",
    multiple=True,
    type=Parsed("PREFIX=NAME", parse_route),
    help="Send a path prefix to an upstream; each upstream after the first needs one.",
)
@click.option(
    "--listen",
    "listens",
    multiple=True,
    type=_ADDRESS,
    default=("127.0.0.1:50051",),
    show_default=True,
    help="Where `extproc serve` listens, as it is told: host:port or unix:/path.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="How many workers `extproc serve` has."
)
@click.option(
    "--timings",
    type=click.Choice([timings.value for timings in Timings]),
    default=Timings.STREAM.value,
    show_default=True,
    help="What times requests: the stream to extproc, kept open until the response is sent, or Envoy's own access log, "
    "which is exact and also knows sizes and attempts.",
)
@click.option("--edge", is_flag=True, help="Callers are not trusted: their traces are neither joined nor followed.")
@click.option(
    "--fail-closed", is_flag=True, help="Fail requests that extproc does not answer, instead of passing them."
)
@click.option(
    "--message-timeout",
    type=Parsed("DURATION", parse_duration),
    default="200ms",
    show_default=True,
    help="How long Envoy waits for each answer.",
)
@click.option(
    "--envoy-listen",
    type=_ENVOY_ADDRESS,
    default="127.0.0.1:10000",
    show_default=True,
    help="Where Envoy takes requests.",
)
@click.option(
    "--envoy-admin",
    type=_ENVOY_ADDRESS,
    default="127.0.0.1:9901",
    show_default=True,
    help="Where Envoy's admin page is.",
)
@click.option(
    "--collector",
    type=Parsed("HOST:PORT", parse_collector),
    help="Where Envoy sends its spans by OTLP/gRPC; https://HOST:PORT for TLS. With spans.mode emit it has none.  "
    f"[default: the policy's collector, else {_DEFAULT_COLLECTOR}]",
)
@click.option("--tls-ca", type=_FILE, metavar="FILE", help="Speak TLS to extproc, whose certificate this CA signed.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Envoy's own certificate, for mutual TLS.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key.")
@format_option("yaml", "json", text="YAML has comments that say what each part is for.")
def command(policy: Path, only: str, output: str, **options: Any) -> None:  # noqa: ANN401  click's
    """Print the Envoy configuration that a policy file needs.

    \b
    extproc envoy --policy policy.yaml --upstream users=127.0.0.1:8080 > envoy.yaml && envoy -c envoy.yaml
    """  # noqa: D301  click reads the backspace
    part = Part(only)
    plan = load_policy(policy)
    try:
        settings = _settings(plan, part, options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    data = build(part, settings)
    if not data:
        raise click.UsageError(_NOTHING_TO_PRINT)
    for warning in warnings(settings):
        click.echo(f"warning: {warning}", err=True)
    click.echo(as_json(data) if output == "json" else as_yaml(data, comments(settings)), nl=False)


def _settings(plan: Plan, part: Part, options: dict[str, Any]) -> Settings:
    upstreams, routes = options["upstreams"], options["routes"]
    return Settings(
        plan=plan,
        endpoints=endpoints(options["listens"], options["workers"]),
        upstreams=upstreams,
        routes=complete_routes(upstreams, routes) if part is Part.BOOTSTRAP else (),
        edge=options["edge"],
        timings=Timings(options["timings"]),
        fail_open=not options["fail_closed"],
        message_timeout=options["message_timeout"],
        listen=options["envoy_listen"],
        admin=options["envoy_admin"],
        collector=options["collector"] or _collector(plan),
        tls=client_tls(options["tls_ca"], options["tls_cert"], options["tls_key"]),
    )


def _collector(plan: Plan) -> Collector:
    if plan.collector is None:
        return parse_collector(_DEFAULT_COLLECTOR)
    return parse_collector(plan.collector.endpoint, insecure=plan.collector.insecure)

"""`extproc traces`: what became of the traces that were kept."""

import asyncio
import json

import click
from yarl import URL

from extproc.cli.arguments import Parsed, format_option, stdout_console
from extproc.traces.printable import printable
from extproc.traces.query import Query, as_tags, parse_since, parse_tag
from extproc.traces.search import SearchError, search
from extproc.traces.show import as_data, as_table
from extproc.traces.trace import Trace


def _parse_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"expected a URL, got {text!r}; try http://127.0.0.1:16686")
    return url.with_query(None).with_fragment(None)


@click.command("traces", short_help="Show what Jaeger has of the traces that were kept.")
@click.option("--service", required=True, metavar="S", help="A service that took part in them.")
@click.option(
    "--since",
    type=Parsed("duration", parse_since),
    default="15m",
    show_default=True,
    metavar="DURATION",
    help="How far back to look: 90s, 15m, 1h30m, 7d.",
)
@click.option(
    "--tag",
    "tags",
    type=Parsed("tag", parse_tag),
    multiple=True,
    metavar="K=V",
    help="A tag that a span of the service carries; of several, one span carries them all.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1500), default=20, show_default=True, metavar="N", help="Traces at most."
)
@click.option(
    "--jaeger",
    type=Parsed("url", _parse_url),
    default="http://127.0.0.1:16686",
    show_default=True,
    metavar="URL",
    help="Jaeger's query API, with the prefix that it is served under.",
)
@format_option("text", "json", text="How to print them.")
def command(service: str, since: int, tags: tuple[tuple[str, str], ...], limit: int, jaeger: URL, output: str) -> None:
    """Ask Jaeger for the traces of a service, and show them, those that began last first.

    The service is the one that reported a span: Envoy's own spans have the name that `extproc envoy` printed, which
    is the policy file's attribute service.name. Tags are the policy's own (user_id, order_id, …), extproc's
    (sampling.policy, sampling.reason) and Envoy's (http.status_code, upstream_cluster.name, response_flags).

    \b
    The last quarter of an hour:
        extproc traces --service go-envoy-app
    What failed today:
        extproc traces --service go-envoy-app --since 24h --tag http.status_code=503
    What one policy kept:
        extproc traces --service go-envoy-app --tag sampling.policy=checkout
    One user's slow requests:
        extproc traces --service go-envoy-app --tag user_id=42 --format json |
            jq '.traces[] | select(.duration_seconds > 0.5).trace_id'

    'kept by' is the policy that decided and why, as extproc said on Envoy's span; – where no span says so. --format
    json has every span with its tags. If a trace is missing, `extproc explain` says which policy decides on its
    request.

    Exits with 0 if Jaeger answered, even with no trace at all, and with 1 if it did not or does not know the service.
    """  # noqa: D301  \b is click's mark for text that it must not wrap
    try:
        query = Query(service, since, limit, as_tags(tags))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--tag") from error
    try:
        traces = asyncio.run(search(jaeger, query))
    except SearchError as error:
        raise click.ClickException(str(error)) from error
    if output == "json":
        click.echo(json.dumps({"traces": [as_data(trace) for trace in traces]}, indent=2))
    else:
        _print(traces, query)


def _print(traces: tuple[Trace, ...], query: Query) -> None:
    console = stdout_console()
    if traces:
        console.print(as_table(traces))
    count = "1 trace" if len(traces) == 1 else f"{len(traces)} traces"
    more = ", and maybe more: --limit" if len(traces) >= query.limit else ""
    click.echo(f"{count} of {printable(query.service)}{more}", err=True)

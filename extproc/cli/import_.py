"""`extproc import`: other systems' sampling rules as a policy file."""

import sys
from pathlib import Path

import click

from extproc.policy.importers import FORMATS, import_text
from extproc.policy.load import content_of
from extproc.policy.problems import PolicyError
from extproc.policy.source import LARGEST_BYTES


@click.command("import", short_help="Turn other systems' sampling rules into a policy.")
@click.argument("kind", metavar="FORMAT", type=click.Choice(list(FORMATS)))
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True, path_type=str))
def command(kind: str, file: str) -> None:
    """Turn sampling rules of another system into a policy file, printed to standard output.

    FORMAT is jaeger (a file of sampling strategies), xray (sampling rules, of the service or of an SDK), datadog
    (DD_TRACE_SAMPLING_RULES) or otel (OpenTelemetry's declarative configuration). FILE is theirs; - reads standard
    input. What has no equal here is said in a comment where it stood.

    \b
    Examples:
      extproc import jaeger strategies.json > policy.yaml
      aws xray get-sampling-rules | extproc import xray - > policy.yaml
      echo "$DD_TRACE_SAMPLING_RULES" | extproc import datadog -
      extproc import otel otel-sdk.yaml | extproc check -
    """  # noqa: D301  click wants the control character itself
    try:
        if file == "-":
            text = import_text(sys.stdin.buffer.read(LARGEST_BYTES + 1), "<stdin>", kind)
        else:
            text = import_text(content_of(Path(file)), click.format_filename(file), kind)
    except PolicyError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise click.exceptions.Exit(1) from error
    click.echo(text, nl=False)

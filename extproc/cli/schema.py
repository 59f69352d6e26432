"""`extproc schema`: the policy file as a JSON Schema."""

import json

import click

from extproc.policy.schema import schema


@click.command("schema", short_help="Print the JSON Schema of policy files, for editors.")
def command() -> None:
    """Print the JSON Schema of policy files, by which editors complete, explain and check them as they are written.

    \b
    Examples:
      extproc schema > extproc.schema.json
      check-jsonschema --schemafile extproc.schema.json policy.yaml
    """  # noqa: D301  click wants the control character itself
    click.echo(json.dumps(schema(), indent=2))

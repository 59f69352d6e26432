"""The command line: one file per command, arguments in, text out."""

from importlib import import_module
from keyword import iskeyword

import click

from extproc import __version__

_COMMANDS = (
    "serve",
    "check",
    "test",
    "simulate",
    "explain",
    "envoy",
    "traces",
    "import",
    "schema",
    "completion",
    "demo",
)


class _Commands(click.Group):
    """Imports a command's module only when it is asked for: `check` in a hook must not wait for grpc."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = import_module(f"extproc.cli.{module}").command
        assert isinstance(command, click.Command)  # noqa: S101  a contract between our own files
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="extproc")
def main() -> None:
    """Trace policies for Envoy: which traces are kept, what they are tagged with, and what they cost in latency.

    \b
    A first look:      extproc demo
    Write a policy:    extproc check policy.yaml
    Ask it why:        extproc explain policy.yaml GET /api/users/1
    Test it:           extproc test policy.yaml cases.yaml
    Try an edit:       extproc simulate edited.yaml access.log --against policy.yaml
    Wire up Envoy:     extproc envoy --policy policy.yaml --upstream users=127.0.0.1:8080 > envoy.yaml
    Run it:            extproc serve --policy policy.yaml
    See what it kept:  extproc traces --service go-envoy-app
    """  # noqa: D301  \b is click's mark for text that it must not wrap

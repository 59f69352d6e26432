"""What several commands do with their arguments and their output."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from extproc.policy.load import load
from extproc.policy.plan import Plan
from extproc.policy.problems import PolicyError

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only in later versions

_Command = TypeVar("_Command", bound=Callable[..., Any])

_WIDTH_WITHOUT_TERMINAL = 240


class Parsed(_ParamType):
    """An argument that a function reads; its ValueError says what to write."""

    def __init__(self, name: str, parse_text: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  click's
        """Click's own name for it."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def format_option(default: str, *others: str, text: str) -> Callable[[_Command], _Command]:
    """The option `--format`, which the command gets as `output`; `text` is its help."""
    choice = click.Choice([default, *others])
    return click.option("--format", "output", type=choice, default=default, show_default=True, help=text)


def load_policy(policy: Path) -> Plan:
    """The file's Plan; its problems go to standard error, and the command ends with 1."""
    try:
        return load(policy)
    except PolicyError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise click.exceptions.Exit(1) from error


def spell_out() -> None:
    """Let standard output spell out what its encoding cannot say: a name may hold anything."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def stdout_console() -> Console:
    """Standard output for tables: wide where it is no terminal, and never at a loss for a character."""
    spell_out()
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console

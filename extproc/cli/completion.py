"""`extproc completion`: what makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print what makes a shell complete commands.")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options and their values.

    \b
    bash:  eval "$(extproc completion bash)"      in ~/.bashrc
    zsh:   eval "$(extproc completion zsh)"       in ~/.zshrc, after compinit
    fish:  extproc completion fish > ~/.config/fish/completions/extproc.fish
    """  # noqa: D301  click wants the control character itself
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  click has all three
    click.echo(found(ctx.find_root().command, {}, "extproc", "_EXTPROC_COMPLETE").source())

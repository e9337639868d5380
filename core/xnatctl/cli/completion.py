"""`completion`: prints the script with which a shell completes commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from xnatctl.cli.app import App, pass_unchecked
from xnatctl.cli.completing import VARIABLE

_HELP = """Print the script with which SHELL completes commands, options and values.

Projects, subjects and sessions are completed if the login needs no password at the terminal, as after xnatctl auth
login. What the server lists is kept for 5 minutes.
"""


@click.command(help=_HELP, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_unchecked
def completion(app: App, shell: str) -> None:
    """See `_HELP`."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    root = click.get_current_context().find_root().command
    text = kind(root, {}, "xnatctl", VARIABLE).source()
    click.echo(text)

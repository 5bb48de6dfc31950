"""`jsl completion`: the script with which a shell completes commands and options."""

from typing import Any

import click
from click.shell_completion import get_completion_class

from jsl import options
from jsl.help import command

SHELLS = ("bash", "zsh", "fish")


@command("help.completion")
@click.argument("shell", type=options.Choice(SHELLS), metavar="SHELL")
def completion(shell: Any) -> None:
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root()
    # (`source` of bash would look for a bash here, and complain if there is none.)
    script = found(root.command, {}, "jsl", "_JSL_COMPLETE")
    click.echo(script.source_template % script.source_vars())

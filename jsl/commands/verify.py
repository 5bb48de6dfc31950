"""`jsl verify`: compare the files of saved runs with their hashes."""

import sys
from pathlib import Path

import click

from jsl import options
from jsl.errors import JslError
from jsl.help import command
from jsl.messages import say


@command("help.verify")
@click.argument("directories", nargs=-1, required=True, type=options.Run(), metavar="DIR...")
def verify(directories: tuple[Path | str, ...]) -> None:
    from jsl import checkpoint
    from minigrad import runs
    from minigrad.errors import RunError

    failed = False
    for directory in directories:
        problems: list[object] = []
        try:
            problems += runs.verify(directory)
            if not problems and checkpoint.is_directory(directory):
                checkpoint.load(directory)
        except RunError as error:
            problems = [error]
        except JslError as error:  # which names the directory
            click.echo(error, err=True)
            failed = True
            continue
        for problem in problems:
            click.echo(
                say("checkpoint.problem", path=checkpoint.shown(directory), problem=problem),
                err=True,
            )
        failed |= bool(problems)
        if not problems:
            count = (
                len(runs.verify_manifest(directory)) if checkpoint.is_directory(directory) else 1
            )
            click.echo(say("checkpoint.whole", path=checkpoint.shown(directory), count=count))
    if failed:
        sys.exit(1)

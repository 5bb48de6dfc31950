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

    failed = False
    for directory in directories:
        saved: list[Path | str] = [*checkpoint.all_in(directory)]
        # A training that was killed may have runs on its way, and not one file of its own yet.
        if not saved or any(Path(directory, name).exists() for name in checkpoint.ALL_FILES):
            saved.insert(0, directory)
        for place in saved:
            failed |= not is_whole(place)
    if failed:
        sys.exit(1)


def is_whole(place: Path | str) -> bool:
    """Say whether one run, or a file of one, is as it was saved."""
    from jsl import archive, checkpoint
    from minigrad import runs
    from minigrad.errors import RunError

    count, problems = 1, list[object]()
    try:
        if archive.is_archive(place):
            count = len(checkpoint.load(place).files)
        else:
            problems += runs.verify(place)
        if not problems and checkpoint.is_directory(place):
            checkpoint.load(place)
            count = len(runs.verify_manifest(place))
    except RunError as error:
        problems = [error]
    except JslError as error:  # which names the directory
        click.echo(error, err=True)
        return False
    path = checkpoint.shown(place)
    for problem in problems:
        click.echo(say("checkpoint.problem", path=path, problem=problem), err=True)
    if not problems:
        click.echo(say("checkpoint.whole", path=path, count=count))
    return not problems

"""`jsl resume`: go on with an interrupted training, to its end."""

from pathlib import Path

import click

from jsl import options
from jsl.commands.corpora import Files, reading
from jsl.commands.training import carry_out, computing, saving
from jsl.help import command


@command("help.resume")
@click.argument("directory", type=options.Run(), metavar="DIR")
@reading()
@saving
@computing
def resume(
    directory: Path | str,
    files: Files,
    save_every_steps: int | None,
    save_every_minutes: float,
    keep: int,
    no_jit: bool,
    precision: str,
    together: bool | None,
    backend: str | None,
) -> None:
    carry_out(
        resume=directory,
        files=files,
        save_every_steps=save_every_steps,
        save_every_minutes=save_every_minutes,
        keep=keep,
        no_jit=no_jit,
        precision=precision,
        together=together,
        backend=backend,
    )

"""The `README.md` of a run, as `jsl train` and `jsl resume` write it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from jsl import options
from jsl.messages import say

if TYPE_CHECKING:
    from jsl.matching import Matches


def called() -> list[str]:
    """The words that call the command which is running, with what a file of settings gave it.

    Paths are relative to where it was called.
    """
    from jsl import notes
    from jsl.settings import names_of

    context = click.get_current_context()
    words, arguments = ["jsl", *names_of(context)], list[str]()
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)  # (--lang and the like are none.)
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if not given or value is None or value is False:
            continue
        is_path = isinstance(parameter.type, options.Path)
        for item in value if parameter.multiple or parameter.nargs != 1 else [value]:
            text = notes.relative(item) if is_path else str(item)
            if not isinstance(parameter, click.Option):
                arguments.append(text)
                continue
            option = next(x for x in parameter.opts if x.startswith("--"))
            words += [option] if parameter.is_flag else [option, text]
    return words + arguments


def write_notes(
    directory: Path | str,
    corpus: Sequence[str],
    looked: Mapping[str, "Matches"],
    before: str = "",
) -> None:
    """Write the page of the run that was saved into `directory`.

    Args:
        corpus: options that name the corpus; none for the bundled one.
        looked, before: see `notes.notes`.

    Raises:
        RunDirError: it cannot be written.
    """
    from jsl import checkpoint, notes
    from jsl.corpus import starter_corpus_path
    from minigrad import runs

    files = runs.files_of(directory)
    config, metrics = (runs.load_json(files[n]) for n in (checkpoint.CONFIG, checkpoint.METRICS))
    starter = starter_corpus_path()
    bundled = hashlib.sha256(starter.read_bytes()).hexdigest() == config["corpus"]["sha256"]
    if bundled and not corpus and not (path := notes.relative(starter)).startswith(".."):
        corpus = ["--corpus", path]
    text = notes.notes(
        config,
        metrics,
        command=called(),
        directory=notes.relative(directory),
        before=before,
        corpus=corpus,
        looked=looked,
        reviewed=False if bundled else None,
    )
    if not notes.write(directory, text):
        path = checkpoint.named(directory, notes.FILE)
        click.echo(say("notes.kept", path=path), err=True)

"""The `README.md` of a run, as `jsl train` and `jsl resume` write it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from jsl import options
from jsl.commands.corpora import Files
from jsl.messages import say

if TYPE_CHECKING:
    from jsl.matching import Matches

VALID = {"corpus": "valid", "source": "valid_source", "target": "valid_target"}


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


def corpora(files: Files) -> tuple[list[str], list[str]]:
    """The options that name the corpora, for training, and those to evaluate with.

    It is the corpus for validation that a model is evaluated on, if there is one.
    """
    from jsl import notes

    train, evaluate = list[str](), list[str]()
    for name in ("corpus", "source", "target"):
        path, valid_path = getattr(files, name), getattr(files, VALID[name])
        option, valid_option = (f"--{n}".replace("_", "-") for n in (name, VALID[name]))
        train += [option, notes.relative(path)] if path is not None else []
        train += [valid_option, notes.relative(valid_path)] if valid_path is not None else []
        chosen = valid_path if files.valid_given else path
        evaluate += [option, notes.relative(chosen)] if chosen is not None else []
    encoding = ["--encoding", files.encoding] if files.encoding is not None else []
    return train + encoding, evaluate + encoding


def write_notes(
    directory: Path | str,
    files: Files,
    looked: Mapping[str, "Matches"],
    before: Path | str | None = None,
) -> None:
    """Write the page of the run that was saved into `directory`.

    Args:
        looked: see `notes.notes`.
        before: a run that this one goes on from.

    Raises:
        RunDirError: it cannot be written.
    """
    from jsl import checkpoint, notes
    from jsl.corpus import starter_corpus_path
    from minigrad import runs

    saved = runs.files_of(directory)
    config, metrics = (runs.load_json(saved[n]) for n in (checkpoint.CONFIG, checkpoint.METRICS))
    starter = starter_corpus_path()
    bundled = hashlib.sha256(starter.read_bytes()).hexdigest() == config["corpus"]["sha256"]
    corpus, evaluate = corpora(files)
    if not evaluate and not (path := notes.relative(starter)).startswith(".."):
        evaluate = ["--corpus", path]
    text = notes.notes(
        config,
        metrics,
        command=called(),
        directory=notes.relative(directory),
        before="" if before is None else notes.trained(before),
        corpus=corpus,
        evaluate=evaluate,
        looked=looked,
        reviewed=False if bundled else None,
    )
    if not notes.write(directory, text):
        place = checkpoint.named(directory, notes.FILE)
        click.echo(say("notes.kept", path=place), err=True)

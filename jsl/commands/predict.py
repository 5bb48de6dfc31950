"""`jsl predict`: translate texts into tags."""

import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jsl import options
from jsl.commands.backends import asked_for_auto, backend_option, using_backend
from jsl.errors import TextError, UsageError
from jsl.help import command, option
from jsl.messages import Said, listed, say

if TYPE_CHECKING:
    from jsl.translate import Translation, Translator

# Lines of standard input that are translated together at most.
CHUNK = 256


@command("help.predict")
@click.argument("texts", nargs=-1, metavar="TEXT...")
@option("--load", type=options.Run(), required=True, help="help.predict.load")
@option("--group", help="help.predict.group")
@option("--json", "as_json", is_flag=True, help="help.predict.json")
@option(
    "--beam",
    type=options.Integer(1, 1000),
    default=1,
    help="help.predict.beam",
)
@option("--int8", is_flag=True, help="help.predict.int8")
@option("--quiet", is_flag=True, help="help.predict.quiet")
@backend_option
def predict(
    texts: tuple[str, ...],
    load: Path | str,
    group: str | None,
    as_json: bool,
    beam: int,
    int8: bool,
    quiet: bool,
    backend: str | None,
) -> None:
    if not texts:
        raise UsageError(say("predict.nothing"))
    from_input = texts == ("-",)
    if "-" in texts and not from_input:
        raise UsageError(say("predict.dash"))
    from jsl import memory
    from jsl.text import visible
    from jsl.translate import Translator
    from minigrad import kernels
    from minigrad.backend import explain

    if kernels.in_use() is None:
        kernels.use(False)  # a translation is done before Numba would have started
    with using_backend(backend, "numpy"):
        if not quiet and asked_for_auto(backend):
            click.echo(say("train.backend", explanation=Said(explain())), err=True)
        translator = Translator(load, beam, int8)
        sizes = translator.run.model, translator.vocabulary.size
        memory.require(memory.for_search(*sizes, beam), "--beam")
        groups = translator.groups
        if group is not None:
            name = visible(group).strip()  # as a corpus is read
            groups = (unicodedata.normalize("NFC", name),)
            if groups[0] not in translator.groups:
                known = listed(translator.groups)
                raise UsageError(say("predict.unknown_group", group=group, known=known))
        failed = False
        number = 0
        for chunk in stdin_lines() if from_input else [texts]:
            found = translate(translator, chunk, groups, blank=from_input)
            for text, results in zip(chunk, found, strict=True):
                number += 1
                failed |= show(text, results, number, from_input, group is None, as_json, quiet)
    if failed:
        sys.exit(1)


def stdin_lines() -> Iterator[list[str | TextError]]:
    """The lines of standard input, as many together as are waiting, but no more than CHUNK.

    They are UTF-8; there is an error in place of one that is not.
    """
    first = True
    for lines in waiting_lines():
        for start in range(0, len(lines), CHUNK):
            texts: list[str | TextError] = []
            for line in lines[start : start + CHUNK]:
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                    texts.append(text.removeprefix("\ufeff" if first else ""))
                except UnicodeDecodeError:
                    texts.append(TextError(say("predict.not_utf8")))
                first = False
            yield texts


def waiting_lines() -> Iterator[list[bytes]]:
    """Lines of standard input as they come: one read waits for something and takes what is there.

    The system keeps what comes meanwhile, so neither a thread nor a time limit is needed.
    """
    if sys.stdin is None:  # it was closed
        return
    # A buffered read would wait until it has as much as was asked for.
    source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    begun: list[bytes] = []  # a line whose end has not come
    while piece := source.read(1 << 16):
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun = []
            yield lines
        if rest:
            begun.append(rest)
    if begun:
        yield [b"".join(begun)]


def translate(
    translator: "Translator", lines: Sequence[str | TextError], groups: tuple[str, ...], blank: bool
) -> list[list["Translation"]]:
    """For each line, its translation in each group; nothing for nothing if lines may be `blank`."""
    from jsl.text import normalise
    from jsl.translate import Translation

    translatable = [isinstance(x, str) and not (blank and not normalise(x)) for x in lines]
    texts = [str(line) for line, able in zip(lines, translatable, strict=True) if able]
    columns = [iter(translator.translate(texts, group)) for group in groups]

    def instead(line: str | TextError, group: str) -> Translation:
        if isinstance(line, str):
            return Translation(line, group, "", 1.0)
        return Translation("", group, "", 0.0, line)

    return [
        [next(column) for column in columns] if able else [instead(line, g) for g in groups]
        for line, able in zip(lines, translatable, strict=True)
    ]


def show(
    text: str | TextError,
    results: list["Translation"],
    number: int,
    from_input: bool,
    all_groups: bool,
    as_json: bool,
    quiet: bool,
) -> bool:
    """Print the translations of one text; whether it could not be translated."""
    first = results[0]
    if as_json:
        found = {
            "text": text if isinstance(text, str) else None,
            "translations": [{"group": r.group, "tags": r.tags.split()} for r in results],
            "familiarity": round(first.familiarity, 3),
            "error": str(first.error) if first.error else None,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        for r in results:
            click.echo(f"{r.group}\t{r.tags}" if all_groups and len(results) > 1 else r.tags)
    if first.error:
        place = "predict.line" if from_input else "predict.text"
        click.echo(say(place, number=number, error=first.error), err=True)
    elif first.far and not quiet:
        click.echo(say("predict.far", text=text), err=True)
    return first.error is not None

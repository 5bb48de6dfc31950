"""`jsl predict`: translate texts into tags."""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options
from jsl.commands.backends import (
    asked_for_auto,
    backend_option,
    using_backend,
    what_computes,
)
from jsl.commands.exporting import (
    Exporter,
    as_csv,
    of_attention,
    placing,
    refuse_without,
    style_of,
)
from jsl.errors import TextError, UsageError
from jsl.help import command, option
from jsl.messages import listed, say

if TYPE_CHECKING:
    from jsl.reading import Reading
    from jsl.translate import Candidate, Translation, Translator

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
@option(
    "--length-penalty", type=options.NotNegative(), default=1.0, help="help.predict.length_penalty"
)
@option("--nbest", type=options.Integer(1, 1000), default=1, help="help.predict.nbest")
@option("--attention", is_flag=True, help="help.predict.attention")
@option("--export-attn", is_flag=True, help="help.predict.export-attn")
@of_attention
@as_csv
@placing
@option("--batch-size", type=options.Integer(1, 1_000_000), default=64,
        help="help.predict.batch_size")  # fmt: skip
@option("--input", "source", type=options.Path(), help="help.predict.input")
@option("--output", type=options.Path(), help="help.predict.output")
@option("--int8", is_flag=True, help="help.predict.int8")
@option("--reading", type=options.Choice(["auto", "off"]), default="auto",
        help="help.predict.reading")  # fmt: skip
@option("--quiet", is_flag=True, help="help.predict.quiet")
@backend_option
def predict(
    texts: tuple[str, ...],
    load: Path | str,
    group: str | None,
    as_json: bool,
    beam: int,
    length_penalty: float,
    nbest: int,
    attention: bool,
    export_attn: bool,
    attn_plot: bool,
    attn_max_len: int,
    csv_layout: str,
    csv_encoding: str,
    out: Path | None,
    force: bool,
    batch_size: int,
    source: Path | None,
    output: Path | None,
    int8: bool,
    reading: str,
    quiet: bool,
    backend: str | None,
) -> None:
    if source is not None and texts:
        raise UsageError(say("predict.texts_and_input"))
    if source is None and not texts:
        raise UsageError(say("predict.nothing"))
    from_input = source is not None or texts == ("-",)
    if "-" in texts and not from_input:
        raise UsageError(say("predict.dash"))
    if nbest > beam:
        raise UsageError(say("predict.nbest", nbest=nbest, beam=beam))
    if attention and not as_json:
        raise UsageError(say("predict.attention_json"))
    exporting = export_attn or attn_plot
    if not exporting:
        refuse_without(
            "--export-attn", "attn_max_len", "csv_layout", "csv_encoding", "out", "force"
        )
    style = style_of(csv_layout, csv_encoding, attn_plot, attn_max_len) if exporting else None
    from jsl import memory
    from jsl.corpus import known_group
    from jsl.translate import Translator
    from minigrad import kernels

    if kernels.in_use() is None:
        kernels.use(False)  # a translation is done before Numba would have started
    with using_backend(backend, "numpy"):
        if not quiet and asked_for_auto(backend):
            click.echo(what_computes(), err=True)
        translator = Translator(load, beam, int8, reading == "auto")
        sizes = translator.run.model, translator.vocabulary.target_size
        memory.require(memory.for_search(*sizes, beam), "--beam")
        groups = translator.groups
        if group is not None:
            groups = (known_group(groups, group),)
        exporter = None
        if style is not None:
            notice = hushed if quiet else to_stderr
            exporter = Exporter(translator.run, load, style, out, force, notice, notice)
        failed = False
        number = 0
        search = {"length_penalty": length_penalty, "nbest": nbest}
        search["attention"] = attention or exporting
        written: list[str] = []
        with nullcontext() if source is None or str(source) == "-" else opened(source) as file:
            for chunk in input_lines(file) if from_input else [texts]:
                found = translate(
                    translator, chunk, groups, blank=from_input, batch_size=batch_size, **search
                )
                files: list[Any] = [None] * len(chunk)
                if exporter is not None:
                    several = from_input or len(chunk) > 1
                    for i, results in enumerate(found):
                        files[i] = exporter.add_attention(
                            translator, results, number + i + 1, several
                        )
                    exporter.write()
                for text, results, written_files in zip(chunk, found, files, strict=True):
                    number += 1
                    if as_json:
                        shown = [
                            as_data(text, results, translator, nbest > 1, attention, written_files)
                        ]
                    else:
                        shown = as_lines(results, group is None and len(results) > 1, nbest > 1)
                    if output is None:
                        for line in shown:
                            click.echo(line)
                    else:
                        written += shown
                    failed |= notes(text, results[0], number, from_input, quiet)
    if output is not None:
        save(output, written)
    if failed:
        sys.exit(1)


def to_stderr(text: str) -> None:
    """Say it beside the translations."""
    click.echo(text, err=True)


def hushed(text: str) -> None:
    """Say nothing."""


def opened(path: Path) -> io.FileIO:
    """A file to read; UsageError if it cannot be."""
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise UsageError(say("predict.input", path=path, reason=error.strerror)) from error


def save(path: Path, lines: list[str]) -> None:
    """Write all lines, or leave what is there; UsageError if it cannot be written."""
    from minigrad import errors, runs

    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    try:
        runs.atomic_write(path, data)
    except (errors.RunError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
        raise UsageError(say("predict.output", path=path, reason=reason)) from error


def input_lines(file: io.FileIO | None = None) -> Iterator[list[str | TextError]]:
    """The lines of a file or of standard input: as many together as wait, no more than CHUNK.

    They are UTF-8; there is an error in place of one that is not.
    """
    first = True
    for lines in waiting_lines(file):
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


def waiting_lines(file: io.FileIO | None = None) -> Iterator[list[bytes]]:
    """Lines of a file or of standard input as they come: a read waits, and takes what is there.

    The system keeps what comes meanwhile, so neither a thread nor a time limit is needed.
    """
    if file is None and sys.stdin is None:  # it was closed
        return
    # A buffered read would wait until it has as much as was asked for.
    source: Any = file or getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
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
    translator: "Translator",
    lines: Sequence[str | TextError],
    groups: tuple[str, ...],
    blank: bool,
    **search: Any,
) -> list[list["Translation"]]:
    """For each line, its translation in each group; nothing for nothing if lines may be `blank`."""
    from jsl.translate import Translation

    spelled = translator.vocabulary.spelled
    translatable = [isinstance(x, str) and not (blank and not spelled(x)) for x in lines]
    texts = [str(line) for line, able in zip(lines, translatable, strict=True) if able]
    columns = [iter(translator.translate(texts, group, **search)) for group in groups]

    def instead(line: str | TextError, group: str) -> Translation:
        if isinstance(line, str):
            return Translation(line, group, "", 1.0)
        return Translation("", group, "", 0.0, line)

    return [
        [next(column) for column in columns] if able else [instead(line, g) for g in groups]
        for line, able in zip(lines, translatable, strict=True)
    ]


def as_lines(results: list["Translation"], by_group: bool, ranked: bool) -> list[str]:
    """One line a group, its name before; with ranks one a candidate: rank, score, tags."""
    lines = []
    for r in results:
        before = f"{r.group}\t" if by_group else ""
        if ranked and r.candidates:
            lines += [
                f"{before}{rank}\t{c.score:.6f}\t{c.tags}" for rank, c in enumerate(r.candidates, 1)
            ]
        else:
            lines.append(before + r.tags)
    return lines


def as_data(
    text: str | TextError,
    results: list["Translation"],
    translator: "Translator",
    ranked: bool,
    attention: bool,
    exported: list[dict[str, Any]] | None,
) -> str:
    """All about one text as a line of JSON."""
    first = results[0]
    translations: list[dict[str, Any]] = []
    for i, r in enumerate(results):
        found: dict[str, Any] = {"group": r.group, "tags": [], "ids": [], "score": None}
        found["probabilities"] = []
        if r.candidates:
            found |= candidate(r.candidates[0], r.text, translator, attention)
        if ranked:
            found["nbest"] = [candidate(c, r.text, translator, attention) for c in r.candidates]
        if exported is not None:
            found["exports"] = exported[i]
        translations.append(found)
    unknown = first.error.unknown if first.error else first.unknown
    data = {
        "text": text if isinstance(text, str) else None,
        "translations": translations,
        "reading": as_read(first),
        "familiarity": round(first.familiarity, 3),
        "error": str(first.error) if first.error else None,
        "unknown": [
            {"position": n, "character": c, "codepoint": " ".join(f"U+{ord(x):04X}" for x in c)}
            for n, c in unknown
        ],
    }
    return json.dumps(data, ensure_ascii=False)


def as_read(found: "Translation") -> dict[str, Any] | None:
    """How a text was read, as JSON values; None if it needed no reading."""
    if found.reading is None:
        return None
    parts = [
        {"surface": p.surface, "reading": p.reading, "alternatives": list(p.alternatives)}
        for p in found.reading.parts
    ]
    return {"text": found.reading.text, "parts": parts}


def candidate(
    found: "Candidate", text: str, translator: "Translator", attention: bool
) -> dict[str, Any]:
    """A candidate as JSON values; its attention as lists of layers, heads, rows and columns."""
    tags = translator.vocabulary.decode(found.ids)
    data: dict[str, Any] = {
        "tags": tags,
        "ids": list(found.ids),
        "score": round(found.score, 6),
        "probabilities": [round(p, 6) for p in found.probabilities],
    }
    if attention and found.attention is not None:
        from jsl.exports import labels_of

        labels = labels_of(translator, text, found)
        data["attention"] = {}
        for kind in ("encoder", "decoder", "cross"):
            rows, columns = labels.of(kind)
            weights = [
                [[[round(x, 7) for x in row] for row in head] for head in layer.tolist()]
                for layer in getattr(found.attention, kind)
            ]
            data["attention"][kind] = {"rows": rows, "columns": columns, "weights": weights}
    return data


def notes(
    text: str | TextError, first: "Translation", number: int, from_input: bool, quiet: bool
) -> bool:
    """Say on standard error how a text was read, and what is wrong with it.

    Returns:
        Whether it could not be translated.
    """
    if first.reading and not quiet:
        click.echo(reading_note(first.reading), err=True)
    if first.error:
        place = "predict.line" if from_input else "predict.text"
        click.echo(say(place, number=number, error=first.error), err=True)
    elif not quiet:
        if first.unknown:
            found = listed(
                say("predict.unknown_at", position=n, token=token) for n, token in first.unknown
            )
            click.echo(say("predict.unknown", found=found), err=True)
        if first.far:
            click.echo(say("predict.far", text=text), err=True)
    return first.error is not None


def reading_note(reading: "Reading") -> str:
    """How a text was read, with the parts that could be read otherwise."""
    note = say("reading.shown", surface=reading.surface, text=reading.text)
    if not reading.ambiguous:
        return note
    parts = listed(
        say("reading.part", surface=p.surface, reading=p.reading, others=listed(p.alternatives))
        for p in reading.ambiguous
    )
    return note + say("reading.ambiguous", parts=parts)

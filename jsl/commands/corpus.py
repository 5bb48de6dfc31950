"""`jsl corpus`: make a corpus of generated sentences, and look a corpus over."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jsl import options
from jsl.errors import UsageError
from jsl.help import command, group, option
from jsl.messages import Said, columns, listed, ranges, say
from jsl.tokens import SOURCES, TARGETS

if TYPE_CHECKING:
    from jsl.survey import Part, Survey

GROUPS = ("日本手話", "日本語対応手話")  # as in jsl.grammar, which is read when it is needed
SPLITS = ("random", "compositional")
SHOWN = 10  # sentences or tags of a kind


class Share(options.Positive):
    """A number between 0 and 1."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        share = super().convert(value, param, ctx)
        if share >= 1:
            self.fail(say("generate.share", value=value), param, ctx)
        return share


@group("help.corpus")
def corpus() -> None:
    """The commands under their one name."""


@command("help.corpus.generate")
@option("--size", type=options.Integer(1, 10**9), required=True, help="help.corpus.generate.size")
@option(
    "--seed",
    type=options.Integer(0, 2**64 - 1),
    default=0,
    show_default=True,
    help="help.corpus.generate.seed",
)
@option("--out", type=options.Path(), help="help.corpus.generate.out")
@option("--group", type=options.Choice(GROUPS), metavar="NAME", help="help.corpus.generate.group")
@option("--split", "kind", type=options.Choice(SPLITS), help="help.corpus.generate.split")
@option("--valid-out", type=options.Path(), help="help.corpus.generate.valid-out")
@option("--valid-share", type=Share(), help="help.corpus.generate.valid-share")
@option("--annotate", is_flag=True, help="help.corpus.generate.annotate")
def generate(
    size: int,
    seed: int,
    out: Path | None,
    group: str | None,
    kind: str | None,
    valid_out: Path | None,
    valid_share: float | None,
    annotate: bool,
) -> None:
    if valid_out is None and (kind is not None or valid_share is not None):
        raise UsageError(say("generate.valid_out"))
    if out is not None and valid_out is not None and out.resolve() == valid_out.resolve():
        raise UsageError(say("generate.same_file", path=out))

    from jsl.generate import generate as sentences_of
    from jsl.generate import split, table

    groups = (group,) if group else GROUPS
    found = sentences_of(size, seed, groups)
    # If the size is odd, the last sentence has a row of one group, which is for training.
    odd = found[-1:] if size % len(groups) else []
    if valid_out is not None:
        share = 0.1 if valid_share is None else valid_share
        whole = found[: len(found) - len(odd)]
        training, held = split(whole, kind or "random", share, seed, groups)
        found = training + odd
        write(valid_out, table(held, groups, len(held) * len(groups), annotate))
    rows = len(found) * len(groups) - (len(groups) - size % len(groups) if odd else 0)
    text = table(found, groups, rows, annotate)
    if out is None:
        click.echo(text.encode(), nl=False)  # bytes, so that lines end alike on every system
    else:
        write(out, text)


corpus.add_command(generate)


def write(path: Path, text: str) -> None:
    """Write a corpus, whole or not at all; UsageError if it cannot be written."""
    from minigrad import errors, runs

    try:
        runs.save_text(path, text)
    except (errors.RunError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
        raise UsageError(say("generate.unwritable", path=path, reason=reason)) from error
    click.echo(say("generate.written", path=path, rows=text.count("\n") - 1), err=True)


@command("help.corpus.check")
@click.argument("files", nargs=-1, required=True, type=options.Path(), metavar="FILE...")
@option(
    "--valid",
    "--against",
    "valid",
    type=options.Path(),
    multiple=True,
    help="help.corpus.check.valid",
)
@option(
    "--max-length",
    "--max-seq-len",
    "max_length",
    type=options.Integer(1, 10_000),
    help="help.corpus.check.max-length",
)
@option("--source-tokens", type=options.Choice(SOURCES), help="help.corpora.source_tokens")
@option("--target-tokens", type=options.Choice(TARGETS), help="help.corpora.target_tokens")
@option("--encoding", help="help.corpus.check.encoding")
@option("--json", "as_json", is_flag=True, help="help.corpus.check.json")
def check(
    files: tuple[Path, ...],
    valid: tuple[Path, ...],
    max_length: int | None,
    source_tokens: str | None,
    target_tokens: str | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    from jsl.corpus import check_encoding
    from jsl.survey import survey, to_json

    if encoding is not None:
        check_encoding(encoding)
    kinds = source_tokens or SOURCES[0], target_tokens or TARGETS[0]
    found = survey(files, valid, max_length, encoding, kinds)
    if as_json:
        click.echo(json.dumps(to_json(found, max_length), ensure_ascii=False))
    else:
        for line in report(found):
            click.echo(line)
    if not found.is_well:
        sys.exit(1)


corpus.add_command(check)


def report(found: "Survey") -> Iterator[str]:
    """A survey for people: a section for each file, then what they share."""
    for part in (*found.parts, *found.valid):
        yield from about(part)
        yield ""
    if found.clashes:
        yield say("survey.clashes", count=len(found.clashes))
        for clash in found.clashes[:SHOWN]:
            places = listed(
                say("survey.place", path=path, line=line, tags=tags)
                for tags, at in clash.tags.items()
                for path, line in at[:1]
            )
            group, text = clash.group, clash.japanese
            yield "  " + say("survey.clash", group=group, japanese=text, places=places)
        yield from more(len(found.clashes))
    same = [leak for leak in found.leaks if leak.group == leak.valid_group]
    other = [leak for leak in found.leaks if leak.group != leak.valid_group]
    for key, leaks in (("leaks", same), ("leaks_across", other), ("alike", found.alike)):
        if leaks:
            yield say(f"survey.{key}", count=len(leaks))
            for leak in leaks[:SHOWN]:
                yield "  " + say(
                    "survey.leak",
                    japanese=leak.japanese,
                    path=leak.path,
                    lines=ranges(leak.lines),
                    group=leak.group,
                    valid_path=leak.valid_path,
                    valid_lines=ranges(leak.valid_lines),
                    valid_group=leak.valid_group,
                )
            yield from more(len(leaks))
    for group, counts in found.unseen.items():
        tags = listed(counts)
        yield say("survey.unseen", group=group, count=len(counts), tags=tags)
    if found.shared:
        yield say("survey.shared", count=found.shared)
    if found.valid and not found.leaks:
        yield say("survey.apart")
    yield say("survey.well" if found.is_well else "survey.wrong")


def more(count: int) -> Iterator[str]:
    """That not all are shown."""
    if count > SHOWN:
        yield "  " + say("list.more", count=count - SHOWN)


def about(part: "Part") -> Iterator[str]:
    """What is to be said of one file."""
    from jsl import survey

    if part.corpus is None or part.problems is None:
        yield str(part.error)
        return
    counts = survey.tag_counts(part.rows)
    sentences = len({row.japanese for row in part.rows})
    yield say(
        "survey.file", path=part.path, rows=len(part.rows), sentences=sentences, tags=len(counts)
    )
    for note in part.corpus.notes:
        yield f"  {note}"
    heads: list[str] = [
        say(f"survey.head.{name}") for name in ("group", "rows", "tags", "symbols", "signs")
    ]
    table = [heads]
    for name, figures in survey.groups(part).items():
        spans = [
            "{min} / {median:g} / {max}".format(**figures[key])
            for key in ("sentence_lengths", "tag_lengths")
        ]
        shown = say("survey.name", name=name)
        table.append([shown, f"{figures['rows']:,}", f"{figures['tags']:,}", *spans])
    widths = [max(columns(row[n]) for row in table) for n in range(len(heads))]
    for row in table:
        cells = [f"{cell}{' ' * (w - columns(cell))}" for cell, w in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells).rstrip()}"
    presets = [
        say("survey.preset", name=name, rows=rows) for name, rows in survey.too_long(part).items()
    ]
    longest = max((row.length for row in part.rows), default=0)
    yield "  " + say("survey.longest", length=longest, presets=listed(presets))
    bins = [
        f"{low}: {n}" if low == high else f"{low}-{high or ''}: {n}"
        for low, high, n in survey.histogram(counts.values())
        if n
    ]
    yield "  " + say("survey.histogram", bins=listed(bins))
    names = list(counts)
    for key, tags in (("frequent", names[:SHOWN]), ("rare", names[::-1][:SHOWN])):
        yield "  " + say(f"survey.{key}", tags=listed(f"{tag} {counts[tag]}" for tag in tags))
    characters = [
        say("survey.character", character=c, code=f"U+{ord(c):04X}", lines=ranges(lines))
        for c, lines in survey.unknown_characters(part).items()
    ]
    if characters:
        yield "  " + say("survey.unknown", characters=listed(characters))
    for kind, cause in part.problems.first.items():
        if kind in ("corpus.conflict", "text.unknown"):  # said more fully elsewhere
            continue
        lines = [*dict.fromkeys(part.problems.lines[kind])]
        yield "  " + say("survey.problem", count=len(lines), lines=ranges(lines), cause=Said(cause))

"""`jsl corpus`: make a corpus of generated sentences, and look a corpus over."""

from pathlib import Path

import click

from jsl import options
from jsl.errors import UsageError
from jsl.help import command, group, option
from jsl.messages import say

GROUPS = ("日本手話", "日本語対応手話")  # as in jsl.grammar, which is read when it is needed
SPLITS = ("random", "compositional")


class Share(options.Positive):
    """A number between 0 and 1."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        share = super().convert(value, param, ctx)
        if share >= 1:
            self.fail(say("usage.share", value=value), param, ctx)
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

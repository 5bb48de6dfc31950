"""Deployment as `jsl export` carries it out: options, and what is said of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options
from jsl.commands.corpora import Files, reading
from jsl.help import option
from jsl.messages import columns, listed, say
from jsl.schema import DTYPES

if TYPE_CHECKING:
    from jsl.checkpoint import Run

# Options that say something of a deployed model only.
OF_DEPLOYED = ("dtype", "corpus", "source", "target", "encoding", "overwrite")


def deploying(command: Callable) -> Callable:
    """Where a deployed model goes, and how it is made and measured."""
    for decorate in reversed(
        (
            option("--deploy", type=options.Run(), help="help.export.deploy"),
            option("--dtype", type=options.Choice(DTYPES), default=DTYPES[0],
                   help="help.export.dtype"),
            reading(valid=False, tokens=False, helps={"corpus": "help.export.corpus"}),
            option("--overwrite", is_flag=True, help="help.export.overwrite"),
        )
    ):  # fmt: skip
        command = decorate(command)
    return command


def deploy_model(
    run: "Run",
    place: Path | str,
    dtype: str,
    groups: Sequence[str],
    files: Files,
    overwrite: bool,
    says: Callable[[str], Any] = click.echo,
) -> dict[str, Any]:
    """Write a deployed model, and say what each dtype loses.

    Args:
        groups: for which it is; all if there are none.
        files: corpora whose sentences losses are measured on, in place of the bundled ones.
        says: takes what is said of it, a line each.

    Returns:
        The same as JSON values.
    """
    from jsl import checkpoint
    from jsl.deploy import deploy, sentences_of
    from minigrad import kernels

    if kernels.in_use() is None:
        kernels.use(False)  # it is done before Numba would have compiled
    sentences = None
    if files.given:
        corpus = files.load(None, (run.vocabulary.source_kind, run.vocabulary.target_kind))
        for note in corpus.notes:
            click.echo(note, err=True)
        sentences = sentences_of(run, corpus.name, [row.japanese for row in corpus.rows])
    found = deploy(run, place, dtype, groups, sentences, overwrite)
    measured, path = found.about["measured"], checkpoint.shown(place)
    says(
        say(
            "deploy.measured",
            texts=say("deploy.random") if measured["texts"] == "random" else measured["texts"],
            sentences=measured["sentences"],
            translations=measured["translations"],
        )
    )
    for line in table(measured):
        says(line)
    says(
        say(
            "deploy.saved",
            path=path,
            dtype=dtype,
            groups=listed(found.groups),
            bytes=found.bytes,
            before=found.before,
            share=found.bytes / found.before,
        )
    )
    sizes = {"bytes": found.bytes, "bytes_of_run": found.before}
    return {"path": path, "groups": list(found.groups), **sizes, **found.about}


def table(measured: dict[str, Any]) -> list[str]:
    """A line for each dtype: bytes of its weights, and what it loses."""
    rows: list[list[str]] = [
        [say("deploy.dtype"), say("deploy.bytes"), say("deploy.error"), say("deploy.changed")],
    ]
    for dtype in DTYPES:
        if found := measured["dtypes"].get(dtype):
            share = found["changed"] / measured["translations"]
            error = f"{found['logit_error']:.2g}"
            rows.append([dtype, f"{found['bytes']:,}", error, f"{found['changed']} ({share:.1%})"])
        else:
            rows.append([dtype, say("deploy.unfit"), "-", "-"])
    widths = [max(columns(row[i]) for row in rows) for i in range(4)]
    lines = []
    for first, *rest in rows:
        cells = [first + " " * (widths[0] - columns(first))]
        cells += [" " * (w - columns(x)) + x for x, w in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return lines

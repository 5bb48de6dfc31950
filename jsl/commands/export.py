"""`jsl export`: write what others use of a run: a deployed model."""

from pathlib import Path

import click

from jsl import options
from jsl.commands.corpora import Files
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import columns, listed, say


@command("help.export")
@option("--load", type=options.Run(), required=True, help="help.export.load")
@option("--deploy", type=options.Run(), help="help.export.deploy")
@option(
    "--dtype",
    type=options.Choice(["float32", "float16", "int8"]),
    default="float32",
    help="help.export.dtype",
)
@option("--group", "groups", multiple=True, help="help.export.group")
@option("--corpus", type=options.Path(), help="help.export.corpus")
@option("--source", type=options.Path(), help="help.corpora.source")
@option("--target", type=options.Path(), help="help.corpora.target")
@option("--encoding", help="help.corpora.encoding")
@option("--overwrite", is_flag=True, help="help.export.overwrite")
def export(
    load: Path | str,
    deploy: Path | str | None,
    dtype: str,
    groups: tuple[str, ...],
    corpus: Path | None,
    source: Path | None,
    target: Path | None,
    encoding: str | None,
    overwrite: bool,
) -> None:
    if deploy is None:
        raise UsageError(say("export.nothing"))
    files = Files(corpus, source, target, encoding=encoding)
    deploy_model(load, deploy, dtype, groups, files, overwrite)


def deploy_model(
    load: Path | str,
    place: Path | str,
    dtype: str,
    groups: tuple[str, ...],
    files: Files,
    overwrite: bool,
) -> None:
    """Write a deployed model, and say what each dtype loses."""
    import unicodedata

    from jsl import checkpoint
    from jsl.deploy import deploy, sentences_of
    from jsl.text import visible
    from minigrad import kernels

    if kernels.in_use() is None:
        kernels.use(False)  # it is done before Numba would have compiled
    run = checkpoint.load(load)
    sentences = None
    if files.given:
        corpus = files.load(None, (run.vocabulary.source_kind, run.vocabulary.target_kind))
        for note in corpus.notes:
            click.echo(note, err=True)
        sentences = sentences_of(run, corpus.name, [row.japanese for row in corpus.rows])
    names = [unicodedata.normalize("NFC", visible(name).strip()) for name in groups]
    found = deploy(run, place, dtype, names or None, sentences, overwrite)
    measured = found.about["measured"]
    texts = say("deploy.random") if measured["texts"] == "random" else measured["texts"]
    click.echo(
        say(
            "deploy.measured", texts=texts, sentences=measured["sentences"],
            translations=measured["translations"],
        )
    )  # fmt: skip
    for line in table(measured):
        click.echo(line)
    click.echo(
        say(
            "deploy.saved", path=checkpoint.shown(place), dtype=dtype, groups=listed(found.groups),
            bytes=found.bytes, before=found.before, share=found.bytes / found.before,
        )
    )  # fmt: skip


def table(measured: dict) -> list[str]:
    """A line for each dtype: bytes of its weights, and what it loses."""
    from jsl.deployed import DTYPES

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
    return [
        "  ".join([
            row[0] + " " * (widths[0] - columns(row[0])),
            *(" " * (w - columns(x)) + x for x, w in zip(row[1:], widths[1:], strict=True)),
        ])
        for row in rows
    ]  # fmt: skip

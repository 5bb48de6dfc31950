"""`jsl export`: a saved run for deployment; its weights and attention as files to look at."""

import json
from pathlib import Path
from typing import Any

import click

from jsl import options
from jsl.commands.backends import backend_option, using_backend
from jsl.commands.corpora import Files
from jsl.commands.deploying import OF_DEPLOYED, deploy_model, deploying
from jsl.commands.exporting import (
    Exporter,
    as_csv,
    layers,
    of_attention,
    placing,
    refuse_without,
    style_of,
    weights_option,
)
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import columns, say


@command("help.export")
@option("--load", type=options.Run(), required=True, help="help.export.load")
@option("--group", "groups", multiple=True, help="help.export.group")
@deploying
@option("--list-layers", is_flag=True, help="help.export.list-layers")
@weights_option
@option("--export-attn", "texts", multiple=True, metavar="TEXT", help="help.export.export-attn")
@of_attention
@option("--beam", type=options.Integer(1, 1000), default=1, help="help.predict.beam")
@option(
    "--length-penalty", type=options.NotNegative(), default=1.0, help="help.predict.length_penalty"
)
@as_csv
@placing
@option("--json", "as_json", is_flag=True, help="help.export.json")
@backend_option
def export(
    load: Path | str,
    groups: tuple[str, ...],
    deploy: Path | str | None,
    dtype: str,
    files: Files,
    overwrite: bool,
    list_layers: bool,
    patterns: tuple[str, ...],
    texts: tuple[str, ...],
    attn_plot: bool,
    attn_max_len: int,
    beam: int,
    length_penalty: float,
    csv_layout: str,
    csv_encoding: str,
    out: Path | None,
    force: bool,
    as_json: bool,
    backend: str | None,
) -> None:
    if not (deploy or list_layers or patterns or texts):
        raise UsageError(say("exports.nothing"))
    if deploy is None:
        refuse_without("--deploy", *OF_DEPLOYED)
    style = style_of(csv_layout, csv_encoding, attn_plot, attn_max_len)
    from jsl import checkpoint
    from jsl.corpus import known_group

    told: dict[str, Any] = {}
    says = (lambda text: None) if as_json else click.echo
    run = checkpoint.load(load)
    groups = tuple(dict.fromkeys(known_group(run.groups, name) for name in groups))
    if list_layers:
        found = layers(run, groups)
        if as_json:
            told["layers"] = [{"name": n, "shape": s, "count": c} for n, s, c in found]
        else:
            show(found)
    if patterns or texts:
        exporter = Exporter(run, load, style, out, force, says)
        if patterns:
            exporter.add_weights(patterns, groups)
        if texts:
            with using_backend(backend, "numpy"):
                attention(exporter, load, texts, groups, beam, length_penalty)
        sheets, skipped = exporter.sheets, exporter.skipped
        exporter.write()
        told["directory"] = checkpoint.shown(exporter.directory)
        told["exports"] = [{"file": sheet.name, **sheet.about} for sheet in sheets]
        told["skipped"] = skipped
    if deploy is not None:
        told["deployed"] = deploy_model(run, deploy, dtype, groups, files, overwrite, says)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))


def attention(
    exporter: Exporter,
    load: Path | str,
    texts: tuple[str, ...],
    groups: tuple[str, ...],
    beam: int,
    length_penalty: float,
) -> None:
    """Translate `texts`, and gather the maps.

    Raises:
        TextError: one cannot be translated; then none is exported.
    """
    from jsl import memory
    from jsl.translate import Translator
    from minigrad import kernels

    if kernels.in_use() is None:
        kernels.use(False)
    translator = Translator(load, beam)
    memory.require(memory.for_search(translator.run.model, translator.vocabulary.target_size, beam),
                   "--beam")  # fmt: skip
    search: dict[str, Any] = {"length_penalty": length_penalty, "attention": True}
    found = zip(
        *(translator.translate(texts, g, **search) for g in groups or translator.groups),
        strict=True,
    )
    for number, results in enumerate(found, start=1):
        if results[0].error is not None:
            raise results[0].error
        exporter.add_attention(translator, results, number, len(texts) > 1)


def show(found: list[tuple[str, list[int], int]]) -> None:
    """Print the parameters, one a line."""
    rows = [(name, " × ".join(map(str, shape)), f"{count:,}") for name, shape, count in found]
    widths = [max((columns(row[i]) for row in rows), default=0) for i in range(3)]
    for name, shape, count in rows:
        pad = " " * (widths[0] - columns(name))
        click.echo(f"{name}{pad}  {shape:{widths[1]}}  {count:>{widths[2]}}")

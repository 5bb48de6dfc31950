"""`jsl train`: train a translator on a corpus, and save it."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jsl import options, schema
from jsl.commands.corpora import Files, reading
from jsl.commands.exporting import Weights, as_csv, refuse_without, style_of, weights_option
from jsl.commands.training import carry_out, computing, saving
from jsl.config import (
    KINDS,
    LAYER_NORMS,
    MAX_SEQ_LEN,
    PRESETS,
    SHARED,
    WEIGHTINGS,
    ModelConfig,
    TrainingConfig,
)
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import listed, say

SIZES = {field.name for field in fields(ModelConfig)}
SCHEDULE = {field.name for field in fields(TrainingConfig)}


def within(section: str, name: str) -> options.Integer:
    """What an option takes: the range of an entry of config.json."""
    entry = schema.CONFIG[section][name]
    return options.Integer(int(entry.low), int(entry.high))


@command("help.train")
@reading()
@option("--preset", type=options.Choice(list(PRESETS)), help="help.train.preset")
@option("--epochs", type=options.Integer(1, 10**9), help="help.train.epochs")
@option("--batch-size", type=within("training", "batch_size"), help="help.train.batch-size")
@option("--learning-rate", type=options.Positive(), help="help.train.learning-rate")
@option("--seed", type=within("training", "seed"), help="help.train.seed")
@option("--d-model", type=within("model", "d_model"), help="help.train.d-model")
@option("--n-heads", "--heads", type=within("model", "n_heads"), help="help.train.n-heads")
@option("--d-ff", type=within("model", "d_ff"), help="help.train.d-ff")
@option(
    "--n-layers",
    "--layers",
    type=within("model", "n_layers"),
    help="help.train.n-layers",
)
@option(
    "--max-seq-len",
    "--max-length",
    type=options.IntegerOr("auto", 2, MAX_SEQ_LEN),
    help="help.train.max-seq-len",
)
@option("--model", "kind", type=options.Choice(KINDS), help="help.train.kind")
@option("--dropout", type=options.Share(), help="help.train.dropout")
@option("--layer-norm", type=options.Choice(LAYER_NORMS), help="help.train.layer-norm")
@option("--tie-embeddings/--no-tie-embeddings", default=None, help="help.train.tie-embeddings")
@option("--share", type=options.Several(SHARED), help="help.train.share")
@option("--label-smoothing", type=options.Share(), help="help.train.label-smoothing")
@option("--warmup", type=within("training", "warmup"), help="help.train.warmup")
@option("--clip-norm", type=options.NotNegative(), help="help.train.clip-norm")
@option("--min-count", type=within("training", "min_count"), help="help.train.min-count")
@option("--buckets/--no-buckets", default=None, help="help.train.buckets")
@option("--batch-tokens", type=within("training", "batch_tokens"), help="help.train.batch-tokens")
@option("--loss-weighting", type=options.Choice(WEIGHTINGS), help="help.train.loss-weighting")
@option(
    "--save",
    type=options.Run(),
    help="help.train.save",
)
@option("--load", type=options.Run(), help="help.train.load")
@option("--resume", type=options.Run(), help="help.train.resume")
@saving
@option("--overwrite", is_flag=True, help="help.train.overwrite")
@weights_option
@as_csv
@computing
def train(
    files: Files,
    preset: str | None,
    save: Path | str | None,
    load: Path | str | None,
    resume: Path | str | None,
    save_every_steps: int | None,
    save_every_minutes: float,
    keep: int,
    overwrite: bool,
    patterns: tuple[str, ...],
    csv_layout: str,
    csv_encoding: str,
    no_jit: bool,
    precision: str,
    together: bool | None,
    backend: str | None,
    max_seq_len: int | str | None,
    **settings: Any,
) -> None:
    sizes = {"max_seq_len": None if max_seq_len == "auto" else max_seq_len, **settings}
    if load is not None:
        refuse_fixed()
    if resume is not None:
        refuse_beside_resume()
    exported = None
    if patterns:
        exported = Weights(patterns, style_of(csv_layout, csv_encoding))
    else:
        refuse_without("--export-weights", "csv_layout", "csv_encoding")
    carry_out(
        files=files,
        load=load,
        resume=resume,
        preset=preset or "tiny",
        sizes={k: v for k, v in sizes.items() if k in SIZES and v is not None},
        schedule={k: v for k, v in settings.items() if k not in SIZES and v is not None},
        fitting=max_seq_len == "auto"
        or (max_seq_len is None and load is None and resume is None and files.given),
        save=save,
        overwrite=overwrite,
        save_every_steps=save_every_steps,
        save_every_minutes=save_every_minutes,
        keep=keep,
        no_jit=no_jit,
        precision=precision,
        together=together,
        backend=backend,
        exported=exported,
    )


def refuse_fixed() -> None:
    """UsageError if an option is given that a continued run does not let one change."""
    fixed = {"preset", "seed", "min_count", *SIZES} - {"max_seq_len", "dropout"}
    if given := given_of(fixed):
        raise UsageError(say("train.fixed", options=listed(given)))


def refuse_beside_resume() -> None:
    """UsageError if an option is given that an interrupted training does not let one change."""
    if given := given_of({"preset", "save", "load", "overwrite", *SIZES, *SCHEDULE}):
        raise UsageError(say("train.resume_alone", options=listed(given)))


def given_of(names: Iterable[str]) -> list[str]:
    """Those of the options that were given."""
    context = click.get_current_context()
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in names
        and context.get_parameter_source(str(option.name)) is not ParameterSource.DEFAULT
    ]

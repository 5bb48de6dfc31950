"""`jsl train`: train a translator on a corpus, and save it."""

from pathlib import Path

import click

from jsl import options, schema
from jsl.commands.training import carry_out, computing, reading, saving
from jsl.config import MAX_SEQ_LEN
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import listed, say


def within(section: str, name: str) -> options.Integer:
    """What an option takes: the range of an entry of config.json."""
    entry = schema.CONFIG[section][name]
    return options.Integer(int(entry.low), int(entry.high))


@command("help.train")
@reading
@option("--preset", type=options.Choice(["tiny"]), help="help.train.preset")
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
@option(
    "--save",
    type=options.Run(),
    help="help.train.save",
)
@option("--load", type=options.Run(), help="help.train.load")
@option("--resume", type=options.Run(), help="help.train.resume")
@saving
@option("--overwrite", is_flag=True, help="help.train.overwrite")
@computing
def train(
    corpus: Path | None,
    encoding: str | None,
    preset: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    d_model: int | None,
    n_heads: int | None,
    d_ff: int | None,
    n_layers: int | None,
    max_seq_len: int | str | None,
    save: Path | str | None,
    load: Path | str | None,
    resume: Path | str | None,
    save_every_steps: int | None,
    save_every_minutes: float,
    keep: int,
    overwrite: bool,
    no_jit: bool,
    backend: str | None,
) -> None:
    sizes = {
        "d_model": d_model,
        "n_heads": n_heads,
        "d_ff": d_ff,
        "n_layers": n_layers,
        "max_seq_len": None if max_seq_len == "auto" else max_seq_len,
    }
    schedule = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    if load is not None:
        refuse_fixed()
    if resume is not None:
        refuse_beside_resume()
    carry_out(
        load=load,
        resume=resume,
        preset=preset or "tiny",
        sizes={k: v for k, v in sizes.items() if v is not None},
        schedule={k: v for k, v in schedule.items() if v is not None},
        fitting=max_seq_len == "auto"
        or (max_seq_len is None and load is None and resume is None and corpus is not None),
        save=save,
        overwrite=overwrite,
        corpus=corpus,
        encoding=encoding,
        save_every_steps=save_every_steps,
        save_every_minutes=save_every_minutes,
        keep=keep,
        no_jit=no_jit,
        backend=backend,
    )


def refuse_fixed() -> None:
    """UsageError if an option is given that a continued run does not let one change."""
    context = click.get_current_context()
    fixed = ("preset", "seed", "d_model", "n_heads", "d_ff", "n_layers", "max_seq_len")
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in fixed and context.params[option.name] is not None
    ]
    if given:
        raise UsageError(say("train.fixed", options=listed(given)))


def refuse_beside_resume() -> None:
    """UsageError if an option is given that an interrupted training does not let one change."""
    context = click.get_current_context()
    fixed = [
        *("preset", "epochs", "batch_size", "learning_rate", "seed", "d_model", "n_heads"),
        *("d_ff", "n_layers", "max_seq_len", "save", "load", "overwrite"),
    ]
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in fixed and context.params[option.name] not in (None, False)
    ]
    if given:
        raise UsageError(say("train.resume_alone", options=listed(given)))

"""`jsl train`: train a translator on a corpus, and save it."""

import hashlib
import shlex
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options, schema
from jsl.commands.backends import backend_option, using_backend
from jsl.commands.progress import prepare_kernels, progress_lines
from jsl.config import MAX_SEQ_LEN
from jsl.errors import JslError, UsageError
from jsl.help import command, option
from jsl.messages import Said, listed, say

if TYPE_CHECKING:
    from jsl.train import Trainer


def within(section: str, name: str) -> options.Integer:
    """What an option takes: the range of an entry of config.json."""
    entry = schema.CONFIG[section][name]
    return options.Integer(int(entry.low), int(entry.high))


@command("help.train")
@option("--corpus", type=options.Path(), help="help.train.corpus")
@option("--encoding", help="help.train.encoding")
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
@option("--save-every-steps", type=options.Integer(1, 10**9), help="help.train.save-every-steps")
@option(
    "--save-every-minutes",
    type=options.Positive(),
    default=10.0,
    show_default=True,
    help="help.train.save-every-minutes",
)
@option(
    "--keep",
    type=options.Integer(1, 10**6),
    default=1,
    show_default=True,
    help="help.train.keep",
)
@option("--overwrite", is_flag=True, help="help.train.overwrite")
@option("--no-jit", is_flag=True, help="help.train.no-jit")
@backend_option
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
    from jsl import checkpoint, memory
    from jsl.config import PRESETS
    from jsl.corpus import check_encoding, load_corpus, starter_corpus_path
    from jsl.train import Saves, Trainer, parameter_count
    from minigrad import kernels
    from minigrad.backend import explain, get_backend

    sizes: dict[str, Any] = {
        "d_model": d_model,
        "n_heads": n_heads,
        "d_ff": d_ff,
        "n_layers": n_layers,
        "max_seq_len": None if max_seq_len == "auto" else max_seq_len,
    }
    schedule: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    sizes, schedule = (
        {k: v for k, v in given.items() if v is not None} for given in (sizes, schedule)
    )
    if encoding is not None:
        check_encoding(encoding)
        if corpus is None:
            raise UsageError(say("train.encoding"))
    fitting = max_seq_len == "auto" or (
        max_seq_len is None and load is None and resume is None and corpus is not None
    )
    if resume is not None:
        refuse_beside_resume()
    with using_backend(backend, "auto"), ExitStack() as at_end:
        before = None
        model, training = PRESETS[preset or "tiny"]
        if load is not None:
            refuse_fixed()
            before = checkpoint.load(load)
            model, training = before.model, replace(before.training, epochs=training.epochs)
        elif resume is not None:
            before, damaged = checkpoint.newest(resume)
            for error in damaged:
                click.echo(error, err=True)
            left = before.progress["last_epoch"] - before.training.epochs
            if left < 1:
                raise UsageError(say("train.nothing_left", path=resume))
            model, training = before.model, replace(before.training, epochs=left)
            no_jit = no_jit or not before.progress["jit"]
        if before is not None:
            bundled = hashlib.sha256(starter_corpus_path().read_bytes()).hexdigest()
            if corpus is None and before.corpus["sha256"] != bundled:
                name = before.corpus["name"]
                place = checkpoint.shown(before.directory)
                raise UsageError(say("train.which_corpus", path=place, name=name))
        model, training = replace(model, **sizes), replace(training, **schedule)
        path, limit = corpus or starter_corpus_path(), MAX_SEQ_LEN if fitting else model.max_seq_len
        rows = load_corpus(path, limit, encoding)
        for note in rows.notes:
            click.echo(note, err=True)
        if fitting:
            model = replace(model, max_seq_len=max(model.max_seq_len, rows.longest))
        batch = min(training.batch_size, len(rows.rows))
        memory.require(
            memory.for_training(model, 88 + len(rows.tags), len(rows.groups), batch),
            "--d-model, --d-ff, --n-layers, --max-seq-len, --batch-size",
        )
        if before is not None and rows.sha256 != before.corpus["sha256"]:
            if resume is not None:
                name = before.corpus["name"]
                raise UsageError(say("train.resume_corpus", path=resume, name=name))
            click.echo(say("train.other_corpus"), err=True)
        directory = resume or save or checkpoint.default_directory()
        checkpoint.prepare(directory, overwrite or resume is not None)
        at_end.callback(checkpoint.remove_if_empty, directory)
        at_end.enter_context(checkpoint.held(directory))

        click.echo(say("train.backend", explanation=Said(explain())))
        if kernels.enabled() and get_backend() == "numpy":
            prepare_kernels()
        if before is not None and checkpoint.OPTIMIZER not in before.files:
            click.echo(say("checkpoint.no_optimizer", path=before.directory), err=True)
        others = checkpoint.of_others(directory, before if resume is not None else None)
        saves = Saves(
            directory if isinstance(directory, Path) else None,
            keep,
            save_every_steps,
            save_every_minutes,
            others,
        )
        trainer = Trainer(rows, model, training, before, jit=not no_jit, saves=saves)
        click.echo(
            say(
                "train.start",
                rows=len(rows.rows),
                groups=listed(trainer.model.groups),
                vocabulary=trainer.vocabulary.size,
                parameters=parameter_count(trainer.model),
            )
        )
        trainer.interrupts.patience = 2
        trainer.interrupts.noted = lambda _: click.echo(
            say("train.stopping", times=3 - trainer.interrupts.count), err=True
        )
        matches = dict[str, tuple[int, int]]()
        begun = trainer.step
        with trainer.interrupts as interrupts:
            try:
                unheard = run_to_end(trainer)
                if not trainer.interrupted:
                    trainer.look()
                    matches = trainer.exact_matches()
            except KeyboardInterrupt:
                if not trainer.whole:  # in the midst of a step
                    raise JslError(cut_short(directory)) from None
                unheard = None
            if trainer.step == begun and trainer.interrupted:
                raise JslError(say("train.not_begun"))
            with interrupts.ignored():
                trainer.save_run(directory, matches)
                saves.forget_others(directory)
                checkpoint.keep_last(directory, keep - 1)
        if unheard is not None:
            raise unheard
        for group, (right, total) in matches.items():
            click.echo(say("train.matches", group=group, right=right, rows=total))
        click.echo(say("train.saved", path=checkpoint.shown(directory)))
        if trainer.epoch < trainer.last_epoch:
            command = ["jsl", "train", "--resume", checkpoint.shown(directory)]
            command += ["--corpus", str(corpus)] if corpus else []
            command += ["--encoding", encoding] if encoding else []
            command += ["--backend", backend] if backend else []
            command += ["--save-every-steps", str(save_every_steps)] if save_every_steps else []
            command += ["--keep", str(keep)] if keep > 1 else []
            click.echo(say("train.resume", command=Said(shlex.join(command))))
            received = interrupts.received
            sys.exit(1 if received in (None, signal.SIGINT) else 128 + received)


def cut_short(directory: Path | str) -> str:
    """What is said of a training that ended in the midst of a step, and of what there is of it."""
    from jsl import checkpoint
    from jsl.errors import RunDirError

    try:
        run, _ = checkpoint.newest(directory)
    except RunDirError:
        return say("train.cut", saved=say("train.none_saved"))
    return say("train.cut", saved=say("train.last_saved", path=run.directory))


def run_to_end(trainer: "Trainer") -> OSError | None:
    """Train; if what is said of an epoch cannot be written, stop there and return the error."""
    begun = trainer.epoch
    try:
        with progress_lines(trainer.last_epoch - begun) as report:
            trainer.run(report)
    except OSError as error:
        if trainer.epoch == begun:
            raise
        return error
    return None


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

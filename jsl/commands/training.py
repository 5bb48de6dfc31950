"""A training as commands carry it out: a new one, one that goes on, one that was interrupted."""

import hashlib
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options
from jsl.commands.backends import backend_option, using_backend, what_computes
from jsl.commands.corpora import Files
from jsl.commands.exporting import Weights
from jsl.commands.noting import write_notes
from jsl.commands.processes import as_one, distributed_option
from jsl.commands.progress import prepare_kernels, progress_lines
from jsl.config import MAX_SEQ_LEN
from jsl.errors import JslError, UsageError
from jsl.help import option
from jsl.messages import Said, listed, say

if TYPE_CHECKING:
    from jsl.matching import Matches
    from jsl.train import Trainer
    from jsl.vocabulary import Vocabulary


def saving(command: Callable) -> Callable:
    """Options about what is saved on the way."""
    command = option(
        "--keep",
        type=options.Integer(1, 10**6),
        default=1,
        show_default=True,
        help="help.train.keep",
    )(command)
    command = option(
        "--save-every-minutes",
        type=options.Positive(),
        default=10.0,
        show_default=True,
        help="help.train.save-every-minutes",
    )(command)
    steps = options.Integer(1, 10**9)
    return option("--save-every-steps", type=steps, help="help.train.save-every-steps")(command)


def computing(command: Callable) -> Callable:
    """Options about how it is computed."""
    kinds = options.Choice(("float32", "tf32", "bfloat16", "float16"))
    command = distributed_option(backend_option(command))
    command = option("--precision", type=kinds, default="float32", help="help.train.precision")(
        command
    )
    return option("--no-jit", is_flag=True, help="help.train.no-jit")(command)


def carry_out(
    *,
    files: Files,
    load: Path | str | None = None,
    resume: Path | str | None = None,
    preset: str = "tiny",
    sizes: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    fitting: bool = False,
    save: Path | str | None = None,
    overwrite: bool = False,
    save_every_steps: int | None,
    save_every_minutes: float,
    keep: int,
    no_jit: bool,
    precision: str = "float32",
    together: bool | None = None,
    backend: str | None,
    exported: Weights | None = None,
) -> None:
    """Train, save, and say how to go on if it was interrupted.

    Args:
        load: a run to go on from; with `resume`, to the end that it was to have, and in its place.
        preset, sizes, schedule: of a new training; what `sizes` and `schedule` lack is the
            preset's, or that of the run.
        files: the corpora.
        fitting: whether sequences may be as long as the corpus needs.
        exported: what is exported at the end.
        save: where to; the others are the options of their names.
        together: whether the processes of an `mpiexec` train one model; None: if there are any.

    Raises:
        JslError: it cannot be begun, or not be saved.
    """
    from jsl import checkpoint, memory
    from jsl.config import PRESETS
    from jsl.corpus import starter_corpus_path
    from jsl.model import shapes_of
    from jsl.train import Saves, Trainer, parameter_count
    from minigrad import kernels
    from minigrad.backend import choice, get_backend, using

    with using_backend(backend, "auto"), as_one(together) as group, ExitStack() as at_end:
        writes = group.rank == 0
        before = None
        model, training = PRESETS[preset]
        if load is not None:
            before = checkpoint.load(load)
            checkpoint.check_continues(before)
            model, training = before.model, replace(before.training, epochs=training.epochs)
        elif resume is not None:
            before, damaged = checkpoint.newest(resume)
            checkpoint.check_continues(before)
            for error in damaged:
                click.echo(error, err=True)
            left = before.progress["last_epoch"] - before.training.epochs
            if left < 1:
                raise UsageError(say("train.nothing_left", path=resume))
            model, training = before.model, replace(before.training, epochs=left)
            no_jit = no_jit or not before.progress["jit"]
        kinds = files.source_tokens or "kana", files.target_tokens or "tag"
        if before is not None:
            vocabulary = before.vocabulary
            kinds = (
                files.source_tokens or vocabulary.source_kind,
                files.target_tokens or vocabulary.target_kind,
            )
            bundled = hashlib.sha256(starter_corpus_path().read_bytes()).hexdigest()
            place = checkpoint.shown(before.directory)
            if not files.given and before.corpus["sha256"] != bundled:
                name = before.corpus["name"]
                raise UsageError(say("train.which_corpus", path=place, name=name))
            if resume is not None and "valid_name" in before.corpus and not files.valid_given:
                name = before.corpus["valid_name"]
                raise UsageError(say("train.which_valid", path=place, name=name))
            if (least := before.model.max_seq_len) > (sizes or {}).get("max_seq_len", least):
                raise UsageError(say("train.shorter", least=least))
        model, training = replace(model, **sizes or {}), replace(training, **schedule or {})
        limit = MAX_SEQ_LEN if fitting else model.max_seq_len
        rows, valid = files.load(limit, kinds), files.load_valid(limit, kinds)
        for note in (*rows.notes, *(valid.notes if valid else ())):
            click.echo(note, err=True)
        if fitting:
            longest = max(corpus.longest for corpus in (rows, valid) if corpus)
            model = replace(model, max_seq_len=max(model.max_seq_len, longest))
        batch = min(training.batch_size, len(rows.rows))
        if training.batch_tokens:
            batch = max(training.batch_tokens // model.max_seq_len, 1)
        memory.require(
            memory.for_training(model, rows.vocabulary_size, len(rows.groups), batch),
            "--d-model, --d-ff, --n-layers, --max-seq-len, --batch-size, --batch-tokens",
        )
        if before is not None:
            if rows.sha256 != before.corpus["sha256"]:
                if resume is not None:
                    name = before.corpus["name"]
                    raise UsageError(say("train.resume_corpus", path=resume, name=name))
                click.echo(say("train.other_corpus"), err=True)
            found = valid.sha256 if valid else None
            if resume is not None and found != before.corpus.get("valid_sha256"):
                name = before.corpus.get("valid_name", "-")
                raise UsageError(say("train.resume_corpus", path=resume, name=name))
        if exported is not None:
            size = rows.vocabulary_size  # about
            groups = dict.fromkeys([*(before.groups if before else ()), *rows.groups])
            shapes = shapes_of(model, size, size, list(groups))
            exported.check(shapes, list(groups), resume or save)
        directory = resume or save or checkpoint.default_directory()
        group.barrier()  # all have read what rank 0 is about to tidy
        if writes:
            checkpoint.prepare(directory, overwrite or resume is not None)
            at_end.callback(checkpoint.remove_if_empty, directory)
            at_end.enter_context(checkpoint.held(directory))

        click.echo(what_computes())
        if choice().auto and get_backend() == "cupy" and group.size == 1:
            if resume is not None and before is not None:  # the same bits as without a break
                name = before.config["metadata"]["backend"]
            else:
                name = faster_backend(
                    lambda: Trainer(rows, model, training, before, not no_jit, distributed=False)
                )
            at_end.enter_context(using(name))
        if kernels.enabled() and get_backend() == "numpy":
            if writes:
                prepare_kernels()
            group.barrier()  # the others load what it has compiled
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
        trainer = Trainer(
            rows, model, training, before, not no_jit, saves if writes else None, valid, together,
            precision,
        )  # fmt: skip
        if trainer.grown:
            click.echo(say("train.grown", found=listed(trainer.grown)), err=True)
        if trainer.left_out:
            click.echo(say("train.left_out", count=trainer.left_out), err=True)
        click.echo(
            say(
                "train.start",
                rows=len(rows.rows),
                groups=listed(trainer.model.groups),
                vocabulary=vocabulary_sizes(trainer.vocabulary),
                parameters=parameter_count(trainer.model),
            )
        )
        trainer.interrupts.patience = 2
        trainer.interrupts.noted = lambda _: click.echo(
            say("train.stopping", times=3 - trainer.interrupts.count), err=True
        )
        figures: dict[str, Any] = {"matches": {}}
        looked: dict[str, Matches] = {}
        begun = trainer.step
        with trainer.interrupts as interrupts:
            try:
                unheard = run_to_end(trainer)
                if not trainer.interrupted:
                    figures["losses"] = trainer.losses_by_group()
                if writes and not trainer.interrupted:
                    looked["training"] = trainer.compare()
                    if valid is not None:
                        looked["valid"] = trainer.compare(valid.rows)
                        figures["valid_matches"] = looked["valid"].counts
                    figures["matches"] = looked["training"].counts
            except KeyboardInterrupt:
                if not trainer.whole:  # in the midst of a step
                    raise JslError(cut_short(directory)) from None
                unheard = None
            if trainer.step == begun and trainer.interrupted:
                raise JslError(say("train.not_begun"))
            if not writes:
                sys.exit(exit_code(trainer))
            with interrupts.ignored():
                trainer.save_run(directory, **figures)
                saves.forget_others(directory)
                checkpoint.keep_last(directory, keep - 1)
        if unheard is not None:
            raise unheard
        for key, name in (("train.matches", "matches"), ("train.valid_matches", "valid_matches")):
            for group, (right, total) in figures.get(name, {}).items():
                click.echo(say(key, group=group, right=right, rows=total))
        click.echo(say("train.saved", path=checkpoint.shown(directory)))
        same = before is not None and str(before.directory) == str(resume)
        write_notes(directory, files, looked, load or (resume if same else None))
        if exported is not None and not trainer.interrupted:
            exported.write(directory)
        if trainer.epoch < trainer.last_epoch:
            command = ["jsl", "train", "--resume", checkpoint.shown(directory)]
            command += files.arguments()
            command += ["--backend", backend] if backend else []
            command += ["--save-every-steps", str(save_every_steps)] if save_every_steps else []
            command += ["--keep", str(keep)] if keep > 1 else []
            command += exported.arguments() if exported is not None else []
            click.echo(say("train.resume", command=Said(shlex.join(command))))
            sys.exit(exit_code(trainer))


def exit_code(trainer: "Trainer") -> int:
    """0 for a training that came to its end; else what a shell is told of its interrupt."""
    received = trainer.interrupts.received
    if trainer.epoch >= trainer.last_epoch:
        return 0
    return 1 if received in (None, signal.SIGINT) else 128 + received


def faster_backend(trainer: Callable[[], "Trainer"]) -> str:
    """The backend that takes less time for a step; says which one that is, and the times."""
    from jsl import measuring
    from minigrad import kernels

    if kernels.enabled():
        prepare_kernels()
    found = measuring.faster(trainer)
    for name, error in found.errors.items():
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        click.echo(say("train.step_failed", backend=name, reason=Said(reason)), err=True)
    if not found.errors:
        on_host, there = 1000 * found.seconds["numpy"], 1000 * found.seconds["cupy"]
        click.echo(say("train.measured", name=found.name, numpy=on_host, cupy=there))
    return found.name


def vocabulary_sizes(vocabulary: "Vocabulary") -> str:
    """How many ids there are; of source and target, if each has its own."""
    sizes = vocabulary.source_size, vocabulary.target_size
    return f"{sizes[0]:,}" if vocabulary.shared else " + ".join(f"{n:,}" for n in sizes)


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

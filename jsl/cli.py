"""The command line: `jsl train`, `jsl predict`, `jsl verify` and `jsl warmup`.

Exit codes: 0 it worked, 2 the command line itself is wrong, 141 nobody reads the output any more,
129 or 143 a training was ended by SIGHUP or SIGTERM, 1 everything else. There is no traceback
without `--debug`.
What a command needs is imported when it runs, so that help is quick.
"""

import errno
import hashlib
import json
import os
import shlex
import signal
import sys
import time
import traceback
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options, schema
from jsl.config import MAX_SEQ_LEN
from jsl.errors import JslError, TextError, UsageError
from jsl.messages import LANGUAGES, Said, listed, say, use_language

if TYPE_CHECKING:
    from jsl.train import Progress, Trainer
    from jsl.translate import Translation, Translator

KNOWN = 5  # epochs after which it is known how long one takes

# Lines of standard input that are translated together at most.
CHUNK = 256

# Of standard output that was closed, as by `| head -1`: what a shell says of a program that the
# signal SIGPIPE, number 13, has ended.
CLOSED = 128 + 13

EXIT_CODES = """Exit codes: 0 all went well, 2 the command line is wrong, 141 standard output was
closed by its reader, 143 the signal SIGTERM ended a training, 129 the signal SIGHUP did, 1
everything else."""


def _choose_language(context: click.Context, option: click.Option, value: str | None) -> None:
    if value:
        use_language(value)


def common(command: Callable) -> Callable:
    """The options that stand before or after a command's name alike."""
    for option in (
        click.option(
            "--lang",
            type=options.Choice(LANGUAGES),
            expose_value=False,
            is_eager=True,
            callback=_choose_language,
            help="Language of messages; that of the environment by default.",
        ),
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,  # `main` looks for it
            help="Show a traceback when something fails.",
        ),
    ):
        command = option(command)
    return command


backend_option = click.option(
    "--backend",
    type=options.Choice(["auto", "cupy", "numpy"]),
    default=None,
    help="What computes: CuPy on a GPU, NumPy on the CPU. auto takes CuPy where a GPU answers. "
    "Default: MINIGRAD_BACKEND, else auto for training and numpy for prediction.",
)


def within(section: str, name: str) -> options.Integer:
    """What an option takes: the range of an entry of config.json."""
    entry = schema.CONFIG[section][name]
    return options.Integer(int(entry.low), int(entry.high))


@click.group(cls=options.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minigrad", message="%(version)s")
@common
def cli() -> None:
    """Translate Japanese into tags of Japanese Sign Language, with a transformer of our own."""


# --------------------------------------------------------------------------------- train


@cli.command(epilog=EXIT_CODES)
@click.option("--corpus", type=options.Path(), help="TSV file; the bundled one by default.")
@click.option("--encoding", help="Of the corpus: utf-8 (the default), cp932, utf-16, ...")
@click.option("--preset", type=options.Choice(["tiny"]), help="Sizes and schedule to start from.")
@click.option(
    "--epochs", type=options.Integer(1, 10**9), help="Passes over the corpus (tiny: 200)."
)
@click.option(
    "--batch-size", type=within("training", "batch_size"), help="Sentences a step (tiny: 8)."
)
@click.option("--learning-rate", type=options.Positive(), help="Of Adam (tiny: 0.001).")
@click.option("--seed", type=within("training", "seed"), help="Of weights and order (default 0).")
@click.option(
    "--d-model", type=within("model", "d_model"), help="Features of a position (tiny: 16)."
)
@click.option(
    "--n-heads", "--heads", type=within("model", "n_heads"), help="Attention heads (tiny: 2)."
)
@click.option("--d-ff", type=within("model", "d_ff"), help="Inner features (tiny: 32).")
@click.option(
    "--n-layers",
    "--layers",
    type=within("model", "n_layers"),
    help="Encoder, and decoder, layers (tiny: 4).",
)
@click.option(
    "--max-seq-len",
    "--max-length",
    type=options.IntegerOr("auto", 2, MAX_SEQ_LEN),
    help="Longest sequence, its end counted (tiny: 10). auto, which a corpus of your own gets by "
    "default, makes it as long as the corpus needs, at least 10.",
)
@click.option(
    "--save",
    type=options.Run(),
    help="Where to save; models/jsl-seq2seq/<time> by default.",
)
@click.option("--load", type=options.Run(), help="A run to continue.")
@click.option("--resume", type=options.Run(), help="An interrupted training, to go on to its end.")
@click.option(
    "--save-every-steps", type=options.Integer(1, 10**9), help="Save on the way, too, so often."
)
@click.option(
    "--save-every-minutes",
    type=options.Positive(),
    default=10.0,
    show_default=True,
    help="Save on the way, too, so often.",
)
@click.option(
    "--keep",
    type=options.Integer(1, 10**6),
    default=1,
    show_default=True,
    help="How many of the last states stay; beside them the one of the lowest loss of those saved "
    "on the way.",
)
@click.option("--overwrite", is_flag=True, help="Save into a directory that holds something.")
@click.option("--no-jit", is_flag=True, help="Run every step op by op: slower, easier to debug.")
@backend_option
@common
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
    """Train a translator on a corpus, and save it.

    With --load, training goes on from a saved run for --epochs more passes; save it elsewhere with
    --save. With --resume, a training that was interrupted goes on to its end, in its own directory,
    from the last state that was saved, as if nothing had happened.

    After Ctrl-C, or the signals SIGTERM and SIGHUP, training stops after the step and is saved;
    what to call to go on is said. So it does at the end of an epoch when standard output is closed,
    which is noticed at the next line that is written, after about every twentieth part of the
    epochs. Before the first step they end it, and nothing is saved.
    """
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


@contextmanager
def using_backend(name: str | None, default: str) -> Iterator[None]:
    """The backend that was asked for by option, or else by the environment, or else the default.

    Raises:
        JslError: it cannot be used here.
    """

    from minigrad import backend
    from minigrad.errors import BackendError

    if name is None and not os.environ.get("MINIGRAD_BACKEND") and default != "auto":
        name = default
    with ExitStack() as stack:
        try:
            if name is not None:
                stack.enter_context(backend.using(name))
            backend.get_backend()
        except BackendError as error:
            raise JslError(say("cli.backend", reason=error)) from error
        yield


def prepare_kernels() -> None:
    """Compile the kernels, or load them from the cache of an earlier run, before the clock runs."""
    from minigrad import kernels

    began = time.perf_counter()
    if sys.stderr and sys.stderr.isatty():
        from rich.console import Console

        names: list[str] = []
        with Console(stderr=True).status("") as status:

            def show(kernel: Any) -> None:
                if kernel.seconds is None:
                    names.append(kernel.name)
                elif kernel.name in names:
                    names.remove(kernel.name)
                text = say(
                    "train.compiling", done=kernel.done, total=kernel.total, names=listed(names)
                )
                status.update(text)

            kernels.warm_up("transformer", show)
    else:
        said = False

        def report(kernel: Any) -> None:
            nonlocal said
            if kernel.seconds is not None:
                return
            if not said:
                click.echo(say("train.compiling_once", total=kernel.total))
            said = True
            click.echo(say("train.compile", name=kernel.name, done=kernel.done, total=kernel.total))

        kernels.warm_up("transformer", report)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))


@contextmanager
def progress_lines(epochs: int) -> Iterator[Callable[["Progress"], None]]:
    """A bar on a terminal; elsewhere about twenty plain lines in all."""
    done = 0
    seconds: deque[float] = deque(maxlen=20)  # of the last epochs; the first ones watch steps

    def line(p: "Progress") -> str:
        seconds.append(p.seconds)
        left = ""
        if done >= KNOWN or p.epoch == p.epochs:
            # Most epochs take as long as the median; those that watch a step take longer.
            rest = round(sorted(seconds)[len(seconds) // 2] * (p.epochs - p.epoch))
            left = say("train.left", time=f"{rest // 60}:{rest % 60:02d}")
        return say(
            "train.epoch",
            epoch=p.epoch,
            epochs=p.epochs,
            token=p.loss_per_token,
            sentence=p.loss_per_sentence,
            speed=p.tokens_per_second,
            left=left,
        )

    if sys.stdout and sys.stdout.isatty():  # it is None if it was closed
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        last = ""
        # The line comes first and wraps, so that a narrow terminal hides none of it.
        text = TextColumn("{task.description}", table_column=Column(overflow="fold"))
        with Bar(text, BarColumn(bar_width=12), transient=True) as bar:
            task = bar.add_task("", total=epochs)

            def report(p: "Progress") -> None:
                nonlocal done, last
                done += 1
                last = line(p)
                bar.update(task, advance=1, description=last)

            yield report
        if last:
            click.echo(last)
    else:
        every = max(1, epochs // 20)

        def report(p: "Progress") -> None:
            nonlocal done
            done += 1
            text = line(p)
            if done % every == 0 or done == 1 or p.epoch == p.epochs:
                click.echo(text)

        yield report


# ------------------------------------------------------------------------------- predict


@cli.command(epilog=EXIT_CODES)
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("--load", type=options.Run(), required=True, help="A saved run.")
@click.option("--group", help="Translate for this group only; for all groups by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a text, for programs.")
@click.option(
    "--beam",
    type=options.Integer(1, 1000),
    default=1,
    help="Keep so many sequences in the search (1 to 1000).",
)
@click.option("--int8", is_flag=True, help="Round weights to bytes: quicker with large models.")
@backend_option
@common
def predict(
    texts: tuple[str, ...],
    load: Path | str,
    group: str | None,
    as_json: bool,
    beam: int,
    int8: bool,
    backend: str | None,
) -> None:
    """Translate texts into tags, one line a text.

    With - as the only TEXT, lines are read from standard input, and each is answered as soon as it
    is there; one that is empty gives no tags. For a run of several groups, and without --group,
    each text gets one line a group: its name, a tab, the tags. A text that cannot be translated
    gives no tags either, and a message on standard error; the exit code is then 1.
    """
    if not texts:
        raise UsageError(say("predict.nothing"))
    from_input = texts == ("-",)
    if "-" in texts and not from_input:
        raise UsageError(say("predict.dash"))
    from jsl import memory
    from jsl.text import visible
    from jsl.translate import Translator
    from minigrad import kernels

    if kernels.in_use() is None:
        kernels.use(False)  # a translation is done before Numba would have started
    with using_backend(backend, "numpy"):
        translator = Translator(load, beam, int8)
        sizes = translator.run.model, translator.vocabulary.size
        memory.require(memory.for_search(*sizes, beam), "--beam")
        groups = translator.groups
        if group is not None:
            name = visible(group).strip()  # as a corpus is read
            groups = (unicodedata.normalize("NFC", name),)
            if groups[0] not in translator.groups:
                known = listed(translator.groups)
                raise UsageError(say("predict.unknown_group", group=group, known=known))
        failed = False
        number = 0
        for chunk in stdin_lines() if from_input else [texts]:
            found = translate(translator, chunk, groups, blank=from_input)
            for text, results in zip(chunk, found, strict=True):
                number += 1
                failed |= show(text, results, number, from_input, group is None, as_json)
    if failed:
        sys.exit(1)


def stdin_lines() -> Iterator[list[str | TextError]]:
    """The lines of standard input, as many together as are waiting, but no more than CHUNK.

    They are UTF-8; there is an error in place of one that is not.
    """
    first = True
    for lines in waiting_lines():
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


def waiting_lines() -> Iterator[list[bytes]]:
    """Lines of standard input as they come: one read waits for something and takes what is there.

    The system keeps what comes meanwhile, so neither a thread nor a time limit is needed.
    """
    if sys.stdin is None:  # it was closed
        return
    # A buffered read would wait until it has as much as was asked for.
    source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
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
    translator: "Translator", lines: Sequence[str | TextError], groups: tuple[str, ...], blank: bool
) -> list[list["Translation"]]:
    """For each line, its translation in each group; nothing for nothing if lines may be `blank`."""
    from jsl.text import normalise
    from jsl.translate import Translation

    translatable = [isinstance(x, str) and not (blank and not normalise(x)) for x in lines]
    texts = [str(line) for line, able in zip(lines, translatable, strict=True) if able]
    columns = [iter(translator.translate(texts, group)) for group in groups]

    def instead(line: str | TextError, group: str) -> Translation:
        if isinstance(line, str):
            return Translation(line, group, "", 1.0)
        return Translation("", group, "", 0.0, line)

    return [
        [next(column) for column in columns] if able else [instead(line, g) for g in groups]
        for line, able in zip(lines, translatable, strict=True)
    ]


def show(
    text: str | TextError,
    results: list["Translation"],
    number: int,
    from_input: bool,
    all_groups: bool,
    as_json: bool,
) -> bool:
    """Print the translations of one text; whether it could not be translated."""
    first = results[0]
    if as_json:
        found = {
            "text": text if isinstance(text, str) else None,
            "translations": [{"group": r.group, "tags": r.tags.split()} for r in results],
            "familiarity": round(first.familiarity, 3),
            "error": str(first.error) if first.error else None,
        }
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        for r in results:
            click.echo(f"{r.group}\t{r.tags}" if all_groups and len(results) > 1 else r.tags)
    if first.error:
        place = "predict.line" if from_input else "predict.text"
        click.echo(say(place, number=number, error=first.error), err=True)
    elif first.far:
        click.echo(say("predict.far", text=text), err=True)
    return first.error is not None


# -------------------------------------------------------------------------------- verify


@cli.command(epilog=EXIT_CODES)
@click.argument("directories", nargs=-1, required=True, type=options.Run(), metavar="DIR...")
@common
def verify(directories: tuple[Path | str, ...]) -> None:
    """Compare the files of saved runs with their hashes, and what they say with one another.

    What is damaged is named; the exit code is then 1.
    """
    from jsl import checkpoint
    from minigrad import runs
    from minigrad.errors import RunError

    failed = False
    for directory in directories:
        problems: list[object] = []
        try:
            problems += runs.verify(directory)
            if not problems and checkpoint.is_directory(directory):
                checkpoint.load(directory)
        except RunError as error:
            problems = [error]
        except JslError as error:  # which names the directory
            click.echo(error, err=True)
            failed = True
            continue
        for problem in problems:
            click.echo(
                say("checkpoint.problem", path=checkpoint.shown(directory), problem=problem),
                err=True,
            )
        failed |= bool(problems)
        if not problems:
            count = (
                len(runs.verify_manifest(directory)) if checkpoint.is_directory(directory) else 1
            )
            click.echo(say("checkpoint.whole", path=checkpoint.shown(directory), count=count))
    if failed:
        sys.exit(1)


# -------------------------------------------------------------------------------- warmup


@cli.command(epilog=EXIT_CODES)
@common
def warmup() -> None:
    """Compile what makes training and translating quick, for all runs to come on this machine.

    Without it, `jsl train` compiles what it needs, and `jsl predict` gets along with NumPy.
    """
    from minigrad import kernels

    began = time.perf_counter()

    def report(kernel: Any) -> None:
        if kernel.seconds is not None:
            click.echo(say("warmup.kernel", name=kernel.name, seconds=kernel.seconds))

    kernels.warm_up("search and transformer", report)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))


# ---------------------------------------------------------------------------------- main


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # Whatever a console's code page is, and whatever bytes a shell has put into an argument.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = outcome()
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError as error:  # nothing can be said any more
        code = CLOSED if is_closed(error) else 1
        hush()
    sys.exit(code)


def outcome() -> int | str:
    """The exit code of what the command line asks for; OSError if messages cannot be written."""
    debug = "--debug" in sys.argv[1:]
    try:
        if "_JSL_COMPLETE" in os.environ:  # a shell asks for completions
            cli.main(prog_name="jsl")
        # Not by `cli.main`, which makes of a closed output an exit with 1.
        with cli.make_context("jsl", sys.argv[1:]) as context:
            cli.invoke(context)
        return 0
    except SystemExit as error:
        return error.code or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        options.show(error)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo(say("cli.interrupted"), err=True)
        return 1
    except Exception as error:
        if is_closed(error):
            raise
        from minigrad.errors import MinigradError

        if debug:
            traceback.print_exc()
        if isinstance(error, MemoryError):
            click.echo(say("cli.memory", error=error), err=True)
            return 1
        expected = isinstance(error, JslError | MinigradError | OSError)
        key = "cli.error" if expected else "cli.unexpected"
        click.echo(say(key, error=error if str(error) else type(error).__name__), err=True)
        return 2 if isinstance(error, UsageError) else 1


def is_closed(error: BaseException) -> bool:
    """Whether an error is that of writing where nobody reads any more."""
    if isinstance(error, BrokenPipeError):
        return True
    # On Windows it is "Invalid argument", without the name of a file.
    if os.name == "nt" and isinstance(error, OSError):
        return error.errno == errno.EINVAL and error.filename is None
    return False


def hush() -> None:
    """Let what is still to be written go nowhere, so that Python does not fail over it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())

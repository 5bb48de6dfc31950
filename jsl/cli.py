"""The command line: `jsl train`, `jsl predict` and `jsl warmup`.

Exit codes: 0 it worked, 2 the command line itself is wrong, 1 everything else. There is no
traceback without `--debug`. What a command needs is imported when it runs, so that help is quick.
"""

import hashlib
import json
import shlex
import signal
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options
from jsl.errors import JslError, TextError, UsageError
from jsl.messages import LANGUAGES, say, use_language

if TYPE_CHECKING:
    from jsl.train import Progress
    from jsl.translate import Translation, Translator

# Lines of standard input that are translated together; of a person who types, one at a time.
CHUNK = 256

# Whether a path can be read is found out where it is, and said in the language of the moment.
PATH = click.Path(path_type=Path, readable=False)


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


@click.group(cls=options.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minigrad", message="%(version)s")
@common
def cli() -> None:
    """Translate Japanese into tags of Japanese Sign Language, with a transformer of our own."""


# --------------------------------------------------------------------------------- train


@cli.command()
@click.option("--corpus", type=PATH, help="TSV file; the bundled one by default.")
@click.option("--preset", type=options.Choice(["tiny"]), help="Sizes and schedule to start from.")
@click.option("--epochs", type=options.Integer(1), help="Passes over the corpus (tiny: 200).")
@click.option("--batch-size", type=options.Integer(1), help="Sentences a step (tiny: 8).")
@click.option("--learning-rate", type=options.Number(), help="Of Adam (tiny: 0.001).")
@click.option(
    "--seed", type=options.Integer(0, 2**64 - 1), help="Of weights and order (default 0)."
)
@click.option("--d-model", type=options.Integer(1), help="Features of a position (tiny: 16).")
@click.option("--heads", type=options.Integer(1), help="Attention heads (tiny: 2).")
@click.option("--d-ff", type=options.Integer(1), help="Inner features (tiny: 32).")
@click.option("--layers", type=options.Integer(1), help="Encoder, and decoder, layers (tiny: 4).")
@click.option(
    "--max-length", type=options.Integer(2), help="Longest sequence, its end counted (tiny: 10)."
)
@click.option(
    "--save",
    type=PATH,
    help="Where to save; models/jsl-seq2seq/<time> by default.",
)
@click.option("--load", type=PATH, help="A run to continue.")
@click.option("--overwrite", is_flag=True, help="Save into a directory that holds something.")
@click.option("--no-jit", is_flag=True, help="Run every step op by op: slower, easier to debug.")
@backend_option
@common
def train(
    corpus: Path | None,
    preset: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    d_model: int | None,
    heads: int | None,
    d_ff: int | None,
    layers: int | None,
    max_length: int | None,
    save: Path | None,
    load: Path | None,
    overwrite: bool,
    no_jit: bool,
    backend: str | None,
) -> None:
    """Train a translator on a corpus, and save it.

    With --load, training goes on from a saved run for --epochs more passes; save it elsewhere with
    --save.
    """
    from jsl import checkpoint
    from jsl.config import PRESETS
    from jsl.corpus import load_corpus, starter_corpus_path
    from jsl.train import Trainer, parameter_count
    from minigrad import kernels
    from minigrad.backend import explain, get_backend

    sizes = {
        "d_model": d_model,
        "n_heads": heads,
        "d_ff": d_ff,
        "n_layers": layers,
        "max_seq_len": max_length,
    }
    schedule = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    sizes, schedule = (
        {k: v for k, v in given.items() if v is not None} for given in (sizes, schedule)
    )
    with using_backend(backend, "auto"), ExitStack() as at_end:
        resume = None
        model, training = PRESETS[preset or "tiny"]
        if load is not None:
            refuse_fixed()
            resume = checkpoint.load(load)
            bundled = hashlib.sha256(starter_corpus_path().read_bytes()).hexdigest()
            if corpus is None and resume.corpus["sha256"] != bundled:
                name = resume.corpus["name"]
                raise UsageError(say("train.which_corpus", path=load, name=name))
            model, training = resume.model, replace(resume.training, epochs=training.epochs)
        model, training = replace(model, **sizes), replace(training, **schedule)
        rows = load_corpus(corpus or starter_corpus_path(), model.max_seq_len)
        if resume is not None and rows.sha256 != resume.corpus["sha256"]:
            click.echo(say("train.other_corpus"), err=True)
        directory = save or checkpoint.default_directory()
        checkpoint.prepare(directory, overwrite)
        at_end.callback(checkpoint.remove_if_empty, directory)

        click.echo(say("train.backend", explanation=explain()))
        if kernels.prefer(True) and get_backend() == "numpy":
            prepare_kernels()
        trainer = Trainer(rows, model, training, resume, jit=not no_jit)
        click.echo(
            say(
                "train.start",
                rows=len(rows.rows),
                groups=say("list.separator").join(trainer.model.groups),
                vocabulary=trainer.vocabulary.size,
                parameters=parameter_count(trainer.model),
            )
        )
        with stop_request() as stopped:
            with progress_lines(trainer.last_epoch - trainer.epoch) as report:
                trainer.run(report, stopped)
            matches = trainer.exact_matches()
            for group, (right, total) in matches.items():
                click.echo(say("train.matches", group=group, right=right, rows=total))
            with uninterrupted():
                trainer.save(directory, matches)
        click.echo(say("train.saved", path=directory))
        if left := trainer.last_epoch - trainer.epoch:
            command = ["jsl", "train", "--load", str(directory), "--epochs", str(left)]
            command += ["--corpus", str(corpus)] if corpus else []
            command += ["--backend", backend] if backend else []
            command += ["--no-jit"] if no_jit else []
            click.echo(say("train.resume", command=shlex.join(command)))
            sys.exit(1)


def refuse_fixed() -> None:
    """UsageError if an option is given that a continued run does not let one change."""
    context = click.get_current_context()
    fixed = ("preset", "seed", "d_model", "heads", "d_ff", "layers", "max_length")
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in fixed and context.params[option.name] is not None
    ]
    if given:
        raise UsageError(say("train.fixed", options=say("list.separator").join(given)))


@contextmanager
def using_backend(name: str | None, default: str) -> Iterator[None]:
    """The backend that was asked for by option, or else by the environment, or else the default.

    Raises:
        JslError: it cannot be used here.
    """
    import os

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


# What training runs. Others, as those for images, would take their time for nothing.
KERNELS = {
    "adam", "adam_step", "add", "attention", "attention_grad", "column_sums", "count_of",
    "cross_entropy_rows", "cross_entropy_rows_grad", "elementwise", "embedding", "embedding_grad",
    "group_products", "layer_norm", "layer_norm_grad", "product", "relu", "relu_grad", "sum_all",
}  # fmt: skip


def prepare_kernels() -> None:
    """Compile the kernels, or load them from the cache of an earlier run, before the clock runs."""
    from minigrad.kernels import cpu, machine

    began = time.perf_counter()
    if sys.stderr and sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(say("train.compiling")) as status:
            for part in (cpu, machine):
                part.warm_up(
                    report=lambda name, _: status.update(f"{say('train.compiling')}: {name}"),
                    only=KERNELS,
                )
    else:
        cpu.warm_up(only=KERNELS)
        machine.warm_up(only=KERNELS)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))


@contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Inside the block, the first Ctrl-C asks to stop at a good point; the second interrupts."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        click.echo(say("train.stopping"), err=True)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside the block, Ctrl-C does nothing: for what is over in an instant."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_lines(epochs: int) -> Iterator[Callable[["Progress"], None]]:
    """A bar on a terminal; elsewhere about twenty plain lines in all."""
    began = time.perf_counter()
    done = 0

    def line(p: "Progress") -> str:
        left = (time.perf_counter() - began) / done * (p.epochs - p.epoch)
        return say(
            "train.epoch",
            epoch=p.epoch,
            epochs=p.epochs,
            token=p.loss_per_token,
            sentence=p.loss_per_sentence,
            speed=p.tokens_per_second,
            left=f"{int(left) // 60}:{int(left) % 60:02d}",
        )

    if sys.stdout and sys.stdout.isatty():  # it is None if it was closed
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        last = ""
        # The line comes first and wraps, so that a narrow terminal hides none of it.
        text = TextColumn("{task.description}", table_column=Column(overflow="fold"))
        with Progress(text, BarColumn(bar_width=12), transient=True) as bar:
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
            if done % every == 0 or done == 1 or p.epoch == p.epochs:
                click.echo(line(p))

        yield report


# ------------------------------------------------------------------------------- predict


@cli.command()
@click.argument("texts", nargs=-1, metavar="TEXT...")
@click.option("--load", type=PATH, required=True, help="A saved run.")
@click.option("--group", help="Translate for this group only; for all groups by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a text, for programs.")
@click.option(
    "--beam", type=options.Integer(1), default=1, help="Keep so many sequences in the search."
)
@click.option("--int8", is_flag=True, help="Round weights to bytes: quicker with large models.")
@backend_option
@common
def predict(
    texts: tuple[str, ...],
    load: Path,
    group: str | None,
    as_json: bool,
    beam: int,
    int8: bool,
    backend: str | None,
) -> None:
    """Translate texts into tags, one line a text.

    With - as the only TEXT, lines are read from standard input. For a run of several groups, and
    without --group, each text gets one line a group: its name, a tab, the tags. A text that cannot
    be translated gives an empty line and a message on standard error; the exit code is then 1.
    """
    if not texts:
        raise UsageError(say("predict.nothing"))
    from_input = texts == ("-",)
    if "-" in texts and not from_input:
        raise UsageError(say("predict.dash"))
    from jsl.translate import Translator
    from minigrad import kernels

    kernels.prefer(False)  # a translation is done before Numba would have started
    with using_backend(backend, "numpy"):
        translator = Translator(load, beam, int8)
        groups = translator.groups
        if group is not None:
            groups = (unicodedata.normalize("NFC", group.strip()),)  # as a corpus is read
            if groups[0] not in translator.groups:
                known = say("list.separator").join(translator.groups)
                raise UsageError(say("predict.unknown_group", group=group, known=known))
        failed = False
        lines = stdin_lines() if from_input else iter(texts)
        number = 0
        typed = from_input and sys.stdin is not None and sys.stdin.isatty()
        while chunk := list(islice(lines, 1 if typed else CHUNK)):
            for text, results in zip(chunk, translate(translator, chunk, groups), strict=True):
                number += 1
                failed |= show(text, results, number, from_input, group is None, as_json)
    if failed:
        sys.exit(1)


def stdin_lines() -> Iterator[str | TextError]:
    """The lines of standard input, which is UTF-8; an error in place of one that is not."""
    lines = sys.stdin.buffer if sys.stdin else ()  # None if it was closed
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
        except UnicodeDecodeError:
            yield TextError(say("predict.not_utf8"))


def translate(
    translator: "Translator", lines: list[str | TextError], groups: tuple[str, ...]
) -> list[list["Translation"]]:
    """For each line, its translation in each group."""
    from jsl.translate import Translation

    texts = [line for line in lines if isinstance(line, str)]
    columns = [iter(translator.translate(texts, group)) for group in groups]
    return [
        [next(column) for column in columns]
        if isinstance(line, str)
        else [Translation("", group, "", 0.0, line) for group in groups]
        for line in lines
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


# -------------------------------------------------------------------------------- warmup


@cli.command()
@common
def warmup() -> None:
    """Compile what makes training and translating quick, for all runs to come on this machine.

    Without it, `jsl train` compiles what it needs, and `jsl predict` gets along with NumPy.
    """
    from minigrad.kernels import cpu, decoding, machine

    began = time.perf_counter()

    def report(name: str, seconds: float) -> None:
        click.echo(say("warmup.kernel", name=name, seconds=seconds))

    cpu.warm_up(report=report, only=KERNELS)
    machine.warm_up(report=report, only=KERNELS)
    decoding.warm_up(report)
    click.echo(say("train.compiled", seconds=time.perf_counter() - began))


# ---------------------------------------------------------------------------------- main


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        # Whatever a console's code page is, and whatever bytes a shell has put into an argument.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    debug = "--debug" in sys.argv[1:]
    try:
        sys.exit(cli.main(prog_name="jsl", standalone_mode=False))
    except click.UsageError as error:
        options.show(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo(say("cli.interrupted"), err=True)
        sys.exit(1)
    except Exception as error:
        from minigrad.errors import MinigradError

        if debug:
            traceback.print_exc()
        if isinstance(error, MemoryError):
            click.echo(say("cli.memory", error=error), err=True)
            sys.exit(1)
        expected = isinstance(error, JslError | MinigradError | OSError)
        key = "cli.error" if expected else "cli.unexpected"
        shown = error if str(error) else type(error).__name__
        click.echo(say(key, error=shown), err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)

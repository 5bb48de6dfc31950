"""Runs on disk: what a `Learner` saves, with config.json and metrics.json for people and programs.

    model.safetensors, optimizer.safetensors     weights, and the optimizer's state
    training.json                                where the training is
    config.json                                  sizes, schedule, vocabulary, corpus, versions
    metrics.json                                 figures of all epochs, and what was learned

Each file is written beside its place and renamed into it, and a manifest of their hashes comes
last, so files of two different saves are never taken for one run. Runs of earlier versions have no
training.json; what it says is made of config.json and metrics.json.
"""

import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minigrad
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Corpus
from jsl.errors import RunDirError
from jsl.messages import listed, reason_of, say
from jsl.vocabulary import Vocabulary
from minigrad import backend, kernels, nn, runs
from minigrad.errors import RunError, StateError

if TYPE_CHECKING:
    from jsl.train import Trainer

MODEL, OPTIMIZER, CONFIG, METRICS = FILES = (
    "model.safetensors",
    "optimizer.safetensors",
    "config.json",
    "metrics.json",
)
TRAINING = "training.json"
FORMAT = 1
# How a Learner calls the figures of an epoch, where it is not as metrics.json does.
FIGURES = {"loss": "loss_per_token"}
# What the JSON files must hold, and of which type.
CONFIG_ENTRIES = {
    "model": dict,
    "training": dict,
    "groups": list,
    "vocabulary": dict,
    "corpus": dict,
    "corpus.name": str,
    "corpus.sha256": str,
    "corpus.trigrams": str,
    "metadata": dict,
}
METRICS_ENTRIES = {"history": list, "first_step_loss_per_token": float}


@dataclass(frozen=True)
class Run:
    """A run as it was read from its directory; the arrays are on the host."""

    directory: Path
    model: ModelConfig
    training: TrainingConfig
    vocabulary: Vocabulary
    groups: tuple[str, ...]
    corpus: dict[str, Any]
    trigrams: frozenset[str]
    weights: dict[str, np.ndarray]
    metrics: dict[str, Any]


def default_directory() -> Path:
    """models/jsl-seq2seq/<local time>, with a number behind it if that is taken."""
    stamp = datetime.now().strftime("%Y%m%d_%H%M%S")
    parent = Path("models") / "jsl-seq2seq"
    taken = 1
    directory = parent / stamp
    while directory.exists():
        taken += 1
        directory = parent / f"{stamp}_{taken}"
    return directory


def prepare(directory: Path, overwrite: bool) -> None:
    """Create `directory`; RunDirError if it holds something and `overwrite` is False."""
    with saving(directory):
        occupied = directory.is_dir() and any(directory.iterdir())
        if occupied and not overwrite:
            raise RunDirError(say("checkpoint.not_empty", path=directory))
        runs.prepare_directory(directory, overwrite)


@contextmanager
def saving(directory: Path) -> Iterator[None]:
    """Says it in a person's language if something cannot be written in the block.

    Raises:
        RunDirError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise RunDirError(say("checkpoint.unwritable", path=directory, reason=error)) from error


def trigrams(text: str) -> set[str]:
    """Every three neighbouring characters of a text, its beginning and end marked."""
    marked = f"^{text}$"
    return {marked[i : i + 3] for i in range(len(marked) - 2)}


def config_of(
    *,
    model: ModelConfig,
    training: TrainingConfig,
    vocabulary: Vocabulary,
    groups: Sequence[str],
    corpus: Corpus,
    trained_before: frozenset[str],
) -> dict[str, Any]:
    """What config.json says.

    Args:
        groups: those of the model; a corpus that a run is continued with may have fewer.
        trained_before: trigrams of earlier corpora of the run.
    """
    seen = trained_before.union(*(trigrams(row.japanese) for row in corpus.rows))
    return {
        "format": FORMAT,
        "model": {**model.to_json(), "vocab_size": vocabulary.size},
        "training": training.to_json(),
        "groups": list(groups),
        "vocabulary": vocabulary.to_json(),
        "corpus": {
            "name": corpus.path.name,
            "sha256": corpus.sha256,
            "rows": len(corpus.rows),
            "trigrams": "\t".join(sorted(seen)),
        },
        "metadata": {
            "minigrad_version": minigrad.__version__,
            "numpy_version": np.__version__,
            "python_version": platform.python_version(),
            "backend": backend.get_backend(),
            "kernels": bool(kernels.in_use()),
            "vocab_hash": vocabulary.hash,
            "seed": training.seed,
            "trained_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "git_commit": git_commit(),
        },
    }


def metrics_of(
    epochs: Sequence[Mapping[str, float]],
    first_loss: float | None,
    matches: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    """What metrics.json says.

    Args:
        epochs: figures of each, as in a Learner's history.
        first_loss: before the first step of all.
        matches: for each group, how many rows are translated exactly, and of how many.
    """
    history = [
        {"epoch": number, **{FIGURES.get(name, name): value for name, value in figures.items()}}
        for number, figures in enumerate(epochs, start=1)
    ]
    last = history[-1] if history else {}
    return {
        "first_step_loss_per_token": first_loss,
        "loss_per_token": last.get("loss_per_token"),
        "loss_per_sentence": last.get("loss_per_sentence"),
        "exact_match": {
            group: {"right": right, "rows": rows} for group, (right, rows) in matches.items()
        },
        "history": history,
    }


def load(directory: Path) -> Run:
    """Read and verify a run.

    Raises:
        RunDirError: it is not a run, or its files are damaged or do not belong together.
    """
    if not directory.is_dir():
        raise RunDirError(say("checkpoint.no_directory", path=directory))
    absent = [name for name in (*FILES, runs.MANIFEST) if not (directory / name).is_file()]
    if absent:
        names = listed(absent)
        raise RunDirError(say("checkpoint.absent", path=directory, names=names))
    with loading(directory):
        verified = runs.verify_manifest(directory)
        config = runs.load_json(directory / CONFIG)
        metrics = runs.load_json(directory / METRICS)
        weights = runs.load_arrays(directory / MODEL)
    if not set(FILES) <= set(verified):
        raise RunDirError(say("checkpoint.manifest", path=directory))
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise RunDirError(say("checkpoint.format", path=directory, found=found, expected=FORMAT))
    for name, value, entries in (
        (CONFIG, config, CONFIG_ENTRIES),
        (METRICS, metrics, METRICS_ENTRIES),
    ):
        if missing := _lacking(value, entries):
            names = listed(missing)
            raise RunDirError(say("checkpoint.sections", path=directory / name, names=names))
    vocabulary = Vocabulary.from_json(config["vocabulary"])
    sizes = dict(config["model"])
    if sizes.pop("vocab_size", None) != vocabulary.size:
        raise RunDirError(say("checkpoint.vocabulary", path=directory))
    if config["metadata"].get("vocab_hash") != vocabulary.hash:
        raise RunDirError(say("checkpoint.vocabulary", path=directory))
    return Run(
        directory=directory,
        model=ModelConfig.from_json(sizes, "model"),
        training=TrainingConfig.from_json(config["training"], "training"),
        vocabulary=vocabulary,
        groups=tuple(config["groups"]),
        corpus=config["corpus"],
        trigrams=frozenset(config["corpus"]["trigrams"].split("\t")),
        weights=weights,
        metrics=metrics,
    )


def _lacking(value: Any, entries: Mapping[str, type]) -> list[str]:
    """The names among `entries`, such as 'corpus.name', that `value` lacks or has otherwise."""

    def find(path: list[str]) -> Any:
        found = value
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    return [name for name, kind in entries.items() if type(find(name.split("."))) is not kind]


@contextmanager
def loading(directory: Path) -> Iterator[None]:
    """Says it in a person's language if files of a run turn out to be damaged in the block.

    Raises:
        RunDirError: they are.
    """
    try:
        yield
    except (RunError, StateError) as error:
        raise RunDirError(
            say("checkpoint.damaged", path=directory, reason=reason_of(error))
        ) from error


def restore(model: nn.Grouped, run: Run) -> None:
    """Give `model` the weights of `run`; RunDirError if they are of another model."""
    with loading(run.directory):
        model.load_state_dict(run.weights)


def remove_if_empty(directory: Path) -> None:
    """Take back a directory that was made for a run which did not come about."""
    with suppress(OSError):
        directory.rmdir()


def resume(trainer: "Trainer", run: Run) -> None:
    """Put a trainer where `run` ended; RunDirError if it is of another model or damaged."""
    with loading(run.directory):
        if (run.directory / TRAINING).is_file():
            trainer.load(run.directory)
            return
        optimizer = runs.load_arrays(run.directory / OPTIMIZER)
        trainer.model.load_state_dict(run.weights)
        trainer.optimizer.load_state_dict(optimizer)
        epochs = run.training.epochs
        ours = {written: name for name, written in FIGURES.items()}
        state = trainer.state_dict() | {
            "epoch": epochs,
            "step": epochs * len(trainer.batches),
            "seed": run.training.seed,
            "history": [
                {ours.get(name, name): value for name, value in entry.items() if name != "epoch"}
                for entry in run.metrics["history"]
            ],
        }
        trainer.load_state_dict(state)
        trainer.losses.first = run.metrics["first_step_loss_per_token"]


def git_commit() -> str:
    """The commit of the code, with '-dirty' if it was changed since; 'unknown' outside a clone."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *args], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", Path(__file__).name):
            return "unknown"  # installed into somebody else's repository
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"

"""Runs on disk: what a `Learner` saves, with config.json and metrics.json for people and programs.

    model.safetensors, optimizer.safetensors     weights, and the optimizer's state
    training.json                                where the training is
    config.json                                  sizes, schedule, vocabulary, corpus, versions
    metrics.json                                 figures of all epochs, and what was learned

`jsl.schema` says what the last two hold, entry by entry. A save is a transaction: whoever is
interrupted leaves the old run or the new one. What a training saves on its way are runs as well:

    checkpoints/step-00000300/                   the last few
    best/                                        of the lowest loss of all that were saved

Runs of earlier versions are read by making of them what this version would have written.
"""

import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

import minigrad
from jsl import archive, deployed, schema
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Corpus
from jsl.errors import RunDirError
from jsl.messages import Said, listed, reason_of, say
from jsl.model import shapes_of
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
ALL_FILES = (*FILES, TRAINING, runs.MANIFEST)
CHECKPOINTS, BEST = "checkpoints", "best"
FORMAT = 3
UNHEARD = -10.0  # the logit of a tag that a group has never been taught
NONE: Mapping[str, Any] = MappingProxyType({})
# How a Learner calls the figures of an epoch, where it is not as metrics.json does.
FIGURES = {"loss": "loss_per_token", "val_loss": "valid_loss_per_token"}


@dataclass(frozen=True)
class Run:
    """A run as it was read from its directory; the arrays are on the host.

    Attributes:
        config: what config.json says, as this version would have written it.
        deployed: what a deployed model's config.json says of that; None if it is a run.
    """

    directory: Path | str
    model: ModelConfig
    training: TrainingConfig
    vocabulary: Vocabulary
    groups: tuple[str, ...]
    corpus: dict[str, Any]
    trigrams: frozenset[str]
    weights: dict[str, np.ndarray]
    metrics: dict[str, Any]
    progress: dict[str, Any]
    trained_at: str
    files: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    deployed: dict[str, Any] | None = None


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


def is_local(directory: Path | str) -> bool:
    """Whether a directory is on disk, not in an object store."""
    return not runs.is_uri(directory)


def is_directory(place: Path | str) -> bool:
    """Whether there is a directory; in a store, where there are none, something that is no file."""
    return place.is_dir() if isinstance(place, Path) else runs.has_run(place)


def shown(directory: Path | str) -> str:
    """A directory as messages name it; without the password that a URI may hold."""
    return runs.redacted(str(directory))


def named(directory: Path | str, name: str) -> str:
    """A file of a directory as messages name it."""
    return shown(str(runs.inside(directory, name)))


def prepare(directory: Path | str, overwrite: bool) -> None:
    """Create `directory`; RunDirError if it holds something and `overwrite` is False."""
    with saving(directory):
        if isinstance(directory, str):
            if not overwrite and runs.has_run(directory):
                raise RunDirError(say("checkpoint.not_empty", path=shown(directory)))
            return
        if not overwrite and directory.is_dir():
            there = [path.name for path in directory.iterdir()]
            if not all(map(runs.is_temporary, there)):
                raise RunDirError(say("checkpoint.not_empty", path=shown(directory)))
        runs.prepare_directory(directory, overwrite)


@contextmanager
def held(directory: Path | str) -> Iterator[None]:
    """In this block no other process writes runs into `directory`.

    Raises:
        RunDirError: one does.
    """
    if isinstance(directory, str):  # of two processes that save in a store the last one wins
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(runs.locked(directory))
        except RunError as error:
            path = shown(directory)
            if error.__cause__ is not None:  # it was not another process: nobody may write there
                raise RunDirError(say("checkpoint.unwritable", path=path, reason=error)) from error
            raise RunDirError(say("checkpoint.busy", path=path)) from error
        with saving(directory):
            runs.tidy(directory)
            if (directory / CHECKPOINTS).is_dir():
                runs.tidy(directory / CHECKPOINTS)
        yield


@contextmanager
def saving(directory: Path | str) -> Iterator[None]:
    """Says it in a person's language if something cannot be written in the block.

    Raises:
        RunDirError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise RunDirError(
            say("checkpoint.unwritable", path=shown(directory), reason=error)
        ) from error


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
    valid: Corpus | None,
    trained_before: frozenset[str],
    progress: Mapping[str, Any],
) -> dict[str, Any]:
    """What config.json says.

    Args:
        groups: those of the model; a corpus that a run is continued with may have fewer.
        trained_before: trigrams of earlier corpora of the run.
    """
    seen = trained_before.union(*(trigrams(row.japanese) for row in corpus.rows))
    return {
        "format": FORMAT,
        "model": {
            **model.to_json(),
            "vocab_size": vocabulary.source_size,
            "target_vocab_size": vocabulary.target_size,
        },
        "training": training.to_json(),
        "progress": dict(progress),
        "groups": list(groups),
        "vocabulary": vocabulary.to_json(),
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "rows": len(corpus.rows),
            **(
                {}
                if valid is None
                else {
                    "valid_name": valid.name,
                    "valid_sha256": valid.sha256,
                    "valid_rows": len(valid.rows),
                }
            ),
            "trigrams": "\t".join(sorted(seen)),
        },
        "metadata": {
            "minigrad_version": minigrad.__version__,
            "numpy_version": np.__version__,
            "numba_version": version_of("numba"),
            "cupy_version": version_of("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x"),
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
    valid_matches: Mapping[str, tuple[int, int]] = NONE,
    losses: Mapping[str, float] = NONE,
    layers: Mapping[str, Mapping[str, float]] = NONE,
) -> dict[str, Any]:
    """What metrics.json says.

    Args:
        epochs: figures of each, as in a Learner's history.
        first_loss: before the first step of all.
        matches, valid_matches: for each group, how many rows of the corpus, and of the one for
            validation, are translated exactly, and of how many.
        losses: for each group, the loss per token at the end.
        layers: figures of each parameter, see `jsl.statistics`.
    """
    history = [
        {"epoch": number, **{FIGURES.get(name, name): value for name, value in figures.items()}}
        for number, figures in enumerate(epochs, start=1)
    ]
    last = history[-1] if history else {}
    known = {"first_step_loss_per_token": first_loss}
    names = ("loss_per_token", "loss_per_sentence", "valid_loss_per_token")
    known |= {name: last.get(name) for name in names}

    def counts(matches: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
        return {group: {"right": right, "rows": n} for group, (right, n) in matches.items()}

    return {
        **{name: value for name, value in known.items() if value is not None},
        "exact_match": counts(matches),
        "valid_exact_match": counts(valid_matches),
        "loss_by_group": dict(losses),
        "layers": dict(layers),
        "history": history,
    }


def load(directory: Path | str) -> Run:
    """Read and verify a run. What is in its files is compared before anything is built of it.

    Raises:
        RunDirError: it is not a run, or its files are damaged or do not belong together.
    """
    if is_local(directory):
        directory = Path(directory)
    if archive.is_archive(directory):
        files = archive.files_of(directory, OPTIMIZER.__eq__)
        with loading(directory):
            return _read(directory, files)
    if isinstance(directory, Path) and not directory.is_dir():
        raise RunDirError(say("checkpoint.no_directory", path=shown(directory)))
    with loading(directory):
        there = runs.has_run(directory)
    if not there:
        local = isinstance(directory, Path)
        absent = [
            n for n in (*FILES, runs.MANIFEST) if not local or not Path(directory, n).is_file()
        ]
        raise RunDirError(say("checkpoint.absent", path=shown(directory), names=listed(absent)))
    place = directory
    with loading(place):
        return runs.load_together(place, lambda files: _read(place, files), OPTIMIZER.__eq__)


def _read(directory: Path | str, files: dict[str, Any]) -> Run:
    """What the verified files of a run say."""
    config: Any = runs.load_json(files[CONFIG]) if CONFIG in files else None
    small = deployed.is_deployed(config)
    needed = (MODEL, CONFIG) if small else (MODEL, CONFIG, METRICS)
    if absent := [name for name in needed if name not in files]:
        names = listed(absent)
        raise RunDirError(say("checkpoint.absent", path=shown(directory), names=names))
    metrics = deployed.METRICS if small else runs.load_json(files[METRICS])
    number = config.get("format") if isinstance(config, dict) else None
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise RunDirError(
            say("checkpoint.format", path=shown(directory), found=number, expected=FORMAT)
        )
    if number == 1:
        # Its training.json is of another Learner; it says nothing that other files do not.
        state = runs.load_json(files.pop(TRAINING)) if TRAINING in files else {}
        config, metrics = _from_format_1(config, metrics, state)
    if number < 3:
        config, metrics = _from_format_2(config, metrics)
    about = config[deployed.SECTION] if small else None
    if small:
        config = deployed.of_a_run(named(directory, CONFIG), config)
    schema.check(named(directory, CONFIG), config, schema.CONFIG)
    schema.check(named(directory, METRICS), metrics, schema.METRICS)
    vocabulary = Vocabulary.from_json(config["vocabulary"])
    sizes = dict(config["model"])
    recorded = sizes.pop("vocab_size"), sizes.pop("target_vocab_size")
    if recorded != (vocabulary.source_size, vocabulary.target_size) or (
        config["metadata"]["vocab_hash"] != vocabulary.hash
    ):
        raise RunDirError(say("checkpoint.vocabulary", path=shown(directory)))
    model = ModelConfig.from_json(sizes, "model")
    groups = tuple(config["groups"])
    if about is None:
        stored = runs.ArrayFile(files[MODEL])
    else:
        deployed.check_normalisation(named(directory, CONFIG), config, about)
        stored = deployed.Stored(files[MODEL], about["dtype"])
    _compare_sizes(
        directory,
        stored,
        list(shapes_of(model, vocabulary.source_size, vocabulary.target_size, groups)),
    )
    weights = stored.load()
    lost = next((k for k, w in weights.items() if not np.isfinite(w).all()), None)
    if lost is not None:
        raise RunDirError(say("checkpoint.lost", path=shown(directory), name=lost))
    return Run(
        directory=directory,
        model=model,
        training=TrainingConfig.from_json(config["training"], "training"),
        vocabulary=vocabulary,
        groups=groups,
        corpus=config["corpus"],
        trigrams=frozenset(config["corpus"]["trigrams"].split("\t")),
        weights=weights,
        metrics=metrics,
        progress=config["progress"],
        trained_at=config["metadata"]["trained_at"],
        files=files,
        config=config,
        deployed=about,
    )


def _from_format_1(config: Any, metrics: Any, state: Any) -> tuple[Any, Any]:
    """What format 2 would have said; what is not as it should be stays so, and is refused later.

    Format 1 was of runs that had come to the end of an epoch; it had nulls, and no `progress`.
    """
    config, metrics = dict(config), dict(metrics) if isinstance(metrics, dict) else metrics
    if isinstance(metrics, dict):
        metrics = {name: value for name, value in metrics.items() if value is not None}
    training, corpus, about = (config.get(n) for n in ("training", "corpus", "metadata"))
    steps = state.get("step") if isinstance(state, dict) else None
    with suppress(TypeError, KeyError, ZeroDivisionError):  # then an entry is wrong
        epochs, rows, size = training["epochs"], corpus["rows"], training["batch_size"]  # type: ignore[index]
        if steps is None and {type(x) for x in (epochs, rows, size)} == {int}:
            steps = epochs * -(-rows // size)
        config["progress"] = {
            "steps": steps, "last_epoch": epochs, "finished": True, "jit": True,
        }  # fmt: skip
    if isinstance(about, dict):
        config["metadata"] = {"numba_version": "unknown", "cupy_version": "unknown", **about}
    return {**config, "format": 2}, metrics


def _from_format_2(config: Any, metrics: Any) -> tuple[Any, Any]:
    """What format 3 would have said: of one kind of model, tokens and training there was a choice.

    Statistics of the weights are absent.
    """
    config = dict(config)
    for section, config_of in (("model", ModelConfig), ("training", TrainingConfig)):
        if isinstance(config.get(section), dict):
            defaults = config_of().to_json()
            config[section] = {**defaults, **config[section]}
    if isinstance(config.get("model"), dict) and "vocab_size" in config["model"]:
        config["model"]["target_vocab_size"] = config["model"]["vocab_size"]
    if isinstance(config.get("vocabulary"), dict):
        kinds = {"source_tokens": "kana", "target_tokens": "tag"}
        config["vocabulary"] = {**kinds, **config["vocabulary"]}
    if isinstance(metrics, dict):
        metrics = {"valid_exact_match": {}, "loss_by_group": {}, "layers": {}, **metrics}
    return {**config, "format": 3}, metrics


def _compare_sizes(
    directory: Path | str, stored: runs.ArrayFile, shapes: list[tuple[str, tuple[int, ...]]]
) -> None:
    """RunDirError if the weights in a file are not those of a model of these shapes."""
    found = {name: tuple(shape) for name, (_, shape, *_) in stored.entries.items()}
    found |= {name: found[first] for name, first in stored.tied.items()}
    for name, shape in shapes:
        if found.get(name) != shape:
            reason = f"{name}: {shape}, {found.get(name, '-')}"
            raise RunDirError(say("checkpoint.sizes", path=shown(directory), reason=Said(reason)))
    if other := found.keys() - {name for name, _ in shapes}:
        raise RunDirError(say("checkpoint.sizes", path=shown(directory), reason=min(other)))


@contextmanager
def loading(directory: Path | str) -> Iterator[None]:
    """Says it in a person's language if files of a run turn out to be damaged in the block.

    Raises:
        RunDirError: they are.
    """
    try:
        yield
    except (RunError, StateError) as error:
        raise RunDirError(
            say("checkpoint.damaged", path=shown(directory), reason=reason_of(error))
        ) from error


def check_continues(run: Run) -> None:
    """RunDirError if a run cannot be trained further: it is a deployed model, or an archive."""
    if run.deployed is not None:
        raise RunDirError(say("deployed.training", path=shown(run.directory)))
    if archive.is_archive(run.directory):
        raise RunDirError(say("archive.training", path=shown(run.directory)))


def restore(model: nn.Grouped, run: Run) -> None:
    """Give `model` the weights of `run`; RunDirError if they are of another model."""
    with loading(run.directory):
        model.load_state_dict(run.weights)


def remove_if_empty(directory: Path | str) -> None:
    """Take back a directory that was made for a run which did not come about."""
    if isinstance(directory, str):
        return
    with suppress(OSError):
        directory.rmdir()


def resume(trainer: "Trainer", run: Run) -> None:
    """Put a trainer where `run` ended.

    Raises:
        RunDirError: it is of another model, or damaged.
    """
    with loading(run.directory):
        if TRAINING in run.files:
            trainer.load(run.directory)
            batching = ("batch_size", "batch_tokens", "buckets")
            now = trainer.training
            other = [n for n in batching if getattr(run.training, n) != getattr(now, n)]
            if other or run.corpus["sha256"] != trainer.corpus.sha256:
                # What was done of an epoch is of other batches.
                state = trainer.state_dict() | {"batches": 0, "means": {}}
                trainer.load_state_dict(state)
            _compare_states(trainer, run)
            return
        trainer.model.load_state_dict(run.weights)
        if OPTIMIZER in run.files:
            trainer.optimizer.load_state_dict(runs.load_arrays(run.files[OPTIMIZER]))
        _go_on(trainer, run)


def grow(trainer: "Trainer", run: Run) -> None:
    """Give a trainer what `run` knows, and let it learn other groups and tags besides.

    Weights for what is new, and the optimizer, are as they are at first; but a group that is known
    says a tag that is new only when it has learned to.
    """
    with loading(run.directory):
        state = trainer.model.state_dict()
        for name, array in run.weights.items():
            new = state[name]
            if name.endswith("output_projection.weight"):
                new[len(array) :] = 0
            elif name.endswith("output_projection.bias"):
                new[len(array) :] = UNHEARD
            new[tuple(slice(0, n) for n in array.shape)] = array
        trainer.model.load_state_dict(state)
        _go_on(trainer, run)


def _go_on(trainer: "Trainer", run: Run) -> None:
    """Let a trainer count on from where `run` ended."""
    ours = {written: name for name, written in FIGURES.items()}
    state = trainer.state_dict() | {
        "epoch": run.training.epochs,
        "step": run.progress["steps"],
        "seed": run.training.seed,
        "history": [
            {ours.get(name, name): value for name, value in entry.items() if name != "epoch"}
            for entry in run.metrics["history"]
        ],
    }
    trainer.load_state_dict(state)
    trainer.losses.first = run.metrics.get("first_step_loss_per_token")


def _compare_states(trainer: "Trainer", run: Run) -> None:
    """RunDirError if what was loaded from training.json is not what the other files say."""
    state = trainer.state_dict()
    said = metrics_of(state["history"], trainer.losses.first, NONE)
    steps = len(trainer.batches)
    equal = {
        "epoch": state["epoch"] == run.training.epochs,
        "step": state["step"] == run.progress["steps"],
        "seed": state["seed"] in (run.training.seed, None),
        "stopped": not state["stopped"],
        "batches": state["batches"] <= min(steps, state["step"]),
        "loader": state["loader"] is None,
        **{name: value == run.metrics.get(name) for name, value in said.items() if value != {}},
    }
    if other := [name for name, same in equal.items() if not same]:
        raise RunDirError(say("checkpoint.unequal", path=shown(run.directory), names=listed(other)))


def newest(directory: Path | str) -> tuple[Run, list[RunDirError]]:
    """The run in `directory` that was saved last: its own, or one saved on the way to it.

    (Its own may be older, and of more steps, where another training has begun to replace it.)

    Returns:
        The run, and what is wrong with those that were damaged and left out.

    Raises:
        RunDirError: there is none.
    """
    places: list[Path | str] = [directory, *on_the_way(directory)]
    found, damaged = list[Run](), list[RunDirError]()
    for place in places:
        if is_directory(place) and runs.has_run(place):
            try:
                found.append(load(place))
            except RunDirError as error:
                damaged.append(error)
    if not found:
        if damaged:
            raise damaged[0]
        return load(directory), damaged  # of an archive, or it raises
    return max(found, key=lambda run: (run.trained_at, run.progress["steps"])), damaged


def on_the_way(directory: Path | str) -> list[Path]:
    """Where runs on the way to that in `directory` are, the one of the fewest steps first."""
    return sorted(Path(directory, CHECKPOINTS).glob("step-*")) if is_local(directory) else []


def all_in(directory: Path | str) -> list[Path]:
    """The runs on the way to that in `directory`, and the best of them."""
    best = Path(directory, BEST)
    return [*on_the_way(directory), *([best] if is_local(directory) and best.is_dir() else [])]


def of_others(directory: Path | str, before: Run | None) -> list[Path]:
    """Runs on the way that the training which goes on from `before` will not come by.

    They are of a former training or, where newer ones were damaged, of a future that is none now.
    """
    if before is None:
        return all_in(directory)
    begun = f"step-{before.progress['steps']:08}"
    return [path for path in on_the_way(directory) if path.name > begun]


def keep_last(directory: Path | str, count: int) -> None:
    """Remove the runs on the way that are older than the last `count`.

    Raises:
        RunDirError: they cannot be removed.
    """
    steps = on_the_way(directory)
    with saving(directory):
        for older in steps[: max(0, len(steps) - count)]:
            runs.remove(older)
    if steps and not count:
        with suppress(OSError):
            Path(directory, CHECKPOINTS).rmdir()


def version_of(*names: str) -> str:
    """The version of the first of these distributions that is installed, or 'absent'."""
    import importlib.metadata

    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "absent"


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

"""The directory of a training: config.json, logs, checkpoints.

    DIR/config.json                    what was trained, and how; the sign that DIR is a Learner's
    DIR/best.safetensors               weights of the best epoch
    DIR/checkpoints/step-00000300/     model, optimizers, and training.json: all that goes on from
                                       there, with a manifest, written last

Nothing is deleted but what was made here: old checkpoints once a newer one is whole, and those of a
former training when another begins. A directory with other things in it is refused.
"""

import dataclasses
import importlib.metadata
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import runs
from minigrad.errors import DivergenceError, MinigradError, RunError, StateError

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner

__all__ = ["Artifacts"]

KIND = "minigrad.learner"
BEST, MODEL, STATE = "best.safetensors", "model.safetensors", "training.json"
_NAME = re.compile(r"step-\d{8,}")
# What training.json has. (What loaders, metrics and callbacks write there is theirs to check.)
ENTRIES: dict[str, tuple[type, ...]] = {
    "epoch": (int,),
    "step": (int,),
    "batches": (int,),
    "stopped": (bool,),
    "loader": (dict, type(None)),
    "seed": (int, type(None)),
    "without_jit": (list,),
    "history": (list,),
    "means": (dict,),
    "metrics": (list,),
    "callbacks": (list,),
}


class Artifacts:
    """The artifact directory of a learner; None for a learner that keeps nothing.

    Args:
        directory: it is made at the first `prepare`.
        writes: whether this process writes there; of several that train one model one does, and the
            others read only.

    Raises:
        RunError: it is the URI of an object store.
    """

    def __init__(self, directory: str | os.PathLike | None, writes: bool = True):
        if directory is not None and runs.is_uri(directory):
            raise RunError(
                f"Learner: {runs.redacted(str(directory))}: artifact_dir must be on disk, as logs "
                f"are written all the time; learner.save(uri) writes a checkpoint into a store"
            )
        self.directory = None if directory is None else runs.local("Learner", directory)
        self.writes = writes

    def needed(self, who: str) -> Path:
        """The directory, for who cannot do without. Raises StateError if there is none."""
        if self.directory is None:
            raise StateError(
                f"{who} needs a directory: give the Learner an artifact_dir"
                + (", or a path" if who != "Checkpoint" else "")
            )
        return self.directory

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """In this block the directory is this process's; without `resume` it is made.

        Raises:
            RunError: it holds other things than a Learner's, or another process is writing there.
        """
        if self.directory is None or not self.writes or (resume and not self.directory.exists()):
            yield
            return
        if not self._is_free():
            raise RunError(
                f"Learner: {self.directory} is not empty and was not made by a Learner; nothing "
                f"in it was touched. Choose another artifact_dir"
            )
        runs.prepare_directory(self.directory, overwrite=True)
        with runs.locked(self.directory):
            self._repair()
            yield

    def prepare(self, config: Mapping[str, Any], resume: bool) -> None:
        """Write config.json; begin anew unless `resume`."""
        if self.directory is None or not self.writes:
            return
        if not resume:
            for old in self.checkpoints():
                runs.remove(old)
            (self.directory / BEST).unlink(missing_ok=True)
        runs.save_json(self.directory / "config.json", {"kind": KIND, **packed(config)})

    def _is_free(self) -> bool:
        """Whether there is nothing in the directory, or what a Learner has put there."""
        assert self.directory is not None
        if not self.directory.is_dir():
            return not self.directory.exists()
        if all(runs.is_temporary(path.name) for path in self.directory.iterdir()):
            return True
        try:
            config = runs.load_json(self.directory / "config.json")
        except RunError:
            return False
        return isinstance(config, dict) and config.get("kind") == KIND

    def checkpoints(self) -> list[Path]:
        """Directories of checkpoints, the oldest first."""
        if self.directory is None:
            return []
        found = (self.directory / "checkpoints").glob("step-*")
        ours = [p for p in found if _NAME.fullmatch(p.name) and runs.has_run(p)]
        return sorted(ours, key=lambda p: int(p.name.removeprefix("step-")))

    def _repair(self) -> None:
        """Tidy up after a process that was killed while it saved or removed a checkpoint."""
        assert self.directory is not None
        runs.tidy(self.directory)
        folder = self.directory / "checkpoints"
        if not folder.is_dir():
            return
        runs.tidy(folder)
        for left in folder.glob(".step-*"):  # by an earlier version
            final = left.with_name(left.stem[1:])
            if not _NAME.fullmatch(final.name):
                continue
            if left.suffix == ".old" and not final.exists():
                os.replace(left, final)
            elif left.suffix in (".old", ".new"):
                shutil.rmtree(left)
        for begun in folder.glob("step-*"):
            if _NAME.fullmatch(begun.name) and not runs.has_run(begun):
                runs.tidy(begun)
                with suppress(OSError):  # what else is in it is not ours
                    begun.rmdir()

    def save(self, learner: "Learner", keep: int | None = None) -> Path | None:
        """A checkpoint of all there is; then the older ones but the last `keep` go.

        Raises:
            DivergenceError: a parameter is not finite; nothing is written, and nothing removed.
            RunError: a file cannot be written; the older checkpoints stay.
        """
        if self.directory is None:
            return None
        final = self.directory / "checkpoints" / f"step-{learner.step:08}"
        self.write(learner, final)
        if keep is not None and self.writes:
            for earlier in self.checkpoints()[:-keep]:
                runs.remove(earlier)
        return final

    def write(
        self,
        learner: "Learner",
        directory: str | os.PathLike,
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint into `directory`, and JSON files with it, all at once."""
        model = _weights(learner)
        if not self.writes:
            return
        with runs.transaction(directory) as new:
            runs.save_arrays(new / MODEL, model)
            for name, part in _parts(learner):
                if hasattr(part, "step_count"):
                    arrays = part.state_dict()
                    _check_finite(learner, "optimizer's", arrays)
                else:
                    arrays = part.arrays()
                if arrays:
                    runs.save_arrays(new / name, arrays)
            runs.save_json(new / STATE, packed(learner.state_dict()))
            for name, value in (documents or {}).items():
                runs.save_json(new / name, value)

    def save_weights(self, learner: "Learner") -> None:
        """The model's weights and buffers as the best ones, in one file.

        Raises:
            DivergenceError: a parameter is not finite.
        """
        weights = _weights(learner)
        if self.writes:
            runs.save_arrays(self.needed("Checkpoint") / BEST, weights)

    def load(
        self, learner: "Learner", directory: str | os.PathLike | None = None
    ) -> str | os.PathLike:
        """Put the learner where a checkpoint is, by default the last one; every file is verified.

        Raises:
            RunError: there is none, or it is damaged.
            StateError: it does not fit the model, the optimizers, the metrics or the callbacks.
        """
        if directory is None:
            found = self.checkpoints()
            if not found:
                raise RunError(
                    f"Learner: there is no checkpoint to resume from in {self.directory}"
                    if self.directory is not None
                    else "Learner: there is no artifact_dir to resume from"
                )
            directory = found[-1]
        where = runs.redacted(str(directory))
        optional = [name for name, part in _parts(learner) if hasattr(part, "step_count")]

        def read(files: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any], Any]:
            if missing := [name for name in (MODEL, STATE) if name not in files]:
                raise RunError(f"Learner: {where} is no checkpoint: it has no {missing[0]}")
            arrays = {n: runs.load_arrays(files[n]) for n, _ in _parts(learner) if n in files}
            return runs.load_arrays(files[MODEL]), arrays, runs.load_json(files[STATE])

        try:
            model, arrays, packed_state = runs.load_together(directory, read, optional.__contains__)
        except RunError as error:
            raise RunError(
                f"{error}\nLearner: the checkpoint {where} is damaged; remove it to resume "
                f"from the one before"
            ) from error
        for name in optional:
            if (entry := not_finite(arrays.get(name, {}))) is not None:
                raise RunError(f"{where}: the entry {entry} of {name} is not finite")
        try:
            check_state(where, state := unpacked(packed_state))
            learner.load_state_dict(state)
            learner.model.load_state_dict(model)
            for name, part in _parts(learner):
                if not hasattr(part, "step_count"):
                    part.load_arrays(arrays.get(name, {}))
                elif name in arrays or not learner.step:
                    part.load_state_dict(arrays.get(name, {}))
                else:
                    learner.say(f"{where} has no {name}: the optimizer begins anew")
        except MinigradError:
            raise
        except (
            AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise RunError(
                f"{where}: {STATE} is not what this learner writes: {type(error).__name__}: {error}"
            ) from error
        return directory


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The name of the first array that has NaN or an infinity; None if there is none."""
    for name, array in arrays.items():
        if array.dtype.kind in "fV" and not np.isfinite(array).all():
            return name
    return None


def _weights(learner: "Learner") -> dict[str, np.ndarray]:
    """The model's state. Raises DivergenceError if a parameter is not finite."""
    state = learner.model.state_dict()
    trained = dict(learner.model.named_parameters())  # a buffer may be infinite, as a mask is
    _check_finite(learner, "parameter", {k: v for k, v in state.items() if k in trained})
    return state


def _check_finite(learner: "Learner", what: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise DivergenceError if a number is not finite: that is no state to go on from, and none
    that may push out a good one.
    """
    if (name := not_finite(arrays)) is not None:
        error = DivergenceError(
            f"Learner: the {what} {name} is not finite after step {learner.step}; nothing was "
            f"saved. A smaller learning rate or clip_norm=1.0 may help"
        )
        error.figure, error.value, error.step = name, math.nan, learner.step
        raise error


def check_state(where: str, state: Any) -> None:
    """Raise RunError if training.json has not the entries that a Learner writes."""
    if not isinstance(state, dict):
        raise RunError(f"{where}: {STATE} expects an object, got {type(state).__name__}")
    for name, kinds in ENTRIES.items():
        value = state.get(name, ...)
        if type(value) not in kinds or (type(value) is int and value < 0):
            found = "nothing" if value is ... else f"a {type(value).__name__}"
            expected = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise RunError(f"{where}: {STATE} expects {name} to be {expected}, got {found}")
    for name in ("history", "means"):
        entries = state[name] if name == "history" else state[name].values()
        if not all(isinstance(e, dict) and all(map(_is_number, e.values())) for e in entries):
            raise RunError(f"{where}: {STATE} expects {name} to hold objects of numbers")


def _is_number(x: Any) -> bool:
    return type(x) in (int, float)


def _parts(learner: "Learner") -> Iterator[tuple[str, Any]]:
    """What has arrays beside the model, and the files for them: optimizers and callbacks."""
    for name, optimizer in learner.optimizers.items():
        yield f"optimizer.{name}.safetensors" if name else "optimizer.safetensors", optimizer
    for number, callback in enumerate(learner.callbacks):
        if hasattr(callback, "arrays"):
            yield f"callback.{number}.safetensors", callback


def described(learner: "Learner", call: Mapping[str, Any]) -> dict[str, Any]:
    """config.json: what is trained and how, and the arguments of `fit`."""
    config = learner.config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    return {
        "minigrad": _version(),
        "learner": type(learner).__name__,
        "model": type(learner.model).__name__,
        "parameters": sum(p.size for p in learner.model.parameters()),
        "optimizers": {
            name or "optimizer": {"class": type(optimizer).__name__, **optimizer.defaults}
            for name, optimizer in learner.optimizers.items()
        },
        "loss": learner.loss,
        "metrics": [metric.name for metric in learner.metrics],
        "clip_norm": learner.clip_norm,
        "accumulate": learner.accumulate,
        **call,
        "config": config,
    }


def _version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("minigrad")
    except importlib.metadata.PackageNotFoundError:  # it is only lying there
        return "unknown"


def packed(x: Any) -> Any:
    """`x` as JSON can hold it: what is not finite, and what is no data, as text."""
    if isinstance(x, Mapping):
        return {str(k): packed(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [packed(v) for v in x]
    if isinstance(x, np.ndarray | np.generic):
        return packed(x.tolist())
    if isinstance(x, float) and not math.isfinite(x):
        return {"number": repr(x)}
    if x is None or isinstance(x, str | int | float):
        return x
    return getattr(x, "__qualname__", None) or (type(x).__name__ if callable(x) else str(x))


def unpacked(x: Any) -> Any:
    """What was packed, as far as it was data."""
    if isinstance(x, Mapping):
        if x.keys() == {"number"} and isinstance(x["number"], str):
            return float(x["number"])
        return {k: unpacked(v) for k, v in x.items()}
    return [unpacked(v) for v in x] if isinstance(x, list) else x

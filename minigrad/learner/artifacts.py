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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import runs
from minigrad.errors import RunError, StateError

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner

__all__ = ["Artifacts"]

KIND = "minigrad.learner"
BEST, MODEL, STATE = "best.safetensors", "model.safetensors", "training.json"
_NAME = re.compile(r"step-\d{8,}")


class Artifacts:
    """The artifact directory of a learner; None for a learner that keeps nothing.

    Args:
        directory: it is made at the first `prepare`.
    """

    def __init__(self, directory: str | os.PathLike | None):
        self.directory = None if directory is None else Path(directory)

    def needed(self, who: str) -> Path:
        """The directory, for who cannot do without. Raises StateError if there is none."""
        if self.directory is None:
            raise StateError(
                f"{who} needs a directory: give the Learner an artifact_dir"
                + (", or a path" if who != "Checkpoint" else "")
            )
        return self.directory

    def prepare(self, config: Mapping[str, Any], resume: bool) -> None:
        """Make the directory and write config.json; begin anew unless `resume`.

        Raises:
            RunError: it holds other things than a Learner's.
        """
        if self.directory is None:
            return
        if not self._is_free():
            raise RunError(
                f"Learner: {self.directory} is not empty and was not made by a Learner; nothing "
                f"in it was touched. Choose another artifact_dir"
            )
        if not resume:
            for old in self.checkpoints():
                shutil.rmtree(old)
            (self.directory / BEST).unlink(missing_ok=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        runs.save_json(self.directory / "config.json", {"kind": KIND, **packed(config)})

    def _is_free(self) -> bool:
        """Whether there is nothing in the directory, or what a Learner has put there."""
        assert self.directory is not None
        if not self.directory.is_dir():
            return not self.directory.exists()
        if not any(self.directory.iterdir()):
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
        found = (self.directory / "checkpoints").glob(f"step-*/{STATE}")
        ours = [p.parent for p in found if _NAME.fullmatch(p.parent.name)]
        return sorted(ours, key=lambda p: int(p.name.removeprefix("step-")))

    def _repair(self) -> None:
        """Tidy up after a save that was interrupted, maybe between its two renames."""
        assert self.directory is not None
        for left in (self.directory / "checkpoints").glob(".step-*"):
            final = left.with_name(left.stem[1:])
            if not _NAME.fullmatch(final.name):
                continue
            if left.suffix == ".old" and not final.exists():
                os.replace(left, final)
            elif left.suffix in (".old", ".new"):
                shutil.rmtree(left)

    def save(self, learner: "Learner", keep: int | None = None) -> Path | None:
        """A checkpoint of all there is; then the older ones but the last `keep` go."""
        if self.directory is None:
            return None
        folder = self.directory / "checkpoints"
        final = folder / f"step-{learner.step:08}"
        new, old = folder / f".{final.name}.new", folder / f".{final.name}.old"
        self._repair()
        new.mkdir(parents=True)
        self.write(learner, new)
        if final.exists():  # the same step once more
            os.replace(final, old)
        os.replace(new, final)
        shutil.rmtree(old, ignore_errors=True)
        if keep is not None:
            for earlier in self.checkpoints()[:-keep]:
                shutil.rmtree(earlier)
        return final

    def write(
        self, learner: "Learner", folder: Path, documents: Mapping[str, Any] | None = None
    ) -> None:
        """Write the files of a checkpoint into `folder`, the manifest last; JSON files with it."""
        runs.save_arrays(folder / MODEL, learner.model.state_dict())
        names = [MODEL, STATE]
        for name, part in _parts(learner):
            if arrays := part.state_dict() if hasattr(part, "step_count") else part.arrays():
                runs.save_arrays(folder / name, arrays)
                names.append(name)
        runs.save_json(folder / STATE, packed(learner.state_dict()))
        for name, value in (documents or {}).items():
            runs.save_json(folder / name, value)
            names.append(name)
        runs.write_manifest(folder, names)

    def save_weights(self, learner: "Learner") -> None:
        """The model's weights and buffers as the best ones, in one file."""
        runs.save_arrays(self.needed("Checkpoint") / BEST, learner.model.state_dict())

    def load(self, learner: "Learner", directory: Path | None = None) -> Path:
        """Put the learner where a checkpoint is, by default the last one; every file is verified.

        Raises:
            RunError: there is none, or it is damaged.
            StateError: it does not fit the model, the optimizers, the metrics or the callbacks.
        """
        if directory is None:
            if self.directory is not None and self._is_free():
                self._repair()
            found = self.checkpoints()
            if not found:
                raise RunError(
                    f"Learner: there is no checkpoint to resume from in {self.directory}"
                    if self.directory is not None
                    else "Learner: there is no artifact_dir to resume from"
                )
            directory = found[-1]
        try:
            names = runs.verify_manifest(directory)
        except RunError as error:
            raise RunError(
                f"{error}\nLearner: the checkpoint {directory} is damaged; remove it to resume "
                f"from the one before"
            ) from error
        model = runs.load_arrays(directory / MODEL)
        arrays = {n: runs.load_arrays(directory / n) for n, _ in _parts(learner) if n in names}
        learner.load_state_dict(unpacked(runs.load_json(directory / STATE)))
        learner.model.load_state_dict(model)
        for name, part in _parts(learner):
            if hasattr(part, "step_count"):
                part.load_state_dict(arrays.get(name, {}))
            else:
                part.load_arrays(arrays.get(name, {}))
        return directory


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


def _version() -> str | None:
    """The installed version; None for a package that is only lying there."""
    try:
        return importlib.metadata.version("minigrad")
    except importlib.metadata.PackageNotFoundError:
        return None


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

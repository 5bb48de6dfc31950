"""The directory of a training: config.json, logs, checkpoints.

    DIR/config.json                    what was trained, and how; the sign that DIR is a Learner's
    DIR/best.safetensors               weights of the best epoch
    DIR/checkpoints/step-00000300/     model, optimizers, and training.json: all that goes on from
                                       there, with a manifest, written last

Nothing is deleted but old checkpoints that were made here, and those only once a newer one is
whole. A directory with other things in it is refused.
"""

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigrad import runs
from minigrad.errors import RunError, StateError

if TYPE_CHECKING:
    from minigrad.learner.learner import Learner

__all__ = ["Artifacts"]

KIND = "minigrad.learner"
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

    def prepare(self, config: dict[str, Any], resume: bool) -> None:
        """Make the directory and write config.json; begin anew unless `resume`.

        Raises:
            RunError: it holds other things than a Learner's.
        """
        if self.directory is None:
            return
        mark = self.directory / "config.json"
        occupied = self.directory.exists() and any(self.directory.iterdir())
        if occupied and (not mark.is_file() or runs.load_json(mark).get("kind") != KIND):
            raise RunError(
                f"Learner: {self.directory} is not empty and was not made by a Learner; nothing "
                f"in it was touched. Choose another artifact_dir"
            )
        if not resume:
            for old in self.checkpoints():
                shutil.rmtree(old)
        self.directory.mkdir(parents=True, exist_ok=True)
        runs.save_json(mark, {"kind": KIND, **config})

    def checkpoints(self) -> list[Path]:
        """Directories of checkpoints, the oldest first."""
        if self.directory is None:
            return []
        folder = self.directory / "checkpoints"
        found = [p for p in folder.glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir()]
        return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))

    def save(self, learner: "Learner", keep: int | None = None) -> Path | None:
        """A checkpoint of all there is; then the older ones but the last `keep` go."""
        if self.directory is None:
            return None
        folder = self.directory / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        final = folder / f"step-{learner.step:08}"
        new = folder / f".{final.name}.new"
        for left in (new, final):  # what an interrupted save left; the same step once more
            if left.exists():
                shutil.rmtree(left)
        new.mkdir()
        names = ["model.safetensors", "training.json"]
        runs.save_arrays(new / names[0], learner.model.state_dict())
        for name, optimizer in learner.optimizers.items():
            names.append(f"optimizer.{name}.safetensors" if name else "optimizer.safetensors")
            runs.save_arrays(new / names[-1], optimizer.state_dict())
        runs.save_json(new / "training.json", learner.state_dict())
        runs.write_manifest(new, names)
        os.replace(new, final)
        if keep is not None:
            for old in self.checkpoints()[:-keep]:
                shutil.rmtree(old)
        return final

    def save_weights(self, name: str, learner: "Learner") -> None:
        """The model's weights and buffers as one file."""
        runs.save_arrays(self.needed("Checkpoint") / name, learner.model.state_dict())

    def load(self, learner: "Learner", directory: Path | None = None) -> Path:
        """Put the learner where a checkpoint is, by default the last one; every file is verified.

        Raises:
            RunError: there is none, or it is damaged.
            StateError: it does not fit the model or the optimizers.
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
        runs.verify_manifest(directory)
        learner.model.load_state_dict(runs.load_arrays(directory / "model.safetensors"))
        for name, optimizer in learner.optimizers.items():
            file = f"optimizer.{name}.safetensors" if name else "optimizer.safetensors"
            optimizer.load_state_dict(runs.load_arrays(directory / file))
        learner.load_state_dict(runs.load_json(directory / "training.json"))
        return directory

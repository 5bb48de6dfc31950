"""Deployed models: what inference needs of a run, and nothing more; and how they become one again.

    model.safetensors       weights as float32, float16, or int8 with a scale for each row
    config.json             sizes, groups, vocabulary, corpus, versions as in a run; and `deployed`
    manifest.json           size and SHA-256 of both

With int8, `w[i, j] = q[i, j] * scale[i]` for every matrix, q from -127 to 127: the numbers that
`nn.Generator(weights="int8")` computes with. There, embeddings stay as they are; here they are
rounded as well, each token's vector by a scale of its own. Biases and norms stay float32.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jsl.config import TrainingConfig
from jsl.errors import RunDirError
from jsl.messages import say
from jsl.schema import DEPLOYED, check
from jsl.text import SYMBOLS
from jsl.tokens import source_tokens, spelled
from minigrad import runs
from minigrad.errors import RunError

SECTION = "deployed"  # of config.json
FORMAT = 1  # of that section
# Of weights that would take no part in int8: their rows become zeros, as those of zeros do.
TINY = np.finfo(np.float32).tiny
SCALE = ".scale"  # behind the name of what it belongs to


def normalisation(kind: str) -> dict[str, str]:
    """What this program does with a text before it reads it: a name, and a hash of what it does.

    Args:
        kind: of the tokens of the source, see `jsl.tokens`.
    """
    # Every character for which `jsl.text` has a rule, or NFKC one that matters to Japanese.
    ranges = (
        (0x00, 0xFF), (0x2000, 0x2064), (0x3000, 0x303F), (0x3041, 0x3096), (0x3099, 0x30FF),
        (0x3300, 0x33FF), (0xFE00, 0xFE0F), (0xFF01, 0xFFBE), (0xFFE0, 0xFFE6), (0xFFE8, 0xFFEE),
    )  # fmt: skip
    probe = "|".join(chr(code) for first, last in ranges for code in range(first, last + 1))
    probe = f" {probe}か゛ﾊﾟヷ\u3000"
    found = [SYMBOLS if kind == "kana" else [], source_tokens(spelled(probe, kind), kind)]
    return {"name": kind, "sha256": hashlib.sha256(json.dumps(found).encode()).hexdigest()}


def check_normalisation(path: Any, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """RunDirError if this program normalises texts otherwise than a deployed model was made for."""
    if about["normalisation"] != normalisation(config["vocabulary"]["source_tokens"]):
        version = config["metadata"]["minigrad_version"]
        raise RunDirError(say("deployed.normalisation", path=path, version=version))


def is_deployed(config: Any) -> bool:
    """Whether a config.json is of a deployed model."""
    return isinstance(config, dict) and SECTION in config


def of_a_run(path: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a run that would be deployed as `config`, whatever its training was.

    Args:
        path: of the file, for messages.

    Raises:
        RunDirError: its section is not as it should be.
    """
    check(path, config[SECTION], DEPLOYED, SECTION)
    return {
        **{name: content for name, content in config.items() if name != SECTION},
        "training": TrainingConfig().to_json(),
        "progress": {"steps": 0, "last_epoch": 0, "finished": True, "jit": True},
    }


# Of a run of which nothing is known.
METRICS: dict[str, Any] = {
    "exact_match": {},
    "valid_exact_match": {},
    "loss_by_group": {},
    "layers": {},
    "history": [],
}


def stored(weights: Mapping[str, np.ndarray], dtype: str) -> bytes:
    """A safetensors file with weights.

    Raises:
        RunDirError: a number does not fit into the dtype.
    """
    from safetensors.numpy import save

    arrays = dict[str, np.ndarray]()
    for name, w in weights.items():
        if dtype == "int8" and w.ndim > 1:
            arrays[name], arrays[name + SCALE] = rounded(w)
        else:
            with np.errstate(over="ignore"):
                arrays[name] = w.astype(np.float16) if dtype == "float16" else w
        if not _fits(w, arrays[name], arrays.get(name + SCALE)):
            most = float(np.abs(w).max())
            raise RunDirError(say("deployed.range", dtype=dtype, name=name, value=most))
    # No hashes of each array, as `runs.save_arrays` writes: in small models they would be as long
    # as the weights, and the manifest has that of the file.
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def rounded(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 of w's shape, and a float32 scale for each row."""
    rows = w.reshape(len(w), -1)
    scale = np.abs(rows).max(axis=1, initial=0) / np.float32(127)
    scale[scale < TINY] = 1
    return np.rint(rows / scale[:, None]).astype(np.int8).reshape(w.shape), scale


def _fits(w: np.ndarray, kept: np.ndarray, scale: np.ndarray | None) -> bool:
    """Whether numbers are still finite."""
    with np.errstate(over="ignore"):
        if scale is not None:
            return bool(np.isfinite(scale * np.float32(127)).all())
        return bool(np.isfinite(kept).all() or not np.isfinite(w).all())


class Stored(runs.ArrayFile):
    """The weights of a deployed model, as float32.

    Args:
        place: of model.safetensors, or its bytes.
        dtype: that the weights are kept in.

    Raises:
        RunError: it is no such file.
    """

    def __init__(self, place: Any, dtype: str):
        super().__init__(place)
        self.scales = {
            name: super(Stored, self).__getitem__(name) for name in self.entries
            if name.endswith(SCALE)
        }  # fmt: skip
        for name in self.scales:
            del self.entries[name]
        for name, (tag, shape, *_) in self.entries.items():
            scale = self.scales.get(name + SCALE)
            right = {
                "float32": tag == "F32" and scale is None,
                "float16": tag == "F16" and scale is None,
                "int8": (tag == "F32" and scale is None)
                or (tag == "I8" and scale is not None and list(scale.shape) == shape[:1]),
            }
            if not right[dtype] or (scale is not None and scale.dtype != np.float32):
                raise RunError(f"{self.place}: {name!r} is not as weights in {dtype} are")
        if lone := [name for name in self.scales if name.removesuffix(SCALE) not in self.entries]:
            raise RunError(f"{self.place}: {lone[0]!r} is the scale of nothing")

    def __getitem__(self, name: str) -> np.ndarray:
        array = super().__getitem__(name).astype(np.float32, copy=False)
        scale = self.scales.get(name + SCALE)
        return array if scale is None else array * scale.reshape(-1, *(1 for _ in array.shape[1:]))

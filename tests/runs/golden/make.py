"""Make a golden directory of the format that the code here writes: `python make.py DIRECTORY`."""

import sys
from pathlib import Path

import numpy as np

from minigrad import runs


def arrays():
    """Numbers that every platform has alike: nothing is computed but exact quotients."""
    eighths = np.arange(-8, 8, dtype=np.float32).reshape(4, 4) / 8
    return {
        "encoder.layers.0.weight": eighths,
        "encoder.layers.0.bias": np.array([1.5, -0.0, np.inf, np.nan], np.float32),
        "encoder.layers.1.weight": eighths[:2].astype(np.float64) / 3,
        "重み": np.array([1, 2.5], np.float16),
        "mask": np.array([True, False, True]),
        "steps": np.array(2**40, np.int64),
        "bytes": np.arange(5, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


def tied():
    found = arrays()
    return found | {"decoder.weight": found["encoder.layers.0.weight"]}


def make(directory):
    directory.mkdir(parents=True, exist_ok=True)
    runs.save_arrays(directory / "model.safetensors", arrays(), {"step": "12", "名": "手話"})
    runs.save_json(directory / "config.json", {"d_model": 64, "名": ["手話", 0.1]})
    names = ["model.safetensors", "config.json"]
    if hasattr(runs, "save"):
        runs.save(directory / "full.safetensors", tied())
        runs.save(directory / "pretty.json", tied(), record="pretty")
        for dtype in ("float16", "bfloat16"):
            runs.save(directory / f"{dtype}.safetensors", tied(), record="compact", dtype=dtype)
        names += ["full.safetensors", "pretty.json", "float16.safetensors", "bfloat16.safetensors"]
    runs.write_manifest(directory, names)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

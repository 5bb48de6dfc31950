"""The README's main job, timed and checked: train the preset from several seeds, then translate.

    python -m benchmarks.main_job [--rounds N] [--save] [--json FILE]

Each round is a run with its number for a seed, in a process of its own, as a user starts it:
`jsl train`, then `jsl predict`. Seconds are of the whole process, with start-up, kernels from the
on-disk cache, the check of all training rows and saving. The first run on a machine compiles the
kernels besides, which takes some seconds more.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import finish, parser

# What the two sentences of the specification must give, in both groups.
EXPECTED = {"ありがとう": "<ありがとう>", "わたしはたべます": "<私> <食べる>"}


def jsl(*arguments: str) -> tuple[str, float]:
    """Output and seconds of one process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "jsl", *arguments], capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout, time.perf_counter() - began


def run(seed: int, directory: Path) -> dict[str, Any]:
    """One training and what came of it."""
    _, training = jsl("train", "--seed", str(seed), "--save", str(directory))
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    output, prediction = jsl("predict", "--load", str(directory), *EXPECTED)
    tags = [line.split("\t")[1] for line in output.splitlines()]
    assert tags == [tags for tags in EXPECTED.values() for _ in metrics["exact_match"]], output
    return {
        "seed": seed,
        "training, s": training,
        "first loss per token": metrics["first_step_loss_per_token"],
        "last loss per token": metrics["loss_per_token"],
        "rows translated exactly": "{} of {}".format(
            *(sum(m[key] for m in metrics["exact_match"].values()) for key in ("right", "rows"))
        ),
        "prediction, s": prediction,
    }


def main() -> None:
    options = parser(__doc__, rounds=3).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = [run(seed, Path(directory) / str(seed)) for seed in range(options.rounds)]
    finish("main_job", rows, options)


if __name__ == "__main__":
    main()

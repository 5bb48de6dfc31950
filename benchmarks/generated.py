"""The preset `long` on 20,000 sentences of the grammar: what it translates that it has not seen.

    python -m benchmarks.generated [--runs DIR] [--save] [--json FILE]

For each split, `jsl corpus generate` makes the corpora and `jsl train --preset long` learns the
larger one; then all sentences of the other are translated. That takes about an hour. What DIR holds
of it from before (`random.tsv`, `random-valid.tsv`, the run `random`, and so on) is taken as it is.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import finish, parser
from jsl import checkpoint

SPLITS = ("random", "compositional")
SIZE = 20_000


def jsl(*arguments: str) -> str:
    """What a command says."""
    command = [sys.executable, "-m", "jsl", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout


def measured(split: str, place: Path) -> dict[str, Any]:
    """A split: train, unless that was done before, and translate what was held out."""
    train, valid, run = place / f"{split}.tsv", place / f"{split}-valid.tsv", place / split
    if not train.exists():
        files = ["--out", str(train), "--valid-out", str(valid)]
        jsl("corpus", "generate", "--size", str(SIZE), "--split", split, *files)
    if not run.exists():
        corpora = ["--corpus", str(train), "--valid", str(valid)]
        jsl("train", "--preset", "long", *corpora, "--save", str(run))
    found = json.loads(jsl("evaluate", "--load", str(run), "--corpus", str(valid), "--json"))
    saved = checkpoint.load(run)
    figures = {g: what["figures"]["exact_match"] for g, what in found["groups"].items()}
    whole = found["all"]["figures"]["exact_match"]
    return {
        "split": split,
        "sentences trained": saved.corpus["rows"],
        "epochs": saved.training.epochs,
        "minutes of training": sum(e["seconds"] for e in saved.metrics["history"]) / 60,
        **{f"exact, {group}, %": figure["value"] for group, figure in figures.items()},
        "exact, all, %": whole["value"],
        "95 % interval": "{low:.1f} to {high:.1f}".format(**whole),
    }


def main() -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--runs", type=Path, metavar="DIR")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [measured(split, given.runs or Path(scratch)) for split in SPLITS]
    finish("generated", rows, given)


if __name__ == "__main__":
    main()

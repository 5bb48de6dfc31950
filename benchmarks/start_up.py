"""From the start of a process to its answer.

    python -m benchmarks.start_up [--rounds N] [--save] [--json FILE]

`import minigrad`, and `jsl predict` of one sentence with a saved run: warm, that is with the files
in the system's cache; and the first time ever, without compiled kernels and without Python's
bytecode. Beside it a script that does the same in PyTorch. Processes take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import machine, measure, on_the_host, table, write
from jsl.config import PRESETS, TrainingConfig
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.train import Trainer
from jsl.translate import Translator
from minigrad import nn

SENTENCE = "わたしはたべます"


def prepare(directory: Path) -> dict[str, list[str]]:
    """A run after a few passes and, where PyTorch is, its weights as a script would keep them."""
    config, _ = PRESETS["tiny"]
    corpus = load_corpus(starter_corpus_path(), config.max_seq_len)
    trainer = Trainer(corpus, config, TrainingConfig(epochs=30), jit=False)
    trainer.run()
    run = directory / "run"
    trainer.save_run(run, {})
    commands = {
        "Python and import minigrad": [sys.executable, "-c", "import minigrad"],
        "jsl predict": [sys.executable, "-m", "jsl", "predict", "--load", str(run), SENTENCE],
    }
    try:
        import torch
    except ImportError:
        return commands
    saved = directory / "torch.pt"
    torch.save(
        {
            "weights": {
                name: {
                    k: torch.from_numpy(v)
                    for k, v in trainer.model[name].state_dict(layout="torch").items()
                }
                for name in trainer.model.groups
            },
            "config": config.to_json(),
            "positions": torch.from_numpy(nn.sinusoids(config.max_seq_len, config.d_model)),
            "source": Translator(run).encode(SENTENCE),
            "tokens": trainer.vocabulary.source_tokens,
            "allowed": trainer.vocabulary.output_ids,
        },
        saved,
    )
    commands["a PyTorch script"] = [
        sys.executable,
        "-m",
        "benchmarks.peers.torch_predict",
        str(saved),
    ]
    return commands


def start(command: list[str], **environment: str) -> str:
    """What a process writes."""
    found = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, env=os.environ | environment
    )
    return found.stdout


def first_time(command: list[str]) -> str:
    """The same with nothing compiled, neither kernels nor bytecode."""
    with tempfile.TemporaryDirectory() as empty:
        return start(
            command, NUMBA_CACHE_DIR=f"{empty}/kernels", PYTHONPYCACHEPREFIX=f"{empty}/bytecode"
        )


def main() -> None:
    on_the_host()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="write results/start_up.json")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        commands = prepare(Path(directory))
        if (peer := commands.get("a PyTorch script")) is not None:
            assert start(peer) == start(commands["jsl predict"]), "they translate differently"
        calls = {name: lambda c=command: start(c) for name, command in commands.items()}
        calls["Python and import numpy"] = lambda: start([sys.executable, "-c", "import numpy"])
        ours = commands["jsl predict"]
        calls["jsl predict, the first time ever"] = lambda: first_time(ours)
        timings = measure(calls, rounds=options.rounds, seconds=0.0)
    rows = [
        {
            "process": name,
            "s": timing.median,
            "times jsl predict": timing.ratio(timings["jsl predict"]),
        }
        for name, timing in timings.items()
    ]
    print(table(rows))
    if options.json:
        value = {"benchmark": "start_up", "machine": machine(), "rows": rows}
        options.json.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    if options.save:
        print(write("start_up", rows))


if __name__ == "__main__":
    main()

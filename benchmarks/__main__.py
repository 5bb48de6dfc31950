"""All benchmarks, or those that are named; see benchmarks/README.md.

    python -m benchmarks [NAME ...] [--rounds N] [--save] [--json FILE]

Each is a process of its own: settings of threads and compiled kernels of one do not reach the next.
What one of them fails with is shown, the others run all the same, and the exit code is 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import no_device

BENCHMARKS = {
    "kernels": "every kernel beside the machine's limits and its formula in NumPy",
    "train_step": "a training step beside PyTorch and JAX",
    "images": "a training step of two small convolutional networks beside PyTorch",
    "decode": "translating beside PyTorch and CTranslate2",
    "start_up": "from the start of a process to its answer",
    "groups": "a step with 32 groups beside one with one group",
    "memory": "peak memory of a training step beside PyTorch",
    "overhead": "what an op costs on small arrays beside PyTorch",
    "distributed": "a training step shared by two processes, beside one process",
    "jacobians": "Jacobians of a small network",
    "runs": "saving and loading arrays beside the disk and the memory",
    "data": "rows of tables one by one, and a gather a batch",
    "translation": "a translator of a real parallel corpus beside PyTorch, with their BLEU",
    "generated": "the preset long on sentences of the grammar: what it has not seen (an hour)",
    "main_job": "the README's main job: train, save, translate",
    "gpu": "training steps and kernels on a GPU beside PyTorch and JAX (seven minutes)",
}


def run(name: str, options: argparse.Namespace, path: Path) -> dict | None:
    """The figures of one benchmark; None if it failed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(path)]
    if options.rounds is not None:
        command += ["--rounds", str(options.rounds)]
    if options.save:
        command += ["--save"]
    print(f"\n## {name}: {BENCHMARKS[name]}\n", flush=True)
    if subprocess.run(command).returncode:
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measurements, each verified first.",
        epilog="\n".join(f"  {name:12}{what}" for name, what in BENCHMARKS.items()),
    )
    # No `choices`: argparse would refuse an empty list of names.
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of those below")
    parser.add_argument("--rounds", type=int, help="default: as each benchmark says")
    parser.add_argument("--save", action="store_true", help="write results/ and README.md's tables")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return options


def main() -> None:
    options = parse()
    names = options.names or list(BENCHMARKS)
    if not options.names and (missing := no_device()):
        print(f"left out: gpu, as {missing}", flush=True)
        names.remove("gpu")
    with tempfile.TemporaryDirectory() as directory:
        found = {name: run(name, options, Path(directory) / f"{name}.json") for name in names}
    if options.json:
        value = [figures for figures in found.values() if figures is not None]
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        options.json.write_text(text, encoding="utf-8", newline="\n")
    if failed := [name for name, figures in found.items() if figures is None]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""Peak memory of a training step, of the model large by default, beside PyTorch.

    python -m benchmarks.memory [--size SIZE] [--rounds N] [--threads N] [--save] [--json FILE]

Each library takes the same steps in a process of its own, and says how much more memory the process
has had than after its imports: the model, Adam's state, gradients, and what the step needs. With
`jit` the first two steps also run the function and compare; the peak of later steps is what
training goes on with, and is asked of Linux, which can forget an earlier peak. Losses must agree.

The size `long512` has sentences of 512 tokens: there one matrix of attention scores takes 67 MB, so
that a peak shows whether there are any. It is also trained with dropout, which PyTorch draws
otherwise, so that its losses are only alike.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import finish, parser
from benchmarks.train_step import AGREEMENT, LR, SIZES, loss_of_one, trainer

CASES = {"large": SIZES["large"], "long512": (512, 64, 8, 256, 2, 512, 8)}
LIBRARIES = ("minigrad", "minigrad, without jit", "PyTorch, fused Adam")
FIRST, LATER = 3, 3  # steps
DROPOUT = 0.1
ALIKE = 0.03  # losses of two trainings that drop other elements


def memory(kind: str) -> float:
    """Megabytes: what the process has now (`VmRSS`), or the most since `forget_peak` (`VmHWM`)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(kind))


def forget_peak() -> bool:
    """Let the peak be what the process has now; whether that can be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def ours(size: str, dropout: float, jit: bool, threads: int) -> Callable:
    """Imports, and a function that builds a model and gives its step."""
    import minigrad as mg
    from minigrad import kernels, nn, random

    mg.set_num_threads(threads)
    kernels.warm_up("transformer")

    def build():
        vocabulary, d_model, heads, d_ff, layers, *_ = CASES[size]
        with random.stream(0):
            model = nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers, dropout)
        step = trainer(model, loss_of_one, jit=jit)
        return lambda *batch: step(*batch).item()

    return build


def theirs(size: str, dropout: float, threads: int, weights: Path) -> Callable:
    """The same of PyTorch, with weights from a file."""
    import torch

    from benchmarks.peers import torch_seq2seq as peer
    from minigrad.nn import sinusoids

    torch.set_num_threads(threads)

    def build():
        vocabulary, d_model, heads, d_ff, layers, length, batch = CASES[size]
        config = {"d_model": d_model, "n_heads": heads, "d_ff": d_ff, "n_layers": layers}
        config["dropout"] = dropout
        twin = peer.Seq2Seq(vocabulary, config, sinusoids(length, d_model))
        with np.load(weights) as saved, torch.no_grad():  # one at a time: copies would count
            for name, tensor in twin.state_dict().items():
                tensor.copy_(torch.from_numpy(saved[name]))
        whole = peer.Trainer(peer.Grouped({"only": twin}), LR, fused=True)
        groups = ["only"] * batch
        return lambda *batch: whole.step(groups, *map(torch.from_numpy, batch))

    return build


def run(library: str, size: str, dropout: float, threads: int, weights: Path) -> dict[str, Any]:
    """Peaks in megabytes and losses, of this process."""
    if library.startswith("PyTorch"):
        build = theirs(size, dropout, threads, weights)
    else:
        build = ours(size, dropout, library == "minigrad", threads)
    vocabulary, *_, length, batch = CASES[size]
    batches = np.random.default_rng(0).integers(1, vocabulary, (FIRST + LATER, 3, batch, length))
    forget_peak()
    before = memory("VmRSS")
    step = build()
    losses = [step(*x) for x in batches[:FIRST]]
    first, later = memory("VmHWM") - before, None
    if forget_peak():
        losses += [step(*x) for x in batches[FIRST:]]
        later = memory("VmHWM") - before
    return {"first": first, "later": later, "losses": losses}


def start(
    library: str, size: str, dropout: float, threads: int, weights: Path
) -> dict[str, Any] | None:
    """`run` in a process of its own; None where the library is not installed."""
    command = [sys.executable, "-m", "benchmarks.memory", "--threads", str(threads)]
    command += ["--library", library, "--weights", str(weights), "--size", size]
    command += ["--dropout", str(dropout)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    found = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if found.returncode and "ModuleNotFoundError: No module named 'torch'" in found.stderr:
        return None
    assert not found.returncode, found.stderr
    return json.loads(found.stdout)


def save_weights(path: Path, size: str) -> None:
    """Those of `ours`, as PyTorch names them."""
    from minigrad import nn, random

    vocabulary, d_model, heads, d_ff, layers, *_ = CASES[size]
    with random.stream(0):
        model = nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers)
    np.savez(path, **model.state_dict(layout="torch"))


def main() -> None:
    arguments = parser(__doc__, rounds=3, threads=2)
    arguments.add_argument("--library", choices=LIBRARIES, help="only this, in this process")
    arguments.add_argument("--size", choices=CASES, default="large")
    arguments.add_argument("--weights", type=Path, help="where PyTorch's are")
    arguments.add_argument("--dropout", type=float, default=0.0, help="with --library")
    options = arguments.parse_args()
    size, threads = options.size, options.threads
    if options.library:
        found = run(options.library, size, options.dropout, threads, options.weights)
        print(json.dumps(found))
        return
    candidates = [(p, name) for p in ((0.0, DROPOUT) if size == "long512" else (0.0,))
                  for name in LIBRARIES]  # fmt: skip
    results_of: dict[tuple[float, str], list[dict]] = {candidate: [] for candidate in candidates}
    with tempfile.TemporaryDirectory() as directory:
        weights = Path(directory) / "weights.npz"
        save_weights(weights, size)
        for _ in range(options.rounds):
            for dropout, name in candidates:
                if (result := start(name, size, dropout, threads, weights)) is not None:
                    results_of[dropout, name].append(result)
    rows = []
    for (dropout, name), results in results_of.items():
        if not results:
            continue
        title = f"{name}, dropout {dropout}" if dropout else name
        near = ALIKE if dropout and name.startswith("PyTorch") else AGREEMENT
        expected = results_of[dropout, "minigrad"][0]["losses"]
        for result in results:
            np.testing.assert_allclose(result["losses"], expected, rtol=near, err_msg=title)
        row: dict[str, Any] = {"library": title}
        for key, what in (("first", "peak, MB"), ("later", "peak of later steps, MB")):
            values = [r[key] for r in results if r[key] is not None]
            row[what] = statistics.median(values) if values else None
        rows.append(row)
    name = "memory" if size == "large" else f"memory_{size}"
    finish(name, rows, options, threads=threads, size=size)


if __name__ == "__main__":
    main()

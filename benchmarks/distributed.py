"""A training step shared by two processes, beside one process with the same batch.

    python -m benchmarks.distributed [--rounds N] [--save] [--json FILE]

The translator of the sizes long and large, float32, Adam. One process has all of the batch, with
one thread and with two. Two processes have a thread each and half of the batch, and average their
gradients by MPI. All start with the same weights, and losses of the first steps must agree to 1e-4
before anything is timed. The processes are started anew in each round, and take turns. It needs
mpi4py and the `mpiexec` of its MPI, in the environment or in the PATH.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import minigrad as mg
from benchmarks.harness import finish, parser
from benchmarks.train_step import LR, SIZES, loss_of_one
from minigrad import distributed, nn, optim, random

CASES = {
    "one process, one thread": (0, 1),
    "one process, two threads": (0, 2),
    "two processes, a thread each": (2, 1),
}
MEGABYTES = 25  # a bucket


def batches_of(size: str) -> list[tuple[np.ndarray, ...]]:
    """Batches of full length, so that half of one has half of its tokens."""
    vocabulary, *_, length, batch = SIZES[size]
    generator = np.random.default_rng(0)
    return [tuple(generator.integers(1, vocabulary, (3, batch, length))) for _ in range(4)]


def in_process(size: str, threads: int, seconds: float) -> dict:
    """What one process measures: losses of the first steps, times of the later ones."""
    group = distributed.init()
    mg.set_num_threads(threads)
    vocabulary, d_model, heads, d_ff, layers, *_ = SIZES[size]
    with random.stream(0):
        model = nn.Seq2Seq(vocabulary, d_model, heads, d_ff, layers, layers)
    adam = optim.Adam(model, lr=LR)
    average = optim.AverageGradients(adam)

    def gradients(*batch):
        loss = loss_of_one(model, *batch)
        loss.backward()
        return loss

    def whole(*batch):
        loss = gradients(*batch)
        adam.step()
        adam.zero_grad()
        return loss

    alone = group.size == 1
    program = mg.jit(whole if alone else gradients)
    shares = [tuple(x[group.rank :: group.size] for x in batch) for batch in batches_of(size)]

    def step(i: int) -> float:
        share = shares[i % len(shares)]
        loss = program(*share)
        if not alone:
            with average(weight=len(share[0])):
                pass
            adam.step()
            adam.zero_grad()
        return loss.item()

    losses = [float(np.mean(group.gather(step(i)))) for i in range(4)]
    times, count = [], 0
    # As many steps in all processes, or they would wait for each other.
    for _ in range(2):
        began = time.perf_counter()
        step(count)
        count += 1
        pace = max(group.gather(time.perf_counter() - began))
    for _ in range(max(3, int(seconds / pace))):
        began = time.perf_counter()
        step(count)
        count += 1
        times.append(time.perf_counter() - began)
    found = {"losses": losses, "seconds": statistics.median(times)}
    if not alone:
        x = np.ones(MEGABYTES << 18, np.float32)
        found["sum"] = _median(lambda: group.all_reduce(x), 15)
        found["message"] = _median(group.barrier, 300)
    return found


def _median(call, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measured(size: str, processes: int, threads: int, starter: str) -> dict:
    """What a case gives in processes of its own."""
    start = [starter, "-n", str(processes)] if processes else []
    command = [*start, sys.executable, "-m", "benchmarks.distributed", "--inside", size]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "MINIGRAD_BACKEND": "numpy"}
    done = subprocess.run(
        [*command, str(threads)], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--inside", nargs=2, metavar=("SIZE", "THREADS"), help="one case")
    options = arguments.parse_args()
    if options.inside:
        size, threads = options.inside
        found = in_process(size, int(threads), seconds=3.0)
        if distributed.rank() == 0:
            print(json.dumps(found), flush=True)
        return
    starter = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if starter is None:
        sys.exit("no mpiexec: pip install mpi4py mpich, or the MPI of the system")
    rows, sums, messages = [], [], []
    for size in ("long", "large"):
        found: dict[str, list[dict]] = {name: [] for name in CASES}
        for _ in range(options.rounds):
            for name, (processes, threads) in CASES.items():
                found[name].append(measured(size, processes, threads, starter))
        losses = {name: runs[0]["losses"] for name, runs in found.items()}
        first = losses["one process, one thread"]
        for name, others in losses.items():
            np.testing.assert_allclose(others, first, rtol=1e-4, err_msg=name)
        base = [run["seconds"] for run in found["one process, one thread"]]
        for name, runs in found.items():
            seconds = [run["seconds"] for run in runs]
            ratio = statistics.median(b / s for b, s in zip(base, seconds, strict=True))
            ms = statistics.median(seconds) * 1e3
            rows.append({"size": size, "processes": name, "ms": ms, "times as fast": ratio})
            sums += [run["sum"] for run in runs if "sum" in run]
            messages += [run["message"] for run in runs if "message" in run]
    notes = [
        f"Two processes sum {MEGABYTES} MB, a bucket of gradients, in "
        f"{statistics.median(sums) * 1e3:.3g} ms, and tell each other what they are about to do in "
        f"{statistics.median(messages) * 1e6:.3g} us."
    ]
    finish("distributed", rows, options, notes)


if __name__ == "__main__":
    main()

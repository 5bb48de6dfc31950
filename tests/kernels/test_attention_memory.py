"""In training at length 512 no matrix of attention scores is ever in memory, with kernels.

Nor one of what dropout keeps of the weights: it is drawn for a few queries at a time.
"""

import os
import subprocess
import sys

import pytest

from minigrad.backend import get_backend

pytestmark = pytest.mark.skipif(get_backend() != "numpy", reason="NumPy tells of its memory")

SCORES = 2 * 8 * 512 * 512 * 4  # bytes of one matrix: batch, heads, queries, keys, float32

PROGRAM = """
import sys, tracemalloc
import numpy as np
import minigrad as mg
from minigrad import nn, optim, random

with random.stream(0):
    model = nn.Seq2Seq(20, 16, 8, 16, 1, 1, dropout=float(sys.argv[2]))
sgd = optim.SGD(model, lr=0.01)
ids = np.random.default_rng(0).integers(1, 20, (2, 512))

def step(src, tgt):
    sgd.zero_grad()
    loss = mg.cross_entropy(model(src, tgt), tgt)
    loss.backward()
    sgd.step()
    return loss

def run(step, times):
    for _ in range(3):  # what is compiled or imported at first does not count
        step(ids[:, :40], ids[:, :40])
    tracemalloc.start()
    for _ in range(times):
        step(ids, ids).item()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak

print(run(mg.jit(step) if sys.argv[1] == "jit" else step, 3))
"""


def peak(how: str, dropout: float, kernels: str) -> int:
    environment = os.environ | {"MINIGRAD_KERNELS": kernels}
    command = [sys.executable, "-c", PROGRAM, how, str(dropout)]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("how", ["eager", "jit"])
def test_scores_are_not_in_memory(how, dropout):
    """All that steps allocate, the first of `jit` with its tracing included."""
    assert peak(how, dropout, "1") < SCORES / 2


def test_without_kernels_they_are():
    """NumPy has nothing else: so the test above can tell."""
    assert peak("eager", 0.0, "0") > SCORES

"""Counts and numbers among the options: what is none is refused where it is given, and named."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, nn, optim
from minigrad.arguments import count, number
from minigrad.errors import ShapeError
from minigrad.learner import Checkpoint, EarlyStopping, EventFiles, JSONLog
from minigrad.optim import schedules

DATA = data.TensorDataset(np.arange(8.0), np.arange(8))
PAIR = np.ones((4, 2), "f"), np.ones((4, 2), "f")


def learner(**options):
    return mg.Learner(nn.Linear(2, 2), "sgd", "mse_loss", **{"verbose": 0, **options})


def plateau(**options):
    return optim.ReduceLROnPlateau(optim.SGD(nn.Linear(2, 2)), **options)


# name: (what takes the value, values that are fine)
COUNTS = {
    "batch_size": (lambda v: data.DataLoader(DATA, v), [1, np.int64(3), None]),
    "num_workers": (lambda v: data.DataLoader(DATA, num_workers=v), [0, 1024]),
    "prefetch_factor": (lambda v: data.DataLoader(DATA, num_workers=1, prefetch_factor=v), [1]),
    "sampler": (lambda v: data.RandomSampler(DATA, num_samples=v), [1, None]),
    "weighted": (lambda v: data.WeightedRandomSampler([1.0, 1.0], v), [5]),
    "batches": (lambda v: data.BatchSampler(range(4), v), [2]),
    "threads": (mg.set_num_threads, [0, 2, np.int32(3), 1024]),
    "threads of jit": (lambda v: mg.jit(lambda x: x, threads=v), [1, 1024, None]),
    "accumulate": (lambda v: learner(accumulate=v), [1, 7]),
    "epochs": (lambda v: learner().fit(PAIR, epochs=v), [0, 1]),
    "fit": (lambda v: learner().fit(PAIR, batch_size=v), [3, None]),
    "valid": (lambda v: learner().fit(PAIR, PAIR, valid_batch_size=v), [3, None]),
    "evaluate": (lambda v: learner().evaluate(PAIR, v), [3, None]),
    "predict": (lambda v: learner().predict(PAIR[0], v), [3, None]),
    "patience": (lambda v: EarlyStopping(patience=v), [0, 3]),
    "every": (lambda v: Checkpoint(every=v), [1]),
    "keep": (lambda v: Checkpoint(keep=v), [1, None]),
    "every line": (lambda v: JSONLog(every=v), [1, None]),
    "every event": (lambda v: EventFiles(every=v), [1, None]),
    "plateau": (lambda v: plateau(patience=v), [0, 3]),
    "cooldown": (lambda v: plateau(cooldown=v), [0, 3]),
    "seed": (mg.random.key, [0, 3, np.int64(3), 2**64 - 1]),
}
WRONG_COUNTS = [True, False, 2.0, 1.5, -1, "2", math.nan, math.inf, np.float32(2), np.True_, [2]]

NUMBERS = {
    "timeout": (lambda v: data.DataLoader(DATA, num_workers=1, timeout=v), [0, 0.5]),
    "clip_norm": (lambda v: learner(clip_norm=v), [0.5, math.inf, None]),
    "clip_grad_norm_": (lambda v: optim.clip_grad_norm_(nn.Linear(2, 2), v), [0.5, math.inf]),
    "clip_grad_value_": (lambda v: optim.clip_grad_value_(nn.Linear(2, 2), v), [0.5]),
    "threshold": (lambda v: plateau(threshold=v), [0, 0.1]),
    "eps": (lambda v: plateau(eps=v), [0, 0.1]),
    "min_lr": (lambda v: plateau(min_lr=v), [0, 0.1, [0.2]]),
    "factor": (lambda v: plateau(factor=v), [0.5]),
    "lr": (lambda v: optim.SGD(nn.Linear(2, 2), v), [0, 0.1, np.float32(0.1), lambda t: 0.1]),
    "decay": (lambda v: optim.EMA(nn.Linear(2, 2), v), [0, 0.9, lambda t: 0.9]),
    "min_delta": (lambda v: EarlyStopping(min_delta=v), [0, 0.1]),
    "steps": (lambda v: schedules.Cosine(0.1, v), [10, 10.0]),
    "warm-up": (lambda v: schedules.Warmup(v, 0.1), [0, 10]),
}
WRONG_NUMBERS = [True, -1, -0.5, "0.1", math.nan]


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    call, fine = COUNTS[name]
    before = mg.get_num_threads()
    try:
        for value in fine:
            call(value)
        for value in WRONG_COUNTS:
            with pytest.raises((ValueError, TypeError)) as raised:
                call(value)
            assert repr(value) in str(raised.value) or "must be" in str(raised.value), value
    finally:
        mg.set_num_threads(before)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    call, fine = NUMBERS[name]
    for value in fine:
        call(value)
    for value in WRONG_NUMBERS:
        with pytest.raises((ValueError, TypeError)):
            call(value)


def test_what_is_a_slip():
    for wrong in (10**6, 1025, None):
        with pytest.raises(ValueError, match=r"number to be an integer from 0 to 1024, got "):
            mg.set_num_threads(wrong)
    with pytest.raises(ValueError, match="num_workers to be an integer from 0 to 1024"):
        data.DataLoader(DATA, num_workers=10**6)
    with pytest.raises(ValueError, match="prefetch_factor=1000000 keep 2000000 batches"):
        data.DataLoader(DATA, num_workers=2, prefetch_factor=10**6)
    with pytest.raises(ValueError, match="timeout needs num_workers > 0"):
        data.DataLoader(DATA, timeout=1)
    with pytest.raises(ValueError, match="verbose must be 0, 1 or 2, got -1"):
        learner(verbose=-1)
    for shape in (True, (2, True), (2.0,)):
        with pytest.raises(ShapeError, match="non-negative integers"):
            mg.random.uniform(mg.random.key(0), shape)
    with pytest.raises(ValueError, match="out_features to be an integer >= 0, got True"):
        nn.Linear(2, True)
    assert count("f", "n", np.int8(3)) == 3
    assert type(number("f", "x", 3)) is float


@pytest.mark.parametrize(("name", "value"), [("KERNELS", "yes"), ("BACKEND", "gpu")])
def test_the_environment(name, value):
    root = str(Path(mg.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", "import minigrad as mg; mg.softmax(mg.ones((2, 3)), axis=-1)"],
        env=os.environ | {f"MINIGRAD_{name}": value, "PYTHONPATH": root},
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert found.returncode == 1
    assert f"MINIGRAD_{name}" in found.stderr
    assert repr(value) in found.stderr


SIZES = {
    "Embedding": (4, 2), "EmbeddingBag": (4, 2), "Conv1d": (4, 4, 3), "Conv2d": (4, 4, 3),
    "ConvTranspose2d": (4, 4, 3), "LazyConv2d": (4, 3), "LayerNorm": (4,), "RMSNorm": (4,),
    "BatchNorm1d": (4,), "BatchNorm2d": (4,), "InstanceNorm2d": (4,), "GroupNorm": (2, 4),
    "MultiheadAttention": (4, 2), "TransformerEncoderLayer": (4, 2), "LSTM": (4, 4, 1),
    "GRU": (4, 4, 1), "LSTMCell": (4, 4), "GRUCell": (4, 4), "RNNCell": (4, 4), "Linear": (4, 4),
    "Bilinear": (4, 4, 4),
}  # fmt: skip


@pytest.mark.parametrize("wrong", [True, False, 1.5, "3", -1, math.nan])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_layers(name, wrong):
    layer, sizes = getattr(nn, name), SIZES[name]
    layer(*sizes)
    layer(*map(np.int8, sizes))
    for i in range(len(sizes)):
        with pytest.raises((ValueError, TypeError), match=r"expects|must be"):
            layer(*sizes[:i], wrong, *sizes[i + 1 :])

"""Optimizers in steps that are repeated as programs, against the same steps without `mg.jit`."""

import numpy as np
import pytest
from support import EVERY, host

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.backend import get_backend
from minigrad.errors import CaptureError


def network(dtype):
    with random.stream(3):
        model = nn.Sequential(nn.Linear(5, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, 3, dtype=dtype))
        return model, nn.Linear(2, 2, dtype=dtype)


def training(kind, options, dtype, clip):
    model, unused = network(dtype)
    groups = [
        {"params": model[0], "name": "first"},
        {"params": model[2], "name": "last", "lr": 0.01},
        {"params": unused, "name": "unused"},
    ]
    rate = optim.schedules.Warmup(3, optim.schedules.Linear(0.02, 0.0, 20))
    optimizer = kind(groups, **{**options, "lr": rate})

    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        norm = clip(model) if clip else loss
        optimizer.step()
        optimizer.zero_grad()
        return loss, norm

    return model, optimizer, step


def batch(i, dtype):
    rng = np.random.default_rng(i)
    return mg.backend.to_device(rng.normal(size=(7, 5)).astype(dtype)), mg.backend.to_device(
        rng.integers(0, 3, 7)
    )


CLIPS = {
    "none": None,
    "norm": lambda m: optim.clip_grad_norm_(m, 0.5),
    "1-norm": lambda m: optim.clip_grad_norm_(m, 0.5, 1.0),
    "largest": lambda m: optim.clip_grad_norm_(m, 0.05, float("inf")),
    "value": lambda m: optim.clip_grad_value_(m, 0.05),
}


def compare(kind, options, dtype="float32", clip=None):
    mine, theirs = (training(kind, options, dtype, clip) for _ in range(2))
    fast = mg.jit(mine[2])
    for i in range(8):
        if i == 5:
            for _, optimizer, _ in (mine, theirs):
                optimizer.param_groups[1]["lr"] = 0.3
        found, expected = fast(*batch(i, dtype)), theirs[2](*batch(i, dtype))
        for a, b in zip(found, expected, strict=True):
            assert float(0 if a is None else a) == pytest.approx(
                float(0 if b is None else b), rel=1e-4
            )
    for p, q in zip(mine[0].parameters(), theirs[0].parameters(), strict=True):
        np.testing.assert_allclose(host(p), host(q), rtol=1e-4, atol=1e-6)
    ours, expected = mine[1].state_dict(), theirs[1].state_dict()
    assert ours.keys() == expected.keys()
    for key, x in ours.items():
        np.testing.assert_allclose(x, expected[key], rtol=1e-3, atol=1e-6, err_msg=key)
    assert (int(ours["step"]), int(ours["step.unused.weight"])) == (8, 0)
    return fast


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_with_every_optimizer(name, dtype):
    fast = compare(*EVERY[name], dtype)
    if get_backend() == "numpy" and mg.kernels.in_use():
        native = "kernel  adam" in fast.program() or "_step" in fast.program()
        assert native == bool(EVERY[name][0].kernel)


@pytest.mark.parametrize("clip", CLIPS)
def test_clipping_in_a_step(clip):
    compare(optim.SGD, {"momentum": 0.9}, clip=CLIPS[clip])


def test_what_cannot_be_repeated_says_so():
    model, _ = network("float32")
    optimizer, ema = optim.SGD(model), optim.EMA(model)
    total = optim.Accumulate(model)

    def step(x, y, then):
        nn.functional.cross_entropy(model(x), y).backward()
        if then == "sparse":
            rows = mg.sparse.SparseRows(np.array([1]), np.ones((1, 5), np.float32), (8, 5))
            optimizer.step({n: rows for n, _ in model.named_parameters()})
        elif then == "ema":
            ema.update()
        else:
            total.add(7)

    for then, message in {
        "sparse": "the gradient of '0.weight' is sparse",
        "ema": "EMA.update reads parameters",
        "add": "Accumulate adds up arrays outside",
    }.items():
        model.zero_grad()
        if get_backend() == "numpy":  # elsewhere the function simply runs
            with pytest.raises(CaptureError, match=message):
                mg.jit(step)(*batch(0, "float32"), then)


def test_the_parts_of_a_batch_in_a_program():
    """The function leaves its gradients, which are added up outside."""
    (model, _), (twin, _) = network("float64"), network("float64")
    total = optim.Accumulate(model)

    def part(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    fast = mg.jit(part)
    for _ in range(3):
        for i in range(2):
            fast(*batch(i, "float64"))
            total.add(7)
        total.finish()
        expected = [batch(i, "float64") for i in range(2)]
        x, y = (mg.concatenate([mg.Tensor(b[k]) for b in expected]) for k in (0, 1))
        twin.zero_grad()
        nn.functional.cross_entropy(twin(x), y).backward()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            np.testing.assert_allclose(host(p.grad), host(q.grad), rtol=1e-10, atol=1e-14)
        model.zero_grad()

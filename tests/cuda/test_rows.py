"""Softmax, cross entropy and orders of rows on the device, against their formulas in float64.

Lengths are such that each way of holding a row is taken: by a part of a warp, a warp, a block, and
piece by piece; in packs of 16 bytes, or one by one where they do not lie so.
"""

import math

import cupy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_rows import DTYPES, FEW, LENGTHS, close, device, eps_of, numbers

import minigrad as mg
from minigrad.errors import OutOfRangeError
from minigrad.kernels.cuda import faults, losses, softmaxes, sorting
from minigrad.kernels.cuda.machine import Eager
from minigrad.ops.losses import _count_of
from minigrad.ops.sorting import _top_ids

OPTIONS = {"ignore_index": -100, "label_smoothing": 0.0}


def with_masks(rng, x):
    """Some rows with -inf, as masks have it; one that is all -inf, and one with a NaN."""
    x = x.copy()
    x[0] = -math.inf
    if len(x) > 1:
        x[1, rng.integers(x.shape[1])] = math.nan
    if len(x) > 2:
        x[2, rng.random(x.shape[1]) < 0.5] = -math.inf
    if len(x) > 3:
        x[3] = np.where(np.arange(x.shape[1]) == 0, math.inf, x[3])
    return x


ROWS = {
    "n": st.integers(1, 9), "d": LENGTHS, "dtype": st.sampled_from(DTYPES),
    "aligned": st.booleans(), "seed": st.integers(0, 1 << 30),
}  # fmt: skip


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(**ROWS, offset=st.sampled_from([0, 1e3, -3e4]))
@FEW
def test_softmax(name, n, d, dtype, aligned, seed, offset):
    rng = np.random.default_rng(seed)
    x = with_masks(rng, numbers(rng, (n, d), dtype, 3, offset))
    with np.errstate(all="ignore"):
        expected = getattr(mg, name).formula(np, x)
    found = getattr(softmaxes, name)(device(x, dtype, aligned), axis=-1, dtype=None)
    close(found, expected, dtype, scale=1e-3 if name == "softmax" else 1)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(**ROWS)
@FEW
def test_softmax_grad(name, n, d, dtype, aligned, seed):
    rng = np.random.default_rng(seed)
    g, x = numbers(rng, (2, n, d), dtype)
    with np.errstate(all="ignore"):
        y = getattr(mg, name).formula(np, with_masks(rng, x))
        y = device(y, dtype, aligned)
        expected = getattr(mg, f"{name}_grad").formula(np, g, y.get().astype("float64"))
    found = getattr(softmaxes, f"{name}_grad")(device(g, dtype, aligned), y, axis=-1)
    close(found, expected, dtype, scale=np.abs(g).max() * (math.sqrt(d) if "log" in name else 1))


@given(**ROWS, smoothing=st.sampled_from([0.0, 0.1]))
@FEW
def test_cross_entropy(n, d, dtype, aligned, seed, smoothing):
    rng = np.random.default_rng(seed)
    x = with_masks(rng, numbers(rng, (n, d), dtype, 3, 20))
    target = rng.integers(0, d, n).astype("int32" if d == 8 else "int64")
    target[rng.random(n) < 0.3] = -100
    options = {"ignore_index": -100, "label_smoothing": smoothing}
    g = numbers(rng, n, dtype)
    with np.errstate(all="ignore"):
        loss = mg.cross_entropy_rows.formula(np, x, target, **options)
        dx = mg.cross_entropy_rows_grad.formula(np, g, x, target, **options)
    dx[target == -100] = 0  # where the formula has 0 * NaN
    given_ = device(x, dtype, aligned), cupy.asarray(target)
    close(losses.cross_entropy_rows(*given_, **options)[:, None], loss[:, None], dtype, scale=1)
    found = losses.cross_entropy_rows_grad(device(g, dtype), *given_, **options)
    close(found, dx, dtype, scale=np.abs(g).max())


@pytest.mark.parametrize("d", [64, 2100])
def test_a_gradient_takes_the_place_of_the_logits(d):
    rng = np.random.default_rng(0)
    x, target = numbers(rng, (5, d), "float32"), rng.integers(0, d, 5)
    g = cupy.broadcast_to(cupy.asarray(0.2, "float32"), (5,))  # as that of a mean
    y, ids = device(x, "float32"), cupy.asarray(target)
    kernel = losses.cross_entropy_rows_grad
    for launch in kernel.launched(Eager(()), [y], g, y, ids, **OPTIONS):
        launch.ready()()
    expected = mg.cross_entropy_rows_grad.formula(np, np.full(5, 0.2), x, target)
    close(y, expected, "float32", scale=0.2)


def test_a_class_that_is_not_there_is_told():
    x = device(np.zeros((4, 10)), "float32")
    faults.check()
    for kernel, more in ((losses.cross_entropy_rows, ()), (losses.cross_entropy_rows_grad, (1,))):
        g = [cupy.ones(4, "float32") for _ in more]
        y = kernel(*g, x, cupy.asarray([1, -100, 10, 3]), **OPTIONS)
        assert np.isnan(y.get()[2]).all()
        assert np.isfinite(y.get()[[0, 1, 3]]).all()
        with pytest.raises(OutOfRangeError, match=r"cross_entropy: index 10 at position 2 .*10\)"):
            faults.check()
        faults.check()


@pytest.mark.parametrize("n", [1, 3000, 60_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts(n, dtype):
    ids = np.random.default_rng(n).integers(0, 3, n)
    for ignored in (1, 7):
        found = losses.count_of(
            cupy.zeros(1, dtype), cupy.asarray(ids), ignore_index=ignored, empty_is_zero=True
        )
        assert float(found) == np.asarray((ids != ignored).sum() or 1).astype(found.get().dtype)
    ids = cupy.asarray(np.full(n, 5))
    none = losses.count_of(cupy.zeros(1, dtype), ids, ignore_index=5, empty_is_zero=False)
    assert math.isnan(float(none))


@given(**ROWS, k=st.integers(1, 5), descending=st.booleans(), some=st.booleans())
@FEW
def test_the_first_few(n, d, dtype, aligned, seed, k, descending, some):
    rng = np.random.default_rng(seed)
    x = numbers(rng, (n, d), dtype)
    x = np.round(x * 2) if some else x  # equal ones
    x[rng.random(x.shape) < 0.05] = math.nan
    x[0] = math.inf if descending else -math.inf
    k = min(k, d)
    found = sorting.top_ids(device(x, dtype, aligned), k=k, descending=descending)
    expected = mg.argsort.formula(np, x, descending=descending)[..., :k]
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@given(**ROWS)
@FEW
def test_the_first_alone(name, n, d, dtype, aligned, seed):
    rng = np.random.default_rng(seed)
    x = np.round(numbers(rng, (n, d), dtype))
    x[rng.random(n) < 0.3, rng.integers(d)] = math.nan
    kernel, function = getattr(sorting, name), getattr(np, name)
    for keepdims in (False, True):
        found = kernel(device(x, dtype, aligned), axis=-1, keepdims=keepdims)
        np.testing.assert_array_equal(found.get(), function(x, axis=-1, keepdims=keepdims))
    line = kernel(device(x[0], dtype, aligned), axis=None, keepdims=False)
    assert line.shape == ()
    assert int(line) == function(x[0])


@pytest.mark.parametrize(("dtype", "aligned"), [("float32", True), (DTYPES[-1], False)])
def test_rows_that_are_not_held(dtype, aligned):
    d = 33_000
    rng = np.random.default_rng(5)
    x, target = numbers(rng, (2, d), dtype, 2, 30), np.array([1, d - 1])
    x[0] = with_masks(rng, x)[0]
    given_, ids = device(x, dtype, aligned), cupy.asarray(target)
    options = {"ignore_index": -100, "label_smoothing": 0.1}
    with np.errstate(all="ignore"):
        y = mg.softmax.formula(np, x)
        of_log = mg.log_softmax.formula(np, x)
        loss = mg.cross_entropy_rows.formula(np, x, target, **options)
        dx = mg.cross_entropy_rows_grad.formula(np, np.ones(2), x, target, **options)
    close(softmaxes.softmax(given_, axis=-1, dtype=None), y, dtype, scale=1e-4)
    close(softmaxes.log_softmax(given_, axis=-1, dtype=None), of_log, dtype)
    found = losses.cross_entropy_rows(given_, ids, **options)
    close(found[:, None], loss[:, None], dtype)
    found = losses.cross_entropy_rows_grad(cupy.ones(2, dtype), given_, ids, **options)
    close(found, dx, dtype)
    g = numbers(rng, x.shape, dtype)
    y = device(np.nan_to_num(y), dtype)
    expected = mg.softmax_grad.formula(np, g, y.get().astype("float64"))
    close(softmaxes.softmax_grad(device(g, dtype), y, axis=-1), expected, dtype, scale=1e-3)
    expected = mg.log_softmax_grad.formula(np, g, y.get().astype("float64"))
    found = softmaxes.log_softmax_grad(device(g, dtype), y, axis=-1)
    close(found, expected, dtype, scale=np.abs(g.sum(axis=-1)).max())


def test_no_sum_hangs_on_the_order_of_threads_or_on_addresses():
    rng = np.random.default_rng(1)
    x, ids = rng.standard_normal((7, 2100)), cupy.asarray(rng.integers(0, 9, 7))
    x, elsewhere = device(x, "float32"), device(x, "float32", aligned=False)
    for kernel, inputs, options in (
        (softmaxes.softmax, (x,), {"axis": -1, "dtype": None}),
        (softmaxes.softmax_grad, (x, x), {"axis": -1}),
        (losses.cross_entropy_rows, (x, ids), OPTIONS),
    ):
        first = kernel(*inputs, **options).get()
        for _ in range(2):
            np.testing.assert_array_equal(kernel(*inputs, **options).get(), first)
        inputs = [elsewhere if v is x else v for v in inputs]
        np.testing.assert_array_equal(kernel(*inputs, **options).get(), first)


@pytest.mark.parametrize(
    ("op", "kernel"),
    [
        (mg.softmax, softmaxes.softmax), (mg.log_softmax_grad, softmaxes.log_softmax_grad),
        (mg.cross_entropy_rows, losses.cross_entropy_rows), (_count_of, losses.count_of),
        (_top_ids, sorting.top_ids), (mg.argmax, sorting.argmax), (mg.argmin, sorting.argmin),
    ],
)  # fmt: skip
def test_ops_find_their_kernels(op, kernel):
    assert op.call_on("cupy") == kernel.call


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_by_the_ops(dtype):
    """Through the public functions, against NumPy's arrays."""
    rng = np.random.default_rng(2)
    x, g, target = *rng.standard_normal((2, 3, 4, 9)), rng.integers(0, 9, (3, 4))
    target[0, 0] = -100

    def functions(target):
        yield lambda x: mg.softmax(x)
        yield lambda x: mg.log_softmax(x, axis=2)
        yield lambda x: mg.topk(x, 3).values
        yield lambda x: mg.cross_entropy(x, target, label_smoothing=0.2)
        yield lambda x: mg.cross_entropy(x, target, reduction="none")

    for on_device, on_host in zip(functions(cupy.asarray(target)), functions(target), strict=True):
        found, expected = [], []
        for function, module, out in ((on_device, cupy, found), (on_host, np, expected)):
            with mg.backend.using(module.__name__):
                t = mg.tensor(module.asarray(x.astype(dtype)), requires_grad=True)
                y = function(t)
                seed = module.asarray(g.astype(dtype).reshape(-1)[: y.size].reshape(y.shape))
                mg.sum(y * seed).backward()
                out += [y.detach().numpy(), t.grad.numpy()]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=64 * eps_of(dtype), atol=16 * eps_of(dtype))


def test_what_does_not_fit_is_declined():
    x = cupy.zeros((4, 6), "float32")
    for found in (
        softmaxes.softmax(x, axis=0, dtype=None),
        softmaxes.softmax(x.T, axis=-1, dtype=None),
        softmaxes.softmax(x.astype("int64"), axis=-1, dtype=None),
        softmaxes.softmax(x[:0], axis=-1, dtype=None),
        softmaxes.softmax_grad(x, x.astype("float64"), axis=-1),
        losses.cross_entropy_rows(x, cupy.zeros(4, "int16"), **OPTIONS),
        losses.cross_entropy_rows(x, cupy.zeros(3, "int64"), **OPTIONS),
        sorting.top_ids(x, k=7, descending=True),
        sorting.argmax(x, axis=0, keepdims=False),
        sorting.argmax(x, axis=None, keepdims=False),
    ):
        assert found is NotImplemented

"""Norms on the device, forward and backward, against their definitions in long doubles or float64.

Far from zero, at any scale, with and without weights and what is added first. Lengths are such that
each way of holding a row is taken: by a part of a warp, a warp, a block, and piece by piece.
"""

import math

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_rows import DTYPES, FEW, LENGTHS, close, device, numbers

import minigrad as mg
from minigrad.kernels.cuda import norms
from minigrad.kernels.cuda.machine import Eager
from minigrad.ops.norms import _batch_norm_grad, _batch_norm_train, _rms_norm, _rms_norm_grad

WIDE = np.longdouble
GIVEN = {
    "n": st.sampled_from([1, 3, 20]), "d": LENGTHS, "dtype": st.sampled_from(DTYPES),
    "aligned": st.booleans(), "seed": st.integers(0, 1 << 30),
}  # fmt: skip


def standardised(x, axis, eps, centre=True):
    """`x` with mean 0 and variance 1, and what it was divided by."""
    x = x.astype(WIDE)
    d = x - x.mean(axis=axis, keepdims=True) if centre else x
    d = d - d.mean(axis=axis, keepdims=True) if centre else d
    root = np.sqrt((d * d).mean(axis=axis, keepdims=True) + WIDE(eps))
    return d / root, root


def gradients(g, x, w, axis, eps, centre=True):
    """Those of x, and of weight and bias, which rows have one of, or channels (1, C, ...)."""
    h, root = standardised(x, axis, eps, centre)
    e = g * w
    dx = e - h * (e * h).mean(axis=axis, keepdims=True)
    dx = (dx - e.mean(axis=axis, keepdims=True) if centre else dx) / root
    over = axis if x.ndim == w.ndim else (0,)
    return dx, (g * h).sum(axis=over), g.sum(axis=over)


def rounded(x, dtype):
    """In float64, but as the dtype has it."""
    return device(x, dtype).get().astype("float64")


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@given(**GIVEN, more=st.booleans(), offset=st.sampled_from([0, 1e2, -1e4, 1e7]))
@FEW
def test_norms_of_rows(name, n, d, dtype, aligned, seed, more, offset):
    rng = np.random.default_rng(seed)
    offset = min(offset, 1e4) if dtype == "float16" else offset
    x, b = numbers(rng, (n, d), dtype, 1, offset), numbers(rng, (n, d), dtype)
    w, bias = numbers(rng, (2, d), dtype)
    of_layer, kernel = name == "layer_norm", getattr(norms, name)
    total = rounded(x + b, dtype) if more else x
    expected = standardised(total, (1,), 1e-5, of_layer)[0] * w + (bias if of_layer else 0)
    affine = [device(v, dtype) for v in ((w, bias) if of_layer else (w,))]
    given_ = device(x, dtype, aligned), *affine
    if more:
        y, found = kernel(*given_, device(b, dtype), eps=1e-5)
        np.testing.assert_array_equal(found.get().astype("float64"), total)
    else:
        y = kernel(*given_, eps=1e-5)
    close(y, expected.astype("float64"), dtype, ulps=32, scale=np.abs(w).max())


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@given(**GIVEN, more=st.booleans(), offset=st.sampled_from([0, 1e2, -1e4, 1e7]))
@FEW
def test_gradients_of_norms_of_rows(name, n, d, dtype, aligned, seed, more, offset):
    rng = np.random.default_rng(seed)
    offset = min(offset, 1e4) if dtype == "float16" else offset
    x, g, b = numbers(rng, (n, d), dtype, 1, offset), *numbers(rng, (2, n, d), dtype)
    w, of_layer = numbers(rng, d, dtype), name == "layer_norm"
    expected = list(gradients(g, x, w, (1,), 1e-5, of_layer))
    given_ = [device(v, dtype, aligned) for v in (g, x)] + [device(w, dtype)]
    if more:
        expected[0] = expected[0] + b
        given_.append(device(b, dtype))
    found = getattr(norms, f"{name}_grad")(*given_, eps=1e-5)
    root = standardised(x, (1,), 1e-5, of_layer)[1].min()
    scale = float(np.abs(g).max() * np.abs(w).max() / min(1, root))
    close(found[0], expected[0].astype("float64"), dtype, ulps=64, scale=scale)
    for y, wanted in zip(found[1:], expected[1:], strict=False):
        close(y, wanted.astype("float64"), dtype, ulps=64, scale=np.abs(g).max() * math.sqrt(n))
    assert len(found) == (3 if of_layer else 2)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("d", [9, 64, 2100])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e15, 1e30])
def test_squares_that_float_has_no_room_for(name, d, scale):
    rng = np.random.default_rng(d)
    x = numbers(rng, (5, d), "float32", scale)
    x[2] = numbers(rng, d, "float32")  # beside one that it has room for
    w, g, of_layer = np.ones(d), numbers(rng, (5, d), "float32"), name == "layer_norm"
    affine = [device(w, "float32"), *([device(w * 0, "float32")] if of_layer else [])]
    for eps in (1e-5, 0.0):
        h = standardised(x, (1,), eps, of_layer)[0]
        y = getattr(norms, name)(device(x, "float32"), *affine, eps=eps)
        close(y, h.astype("float64"), "float32", ulps=64, scale=0)
        found = getattr(norms, f"{name}_grad")(*(device(v, "float32") for v in (g, x, w)), eps=eps)
        dx, dweight, _ = (v.astype("float64") for v in gradients(g, x, w, (1,), eps, of_layer))
        if scale < 1e-20 and not eps:
            continue  # there the gradients are too large
        fine = np.abs(dx).max(axis=1) > 1e-30
        close(found[0][cupy.asarray(fine)], dx[fine], "float32", ulps=128, scale=0)
        close(found[1], dweight, "float32", ulps=64, scale=np.abs(g).max())


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", ["float32", DTYPES[-1]])
def test_norms_of_rows_that_are_not_held(name, dtype):
    rng, d, of_layer = np.random.default_rng(4), 17_000, name == "layer_norm"
    x, g = numbers(rng, (3, d), dtype, 1, 100), numbers(rng, (3, d), dtype)
    w, b = numbers(rng, (2, d), dtype)
    affine = [device(v, dtype) for v in ((w, b) if of_layer else (w,))]
    y = getattr(norms, name)(device(x, dtype), *affine, eps=1e-5)
    expected = standardised(x, (1,), 1e-5, of_layer)[0] * w + (b if of_layer else 0)
    close(y, expected.astype("float64"), dtype, ulps=32)
    y, total = getattr(norms, name)(device(x, dtype), *affine, device(g, dtype), eps=1e-5)
    x_plus_g = rounded(x + g, dtype)
    np.testing.assert_array_equal(total.get().astype("float64"), x_plus_g)
    expected = standardised(x_plus_g, (1,), 1e-5, of_layer)[0] * w + (b if of_layer else 0)
    close(y, expected.astype("float64"), dtype, ulps=32)
    found = getattr(norms, f"{name}_grad")(device(g, dtype), device(x, dtype), affine[0], eps=1e-5)
    for y, wanted in zip(found, gradients(g, x, w, (1,), 1e-5, of_layer), strict=False):
        close(y, wanted.astype("float64"), dtype, ulps=64, scale=1)


@pytest.mark.parametrize("rows", [1, 700])
@pytest.mark.parametrize("d", [5, 64, 600])
def test_norms_without_weights_and_with_wider_ones(rows, d):
    rng = np.random.default_rng(3)
    x, g = numbers(rng, (rows, d), "float16"), numbers(rng, (rows, d), "float16")
    w, b = numbers(rng, (2, d), "float32")
    h = standardised(x, (1,), 1e-5)[0]
    x_, g_, w_, b_ = (
        *(device(v, "float16") for v in (x, g)),
        *(device(v, "float32") for v in (w, b)),
    )
    for weight, bias in ((None, None), (w, None), (None, b), (w, b)):
        given_ = [None if v is None else y for v, y in ((weight, w_), (bias, b_))]
        y = norms.layer_norm(x_, *given_, eps=1e-5)
        own = np.ones(d) if weight is None else w
        expected = h * own + (0 if bias is None else b)
        close(y, expected.astype("float64"), "float16", scale=1)
        dx, dweight, dbias = norms.layer_norm_grad(g_, x_, given_[0], eps=1e-5)
        wanted = [v.astype("float64") for v in gradients(g, x, own, (1,), 1e-5)]
        close(dx, wanted[0], "float16", ulps=32, scale=5)
        of = "float16" if weight is None else "float32"
        close(dweight, wanted[1], of, ulps=64, scale=math.sqrt(rows))
        close(dbias, wanted[2], of, ulps=64, scale=math.sqrt(rows))


def test_a_row_of_nan_stays_by_itself():
    rng = np.random.default_rng(3)
    for d in (9, 64, 600):
        x = numbers(rng, (6, d), "float32")
        x[2, 1], x[4, 0] = math.nan, math.inf
        w = device(np.ones(d), "float32")
        y = norms.layer_norm(device(x, "float32"), w, w, eps=1e-5).get()
        dx, dweight, _ = norms.layer_norm_grad(
            device(x, "float32"), device(x, "float32"), w, eps=1e-5
        )
        for found in (y, dx.get()):
            assert np.isnan(found[[2, 4]]).all()
            assert np.isfinite(found[[0, 1, 3, 5]]).all()
        assert np.isnan(dweight.get()).all()


SHAPES = st.sampled_from(
    [
        (2, 1),
        (7, 5),
        (300, 40),
        (64, 64),
        (3, 4, 5),
        (2, 3, 4, 4),
        (5, 2, 8, 8),
        (1, 3, 50),
        (40, 3, 128),
    ]
)


def column(v, x):
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


@given(
    shape=SHAPES, dtype=st.sampled_from(DTYPES), aligned=st.booleans(),
    offset=st.sampled_from([0, 1e2, -1e4, 1e7]), seed=st.integers(0, 1 << 30),
)  # fmt: skip
@settings(FEW, max_examples=5)
def test_batch_norm(shape, dtype, aligned, offset, seed):
    rng = np.random.default_rng(seed)
    offset = min(offset, 1e4) if dtype == "float16" else offset
    x, g = numbers(rng, shape, dtype, 1, offset), numbers(rng, shape, dtype)
    w, b = numbers(rng, (2, shape[1]), dtype)
    axis = (0, *range(2, x.ndim))
    x_, g_ = device(x, dtype, aligned), device(g, dtype, aligned)
    w_, b_ = device(w, dtype), device(b, dtype)
    h = standardised(x, axis, 1e-5)[0]
    y = norms.batch_norm_train(x_, w_, b_, eps=1e-5)
    scale = max(np.abs(w).max(), np.abs(b).max())
    close(y, (h * column(w, x) + column(b, x)).astype("float64"), dtype, ulps=32, scale=scale)
    found = norms.batch_norm_grad(g_, x_, w_, eps=1e-5)
    dx, dweight, dbias = gradients(g, x, column(w, x), axis, 1e-5)
    root = standardised(x, axis, 1e-5)[1].min()
    scale = float(np.abs(g).max() * np.abs(w).max() / min(1, root))
    close(found[0], dx.astype("float64"), dtype, ulps=64, scale=scale)
    scale = np.abs(g).max() * math.sqrt(x.size // shape[1])
    close(found[1], dweight.astype("float64"), dtype, ulps=64, scale=scale)
    close(found[2], dbias.astype("float64"), dtype, ulps=64, scale=scale)
    old = numbers(rng, shape[1], dtype), np.abs(numbers(rng, shape[1], dtype))
    olds = [device(v, dtype) for v in old]
    mean, var = norms.batch_norm_stats(x_, *olds, momentum=0.25)
    new = x.astype(WIDE).mean(axis=axis), x.astype(WIDE).var(axis=axis, ddof=1)
    for y, before, after in zip((mean, var), old, new, strict=True):
        close(y, (before * 0.75 + after * 0.25).astype("float64"), dtype, scale=1)


@pytest.mark.parametrize("shape", [(40, 3), (6, 2, 50)])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_of_channels_that_float_has_no_room_for(shape, scale):
    rng = np.random.default_rng(8)
    x, axis = numbers(rng, shape, "float32", scale), (0, *range(2, len(shape)))
    w, b = device(np.ones(shape[1]), "float32"), device(np.zeros(shape[1]), "float32")
    for eps in (1e-5, 0.0):
        y = norms.batch_norm_train(device(x, "float32"), w, b, eps=eps)
        expected = standardised(x, axis, eps)[0].astype("float64")
        close(y.ravel(), expected.ravel(), "float32", ulps=64, scale=0)


def test_sums_of_blocks_are_made_in_one_order():
    rng = np.random.default_rng(1)
    x, g = (device(rng.standard_normal((900, 64)), "float32") for _ in range(2))
    w = device(rng.standard_normal(64), "float32")
    for kernel in (norms.layer_norm_grad, norms.batch_norm_grad):
        first = [y.get() for y in kernel(g, x, w, eps=1e-5)]
        for _ in range(2):
            for y, before in zip(kernel(g, x, w, eps=1e-5), first, strict=True):
                np.testing.assert_array_equal(y.get(), before)


@pytest.mark.parametrize(
    ("op", "kernel"),
    [
        (mg.layer_norm, norms.layer_norm), (mg.layer_norm_grad, norms.layer_norm_grad),
        (_rms_norm, norms.rms_norm), (_rms_norm_grad, norms.rms_norm_grad),
        (_batch_norm_train, norms.batch_norm_train), (_batch_norm_grad, norms.batch_norm_grad),
        (mg.batch_norm_stats, norms.batch_norm_stats),
    ],
)  # fmt: skip
def test_ops_find_their_kernels(op, kernel):
    assert op.call_on("cupy") == kernel.call


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_by_the_ops(dtype):
    """Through the public functions, against NumPy's arrays in float64."""
    rng = np.random.default_rng(2)
    x, g = rounded(rng.standard_normal((2, 6, 4, 9)), dtype)
    w, b, wc, bc = (rounded(rng.standard_normal(n), dtype) for n in (9, 9, 4, 4))
    functions = (
        (lambda x, w, b: mg.layer_norm(x, w, b), (x, w, b)),
        (lambda x, w: mg.rms_norm(x, w), (x, w)),
        (lambda x: mg.rms_norm(x, eps=1e-3), (x,)),
        (lambda x, w, b: mg.batch_norm(x, None, None, w, b), (x, wc, bc)),
    )
    for function, given_ in functions:
        found = []
        for module, own in ((cupy, dtype), (np, "float64")):
            with mg.backend.using(module.__name__):
                tensors = [
                    mg.tensor(module.asarray(v.astype(own)), requires_grad=True) for v in given_
                ]
                y = function(*tensors)
                mg.sum(y * mg.asarray(module.asarray(g.astype(own)))).backward()
                found.append([y.detach().numpy(), *(t.grad.numpy() for t in tensors)])
        eps = float(np.finfo(dtype).eps)
        for a, e in zip(*found, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a.astype("float64"), e, rtol=32 * eps, atol=32 * eps)


class OfGroups(Eager):
    """Who asks for launches where each group of rows has its own weights."""

    def __init__(self, scratch, offsets, own):
        super().__init__(scratch)
        self.offsets, self.own, self.kept = cupy.asarray(offsets), own, []

    def owns(self, *values):
        return any(v is not None and id(v) in self.own for v in values)

    def table(self, value):
        self.kept.append(cupy.asarray([v.data.ptr for v in self.own[id(value)]]))
        return self.kept[-1]

    def groups(self, rows):
        return len(self.offsets) - 1, self.offsets, rows // int(self.offsets[-1])


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("d", [9, 64, 600])
def test_groups_of_rows_with_weights_of_their_own(name, d):
    rng, of_layer = np.random.default_rng(d), name == "layer_norm"
    samples = np.array([0, 3, 3, 40, 41])  # the second group has none
    each = 2
    x = numbers(rng, (samples[-1] * each, d), "float32")
    g = numbers(rng, x.shape, "float32")
    w, b = numbers(rng, (2, 4, d), "float32")
    ws, bs = ([device(v, "float32", aligned=i > 1) for i, v in enumerate(m)] for m in (w, b))
    of_row = np.repeat(np.arange(4), np.diff(samples) * each)
    x_, g_ = device(x, "float32"), device(g, "float32")

    def run(kernel, outputs, inputs, own):
        asks = OfGroups(kernel.needs(*inputs, eps=1e-5), samples, own)
        for launch in kernel.launched(asks, outputs, *inputs, eps=1e-5):
            launch.ready()()

    kernel, y = getattr(norms, name), cupy.empty_like(x_)
    own = {id(ws[0]): ws, id(bs[0]): bs}
    run(kernel, [y], [x_, ws[0], *([bs[0]] if of_layer else [])], own)
    h = standardised(x, (1,), 1e-5, of_layer)[0]
    expected = h * w[of_row] + (b[of_row] if of_layer else 0)
    close(y, expected.astype("float64"), "float32", ulps=32, scale=1)

    kernel, dx = getattr(norms, f"{name}_grad"), cupy.empty_like(x_)
    dws, dbs = ([cupy.full(d, 7, "float32") for _ in range(4)] for _ in range(2))
    own |= {id(dws[0]): dws, id(dbs[0]): dbs}
    run(kernel, [dx, dws[0], *([dbs[0]] if of_layer else [])], [g_, x_, ws[0]], own)
    close(dx, gradients(g, x, w[of_row], (1,), 1e-5, of_layer)[0].astype("float64"), "float32",
          ulps=64, scale=5)  # fmt: skip
    for i in range(4):
        rows = of_row == i
        sums = (g * h)[rows].sum(axis=0), g[rows].sum(axis=0)
        for found, expected in zip((dws[i], dbs[i]), sums, strict=True):
            if not rows.any() or (found is dbs[i] and not of_layer):
                assert (found.get() == 7).all()  # as they were
            else:
                close(found, expected.astype("float64"), "float32", ulps=64, scale=5)

"""Attention on the device, forward and backward, against its formula in float64 on NumPy."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import kernels, ops, random
from minigrad.kernels.cuda import attention as page
from minigrad.precision import float32_matmul_precision

# Of the largest number of a result, for scores of a few units.
TOLERANCES = {
    "float64": 1e-13, "float32": 3e-6, "tf32": 4e-3, "float16": 4e-3, "bfloat16": 3e-2,
}  # fmt: skip
SHORT, LONG = st.integers(1, 16), st.integers(65, 100)

# Each is compiled once for all lengths: dtype, features of a head of keys and of values, queries
# and keys, the mask's axes and what it is of, causal, dropout, whether heads are views, and whether
# the forward pass keeps what the backward pass wants to know of the weights.
CASES = [
    ("float32", 16, 16, LONG, LONG, None, True, 0.0, True, True),
    ("float32", 5, 9, SHORT, LONG, "B11S", False, 0.25, True, False),
    ("float64", 6, 20, LONG, SHORT, "BHTS", True, 0.5, False, True),
    ("tf32", 16, 24, LONG, LONG, "TS floats", False, 0.25, True, True),
    ("tf32", 9, 4, SHORT, SHORT, "BHTS", True, 0.0, False, False),
    ("float16", 24, 8, SHORT, LONG, "1H1S floats", False, 0.0, True, False),
    ("bfloat16", 40, 16, LONG, LONG, "B11S", True, 0.1, True, True),
    ("bfloat16", 72, 100, SHORT, SHORT, "BHTS floats", True, 0.25, True, False),
    ("bfloat16", 3, 20, LONG, SHORT, None, False, 0.0, False, False),
]


def named(dtype):
    if dtype == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype("float32" if dtype == "tf32" else dtype)


class Case:
    """Arrays on NumPy and on the device, and what the formula says in float64."""

    def __init__(
        self, seed, dtype, heads, d, e, batch, queries, keys, mask, causal, p, views, kept
    ):
        rng = np.random.default_rng(seed)
        self.kept = kept
        self.tolerance, dtype = TOLERANCES[dtype], named(dtype)

        def drawn(length, features):
            """Rows which, as `views`, are parts of wider ones: as of a packed projection."""
            more = 2 * heads * features if views else 0
            wide = rng.standard_normal((batch, length, heads * features + more)).astype(dtype)
            start = heads * features if views else 0
            part = (..., slice(start, start + heads * features))
            return wide[part], cupy.asarray(wide)[part]

        pairs = [drawn(queries, d), drawn(keys, d), drawn(keys, e), drawn(queries, e)]
        (self.q, self.k, self.v, self.g), (q, k, v, self.on_device_g) = zip(*pairs, strict=True)
        self.mask = None
        if mask is not None:
            letters, *floats = mask.split()
            sizes = {"B": batch, "H": heads, "T": queries, "S": keys, "1": 1}
            shape = [sizes[x] for x in letters]
            self.mask = rng.random(shape) < 0.7
            if floats:
                self.mask = np.where(self.mask, rng.standard_normal(shape), -np.inf).astype(dtype)
            if rng.random() < 0.5:  # queries that see no key
                self.mask[(0,) * (len(shape) - 2)][:1] = -np.inf if floats else False
        self.key = random.key(seed) if p else None
        self.options = {"heads": heads, "causal": causal, "scale": None, "dropout": p}
        on_device = None if self.mask is None else cupy.asarray(self.mask)
        self.on_device = (q, k, v, on_device, self.key)

    def expected(self):
        g, q, k, v = (x.astype("float64") for x in (self.g, self.q, self.k, self.v))
        mask = self.mask
        mask = mask if mask is None or mask.dtype == bool else mask.astype("float64")
        given = (q, k, v, mask, self.key)
        y = ops.attention.formula(np, *given, **self.options)
        return [y, *ops.attention_grad.formula(np, g, *given, **self.options)]

    def actual(self):
        keep = {"keep": True} if self.kept else {}
        y = page.attention(*self.on_device, **self.options, **keep)
        more = y if self.kept else ()
        grads = page.attention_grad(self.on_device_g, *self.on_device, *more, **self.options)
        return [y[0] if self.kept else y, *grads]

    def check(self):
        names = ("y", "dq", "dk", "dv")
        for name, got, want in zip(names, self.actual(), self.expected(), strict=True):
            got = got.get().astype("float64")
            assert got.shape == want.shape
            size = max(1, np.abs(want).max())
            np.testing.assert_allclose(got, want, rtol=0, atol=self.tolerance * size, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_attention_equals_the_formula(case):
    dtype, d, e, queries, keys, *others = case

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 3), queries, keys)
    def check(seed, heads, batch, queries, keys):
        Case(seed, dtype, heads, d, e, batch, queries, keys, *others).check()

    with float32_matmul_precision("high" if dtype == "tf32" else "highest"):
        check()


# --- what is rare ---------------------------------------------------------------------------------

OPTIONS = {"heads": 1, "causal": False, "scale": None, "dropout": 0.0}


def both(g, q, k, v, mask=None, key=None, **options):
    """y, dq, dk and dv, on NumPy again; with `options` beside `OPTIONS`."""
    options = OPTIONS | options
    on_device = [x if x is None else cupy.asarray(x) for x in (q, k, v, mask)]
    y = page.attention(*on_device, key, **options)
    found = [y, *page.attention_grad(cupy.asarray(g), *on_device, key, **options)]
    return [x.get() for x in found]


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_queries_that_see_no_key_give_zeros_and_no_gradient():
    g, q, k, v = (floats(2, 5, 8, seed=i) for i in range(4))
    mask = np.ones((2, 1, 5, 5), bool)
    mask[0] = False
    mask[1, 0, 2] = False
    y, dq, dk, dv = both(g, q, k, v, mask)
    for x in (y, dq, dk, dv):
        assert not x[0].any()
        assert np.isfinite(x).all()
    assert not y[1, 2].any()
    assert not dq[1, 2].any()
    assert y[1, 1].all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_stays_in_the_rows_that_see_it(bad):
    g, q, k, v = (floats(1, 5, 8, seed=i) for i in range(4))
    q[0, 3, 0] = bad
    y, dq, dk, _ = both(g, q, k, v)
    with np.errstate(invalid="ignore"):
        expected = ops.attention.formula(np, q, k, v, **OPTIONS)
    assert (np.isnan(y) == np.isnan(expected)).all()
    assert np.isnan(y[0, 3]).all()
    assert np.isnan(dq[0, 3]).all()
    assert np.isnan(dk).any()
    assert np.isfinite(dq[0, :3]).all()


@pytest.mark.parametrize("offset", [-1e9, 1e9, 3e4])
def test_floats_that_hide_need_not_be_infinite(offset):
    """Where all keys of a query have one offset, however large, the weights add up to one."""
    g, q, k, v = (floats(1, 6, 8, seed=i) for i in range(4))
    mask = np.zeros((6, 6), "float32")
    mask[2] = offset
    mask[3, 2:] = -abs(offset)
    found = both(g, q, k, v, mask)
    expected = [
        ops.attention.formula(np, q, k, v, mask, **OPTIONS),
        *ops.attention_grad.formula(np, g, q, k, v, mask, **OPTIONS),
    ]
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=5e-3 if offset == 3e4 else 2e-6)


def test_a_scale_may_be_negative_or_zero():
    g, q, k, v = (floats(1, 6, 8, seed=i) for i in range(4))
    for scale in (-0.7, 0.0):
        found = both(g, q, k, v, scale=scale)
        options = OPTIONS | {"scale": scale}
        expected = [
            ops.attention.formula(np, q, k, v, **options),
            *ops.attention_grad.formula(np, g, q, k, v, **options),
        ]
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=2e-6)


def test_the_same_bits_come_out_again():
    arrays = [floats(1, 70, 16, seed=i) for i in range(4)]
    first, again = (both(*arrays, key=random.key(3), dropout=0.3) for _ in range(2))
    for x, y in zip(first, again, strict=True):
        assert (x == y).all()


def test_the_op_finds_the_kernel():
    assert kernels.find(kernels.twin("attention.attention")) is page.attention
    q, k, v = (
        mg.tensor(cupy.asarray(floats(2, 6, 16, seed=i)), requires_grad=True) for i in range(3)
    )
    y = ops.attention(q, k, v, heads=2, causal=True)
    (y * y).sum().backward()
    w = [x.detach().numpy() for x in (q, k, v)]
    options = OPTIONS | {"heads": 2, "causal": True}
    want = ops.attention.formula(np, *w, **options)
    grads = ops.attention_grad.formula(np, 2 * want, *w, **options)
    np.testing.assert_allclose(y.detach().numpy(), want, atol=2e-6)
    for x, grad in zip((q, k, v), grads, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), grad, atol=5e-6)


def test_what_is_declined():
    x = cupy.asarray(floats(1, 4, 8))
    wide = cupy.asarray(floats(1, 4, 2 * page.SIZE))
    twice = x.astype("float64")
    for arrays in (
        (x, x, twice, None), (wide, wide, wide, None), (*[x.swapaxes(1, 2)] * 3, None),
        (x, x[:, :0], x[:, :0], None), (x, x, x, twice[0, :, :4]),
        (*[x.astype("int64")] * 3, None),
    ):  # fmt: skip
        assert page.attention(*arrays, None, **OPTIONS) is NotImplemented
    assert page.attention(x, x, x, None, None, **OPTIONS | {"dropout": 0.5}) is NotImplemented
    big = cupy.zeros((1, 4, 80), "float64")
    assert page.attention_grad(big, big, big, big, None, None, **OPTIONS) is NotImplemented


def test_programs_tell_the_derivative_what_is_kept():
    arrays = [cupy.asarray(floats(2, 70, 16, seed=i)) for i in range(3)]

    def grads(*arrays):
        with random.stream(0):
            q, k, v = (mg.tensor(x, requires_grad=True) for x in arrays)
            y = ops.attention(q, k, v, None, random.key(1), heads=2, causal=True, dropout=0.2)
            (y * y).sum().backward()
            return q.grad, k.grad, v.grad

    step = mg.jit(grads)
    for _ in range(3):
        found = step(*arrays)
    calls = [c for c in step.steps[0].program.calls if c.op is ops.attentions.attention_grad]
    assert [len(c.inputs) for c in calls] == [8]
    for got, want in zip(found, grads(*arrays), strict=True):
        np.testing.assert_allclose(mg.backend.to_numpy(got.data), want.numpy(), atol=1e-5)

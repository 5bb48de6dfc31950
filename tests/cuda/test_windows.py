"""Windows, pooling, and copies of arrays in any layout."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import ops
from minigrad.kernels.cuda import windows as page
from minigrad.operations import REGISTRY

DTYPES = ("float32", "float64", "float16", "bfloat16")
rng = np.random.default_rng(11)


def named(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def numbers(*shape, dtype="float32"):
    return rng.standard_normal(shape).astype(dtype)


def equal(y, want):
    y = cupy.asnumpy(y)
    assert y.shape == want.shape
    assert y.dtype == want.dtype
    np.testing.assert_array_equal(y.astype("float64"), want.astype("float64"))


# --------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("name", [*DTYPES, "bool", "int64"])
def test_what_is_transposed_is_copied_in_order(name):
    x = (numbers(9, 40) > 0 if name == "bool" else 10 * numbers(9, 40)).astype(named(name))
    equal(page.reshape(cupy.asarray(x).T, shape=(-1,)), x.T.reshape(-1))


LAYOUTS = {
    "heads": lambda x: x.transpose(0, 2, 1, 3),
    "last axes": lambda x: x.transpose(0, 1, 3, 2),
    "all": lambda x: x.transpose(3, 2, 1, 0),
    "first to last": lambda x: x.transpose(1, 2, 3, 0),
    "backwards": lambda x: x[:, ::-1, :, ::-1],
    "gaps": lambda x: x[:, :, ::2, 1:].transpose(0, 3, 1, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_copied_in_order(layout):
    x = numbers(34, 3, 10, 33)
    y = LAYOUTS[layout](cupy.asarray(x))
    equal(page.reshape(y, shape=(3, -1)), LAYOUTS[layout](x).reshape(3, -1))


def test_tiles_are_taken_where_axes_are_swapped():
    x = cupy.zeros((4, 40, 50), "float32")

    def function(y):
        out = cupy.empty(y.shape, y.dtype)
        return [launch.function for launch in page.copied(out, y)]

    assert function(x.transpose(0, 2, 1)) == ["transpose"]
    assert function(x.transpose(1, 0, 2)) == ["chain"]
    assert function(x[:, :, :4].transpose(0, 2, 1)) == ["chain"]
    assert function(x[:0]) == []


# -------------------------------------------------------------------------------------- windows

WINDOWS = [
    {"axis": -1, "size": 3, "count": 5},
    {"axis": -2, "size": 2, "count": 3, "stride": 2},
    {"axis": -1, "size": 2, "count": 2, "stride": 3, "dilation": 2},
    {"axis": -2, "size": 1, "count": 2, "stride": 4},
    {"axis": -1, "size": 7, "count": 1},
]


@pytest.mark.parametrize("options", WINDOWS)
def test_windows_and_their_sums(options):
    x = numbers(2, 3, 6, 7)
    got = page.windows(cupy.asarray(x), **options)
    want = REGISTRY["_windows"].formula(np, x, **options)
    equal(got, want)
    back = {k: v for k, v in options.items() if k in ("axis", "stride", "dilation")}
    back["length"] = x.shape[options["axis"]]
    g = numbers(*want.shape)
    total = REGISTRY["_sum_windows"].formula(np, g, **back)
    np.testing.assert_allclose(
        cupy.asnumpy(page.sum_windows(cupy.asarray(g), **back)), total, atol=1e-6
    )


@pytest.mark.parametrize("name", DTYPES[1:])
def test_windows_of_other_dtypes(name):
    dtype = named(name)
    x = numbers(2, 2, 9, dtype=dtype)
    options = {"axis": -1, "size": 3, "count": 4, "stride": 2}
    equal(page.windows(cupy.asarray(x)[..., ::-1], **options),
          REGISTRY["_windows"].formula(np, x[..., ::-1], **options))  # fmt: skip
    g = numbers(2, 2, 3, 4, dtype=dtype)
    back = {"axis": -1, "length": 9, "stride": 2, "dilation": 1}
    want = REGISTRY["_sum_windows"].formula(np, g.astype("float64"), **back)
    got = cupy.asnumpy(page.sum_windows(cupy.asarray(g), **back))
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype("float64"), want, atol=3e-2, rtol=1e-2)


# -------------------------------------------------------------------------------------- pooling


@st.composite
def pools(draw):
    axes = draw(st.integers(1, 2))
    of = lambda most: tuple(draw(st.integers(1, most)) for _ in range(axes))  # noqa: E731
    kernel, stride, dilation, counts, more = of(3), of(3), of(2), of(4), of(3)
    lengths = tuple(
        (c - 1) * s + (k - 1) * d + m
        for c, s, k, d, m in zip(counts, stride, kernel, dilation, more, strict=True)
    )
    options = {"kernel": kernel, "stride": stride, "dilation": dilation, "counts": counts}
    return lengths, options


def largest(x, kernel, stride, dilation, counts):
    """The largest of each window of x (A, B, H, W), and where its first one is."""
    y, at = np.empty((*x.shape[:2], *counts), x.dtype), {}
    for a, b, p, q in np.ndindex(y.shape):
        best = None
        for i, j in np.ndindex(*kernel):
            place = p * stride[0] + i * dilation[0], q * stride[1] + j * dilation[1]
            v, most = x[(a, b, *place)], x[(a, b, *(best or place))]
            if best is None or v > most or (v != v and most == most):
                best = place
        y[a, b, p, q], at[a, b, p, q] = x[(a, b, *best)], best
    return y, at


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=10, deadline=None)
@given(case=pools(), seed=st.integers(0, 9), strided=st.booleans())
def test_the_largest_of_each_window_and_its_gradient(name, case, seed, strided):
    (lengths, options), dtype = case, named(name)
    draw = np.random.default_rng(seed)
    x = draw.integers(-2, 3, (2, 2, *lengths)).astype(dtype)  # ties: the first one counts
    for k in (seed, seed + 1):  # of which the first counts, too
        x[0, 0].flat[k % x[0, 0].size] = np.nan
    g = draw.integers(-3, 4, (2, 2, *options["counts"])).astype(dtype)
    there, gradient = cupy.asarray(x), cupy.asarray(g)
    if strided:  # planes that lie in another order
        there = cupy.asarray(x.swapaxes(0, 1).copy()).swapaxes(0, 1)
        gradient = cupy.asarray(g.swapaxes(0, 1).copy()).swapaxes(0, 1)
    flat = options if len(lengths) == 2 else {k: (1, *v) for k, v in options.items()}
    want, at = largest(x.reshape(2, 2, *((1, *lengths)[-2:])), **flat)
    equal(page.max_windows(there, **options), want.reshape(g.shape))
    dx = np.zeros((2, 2, *((1, *lengths)[-2:])))
    for (a, b, p, q), place in at.items():
        dx[(a, b, *place)] += float(g.reshape(want.shape)[a, b, p, q])
    equal(page.max_windows_grad(gradient, there, **options), dx.reshape(x.shape).astype(dtype))


def test_what_is_declined():
    x = cupy.zeros((2, 2, 6, 6), "float32")
    options = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1), "counts": (4, 3)}
    assert page.max_windows(x, **options) is NotImplemented  # beyond the end
    options["counts"] = (3, 3)
    assert page.max_windows(x.swapaxes(2, 3), **options) is NotImplemented
    assert page.max_windows_grad(x, x, **options) is NotImplemented
    assert page.windows(x, axis=-1, size=3, count=5) is NotImplemented
    assert page.sum_windows(x, axis=-1, length=3) is NotImplemented
    assert page.reshape(x[:0], shape=(0,)) is NotImplemented


def test_through_the_ops():
    x = numbers(2, 3, 7, 8)
    found = []
    for module in (np, cupy):
        t = mg.Tensor(module.asarray(x), requires_grad=True)
        y = ops.max_pool2d(t, kernel_size=3, stride=2, padding=1)
        ops.sum(y * y).backward()
        found.append([cupy.asnumpy(y.data), cupy.asnumpy(t.grad.data)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)

"""Sums, means, largest and smallest, of arrays and of chains, in any layout."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.kernels.cuda import reductions
from minigrad.kernels.cuda.elementwise import Step
from minigrad.kernels.cuda.reductions import Plan, largest, mean, reduce, smallest, total

FLOAT32 = np.dtype("float32")
TOLERANCES = {"float32": 3e-6, "float64": 1e-12, "float16": 2e-3, "bfloat16": 1e-2}
rng = np.random.default_rng(7)


def named(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def numbers(*shape, dtype=FLOAT32):
    return rng.standard_normal(shape).astype(dtype)


def agree(y, want, tolerance, dtype):
    y = cupy.asnumpy(y)
    want = np.asarray(want)
    assert y.dtype == dtype
    assert y.shape == want.shape
    scale = max(1.0, float(np.nanmax(abs(want.astype("float64")), initial=0)))
    np.testing.assert_allclose(
        y.astype("float64"), want.astype("float64"), rtol=tolerance, atol=tolerance * scale
    )


# What decides on the kernel: which axes go, how long they are, how few results there are.
SHAPES = {
    "rows": ((5, 37), 1),
    "long rows": ((3, 4096), 1),
    "many short rows": ((300, 3), 1),
    "all": ((1001,), None),
    "all of few": ((2, 3), None),
    "all of many": ((40007,), None),
    "columns": ((37, 24), 0),
    "few columns": ((3000, 3), 0),
    "channels": ((3, 5, 4, 4), (0, 2, 3)),
    "in the middle": ((3, 50, 8), 1),
    "both ends": ((4, 3, 12), (0, 2)),
    "every other": ((2, 3, 4, 5, 6), (0, 2, 4)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_sums_over_any_axes(case):
    shape, axis = SHAPES[case]
    x = numbers(*shape)
    there = cupy.asarray(x)
    wide = x.astype("float64")
    agree(total(there, axis=axis), wide.sum(axis=axis), 3e-6, FLOAT32)
    if case in ("rows", "columns"):
        y = mean(there, axis=axis, keepdims=True)
        agree(y, wide.mean(axis=axis, keepdims=True), 3e-6, FLOAT32)


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize(("shape", "axis"), [((6, 40), 1), ((33, 16), 0), ((999,), None)])
def test_every_dtype_of_floats(name, shape, axis):
    dtype = named(name)
    x = numbers(*shape, dtype=dtype)
    wide = x.astype("float64")
    there = cupy.asarray(x)
    agree(total(there, axis=axis), wide.sum(axis=axis), TOLERANCES[name], dtype)
    agree(smallest(there, axis=axis), wide.min(axis=axis), 0, dtype)
    if dtype.itemsize == 2:
        agree(total(there, axis=axis, dtype="float32"), wide.sum(axis=axis), 3e-6, FLOAT32)


@pytest.mark.parametrize("name", ["int64", "int32", "bool"])
def test_integers_and_booleans(name):
    x = rng.integers(-5, 5, (7, 40)).astype(name)
    there = cupy.asarray(x)
    agree(total(there, axis=1), x.sum(axis=1), 0, np.dtype("int64"))
    agree(mean(there, axis=0), x.mean(axis=0), 1e-6, FLOAT32)
    agree(largest(there, axis=0), x.max(axis=0), 0, x.dtype)
    assert total(cupy.asarray(x.astype("uint8")), axis=1) is NotImplemented


def test_nan_and_infinities():
    x = numbers(4, 70)
    x[0, 5], x[1, 3], x[2, 69] = np.nan, -np.inf, np.inf
    there = cupy.asarray(x)
    for kernel, formula in ((largest, np.max), (total, np.sum)):
        for axis in (0, 1, None):
            got = cupy.asnumpy(kernel(there, axis=axis))
            np.testing.assert_allclose(got, formula(x, axis=axis), rtol=1e-5)
    lowest = np.full((3, 8), -np.inf, "float32")
    assert (cupy.asnumpy(largest(cupy.asarray(lowest), axis=1)) == -np.inf).all()
    far = np.full((2, 8), np.iinfo(np.int64).min)
    assert (cupy.asnumpy(largest(cupy.asarray(far), axis=1)) == far[:, 0]).all()


@settings(max_examples=10, deadline=None)
@given(
    rows=st.integers(2, 70),
    length=st.integers(2, 300),
    axis=st.sampled_from([0, 1]),
    cut=st.integers(0, 3),
)
def test_shapes_that_divide_nothing(rows, length, axis, cut):
    x = cupy.asarray(numbers(rows, length + cut))[:, cut:]
    want = cupy.asnumpy(x).astype("float64").sum(axis=axis)
    agree(total(x, axis=axis), want, 1e-5, FLOAT32)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_layouts(axis):
    x = cupy.asarray(numbers(12, 16))
    for y in (x.T, x[::2], x[:, ::-1], cupy.broadcast_to(x[:1], (5, 16))):
        want = cupy.asnumpy(y).astype("float64").sum(axis=axis)
        agree(total(y, axis=axis), want, 3e-6, FLOAT32)


def test_a_chain_is_computed_as_it_is_read():
    x, row, column = numbers(6, 48), numbers(48), numbers(6, 1)
    steps = [
        Step("multiply", (-1, -2), FLOAT32),
        Step("subtract", (0, -3), FLOAT32),
        Step("square", (1,), FLOAT32),
        Step("multiply", (2, -4), FLOAT32),
    ]
    inputs = cupy.asarray(x), cupy.asarray(row), cupy.asarray(column), 0.5
    value = (x.astype("float64") * row - column) ** 2 * 0.5
    for axis in (0, 1, None):
        y = reduce(*inputs, steps=steps, what="sum", axis=axis)
        agree(y, value.sum(axis=axis), 3e-6, FLOAT32)
    y = reduce(inputs[1], inputs[0], steps=[Step("add", (-1, -2), FLOAT32)], what="max", axis=1)
    agree(y, (x + row).max(axis=1), 0, FLOAT32)


def test_few_results_are_added_up_in_parts_the_same_way_each_time():
    x = cupy.asarray(numbers(40007))
    steps = [Step("square", (-1,), FLOAT32)]
    asked = {"steps": steps, "what": "sum", "axis": None}
    assert reduce.needs(x, **asked)
    first = cupy.asnumpy(reduce(x, **asked))
    assert first == cupy.asnumpy(reduce(x, **asked))
    agree(first, (cupy.asnumpy(x).astype("float64") ** 2).sum(), 3e-6, FLOAT32)
    columns = cupy.asarray(numbers(3000, 8))
    asked = {"steps": (), "what": "mean", "axis": 0}
    assert reduce.needs(columns, **asked)
    want = cupy.asnumpy(columns).astype("float64").mean(axis=0)
    agree(reduce(columns, **asked), want, 3e-6, FLOAT32)


class Shaped:
    def __init__(self, shape, dtype=FLOAT32):
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        steps = np.cumprod([dtype.itemsize, *shape[:0:-1]])[::-1]
        self.strides = tuple(map(int, steps))


@pytest.mark.parametrize("shape", [(1 << 24,), (64, 1 << 18), (1 << 18, 64), (1 << 20, 16)])
@pytest.mark.parametrize("axis", [0, -1])
def test_large_arrays_keep_a_device_busy(shape, axis):
    gone = axis % len(shape)
    like = Shaped(tuple(1 if i == gone else n for i, n in enumerate(shape)))
    plan = Plan(shape, [Shaped(shape)], like)
    assert plan.blocks * plan.parts >= 1000
    assert plan.parts * plan.each >= plan.units > (plan.parts - 1) * plan.each


def test_what_is_declined():
    x = cupy.zeros((3, 4), "float32")
    assert total(cupy.zeros((0, 3), "float32"), axis=0) is NotImplemented
    assert total(x, dtype="int32") is NotImplemented
    assert total(x, axis=()) is NotImplemented
    assert total(x.reshape(1, 3, 4), axis=0) is NotImplemented
    assert largest(cupy.zeros(3, "uint32")) is NotImplemented
    assert reductions.sum_all is reductions.column_sums is total

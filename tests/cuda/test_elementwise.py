"""Chains of element-by-element ops: each op, each kind of layout, and what is declined.

Chains are few and long, as each structure is compiled.
"""

import warnings

import cupy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.kernels.cuda import elementwise as page
from minigrad.kernels.cuda.elementwise import Step, divisor, elementwise
from minigrad.operations import REGISTRY

FLOAT32, BOOL = np.dtype("float32"), np.dtype(bool)
rng = np.random.default_rng(5)


def bfloat16():
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


def named(name):
    return bfloat16() if name == "bfloat16" else np.dtype(name)


def by_formulas(steps, inputs):
    """The steps one after the other in NumPy, by the formulas of the ops."""
    found = {-1 - i: x for i, x in enumerate(inputs)}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, step in enumerate(steps):
            op = REGISTRY[step.name]
            params = {**op.static, **dict(step.params)}
            found[i] = op.formula(np, *(found[s] for s in step.sources), **params)
    return found


def on_device(x):
    return cupy.asarray(x) if isinstance(x, np.ndarray) else x


def on_host(x):
    return cupy.asnumpy(x) if isinstance(x, cupy.ndarray) else x


def check(steps, inputs, kept=None, tolerance=2e-6):
    kept = tuple(range(len(steps))) if kept is None else kept
    expected = by_formulas(steps, [on_host(x) for x in inputs])
    got = elementwise(*map(on_device, inputs), steps=steps, kept=kept)
    assert got is not NotImplemented
    for y, i in zip(got, kept, strict=True):
        y, want = cupy.asnumpy(y), np.asarray(expected[i])
        assert y.dtype == steps[i].dtype == want.dtype, steps[i]
        if want.dtype.kind in "iub":
            np.testing.assert_array_equal(y, want, err_msg=str(steps[i]))
        else:
            y, want = y.astype("float64"), want.astype("float64")
            np.testing.assert_allclose(
                y, want, rtol=tolerance, atol=tolerance, err_msg=str(steps[i])
            )


# ----------------------------------------------------------------------------------------- ops

TOLERANCES = {"float32": 2e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5]


def float_ops():
    """All ops of floats: of one input, then of two."""
    kinds = {**page.SAME, **page.FLOAT, **page.ROUNDING, "softplus": "{0}"}
    del kinds["_relu_grad"]  # which takes what a relu gives: see below
    return [(name, 1 + ("{1}" in text)) for name, text in kinds.items()]


@pytest.mark.parametrize("name", TOLERANCES)
def test_every_op_of_floats_has_the_values_of_its_formula(name):
    dtype = named(name)
    a = np.concatenate([np.repeat(SPECIAL, len(SPECIAL)), 2 * rng.standard_normal(67)])
    b = np.concatenate([np.tile(SPECIAL, len(SPECIAL)), 2 * rng.standard_normal(67)])
    a, b = a.astype(dtype), b.astype(dtype)
    ops = float_ops()
    if dtype.itemsize == 2:  # whose formulas in NumPy have digits of their own
        ops = [(n, k) for n, k in ops if n not in ("mod", "floor_divide", "fmod", "tanhshrink")]
        ops = [(n, k) for n, k in ops if n not in ("softplus", "xlogy", "xlog1py", "logsigmoid")]
    if name == "bfloat16":  # these NumPy has not of it, or lifts
        missing = ("logaddexp2", "logaddexp", "hypot", "fmod", "sigmoid", "logsigmoid", "erf")
        ops = [(n, k) for n, k in ops if n not in (*missing, "rsqrt", "reciprocal", "softsign")]
        ops = [(n, k) for n, k in ops if n not in ("relu", "erfc")]
    steps = [Step(n, (-1, -2)[:k], dtype, _params(n, dtype)) for n, k in ops]
    check(steps, (a, b), tolerance=TOLERANCES[name])


def _params(name, dtype):
    return (("dtype", dtype),) if name == "astype" else ()


def test_powers():
    x = np.array([0.0, 1.5, 2.0, -3.0, np.inf, np.nan, 0.3], FLOAT32)
    y = np.array([0.0, 2.5, -1.0, 3.0, 2.0, 0.0, 0.5], FLOAT32)
    exponents = [2, 3, 1, -1, 0.5, 0, 2.5, -2]
    steps = [Step("power", (-1, -3 - i), FLOAT32) for i in range(len(exponents))]
    check([*steps, Step("power", (-1, -2), FLOAT32)], (x, y, *exponents))
    ids = np.array([0, 1, -2, 3], np.int64)
    steps = [Step("power", (-1, -2 - i), ids.dtype) for i in range(4)]
    check(steps, (ids, 0, 1, 2, 5))


@pytest.mark.parametrize("name", ["int64", "int32", "uint8", "bool"])
def test_every_op_of_integers_has_the_values_of_its_formula(name):
    dtype = np.dtype(name)
    a = rng.integers(0 if dtype.kind in "ub" else -9, 9, 60).astype(dtype)
    b = rng.integers(0, 2 if name == "bool" else 7, 60).astype(dtype)
    if dtype.kind == "i":
        b[::7] = -b[::7]
    steps = []
    for op in ("add", "multiply", "maximum", "minimum", "zeros_like", "ones_like"):
        steps.append(Step(op, (-1, -2)[: 1 + ("{1}" in page.SAME[op])], dtype))
    steps += [Step(op, (-1, -2), dtype) for op in ("bitwise_and", "bitwise_or", "bitwise_xor")]
    steps += [Step(op, (-1, -2), BOOL) for op in (*page.LOGIC, *page.COMPARE)[:3]]
    steps += [Step(op, (-1, -2), BOOL) for op in list(page.COMPARE)[:6]]
    steps += [Step("logical_not", (-1,), BOOL), Step("invert", (-1,), dtype)]
    steps.append(Step("where", (-2, -1, -2), dtype))
    if name != "bool":
        steps += [Step("positive", (-1,), dtype)]
        steps += [Step(op, (-1, -2), dtype) for op in ("subtract", "floor_divide", "mod", "fmod")]
        steps += [Step(op, (-1,), dtype) for op in ("square", "absolute", "sign", "floor", "rint")]
        steps += [Step(op, (-1, -3), dtype) for op in ("left_shift", "right_shift")]
    if dtype.kind == "i":
        steps += [Step("negative", (-1,), dtype)]
    check(steps, (a, b, 3) if name != "bool" else (a, b))


def test_casts_and_what_meets_in_them():
    half, wide = np.dtype("float16"), np.dtype("float64")
    x = np.array([0.1, -2.7, 3.0, 0.0, 1e-3, 70000.0, np.inf], FLOAT32)
    ids, yes = np.array([1, 0, -5, 3, 2, 7, 9], np.int32), np.array([1, 0, 1, 1, 0, 0, 1], bool)

    def cast(source, dtype):
        return Step("astype", (source,), np.dtype(dtype), (("dtype", np.dtype(dtype)),))

    steps = [
        cast(-1, half),
        cast(0, "float32"),  # rounded on the way
        cast(-1, wide),
        cast(-1, bool),
        cast(-2, "float32"),
        cast(-3, "int64"),
        Step("multiply", (-1, -2), FLOAT32),
        Step("multiply", (2, -1), wide),
        Step("add", (-1, -3), FLOAT32),
        Step("divide", (-2, -4), FLOAT32),
        Step("less", (-1, -2), BOOL),
        Step("less", (-2, -4), BOOL),
        Step("less", (-2, -5), BOOL),
        Step("where", (-3, -1, -4), FLOAT32),
        Step("exp", (-2,), FLOAT32),
    ]
    check(steps, (x, ids, yes, 2, 0.5))


def test_numbers_that_are_not_finite_are_constants_too():
    x = np.array([1.0, -2.0, np.nan], FLOAT32)
    steps = [
        Step("where", (1, -2, -3), FLOAT32),
        Step("greater", (-1, -5), BOOL),
        Step("add", (-1, -4), FLOAT32),
        Step("multiply", (-1, -6), FLOAT32),
    ]
    steps = [steps[1], steps[0]._replace(sources=(0, -2, -3)), *steps[2:]]
    check(steps, (x, float("-inf"), float("inf"), float("nan"), 0, 1e-30))


# ------------------------------------------------------------------------------------- layouts


def steps_of_three(dtype=FLOAT32):
    return [
        Step("multiply", (-1, -2), dtype),
        Step("subtract", (0, -3), dtype),
        Step("greater", (1, -1), BOOL),
        Step("where", (2, 1, -2), dtype),
    ]


def numbers(*shape, dtype=FLOAT32):
    return rng.standard_normal(shape).astype(dtype)


def there(*shape):
    return cupy.asarray(numbers(*shape))


LAYOUTS = {
    "one stretch, with an end": lambda: (there(7, 11), there(7, 11), there(7, 11)),
    "rows": lambda: (there(5, 24), there(24), there(5, 1)),
    "rows of odd length": lambda: (there(5, 7), there(7), there(5, 1)),
    "one element": lambda: (there(37), there(), there(1)),
    "channels": lambda: (there(2, 3, 4, 4), there(3, 1, 1), there(2, 1, 4, 1)),
    "transposed": lambda: (there(6, 8), there(8, 6).T, there(6, 1)),
    "all transposed": lambda: (there(6, 8).T, there(6, 8).T, there(6, 8).T),
    "backwards": lambda: (there(6, 8)[:, ::-1], there(6, 8)[::-1], there(6, 8)),
    "gaps": lambda: (there(6, 16)[:, ::2], there(12, 8)[::2], there(6, 9)[:, 1:]),
    "not aligned": lambda: (there(42)[1:], there(43)[2:], there(41)),
    "outer": lambda: (there(6, 1), there(1, 8), there(1, 1)),
    "axes": lambda: (
        there(2, 3, 2, 3, 2, 3),
        there(3, 2, 3, 2, 3, 2).transpose(1, 0, 3, 2, 5, 4),
        there(2, 1, 2, 1, 2, 1),
    ),
    "nothing": lambda: (there(0, 3), there(3), there(1, 3)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout):
    check(steps_of_three(), LAYOUTS[layout](), kept=(3, 2))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64", "bool"])
def test_packs_of_other_sizes(name):
    dtype = named(name)
    x, row = numbers(4, 48).astype(dtype), numbers(48).astype(dtype)
    if name == "bool":
        return check([Step("logical_xor", (-1, -2), BOOL)], (x, row))
    mask = numbers(4, 48) > 0
    steps = [
        Step("where", (-3, -1, -2), dtype),
        Step("astype", (0,), FLOAT32, _params("astype", FLOAT32)),
    ]
    check(steps, (x, row, mask), tolerance=0)


def test_a_result_may_lie_where_an_input_does():
    x, y = numbers(4, 33), numbers(4, 33)
    first, other = cupy.asarray(x), cupy.asarray(y)
    steps = [Step("add", (-1, -2), FLOAT32), Step("multiply", (0, -1), FLOAT32)]
    page.chain_launch(steps, [first, other], (0, 1), [first, other]).ready()()
    np.testing.assert_allclose(cupy.asnumpy(first), x + y, rtol=1e-6)
    np.testing.assert_allclose(cupy.asnumpy(other), (x + y) * x, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1))
def test_division_by_magic_numbers(n, d):
    magic, shift = divisor(d)
    assert 0 < magic < 2**32
    assert ((n * magic >> 32) + n) >> shift == n // d
    assert ((n * magic >> 32) + n) < 2**32


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(-2, 2))
def test_division_near_multiples(d, k, shift_by):
    n = min(max(k // d * d + shift_by, 0), 2**31 - 1)
    magic, shift = divisor(d)
    assert ((n * magic >> 32) + n) >> shift == n // d


class Far:
    """Stands for an array that is too large to be made."""

    address, dtype = 1 << 20, np.dtype("int8")

    def __init__(self, shape, strides):
        self.shape, self.strides, self.ndim = shape, strides, len(shape)


def test_large_arrays_are_indexed_by_64_bits():
    long = Far((3 << 30,), (1,))
    rows, row = Far((1 << 16, 1 << 16), (1 << 16, 1)), Far((1 << 16,), (1,))
    assert page.Indexing(long.shape, [long], ["y0"]).kind == "i64"
    assert page.Indexing(rows.shape, [rows, row], ["y0", "x0"]).kind == "i64"
    assert page.Indexing((1 << 20,), [Far((1 << 20,), (1,))], ["y0"]).kind == "int"


@pytest.mark.parametrize("layout", ["one stretch, with an end", "rows", "axes"])
def test_indices_of_64_bits(layout, monkeypatch):
    monkeypatch.setattr(page, "SMALL", 0)
    check(steps_of_three(), LAYOUTS[layout](), kept=(3, 2))


# ------------------------------------------------------------------------- declined, and kernels


def test_what_no_chain_can_have_is_declined():
    x, ids = cupy.zeros(3, "float32"), cupy.zeros(3, "int64")
    for step, inputs in [
        (Step("sum", (-1,), FLOAT32), (x,)),
        (Step("power", (-1, -2), ids.dtype), (ids, -1)),
        (Step("power", (-1, -2), ids.dtype), (ids, ids)),
        (Step("exp", (-1,), ids.dtype), (ids,)),
        (Step("round", (-1,), FLOAT32, (("decimals", 2),)), (x,)),
        (Step("greater", (-1, -2), BOOL), (cupy.zeros(3, "uint8"), 300)),
        (Step("add", (-1, -2), FLOAT32), (x, cupy.zeros(4, "float32"))),
    ]:
        assert elementwise(*inputs, steps=[step], kept=(0,)) is NotImplemented, step


def test_names_are_those_of_ops():
    assert REGISTRY.keys() >= page.NAMES
    x, ids = cupy.zeros(3, "float32"), cupy.zeros(3, "int64")
    assert page.knows("tanh", (x,), FLOAT32)
    assert not page.knows("sum", (x,), FLOAT32)
    assert page.knows("power", (ids, 2), ids.dtype)
    assert not page.knows("power", (ids, -2), ids.dtype)


def test_equal_structures_share_one_source():
    def launch(n):
        x, y = cupy.zeros(n, "float32"), cupy.zeros(n, "float32")
        return page.chain_launch([Step("exp", (-1,), FLOAT32)], [x], (0,), [y])

    assert launch(8).page is launch(999).page


def test_kernels_of_single_ops():
    x, y = numbers(5, 8), numbers(5, 8)
    x[0, 0] = np.nan
    first, other = cupy.asarray(x), cupy.asarray(y)
    positive = np.maximum(x, 0)
    for kernel, inputs, want in [
        (page.add, (first, other), x + y),
        (page.relu, (first,), positive),
        (page.relu_grad, (other, cupy.asarray(positive)), np.where(positive > 0, y, positive)),
    ]:
        np.testing.assert_allclose(cupy.asnumpy(kernel(*inputs)), want)
    assert page.add(first, cupy.zeros(8, "float64")) is NotImplemented

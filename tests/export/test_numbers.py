"""Numbers of every dtype, and those that are none: NaN, infinities, zeros with a sign.

Here ONNX leaves more open than NumPy, and runtimes lack kernels; a file must give what the op
gives, be refused, or not be loaded. It must never give something else.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ExportError
from minigrad.export.exporting import graph_of

ort = pytest.importorskip("onnxruntime")

MORE = ["float64", "float16", "int32", "int16", "int8", "uint8", "uint32", "bool"]
DTYPES = ["float32", "int64", *(pytest.param(d, marks=pytest.mark.slow) for d in MORE)]
SPECIAL = [
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.5, -0.5, 1.5, 3.0, -7.0, 1e-3,
    100.0, -100.0, 1e3, -1e3, 88.0,
]  # fmt: skip
OF_ONE = """
    absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil celu cos cosh elu erf exp exp2
    expm1 floor frac gelu hardsigmoid hardswish hardtanh invert isfinite isinf isnan isneginf
    isposinf leaky_relu log log10 log1p log2 logical_not logsigmoid mish nan_to_num negative
    ones_like positive reciprocal relu relu6 rint round rsqrt selu sigmoid sign signbit silu sin
    sinc sinh softplus softsign sqrt square tan tanh tanhshrink trunc zeros_like
""".split()  # noqa: SIM905
OF_TWO = """
    add arctan2 bitwise_and bitwise_or bitwise_xor copysign divide equal floor_divide fmax fmin
    fmod greater greater_equal hypot isclose less less_equal logaddexp logaddexp2 logical_and
    logical_or logical_xor maximum minimum mod multiply not_equal power subtract
""".split()  # noqa: SIM905
ALONG = """
    all any argmax argmin argsort count_nonzero cumsum max mean median min nanmean nansum prod ptp
    sort std sum var
""".split()  # noqa: SIM905
OF_FLOATS_ALONG = ["log_softmax", "logsumexp", "softmax"]
ROWS = np.array([0, 0, 2])
OTHERS = {
    "astype bool": lambda x: x.astype(bool),
    "astype float16": lambda x: x.astype("float16"),
    "astype float64": lambda x: x.astype("float64"),
    "astype int32": lambda x: x.astype("int32"),
    "compared with a float": lambda x: x >= 0.5,
    "compared with more than it can hold": lambda x: x > 300,
    "concatenate": lambda x: mg.concatenate([x, x], 0),
    "diag": lambda x: mg.diag(x, k=1),
    "einsum": lambda x: mg.einsum("ij,kj->ik", x, x),
    "getitem, ids apart": lambda x: x[np.array([0, 1, 2]), :, np.array([0])][..., None],
    "getitem, ids beside each other": lambda x: x[:, None][..., ROWS, np.array([[1], [2]])],
    "getitem, slices": lambda x: x[1:, ::-2],
    "index_add": lambda x: mg.index_add(x, ROWS, x[:3]),
    "index_set": lambda x: mg.index_set(x, ROWS[1:], x[2:]),
    "matmul": lambda x: x @ x.T,
    "max_pool": lambda x: mg.max_pool1d(x[None], 2, padding=1),
    "avg_pool": lambda x: mg.avg_pool1d(x[None], 2, padding=1),
    "pad": lambda x: mg.pad(x, ((1, 0), (0, 2)), constant_values=1),
    "power of 3": lambda x: x**3,
    "power of a half": lambda x: x**0.5,
    "repeat": lambda x: mg.repeat(x, 2, axis=1),
    "roll": lambda x: mg.roll(x, 2, 1),
    "scatter_add": lambda x: mg.scatter_add(x, ROWS[None, :], x[:1, :3], axis=0),
    "take_along_axis": lambda x: mg.take_along_axis(x, ROWS[:, None][[0, 2, 1, 2]], axis=1),
    "topk": lambda x: mg.topk(x, 2)[0],
    "tril": lambda x: mg.tril(x, k=-1),
    "where": lambda x: mg.where(x > 0, x, 2),
    "with a float": lambda x: x * 0.5,
    "with an int": lambda x: 2 - x,
}
# What NumPy makes of a number below or above all that a dtype holds is left open.
LEFT_OPEN = {"astype int32"}


def numbers(dtype, seed=0):
    """Twenty of them, of floats the special ones."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return np.roll(SPECIAL, 3 * seed).astype(dtype)
    return plain(dtype, 20, seed)


def plain(dtype, shape, seed=0):
    draw = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "b":
        return draw.random(shape) < 0.5
    low = 0 if np.dtype(dtype).kind == "u" else -9
    return (draw.integers(low, 10, shape) * (0.5 if np.dtype(dtype).kind == "f" else 1)).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_ONE)
def test_a_function_of_one(name, dtype):
    compare(getattr(mg, name), numbers(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_TWO)
def test_a_function_of_two(name, dtype):
    op = getattr(mg, name)
    for seed in range(2):
        compare(op, numbers(dtype, seed), numbers(dtype, 2 * seed + 1))
    compare(op, numbers(dtype), numbers("float32", 1))
    compare(op, numbers(dtype), numbers("int64", 1))
    if np.dtype(dtype).kind in "iu":  # by 0 the runtime divides no integers, and ends the call
        divisors = numbers(dtype, 1)
        compared = compare(op, numbers(dtype), np.where(divisors == 0, 3, divisors).astype(dtype))
        assert compared or name not in ("mod", "fmod", "floor_divide")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*ALONG, *OF_FLOATS_ALONG])
def test_a_function_along_an_axis(name, dtype):
    if name in OF_FLOATS_ALONG and np.dtype(dtype).kind != "f":
        return
    op = getattr(mg, name)
    for x in (plain(dtype, (4, 5)), numbers(dtype).reshape(4, 5)):
        compare(lambda x: op(x, axis=-1), x)
    compare(lambda x: op(x, axis=0), plain(dtype, (4, 5)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OTHERS)
def test_another_function(name, dtype):
    compare(OTHERS[name], plain(dtype, (4, 5)))
    if name not in LEFT_OPEN:
        compare(OTHERS[name], numbers(dtype).reshape(4, 5))


@pytest.mark.parametrize("low", [-np.inf, -3.0])
@pytest.mark.parametrize("function", [mg.softmax, mg.log_softmax])
def test_a_softmax_of_nothing_that_is_to_be_seen(function, low):
    compare(function, np.array([[low] * 3, [1.0, low, 2.0]], np.float32))


def test_attention_where_nothing_is_to_be_seen():
    q, k, v = (plain("float32", (2, 3, 4), seed) for seed in range(3))
    seen = np.array([[[[True, False, True]]], [[[False] * 3]]])
    for causal in (False, True):
        compare(lambda q, k, v, m, c=causal: mg.attention(q, k, v, m, heads=2, causal=c),
                q, k, v, seen)  # fmt: skip


def compare(function, *arrays):
    """The function's value and that of its file; True if there is one."""
    with np.errstate(all="ignore"):
        try:
            expected = function(*map(mg.Tensor, arrays)).numpy()
        except (mg.errors.MinigradError, TypeError, ValueError, OverflowError):
            return False  # it does not take the dtype
        try:
            names = [f"x{i}" for i in range(len(arrays))]
            file, _ = graph_of(function, arrays, names, dynamic_axes={})
        except ExportError:
            return False
    ort.set_default_logger_severity(4)
    try:
        session = ort.InferenceSession(file.SerializeToString())
    except Exception as error:
        assert "NOT_IMPLEMENTED" in str(error), error  # noqa: PT017
        assert {"float64", "float16"} & {str(x.dtype) for x in arrays}
        return False
    try:
        [got] = session.run(None, dict(zip(names, arrays, strict=True)))
    except Exception as error:
        assert "by zero" in str(error), error  # noqa: PT017
        return False
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if expected.dtype.kind == "f":
        tolerance = {2: 3e-3, 4: 1e-4, 8: 1e-9}[expected.dtype.itemsize]
        wide = (x.astype(np.float64) for x in (got, expected))
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance / 10)
    else:
        np.testing.assert_array_equal(got, expected)
    return True


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32"])
def test_almost_all_is_exported(dtype):
    """The other tests would pass if nothing were."""
    done = {name: compare(getattr(mg, name), np.abs(numbers(dtype))) for name in OF_ONE}
    missing = {name for name, exported in done.items() if not exported}
    assert missing <= ({"invert"} if dtype == "float32" else {"nan_to_num"})

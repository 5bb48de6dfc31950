"""Elementwise ops and activations where no finite difference looks: kinks, ends, dtypes, errors."""

import math

import numpy as np
import pytest
from support import host

import minigrad as mg
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import DtypeError, ShapeError
from minigrad.nn import functional as F

inf, nan = math.inf, math.nan
INTS, BOOLS = to_device(np.array([1, 2, 3])), to_device(np.array([True, False, True]))


def tracked(numbers, dtype="float64"):
    return Tensor(to_device(np.array(numbers, dtype)), requires_grad=True)


def derivatives(function, *at, order=1, dtype="float64"):
    """All derivatives of that order of each element of `function` by its own inputs."""
    xs = [tracked(numbers, dtype) for numbers in at]
    ys = [function(*xs)]
    for _ in range(order):
        ys = [g for y in ys for g in derivatives_of(y, xs)]
    return [y if y is None else host(y) for y in ys]


def derivatives_of(y, xs):
    if not y.requires_grad:  # as the derivative of a straight line
        return [mg.zeros_like(x.detach()) for x in xs]
    found = mg.gradients(y, xs, mg.ones_like(y.detach()), create_graph=True)
    return [mg.zeros_like(x.detach()) if g is None else g for x, g in zip(xs, found, strict=True)]


# ------------------------------------------------------------------------------------ kinks


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (mg.floor, [[-1.5, 0, 2]], [[0, 0, 0]]),
        (mg.ceil, [[-1.5, 0, 2]], [[0, 0, 0]]),
        (mg.trunc, [[-1.5, 0, 2]], [[0, 0, 0]]),
        (mg.rint, [[-1.5, 0, 2]], [[0, 0, 0]]),
        (lambda x: mg.round(x, 1), [[-1.55, 0, 2]], [[0, 0, 0]]),
        (mg.floor_divide, [[-7, 6], [3, 3]], [[0, 0], [0, 0]]),
        (mg.mod, [[-7, 6, 7], [3, 3, -3]], [[1, 1, 1], [3, -2, 3]]),
        (mg.fmod, [[-7, 6, 7], [3, 3, -3]], [[1, 1, 1], [2, -2, 2]]),
        (mg.fmod, [[1.0], [0.1]], [[1], [-9]]),
        (mg.copysign, [[0, -0.0, 2, 2], [-1, 1, -1, -0.0]], [[0, 0, -1, -1], [0, 0, 0, 0]]),
        (mg.hypot, [[0, 3], [0, 4]], [[0, 0.6], [0, 0.8]]),
        (mg.arctan2, [[0, 3], [0, 4]], [[0, 0.16], [0, -0.12]]),
        (mg.fmax, [[1, 2, nan, 1], [1, 1, 1, nan]], [[0.5, 1, 0, 1], [0.5, 0, 1, 0]]),
        (mg.fmin, [[1, 2, nan, 1], [1, 1, 1, nan]], [[0.5, 0, 0, 1], [0.5, 1, 1, 0]]),
        (mg.maximum, [[nan, 1], [1, nan]], [[1, 1], [1, 1]]),
        (mg.minimum, [[nan, 1], [1, nan]], [[1, 1], [1, 1]]),
        (lambda x: mg.clip(x, -1, 1), [[-2, -1, 0, 1, 2]], [[0, 1, 1, 1, 0]]),
        (lambda x: mg.clip(x, a_max=1), [[0, 1, 2]], [[1, 1, 0]]),
        (lambda x: mg.clip(x, 1, 1), [[0, 1, 2]], [[0, 1, 0]]),
        (
            mg.clip,  # the last two with bounds that cross: the upper one counts
            [[-2, -1, 1, 2, 0.2, 3], [-1, -1, -1, -1, 1, 1], [1, 1, 1, 1, 0, 0]],
            [[0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]],
        ),
        (mg.nan_to_num, [[nan, inf, -inf, 2]], [[0, 0, 0, 1]]),
        (mg.xlogy, [[0, 0, 0, 0], [0, -1, 1, math.e]], [[0, 0, 0, 1], [0, 0, 0, 0]]),
        (mg.logaddexp, [[1, -inf, inf], [1, -inf, inf]], [[0.5] * 3] * 2),
        (mg.logaddexp, [[inf, 0, -inf], [0, inf, 0]], [[1, 0, 0], [0, 1, 1]]),
        (mg.power, [[0, 0, 0, -2], [1, 2, 0.5, 3]], [[1, 0, inf, 12], [0, 0, 0, nan]]),
        (lambda x: mg.logit(x, 0.25), [[0, 0.25, 0.5, 1]], [[0, 16 / 3, 4, 0]]),
        # activations, as PyTorch has them
        (mg.leaky_relu, [[-1, 0, 1]], [[0.01, 0.01, 1]]),
        (lambda x: mg.elu(x, 2.0), [[0, 1]], [[2, 1]]),
        (lambda x: mg.celu(x, 2.0), [[0, 1]], [[1, 1]]),
        (mg.prelu, [[0.0, -1, 1], 0.25], [[0.25, 0.25, 1], -1]),
        (mg.hardtanh, [[-1, 0, 1]], [[0, 1, 0]]),
        (mg.relu6, [[0, 3, 6]], [[0, 1, 0]]),
        (mg.hardsigmoid, [[-3, 0, 3]], [[0, 1 / 6, 0]]),
        (mg.hardswish, [[-3, 0, 3]], [[0, 0.5, 1]]),
        (mg.softshrink, [[-0.5, 0, 0.5, 0.6]], [[0, 0, 0, 1]]),
        (mg.hardshrink, [[-0.5, 0, 0.5, 0.6]], [[0, 0, 0, 1]]),
        (lambda x: mg.threshold(x, 0.5, 2.0), [[0, 0.5, 0.6]], [[0, 0, 1]]),
        (mg.softsign, [[0]], [[1]]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the derivatives that are infinite
def test_derivative_at_a_kink(function, at, expected):
    for found, right in zip(derivatives(function, *at), expected, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-15)


@pytest.mark.parametrize("name", ["sqrt", "cbrt", "rsqrt", "log"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_derivatives_that_are_infinite_at_0(name):
    (g,) = derivatives(getattr(mg, name), [0.0])
    assert abs(g) == inf


@pytest.mark.parametrize("exponent", [2, 3, 2.0, np.array(2.0), [2.0], np.array([3])])
def test_second_derivative_of_a_power_at_0(exponent):
    if isinstance(exponent, np.ndarray):
        exponent = to_device(exponent)
    (gg,) = derivatives(lambda x: x**exponent, [0.0], order=2)
    assert gg.tolist() == [2.0 if float(np.ravel(host(Tensor(exponent)))[0]) == 2 else 0.0]


@pytest.mark.parametrize(("exponent", "expected"), [(0, 0), (1, 1), (2, -4), (3, 12), (-1, -0.25)])
def test_powers_of_negative_numbers(exponent, expected):
    for e in (exponent, float(exponent), to_device(np.array([exponent]))):
        assert derivatives(lambda x, e=e: x**e, [-2.0])[0].tolist() == [expected]


def test_sinc_is_smooth_at_0():
    at = [0.0, 1e-9, 1e-4, 0.3, 0.32, 1.0]  # on both sides of 1 / pi, where the formula changes
    for order, expected in enumerate([1.0, 0.0, -(math.pi**2) / 3, 0.0, math.pi**4 / 5]):
        (found,) = derivatives(mg.sinc, at, order=order)
        assert found[0] == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(found[1], expected, atol=1e-5)
    t = np.pi * np.array(at[2:])
    second = np.pi**2 * (2 * (np.sin(t) - t * np.cos(t)) / t**3 - np.sin(t) / t)
    (found,) = derivatives(mg.sinc, at, order=2)
    np.testing.assert_allclose(found[3:], second[1:], rtol=1e-12)
    assert mg.sinc(to_device(np.float32([0, 1e-3]))).dtype == np.float32


@pytest.mark.parametrize(
    "function",
    [mg.absolute, mg.relu, mg.hypot, mg.arctan2, mg.logaddexp, mg.xlogy, mg.copysign, mg.fmax],
)
def test_second_derivatives_at_a_kink_are_finite(function):
    at = [[0.0]] * function.arity
    assert np.isfinite(derivatives(function, *at, order=2)).all()


# ------------------------------------------------------------------------------------- ends

FAR = [-1e4, -200.0, -30.0, 0.0, 30.0, 200.0, 1e4]
ACTIVATIONS = [
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "logsigmoid", "mish", "relu", "relu6", "selu", "silu", "softplus", "softshrink", "softsign",
    "tanhshrink",
]  # fmt: skip


@pytest.mark.parametrize("name", [*ACTIVATIONS, "sigmoid", "tanh", "erf", "erfc", "arctan"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_numbers_neither_overflow_nor_warn(name, dtype):
    function = getattr(mg, name)
    for order in (0, 1, 2):
        (found,) = derivatives(function, FAR, order=order, dtype=dtype)
        assert np.isfinite(found).all()
        assert found.dtype == dtype


def test_gelu_by_tanh_does_not_overflow():
    for order in (0, 1, 2):
        found = derivatives(lambda x: mg.gelu(x, approximate="tanh"), FAR, order=order)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", [*ACTIVATIONS, "sigmoid", "sinc", "erf", "sign"])
def test_nan_stays_nan(name):
    assert np.isnan(host(getattr(mg, name)(tracked([nan])))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_precise_where_it_is_small(dtype):
    x = np.array([-80.0, -30.0, -17.0, -5.0], dtype)
    y = host(mg.sigmoid(Tensor(to_device(x))))
    exact = np.exp(x.astype("float64"))
    np.testing.assert_allclose(y, exact / (1 + exact), rtol=1e-6 if dtype == "float32" else 1e-14)
    (g,) = derivatives(mg.sigmoid, x, dtype=dtype)
    np.testing.assert_allclose(g, exact / (1 + exact) ** 2, rtol=2e-6)


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (mg.fmax, [[nan, 1, nan], [2, nan, nan]], [2, 1, nan]),
        (mg.fmin, [[nan, 1, nan], [2, nan, nan]], [2, 1, nan]),
        (mg.maximum, [[nan, 1], [2, nan]], [nan, nan]),
        (mg.minimum, [[nan, 1], [2, nan]], [nan, nan]),
        (mg.logaddexp, [[inf, -inf, inf, -inf, 1e4], [0, -inf, inf, 3, 1e4]],
         [inf, -inf, inf, 3, 1e4 + math.log(2)]),
        (mg.logaddexp, [[1e4, -1e4], [-1e4, 0]], [1e4, 0]),
        (mg.hypot, [[3e200, 0], [4e200, 0]], [5e200, 0]),
        (mg.xlogy, [[0, 0, 0], [0, inf, nan]], [0, 0, nan]),
        (mg.power, [[0, 0, 0, -2], [0, 1, 2, 3]], [1, 0, 0, -8]),
        (mg.mod, [[-7, 7, -7], [3, -3, -3]], [2, -2, -1]),
        (mg.fmod, [[-7, 7, -7], [3, -3, -3]], [-1, 1, -1]),
        (mg.floor_divide, [[-7, 7], [2, 2]], [-4, 3]),
        (mg.lerp, [[1e16, 3], [1, 3], [1, 0.3]], [1, 3]),
        (mg.rint, [[0.5, 1.5, 2.5, -0.5]], [0, 2, 2, 0]),
        (lambda x: mg.round(x, -2), [[149, 250.1, 350]], [100, 300, 400]),
        (mg.erfc, [[30.0, 10.0]], [2.564656203756112e-393, 2.088487583762545e-45]),
        (mg.expm1, [[1e-20]], [1e-20]),
        (lambda x: mg.softplus(x, 1.0, 20.0), [[-800, 800]], [0, 800]),
        (mg.logsigmoid, [[-800, 800]], [-800, 0]),
        (lambda x: mg.clip(x, 2, 1), [[0, 1.5, 3]], [1, 1, 1]),
        (lambda x: mg.clip(x, 0, None), [[nan, -inf, inf]], [nan, 0, inf]),
        (lambda x: mg.nan_to_num(x, 1.0, 2.0, 3.0), [[nan, inf, -inf]], [1, 2, 3]),
    ],
)  # fmt: skip
def test_value_at_an_end(function, at, expected):
    found = function(*(to_device(np.array(x, float)) for x in at))
    np.testing.assert_allclose(host(Tensor(found)), expected, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_to_num_puts_in_the_largest_numbers_of_the_dtype(dtype):
    y = host(mg.nan_to_num(Tensor(to_device(np.array([nan, inf, -inf], dtype)))))
    assert y.tolist() == [0, np.finfo(dtype).max, np.finfo(dtype).min]
    assert mg.nan_to_num(INTS).tolist() == [1, 2, 3]


# ----------------------------------------------------------------------------------- dtypes

FLOATING = [
    "arccosh", "arcsinh", "arctan", "cbrt", "cos", "cosh", "deg2rad", "erf", "erfc", "exp", "exp2",
    "expm1", "log", "log10", "log1p", "log2", "rad2deg", "reciprocal", "rsqrt", "sigmoid", "sin",
    "sinc", "sinh", "sqrt", "tan", "tanh", *ACTIVATIONS,
]  # fmt: skip
STRAIGHT = {"relu", "hardshrink", "relu6", "hardtanh"}  # whole numbers may well stay whole


@pytest.mark.parametrize("name", [name for name in FLOATING if name not in STRAIGHT])
def test_functions_of_whole_numbers_give_float32(name):
    function = getattr(mg, name)
    for x in (INTS, BOOLS[:1], Tensor(INTS), 2, 1.5, [1, 2], [1.5]):
        assert function(x).dtype == np.float32
    assert function(to_device(np.array([1.5], "float16"))).dtype == np.float16
    assert function(to_device(np.array(1.5))).dtype == np.float64
    assert function(to_device(np.array(1.5, "float32"))).dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [
        *(lambda: mg.divide(INTS, INTS), lambda: Tensor(INTS) / 2, lambda: mg.divide(1, 2)),
        *(lambda: mg.multiply(INTS, 0.5), lambda: 0.5 + Tensor(INTS), lambda: mg.add(1.0, 2)),
        *(lambda: mg.hypot(INTS, INTS), lambda: mg.arctan2(1, INTS), lambda: mg.xlogy(INTS, 2)),
        *(
            lambda: mg.logaddexp(INTS, 0),
            lambda: mg.copysign(INTS, -1),
            lambda: mg.power(INTS, 0.5),
        ),
        *(lambda: mg.lerp(INTS, INTS, 0.5), lambda: mg.clip(INTS, 0.5), lambda: mg.negative(1.0)),
        *(lambda: mg.where(BOOLS, 1.0, 0), lambda: mg.where(BOOLS, 0.5, INTS)),
        *(lambda: mg.round(2.5), lambda: mg.floor(2.5), lambda: mg.absolute(-2.5)),
    ],
)
def test_float32_comes_of_whole_numbers_and_python_floats(call):
    assert call().dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [
        *(lambda: mg.power(INTS, 2), lambda: mg.mod(INTS, 2), lambda: mg.floor_divide(INTS, 2)),
        *(lambda: mg.add(1, 2), lambda: mg.square(INTS), lambda: mg.maximum(INTS, 2)),
        *(
            lambda: mg.floor(INTS),
            lambda: mg.round(INTS, 1),
            lambda: mg.rint(2),
            lambda: mg.abs(-2),
        ),
        *(lambda: mg.clip(INTS, 2, 3), lambda: mg.relu(INTS), lambda: mg.left_shift(INTS, 1)),
        *(lambda: mg.where(BOOLS, 1, 0), lambda: mg.where(BOOLS, INTS, 0)),
    ],
)
def test_whole_numbers_stay_whole(call):
    assert call().dtype == np.int64


@pytest.mark.parametrize("name", ["xlogy", "logaddexp", "power", "arctan2", "hypot", "maximum"])
def test_python_numbers_beside_float64_are_not_rounded_to_float32(name):
    function = getattr(mg, name)

    def by_first(x):
        return function(x, 0.3)

    def by_second(x):
        return function(0.3, x)

    alone = [derivatives(f, [0.7], order=n)[0] for n in (0, 1) for f in (by_first, by_second)]
    y, z = (
        derivatives(function, [0.7], [0.3], order=0),
        derivatives(function, [0.3], [0.7], order=0),
    )
    among = [*y, *z, derivatives(function, [0.7], [0.3])[0], derivatives(function, [0.3], [0.7])[1]]
    np.testing.assert_allclose(alone, among, rtol=1e-15)


# ------------------------------------------------------------------------- names and errors


def test_other_names():
    assert mg.true_divide is mg.divide
    assert mg.remainder is mg.mod
    assert mg.bitwise_not is mg.invert
    assert mg.abs is mg.absolute
    for name in ("clip", "round", "nan_to_num", "sinc", "arctan2", "remainder", "isclose"):
        arguments = [Tensor(to_device(np.array([0.25, 1.75])))]
        arguments += {"clip": [0, 1], "round": [1]}.get(name, [])
        arguments += [0.5] if name in ("arctan2", "remainder", "isclose") else []
        assert type(getattr(np, name)(*arguments)) is Tensor, f"np.{name} of a tensor"


def test_activations_are_functional_too():
    for name in mg.ops.activations.__all__:
        assert getattr(F, name) is getattr(mg, name)


def test_arguments_by_position_and_by_name():
    x = tracked([-2.0, -0.1, 0.1, 2.0])
    pairs = [
        (mg.leaky_relu(x, 0.3), mg.leaky_relu(x, negative_slope=0.3)),
        (mg.softplus(x, 2.0, 3.0), mg.softplus(x, beta=2.0, threshold=3.0)),
        (mg.hardtanh(x, -0.5, 0.5), mg.hardtanh(x, min_val=-0.5, max_val=0.5)),
        (mg.threshold(x, 0.1, 5.0), mg.threshold(x, threshold=0.1, value=5.0)),
        (mg.glu(x, 0), mg.glu(x, axis=0)),
        (mg.clip(x, -1, 1), mg.clip(x, a_min=-1, a_max=1)),
        (mg.clip(x, -1, 1), mg.clip(x, min=-1, max=1)),
        (mg.prelu(x, 0.25), mg.prelu(x, weight=tracked([0.25]))),
        (mg.round(x, 1), mg.round(x, decimals=1)),
        (mg.isclose(x, -1.9, 0.1), mg.isclose(x, -1.9, rtol=0.1)),
    ]
    for a, b in pairs:
        assert host(a).tolist() == host(b).tolist()


def test_comparisons_of_tracked_tensors_have_no_history():
    x = tracked([1.0, nan])
    for y in (mg.isclose(x, x), mg.allclose(x, x), mg.array_equal(x, x), mg.isinf(x)):
        assert not y.requires_grad
        assert y.dtype == bool
    assert mg.array_equal(x, x, equal_nan=True)
    assert not mg.array_equal(x, x)
    assert not mg.array_equal(x, x[:1])
    assert mg.allclose(x, x, equal_nan=True)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda x: mg.clip(x, 1, a_min=2), TypeError, "clip|a_min"),
        (lambda x: mg.prelu(x, x[0, :2]), ShapeError, "prelu|(2, 4)|(2, 3, 4)"),
        (lambda x: mg.prelu(x, x[0]), ShapeError, "prelu|channel|(3, 4)"),
        (lambda x: mg.glu(x, axis=1), ShapeError, "glu|axis 1|(2, 3, 4)"),
        (lambda x: mg.glu(x, axis=3), ShapeError, "3"),
        (lambda x: mg.celu(x, alpha=0), ValueError, "celu|alpha"),
        (lambda x: mg.softshrink(x, -1.0), ValueError, "softshrink|lambd|-1"),
        (lambda x: mg.hardtanh(x, 1.0, -1.0), ValueError, "hardtanh|min_val|max_val"),
        (lambda x: mg.gelu(x, approximate="exact"), ValueError, "'tanh'|'exact'"),
        (lambda x: mg.hypot(x, x[0, :2]), ShapeError, "hypot|(2, 3, 4)"),
        (lambda x: mg.exp(x, out=x), TypeError, "exp|'out'"),
        (lambda x: mg.elu(x, slope=1), TypeError, "elu|alpha|'slope'"),
        (lambda x: mg.bitwise_and(x, 1), TypeError, "bitwise_and"),
        (lambda x: mg.left_shift(x, 1), TypeError, "left_shift"),
    ],
)  # fmt: skip
def test_errors(call, error, fragments):
    with pytest.raises(error) as caught:
        call(Tensor(to_device(np.ones((2, 3, 4)))))
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


@pytest.mark.parametrize("function", [mg.exp, mg.sqrt, mg.sigmoid, mg.gelu, mg.divide, mg.hypot])
def test_complex_numbers_are_refused(function):
    with pytest.raises(TypeError, match="complex"):
        function(*[np.array([1j])] * function.arity)


@pytest.mark.parametrize("name", ["exp", "sqrt", "tanh", "abs", "sign"])
def test_none_is_no_number(name):
    with pytest.raises(TypeError, match="got None"):
        getattr(mg, name)(None)


def test_stop_gradient_of_a_tree():
    x = mg.Tensor([1.0], requires_grad=True) * 2
    found = mg.stop_gradient({"a": x, "rest": [x, 3, None]})
    assert not found["a"].requires_grad
    assert not found["rest"][0].requires_grad
    assert found["rest"][1:] == [3, None]


@pytest.mark.parametrize("name", ["sign", "round", "rint", "relu", "negative", "positive", "abs"])
def test_complex_arrays_are_refused_by_every_op(name):
    with pytest.raises(DtypeError, match="complex"):
        getattr(mg, name)(np.array([1j]))


def test_nan_to_num_of_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([1.0, np.inf, np.nan]).astype(ml_dtypes.bfloat16)
    y = mg.nan_to_num(x)
    assert y.dtype == x.dtype
    assert y.astype(float).tolist() == [1.0, float(ml_dtypes.finfo(x.dtype).max), 0.0]


@pytest.mark.parametrize("wrong", [None, "abc", {}, len, np.array(["a"]), np.array([None])])
def test_what_is_no_number_is_refused(wrong):
    x = Tensor(np.ones(1))
    for function in (mg.exp, mg.relu, mg.isnan, mg.zeros_like, mg.negative):
        with pytest.raises(DtypeError, match="expected an array, a Tensor or a number"):
            function(wrong)
    for function in (mg.logical_and, mg.maximum, mg.equal):
        for pair in ((x, wrong), (wrong, x)):
            with pytest.raises(DtypeError, match="expected an array, a Tensor or a number"):
                function(*pair)
    with pytest.raises(TypeError):
        mg.masked_fill(x, x > 0, wrong)


def test_dtypes_that_hold_no_real_numbers_are_refused():
    x = tracked([1.0, 2.0])
    for dtype in (None, complex, "U1", "O"):
        with pytest.raises(DtypeError, match="astype"):
            mg.astype(x, dtype=dtype)
    for function in (mg.zeros_like, mg.ones_like, lambda x, dtype: mg.full_like(x, 1, dtype)):
        with pytest.raises(DtypeError, match=r"_like: .*complex"):
            function(x, dtype=complex)
        assert function(x, dtype="float32").dtype == np.float32
        assert function(x, dtype=None).dtype == np.float64


def test_no_number_equals_none_or_text():
    x = tracked([1.0, 2.0])
    for other in (None, "abc"):
        assert (x == other) is False
        assert (x != other) is True
    assert x in [None, x]


def test_logit_and_round_of_small_dtypes():
    ones = to_device(np.array([0, 1], "u1"))
    with np.errstate(divide="ignore"):  # a negated uint8 is 255
        assert host(Tensor(mg.logit(ones))).tolist() == [-inf, inf]
        assert host(Tensor(mg.logit(ones.astype(bool)))).tolist() == [-inf, inf]
    assert mg.round(BOOLS).dtype == bool


@pytest.mark.parametrize("function", [mg.gelu, mg.sinc, mg.nan_to_num, mg.round])
def test_bfloat16_is_not_lifted_by_a_number(function):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = to_device(np.linspace(-2, 2, 9).astype(ml_dtypes.bfloat16))
    for y in (function(x), function(Tensor(x)), function(Tensor(x, requires_grad=True))):
        assert y.dtype == x.dtype
    exact = function(x.astype("float64"))
    found = host(function(x)).astype("float64")
    np.testing.assert_allclose(found, host(exact), rtol=8e-3, atol=1e-6)
    largest = mg.nan_to_num(to_device(np.array([inf, -inf]).astype(ml_dtypes.bfloat16)))
    assert np.isfinite(host(largest).astype("float32")).all()


def test_operators_methods_and_numpys_other_names():
    ids, x = Tensor(INTS), tracked([[0.5, -1.5], [2.5, 3.5]])
    assert host(ids << 1).tolist() == [2, 4, 6]
    assert host(1 << ids).tolist() == [2, 4, 8]
    assert host(ids >> 1).tolist() == [0, 1, 1]
    assert host(16 >> ids).tolist() == [8, 4, 2]
    assert x[None].flatten(0, 1).shape == (2, 2)
    assert x[None].flatten(start_axis=1).shape == (1, 4)
    for function in (np.fabs, np.around, np.degrees, np.radians):
        y = function(x)
        assert y.requires_grad
        np.testing.assert_allclose(host(y), function(host(x)), rtol=1e-15)
    with pytest.raises(TypeError, match="float"):
        x.reshape(4.0)
    with pytest.raises(TypeError, match="None"):
        x.detach()[0] = None


def test_scipys_ufuncs_of_tensors_are_the_ops():
    special = pytest.importorskip("scipy.special")
    assert special.erf(tracked([1.0])).requires_grad
    with pytest.raises(TypeError, match="no op"):
        special.gamma(tracked([1.0]))

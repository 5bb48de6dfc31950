"""The tester tested: each way of being wrong is caught, and what is right passes."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels
from minigrad.backend import get_backend
from minigrad.testing import Report, check_gradients, check_op

X = np.array([[0.5, -1.25, 2.0], [-0.75, 1.5, 0.25]])
V = np.array([1.0, -2.0, 0.5])


def cube(rule=None, formula=lambda xp, x: x * x * x, **options):
    """An op `cube` with this rule: right unless told otherwise."""

    def cube(xp, x):
        return formula(xp, x)

    op = mg.op(cube, **options)
    if rule is not None:
        op.vjp(rule)
    return op


def product(rule):
    """An op of two inputs with this rule."""

    @mg.op
    def product(xp, a, b):
        return a * b

    product.vjp(rule)
    return product


def detached(x):
    return x.detach().numpy() if type(x) is mg.Tensor else x


def wrong_at_one_place(x):
    """`x`, but 1 % larger in its last element."""
    factor = np.ones(x.shape)
    factor[(-1,) * x.ndim] = 1.01
    return x * factor


def naive_cube(x):
    return np.array([[v**3 for v in row] for row in x])


# ----------------------------------------------------------------------------- what is right


def test_what_is_right_passes():
    report = check_op(cube(), X, naive=naive_cube)
    assert report == Report("none", 2, True, report.dtypes, "batched")
    assert {"float16", "float32", "float64"} <= set(report.dtypes)
    assert check_op(cube(lambda g, _y, x: 3 * g * x * x), X, naive=naive_cube).order == 2
    assert check_op(cube(lambda g, y, x: g * 3 * y / x), X).order == 2
    assert check_op(product(lambda g, _y, a, b: (g * b, g * a)), X, V).order == 2
    assert check_op(cube(), X, order=1).order == 1
    assert check_op(mg.argmax, X, axis=1).order == 0, "integers have no derivative"
    check_gradients(lambda x: mg.sum(x**3), X)


FLAT = np.zeros(3)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        pytest.param(lambda x: x**3, FLAT, id="flat"),
        pytest.param(lambda x: 1e4 * x**3, FLAT, id="flat, then steep"),
        pytest.param(mg.log, np.array([0.01, 1.0, 1e4]), id="curved"),
        pytest.param(mg.exp, np.array([-20.0, 0.0, 20.0]), id="of all sizes"),
        pytest.param(lambda x: mg.sum(mg.softmax(x)), V, id="constant"),
        pytest.param(mg.layer_norm, np.array([-2.132, 1.902]), id="almost constant"),
        pytest.param(lambda x: x * x, V + 1e7, id="large"),
        pytest.param(lambda x: mg.sin(x - 1e7), V + 1e7, id="far out"),
        pytest.param(lambda x: x * x + np.array([1e8, 0.0, 1e-8]), V, id="offset"),
        pytest.param(lambda x: mg.masked_fill(x * x, V > 0, -np.inf), V, id="infinite constants"),
    ],
)
def test_rounding_and_the_step_raise_no_alarm(function, x):
    check_gradients(function, x)


def test_what_is_right_passes_for_a_primitive():
    @mg.primitive
    def cube_root(xp, x):
        return xp.cbrt(x)

    cube_root.vjps(lambda g, y, _x: g / (3 * y * y))
    assert check_op(cube_root, np.abs(X)).order == 2


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (7,), (9, 9)])
def test_any_shape_can_be_checked(shape):
    x = np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)
    check_op(cube(lambda g, _y, x: 3 * g * x * x), x, naive=lambda x: x**3)
    if x.size:
        with pytest.raises(AssertionError, match="rule against formula"):
            check_op(cube(lambda g, _y, x: 3 * g * x), x + 1)


# ------------------------------------------------------------------------------ wrong values


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda xp, x: wrong_at_one_place(x * x * x), "slow loop"),
        (lambda xp, x: x * x * x * (1 + 1e-6), "slow loop"),
        (lambda xp, x: (x * x * x)[None], "shape"),
        (lambda xp, x: x * x, "slow loop"),
    ],
)
def test_a_wrong_value_is_caught(formula, message):
    with pytest.raises(AssertionError, match=message):
        check_op(cube(formula=formula), X, naive=naive_cube)


def test_a_missing_output_is_caught():
    op = cube(formula=lambda xp, x: (x * x * x, x), outputs=2)
    with pytest.raises(AssertionError, match="number of outputs"):
        check_op(op, X, naive=naive_cube)


def test_an_op_that_writes_to_its_input_is_caught():
    def formula(xp, x):
        y = x * x * x
        if x.flags.writeable:
            x[...] = 0
        return y

    with pytest.raises(AssertionError, match="changed its input"):
        check_op(cube(formula=formula), X.copy())


def test_an_op_that_depends_on_strides_is_caught():
    def formula(xp, x):
        return np.ravel(x, order="K").reshape(x.shape) if x.ndim else x

    with pytest.raises(AssertionError, match="memory"):
        check_op(cube(formula=formula), X, order=0)


def test_an_op_that_answers_differently_each_time_is_caught():
    count = iter(range(1000))
    with pytest.raises(AssertionError, match="two calls differ"):
        check_op(cube(formula=lambda xp, x: x + float(next(count))), X, order=0)


def test_float32_that_grows_is_caught():
    with pytest.raises(AssertionError, match="float32 became float64"):
        check_op(cube(formula=lambda xp, x: x * xp.ones(x.shape)), X, order=0)


def test_float32_that_loses_digits_is_caught():
    def formula(xp, x):
        return x if x.dtype == np.float64 else np.round(x, 1)

    with pytest.raises(AssertionError, match="float32 against float64"):
        check_op(cube(formula=formula), X, order=0)


# ------------------------------------------------------------------------------- wrong rules


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda g, _y, x: 3 * g * x * x * 1.001, "rule against formula"),
        (lambda g, _y, x: wrong_at_one_place(3 * g * x * x), "rule against formula"),
        (lambda g, _y, x: 3 * x * x, "rule against formula"),
        (lambda g, _y, x: None, "absent"),
    ],
)
def test_a_wrong_rule_is_caught(rule, message):
    with pytest.raises(AssertionError, match=message):
        check_op(cube(rule), X)


@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_wrong_rule_of_a_primitive_is_caught(factor):
    @mg.primitive
    def cube_root(xp, x):
        return xp.cbrt(x)

    cube_root.vjps(lambda g, y, _x: g / (3 * y * y) * factor)
    with pytest.raises(AssertionError, match="first derivative against finite differences"):
        check_op(cube_root, np.abs(X))


def test_a_function_whose_derivative_is_wrong_is_caught():
    wrong = cube(lambda g, _y, x: 3 * g * x * x * 1.001)
    with pytest.raises(AssertionError, match="first derivative"):
        check_gradients(lambda x: mg.sum(wrong(x)), X)


TWICE_THE_FIRST = np.array([2.0, 1.0])


def exponential(rule):
    """A primitive with this rule: nothing but finite differences can tell whether it is right."""

    @mg.primitive
    def exponential(xp, x):
        return xp.exp(x)

    exponential.vjps(rule)
    return exponential


@pytest.mark.parametrize("x", [[0.0, 20.0], [0.0, 30.0], [-20.0, 0.0], [20.0, -3.0]])
def test_a_wrong_slope_does_not_hide_behind_a_large_one(x):
    assert check_op(exponential(lambda g, y, _x: g * y), np.array(x)).order == 2
    wrong = exponential(lambda g, y, _x: g * y * TWICE_THE_FIRST)
    with pytest.raises(AssertionError, match=r"first derivative .* by input 0 at \(0,\)"):
        check_op(wrong, np.array(x), order=1)


def test_a_wrong_second_slope_does_not_hide_behind_a_large_one():
    half = np.array([0.5, 1.0])
    op = exponential(lambda g, y, _x: g * (y * half + detached(y) * (1 - half)))
    x = np.array([0.0, 20.0])
    assert check_op(op, x, order=1).order == 1
    with pytest.raises(AssertionError, match=r"second derivative .* by input 0 at \(0,\)"):
        check_op(op, x)


def test_a_wrong_slope_does_not_hide_behind_another_inputs():
    def line(db):
        @mg.primitive
        def line(xp, a, b):
            return a * 1e8 + b

        line.vjps(lambda g, _y, _a, _b: g * 1e8, lambda g, _y, _a, _b: g * db)
        return line

    assert check_op(line(1), V, V).order == 2
    with pytest.raises(AssertionError, match=r"first derivative .* by input 1"):
        check_op(line(2), V, V)


def test_a_rule_wrong_for_the_gradient_it_is_given_is_caught():
    op = cube(lambda g, y, x: 3 * x * x * (g + 0.01 * (g - detached(g))))
    with pytest.raises(AssertionError, match=r"second .* by the weights of output 0"):
        check_op(op, X)


@pytest.mark.parametrize("count", [3, 25, 40])
@pytest.mark.parametrize("size", [1, 30])
def test_each_of_many_inputs_is_checked(count, size):
    def function(*xs):
        return sum(xs[:-1]) + wrong(xs[-1])

    wrong = cube(lambda g, _y, x: 6 * g * x * x)
    xs = [np.linspace(0.5, 1.5, size)] * count
    check_gradients(lambda *xs: sum(xs), *xs)
    with pytest.raises(AssertionError, match=f"first derivative .* by input {count - 1}"):
        check_gradients(function, *xs)


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, _y, x: 3 * g * detached(x) ** 2,
        lambda g, y, x: 3 * g * detached(y) / x,
        lambda g, _y, x: 3 * detached(g) * x * x,
        lambda g, _y, x: 3 * g * x * (1.001 * x - 0.001 * detached(x)),
    ],
    ids=["x", "y", "g", "a little"],
)  # fmt: skip
@pytest.mark.parametrize("quick", [False, True])
def test_a_rule_right_at_first_and_wrong_at_second_order_is_caught(rule, quick):
    assert check_op(cube(rule), X, order=1, quick=quick).order == 1
    with pytest.raises(AssertionError, match=r"second derivative|create_graph"):
        check_op(cube(rule), X, quick=quick)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_wrong_rule_of_one_of_several_inputs_is_named_after_a_quick_look(order):
    def made(rule):
        @mg.primitive  # only finite differences can tell
        def product(xp, a, b):
            return a * b

        product.vjp(rule)
        return lambda: check_op(product, X, X + 1, quick=True)

    check = made(
        {
            0: lambda g, _y, a, b: (g * b, g * a),
            1: lambda g, _y, a, b: (g * b, 1.001 * g * a),
            2: lambda g, _y, a, b: (g * b, g * (1.001 * a - 0.001 * detached(a))),
        }[order]
    )
    if not order:
        assert check().order == 2
        return
    words = ["first derivative .* by input 1", "second derivative .* by input 0"][order - 1]
    with pytest.raises(AssertionError, match=words):
        check()


def test_an_input_that_chooses_between_formulas_is_no_fault_of_a_quick_look():
    @mg.op
    def by_sign(xp, x, y):
        return xp.where(y == 1, x * x, 3 * x)

    check_op(by_sign, X, np.where(X > 0, 1.0, -1.0), quick=True)


def test_a_rule_wrong_for_tensors_only_is_caught():
    def rule(g, _y, x):
        return 3 * g * x * x * (1.001 if type(g) is mg.Tensor else 1)

    with pytest.raises(AssertionError, match="create_graph"):
        check_op(cube(rule), X)


def test_a_rule_that_reads_what_it_said_it_would_not_is_caught():
    with pytest.raises(TypeError, match="Like"):
        check_op(product(lambda g, _y, _a, b: (g * b, g * _a)), X, V)


def test_a_rule_that_reads_what_only_another_rule_keeps_is_caught():
    @mg.op
    def square_times(xp, a, b):
        return a * a * b

    # `_a` is there as long as `a` is tracked too, since its own rule needs it.
    square_times.vjps(lambda g, _y, a, b: 2 * g * a * b, lambda g, _y, _a, _b: g * _a * _a)
    a, b = (mg.Tensor(x, requires_grad=True) for x in (X, V))
    mg.gradients(mg.sum(square_times(a, b)), [a, b])
    with pytest.raises(TypeError, match="Like"):
        check_op(square_times, X, V)


def test_an_op_that_gives_more_than_it_declared_is_caught():
    with pytest.raises(TypeError, match="outputs"):
        check_op(cube(formula=lambda xp, x: (x * x * x, x)), X)


# ---------------------------------------------------------------- what would not be compared


@pytest.mark.parametrize(
    "x",
    [
        *(X.astype("f4"), X.astype("f2"), mg.Tensor(X), mg.tensor([1.0])),
        *([0.5, 1.0], [[0.5], [1.0]], (0.5,), [X, X], [mg.Tensor(X)]),
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
@pytest.mark.parametrize("order", [1, 2])
def test_floats_that_would_not_be_differentiated_are_refused(x, order):
    wrong = cube(lambda g, _y, x: 6 * g * x * x)
    for check in (check_op, check_gradients):
        with pytest.raises(TypeError, match="give float64 arrays"):
            check(wrong, x, order=order)


@pytest.mark.parametrize("x", [mg.Tensor(V), list(V), [V]], ids=["Tensor", "list", "arrays"])
def test_they_are_refused_beside_a_float64_array_too(x):
    for check in (check_op, check_gradients):
        with pytest.raises(TypeError, match=r"input 1 is a .* give float64 arrays"):
            check(mg.multiply, X, x)


def test_gradients_of_nothing_are_refused():
    ints = np.arange(3)
    for function, inputs in ((mg.exp, [ints]), (mg.argmax, [X]), (lambda: V, []), (mg.exp, [0.5])):
        with pytest.raises(TypeError, match="give float64 arrays"):
            check_gradients(function, *inputs)


def test_values_alone_can_be_checked_of_any_dtype():
    ints, single, odd = np.arange(3), V.astype("f4"), np.array([np.nan, np.inf, 1e12])
    for op, *inputs in (
        (mg.argmax, single),
        (mg.greater, single, V),
        (mg.isnan, odd),
        (mg.exp, ints),
        (mg.mean, ints),
        (mg.add, ints, ints),
    ):
        assert check_op(op, *inputs).order == 0
    assert check_op(mg.one_hot, ints, num_classes=3).order == 0
    assert check_op(mg.exp, single, order=0).order == 0
    assert check_op(mg.negative, odd, order=0).order == 0
    assert check_op(mg.take, V, [0, 2], axis=0).order == 2, "a list of integers is a constant"


@pytest.mark.parametrize("x", [np.nan, np.inf, -np.inf, 1e12])
def test_inputs_without_a_finite_difference_are_refused(x):
    for check in (check_op, check_gradients):
        with pytest.raises(ValueError, match=r"finite numbers up to 1e\+08, and input 1"):
            check(mg.multiply, V, np.array([x, 1.0, 2.0]))


def test_a_slope_that_is_not_finite_is_caught():
    for bad in (np.nan, np.inf):
        with pytest.raises(AssertionError, match="by input 0: the gradient is not finite"):
            check_gradients(exponential(lambda g, y, _x, bad=bad: g * y * bad), V)
        with pytest.raises(AssertionError, match=r"by input 0 at \(0,\): .* not finite"):
            check_gradients(lambda x, bad=bad: mg.where(x > 0, x, bad), FLAT)


# ----------------------------------------------------------------------------- wrong kernels


def only_float32(x):
    return x * x * x if x.dtype == np.float32 and x.flags.c_contiguous else NotImplemented


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (lambda x: x * x * x, "ran"),
        (lambda x: NotImplemented, "declined"),
        (only_float32, "ran"),
        (None, "none"),
    ],
)
def test_the_report_says_whether_the_kernel_ran(monkeypatch, kernel, said):
    op = cube(kernel={get_backend(): kernel} if kernel else None)
    monkeypatch.setattr(kernels, "_decision", True)
    assert check_op(op, X).kernel == said
    monkeypatch.setattr(kernels, "_decision", False)
    assert check_op(op, X).kernel == "none"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: wrong_at_one_place(x * x * x).astype(x.dtype),
        lambda x: (
            x * x * x if x.dtype == np.float64 else wrong_at_one_place(x * x * x).astype("f4")
        ),
        lambda x: (x * x * x).astype(np.float64),
        lambda x: (x * x * x)[:1],
        lambda x: x * x * x if x.flags.c_contiguous else x,
        lambda x: np.ravel(x, order="K").reshape(x.shape) ** 3,
    ],
    ids=["one element", "one element in float32", "dtype", "shape", "strided", "order in memory"],
)
def test_a_wrong_kernel_is_caught(monkeypatch, wrong):
    monkeypatch.setattr(kernels, "_decision", True)
    with pytest.raises(AssertionError):
        check_op(cube(kernel={get_backend(): wrong}), X)


# ------------------------------------------------------------------------------- the messages


def test_the_message_names_the_op_the_call_and_the_place():
    with pytest.raises(AssertionError) as caught:
        check_op(mg.sum, X, naive=lambda x, axis: np.sum(x, axis) + np.eye(3)[2], axis=0)
    for part in ("sum((2, 3), axis=0)", "value against the slow loop", "[2]", "3.25"):
        assert part in str(caught.value)


def test_a_rule_that_needs_all_outputs_is_caught():
    @mg.op(outputs=2)
    def both(xp, x):
        return x * 2, xp.sin(x)

    both.vjp(lambda g, _y, x: (g[0] * 2 + g[1] * mg.cos(x),))
    with pytest.raises(TypeError, match="NoneType"):
        check_op(both, np.linspace(-1, 1, 3))

"""NumPy's functions: what finite differences do not see. Values and gradients are in the table."""

import math

import numpy as np
import pytest
from support import refuses

import minigrad as mg
from minigrad.backend import to_device
from minigrad.errors import DtypeError, GradientError, MinigradError, OutOfRangeError, ShapeError

NAN, INF = math.nan, math.inf


def tracked(numbers, dtype="float64"):
    return mg.tensor(numbers, dtype=dtype, requires_grad=True)


def gradient_of(function, *xs):
    y = function(*xs)
    return [None if g is None else g.numpy() for g in mg.gradients(y.sum(), list(xs))]


# ------------------------------------------------------------------------- lists of Tensors


def test_a_list_of_tensors_is_stacked_with_its_history():
    a, b = tracked([1.0, 2.0]), tracked([3.0, 5.0])
    assert mg.asarray([a, b]).shape == (2, 2)
    assert type(mg.mean([a.detach(), b.detach()])) is mg.Tensor
    for function in (mg.mean, lambda x: mg.sum(x) / 4, lambda x: mg.asarray(x).mean()):
        assert function([a, b]).item() == 2.75
        assert [g.tolist() for g in gradient_of(lambda a, b: function([a, b]), a, b)] == [  # noqa: B023
            [0.25, 0.25],
            [0.25, 0.25],
        ]
    mixed = mg.asarray([[a, [1, 2]], [b, [0.5, 3]]])
    assert (mixed.shape, mixed.dtype) == ((2, 2, 2), np.float64)
    assert mg.tensor([a, b]).requires_grad is False, (
        "as of one tensor, it is a copy without history"
    )
    assert mg.add(a, [b[0], 1.0]).requires_grad


def test_numbers_beside_tensors_in_a_list_lift_nothing():
    half = mg.tensor([1.0], dtype="float16")
    assert mg.asarray([half[0], 2.5]).dtype == np.float16
    assert mg.asarray([mg.tensor(1), 2.5]).dtype == np.float32
    assert mg.asarray([mg.tensor(1), True]).dtype == np.int64


def test_lists_that_fit_no_array_name_stack():
    a = tracked([1.0, 2.0])
    with pytest.raises(ShapeError, match="stack"):
        mg.mean([a, a[0]])
    with pytest.raises((GradientError, TypeError), match=r"minigrad\.stack|on a device"):
        np.asarray([a[0], a[1]])


def test_lists_of_tensors_as_indices_and_values():
    x, i, j = mg.arange(5), mg.tensor(1), mg.tensor(3)
    assert x[[i, j]].numpy().tolist() == [1, 3]
    assert mg.take(x, [i, 4]).numpy().tolist() == [1, 4]
    y = mg.zeros(5)
    y[[i, j]] = [mg.tensor(2.0), 7.0]
    assert y.numpy().tolist() == [0, 2, 0, 7, 0]


def test_lists_of_tensors_under_transforms():
    x = to_device(np.arange(6.0).reshape(3, 2))

    def f(row):
        return mg.sum([row * 2, row], axis=0)

    np.testing.assert_allclose(mg.vmap(f)(mg.Tensor(x)).numpy(), np.arange(6).reshape(3, 2) * 3)
    step = mg.jit(lambda v: mg.mean([v, v * 3]))
    assert [step(mg.full((2,), k)).item() for k in range(4)] == [0, 2, 4, 6]


@pytest.mark.parametrize("wrong", ["text", {}, ["a"], [1j], 1j, [None]])
def test_what_is_no_number_is_refused(wrong):
    for function in (mg.sum, mg.exp, mg.mean, mg.concatenate, mg.stack, mg.split, mg.diff):
        with pytest.raises((TypeError, ValueError)):
            function(wrong)


# ----------------------------------------------------------------------------------- options


def test_linspace_of_tracked_ends():
    start, stop = tracked(1.0), tracked(3.0)
    y = mg.linspace(start, stop, 5)
    assert (y.dtype, y.detach().numpy().tolist()) == (np.float64, [1, 1.5, 2, 2.5, 3])
    down, up = gradient_of(lambda a, b: mg.linspace(a, b, 5) * mg.arange(5), start, stop)
    np.testing.assert_allclose([down, up], [2.5, 7.5])
    assert mg.linspace(start, stop, 3, dtype="float32").dtype == np.float32
    assert mg.linspace(0, mg.tensor([1.0, 2.0]), 4, axis=-1).shape == (2, 4)
    assert mg.linspace(mg.tensor(1), 2, 3).dtype == np.float32
    found = mg.vmap(lambda a: mg.linspace(a, 1.0, 3))(mg.arange(3) * 1.0)
    np.testing.assert_allclose(found.numpy(), [[0, 0.5, 1], [1, 1, 1], [2, 1.5, 1]])
    with pytest.raises(ValueError, match="num"):
        mg.linspace(0, 1, -1)


@pytest.mark.parametrize("num", [0, 1, 2, 7])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace_of_arrays_is_numpys(num, endpoint):
    a, b = np.array([0.1, -3.0]), np.array([[2.0], [0.1]])
    found = mg.linspace(a, b, num, endpoint, axis=1).numpy()
    np.testing.assert_allclose(
        found, np.linspace(a, b, num, endpoint, axis=1), rtol=1e-13, atol=1e-15
    )


def test_repeat_of_a_number():
    for axis in (None, 0):
        assert mg.repeat(mg.tensor(2.0), 3, axis).numpy().tolist() == [2, 2, 2]
        assert mg.repeat(2.0, 3, axis).tolist() == [2, 2, 2]


def test_several_arguments_of_atleast():
    for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
        xs = [1.0, [1.0, 2.0], np.ones((2, 2)), mg.tensor(1.0)]
        found, expected = getattr(mg, name)(*xs), getattr(np, name)(*xs[:3], 1.0)
        assert type(found) is tuple
        assert [x.shape for x in found] == [x.shape for x in expected]


def test_pinv_of_symmetric_matrices_reads_the_lower_triangle():
    x = np.array([[2.0, 99.0], [1.0, 3.0]])
    expected = np.linalg.pinv(x, hermitian=True)
    np.testing.assert_allclose(mg.linalg.pinv(x, hermitian=True), expected)
    with pytest.raises(ShapeError):
        mg.linalg.pinv(np.ones((2, 3)), hermitian=True)
    with pytest.raises(ValueError, match="not both"):
        mg.linalg.pinv(x, 1e-3, rtol=1e-3)


# ------------------------------------------------------------------------------------- NaNs


@pytest.mark.parametrize(
    "name", ["nanmax", "nanmin", "nanprod", "nanvar", "nanstd", "nanmedian", "nansum", "nanmean"]
)
def test_no_gradient_flows_to_a_nan(name):
    x = [[1.0, NAN, 4.0, 2.5], [NAN, NAN, NAN, NAN], [3.0, 1.0, 0.5, 7.0]]
    known = tracked([1.0, 4.0, 2.5])
    (g,) = gradient_of(lambda x: getattr(mg, name)(x, axis=1)[::2], tracked(x))
    assert not g[0, 1]
    assert not g[1].any()
    (expected,) = gradient_of(getattr(mg, name.removeprefix("nan")), known)
    np.testing.assert_allclose(g[0, [0, 2, 3]], expected, rtol=1e-12)


def test_equal_extremes_beside_nans_share_the_gradient():
    (g,) = gradient_of(mg.nanmax, tracked([2.0, NAN, 2.0, 1.0]))
    assert g.tolist() == [0.5, 0, 0.5, 0]
    (g,) = gradient_of(mg.nanmin, tracked([-INF, NAN, 2.0]))
    assert g.tolist() == [1, 0, 0]
    (g,) = gradient_of(mg.nanmax, tracked([-INF, NAN]))
    assert g.tolist() == [1, 0]


def test_quantiles_of_what_is_not_nan_go_by_how_many_there_are():
    x = np.array([[1.0, NAN, 3.0, 2.0], [NAN, 5.0, NAN, NAN], [4.0, 1.0, 2.0, 3.0]])
    for method in ("linear", "lower", "higher", "midpoint", "nearest"):
        for q in (0.5, 0.3, [0, 0.75, 1]):
            found = mg.nanquantile(x, q, axis=1, method=method)
            np.testing.assert_allclose(found, np.nanquantile(x, q, axis=1, method=method))
    with pytest.raises(ValueError, match="from 0 to 100"):
        mg.percentile(x, 101)
    with pytest.raises(ValueError, match="method"):
        mg.nanquantile(x, 0.5, method="weibull")


# ----------------------------------------------------- what would silently mean something else


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: mg.gradient(mg.tensor(1.0)), ShapeError, "gradients(y, x)"),
        (lambda: mg.gradient(lambda x: x), TypeError, "grad(function)"),
        (lambda: mg.gradient(np.ones((2, 2)), 1, 2, 3), TypeError, "3 distances|2 axes"),
        (lambda: mg.gradient(np.ones(3), [1.0, 2.0]), ShapeError, "length 3|(2,)"),
        (lambda: mg.gradient(np.ones(2), edge_order=2), ShapeError, "axis 0|2 elements|needs 3"),
        (lambda: mg.insert(mg.arange(3), 1, 2.5), DtypeError, "float32|int64|cut off"),
        (lambda: mg.insert(np.ones(3), 5, 1.0), OutOfRangeError, "insert|5"),
        (lambda: mg.delete(np.ones(3), [3]), OutOfRangeError, "delete|3"),
        (lambda: mg.delete(np.ones(3), 1.5), DtypeError, "delete|integers"),
        (lambda: mg.delete(np.ones(3), [True]), ShapeError, "delete"),
        (lambda: mg.select([[1, 0]], [[1.0, 2.0]]), DtypeError, "booleans|int64"),
        (lambda: mg.select([], []), ValueError, "0 and 0"),
        (lambda: mg.compress([True, False, True], [1.0, 2.0]), OutOfRangeError, "take|2"),
        (lambda: mg.block([[np.ones(2)], np.ones(2)]), ShapeError, "depth"),
        (lambda: mg.block([(np.ones(2),)]), TypeError, "tuple"),
        (lambda: mg.block([[], []]), ShapeError, "empty"),
        (lambda: mg.r_["0,2", [1, 2]], ValueError, "directives|concatenate"),
        (lambda: mg.convolve([], [1.0]), ShapeError, "convolve|(0,)"),
        (lambda: mg.convolve([1.0], [1.0], "all"), ValueError, "'full'|'all'"),
        (lambda: mg.interp([0.5], [1.0, 2.0], [1.0]), ShapeError, "(2,)|(1,)"),
        (lambda: mg.histogram(np.array([1.0, NAN])), ValueError, "not finite"),
        (lambda: mg.histogram([1.0], "auto"), ValueError, "'auto'"),
        (lambda: mg.histogram(np.ones(1), np.array([2.0, 1.0])), ValueError, "rise"),
        (lambda: mg.histogram([1.0], range=(2, 1)), ValueError, "rise"),
        (lambda: mg.histogram([1.0, 2.0], weights=[1.0]), ShapeError, "(1,)|(2,)"),
        (lambda: mg.average(np.ones((2, 3)), 0, np.ones(3)), ShapeError, "(2, 3)|(3,)"),
        (lambda: mg.cov(np.ones((2, 2, 2))), ShapeError, "(2, 2, 2)"),
        (lambda: mg.cov(np.ones((2, 3)), fweights=[0.5, 1, 1]), DtypeError, "integers"),
        (lambda: mg.cov(np.ones((2, 3)), aweights=[-1.0, 1, 1]), ValueError, "negative"),
        (lambda: mg.partition([1.0, 2.0], 2), OutOfRangeError, "kth 2"),
        (lambda: mg.lexsort([[1, 2], [1]]), ValueError, ""),
        (lambda: mg.unravel_index(np.array([6]), (2, 3)), OutOfRangeError, "unravel_index|6"),
        (lambda: mg.ravel_multi_index(np.array([[2], [0]]), (2, 3)), OutOfRangeError, "2"),
        (lambda: mg.ravel_multi_index([[0]], (2, 3)), ValueError, "for each of"),
        (lambda: mg.vander(np.ones((2, 2))), ShapeError, "(2, 2)"),
        (lambda: mg.cumulative_sum(np.ones((2, 2))), ShapeError, "axis"),
        (lambda: mg.diff(1.0), ShapeError, "diff"),
        (lambda: mg.searchsorted([3, 1], [2], sorter=[1]), ShapeError, "sorter"),
        (lambda: mg.fft.fft((np.ones(3), np.ones(3))), TypeError, "Complex"),
        (lambda: mg.fft.fft(np.ones(3) * 1j), TypeError, "complex"),
        (lambda: mg.fft.rfft(mg.fft.Complex(np.ones(3), np.ones(3))), TypeError, "use fft"),
        (lambda: mg.fft.fft(np.ones(3), norm="half"), ValueError, "'ortho'|'half'"),
        (lambda: mg.fft.irfft(np.ones(1)), ShapeError, "irfft"),
        (lambda: mg.linalg.tensorinv(np.ones((2, 3, 4)), 2), ShapeError, "(2, 3)|(4,)"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, error, fragments):
    with refuses(error) as caught:
        call()
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: mg.extract(x > 0, x),
        lambda x: mg.compress(x > 0, x),
        lambda x: mg.delete(x, mg.argmax(x)),
        lambda x: mg.unique(x, axis=0),
    ],
)
def test_shapes_that_hang_on_values_are_refused_under_transforms(function):
    assert function(mg.tensor([1.0, -2.0])).ndim == 1
    with pytest.raises(MinigradError, match="depends on values"):
        mg.vmap(function)(mg.tensor([[1.0, -2.0], [1.0, 2.0]]))


def test_integers_and_booleans_stay_exact():
    big = mg.tensor([2**60, 2**60 + 1])
    assert mg.diff(big).numpy().tolist() == [1]
    assert mg.convolve(big, mg.tensor([1])).numpy().tolist() == [2**60, 2**60 + 1]
    assert mg.vander(mg.tensor([3]), 4).numpy().tolist() == [[27, 9, 3, 1]]
    assert mg.isin(big, mg.tensor([2**60])).numpy().tolist() == [True, False]
    assert mg.histogram(mg.tensor([0, 3, 3]), 3)[0].numpy().tolist() == [1, 0, 2]
    assert mg.diff(mg.tensor([True, True, False])).numpy().tolist() == [False, True]
    assert mg.float_power(mg.tensor([2]), 0.5).dtype == np.float64


def test_numpys_functions_of_tensors_are_ours():
    x = tracked([1.0, 4.0, 9.0])
    assert np.diff(x).requires_grad
    assert np.heaviside(x, 0.5).requires_grad
    assert np.nanmax(x).requires_grad
    assert np.linalg.tensorinv(mg.ones((1, 1)), 1).shape == (1, 1)
    assert type(np.fft.rfft(x)) is mg.fft.Complex


def test_a_spectrum_and_back():
    x = tracked(np.linspace(-1, 2, 7))
    spectrum = mg.fft.rfft(x)
    again = mg.fft.irfft(spectrum, n=7)
    np.testing.assert_allclose(again.detach().numpy(), x.detach().numpy(), atol=1e-12)
    (g,) = gradient_of(lambda x: mg.fft.irfft(mg.fft.rfft(x), n=7) * mg.arange(7), x)
    np.testing.assert_allclose(g, np.arange(7.0), atol=1e-12)
    single = mg.fft.rfft(np.ones(4, np.float32))
    assert {part.dtype for part in single} == {np.dtype(np.float32)}
    assert mg.fft.fftfreq(4).numpy().tolist() == np.fft.fftfreq(4).tolist()
    assert mg.fft.rfftfreq(4, 0.5).numpy().tolist() == np.fft.rfftfreq(4, 0.5).tolist()


def test_rows_and_columns_in_brackets():
    x = tracked([1.0, 2.0])
    assert mg.r_[0:3].numpy().tolist() == [0, 1, 2]
    assert mg.r_[0:1:3j].numpy().tolist() == [0, 0.5, 1]
    assert mg.r_[x, 0, 5:7].detach().numpy().tolist() == [1, 2, 0, 5, 6]
    assert mg.c_[x, x].shape == (2, 2)
    assert mg.c_[1, 2].shape == (1, 2)
    assert type(mg.r_[to_device(np.ones(2)), 0:3]) is type(to_device(np.ones(2)))
    (g,) = gradient_of(lambda x: mg.r_[x, x], x)
    assert g.tolist() == [2, 2]


def test_interp_meets_its_points_exactly():
    random_ = np.random.default_rng(0)
    points = np.cumsum(random_.uniform(0.1, 2, 50)).astype(np.float32)
    values = random_.normal(size=50).astype(np.float32) * 1e3
    points, values = to_device(points), to_device(values)
    for n in range(1, 50):
        some = points[:n], values[:n]
        assert mg.array_equal(mg.interp(points[:n], *some), values[:n])
    ends = mg.interp(to_device(np.array([-1e9, 1e9, NAN], np.float32)), points, values)
    assert ends[:2].tolist() == [values[0].item(), values[-1].item()]
    assert mg.isnan(ends[2])

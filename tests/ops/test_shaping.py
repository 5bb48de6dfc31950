"""Shapes and creation: what the table of ops does not show, mostly beside NumPy itself."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import DtypeError, GradientError, OutOfRangeError, ShapeError

X = np.arange(6.0).reshape(2, 3)


def gradient_of(function, x):
    x = Tensor(to_device(np.asarray(x)), requires_grad=True)
    return mg.gradients(mg.sum(function(x)), x).numpy()


# ----------------------------------------------------------------------------- beside NumPy


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *(("reshape", (s,)) for s in (6, -1, (3, 2), [3, -1], (np.int64(6),))),
        *(("transpose", a) for a in ((), ((1, 0),), ([1, 0],), ((-1, 0),))),
        *(("moveaxis", a) for a in ((0, 1), ((0, 1), (1, 0)), ([0], [-1]))),
        *(("expand_dims", (a,)) for a in (0, -1, (0, 2), [1])),
        *(("broadcast_to", (s,)) for s in ((4, 2, 3), [2, 3])),
        *(("tile", (r,)) for r in (2, (2, 2), (2, 1, 1), [3], 0, (), np.int64(2))),
        *(("repeat", a) for a in ((2,), (2, 0), (0, 1), ((1, 3), 0), ([2], 1), ((1,) * 6,))),
        *(("flip", a) for a in ((), (0,), ((0, 1),), ([-1],))),
        *(("roll", a) for a in ((1,), (-8, 1), ((1, 2),), ((1, 2), 1), (1, (0, 1)), (1, (0, 0)))),
        *(("rot90", a) for a in ((), (3,), (-1,), (2, (1, 0)), (1, (-1, 0)))),
        *(("diagonal", a) for a in ((), (1,), (-1,), (5,), (0, 1, 0))),
        *(("diag", a) for a in ((), (1,), (-2,))),
        *(("diagflat", a) for a in ((), (-2,))),
        *(("tril", a) for a in ((), (1,), (-1,))),
        *(("pad", (w,)) for w in (2, (1, 0), ((1, 2),), ((1, 2), (3, 0)), ((1,), (2,)), [[1, 2]])),
    ],
)
def test_arguments_as_numpy_takes_them(name, arguments):
    expected = getattr(np, name)(X, *arguments)
    np.testing.assert_array_equal(getattr(mg, name)(X, *arguments), expected)
    y = getattr(mg, name)(Tensor(X, requires_grad=True), *arguments)
    np.testing.assert_array_equal(y.detach().numpy(), expected)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_pads_may_be_wider_than_the_array(mode, n):
    x = np.arange(2.0 * n).reshape(n, 2)
    for before, after in itertools.product((0, 1, 4, 11), repeat=2):
        widths = ((before, after), (after, 1))
        np.testing.assert_array_equal(mg.pad(x, widths, mode), np.pad(x, widths, mode))


@pytest.mark.parametrize("values", [1.5, (1, 2), ((1, 2),), ((1,), (2,)), ((1, 2), (3, 4))])
def test_what_constant_pads_hold(values):
    for x in (X, X.astype(int), X[:0], X.astype("f2")):
        y = mg.pad(x, ((2, 1), (0, 3)), constant_values=values)
        np.testing.assert_array_equal(y, np.pad(x, ((2, 1), (0, 3)), constant_values=values))
        assert y.dtype == x.dtype


def test_an_empty_axis_that_is_not_padded_is_no_hindrance():
    assert mg.pad(X[:0], ((0, 0), (1, 2)), "reflect").shape == (0, 6)
    assert mg.pad(np.array(1.0), 3).shape == ()


def test_gradients_of_what_is_repeated_are_summed():
    assert gradient_of(lambda x: mg.pad(x, 2, "edge"), [1.0, 2, 3]).tolist() == [3, 1, 3]
    assert gradient_of(lambda x: mg.pad(x, 2, "reflect"), [1.0, 2, 3]).tolist() == [2, 3, 2]
    assert gradient_of(lambda x: mg.pad(x, 4, "wrap"), [1.0, 2]).tolist() == [5, 5]
    assert gradient_of(lambda x: mg.pad(x, 4), [1.0, 2]).tolist() == [1, 1]
    assert gradient_of(lambda x: mg.tile(x, (2, 3)), [1.0, 2]).tolist() == [6, 6]
    assert gradient_of(lambda x: mg.repeat(x, (0, 2)), [1.0, 2]).tolist() == [0, 2]
    assert gradient_of(lambda x: mg.broadcast_to(x, (3, 2)), [1.0, 2]).tolist() == [3, 3]


def test_split_and_its_like_cover_the_axis():
    x = np.arange(7.0)
    lengths = lambda parts: [p.shape[0] for p in parts]  # noqa: E731
    assert lengths(mg.array_split(x, 3)) == [3, 2, 2]
    assert lengths(mg.chunk(x, 3)) == [3, 3, 1]
    assert lengths(mg.chunk(x, 5)) == [2, 2, 2, 1], "PyTorch's chunk: perhaps fewer than asked for"
    assert lengths(mg.chunk(x[:0], 3)) == [0, 0, 0]
    assert lengths(mg.array_split(x, [2, 5])) == [2, 3, 2]
    assert lengths(mg.split(x, np.array([2, 5]))) == [2, 3, 2]
    assert [p.tolist() for p in mg.split(x, [3, 1])] == [p.tolist() for p in np.split(x, [3, 1])]
    assert [p.shape for p in mg.unstack(Tensor(X), axis=-1)] == [(2,)] * 3
    assert isinstance(mg.unstack(x)[0], np.ndarray)
    assert mg.unstack(x[:0]) == ()


def test_several_arrays_beside_numpy():
    vectors, matrices = [X[0], X[1], X[0]], [X, 2 * X]
    for name in ("vstack", "hstack", "dstack", "column_stack", "stack", "concatenate"):
        for xs in (vectors, matrices, tuple(matrices), X):
            np.testing.assert_array_equal(getattr(mg, name)(xs), getattr(np, name)(xs))
            y = getattr(mg, name)([Tensor(x) for x in xs])
            np.testing.assert_array_equal(y.numpy(), getattr(np, name)(xs))
    for indexing in ("xy", "ij"):
        found = mg.meshgrid(X[0], X[1, :2], np.arange(4), indexing=indexing)
        expected = np.meshgrid(X[0], X[1, :2], np.arange(4), indexing=indexing)
        for y, z in zip(found, expected, strict=True):
            np.testing.assert_array_equal(y, z)
    assert mg.meshgrid() == mg.broadcast_arrays() == ()
    assert [y.shape for y in mg.broadcast_arrays(X, X[0], X[:, :1])] == [(2, 3)] * 3


def test_lists_and_numbers_count_as_arrays():
    t = Tensor(np.array(2.0), requires_grad=True)
    y = mg.stack([t * t, 1.5, 3])
    assert y.detach().numpy().tolist() == [4, 1.5, 3]
    assert mg.gradients(mg.sum(y), t).item() == 4
    assert mg.hstack([1.0, [2.0, 3.0]]).tolist() == [1, 2, 3]
    assert [p.tolist() for p in mg.split([1, 2, 3, 4], 2)] == [[1, 2], [3, 4]]
    assert [p.tolist() for p in mg.chunk([1, 2, 3], 2)] == [[1, 2], [3]]
    assert [p.tolist() for p in mg.array_split([1, 2, 3], 2)] == [[1, 2], [3]]
    assert [p.tolist() for p in mg.unstack([1, 2])] == [1, 2]
    assert [p.tolist() for p in mg.broadcast_arrays([1, 2], 3)] == [[1, 2], [3, 3]]
    with pytest.raises(TypeError, match="complex"):
        mg.stack([1j, 2j])


def test_integers_and_halves_keep_their_dtype():
    for dtype in ("i4", "?", "f2", "f4"):
        x = X.astype(dtype)
        found = [mg.flip(x), mg.roll(x, 1), mg.pad(x, 1), mg.pad(x, 1, "wrap"), mg.tile(x, 2)]
        found += [mg.diag(x[0]), mg.diagonal(x), mg.repeat(x, 2), mg.rot90(x), mg.vstack([x, x])]
        found += [mg.full_like(x, 1), mg.empty_like(x), mg.triu(x)]
        assert {y.dtype for y in found} == {x.dtype}


# --------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda x: mg.reshape(x, (-1, -1)), ShapeError, "reshape|one unknown"),
        (lambda x: mg.flatten(x, 2), OutOfRangeError, "flatten|axis 2"),
        (lambda x: mg.flatten(x, 1, 0), ShapeError, "flatten|start_axis 1|end_axis 0"),
        (lambda x: mg.transpose(x, (0,)), ShapeError, "transpose|axes|(2, 3)"),
        (lambda x: mg.permute(x, (0, 2)), OutOfRangeError, "transpose|axis 2"),
        (lambda x: mg.swapaxes(x, 0, 2), OutOfRangeError, "swapaxes|axis 2"),
        (lambda x: mg.moveaxis(x, 2, 0), OutOfRangeError, "moveaxis|source|axis 2"),
        (lambda x: mg.moveaxis(x, 0, (0, 1)), ShapeError, "moveaxis|equally many|(0, 1)"),
        (lambda x: mg.expand_dims(x, 5), OutOfRangeError, "expand_dims|axis 5"),
        (lambda x: mg.broadcast_to(x, (3, 3)), ShapeError, "broadcast_to|(2, 3)"),
        (lambda x: mg.broadcast_arrays(x, X.T), ShapeError, "broadcast_arrays|(2, 3)|(3, 2)"),
        (lambda x: mg.concatenate([]), ShapeError, "concatenate|at least one"),
        (lambda x: mg.concatenate([x, X], 2), OutOfRangeError, "concatenate|axis 2"),
        (lambda x: mg.concatenate([x, X[0]]), ShapeError, "concatenate|(2, 3)|(3,)"),
        (lambda x: mg.stack([]), ShapeError, "stack|at least one"),
        (lambda x: mg.stack([x], 3), OutOfRangeError, "stack|axis 3"),
        (lambda x: mg.vstack([]), ShapeError, "vstack|at least one"),
        (lambda x: mg.vstack([x, X.T]), ShapeError, "(2, 3)|(3, 2)"),
        (lambda x: mg.split(x, 2, 2), OutOfRangeError, "split|axis 2|(2, 3)"),
        (lambda x: mg.split(x, 0), ShapeError, "split|0 equal parts"),
        (lambda x: mg.array_split(x, 0), ShapeError, "array_split|one piece"),
        (lambda x: mg.chunk(x, 0), ShapeError, "chunk|one piece|0"),
        (lambda x: mg.chunk(x, 1, 2), OutOfRangeError, "chunk|axis 2"),
        (lambda x: mg.unstack(x, 2), OutOfRangeError, "unstack|axis 2"),
        (lambda x: mg.tile(x, -1), ShapeError, "tile|negative|-1"),
        (lambda x: mg.repeat(x, -1), ShapeError, "repeat|negative|-1"),
        (lambda x: mg.repeat(x, (1, 2), 1), ShapeError, "repeat|(3,)|(2,)"),
        (lambda x: mg.repeat(x, (1.5, 2), 0), TypeError, "integer"),
        (lambda x: mg.repeat(x, 2, 2), OutOfRangeError, "repeat|axis 2"),
        (lambda x: mg.flip(x, 2), OutOfRangeError, "flip|axis 2"),
        (lambda x: mg.flip(x, (0, 0)), ShapeError, "flip|repeated"),
        (lambda x: mg.roll(x, 1, 2), OutOfRangeError, "roll|axis 2"),
        (lambda x: mg.roll(x, (1, 2), (0, 1, 1)), ShapeError, "roll|shape mismatch"),
        (lambda x: mg.roll(x, 1.5), TypeError, "integer"),
        (lambda x: mg.rot90(x[0]), ShapeError, "rot90|axis 1"),
        (lambda x: mg.rot90(x, 1, (0, 0)), ShapeError, "rot90|repeated"),
        (lambda x: mg.meshgrid(x, indexing="ab"), ValueError, "meshgrid|'xy'|'ab'"),
        (lambda x: mg.pad(x, -1), ShapeError, "pad|negative|-1"),
        (lambda x: mg.pad(x, 0.5), TypeError, "pad|integers|0.5"),
        (lambda x: mg.pad(x, [(1, 2)] * 3), ShapeError, "pad|(3,2)"),
        (lambda x: mg.pad(x, 1, "mirror"), ValueError, "pad|'constant'|'mirror'"),
        (lambda x: mg.pad(x[:0], 1, "edge"), ShapeError, "pad|axis 0|'edge'"),
        (lambda x: mg.diag(x[None]), ShapeError, "diag|(1, 2, 3)"),
        (lambda x: mg.diagonal(x[0]), OutOfRangeError, "diagonal|axis 1"),
        (lambda x: mg.diagonal(x, 0, 1, 1), ShapeError, "diagonal|repeated"),
        (lambda x: mg.tril(mg.sum(x)), ShapeError, "tril|()"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, error, fragments, tracked):
    with pytest.raises(error) as caught:
        call(Tensor(X, requires_grad=True) if tracked else X)
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


# ------------------------------------------------------------------------------- creation


def test_creation_beside_numpy():
    for k in (0, 1, -2):
        np.testing.assert_array_equal(mg.eye(3, 4, k).numpy(), np.eye(3, 4, k))
        np.testing.assert_array_equal(mg.tri(3, 2, k).numpy(), np.tri(3, 2, k))
    np.testing.assert_array_equal(mg.eye(3).numpy(), mg.identity(3).numpy())
    for arguments in ((0, 1), (0, 1, 5), (2, -1, 4, False), (0, 1, 1), (0, 1, 0)):
        np.testing.assert_allclose(
            mg.linspace(*arguments, dtype="float64").numpy(), np.linspace(*arguments)
        )
    assert mg.empty((2, 0, 3)).shape == (2, 0, 3)
    made = [mg.eye(2), mg.tri(2), mg.identity(2), mg.linspace(0, 1), mg.empty(2), mg.zeros(())]
    assert {x.dtype for x in made} == {np.dtype("f4")}
    assert all(
        f(2, requires_grad=True).requires_grad
        for f in (mg.eye, mg.rand, mg.randn, mg.empty, mg.zeros, lambda n, **k: mg.arange(2.0, **k))
    )


def test_in_the_shape_of_another():
    x = Tensor(X.astype("f4"), requires_grad=True)
    y = mg.full_like(x, 2.5)
    assert (y.dtype, y.shape, y.requires_grad) == (np.float32, (2, 3), False)
    assert mg.full_like(X, fill_value=7, dtype="int64").tolist() == [[7] * 3] * 2
    assert isinstance(mg.empty_like(X), np.ndarray)
    assert mg.empty_like(x, dtype="float64").numpy().dtype == np.float64
    assert mg.full((2,), fill_value=3).numpy().tolist() == [3, 3]


@pytest.mark.parametrize("wrong", [None, 1j, "a"])
def test_creation_refuses_what_is_no_number(wrong):
    for call in (
        lambda: mg.full((2,), wrong),
        lambda: mg.full_like(X, wrong),
        lambda: mg.arange(wrong),
        lambda: mg.linspace(wrong, 1),
    ):
        with pytest.raises(DtypeError, match="expected real numbers"):
            call()


def test_what_is_created_is_a_constant():
    t = Tensor(to_device(np.array(3.0)), requires_grad=True)
    for call in (mg.arange, lambda t: mg.full((2,), t)):
        with pytest.raises(GradientError, match="detach"):
            call(t)
        assert type(call(t.detach())) is Tensor
    assert np.linspace(t, t, 3).requires_grad
    with pytest.raises(ValueError, match="arange: step"):
        mg.arange(1, 5, 0)


def test_asarray_shares_and_keeps_the_history():
    x = to_device(X.copy())
    shared = mg.asarray(x)
    x[0, 0] = 9
    assert shared[0, 0].item() == 9
    assert mg.asarray(x, dtype="float32").dtype == np.float32
    assert mg.asarray([1, 2]).dtype == np.int64
    assert mg.asarray([1.5]).dtype == np.float32
    t = Tensor(X, requires_grad=True) * 2
    assert mg.asarray(t) is mg.asarray(t, dtype=float) is t
    assert mg.asarray(t, dtype="float32").requires_grad


def test_random_integers():
    key = random.key(4)
    x = mg.randint(-2, 5, (100, 7), key=key)
    assert (x.dtype, x.shape) == (np.int64, (100, 7))
    assert set(np.unique(x.numpy())) == set(range(-2, 5))
    np.testing.assert_array_equal(x.numpy(), random.integers(key, -2, 5, (100, 7)))
    assert mg.randint(1, shape=(3,)).numpy().tolist() == [0, 0, 0]
    assert mg.randint(3).shape == ()
    assert mg.rand((2, 3)).shape == mg.randn(2, 3).shape == (2, 3)
    with pytest.raises(ValueError, match="low=5, high=5"):
        mg.randint(5, 5)


def test_small_arrays_as_static_parameters():
    x = np.arange(6.0).reshape(2, 3)
    widths, repeats = np.array([[1, 0], [0, 2]]), np.array([1, 2, 0])
    np.testing.assert_array_equal(mg.pad(x, widths), np.pad(x, widths))
    np.testing.assert_array_equal(mg.repeat(x, repeats, axis=1), np.repeat(x, repeats, axis=1))
    np.testing.assert_allclose(mg.quantile(x, np.array([0.1, 0.5])), np.quantile(x, [0.1, 0.5]))
    np.testing.assert_array_equal(
        mg.roll(x, np.array([1, 2]), axis=(0, 1)), np.roll(x, (1, 2), (0, 1))
    )


@pytest.mark.parametrize("f", [mg.sum, mg.glu, mg.softmax])
def test_what_is_no_array_is_named(f):
    with pytest.raises(TypeError, match="there is a str"):
        f("3.0")


def test_digitize_with_falling_limits():
    x, bins = np.array([0.0, 1.0, 2.5, 9.0]), np.array([3.0, 2.0, 1.0])
    for right in (False, True):
        expected = np.digitize(x, bins, right)
        np.testing.assert_array_equal(mg.digitize(x, bins, right), expected)
        np.testing.assert_array_equal(mg.digitize(mg.Tensor(x), bins, right).data, expected)


def test_linspace_between_tensors():
    assert mg.linspace(mg.tensor(0.0), 1, 3).data.tolist() == [0.0, 0.5, 1.0]
    assert mg.linspace(mg.tensor(0.0, requires_grad=True), 1, 3).requires_grad

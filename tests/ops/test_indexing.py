"""Indexing, sorting and searching: conventions, errors, and what the table of ops does not draw."""

import numpy as np
import pytest
from support import host, refuses

import minigrad as mg
from minigrad.backend import to_device, to_numpy
from minigrad.errors import DtypeError, MinigradError, OutOfRangeError, ShapeError
from minigrad.ops.indexing import refuse_if_batched
from minigrad.testing import check_op

X = np.arange(24.0).reshape(2, 3, 4)
NAN = np.nan


def tracked(x, dtype="float64"):
    return mg.Tensor(to_device(np.array(x, dtype)), requires_grad=True)


def gradient(y, x, weights=None):
    """The gradient of the sum of `y`, by both walks."""
    weights = None if weights is None else to_device(np.array(weights, float))
    total = mg.sum(y if weights is None else y * weights)
    first = host(mg.gradients(total, x, retain_graph=True))
    again = host(mg.gradients(total, x, create_graph=True))
    np.testing.assert_array_equal(first, again)
    return first


# --------------------------------------------------------------------------------- getitem


@pytest.mark.parametrize(
    "index",
    [
        *[1, -1, np.int8(-1), np.uint64(1), (), ..., None, (None, ..., None), (1, ..., -1)],
        *[slice(None, None, -2), (slice(None, None, -1), slice(5, 0, -2)), (slice(9, 99), 1)],
        *[[], [[]], [[1, 0], [0, 0]], range(2), ((0, 1),), ([1, 0], slice(None), [3, -1])],
        *[(0, slice(None), [1, 1]), ([0, 1], None, 2), (slice(None), [0, 1], None, [1, 2])],
        *[
            True,
            False,
            np.True_,
            (True, None, 1),
            [True, False],
            (slice(None), [True, False, True]),
        ],
        *[(1, [False, True, True], [2, 0]), ([True, True], slice(None), [1, 1])],
    ],
    ids=repr,
)
def test_an_index_of_python_numbers_is_numpys(index):
    x = tracked(X)
    y = x[index]
    np.testing.assert_array_equal(host(y), X[index])
    weights, expected = np.arange(1.0, 1 + y.size).reshape(y.shape), np.zeros_like(X)
    np.add.at(expected, index, weights)
    np.testing.assert_array_equal(gradient(y, x, weights), expected)


@pytest.mark.parametrize(
    "index",
    [
        (X > 5,),
        (X[:, :, 0] > 5,),
        (slice(None), slice(None), X[0, 0] > 1),
        (np.array(True),),
        (np.array(False),),
        (np.zeros((2, 3), bool),),
        (np.array([[0], [1]]), np.array([[0, 2]])),
        (np.array([1, 1, 1], np.uint8), slice(None), np.array([0, 0, 3], np.int16)),
        (np.array([True, False]), np.array([0, 2])),
        (..., np.zeros((0, 3), int)),
    ],
)
def test_an_index_of_arrays_or_of_tensors_is_numpys(index):
    for wrap in (lambda i: i, mg.Tensor):
        parts = [wrap(to_device(i)) if isinstance(i, np.ndarray) else i for i in index]
        x = tracked(X)
        y = x[tuple(parts)]
        np.testing.assert_array_equal(host(y), X[index])
        expected = np.zeros_like(X)
        np.add.at(expected, index, 1)
        np.testing.assert_array_equal(gradient(y, x), expected)


def test_a_list_of_tensors_is_an_index():
    x = mg.Tensor(X)
    np.testing.assert_array_equal(
        host(x[[mg.Tensor(np.array(1)), mg.Tensor(np.array(0))]]), X[[1, 0]]
    )


def test_reading_with_slices_gives_a_view():
    x = to_device(X)
    assert mg.getitem(x, (0, slice(1, None))).base is not None


@pytest.mark.parametrize(
    ("index", "error", "fragment"),
    [
        (2, OutOfRangeError, "index 2"),
        ((0, -4), OutOfRangeError, "-4"),
        ((0, 0, 0, 0), OutOfRangeError, "too many indices"),
        ((..., ...), OutOfRangeError, "ellipsis"),
        (1.5, DtypeError, "1.5"),
        (np.float32(1), DtypeError, "integer"),
        ("a", DtypeError, "'a'"),
        ([0.5], IndexError, "integer"),
        (mg.tensor([0.5]), IndexError, "integer"),
        (mg.tensor(0.5), IndexError, "integer"),
    ],
)
def test_what_is_no_index(index, error, fragment):
    with pytest.raises(error, match=fragment):
        mg.Tensor(to_device(X))[index]


# ------------------------------------------------------------------------ reading and writing


def test_a_tracked_number_is_written_to_each_place_once():
    value = tracked(2.0)
    y = mg.index_set(mg.zeros(4), [0, 3], value)
    assert host(y).tolist() == [2, 0, 0, 2]
    assert gradient(y, value, [1, 2, 3, 4]) == 5
    y = mg.scatter(mg.zeros((2, 2)), mg.tensor([[0], [1]]), value, axis=1)
    assert host(y).tolist() == [[2, 0], [0, 2]]
    assert gradient(y, value, [[1, 2], [3, 4]]) == 5


def test_one_number_may_be_written_to_a_place_twice():
    ones = mg.scatter(mg.zeros((1, 3)), mg.tensor([[2, 0, 2]]), 1.0, axis=1)
    assert host(ones).tolist() == [[1, 0, 1]]
    assert host(mg.index_set(mg.zeros(3), [1, 1], 4)).tolist() == [0, 4, 0]
    x = tracked([[1, 2, 3]])
    assert gradient(mg.scatter(x, mg.tensor([[2, 2]]), 0.0, axis=1), x).tolist() == [[1, 1, 0]]


def test_values_beyond_the_ids_do_not_count():
    values = tracked([[1, 2, 3], [4, 5, 6]])
    ids = mg.tensor([[1, 1]])
    y = mg.scatter_add(mg.zeros((2, 2), dtype="float64"), ids, values, axis=1)
    assert host(y).tolist() == [[0, 3], [0, 0]]
    assert gradient(y, values, [[7, 8], [9, 9]]).tolist() == [[8, 8, 0], [0, 0, 0]]
    check_op(mg.scatter, np.ones((3, 2)), np.array([[0, 1]]), np.full((2, 3), 2.0), axis=1)


def test_gather_does_not_broadcast_and_take_along_axis_does():
    x, ids = np.ones((1, 3)), np.zeros((2, 3), int)
    with pytest.raises(ShapeError, match=r"gather.*\(2, 3\) for \(1, 3\)"):
        mg.gather(x, ids, 1)
    assert mg.take_along_axis(x, ids, 1).shape == (2, 3)


def test_put_along_axis_is_numpys():
    for axis, ids, values in [
        (1, [[[2], [0]]], 5.0),
        (0, np.ones((1, 1, 1), int), np.arange(4.0)),
        (None, [3, -1], [7.0, 8.0]),
    ]:
        expected = X.copy()
        np.put_along_axis(expected, np.array(ids), np.array(values), axis)
        ids, values = to_device(np.array(ids)), to_device(np.array(values))
        np.testing.assert_array_equal(
            host(mg.put_along_axis(to_device(X), ids, values, axis)), expected
        )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
def test_integers_are_added(dtype):
    x = mg.tensor(np.array([100, 7], dtype))
    y = mg.index_add(x, [0, 0, 1], mg.tensor(np.array([2, 3, 4], dtype)))
    assert (host(y).tolist(), y.dtype) == ([105, 11], dtype)
    y = mg.scatter_add(x, mg.tensor([1, 1]), mg.tensor(np.array([1, 2], dtype)), axis=0)
    assert (host(y).tolist(), y.dtype) == ([100, 10], dtype)


@pytest.mark.parametrize("sign", [1, -1])
def test_negative_integers_are_added(sign):
    y = mg.index_add(mg.tensor([5, 6]), [1, 1], mg.tensor([-4, sign * 3]))
    assert host(y).tolist() == [5, 2 + sign * 3]


def test_many_halves_are_summed_in_more():
    w = mg.ones((1, 2), dtype="float16", requires_grad=True)
    ids = mg.zeros(5000, dtype="int64")
    for y in (mg.embedding(ids, w), mg.take(w, ids, axis=0), w[ids]):
        g = mg.gradients(mg.sum(y, dtype="float32"), w)
        assert (host(g).tolist(), g.dtype) == ([[5000, 5000]], "float16")
    y = mg.index_add(mg.zeros(1, dtype="float16"), ids, mg.ones(5000, dtype="float16"))
    assert y.item() == 5000


def test_writing_keeps_the_dtype_beside_python_numbers():
    for dtype in ("float16", "float32", "float64", "int32"):
        x = mg.zeros(3, dtype=dtype)
        assert mg.index_set(x, [0], 1).dtype == mg.index_add(x, [0], 1).dtype == dtype
    assert mg.index_set(mg.zeros(3, dtype="int64"), [0], 1.5).dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[[]],
        lambda x: mg.take(x, x[:0].astype("int64"), axis=0),
        lambda x: mg.index_select(x, x[:0].astype("int64")),
        lambda x: mg.gather(x, x[:0].astype("int64"), 0),
        lambda x: mg.take_along_axis(x, x[:0].astype("int64"), 0),
        lambda x: mg.topk(x, 0).values,
        lambda x: mg.masked_select(x, x < 0),
        lambda x: mg.sort(x[:0]),
        lambda x: mg.unique(x[:0]),
    ],
)
def test_of_no_ids_there_is_nothing(call):
    x = tracked([1, 2, 3])
    assert call(x).shape == (0,)
    assert gradient(call(x), x).tolist() == [0, 0, 0]


def test_writing_at_no_ids_changes_nothing():
    x, none = tracked([1, 2]), mg.zeros(0, dtype="int64")
    empty = mg.zeros(0, dtype="float64")
    for y in (
        mg.index_add(x, none, empty),
        mg.index_set(x, none, empty),
        mg.scatter(x, none, empty, axis=0),
        mg.scatter_add(x, none, empty, axis=0),
    ):
        assert host(y).tolist() == [1, 2]
        assert gradient(y, x).tolist() == [1, 1]


def test_ids_may_be_a_number_or_a_list():
    w = tracked([[1, 2], [3, 4]])
    assert host(mg.embedding(1, w)).tolist() == [3, 4]
    assert gradient(mg.embedding(1, w), w).tolist() == [[0, 0], [1, 1]]
    assert gradient(mg.embedding([[0, 0], [1, 0]], w), w).tolist() == [[3, 3], [1, 1]]
    assert gradient(mg.take(w, -1, axis=1), w).tolist() == [[0, 1], [0, 1]]
    assert host(mg.one_hot(1, num_classes=3)).tolist() == [0, 1, 0]
    assert host(mg.index_select(w, 0)).tolist() == [1, 2]


# ------------------------------------------------------------- shapes that depend on values


def test_where_of_one_argument_is_nonzero():
    c = X % 5 == 0
    for found in (mg.where(to_device(c)), mg.nonzero(to_device(c)), mg.where(mg.tensor(c))):
        assert isinstance(found, tuple)
        for a, b in zip(found, np.where(c), strict=True):
            np.testing.assert_array_equal(host(a), b)
    assert isinstance(mg.nonzero(mg.tensor(c))[0], mg.Tensor)
    with pytest.raises(ValueError, match="both"):
        mg.where(c, 1.0)


def test_unique_gives_the_gradient_to_the_first_of_equals():
    x = tracked([[3, 1], [3, 2]])
    assert host(mg.unique(x)).tolist() == [1, 2, 3]
    assert gradient(mg.unique(x), x, [1, 2, 3]).tolist() == [[3, 1], [0, 2]]


def test_bincount_sums_weights():
    weights = tracked([1, 2, 4])
    y = mg.bincount([0, 2, 2], weights, 4)
    assert host(y).tolist() == [1, 0, 6, 0]
    assert gradient(y, weights, [1, 2, 3, 4]).tolist() == [1, 3, 3]
    assert mg.bincount([]).shape == (0,)
    for whole in ([2**24, 1, 2**24 + 1], [1, 2, 3], [True, False, True]):
        y = mg.bincount(to_device(np.array([0, 2, 2])), to_device(np.array(whole)))
        assert y.dtype == np.float32
        total = np.bincount([0, 2, 2], whole).astype("float32")
        np.testing.assert_array_equal(to_numpy(y), total)
    assert mg.bincount(mg.tensor([1, 1])).dtype == np.int64


class Hidden:
    hides_a_batch_axis = True


def test_what_depends_on_values_is_refused_for_a_batch():
    with pytest.raises(ShapeError, match=r"f: the shape of the result depends on values.*do so"):
        refuse_if_batched("f", Hidden(), "do so")
    refuse_if_batched("f", X, "do so")
    x = mg.tensor([[1.0, -1.0], [2.0, 3.0]])
    for function in (
        lambda x: x[x > 0],
        lambda x: mg.masked_select(x, x > 0),
        lambda x: mg.where(x > 0)[0],
        lambda x: mg.unique(x),
        lambda x: mg.bincount(x.astype("int64")),
        lambda x: mg.one_hot(x.astype("int64")),
    ):
        with pytest.raises(ShapeError, match="depends on values"):
            mg.vmap(function)(x)
    mask = mg.tensor([True, False])
    assert mg.vmap(lambda x: x[mask])(x).shape == (2, 1)


# ------------------------------------------------------------------------ sorting, searching


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: mg.argsort(x), [1, 4, 0, 3, 2]),
        (lambda x: mg.argsort(x, descending=True), [2, 0, 3, 1, 4]),
        (lambda x: mg.topk(x, 3).indices, [2, 0, 3]),
        (lambda x: mg.topk(x, 3, largest=False).indices, [1, 4, 0]),
        (lambda x: mg.kthvalue(x, 2).indices, 4),
        (lambda x: mg.sort(x), [1, 1, 2, 2, NAN]),
        (lambda x: mg.sort(x, descending=True), [NAN, 2, 2, 1, 1]),
        (lambda x: mg.topk(x, 2, sorted=False).values, [NAN, 2]),
        (lambda x: mg.kthvalue(x, 3).values, 2),
    ],
)
def test_equals_keep_their_order_and_nan_is_the_largest(function, expected):
    x = to_device(np.array([2, 1, NAN, 2, 1]))
    np.testing.assert_array_equal(host(function(x)), expected)


def test_each_of_equals_gets_its_own_gradient():
    x = tracked([2, 1, 2, 1])
    assert gradient(mg.sort(x), x, [1, 2, 3, 4]).tolist() == [3, 1, 4, 2]
    assert gradient(mg.sort(x, descending=True), x, [1, 2, 3, 4]).tolist() == [1, 3, 2, 4]
    assert gradient(mg.topk(x, 3).values, x, [1, 2, 3]).tolist() == [1, 3, 2, 0]
    assert gradient(mg.kthvalue(x, 2).values, x).tolist() == [0, 0, 0, 1]


def test_what_topk_gives_has_names_and_only_values_are_tracked():
    x = tracked(X)
    values, indices = found = mg.topk(x, 2, axis=1)
    assert found.values is values
    assert (values.requires_grad, indices.requires_grad) == (True, False)
    assert indices.dtype == mg.argsort(x).dtype == np.int64
    np.testing.assert_array_equal(host(values), X[:, :0:-1])
    assert mg.kthvalue(x, 1, 2, True).values.shape == (2, 3, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8", "bool"])
def test_sorting_keeps_the_dtype(dtype):
    x = to_device(np.array([1, 0, 1, 0], dtype))
    for y in (mg.sort(x), mg.sort(x, axis=None, descending=True), mg.topk(x, 2).values):
        assert y.dtype == dtype
    assert host(mg.sort(x)).tolist() == [0, 0, 1, 1]


def test_a_number_is_in_order():
    assert mg.sort(np.array(3.0)).shape == mg.argsort(np.array(3.0)).shape == ()
    assert mg.sort(np.array(3.0), axis=None).tolist() == [3]


def test_bins_are_numpys():
    bins, x = np.array([0.0, 1.0, 1.0, 3.0]), np.array([-1, 0, 0.5, 1, 3, 9])
    for right in (False, True):
        found = mg.digitize(to_device(x), to_device(bins), right)
        np.testing.assert_array_equal(host(found), np.digitize(x, bins, right))
        found = mg.digitize(to_device(x), to_device(bins[::-1].copy()), right)
        np.testing.assert_array_equal(host(found), np.digitize(x, bins[::-1], right))
        found = mg.digitize([0.7, 0.1], [0.7, 0.1], right)
        np.testing.assert_array_equal(host(found), np.digitize([0.7, 0.1], [0.7, 0.1], right))
    rows = to_device(np.array([[0.0, 1.0], [1.0, 0.0]]))
    found = mg.vmap(lambda bins: mg.digitize(to_device(x), bins))(mg.Tensor(rows))
    assert host(found).tolist() == [np.digitize(x, bins).tolist() for bins in ([0, 1], [1, 0])]
    assert mg.searchsorted([1, 2, 3], 2, "right") == 2


# ---------------------------------------------------------------------------------- errors

IDS = np.zeros((2, 1, 1), int)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: mg.take(X, 9, axis=0), OutOfRangeError, "take|9|[-2, 2)"),
        (lambda: mg.take(X, [0], axis=3), OutOfRangeError, "take|axis 3"),
        (lambda: mg.take(X, True), DtypeError, "take|integers|bool"),
        (lambda: mg.take(X, [0.5]), DtypeError, "take|integers|float32"),
        (lambda: mg.index_select(X, [[0]]), ShapeError, "index_select|one axis|(1, 1)"),
        (lambda: mg.take_along_axis(X, np.array([0]), 0), ShapeError, "take_along_axis|1|3"),
        (lambda: mg.take_along_axis(X, IDS, None), ShapeError, "take_along_axis|3|1"),
        (lambda: mg.gather(X, np.array([0]), 0), ShapeError, "gather|(1,)|(2, 3, 4)"),
        (lambda: mg.gather(X, IDS, 3), OutOfRangeError, "gather|axis 3|(2, 3, 4)"),
        (lambda: mg.gather(X, IDS == 0, 1), DtypeError, "integers|bool"),
        (lambda: mg.scatter(X, np.zeros((3, 1, 1), int), 1.0, axis=1), ShapeError, "scatter|(3, 1"),
        (lambda: mg.scatter(X, IDS, np.ones((1, 1, 1)), axis=1), ShapeError, "scatter|(1, 1, 1)"),
        (lambda: mg.scatter(X, IDS, np.ones(2), axis=1), ShapeError, "scatter|(2,)|(2, 1, 1)"),
        (lambda: mg.scatter(X, IDS, X[:, :1, :1], axis=0), ShapeError, "scatter|repeated"),
        (
            lambda: mg.scatter_add(X, IDS + 3, 1.0, axis=1),
            OutOfRangeError,
            "scatter_add|3|(0, 0, 0)",
        ),
        (lambda: mg.index_add(X, [[0]], 1.0), ShapeError, "index_add|one axis"),
        (lambda: mg.index_add(X, [0], np.ones(7)), ShapeError, "index_add|(7,)"),
        (lambda: mg.index_set(X, [0], 1.0, axis=5), OutOfRangeError, "index_set|axis 5"),
        (lambda: mg.put_along_axis(X, IDS[0], 1.0, 0), ShapeError, "put_along_axis|2|3"),
        (lambda: mg.embedding([0], X[0], padding_idx=3), OutOfRangeError, "padding_idx|3"),
        (lambda: mg.embedding([True], X[0]), DtypeError, "embedding|bool"),
        (lambda: mg.one_hot([-1], num_classes=3), OutOfRangeError, "one_hot|-1|[0, 3)"),
        (lambda: mg.one_hot([[0.5]], num_classes=3), DtypeError, "one_hot|float32"),
        (lambda: mg.one_hot(IDS[:0]), ShapeError, "one_hot|num_classes"),
        (lambda: mg.one_hot([0], num_classes=-3), ValueError, "one_hot|-3"),
        (lambda: mg.one_hot([0], num_classes=1.5), ValueError, "one_hot|1.5"),
        (lambda: mg.masked_select(X, IDS), DtypeError, "masked_select|booleans|int64"),
        (lambda: mg.masked_select(X, np.ones(7, bool)), ShapeError, "masked_select|(7,)"),
        (lambda: mg.nonzero(np.array(1)), ShapeError, "nonzero|0-d"),
        (lambda: mg.bincount([-1]), OutOfRangeError, "bincount|-1"),
        (lambda: mg.bincount([0.5]), DtypeError, "bincount|float32"),
        (lambda: mg.bincount([[1]]), ShapeError, "bincount|(1, 1)"),
        (lambda: mg.bincount([1], [1.0, 2.0]), ShapeError, "bincount|(2,)|(1,)"),
        (lambda: mg.sort(X, axis=3), OutOfRangeError, "axis 3"),
        (lambda: mg.topk(X, 5), ShapeError, "topk|from 0 to 4|5"),
        (lambda: mg.topk(X, 1, 3), OutOfRangeError, "topk|axis 3"),
        (lambda: mg.kthvalue(X, 0), ShapeError, "kthvalue|from 1 to 4|0"),
        (lambda: mg.searchsorted(X[0], 1.0), ShapeError, "searchsorted|(3, 4)"),
        (lambda: mg.searchsorted(X[0, 0], 1.0, side="up"), ValueError, "'left'|'up'"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, error, fragments):
    with refuses(error) as caught:
        call()
    assert isinstance(caught.value, MinigradError)
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)

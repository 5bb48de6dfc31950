"""bfloat16, of which array modules know less than of other floats: it is sorted, and stays."""

import numpy as np
import pytest
from support import host

import minigrad as mg
from minigrad.autodiff import Tensor
from minigrad.backend import to_device

ml_dtypes = pytest.importorskip("ml_dtypes")

# On the host comparisons of NaN warn.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")

# Ties, zeros of both signs, infinities and NaN, in lines that are not sorted.
X = np.random.default_rng(0).integers(-3, 4, (4, 33)) / 4
X[1, ::7], X[1, 3::9], X[2, ::5] = -0.0, np.inf, np.nan
NARROW = X.astype(ml_dtypes.bfloat16)


def indices(ranked):
    return ranked.indices


ORDERS = {
    "argsort": mg.argsort,
    "argsort, falling": lambda x: mg.argsort(x, descending=True),
    "argsort, first axis": lambda x: mg.argsort(x, axis=0),
    "topk": lambda x: indices(mg.topk(x, 5)),
    "topk, first axis": lambda x: indices(mg.topk(x, 2, axis=0)),
    "topk, smallest": lambda x: indices(mg.topk(x, 5, largest=False)),
    "kthvalue": lambda x: indices(mg.kthvalue(x, 3)),
    "mode": lambda x: indices(mg.mode(x)),
    "unique": lambda x: mg.unique(x, True, True, True)[1],
    "unique, inverse": lambda x: mg.unique(x, True, True, True)[2],
    "unique rows": lambda x: mg.unique(mg.getitem(x, [0, 3, 0]), True, axis=0)[1],
    "isin": lambda x: mg.isin(x, x[0, :3]),
    "searchsorted": lambda x: mg.searchsorted(mg.sort(x[3]), x),
    "lexsort": lambda x: mg.lexsort(list(x)),
    "argpartition": lambda x: mg.argpartition(x, 4),
    "argmax": lambda x: mg.argmax(x, axis=-1),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("wrap", [Tensor, lambda x: x], ids=["tensor", "array"])
def test_the_order_is_that_of_the_same_numbers(order, wrap):
    found, expected = order(wrap(to_device(NARROW))), order(wrap(to_device(X)))
    np.testing.assert_array_equal(host(found), host(expected))


VALUES = {
    "sort": mg.sort,
    "sort, falling": lambda x: mg.sort(x, axis=0, descending=True),
    "topk": lambda x: mg.topk(x, 4).values,
    "kthvalue": lambda x: mg.kthvalue(x, 4).values,
    "median": lambda x: mg.median(x[0]),
    "unique": mg.unique,
    "where": lambda x: mg.where(x > 0, x, 0.5),
    "where, integer": lambda x: mg.where(x > 0, 1, x),
    "where, two arrays": lambda x: mg.where(x > 0, x, -x),
    "clip": lambda x: mg.clip(x, -0.5, 0.25),
    "relu": mg.relu,
    "maximum": lambda x: mg.maximum(x, 0.25),
    "nan_to_num": lambda x: mg.nan_to_num(x, posinf=1.0),
    "nanmax": lambda x: mg.nanmax(x, axis=-1),
    "nanmin": lambda x: mg.nanmin(x, axis=0),
    "masked_fill": lambda x: mg.masked_fill(x, x > 0, 2.0),
}


@pytest.mark.parametrize("function", VALUES.values(), ids=VALUES)
def test_values_and_dtype_stay(function):
    x = to_device(NARROW)
    expected = host(function(to_device(X)))
    for y in (function(x), function(Tensor(x)), function(Tensor(x, requires_grad=True))):
        assert y.dtype == NARROW.dtype
        np.testing.assert_array_equal(host(y).astype("float64"), expected)


def test_a_choice_among_others_promotes_as_before():
    x = to_device(NARROW)
    wide = x.astype("float32")
    assert mg.where(x > 0, x, wide).dtype == np.float32
    assert mg.where(x > 0, wide, x).dtype == np.float32


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (4,))])
def test_many_products_in_one(shapes):
    generator = np.random.default_rng(1)
    a, b = (generator.integers(-4, 5, shape).astype(ml_dtypes.bfloat16) for shape in shapes)
    ta, tb = (Tensor(to_device(v), requires_grad=True) for v in (a, b))
    y = ta @ tb
    assert y.dtype == a.dtype
    np.testing.assert_array_equal(host(y), np.matmul(a.astype(float), b.astype(float)))
    ga, gb = mg.gradients(mg.sum(y), [ta, tb])
    assert ga.dtype == gb.dtype == a.dtype
    da, db = (Tensor(v.astype(float), requires_grad=True) for v in (a, b))
    for found, expected in zip((ga, gb), mg.gradients(mg.sum(da @ db), [da, db]), strict=True):
        np.testing.assert_array_equal(host(found), host(expected))

"""The stand-in refuses what it should, and counts the rest.

`tests/house/test_standin.py` runs this.
"""

import math

import cupy
import numpy as np
import pytest

HOST = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def x():
    array = cupy.asarray(HOST)
    cupy.synchronisations.clear()
    cupy.transfers.clear()
    return array


def ids(*numbers):
    return cupy.asarray(np.array(numbers))


# ------------------------------------------------------------------------------- refusals

REFUSED = {
    "np.asarray": lambda x: np.asarray(x),
    "a NumPy function": lambda x: np.sum(x),
    "a NumPy ufunc": lambda x: np.exp(x),
    "a NumPy ufunc of both": lambda x: np.add(HOST, x),
    "a NumPy array on the right": lambda x: x + HOST,
    "a NumPy array on the left": lambda x: HOST * x,
    "a 0-d NumPy array": lambda x: x * np.array(2.0),
    "a NumPy array in place": lambda x: x.__iadd__(HOST),
    "a NumPy array in a function": lambda x: cupy.maximum(x, HOST),
    "a NumPy array among others": lambda x: cupy.concatenate([x, HOST]),
    "a NumPy array alone": lambda x: cupy.sum(HOST),
    "a NumPy array as a value": lambda x: x.__setitem__(0, HOST[0]),
    "a NumPy index": lambda x: x[np.array([0, 1])],
    "a NumPy index to write at": lambda x: x.__setitem__(np.array([0, 1]), 0),
    "a NumPy index to take": lambda x: cupy.take(x, np.array([0, 1]), axis=0),
    "a list as an operand": lambda x: x * [1, 2, 3],
    "a list as an index": lambda x: x[[0, 1]],
    "None": lambda x: x == None,  # noqa: E711
    "the key of a dictionary": lambda x: {x: 1},
    "a number for range": lambda x: range(x.sum().astype(int)),
    "a bound of a slice": lambda x: HOST[: x.sum().astype(int)],
    "where": lambda x: x.sum(where=x > 1),
    "initial": lambda x: cupy.max(x, initial=0),
    "mode": lambda x: cupy.take(x, ids(0, 1), mode="clip"),
    "atomic addition of int64": lambda x: cupy.add.at(ids(0, 1), ids(0), 1),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_refuses_with_a_type_error(x, refused):
    with pytest.raises(TypeError):
        refused(x)


@pytest.mark.parametrize("name", ["block", "insert", "vecdot", "unstack", "frompyfunc", "seterr"])
def test_has_only_what_cupy_has(name):
    with pytest.raises(AttributeError, match=f"stand-in for cupy has no '{name}'"):
        getattr(cupy, name)


def test_unknown_attributes_name_the_stand_in(x):
    with pytest.raises(AttributeError, match=r"stand-in .* has no 'ctypes'"):
        x.ctypes  # noqa: B018
    with pytest.raises(AttributeError):
        x.flags.writeable  # noqa: B018


def test_indices_out_of_range_raise(x):
    for read in (lambda: x[ids(2)], lambda: cupy.take(x, ids(-3), axis=0)):
        with pytest.raises(IndexError):
            read()
    with pytest.raises(IndexError):
        x[ids(2)] = 0.0


# ------------------------------------------------------------------------- trips to the host

SYNCHRONISING = {
    "float": lambda x: float(x[1, 2]),
    "int": lambda x: int(x[1, 2]),
    "bool": lambda x: bool(x[1, 2]),
    "item": lambda x: x[1, 2].item(),
    "tolist": lambda x: x.tolist(),
    "repr": lambda x: repr(x),
    "format": lambda x: f"{x}",
    "iteration": lambda x: list(x),
    "in": lambda x: 3.0 in x[0],
    "math": lambda x: math.sqrt(x[1, 2]),
    "comparison by Python": lambda x: max(x[0, 0], x[0, 1]),
    "mask": lambda x: x[x > 2],
    "mask to write at": lambda x: x.__setitem__(x > 2, 0.0),
    "nonzero": lambda x: cupy.nonzero(x),
    "where": lambda x: cupy.where(x > 2),
    "deviceSynchronize": lambda x: cupy.cuda.runtime.deviceSynchronize(),
}
TRANSFERRING = {
    "get": lambda x: x.get(),
    "asnumpy": lambda x: cupy.asnumpy(x),
    "set": lambda x: x.set(HOST),
    "asarray": lambda x: cupy.asarray(HOST),
    "a list": lambda x: cupy.array([1, 2]),
}


@pytest.mark.parametrize("wait", SYNCHRONISING.values(), ids=SYNCHRONISING)
def test_synchronisations_are_counted(x, wait):
    wait(x)
    assert cupy.synchronisations.total() >= 1
    assert not cupy.transfers
    with cupy.capturing(), pytest.raises(RuntimeError, match="stream is capturing"):
        wait(x)


@pytest.mark.parametrize("move", TRANSFERRING.values(), ids=TRANSFERRING)
def test_transfers_are_counted(x, move):
    move(x)
    assert cupy.transfers.total() == 1
    assert not cupy.synchronisations
    with cupy.capturing(), pytest.raises(RuntimeError, match="stream is capturing"):
        move(x)


def test_computing_costs_no_trip(x):
    ids_on_device = ids(1, 0)
    cupy.transfers.clear()
    with cupy.capturing():
        y = cupy.where(x > 1, x @ x.T @ x, 0.5) / x.sum(axis=0)
        y[..., 1:] = cupy.asarray(3.0)
        y[ids_on_device] += np.float32(2)
        cupy.add.at(y, ids_on_device, 1.0)
        assert y.shape == (2, 3)
        assert len(y) == 2
    assert not cupy.synchronisations + cupy.transfers


# -------------------------------------------------------------------------------- imitations


def test_reductions_and_elements_are_0d_arrays(x):
    for y in (x.sum(), cupy.max(x), x[1, 2], x.argmax(), cupy.allclose(x, x), cupy.exp(1.0)):
        assert isinstance(y, cupy.ndarray)
        assert y.shape == ()


def test_an_element_is_a_view(x):
    y = x[1, 2]
    y += 1.0
    assert x.get()[1, 2] == 6.0


def test_scalars_follow_nep_50():
    x = cupy.ones(2, "float32")
    assert (x * 2.0).dtype == (np.float32(2) * x).dtype == (2.0**x).dtype == np.float32
    assert (x * np.float64(2)).dtype == (np.float64(2) * x).dtype == np.float64
    assert (x < np.float64(2)).dtype == bool


def test_views_know_their_base(x):
    assert x.base is None
    assert x.flags.owndata
    y = x[:, 1:].T
    assert y.base is x
    assert (y.shape, y.strides) == ((2, 2), (8, 24))
    assert not y.flags.c_contiguous
    assert x.astype(x.dtype, copy=False) is x
    assert cupy.asarray(x) is x
    assert cupy.asarray(HOST).base is None


def test_in_place_operators_keep_the_array(x):
    before = x
    x -= 1.0
    x *= x
    assert x is before
    np.testing.assert_array_equal(x.get(), (HOST - 1) ** 2)
    with pytest.raises(TypeError):
        x.astype("int32").__iadd__(0.5)


def test_empty_is_rubbish():
    assert np.isnan(cupy.empty((2, 2)).get()).all()
    assert cupy.empty_like(cupy.ones(2, "int32")).get().min() == np.iinfo("int32").max
    assert cupy.empty(2, bool).get().all()


def test_floating_point_errors_are_silent(x):
    assert np.isnan(cupy.log(-1.0 - x).get()).all()
    assert np.isinf((1.0 / (x * 0.0)).get()).all()


def test_duplicate_indices_are_written_in_any_order():
    winners = set()
    for _ in range(50):
        y = cupy.zeros(1)
        y[cupy.zeros(8, int)] = cupy.arange(8.0)
        winners.add(float(y[0]))
    assert len(winners) > 1


def test_add_at_sums_in_any_order():
    sums = set()
    for _ in range(50):
        y = cupy.zeros((2, 2)).T  # not contiguous
        cupy.add.at(y, (1, ids(0, 0, 0)), cupy.asarray(np.array([1e16, -1e16, 1.0])))
        assert y.get()[0, 1] == 0.0
        sums.add(float(y[1, 0]))
    assert sums == {0.0, 1.0}

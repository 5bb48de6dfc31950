"""Rows that are looked up, and their gradients: equal sums, in one order, whatever is looked up."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import backend, ops
from minigrad.errors import OutOfRangeError
from minigrad.kernels.cuda import embeddings
from minigrad.kernels.cuda.faults import check

DTYPES = {"float32": 1e-5, "float64": 1e-12, "float16": 1e-2, "bfloat16": 5e-2}


def named(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def numbers(*shape, dtype="float32", seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def summed(g, ids, rows, padding=-1):
    """The sums in float64, position by position."""
    y = np.zeros((rows, *g.shape[ids.ndim :]))
    flat = g.reshape(-1, *g.shape[ids.ndim :]).astype("float64")
    for row, i in zip(flat, ids.reshape(-1), strict=True):
        if i % rows != padding:
            y[i] += row
    return y


# ----------------------------------------------------------------------------------- looking up


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("d", [64, 7, 1])
def test_rows_are_looked_up(name, d):
    table = numbers(11, d, dtype=named(name))
    ids = np.random.default_rng(d).integers(0, 11, (5, 9))
    for kind in ("int64", "int32"):
        y = embeddings.embedding(cupy.asarray(ids.astype(kind)), cupy.asarray(table))
        np.testing.assert_array_equal(cupy.asnumpy(y), table[ids])


def test_rows_of_any_shape_are_taken_and_reordered():
    x = numbers(6, 2, 3)
    there = cupy.asarray(x)
    ids = np.array([[5, -1, 0], [-6, 2, 2]])
    y = embeddings.take(there, cupy.asarray(ids), axis=0)
    np.testing.assert_array_equal(cupy.asnumpy(y), x[ids])
    order = np.array([3, 1, 0, 5, 4, 2])
    y = embeddings.reorder_rows(there, cupy.asarray(order), cupy.asarray(np.argsort(order)))
    np.testing.assert_array_equal(cupy.asnumpy(y), x[order])
    flat = embeddings.take(there.reshape(-1), cupy.asarray(ids), axis=None)
    np.testing.assert_array_equal(cupy.asnumpy(flat), x.reshape(-1)[ids])


def test_ids_out_of_range_are_told_at_the_next_transfer():
    table = cupy.asarray(numbers(4, 8))
    ids = np.zeros((3, 5), np.int64)
    ids[1, 2] = 4
    y = embeddings.embedding(cupy.asarray(ids), table)
    with pytest.raises(OutOfRangeError, match=r"embedding: index 4 at position \(1, 2\)") as found:
        check()
    assert "out of range [0, 4)" in str(found.value)
    found = cupy.asnumpy(y)
    assert np.isnan(found[1, 2]).all()
    assert not np.isnan(found[0]).any()
    embeddings.take(table, cupy.asarray(np.array([-4, 3, -5])), axis=0)
    with pytest.raises(OutOfRangeError, match=r"take: index -5 at position 2 is out of"):
        check()
    embeddings.embedding_grad(
        cupy.asarray(numbers(3, 8)), cupy.asarray(np.array([0, 9, 1])), rows=4
    )
    with pytest.raises(OutOfRangeError, match=r"embedding_grad: index 9 at position 1"):
        check()
    check()


def test_what_is_declined():
    table, ids = cupy.zeros((4, 8), "float32"), cupy.zeros(3, "int64")
    assert embeddings.embedding(ids, table.T) is NotImplemented
    assert embeddings.embedding(cupy.zeros(3, "float32"), table) is NotImplemented
    assert embeddings.embedding(ids, cupy.zeros((4, 2, 2), "float32")) is NotImplemented
    assert embeddings.take(table, ids, axis=1) is NotImplemented
    assert embeddings.embedding_grad(table, ids, rows=4) is NotImplemented
    assert embeddings.embedding_grad(cupy.zeros((3, 4), "int64"), ids, rows=4) is NotImplemented


# ------------------------------------------------------------------------------------ gradients


def gradient(g, ids, **options):
    y = embeddings.embedding_grad(cupy.asarray(g), cupy.asarray(ids), **options)
    check()
    return cupy.asnumpy(y)


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(0, 300),
    rows=st.integers(1, 40),
    d=st.sampled_from([1, 3, 16, 33]),
    often=st.integers(1, 40),
    padding=st.integers(-1, 3),
    seed=st.integers(0, 99),
)
def test_the_rows_of_equal_ids_are_summed(name, n, rows, d, often, padding, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, min(rows, often), n)
    ids[::5] -= rows * (ids[::5] > 0)  # some count from the end
    padding = padding if padding < rows else -1
    g = numbers(n, d, dtype=named(name), seed=seed)
    got = gradient(g, ids, rows=rows, padding=padding).astype("float64")
    tolerance = DTYPES[name] * max(n, 1) ** 0.5
    np.testing.assert_allclose(got, summed(g, ids, rows, padding), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("rows", "passes"), [(5, 1), (1000, 2), (70000, 3)])
def test_many_ids_are_sorted_by_digits(rows, passes, monkeypatch):
    monkeypatch.setattr(embeddings, "FEW", 100)
    rng = np.random.default_rng(rows)
    ids = np.concatenate([rng.integers(0, rows, 500), np.full(200, rows - 1), np.full(67, 3)])
    rng.shuffle(ids)
    g = numbers(len(ids), 2)
    launches = count_of_launches(g, ids, rows)
    assert launches == 1 + 3 * passes + 2
    np.testing.assert_allclose(gradient(g, ids, rows=rows), summed(g, ids, rows), atol=1e-4)


def count_of_launches(g, ids, rows):
    from minigrad.kernels.cuda.machine import Eager

    g, ids = cupy.asarray(g), cupy.asarray(ids)
    asks = Eager(embeddings.embedding_grad.needs(g, ids, rows=rows))
    y = cupy.empty((rows, g.shape[-1]), g.dtype)
    return len(embeddings.embedding_grad.launched(asks, [y], g, ids, rows=rows))


@pytest.mark.parametrize("few", [100, 10000])
def test_sums_are_equal_bit_by_bit_and_in_the_order_of_positions(few, monkeypatch):
    monkeypatch.setattr(embeddings, "FEW", few)
    ids = np.random.default_rng(0).integers(0, 7, 31 * 7)
    g = numbers(len(ids), 4)
    first = gradient(g, ids, rows=7)
    assert (gradient(g, ids, rows=7) == first).all()
    for row in range(7):
        at = np.flatnonzero(ids == row)
        if len(at) <= embeddings.LONG:
            total = np.zeros(4, "float32")
            for i in at:
                total += g[i]
            np.testing.assert_array_equal(first[row], total)


def test_rows_of_more_axes_and_of_none():
    ids = np.array([[1, 0], [1, 2]])
    g = numbers(2, 2, 3, 2)
    np.testing.assert_allclose(gradient(g, ids, rows=4), summed(g, ids, 4), atol=1e-6)
    g = numbers(2, 2)
    np.testing.assert_allclose(gradient(g, ids, rows=4), summed(g, ids, 4), atol=1e-6)
    assert (gradient(numbers(0, 3), np.zeros(0, np.int64), rows=2) == 0).all()


def test_through_the_ops():
    table = mg.Tensor(cupy.asarray(numbers(9, 4)), requires_grad=True)
    ids = np.array([[0, 8, 3], [3, 3, 1]])
    weights = numbers(2, 3, 4)
    y = ops.embedding(cupy.asarray(ids), table, padding_idx=8)
    ops.sum(y * cupy.asarray(weights)).backward()
    expected = summed(weights, ids, 9, padding=8)
    np.testing.assert_allclose(cupy.asnumpy(table.grad.data), expected, atol=1e-6)
    backend.synchronize()

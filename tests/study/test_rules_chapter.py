"""Rules at two speeds beside minigrad's, to the third order."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import programs, same, theirs, values

from minigrad.study.book import namespace

OPS = ("add", "multiply", "sin", "exp", "tanh")


@pytest.fixture(scope="module")
def ours():
    return SimpleNamespace(**namespace("rules"))


def orders(leaves, gradients, y, order):
    """What each order gives: the gradients of the sum of the gradients before."""
    found = []
    for _ in range(order):
        if y is None:
            found += [None] * len(leaves)
            continue
        gs = gradients(y, leaves, create_graph=True)
        found += gs
        y = None
        for g in gs:
            y = y if g is None else g if y is None else y + g
    return found


@settings(deadline=None)
@given(
    arrays=st.lists(st.tuples(*[st.floats(-0.8, 0.8)] * 2).map(np.array), min_size=1, max_size=3),
    program=programs(*OPS, steps=4),
)
def test_values_and_gradients_of_three_orders(ours, arrays, program):
    mine, tensors = [ours.Tensor(a) for a in arrays], theirs.leaves(arrays)
    y = values(vars(ours), mine, program)[-1]
    z = values(theirs, tensors, program)[-1]
    same([y], [z])
    fast = ours.gradients(y, mine)
    assert all(g is None or isinstance(g, np.ndarray | np.float64) for g in fast)
    same(fast, theirs.gradients(z, tensors, retain_graph=True))
    found = orders(mine, ours.gradients, y, 3)
    others = orders(tensors, theirs.gradients, z, 3)
    scale = max([1.0, *(np.abs(g.data).max() for g in others if g is not None)])
    same(*([None if g is None else g.data / scale for g in gs] for gs in (found, others)))


def test_arrays_in_arrays_out(ours):
    x = np.array([0.5, -1.0])
    for name in ("sin", "exp", "tanh"):
        before = next(ours.clock)
        assert type(vars(ours)[name](x)) is np.ndarray
        assert next(ours.clock) == before + 1  # no node took a number
    assert type(x * ours.Tensor(x)) is ours.Tensor


def test_what_it_shows(ours):
    assert np.abs(ours.values).max() < 1e-8  # Newton's method is at the end
    (second,) = ours.gradients(ours.first[0], [ours.a])
    assert second is None  # the last of the loop leaves the ops
    (first,) = ours.gradients(ours.exp(ours.a), [ours.a], create_graph=True)
    same(ours.gradients(first, [ours.a]), [np.exp(ours.a.data)])
    assert ours.curves["first"].max() == 1

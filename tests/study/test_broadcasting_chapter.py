"""The arrays of the chapter beside minigrad's."""

import operator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import programs, same, theirs, values

import minigrad as mg
from minigrad.arguments import like
from minigrad.graph import unbroadcast
from minigrad.study.book import namespace

SHAPES = [(2, 3), (3,), (2, 1), (1, 3), (1,), ()]  # any two broadcast
lengths = st.integers(1, 4)


@pytest.fixture(scope="module")
def ours():
    return SimpleNamespace(**namespace("broadcasting"))


def both(ours, arrays):
    return [ours.Tensor(a) for a in arrays], theirs.leaves(arrays)


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.2, 1.2, shape) for shape in shapes]


@settings(deadline=None)
@given(
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    program=programs("add", "multiply", "tanh", "sum"),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(ours, shapes, program, seed):
    leaves, tensors = both(ours, drawn(seed, *shapes))
    ops = {"add": operator.add, "multiply": operator.mul}
    ops |= {"tanh": ours.Tensor.tanh, "sum": ours.Tensor.sum}
    y = values(ops, leaves, program)[-1]
    ours.backward(y)
    others = {"add": mg.add, "multiply": mg.multiply, "tanh": mg.tanh}
    others |= {"sum": lambda x: x.sum(keepdims=True)}
    z = values(others, tensors, program)[-1]
    same([y.data, *(x.grad for x in leaves)], [z, *theirs.gradients(z, tensors)])


@settings(deadline=None)
@given(n=lengths, d=lengths, m=lengths, axis=st.sampled_from([None, 0, 1]), seed=st.integers(0, 99))
def test_layers(ours, n, d, m, axis, seed):
    arrays = drawn(seed, (n, d), (d, m), (m,), (m, 1))
    (x, w, b, v), tensors = both(ours, arrays)
    y = (((x @ w + b).tanh() @ v) * 2.0 + 1.0 + x.sum(axis)).sum()
    ours.backward(y)
    a, c, e, f = tensors
    z = (((a @ c + e).tanh() @ f) * 2.0 + 1.0 + a.sum(axis, keepdims=True)).sum(keepdims=True)
    same([y.data, *(t.grad for t in (x, w, b, v))], [z, *theirs.gradients(z, tensors)])


@given(
    given=st.sampled_from(SHAPES), shape=st.sampled_from(SHAPES), copies=st.sampled_from([(), (4,)])
)
def test_unbroadcast_is_the_engines(ours, given, shape, copies):
    given = copies + np.broadcast_shapes(given, shape)
    (g,) = drawn(0, given)
    same(
        [ours.unbroadcast(g, shape)],
        [unbroadcast(mg.add, g, like(shape, np.dtype("float64")))],
    )


def test_what_it_shows(ours):
    assert ours.wrong.shape == (40, 8)
    for name, p in ours.parameters.items():
        nudged = ours.jacobian(
            lambda v, name=name: ours.loss_of(**ours.parameters | {name: ours.Tensor(v)}).data,
            p.data,
        )
        assert p.grad.shape == ours.shapes[name]
        np.testing.assert_allclose(p.grad.ravel(), nudged.ravel(), atol=1e-7)

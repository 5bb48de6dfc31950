"""The tape of the chapter beside minigrad's."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import programs, same, theirs, values

import minigrad as mg
from minigrad.study.book import namespace

SHAPES = [(2, 3), (3,), (2, 1), (1, 3), (1,), ()]  # any two broadcast


@pytest.fixture(scope="module")
def ours():
    return SimpleNamespace(**namespace("tape"))


@settings(deadline=None)
@given(
    leaves=st.lists(st.tuples(st.sampled_from(SHAPES), st.booleans()), min_size=1, max_size=3),
    program=programs("add", "multiply", "tanh", steps=7),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(ours, leaves, program, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(-1, 1, shape) for shape, _ in leaves]
    mine = [ours.Tensor(a, t) for a, (_, t) in zip(arrays, leaves, strict=True)]
    tensors = [mg.Tensor(a, requires_grad=t) for a, (_, t) in zip(arrays, leaves, strict=True)]
    y = values({name: getattr(ours, name) for name in ("add", "multiply", "tanh")}, mine, program)
    z = values(theirs, tensors, program)
    same([v.data for v in y], z)
    assert [v.requires_grad for v in y] == [v.requires_grad for v in z]
    if z[-1].requires_grad:
        entered = ours.backward(y[-1])
        order = []
        for v in z[len(tensors) :]:
            v.requires_grad and v.register_hook(lambda g, v=v: order.append(v))
        z[-1].backward(np.ones(z[-1].shape))
        same([x.grad for x in mine], [x.grad for x in tensors])
        # The same nodes in the same order.
        place = {id(v): i for i, v in enumerate(z)}
        nodes = {v.edge: i for i, v in enumerate(y) if v.edge is not None}
        assert [nodes[node] for node in entered] == [place[id(v)] for v in order]


def test_gradients_add_up_and_data_have_none(ours):
    x, data = ours.Tensor([1.0, 2.0], requires_grad=True), ours.Tensor([3.0, 4.0])
    for times in (1, 2):
        assert len(ours.backward(ours.multiply(x, data))) == 1
        assert x.grad.tolist() == [3 * times, 4 * times]
    assert data.grad is None
    assert ours.backward(x) == []  # a leaf is its own gradient's place
    assert x.grad.tolist() == [7, 9]


def test_each_node_once_however_many_paths(ours):
    x = ours.Tensor(0.1, requires_grad=True)
    y = ours.layers(x, 3000)
    assert len(ours.backward(y)) == 6000
    shallow = ours.layers(x, 8)
    assert ours.walk(shallow.edge, np.ones(())) == 2**9 - 2
    assert len(ours.backward(shallow)) == 16


def test_what_nobody_holds_is_gone(ours):
    gc.collect()
    gc.disable()
    try:
        x = ours.Tensor(0.1, requires_grad=True)
        y = ours.layers(x, 3)
        seen = weakref.ref(y.edge), weakref.ref(y.edge.parents[0])
        ours.backward(y)
        del y
        assert [node() for node in seen] == [None, None]
    finally:
        gc.enable()


def test_what_it_shows(ours):
    assert [node.serial for node in ours.entered] == [5, 4, 3, 1]
    assert ours.unused.edge.serial == 2

"""What the chapter keeps, frees and notices, beside minigrad."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import programs, same, theirs, values

import minigrad as mg
from minigrad.arguments import Like
from minigrad.errors import GradientError
from minigrad.study.book import namespace

OPS = ("add", "multiply", "matmul", "tanh")


@pytest.fixture(scope="module")
def ours():
    return SimpleNamespace(**namespace("memory"))


@settings(deadline=None)
@given(count=st.integers(1, 3), program=programs(*OPS), seed=st.integers(0, 99))
def test_values_and_gradients(ours, count, program, seed):
    arrays = list(np.random.default_rng(seed).uniform(-0.7, 0.7, (count, 3, 3)))
    mine, tensors = [ours.Tensor(a) for a in arrays], theirs.leaves(arrays)
    y, z = values(vars(ours), mine, program)[-1], values(theirs, tensors, program)[-1]
    same([y, *ours.gradients(y, mine)], [z, *theirs.gradients(z, tensors)])


@pytest.mark.parametrize("tracked", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("name", OPS)
def test_what_is_kept(ours, name, tracked):
    arrays = np.random.default_rng(0).normal(size=(1 if name == "tanh" else 2, 3, 3))
    if not any(tracked[: len(arrays)]):
        arrays, tracked = arrays[:1], (True,)
    wanted = list(zip(arrays, tracked, strict=False))
    y = vars(ours)[name](*(ours.Tensor(a) if t else a for a, t in wanted))
    node = theirs[name](*(mg.Tensor(a, requires_grad=t) for a, t in wanted)).edge
    kept = [type(x) is not ours.Like for x in y.edge.kept]
    assert kept == [node.output is not None, *(type(x) is not Like for x in node.saved)]
    assert all(x.shape == (3, 3) for x in y.edge.kept)


def test_arrays_alone_are_not_recorded(ours):
    before = len(ours.nodes)
    assert type(ours.multiply(np.ones(2), 3.0)) is np.ndarray
    assert len(ours.nodes) == before


def test_a_graph_is_used_up(ours):
    x = ours.Tensor([0.5, 0.25])
    y = ours.multiply(ours.tanh(x), x)
    inner = y.edge.parents[0]
    for _ in range(2):
        [g] = ours.gradients(y, [x], retain=True)
    same([g], theirs.gradients(*beside(lambda t: mg.tanh(t) * t, x.data)))
    same(ours.gradients(y, [x]), [g])
    assert (inner.kept, inner.parents) == (None, None)
    with pytest.raises(RuntimeError, match="used up this graph; pass retain=True"):
        ours.gradients(y, [x])
    z, [t] = beside(lambda t: mg.tanh(t) * t, x.data)
    theirs.gradients(z, [t])
    with pytest.raises(GradientError, match=r"freed .* retain_graph=True"):
        theirs.gradients(z, [t])


def beside(f, array):
    [t] = theirs.leaves([array])
    return f(t), [t]


def whole(engine, x, y):
    x.data *= 2


def through_a_view(engine, x, y):
    engine.Tensor(x.data[1:]).data += 1


def another_array(engine, x, y):
    x.data = x.data * 2


def the_output(engine, x, y):
    y.data -= 1


@pytest.mark.parametrize(
    ("op", "write", "noticed"),
    [
        ("multiply", whole, True),
        ("multiply", through_a_view, True),
        ("multiply", another_array, False),
        ("multiply", the_output, False),
        ("add", whole, False),
        ("tanh", whole, False),
        ("tanh", the_output, True),
    ],
)
def test_writes(ours, op, write, noticed):
    start = np.array([0.5, -0.25])
    x, (t,) = ours.Tensor(start.copy()), theirs.leaves([start])
    y, z = ([x, x] if op != "tanh" else [x]), ([t, t] if op != "tanh" else [t])
    y, z = vars(ours)[op](*y), theirs[op](*z)
    write(ours, x, y)
    write(mg, t, z)
    if noticed:
        with pytest.raises(RuntimeError, match="overwritten after it was used"):
            ours.gradients(y, [x])
        with pytest.raises(GradientError, match="has been overwritten"):
            theirs.gradients(z, [t])
    else:
        expected = {"multiply": 2 * start, "add": [2, 2], "tanh": 1 - np.tanh(start) ** 2}[op]
        same(ours.gradients(y, [x]), [np.asarray(expected)])
        same(theirs.gradients(z, [t]), [np.asarray(expected)])


def test_a_write_before_it_was_recorded_does_no_harm(ours):
    x = ours.Tensor([1.0, 2.0])
    x.data += 1
    same(ours.gradients(ours.multiply(x, x), [x]), [np.array([4.0, 6.0])])


def test_what_it_shows(ours):
    steps = 8 + 3 * 8  # layers forward, nodes back
    everything, read = (curve[1 : 1 + steps] for curve in ours.curves.values())  # tests add to it
    assert everything[7:] == [everything[7]] * 25  # nothing is freed
    assert read[-1] == 0
    # KiB of a batch, of weights. The first layer's weights are not read, as data have no gradient.
    batch, weights = 256 * 64 * 8 // 1024, 64 * 64 * 8 // 1024
    assert max(read) == read[7] == 9 * batch + 7 * weights
    assert max(everything) == (1 + 3 * 8) * batch + 8 * weights

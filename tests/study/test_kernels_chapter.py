"""The programs of the chapter beside NumPy, and beside `mg.jit`."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.study.book import namespace


@pytest.fixture(scope="module")
def ours():
    module = ModuleType("kernels")
    vars(module).update(namespace("kernels"))
    return module


def softmax(xp, x):
    e = xp.exp(x)
    return (e / xp.sum(e, axis=1, keepdims=True),)


def network(xp, x, w, b):
    h = 1.0 - xp.exp(xp.matmul(x, w) + b)
    h = h + xp.matmul(h, w)
    return h * h, xp.sum(h * x)


FORMULAS = [(softmax, [(3, 4)]), (network, [(3, 4), (4, 4), (4,)])]


@pytest.mark.parametrize(("formula", "shapes"), FORMULAS)
def test_a_program_beside_jit(ours, formula, shapes):
    arrays = [np.random.default_rng(i).normal(size=s) for i, s in enumerate(shapes)]
    program = ours.Program(formula, *arrays)
    jitted = mg.jit(lambda *xs: formula(mg, *xs))
    for _ in range(3):
        found, exact, theirs = program.run(), formula(np, *arrays), jitted(*arrays)
        for a, b, c in zip(found, exact, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c.data, rtol=1e-12)
        arrays[0][...] *= 0.5  # which the program reads, where it is


def test_the_step_of_adam(ours):
    w, g, m, v = arrays = np.abs(np.random.default_rng(0).normal(size=(4, 100)))
    new = np.empty((3, 100))
    ours.adam_kernel(*arrays, *new)
    np.testing.assert_allclose(ours.Program(ours.adam, *arrays).run(), new, rtol=1e-12)
    # Without the correction of the bias, which the formula leaves out, it is minigrad's.
    p = mg.nn.Parameter(w)
    adam = mg.optim.Adam([("p", p)], lr=0.001)
    state = adam.state_dict() | {"exp_avg.p": m, "exp_avg_sq.p": v, "step.p": np.array(100_000)}
    adam.load_state_dict(state)
    adam.step({"p": g})
    np.testing.assert_allclose(p.data, new[0], rtol=1e-9)


CALLS = [
    lambda xp, x, y: x + y,
    lambda xp, x, y: x * y - 1.0,
    lambda xp, x, y: 2.0 - x,
    lambda xp, x, y: xp.sum(x, axis=-1, keepdims=True) * 0.1,
]
place = st.integers(0, 99)


@settings(deadline=None)
@given(lines=st.lists(st.tuples(st.sampled_from(CALLS), place, place), min_size=1, max_size=12))
def test_values_that_share_a_slot_do_not_meet(ours, lines):
    shapes = [(4,), (3, 4), (1, 4), (3, 1)]
    arrays = [np.random.default_rng(i).normal(size=s) for i, s in enumerate(shapes)]

    def formula(xp, *inputs):
        """Calls of values that there are by then; what the first and the last give."""
        found = list(inputs)
        for f, i, j in lines:
            found.append(f(xp, found[i % len(found)], found[j % len(found)]))
        return found[len(inputs)], found[-1]

    program = ours.Program(formula, *arrays)
    for a, b in zip(program.run(), formula(np, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(program.sizes) <= len(program.calls)


def test_slots_are_used_again(ours):
    x = np.ones(5)
    program = ours.Program(lambda xp, x: (xp.exp(xp.exp(xp.exp(x))) + 1.0,), x)
    assert (len(program.calls), program.sizes) == (4, [5])

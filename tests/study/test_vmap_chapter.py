"""The batched arrays of the chapter beside minigrad's `vmap`."""

import functools
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.study.book import namespace


@pytest.fixture(scope="module")
def ours():
    module = ModuleType("vmap")
    vars(module).update(namespace("vmap"))
    return module


def softmax(xp, x):
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def distance(xp, x, y):
    return xp.sum((x - y) * (x - y))


def affine(xp, x, w, b):
    return xp.maximum(xp.matmul(x, w) + b, 0.0) / 3.0


def shared(xp, x, y):
    return 2.0 * y - 1.0


def chosen(xp, x, y):
    return xp.where([[True, False], [False, True]], xp.transpose(y), y * xp.max(x))


FORMULAS = [
    (softmax, [(3,)]),
    (softmax, [(2, 3)]),
    (distance, [(3,), (3,)]),
    (affine, [(2, 3), (3, 4), (4,)]),
    (shared, [(3,), (2, 2)]),
    (chosen, [(3,), (2, 2)]),
]


@settings(deadline=None)
@given(case=st.sampled_from(FORMULAS), data=st.data(), seed=st.integers(0, 99))
def test_a_formula_for_one_example(ours, case, data, seed):
    formula, shapes = case
    rng = np.random.default_rng(seed)
    axes = [0, *(data.draw(st.sampled_from([0, None])) for _ in shapes[1:])]
    length = data.draw(st.integers(1, 4))
    xs = [
        rng.normal(size=s if axis is None else (length, *s))
        for s, axis in zip(shapes, axes, strict=True)
    ]
    found = ours.vmap(functools.partial(formula, ours.xp), axes)(*xs)
    np.testing.assert_allclose(found, mg.vmap(functools.partial(formula, mg), tuple(axes))(*xs))


def test_one_in_another(ours):
    x, y = np.random.default_rng(0).normal(size=(2, 4, 3))
    theirs, found = (
        vmap(lambda a: vmap(lambda b: distance(xp, a, b), (0,))(y), (0,))(x)  # noqa: B023
        for vmap, xp in ((mg.vmap, mg), (ours.vmap, ours.xp))
    )
    np.testing.assert_allclose(found, theirs)
    assert found.shape == (4, 4)


def test_gradients_of_each_example(ours):
    rng = np.random.default_rng(1)
    w, x, t = rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=5)
    gradient = functools.partial(ours.gradient, ours.xp)
    loss = mg.grad(lambda w, x, t: (mg.sum(w * x) - t) ** 2)
    np.testing.assert_allclose(
        ours.vmap(gradient, (None, 0, 0))(w, x, t), mg.vmap(loss, (None, 0, 0))(w, x, t)
    )


def test_a_branch_is_refused(ours):
    with pytest.raises(TypeError, match=r"from example to example; choose with xp\.where"):
        ours.vmap(lambda x: x if x else -1, (0,))(np.ones(3))

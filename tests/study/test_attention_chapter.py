"""The attention of the chapter beside minigrad's."""

import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.study.book import namespace


@pytest.fixture(scope="module")
def ours():
    module = ModuleType("attention")
    vars(module).update(namespace("attention"))
    return module


lengths = st.integers(1, 6)


def close(a, b):
    np.testing.assert_allclose(np.asarray(a.data if type(a) is mg.Tensor else a), b, atol=1e-12)


@settings(deadline=None)
@given(rows=lengths, columns=lengths, seed=st.integers(0, 99), hidden=st.integers(0, 3))
def test_softmax_and_its_rule(ours, rows, columns, seed, hidden):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(scale=5, size=(2, rows, columns))
    x[:, :hidden] = -math.inf
    y = mg.softmax(x, axis=1)
    close(y, ours.softmax(np, x))
    close(mg.softmax_grad(g, y, axis=1), ours.softmax_grad(np, g, y))


@settings(deadline=None)
@given(T=lengths, S=lengths, D=lengths, E=lengths, seed=st.integers(0, 99))
def test_attention_and_its_gradients(ours, T, S, D, E, seed):
    rng = np.random.default_rng(seed)
    q, k, v, g = (rng.normal(size=s) for s in ((T, D), (S, D), (S, E), (T, E)))
    mask = rng.random((T, S)) < 0.6  # some queries see nothing
    tensors = [mg.Tensor(x, requires_grad=True) for x in (q, k, v)]
    y = mg.scaled_dot_product_attention(*tensors, attn_mask=mask)
    close(y, ours.attention(np, q, k, v, mask))
    found = ours.attention_grad(np, g, q, k, v, mask)
    in_parts = ours.attention_grad_in_parts(g, q, k, v, mask, rows=2)
    for theirs, a, b in zip(mg.gradients(y, tensors, g), found, in_parts, strict=True):
        close(theirs, a)
        close(theirs, b)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads(ours, heads):
    q, k, v = np.random.default_rng(heads).normal(size=(3, 5, 8))
    theirs = mg.attention(q[None], k[None], v[None], heads=heads, causal=True)[0]
    close(theirs, ours.with_heads(q, k, v, np.tri(5, dtype=bool), heads))

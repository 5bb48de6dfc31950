"""Dropout: which elements are kept is equal bit by bit on every machine."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import ops, random
from minigrad.kernels.cuda import noise
from minigrad.kernels.cuda.machine import Eager
from minigrad.random import Key

DTYPES = ("float32", "float64", "float16", "bfloat16")


def named(name):
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 3000),
    start=st.integers(0, 3),
    p=st.sampled_from([0.0, 0.1, 0.5, 0.999]),
    words=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
)
def test_the_mask_is_that_of_bernoulli(name, n, start, p, words):
    dtype, key = named(name), Key(*words)
    values = np.random.default_rng(n).standard_normal(n + start).astype(dtype)
    x = cupy.asarray(values)[start:]
    y = cupy.asnumpy(noise.dropout(x, key, p=p, shared=(), levels=None))
    keep = random.bernoulli(key, 1 - p, (n,), xp=np)
    scaled = values[start:] * dtype.type(1 / (1 - p))
    np.testing.assert_array_equal(y, np.where(keep, scaled, dtype.type(0)))


def test_what_is_dropped_is_0_whatever_it_was():
    x = cupy.asarray(np.full((64, 3), np.nan, "float32"))
    y = cupy.asnumpy(noise.dropout(x, Key(3, 4), p=0.5))
    keep = random.bernoulli(Key(3, 4), 0.5, (64, 3), xp=np)
    assert np.isnan(y[keep]).all()
    assert (y[~keep] == 0).all()


def test_a_key_may_lie_in_device_memory():
    class Asks(Eager):
        def key(self, key):
            return words, 0, 0

    words = cupy.asarray(np.array([2**32 - 5, 7], np.int64))
    x = cupy.ones(1000, "float32")
    for low, high in ((2**32 - 5, 7), (11, 2**31)):
        words[...] = cupy.asarray(np.array([low, high], np.int64))
        y = cupy.empty_like(x)
        for launch in noise.dropout.launched(Asks(()), [y], x, Key(0, 0), p=0.25):
            launch.ready()()
        keep = random.bernoulli(Key(low, high), 0.75, (1000,), xp=np)
        np.testing.assert_array_equal(cupy.asnumpy(y) != 0, keep)


def test_the_limit_of_words():
    assert noise.dropout_limit(0.5) == 2**31 - 1
    assert noise.dropout_limit(0.0) == 2**32 - 1
    assert noise.dropout_limit(1.0) == -1


def test_the_op_and_its_gradient_draw_one_mask():
    x = mg.Tensor(cupy.asarray(np.arange(1.0, 101, dtype="float32")), requires_grad=True)
    y = ops.dropout(x, Key(5, 6), p=0.5)
    ops.sum(y).backward()
    keep = random.bernoulli(Key(5, 6), 0.5, (100,), xp=np)
    np.testing.assert_array_equal(cupy.asnumpy(x.grad.data), np.where(keep, 2.0, 0.0))
    np.testing.assert_array_equal(cupy.asnumpy(y.data) != 0, keep)


def test_what_is_declined():
    x, key = cupy.zeros((4, 4), "float32"), Key(1, 2)
    for inputs, params in [
        (x, {"p": 0.5, "shared": (0,)}),
        (x, {"p": 0.5, "levels": ((1, 2),)}),
        (x, {"p": 1.0}),
        (x.T, {"p": 0.5}),
        (cupy.zeros(3, "int64"), {"p": 0.5}),
    ]:
        assert noise.dropout(inputs, key, **params) is NotImplemented


DRAWS = {
    "uniform": {"low": -1.5, "high": 2.3, "dtype": "float32"},
    "uniform in [0, 1)": {"dtype": "float32"},
    "uniform of 53 bits": {"low": 0.1, "high": 0.7, "dtype": "float64"},
    "normal": {"mean": 0.5, "std": 3.0, "dtype": "float32"},
    "normal of 53 bits": {"dtype": "float64"},
    "integers": {"low": -7, "high": 1000},
    "integers of the longest range": {"low": -5, "high": 2**32 - 5},
    "integers from far below": {"low": -(2**63), "high": -(2**63) + 3},
}


@pytest.mark.parametrize("what", DRAWS)
@settings(max_examples=8, deadline=None)
@given(
    shape=st.sampled_from([(), (1,), (7,), (2, 3), (4, 0), (3, 341), (1030,)]),
    words=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
)
def test_draws_are_those_of_the_host(what, shape, words):
    name, key = what.split()[0], Key(*words)
    want = getattr(random, name)(key, shape=shape, **DRAWS[what])
    y = cupy.asnumpy(getattr(noise, name).call(key, shape=shape, **DRAWS[what]))
    assert (y.shape, y.dtype) == (want.shape, want.dtype)
    if name == "normal":
        np.testing.assert_allclose(
            y, want, rtol=1e-6 if y.dtype == "float32" else 1e-12, atol=1e-14
        )
    else:
        np.testing.assert_array_equal(y, want)

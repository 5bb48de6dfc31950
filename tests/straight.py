"""Straight-line programs that Hypothesis draws, to be run on any engine: the book's, or minigrad's.

A step is (name of an op, i, j): the op of the values number i and j, counted from the leaves on.
"""

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

BINARY = ("add", "multiply", "matmul")
PLACES = st.integers(0, 11)


def programs(*names, steps=5):
    """Lists of steps with ops of these names, as few as one and as many as `steps`."""
    step = st.tuples(st.sampled_from(names), PLACES, PLACES)
    return st.lists(step, min_size=1, max_size=steps)


def values(ops, leaves, program):
    """All values of a program: the leaves, and what each step gives."""
    found = list(leaves)
    for name, i, j in program:
        places = (i, j) if name in BINARY else (i,)
        found.append(ops[name](*(found[place % len(found)] for place in places)))
    return found


class Theirs:
    """minigrad's ops by name, and its leaves and gradients in float64."""

    def __getitem__(self, name):
        return getattr(mg, name)

    @staticmethod
    def leaves(arrays):
        return [mg.Tensor(np.array(a, "float64"), requires_grad=True) for a in arrays]

    @staticmethod
    def gradients(y, leaves, **options):
        """Those of the sum of `y`."""
        return mg.gradients(y, leaves, np.ones(y.shape), **options)


theirs = Theirs()


def same(ours, others):
    """Assert that arrays or numbers are equal up to rounding; None is no gradient, and 0."""
    for a, b in zip(ours, others, strict=True):
        a, b = (0.0 if x is None else getattr(x, "data", x) for x in (a, b))
        if np.ndim(a) and np.ndim(b):
            assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-7)

"""The numbers of the chapter beside minigrad's."""

import math
import operator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from straight import programs, same, theirs, values

from minigrad.study.book import namespace

OPS = ("add", "multiply", "sin")
numbers = st.lists(st.floats(-1.2, 1.2), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def ours():
    return SimpleNamespace(**namespace("numbers"))


@settings(deadline=None)
@given(numbers=numbers, program=programs(*OPS))
def test_values_and_gradients(ours, numbers, program):
    ops = {"add": operator.add, "multiply": operator.mul, "sin": ours.sin}
    leaves = [ours.Number(x) for x in numbers]
    y = values(ops, leaves, program)[-1]
    ours.backward(y)
    tensors = theirs.leaves(numbers)
    z = values(theirs, tensors, program)[-1]
    same([y.data, *(x.grad for x in leaves)], [z, *theirs.gradients(z, tensors)])
    same([sum(ours.along_paths(y, x)) for x in leaves], [x.grad for x in leaves])


@given(at=st.floats(-2, 2))
def test_plain_numbers_among_them(ours, at):
    x = ours.Number(at)
    y = 2 * x * 3 + 1 + (4 + x)
    ours.backward(y)
    assert (y.data, x.grad) == (pytest.approx(7 * at + 5), 7)


def test_what_it_shows(ours):
    assert ours.losses[0] > 1
    assert ours.losses[-1] < 1e-4
    assert (ours.a.data, ours.b.data) == (pytest.approx(-2, abs=0.01), pytest.approx(1, abs=0.01))
    # Nudging is best in the middle: wrong for a large step, and without digits for a small one.
    assert min(ours.off) < 1e-6 < min(ours.off[0], ours.off[-1])
    x = y = ours.Number(1.0)
    for _ in range(6):
        y = y + y
    assert ours.backward(y) == 2**7 - 1
    assert x.grad == len(ours.along_paths(y, x)) == 2**6
    assert math.isclose(y.data, 64)

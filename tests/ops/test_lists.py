"""Every function takes numbers, nested lists, and lists with Tensors in them, as arrays.

What it is called with is drawn from the table of ops.
"""

from functools import partial

import numpy as np
import pytest
from cases import CASES
from hypothesis import given, settings

import minigrad as mg
from minigrad.backend import to_device
from minigrad.nn import functional as F

EXAMPLES = 4


# To these a list is a nest of blocks or a tree; those are wrapped in functions of arrays.
NOT_ARRAYS = {"block", "stop_gradient"}
WRAPPED = {"float_power", "hidden", "keep_dtype", "tril_indices", "triu_indices"}
# What makes arrays from lengths and the like.
CREATED = {
    "arange", "empty", "empty_like", "eye", "from_dlpack", "from_numpy", "full", "identity",
    "linspace", "ones", "rand", "randint", "randn", "tri", "tril_indices", "triu_indices", "zeros",
}  # fmt: skip
GROUPS: dict[str, list] = {}
for _case in CASES:
    if (_name := _case.op.__name__)[0] != "_" and _name not in NOT_ARRAYS | WRAPPED:
        GROUPS.setdefault(_name, []).append(_case)


def is_listed(x):
    """Whether `x` can be written as a nested list."""
    return isinstance(x, np.ndarray) and x.size and x.ndim and x.dtype.kind in "fiub"


def flat(y):
    return [v for part in y for v in flat(part)] if isinstance(y, tuple | list) else [y]


def values(y):
    return [np.asarray(v.detach().numpy() if type(v) is mg.Tensor else v) for v in flat(y)]


def agree(found, expected, rtol=1e-4, atol=1e-5):
    assert len(found) == len(expected)
    for y, z in zip(found, expected, strict=True):
        assert y.shape == z.shape
        np.testing.assert_allclose(y.astype(float), z.astype(float), rtol, atol)


def for_calls(name, check):
    """Call `check(op, call)` with a few calls of each of the cases."""
    for case in GROUPS[name]:
        run = partial(check, case.op)
        settings(max_examples=EXAMPLES, deadline=None)(given(case.calls)(lambda call: run(call)))()  # noqa: B023


@pytest.mark.parametrize("name", GROUPS)
def test_nested_lists(name):
    def check(op, call):
        arrays = [to32(x) for x in call.inputs]
        if not any(map(is_listed, arrays)):
            return
        lists = [x.tolist() if is_listed(x) else x for x in arrays]
        with np.errstate(all="ignore"):
            agree(values(op(*lists, **call.params)), values(op(*arrays, **call.params)))

    for_calls(name, check)


def tracked(y):
    return type(y) is mg.Tensor and y.requires_grad


def to32(x):
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


@pytest.mark.parametrize("name", GROUPS)
def test_lists_of_tensors_keep_their_history(name):
    def check(op, call):
        inputs = call.inputs
        whole = [i for i, x in enumerate(inputs) if is_listed(x) and x.dtype.kind == "f"]
        if not whole:
            return
        arrays, rows = list(inputs), list(inputs)
        for i in whole:
            arrays[i] = mg.Tensor(to_device(inputs[i]), requires_grad=True)
            rows[i] = [mg.Tensor(to_device(row), requires_grad=True) for row in inputs[i]]
        with np.errstate(all="ignore"):
            together = flat(op(*arrays, **call.params))
            apart = flat(op(*rows, **call.params))
        agree(values(apart), values(together), 1e-9, 1e-9)
        assert [*map(tracked, apart)] == [*map(tracked, together)]
        for y, z in zip(apart, together, strict=True):
            for i in whole if tracked(z) else ():
                g = mg.gradients(z.sum(), arrays[i], retain_graph=True)
                gs = mg.gradients(y.sum(), rows[i], retain_graph=True)
                assert (g is None) == all(v is None for v in gs)
                if g is not None:
                    gs = np.stack([v.numpy() for v in gs])
                    np.testing.assert_allclose(gs, g.numpy(), 1e-9, 1e-9)

    for_calls(name, check)


NUMBERS = sorted(
    name for name in mg.ops.__all__
    if callable(getattr(mg, name)) and name not in NOT_ARRAYS | CREATED
)  # fmt: skip


@pytest.mark.parametrize("number", [0.5, 1, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name, number):
    """Whatever takes one array takes a number, as the array without axes that it is."""
    function = getattr(mg, name)
    array = to_device(np.asarray(number, np.float32 if type(number) is float else None))
    for several in ([], [array], [array, array]):
        numbers = [number] * (len(several) + 1)
        with np.errstate(all="ignore"):
            try:
                expected = function(array, *several)
            except (TypeError, ValueError, AttributeError):
                if not several:  # further ones may be static parameters, which are numbers
                    with pytest.raises((TypeError, ValueError)):
                        function(number)
                continue
            found = function(*numbers)
        assert type(found) is type(expected)
        if several:  # as the other operand a number lifts nothing, so dtypes may differ
            agree(values(found), values(expected))
            continue
        for y, z in zip(values(found), values(expected), strict=True):
            assert (y.shape, y.dtype) == (z.shape, z.dtype)
            np.testing.assert_array_equal(y, z)


LISTS = {
    "mse_loss": (F.mse_loss, [[1.0, 2.0]]), "huber_loss": (F.huber_loss, [[1, 2]]),
    "kl_div": (F.kl_div, [[0.25, 0.75]]), "cross_entropy": (F.cross_entropy, [1]),
    "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, [[0, 1]]),
    "cosine_similarity": (F.cosine_similarity, [[3, 4]]), "linear": (F.linear, [[1.0, 2.0]]),
    "linear, one feature": (F.linear, [3.0, 4.0]), "maximum": (mg.maximum, [0.5, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_beside_what_is_tracked(name):
    """What is recorded as the ops of a formula, too, which asks its inputs for their shapes."""
    function, other = LISTS[name]
    x = mg.Tensor(to_device(np.float32([[0.5, 2.0]])), requires_grad=True)
    row = mg.Tensor(to_device(np.float32([0.5, 2.0])), requires_grad=True)
    expected = function(x, mg.tensor(other))
    for y, v in ((function(x, other), x), (function([row], other), row)):
        agree(values(y), values(expected))
        g, wanted = (
            mg.gradients(z.sum(), w, retain_graph=True) for z, w in ((y, v), (expected, x))
        )
        np.testing.assert_allclose(g.numpy().reshape(1, 2), wanted.numpy(), 1e-6)


@pytest.mark.parametrize("function", [F.normalize, lambda x: mg.cdist(x, x + 1), mg.norm])
def test_lengths_of_integers(function):
    ints = to_device(np.array([[3, 4], [0, 2]]))
    agree(values(function(ints)), values(function(ints.astype(np.float32))))

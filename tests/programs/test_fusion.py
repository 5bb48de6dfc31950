"""What fusion puts together: for each rule of the table an example, and what it gives."""

import numpy as np
import pytest
from support import normal

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import kernels

if not kernels.enabled():
    pytest.skip("calls are put together for kernels only", allow_module_level=True)

from minigrad.programs import fusion

X, Y, WIDE = (normal(*shape, dtype="float32") for shape in [(6, 8), (8, 5), (6, 8)])
WEIGHT, BIAS = normal(5, 8, seed=1, dtype="float32"), normal(5, seed=2, dtype="float32")
IDS = np.array([[0, 2, 1], [3, 1, 1]])
IMAGES = normal(2, 3, 9, 8, dtype="float32")
FILTERS, OF_FILTERS = normal(4, 3, 3, 3, dtype="float32"), normal(4, dtype="float32")
UNIT, NOUGHT = normal(8, seed=3, dtype="float32"), normal(8, seed=4, dtype="float32")


def norm(x):
    return F.layer_norm(x, (8,), UNIT, NOUGHT)


def gradient(function):
    """`function(x)`, summed with factors, differentiated by x."""

    def of(x):
        x = x.detach().requires_grad_()
        y = function(x)
        return mg.gradients((y * mg.sin(mg.ops.arange(y.size).reshape(y.shape))).sum(), x)

    return of


def shared(x):
    """The gradient of a weight that is used twice."""
    w = mg.Tensor(Y).requires_grad_()
    return mg.gradients((mg.tanh(x @ w) * (2 * x @ w)).sum(), w)


def looked_up(table):
    table = table.detach().requires_grad_()
    y = F.embedding(mg.Tensor(IDS), table, padding_idx=1)
    return mg.gradients((y * y).sum(), table)


EXAMPLES = {
    "windows of windows": (lambda x: F.conv2d(x, FILTERS), IMAGES),
    "a product": (lambda x: x @ Y, X),
    "relu of a product": (lambda x: mg.relu(F.linear(x, WEIGHT, BIAS)), X),
    "a layer norm of a sum": (lambda x: norm(x + WIDE * 2), X),
    "a layer norm's gradient in a sum": (gradient(lambda x: norm(x) + mg.sin(x)), X),
    "a product added in place": (shared, X),
    "an embedding gradient, no padding": (looked_up, normal(4, 5, dtype="float32")),
    "the bias of each row of a product": (lambda x: F.conv2d(x, FILTERS, OF_FILTERS), IMAGES),
    "relu of a product with a bias of rows": (
        lambda x: mg.relu(F.conv2d(x, FILTERS, OF_FILTERS)), IMAGES
    ),
}  # fmt: skip


def test_every_rule_has_an_example():
    names = [rule.name for rule in fusion.RULES]
    assert len(set(names)) == len(names)
    assert set(names) == set(EXAMPLES)


@pytest.fixture
def made(monkeypatch):
    """How many calls each rule has made, by its name."""
    found = {}

    def counted(rule):
        def make(*given):
            new = rule.make(*given)
            if new is not None:
                found[rule.name] = found.get(rule.name, 0) + 1
            return new

        return rule._replace(make=make)

    monkeypatch.setattr(fusion, "RULES", tuple(map(counted, fusion.RULES)))
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rule_puts_its_example_together(name, made):
    function, x = EXAMPLES[name]
    fast = mg.jit(function)
    for scale in (1.0, 0.5, -2.0):
        expected = function(mg.Tensor(x * np.float32(scale)))
        np.testing.assert_allclose(
            fast(x * np.float32(scale)).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5
        )
    assert made.get(name), made

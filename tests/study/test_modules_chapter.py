"""The modules and optimizers of the chapter beside minigrad's."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.study.book import namespace


@pytest.fixture(scope="module")
def ours():
    module = ModuleType("modules")
    vars(module).update(namespace("modules"))
    return module


class Theirs(mg.nn.Module):
    """The same network, with the same numbers."""

    def __init__(self, network):
        self.layers = [self.linear(layer) for layer in network.layers]
        self.head, self.other = self.linear(network.head), self.linear(network.other)

    @staticmethod
    def linear(layer):
        found = mg.nn.Linear(*layer.weight.data.shape, dtype="float64")
        found.load_state_dict({"weight": layer.weight.data.T, "bias": layer.bias.data})
        return found

    def forward(self, x):
        for layer in self.layers:
            x = mg.tanh(layer(x))
        return self.head(x)


def test_names(ours):
    network = ours.Network()
    assert list(network.parameters()) == [n for n, _ in Theirs(network).named_parameters()]
    network.other.weight = network.head.weight
    names = [n for n in network.parameters() if n.startswith("other")]
    assert names == ["other.bias"]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_network_learns_as_minigrads(ours, kind):
    network = ours.Network()
    theirs = Theirs(network)
    x, target = np.random.default_rng(0).normal(size=(2, 5, 1))
    mine = getattr(ours, kind)(network.parameters(), 0.01)
    other = getattr(mg.optim, kind)(theirs, 0.01)
    for _ in range(5):
        e = ours.tape.add(network(ours.Tensor(x)), ours.Tensor(-target))
        ours.tape.backward(ours.tape.multiply(e, e))
        mine.step()
        other.zero_grad()
        mg.sum((theirs(x) - target) ** 2).backward()
        other.step()
    assert network.parameters().keys() == theirs.state_dict().keys()
    for name, w in theirs.state_dict().items():
        p = network.parameters()[name].data
        np.testing.assert_allclose(p.T if p.ndim == 2 else p, w, rtol=1e-9, atol=1e-12)


given_or_not = st.lists(st.booleans(), min_size=4, max_size=4)


@settings(deadline=None)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@given(present=st.lists(given_or_not, min_size=1, max_size=5))
def test_absent_gradients(ours, kind, present):
    rng = np.random.default_rng(len(present))
    shapes = {"a": (2,), "b": (2, 3), "c": (), "d": (1,)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    parameters = {n: ours.Tensor(x.copy(), requires_grad=True) for n, x in start.items()}
    tensors = {n: mg.nn.Parameter(x.copy()) for n, x in start.items()}
    mine, other = getattr(ours, kind)(parameters, 0.1), getattr(mg.optim, kind)(tensors, 0.1)
    for flags in present:
        gradients = {
            n: rng.normal(size=shape) if flag else None
            for (n, shape), flag in zip(shapes.items(), flags, strict=True)
        }
        before = {n: p.data.copy() for n, p in parameters.items()}
        for name, p in parameters.items():
            p.grad = gradients[name]
        mine.step()
        other.step(gradients)
        for name, p in parameters.items():
            np.testing.assert_allclose(p.data, tensors[name].data, rtol=1e-12, atol=1e-14)
            assert gradients[name] is not None or np.array_equal(p.data, before[name])
            assert p.grad is None


def test_neighbours_are_updated_together(ours):
    parameters = {n: ours.Tensor(np.ones(2), requires_grad=True) for n in "abc"}
    sgd = ours.SGD(parameters, 0.1)
    a, b, c = parameters.values()
    for tensors, runs in (
        ((a, b, c), [(0, 6, 1)]),
        ((a, c), [(0, 2, 2), (4, 6, 2)]),
        ((a, b, c), [(0, 2, 3), (2, 4, 2), (4, 6, 3)]),
    ):
        for p in tensors:
            p.grad = np.ones(2)
        assert sgd.step() == runs

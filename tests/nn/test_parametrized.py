"""Parameters that are computed from others; `test_torch_layers.py` compares with PyTorch."""

import copy
import importlib

import numpy as np
import pytest
from support import close, host

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.backend import to_device
from minigrad.errors import ShapeError, StateError

register = nn.utils.parametrize.register_parametrization
remove = nn.utils.parametrize.remove_parametrizations
is_parametrized = nn.utils.parametrize.is_parametrized
weight_norm = nn.utils.parametrizations.weight_norm
spectral_norm = nn.utils.parametrizations.spectral_norm


X = to_device(np.random.default_rng(1).normal(size=(5, 3)).astype("float32"))


class Symmetric(nn.Module):
    def forward(self, x):
        return mg.triu(x) + mg.triu(x, 1).T


class Scaled(nn.Module):
    def __init__(self, scale):
        self.scale = nn.Parameter(np.array([scale], "float32"))

    def forward(self, x):
        return x * self.scale

    def right_inverse(self, x):
        return x / self.scale


def test_the_paths_are_those_of_pytorch():
    for name in ("parametrize", "parametrizations"):
        module = importlib.import_module(f"minigrad.nn.utils.{name}")
        assert module is getattr(nn.utils, name)


def test_a_weight_is_computed_at_each_use():
    layer = nn.Linear(3, 3)
    before = host(layer.weight).copy()
    assert register(layer, "weight", Symmetric()) is layer
    w = host(layer.weight)
    close(w, w.T)
    close(np.triu(w), np.triu(before))
    names = ["bias", "parametrizations.weight.original"]
    assert [n for n, _ in layer.named_parameters()] == list(layer.state_dict()) == names
    close(layer(X), host(X) @ w.T + host(layer.bias), rtol=1e-5)
    layer(X).sum().backward()
    assert layer.parametrizations["weight"].original.grad is not None
    optim.SGD(layer, 0.1).step()
    assert (host(layer.weight) != w).any()
    close(layer.weight, host(layer.weight).T)
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, nn.Linear)
    assert repr(layer).startswith("ParametrizedLinear(")


def test_several_parametrizations_and_the_way_back():
    layer = nn.Linear(3, 3)
    before = host(layer.weight).copy()
    register(layer, "weight", Scaled(2.0))
    close(layer.weight, before, rtol=1e-6)  # what right_inverse is for
    close(layer.parametrizations["weight"].original, before / 2, rtol=1e-6)
    register(layer, "weight", Symmetric())
    register(layer, "bias", Scaled(4.0))
    assert is_parametrized(layer)
    assert is_parametrized(layer, "bias")
    assert not is_parametrized(layer, "weights")
    value = host(layer.weight).copy()
    remove(layer, "weight")
    assert not is_parametrized(layer, "weight")
    assert is_parametrized(layer, "bias")
    close(layer.weight, value)
    remove(layer, "bias", leave_parametrized=False)
    assert type(layer) is nn.Linear
    assert list(layer.state_dict()) == ["weight", "bias"]
    close(layer(X), host(X) @ value.T + host(layer.bias), rtol=1e-5)
    assert not hasattr(layer, "parametrizations")


def test_lengths_and_directions():
    for dim in (0, 1, None):
        layer = nn.Linear(3, 4)
        before = host(layer.weight).copy()
        weight_norm(layer, dim=dim)
        close(layer.weight, before, rtol=1e-5)
        g, v = layer.parametrizations["weight"].originals()
        assert g.shape == {0: (4, 1), 1: (1, 3), None: ()}[dim]
        v.data[...] *= 7  # a direction has no length
        close(layer.weight, before, rtol=1e-5)
        with pytest.raises(StateError, match="2 originals; use leave_parametrized=True"):
            remove(layer, "weight", leave_parametrized=False)
        remove(layer, "weight")
        close(layer.weight, before, rtol=1e-5)


def test_the_largest_singular_value_is_1():
    with random.stream(3):
        layer = spectral_norm(nn.Conv2d(2, 4, 3), n_power_iterations=5)
    for _ in range(20):
        layer(to_device(np.zeros((1, 2, 3, 3), "float32")))
    assert np.linalg.norm(host(layer.weight).reshape(4, -1), 2) == pytest.approx(1, rel=1e-4)
    assert spectral_norm(nn.PReLU(3)).weight.shape == (3,)


def test_singular_vectors_move_with_calls_in_training_alone():
    layer = spectral_norm(nn.Linear(40, 30))  # whose values are close: it takes many iterations
    x = to_device(np.ones((2, 40), "float32"))
    state = layer.state_dict()
    names = [k for k in state if "_u" in k or "_v" in k]
    assert names == ["parametrizations.weight.0._u", "parametrizations.weight.0._v"]
    layer.eval()(x)
    repr(layer.train())
    _ = layer.weight
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    layer(x)
    assert all((layer.state_dict()[name] != state[name]).any() for name in names)


def test_two_calls_before_one_walk_back():
    layer = spectral_norm(nn.Linear(3, 4))
    (layer(X) + layer(X)).sum().backward()
    assert np.isfinite(host(layer.parametrizations["weight"].original.grad)).all()


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_a_captured_step_does_what_a_plain_one_does(norm):
    def trained(captured):
        with random.stream(2):
            model = nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))
        optimizer = optim.SGD(model, 0.05)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = mg.jit(step) if captured else step
        losses = [float(run(X * (i + 1)).item()) for i in range(5)]
        return losses, model.state_dict(), run

    losses, state, _ = trained(False)
    fast, fast_state, run = trained(True)
    close(np.array(fast), np.array(losses), rtol=1e-4)
    for name, value in state.items():
        close(fast_state[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert len(getattr(run, "_steps", ())) <= 1  # it is not captured anew each time


def test_copies_have_parameters_of_their_own():
    layer = weight_norm(nn.Linear(3, 4))
    other = copy.deepcopy(layer)
    before = host(other.weight).copy()
    layer.parametrizations["weight"].original0.data[...] = 0
    close(other.weight, before)
    remove(other, "weight")
    assert type(other) is nn.Linear
    assert is_parametrized(layer, "weight")
    fresh = weight_norm(nn.Linear(3, 4))
    fresh.load_state_dict(layer.state_dict())
    close(fresh.weight, layer.weight)


def test_a_frozen_parameter_stays_frozen():
    layer = nn.Linear(3, 4).requires_grad_(False)
    weight_norm(layer)
    assert not any(p.requires_grad for p in layer.parameters())
    assert not remove(layer, "weight").weight.requires_grad


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: register(nn.Linear(2, 3), "weights", Symmetric()), StateError,
         r"Linear has no parameter 'weights'; it has \['weight', 'bias'\]"),
        (lambda: register(nn.Linear(2, 3, bias=False), "bias", Scaled(1.0)), StateError, "'bias'"),
        (lambda: register(nn.Linear(2, 3), "weight", nn.Flatten(0)), ShapeError,
         r"'weight' is float32 \(3, 2\), and Flatten makes float32 \(6,\) of it"),
        (lambda: remove(nn.Linear(2, 3), "weight"), StateError, "'weight' is not parametrized"),
        (lambda: spectral_norm(nn.Linear(2, 3), n_power_iterations=0), ValueError, "positive"),
        (lambda: spectral_norm(nn.Linear(2, 3), dim=2), ShapeError, "no axis 2"),
        (lambda: spectral_norm(nn.ReLU()), StateError, "ReLU has no parameter 'weight'"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_parametrization_that_is_refused_changes_nothing():
    layer = nn.Linear(2, 3)
    before = repr(layer)
    with pytest.raises(ShapeError):
        register(layer, "weight", nn.Flatten(0))
    assert repr(layer) == before

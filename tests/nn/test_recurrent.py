"""Recurrent layers beyond the reference values of `test_layers.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import close, host, normal, same

import minigrad as mg
from minigrad import nn, random
from minigrad.autodiff import Tensor, gradients, no_grad
from minigrad.backend import to_device, to_numpy
from minigrad.errors import ShapeError

KINDS = [nn.RNN, nn.GRU, nn.LSTM]


def first(state):
    return state[0] if isinstance(state, tuple) else state


def test_the_parameters_are_those_of_pytorch():
    lstm = nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    shapes = {name: p.shape for name, p in lstm.named_parameters()}
    layer = {"weight_ih": (16, 3), "weight_hh": (16, 2), "bias_ih": (16,), "bias_hh": (16,)}
    layer |= {"weight_hr": (2, 4)}
    expected = {}
    for i, width in enumerate((3, 4)):
        for end in ("", "_reverse"):
            expected |= {f"{k}_l{i}{end}": s for k, s in layer.items()}
            expected[f"weight_ih_l{i}{end}"] = (16, width)
    assert shapes == expected
    assert list(shapes) == list(expected)
    assert list(nn.GRUCell(3, 4).state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


@pytest.mark.parametrize("kind", KINDS)
@given(steps=st.integers(1, 9), batch=st.integers(1, 3))
def test_a_layer_is_a_loop_over_its_cell(kind, steps, batch):
    layer = kind(3, 4, dtype="float64")
    cell = getattr(nn, f"{kind.__name__}Cell")(3, 4, dtype="float64")
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = normal(steps, batch, 3)
    y, last = layer(x)
    state = None
    for t in range(steps):
        state = cell(x[t], state)
        close(y.data[t], first(state).data, atol=1e-12)
    close(first(last).data[0], first(state).data, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_may_be_continued(kind):
    layer = kind(3, 4, 2, dtype="float64")
    x = normal(7, 2, 3)
    whole, end = layer(x)
    one, state = layer(x[:3])
    two, state = layer(x[3:], state)
    close(np.concatenate([host(one), host(two)]), whole.data, atol=1e-12)
    close(first(state).data, first(end).data, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_may_come_first_or_not_at_all(kind):
    options = {"num_layers": 2, "bidirectional": True, "dtype": "float64"}
    layer, swapped = kind(3, 4, **options), kind(3, 4, **options, batch_first=True)
    swapped.load_state_dict(layer.state_dict())
    x = normal(5, 2, 3)
    y, state = layer(x)
    z, same = swapped(x.swapaxes(0, 1))
    close(z.data.swapaxes(0, 1), y.data, atol=1e-12)
    close(first(same).data, first(state).data, atol=1e-12)
    for model in (layer, swapped):
        alone, last = model(x[:, 1])
        close(alone.data, y.data[:, 1], atol=1e-12)
        close(first(last).data, first(state).data[:, 1], atol=1e-12)


def test_a_way_back_sees_the_sequence_reversed():
    layer = nn.GRU(3, 4, bidirectional=True, dtype="float64")
    back = nn.GRU(3, 4, dtype="float64")
    state = layer.state_dict()
    back.load_state_dict({k: state[f"{k}_reverse"] for k in back.state_dict()})
    x = normal(5, 2, 3)
    y, h = layer(x)
    z, last = back(x[::-1])
    close(y.data[..., 4:], z.data[::-1], atol=1e-12)
    close(h.data[1], last.data[0], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind):
    layer = kind(2, 3, dtype="float64")
    x = Tensor(normal(4, 2, 2), requires_grad=True)
    leaves = {"x": x, **dict(layer.named_parameters())}

    def value():
        return (layer(x)[0] * normal(4, 2, 3, seed=1)).sum()

    found = gradients(value(), leaves)
    for name, leaf in leaves.items():
        start, direction = leaf.data.copy(), normal(*leaf.shape, seed=2)
        ends = []
        for sign in (1, -1):
            leaf.data[...] = start + sign * 1e-5 * direction
            with no_grad():
                ends.append(value().item())
        leaf.data[...] = start
        slope = (found[name] * direction).sum().item()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7, abs=1e-8), name


def test_dropout_is_between_the_layers_in_training():
    x = normal(6, 2, 3).astype("float32")
    one, two = nn.GRU(3, 4, dropout=0.5), nn.GRU(3, 4, 2, dropout=0.5)
    same(one(x)[0].data, one.eval()(x)[0].data)
    with random.stream(1):
        assert (to_numpy(two(x)[0].data) != to_numpy(two(x)[0].data)).any()
    assert (to_numpy(two.eval()(x)[0].data) == to_numpy(two(x)[0].data)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_may_be_empty(kind):
    layer = kind(3, 4, 2, bidirectional=True, batch_first=True)
    x = Tensor(to_device(np.zeros((0, 5, 3), "float32")), requires_grad=True)
    y, state = layer(x)
    assert (y.shape, first(state).shape) == ((0, 5, 8), (4, 0, 4))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not host(layer.weight_ih_l0.grad).any()


def test_a_captured_layer_is_the_layer():
    layer, x = nn.LSTM(3, 4, 2), normal(5, 2, 3).astype("float32")
    run = mg.jit(lambda x: layer(x)[0])
    for shift in range(3):
        close(run(x + shift).data, layer(x + shift)[0].data, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.GRU(3, 0), ValueError, "hidden_size to be an integer >= 1, got 0"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ShapeError, "proj_size must be below"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "'tanh' or 'relu'"),
        (lambda: nn.GRU(3, 4, dropout=2), ValueError, r"in \[0, 1\]"),
        (lambda: nn.GRU(3, 4)(np.zeros((5, 2, 4), "float32")), ShapeError, r"be \(T, B, 3\)"),
        (
            lambda: nn.GRU(3, 4, batch_first=True)(np.zeros((5, 0, 3), "float32")),
            ShapeError,
            r"\(B, T, 3\) or \(T, 3\), of one step at least",
        ),
        (
            lambda: nn.LSTM(3, 4)(np.zeros((5, 2, 3), "float32"), np.zeros((1, 2, 4), "float32")),
            ShapeError,
            r"shape \(1, 2, 4\) and \(1, 2, 4\), got \(1, 2, 4\)",
        ),
        (
            lambda: nn.GRUCell(3, 4)(np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32")),
            ShapeError,
            r"must have shape \(2, 4\), got \(2, 3\)",
        ),
        (lambda: nn.LSTMCell(3, 4)(np.zeros((2, 4), "float32")), ShapeError, r"be \(B, 3\)"),
    ],
)
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""`compare_backends` between NumPy and CuPy: whole models agree, and a broken kernel is named."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.testing import compare_backends

X = np.linspace(-1, 1, 24, dtype="float32").reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def broken_on(side):
    """An op that doubles, wrongly in one place on one side."""

    def wrong(x):
        y = x + x
        y[0, :1] = y[0, :1] * 1.01
        return y

    @mg.op(kernel={side: wrong})
    def doubled(xp, x):
        return x + x

    return doubled.vjps(lambda g, _y, _x: g + g)


class Net(nn.Module):
    def __init__(self, act):
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)
        self.act = act

    def forward(self, x):
        return self.last(self.act(self.norm(self.first(x))))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_models_agree(device):
    with mg.device(device):
        report = compare_backends(Net(mg.gelu), (X, Y), mg.cross_entropy)
    report.check()
    assert report.sides == (("numpy", "cupy") if device == "cpu" else ("cupy", "numpy"))
    assert {row.direction for row in report.rows} == {"forward", "backward"}


def test_a_transformer_agrees():
    with mg.device("cpu"):
        model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.1, batch_first=True)
        src, tgt = mg.randn(2, 5, 8), mg.randn(2, 4, 8)
        report = compare_backends(model, (src, tgt))
    report.check()
    assert any(row.where.startswith("decoder") for row in report.rows)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("side", ["numpy", "cupy"])
def test_a_broken_kernel_is_named_with_its_side(device, side):
    doubled = broken_on(side)
    with mg.device(device):
        report = compare_backends(lambda x: mg.tanh(doubled(mg.exp(x))), mg.tensor(X))
    assert [(row.op, row.direction) for row in report.failures] == [("doubled", "forward")]
    first = report.first
    assert first.wrong == [side]
    assert first.errors[side] > 10
    assert min(first.errors.values()) < 1
    assert f"{side} wrong" in str(report)

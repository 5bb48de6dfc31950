"""`compare_backends` finds the op that is wrong, says where it is, and which side is wrong.

Here a kernel of NumPy is held against its formula; tests/cuda/test_comparing.py has two backends.
"""

import numpy as np
import pytest
from support import host, same_state

import minigrad as mg
from minigrad import kernels, nn
from minigrad.errors import BackendError
from minigrad.testing import compare_backends


@pytest.fixture(autouse=True)
def on_the_host():
    with mg.device("cpu"):
        yield


def doubled(kernel, backward=None):
    """An op that doubles, by `kernel`; so does its rule, by the kernel `backward`."""

    @mg.op(kernel={"numpy": kernel, "cupy": kernel})
    def doubled(xp, x):
        return x + x

    @mg.op(kernel={"numpy": backward or kernel, "cupy": backward or kernel})
    def doubled_grad(xp, g):
        return g + g

    doubled_grad.vjps(lambda g, _y, _g: g + g)
    return doubled.vjps(lambda g, _y, _x: doubled_grad(g))


class Net(nn.Module):
    def __init__(self, act):
        self.first, self.act, self.last = nn.Linear(4, 5), act, nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x):
        return self.last(self.act(self.norm(self.first(x))))


class Act(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x) * 1.0


X = np.linspace(-1, 1, 24, dtype="float32").reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def test_a_model_that_is_right():
    model = Net(Act(mg.tanh))
    report = compare_backends(model, (X, Y), mg.cross_entropy, against="formula")
    assert report.ok
    assert report.first is None
    report.check()
    ways = {(row.op, row.direction) for row in report.rows}
    assert {way for op, way in ways if "entropy" in op} == {"forward", "backward"}
    assert {("tanh", "forward"), ("tanh", "backward")} <= ways
    assert {row.where for row in report.rows} >= {"first", "act", "last", "norm", ""}
    assert 0 < max(row.difference for row in report.rows) < 1, "float32 has its rounding"
    assert str(report).startswith("numpy against formulas: ")
    assert "0 beyond tolerance" in str(report)


def right(x):
    return x + x


def wrong(x):
    y = x + x
    y[0, 0] = 1.01 * y[0, 0]
    return y


def test_a_broken_kernel_is_found_and_named():
    model = Net(Act(doubled(wrong, right)))
    report = compare_backends(model, X, against="formula")
    assert [(row.op, row.direction, row.where) for row in report.failures] == [
        ("doubled", "forward", "act")
    ]
    first = report.first
    assert first.wrong == ["numpy"]
    assert first.errors["numpy"] > 10
    assert first.errors["formulas"] < 1
    assert first.inputs == "float32 (6, 5)"
    assert "test_compare_backends.py:" in first.line
    text = str(report)
    assert "first: 'doubled', forward in act" in text
    assert "numpy wrong" in text
    with pytest.raises(AssertionError, match="numpy wrong"):
        report.check()


def test_a_broken_kernel_of_a_rule_is_found():
    model = Net(Act(doubled(right, wrong)))
    report = compare_backends(model, (X, Y), mg.cross_entropy, against="formula")
    found = [(row.op, row.direction, row.where) for row in report.failures]
    assert found == [("doubled_grad", "backward", ""), ("doubled", "backward", "act")]
    assert all(row.wrong == ["numpy"] for row in report.failures)


def test_a_formula_that_is_wrong_in_float32():
    """Not each difference is the kernel's fault."""

    @mg.op(kernel=lambda x: (np.float64(1e8) + x - np.float64(1e8)).astype(x.dtype))
    def shifted(xp, x):
        return (x + 1e8) - 1e8

    shifted.vjps(lambda g, _y, _x: g)
    row = compare_backends(shifted, X, against="formula").first
    assert row.wrong == ["formulas"]
    assert row.errors["numpy"] <= 1


def test_nan_and_infinity_are_differences():
    for bad in (np.nan, np.inf):

        def broken(x, bad=bad):
            y = x + x
            y[0, 0] = bad
            return y

        row = compare_backends(doubled(broken), X, against="formula").first
        assert row.difference == np.inf
        assert row.wrong == ["numpy"]
    same = X.copy()
    same[0, 0], same[1, 1] = np.nan, np.inf  # the same on both sides is none
    assert compare_backends(mg.tanh, same, against="formula").ok


def test_integers_must_be_equal():
    @mg.op(kernel=lambda x: x.argmax(axis=-1) + (x[:, 0] > 0.5))
    def most(xp, x):
        return xp.argmax(x, axis=-1)

    most.no_gradient()
    report = compare_backends(most, X, against="formula")
    assert report.first.wrong == ["numpy"]


def test_nothing_is_changed_by_it():
    model = Net(nn.Dropout(0.5))
    before = {name: x.copy() for name, x in model.state_dict().items()}
    mean = model.norm.running_mean.data
    with mg.random.stream(1) as stream:
        compare_backends(model, (X, Y), mg.cross_entropy, against="formula")
        key = stream.next_key()
    with mg.random.stream(1) as stream:
        assert stream.next_key() == key
    same_state(model.state_dict(), before)
    assert model.norm.running_mean.data is mean
    assert all(p.grad is None for p in model.parameters())
    assert kernels.in_use() is not None
    assert host(model(X)).shape == (6, 3)


def test_what_there_is_to_compare_with():
    with pytest.raises(ValueError, match="which is numpy; got 'numpy'"):
        compare_backends(nn.Linear(4, 2), X, against="numpy")
    with pytest.raises(ValueError, match="got 'torch'"):
        compare_backends(nn.Linear(4, 2), X, against="torch")


def test_without_a_device(monkeypatch):
    monkeypatch.setattr(mg.backend, "_cupy_or_reason", lambda: (None, "there is none"))
    with pytest.raises(BackendError, match="there is none"):
        compare_backends(nn.Linear(4, 2), X)

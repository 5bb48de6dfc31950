"""Anomalies, profiles and answers: what they say names the op, the line and the reason."""

import json
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels, nn
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import AnomalyError, GradientError


def tracked(*numbers, dtype="float32"):
    return Tensor(to_device(np.array(numbers, dtype)), requires_grad=True)


# -------------------------------------------------------------------------------- anomalies


def test_the_op_that_made_a_nan_forward():
    x = tracked(1.0, -1.0, 4.0)
    with np.errstate(all="ignore"), mg.detect_anomaly():
        y = x * 2
        with pytest.raises(
            AnomalyError, match=r"'log' at .*test_observers.py:\d+ gave 1 of 3"
        ) as e:
            mg.log(y)
    assert "from -2 to 8" in str(e.value), "statistics of what came in"
    assert "nan at (1,)" in str(e.value)


def test_the_rule_that_made_an_infinity_backward():
    x = tracked(0.0, 1.0)
    with np.errstate(all="ignore"), mg.detect_anomaly():
        y = mg.sqrt(x)
        loss = y.sum()
        with pytest.raises(AnomalyError, match=r"rule of 'sqrt', which was called at .*test_obs"):
            loss.backward()


def test_a_mask_is_no_anomaly():
    x = tracked(1.0, 2.0)
    with mg.detect_anomaly():
        mask = mg.where(to_device(np.array([True, False])), 0.0, -np.inf)
        y = mg.softmax(x + mask)
        y.sum().backward()
    assert x.grad is not None


def test_a_change_behind_our_back_is_named():
    array = np.array([1.0, 2.0], np.float32)
    x = Tensor(array, requires_grad=True)
    with mg.detect_anomaly():
        y = (x * x).sum()
        array[0] = 5.0
        with pytest.raises(AnomalyError, match=r"input 0 of 'multiply', called at .*has changed"):
            y.backward()


def test_nothing_is_watched_outside():
    with np.errstate(all="ignore"):
        with mg.detect_anomaly():
            pass
        assert mg.isnan(mg.log(tracked(-1.0))).all()


# ---------------------------------------------------------------------------------- profile


def test_a_profile_counts_and_traces(tmp_path):
    model = nn.Linear(4, 3)
    x = mg.randn(5, 4)
    with mg.profile() as p:
        loss = mg.softmax(model(x)).sum()
        loss.backward()
    rows = p.rows
    assert rows["linear"].calls == rows["linear"].passes == 1
    assert rows["softmax"].given == 5 * 3 * 4
    assert rows["linear"].kept == (5 * 4 + 3 * 4) * 4
    assert rows["linear"].forward > 0
    text = str(p)
    assert text.splitlines()[0].split() == [
        "op", "calls", "forward", "ms", "gives", "MB", "keeps", "MB", "backward", "ms", "declined"
    ]  # fmt: skip
    assert text.splitlines()[-1].startswith("total")
    p.save_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {e["cat"] for e in events} == {"forward", "backward"}
    assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in events)
    linear = next(e for e in events if e["name"] == "linear")
    assert linear["args"]["shapes"] == [[5, 4], [3, 4], [3]]


def test_declined_kernels_are_counted():
    if not kernels.enabled():
        pytest.skip("kernels are off")
    x = mg.randn(4, 4)
    with mg.profile() as p:
        mg.softmax(x)
        mg.softmax(x, axis=0)
    assert p.rows["softmax"].declined == 1


# ---------------------------------------------------------------------------------- answers


def test_explain_says_kernel_or_formula_and_why():
    assert "the op has no kernel" in mg.explain(mg.tanh, mg.randn(3))
    if not kernels.enabled():
        assert "kernels are off" in mg.explain(mg.softmax, mg.randn(3, 3))
        return
    assert mg.explain(mg.softmax, mg.randn(3, 3)) == "softmax(float32 (3, 3)): kernel"
    declined = mg.explain(mg.softmax, mg.randn(3, 3).T)
    assert "the kernel declined (input 0 is not contiguous)" in declined
    assert "declined" in mg.explain(mg.softmax, mg.randn(3, 3), axis=0)
    with pytest.raises(TypeError, match="expected an op"):
        mg.explain(np.exp, mg.randn(3))


def test_explain_grad_finds_where_the_path_ends():
    w, v = nn.Parameter(mg.ones(3)), nn.Parameter(mg.ones(3))
    w.name, v.name = "w", "v"
    loss = (w * 2).sum()
    assert re.search(r"w gets a gradient, along loss <- sum <- multiply", mg.explain_grad(loss, w))
    assert "v took no part in the loss: the paths from the loss end at w" in mg.explain_grad(
        loss, v
    )
    detached = (w * v.detach()).sum()
    assert "v took part as a constant only" in mg.explain_grad(detached, v)
    assert "input 1 of 'multiply'" in mg.explain_grad(detached, v)
    with mg.no_grad():
        assert "has no history" in mg.explain_grad((w * 2).sum(), w)
    assert "requires_grad=False" in mg.explain_grad(loss, Tensor(w.data))
    middle = w * 3
    assert "retain_grad" in mg.explain_grad(middle.sum(), middle)
    loss.backward()
    assert "was freed by the backward pass at" in mg.explain_grad(loss, w)
    assert isinstance(AnomalyError("x"), GradientError)


def test_explain_grad_says_what_came_in_without_history():
    w, x = tracked(1.0, 2.0), tracked(3.0, 4.0)
    answer = mg.explain_grad((w.astype("int64") * x).sum(), w)
    assert "int64 (2,) as input 0 of 'multiply' (loss <- sum <- multiply)" in answer
    assert "it is int64" in mg.explain_grad(w.astype("int64").sum(), w)
    y = w
    for _ in range(1000):
        y = y + 1
    assert len(mg.explain_grad(y, w)) < 500
    for pair in ((3, w), (y, "w")):
        with pytest.raises(TypeError, match="must be a Tensor, and is"):
            mg.explain_grad(*pair)


def test_an_anomaly_at_a_leaf_without_a_name():
    x = tracked(0.0, 1.0)
    with np.errstate(all="ignore"), mg.detect_anomaly():
        y = mg.sqrt(x).sum()
        with pytest.raises(AnomalyError, match=r"gradient of leaf of shape \(2,\)"):
            y.backward()

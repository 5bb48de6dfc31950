"""A model on a device becomes a file of another format, and stays there."""

import cupy
import numpy as np
import onnxruntime

import minigrad as mg
from minigrad import nn
from minigrad.backend import to_numpy


def test_a_model_on_the_device_is_exported(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2))
    before = [p.data for p in model.parameters()]
    mg.export.onnx(model, mg.zeros((1, 4)), tmp_path / "model.onnx")
    assert all(p.data is x for p, x in zip(model.parameters(), before, strict=True))
    x = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [found] = session.run(None, {session.get_inputs()[0].name: x})
    y = model(mg.tensor(x))
    assert isinstance(y.data, cupy.ndarray)
    np.testing.assert_allclose(found, to_numpy(y.data), rtol=1e-4, atol=1e-5)

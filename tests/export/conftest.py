"""What the tests of exported models share: they are run by onnxruntime."""

import numpy as np
import pytest


@pytest.fixture
def export(tmp_path):
    """Writes a model as `minigrad.export.onnx` does; a function that runs the file."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)  # errors come as exceptions
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    import minigrad as mg

    def write(model, example, **settings):
        path = tmp_path / "model.onnx"
        given = mg.export.onnx(model, example, path, **settings)
        session = onnxruntime.InferenceSession(path, options)

        def run(*arrays, **named):
            feeds = dict(zip(given.inputs, arrays, strict=False)) | named
            used = {x.name for x in session.get_inputs()}
            assert used == set(given.inputs)
            return session.run(None, {k: np.array(v, order="C") for k, v in feeds.items()})

        run.exported, run.path = given, path
        return run

    return write


@pytest.fixture
def compare(export):
    """Exports a model, and compares what the file gives with what the model gives.

    `compare(model, example, *others)`: with the example, and with `others`.
    """
    import minigrad as mg

    def compare(model, example, *others, rtol=1e-4, atol=1e-5, **settings):
        run = export(model, example, **settings)
        owner = model if isinstance(model, mg.nn.Module) else getattr(model, "__self__", None)
        was = owner.training if owner is not None else None
        for arrays in (example, *others):
            arrays = arrays if isinstance(arrays, tuple) else (arrays,)
            if owner is not None:
                owner.eval()
            with mg.no_grad():
                expected = model(*(mg.Tensor(x) for x in arrays))
            if owner is not None:
                owner.train(was)
            expected = expected if isinstance(expected, tuple | list) else [expected]
            for got, wanted in zip(run(*arrays), expected, strict=True):
                assert got.dtype == wanted.dtype
                assert got.shape == wanted.shape
                np.testing.assert_allclose(got, wanted.numpy(), rtol=rtol, atol=atol)
        return run

    return compare

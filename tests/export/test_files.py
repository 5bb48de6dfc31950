"""The file: what it has in it, what it is refused for, and that the model stays as it was."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, random
from minigrad.errors import ExportError, RunError
from minigrad.export import building

onnx = pytest.importorskip("onnx")


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class Tied(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.BatchNorm1d(4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embed.weight

    def forward(self, ids):
        return self.output(self.norm(self.embed(ids)))


def test_parameters_have_their_names_and_tied_ones_are_there_once(export):
    with random.stream(0):
        model = Tied()
    run = export(model, np.array([1, 2, 3]))
    graph = onnx.load(run.path).graph
    names = [x.name for x in graph.initializer]
    state = model.state_dict()
    assert {n for n in names if not n.startswith("constant")} == state.keys() & set(names)
    assert state.keys() - set(names) <= {"norm.num_batches_tracked"}
    assert "output.weight" not in names
    assert len(names) == len(set(names))
    kept = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
    np.testing.assert_array_equal(kept["embed.weight"], state["embed.weight"])
    assert any("norm" in node.name for node in graph.node)


def test_the_opset_is_stated(export):
    run = export(nn.Linear(3, 2), floats(1, 3))
    file = onnx.load(run.path)
    assert [(x.domain, x.version) for x in file.opset_import] == [("", mg.export.OPSET)]
    assert run.exported.opset == mg.export.OPSET == 18
    assert f"opset {mg.export.OPSET}" in mg.export.onnx.__doc__
    assert file.producer_name == "minigrad"
    onnx.checker.check_model(file, full_check=True)


def test_names_of_inputs_and_outputs(export, tmp_path):
    class Two(nn.Module):
        def forward(self, x, scale=2.0, *, shift=None, how="plain"):
            return {"scaled": x * scale, "shifted": x if shift is None else x + shift}

    run = export(Two(), {"x": floats(2, 3), "shift": floats(2, 3), "how": "other"})
    assert list(run.exported.inputs) == ["x", "shift"]
    assert list(run.exported.outputs) == ["scaled", "shifted"]
    run = export(
        Two(), (floats(2, 3), 3.0), input_names=["a"], output_names=["b", "c"], dynamic_axes={}
    )
    assert (list(run.exported.inputs), list(run.exported.outputs)) == (["a"], ["b", "c"])
    np.testing.assert_allclose(run(floats(2, 3))[0], floats(2, 3) * 3)
    for options in ({"input_names": ["a", "b"]}, {"output_names": ["a"]},
                    {"output_names": ["x", "y"]}, {"input_names": ["x", "x"]}):  # fmt: skip
        with pytest.raises(ExportError, match=r"names|name of an input"):
            export(Two(), floats(2, 3), **options)


def test_an_input_that_is_not_read_is_still_one(export):
    run = export(lambda x, unused: x + 1, (floats(2), floats(2)))
    np.testing.assert_allclose(run(floats(2), floats(2))[0], floats(2) + 1)


def test_an_input_or_a_parameter_may_be_an_output(export):
    model = nn.Linear(3, 2)
    run = export(lambda x: (x, x, model.bias, mg.ones(3)), floats(1, 3))
    found = run(floats(5, 3))
    for got, wanted in zip(found, (floats(5, 3), floats(5, 3), model.bias.data, np.ones(3)),
                           strict=True):  # fmt: skip
        np.testing.assert_allclose(got, wanted)


def test_the_model_is_left_as_it_was(export):
    with random.stream(0):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    model[1].eval()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    random.seed(5)
    export(model, mg.Tensor(floats(2, 3)))
    after = random.next_key()
    random.seed(5)
    assert random.next_key().data == after.data if hasattr(after, "data") else True
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert all(m._hooks is None for m in model.modules())
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, before[k])


# ------------------------------------------------------------------------------------ refused

kept = []


def reads_numbers(x):
    return x * float(x.numpy().mean())


def asks_a_value(x):
    return x + 1 if x.sum() > 0 else x


def takes_an_item(x):
    return x * x.max().item()


def by_numpy(x):
    return x * mg.Tensor(np.sin(x.data))


def by_an_array(x):
    return x + mg.Tensor(mg.exp(x.data) * np.float32(2))


def writes_in_place(x):
    y = mg.zeros(x.shape)
    y[0] = x[0]
    return y


def writes_all_in_place(x):
    y = mg.zeros(x.shape)
    y[...] = x
    return y


def masks(x):
    return x[x > 0]


def noise(x):
    return x + mg.randn(*x.shape)


def drops(x):
    return nn.functional.dropout(x, 0.5, training=True)


def vmaps(x):
    return mg.vmap(lambda row: row * row.sum())(x)


def inverse(x):
    return mg.linalg.inv(x.T @ x + mg.eye(3))


def grouped(x):
    ids = mg.zeros_like(x[:, 0], dtype="int64")  # of one group, as an example may be
    return nn.Grouped({"a": nn.ReLU(), "b": nn.Tanh()})(ids, x)


def gives_a_number(x):
    return 3.0


def memory_of_a_call(x):
    kept.append(mg.Tensor(np.array(x.shape, np.float32)).sum())
    return x * len(kept)


REFUSED = {
    reads_numbers: r"numpy\(\) asks for a value",
    asks_a_value: "a truth value asks for a value",
    takes_an_item: r"item\(\) asks for a value",
    by_numpy: "np.sin of an array asks for a value",
    by_an_array: "by the values of the inputs|no formula",
    writes_in_place: "written to in place",
    writes_all_in_place: "given another array",
    masks: "'getitem'.*depends on values|depends on values",
    noise: "random numbers are drawn",
    drops: "'dropout'.*cannot be exported: it draws random numbers",
    vmaps: "'hide'.*vmap cannot be exported",
    inverse: r"the op 'inv' \(called at .*test_files\.py:\d+\) cannot be exported: there is no",
    grouped: r"nn\.Grouped is called with groups that are values; export model\[group\]",
    gives_a_number: "gives a float; it must give Tensors",
    memory_of_a_call: "no formula of 'batch'",
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda m: m.__name__)
def test_what_no_file_can_repeat_is_refused(model, export, tmp_path):
    kept.clear()
    with pytest.raises(ExportError, match=REFUSED[model]):
        export(model, floats(3, 3))
    assert list(tmp_path.iterdir()) == []


def test_values_are_not_baked_in_where_the_example_is_all_alike(export):
    """Zeros are the usual example, of which a roll is the same again."""
    with pytest.raises(ExportError, match=r"by the values|no formula"):
        export(by_an_array, mg.zeros((3, 3)), dynamic_axes={})


def test_a_model_that_has_programs_and_gradients_in_it(export):
    field = mg.jit(lambda x: mg.tanh(x * 2))
    run = export(lambda x: mg.grad(lambda v: (field(v) ** 2).sum())(x), floats(2, 3))
    x = floats(5, 3)
    t = np.tanh(x * 2)
    np.testing.assert_allclose(run(x)[0], 4 * t * (1 - t * t), rtol=1e-4, atol=1e-5)


def test_a_refused_op_is_named_with_its_module(export):
    class Whitened(nn.Module):
        def forward(self, x):
            return x @ mg.linalg.cholesky(x.swapaxes(-1, -2) @ x + mg.eye(3))

    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), Whitened()))
    message = r"the op 'cholesky' of module '1\.1' \(called at .*test_files\.py:\d+\) cannot be"
    with pytest.raises(ExportError, match=message):
        export(model, floats(4, 3))


def test_a_users_op_is_its_formula_and_a_users_primitive_is_refused(export):
    @mg.op
    def softmax(xp, x):
        """Not ours, though it is called like one of ours."""
        return xp.exp(x) * 2

    @mg.primitive
    def twice(xp, x):
        return x * 2

    run = export(lambda x: softmax(x), floats(2, 3))
    np.testing.assert_allclose(run(floats(4, 3))[0], np.exp(floats(4, 3)) * 2, rtol=1e-5)
    with pytest.raises(ExportError, match=r"twice' .*cannot be exported: there is no translation"):
        export(lambda x: twice(x), floats(2, 3))


def test_a_failure_of_the_model_is_passed_on(export):
    with pytest.raises(ExportError, match=r"cannot be recorded with batch=\d+: ShapeError: linear"):
        export(nn.Linear(3, 2), floats(2, 4))


def test_what_is_too_large_for_a_file_is_refused(export, monkeypatch):
    monkeypatch.setattr(building, "LARGEST", 100)
    with pytest.raises(ExportError, match=r"GiB, and an ONNX file has at most 2"):
        export(nn.Linear(10, 10), floats(1, 10))


def test_there_must_be_an_array(export):
    with pytest.raises(ExportError, match="no array among example_inputs"):
        export(lambda x: x, 3.0)
    with pytest.raises(ExportError, match="must not be empty"):
        export(lambda x: x + 1, floats(0, 3))


def test_bfloat16_is_refused(export):
    pytest.importorskip("ml_dtypes")
    with pytest.raises(ExportError, match="bfloat16"):
        export(lambda x: x * mg.ones(1, dtype="bfloat16").astype("float32"), floats(2))


def test_without_the_library_the_message_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "onnx":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'minigrad\[onnx\]'"):
        mg.export.onnx(nn.Linear(3, 2), floats(1, 3), tmp_path / "x.onnx")


def test_a_file_that_cannot_be_written_is_an_error_of_runs(tmp_path):
    with pytest.raises(RunError):
        mg.export.onnx(nn.Linear(3, 2), floats(1, 3), tmp_path / "none" / "x.onnx")


def test_an_old_file_stays_if_the_export_fails(export, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        export(inverse, floats(3, 3))
    assert path.read_bytes() == b"old"


def test_the_library_is_loaded_when_it_is_called():
    code = "import sys, minigrad as mg; mg.export.onnx; sys.exit('onnx' in sys.modules)"
    root = Path(mg.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ.copy())
    assert done.returncode == 0

"""Numbers that travel between PyTorch's layers and ours, in files, and give equal outputs.

Without PyTorch nothing here runs.
"""

import numpy as np
import pytest

from minigrad import nn, runs
from minigrad.autodiff import Tensor
from minigrad.runs import pytorch

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:LSTM with projections"),
]

IDS = ("ids", 2, 3)
SEQUENCE = (2, 5, 6)
PRE = "batch_first=True, norm_first=True"
POST = "batch_first=True, norm_first=False"

LAYERS = [
    ("Linear(3, 4)", [(2, 3)]),
    ("Linear(3, 4, bias=False)", [(2, 3)]),
    ("Bilinear(3, 2, 4)", [(5, 3), (5, 2)]),
    ("Conv1d(2, 4, 3)", [(2, 2, 7)]),
    ("Conv2d(2, 4, 3, groups=2)", [(2, 2, 7, 5)]),
    ("Conv3d(2, 4, 2)", [(2, 2, 4, 3, 3)]),
    ("ConvTranspose1d(4, 2, 3, stride=2)", [(2, 4, 5)]),
    ("ConvTranspose2d(4, 6, 3, groups=2)", [(2, 4, 5, 4)]),
    ("ConvTranspose3d(4, 2, 2)", [(2, 4, 3, 3, 2)]),
    ("BatchNorm1d(3)", [(5, 3)]),
    ("BatchNorm2d(3)", [(2, 3, 4, 5)]),
    ("BatchNorm3d(3, affine=False)", [(2, 3, 2, 2, 2)]),
    ("InstanceNorm2d(3, affine=True, track_running_stats=True)", [(2, 3, 4, 5)]),
    ("GroupNorm(2, 4)", [(2, 4, 3)]),
    ("LayerNorm((3, 4))", [(2, 3, 4)]),
    ("RMSNorm(4)", [(2, 4)]),
    ("PReLU(3)", [(2, 3, 4)]),
    ("Embedding(7, 3)", [IDS]),
    ("EmbeddingBag(7, 3)", [IDS]),
    ("RNN(6, 4, 2, bidirectional=True)", [SEQUENCE]),
    ("LSTM(6, 4, 2, proj_size=3)", [SEQUENCE]),
    ("GRU(6, 4, 2, batch_first=True)", [SEQUENCE]),
    ("RNNCell(3, 4)", [(2, 3)]),
    ("LSTMCell(3, 4)", [(2, 3)]),
    ("GRUCell(3, 4)", [(2, 3)]),
    ("MultiheadAttention(6, 2, batch_first=True)", [SEQUENCE] * 3),
    ("MultiheadAttention(6, 2, kdim=3, vdim=5, batch_first=True)",
     [SEQUENCE, (2, 4, 3), (2, 4, 5)]),
    (f"TransformerEncoderLayer(6, 2, 8, {PRE})", [SEQUENCE]),
    (f"TransformerDecoderLayer(6, 2, 8, {POST})", [SEQUENCE, (2, 4, 6)]),
    (f"TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, {POST}), 2)", [SEQUENCE]),
    (f"TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, {PRE}), 2)", [SEQUENCE, (2, 4, 6)]),
    (f"Transformer(6, 2, 2, 1, 8, {PRE})", [SEQUENCE, (2, 4, 6)]),
    (f"Transformer(6, 2, 1, 2, 8, {POST})", [SEQUENCE, (2, 4, 6)]),
    ("Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), "
     "nn.Linear(27, 2))", [(2, 1, 5, 5)]),
]  # fmt: skip


def inputs_of(shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 7, shape[1:]) if shape[0] == "ids"
            else rng.normal(size=shape).astype(np.float32) for shape in shapes]  # fmt: skip


def leaves(y):
    return [x for part in y for x in leaves(part)] if isinstance(y, tuple | list) else [y]


def outputs(model, inputs):
    """What a model of ours or of PyTorch's gives in use."""
    if isinstance(model, nn.Module):
        # Alone this layer is causal here, and not there.
        options = {"tgt_is_causal": False} if type(model) is nn.TransformerDecoderLayer else {}
        ys = leaves(model.eval()(*map(Tensor, inputs), **options))
        return [np.asarray(y.data) for y in ys]
    with torch.no_grad():
        ys = leaves(model.eval()(*map(torch.tensor, inputs)))
    # The weights of an attention come beside its output there.
    ys = ys[:1] if isinstance(model, torch.nn.MultiheadAttention) else ys
    return [y.numpy() for y in ys]


def agree(ours, theirs, inputs):
    for a, b in zip(outputs(ours, inputs), outputs(theirs, inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def moved(model, inputs, to):
    """The model after a call in training, so that statistics are others than at first."""
    model.train()(*map(to, inputs))
    return model


@pytest.mark.parametrize(("example", "shapes"), LAYERS)
def test_layers_travel_both_ways(example, shapes, tmp_path):
    from safetensors.torch import load_file

    inputs = inputs_of(shapes)
    ours = moved(eval(f"nn.{example}", {"nn": nn}), inputs, Tensor)
    theirs = eval(f"nn.{example}", {"nn": torch.nn})
    runs.save_arrays(tmp_path / "ours.safetensors", ours.state_dict(layout="torch"))
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    agree(ours, theirs, inputs)

    theirs = moved(eval(f"nn.{example}", {"nn": torch.nn}), inputs, torch.tensor)
    for zipped in (True, False):
        ours = eval(f"nn.{example}", {"nn": nn})
        torch.save(theirs.state_dict(), tmp_path / "theirs.pt",
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
        with open(tmp_path / "theirs.pt", "rb") as file:
            assert ours.load_state_dict(pytorch.read(file)) == ([], [])
        agree(ours, theirs, inputs)
    ours = eval(f"nn.{example}", {"nn": nn})
    ours.load_state_dict(theirs.state_dict())  # tensors as they are
    agree(ours, theirs, inputs)


def language_model(nn):
    """A model with a tied weight and a buffer, of either library."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 6)
            self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=False)
            self.out = nn.Linear(6, 7)
            self.out.weight = self.table.weight
            scale = np.float32([2.0])
            self.register_buffer("scale", torch.tensor(scale) if nn is torch.nn else scale)

        def forward(self, ids):
            return self.out(self.layer(self.table(ids) * self.scale))

    return Model()


def test_a_model_with_tied_weights_travels_in_a_checkpoint(tmp_path):
    from safetensors.torch import load_file

    inputs = inputs_of([IDS])
    ours, theirs = language_model(nn), language_model(torch.nn)
    runs.save_arrays(tmp_path / "ours.safetensors", ours.state_dict(layout="torch"))
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    agree(ours, theirs, inputs)

    theirs = language_model(torch.nn)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    theirs(torch.tensor(inputs[0])).sum().backward()
    optimizer.step()
    saved = {"model": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(saved, tmp_path / "checkpoint.pt")
    arrays, others = pytorch.read_all((tmp_path / "checkpoint.pt").read_bytes())
    assert others["epoch"] == 3
    assert others["optimizer.param_groups.0.lr"] == 0.01
    assert arrays["model.out.weight"] is arrays["model.table.weight"]
    state = {k.removeprefix("model."): v for k, v in arrays.items() if k.startswith("model.")}
    ours.load_state_dict(state)
    agree(ours, theirs, inputs)

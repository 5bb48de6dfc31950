"""What a model looks like: shapes without computing, statistics of arrays."""

import tracemalloc

import numpy as np
import pytest
from support import same

import minigrad as mg
from minigrad import abstract, nn, random
from minigrad.abstract import Abstract
from minigrad.backend import to_device
from minigrad.errors import ShapeError


def perceptron():
    return nn.Sequential(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 5))


def digits():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 5), nn.Softmax(),
    )  # fmt: skip


def test_parameters_and_bytes_are_counted():
    model = perceptron()
    assert repr(model).splitlines()[-1] == "163 parameters, 652 bytes"
    assert nn.summary(model).splitlines()[-1].split() == ["total", "of", "Sequential", "163", "652"]


def test_a_summary_with_an_input_has_the_shapes_of_all_layers():
    layers, arrays = nn.summary(digits(), (1, 8, 8)).split("\n\n")
    assert [line.split(maxsplit=2) for line in layers.splitlines()[1:]] == [
        ["0", "Conv2d", "(N, 4, 6, 6)     40"],
        ["1", "BatchNorm2d", "(N, 4, 6, 6)      8"],
        ["2", "ReLU", "(N, 4, 6, 6)      0"],
        ["3", "MaxPool2d", "(N, 4, 3, 3)      0"],
        ["4", "Flatten", "(N, 36)           0"],
        ["5", "Linear", "(N, 5)          185"],
        ["6", "Softmax", "(N, 5)            0"],
        ["(model)", "Sequential", "(N, 5)          233"],
    ]
    names = [line.split()[0] for line in arrays.splitlines()[1:-1]]
    assert names == [*dict(digits().named_parameters()), *dict(digits().named_buffers())]
    assert "1.num_batches_tracked (buffer)" in arrays
    assert digits().summary((1, 8, 8)).splitlines()[0] == layers.splitlines()[0]


def test_statistics_are_those_of_the_array():
    layer = nn.Linear(3, 2, dtype="float64")
    layer.weight.data[...] = to_device(np.array([[1.0, 2.0, 0.0], [-4.0, 0.0, 7.0]]))
    layer.bias.data[...] = np.nan
    lines = repr(layer).splitlines()
    assert lines[:3] == [
        "Linear(in_features=3, out_features=2, bias=True)",
        "  weight: float64 (2, 3), mean 1, std 3.27, min -4, max 7, non-zeros 4, count 6, bytes 48",
        "  bias: float64 (2,), mean nan, std nan, min nan, max nan, non-zeros 2, count 2, bytes 16",
    ]
    empty = repr(nn.Linear(0, 2, bias=False)).splitlines()[1]
    assert empty == "  weight: float32 (2, 0), non-zeros 0, count 0, bytes 0"


SHAPES = [
    (lambda: nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), (6, 3), "float32"),
    (lambda: nn.GRU(3, 4, batch_first=True), (6, 3), "float32"),
    (lambda: nn.Embedding(5, 3, padding_idx=0, max_norm=1.0), (4,), "int64"),
    (lambda: nn.EmbeddingBag(5, 3), (4,), "int64"),
    (lambda: nn.EntityEmbedding({"a": 2, "b": 3}, 4, 1), [(2,), (1,)], ["int64", "float32"]),
    (lambda: nn.Bilinear(3, 4, 5), [(3,), (4,)], "float32"),
    (lambda: nn.Seq2Seq(60, 16, 2, 32, 2, 2), [(10,), (7,)], "int64"),
    (lambda: nn.MaxPool2d(3, 2, 1, return_indices=True), (4, 9, 7), "float32"),
    (lambda: nn.AvgPool3d(3, 2, 1, True, False), (4, 9, 7, 5), "float32"),
    (lambda: nn.AdaptiveAvgPool2d((3, None)), (4, 9, 7), "float32"),
    (lambda: nn.AdaptiveMaxPool1d(4), (4, 9), "float32"),
    (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (4, 9, 7), "float32"),
    (lambda: nn.ConvTranspose3d(4, 2, 3, 2), (4, 3, 4, 5), "float32"),
    (lambda: nn.InstanceNorm2d(4), (4, 9, 7), "float32"),
    (lambda: nn.GroupNorm(2, 4), (4, 9, 7), "float32"),
    (lambda: nn.LocalResponseNorm(3), (4, 9), "float32"),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (4, 9, 7), "float32"),
    (lambda: nn.RotaryPositions(4), (6, 8), "float64"),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16), (6, 8), "float32"),
]


def with_batch(shape, n):
    if isinstance(shape, tuple) and any(isinstance(s, tuple) for s in shape):
        return tuple(with_batch(s, n) for s in shape)
    return tuple(n if s == "N" else s for s in shape)


def shape_of(y):
    return tuple(map(shape_of, y)) if isinstance(y, tuple) else y.shape


@pytest.mark.parametrize(("make", "shape", "dtype"), SHAPES)
def test_a_dry_call_gives_the_shapes_of_a_real_one(make, shape, dtype):
    model = make()
    shapes = shape if isinstance(shape, list) else [shape]
    kinds = dtype if isinstance(dtype, list) else [dtype] * len(shapes)
    inputs = [to_device(np.zeros((3, *s), k)) for s, k in zip(shapes, kinds, strict=True)]
    dry = model.shapes(shape, dtype)[""]
    assert shape_of(model.eval()(*inputs)) == with_batch(dry, 3)


def test_every_activation_has_a_dry_call():
    for name in nn.activation.__all__:
        along = dict.fromkeys(("LogSoftmax", "Softmax", "Softmin"), (-1,))  # of four axes say which
        arguments = ({"Threshold": (0.1, 0.2)} | along).get(name, ())
        model = getattr(nn, name)(*arguments)
        expected = ("N", 4, 6, 3) if name == "GLU" else ("N", 4, 6, 6)
        assert nn.shapes(model, (4, 6, 6))[""] == expected, name


def test_a_dry_call_computes_nothing():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.GELU(), nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    before = model.state_dict()
    model.train()
    model[1].eval()
    tracemalloc.start()
    found = nn.shapes(model, (3, 20_000, 30_000))  # of which one example takes 7 GB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    assert found["3"] == ("N", 64, 5000, 7500)
    assert list(found) == ["0", "1", "2", "3", "4", "5", "6", ""]
    assert [m.training for m in model] == [True, False, True, True, True, True, True]
    for name, value in before.items():
        same(model.state_dict()[name], value)


class Branches(nn.Module):
    def __init__(self):
        self.one, self.two = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x):
        noise = random.normal(random.next_key(), (5,))
        flat = mg.reshape(x, (-1, 1))
        return {"one": self.one(x), "both": (self.two(x), flat * mg.asarray(noise))}


def test_models_may_give_several_things_and_draw():
    with random.stream(3):
        found = nn.shapes(Branches(), (4,))[""]
        after = random.next_key()
    assert found == {"one": ("N", 2), "both": (("N", 3), ("4N", 5))}
    with random.stream(3):
        Branches()
        assert random.next_key() == after  # the dry call has drawn from a stream of its own
    layers = nn.summary(Branches(), (4,)).splitlines()
    assert "one (N, 2), both (N, 3), (4N, 5)" in layers[3]


def test_what_does_not_fit_is_an_error_as_in_a_real_call():
    with pytest.raises(ShapeError, match="looks like channels last"):
        nn.shapes(digits(), (8, 8, 1))
    with pytest.raises(ShapeError, match="linear"):
        nn.shapes(nn.Linear(3, 4), (5,))
    with pytest.raises(ShapeError, match="2 dtypes for 1 inputs"):
        nn.shapes(nn.Linear(3, 4), (5,), ["int64", "int64"])


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_what_depends_on_values_is_refused():
    with pytest.raises(ShapeError, match="nothing is computed"):
        nn.shapes(Decides(), (3,))


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x: xp.exp(x) + 1,
        lambda xp, x: x[:, None, 1:] * x[0, 0],
        lambda xp, x: x.sum(axis=(0, 2), keepdims=True),
        lambda xp, x: xp.argmax(x, axis=1),
        lambda xp, x: x.mean(),
        lambda xp, x: x > 0,
        lambda xp, x: xp.where(x > 0, x, 0),
        lambda xp, x: x.astype("int8") / np.int8(2),
        lambda xp, x: x @ x.swapaxes(1, 2),
        lambda xp, x: x @ xp.ones(4, "float64"),
        lambda xp, x: xp.concatenate([x, x[:, :1]], axis=1),
        lambda xp, x: xp.stack([x, x], axis=-1),
        lambda xp, x: xp.take(x, np.array([[0, 1]]), axis=1),
        lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1)[:, :2], axis=1),
        lambda xp, x: xp.cumsum(x.astype("int8"), axis=1),
        lambda xp, x: xp.moveaxis(x, 0, -1).reshape(-1, 2),
        lambda xp, x: xp.broadcast_to(x, (5, *x.shape)),
        lambda xp, x: xp.full((2, 3), 1.0) + xp.zeros(3, "int32"),
        lambda xp, x: xp.squeeze(x[:, :1], 1).T,
        lambda xp, x: xp.var(x, axis=0),
        lambda xp, x: xp.all(x > 0, axis=1),
        lambda xp, x: -(abs(x) ** 2),
        lambda xp, x: 2 - x,
        lambda xp, x: np.ones((4,), "float64") * x,
        lambda xp, x: xp.linalg.inv(x @ x.swapaxes(1, 2) + xp.asarray(np.eye(3))),
    ],
)
def test_abstract_arrays_have_the_shapes_and_dtypes_of_numpy(function):
    real = function(np, np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32"))
    dry = function(abstract, Abstract((2, 3, 4), "float32"))
    assert dry.shape == np.shape(real)
    assert dry.dtype == real.dtype


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(5, 5),
        lambda x: x + np.zeros(5),
        lambda x: abstract.concatenate([x, x[:, :1]], axis=0),
        lambda x: x @ x,
        lambda x: x.__setitem__((slice(None), 0), np.zeros(7)),
        lambda x: abstract.max(x[:0], axis=0),
        lambda x: x[5],
    ],
)
def test_abstract_arrays_refuse_what_numpy_refuses(call):
    with pytest.raises((ValueError, IndexError)):
        call(Abstract((2, 3, 4), "float32"))

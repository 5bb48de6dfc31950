"""Layers of padding, patches, pixels, distances, whole dropout and lists, without PyTorch.

`test_torch_layers.py` holds them against PyTorch's.
"""

import math

import numpy as np
import pytest
from support import host, same

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import OutOfRangeError, ShapeError, StateError
from minigrad.nn import functional as F


def counted(*shape):
    return to_device(np.arange(math.prod(shape), dtype="float32").reshape(shape))


# ------------------------------------------------------------------------------------- padding

ROW = to_device(np.array([[[1.0, 2.0, 3.0]]]))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ZeroPad1d((1, 2)), [0, 1, 2, 3, 0, 0]),
        (nn.ConstantPad1d(1, 7.0), [7, 1, 2, 3, 7]),
        (nn.ReflectionPad1d((2, 1)), [3, 2, 1, 2, 3, 2]),
        (nn.ReplicationPad1d((2, 1)), [1, 1, 1, 2, 3, 3]),
        (nn.CircularPad1d((2, 1)), [2, 3, 1, 2, 3, 1]),
        (nn.ZeroPad1d((-1, 1)), [2, 3, 0]),
        (nn.ConstantPad1d((-1, -1), 7.0), [2]),
    ],
)
def test_ends_of_the_last_axis(layer, expected):
    assert layer(ROW).tolist() == [[expected]]


def test_two_numbers_an_axis_from_the_last_one_on():
    x = counted(1, 2, 2, 2)
    assert nn.ZeroPad2d((1, 0, 0, 2))(x).shape == (1, 2, 4, 3)
    assert nn.ReplicationPad3d((1, 0, 0, 2, 3, 0))(counted(1, 1, 2, 2, 2)).shape == (1, 1, 5, 4, 3)
    assert nn.CircularPad2d(1)(x).shape == (1, 2, 4, 4)
    assert nn.ReflectionPad2d(1)(x[0]).shape == (2, 4, 4)
    assert nn.ConstantPad3d(1, 0.5)(counted(2, 2, 2)).shape == (4, 4, 4)
    assert repr(nn.ZeroPad2d(1)) == "ZeroPad2d((1, 1, 1, 1))"
    assert repr(nn.ConstantPad1d(1, 2.5)) == "ConstantPad1d(padding=(1, 1), value=2.5)"


# --------------------------------------------------------------------------- patches and pixels


def test_patches_and_their_sums():
    x = counted(2, 3, 4, 5)
    patches = nn.Unfold((2, 3), stride=2, padding=1)(x)
    same(patches, F.unfold(x, kernel_size=(2, 3), stride=2, padding=1))
    fold = nn.Fold((4, 5), (2, 3), stride=2, padding=1)
    once = fold(nn.Unfold((2, 3), stride=2, padding=1)(to_device(np.ones((2, 3, 4, 5), "f4"))))
    same(fold(patches), host(x) * host(once))  # each element as often as patches have it


def test_pixels_and_channels():
    x = counted(1, 8, 2, 3)
    pixels = nn.PixelShuffle(2)(x)
    assert pixels.shape == (1, 2, 4, 6)
    assert host(pixels)[0, 0, :2, :2].tolist() == [[0, 6], [12, 18]]
    same(nn.PixelUnshuffle(2)(pixels), x)
    shuffled = nn.ChannelShuffle(2)(counted(1, 6, 1))
    assert shuffled.tolist() == [[[0], [3], [1], [4], [2], [5]]]
    same(nn.UpsamplingNearest2d(scale_factor=2)(x), host(x).repeat(2, 2).repeat(2, 3))
    grown = host(nn.UpsamplingBilinear2d((5, 7))(x))
    np.testing.assert_allclose(grown[..., ::4, ::3], host(x), rtol=1e-6)  # corners stay
    np.testing.assert_allclose(grown[0, 0, :, 0], [0, 0.75, 1.5, 2.25, 3], rtol=1e-6)


@pytest.mark.parametrize("n", [2, 3])
def test_windows_whose_distances_are_drawn(n):
    lengths, counts, kernel = (9, 12, 7)[:n], (4, 5, 3)[:n], (2, 3, 2)[:n]
    x = to_device(np.random.default_rng(n).normal(size=(2, 3, *lengths)))
    layer = getattr(nn, f"FractionalMaxPool{n}d")(kernel, counts, return_indices=True)
    with random.stream(1):
        y, ids = (host(v) for v in layer(x))
        again = host(layer(x)[0])
    assert y.shape == ids.shape == (2, 3, *counts)
    flat = host(x).reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, ids.reshape(2, 3, -1), 2), y.reshape(2, 3, -1)
    )
    assert (y != again).any()  # each call draws
    with random.stream(1):
        same(layer(x)[0], y)
    # The first and the last window are at the ends.
    corner = host(x)[(slice(None), slice(None), *[slice(k) for k in kernel])]
    same(y[(slice(None), slice(None), *[0] * n)], corner.max(axis=tuple(range(2, 2 + n))))
    end = host(x)[(slice(None), slice(None), *[slice(-k, None) for k in kernel])]
    same(y[(slice(None), slice(None), *[-1] * n)], end.max(axis=tuple(range(2, 2 + n))))
    ratio = getattr(nn, f"FractionalMaxPool{n}d")(2, output_ratio=0.5)
    assert ratio(x[0]).shape == (3, *(m // 2 for m in lengths))
    tracked = Tensor(x, requires_grad=True)
    layer(tracked)[0].sum().backward()
    assert host(tracked.grad).sum() == y.size


def test_distances():
    a, b = to_device(np.array([[3.0, 4], [1, 0]])), to_device(np.array([[3.0, 4], [0, 2]]))
    np.testing.assert_allclose(host(nn.CosineSimilarity()(a, b)), [1, 0], atol=1e-12)
    np.testing.assert_allclose(
        host(nn.PairwiseDistance(1.0, 0.0, keepdim=True)(a, b)), [[0], [3]], atol=1e-12
    )


# ------------------------------------------------------------------------------------- dropout


def test_whole_channels_are_dropped_so_that_mean_and_variance_stay():
    x = mg.randn(300, 200, 4, 2, key=random.key(1))
    layer = nn.FeatureAlphaDropout(0.3)
    with random.stream(5):
        y = host(layer(Tensor(x.data)))
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02
    low = y.reshape(300, 200, -1)
    dropped = (low == low[..., :1]).all(axis=2)
    assert abs(dropped.mean() - 0.3) < 0.01
    limit = -1.7580993408473766  # of SELU
    a = 1 / math.sqrt((limit**2 * 0.3 + 1) * 0.7)
    np.testing.assert_allclose(low[dropped], a * limit - a * limit * 0.3, rtol=1e-5)
    kept = host(x).reshape(low.shape)[~dropped] * a - a * limit * 0.3
    np.testing.assert_allclose(low[~dropped], kept, rtol=1e-4, atol=1e-5)
    assert layer.eval()(x) is x
    assert not host(nn.FeatureAlphaDropout(1.0)(x)).any()
    same(nn.FeatureAlphaDropout(0.0)(x), x)


# --------------------------------------------------------------------------------- containers


def test_a_list_of_parameters():
    first = nn.Parameter(np.ones(2, "float32"))
    ours = nn.ParameterList([first, [1.0, 2.0, 3.0]])
    assert ours[0] is first
    assert ours[-1].dtype == np.float32
    assert [n for n, _ in ours.named_parameters()] == ["0", "1"]
    assert ours.append(np.zeros(4, "float32")) is ours
    ours.extend([np.zeros(5, "float32")])
    assert [p.size for p in ours] == [2, 3, 4, 5]
    assert [p.size for p in ours[1:3]] == [3, 4]
    ours[1] = np.zeros(1, "float32")
    assert [p.size for p in ours.parameters()] == [2, 1, 4, 5]
    assert len(ours) == 4
    optim.SGD(ours, 0.1)
    with pytest.raises(OutOfRangeError, match="no parameter 4, there are 4"):
        _ = ours[4]


def test_parameters_by_name():
    ours = nn.ParameterDict({"b": np.ones(2, "float32"), "a": [1.0]})
    ours["c"] = nn.Parameter(np.zeros(3, "float32"))
    assert list(ours) == list(ours.keys()) == ["b", "a", "c"] == list(ours.state_dict())
    assert [p.size for p in ours.values()] == [2, 1, 3]
    assert dict(ours.items())["a"] is ours["a"]
    assert "a" in ours
    assert len(ours) == 3
    assert ours.pop("a").size == 1
    del ours["b"]
    assert list(ours.state_dict()) == ["c"]
    ours.clear()
    assert ours.parameters() == []
    with pytest.raises(KeyError, match="there is no parameter 'x'"):
        _ = ours["x"]
    for name in ("a.b", "keys", ""):
        with pytest.raises(StateError, match="a name must be a string without a dot"):
            ours[name] = [1.0]


# ------------------------------------------------------------------------------ transformers


def test_stacks_are_their_layers_one_after_the_other():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
    stack = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4))
    x = counted(2, 3, 4) / 10
    np.testing.assert_allclose(host(stack(x)), host(stack.norm(layer(layer(x)))), rtol=1e-5)
    assert stack.layers[0].linear1.weight is not layer.linear1.weight
    assert [n for n, _ in stack.named_modules()][1:2] == ["layers.0"]
    decoder = nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0)
    y = host(nn.TransformerDecoder(decoder, 1)(x, x))
    np.testing.assert_allclose(y, host(decoder(x, x, tgt_is_causal=False)), rtol=1e-5)
    seen = nn.TransformerDecoder(decoder, 1)(x, x, tgt_is_causal=True)
    np.testing.assert_allclose(host(seen), host(decoder(x, x)), rtol=1e-5)
    assert (host(seen) != y).any()


# ------------------------------------------------------------------------------- nn.utils


def test_parameters_as_one_vector():
    model = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (9,)
    arrays = [p.data for p in model.parameters()]
    nn.utils.vector_to_parameters(counted(9), model.parameters())
    assert model.weight.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert model.bias.tolist() == [6, 7, 8]
    assert all(p.data is a for p, a in zip(model.parameters(), arrays, strict=True))
    with pytest.raises(ShapeError, match="have 9 numbers, got"):
        nn.utils.vector_to_parameters(counted(8), model.parameters())
    (vector * 2).sum().backward()
    assert model.bias.grad.tolist() == [2, 2, 2]


def test_clipping_is_that_of_optim():
    assert nn.utils.clip_grad_norm_ is optim.clip_grad_norm_
    assert nn.utils.clip_grad_value_ is optim.clip_grad_value_


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.ZeroPad2d((1, 2)), ShapeError, "an int or 4 of them, two an axis from the la"),
        (lambda: nn.ReflectionPad1d(1)(counted(2, 3, 4, 5)), ShapeError, r"\(N, C, L\) or \(C, L"),
        (lambda: nn.ReflectionPad1d(3)(ROW), ShapeError, "does not fit x"),
        (lambda: nn.CircularPad2d(1)(counted(3, 3)), ShapeError, r"CircularPad2d: x must be"),
        (lambda: nn.FractionalMaxPool2d(2), ValueError, "either output_size or output_ratio"),
        (lambda: nn.FractionalMaxPool2d(2, 3, 0.5), ValueError, "either output_size or"),
        (lambda: nn.FractionalMaxPool2d(2, None, 1.5), ValueError, "between 0 and 1"),
        (lambda: nn.FractionalMaxPool2d(2, 4)(counted(1, 4, 4)), ShapeError, r"\(4, 4\) windows"),
        (lambda: nn.ChannelShuffle(0), ValueError, "groups must be positive"),
        (lambda: nn.ChannelShuffle(4)(counted(1, 6, 2)), ShapeError, "a multiple of 4 channels"),
        (lambda: nn.FeatureAlphaDropout()(counted(3)), ShapeError, r"\(N, C, ...\)"),
        (lambda: nn.SyncBatchNorm, AttributeError, "use nn.BatchNorm2d"),
        (lambda: nn.utils.weight_norm, AttributeError, "parametrizations.weight_norm"),
    ],
)
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()

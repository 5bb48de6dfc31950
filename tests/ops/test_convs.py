"""Convolution and pooling: conventions, dtypes and errors that the table of ops does not show."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.autodiff import Tensor
from minigrad.backend import to_device, to_numpy
from minigrad.errors import ShapeError
from minigrad.testing import check_gradients


def ones(*shape, dtype="float64"):
    return to_device(np.ones(shape, dtype))


def counting(*shape, dtype="float64"):
    return to_device(np.arange(math.prod(shape), dtype=dtype).reshape(shape))


def gradient(function, numbers):
    """The gradient of the sum of `function(x)`, as lists."""
    x = Tensor(to_device(np.array(numbers, float)), requires_grad=True)
    plain = mg.gradients(mg.sum(function(x)), x).numpy()
    tracked = mg.gradients(mg.sum(function(x)), x, create_graph=True).detach().numpy()
    np.testing.assert_array_equal(plain, tracked)
    return plain.tolist()


# ------------------------------------------------------------------------------ convolution


def test_a_kernel_is_not_reversed():
    x, w = counting(1, 5), to_device(np.array([[[1.0, 0, 10]]]))
    assert mg.conv1d(x, w).tolist() == [[20, 31, 42]]
    assert mg.conv_transpose1d(x, w).tolist() == [[0, 1, 2, 13, 24, 30, 40]]


def test_same_padding_puts_the_odd_zero_at_the_end():
    x, w = counting(1, 3) + 1, to_device(np.array([[[1.0, 10]]]))
    assert mg.conv1d(x, w, padding="same").tolist() == [[21, 32, 3]]
    assert mg.conv1d(x, w, None, 1, "valid").tolist() == [[21, 32]]


def test_a_transposed_convolution_is_the_gradient_of_a_convolution():
    x = mg.randn(2, 4, 7, 6, key=mg.random.key(0), dtype="float64").requires_grad_()
    w, g = (mg.randn(*s, key=mg.random.key(1), dtype="float64")
            for s in ((6, 2, 3, 2), (2, 6, 4, 7)))  # fmt: skip
    how = {"stride": (2, 1), "padding": 1, "groups": 2}
    y = mg.conv2d(x, w, **how)
    assert y.shape == g.shape
    back = mg.conv_transpose2d(g, w, **how)
    np.testing.assert_allclose(mg.gradients(y, x, g).numpy(), back.numpy(), rtol=1e-12)


def test_fold_counts_how_often_unfold_has_seen_each_element():
    x = ones(1, 1, 4, 3)
    y = mg.fold(mg.unfold(x, 2), (4, 3), 2)
    assert y[0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [2, 4, 2], [1, 2, 1]]


def test_a_stack_of_layers_to_second_order():
    def layers(x, w):
        y = mg.max_pool2d(mg.tanh(mg.conv2d(x, w, padding=1)), 2)
        return mg.sum(mg.interpolate(y, scale_factor=2, mode="bilinear") ** 2)

    draw = np.random.default_rng(0)
    check_gradients(layers, draw.normal(size=(2, 1, 5, 4)), draw.normal(size=(3, 1, 3, 3)))


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda x: mg.conv2d(x, ones(4, 2, 3, 3)), (0, 2, 5, 5), (0, 4, 3, 3)),
        (lambda x: mg.conv_transpose2d(x, ones(2, 4, 3, 3)), (0, 2, 5, 5), (0, 4, 7, 7)),
        (lambda x: mg.conv1d(x, ones(4, 0, 3)), (2, 0, 5), (2, 4, 3)),
        (lambda x: mg.max_pool2d(x, 2), (0, 2, 5, 5), (0, 2, 2, 2)),
        (lambda x: mg.avg_pool1d(x, 2), (0, 2, 5), (0, 2, 2)),
        (lambda x: mg.adaptive_max_pool2d(x, 3), (0, 2, 5, 5), (0, 2, 3, 3)),
        (lambda x: mg.interpolate(x, 3), (0, 2, 5, 5), (0, 2, 3, 3)),
        (lambda x: mg.unfold(x, 2), (0, 2, 5, 5), (0, 8, 16)),
    ],
)
def test_an_empty_batch_gives_an_empty_batch(function, shape, expected):
    x = Tensor(ones(*shape), requires_grad=True)
    y = function(x)
    assert y.shape == expected
    assert mg.gradients(mg.sum(y), x).shape == shape


# --------------------------------------------------------------------------------- pooling


def test_of_equal_elements_the_first_gets_the_gradient():
    assert gradient(lambda x: mg.max_pool1d(x, 3), [[2, 2, 1]]) == [[1, 0, 0]]
    assert gradient(lambda x: mg.max_pool1d(x, 3, 1), [[0, 2, 2, 0]]) == [[0, 2, 0, 0]]
    assert gradient(lambda x: mg.max_pool2d(x, 2), [[[0, 3], [3, 3]]]) == [[[0, 1], [0, 0]]]
    assert gradient(lambda x: mg.adaptive_max_pool1d(x, 1), [[1, 5, 5]]) == [[0, 1, 0]]
    _, ids = mg.max_pool2d(to_device(np.array([[[0.0, 3], [3, 3]]])), 2, return_indices=True)
    assert ids.tolist() == [[[1]]]


def test_padding_is_never_the_largest():
    x = -ones(1, 1, 2, 2)
    y, ids = mg.max_pool2d(x, 2, padding=1, return_indices=True)
    assert to_numpy(y).max() == -1
    assert ids[0, 0].tolist() == [[0, 1], [2, 3]]
    y, ids = mg.max_pool1d(x[0, 0] - math.inf, 2, padding=1, return_indices=True)
    assert y.tolist() == [[-math.inf] * 2] * 2
    assert ids.tolist() == [[0, 1]] * 2
    integers = mg.max_pool1d(to_device(np.array([[-7, -5]])), 2, padding=1)
    assert (integers.dtype.kind, integers.tolist()) == ("i", [[-7, -5]])


def test_a_nan_is_the_largest_of_its_window():
    x = to_device(np.array([[1.0, math.nan, 3, 4]]))
    y, ids = mg.max_pool1d(x, 2, return_indices=True)
    np.testing.assert_array_equal(to_numpy(y), [[math.nan, 4]])
    assert ids.tolist() == [[1, 3]]
    assert gradient(lambda x: mg.max_pool1d(x, 2), [[1, math.nan, 3, 4]]) == [[0, 1, 0, 1]]


def test_indices_are_places_in_the_plane():
    x = mg.randn(2, 3, 6, 5, key=mg.random.key(2))
    for found in (
        mg.max_pool2d(x, 3, 2, 1, 1, True, True),
        mg.adaptive_max_pool2d(x, (4, 3), return_indices=True),
    ):
        y, ids = found
        assert ids.dtype == np.int64
        again = mg.gather(mg.reshape(x, (2, 3, 30)), mg.reshape(ids, (2, 3, -1)), 2)
        np.testing.assert_array_equal(again.numpy(), y.numpy().reshape(2, 3, -1))


def test_what_counts_in_a_mean():
    x = ones(1, 5)
    assert mg.avg_pool1d(x, 2, padding=1).tolist() == [[0.5, 1, 1]]
    assert mg.avg_pool1d(x, 2, padding=1, count_include_pad=False).tolist() == [[1, 1, 1]]
    assert mg.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[1, 1, 1]]
    assert mg.avg_pool2d(ones(1, 2, 2), 2, divisor_override=8).tolist() == [[[0.5]]]


def test_ceil_mode_adds_no_window_that_begins_in_the_padding():
    assert mg.max_pool1d(counting(1, 3), 2, 2, 1, 1, True).tolist() == [[0, 2]]
    assert mg.max_pool1d(counting(1, 5), 2, 3, 0, 1, True).tolist() == [[1, 4]]


def test_a_window_sees_nothing_of_its_neighbours():
    x = to_device(np.array([[math.inf, 1, 2, 3, 4]]))
    assert mg.adaptive_avg_pool1d(x, 3).tolist() == [[math.inf, 2, 3.5]]
    assert mg.avg_pool1d(x[:, :4], 2).tolist() == [[math.inf, 2.5]]


# --------------------------------------------------------------------------- interpolation


def test_interpolation_of_two_elements():
    x = to_device(np.array([[[0.0, 4]]]))

    def y(**options):
        return mg.interpolate(x, **options)[0, 0].tolist()

    assert y(scale_factor=2) == [0, 0, 4, 4]
    assert y(size=3) == [0, 0, 4]
    assert y(size=3, mode="nearest-exact") == [0, 4, 4]
    assert y(size=4, mode="linear") == [0, 1, 3, 4]
    assert y(size=5, mode="linear", align_corners=True) == [0, 1, 2, 3, 4]
    assert y(size=1, mode="linear") == [2]
    assert y(size=1, mode="linear", align_corners=True) == [0]
    assert y(size=1, mode="area") == [2]


def test_pixels_come_back():
    x = counting(2, 8, 3, 1)
    y = mg.pixel_shuffle(x, 2)
    assert y.shape == (2, 2, 6, 2)
    assert y[0, 0, :2].tolist() == [[0, 3], [6, 9]]
    assert mg.pixel_unshuffle(y, 2).tolist() == x.tolist()


# ---------------------------------------------------------------------------------- dtypes

ALL = {
    "conv1d": lambda x: mg.conv1d(x[:, :, 0], ones(2, 2, 3, dtype=x.dtype), ones(2, dtype=x.dtype)),
    "conv2d": lambda x: mg.conv2d(x, ones(2, 2, 3, 3, dtype=x.dtype), padding=1),
    "conv_transpose2d": lambda x: mg.conv_transpose2d(x, ones(2, 2, 3, 3, dtype=x.dtype)),
    "unfold": lambda x: mg.unfold(x, 2),
    "max_pool2d": lambda x: mg.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: mg.avg_pool2d(x, 3, 2, 1, True, False),
    "adaptive_avg_pool2d": lambda x: mg.adaptive_avg_pool2d(x, 3),
    "adaptive_max_pool2d": lambda x: mg.adaptive_max_pool2d(x, 3),
    "nearest": lambda x: mg.interpolate(x, 5),
    "bilinear": lambda x: mg.interpolate(x, 5, mode="bilinear"),
    "pixel_shuffle": lambda x: mg.pixel_shuffle(mg.pixel_unshuffle(x, 2), 2),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(name, dtype):
    x = Tensor(counting(1, 2, 4, 4, dtype=dtype) / 8, requires_grad=True)
    y = ALL[name](x)
    assert y.dtype == np.dtype(dtype)
    g = mg.gradients(mg.sum(y * y), x)
    assert g.dtype == np.dtype(dtype)
    exact = Tensor(counting(1, 2, 4, 4) / 8, requires_grad=True)
    np.testing.assert_allclose(y.detach().numpy(), ALL[name](exact).detach().numpy(), rtol=2e-3)


def test_half_precision_adds_up_in_single():
    x = ones(1, 5000, dtype="float16")  # summed in float16 it would stop at 2048
    assert mg.conv1d(x, ones(1, 1, 5000, dtype="float16")).tolist() == [[5000]]
    assert mg.avg_pool1d(x, 5000).tolist() == [[1]]
    assert mg.conv_transpose1d(x[:, :1], ones(1, 1, 2, dtype="float16")).dtype == np.float16


def test_integers():
    x = counting(1, 4, dtype="int64")
    assert mg.conv1d(x, ones(1, 1, 2, dtype="float32")).dtype == np.float32
    assert mg.max_pool1d(x, 2).tolist() == [[1, 3]]
    assert mg.avg_pool1d(x, 2).tolist() == [[0.5, 2.5]]
    assert mg.avg_pool1d(x, 2).dtype == np.float32
    assert mg.interpolate(x[None], 2)[0].tolist() == [[0, 2]]


# ---------------------------------------------------------------------------------- errors

X, W = ones(1, 4, 5, 5), ones(6, 4, 3, 3)


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: mg.conv2d(X[:, :3], W), "conv2d|3 channels|(6, 4, 3, 3)|1 groups"),
        (lambda: mg.conv2d(X, W, groups=2), "conv2d|4 channels|2 groups"),
        (lambda: mg.conv2d(X, W[:5, :2], groups=2), "conv2d|(5, 2, 3, 3)|2 groups"),
        (lambda: mg.conv2d(X, W, groups=0), "conv2d|0 groups"),
        (lambda: mg.conv2d(X[0, 0], W), "conv2d|(N, C, H, W)|(5, 5)"),
        (lambda: mg.conv2d(X, W[0]), "conv2d|weight|(4, 3, 3)"),
        (lambda: mg.conv2d(X, W[..., :0]), "conv2d|weight|(6, 4, 3, 0)"),
        (lambda: mg.conv2d(X, W, ones(5)), "conv2d|bias|(6,)|(5,)"),
        (lambda: mg.conv2d(X, ones(1, 4, 6, 3)), "conv2d|(6, 3)|(5, 5)"),
        (lambda: mg.conv2d(X, W, dilation=3), "conv2d|(7, 7)|(5, 5)"),
        (lambda: mg.conv2d(X, W, stride=0), "conv2d|stride|0"),
        (lambda: mg.conv2d(X, W, stride=(1, 2, 3)), "conv2d|stride|(1, 2, 3)"),
        (lambda: mg.conv2d(X, W, dilation=0), "conv2d|dilation|0"),
        (lambda: mg.conv2d(X, W, padding=-1), "conv2d|padding|-1"),
        (lambda: mg.conv2d(X, W, padding="full"), "conv2d|'same'|'full'"),
        (lambda: mg.conv2d(X, W, padding="same", stride=2), "conv2d|stride 1|(2, 2)"),
        (lambda: mg.conv_transpose2d(X, W), "conv_transpose2d|4 channels|(6, 4, 3, 3)"),
        (lambda: mg.conv_transpose2d(X, W[:4], output_padding=1), "output_padding|(1, 1)|stride"),
        (lambda: mg.conv_transpose2d(X, W[:4], padding=4), "conv_transpose2d|(7, 7)|(4, 4)"),
        (lambda: mg.unfold(X[0, 0], 2), "unfold|(5, 5)"),
        (lambda: mg.unfold(X, 6), "unfold|(6, 6)|(5, 5)"),
        (lambda: mg.fold(ones(1, 4, 5), 3, 2), "fold|4 * C, 4|(1, 4, 5)"),
        (lambda: mg.fold(ones(1, 5, 4), 3, 2), "fold|(1, 5, 4)"),
        (lambda: mg.fold(ones(4), 3, 2), "fold|(4,)"),
        (lambda: mg.max_pool2d(X, 6), "max_pool2d|6|5"),
        (lambda: mg.max_pool2d(X, 0), "max_pool2d|kernel_size|0"),
        (lambda: mg.max_pool2d(X, 2, 0), "max_pool2d|stride|0"),
        (lambda: mg.max_pool2d(X, 2, padding=2), "max_pool2d|half|(2, 2)"),
        (lambda: mg.max_pool2d(X[:, :0], 2), "max_pool2d|empty|(1, 0, 5, 5)"),
        (lambda: mg.avg_pool2d(X, 3, padding=2), "avg_pool2d|half|(2, 2)"),
        (lambda: mg.avg_pool1d(X, 2), "avg_pool1d|(N, C, L)|(1, 4, 5, 5)"),
        (lambda: mg.avg_pool2d(X, 2, divisor_override=0), "avg_pool2d|divisor_override"),
        (lambda: mg.adaptive_avg_pool2d(X, (1, 2, 3)), "adaptive_avg_pool2d|(1, 2, 3)"),
        (lambda: mg.adaptive_avg_pool2d(X, 0), "adaptive_avg_pool2d|output_size|0"),
        (lambda: mg.adaptive_max_pool2d(X[..., :0], 1), "adaptive_max_pool2d|(1, 4, 5, 0)"),
        (lambda: mg.interpolate(X), "interpolate|size or scale_factor"),
        (lambda: mg.interpolate(X, 2, 2), "interpolate|size or scale_factor"),
        (lambda: mg.interpolate(X[0, 0], 2), "interpolate|(5, 5)"),
        (lambda: mg.interpolate(X, (2,)), "interpolate|size|(2,)"),
        (lambda: mg.interpolate(X, scale_factor=(2, 2, 2)), "interpolate|scale_factor|(2, 2, 2)"),
        (lambda: mg.interpolate(X, scale_factor=-1), "interpolate|scale_factor|-1"),
        (lambda: mg.interpolate(X, scale_factor=0.1), "interpolate|(0, 0)"),
        (lambda: mg.interpolate(X, 2, mode="linear"), "interpolate|'linear'|use 'bilinear'"),
        (lambda: mg.interpolate(X, 2, mode="cubic"), "interpolate|'cubic'"),
        (lambda: mg.interpolate(X, 2, align_corners=True), "interpolate|align_corners|'nearest'"),
        (lambda: mg.pixel_shuffle(X, 3), "pixel_shuffle|4 channels|3 * 3"),
        (lambda: mg.pixel_shuffle(X[0, 0], 1), "pixel_shuffle|(5, 5)"),
        (lambda: mg.pixel_unshuffle(X, 2), "pixel_unshuffle|(1, 4, 5, 5)|2"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, fragments):
    first, *others = fragments.split("|")
    with pytest.raises(ValueError, match=first) as caught:
        call()
    for fragment in others:
        assert fragment in str(caught.value)


def test_wrong_shapes_are_shape_errors_and_wrong_types_type_errors():
    with pytest.raises(ShapeError):
        mg.max_pool2d(X, 6)
    with pytest.raises(TypeError, match="kernel_size"):
        mg.max_pool2d(X, 1.5)
    with pytest.raises(TypeError, match="stride"):
        mg.conv2d(X, W, stride="2")

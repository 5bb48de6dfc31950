"""Layers: what they compute, and with which first values.

Reference numbers are PyTorch's (2.13, in float64): for parameters and inputs of sines, the result's
sum weighted by cosines, and then the weighted sums of the gradients of the inputs and of the
parameters, and of the buffers afterwards. See `filled` and `weighted`.
"""

import inspect
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import close, host, normal, same

import minigrad as mg
from minigrad import nn, ops, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device, to_numpy
from minigrad.errors import OutOfRangeError, ShapeError, StateError

floats = partial(normal, dtype="float32")


def filled(shape, start):
    return to_device(np.sin(start + 0.7 * np.arange(math.prod(shape))).reshape(shape))


def cosines(shape):
    return to_device(np.cos(np.arange(math.prod(shape))).reshape(shape))


def weighted(x):
    return float((x.data * cosines(x.shape)).sum())


def leaves(y):
    return [x for part in y for x in leaves(part)] if isinstance(y, tuple) else [y]


def made(layer):
    """The layer that a string describes, in float64 where it has parameters."""
    kind, arguments = layer[:-1].split("(", 1)
    if "dtype" in inspect.signature(getattr(nn, kind)).parameters:
        arguments = ", ".join(filter(None, (arguments, "dtype='float64'")))
    return eval(f"nn.{kind}({arguments})")


# Layer, shapes of its inputs; result, gradients of inputs and parameters, buffers.
REFERENCE = [
    ("Conv1d(4, 6, 3)", [(2, 4, 7)], [2.08195083, -0.561823349, 1.12653289, 4.04653942]),
    (
        "Conv1d(4, 6, 3, 2, 1, groups=2, bias=False)",
        [(2, 4, 7)],
        [-8.53131704, -0.598419396, -1.41352094],
    ),
    (
        "Conv1d(4, 2, 3, padding='same', dilation=2, padding_mode='circular')",
        [(1, 4, 7)],
        [6.78822521, -0.396734056, 5.69130111, 1.05605793],
    ),
    (
        "Conv1d(4, 2, 2, padding=1, padding_mode='replicate')",
        [(4, 7)],
        [8.31426943, -2.88317548, -6.97257741, 1.06604336],
    ),
    ("ConvTranspose1d(4, 6, 3)", [(2, 4, 7)], [-0.354599711, -12.381855, 2.79834514, 1.05263159]),
    (
        "ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False)",
        [(2, 4, 7)],
        [11.8397423, 0.196719019, -3.33482449],
    ),
    ("MaxPool1d(3, 2, 1)", [(2, 3, 7)], [-0.681462592, 1.83694693]),
    (
        "AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False)",
        [(2, 3, 7)],
        [-0.148041623, 0.212585094],
    ),
    ("AdaptiveAvgPool1d(2)", [(2, 3, 7)], [0.0474896188, -0.0865869573]),
    ("AdaptiveMaxPool1d(3)", [(2, 3, 7)], [-0.473195056, 0.528545342]),
    (
        "BatchNorm1d(4)",
        [(3, 4, 7)],
        [0.692188498, 40.1388188, 0.289025595, 0.929808666, -0.0131265419, 0.129510648, 1.0],
    ),
    (
        "InstanceNorm1d(4, affine=True, track_running_stats=True)",
        [(3, 4, 7)],
        [0.550761204, 23.5925978, -1.84475002, 0.929808666, -0.0131265419, 0.129940544, 0.0],
    ),
    ("Conv2d(4, 6, (3, 2))", [(2, 4, 7, 6)], [-6.10346601, 5.96582331, -4.4354948, -0.103845186]),
    (
        "Conv2d(4, 6, 3, 2, 1, groups=2, bias=False)",
        [(2, 4, 7, 6)],
        [-24.8530309, -11.3445022, 33.747037],
    ),
    (
        "Conv2d(4, 2, 3, padding='same', dilation=2, padding_mode='circular')",
        [(1, 4, 7, 6)],
        [1.07074516, 5.10514245, 8.98765853, 0.752600899],
    ),
    (
        "Conv2d(4, 2, 2, padding=1, padding_mode='replicate')",
        [(4, 7, 6)],
        [-13.0872113, 22.3162784, 2.71909117, -0.478837529],
    ),
    (
        "ConvTranspose2d(4, 6, (3, 2))",
        [(2, 4, 7, 6)],
        [0.271666638, -0.156952284, 11.4104584, 0.00460075615],
    ),
    (
        "ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, False)",
        [(2, 4, 7, 6)],
        [0.968255809, -0.620364442, -2.34746434],
    ),
    ("MaxPool2d(3, 2, 1)", [(2, 3, 7, 6)], [1.57133086, 9.21836466]),
    (
        "AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)",
        [(2, 3, 7, 6)],
        [-0.351619183, -0.111188251],
    ),
    ("AdaptiveAvgPool2d(2)", [(2, 3, 7, 6)], [-1.06197938, 0.294862926]),
    ("AdaptiveMaxPool2d(3)", [(2, 3, 7, 6)], [0.408678594, 1.60457796]),
    (
        "BatchNorm2d(4)",
        [(3, 4, 7, 6)],
        [-0.203852276, 227.271372, -0.169016154, 0.203662725, 0.000955296727, 0.127690512, 1.0],
    ),
    (
        "InstanceNorm2d(4, affine=True, track_running_stats=True)",
        [(3, 4, 7, 6)],
        [0.0794110234, 227.317513, -0.165121121, 0.203662725, 0.000955296727, 0.12780279, 0.0],
    ),
    (
        "Conv3d(4, 6, (3, 2, 1))",
        [(2, 4, 5, 6, 4)],
        [5.76914396, 5.70075113, 1.95972019, 0.352116721],
    ),
    (
        "Conv3d(4, 6, 3, 2, 1, groups=2, bias=False)",
        [(2, 4, 5, 6, 4)],
        [-19.1079648, -14.3538634, 5.87117106],
    ),
    (
        "Conv3d(4, 2, 3, padding='same', dilation=2, padding_mode='circular')",
        [(1, 4, 5, 6, 4)],
        [19.3392031, 23.1610102, 130.742903, 0.936665521],
    ),
    (
        "Conv3d(4, 2, 2, padding=1, padding_mode='replicate')",
        [(4, 5, 6, 4)],
        [-1.16525047, 13.6903852, -1.6188098, 0.339124393],
    ),
    (
        "ConvTranspose3d(4, 6, (3, 2, 1))",
        [(2, 4, 5, 6, 4)],
        [-0.469042791, -3.75146403, 0.233045173, 2.59942517],
    ),
    (
        "ConvTranspose3d(4, 6, 3, 2, 1, 1, 2, False)",
        [(2, 4, 5, 6, 4)],
        [-34.0938883, -2.86878995, 31.8320681],
    ),
    ("MaxPool3d(3, 2, 1)", [(2, 3, 5, 6, 4)], [1.67698889, -1.25971786]),
    (
        "AvgPool3d(3, 2, 1, ceil_mode=True, count_include_pad=False)",
        [(2, 3, 5, 6, 4)],
        [-0.330368212, -1.31121855],
    ),
    ("AdaptiveAvgPool3d(2)", [(2, 3, 5, 6, 4)], [0.0345441622, 0.0103580235]),
    ("AdaptiveMaxPool3d(3)", [(2, 3, 5, 6, 4)], [-0.652822868, -2.18522172]),
    (
        "BatchNorm3d(4)",
        [(3, 4, 5, 6, 4)],
        [-3.29633685, 650.158835, 0.494454057, 0.0972192664, 2.9119152e-05, 0.127437312, 1.0],
    ),
    (
        "InstanceNorm3d(4, affine=True, track_running_stats=True)",
        [(3, 4, 5, 6, 4)],
        [-3.30693555, 650.090439, 0.497312703, 0.0972192664, 2.9119152e-05, 0.127473484, 0.0],
    ),
    (
        "Conv2d(3, 3, 3, padding=(2, 1), padding_mode='reflect')",
        [(1, 3, 5, 4)],
        [-9.50089618, 27.0221351, 11.9616158, -0.450104091],
    ),
    (
        "BatchNorm1d(4, momentum=None)",
        [(5, 4)],
        [-0.804610921, 4.42364612, -3.5041466, 0.175292355, 0.147973733, -0.703767523, 1.0],
    ),
    (
        "BatchNorm1d(4, eps=0.1, affine=False, track_running_stats=False)",
        [(5, 4)],
        [-1.18619991, 9.53157255],
    ),
    ("GroupNorm(2, 4)", [(3, 4, 5)], [4.66072797, 24.4264939, 8.77464007, -5.1298922]),
    ("RMSNorm((3, 4), eps=0.1)", [(2, 3, 4)], [0.0220875592, 4.4797217, -1.49096199]),
    ("RMSNorm(4)", [(2, 4)], [0.109422892, 2.34243704, -3.19180285]),
    ("LocalResponseNorm(3, 0.5)", [(2, 5, 3)], [1.55008151, 10.916038]),
    (
        "Bilinear(3, 4, 5)",
        [(2, 3), (2, 4)],
        [4.00444318, -0.450998827, -0.480996911, -4.83280176, 4.10074869],
    ),
    ("PReLU(4)", [(2, 4, 3)], [-1.78935555, 9.66264173, -1.62153367]),
    (
        "RNN(3, 4, 2, 'relu', bidirectional=True)",
        [(5, 2, 3)],
        [
            8.5844702,
            -2.27995794,
            4.2307295,
            -0.687421919,
            0.955294336,
            0.955294336,
            -1.71815608,
            3.4038192,
            -2.87953953,
            -2.87953953,
            0.0,
            0.0,
            0.0,
            0.0,
            1.24971518,
            -4.6255406,
            -0.498057192,
            -0.498057192,
        ],
    ),
    (
        "GRU(3, 4, 2, batch_first=True)",
        [(2, 5, 3)],
        [
            0.887860158,
            0.610170323,
            1.66570964,
            -0.0917411114,
            -0.70173222,
            -0.404547926,
            -1.47140831,
            0.194262497,
            0.0590171264,
            0.152256534,
        ],
    ),
    (
        "GRU(3, 4, bias=False, bidirectional=True)",
        [(5, 3)],
        [-0.578925989, 0.102418147, 1.48320768, -0.18594856, 2.01698303, -0.439225011],
    ),
    (
        "LSTM(3, 4, 2, bidirectional=True)",
        [(5, 2, 3)],
        [
            0.831779712,
            1.30174664,
            -1.68053396,
            0.129559119,
            -1.75216536,
            -1.75216536,
            3.45302143,
            0.601658239,
            1.40775896,
            1.40775896,
            1.41585557,
            -0.144132929,
            2.38010236,
            2.38010236,
            0.201372796,
            -0.450411917,
            -0.195675864,
            -0.195675864,
        ],
    ),
    (
        "LSTM(3, 4, 2, proj_size=2)",
        [(5, 2, 3)],
        [
            0.223504561,
            1.85646953,
            -0.526624709,
            -0.00784923286,
            -0.716117831,
            -0.716117831,
            0.488447986,
            0.0424493556,
            -0.0277940999,
            0.28466276,
            0.28466276,
            -0.291251614,
        ],
    ),
    (
        "RNNCell(3, 4)",
        [(2, 3)],
        [-1.09284238, 0.816646787, 1.00889365, 0.0, -0.831919053, -0.831919053],
    ),
    (
        "GRUCell(3, 4)",
        [(2, 3)],
        [-0.686133742, -0.132885395, -0.0888466947, 0.0, 0.332046961, 0.278668362],
    ),
    (
        "LSTMCell(3, 4)",
        [(2, 3)],
        [-1.45548756, 0.303868692, -0.0709786136, 0.0, 0.13691106, 0.13691106],
    ),
    (
        "RNN(3, 4)",
        [(5, 2, 3), (1, 2, 4)],
        [2.70916592, 0.984361204, 0.480774061, 3.47888022, -3.36445011, -6.05561262, -6.05561262],
    ),
    (
        "GRU(3, 4)",
        [(5, 2, 3), (1, 2, 4)],
        [-2.20261056, 1.93312667, 1.72926448, 0.447733051, -1.97670001, -1.11065814, -0.530075249],
    ),
]


@pytest.mark.parametrize(("layer", "shapes", "expected"), REFERENCE, ids=[r[0] for r in REFERENCE])
def test_layers_compute_what_those_of_pytorch_do(layer, shapes, expected):
    model = made(layer)
    for i, p in enumerate(model.parameters()):
        p.data[...] = filled(p.shape, i + 1)
    xs = [Tensor(filled(shape, 10 + i), requires_grad=True) for i, shape in enumerate(shapes)]
    ys = leaves(model(*xs))
    loss = sum((y * cosines(y.shape)).sum() for y in ys)
    loss.backward()
    found = [loss.item(), *(weighted(x.grad) for x in xs)]
    found += [weighted(p.grad) for p in model.parameters()]
    found += [weighted(b) for b in model.buffers()]
    close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("CELU(0.5)", [-0.499832, -0.16484, 0.0, 0.5, 4.0]),
        ("ELU(0.5)", [-0.490842, -0.0906346, 0.0, 0.5, 4.0]),
        ("GELU()", [-0.000126685, -0.0841481, 0.0, 0.345731, 3.99987]),
        ("GELU('tanh')", [-7.02459e-05, -0.0841486, 0.0, 0.345714, 3.99993]),
        ("Hardshrink()", [-4.0, 0.0, 0.0, 0.0, 4.0]),
        ("Hardsigmoid()", [0.0, 0.466667, 0.5, 0.583333, 1.0]),
        ("Hardswish()", [-0.0, -0.0933333, 0.0, 0.291667, 4.0]),
        ("Hardtanh(-2, 0.3)", [-2.0, -0.2, 0.0, 0.3, 0.3]),
        ("LeakyReLU()", [-0.04, -0.002, 0.0, 0.5, 4.0]),
        ("LogSigmoid()", [-4.01815, -0.798139, -0.693147, -0.474077, -0.0181499]),
        ("LogSoftmax()", [-8.06189, -4.26189, -4.06189, -3.56189, -0.0618888]),
        ("Mish()", [-0.0725917, -0.107145, 0.0, 0.375245, 3.99741]),
        ("PReLU()", [-1.0, -0.05, 0.0, 0.5, 4.0]),
        ("RReLU(0.1, 0.3)", [-0.8, -0.04, 0.0, 0.5, 4.0]),
        ("ReLU()", [0.0, 0.0, 0.0, 0.5, 4.0]),
        ("ReLU6()", [0.0, 0.0, 0.0, 0.5, 4.0]),
        ("SELU()", [-1.7259, -0.318689, 0.0, 0.52535, 4.2028]),
        ("SiLU()", [-0.0719448, -0.0900332, 0.0, 0.31123, 3.92806]),
        ("Sigmoid()", [0.0179862, 0.450166, 0.5, 0.622459, 0.982014]),
        ("Softmax(dim=-1)", [0.000315331, 0.0140957, 0.0172165, 0.0283852, 0.939987]),
        ("Softmin(0)", [0.950452, 0.0212623, 0.0174081, 0.0105586, 0.000318841]),
        ("Softplus(2)", [0.000167703, 0.256508, 0.346574, 0.656631, 4.00017]),
        ("Softshrink()", [-3.5, -0.0, 0.0, 0.0, 3.5]),
        ("Softsign()", [-0.8, -0.166667, 0.0, 0.333333, 0.8]),
        ("Tanh()", [-0.999329, -0.197375, 0.0, 0.462117, 0.999329]),
        ("Tanhshrink()", [-3.00067, -0.00262468, 0.0, 0.0378828, 3.00067]),
        ("Threshold(0.1, 7)", [7.0, 7.0, 7.0, 0.5, 4.0]),
    ],
)
def test_activations_are_those_of_pytorch(layer, expected):
    y = made(layer).eval()(to_device(np.array([-4.0, -0.2, 0.0, 0.5, 4.0])))
    close(to_numpy(y.data), expected, rtol=1e-5, atol=1e-6)


def test_softmax2d_is_over_the_channels():
    y = nn.Softmax2d()(filled((2, 3, 4, 5), 0))
    close(to_numpy(y.sum(axis=1).data), 1)


def test_random_slopes_are_drawn_for_each_element_and_call():
    layer, x = nn.RReLU(0.2, 0.4), to_device(-np.ones((50, 40)))
    with random.stream(1):
        a, b = to_numpy(layer(x).data), to_numpy(layer(x).data)
    assert (a != b).any()
    assert len(np.unique(a)) > 1900
    assert a.min() >= -0.4
    assert a.max() <= -0.2
    assert abs(a.mean() + 0.3) < 0.005


# ------------------------------------------------------------------------------- convolutions


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: nn.Conv2d(1, 4, 3), (10, 8, 8, 1), r"looks like channels last, \(N, H, W, C\): "
         r"x.transpose\(0, 3, 1, 2\) makes it \(N, C, H, W\)"),
        (lambda: nn.Conv2d(3, 4, 3), (8, 8, 3), r"looks like channels last, \(H, W, C\): "
         r"x.transpose\(2, 0, 1\) makes it \(C, H, W\)"),
        (lambda: nn.Conv1d(2, 4, 3), (5, 8, 2), r"last, \(N, L, C\): x.transpose\(0, 2, 1\)"),
        (lambda: nn.Conv3d(2, 4, 3), (5, 8, 9, 7, 2), r"x.transpose\(0, 4, 1, 2, 3\)"),
        (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 8, 8, 3), "looks like channels last"),
        (lambda: nn.BatchNorm2d(3), (2, 8, 8, 3), "BatchNorm2d: .* looks like channels last"),
        (lambda: nn.BatchNorm1d(3), (2, 8, 3), "looks like channels last"),
        (lambda: nn.GroupNorm(1, 3), (2, 8, 8, 3), "looks like channels last"),
        (lambda: nn.InstanceNorm2d(3), (2, 8, 8, 3), "looks like channels last"),
        (lambda: nn.Conv2d(1, 4, 3), (10, 8, 8), r"without the axis of channels: x\[:, None\]"),
        (lambda: nn.Conv2d(1, 4, 3), (10, 2, 8, 8), "must have 1 channels at axis 1, got 2"),
        (lambda: nn.Conv2d(1, 4, 3), (8, 8), r"be \(N, 1, H, W\) or \(1, H, W\), got \(8, 8\)"),
        (lambda: nn.BatchNorm2d(3), (3, 8, 8), r"x must be \(N, 3, H, W\), got"),
        (lambda: nn.BatchNorm1d(3), (3, 8, 8, 2), r"x must be \(N, 3, L\), got"),
        (lambda: nn.BatchNorm2d(3), (1, 3, 1, 1), "more than 1 value per channel when training"),
        (lambda: nn.InstanceNorm2d(3), (2, 3, 1, 1), "more than 1 value per channel"),
    ],
)  # fmt: skip
def test_layout_errors_say_what_it_looks_like(layer, shape, message):
    with pytest.raises(ShapeError, match=message):
        layer()(to_device(np.zeros(shape, "float32")))


def test_the_transposition_that_an_error_names_helps():
    x = filled((2, 8, 8, 3), 0)
    assert nn.Conv2d(3, 4, 3, dtype="float64")(x.transpose(0, 3, 1, 2)).shape == (2, 4, 6, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ShapeError, "multiples of groups, got 3, 4 and 2"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ShapeError, "kernel_size must be an int"),
        (lambda: nn.Conv2d(3, 4, 0), ShapeError, "at least 1"),
        (lambda: nn.Conv2d(3, 4, 3, 2, "same"), ShapeError, "needs stride 1"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, "'same', 'valid'"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="edge"), ValueError, "padding_mode must be"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), TypeError, "must be an int"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="circular"), ValueError, "zeros"),
        (lambda: nn.GroupNorm(3, 4), ShapeError, "multiple of num_groups, got 4 and 3"),
        (lambda: nn.Dropout2d(1.5), ValueError, r"Dropout2d: p must be in \[0, 1\]"),
        (lambda: nn.Hardtanh(1, 1), ValueError, "below max_val"),
        (lambda: nn.RReLU(1, 0), ValueError, "lower must be at most upper"),
    ],
)
def test_arguments_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()(to_device(np.zeros((2, 4, 3, 3), "float32")))


def test_a_transposed_convolution_takes_the_size_of_its_result():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    x = to_device(np.ones((1, 2, 4, 5), "float32"))
    for size in ([8, 9], (7, 10), (1, 3, 8, 10)):
        assert layer(x, output_size=size).shape == (1, 3, *size[-2:])
    with pytest.raises(ShapeError, match=r"from \(7, 9\) to \(8, 10\)"):
        layer(x, output_size=(9, 9))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_transposed_convolution_is_the_adjoint_of_a_convolution(n):
    lengths = (7, 6, 5)[:n]
    conv = getattr(nn, f"Conv{n}d")(4, 6, 3, 2, 1, bias=False, dtype="float64")
    back = getattr(nn, f"ConvTranspose{n}d")(6, 4, 3, 2, 1, bias=False, dtype="float64")
    back.weight.data[...] = conv.weight.data
    x = Tensor(filled((2, 4, *lengths), 0))
    y = conv(x)
    g = Tensor(filled(y.shape, 5))
    assert (y * g).sum().item() == pytest.approx((x * back(g, output_size=lengths)).sum().item())


def test_first_weights_are_within_the_bound_of_pytorch():
    bounds = {
        "Conv2d(4, 600, 3)": 1 / 6,
        "Conv1d(4, 600, 4, groups=2)": 1 / math.sqrt(8),
        "ConvTranspose2d(600, 4, 3)": 1 / 6,
        "Bilinear(9, 20, 30)": 1 / 3,
        "GRU(3, 100)": 0.1,
        "LSTM(3, 100)": 0.1,
        "GRUCell(3, 100)": 0.1,
    }
    for layer, bound in bounds.items():
        for name, p in made(layer).named_parameters():
            p = to_numpy(p.data)
            assert np.abs(p).max() <= bound, (layer, name)
            if p.size > 400:
                assert np.abs(p).max() > 0.97 * bound
                assert abs(p.mean()) < 0.1 * bound
                assert p.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_norms_begin_with_ones_and_zeros():
    for layer in (nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.InstanceNorm1d(3, affine=True)):
        assert to_numpy(layer.weight.data).tolist() == [1, 1, 1]
        assert to_numpy(layer.bias.data).tolist() == [0, 0, 0]
    assert nn.RMSNorm(3).weight.data.tolist() == [1, 1, 1]
    assert nn.BatchNorm1d(3, bias=False).bias is None


# ------------------------------------------------------------------- running statistics, buffers


def test_batch_norm_uses_its_statistics_outside_of_training():
    x = filled((6, 3), 1)
    norm = nn.BatchNorm1d(3, eps=0.0, dtype="float64")
    norm(x)
    assert norm.num_batches_tracked.data == 1
    mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
    close(norm.running_mean.data, 0.1 * mean)
    close(norm.running_var.data, 0.9 + 0.1 * var)
    before = norm.state_dict()
    in_use = (x - norm.running_mean.data) / norm.running_var.data**0.5
    for y in (norm(x, training=False), norm.eval()(x)):
        close(y.data, in_use)
    for name, value in before.items():
        same(norm.state_dict()[name], value)
    y = norm(x, training=True)  # although it is in eval mode
    close(y.data, (x - mean) / x.std(axis=0))
    assert norm.num_batches_tracked.data == 2


def test_statistics_are_written_into_the_arrays_that_there_are():
    norm = nn.BatchNorm2d(3)
    arrays = [b.data for b in norm.buffers()]
    norm(floats(2, 3, 4, 4))
    assert all(b.data is a for b, a in zip(norm.buffers(), arrays, strict=True))
    norm.reset_running_stats()
    assert [b.data.tolist() for b in norm.buffers()] == [[0, 0, 0], [1, 1, 1], 0]
    assert all(b.data is a for b, a in zip(norm.buffers(), arrays, strict=True))


def test_without_momentum_statistics_are_plain_means():
    norm = nn.BatchNorm1d(2, momentum=None, dtype="float64")
    xs = [filled((4, 2), i) for i in range(5)]
    for x in xs:
        norm(x)
    close(norm.running_mean.data, np.mean([host(x).mean(0) for x in xs], 0))
    close(norm.running_var.data, np.mean([host(x).var(0, ddof=1) for x in xs], 0))


def test_statistics_of_each_example_are_none_of_all():
    x = floats(4, 5, 3)
    for norm in nn.BatchNorm1d(3), nn.InstanceNorm1d(5, track_running_stats=True):
        each = mg.vmap(lambda x, norm=norm: norm(x))
        with pytest.raises(StateError, match="under vmap every example would have others; use ev"):
            each(x if norm.n == (0, 1) else x[:, None])
        assert norm.running_mean.data.tolist() == [0] * norm.num_features
        norm.eval()
        assert each(x if norm.n == (0, 1) else x[:, None]).shape[-2:] == (5, 3)


def test_buffers_are_state_and_no_parameters():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    names = [name for name, _ in model.named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    buffers = ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert [name for name, _ in model.named_buffers()] == buffers
    state = model.state_dict()
    assert list(state) == [*names, *buffers]
    assert state["1.num_batches_tracked"].dtype == np.int64
    assert state["1.num_batches_tracked"].shape == ()
    assert optim.Adam(model).parameters.keys() == set(names)
    model(floats(5, 2))
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    other.load_state_dict(model.state_dict())
    for name, value in model.state_dict().items():
        same(other.state_dict()[name], value)
    x = floats(4, 2, seed=1)
    same(model.eval()(x).data, other.eval()(x).data)


def test_a_state_without_buffers_is_reported():
    norm = nn.BatchNorm1d(3)
    state = norm.state_dict()
    del state["running_var"]
    state["num_batches_tracked"] = state["num_batches_tracked"].astype("float32")
    with pytest.raises(StateError) as caught:
        norm.load_state_dict(state)
    assert "missing: running_var (3,) float32" in str(caught.value)
    assert "num_batches_tracked must be () int64, got () float32" in str(caught.value)
    norm.load_state_dict({"running_mean": state["running_mean"] + 1}, strict=False)
    assert norm.running_mean.data.tolist() == [1, 1, 1]


class Counter(nn.Module):
    def __init__(self):
        self.count = nn.Buffer([0.0, 1.0])
        self.register_buffer("scratch", np.zeros(2), persistent=False)
        self.register_buffer("absent", None)


def test_modules_may_have_buffers_of_their_own():
    counter = Counter()
    assert list(counter.state_dict()) == ["count"]
    assert [name for name, _ in counter.named_buffers()] == ["count", "scratch"]
    assert type(counter.count) is Tensor
    counter.count = to_device(np.array([5.0, 6.0], "float32"))
    assert counter.state_dict()["count"].tolist() == [5, 6]
    both = nn.ModuleList([counter, counter])
    assert list(both.state_dict()) == ["0.count"]
    state = {"0.count": both.state_dict()["0.count"] + 1}
    both.load_state_dict(state | {"1.count": state["0.count"]})  # as PyTorch writes it
    assert counter.count.data.tolist() == [6, 7]
    counter.count = None
    assert list(counter.state_dict()) == []


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)])
def test_a_batch_of_nothing_leaves_the_statistics(shape, momentum):
    norm = nn.BatchNorm1d(3, momentum=momentum)
    assert norm(to_device(np.zeros(shape, "float32"))).shape == shape
    assert [b.data.tolist() for b in norm.buffers()] == [[0, 0, 0], [1, 1, 1], 1]  # as in PyTorch


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_captured_step_moves_the_statistics_too(momentum):
    def trained(captured):
        with random.stream(1):
            norm = nn.BatchNorm1d(4, momentum=momentum)
            model = nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 2))
        optimizer = optim.SGD(model, 0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = mg.jit(step) if captured else step
        for i in range(5):
            run(floats(6, 3, seed=i))
        return model.state_dict()

    plain, captured = trained(False), trained(True)
    for name, value in plain.items():
        close(captured[name], value, atol=1e-6, err_msg=name)
    assert captured["1.num_batches_tracked"] == 5


# --------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("n", [1, 2, 3])
def test_channels_are_dropped_whole(n):
    layer = getattr(nn, f"Dropout{n}d")(0.4)
    with random.stream(3):
        y = to_numpy(layer(to_device(np.ones((50, 40, *(3,) * n)))).data).reshape(50, 40, -1)
    assert ((y == 0).all(axis=2) | (y == 1 / 0.6).all(axis=2)).all()
    assert abs((y == 0).mean() - 0.4) < 0.05
    x = floats(2, 3, *(3,) * n)
    assert layer.eval()(x).data is x
    assert layer(x, training=True).data is not x


def test_alpha_dropout_keeps_mean_and_variance():
    with random.stream(5):
        y = nn.AlphaDropout(0.3)(floats(200, 200))
    assert abs(y.mean().item()) < 0.02
    assert abs(y.var().item() - 1) < 0.02


# -------------------------------------------------------------------------------- containers


def line():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_a_sequential_is_its_modules_one_after_the_other():
    model, x = line(), floats(5, 3)
    same(model(x).data, model[2](model[1](model[0](x))).data)
    assert len(model) == 3
    assert [type(m).__name__ for m in model] == ["Linear", "ReLU", "Linear"]
    assert model[-1] is model[2]
    part = model[:2]
    assert type(part) is nn.Sequential
    assert part[0] is model[0]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert nn.Sequential()(x) is not None


def test_a_sequential_can_be_changed():
    model = line()
    assert model.append(nn.Tanh()) is model
    model.add(nn.Linear(2, 2)).extend([nn.ReLU()])
    model.insert(0, nn.Flatten())
    assert [type(m).__name__ for m in model] == [
        "Flatten", "Linear", "ReLU", "Linear", "Tanh", "Linear", "ReLU",
    ]  # fmt: skip
    assert [n for n, _ in model.named_parameters()][:2] == ["1.weight", "1.bias"]
    last = model.pop()
    assert type(last) is nn.ReLU
    del model[0]
    model[0] = nn.Linear(3, 4, bias=False)
    assert [n for n, _ in model.named_parameters()][0:2] == ["0.weight", "2.weight"]
    both = model + nn.ModuleList([nn.ReLU()])
    assert len(both) == len(model) + 1
    assert both[0] is model[0]


def test_a_sequential_may_have_names():
    model = nn.Sequential({"first": nn.Linear(3, 4), "act": nn.ReLU()})
    model.append(nn.Linear(4, 2))
    assert list(model.state_dict()) == ["first.weight", "first.bias", "2.weight", "2.bias"]
    assert model.first is model[0]
    assert list(model[:1].state_dict()) == ["first.weight", "first.bias"]


def test_the_layers_of_keras_come_as_a_list():
    assert len(nn.Sequential([nn.Linear(3, 4), nn.ReLU()])) == 2


def test_lists_and_dictionaries_of_modules():
    layers = nn.ModuleList([nn.Linear(2, 2)]).append(nn.Linear(2, 3))
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(layers[1:]) == 1
    named = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    named["c"] = nn.Linear(2, 3)
    assert list(named) == list(named.keys()) == ["a", "b", "c"]
    assert [type(m) for m in named.values()] == [nn.Linear, nn.ReLU, nn.Linear]
    assert dict(named.items())["a"] is named["a"]
    assert "b" in named
    assert "d" not in named
    assert type(named.pop("b")) is nn.ReLU
    del named["a"]
    assert list(named.state_dict()) == ["c.weight", "c.bias"]
    named.clear()
    assert len(named) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Sequential(mg.relu), TypeError, r"functions have layers, such as nn.ReLU\(\)"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "instance of the class"),
        (lambda: nn.ModuleList([3]), TypeError, "expected modules, got int"),
        (lambda: line()[3], OutOfRangeError, "there is no module 3, there are 3"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), StateError, "without a dot"),
        (lambda: nn.ModuleDict({"keys": nn.ReLU()}), StateError, "attributes of ModuleDict"),
        (lambda: nn.ModuleDict({})["x"], KeyError, "there is no module 'x'"),
        (lambda: nn.Flatten(2, 1)(np.zeros((2, 3, 4))), ShapeError, "no axes from 2 to 1"),
        (lambda: nn.Flatten()(np.zeros(3)), ShapeError, "no axes from 1 to -1"),
        (lambda: nn.Unflatten(1, (2, 4))(np.zeros((2, 6))), ShapeError, "6 elements do not fit"),
        (lambda: nn.Unflatten(3, (2, 3))(np.zeros((2, 6))), ShapeError, "no axis 3"),
        (lambda: nn.Reshape(4, -1)(np.zeros((2, 6))), ShapeError, "6 elements do not fit"),
    ],
)
def test_containers_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_shapes_can_be_changed():
    x = floats(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Flatten(-2)(x).shape == (2, 3, 20)
    assert nn.Flatten()(floats(0, 3, 4)).shape == (0, 12)
    assert nn.Unflatten(1, (3, -1))(floats(2, 6, 4)).shape == (2, 3, 2, 4)
    assert nn.Reshape(15, 4)(x).shape == nn.Reshape((-1, 4))(x).shape == (2, 15, 4)
    assert nn.Reshape(-1)(floats(0, 6)).shape == (0, 6)
    assert nn.Identity(54, unused=True)(x).data is x


def test_apply_reaches_all_modules_from_below():
    seen = []
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["ReLU", "Sequential", "Linear", "Sequential"]
    assert [type(m) for m in model.children()] == [nn.Linear, nn.Sequential]


# ------------------------------------------------------------------------------ initial values


def drawn(name, shape, *args, **options):
    with random.stream(7):
        x = nn.Parameter(np.zeros(shape, "float64"))
        assert getattr(nn.init, name)(x, *args, **options) is x
    return to_numpy(x.data)


@pytest.mark.parametrize(
    ("name", "args", "law", "spread"),
    [  # of shape (60, 40, 3, 3): fan_in is 360, fan_out 540
        ("uniform_", (-2, 3), "uniform", (-2, 3)),
        ("normal_", (1, 0.5), "normal", (1, 0.5)),
        ("xavier_uniform_", (2,), "uniform", (-2 * math.sqrt(6 / 900), 2 * math.sqrt(6 / 900))),
        ("xavier_normal_", (), "normal", (0, math.sqrt(2 / 900))),
        ("kaiming_uniform_", (), "uniform", (-math.sqrt(6 / 360), math.sqrt(6 / 360))),
        ("kaiming_uniform_", (math.sqrt(5),), "uniform", (-1 / math.sqrt(360), 1 / math.sqrt(360))),
        ("kaiming_normal_", (0, "fan_out", "relu"), "normal", (0, math.sqrt(2 / 540))),
        ("kaiming_normal_", (0, "fan_in", "tanh"), "normal", (0, 5 / 3 / math.sqrt(360))),
    ],
)
def test_initialisers_draw_from_the_laws_of_pytorch(name, args, law, spread):
    x = np.sort(drawn(name, (60, 40, 3, 3), *args).ravel())
    n = len(x)
    if law == "uniform":
        low, high = spread
        p = (x - low) / (high - low)
        assert p.min() >= 0
        assert p.max() <= 1
    else:
        mean, std = spread
        p = np.array([0.5 * (1 + math.erf((v - mean) / std / math.sqrt(2))) for v in x])
    assert np.abs(p - np.arange(1, n + 1) / n).max() < 2 / math.sqrt(n)  # Kolmogorov and Smirnov


@pytest.mark.parametrize(("mean", "std", "a", "b"), [(0, 1, -2, 2), (1, 0.3, 0.9, 2), (0, 1, 2, 6)])
def test_truncated_normal_numbers(mean, std, a, b):
    x = np.sort(drawn("trunc_normal_", (200, 100), mean, std, a, b).ravel())
    assert x[0] >= a
    assert x[-1] <= b
    low, high, *p = (0.5 * (1 + math.erf((v - mean) / std / math.sqrt(2))) for v in (a, b, *x))
    p = (np.array(p) - low) / (high - low)
    assert np.abs(p - np.arange(1, len(x) + 1) / len(x)).max() < 2 / math.sqrt(len(x))


def test_constants():
    assert drawn("constant_", (2,), 3).tolist() == [3, 3]
    assert drawn("zeros_", (2,)).tolist() == [0, 0]
    assert drawn("ones_", (2,)).tolist() == [1, 1]
    assert drawn("eye_", (2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), gain=st.floats(0.1, 3))
def test_orthogonal_matrices(rows, columns, gain):
    x = drawn("orthogonal_", (rows, columns), gain) / gain
    product = x @ x.T if rows <= columns else x.T @ x
    close(product, np.eye(min(rows, columns)), atol=1e-12)


def test_kernels_of_dirac_pass_their_input_on():
    for n, conv in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)):
        layer = conv(4, 4, 3, padding=1, bias=False, dtype="float64")
        nn.init.dirac_(layer.weight)
        x = filled((2, 4, *(5,) * n), 0)
        close(layer(x).data, x)
    assert drawn("dirac_", (4, 2, 3), 2)[:, :, 1].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


@given(sparsity=st.floats(0, 1), rows=st.integers(1, 30))
def test_sparse_columns(sparsity, rows):
    x = drawn("sparse_", (rows, 7), sparsity)
    assert (x == 0).sum(axis=0).tolist() == [math.ceil(sparsity * rows)] * 7


def test_gains():
    gain = nn.init.calculate_gain
    assert [gain(n) for n in ("linear", "conv2d", "sigmoid", "conv_transpose3d")] == [1] * 4
    assert gain("tanh") == 5 / 3
    assert gain("relu") == math.sqrt(2)
    assert gain("leaky_relu") == math.sqrt(2 / 1.0001)
    assert gain("leaky_relu", 0.2) == pytest.approx(1.3867504905630728)
    assert gain("selu") == 0.75


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: drawn("xavier_uniform_", (3,)), ShapeError, "at least 2 axes"),
        (lambda: drawn("eye_", (3,)), ShapeError, "2 axes"),
        (lambda: drawn("dirac_", (3, 3)), ShapeError, "3 axes"),
        (lambda: drawn("kaiming_normal_", (3, 3), 0, "fan_on"), ValueError, "'fan_in' or"),
        (lambda: drawn("sparse_", (3, 3), 2), ValueError, "sparsity"),
        (lambda: drawn("trunc_normal_", (3, 3), 0, 1, 2, 1), ValueError, "a < b"),
        (lambda: nn.init.calculate_gain("swish"), ValueError, "must be one of"),
        (lambda: nn.init.zeros_([1.0]), TypeError, "expected a Tensor or an array, got list"),
    ],
)
def test_initialisers_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_initialisers_follow_keys_and_keep_the_array():
    layer = nn.Linear(20, 10)
    array = layer.weight.data
    key = random.key(3)
    first = to_numpy(nn.init.xavier_uniform_(layer.weight, key=key).data).copy()
    same(nn.init.xavier_uniform_(layer.weight, key=key).data, first)
    assert layer.weight.data is array
    assert first.dtype == np.float32
    assert (host(nn.init.xavier_uniform_(layer.weight)) != first).any()
    y = layer(ops.ones((2, 20), requires_grad=True))
    nn.init.zeros_(layer.weight)
    with pytest.raises(mg.errors.GradientError, match="overwritten"):
        y.sum().backward()


# ---------------------------------------------------------------------------------- transformers


@pytest.mark.parametrize("norm_first", [True, False])
def test_blocks_take_the_batch_second_as_well(norm_first):
    options = {"norm_first": norm_first, "dropout": 0.0, "activation": mg.gelu}
    first = nn.TransformerDecoderLayer(8, 2, 16, **options)
    second = nn.TransformerDecoderLayer(8, 2, 16, **options, batch_first=False)
    second.load_state_dict(first.state_dict())
    x, memory = floats(3, 5, 8), floats(3, 6, 8, seed=1)
    swapped = second(x.swapaxes(0, 1), memory.swapaxes(0, 1))
    close(swapped.data.swapaxes(0, 1), first(x, memory).data, atol=1e-6)


MASKED = {True: 3.4219612022059187, False: -1.686056957303859}  # PyTorch's


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_masks_of_a_decoder_block(norm_first):
    block = nn.TransformerDecoderLayer(4, 2, 6, 0.0, norm_first=norm_first, dtype="float64")
    for i, p in enumerate(block.parameters()):
        p.data[...] = filled(p.shape, i)
    x, memory = Tensor(filled((2, 3, 4), 1)), Tensor(filled((2, 5, 4), 2))
    own = to_device(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], bool))
    floats = filled((3, 5), 3)
    y = block(x, memory, tgt_mask=own, memory_mask=floats, tgt_is_causal=False)
    assert weighted(y) == pytest.approx(MASKED[norm_first], rel=1e-7)
    hidden = to_device(np.triu(np.ones((3, 3), bool), 1))
    plain = block(x, memory, tgt_mask=hidden, tgt_is_causal=False)
    close(plain, block(x, memory), atol=1e-12)


def test_an_encoder_block_may_be_causal():
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, bias=False)
    assert [n for n, _ in block.named_parameters() if "bias" in n] == []
    x = floats(2, 5, 8)
    y = block(x, is_causal=True).data
    hidden = np.triu(np.ones((5, 5), bool), 1)
    close(block(x, src_mask=to_device(hidden)).data, y, atol=1e-6)
    close(block(x[:, :3], is_causal=True).data, y[:, :3], atol=1e-6)

"""Whatever else is set on a layer stays out of its call."""

import copy
import inspect
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, random
from minigrad.autodiff import Tensor
from minigrad.backend import to_device, to_numpy
from minigrad.nn import functional as F
from minigrad.trees import leaves_of


def floats(*shape):
    x = np.sin(1 + 0.7 * np.arange(math.prod(shape), dtype="float64")).reshape(shape)
    return to_device(x.astype("float32"))


def probabilities(*shape):
    return abs(floats(*shape)) * 0.9 + 0.05


def ids(*shape, n=3):
    return to_device(np.arange(math.prod(shape)).reshape(shape) % n)


def signs(*shape):
    return to_device(np.where(to_numpy(floats(*shape)) > 0, 1.0, -1.0).astype("float32"))


def packed():
    return nn.utils.rnn.pack_padded_sequence(floats(4, 3, 2), [2, 4, 1], enforce_sorted=False)


SEQUENCES, IMAGES, VOLUMES = (floats(2, 4, 6), floats(2, 4, 6, 6), floats(2, 4, 6, 6, 6))
BY_AXES = {"1d": SEQUENCES, "2d": IMAGES, "3d": VOLUMES}
PAIR = (floats(3, 4), floats(4, 3).T)
ROWS = (floats(3, 4), ids(3, n=4))

# The layers that take one array and need no arguments, or the same for each number of axes.
PLAIN = """CELU ELU GELU GLU SELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid
    LogSoftmax(dim=1) Mish PReLU RReLU ReLU ReLU6 SiLU Sigmoid Softmax(dim=1) Softmin(dim=1)
    Softplus Softshrink Softsign Tanh Tanhshrink Threshold(0.1,3) Flatten Identity Reshape(-1)
    Unflatten(1,(2,2)) Linear(6,3) LazyLinear(3) AlphaDropout Dropout FeatureAlphaDropout
    GroupNorm(2,4) LayerNorm(6) RMSNorm(6) LocalResponseNorm(3) LearnedPositions(8,6)
    RotaryPositions(6) SinusoidalPositions Upsample(scale_factor=2)"""
FOR_AXES = """Conv#(4,2,3) ConvTranspose#(4,2,3) LazyConv#(2,3) LazyConvTranspose#(2,3)
    BatchNorm#(4) InstanceNorm#(4) LazyBatchNorm# LazyInstanceNorm# Dropout# CircularPad#(1)
    ConstantPad#(1,2.0) ReflectionPad#(1) ReplicationPad#(1) ZeroPad#(1) AdaptiveAvgPool#(2)
    AdaptiveMaxPool#(2) AvgPool#(2) MaxPool#(2) LPPool#(2,2)"""
OTHERS = {
    "Softmax2d()": (IMAGES,),
    "UpsamplingBilinear2d(scale_factor=2)": (IMAGES,),
    "UpsamplingNearest2d(scale_factor=2)": (IMAGES,),
    "ChannelShuffle(2)": (IMAGES,),
    "PixelShuffle(2)": (IMAGES,),
    "PixelUnshuffle(2)": (IMAGES,),
    "Unfold(2)": (IMAGES,),
    "Fold((3,3),2)": (floats(2, 8, 4),),
    "MaxUnpool1d(2)": (SEQUENCES, ids(2, 4, 6, n=12)),
    "MaxUnpool2d(2)": (IMAGES, ids(2, 4, 6, 6, n=36)),
    "MaxUnpool3d(2)": (VOLUMES, ids(2, 4, 6, 6, 6, n=216)),
    "FractionalMaxPool2d(2,3)": (IMAGES,),
    "FractionalMaxPool3d(2,3)": (VOLUMES,),
    "Bilinear(4,4,2)": PAIR,
    "CosineSimilarity()": PAIR,
    "PairwiseDistance()": PAIR,
    "Embedding(3,4)": (ids(2, 2),),
    "EmbeddingBag(3,4)": (ids(2, 2),),
    "EntityEmbedding({'a':3},2)": (ids(2, 1),),
    "MultiheadAttention(6,2,dropout=0.5)": (SEQUENCES, SEQUENCES, SEQUENCES),
    "TransformerEncoderLayer(6,2,8)": (SEQUENCES,),
    "TransformerDecoderLayer(6,2,8)": (SEQUENCES, SEQUENCES),
    "TransformerEncoder(nn.TransformerEncoderLayer(6,2,8),2)": (SEQUENCES,),
    "TransformerDecoder(nn.TransformerDecoderLayer(6,2,8),2)": (SEQUENCES, SEQUENCES),
    "Transformer(6,2,1,1,8)": (SEQUENCES, SEQUENCES),
    "Encoder(5,4,1,0,nhead=2,dim_feedforward=4,dropout=0.0)": (ids(2, 3),),
    "Decoder(5,4,1,0,nhead=2,dim_feedforward=4,dropout=0.0)": (ids(2, 3), floats(2, 3, 4)),
    "Seq2Seq(5,4,2,4,1,1)": (ids(2, 3), ids(2, 3)),
    "Grouped({'a':nn.Linear(4,2),'b':nn.Linear(4,2)})": (["a", "b", "a"], floats(3, 4)),
    "Sequential(nn.Linear(6,3),nn.ReLU())": (SEQUENCES,),
    "RNN(2,3)": (packed(),),
    "GRU(2,3)": (packed(),),
    "LSTM(2,3,2,dropout=0.5)": (floats(4, 3, 2),),
    "RNNCell(2,3)": (floats(3, 2),),
    "GRUCell(2,3)": (floats(3, 2),),
    "LSTMCell(2,3)": (floats(3, 2),),
    # losses
    "L1Loss()": PAIR,
    "MSELoss()": PAIR,
    "SmoothL1Loss()": PAIR,
    "HuberLoss()": PAIR,
    "GaussianNLLLoss()": (*PAIR, probabilities(3, 4)),
    "PoissonNLLLoss()": (floats(3, 4), probabilities(3, 4)),
    "BCELoss()": (probabilities(3, 4), probabilities(4, 3).T),
    "BCEWithLogitsLoss()": (floats(3, 4), probabilities(3, 4)),
    "KLDivLoss(reduction='batchmean')": (floats(3, 4), probabilities(3, 4)),
    "CrossEntropyLoss()": ROWS,
    "NLLLoss()": ROWS,
    "AdaptiveLogSoftmaxWithLoss(4,5,[2])": ROWS,
    "MultiMarginLoss()": ROWS,
    "MultiLabelMarginLoss()": (floats(3, 4), ids(3, 4, n=4)),
    "MultiLabelSoftMarginLoss()": (floats(3, 4), probabilities(3, 4)),
    "SoftMarginLoss()": (floats(3, 4), signs(3, 4)),
    "HingeEmbeddingLoss()": (floats(3, 4), signs(3, 4)),
    "MarginRankingLoss()": (floats(3), floats(3) * 2, signs(3)),
    "CosineEmbeddingLoss()": (*PAIR, signs(3)),
    "TripletMarginLoss()": (*PAIR, floats(3, 4) * 2),
    "TripletMarginWithDistanceLoss()": (*PAIR, floats(3, 4) * 2),
    "CTCLoss()": (floats(6, 2, 4), ids(2, 2, n=3) + 1, [6, 5], [2, 1]),
}
# Bare containers, which have no call.
UNCALLED = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"}


def kind_of(example):
    return example.partition("(")[0]


def examples():
    """(how a layer is made, its inputs) for each class."""
    plain = [e if "(" in e else f"{e}()" for e in PLAIN.split()]
    found = dict.fromkeys(plain, (SEQUENCES,))
    for each in FOR_AXES.split():
        for axes, x in BY_AXES.items():
            e = each.replace("#", axes)
            found[e if "(" in e else f"{e}()"] = (x,)
    return found | OTHERS


WAITING = {  # for functions that are not here yet: nothing is skipped without a word
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    **{f"LPPool{n}d": f"lp_pool{n}d" for n in (1, 2, 3)},
    **{f"MaxUnpool{n}d": f"max_unpool{n}d" for n in (1, 2, 3)},
}
TRIED = {
    e: inputs for e, inputs in examples().items() if hasattr(F, WAITING.get(kind_of(e), "relu"))
}


def test_every_class_has_an_example():
    classes = {
        name for name in nn.__all__
        if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    }  # fmt: skip
    assert {kind_of(e) for e in examples()} | UNCALLED == classes
    missing = {kind_of(e) for e in examples()} - {kind_of(e) for e in TRIED}
    assert missing <= WAITING.keys()


def result(layer, inputs):
    """All arrays that the layer gives, with the same random numbers in every call."""
    with random.stream(3):
        y = copy.deepcopy(layer)(*inputs)
    return [to_numpy(t.data) for t in leaves_of(y) if type(t) is Tensor]


@pytest.mark.parametrize("example", TRIED)
def test_what_else_is_set_on_a_layer_does_not_change_its_call(example):
    inputs = TRIED[example]
    layer = eval(f"nn.{example}")
    before, text = result(layer, inputs), repr(layer)
    own = set(vars(layer)) | set(inspect.signature(type(layer)).parameters)
    # Names as people give them, and those that classes have for themselves.
    names = {"tag", "name", "note", "settings", "function", "n", "axes", "becomes", "owes"}
    names |= {
        k for c in type(layer).__mro__[:-2] for k, v in vars(c).items()
        if k[0] != "_" and not callable(v) and not isinstance(v, property | staticmethod)
    }  # fmt: skip
    for name in sorted(names - own):
        setattr(layer, name, "x")
    layer.number, layer.things, layer.array = 3, [1, "b"], np.ones(2)
    after = result(layer, inputs)
    assert len(before) == len(after) > 0
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert repr(layer) == text


def test_the_examples_of_the_report():
    x = Tensor(floats(2, 3, 4, 4))
    pool = nn.MaxPool2d(2)
    pool.tag = "x"
    np.testing.assert_array_equal(to_numpy(pool(x).data), to_numpy(F.max_pool2d(x, 2).data))
    act = nn.LeakyReLU(0.3)
    act.tag = mg.relu
    np.testing.assert_array_equal(to_numpy(act(x).data), to_numpy(F.leaky_relu(x, 0.3).data))
    pool.stride = 1  # a setting it is still
    assert pool(x).shape == (2, 3, 3, 3)

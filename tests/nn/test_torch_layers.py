"""Layers and losses beside PyTorch's of the same name and arguments: values, gradients, states.

Without PyTorch nothing here runs.
"""

import inspect
import math

import numpy as np
import pytest

from minigrad import elsewhere, nn
from minigrad.autodiff import Tensor
from minigrad.nn import functional as F
from minigrad.nn.utils import rnn

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peer


def floats(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def in_numpy(x):
    return (x if type(x) is np.ndarray else x.detach().numpy()) if hasattr(x, "shape") else x


def leaves(y):
    return [x for part in y for x in leaves(part)] if isinstance(y, tuple | list) else [y]


def agree(a, b, **options):
    np.testing.assert_allclose(in_numpy(a), in_numpy(b), rtol=1e-9, atol=1e-11, **options)


def twins(example):
    """The layer that a string describes, here and there, with the same numbers."""
    ours = ours_of(example)
    theirs = eval(f"torch.nn.{example}", {"torch": torch}).double()
    carry(ours, theirs)
    return ours, theirs


def ours_of(example):
    kind = getattr(nn, example.partition("(")[0])
    if "dtype" in inspect.signature(kind).parameters:
        example = f"{example[:-1]}{'' if example.endswith('()') else ', '}dtype='float64')"
    return eval(f"nn.{example}", {"nn": nn, "torch": torch})


def carry(ours, theirs):
    """Give both the same state, ours; the names are the same."""
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})


def compare(example, inputs, pair=None):
    """Values, and gradients of inputs and parameters for a weighted sum of what comes out."""
    ours, theirs = pair or twins(example)
    # Signs, as targets, have no gradient in PyTorch.
    tracked = [type(x) is np.ndarray and x.dtype.kind == "f" and bool((abs(x) != 1).any())
               for x in inputs]  # fmt: skip
    mine = [Tensor(x, requires_grad=t) if type(x) is np.ndarray else x
            for x, t in zip(inputs, tracked, strict=True)]  # fmt: skip
    its = [torch.tensor(x, requires_grad=t) if type(x) is np.ndarray else x
           for x, t in zip(inputs, tracked, strict=True)]  # fmt: skip
    ys, zs = leaves(ours(*mine)), leaves(theirs(*its))
    assert len(ys) == len(zs)
    loss, its_loss = 0.0, 0.0
    for y, z in zip(ys, zs, strict=True):
        assert tuple(y.shape) == tuple(z.shape)
        agree(y, z)
        if z.is_floating_point():
            w = floats(*z.shape, seed=9)
            loss, its_loss = loss + (y * w).sum(), its_loss + (z * torch.tensor(w)).sum()
    loss.backward()
    its_loss.backward()
    for a, b in zip(mine, its, strict=True):
        if type(a) is Tensor and b.requires_grad and b.grad is not None:
            agree(a.grad, b.grad)
    for (name, p), (its_name, q) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == its_name
        agree(p.grad, q.grad, err_msg=name)
    for name, value in theirs.state_dict().items():
        agree(ours.state_dict()[name], value, err_msg=name)


# ------------------------------------------------------------------------------------- losses

RNG = np.random.default_rng(1)
X, Y = floats(5, 4), floats(5, 4, seed=1)
P, Q = RNG.uniform(0.1, 0.9, (5, 4)), RNG.uniform(0.1, 0.9, (5, 4))
SIGNS = RNG.choice([-1.0, 1.0], (5, 4))
IDS = RNG.integers(0, 4, 5)
WEIGHT = "torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)"
SHIFTED = np.where(np.arange(5) == 2, -100, IDS)
LABELS = np.array([[1, 3, -1, 0], [0, -1, 2, 1], [-1, 0, 1, 2], [3, 2, 1, 0], [2, -1, -1, -1]])

LOSSES = [
    ("L1Loss({r})", (X, Y)),
    ("MSELoss({r})", (X, Y)),
    ("SmoothL1Loss({r}, beta=0.3)", (X, Y)),
    ("HuberLoss({r}, delta=0.7)", (X, Y)),
    ("GaussianNLLLoss({r})", (X, Y, Q)),
    ("GaussianNLLLoss({r}, full=True, eps=0.3)", (X, Y, Q[:, :1])),
    ("PoissonNLLLoss({r})", (X, P * 5)),
    ("PoissonNLLLoss(False, True, {r})", (P, P * 5)),
    ("BCELoss({r})", (P, Q)),
    ("BCELoss({w}, {r})", (P, Q)),
    ("BCEWithLogitsLoss({r})", (X, Q)),
    ("BCEWithLogitsLoss({w}, pos_weight={w}, {r})", (X, Q)),
    ("KLDivLoss({r})", (X, Q)),
    ("KLDivLoss({r}, log_target=True)", (X, Y)),
    ("MultiMarginLoss({r})", (X, IDS)),
    ("MultiMarginLoss(2, 0.5, {w}, {r})", (X, IDS)),
    ("MultiMarginLoss({r})", (X[0], IDS[0:1].reshape(()))),
    ("MultiLabelSoftMarginLoss({r})", (X, (Q > 0.5) * 1.0)),
    ("MultiLabelSoftMarginLoss({w}, {r})", (X, (Q > 0.5) * 1.0)),
    ("SoftMarginLoss({r})", (X, SIGNS)),
    ("HingeEmbeddingLoss(0.8, {r})", (X, SIGNS)),
    ("MarginRankingLoss(0.2, {r})", (X[:, 0], Y[:, 0], SIGNS[:, 0])),
    ("CosineEmbeddingLoss(0.1, {r})", (X, Y, SIGNS[:, 0])),
    ("TripletMarginLoss(0.9, 3.0, swap=True, {r})", (X, Y, P)),
    ("TripletMarginWithDistanceLoss({r})", (X, Y, P)),
    ("TripletMarginWithDistanceLoss(margin=2.0, swap=True, {r})", (X, Y, P)),
    ("MultiLabelMarginLoss({r})", (X, LABELS)),
]  # fmt: skip
if not hasattr(F, "multilabel_margin_loss"):
    LOSSES = [case for case in LOSSES if "LabelMargin" not in case[0]]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("example", "inputs"), LOSSES)
def test_losses(example, inputs, reduction):
    compare(example.format(r=f"reduction={reduction!r}", w=WEIGHT), inputs)


class Normalised(torch.nn.Module):
    """PyTorch's gradient of CTC is that of logits: it takes log_softmax for granted."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, x, *others):
        return self.loss(x.log_softmax(-1), *others)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("example", "T", "targets", "lengths"),
    [
        ("CTCLoss({r})", 6, [[1, 2], [3, 3]], ((6, 5), (2, 1))),
        ("CTCLoss(3, zero_infinity=True, {r})", 2, [[1, 1], [2, 0]], ((2, 2), (2, 2))),
    ],
)
def test_ctc(example, T, targets, lengths, reduction):
    ours, theirs = twins(example.format(r=f"reduction={reduction!r}"))
    ours.register_forward_pre_hook(lambda _, args: (F.log_softmax(args[0], axis=-1), *args[1:]))
    compare("", (floats(T, 2, 4), np.array(targets), *lengths), (ours, Normalised(theirs)))


@pytest.mark.parametrize("shape", [(6, 8), (8,)])
def test_classes_in_clusters(shape):
    example = "AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0, head_bias=True)"
    ours, theirs = twins(example)
    target = np.array([0, 3, 9, 5, 2, 6]) if len(shape) == 2 else np.array(6)
    x = floats(*shape)
    found, its = ours(Tensor(x), target), theirs(torch.tensor(x), torch.tensor(target))
    agree(found.output, its.output)
    agree(found.loss, its.loss)
    if len(shape) == 2:
        compare(example, (x, target), (ours, theirs))
        agree(ours.log_prob(Tensor(x)), theirs.log_prob(torch.tensor(x)))
        assert ours.predict(Tensor(x)).tolist() == theirs.predict(torch.tensor(x)).tolist()


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_the_older_way_to_name_a_reduction(size_average, reduce):
    options = f"size_average={size_average}, reduce={reduce}, reduction='sum'"
    with pytest.warns() if (size_average, reduce) != (None, None) else np.errstate():
        compare(f"MSELoss({options})", (X, Y))
        compare(f"CrossEntropyLoss({options})", (X, IDS))


# x, and the shape of target classes; of equal lengths, too, where both layouts fit
OF_CLASSES = [(5, 4), (4,), (4, 4), (3, 4, 6), (4, 4, 4), (2, 4, 3, 5), (4, 4, 4, 4)]


@pytest.mark.parametrize("shape", OF_CLASSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "example",
    [
        "CrossEntropyLoss({r})",
        "CrossEntropyLoss({w}, {r}, label_smoothing=0.2)",
        "CrossEntropyLoss({w}, ignore_index=2, {r})",
        "CrossEntropyLoss({r}, label_smoothing=0.1, ignore_index=1)",
        "NLLLoss({r})",
        "NLLLoss({w}, None, 1, {r})",
    ],
)
def test_losses_of_classes_along_axis_1(example, reduction, shape):
    example = example.format(r=f"reduction={reduction!r}", w=WEIGHT)
    axis = 1 if len(shape) > 1 else 0
    x, others = floats(*shape), shape[:axis] + shape[axis + 1 :]
    target = np.random.default_rng(5).integers(0, 4, others)
    if not others and ("ignore_index=" in example or "None, 1" in example):
        target = np.array(3)  # PyTorch gives NaN for the mean of nothing
    compare(example, (x, np.asarray(target)))
    if example.startswith("Cross") and "ignore" not in example:
        p = np.random.default_rng(6).uniform(0.1, 1, shape)
        compare(example, (x, p / p.sum(axis=axis, keepdims=True)))


# ------------------------------------------------------------------------------------ padding

LENGTHS = {1: (5,), 2: (5, 4), 3: (5, 4, 6)}


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("lead", [(2, 3), (3,)])
@pytest.mark.parametrize("kind", ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad",
                                  "CircularPad"])  # fmt: skip
def test_padding(kind, lead, n):
    x = floats(*lead, *LENGTHS[n])
    more = ", 1.5" if kind == "ConstantPad" else ""
    for padding in (2, (1, 2, 0, 3, 2, 1)[: 2 * n], (-1, 2, 0, 1, -2, 0)[: 2 * n]):
        compare(f"{kind}{n}d({padding}{more})", (x,))


# --------------------------------------------------------------------------------- other layers

LAYERS = [
    ("Unfold((2, 3), 1, 1, 2)", [(2, 3, 5, 6)]),
    ("Unfold(2)", [(3, 5, 6)]),
    ("Fold((4, 5), (2, 3), padding=1)", [(2, 12, 25)]),
    ("PixelShuffle(2)", [(2, 8, 3, 4)]),
    ("PixelUnshuffle(2)", [(2, 3, 4, 6)]),
    ("ChannelShuffle(3)", [(2, 6, 3, 4)]),
    ("ChannelShuffle(2)", [(2, 6, 3)]),
    ("UpsamplingNearest2d(scale_factor=2)", [(2, 3, 3, 4)]),
    ("UpsamplingBilinear2d(size=(5, 7))", [(2, 3, 3, 4)]),
    ("Upsample(scale_factor=1.7, mode='linear', recompute_scale_factor=True)", [(2, 3, 4)]),
    ("CosineSimilarity()", [(3, 4, 2), (3, 4, 2)]),
    ("CosineSimilarity(dim=-1, eps=0.1)", [(3, 4), (3, 4)]),
    ("PairwiseDistance(3.0, keepdim=True)", [(3, 4), (3, 4)]),
    ("PairwiseDistance()", [(4,), (4,)]),
    ("Softmax2d()", [(2, 3, 4, 5)]),
    ("LPPool1d(2, 3, 2)", [(2, 3, 8)]),
    ("LPPool2d(3.0, (2, 3), ceil_mode=True)", [(2, 3, 7, 8)]),
    ("LPPool3d(2, 2)", [(2, 3, 4, 5, 6)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("example", "shapes"), [c for c in LAYERS if hasattr(F, "lp_pool1d") or "LPPool" not in c[0]]
)
def test_layers(example, shapes):
    xs = [abs(floats(*s, seed=i)) if "LPPool" in example else floats(*s, seed=i)
          for i, s in enumerate(shapes)]  # fmt: skip
    compare(example, xs)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_way_back_of_a_pooling(n):
    if not hasattr(F, "max_unpool1d"):
        pytest.skip("waits for the functions")
    for lengths, said in (((6, 8, 4)[:n], False), ((7, 5, 9)[:n], True)):
        pool = getattr(torch.nn, f"MaxPool{n}d")(2, return_indices=True)
        _, ids = pool(torch.tensor(floats(2, 3, *lengths)))
        y, ours, theirs = floats(*ids.shape), *twins(f"MaxUnpool{n}d(2)")
        mine, its = Tensor(y, requires_grad=True), torch.tensor(y, requires_grad=True)
        more = ([*lengths],) if said else ()
        u, v = ours(mine, Tensor(ids.numpy()), *more), theirs(its, ids, *more)
        agree(u, v)
        w = floats(*v.shape, seed=2)
        (u * w).sum().backward()
        (v * torch.tensor(w)).sum().backward()
        agree(mine.grad, its.grad)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("sizes", ["output_size=(4, 5, 3)[:n]", "output_ratio=0.4"])
def test_windows_whose_distances_are_drawn(n, sizes):
    u = np.random.default_rng(n).uniform(size=(2, 3, n))
    options = eval(f"dict(kernel_size=(2, 3, 2)[:n], return_indices=True, {sizes})", {"n": n})
    name = f"FractionalMaxPool{n}d"
    ours = getattr(nn, name)(**options, _random_samples=u)
    theirs = getattr(torch.nn, name)(**options, _random_samples=torch.tensor(u))
    compare("", (floats(2, 3, *(9, 12, 7)[:n]),), (ours, theirs))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("masks", ["none", "causal", "padding"])
def test_transformers(batch_first, norm_first, masks):
    options = {"dropout": 0.0, "batch_first": batch_first, "norm_first": norm_first}
    ours = nn.Transformer(6, 2, 2, 2, 8, **options, dtype="float64")
    theirs = torch.nn.Transformer(6, 2, 2, 2, 8, **options).double()
    packed = ours.state_dict(layout="torch")
    assert set(packed) == set(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v) for k, v in packed.items()})
    src, tgt = (floats(*((3, n) if batch_first else (n, 3)), 6) for n in (5, 4))
    mine, its = {}, {}
    if masks == "causal":
        mine["tgt_mask"] = nn.Transformer.generate_square_subsequent_mask(4, "float64")
        its["tgt_mask"] = torch.nn.Transformer.generate_square_subsequent_mask(4).double()
        assert mine["tgt_mask"].tolist() == its["tgt_mask"].tolist()
        agree(ours(Tensor(src), Tensor(tgt), tgt_is_causal=True),
              ours(Tensor(src), Tensor(tgt), **mine))  # fmt: skip
    if masks == "padding":
        hidden = np.arange(5) >= np.array([[5], [3], [4]])
        names = ("src_key_padding_mask", "memory_key_padding_mask")
        mine, its = dict.fromkeys(names, hidden), dict.fromkeys(names, torch.tensor(hidden))
    agree(
        ours(Tensor(src), Tensor(tgt), **mine),
        theirs.train()(torch.tensor(src), torch.tensor(tgt), **its),
    )


@pytest.mark.parametrize(
    ("example", "shape"),
    [("Linear(3, 4)", (5, 3)), ("Conv2d(2, 4, 3)", (2, 2, 5, 6)),
     ("ConvTranspose1d(2, 4, 3)", (2, 2, 5))],
)  # fmt: skip
@pytest.mark.parametrize(
    ("norm", "dim"),
    [("weight_norm", 0), ("weight_norm", 1), ("weight_norm", None), ("spectral_norm", None),
     ("spectral_norm", 1)],
)  # fmt: skip
def test_parametrizations(norm, dim, example, shape):
    ours, theirs = twins(example)
    getattr(nn.utils.parametrizations, norm)(ours, dim=dim)
    getattr(torch.nn.utils.parametrizations, norm)(theirs, dim=dim)
    carry(ours, theirs)
    for _ in range(2):
        compare("", (floats(*shape),), (ours, theirs))
        ours.zero_grad()
        theirs.zero_grad()
    assert type(ours).__name__ == type(theirs).__name__
    nn.utils.parametrize.remove_parametrizations(ours.eval(), "weight")
    torch.nn.utils.parametrize.remove_parametrizations(theirs.eval(), "weight")
    agree(ours.weight, theirs.weight)


def test_parameters_in_lists_have_the_same_names():
    ours = nn.ParameterList([floats(2), floats(3, 1)])
    theirs = torch.nn.ParameterList([torch.zeros(2), torch.zeros(3, 1)]).double()
    carry(ours, theirs)
    pair = {"a": floats(2), "b": floats(3, 1)}
    theirs = torch.nn.ParameterDict({k: torch.tensor(v) for k, v in pair.items()}).double()
    carry(nn.ParameterDict(pair), theirs)


def test_parameters_as_one_vector():
    ours, theirs = twins("Linear(3, 2)")
    vector = nn.utils.parameters_to_vector(ours.parameters())
    agree(vector, torch.nn.utils.parameters_to_vector(theirs.parameters()))
    nn.utils.vector_to_parameters(vector * 2, ours.parameters())
    agree(nn.utils.parameters_to_vector(ours.parameters()), vector.detach() * 2)


# ---------------------------------------------------------------------------------- lazy layers

LAZY = [
    ("LazyLinear(3)", (5, 4)),
    ("LazyLinear(3, bias=False)", (2, 5, 4)),
    ("LazyConv1d(4, 3, 2, 1)", (2, 6, 7)),
    ("LazyConv2d(4, (3, 2), groups=2, padding_mode='circular', padding=1)", (2, 6, 7, 5)),
    ("LazyConv2d(4, 3, padding='same')", (6, 7, 5)),
    ("LazyConv3d(4, 2, dilation=2, bias=False)", (2, 3, 4, 5, 6)),
    ("LazyConvTranspose1d(4, 3, 2, 1, 1)", (2, 6, 7)),
    ("LazyConvTranspose2d(4, 3, 2, 1, 1, 2)", (2, 6, 7, 5)),
    ("LazyConvTranspose3d(2, 2, bias=False)", (3, 3, 4, 2)),
    ("LazyBatchNorm1d()", (5, 4)),
    ("LazyBatchNorm1d(0.1, None)", (5, 4, 3)),
    ("LazyBatchNorm2d(affine=False)", (5, 4, 3, 2)),
    ("LazyBatchNorm3d(track_running_stats=False)", (5, 4, 3, 2, 2)),
    ("LazyInstanceNorm1d()", (5, 4, 3)),
    ("LazyInstanceNorm2d(affine=False)", (5, 4, 3, 2)),
    ("LazyInstanceNorm3d(0.1, 0.3)", (5, 4, 3, 2, 2)),
]


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("example", "shape"), LAZY)
def test_lazy_layers_are_the_plain_ones_after_a_call(example, shape):
    ours = ours_of(example)
    theirs = eval(f"torch.nn.{example[:-1]}{'' if '()' in example else ', '}dtype=torch.float64)")
    x = floats(*shape)
    assert tuple(ours(Tensor(x)).shape) == tuple(theirs(torch.tensor(x)).shape)
    assert type(ours).__name__ == type(theirs).__name__
    assert type(ours).__module__ != "minigrad.nn.lazy"
    carry(ours, theirs)
    compare(example, (x,), (ours, theirs))


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(("example", "shape"), LAZY)
def test_lazy_layers_take_the_states_of_pytorch(example, shape):
    ours = ours_of(example)
    theirs = eval(f"torch.nn.{example[:-1]}{'' if '()' in example else ', '}dtype=torch.float64)")
    theirs(torch.tensor(floats(*shape)))
    ours.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    compare(example, (floats(*shape),), (ours, theirs))


# ------------------------------------------------------------------------------ packed sequences

LENGTHS_OF = [([5, 3, 3, 1], True), ([3, 1, 5, 3], False), ([4], True), ([2, 2, 2], True),
              ([1, 4], False), ([1, 2, 3, 4, 5], False)]  # fmt: skip


@pytest.mark.parametrize(("lengths", "ordered"), LENGTHS_OF)
@pytest.mark.parametrize("batch_first", [False, True])
def test_packing_and_the_way_back(lengths, ordered, batch_first):
    B = len(lengths)
    x = floats(*((B, 6) if batch_first else (6, B)), 3, 2)
    mine, its = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    theirs = torch.nn.utils.rnn
    a = rnn.pack_padded_sequence(mine, lengths, batch_first, ordered)
    b = theirs.pack_padded_sequence(its, torch.tensor(lengths), batch_first, ordered)
    same_packing(a, b)
    for options in ({}, {"padding_value": -1.5, "total_length": 7}):
        y, n = rnn.pad_packed_sequence(a, batch_first, **options)
        z, m = theirs.pad_packed_sequence(b, batch_first, **options)
        agree(y, z)
        assert n.tolist() == m.tolist()
    w = floats(*z.shape)
    (y * w).sum().backward()
    (z * torch.tensor(w)).sum().backward()
    agree(mine.grad, its.grad)
    cut = rnn.unpad_sequence(y, n, batch_first)
    for u, v in zip(cut, theirs.unpad_sequence(z, m, batch_first), strict=True):
        agree(u, v)
    for u, v in zip(rnn.unpack_sequence(a), theirs.unpack_sequence(b), strict=True):
        agree(u, v)


def same_packing(a, b):
    agree(a.data, b.data)
    assert a.batch_sizes.tolist() == b.batch_sizes.tolist()
    for mine, its in ((a[2], b[2]), (a[3], b[3])):
        assert (mine is None) == (its is None)
        assert mine is None or mine.tolist() == its.tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_are_padded_and_packed(side, batch_first):
    arrays = [floats(n, 3, seed=n) for n in (2, 5, 1, 3)]
    xs, ys = [Tensor(x) for x in arrays], [torch.tensor(x) for x in arrays]
    theirs = torch.nn.utils.rnn
    agree(
        rnn.pad_sequence(xs, batch_first, 7.0, side),
        theirs.pad_sequence(ys, batch_first, 7.0, side),
    )
    same_packing(rnn.pack_sequence(xs, False), theirs.pack_sequence(ys, False))
    longest_first = sorted(range(4), key=lambda i: -len(arrays[i]))
    same_packing(
        rnn.pack_sequence([xs[i] for i in longest_first]),
        theirs.pack_sequence([ys[i] for i in longest_first]),
    )
    whole = [torch.arange(n) for n in (2, 3)]
    padded = rnn.pad_sequence([Tensor(x.numpy()) for x in whole])
    assert padded.dtype == np.int64
    assert padded.tolist() == theirs.pad_sequence(whole).tolist()


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("lengths", "ordered"), LENGTHS_OF)
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_layers_on_packed_sequences(kind, bidirectional, layers, lengths, ordered):
    B, n = len(lengths), layers * (1 + bidirectional)
    P = 2 if kind == "LSTM" and layers == 2 else 0
    options = f"num_layers={layers}, bidirectional={bidirectional}"
    options += f", proj_size={P}" if P else ""
    states = [floats(n, B, P or 4, seed=1), floats(n, B, 4, seed=2)][: 1 + (kind == "LSTM")]
    for given in (False, True):
        ours, theirs = twins(f"{kind}(3, 4, {options})")
        x = floats(6, B, 3)
        mine = [Tensor(v, requires_grad=True) for v in (x, *states)]
        its = [torch.tensor(v, requires_grad=True) for v in (x, *states)]
        p = rnn.pack_padded_sequence(mine[0], Tensor(np.array(lengths)), enforce_sorted=ordered)
        q = torch.nn.utils.rnn.pack_padded_sequence(its[0], lengths, enforce_sorted=ordered)
        start, its_start = [
            (tuple(v[1:]) if len(v) > 2 else v[1]) if given else None for v in (mine, its)
        ]
        y, ends = ours(p, start)
        z, its_ends = theirs(q, its_start)
        same_packing(y, z)
        loss, its_loss = 0.0, 0.0
        for a, b in zip((y.data, *leaves(ends)), (z.data, *leaves(its_ends)), strict=True):
            agree(a, b)
            w = floats(*b.shape, seed=4)
            loss, its_loss = loss + (a * w).sum(), its_loss + (b * torch.tensor(w)).sum()
        loss.backward()
        its_loss.backward()
        for a, b in zip(mine, its, strict=True):
            if b.grad is not None:
                agree(a.grad, b.grad)
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            agree(a.grad, b.grad, err_msg=name)


# ---------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("here", "there", "library"),
    [
        (nn, torch.nn, "torch.nn"),
        (nn.utils, torch.nn.utils, "torch.nn.utils"),
        (rnn, torch.nn.utils.rnn, ""),
    ],
    ids=["nn", "nn.utils", "nn.utils.rnn"],
)
def test_every_name_is_here_or_it_is_said_what_to_use(here, there, library):
    told = elsewhere.SECTIONS[library] if library else {}
    names = [n for n in dir(there) if n[0] != "_"] if library else there.__all__
    assert [n for n in names if not hasattr(here, n) and n not in told] == []
    assert [n for n in told if not hasattr(there, n)] == [], "PyTorch has no such name any longer"


def test_arguments_are_those_of_pytorch():
    """In the same order, so that they may be given without their names."""
    differ = {}
    for name in nn.__all__:
        its, mine = getattr(torch.nn, name, None), getattr(nn, name)
        classes = inspect.isclass(its) and inspect.isclass(mine)
        if not classes or name in ORDERED_OTHERWISE:
            continue
        theirs, ours = (
            [p for p in inspect.signature(c).parameters.values()
             if p.name not in ("device", "dtype")]
            for c in (its, mine)
        )  # fmt: skip
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in theirs):
            continue
        order = [p.name for p in theirs if p.kind is not p.KEYWORD_ONLY]
        mine = [p.name for p in ours if p.kind is not p.KEYWORD_ONLY][: len(order)]
        defaults = {p.name: p.default for p in ours}
        other = [p.name for p in theirs if not alike(p.default, defaults.get(p.name, p.default))]
        if order != mine or other:
            differ[name] = order, mine, other
    assert differ == {}


def alike(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b)
    return a == b or (callable(a) and getattr(a, "__name__", "") == b)  # relu, 'relu'


# Layers that were here before, whose defaults or order are their own; the docstrings say so.
ORDERED_OTHERWISE = {
    "Buffer", "Embedding", "Hardtanh", "Module", "ModuleDict", "ModuleList", "MultiheadAttention",
    "ParameterDict", "ParameterList", "Softmax", "LogSoftmax", "Softmin",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip

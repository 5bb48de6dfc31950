"""The same call gives the same value as in PyTorch, or an error: all of `nn.functional`.

Arguments are given in PyTorch's order and under its names, but for `axis` and `keepdims` in place
of dim and keepdim. Where a value differs on purpose, `DIFFERENT` says why.
"""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad import elsewhere
from minigrad.nn import functional as F

pytestmark = pytest.mark.peer
torch = pytest.importorskip("torch")

RENAMED = {"axis": "dim", "keepdims": "keepdim"}
NUMBERS = np.random.default_rng(0)


def f(*shape):
    """Floats of both signs."""
    return NUMBERS.normal(size=shape)


def p(*shape):
    """Floats between 0 and 1."""
    return NUMBERS.uniform(0.05, 0.95, shape)


def i(high, *shape):
    return np.asarray(NUMBERS.integers(0, high, shape))


def signs(*shape):
    return NUMBERS.choice([-1.0, 1.0], shape)


def masks(*shape):
    return NUMBERS.random(shape) > 0.4


# ----------------------------------------------------------------------------------- the calls


class Calls(dict):
    """Lists of (arguments, options), by the names of functions."""

    def add(self, names, *arguments, **options):
        for name in names.split():
            self.setdefault(name, []).append((arguments, options))


def regression(c, **r):
    c.add("mse_loss l1_loss smooth_l1_loss huber_loss", f(3, 4), f(3, 4), **r)
    c.add("smooth_l1_loss", f(3, 4), f(3, 4), beta=0.3, **r)
    c.add("smooth_l1_loss", f(3, 4), f(3, 4), beta=0.0, **r)
    c.add("huber_loss", f(3, 4), f(3, 4), delta=0.3, **r)
    c.add("poisson_nll_loss", f(3, 4), p(3, 4) * 4, **r)
    c.add("poisson_nll_loss", p(3, 4), p(3, 4) * 4, False, True, **r)
    c.add("poisson_nll_loss", f(3, 4), p(3, 4) * 4, True, True, **r)
    c.add("poisson_nll_loss", p(3, 4), p(3, 4) * 4, log_input=False, eps=0.1, **r)
    shapes = [
        ((3, 4), (3, 4), (3, 4)), ((3, 4), (3, 4), (3, 1)), ((3, 4), (3, 4), (3,)),
        ((2, 3, 4, 5), (2, 3, 4, 5), (2, 1, 4, 5)), ((2, 3, 4), (3, 4), (2, 3, 1)),
        ((3, 1), (4,), (3, 1)), ((3, 3), (3, 3), (3,)), ((3, 4), (3, 4), (4,)),
        ((4,), (3, 4), (4,)), ((3, 4), (3, 4), (1, 4)), ((3, 4), (3, 4), (1, 1)),
        ((1, 4), (3, 4), (3, 4)), ((4,), (4,), (1,)), ((4,), (4,), ()), ((), (), ()),
    ]  # fmt: skip
    for x, target, var in shapes:
        c.add("gaussian_nll_loss", f(*x), f(*target), p(*var), **r)
    c.add("gaussian_nll_loss", f(3, 4), f(4), 0.4, **r)
    c.add("gaussian_nll_loss", f(3, 4), f(3, 4), p(3), True, 0.5, **r)


def probabilities(c, **r):
    c.add("binary_cross_entropy", p(3, 4), p(3, 4), **r)
    c.add("binary_cross_entropy", p(3, 4), p(3, 4), p(4), **r)
    c.add("binary_cross_entropy_with_logits", f(3, 4), p(3, 4), **r)
    c.add("binary_cross_entropy_with_logits", f(3, 4), p(3, 4), p(3, 1), pos_weight=p(4), **r)
    c.add("kl_div", f(3, 4), p(3, 4), **r)
    c.add("kl_div", f(3, 4), f(3, 4), log_target=True, **r)
    c.add("soft_margin_loss", f(3, 4), signs(3, 4), **r)
    c.add("hinge_embedding_loss", f(3, 4), signs(3, 4), **r)
    c.add("hinge_embedding_loss", f(3, 4), signs(3, 4), 0.3, **r)
    c.add("multilabel_soft_margin_loss", f(3, 4), i(2, 3, 4) * 1.0, **r)
    c.add("multilabel_soft_margin_loss", f(2, 3, 4), i(2, 2, 3, 4) * 1.0, p(4), **r)


def distances(c, **r):
    c.add("margin_ranking_loss", f(3), f(3), signs(3), **r)
    c.add("margin_ranking_loss", f(3, 2), f(3, 2), signs(3, 2), 0.4, **r)
    c.add("cosine_embedding_loss", f(3, 4), f(3, 4), signs(3), **r)
    c.add("cosine_embedding_loss", f(4), f(4), np.array(1.0), 0.2, **r)
    c.add("triplet_margin_loss", f(3, 4), f(3, 4), f(3, 4), **r)
    c.add("triplet_margin_loss", f(3, 4), f(3, 4), f(3, 4), 0.5, 1.0, 1e-3, True, **r)
    c.add("triplet_margin_loss", f(4), f(4), f(4), **r)
    c.add("triplet_margin_with_distance_loss", f(3, 4), f(3, 4), f(3, 4), **r)
    c.add(
        "triplet_margin_with_distance_loss", f(3, 4), f(3, 4), f(3, 4), margin=0.3, swap=True, **r
    )


def classes(c, **r):
    for shape in ((3, 4), (4,), (3, 4, 5), (4, 4, 4), (2, 3, 4, 5), (2, 2, 2, 2)):
        n = shape[min(1, len(shape) - 1)]
        ids = i(n, *shape[:1], *shape[2:]) if len(shape) > 1 else i(n)
        for weight in ((), (p(n),)):
            c.add("cross_entropy nll_loss", f(*shape), ids, *weight, **r)
            c.add("cross_entropy nll_loss", f(*shape), ids, *weight, ignore_index=1, **r)
            c.add("cross_entropy", f(*shape), ids, *weight, label_smoothing=0.2, **r)
            c.add("cross_entropy", f(*shape), p(*shape), *weight, **r)
            c.add("cross_entropy", f(*shape), p(*shape), *weight, label_smoothing=0.2, **r)
    c.add("cross_entropy", f(3, 4, 5), i(4, 3, 4), **r)
    c.add("cross_entropy nll_loss", f(2, 3), np.array([-100, -100]), **r)
    c.add("cross_entropy nll_loss", f(2, 3), np.array([0, 1]), np.array([0.0, 0, 1]), **r)
    c.add("multi_margin_loss", f(3, 4), i(4, 3), **r)
    c.add("multi_margin_loss", f(3, 4), i(4, 3), 2, 0.5, p(4), **r)
    for x, target in ((f(4), i(4, 1)), (f(4), i(4)), (f(), i(1)), (f(), i(1, 1))):
        c.add("multi_margin_loss", x, target, **r)
        c.add("multi_margin_loss", x, target, 2, 0.5, p(x.size), **r)
    rows = np.array([[1, 2, -1, 0], [-1, 0, 0, 0], [3, 2, 1, 0]])
    c.add("multilabel_margin_loss", f(3, 4), rows, **r)
    for row in rows:
        c.add("multilabel_margin_loss", f(4), row, **r)
    c.add("multilabel_margin_loss", f(), np.array(0), **r)
    c.add("multilabel_margin_loss", f(), np.array(-1), **r)


def sequences(c, **r):
    x = np.log(p(6, 2, 4))
    c.add("ctc_loss", x, i(3, 2, 3) + 1, np.array([6, 5]), np.array([3, 2]), **r)
    c.add("ctc_loss", x, i(3, 2, 3), np.array([6, 5]), np.array([3, 2]), 3, **r)
    c.add("ctc_loss", x, i(3, 5) + 1, (6, 5), (3, 2), **r)
    c.add("ctc_loss", x[:, 0], i(3, 3) + 1, (6,), (3,), **r)
    c.add("ctc_loss", x, i(3, 2, 3) + 1, (6, 5), (0, 2), **r)
    for zero in (False, True):
        repeated = np.array([[1, 1, 1], [1, 2, 3]])
        c.add("ctc_loss", x[:3], repeated, (3, 3), (3, 3), zero_infinity=zero, **r)


def positions(c):
    """Where PyTorch has other arguments: it is an error here, or the same."""
    x, y = f(3, 4), p(3, 4)
    for flag in (False, "sum"):
        c.add("mse_loss l1_loss smooth_l1_loss huber_loss kl_div soft_margin_loss", x, y, flag)
        c.add("binary_cross_entropy multilabel_soft_margin_loss", y, p(3, 4), None, flag)
        c.add("cross_entropy nll_loss", x, i(4, 3), None, flag)
        c.add("margin_ranking_loss", f(3), f(3), signs(3), 0.0, flag)
        c.add("poisson_nll_loss", x, y, True, False, flag)
        c.add("triplet_margin_loss", x, y, f(3, 4), 1.0, 2.0, 1e-6, False, flag)
    c.add("huber_loss", x, y, "sum", 0.5)
    c.add("kl_div", x, y, reduction="batchmean")
    c.add("mse_loss", x, y, reduction="batchmean")
    c.add("mse_loss", x, f(2, 3, 4))
    c.add("mse_loss l1_loss", x, y, weight=p(3, 4))


SMOOTH = "elu selu celu gelu silu mish softsign tanhshrink hardsigmoid logsigmoid softplus"
STRAIGHT = "relu relu6 hardswish hardtanh hardshrink softshrink leaky_relu sigmoid tanh"


def activations(c):
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 30, -30, 3, -3, 0.5, -0.5, 1, -1, 6])
    for names in (SMOOTH, STRAIGHT):
        c.add(names, f(3, 4) * 3)
        c.add(names, odd)
        c.add(names, i(9, 4) - 4)
        c.add(names, f(4), True)
        c.add(names, f(4), inplace=True)
    c.add("elu celu leaky_relu", f(9) * 3, 0.5)
    c.add("elu celu leaky_relu", f(9) * 3, -0.5)
    c.add("gelu", f(9), approximate="tanh")
    c.add("hardtanh", f(9) * 3, -0.5, 2.0)
    c.add("hardshrink softshrink", f(9), 0.2)
    c.add("softplus", f(9) * 20, 2, 5)
    c.add("softplus", f(9), beta=0.5)
    c.add("threshold", f(9), 0.1, 20.0)
    c.add("threshold", odd, 0.1, 20.0)
    for x, weight in ((f(3, 4), p(1)), (f(3, 4), p(4)), (f(3, 4, 4), p(4)), (f(4), p(4))):
        c.add("prelu", x, weight)
    c.add("rrelu", f(9))
    c.add("rrelu", f(9), 0.1, 0.5)
    c.add("glu", f(4, 6))
    c.add("glu", f(4, 6), 0)
    c.add("glu", f(4, 6), axis=0)
    names = "softmax log_softmax softmin"
    for shape in ((), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 2, 2, 2, 2), (3, 3, 3)):
        c.add(names, f(*shape))
        for axis in range(-len(shape), len(shape)):
            c.add(names, f(*shape), axis)
            c.add(names, f(*shape), axis=axis)
    c.add(names, f(3, 4).astype("f4"), -1, dtype="float64")
    c.add(names, i(5, 3, 4), 0, dtype="float64")
    c.add(names, i(5, 3, 4), 0)
    c.add(names, f(3, 4), 1, 3)
    c.add(names, np.array([[-np.inf, -np.inf], [0, 1.0]]), 1)


def norms(c):
    c.add("normalize", f(3, 4))
    c.add("normalize", f(2, 3, 4))
    c.add("normalize", f(3, 4), 1.0)
    c.add("normalize", f(3, 4) * 1e-3, 2.0, 0, 0.1)
    c.add("normalize", f(2, 3, 4), 3.0, (0, 2))
    c.add("normalize", f(2, 3), float("inf"))
    c.add("normalize", f(4))
    for a, b in (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 4), (2, 3, 4)), ((4,), (4,))):
        c.add("cosine_similarity pairwise_distance", f(*a), f(*b))
        c.add("cosine_similarity", f(*a), f(*b), 0)
        c.add("cosine_similarity", f(*a) * 0.1, f(*b) * 0.1, -1, 0.5)
        c.add("pairwise_distance", f(*a), f(*b), 1.0, 0.1, True)
    c.add("cosine_similarity", np.zeros((2, 3)), f(2, 3))
    c.add("pairwise_distance", f(3, 4), f(3, 4), float("inf"))
    c.add("layer_norm", f(3, 4), (4,))
    c.add("layer_norm", f(3, 4), [3, 4], p(3, 4), p(3, 4), 0.1)
    c.add("layer_norm", f(3, 4), (4,), None, p(4))
    c.add("rms_norm", f(3, 4) * 1e-8, (4,))
    c.add("rms_norm", f(3, 4), (3, 4), p(3, 4), 0.1)
    c.add("rms_norm", (f(3, 4) * 1e-3).astype("f4"), (4,))
    for shape in ((3, 4), (3, 4, 5), (3, 4, 2, 2)):
        c.add("group_norm", f(*shape), 2, p(4), p(4), 0.1)
        c.add("group_norm", f(*shape), 4)
        for training in (False, True):
            c.add("batch_norm", f(*shape), f(4), p(4), p(4), p(4), training, 0.1, 0.2)
            c.add("batch_norm", f(*shape), None, None, training=training)
            c.add("instance_norm", f(*shape), f(4), p(4), p(4), p(4), training, 0.1, 0.2)
    c.add("instance_norm", f(3, 4, 5))
    c.add("instance_norm", f(3, 4, 5, 2), use_input_stats=True, momentum=0.3, eps=0.1)
    for shape, size in itertools.product(((2, 5, 3), (2, 5, 3, 4), (2, 5, 3, 4, 2)), (2, 3, 5)):
        c.add("local_response_norm", f(*shape), size, 0.1, 0.5, 2.0)


def lookups(c):
    ids, weight = i(5, 2, 3), f(5, 4)
    c.add("embedding", ids, weight)
    c.add("embedding", ids, weight, 1)
    c.add("embedding", ids, weight, None, 0.5, 1.0)
    c.add("embedding", ids - 5, weight)
    c.add("embedding_bag", ids, weight)
    for mode in ("sum", "mean", "max"):
        c.add("embedding_bag", ids, weight, mode=mode)
        c.add("embedding_bag", i(5, 7), weight, np.array([0, 2, 2]), mode=mode)
        c.add("embedding_bag", i(5, 7), weight, np.array([0, 2, 7]), mode=mode,
              include_last_offset=True)  # fmt: skip
        c.add("embedding_bag", ids, weight, mode=mode, padding_idx=1)
        c.add("embedding_bag", ids, weight, None, 0.5, 2.0, mode=mode)
    c.add("embedding_bag", i(5, 7), weight, np.array([0, 2]), None, 2.0, False, "sum", False, p(7))
    for n in ((), (-1,), (6,), (2,)):
        c.add("one_hot", i(5, 3), *n)
        c.add("one_hot", i(5, 3) - 1, *n)
        c.add("one_hot", np.zeros(0, int), *n)
    c.add("linear", f(3, 4), f(5, 4), f(5))
    c.add("linear", f(3, 4), f(4), np.array(0.3))
    c.add("bilinear", f(3, 4), f(3, 5), f(2, 4, 5), f(2))


def images(c):
    modes = [("constant", 0.0), ("constant", 2.0)]
    modes += [(mode, None) for mode in ("reflect", "replicate", "circular")]
    for mode, value in modes:
        c.add("pad", f(3, 4), (1, 2), mode, value)
        c.add("pad", f(2, 3, 4), (1, 2), mode, value)
        c.add("pad", f(2, 3, 4, 5), (1, 2, 2, 1), mode, value)
        c.add("pad", f(2, 3, 4, 5, 4), (1, 2, 2, 1, 1, 1), mode, value)
    c.add("pad", f(2, 3), (1, 1), "reflect", 1.0)
    c.add("unfold", f(2, 3, 5, 6), (2, 3), 2, 1, 2)
    c.add("unfold", f(3, 5, 6), 3, 1, (1, 2), stride=(2, 1))
    c.add("fold", f(2, 12, 20), (5, 6), (2, 2), 1, 0, 1)
    c.add("pixel_shuffle", f(2, 8, 3, 3), 2)
    c.add("pixel_unshuffle", f(2, 2, 4, 6), 2)
    c.add("channel_shuffle", f(2, 6, 3, 3), 3)
    c.add("pdist", f(4, 3))
    c.add("pdist", f(4, 3), 1.0)
    c.add("conv1d", f(2, 4, 9), f(6, 2, 3), f(6), 2, 1, 2, 2)
    c.add("conv1d", f(2, 4, 9), f(6, 4, 3), None, 1, "same", 2)
    c.add("conv2d", f(2, 4, 9, 8), f(6, 2, 3, 2), f(6), (2, 1), (1, 2), 2, 2)
    c.add("conv2d", f(2, 4, 9, 8), f(6, 4, 2, 2), padding="same")
    c.add("conv3d", f(1, 2, 5, 5, 5), f(3, 2, 2, 2, 2), None, 1, 1)
    c.add("conv_transpose1d", f(2, 4, 9), f(4, 3, 3), f(6), 2, 1, 1, 2, 2)
    c.add("conv_transpose2d", f(2, 4, 5, 6), f(4, 3, 3, 2), f(3), 2, 1, 1)
    c.add("conv_transpose3d", f(1, 2, 3, 3, 3), f(2, 2, 2, 2, 2), None, 2)
    for axes, names in (((1, 2), "alpha_dropout dropout dropout1d"), ((1, 2, 2), "dropout2d")):
        c.add(names, f(2, *axes), 0.0, True)
        c.add(names, f(2, *axes), 1.0, True)
        c.add(names, f(2, *axes), 0.5, False)


LENGTHS = {1: (9,), 2: (8, 9), 3: (6, 5, 7)}


def pools(c):
    for d, lead in itertools.product((1, 2, 3), ((2, 3), (3,))):
        shape = (*lead, *LENGTHS[d])
        x = f(*shape)
        for ceil in (False, True):
            c.add(f"max_pool{d}d", x, 3, 2, 1, 1, ceil)
            c.add(f"max_pool{d}d", x, 3, 1, 1, 2, ceil)
            c.add(f"max_pool{d}d", x, 3, 2, 1, 1, ceil, True)
            for counted in (False, True):
                c.add(f"avg_pool{d}d", x, 3, 2, 1, ceil, counted)
                c.add(f"avg_pool{d}d", x, 2, 3, ceil_mode=ceil, count_include_pad=counted)
            for norm in (1.0, 2.0, 3, 4.0):
                c.add(f"lp_pool{d}d", p(*shape), norm, 2, ceil_mode=ceil)
                c.add(f"lp_pool{d}d", x, norm, 3, 2, ceil)
        if d > 1:
            c.add(f"avg_pool{d}d", x, 3, 2, 1, False, True, 5)
        c.add(f"max_pool{d}d", np.full(shape, -np.inf), 3, 2, 1)
        c.add(f"max_pool{d}d avg_pool{d}d", i(9, *shape), 2)
        for size in (1, 3, 5):
            c.add(f"adaptive_avg_pool{d}d adaptive_max_pool{d}d", x, size)
            c.add(f"adaptive_max_pool{d}d", x, size, True)
        for pooling in ((2,), (3, 2, 1)):
            values, ids = getattr(torch.nn.functional, f"max_pool{d}d")(
                torch.from_numpy(x), *pooling, return_indices=True
            )
            found = values.numpy(), ids.numpy()
            c.add(f"max_unpool{d}d", *found, *pooling)
            c.add(f"max_unpool{d}d", *found, *pooling, output_size=LENGTHS[d])
            c.add(f"max_unpool{d}d", *found, *pooling, output_size=shape)
            c.add(f"max_unpool{d}d", *found, *pooling, output_size=(30,) * d)


def sizes(c):
    shapes = [(2, 3, 5), (2, 3, 5, 6), (2, 3, 3, 4, 5)]
    sizes = [
        {"size": 4}, {"size": 11}, {"size": 1}, {"scale_factor": 2}, {"scale_factor": 0.6},
        {"scale_factor": 1.7}, {"scale_factor": 1.7, "recompute_scale_factor": True},
    ]  # fmt: skip
    modes = ("linear", "bilinear", "trilinear", "bicubic", "nearest", "nearest-exact", "area")
    for shape, size, mode in itertools.product(shapes, sizes, modes):
        x = f(*shape)
        for corners in (None, True, False):
            c.add("interpolate", x, mode=mode, align_corners=corners, **size)
            if len(shape) == 4:
                options = {"align_corners": corners, "antialias": True}
                c.add("interpolate", x, mode=mode, **options, **size)
    for mode, size in itertools.product(("bilinear", "bicubic"), ((3, 9), (3, 90), (50, 4))):
        c.add("interpolate", f(1, 1, 40, 50), size, None, mode, False, None, True)
    bytes_ = i(255, 1, 1, 5, 6).astype("u1")
    for mode in ("nearest", "bilinear", "bicubic"):
        c.add("interpolate", bytes_, (10, 3), mode=mode)


def attention(c):
    name = "scaled_dot_product_attention"
    q, k, v = f(2, 4, 4, 5), f(2, 2, 6, 5), f(2, 2, 6, 7)
    for options in ({}, {"is_causal": True}, {"scale": 0.3}):
        c.add(name, f(2, 4, 5), f(2, 6, 5), f(2, 6, 7), **options)
        for gqa in (True, False):
            c.add(name, q, k, v, enable_gqa=gqa, **options)
            c.add(name, q, k, v[:, :1], enable_gqa=gqa, **options)
            c.add(name, q[:, :3], k, v, enable_gqa=gqa, **options)
            c.add(name, q[0, 0], k[0, 0], v[0, 0], enable_gqa=gqa, **options)
    for mask in (masks(4, 6), masks(2, 1, 4, 6), f(4, 6), np.zeros((4, 6), bool), i(2, 4, 6)):
        c.add(name, q, f(2, 4, 6, 5), f(2, 4, 6, 5), mask)
        c.add(name, q, f(2, 4, 6, 5), f(2, 4, 6, 5), mask, is_causal=True)
        c.add(name, q, k, v, mask, enable_gqa=True)


CALLS = Calls()
for _make in (regression, probabilities, distances, classes, sequences):
    for _reduction in ({}, {"reduction": "mean"}, {"reduction": "sum"}, {"reduction": "none"}):
        _make(CALLS, **_reduction)
for _make in (positions, activations, norms, lookups, images, pools, sizes, attention):
    _make(CALLS)

# Not in the table: they draw numbers, or only their results in eval mode can be compared.
DRAWN = {"gumbel_softmax", "dropout3d"}


# ------------------------------------------------------------------------------- the comparison

DIFFERENT = {
    "softmax": (lambda x, *_: np.isinf(x).any(), "a row that is all masked is 0, there NaN"),
    "avg_pool1d": (lambda x, *_: x.dtype.kind == "i", "a mean of integers is no integer"),
}
DIFFERENT |= dict.fromkeys(["log_softmax", "softmin"], DIFFERENT["softmax"])
DIFFERENT |= dict.fromkeys(["avg_pool2d", "avg_pool3d"], DIFFERENT["avg_pool1d"])


def theirs(x):
    if isinstance(x, np.ndarray):
        return torch.from_numpy(np.array(x))
    return getattr(torch, x) if x == "float64" else x


def ours(x):
    return mg.tensor(x) if isinstance(x, np.ndarray) else x


def outcome(function, convert, arguments, options):
    """A list of arrays; or the error."""
    try:
        found = function(*map(convert, arguments), **{k: convert(v) for k, v in options.items()})
    except Exception as error:
        return error
    found = found if isinstance(found, tuple) else (found,)
    return [y.detach().numpy() if hasattr(y, "detach") else np.asarray(y) for y in found]


def compare(mine, other, what):
    assert len(mine) == len(other), what
    for y, z in zip(mine, other, strict=True):
        assert y.shape == z.shape, what
        assert y.dtype == z.dtype, what
        rtol, atol = (1e-9, 1e-11) if z.dtype == np.float64 else (1e-5, 1e-6)
        np.testing.assert_allclose(y, z, rtol, atol, err_msg=what)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_the_same_call_gives_the_same_or_an_error(name):
    same = 0
    for arguments, options in CALLS[name]:
        shown = [f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else x for x in arguments]
        renamed = {RENAMED.get(k, k): v for k, v in options.items()}
        other = outcome(getattr(torch.nn.functional, name), theirs, arguments, renamed)
        mine = outcome(getattr(F, name), ours, arguments, options)
        if isinstance(other, Exception) or isinstance(mine, Exception):
            continue
        if name in DIFFERENT and DIFFERENT[name][0](*arguments):
            continue
        compare(mine, other, f"{name}: {shown}, {options}")
        same += 1
    assert same >= len(CALLS[name]) / 4, "nearly all are refused"


def test_all_functions_that_torch_has_too_are_compared():
    names = {n for n in F.__all__ if hasattr(torch.nn.functional, n)}
    assert names - DRAWN == set(CALLS) - DRAWN


def test_what_is_written_is_written_alike():
    x, m, v = f(3, 4, 5), f(4), p(4)
    for name, flag in (("batch_norm", {"training": True}), ("instance_norm", {})):
        mine, other = [mg.tensor(m), mg.tensor(v)], [torch.tensor(m), torch.tensor(v)]
        getattr(F, name)(mg.tensor(x), *mine, momentum=0.3, **flag)
        getattr(torch.nn.functional, name)(torch.tensor(x), *other, momentum=0.3, **flag)
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy())


def test_names_that_torch_has_elsewhere_are_no_functions_of_ours():
    assert not set(elsewhere.TORCH_FUNCTIONAL) & set(F.__all__)


# ------------------------------------------------------------------------- methods of Tensor

ARRAYS = {
    "vector": f(6), "matrix": f(4, 6), "square": f(4, 4), "three": f(2, 4, 6), "ones": f(1, 4, 1),
    "booleans": masks(3, 4),
}  # fmt: skip
POSITIONAL = [
    (), (0,), (1,), (-1,), (2,), (0, 1), (1, 0), (0, True), (1, True), (True,), (2, 1), (2, 3),
    (1, 2, 0), ((1, 0),), ((0, 1),), (0.3,), (2.0,), (3, 1), (-1, 2), (0, 1, 2), ([1, 2],),
    (0.3, 1), ("fro",), (4, 6), (24,), (np.array([0, 2]),), (0, np.array([0, 2])), (1.0, 0),
    (0, np.array([0, 2]), 1.5), ((np.array([0, 2]),), np.array(1.5)),
]  # fmt: skip
BY_NAME = [{}, {"axis": 0}, {"axis": 1}, {"axis": -1}, {"axis": 0, "keepdims": True}]
STATEFUL = {"backward", "copy_", "register_hook", "requires_grad_", "retain_grad"}
METHODS = sorted(
    name for name in dir(torch.Tensor)
    if not name.startswith("_") and callable(getattr(mg.Tensor, name, None))
    and name not in STATEFUL
)  # fmt: skip


def plain(y):
    """Lists of arrays, numbers, ..., whoever made them."""
    if isinstance(y, tuple | list):
        return [plain(v) for v in y]
    return y.detach().numpy() if hasattr(y, "detach") else y


def alike(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and np.allclose(a, b, equal_nan=True)
    if isinstance(a, list) or isinstance(b, list) or np.shape(a) != np.shape(b):
        return False
    return bool(np.all(a == b))


NO_METHODS = {"equal", "gradient", "histogram", "meshgrid", "nanmedian"}


@pytest.mark.filterwarnings("ignore")
def test_methods_that_torch_has_too_are_the_same_or_are_named():
    unlike, seen = set(), 0
    for name, x in itertools.product(METHODS, ARRAYS.values()):
        for positional, options in itertools.product(POSITIONAL, BY_NAME):
            named = {RENAMED[k]: v for k, v in options.items()}
            try:
                other = getattr(torch.tensor(x), name)(*map(theirs, positional), **named)
                mine = getattr(mg.tensor(x), name)(*map(ours, positional), **options)
            except Exception:  # an error is what one may meet
                continue
            seen += 1
            if not alike(plain(mine), plain(other)):
                unlike.add(name)
    assert unlike == set(elsewhere.UNLIKE_TORCH) - NO_METHODS
    assert seen > 2000


# What nn.functional has is compared above: at the top level PyTorch has its inner versions, whose
# reductions are numbers. What gives new arrays, or draws, cannot be compared.
FUNCTIONS = sorted(
    name for name in set(mg.ops.__all__) - set(F.__all__)
    if callable(getattr(torch, name, None)) and not name.startswith(("rand", "empty"))
    and name not in ("dropout", "unique")  # random; another order
    and name not in ("combinations", "searchsorted")  # of none; of what is not sorted
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_functions_that_torch_has_too_are_the_same_or_are_named():
    unlike, seen = set(), 0
    second = [
        (),
        (f(4, 4),),
        (f(4),),
        (i(4, 4, 4),),
        (0, i(4, 3)),
        (f(4, 4), f(4, 4)),
        (f(4, 4), 1),
    ]
    third = [(0,), (1,), (0, 1), (2.0,), (1, 0.5), (0, True), ((1, 0),)]
    first = [ARRAYS["square"], ARRAYS["square"][0]]
    for name, x, others, options in itertools.product(FUNCTIONS, first, second + third, BY_NAME):
        named = {RENAMED[k]: v for k, v in options.items()}
        try:
            other = getattr(torch, name)(theirs(x), *map(theirs, others), **named)
            mine = getattr(mg, name)(ours(x), *map(ours, others), **options)
        except Exception:
            continue
        seen += 1
        if not alike(plain(mine), plain(other)):
            unlike.add(name)
    assert unlike <= set(elsewhere.UNLIKE_TORCH)
    assert unlike >= NO_METHODS
    assert seen > 300


def test_the_order_of_a_norm_is_given_by_name():
    with pytest.raises(TypeError):
        mg.linalg.matrix_norm(mg.ones((2, 2)), 1)


# --------------------------------------------------------- functions of torch's main namespace


def check(mine, other, *arrays):
    """Values, and the gradients of all floats, with those of PyTorch."""
    xs = [mg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    found, expected = mine(*xs), other(*ts)
    many = isinstance(found, tuple)
    found, expected = (found, tuple(expected)) if many else ((found,), (expected,))
    for y, z in zip(found, expected, strict=True):
        compare([y.detach().numpy()], [z.detach().numpy()], str([a.shape for a in arrays]))
    y, z = found[0], expected[0]
    if y.dtype.kind == "f" and y.requires_grad:
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        (z * torch.from_numpy(weights)).sum().backward()
        gs = mg.gradients(y, [x for x in xs if x.requires_grad], weights)
        for g, t in zip(gs, [t for t in ts if t.requires_grad], strict=True):
            expected = 0 if t.grad is None else t.grad.numpy()
            np.testing.assert_allclose(0 if g is None else g.numpy(), expected, 1e-8, 1e-10)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1,), (3, 17)])
def test_running_functions(shape):
    for axis in range(-len(shape), len(shape)):
        for x in (f(*shape), i(3, *shape) * 1.0, i(3, *shape)):
            for name in ("cummax", "cummin"):
                ours, other = getattr(mg, name), getattr(torch, name)
                check(lambda x, g=ours, a=axis: g(x, a), lambda x, g=other, a=axis: g(x, a), x)
        x = f(*shape) * 100
        check(lambda x, a=axis: mg.logcumsumexp(x, a), lambda x, a=axis: x.logcumsumexp(a), x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("self", [True, False])
def test_scatters_that_reduce(reduce, self):
    for shape, axis in (((5,), 0), ((4, 3), 0), ((4, 3), -1), ((2, 4, 3), 1)):
        own = list(shape)
        own[axis] = 7
        ids, one = i(shape[axis], *own), i(shape[axis], 7)
        for x, v in ((f(*shape), f(*own)), (i(9, *shape) - 4, i(9, *own) - 4)):
            check(
                lambda x, v, a=axis, k=ids: mg.scatter_reduce(x, k, v, a, reduce, self),
                lambda x, v, a=axis, k=ids: x.scatter_reduce(
                    a, torch.tensor(k), v, reduce, include_self=self
                ),
                x, v,
            )  # fmt: skip
            if reduce != "sum":
                check(
                    lambda x, v, a=axis, k=one: mg.index_reduce(x, k, v, a, reduce, self),
                    lambda x, v, a=axis, k=one: x.index_reduce(
                        a, torch.tensor(k), v, reduce, include_self=self
                    ),
                    x, v,
                )  # fmt: skip


def test_what_is_put_at_indices():
    x, ids, value = f(4, 5, 3), i(4, 6), np.array(0.3)
    check(
        lambda x, v: mg.index_fill(x, ids, v, 0),
        lambda x, v: x.index_fill(0, torch.tensor(ids), v), x, value,
    )  # fmt: skip
    rows, columns = np.array([2, 0, 3]), np.array([1, 1, 4])
    for index in ((rows,), (rows, columns), (ids,), (x[:, 0, 0] > 0,), (x > 0,)):
        v, theirs_ = f(*x[index].shape), tuple(map(torch.tensor, index))
        for accumulate in (False, True) if index[0] is not ids else (True,):
            check(
                lambda x, v, k=index, a=accumulate: mg.index_put(x, k, v, a),
                lambda x, v, k=theirs_, a=accumulate: x.index_put(k, v, a), x, v,
            )  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (0,)])
def test_embedded_diagonals(shape):
    axes = range(-len(shape) - 1, len(shape) + 1)
    for offset, a, b in itertools.product((-2, 0, 1), axes, axes):
        if (a - b) % (len(shape) + 1):
            at = (offset, a, b)
            check(lambda x, o=at: mg.diag_embed(x, *o), lambda x, o=at: x.diag_embed(*o), f(*shape))


def test_triangular_equations():
    flags = (True, False)
    for upper, left, unit in itertools.product(flags, flags, flags):
        options = {"upper": upper, "left": left, "unitriangular": unit}
        for a, b in (((), ()), ((2, 1), (3,)), ((), (2,))):
            right = f(*b, 3, 2) if left else f(*b, 2, 3)
            check(
                lambda a, b, o=options: mg.linalg.solve_triangular(a, b, **o),
                lambda a, b, o=options: torch.linalg.solve_triangular(a, b, **o),
                f(*a, 3, 3) + 3 * np.eye(3), right,
            )  # fmt: skip

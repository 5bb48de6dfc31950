"""Far from zero and at any scale: values and gradients against extended precision.

Every line of the table is a function whose result hangs on the order of its operations, and its
definition, written down for numbers of any precision. The mechanism computes it in float32 and
float64, op by op and as a program (`jit`), at offsets up to 1e7 and scales from 1e-30 to 1e30. The
definition gets the same numbers in long doubles, so that what rounding took from them on their way
in is no excuse: an error is measured against the largest number of the result. Gradients of the
definition come from complex steps: f(x + ih) = f(x) + ih f'(x), where nothing cancels.

`kernels/test_kernels_and_formulas.py` runs this file without kernels, too.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import special

import minigrad as mg
import minigrad.nn.functional as F
from minigrad.kernels import updates
from minigrad.ops.norms import _batch_norm_train
from minigrad.optim.adam import adam_step

LONG = np.longdouble
ROWS, N = 5, 37  # two vectors of 16 and some more
W, B = (np.random.default_rng(seed).uniform(0.5, 2, N) for seed in (1, 2))
IDS = np.random.default_rng(3).integers(0, N, ROWS)
TARGET = np.random.default_rng(4).uniform(0, 1, (ROWS, N))


class Case(NamedTuple):
    """One function.

    Attributes:
        function: of a Tensor, and of a dtype for constants.
        definition: the same of long doubles, or complex ones.
        offsets, scales: where it is tried; not all functions have numbers everywhere.
        shape: of the argument.
        ulps: by how many roundings of its largest number a result may be off.
        dtypes: where the definition is good enough.
        least: what roundings of a gradient are measured by, if it is all smaller than that. It is
            computed from the result, whose own roundings are larger.
    """

    function: Any
    definition: Any
    offsets: tuple = (0, -1e2, 1e3, -1e4, 1e5, 1e6, -1e7)
    scales: tuple = (1e-30, 1e-10, 1, 1e10, 1e30)
    shape: tuple = (ROWS, N)
    ulps: float = 64
    dtypes: tuple = ("float32", "float64")
    least: float = 0


# ------------------------------------------------------------------------------ definitions


def mean(x, axis):
    return x.sum(axis=axis, keepdims=True) / math.prod(x.shape[a] for a in axis)


def centred(x, axis):
    d = x - mean(x, axis)
    return d - mean(d, axis)  # a long double is not all that long


def log_softmax(x, axis=-1):
    d = x - x.real.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def logsumexp(x):
    top = x.real.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(axis=-1, keepdims=True)))[..., 0]


def cross_entropy(x, smoothing):
    y = log_softmax(x)
    own = y[np.arange(ROWS), IDS]
    return -((1 - LONG(smoothing)) * own + LONG(smoothing) * y.mean(axis=-1))


def standardised(x, axis):
    d = centred(x, axis)
    return d / np.sqrt(mean(d * d, axis) + LONG(1e-5))


def std(x, axis):
    d = centred(x, axis)
    return np.sqrt(mean(d * d, axis))


def cov(x, count):
    d = centred(x, (1,))
    return d @ d.T / count


def with_holes(x):
    """`x` with as many NaN at its end, which do not count."""
    return mg.concatenate([x, mg.zeros_like(x) * math.nan], axis=-1)


def length(x):
    return np.sqrt((x * x).sum(axis=-1, keepdims=True))


def longer(x):
    return np.sqrt((x * x).sum(axis=-1, keepdims=True) + LONG("1e-12"))


def softplus(x):
    """log(1 + exp(x)), with what is small kept apart."""
    positive = x.real > 0
    small = np.exp(np.where(positive, -x, x))
    return np.where(positive, x, 0) + np.log1p(small)


def sigmoid(x):
    e = np.exp(np.where(x.real > 0, -x, x))
    return np.where(x.real > 0, 1, e) / (1 + e)


def softsign(x):
    size = np.where(x.real < 0, -x, x)
    y = np.where(size.real > 1, 1 - 1 / (1 + size), size / (1 + size))
    return np.where(x.real < 0, -y, y)


def attended(v):
    """The mean of v by the probabilities of fixed scores."""
    q, k = scores_of(LONG)
    s = (q @ k.T) / np.sqrt(LONG(q.shape[1]))
    return np.exp(log_softmax(s)) @ v


def scores_of(dtype):
    q, k = np.random.default_rng(5).standard_normal((2, ROWS, N))
    return q.astype("float32").astype(dtype), k.astype("float32").astype(dtype)


def constants(*arrays):
    """As they are in float32, so that all precisions have the same numbers."""
    return [np.asarray(a, "float32") for a in arrays]


w32, b32, t32 = constants(W, B, TARGET)


def by_hand(x):
    """A softmax as people write it: a chain of element-by-element ops in a program."""
    e = mg.exp(x - mg.stop_gradient(mg.max(x, axis=-1, keepdims=True)))
    return e / mg.sum(e, axis=-1, keepdims=True)


def spread(x):
    """Deviations from a mean in a chain."""
    d = x - mg.mean(x, axis=-1, keepdims=True)
    return d * mg.sigmoid(d) + mg.tanh(d) * 0.5


def channels(x, dtype):
    return _batch_norm_train(x, w32[: x.shape[1]].astype(dtype), b32[: x.shape[1]].astype(dtype))


def channels_defined(x):
    axis = (0, *range(2, x.ndim))
    column = (-1,) + (1,) * (x.ndim - 2)
    w, b = (v[: x.shape[1]].astype(LONG).reshape(column) for v in (w32, b32))
    return standardised(x, axis) * w + b


ONE = (1,)
FAR_BOTH_WAYS = (0, -1e2, -3e1, -8, 8, 3e1, 1e2, -1e4, 1e6)

CASES = {
    "softmax": Case(lambda x, _: mg.softmax(x), lambda x: np.exp(log_softmax(x))),
    "softmax, first axis": Case(
        lambda x, _: mg.softmax(x, axis=0), lambda x: np.exp(log_softmax(x, 0))
    ),
    "softmin": Case(lambda x, _: mg.softmin(x), lambda x: np.exp(log_softmax(-x))),
    "softmax by hand": Case(lambda x, _: by_hand(x), lambda x: np.exp(log_softmax(x))),
    "log_softmax": Case(lambda x, _: mg.log_softmax(x), log_softmax),
    "log_softmax, first axis": Case(
        lambda x, _: mg.log_softmax(x, axis=0), lambda x: log_softmax(x, 0)
    ),
    "logsumexp": Case(lambda x, _: mg.logsumexp(x, axis=-1), logsumexp),
    "cross_entropy": Case(
        lambda x, _: mg.cross_entropy(x, IDS, reduction="none"), lambda x: cross_entropy(x, 0)
    ),
    "cross_entropy, smoothed": Case(
        lambda x, _: mg.cross_entropy(x, IDS, label_smoothing=0.25, reduction="none"),
        lambda x: cross_entropy(x, 0.25),
    ),
    "var": Case(
        lambda x, _: mg.var(x, axis=-1), lambda x: std(x, (1,))[:, 0] ** 2, scales=(1e-10, 1, 1e10)
    ),
    "std": Case(lambda x, _: mg.std(x, axis=-1), lambda x: std(x, (1,))[:, 0]),
    "std, of all": Case(lambda x, _: mg.std(x), lambda x: std(x, (0, 1))[0, 0]),
    "nanvar": Case(
        lambda x, _: mg.nanvar(x, axis=-1),
        lambda x: std(x, (1,))[:, 0] ** 2,
        scales=(1e-10, 1, 1e10),
    ),
    "nanstd": Case(lambda x, _: mg.nanstd(with_holes(x), axis=-1), lambda x: std(x, (1,))[:, 0]),
    "cov": Case(lambda x, _: mg.cov(x), lambda x: cov(x, N - 1), scales=(1e-10, 1, 1e10)),
    "cov, weighted": Case(
        lambda x, _: mg.cov(x, fweights=np.full(N, 2)),
        lambda x: 2 * cov(x, 2 * N - 1),
        scales=(1e-10, 1, 1e10),
    ),
    "corrcoef": Case(
        lambda x, _: mg.corrcoef(x),
        lambda x: (d := centred(x, (1,)) / length(centred(x, (1,)))) @ d.T,
    ),
    "layer_norm": Case(
        lambda x, dtype: mg.layer_norm(x, w32.astype(dtype), b32.astype(dtype)),
        lambda x: standardised(x, (1,)) * w32.astype(LONG) + b32.astype(LONG),
    ),
    "layer_norm without weights": Case(
        lambda x, _: mg.layer_norm(x), lambda x: standardised(x, (1,))
    ),
    "layer_norm of a sum": Case(
        lambda x, dtype: mg.layer_norm(x + x * 0.0, w32.astype(dtype), b32.astype(dtype)),
        lambda x: standardised(x, (1,)) * w32.astype(LONG) + b32.astype(LONG),
    ),
    "rms_norm": Case(
        lambda x, dtype: mg.rms_norm(x, w32.astype(dtype), eps=1e-5),
        lambda x: x / np.sqrt(mean(x * x, (1,)) + LONG(1e-5)) * w32.astype(LONG),
    ),
    "group_norm": Case(
        lambda x, _: mg.group_norm(x, 2),
        lambda x: standardised(x.reshape(3, 2, -1), (2,)).reshape(x.shape),
        shape=(3, 4, 9),
    ),
    "batch_norm, of rows": Case(channels, channels_defined, shape=(9, 19)),
    "batch_norm, of images": Case(channels, channels_defined, shape=(4, 3, 5, 7)),
    "norm": Case(lambda x, _: mg.norm(x, axis=-1), lambda x: length(x)[:, 0]),
    "vector_norm of order 3": Case(
        lambda x, _: mg.linalg.vector_norm(x, axis=-1, ord=3),
        lambda x: (np.where(x.real < 0, -x, x) ** 3).sum(axis=-1) ** (1 / LONG(3)),
    ),
    "normalize": Case(
        lambda x, _: mg.normalize(x, eps=1e-37), lambda x: x / length(x), scales=(1e-10, 1, 1e30)
    ),
    "cosine_similarity": Case(
        lambda x, dtype: mg.cosine_similarity(x, mg.asarray(t32.astype(dtype)), axis=-1),
        lambda x: ((x / length(x)) * (t32 / length(t32.astype(LONG)))).sum(axis=-1),
        scales=(1e-3, 1, 1e30),
    ),
    "attention, values": Case(
        lambda x, dtype: mg.attention(*(a[None].astype(dtype) for a in scores_of(dtype)), x),
        attended,
        shape=(1, ROWS, N),
    ),
    "hypot": Case(
        lambda x, dtype: mg.hypot(x[:, 1:], x[:, :-1]),
        lambda x: np.sqrt(x[:, 1:] ** 2 + x[:, :-1] ** 2),
    ),
    "logaddexp": Case(
        lambda x, _: mg.logaddexp(x[:, 1:], x[:, :-1]),
        lambda x: x[:, 1:] + softplus(x[:, :-1] - x[:, 1:]),
    ),
    "deviations in a chain": Case(
        lambda x, _: spread(x),
        lambda x: (d := centred(x, (1,))) * sigmoid(d) + np.tanh(d) / 2,
        offsets=(0, 10),
        scales=(1e-10, 1),
    ),
    # tails
    "sigmoid": Case(lambda x, _: mg.sigmoid(x), sigmoid, FAR_BOTH_WAYS, ONE, least=1),
    "tanh": Case(lambda x, _: mg.tanh(x), np.tanh, (0, -8, 8), (1e-30, 1e-10, 1e-3, 1), least=1),
    "exp, to the last": Case(
        lambda x, _: mg.exp(x) * 1e-3, lambda x: np.exp(x) / 1000, (0, 1771), (0.05,), ulps=256
    ),
    "expm1": Case(lambda x, _: mg.expm1(x), np.expm1, (0, -8, -1e2, 8), (1e-30, 1), least=1),
    "elu": Case(
        lambda x, _: mg.elu(x),
        lambda x: np.where(x.real > 0, x, np.expm1(np.where(x.real > 0, 0, x))),
        FAR_BOTH_WAYS,
        (1e-30, 1, 1e30),
        least=1,
    ),
    "softplus": Case(lambda x, _: F.softplus(x, threshold=1e9), softplus, FAR_BOTH_WAYS),
    "logsigmoid": Case(lambda x, _: mg.logsigmoid(x), lambda x: -softplus(-x), FAR_BOTH_WAYS),
    "silu": Case(lambda x, _: mg.silu(x), lambda x: x * sigmoid(x), FAR_BOTH_WAYS),
    "gelu": Case(
        lambda x, _: mg.gelu(x),
        lambda x: x * special.erfc((-x * np.sqrt(0.5)).astype(complex)) / 2,
        (0, -12, -8, -5, -3, 3, 8),
        ONE,
        ulps=256,
        dtypes=("float32",),
    ),
    "gelu, by tanh": Case(
        lambda x, _: mg.gelu(x, approximate="tanh"),
        lambda x: x * sigmoid(np.sqrt(8 / LONG(np.pi)) * (x + LONG(0.044715) * x**3)),
        (0, -6, -5, -3, 3, 8),
        ONE,
        ulps=256,
    ),
    "softsign": Case(lambda x, _: mg.softsign(x), softsign),
    "arcsinh": Case(
        lambda x, _: mg.arcsinh(x),
        lambda x: (
            np.where(x.real < 0, -1, 1)
            * np.log((y := np.where(x.real < 0, -x, x)) + np.sqrt(y * y + 1))
        ),
        (0, 1e2, -1e4, 1e7),
        (1, 1e10, 1e30),
    ),
    "arccosh": Case(
        lambda x, _: mg.arccosh(x + 8),
        lambda x: np.log((x + 8) + np.sqrt(x + 7) * np.sqrt(x + 9)),
        (1e2, 1e7),
        (1, 1e30),
    ),
    "bce_with_logits of 1": Case(
        lambda x, _: F.binary_cross_entropy_with_logits(x, mg.ones_like(x), reduction="none"),
        lambda x: softplus(-x),
        FAR_BOTH_WAYS,
        ONE,
        least=1,
    ),
    "bce_with_logits of 0": Case(
        lambda x, _: F.binary_cross_entropy_with_logits(x, mg.zeros_like(x), reduction="none"),
        softplus,
        FAR_BOTH_WAYS,
        ONE,
    ),
    "binary_cross_entropy of 0": Case(
        lambda x, _: F.binary_cross_entropy(x * x, mg.zeros_like(x), reduction="none"),
        lambda x: -np.log1p(-x * x),
        (5,),
        (1e-5, 1e-3, 0.1),
    ),
    "cosine_embedding_loss": Case(
        lambda x, dtype: F.cosine_embedding_loss(
            x, mg.asarray(t32.astype(dtype)), mg.ones(ROWS, dtype=dtype), reduction="none"
        ),
        lambda x: 1 - ((x / longer(x)) * (t32 / longer(t32.astype(LONG)))).sum(axis=-1),
        scales=(1, 1e30),
    ),
}


# -------------------------------------------------------------------------------- mechanism


def arguments(case, dtype, offset, scale):
    """Numbers around an offset, in rounded form."""
    rng = np.random.default_rng(11)
    return ((rng.standard_normal(case.shape) + offset) * scale).astype(dtype)


def expected(case, x, g, scale, places):
    """The value, and at some places the gradient of the sum of `g` times it."""
    y = case.definition(x.astype(LONG))
    g, slopes = g.astype(LONG), []
    step = LONG(scale) * LONG(1e-40)
    for place in places:
        z = x.astype(np.clongdouble)
        z[place] += 1j * step
        slopes.append((g * np.asarray(case.definition(z)).imag).sum() / step)
    return y, np.array(slopes)


def within_ulps(actual, wanted, dtype, ulps, what, least=0.0):
    """Within `ulps` roundings of the largest number; what is too small to be normal may be 0."""
    info, actual = np.finfo(dtype), np.asarray(actual)
    assert actual.dtype == dtype
    assert actual.shape == wanted.shape, what
    most = max(np.abs(wanted).max(initial=0), LONG(info.tiny / info.eps), LONG(least))
    assert most <= info.max, f"{what}: nothing that {dtype} could hold"
    error = np.abs(actual.astype(LONG) - wanted).max(initial=0) / most
    assert error <= ulps * info.eps, f"{what}: off by {error:.1e} of the largest, {most:.1e}"


PLACES = [
    (name, dtype, offset, scale)
    for name, case in CASES.items()
    for dtype in case.dtypes
    for offset in case.offsets
    for scale in (case.scales if offset in (0, case.offsets[-1]) else ONE)
    if dtype == "float64" or abs(offset) * scale * math.prod(case.shape) < 1e38  # of their sum
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "dtype", "offset", "scale"),
    PLACES,
    ids=lambda v: v if isinstance(v, str) else f"{v:g}",
)
def test_far_from_zero_and_at_any_scale(name, dtype, offset, scale):
    if dtype == "float64" and np.finfo(LONG).eps > 1e-18:
        pytest.skip("long doubles are float64 here")
    case = CASES[name]
    x = arguments(case, dtype, offset, scale)
    rng = np.random.default_rng(12)
    places = [tuple(rng.integers(0, n) for n in x.shape) for _ in range(12)]
    g = rng.standard_normal(np.shape(case.definition(x.astype(LONG)))).astype("float32")
    y, slopes = expected(case, x, g, scale, places)

    def step(x, g):
        y, back = mg.vjp(lambda x: case.function(x, dtype), x)
        return y, back(g)[0]

    given = mg.tensor(x), mg.tensor(g.astype(dtype))
    program = mg.jit(step)
    for mode, run in (("op by op", step), ("watched", program), ("as a program", program)):
        found, dx = run(*given)
        within_ulps(found.numpy(), y, dtype, case.ulps, f"{mode}: the value")
        at = np.array([dx.numpy()[place] for place in places])
        within_ulps(at, slopes, dtype, case.ulps, f"{mode}: the gradient", case.least)


# ---------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-8, 1, 1e8, 1e18])
@pytest.mark.parametrize("step", [1, 2, 1000, 1_000_000])
@pytest.mark.parametrize("kind", ["formula", "kernel", "kernel of the variants"])
def test_what_adam_moves_a_weight_by(kind, step, scale, dtype):
    """From 0, so that the step itself is seen; moments are those of gradients of this scale."""
    rng = np.random.default_rng(7)
    g = (rng.standard_normal(N) * scale).astype(dtype)
    m = (rng.standard_normal(N) * scale / 10).astype(dtype) * (step > 1)
    v = (rng.uniform(0.1, 1, N) * scale**2).astype(dtype) * (step > 1)
    lr, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-8
    square = g.astype(LONG) ** 2
    m_ = LONG(beta1) * m + (1 - LONG(beta1)) * g
    v_ = LONG(beta2) * v + (1 - LONG(beta2)) * square
    root = np.sqrt(v_) / np.sqrt(1 - LONG(beta2) ** step)
    wanted = -LONG(lr) / (1 - LONG(beta1) ** step) * m_ / (root + LONG(eps))
    w, one = np.zeros(N, dtype), np.array([step])
    options = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
    if kind == "formula":
        adam_step(np, w, g, m, v, step, **options, weight_decay=0.0)
    elif kind == "kernel":
        ends = np.array([N])
        found = updates.adam_step(
            w, g, m, v, one * 0, ends, one, **options, weight_decay=0.0, decoupled=False
        )
        assert found is None
    else:
        numbers = [*options.values(), 0.0, 0.0, 0.0, 0.0]
        ends = np.array([N])
        found = updates.step("adam_variant_step", w, g, [m, v, None], one * 0, ends, one, numbers)
        assert found is None
    within_ulps(w, wanted, dtype, 64, kind)


# ----------------------------------------------------------------------------------- NaN

# What is flat on one side: there the gradient is 0, and at NaN it must not be.
BENT = {
    "relu": mg.relu, "relu6": mg.relu6, "leaky_relu": mg.leaky_relu, "hardtanh": mg.hardtanh,
    "hardsigmoid": mg.hardsigmoid, "hardswish": mg.hardswish, "softshrink": mg.softshrink,
    "hardshrink": mg.hardshrink, "elu": mg.elu, "selu": mg.selu, "celu": mg.celu,
    "softplus": mg.softplus, "absolute": mg.absolute, "sqrt": mg.sqrt,
    "threshold": lambda x: mg.threshold(x, 0.5, 0.0), "prelu": lambda x: mg.prelu(x, 0.25),
    "clip": lambda x: mg.clip(x, -1, 1), "maximum": lambda x: mg.maximum(x, 0.0),
    "minimum": lambda x: mg.minimum(x, 0.0), "max": lambda x: mg.max(x, axis=-1),
    "min": lambda x: mg.min(x, axis=-1), "median": lambda x: mg.median(x, axis=-1),
    "sort": mg.sort, "max_pool1d": lambda x: mg.max_pool1d(x[None], 2),
    "linear and relu": lambda x: mg.relu(mg.linear(x, np.eye(20, dtype=x.dtype), None) * 1.0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BENT)
def test_a_nan_is_seen_in_the_gradient(name, dtype):
    x = np.random.default_rng(9).standard_normal((3, 20)).astype(dtype)
    x[0, 3] = x[2, 17] = math.nan

    def step(x):
        y, back = mg.vjp(BENT[name], x)
        return y, back(mg.ones_like(y))[0]

    program, given = mg.jit(step), mg.tensor(x)
    for run in (step, program, program):
        y, dx = run(given)
        assert np.isnan(y.numpy()).any()
        assert dx.numpy()[0, 3] != 0
        assert dx.numpy()[2, 17] != 0
        if name == "relu":
            np.testing.assert_array_equal(dx.numpy(), np.where(np.isnan(x), x, x > 0))


@pytest.mark.parametrize("shape", [(3, 20), (2, 3, 4, 5)])
def test_a_nan_that_comes_back_passes_relu(shape):
    """As it does where a loss is NaN; a gradient of NaN at 0 is none of relu's."""
    x = np.random.default_rng(9).standard_normal(shape).astype("float32")
    x[0, 0] = math.nan

    def step(x):
        y, back = mg.vjp(lambda x: mg.mean(mg.relu(mg.swapaxes(x, 0, -1)) ** 2), x)
        return back(mg.ones_like(y))[0]

    program, given = mg.jit(step), mg.tensor(x)
    for run in (step, program, program):
        found = run(given).numpy()
        assert np.isnan(found[0, 0]).all()
        assert (found[x <= 0] == 0).all()

"""The kernels on arrays against slow loops written out here, and the calls that they must decline.

What their loops do in programs, share by share, is in `test_records.py`.
"""

import itertools
import math

import numpy as np
import pytest
from naive import convs as naive_convs
from naive import norms as naive_norms
from naive import pools as naive_pools

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import ops, random
from minigrad.autodiff import REGISTRY
from minigrad.kernels import (
    attention,
    blas,
    compiling,
    elementwise,
    embeddings,
    find,
    losses,
    noise,
    norms,
    reductions,
    softmaxes,
    sorting,
    updates,
    windows,
)

DTYPES = ["float32", "float64"]
RTOL = {"float32": 2e-6, "float64": 1e-13}


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, dtype, *shape):
    return np.asarray(rng.standard_normal(shape), dtype=dtype)


def check(actual, expected, dtype, floor=1e-30):
    """Same shape, the kernel's dtype, and values within rounding of the float64 loop.

    `floor` is the size of the terms where they may cancel to nothing.
    """
    assert actual is not NotImplemented
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=floor, where=np.isfinite(expected))
    np.testing.assert_allclose(actual, expected, rtol=RTOL[dtype], atol=RTOL[dtype] * scale)


def differences(f, x, g, h=1e-5):
    """Gradient of `sum(g * f())` by the float64 array `x`, which `f` reads, entry by entry."""
    dx = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = np.sum(g * f())
        x[i] = kept - h
        below = np.sum(g * f())
        x[i] = kept
        dx[i] = (above - below) / (2 * h)
    return dx


def same_bits(a, b):
    a, b = (y if isinstance(y, tuple) else (np.asarray(y),) for y in (a, b))
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


# --- softmax --------------------------------------------------------------------------------------


def naive_softmax(x):
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape[:-1]):
        row = [float(value) for value in x[i]]
        m = max(row, default=-math.inf)
        if m == -math.inf:
            continue
        e = [math.exp(value - m) for value in row]
        y[i] = [value / sum(e) for value in e]
    return y


SHAPES = [(1,), (7,), (1, 1), (3, 1), (5, 8), (4, 33), (2, 3, 5), (2, 1, 3, 130), (0, 4), (4, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_equals_the_loop(rng, dtype, shape):
    x = 5 * drawn(rng, dtype, *shape)
    check(softmaxes.softmax(x, axis=-1), naive_softmax(x), dtype)
    check(softmaxes.softmax(x, axis=x.ndim - 1), naive_softmax(x), dtype)


def test_softmax_of_large_and_masked_rows(rng, dtype):
    x = 1e4 * drawn(rng, dtype, 6, 21)
    x[0] = -np.inf
    x[1, ::2] = -np.inf
    x[2] = 1e4
    x[3, 1:] = -np.inf
    y = softmaxes.softmax(x, axis=-1)
    check(y, naive_softmax(x), dtype)
    assert not y[0].any()
    assert not y[1, ::2].any()
    assert y[3, 0] == 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_log_softmax_equals_the_loop_and_its_gradient_the_formula(rng, dtype, shape):
    x, g = drawn(rng, dtype, *shape) * 3, drawn(rng, dtype, *shape)
    y = softmaxes.log_softmax(x, axis=-1)
    check(y, log_softmax_loop(x), dtype, floor=1.0)
    expected = ops.log_softmax_grad.formula(np, g.astype("float64"), y.astype("float64"))
    check(
        softmaxes.log_softmax_grad(g, y, axis=-1), expected, dtype, floor=float(max(shape[-1], 1))
    )


def log_softmax_loop(x):
    y = np.empty(x.shape)
    for i in np.ndindex(x.shape[:-1]):
        total = math.fsum(math.exp(v) for v in x[i])
        y[i] = [float(v) - math.log(total) for v in x[i]]
    return y


def test_log_softmax_of_large_masked_and_lost_rows(dtype):
    inf, nan = np.inf, np.nan
    x = np.array([[1e4, 0, -1e4], [-inf, 0, -inf], [-inf] * 3, [0, nan, 1]], dtype)
    y = softmaxes.log_softmax(x, axis=-1)
    expected = [[0, -1e4, -2e4], [-inf, 0, -inf], [-inf] * 3, [nan] * 3]
    np.testing.assert_allclose(y, np.array(expected, dtype), rtol=1e-6)


@pytest.mark.parametrize("column", [0, 5, 20])
def test_softmax_shows_a_nan_in_its_row_only(rng, dtype, column):
    x = drawn(rng, dtype, 2, 21)
    x[0, column] = -np.float64(np.nan)
    y = softmaxes.softmax(x, axis=-1)
    assert np.isnan(y[0]).all()
    assert not np.isnan(y[1]).any()


def test_exponentials_are_accurate_over_their_whole_range():
    x = np.linspace(-87, 0, 200_001, dtype=np.float32)
    # One at 0 and one far below: the sum is 1 to the last bit, so softmax gives exp itself.
    pairs = np.stack([np.zeros_like(x), x], axis=1)
    far = x < -20
    expected = np.exp(x[far].astype(np.float64))
    error = np.abs(softmaxes.softmax(pairs, axis=-1)[far, 1] - expected)
    assert np.max(error / np.spacing(expected.astype(np.float32))) < 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_grad_equals_the_formula(rng, dtype, shape):
    g, y = drawn(rng, dtype, *shape), naive_softmax(drawn(rng, dtype, *shape)).astype(dtype)
    g64, y64 = g.astype(np.float64), y.astype(np.float64)
    expected = y64 * (g64 - np.sum(g64 * y64, axis=-1, keepdims=True))
    check(softmaxes.softmax_grad(g, y, axis=-1), expected, dtype)


def test_softmax_grad_equals_differences(rng):
    x, g = drawn(rng, "float64", 3, 5), drawn(rng, "float64", 3, 5)
    dx = softmaxes.softmax_grad(g, softmaxes.softmax(x, axis=-1), axis=-1)
    np.testing.assert_allclose(
        dx, differences(lambda: softmaxes.softmax(x, axis=-1), x, g), atol=1e-9
    )


# --- layer normalisation --------------------------------------------------------------------------


def naive_layer_norm(x, weight, bias, eps):
    x = x.astype(np.float64)
    y = np.empty(x.shape)
    for i in np.ndindex(x.shape[:-1]):
        mean = sum(x[i]) / len(x[i])
        variance = sum((value - mean) ** 2 for value in x[i]) / len(x[i])
        y[i] = (x[i] - mean) / math.sqrt(variance + eps) * weight + bias
    return y


def naive_layer_norm_grad(g, x, weight, eps):
    g, x, weight = (a.astype(np.float64) for a in (g, x, weight))
    dx, dweight, dbias = np.empty(x.shape), np.zeros(weight.shape), np.zeros(weight.shape)
    for i in np.ndindex(x.shape[:-1]):
        rstd = 1 / math.sqrt(np.var(x[i]) + eps)
        n, h = (x[i] - np.mean(x[i])) * rstd, g[i] * weight
        dx[i] = rstd * (h - np.mean(h) - n * np.mean(h * n))
        dweight += g[i] * n
        dbias += g[i]
    return dx, dweight, dbias


@pytest.mark.parametrize(
    "shape", [(1,), (9,), (3, 1), (5, 8), (40, 16), (2, 3, 37), (0, 4)], ids=str
)
def test_layer_norm_equals_the_loop(rng, dtype, shape):
    x, g = drawn(rng, dtype, *shape) + 3, drawn(rng, dtype, *shape)
    weight, bias = drawn(rng, dtype, shape[-1]), drawn(rng, dtype, shape[-1])
    check(
        norms.layer_norm(x, weight, bias, eps=1e-5), naive_layer_norm(x, weight, bias, 1e-5), dtype
    )
    actual = norms.layer_norm_grad(g, x, weight, eps=1e-5)
    floor = 1 if shape[-1] > 1 else 1e-5**-0.5  # the largest rstd
    for got, expected in zip(actual, naive_layer_norm_grad(g, x, weight, 1e-5), strict=True):
        check(got, expected, dtype, floor)


def test_layer_norm_of_nothing(dtype):
    x, weight = np.ones((3, 0), dtype), np.ones(0, dtype)
    assert norms.layer_norm(x, weight, weight, eps=1e-5).shape == (3, 0)
    dx, dweight, dbias = norms.layer_norm_grad(x, x, weight, eps=1e-5)
    assert (dx.shape, dweight.shape, dbias.shape) == ((3, 0), (0,), (0,))


def test_layer_norm_grad_equals_differences(rng):
    x, g = drawn(rng, "float64", 3, 5), drawn(rng, "float64", 3, 5)
    weight, bias = drawn(rng, "float64", 5), drawn(rng, "float64", 5)
    actual = norms.layer_norm_grad(g, x, weight, eps=1e-5)
    for got, by in zip(actual, (x, weight, bias), strict=True):
        expected = differences(lambda: norms.layer_norm(x, weight, bias, eps=1e-5), by, g)
        np.testing.assert_allclose(got, expected, atol=1e-8)


# --- attention ------------------------------------------------------------------------------------


def naive_attention(q, k, v, mask, heads, causal, scale, g=None, key=None, dropout=0.0):
    """The result, and with `g` the three gradients, one query and one head at a time."""
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    B, T, S = q.shape[0], q.shape[1], k.shape[1]
    D, E = q.shape[2] // heads, v.shape[2] // heads
    allowed = np.broadcast_to(True if mask is None else mask, (B, heads, T, S))
    factors = np.ones((B, heads, T, S))
    if key is not None:
        factors = random.bernoulli(key, 1 - dropout, factors.shape) / (1 - dropout)
    out, dq, dk, dv = np.zeros((B, T, heads * E)), *(np.zeros(a.shape) for a in (q, k, v))
    for b in range(B):
        for h in range(heads):
            d, e = slice(h * D, (h + 1) * D), slice(h * E, (h + 1) * E)
            for i in range(T):
                keys = [j for j in range(S) if allowed[b, h, i, j] and (j <= i or not causal)]
                if not keys:
                    continue
                p = naive_softmax(scale * k[b, keys, d] @ q[b, i, d])
                kept = factors[b, h, i, keys]
                out[b, i, e] = (kept * p) @ v[b, keys, e]
                if g is not None:
                    dp = kept * (v[b, keys, e] @ g[b, i, e].astype(np.float64))
                    ds = scale * p * (dp - p @ dp)
                    dq[b, i, d] += ds @ k[b, keys, d]
                    dk[b, keys, d] += np.outer(ds, q[b, i, d])
                    dv[b, keys, e] += np.outer(kept * p, g[b, i, e])
    return out if g is None else (dq, dk, dv)


def attention_case(rng, dtype, B, T, S, H, D, E, mask):
    """Random q, k, v, g and a mask of the shape that its letters name."""
    q, k, v, g = (
        drawn(rng, dtype, *shape)
        for shape in [(B, T, H * D), (B, S, H * D), (B, S, H * E), (B, T, H * E)]
    )
    if mask is not None:
        mask = rng.random([{"B": B, "H": H, "T": T, "S": S, "1": 1}[side] for side in mask]) < 0.6
    return q, k, v, g, mask


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "B11S", "11TS", "BHTS", "BHT1", "1111"])
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 5, 7, 2, 3, 4),
        (1, 9, 4, 3, 8, 8),
        (3, 1, 1, 1, 1, 1),
        (1, 1, 17, 2, 16, 5),
        (2, 70, 41, 1, 9, 2),  # more queries than one block holds
    ],
    ids=str,
)
def test_attention_equals_the_loop(rng, dtype, sizes, mask, causal):
    q, k, v, g, mask = attention_case(rng, dtype, *sizes, mask)
    heads, scale = sizes[3], 0.7
    options = {"heads": heads, "causal": causal, "scale": scale, "dropout": 0.0}
    out = attention.attention(q, k, v, mask, None, **options)
    check(out, naive_attention(q, k, v, mask, heads, causal, scale), dtype)
    actual = attention.attention_grad(g, q, k, v, mask, None, **options)
    for got, expected in zip(
        actual, naive_attention(q, k, v, mask, heads, causal, scale, g), strict=True
    ):
        check(got, expected, dtype)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "B11S", "BHTS"])
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 5, 7, 2, 3, 4),
        (1, 1, 1, 1, 1, 1),
        (3, 17, 12, 3, 2, 2),  # rows of weights that begin at a whole counter
        (2, 33, 46, 1, 4, 3),
        (1, 40, 131, 2, 3, 8),
    ],
    ids=str,
)
def test_attention_drops_the_weights_that_the_key_says(rng, dtype, sizes, mask, causal):
    q, k, v, g, mask = attention_case(rng, dtype, *sizes, mask)
    heads, key = sizes[3], random.fold(random.key(2**64 - 1), "weights")
    for p in (0.0, 0.1, 0.75):
        options = {"heads": heads, "causal": causal, "scale": 0.7, "dropout": p}
        how = {"key": key, "dropout": p}
        out = attention.attention(q, k, v, mask, key, **options)
        check(out, naive_attention(q, k, v, mask, heads, causal, 0.7, **how), dtype)
        formula = ops.attention.formula(np, q, k, v, mask, key, **options)
        check(out, formula.astype("float64"), dtype)
        grads = attention.attention_grad(g, q, k, v, mask, key, **options)
        expected = naive_attention(q, k, v, mask, heads, causal, 0.7, g, **how)
        for got, one in zip(grads, expected, strict=True):
            check(got, one, dtype)


def test_a_weight_that_is_dropped_lets_no_gradient_through():
    """Not even an infinite one, as in the formula."""
    key = random.key(3)
    q, k, g = np.ones((1, 2, 1)), np.ones((1, 40, 1)), np.ones((1, 2, 1))
    kept = random.bernoulli(key, 0.5, (2, 40))
    v = np.where(kept.any(axis=0), 1.0, np.inf)[None, :, None]
    assert np.isinf(v).any()
    options = {"heads": 1, "causal": False, "scale": 1.0, "dropout": 0.5}
    actual = attention.attention_grad(g, q, k, v, None, key, **options)
    expected = ops.attention_grad.formula(np, g, q, k, v, None, key, **options)
    for got, one in zip(actual, expected, strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, one, rtol=1e-12, atol=1e-15)


OPTIONS = {"heads": 2, "causal": False, "scale": 0.5, "dropout": 0.0}


def test_attention_without_keys_is_zero(rng, dtype):
    q, k, v, g, mask = attention_case(rng, dtype, 2, 3, 5, 2, 4, 4, "B11S")
    mask[0] = False
    out = attention.attention(q, k, v, mask, None, **OPTIONS)
    grads = attention.attention_grad(g, q, k, v, mask, None, **OPTIONS)
    assert not out[0].any()
    for grad in grads:
        assert not grad[0].any()
        assert np.isfinite(grad).all()


@pytest.mark.parametrize(("B", "T", "S"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("mask", [None, "BHTS"])
def test_attention_of_nothing(rng, dtype, B, T, S, mask):
    q, k, v, g, mask = attention_case(rng, dtype, B, T, S, 2, 4, 3, mask)
    out = attention.attention(q, k, v, mask, None, **OPTIONS)
    dq, dk, dv = attention.attention_grad(g, q, k, v, mask, None, **OPTIONS)
    assert (out.shape, dq.shape, dk.shape, dv.shape) == (g.shape, q.shape, k.shape, v.shape)
    for a in (out, dq, dk, dv):
        assert not a.any()


def test_attention_takes_a_mask_of_any_strides(rng, dtype):
    q, k, v, g, mask = attention_case(rng, dtype, 2, 4, 6, 2, 3, 3, "11TS")
    for other in (np.broadcast_to(mask, (2, 2, 4, 6)), np.asfortranarray(mask)):
        for name, args in [("", ()), ("_grad", (g,))]:
            kernel = getattr(attention, "attention" + name)
            assert same_bits(
                kernel(*args, q, k, v, mask, None, **OPTIONS),
                kernel(*args, q, k, v, other, None, **OPTIONS),
            )


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_attention_grad_equals_differences(rng, p):
    q, k, v, g, mask = attention_case(rng, "float64", 1, 3, 4, 2, 2, 3, "B1TS")
    options, key = {"heads": 2, "causal": True, "scale": 0.5, "dropout": p}, random.key(1)
    actual = attention.attention_grad(g, q, k, v, mask, key, **options)
    for got, by in zip(actual, (q, k, v), strict=True):
        expected = differences(lambda: attention.attention(q, k, v, mask, key, **options), by, g)
        np.testing.assert_allclose(got, expected, atol=1e-8)


# --- cross-entropy --------------------------------------------------------------------------------


def naive_cross_entropy(x, target, ignore_index, e):
    loss = np.zeros(len(x))
    for i, t in enumerate(target):
        if t != ignore_index:
            row = x[i].astype(np.float64)
            lse = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
            loss[i] = (1 - e) * (lse - row[t])
            if e:
                loss[i] += e * (lse - sum(row) / len(row))
    return loss


def naive_cross_entropy_grad(g, x, target, ignore_index, e):
    dx = np.zeros(x.shape)
    for i, t in enumerate(target):
        if t != ignore_index:
            dx[i] = naive_softmax(x[i]) - e / x.shape[1]
            dx[i, t] -= 1 - e
            dx[i] *= g[i]
    return dx


@pytest.mark.parametrize("e", [0.0, 0.1, 1])
@pytest.mark.parametrize("ignore_index", [-100, 0])
@pytest.mark.parametrize(("N", "C"), [(1, 1), (5, 7), (40, 168), (0, 3), (0, 0)])
def test_cross_entropy_equals_the_loop(rng, dtype, N, C, ignore_index, e):
    x, g = 3 * drawn(rng, dtype, N, C), drawn(rng, dtype, N)
    target = rng.integers(0, max(C, 1), N)
    target[::3] = ignore_index
    options = {"ignore_index": ignore_index, "label_smoothing": e}
    loss = losses.cross_entropy_rows(x, target, **options)
    check(loss, naive_cross_entropy(x, target, ignore_index, e), dtype)
    dx = losses.cross_entropy_rows_grad(g, x, target, **options)
    check(dx, naive_cross_entropy_grad(g, x, target, ignore_index, e), dtype)
    assert not loss[::3].any()
    assert not dx[::3].any()


def test_cross_entropy_of_large_and_masked_logits(rng, dtype):
    x = 1e4 * drawn(rng, dtype, 4, 9)
    x[:, 3] = -np.inf
    target = np.array([0, 1, 2, 4])
    loss = losses.cross_entropy_rows(x, target, ignore_index=-100, label_smoothing=0.0)
    check(loss, naive_cross_entropy(x, target, -100, 0.0), dtype)


def test_cross_entropy_grad_equals_differences(rng):
    x, g, target = drawn(rng, "float64", 4, 5), drawn(rng, "float64", 4), np.array([0, 4, -1, 2])
    options = {"ignore_index": -1, "label_smoothing": 0.1}
    expected = differences(lambda: losses.cross_entropy_rows(x, target, **options), x, g)
    actual = losses.cross_entropy_rows_grad(g, x, target, **options)
    np.testing.assert_allclose(actual, expected, atol=1e-8)


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_cross_entropy_declines_targets_out_of_range(dtype, bad):
    x, g, target = np.ones((2, 5), dtype), np.ones(2, dtype), np.array([1, bad])
    options = {"ignore_index": -100, "label_smoothing": 0.0}
    assert losses.cross_entropy_rows(x, target, **options) is NotImplemented
    assert losses.cross_entropy_rows_grad(g, x, target, **options) is NotImplemented


# --- embedding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (30,), (3, 4), (2, 0), (0,), ()], ids=str)
@pytest.mark.parametrize("D", [1, 5, 16, 0])
def test_embedding_grad_equals_the_loop(rng, dtype, shape, D):
    ids, g = rng.integers(0, 6, shape), drawn(rng, dtype, *shape, D)
    ids = np.asarray(ids)
    expected = np.zeros((6, D))
    for i in np.ndindex(shape):
        expected[ids[i]] += g[i]
    check(embeddings.embedding_grad(g, ids, rows=6), expected, dtype)


@pytest.mark.parametrize("bad", [-1, 6])
def test_embedding_grad_declines_ids_out_of_range(dtype, bad):
    assert (
        embeddings.embedding_grad(np.ones((2, 3), dtype), np.array([0, bad]), rows=6)
        is NotImplemented
    )


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 0.0, 0.1, 0.5, 0.999, 1e-12])
@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (3, 1), (4, 64), (257,), (2, 3, 171), (1025,)], ids=str
)
def test_dropout_gives_the_bits_of_the_formula(rng, dtype, shape, p):
    x = drawn(rng, dtype, *shape)
    x.reshape(-1)[::7] = [np.inf, np.nan, -0.0][len(shape) % 3]
    for key in (random.key(0), random.fold(random.key(2**64 - 1), "mask")):
        y = noise.dropout(x, key, p=p, shared=(), levels=None)
        expected = np.asarray(ops.dropout.formula(np, x, key, p=p))
        assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
        assert same_bits(y, expected)


def test_dropout_starts_anywhere_and_counts_beyond_32_bits():
    words, counters = np.empty((noise.BLOCKS, 4), np.uint32), np.empty((4, noise.BLOCKS), np.uint32)
    for first in (0, 5, 2**32 - 3, 2**40 + 1):
        noise.draw_words(words, counters, first, 0xFFFFFFFF, 0xBB67AE85)
        for b in range(noise.BLOCKS):
            counter = (first + b) % 2**32, (first + b) >> 32, 0, 0
            assert words[b].tolist() == list(random.philox((0xFFFFFFFF, 0xBB67AE85), counter))


def test_dropout_declines(rng, dtype):
    x, key = drawn(rng, dtype, 3, 4), random.key(0)
    plain = {"p": 0.5, "shared": (), "levels": None}
    for odd in ({"p": 1}, {"p": 1 - 1e-12}, {"p": -0.1}, {"shared": (0,)}, {"levels": ((0, 2),)}):
        assert noise.dropout(x, key, **{**plain, **odd}) is NotImplemented
    assert noise.dropout(x, None, **plain) is NotImplemented
    assert noise.dropout(x, key, **{**plain, "levels": ()}) is not NotImplemented


@pytest.mark.parametrize("threads", [1, 3])
def test_dropout_in_a_program_draws_anew_in_each_run(rng, dtype, threads):
    x, key = drawn(rng, dtype, 60, 129), random.key(9)

    def step(x):
        y = F.dropout(x, 0.3) + F.dropout(x, 0.5, key=key)
        return y, mg.gradients((F.dropout(y * y, 0.2) * y).sum(), [x])[0]

    fast = mg.jit(step, threads=threads)
    random.seed(5)
    got = [[t.data for t in fast(mg.Tensor(x, requires_grad=True))] for _ in range(3)]
    random.seed(5)
    expected = [[t.data for t in step(mg.Tensor(x, requires_grad=True))] for _ in range(3)]
    for (y, dx), (y_, dx_) in zip(got, expected, strict=True):
        assert y.tobytes() == y_.tobytes()
        np.testing.assert_allclose(dx, dx_, rtol=1e-6)
    lines = [line for line in fast.program().splitlines() if " dropout " in line]
    assert len(lines) > 3
    assert all("kernel" in line for line in lines)


# --- images ---------------------------------------------------------------------------------------


def pooled(x, kernel, stride, dilation):
    """The arguments of `max_windows` that go with an input."""
    sizes = zip(x.shape[2:], kernel, stride, dilation, strict=True)
    counts = tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sizes)
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "counts": counts}


@pytest.mark.parametrize(
    ("lengths", "kernel", "stride", "dilation"),
    [
        ((2, 2), (2, 2), (2, 2), (1, 1)),
        ((13, 39), (2, 2), (2, 2), (1, 1)),
        ((8, 9), (2, 2), (1, 2), (3, 1)),
        ((9, 11), (3, 2), (2, 3), (1, 2)),
        ((7,), (2,), (2,), (1,)),
        ((11,), (3,), (1,), (2,)),
    ],
)
def test_max_windows_equals_the_loop_and_so_does_its_gradient(
    rng, dtype, lengths, kernel, stride, dilation
):
    x = np.floor(drawn(rng, dtype, 2, 3, *lengths) * 2)  # with ties
    x[rng.random(x.shape) < 0.1] = -np.inf
    options = pooled(x, kernel, stride, dilation)
    y = windows.max_windows(x, **options)
    check(y, naive_pools.max_windows(x, **options), dtype)
    g = drawn(rng, dtype, *y.shape)
    check(
        windows.max_windows_grad(g, x, **options),
        naive_pools.max_windows_grad(g, x, **options),
        dtype,
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1), (5, 33)])
def test_max_windows_shows_a_nan_in_its_window_only(rng, dtype, place):
    x = drawn(rng, dtype, 1, 1, 6, 34)
    x[(0, 0, *place)] = np.nan
    options = pooled(x, (2, 2), (2, 2), (1, 1))
    hit = np.zeros((3, 17), bool)
    hit[place[0] // 2, place[1] // 2] = True
    y = windows.max_windows(x, **options)[0, 0]
    np.testing.assert_array_equal(np.isnan(y), hit)
    dx = windows.max_windows_grad(np.ones((1, 1, 3, 17), dtype), x, **options)[0, 0]
    assert dx[place] == 1
    assert dx.sum() == hit.size


@pytest.mark.parametrize("shape", [(5, 3), (40, 33), (7, 4, 5), (2, 1, 40), (3, 2, 5, 7)], ids=str)
def test_batch_norm_equals_the_loop(rng, dtype, shape):
    x, g = drawn(rng, dtype, *shape) * 3 + 1, drawn(rng, dtype, *shape)
    w, b = drawn(rng, dtype, shape[1]), drawn(rng, dtype, shape[1])
    wide = x.astype("float64")
    check(
        norms.batch_norm_train(x, w, b, eps=0.1),
        naive_norms.batch_norm_train(wide, w, b, eps=0.1),
        dtype,
    )
    expected = naive_norms.batch_norm_grad(g, wide, w, eps=0.1)
    for a, e in zip(norms.batch_norm_grad(g, x, w, eps=0.1), expected, strict=True):
        check(a, e, dtype, floor=float(g.size) if dtype == "float32" else 1e-30)
    new = norms.batch_norm_stats(x, w, b**2, momentum=0.3)
    for a, e in zip(new, naive_norms.batch_norm_stats(wide, w, b**2, momentum=0.3), strict=True):
        check(a, e, dtype)


@pytest.mark.parametrize("axis", [-1, -2, -3])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 1), (1, 2, 1), (2, 3, 2)])
def test_windows_are_those_of_the_loop_and_are_summed_back(
    rng, dtype, axis, size, stride, dilation
):
    x = drawn(rng, dtype, 2, 1, 5, 6, 19)
    along = {"axis": axis, "stride": stride, "dilation": dilation}
    count = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    w = windows.windows(x, size=size, count=count, **along)
    np.testing.assert_array_equal(w, naive_convs.windows(x, size=size, count=count, **along))
    y = windows.sum_windows(w, length=x.shape[axis], **along)
    check(y, naive_convs.sum_windows(w, length=x.shape[axis], **along), dtype)


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 7), (50, 3), (200, 32)])
def test_top_ids_are_the_first_of_the_order(rng, dtype, n, k, descending):
    x = np.floor(drawn(rng, dtype, 6, n) * 3)
    x[0], x[1, -1], x[2, 0], x[3] = -np.inf, np.nan, np.inf, np.nan
    expected = ops.argsort.formula(np, x, axis=-1, descending=descending)[:, :k]
    np.testing.assert_array_equal(sorting.top_ids(x, k=k, descending=descending), expected)


def test_top_ids_leaves_many_to_a_sort(rng, dtype):
    assert sorting.top_ids(drawn(rng, dtype, 2, 40), k=33, descending=True) is NotImplemented


@pytest.mark.parametrize("n", [0, 1, 1023, 2050])
def test_square_sum_adds_up_in_float64(rng, dtype, n):
    x = drawn(rng, dtype, n) * 1e20
    expected = math.fsum(float(v) ** 2 for v in x)
    assert reductions.square_sum(x) == pytest.approx(expected, rel=1e-13)


# --- relu -----------------------------------------------------------------------------------------


def test_relu_grad_is_zero_at_zero_and_nan_at_nan(rng, dtype):
    g, y = drawn(rng, dtype, 50), np.maximum(drawn(rng, dtype, 50), 0)
    y[7], y[40], g[:3], y[:3] = np.nan, np.inf, np.nan, [0, 1, np.nan]
    found = elementwise.relu_grad(g, y)
    assert same_bits(found, np.where(y > 0, g, y))
    assert np.isnan(found).sum() == 3


# --- Adam -----------------------------------------------------------------------------------------

ADAM = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}


def naive_adam(w, g, m, v, starts, stops, steps, lr, beta1, beta2, eps, weight_decay, decoupled):
    """PyTorch's order of operations, a number at a time, on float64 copies."""
    w, g, m, v = (a.astype(np.float64) for a in (w, g, m, v))
    for start, stop, step in zip(starts, stops, steps, strict=True):
        for j in range(start, stop):
            if weight_decay and decoupled:
                w[j] -= lr * weight_decay * w[j]
            elif weight_decay:
                g[j] += weight_decay * w[j]
            m[j] = beta1 * m[j] + (1 - beta1) * g[j]
            v[j] = beta2 * v[j] + (1 - beta2) * g[j] * g[j]
            root = math.sqrt(v[j]) / math.sqrt(1 - beta2 ** int(step))
            w[j] -= lr / (1 - beta1 ** int(step)) * m[j] / (root + eps)
    return w, m, v


def adam_case(rng, dtype, size):
    w, g, m = (drawn(rng, dtype, size) for _ in range(3))
    return w, g, m, drawn(rng, dtype, size) ** 2


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_adam_equals_the_loop_and_touches_only_its_segments(rng, dtype, weight_decay, decoupled):
    w, g, m, v = adam_case(rng, dtype, 100)
    starts, stops, steps = np.array([3, 40, 40, 57]), np.array([20, 40, 41, 99]), np.arange(1, 5)
    options = {**ADAM, "weight_decay": weight_decay, "decoupled": decoupled}
    expected = naive_adam(w, g, m, v, starts, stops, steps, **options)
    before = [a.copy() for a in (w, g, m, v)]
    assert updates.adam_step(w, g, m, v, starts, stops, steps, **options) is None
    assert same_bits(g, before[1])
    outside = np.ones(100, bool)
    for start, stop in zip(starts, stops, strict=True):
        outside[start:stop] = False
    for got, want, old in zip((w, m, v), expected, (before[0], *before[2:]), strict=True):
        check(got, want, dtype)
        assert same_bits(got[outside], old[outside])
        assert (got[~outside] != old[~outside]).all()


def test_adam_flushes_denormal_moments(dtype):
    tiny = np.finfo(dtype).tiny
    w, g = np.ones(3, dtype), np.zeros(3, dtype)
    m = np.array([tiny, -tiny, 4 * tiny], dtype)
    v = m**2 + np.array([tiny, 0, 4 * tiny], dtype)
    one = np.array([1])
    updates.adam_step(w, g, m, v, one - 1, one + 2, one + 900, **ADAM, decoupled=False)
    assert (m != 0).tolist() == (v != 0).tolist() == [False, False, True]


def test_adam_with_nothing_to_do(dtype):
    none = np.zeros(0, np.int64)
    for size in (0, 3):
        buffers = [np.ones(size, dtype) for _ in range(4)]
        assert updates.adam_step(*buffers, none, none, none, **ADAM, decoupled=True) is None
        assert all((b == 1).all() for b in buffers)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4), (4, 4)])
def test_adam_declines_segments_out_of_bounds(dtype, start, stop):
    buffers = [np.ones(3, dtype) for _ in range(4)]
    starts, stops, steps = np.array([0, start]), np.array([1, stop]), np.array([1, 1])
    result = updates.adam_step(*buffers, starts, stops, steps, **ADAM, decoupled=False)
    assert result is NotImplemented
    assert all((b == 1).all() for b in buffers)


# --- all kernels ----------------------------------------------------------------------------------


def calls(rng, dtype):
    """Every kernel that is called on arrays, with what it accepts: place -> (arrays, options)."""
    x3, row = drawn(rng, dtype, 2, 3, 4), drawn(rng, dtype, 4)
    x, g, ids = drawn(rng, dtype, 5, 4), drawn(rng, dtype, 5), rng.integers(0, 4, 5)
    starts, stops, steps = np.array([0]), np.array([3]), np.array([2])
    x4 = drawn(rng, dtype, 2, 3, 2, 3)
    pool = {"kernel": (1, 1), "stride": (1, 1), "dilation": (1, 1), "counts": (2, 3)}
    heads = {"heads": 2, "causal": True, "scale": 0.5, "dropout": 0.0}
    classes = {"ignore_index": -100, "label_smoothing": 0.1}
    return {
        "softmaxes.softmax": ((x,), {"axis": -1}),
        "softmaxes.softmax_grad": ((x, x), {"axis": -1}),
        "softmaxes.log_softmax": ((x,), {"axis": -1}),
        "softmaxes.log_softmax_grad": ((x, x), {"axis": -1}),
        "norms.layer_norm": ((x, row, row), {"eps": 1e-5}),
        "norms.layer_norm_grad": ((x, x, row), {"eps": 1e-5}),
        "norms.batch_norm_train": ((x, row, row), {"eps": 1e-5}),
        "norms.batch_norm_grad": ((x, x, row), {"eps": 1e-5}),
        "norms.batch_norm_stats": ((x, row, row), {"momentum": 0.1}),
        "attention.attention": ((x3, x3, x3, None, None), heads),
        "attention.attention_grad": ((x3, x3, x3, x3, None, None), heads),
        "losses.cross_entropy_rows": ((x, ids), classes),
        "losses.cross_entropy_rows_grad": ((g, x, ids), classes),
        "elementwise.relu_grad": ((x, np.maximum(x, 0)), {}),
        "embeddings.embedding_grad": ((x, ids), {"rows": 4}),
        "windows.max_windows": ((x4,), pool),
        "windows.max_windows_grad": ((x4, x4), pool),
        "windows.windows": ((x4,), {"axis": -1, "size": 1, "count": 3}),
        "windows.sum_windows": ((x4[:, :, None],), {"axis": -1, "length": 3}),
        "sorting.top_ids": ((x,), {"k": 2, "descending": True}),
        "reductions.square_sum": ((x,), {}),
        "noise.dropout": ((x, random.key(3)), {"p": 0.4, "shared": (), "levels": None}),
        "updates.adam_step": (
            (row, row.copy(), row.copy(), row**2, starts, stops, steps),
            {**ADAM, "decoupled": False},
        ),
    }


PLACES = list(calls(np.random.default_rng(0), "float32"))


def test_the_table_of_calls_is_complete():
    named = {
        op.kernel["numpy"].name if callable(op.kernel["numpy"]) else op.kernel["numpy"]
        for op in REGISTRY.values()
        if op.__module__.startswith("minigrad.") and "numpy" in op.kernel
    }
    elsewhere = {"reductions.square_sum", "updates.adam_step"}
    names = {place.partition(".")[2] for place in PLACES}
    assert {name.rpartition(".")[2] for name in named | elsewhere} == names


@pytest.mark.parametrize("place", [place for place in PLACES if place != "updates.adam_step"])
def test_two_calls_give_the_same_bits(rng, dtype, place):
    args, options = calls(rng, dtype)[place]
    kernel = find(place)
    assert same_bits(kernel(*args, **options), kernel(*args, **options))


# Compiled loops that write to their first array, with the shapes of their arrays for rows of C.
LOOPS = {
    "softmax": (softmaxes.softmax_loop, lambda C: [(3, C)] * 2),
    "softmax_grad": (softmaxes.softmax_grad_loop, lambda C: [(3, C)] * 3),
    "log_softmax": (softmaxes.log_softmax_loop, lambda C: [(3, C)] * 2),
    "log_softmax_grad": (softmaxes.log_softmax_grad_loop, lambda C: [(3, C)] * 3),
    "layer_norm": (
        lambda *arrays: norms.layer_norm_loop(*arrays, 1e-5),
        lambda C: [(3, C), (3, C), (C,), (C,)],
    ),
    "cross_entropy_grad": (
        lambda dx, g, x: losses.cross_entropy_grad_loop(dx, g, x, np.arange(3), -1, 0.1),
        lambda C: [(3, C), (3,), (3, C)],
    ),
}


@pytest.mark.parametrize("C", [4, 16, 33])
@pytest.mark.parametrize("name", LOOPS)
def test_bits_do_not_depend_on_where_arrays_lie(rng, dtype, name, C):
    loop, shapes_for = LOOPS[name]
    shapes = shapes_for(C)
    values = [drawn(rng, dtype, *shape) for shape in shapes]
    results = set()
    for order in itertools.permutations(range(len(shapes))):
        for gap in (0, 1, 8, 17, 300):
            memory, start = np.zeros(10_000, dtype), 0
            arrays = [None] * len(shapes)
            for i in order:
                arrays[i] = memory[start : start + values[i].size].reshape(shapes[i])
                arrays[i][:] = values[i]
                start += values[i].size + gap
            loop(*arrays)
            results.add(arrays[0].tobytes())
    assert len(results) == 1


def strided(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


ODD_ARRAYS = {
    "half": lambda a: a.astype(np.float16 if a.dtype.kind == "f" else np.int32),
    "other endian": lambda a: a.astype(a.dtype.newbyteorder()),
    "mixed": lambda a: a.astype({"f": np.float32, "i": np.int64}[a.dtype.kind]),
    "strided": strided,
    "one axis more": lambda a: np.stack([a, a], axis=-1),
    "shorter": lambda a: np.ascontiguousarray(a[..., :-1]),
}


# What the table above does to (kernel, argument) and leaves a right call. Where that is so for
# `strided`, the loop reads what lies in any layout.
FIRST = {
    ("softmaxes.softmax", 0), ("softmaxes.log_softmax", 0), ("noise.dropout", 0),
    ("sorting.top_ids", 0), ("reductions.square_sum", 0), ("windows.sum_windows", 0),
}  # fmt: skip
WINDOWS = {("windows.max_windows", 0), ("windows.windows", 0)}
STILL_COVERED = {
    "mixed": FIRST
    | WINDOWS
    | {("losses.cross_entropy_rows", 0), ("embeddings.embedding_grad", 0)},
    "strided": {
        ("windows.windows", 0), ("windows.sum_windows", 0),
        ("norms.batch_norm_train", 0), ("norms.batch_norm_stats", 0),
        ("norms.batch_norm_grad", 0), ("norms.batch_norm_grad", 1),
    },
    "one axis more": FIRST
    | {("norms.batch_norm_train", 0), ("norms.batch_norm_stats", 0)},
    "shorter": FIRST
    | {
        ("losses.cross_entropy_rows", 0),
        ("losses.cross_entropy_rows_grad", 1),
        ("embeddings.embedding_grad", 0),
    },
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_ARRAYS)
@pytest.mark.parametrize("place", PLACES)
def test_an_array_that_is_not_covered_is_declined(rng, place, odd):
    args, options = calls(rng, "float64")[place]
    kernel = find(place)
    for i, a in enumerate(args):
        if not isinstance(a, np.ndarray):
            continue
        b = ODD_ARRAYS[odd](a)
        if b.dtype == a.dtype and b.shape == a.shape and b.flags.c_contiguous:
            continue  # int64 has nothing to mix, and one number no strides
        result = kernel(*args[:i], b, *args[i + 1 :], **options)
        if (place, i) in STILL_COVERED.get(odd, ()):
            packed = kernel(*args[:i], np.ascontiguousarray(b), *args[i + 1 :], **options)
            assert result is not NotImplemented, f"argument {i}"
            assert same_bits(result, packed), f"argument {i}"
        else:
            assert result is NotImplemented, f"argument {i}"


def test_other_declined_calls(rng, dtype):
    x, row = drawn(rng, dtype, 3, 4), drawn(rng, dtype, 4)
    for axis in (0, -2, None, (0, 1), (-1,)):
        assert softmaxes.softmax(x, axis=axis) is NotImplemented
        assert softmaxes.softmax_grad(x, x, axis=axis) is NotImplemented
    assert softmaxes.softmax(row[0].reshape(()), axis=-1) is NotImplemented
    assert norms.layer_norm(x, None, row, eps=1e-5) is NotImplemented
    assert norms.layer_norm(x, row, None, eps=1e-5) is NotImplemented
    assert norms.layer_norm_grad(x, x, None, eps=1e-5) is NotImplemented


@pytest.mark.parametrize(
    ("mask", "key", "heads", "p"),
    [
        (np.ones((2, 1, 1, 3)), None, 2, 0.0),
        (np.ones((2, 3), bool), None, 2, 0.0),
        (np.ones((3, 1, 1, 3), bool), None, 2, 0.0),
        (np.ones((2, 1, 1, 2), bool), None, 2, 0.0),
        (None, None, 2, 0.1),
        (None, np.ones((2, 2, 3, 3)), 2, 0.1),
        (None, random.key(0), 2, 1.0),
        (None, random.key(0), 2, 1 - 1e-12),
        (None, random.key(0), 2, -0.1),
        (None, None, 3, 0.0),
    ],
    ids=["float", "queries", "batch", "keys", "no key", "key", "all", "nearly", "less", "heads"],
)
def test_attention_declines(rng, dtype, mask, key, heads, p):
    x = drawn(rng, dtype, 2, 3, 4)
    options = {"heads": heads, "causal": False, "scale": 1.0, "dropout": p}
    assert attention.attention(x, x, x, mask, key, **options) is NotImplemented
    result = attention.attention_grad(x, x, x, x, mask, key, **options)
    assert result is NotImplemented


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("step", blas.STEPS)
def test_products_are_tried_out_with_every_cut(dtype, step, by_row):
    """Whatever the BLAS says: it is another on the next machine."""
    assert len(list(blas._cuts(np.dtype(dtype), step, by_row))) == 12


def test_without_a_place_for_a_cache_kernels_compile_all_the_same(monkeypatch):
    def nowhere(cache=False, **options):
        def decorate(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function, options

        return decorate

    monkeypatch.setattr(compiling, "njit", nowhere)
    function, options = compiling.compiled(len)
    assert function is len
    assert options["nogil"]

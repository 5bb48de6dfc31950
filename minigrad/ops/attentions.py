"""Attention (Vaswani et al., "Attention is all you need", arXiv 1706.03762).

Letters: B batch, T queries, S keys, H heads, D features of a head.
"""

import math

import numpy as np

from minigrad import batched, random
from minigrad.autodiff import Tensor, as_arrays, op
from minigrad.backend import array_module
from minigrad.errors import DtypeError, ShapeError
from minigrad.ops.dtypes import as_came, astype, is_half
from minigrad.ops.noise import dropout as drop
from minigrad.ops.products import matmul
from minigrad.ops.reductions import sum
from minigrad.ops.shaping import broadcast_to, repeat, reshape, swapaxes, transpose
from minigrad.ops.softmaxes import shifted_exp

__all__ = [
    "attention", "attention_grad", "attention_mask_grad", "scaled_dot_product_attention",
]  # fmt: skip


def _split(x, heads):
    """(B, T, H*D) -> (B, H, T, D)."""
    B, T, _ = x.shape
    return transpose(reshape(x, shape=(B, T, heads, x.shape[2] // heads)), axes=(0, 2, 1, 3))


def _join(x):
    """(B, H, T, D) -> (B, T, H*D)."""
    B, H, T, D = x.shape
    return reshape(transpose(x, axes=(0, 2, 1, 3)), shape=(B, T, H * D))


def _probabilities(xp, q, k, mask, causal, scale):
    """(B, H, T, S): softmax over the keys that may be seen; a row that sees none is zero."""
    scores = matmul(q, swapaxes(k, axis1=-1, axis2=-2)) * scale
    T, S = scores.shape[-2:]
    allowed = None
    if causal:
        module = array_module(q.data if type(q) is Tensor else q)
        allowed = module.arange(S)[None, :] <= module.arange(T)[:, None]
    if mask is not None:
        if mask.dtype == bool:
            allowed = mask if allowed is None else mask & allowed
        else:
            scores = scores + mask
    if S == 0:
        return scores
    if allowed is not None:
        scores = xp.where(allowed, scores, -math.inf)
    e = shifted_exp(xp, scores, -1)
    s = sum(e, axis=-1, keepdims=True)
    return e / xp.where(s == 0, 1.0, s)


def weights_of(xp, q, k, mask=None, *, heads=1, causal=False, scale=None):
    """(B, H, T, S): the weights of `attention` for these arrays, before any dropout."""
    scale = _checked_scale(q, k, k, mask, heads, scale)
    return _probabilities(xp, _split(q, heads), _split(k, heads), mask, causal, scale)


@op(kernel="attention.attention")
def attention(xp, q, k, v, mask=None, key=None, *, heads=1, causal=False, scale=None, dropout=0.0):
    """Each query's mean of the values, weighted by the softmax of its products with the keys.

    Args:
        q: (B, T, H*D), the heads side by side as a projection gives them.
        k: (B, S, H*D).
        v: (B, S, H*Dv).
        mask: broadcastable to (B, H, T, S); booleans, True where a query may see a key, or floats
            that are added to the scores.
        key: a `minigrad.random.Key` for dropout on the weights, or None for none.
        heads: H.
        causal: query i sees the keys 0..i only.
        scale: of the scores, 1/sqrt(D) by default.
        dropout: the probability that a weight is dropped.

    Returns:
        (B, T, H*Dv). A query that may see no key gets zeros, and no gradient flows.

    Raises:
        ShapeError: shapes do not fit.
        ValueError: there is dropout, but no `key`.
    """
    scale = _checked_scale(q, k, v, mask, heads, scale)
    if dropout and key is None:
        raise ValueError(f"attention: dropout of {dropout} needs a key; see minigrad.random")
    p = _probabilities(xp, _split(q, heads), _split(k, heads), mask, causal, scale)
    p = p if key is None else drop(p, key, p=dropout)
    y = _join(matmul(p, _split(v, heads)))
    return as_came(y, v) if is_half(v.dtype) else y


@attention.vjp
def _(g, _y, q, k, v, mask, key, **options):
    def of_mask():
        return attention_mask_grad(g, q, k, v, mask, key, **options)

    return *attention_grad(g, q, k, v, mask, key, **options), of_mask, None


@op(kernel="attention.attention_grad", outputs=3)
def attention_grad(
    xp, g, q, k, v, mask=None, key=None, *, heads=1, causal=False, scale=None, dropout=0.0
):
    """Gradients of q, k and v from that of the output; the weights are computed anew."""
    scale = _checked_scale(q, k, v, mask, heads, scale)
    g, q, k, v = _split(g, heads), _split(q, heads), _split(k, heads), _split(v, heads)
    p = _probabilities(xp, q, k, mask, causal, scale)
    dropped = p if key is None else drop(p, key, p=dropout)
    dv = matmul(swapaxes(dropped, axis1=-1, axis2=-2), g)
    ds = _scores_grad(g, p, v, key, dropout)
    dq = matmul(ds, k) * scale
    dk = matmul(swapaxes(ds, axis1=-1, axis2=-2), q) * scale
    return _join(dq), _join(dk), _join(dv)


@op
def attention_mask_grad(
    xp, g, q, k, v, mask, key=None, *, heads=1, causal=False, scale=None, dropout=0.0
):
    """(B, H, T, S): the gradient of the scores, and so of a mask that is added to them."""
    scale = _checked_scale(q, k, v, mask, heads, scale)
    g, q, k, v = _split(g, heads), _split(q, heads), _split(k, heads), _split(v, heads)
    p = _probabilities(xp, q, k, mask, causal, scale)
    return _scores_grad(g, p, v, key, dropout)


def _scores_grad(g, p, v, key, dropout):
    """The softmax's rule: from the gradient of the weights `p` to that of the scores."""
    dp = matmul(g, swapaxes(v, axis1=-1, axis2=-2))
    if key is not None:
        levels = batched.levels_of(p.data if type(p) is Tensor else p)
        dp = drop(dp, key, p=dropout, levels=levels)
    return p * (dp - sum(dp * p, axis=-1, keepdims=True))


def _checked_scale(q, k, v, mask, heads, scale):
    """The scale; raises where the shapes of an attention do not fit."""
    fits = (
        q.ndim == k.ndim == v.ndim == 3
        and q.shape[0] == k.shape[0] == v.shape[0]
        and q.shape[2] == k.shape[2]
        and k.shape[1] == v.shape[1]
        and heads > 0
        and q.shape[2] % heads == v.shape[2] % heads == 0
    )
    if not fits:
        raise ShapeError(
            f"attention: q must be (B, T, H*D), k (B, S, H*D) and v (B, S, H*Dv) with H = {heads}; "
            f"got {q.shape}, {k.shape}, {v.shape}"
        )
    if mask is not None:
        full = (q.shape[0], heads, q.shape[1], k.shape[1])
        if mask.ndim > 4 or any(
            n not in (1, m) for n, m in zip(mask.shape[::-1], full[::-1], strict=False)
        ):
            raise ShapeError(f"attention: the mask must broadcast to {full}, got {mask.shape}")
        if mask.dtype.kind in "iu":
            raise DtypeError(
                f"attention: the mask must be boolean (True: may be seen) or floats to add, got "
                f"{mask.dtype}"
            )
    D = q.shape[2] // heads
    return (1 / math.sqrt(D) if D else 1.0) if scale is None else scale


def scaled_dot_product_attention(
    q,
    k,
    v,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
    *,
    key=None,
):
    """Attention with PyTorch's interface: q (..., T, D), k (..., S, D), v (..., S, Dv).

    Args:
        q, k, v: their leading axes broadcast.
        attn_mask: broadcastable to (..., T, S); booleans (True: take part) or floats to add.
        dropout_p: the probability that a weight is dropped.
        is_causal: query i sees the keys 0..i only, together with what `attn_mask` allows.
        scale: of the scores, 1/sqrt(D) by default.
        enable_gqa: whether several heads of `q` (axis -3) share one of `k` and one of `v`: the
            number of its heads is a multiple of theirs (Ainslie et al., arXiv 2305.13245).
        key: for dropout; by default the next one of the current stream, see `minigrad.random`.

    Returns:
        (..., T, Dv); zeros for a query that may see no key.

    Raises:
        ShapeError: shapes do not fit.
        ValueError: `dropout_p` is no probability.
    """
    name = "scaled_dot_product_attention"
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout_p must be in [0, 1], got {dropout_p}")
    q, k, v, attn_mask = as_arrays(q, k, v, attn_mask)
    if enable_gqa:
        k, v = (_for_each_head(name, x, q) for x in (k, v))
    batch = _leading(q, k, v)
    if batch is None or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"{name}: q must be (..., T, D), k (..., S, D) and v (..., S, Dv), the leading axes "
            f"broadcasting; got {q.shape}, {k.shape}, {v.shape}"
        )
    if attn_mask is not None:
        attn_mask = _mask_of_one_head(attn_mask, (*batch, q.shape[-2], k.shape[-2]))
        if attn_mask.dtype.kind in "fV" and attn_mask.dtype != q.dtype:
            attn_mask = astype(attn_mask, dtype=q.dtype)
    q, k, v = (_one_head(x, batch) for x in (q, k, v))
    key = (key or random.next_key()) if dropout_p else None
    y = attention(q, k, v, attn_mask, key, causal=is_causal, scale=scale, dropout=dropout_p)
    return reshape(y, shape=(*batch, *y.shape[-2:]))


def _for_each_head(name, x, q):
    """`x` (..., few heads, S, D) with each head as often as `q` has heads for it."""
    if min(x.ndim, q.ndim) < 3 or not x.shape[-3] or q.shape[-3] % x.shape[-3]:
        raise ShapeError(
            f"{name}: with enable_gqa the heads of q, axis -3, must be a multiple of those of k "
            f"and v; got {q.shape} and {x.shape}"
        )
    times = q.shape[-3] // x.shape[-3]
    return x if times == 1 else repeat(x, repeats=times, axis=-3)


def _leading(*xs):
    """What the axes before the last two broadcast to; None if they do not."""
    if any(x.ndim < 2 for x in xs):
        return None
    try:
        return np.broadcast_shapes(*(x.shape[:-2] for x in xs))
    except ValueError:
        return None


def _one_head(x, batch):
    """(..., T, D) -> (B, T, D)."""
    matrix = x.shape[-2:]
    x = x if x.shape[:-2] == batch else broadcast_to(x, shape=(*batch, *matrix))
    return reshape(x, shape=(math.prod(batch), *matrix))


def _mask_of_one_head(mask, full):
    """The mask as (B or 1, 1, T or 1, S or 1)."""
    lengths = zip(mask.shape[::-1], full[::-1], strict=False)
    if mask.ndim > len(full) or any(n not in (1, m) for n, m in lengths):
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask must broadcast to {full}, got {mask.shape}"
        )
    mask = reshape(mask, shape=(1,) * (2 - mask.ndim) + mask.shape)
    batch, matrix = full[:-2], mask.shape[-2:]
    if math.prod(mask.shape[:-2]) == 1:
        return reshape(mask, shape=(1, 1, *matrix))
    mask = broadcast_to(mask, shape=(*batch, *matrix))
    return reshape(mask, shape=(math.prod(batch), 1, *matrix))

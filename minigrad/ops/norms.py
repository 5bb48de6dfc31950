"""Normalisation. Letters: N examples, C channels along axis 1, as in PyTorch."""

import math

import numpy as np

from minigrad.autodiff import Tensor, as_arrays, op
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import as_came, astype, half_widened, is_half
from minigrad.ops.elementwise import divide, hypot, maximum, multiply, sqrt, where
from minigrad.ops.reductions import (
    _centred,
    _length,
    axes_of,
    drop_axes,
    mean,
    norms_along,
    sum,
    var,
)
from minigrad.ops.shaping import reshape

__all__ = [
    "batch_norm", "batch_norm_stats", "group_norm", "layer_norm", "layer_norm_grad", "normalize",
    "renorm", "rms_norm",
]  # fmt: skip


def _check_features(name, where_, shape, weight, bias):
    for label, v in (("weight", weight), ("bias", bias)):
        if v is not None and v.shape != shape:
            raise ShapeError(
                f"{name}: {label} must have the shape of {where_} of x, {shape}; got {v.shape}"
            )


def _affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@op(outputs=2)
def _standardise(xp, x, *, axis=-1, eps=1e-5):
    """`x` with mean 0 and variance 1 along `axis`, and what it was divided by."""
    centred = _centred(x, axis=axis)
    std = _root_mean_square(centred, axis, eps)
    return centred / std, std


def _root_mean_square(x, axis, eps):
    """`sqrt(mean(x^2) + eps)` along `axis`, which is kept, without squaring `x`."""
    n = math.prod(x.shape[a] for a in axes_of(axis, x.ndim))
    if eps < 0:  # allowed by PyTorch; what is under the root may be negative, and then NaN
        return sqrt(mean(x * x, axis=axis, keepdims=True) + eps)
    return hypot(_length(x, axis=axis, keepdims=True) / math.sqrt(n or math.nan), math.sqrt(eps))


@_standardise.vjp
def _(g, y, _x, *, axis=-1, eps=1e-5):
    (g, gstd), (h, std) = g, y
    dx = 0.0
    if g is not None:
        dx = g - mean(g, axis=axis, keepdims=True) - h * mean(g * h, axis=axis, keepdims=True)
        dx = dx / std
    if gstd is not None:  # d std / dx = h / n
        n = math.prod(_x.shape[a] for a in axes_of(axis, _x.ndim))
        dx = dx + h * (gstd / (n or math.nan))
    return (dx,)


# ------------------------------------------------------------------------ over the features


@op(kernel="norms.layer_norm")
def layer_norm(xp, x, weight=None, bias=None, *, eps=1e-5):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axis.

    (Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450.)

    Args:
        x: (..., features).
        weight, bias: (features,) or None.
        eps: added to the (biased) variance.
    """
    _check_features("layer_norm", "the last axis", x.shape[-1:], weight, bias)
    return as_came(_affine(_standardise(half_widened(x), eps=eps)[0], weight, bias), x)


@layer_norm.vjp
def _(g, _y, x, weight, _bias, *, eps=1e-5):
    dx, dweight, dbias = layer_norm_grad(g, x, weight, eps=eps)
    return dx, None if weight is None else dweight, None if _bias is None else dbias


@op(kernel="norms.layer_norm_grad", outputs=3)
def layer_norm_grad(xp, g, x, weight, *, eps=1e-5):
    """Gradients of `x`, weight and bias of a layer norm from that of its output.

    With h the standardised `x` and g' = g * weight, that of `x` is
    (g' - mean(g') - h mean(g' h)) / std.
    """
    g, own = half_widened(g), x if weight is None else weight
    h, std = _standardise(half_widened(x), eps=eps)
    rows = tuple(range(x.ndim - 1))
    dbias = sum(g, axis=rows)
    dweight = sum(g * h, axis=rows)
    g = g if weight is None else g * weight
    dx = (g - mean(g, axis=-1, keepdims=True) - h * mean(g * h, axis=-1, keepdims=True)) / std
    return as_came(dx, x), as_came(dweight, own), as_came(dbias, own)


@op
def rms_norm(xp, x, weight=None, *, eps=None):
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis.

    (Zhang and Sennrich, "Root mean square layer normalization", arXiv 1910.07467.)

    Args:
        x: (..., features).
        weight: (features,) or None.
        eps: the spacing of floats at 1 by default, of float32 for half precision.
    """
    _check_features("rms_norm", "the last axis", x.shape[-1:], weight, None)
    if eps is None:
        wide = np.dtype("float32") if is_half(x.dtype) else x.dtype
        eps = float(np.finfo(wide if wide.kind == "f" else "float64").eps)
    if isinstance(x.data if type(x) is Tensor else x, np.ndarray):
        return _by_root_mean_square(x, weight, eps)  # programs know what it is made of
    return _rms_norm(x, weight, eps=eps)


def _by_root_mean_square(x, weight, eps):
    h = half_widened(x)
    return as_came(_affine(h / _root_mean_square(h, -1, eps), weight, None), x)


@op(kernel={"cupy": "cuda.norms.rms_norm"})
def _rms_norm(xp, x, weight=None, *, eps):
    """`rms_norm` as one op, where there is a kernel for it."""
    return _by_root_mean_square(x, weight, eps)


@_rms_norm.vjp
def _(g, _y, x, weight, *, eps):
    dx, dweight = _rms_norm_grad(g, x, weight, eps=eps)
    return dx, None if weight is None else dweight


@op(kernel={"cupy": "cuda.norms.rms_norm_grad"}, outputs=2)
def _rms_norm_grad(xp, g, x, weight, *, eps):
    """Gradients of `x` and weight of an RMS norm from that of its output.

    With h the `x` that is divided and g' = g * weight, that of `x` is (g' - h mean(g' h)) / root.
    """
    g, wide, own = half_widened(g), half_widened(x), x if weight is None else weight
    root = _root_mean_square(wide, -1, eps)
    h = wide / root
    dweight = sum(g * h, axis=tuple(range(x.ndim - 1)))
    g = g if weight is None else g * weight
    dx = (g - h * mean(g * h, axis=-1, keepdims=True)) / root
    return as_came(dx, x), as_came(dweight, own)


# ------------------------------------------------------------------------- over the examples


def _channels(name, x, *parameters):
    """The parameters (C,) as (C, 1, ...), to meet `x` (N, C, ...)."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: x must be (N, C, ...), got {x.shape}")
    for v in parameters:
        if v is not None and v.shape != x.shape[1:2]:
            raise ShapeError(
                f"{name}: weight, bias and statistics must have the shape of the channels of x, "
                f"{x.shape[1:2]}; got {v.shape}"
            )
    column = (-1,) + (1,) * (x.ndim - 2)
    return [v if v is None else reshape(v, shape=column) for v in parameters]


def _all_but_channels(x):
    return (0, *range(2, x.ndim))


def _more_than_one(name, n, x):
    if n == 1:
        raise ShapeError(
            f"{name}: expected more than 1 value per channel when training, got x of shape "
            f"{x.shape}; use given statistics, or more examples"
        )


@op
def batch_norm(xp, x, running_mean=None, running_var=None, weight=None, bias=None, *, eps=1e-5):
    """`(x - mean) / sqrt(var + eps) * weight + bias` for each channel.

    (Ioffe and Szegedy, "Batch normalization", arXiv 1502.03167.)

    Args:
        x: (N, C, ...).
        running_mean, running_var: (C,), the statistics to use; None for those of `x` itself, with
            the biased variance, as in training.
        weight, bias: (C,) or None.
        eps: added to the variance.

    Raises:
        ShapeError: shapes do not fit; or the statistics of one value per channel are asked for.
        ValueError: only one of the two running statistics is given.
    """
    m, v, w, b = _channels("batch_norm", x, running_mean, running_var, weight, bias)
    if (m is None) != (v is None):
        raise ValueError("batch_norm: give both running_mean and running_var, or neither")
    if m is None:
        axis = _all_but_channels(x)
        _more_than_one("batch_norm", math.prod(x.shape[a] for a in axis), x)
        return _batch_norm_train(x, weight, bias, eps=eps)
    scale = 1 / xp.sqrt(half_widened(v) + eps)
    return as_came(_affine(half_widened(x) - m, scale if w is None else scale * w, b), x)


@op(kernel="norms.batch_norm_train")
def _batch_norm_train(xp, x, weight=None, bias=None, *, eps=1e-5):
    """`batch_norm` with the statistics of `x` (N, C, ...) itself."""
    w, b = _channels("batch_norm", x, weight, bias)
    h = _standardise(half_widened(x), axis=_all_but_channels(x), eps=eps)[0]
    return as_came(_affine(h, w, b), x)


@_batch_norm_train.vjp
def _(g, _y, x, weight, _bias, *, eps=1e-5):
    dx, dweight, dbias = _batch_norm_grad(g, x, weight, eps=eps)
    return dx, None if weight is None else dweight, None if _bias is None else dbias


@op(kernel="norms.batch_norm_grad", outputs=3)
def _batch_norm_grad(xp, g, x, weight=None, *, eps=1e-5):
    """Gradients of `x`, weight and bias of `_batch_norm_train` from that of its output.

    As `layer_norm_grad`, with means over all axes but that of the channels.
    """
    g, axis, own = half_widened(g), _all_but_channels(x), x if weight is None else weight
    h, std = _standardise(half_widened(x), axis=axis, eps=eps)
    dbias, dweight = sum(g, axis=axis), sum(g * h, axis=axis)
    (w,) = _channels("batch_norm", x, weight)
    g = g if w is None else g * w
    dx = g - mean(g, axis=axis, keepdims=True) - h * mean(g * h, axis=axis, keepdims=True)
    return as_came(dx / std, x), as_came(dweight, own), as_came(dbias, own)


@op(kernel="norms.batch_norm_stats", outputs=2)
def batch_norm_stats(xp, x, running_mean, running_var, *, momentum=0.1):
    """The running mean and variance after a batch: each `(1 - momentum) * old + momentum * new`.

    Nothing is written, and the results have no history. The new variance is the unbiased one, as
    in PyTorch: divided by `n - 1` for `n` values per channel.

    Args:
        x: (N, C, ...).
        running_mean, running_var: (C,).
    """
    _channels("batch_norm_stats", x, running_mean, running_var)
    axis, wide = _all_but_channels(x), half_widened(x)
    new = mean(wide, axis=axis), var(wide, axis=axis, correction=1)
    return tuple(
        as_came(old * (1 - momentum) + v * momentum, old)
        for old, v in zip((running_mean, running_var), new, strict=True)
    )


batch_norm_stats.no_gradient()


def group_norm(x, num_groups: int, weight=None, bias=None, eps: float = 1e-5):
    """Mean 0 and variance 1 over each group of channels of each example, then scaled and shifted.

    (Wu and He, "Group normalization", arXiv 1803.08494.) With one channel in each group it is an
    instance norm (arXiv 1607.08022).

    Args:
        x: (N, C, ...).
        num_groups: a divisor of C.
        weight, bias: (C,) or None.
        eps: added to the (biased) variance.

    Raises:
        ShapeError: shapes do not fit, or there is one value in all.
    """
    x, weight, bias = as_arrays(x, weight, bias)
    w, b = _channels("group_norm", x, weight, bias)
    N, C, *lengths = x.shape
    if num_groups < 1 or C % num_groups:
        raise ShapeError(f"group_norm: {C} channels do not divide into {num_groups} groups")
    size = C // num_groups * math.prod(lengths)
    _more_than_one("group_norm", N * size, x)
    groups = reshape(half_widened(x), shape=(N, num_groups, size))
    h = reshape(_standardise(groups, eps=eps)[0], shape=x.shape)
    return as_came(_affine(h, w, b), x)


# ------------------------------------------------------------------------------- to length 1


def p_norm(x, p: float = 2.0, axis=None, keepdims: bool = False):
    """The p-norm `sum(|x|^p)^(1/p)` along `axis`; its gradient at the zero vector is 0.

    Args:
        p: any number: inf for the largest size, -inf for the smallest, 0 for how many are not 0.
        axis: an int, a tuple, or None for all.
    """
    (x,) = as_arrays(x)
    x = astype(x, dtype="float32") if x.dtype.kind in "iub" else x
    y = norms_along(half_widened(x), p, axes_of(axis, x.ndim))
    return as_came(drop_axes(y, axis, keepdims), x)


def renorm(x, p: float, axis: int, maxnorm: float):
    """`x` with each slice at an index of `axis` whose p-norm exceeds `maxnorm` scaled to that."""
    (x,) = as_arrays(x)
    axis %= x.ndim
    norms = p_norm(x, p, tuple(a for a in range(x.ndim) if a != axis), keepdims=True)
    longer = norms > maxnorm
    return multiply(x, where(longer, maxnorm / where(longer, norms, 1.0), 1.0))


def normalize(x, p: float = 2.0, axis=1, eps: float = 1e-12):
    """`x` divided by its p-norm along `axis`, or by `eps` where that is larger."""
    return divide(x, maximum(p_norm(x, p, axis, keepdims=True), eps))

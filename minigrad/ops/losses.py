"""Loss functions, with PyTorch's names and conventions.

`reduction` is 'mean', 'sum' or 'none'. An array of targets has the shape of `x` unless it says
otherwise: losses do not broadcast, where that would hide a mistake.
"""

import math

import numpy as np

from minigrad.autodiff import Tensor, as_array, as_arrays, on_device_of, op
from minigrad.backend import refuse_while_capturing, to_numpy
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError
from minigrad.ops.dtypes import as_came, astype, half_widened
from minigrad.ops.elementwise import (
    absolute,
    add,
    divide,
    exp,
    hypot,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    ones_like,
    sigmoid,
    stop_gradient,
    subtract,
    where,
)
from minigrad.ops.indexing import (
    _in_range,
    checked_ids,
    one_hot,
    refuse_where,
    take,
    take_along_axis,
)
from minigrad.ops.norms import p_norm
from minigrad.ops.reductions import cumprod, logsumexp, mean, sum
from minigrad.ops.shaping import broadcast_to, concatenate, expand_dims, moveaxis, reshape, stack
from minigrad.ops.softmaxes import log_softmax, softmax

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cdist", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "cross_entropy_rows", "cross_entropy_rows_grad",
    "ctc_loss", "dist", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div",
    "l1_loss", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "pairwise_distance", "pdist", "poisson_nll_loss",
    "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")


def _check_reduction(name, reduction, known=REDUCTIONS):
    if reduction not in known:
        raise ValueError(f"{name}: reduction must be one of {known}, got {reduction!r}")


def _reduced(name, loss, reduction):
    """The losses of all elements, their sum or their mean."""
    _check_reduction(name, reduction)
    return loss if reduction == "none" else (mean if reduction == "mean" else sum)(loss)


def _shape(x):
    return getattr(x, "shape", ())  # of a number


def _check_same(name, **arrays):
    shapes = {label: _shape(x) for label, x in arrays.items()}
    if len(set(shapes.values())) != 1:
        came = ", ".join(f"{label} {shape}" for label, shape in shapes.items())
        raise ShapeError(f"{name}: the shapes must be the same, got {came}")


def _at_least_zero(x):
    """`max(x, 0)` with derivative 1 at 0, as PyTorch's losses have it."""
    return where(x < 0, 0.0, x)


@op
def _softplus(xp, x):
    """`log(1 + exp(x))` without overflow."""
    return maximum(x, 0.0) + xp.log1p(xp.exp(-absolute(x)))


@_softplus.vjp
def _(g, _y, x):
    return g * sigmoid(x)


# ----------------------------------------------------------------------------- regression


@op
def mse_loss(xp, x, target, *, reduction="mean"):
    """The squared differences of `x` and `target`."""
    _check_same("mse_loss", x=x, target=target)
    d = subtract(x, target)
    return _reduced("mse_loss", d * d, reduction)


@op
def l1_loss(xp, x, target, *, reduction="mean"):
    """The sizes of the differences of `x` and `target`; where they are equal the gradient is 0."""
    _check_same("l1_loss", x=x, target=target)
    return _reduced("l1_loss", absolute(subtract(x, target)), reduction)


@op
def huber_loss(xp, x, target, *, reduction="mean", delta=1.0):
    """`d^2 / 2` for differences up to `delta`, further out `delta (|d| - delta / 2)`.

    (Huber, "Robust estimation of a location parameter", 1964.)

    Raises:
        ValueError: `delta` is not positive.
    """
    _check_same("huber_loss", x=x, target=target)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    d = subtract(x, target)
    size = absolute(d)
    loss = where(size <= delta, multiply(0.5, d * d), multiply(delta, subtract(size, 0.5 * delta)))
    return _reduced("huber_loss", loss, reduction)


@op
def smooth_l1_loss(xp, x, target, *, reduction="mean", beta=1.0):
    """The Huber loss divided by `beta`: slope 1 beyond `beta`; with `beta=0` it is `l1_loss`.

    (Girshick, "Fast R-CNN", arXiv 1504.08083.)

    Raises:
        ValueError: `beta` is negative.
    """
    _check_same("smooth_l1_loss", x=x, target=target)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(x, target, reduction=reduction)
    d = subtract(x, target)
    size = absolute(d)
    loss = where(size < beta, multiply(d * d, 0.5 / beta), subtract(size, 0.5 * beta))
    return _reduced("smooth_l1_loss", loss, reduction)


@op
def gaussian_nll_loss(xp, x, target, var, *, full=False, eps=1e-6, reduction="mean"):
    """`(log(var) + (x - target)^2 / var) / 2`: for `target` from a normal distribution.

    (Nix and Weigend, "Estimating the mean and variance of the target probability distribution",
    1994.)

    Args:
        x, target: broadcast, other than those of most losses; PyTorch's do.
        var: a number; the shape of `x`; or that without the last axis, or with 1 for some.
        full: whether to add the constant `log(2 pi) / 2`.
        eps: the least variance; a smaller one counts as `eps`, but gets its gradient all the same.

    Raises:
        ValueError: a variance is negative (looked at on the host only), or `eps` not positive.
        ShapeError: the shape of `var` does not fit.
    """
    name = "gaussian_nll_loss"
    _common_shape(name, x, target)
    if not eps > 0:
        raise ValueError(f"{name}: eps must be positive, got {eps}")
    if _shape(var) == x.shape[:-1] != x.shape:
        var = var if x.ndim == 1 else expand_dims(var, axis=-1)
    elif _shape(var) and (
        var.ndim != x.ndim or any(n not in (1, m) for n, m in zip(var.shape, x.shape, strict=True))
    ):
        raise ShapeError(f"{name}: var of shape {_shape(var)} does not fit x of shape {x.shape}")
    on_host = var.data if type(var) is Tensor else var
    if isinstance(on_host, np.ndarray | int | float) and np.any(on_host < 0):
        raise ValueError(f"{name}: var must not be negative")
    if isinstance(var, int | float):
        var = max(float(var), eps)
        logarithm = math.log(var)
    else:
        var = var + stop_gradient(maximum(var, eps) - var)
        logarithm = log(var)
    d = subtract(x, target)
    loss = multiply(0.5, add(divide(d * d, var), logarithm))
    loss = add(loss, 0.5 * math.log(2 * math.pi)) if full else loss
    return _reduced(name, loss, reduction)


@op
def poisson_nll_loss(xp, x, target, *, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """For `target` from a Poisson distribution: `exp(x) - target x`, or `x - target log(x + eps)`.

    Args:
        log_input: whether `x` is the logarithm of the mean: the first form.
        full: whether to add Stirling's approximation of `log(target!)` where `target > 1`.
        eps: against the logarithm of 0.
    """
    _check_same("poisson_nll_loss", x=x, target=target)
    if log_input:
        loss = subtract(exp(x), multiply(target, x))
    else:
        loss = subtract(x, multiply(target, log(add(x, eps))))
    if full:
        t = where(target > 1, target, ones_like(x))
        stirling = t * log(t) - t + multiply(0.5, log(multiply(2 * math.pi, t)))
        loss = loss + where(target > 1, stirling, 0.0)
    return _reduced("poisson_nll_loss", loss, reduction)


# -------------------------------------------------------------------------- probabilities


@op
def _bce(xp, x, target):
    """`-target log(x) - (1 - target) log(1 - x)`, each logarithm at least -100."""
    at0, at1 = x <= 0, x >= 1
    log_x = where(at0, -100.0, maximum(log(where(at0, 1.0, x)), -100.0))
    log_one = where(at1, -100.0, maximum(log1p(-where(at1, 0.0, x)), -100.0))
    return -(multiply(target, log_x) + multiply(1 - target, log_one))


def _bce_x(g, _y, x, target):
    return g * subtract(x, target) / maximum(x * (1 - x), 1e-12)


def _bce_target(g, _y, x, _target):
    zeros = x * 0.0  # -log(x) + log(1 - x): the loss is linear in the target
    return g * (_bce(x, zeros + 1.0) - _bce(x, zeros))


_bce.vjps(_bce_x, _bce_target)


@op
def binary_cross_entropy(xp, x, target, weight=None, *, reduction="mean"):
    """`-target log(x) - (1 - target) log(1 - x)` for probabilities `x`.

    Each logarithm counts as at least -100, and the gradient divides by at least 1e-12, so that
    both stay finite at 0 and 1.

    Args:
        target: in [0, 1], the shape of `x`.
        weight: of each element, broadcastable to `x`; or None.

    Raises:
        ValueError: an `x` is outside [0, 1].
    """
    name = "binary_cross_entropy"
    _check_same(name, x=x, target=target)
    array = as_array(x)
    refuse_where(
        (array < 0) | (array > 1),
        ValueError(
            f"{name}: x must be in [0, 1]; for logits there is binary_cross_entropy_with_logits"
        ),
    )
    loss = _bce(x, target)
    return _reduced(name, _weighted(name, loss, weight), reduction)


def _weighted(name, loss, weight):
    if weight is None:
        return loss
    y = multiply(loss, weight)
    if y.shape != loss.shape:
        raise ShapeError(f"{name}: weight {weight.shape} does not broadcast to {loss.shape}")
    return y


@op
def _bce_of_logits(xp, x, target):
    """`log(1 + exp(x)) - target x`; what is small is added last, so that it counts."""
    return subtract(maximum(x, 0.0), multiply(target, x)) + log1p(exp(-absolute(x)))


_bce_of_logits.vjps(
    lambda g, _y, x, target: g * subtract(sigmoid(x), target),
    lambda g, _y, x, _target: -g * x,
)


@op
def binary_cross_entropy_with_logits(
    xp, x, target, weight=None, pos_weight=None, *, reduction="mean"
):
    """`binary_cross_entropy(sigmoid(x), target)`, computed without forming the sigmoid.

    Args:
        target: in [0, 1], the shape of `x`.
        weight: of each element, broadcastable to `x`; or None.
        pos_weight: of the part `-target log(sigmoid(x))`, broadcastable to `x`; or None.
    """
    name = "binary_cross_entropy_with_logits"
    _check_same(name, x=x, target=target)
    if pos_weight is None:
        loss = _bce_of_logits(x, target)
    else:
        positive = _weighted(name, multiply(target, _softplus(-x)), pos_weight)
        loss = positive + multiply(subtract(1, target), _softplus(x))
    return _reduced(name, _weighted(name, loss, weight), reduction)


@op
def kl_div(xp, x, target, *, reduction="mean", log_target=False):
    """`target (log(target) - x)`: the Kullback-Leibler divergence of `target` from `exp(x)`.

    Args:
        x: logarithms of probabilities.
        target: probabilities; 0 log(0) counts as 0, with derivative 0.
        reduction: also 'batchmean', the sum over the number of rows: the divergence itself.
        log_target: whether `target` holds logarithms.
    """
    _check_same("kl_div", x=x, target=target)
    _check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    if target.dtype.kind in "iub":
        target = astype(target, dtype=x.dtype)
    if log_target:
        loss = multiply(exp(target), subtract(target, x))
    else:
        logarithm = log(where(target == 0, 1.0, target))
        loss = subtract(multiply(target, logarithm), multiply(target, x))
    if reduction == "batchmean":
        return sum(loss) / ((x.shape[0] if x.ndim else 1) or math.nan)
    return _reduced("kl_div", loss, reduction)


# -------------------------------------------------------------------------------- classes


@op(kernel="losses.cross_entropy_rows")
def cross_entropy_rows(xp, x, target, *, ignore_index=-100, label_smoothing=0.0):
    """(N,) cross entropies of the softmax of each row of `x` with its target class.

    Args:
        x: (N, C) logits.
        target: (N,) integers in [0, C), or `ignore_index`, whose rows get 0.
        label_smoothing: e: the target has weight 1 - e, and every class e / C (Szegedy et al.,
            arXiv 1512.00567).
    """
    counted, safe = _counted(xp, x, target, ignore_index)
    logp = log_softmax(x, axis=-1)
    loss = -take_along_axis(logp, safe[:, None], axis=-1)[:, 0]
    if label_smoothing:
        uniform = -sum(logp, axis=-1) / max(x.shape[1], 1)
        loss = loss * (1 - label_smoothing) + uniform * label_smoothing
    return as_came(xp.where(counted, loss, 0.0), x)


def _counted(xp, x, target, ignore_index):
    """Which rows count, and targets that are in range for the others too."""
    if x.ndim != 2 or target.shape != x.shape[:1]:
        raise ShapeError(
            f"cross_entropy_rows: x must be (N, C) and target (N,), got {x.shape} and "
            f"{target.shape}"
        )
    counted = target != ignore_index
    safe = checked_ids("cross_entropy", target * counted, x.shape[1], low=0)
    return counted, safe


@cross_entropy_rows.vjp
def _(g, _y, x, target, *, ignore_index=-100, label_smoothing=0.0):
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    return cross_entropy_rows_grad(g, x, target, **options), None


@op(kernel="losses.cross_entropy_rows_grad")
def cross_entropy_rows_grad(xp, g, x, target, *, ignore_index=-100, label_smoothing=0.0):
    """The gradient of the logits: softmax minus (smoothed) one-hot target, times `g` (N,)."""
    counted, safe = _counted(xp, x, target, ignore_index)
    C = x.shape[1]
    hit = astype(one_hot(safe, num_classes=C), dtype=x.dtype)
    hit = hit * (1 - label_smoothing) + label_smoothing / max(C, 1)
    g = xp.where(counted, g, 0.0)
    return as_came((softmax(x, axis=-1) - hit) * expand_dims(g, axis=-1), x)


@op
def cross_entropy(
    xp,
    x,
    target,
    weight=None,
    *,
    axis=-1,
    ignore_index=-100,
    label_smoothing=0.0,
    reduction="mean",
    empty_is_zero=True,
):
    """The cross entropy of the softmax of `x` along `axis` with targets.

    Args:
        x: logits of any shape, classes along `axis`.
        target: integers, the shape of `x` without `axis`: classes. Or floats, the shape of `x`:
            the probabilities of all classes.
        weight: (C,), of each class; or None.
        axis: of the classes: the last by default. `nn.functional.cross_entropy` and the layers
            have them along axis 1 by default, as PyTorch does.
        ignore_index: a target class that does not count.
        label_smoothing: weight that is spread evenly over all classes, in [0, 1].
        reduction: 'mean' over the targets that count, in terms of their classes' weights; for
            probabilities over all. 'sum' or 'none'.
        empty_is_zero: whether the mean is 0 if no target counts, so that a batch of padding trains
            nothing; or NaN, as in `nn.functional` and PyTorch.

    Raises:
        ShapeError: shapes do not fit, or a target is out of range.
        ValueError: `label_smoothing` is not in [0, 1]; or a class is to be ignored, but the targets
            are probabilities.
    """
    name = "cross_entropy"
    _check_reduction(name, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if not hasattr(target, "shape"):
        target = on_device_of([x], target)
    if x.ndim and target.shape == x.shape and target.dtype.kind in "fV":
        if ignore_index >= 0:
            raise ValueError(f"{name}: ignore_index does not apply to probabilities as targets")
        x, target = (moveaxis(v, axis, -1) for v in (x, target))
        _check_class_weight(name, weight, x)
        if label_smoothing:
            share = label_smoothing / max(x.shape[-1], 1)
            target = add(multiply(target, 1 - label_smoothing), share)
        logp = log_softmax(x, axis=-1)
        logp = logp if weight is None else multiply(logp, weight)
        return _reduced(name, -sum(multiply(logp, target), axis=-1), reduction)
    x, rows, ids = _rows_of_classes(name, x, target, weight, axis)
    options = {"ignore_index": ignore_index}
    if weight is None:
        loss = cross_entropy_rows(rows, ids, label_smoothing=label_smoothing, **options)
        if reduction == "mean":
            options["empty_is_zero"] = empty_is_zero
            return divide(sum(loss), _count_of(loss, ids, **options))
        return _mean_of_classes(loss, target, reduction, None, empty_is_zero)
    own = _weights_of(name, weight, ids, ignore_index)
    loss = multiply(cross_entropy_rows(rows, ids, **options), own)
    if label_smoothing:
        each = -sum(multiply(log_softmax(rows, axis=-1), weight), axis=-1)
        each = where(ids != ignore_index, each, 0.0) / max(rows.shape[1], 1)
        loss = add(multiply(loss, 1 - label_smoothing), multiply(each, label_smoothing))
    return _mean_of_classes(loss, target, reduction, own, empty_is_zero)


@op
def nll_loss(
    xp,
    x,
    target,
    weight=None,
    *,
    axis=-1,
    ignore_index=-100,
    reduction="mean",
    empty_is_zero=True,
):
    """`-x` at the target classes, for logarithms `x` of the probabilities of all classes.

    Arguments, and what the mean is taken over, are those of `cross_entropy`.
    """
    name = "nll_loss"
    _check_reduction(name, reduction)
    if not hasattr(target, "shape"):
        target = on_device_of([x], target)
    x, rows, ids = _rows_of_classes(name, x, target, weight, axis)
    counts = ids != ignore_index
    safe = _in_range(ids * counts, name=name, n=rows.shape[1], low=0)
    loss = -take_along_axis(rows, expand_dims(safe, axis=-1), axis=-1)[:, 0]
    loss = where(counts, loss, 0.0)
    if weight is None:
        return _mean_of_classes(loss, target, reduction, counts, empty_is_zero)
    own = _weights_of(name, weight, ids, ignore_index)
    return _mean_of_classes(multiply(loss, own), target, reduction, own, empty_is_zero)


def _plain(ids):
    return ids.data if type(ids) is Tensor else ids


def _rows_of_classes(name, x, target, weight, axis):
    """`x` with the classes last, that as rows (n, C), and the target classes (n,)."""
    given = x.shape
    if x.ndim and axis % x.ndim != x.ndim - 1:
        x = moveaxis(x, axis, -1)
    if not x.ndim or target.shape != x.shape[:-1]:
        fits = [a for a in (-1, 1) if x.ndim > 2 and target.shape == _without(given, a)]
        raise ShapeError(
            f"{name}: with classes along axis {axis} of {given}, target must have shape "
            f"{x.shape[:-1]}, or be floats in the shape of x; got {target.dtype} {target.shape}"
            + (f"; it fits axis={fits[0]}" if fits else "")
        )
    if target.dtype.kind not in "iu":
        raise DtypeError(f"{name}: target classes must be integers, got {target.dtype}")
    _check_class_weight(name, weight, x)
    n = math.prod(target.shape)
    return x, reshape(x, shape=(n, x.shape[-1])), reshape(target, shape=(n,))


def _without(shape, axis):
    """The lengths but for that of `axis`."""
    return tuple(n for a, n in enumerate(shape) if a != axis % len(shape))


def _check_class_weight(name, weight, x):
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ShapeError(f"{name}: weight must be {x.shape[-1:]}, one a class; got {weight.shape}")


def _weights_of(name, weight, ids, ignore_index):
    """(n,) weights of the target classes, 0 for a target that does not count."""
    counts = ids != ignore_index
    safe = _in_range(ids * counts, name=name, n=weight.shape[0], low=0)
    return where(counts, take(weight, safe, axis=0), 0.0)


@op(kernel={"cupy": "cuda.losses.count_of"})
def _count_of(xp, like, ids, *, ignore_index, empty_is_zero=True):
    """How many ids are not `ignore_index`, in the dtype of `like`; if none, 1 or NaN."""
    return _never_zero(astype(sum(ids != ignore_index), dtype=like.dtype), empty_is_zero)


_count_of.no_gradient()


def _never_zero(total, empty_is_zero):
    """What a sum of losses is divided by: by 1 to stay 0, or by NaN."""
    return where(total == 0, 1.0 if empty_is_zero else math.nan, total)


def _mean_of_classes(loss, target, reduction, weights, empty_is_zero):
    """(n,) losses, already weighted, in the shape of `target`; or their sum or weighted mean."""
    if reduction == "none":
        return reshape(loss, shape=target.shape)
    if reduction == "sum":
        return sum(loss)
    total = astype(sum(weights), dtype=loss.dtype)
    return divide(sum(loss), _never_zero(total, empty_is_zero))


@op
def multi_margin_loss(xp, x, target, weight=None, *, p=1, margin=1.0, reduction="mean"):
    """The mean over all classes i but the target y of `max(0, margin - x[y] + x[i])^p`, times w[y].

    The mean divides by the number of all classes.

    Args:
        x: (N, C) or (C,) scores; () counts as (1,).
        target: integers in [0, C): (N,); () or (1,) without N.
        p: 1 or 2.
        weight: (C,), of each class; or None.

    Raises:
        ValueError: `p` is neither 1 nor 2.
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{name}: p must be 1 or 2, got {p}")
    target = target if hasattr(target, "shape") else on_device_of([x], target)
    shape = target.shape
    if x.ndim < 2 and shape in ((), (1,)):
        x, target = reshape(x, shape=(1, x.size)), reshape(target, shape=(1,))
    x, rows, ids = _rows_of_classes(name, x, target, weight, -1)
    C = rows.shape[1]
    safe = _in_range(ids, name=name, n=C, low=0)
    own = take_along_axis(rows, expand_dims(safe, axis=-1), axis=-1)
    over = subtract(margin, own) + rows
    over = where((over <= 0) | (one_hot(safe, num_classes=C) == 1), 0.0, over)
    over = over if p == 1 else over * over
    loss = sum(over, axis=-1) / max(C, 1)
    loss = loss if weight is None else multiply(loss, take(weight, safe, axis=0))
    return _reduced(name, reshape(loss, shape=shape), reduction)


@op
def multilabel_margin_loss(xp, x, target, *, reduction="mean"):
    """The sum over targets y and all classes i but the targets of `max(0, 1 - x[y] + x[i])`, / C.

    Args:
        x: (N, C) or (C,) scores; () counts as (1,).
        target: the shape of `x`: integers in [0, C), of which those before the first -1 count.

    Raises:
        ShapeError: `x` has more than two axes.
    """
    name = "multilabel_margin_loss"
    _check_same(name, x=x, target=target)
    _check_reduction(name, reduction)
    if x.ndim > 2:
        raise ShapeError(f"{name}: x must be (N, C) or (C,), got {x.shape}")
    if not x.ndim:
        x, target = reshape(x, shape=(1,)), reshape(target, shape=(1,))
    C = x.shape[-1]
    counts = cumprod(target != -1, axis=-1, dtype="int64") == 1
    safe = _in_range(where(counts, target, 0), name=name, n=max(C, 1), low=0)
    wanted = sum(one_hot(safe, num_classes=C) * expand_dims(counts, axis=-1), axis=-2) > 0
    own = expand_dims(take_along_axis(x, safe, axis=-1), axis=-1)
    over = subtract(1.0, own) + expand_dims(x, axis=-2)  # (N, targets, C)
    out = (over <= 0) | expand_dims(wanted, axis=-2) | (expand_dims(counts, axis=-1) == 0)
    loss = sum(where(out, 0.0, over), axis=(-2, -1)) / max(C, 1)
    return _reduced(name, loss, reduction)


# -------------------------------------------------------------------------- targets 1 and -1


@op
def soft_margin_loss(xp, x, target, *, reduction="mean"):
    """`log(1 + exp(-target x))` for targets 1 and -1."""
    _check_same("soft_margin_loss", x=x, target=target)
    return _reduced("soft_margin_loss", _softplus(-multiply(target, x)), reduction)


@op
def multilabel_soft_margin_loss(xp, x, target, weight=None, *, reduction="mean"):
    """The mean over the last axis of `binary_cross_entropy_with_logits(x, target, weight)`."""
    loss = binary_cross_entropy_with_logits(x, target, weight, reduction="none")
    return _reduced("multilabel_soft_margin_loss", mean(loss, axis=-1), reduction)


@op
def hinge_embedding_loss(xp, x, target, *, margin=1.0, reduction="mean"):
    """`x` where `target` is 1, `max(0, margin - x)` where it is -1; derivative -1 at the margin."""
    _check_same("hinge_embedding_loss", x=x, target=target)
    far = _at_least_zero(subtract(margin, x))
    loss = where(target != -1, x, 0.0) + where(target != 1, far, 0.0)
    return _reduced("hinge_embedding_loss", loss, reduction)


@op
def margin_ranking_loss(xp, x1, x2, target, *, margin=0.0, reduction="mean"):
    """`max(0, margin - target (x1 - x2))`: with target 1 `x1` shall be larger, with -1 `x2`.

    Where both are at the margin the derivative is that of the side with a loss.
    """
    _check_same("margin_ranking_loss", x1=x1, x2=x2, target=target)
    loss = _at_least_zero(subtract(margin, multiply(target, subtract(x1, x2))))
    return _reduced("margin_ranking_loss", loss, reduction)


# ------------------------------------------------------------------------------- distances


@op
def cosine_similarity(xp, x1, x2, *, axis=1, eps=1e-8):
    """`<x1, x2> / (max(|x1|, eps) max(|x2|, eps))` along `axis`; the shapes broadcast."""
    shape = _common_shape("cosine_similarity", x1, x2)
    x1, x2 = (broadcast_to(x, shape=shape) for x in (x1, x2))
    n1, n2 = (maximum(p_norm(x, 2, axis, keepdims=True), eps) for x in (x1, x2))
    return sum(multiply(divide(x1, n1), divide(x2, n2)), axis=axis)


def _common_shape(name, x1, x2):
    try:
        return np.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ShapeError(f"{name}: {x1.shape} and {x2.shape} do not broadcast") from None


@op
def pairwise_distance(xp, x1, x2, *, p=2.0, eps=1e-6, keepdims=False):
    """The p-norm of `x1 - x2 + eps` along the last axis; the shapes broadcast.

    `eps` keeps the derivative away from the kink at 0.
    """
    return p_norm(add(subtract(x1, x2), eps), p, -1, keepdims)


def dist(a, b, p: float = 2.0):
    """The p-norm of all elements of `a - b`; the shapes broadcast."""
    return p_norm(subtract(a, b), p)


def cdist(x1, x2, p: float = 2.0):
    """The p-norm of the difference of each row of `x1` and each of `x2`.

    Args:
        x1, x2: (..., n, D) and (..., m, D), for (..., n, m); the other axes broadcast.

    Raises:
        ShapeError: the rows are of two lengths.
    """
    x1, x2 = as_arrays(x1, x2)
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"cdist: expected (..., n, D) and (..., m, D), got {x1.shape} and {x2.shape}"
        )
    difference = subtract(expand_dims(x1, axis=-2), expand_dims(x2, axis=-3))
    if not x1.shape[-1]:
        return sum(difference, axis=-1)  # of nothing there is no largest
    return p_norm(difference, p, -1)


def pdist(x, p: float = 2.0):
    """The p-norms of the differences of any two rows of `x` (n, D): (n (n - 1) / 2,).

    They are in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises:
        ShapeError: `x` has not two axes.
    """
    (x,) = as_arrays(x)
    if x.ndim != 2:
        raise ShapeError(f"pdist: expected (n, D), got shape {x.shape}")
    i, j = (on_device_of([x], ids) for ids in np.triu_indices(x.shape[0], 1))
    difference = subtract(x[i], x[j])
    return p_norm(difference, p, -1) if x.shape[1] else sum(difference, axis=-1)


@op
def cosine_embedding_loss(xp, x1, x2, target, *, margin=0.0, reduction="mean"):
    """`1 - cos(x1, x2)` where `target` is 1, `max(0, cos(x1, x2) - margin)` where it is -1.

    Args:
        x1, x2: (N, D) or (D,).
        target: (N,) or ().

    Raises:
        ShapeError: shapes do not fit.
    """
    name = "cosine_embedding_loss"
    _check_same(name, x1=x1, x2=x2)
    if x1.ndim not in (1, 2) or _shape(target) != x1.shape[:-1]:
        raise ShapeError(
            f"{name}: x1 and x2 must be (N, D) and target (N,), or without N; got {x1.shape} and "
            f"{_shape(target)}"
        )
    # Over sqrt(square + 1e-12), one after the other: products and squares may be too large.
    n1, n2 = (hypot(p_norm(x, 2, -1, keepdims=True), 1e-6) for x in (x1, x2))
    cosine = sum(divide(x1, n1) * divide(x2, n2), axis=-1)
    far = _at_least_zero(subtract(cosine, margin))
    loss = where(target == 1, 1 - cosine, 0.0) + where(target == -1, far, 0.0)
    return _reduced(name, loss, reduction)


@op
def triplet_margin_loss(
    xp, anchor, positive, negative, *, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"
):
    """`max(0, margin + d(anchor, positive) - d(anchor, negative))`, d the `pairwise_distance`.

    Args:
        anchor, positive, negative: (N, D) or (D,).
        swap: whether the negative's distance is that from the positive where that is smaller
            (Balntas et al., "Learning local feature descriptors with triplets", 2016).

    Raises:
        ValueError: `margin` is not positive.
    """
    name = "triplet_margin_loss"
    _check_same(name, anchor=anchor, positive=positive, negative=negative)
    if not margin > 0:
        raise ValueError(f"{name}: margin must be positive, got {margin}")
    near, far = (pairwise_distance(anchor, x, p, eps) for x in (positive, negative))
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return _reduced(name, _at_least_zero(add(near - far, margin)), reduction)


def triplet_margin_with_distance_loss(
    anchor,
    positive,
    negative,
    *,
    distance_function=None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
):
    """`triplet_margin_loss` with a distance of one's own, `pairwise_distance` by default.

    Raises:
        ValueError: `margin` is not positive.
    """
    name, distance = "triplet_margin_with_distance_loss", distance_function or pairwise_distance
    if not margin > 0:
        raise ValueError(f"{name}: margin must be positive, got {margin}")
    anchor, positive, negative = as_arrays(anchor, positive, negative)
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduced(name, _at_least_zero(add(near - far, margin)), reduction)


# ------------------------------------------------------------------------------ sequences


@op
def ctc_loss(
    xp,
    log_probs,
    targets,
    input_lengths,
    target_lengths,
    *,
    blank=0,
    reduction="mean",
    zero_infinity=False,
):
    """Minus the logarithm of the probability of all ways to say `targets` in `log_probs`.

    A way names a class at each time; repeated classes are said once, blanks are silent. (Graves et
    al., "Connectionist temporal classification", ICML 2006.)

    Args:
        log_probs: (T, N, C) logarithms of probabilities, or (T, C).
        targets: (N, S) integers, of which the first `target_lengths` count; or all that count, one
            after the other, in one axis. (S,) for (T, C).
        input_lengths, target_lengths: (N,) integers, or one for (T, C); read on the host.
        blank: the class that stands for nothing.
        reduction: 'mean' over the examples of the loss divided by the length of the target.
        zero_infinity: whether 0 is given in place of infinity, where there is no way because the
            input is too short. In both cases the gradient is 0.

    Raises:
        ShapeError: shapes or lengths do not fit, or a target is out of range.
        OutOfRangeError: `blank` is no class.
    """
    name = "ctc_loss"
    _check_reduction(name, reduction)
    (log_probs,) = as_arrays(log_probs)
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"{name}: log_probs must be (T, N, C) or (T, C), got {log_probs.shape}")
    one = log_probs.ndim == 2
    x = half_widened(expand_dims(log_probs, axis=1) if one else log_probs)
    T, N, C = x.shape
    if not 0 <= blank < C:
        raise OutOfRangeError(f"{name}: blank {blank} is out of range [0, {C})")
    inputs, said = (
        _lengths(name, label, lengths, N)
        for label, lengths in (("input", input_lengths), ("target", target_lengths))
    )
    if inputs.size and inputs.max() > T:
        raise ShapeError(f"{name}: an input length is {inputs.max()}, log_probs has T = {T}")
    targets = targets if hasattr(targets, "shape") else on_device_of([x], targets)
    labels = _padded(name, targets, said, one)
    S = labels.shape[1]
    counts = np.arange(S) < said[:, None]
    labels = _in_range(where(on_device_of([x], counts), labels, blank), name=name, n=C, low=0)

    # Around and between the labels stand blanks: position 2 i + 1 is label i. A way moves on by 0
    # or 1 position a time; by 2 over a blank between different labels.
    between = labels * 0 + blank
    line = reshape(stack([between, labels], axis=-1), shape=(N, 2 * S))
    line = concatenate([line, on_device_of([x], np.full((N, 1), blank))], axis=1)
    before = concatenate([on_device_of([x], np.full((N, 2), blank)), line[:, :-2]], axis=1)
    leap = (line != blank) & (line != before[:, : line.shape[1]])
    heard = take_along_axis(x, expand_dims(line, axis=0), axis=2)

    # ways[:, 2 + s]: the logarithm of the probability of all ways up to position s. All begin at
    # position -1; before that and after the first step nobody is there.
    nobody = on_device_of([x], np.full((N, 2), -math.inf, x.dtype))
    ways = on_device_of([x], np.full((N, line.shape[1] + 2), -math.inf, x.dtype))
    start = on_device_of([x], np.arange(line.shape[1] + 2) == 1)
    ways = where(start, 0.0, ways)
    for t in range(int(inputs.max(initial=0))):
        leapt = where(leap, ways[:, :-2], -math.inf)
        after = logsumexp(stack([ways[:, 2:], ways[:, 1:-1], leapt]), axis=0) + heard[t]
        after = concatenate([nobody, after], axis=1)
        ways = where(on_device_of([x], (t < inputs)[:, None]), after, ways)
    place = np.arange(-2, line.shape[1])
    ends = (place == 2 * said[:, None]) | (place == 2 * said[:, None] - 1)
    loss = -logsumexp(where(on_device_of([x], ends), ways, -math.inf), axis=1)
    if zero_infinity:
        loss = where(loss == math.inf, 0.0, loss)
    loss = loss if x.dtype == log_probs.dtype else astype(loss, dtype=log_probs.dtype)
    if reduction == "mean":
        loss = divide(loss, on_device_of([x], np.maximum(said, 1)))
    if one:
        loss = reshape(loss, shape=())
    return _reduced(name, loss, reduction)


def _lengths(name, label, lengths, N):
    """(N,) lengths on the host, where they decide how long the loop is."""
    if type(lengths) is Tensor:
        refuse_while_capturing(f"{name} (for its {label}_lengths; give tuples of numbers)")
    lengths = np.atleast_1d(np.asarray(to_numpy(_plain(lengths))))
    if lengths.dtype.kind not in "iu" and lengths.size:
        raise DtypeError(f"{name}: {label}_lengths must be integers, got {lengths.dtype}")
    if lengths.shape != (N,) or (lengths < 0).any():
        raise ShapeError(
            f"{name}: {label}_lengths must be {N} non-negative integers, one an example; got "
            f"{lengths.tolist()}"
        )
    return lengths.astype(np.int64)


def _padded(name, targets, said, one):
    """(N, S) labels, of which as many count in each row as were `said`."""
    if targets.dtype.kind not in "iu":
        raise DtypeError(f"{name}: targets must be integers, got {targets.dtype}")
    longest = int(said.max(initial=0))
    if targets.ndim == 2:
        fits = targets.shape[0] == said.size and targets.shape[1] >= longest
    else:
        fits = targets.ndim == 1 and (targets.size == said.sum() or (one and targets.size > said))
    if not fits:
        raise ShapeError(
            f"{name}: targets must be (N, S) with N = {said.size}, S at least {longest}, or all "
            f"{said.sum()} labels in one axis; got {targets.shape}"
        )
    if targets.ndim == 2:
        return targets[:, :longest]
    # Where each example's labels begin; a row that has fewer reads further, but within bounds.
    places = (np.cumsum(said) - said)[:, None] + np.arange(longest)
    return take(targets, on_device_of([targets], np.minimum(places, targets.size - 1)), axis=0)

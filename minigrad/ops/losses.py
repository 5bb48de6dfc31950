"""Loss functions."""

from minigrad.autodiff import Tensor, beside, op
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import astype, divide, maximum
from minigrad.ops.indexing import checked_ids, one_hot, take_along_axis
from minigrad.ops.reductions import sum
from minigrad.ops.shaping import expand_dims, moveaxis, reshape
from minigrad.ops.softmaxes import log_softmax, softmax

__all__ = [
    "cross_entropy", "cross_entropy_rows", "cross_entropy_rows_grad",
]  # fmt: skip

REDUCTIONS = ("mean", "sum", "none")


@op(kernel=True)
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
    return xp.where(counted, loss, 0.0)


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


@op(kernel=True)
def cross_entropy_rows_grad(xp, g, x, target, *, ignore_index=-100, label_smoothing=0.0):
    """The gradient of the logits: softmax minus (smoothed) one-hot target, times `g` (N,)."""
    counted, safe = _counted(xp, x, target, ignore_index)
    C = x.shape[1]
    hit = one_hot(safe, num_classes=C) * (1 - label_smoothing) + label_smoothing / max(C, 1)
    g = xp.where(counted, g, 0.0)
    return (softmax(x, axis=-1) - astype(hit, dtype=x.dtype)) * expand_dims(g, axis=-1)


def cross_entropy(x, target, *, axis=-1, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """The cross entropy of the softmax of `x` along `axis` with target classes.

    Args:
        x: logits of any shape, classes along `axis` (PyTorch has them along axis 1).
        target: integers, the shape of `x` without `axis`.
        ignore_index: a target that does not count.
        label_smoothing: weight that is spread evenly over all classes, in [0, 1].
        reduction: 'mean' over the targets that count (0 if none does), 'sum' or 'none'.

    Raises:
        ShapeError: shapes do not fit, or a target is out of range.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction must be one of {REDUCTIONS}, got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    if not hasattr(target, "shape"):
        target = beside([x], target)
    if axis % x.ndim != x.ndim - 1:
        x = moveaxis(x, axis, -1)
    if target.shape != x.shape[:-1]:
        raise ShapeError(
            f"cross_entropy: with classes along axis {axis}, target must have shape "
            f"{x.shape[:-1]}; got {target.shape}"
        )
    rows = cross_entropy_rows(
        reshape(x, shape=(target.size, x.shape[-1])),
        reshape(target, shape=(target.size,)),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    if reduction == "none":
        return reshape(rows, shape=target.shape)
    if reduction == "sum":
        return sum(rows)
    ids = target.data if type(target) is Tensor else target
    return divide(sum(rows), astype(maximum(sum(ids != ignore_index), 1), dtype=x.dtype))

"""Normalisation."""

from minigrad.autodiff import op
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import astype
from minigrad.ops.reductions import mean, sum

__all__ = [
    "layer_norm", "layer_norm_grad",
]  # fmt: skip


@op(kernel=True)
def layer_norm(xp, x, weight=None, bias=None, *, eps=1e-5):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axis.

    (Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450.)

    Args:
        x: (..., features).
        weight, bias: (features,) or None.
        eps: added to the (biased) variance.
    """
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and v.shape != x.shape[-1:]:
            raise ShapeError(
                f"layer_norm: {name} must have the shape of the last axis of x, {x.shape[-1:]}; "
                f"got {v.shape}"
            )
    y = _standardised(xp, _wide(x), eps)[0]
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y if y.dtype == x.dtype else astype(y, dtype=x.dtype)


def _wide(x):
    """Half precision as float32: 16 bits are too few for a sum of squares."""
    return astype(x, dtype="float32") if x.dtype.itemsize == 2 else x


def _standardised(xp, x, eps):
    """`x` with mean 0 and variance 1 over the last axis, and what it was divided by."""
    centred = x - mean(x, axis=-1, keepdims=True)
    std = xp.sqrt(mean(centred * centred, axis=-1, keepdims=True) + eps)
    return centred / std, std


@layer_norm.vjp
def _(g, _y, x, weight, _bias, *, eps=1e-5):
    dx, dweight, dbias = layer_norm_grad(g, x, weight, eps=eps)
    return dx, None if weight is None else dweight, None if _bias is None else dbias


@op(kernel=True, outputs=3)
def layer_norm_grad(xp, g, x, weight, *, eps=1e-5):
    """Gradients of `x`, weight and bias of a layer norm from that of its output.

    With h the standardised `x` and g' = g * weight, that of `x` is
    (g' - mean(g') - h mean(g' h)) / std.
    """
    g = _wide(g)
    h, std = _standardised(xp, _wide(x), eps)
    rows = tuple(range(x.ndim - 1))
    dbias = sum(g, axis=rows)
    dweight = sum(g * h, axis=rows)
    g = g if weight is None else g * weight
    dx = (g - mean(g, axis=-1, keepdims=True) - h * mean(g * h, axis=-1, keepdims=True)) / std
    return dx, dweight, dbias

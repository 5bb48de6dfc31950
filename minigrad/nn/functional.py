"""Functions with PyTorch's names, with `axis` and `keepdims` in place of dim and keepdim."""

import math

import numpy as np

from minigrad import ops, random
from minigrad.errors import ShapeError
from minigrad.ops import (
    embedding,
    gelu,
    linear,
    log_softmax,
    one_hot,
    relu,
    scaled_dot_product_attention,
    sigmoid,
    softmax,
    tanh,
)
from minigrad.ops.activations import *
from minigrad.ops.convs import *
from minigrad.ops.losses import *
from minigrad.ops.pools import *


def dropout(x, p: float = 0.5, training: bool = True):
    """`minigrad.dropout` with the next key of the current stream; `x` itself outside training."""
    return ops.dropout(x, random.next_key(), p=p) if training and p else x


def layer_norm(x, normalized_shape, weight=None, bias=None, eps: float = 1e-5):
    """Layer norm over the last axes, whose lengths `normalized_shape` states (an int for one).

    Raises:
        ShapeError: the last axes of `x` have other lengths.
    """
    if isinstance(normalized_shape, int | np.integer):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape)
    n = len(shape)
    if x.shape[x.ndim - n :] != shape:
        raise ShapeError(f"layer_norm: the last axes must be {shape}, got {x.shape}")
    if n == 1:
        return ops.layer_norm(x, weight, bias, eps=eps)
    weight, bias = (v if v is None else ops.reshape(v, shape=(-1,)) for v in (weight, bias))
    flat = ops.reshape(x, shape=(*x.shape[:-n], math.prod(shape)))
    return ops.reshape(ops.layer_norm(flat, weight, bias, eps=eps), shape=x.shape)


__all__ = sorted(
    name for name, value in globals().items()
    if callable(value) and not name.startswith("_") and value is not ShapeError
)  # fmt: skip

"""The ops: one formula each, with its rule under it. This package is also the array module that
formulas get when they are to be differentiated, so it has NumPy's names.
"""

from minigrad.autodiff import REGISTRY, Op
from minigrad.ops.attentions import (
    attention,
    attention_grad,
    attention_mask_grad,
    scaled_dot_product_attention,
)
from minigrad.ops.creation import arange, from_numpy, full, ones, rand, randn, tensor, zeros
from minigrad.ops.elementwise import (
    absolute,
    add,
    astype,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    clip,
    cos,
    divide,
    equal,
    erf,
    exp,
    expm1,
    gelu,
    greater,
    greater_equal,
    invert,
    isfinite,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    masked_fill,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    ones_like,
    power,
    reciprocal,
    relu,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    where,
    zeros_like,
)
from minigrad.ops.indexing import (
    embedding,
    embedding_grad,
    gather,
    getitem,
    index_add,
    index_select,
    index_set,
    one_hot,
    scatter,
    scatter_add,
    take,
    take_along_axis,
)
from minigrad.ops.losses import cross_entropy, cross_entropy_rows, cross_entropy_rows_grad
from minigrad.ops.noise import dropout
from minigrad.ops.norms import layer_norm, layer_norm_grad
from minigrad.ops.products import einsum, linear, matmul
from minigrad.ops.reductions import (
    all,
    any,
    argmax,
    argmin,
    logsumexp,
    max,
    mean,
    min,
    std,
    sum,
    var,
)
from minigrad.ops.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    tril,
    triu,
)
from minigrad.ops.softmaxes import log_softmax, log_softmax_grad, softmax, softmax_grad

abs = absolute

__all__ = sorted(
    name for name, value in globals().items()
    if not name.startswith("_") and callable(value) and value is not Op
)  # fmt: skip

from minigrad.ops import methods as _methods  # noqa: E402  (teaches Tensor the ops above)

for _op in REGISTRY.values():
    if _op.primitive and _op.differentiable and not _op.has_rule:
        raise TypeError(f"the primitive '{_op.__name__}' needs a rule, or .no_gradient()")


def __getattr__(name: str):
    raise AttributeError(
        f"minigrad has no op '{name}'. In the formula of an op that is to be differentiated, use "
        f"the ops there are; or make it a primitive (`@minigrad.primitive`) and give it a rule"
    )

"""Functions with PyTorch's names, with `axis` and `keepdims` in place of dim and keepdim.

A call that PyTorch takes gives its value here, or an error; `tests/nn/test_functional_peer.py`
compares them all. Two values are others on purpose: a softmax of what is all masked is 0 and not
NaN, and the mean of a pooling of integers is no integer. A name that is missing says what to use
instead.
"""

import functools
import inspect
import math

import numpy as np

from minigrad import batched, ops, random
from minigrad.autodiff import Tensor, as_arrays, joined, on_device_of, primitive
from minigrad.backend import array_module, describe, modes, refuse_while_capturing, to_numpy
from minigrad.errors import GradientError, OutOfRangeError, ShapeError, StateError
from minigrad.ops import (
    gelu,
    normalize,
    relu,
    scaled_dot_product_attention,
    sigmoid,
    tanh,
)
from minigrad.ops.activations import *
from minigrad.ops.convs import *
from minigrad.ops.indexing import check_table
from minigrad.ops.losses import *
from minigrad.ops.noise import drawn
from minigrad.ops.norms import p_norm
from minigrad.ops.pools import *
from minigrad.sparse import SparseRows
from minigrad.writes import wrote

# -------------------------------------------------------------------------------- dropout


def dropout(x, p: float = 0.5, training: bool = True, *, key=None, shared=()):
    """`x` with each element set to 0 with probability `p`, and the others scaled by 1 / (1 - p).

    Args:
        training: outside of it `x` itself is returned.
        key: where the mask is drawn from; the next key of the current stream by default.
        shared: axes along which one draw decides for all elements.

    Raises:
        ValueError: `p` is no probability.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not training or p == 0:
        return x
    return ops.dropout(x, key or random.next_key(), p=p, shared=shared)


def dropout1d(x, p: float = 0.5, training: bool = True, *, key=None):
    """`dropout` of whole channels of `x`: (N, C, L) or (C, L)."""
    return _channel_dropout("dropout1d", x, p, training, key, {2: (1,), 3: (2,)})


def dropout2d(x, p: float = 0.5, training: bool = True, *, key=None):
    """`dropout` of whole channels of `x`: (N, C, H, W) or, as in PyTorch, (N, C, L)."""
    return _channel_dropout("dropout2d", x, p, training, key, {3: (2,), 4: (2, 3)})


def dropout3d(x, p: float = 0.5, training: bool = True, *, key=None):
    """`dropout` of whole channels of `x`: (N, C, D, H, W) or (C, D, H, W)."""
    return _channel_dropout("dropout3d", x, p, training, key, {4: (1, 2, 3), 5: (2, 3, 4)})


def _channel_dropout(name, x, p, training, key, shared):
    if x.ndim not in shared:
        expected = " or ".join(map(str, shared))
        raise ShapeError(f"{name}: x must have {expected} axes, got {x.shape}")
    return dropout(x, p, training, key=key, shared=shared[x.ndim])


def alpha_dropout(x, p: float = 0.5, training: bool = False, *, key=None):
    """Dropout that keeps mean 0 and variance 1, for networks of `selu`.

    What is dropped is set to the limit of `selu` at minus infinity. (Klambauer et al.,
    "Self-normalizing neural networks", arXiv 1706.02515.)
    """
    if not training or p in (0, 1):
        return dropout(x, p, training, key=key)
    low = -1.0507009873554805 * 1.6732632423543772
    kept = dropout(ops.ones_like(x), p, key=key) > 0
    a = 1 / math.sqrt((low * low * p + 1) * (1 - p))
    return ops.subtract(ops.multiply(ops.where(kept, x, low), a), low * a * p)


@primitive
def _uniform_beside(xp, x, key, *, low, high):
    """Uniform numbers, float64 in the shape of `x`."""
    draw = functools.partial(random.uniform, key, low=low, high=high, dtype="float64")
    return drawn(x, x.shape, batched.levels_of(x), draw)


_uniform_beside.no_gradient()


def rrelu(x, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *, key=None):
    """`x` where it is positive, a slope times `x` elsewhere.

    In training each element draws its own slope between `lower` and `upper`, else it is the middle
    between the two. (Xu et al., "Empirical evaluation of rectified activations", arXiv 1505.00853.)

    Raises:
        ValueError: `lower` is above `upper`.
    """
    if not lower <= upper:
        raise ValueError(f"rrelu: lower must be at most upper, got {lower} and {upper}")
    if not training:
        return ops.leaky_relu(x, negative_slope=(lower + upper) / 2)
    u = _uniform_beside(ops.stop_gradient(x), key or random.next_key(), low=lower, high=upper)
    return ops.where(ops.greater_equal(x, 0), x, x * ops.astype(u, dtype=x.dtype))


def gumbel_softmax(logits, tau: float = 1.0, hard: bool = False, *, axis=-1, key=None):
    """A sample from the classes along `axis`, as weights; nearly one-hot for small `tau`.

    (Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", arXiv 1611.01144.)

    Args:
        logits: unnormalised log-probabilities.
        hard: whether to give a one-hot vector, with the gradient of the weights.
        key: for the draw; the next key of the current stream by default.

    Raises:
        ValueError: `tau` is not positive.
    """
    if not tau > 0:
        raise ValueError(f"gumbel_softmax: tau must be positive, got {tau}")
    u = _uniform_beside(ops.stop_gradient(logits), key or random.next_key(), low=1e-300, high=1.0)
    noisy = logits + ops.astype(-ops.log(-ops.log(u)), dtype=logits.dtype)
    y = softmax(ops.divide(noisy, tau), axis=axis)
    if not hard:
        return y
    hit = ops.one_hot(ops.argmax(y, axis=axis), num_classes=y.shape[axis])
    hit = ops.astype(ops.moveaxis(hit, source=-1, destination=axis), dtype=y.dtype)
    return hit - ops.stop_gradient(y) + y


# -------------------------------------------------------------------------------- look-ups


def embedding(
    ids,
    weight,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
):
    """Rows of `weight` at `ids`: (*ids.shape, features).

    Args:
        ids: integers of any shape in [0, rows).
        weight: (rows, features).
        padding_idx: this row gets no gradient; negative ones count from the end.
        max_norm: longer rows are scaled to this norm on their way out. Other than in PyTorch
            `weight` stays as it is, and the scaling is part of the graph.
        norm_type: the p of the norm.
        scale_grad_by_freq: divide the gradient of each row by how often its id occurs in `ids`.
        sparse: let `weight.grad` be `minigrad.sparse.SparseRows`, of the rows at `ids` alone. (With
            `create_graph` it is dense all the same.)

    Raises:
        ShapeError: `weight` has not two axes.
        OutOfRangeError: an id is out of range; the message names its position.
        GradientError: sparse gradients are wanted of a weight that was computed.
        CaptureError: ... or in a step that `jit` captures.
    """
    if sparse:
        _check_sparse("embedding", weight)
        y = _sparse_rows(ids, weight, padding_idx=padding_idx)
    else:
        y = ops.embedding(ids, weight, padding_idx=padding_idx)
    if max_norm is not None:
        norms = p_norm(y, norm_type, axis=-1, keepdims=True)
        long = norms > max_norm
        y = y * ops.where(long, max_norm / (ops.where(long, norms, 1.0) + 1e-7), 1.0)
    if scale_grad_by_freq:
        ones = ops.full_like(ids, fill_value=1, dtype=y.dtype)
        counts = ops.embedding_grad(ones, ids, rows=len(weight))
        y = _scaled_gradient(y, 1 / ops.take(counts, ids, axis=0)[..., None])
    return y


def _check_sparse(name, weight):
    refuse_while_capturing(
        name, "has a sparse gradient here, of other rows in every call; make it with sparse=False"
    )
    if type(weight) is Tensor and weight.edge is not None:
        raise GradientError(
            f"{name}: sparse gradients stop at the weight, which must be a leaf, and this one was "
            f"computed by '{weight.edge.node.op.__name__}'; use sparse=False"
        )


@primitive
def _sparse_rows(xp, ids, weight, *, padding_idx=None):
    """As `mg.embedding`, with the gradient of `weight` as `SparseRows`."""
    ids = ids if hasattr(ids, "dtype") else xp.asarray(ids)
    return ops.embedding(ids, weight, padding_idx=padding_idx)


@_sparse_rows.vjp
def _(g, _y, ids, _weight, *, padding_idx=None):
    rows = _weight.shape[0]
    padding = None if padding_idx is None else padding_idx % rows
    if type(g) is Tensor or getattr(g, "hides_a_batch_axis", False):
        if padding is not None:
            g = ops.where((ids == padding)[..., None], 0.0, g)
        return None, ops.embedding_grad(g, ids, rows=rows)
    xp = array_module(g)
    ids = xp.asarray(ids, dtype="int64").reshape(-1)
    g = g.reshape(len(ids), -1)
    if padding is not None:
        inside = ids != padding
        ids, g = ids[inside], g[inside]
    here, places = xp.unique(ids, return_inverse=True)
    values = ops.embedding_grad(g, places.reshape(-1), rows=len(here))
    return None, SparseRows(here, values, _weight.shape)


@primitive
def _scaled_gradient(xp, x, scale):
    """`x` itself, whose gradient is multiplied by `scale` on the way back."""
    return x


_scaled_gradient.vjps(lambda g, _y, _x, scale: g * scale, lambda *_: None)


def embedding_bag(
    ids,
    weight,
    offsets=None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights=None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
):
    """The sum, mean or maximum of the rows of `weight` at each bag of ids: (bags, features).

    An empty bag gives zeros.

    Args:
        ids: (bags, n) integers, each row a bag; or (n,) for all bags, one after the other.
        offsets: (bags,) where each begins in (n,) ids; the first one is 0.
        mode: 'sum', 'mean' or 'max'. Of equal elements of a bag the first gets the gradient.
        per_sample_weights: of the shape of `ids`: what each row is multiplied by, in mode 'sum'.
        include_last_offset: whether `offsets` has the end of the last bag, too.
        padding_idx: this id counts as if it were not there.

    The others, and what is raised, as for `embedding`.

    Raises:
        ValueError: there is no such `mode`, or something given is not for it.
        ShapeError: shapes do not fit.
    """
    name = "embedding_bag"
    check_table(name, weight)
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"{name}: mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if mode == "max" and (scale_grad_by_freq or sparse):
        raise ValueError(f"{name}: mode 'max' has no sparse gradients and none scaled by frequency")
    if per_sample_weights is not None:
        if mode != "sum":
            raise ValueError(f"{name}: per_sample_weights are for mode 'sum', not {mode!r}")
        if per_sample_weights.shape != ids.shape:
            raise ShapeError(
                f"{name}: per_sample_weights must have the shape of the ids, {ids.shape}; got "
                f"{per_sample_weights.shape}"
            )
    if ids.ndim == 2 and offsets is None:
        bags, n = ids.shape
        starts = np.arange(bags) * n
        bag_of = on_device_of([weight], np.repeat(np.arange(bags), n))
    elif ids.ndim == 1 and offsets is not None:
        starts = _starts(name, offsets, ids.shape[0], include_last_offset)
        bags = len(starts)
        ends = np.append(starts[1:], ids.shape[0])
        bag_of = on_device_of([weight], np.repeat(np.arange(bags), ends - starts))
    else:
        raise ShapeError(
            f"{name}: give ids (bags, n) without offsets, or ids (n,) with offsets (bags,); got "
            f"{ids.shape} and {'no offsets' if offsets is None else offsets.shape}"
        )
    ids = ops.reshape(ids, shape=(-1,))
    rows = embedding(ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    inside = None
    if padding_idx is not None:
        inside = ids != padding_idx % len(weight)
        rows = ops.where(inside[:, None], rows, 0.0)
    if mode == "max":
        return _largest_of_bags(rows, inside, starts, bags)
    if per_sample_weights is not None:
        rows = rows * ops.reshape(per_sample_weights, shape=(-1, 1))
    total = ops.embedding_grad(rows, bag_of, rows=bags)
    if mode == "sum":
        return total
    ones = ops.ones_like(bag_of) if inside is None else ops.astype(inside, dtype="int64")
    counts = ops.maximum(ops.embedding_grad(ones, bag_of, rows=bags), 1)
    return total / ops.astype(counts, dtype=total.dtype)[:, None]


def _starts(name, offsets, n, include_last_offset) -> np.ndarray:
    """The offsets on the host, checked; they are what decides shapes."""
    refuse_while_capturing("embedding_bag (for its offsets)")
    starts = to_numpy(offsets.data if type(offsets) is Tensor else offsets).astype("int64")
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        raise ShapeError(f"{name}: offsets must be (bags,) integers, got {describe(offsets)}")
    if include_last_offset:
        if not len(starts) or starts[-1] != n:
            raise ShapeError(f"{name}: the last offset must be the number of ids, {n}")
        starts = starts[:-1]
    if len(starts) and (starts[0] or (np.diff(starts) < 0).any() or starts[-1] > n):
        raise OutOfRangeError(f"{name}: offsets must rise from 0 to at most {n}, got {starts}")
    if not len(starts) and n:
        raise ShapeError(f"{name}: there are {n} ids and no offsets")
    return starts


def _largest_of_bags(rows, inside, starts, bags):
    """The largest of the rows (n, features) of each bag; zeros where there are none."""
    n = rows.shape[0]
    lengths = np.diff(np.append(starts, n))
    longest = max(int(lengths.max(initial=0)), 1)
    places = np.arange(longest)
    there = places < lengths[:, None]
    at = on_device_of([rows], np.where(there, starts[:, None] + places, n))
    low = on_device_of([rows], np.full((1, rows.shape[1]), -math.inf, rows.dtype))
    if inside is not None:
        rows = ops.where(inside[:, None], rows, -math.inf)
    padded = ops.take(ops.concatenate([rows, low]), at, axis=0)  # (bags, longest, features)
    first = ops.argmax(padded, axis=1)
    y = ops.take_along_axis(padded, first[:, None], axis=1)[:, 0]
    return ops.where(y == -math.inf, 0.0, y)


# -------------------------------------------------------------------------- normalisation


def layer_norm(x, normalized_shape, weight=None, bias=None, eps: float = 1e-5):
    """Layer norm over the last axes, whose lengths `normalized_shape` states (an int for one).

    Raises:
        ShapeError: the last axes of `x` have other lengths.
    """
    x, (weight, bias), shape = _features("layer_norm", x, normalized_shape, weight, bias)
    return ops.reshape(ops.layer_norm(x, weight, bias, eps=eps), shape=shape)


def rms_norm(x, normalized_shape, weight=None, eps: float | None = None):
    """RMS norm over the last axes, whose lengths `normalized_shape` states (an int for one).

    Raises:
        ShapeError: the last axes of `x` have other lengths.
    """
    x, (weight,), shape = _features("rms_norm", x, normalized_shape, weight)
    return ops.reshape(ops.rms_norm(x, weight, eps=eps), shape=shape)


def _features(name, x, normalized_shape, *parameters):
    """`x` and the parameters with the last axes in one, and the shape that `x` had."""
    if isinstance(normalized_shape, int | np.integer):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape)
    n = len(shape)
    if not n or x.shape[max(x.ndim - n, 0) :] != shape:
        raise ShapeError(f"{name}: the last axes must be {shape}, got {x.shape}")
    for v in parameters:
        if v is not None and v.shape != shape:
            raise ShapeError(f"{name}: weight and bias must be {shape}, got {v.shape}")
    if n == 1:
        return x, parameters, x.shape
    flat = [v if v is None else ops.reshape(v, shape=(math.prod(shape),)) for v in parameters]
    return ops.reshape(x, shape=(*x.shape[:-n], math.prod(shape))), flat, x.shape


def batch_norm(
    x,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training: bool = False,
    momentum=0.1,
    eps: float = 1e-5,
):
    """Batch norm of `x`: (N, C, ...).

    Args:
        running_mean, running_var: (C,), used outside of training, and *written* in training, as
            in PyTorch: by `batch_norm_stats`, which only returns the new ones. None is allowed in
            training. An `x` without elements leaves them as they are.
        training: whether the statistics of `x` are used.
        momentum: the weight of the new statistics: a number, or a Tensor of one.

    Raises:
        ShapeError: shapes do not fit; or in training there is one value per channel.
    """
    if not training:
        _check_running("batch_norm", running_mean, running_var)
        return ops.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    y = ops.batch_norm(x, None, None, weight, bias, eps=eps)
    if running_mean is not None and x.size:
        exact = type(momentum) is not Tensor
        new = ops.batch_norm_stats(
            x, running_mean, running_var, momentum=momentum if exact else 1.0
        )
        for old, v in zip((running_mean, running_var), new, strict=True):
            write(old, v if exact else _between(old, v, momentum))
    return y


def _between(old, new, momentum):
    """`(1 - momentum) * old + momentum * new`, in the dtype of `old`."""
    old = ops.stop_gradient(old)
    return ops.astype(old * (1 - momentum) + new * momentum, dtype=old.dtype)


def _check_running(name, running_mean, running_var):
    if running_mean is None or running_var is None:
        raise ValueError(f"{name}: give running_mean and running_var, or use those of x")


def write(target, new) -> None:
    """Put new numbers into the array that `target`, a buffer or an array, has and keeps."""
    new = new.data if type(new) is Tensor else new
    if getattr(new, "hides_a_batch_axis", False):
        raise StateError(
            "running statistics: under vmap every example would have others; use eval mode, or "
            "track_running_stats=False"
        )
    if type(target) is not Tensor:
        target[...] = new
    elif modes.get().capturing:
        target.data = new  # the program puts it into the array
    else:
        target.data[...] = new
        wrote(target.data)


def group_norm(x, num_groups: int, weight=None, bias=None, eps: float = 1e-5):
    """Mean 0 and variance 1 over each group of channels of each example; see `mg.group_norm`."""
    return ops.group_norm(x, num_groups, weight, bias, eps)


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
):
    """Mean 0 and variance 1 over each channel of each example of `x`: (N, C, ...).

    (Ulyanov, Vedaldi and Lempitsky, "Instance normalization", arXiv 1607.08022.)

    Args:
        running_mean, running_var: (C,) or None; used without `use_input_stats`, else *written*:
            with the means over the examples of the mean and of the unbiased variance.

    Raises:
        ShapeError: shapes do not fit; or there is one value per channel of an example.
    """
    if not use_input_stats:
        _check_running("instance_norm", running_mean, running_var)
        return ops.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    if math.prod(x.shape[2:]) == 1:
        raise ShapeError(
            f"instance_norm: expected more than 1 value per channel of an example, got x of shape "
            f"{x.shape}"
        )
    y = ops.group_norm(x, x.shape[1], weight, bias, eps)
    if running_mean is not None and x.size:
        plain, axis = ops.stop_gradient(x), tuple(range(2, x.ndim))
        means = ops.mean(plain, axis=axis), ops.var(plain, axis=axis, correction=1)
        for old, new in zip((running_mean, running_var), means, strict=True):
            write(old, _between(old, ops.mean(new, axis=0), momentum))
    return y


def local_response_norm(x, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
    """`x` over `(k + alpha mean(x^2))^beta`, the mean over `size` neighbouring channels.

    Beyond the first and the last channel (axis 1) there are zeros. (Krizhevsky, Sutskever and
    Hinton, "ImageNet classification with deep convolutional neural networks", 2012.)

    Raises:
        ShapeError: `x` has fewer than three axes, or `size` is not positive.
    """
    if x.ndim < 3 or size < 1:
        raise ShapeError(f"local_response_norm: needs (N, C, ...) and size > 0, got {x.shape}")
    C, before = x.shape[1], size // 2
    squares = x * x
    total = ops.zeros_like(x)
    for shift in range(-before, size - before):  # channel c + shift is a neighbour of channel c
        if abs(shift) < C:
            inside = squares[:, max(shift, 0) : C + min(shift, 0)]
            gap = ops.zeros_like(squares[:, : abs(shift)])
            parts = [inside, gap] if shift > 0 else [gap, inside]
            total = total + ops.concatenate(parts, axis=1)
    return x / ops.power(ops.add(ops.multiply(total, alpha / size), k), beta)


# --------------------------------------------------------------------------------- softmax


def softmax(x, axis=None, *, dtype=None):
    """`mg.softmax` along `axis`; without one along the only axis on which PyTorch agrees.

    Args:
        axis: may be left out for up to two axes: it is the last then. For more PyTorch would take
            axis 0 or 1, by their number, and NumPy's users expect the last: it must be said.
        dtype: of floats, to which `x` is converted first.

    Raises:
        ShapeError: `axis` is missing, and `x` has more than two axes.
    """
    return ops.softmax(x, axis=_said("softmax", axis, x), dtype=dtype)


def softmin(x, axis=None, *, dtype=None):
    """`softmax` of `-x`: the smallest gets the most."""
    return ops.softmin(x, axis=_said("softmin", axis, x), dtype=dtype)


def log_softmax(x, axis=None, *, dtype=None):
    """The logarithm of `softmax`, computed without forming it."""
    return ops.log_softmax(x, axis=_said("log_softmax", axis, x), dtype=dtype)


def _said(name, axis, x):
    ndim = len(_shape(x))
    if axis is None and ndim > 2:
        raise ShapeError(
            f"{name}: of {ndim} axes {_shape(x)} say which: axis=-1 is the last, and PyTorch would "
            f"take axis {0 if ndim == 3 else 1}"
        )
    if not ndim and axis in (None, 0, -1):
        return ()  # PyTorch takes a number for one class
    return -1 if axis is None else axis


# ---------------------------------------------------------------------------------- losses


def _shape(x) -> tuple[int, ...]:
    """The shape of an array, a Tensor, a list or a number."""
    x = joined(x)
    return x.shape if hasattr(x, "shape") else np.shape(x)


def _options_by_name(loss, count: int):
    """`loss` with its options by name, after the first `count` arguments.

    That is how far PyTorch's order goes without `size_average` and `reduce`, which it no longer
    wants: there `mse_loss(x, y, 'sum')` is the mean, as 'sum' is true.
    """
    first, *rest = inspect.signature(loss).parameters.values()
    parameters = [first, *(p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in rest[: count - 1])]
    parameters += [p.replace(kind=p.KEYWORD_ONLY) for p in rest[count - 1 :]]

    @functools.wraps(loss, updated=())
    def function(*arguments, **options):
        if len(arguments) > count:
            raise TypeError(
                f"{loss.__name__}: after {count} arguments give the others by name, as in "
                f"reduction='sum'; in PyTorch's order size_average and reduce would come here"
            )
        return loss(*arguments, **options)

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


binary_cross_entropy = _options_by_name(ops.binary_cross_entropy, 3)
binary_cross_entropy_with_logits = _options_by_name(ops.binary_cross_entropy_with_logits, 3)
cosine_embedding_loss = _options_by_name(ops.cosine_embedding_loss, 4)
hinge_embedding_loss = _options_by_name(ops.hinge_embedding_loss, 3)
kl_div = _options_by_name(ops.kl_div, 2)
l1_loss = _options_by_name(ops.l1_loss, 2)
margin_ranking_loss = _options_by_name(ops.margin_ranking_loss, 4)
mse_loss = _options_by_name(ops.mse_loss, 2)
multilabel_soft_margin_loss = _options_by_name(ops.multilabel_soft_margin_loss, 3)
poisson_nll_loss = _options_by_name(ops.poisson_nll_loss, 4)
smooth_l1_loss = _options_by_name(ops.smooth_l1_loss, 2)
soft_margin_loss = _options_by_name(ops.soft_margin_loss, 2)
triplet_margin_loss = _options_by_name(ops.triplet_margin_loss, 7)


def cross_entropy(  # type: ignore[no-redef]
    x,
    target,
    weight=None,
    *,
    axis: int | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
):
    """`mg.cross_entropy` with the classes where PyTorch has them: along axis 1.

    Args:
        x: logits (N, C, ...), or (C,).
        target: integers (N, ...), or (); or floats in the shape of `x`: probabilities of all
            classes.
        axis: of the classes, in `x` and in probabilities; 1 by default, or 0 if there is only one.
            With -1 it is the last, as in `mg.cross_entropy`: for (B, T, C) and (B, T).
        reduction: as for `mg.cross_entropy`, but if no target counts the mean is NaN.

    The others, and what is raised, as for `mg.cross_entropy`.
    """
    return ops.cross_entropy(
        x,
        target,
        weight,
        axis=_of_classes(x, axis),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        empty_is_zero=False,
    )


def nll_loss(  # type: ignore[no-redef]
    x,
    target,
    weight=None,
    *,
    axis: int | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
):
    """`mg.nll_loss` with the classes along axis 1, and a mean of NaN, as for `cross_entropy`."""
    options = {"ignore_index": ignore_index, "reduction": reduction, "empty_is_zero": False}
    return ops.nll_loss(x, target, weight, axis=_of_classes(x, axis), **options)


def _of_classes(x, axis: int | None) -> int:
    return min(1, len(_shape(x)) - 1) if axis is None else axis


multilabel_margin_loss = _options_by_name(ops.multilabel_margin_loss, 2)


def multi_margin_loss(  # type: ignore[no-redef]
    x, target, p: int = 1, margin: float = 1.0, weight=None, *, reduction="mean"
):
    """`mg.multi_margin_loss` with its arguments in PyTorch's order."""
    return ops.multi_margin_loss(x, target, weight, p=p, margin=margin, reduction=reduction)


# ----------------------------------------------------------------------------- other shapes

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x, pad, mode: str = "constant", value: float | None = None):
    """`x` with more at the ends of its last axes, or with less where a number is negative.

    Along each axis the result is a window on what goes on for ever by the mode: with (2, -3), of an
    axis of n, on places -2 to n - 4. So what is cut off on one side may show up on the other; but
    'circular' goes round what is left, as in PyTorch.

    Args:
        pad: (left, right, top, bottom, ...): two numbers an axis, from the last axis on.
        mode: 'constant', with `value` (0 by default); 'reflect', without repeating the edge;
            'replicate', the edge; or 'circular'.

    Raises:
        ShapeError: `pad` does not fit `x`; or reflects or goes round more than there is.
        ValueError: there is no such `mode`, or it takes no `value`.
    """
    if mode not in _PAD_MODES:
        raise ValueError(f"pad: mode must be one of {tuple(_PAD_MODES)}, got {mode!r}")
    if value and mode != "constant":
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}")
    pad = tuple(map(int, pad))
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(f"pad: expected two numbers for up to {x.ndim} axes, got {pad}")
    widths = [(0, 0)] * (x.ndim - len(pad) // 2)
    widths += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    for (before, after), n in zip(widths, x.shape, strict=True):
        most = {"reflect": n - 1, "circular": n}.get(mode, math.inf)
        if max(before, after) > max(most, 0) or before + after + n < 0:
            raise ShapeError(f"pad: {pad} does not fit x of shape {x.shape} in mode {mode!r}")
    for axis, (before, after) in enumerate(widths):
        if min(before, after) < 0:
            x, widths[axis] = _window(x, axis, before, after, mode)
    options = {"constant_values": 0 if value is None else value} if mode == "constant" else {}
    return ops.pad(x, pad_width=tuple(widths), mode=_PAD_MODES[mode], **options)


def _window(x, axis, before, after, mode):
    """`x` cut at the ends of an axis, and what is still to be added there."""
    n = x.shape[axis]
    start, stop = -before, n + after
    low, high = min(max(start, 0), n), max(min(stop, n), 0)
    inside = (slice(None),) * axis + (slice(low, max(low, high)),)
    if mode == "constant":
        return x[inside], (max(min(stop, 0) - start, 0), max(stop - max(start, n), 0))
    if mode == "circular":
        if max(before, after, 0) > max(high - low, 0):
            raise ShapeError(
                f"pad: ({before}, {after}) leaves {max(high - low, 0)} of the {n} elements along "
                f"axis {axis}; 'circular' goes round at most once"
            )
        return x[inside], (max(before, 0), max(after, 0))
    if low == start and high == stop:
        return x[inside], (0, 0)
    if not n:
        raise ShapeError(f"pad: axis {axis} is empty, so {mode!r} has nothing to add to it")
    places = ops.shaping.FOLDS[_PAD_MODES[mode]](np.arange(start, stop), n)
    return ops.take(x, on_device_of([x], places), axis=axis), (0, 0)


def one_hot(ids, num_classes: int = -1):
    """(*ids.shape, num_classes) int64: 1 at the place that `ids` names, 0 elsewhere.

    Args:
        num_classes: one more than the largest of `ids` by default.

    Raises:
        ShapeError: there are no ids to tell `num_classes`.
    """
    if num_classes == -1:
        if not ids.size:
            raise ShapeError("one_hot: state num_classes, there are no ids to tell")
        num_classes = int(ops.max(ids)) + 1
    return ops.one_hot(ids, num_classes=num_classes)


def linear(x, weight, bias=None):
    """`x @ weight.T + bias` over the last axis.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features); or (in_features,) for a single feature without an axis.
        bias: (out_features,), or () for a single feature; or None.

    Raises:
        ShapeError: shapes do not fit.
    """
    if not (hasattr(x, "ndim") and hasattr(weight, "ndim")):
        x, weight, bias = as_arrays(x, weight, bias)
    if weight.ndim != 1:
        return ops.linear(x, weight, bias)
    if not x.ndim or x.shape[-1] != weight.shape[0]:
        raise ShapeError(f"linear: weight {weight.shape} does not fit x of shape {x.shape}")
    y = ops.matmul(x, weight)
    return y if bias is None else y + bias


def bilinear(x1, x2, weight, bias=None):
    """`sum over i, j of x1[i] weight[o, i, j] x2[j]`, plus `bias[o]`; see `mg.bilinear`."""
    return ops.bilinear(x1, x2, weight, bias)


_OURS = ("minigrad.ops", "minigrad.nn.functional")
__all__ = sorted(
    name for name, value in globals().items()
    if not name.startswith("_") and callable(value) and value.__module__.startswith(_OURS)
    and name not in ("drawn", "p_norm", "write")
)  # fmt: skip


def __getattr__(name: str):
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(f"module 'minigrad.nn.functional' has no attribute '{name}'")
    from minigrad.elsewhere import missing  # not at the top: it is read when a name is missing

    raise AttributeError(missing("minigrad.nn.functional", name))

"""PyTorch's own samples of its ops (`op_db`), put to ours: values, gradients, their gradients.

`OUT_OF_SCOPE` says which ops are not asked for, a reason a line. `OURS` says what the others are
called here; what it does not name has the same name in `minigrad.nn.functional`, `minigrad.linalg`,
`minigrad.fft` or `minigrad`, with `axis` and `keepdims` for `dim` and `keepdim`. An op is right
where each of its samples is. `REFUSED` and `OTHERWISE` list the others, with the reason.

As a program it prints how many are right: `python tests/ops/test_against_torch.py [name ...]`.
"""

import itertools
import re
import sys
import time
import types
import unittest
import warnings
from collections import Counter

import numpy as np
import pytest

import minigrad as mg
from minigrad import linalg
from minigrad.autodiff import Tensor
from minigrad.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peer

SAMPLES = 24  # of an op and dtype, spread over all that there are

# -------------------------------------------------------------------------------- the scope

OUT_OF_SCOPE = {
    # complex numbers
    r"fft\.(?!fftshift|ifftshift).*|stft|istft": "complex numbers",
    r"view_as_(real|complex)|complex|polar|imag|real|isreal|conj.*|resolve_.*": "complex numbers",
    r"angle|sgn|H|mH|cdouble|cfloat|chalf|linalg\.eig|linalg\.eigvals": "complex numbers",
    # memory, storage, writing in place
    r".*_copy|as_strided.*|contiguous|resize_.*|zero_|.*empty.*|view|view_as": "memory, storage",
    r"unsafe_.*|item|to|nonzero_static|sum_to_size": "memory, storage",
    r"bfloat16": "a dtype that NumPy has not",
    r"broadcast_shapes|scalar_tensor|new_.*|signal\..*": "no function of arrays",
    # other kinds of arrays, other names of the same
    r"sparse\..*|to_sparse|hash_tensor": "sparse arrays, hashes",
    r"_.*|native_.*|torch\..*|jiterator_.*|max_pool2d_with_.*|grid_sampler_.d": "internals",
    r"masked\..*": "a prototype",
    # random numbers
    r"bernoulli|cauchy|exponential|geometric|log_normal|multinomial|normal|uniform": "random",
    r"rand.*|(svd|pca)_lowrank|nn\.functional\.(.*dropout.*|rrelu|fractional_max_.*)": "random",
    # what LAPACK hands from one routine to the next
    r"geqrf|ormqr|lu|lu_(unpack|solve)|linalg\.(ldl_.*|lu_.*|.*_ex)|triangular_solve": "factors",
    # functions of physics without a derivative in PyTorch; a whole layer, a chunked loss
    r"special\.(airy|.*bessel|.*polynomial|zeta).*|igammac?": "without a derivative",
    r"histogramdd|nn\.functional\.(linear_cross_entropy|multi_head_attention_forward)": "a layer",
}


def out_of_scope(op) -> str | None:
    if not any(op.supports_dtype(t, "cpu") for t in (torch.float32, torch.int64)):
        return "complex numbers"
    return next((why for name, why in OUT_OF_SCOPE.items() if re.fullmatch(name, op.name)), None)


# ------------------------------------------------------------------------------- their names here


def spread(function, with_mean=False):
    """`var` and `std`, which PyTorch divides by n - 1 unless told otherwise."""

    def ours(x, axis=None, unbiased=True, keepdims=False, *, correction=None):
        if isinstance(axis, bool):
            axis, unbiased = None, axis
        correction = int(unbiased) if correction is None else correction
        axis = None if axis in ((), []) else axis
        y = function(x, axis=axis, correction=correction, keepdims=keepdims)
        return (y, mg.mean(x, axis=axis, keepdims=keepdims)) if with_mean else y

    return ours


def extreme(name):
    """Of all, along an axis with its index, or of two arrays."""

    def ours(x, axis=None, keepdims=False):
        if isinstance(axis, Tensor):
            return getattr(mg, name + "imum")(x, axis)
        y = getattr(mg, name)(x, axis=axis, keepdims=keepdims)
        if axis is None:
            return y
        return y, getattr(mg, "arg" + name)(x, axis=axis, keepdims=keepdims)

    return ours


def median(x, axis=None, keepdims=False):
    """Of an even number PyTorch takes the lower of the two in the middle."""
    if axis is None:
        return mg.kthvalue(mg.ravel(x), (x.size + 1) // 2)[0]
    return mg.kthvalue(x, (x.shape[axis] + 1) // 2 if x.ndim else 1, axis, keepdims)


def nanmedian(x, axis=None, keepdims=False):
    return mg.nanquantile(x, q=0.5, axis=axis, keepdims=keepdims, method="lower")


def quantiles(function):
    def ours(x, q, axis=None, keepdims=False, interpolation="linear"):
        q = q.tolist() if isinstance(q, Tensor) else q
        return function(x, q=q, axis=axis, keepdims=keepdims, method=interpolation)

    return ours


def sort(x, axis=-1, descending=False, stable=False):
    options = {"axis": axis, "descending": descending}
    return mg.sort(x, **options), mg.argsort(x, **options)


def division(a, b, rounding_mode=None):
    if rounding_mode == "floor":
        return mg.floor_divide(a, b)
    if rounding_mode == "trunc" and all(x.dtype.kind == "i" for x in (a, b) if hasattr(x, "dtype")):
        return mg.floor_divide(a - mg.fmod(a, b), b)
    return mg.trunc(mg.divide(a, b)) if rounding_mode else mg.divide(a, b)


def lengths(*shape):
    return shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape


def expand(x, *shape):
    shape = lengths(*shape)
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return mg.broadcast_to(x, tuple(n if m == -1 else m for n, m in zip(own, shape, strict=True)))


def squeeze(x, axis=None):
    """PyTorch leaves an axis that is longer."""
    if axis is None:
        return mg.squeeze(x)
    axes = (axis,) if isinstance(axis, int) else axis
    return mg.squeeze(x, tuple(a for a in axes if x.ndim and x.shape[a] == 1))


def cut(x, start=None, stop=None, step=None, axis=0):
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop, step),)]


def narrow(x, axis, start, n):
    start = int(start) % x.shape[axis] if x.shape[axis] else 0
    return cut(x, start, start + n, axis=axis)


def split(x, size, axis=0):
    n = x.shape[axis]
    at = list(range(size, n, size)) if isinstance(size, int) else list(itertools.accumulate(size))
    return mg.array_split(x, at if isinstance(size, int) else at[:-1], axis)


def tensor_split(x, parts, axis=0):
    return mg.array_split(x, parts.tolist() if isinstance(parts, Tensor) else parts, axis)


def repeat_interleave(x, repeats, axis=None, output_size=None):
    return mg.repeat(x, repeats.tolist() if isinstance(repeats, Tensor) else repeats, axis)


def at_least(function):
    return lambda xs: function(*xs) if isinstance(xs, tuple) else function(xs)


def diagonals(function):
    """`dim1` and `dim2` are `axis1` and `axis2`."""

    def ours(*args, dim1=None, dim2=None, **kwargs):
        axes = {} if dim1 is None else {"axis1": dim1, "axis2": dim2}
        return function(*args, **axes, **kwargs)

    return ours


def norm(x, p="fro", axis=None, keepdims=False, dtype=None):
    x = x if dtype is None else x.astype(dtype)
    if p == "nuc" or (p == "fro" and isinstance(axis, tuple) and len(axis) == 2):
        return linalg.norm(x, p, axis=axis, keepdims=keepdims)
    p, axis = 2 if p == "fro" else p, None if axis == () else axis
    return linalg.vector_norm(x, ord=p, axis=axis, keepdims=keepdims)


def typed(function):
    """A function of `x` in another dtype first."""

    def ours(x, *args, dtype=None, **kwargs):
        return function(x if dtype is None else x.astype(dtype), *args, **kwargs)

    return ours


def cast(dtype):
    return lambda x, **_: x.astype(dtype)


def made(function):
    """What is made of numbers, wherever it is put."""
    return lambda *args, device=None, requires_grad=False, **kwargs: function(*args, **kwargs)


def triangle(function):
    def ours(rows, columns, offset=0, dtype="int64", device=None):
        return mg.stack(function(rows, offset, columns)).astype(dtype)

    return ours


def unique(x, sorted=True, return_inverse=False, return_counts=False, axis=None):
    return mg.unique(x, return_inverse=return_inverse, return_counts=return_counts, axis=axis)


def nonzero(x, as_tuple=False):
    return mg.nonzero(x) if as_tuple else mg.argwhere(x)


def searchsorted(a, v, out_int32=False, right=False, side=None, sorter=None):
    more = {} if sorter is None else {"sorter": sorter}
    y = mg.searchsorted(a, v, side=side or ("right" if right else "left"), **more)
    return y.astype("int32") if out_int32 else y


def scatter(x, axis, ids, values, reduce=None):
    if reduce == "multiply":
        return mg.scatter_reduce(x, ids, values, axis, "prod")
    return (mg.scatter_add if reduce else mg.scatter)(x, ids, values, axis=axis)


def histogram(x, bins, range=None, weight=None, density=False):
    counts, edges = mg.histogram(x, bins, range=range, weights=weight, density=density)
    return counts.astype(x.dtype), edges


def histc(x, bins=100, min=0, max=0):
    return mg.histogram(x, bins, range=None if min == max else (min, max))[0].astype(x.dtype)


def matrix_norm(x, ord="fro", axis=(-2, -1), keepdims=False, dtype=None):
    return linalg.norm(x if dtype is None else x.astype(dtype), ord, axis=axis, keepdims=keepdims)


def vector_norm(x, ord=2, axis=None, keepdims=False, dtype=None):
    x = x if dtype is None else x.astype(dtype)
    return linalg.vector_norm(x, ord=ord, axis=None if axis == () else axis, keepdims=keepdims)


def resized(mode):
    return lambda x, size=None, scale_factor=None: F.interpolate(
        x, size, scale_factor, mode, align_corners=True if mode == "bilinear" else None
    )


def triplets(*xs, distance_function=None, **kwargs):
    return F.triplet_margin_with_distance_loss(*xs, **kwargs)


def qr(x, some=True):
    return tuple(linalg.qr(x, "reduced" if some else "complete"))


def svd(x, some=True, compute_uv=True):
    u, s, vh = linalg.svd(x, full_matrices=not some)
    return u, s, linalg.matrix_transpose(vh)


OURS = {
    # arithmetic
    "abs": "absolute",
    "add": lambda a, b, alpha=1: mg.add(a, b if alpha == 1 else mg.multiply(alpha, b)),
    "sub": lambda a, b, alpha=1: mg.subtract(a, b if alpha == 1 else mg.multiply(alpha, b)),
    "rsub": lambda a, b, alpha=1: mg.subtract(b, a if alpha == 1 else mg.multiply(alpha, a)),
    "mul": "multiply",
    "div": division,
    "neg": "negative",
    "pow": "power",
    "clamp": "clip",
    "clamp_max": lambda x, most: mg.clip(x, max=most),
    "clamp_min": lambda x, least: mg.clip(x, min=least),
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh",
    "atan": "arctan", "atanh": "arctanh", "atan2": "arctan2",
    "__radd__": lambda a, b: b + a, "__rsub__": lambda a, b: b - a,
    "__rmul__": lambda a, b: b * a, "__rdiv__": lambda a, b: b / a,
    "__rmod__": lambda a, b: b % a, "__rpow__": lambda a, b: b**a,
    "__rmatmul__": lambda a, b: b @ a, "__rand__": lambda a, b: b & a,
    "__ror__": lambda a, b: b | a, "__rxor__": lambda a, b: b ^ a,
    "bitwise_left_shift": "left_shift", "bitwise_right_shift": "right_shift",
    "eq": "equal", "ne": "not_equal", "ge": "greater_equal", "gt": "greater",
    "le": "less_equal", "lt": "less", "equal": "array_equal",
    "half": cast("float16"), "float": cast("float32"),
    "double": cast("float64"), "bool": cast("bool"), "byte": cast("uint8"), "char": cast("int8"),
    "short": cast("int16"), "int": cast("int32"), "long": cast("int64"),
    # special functions
    "mvlgamma": lambda x, p: mg.multigammaln(x, p),
    "polygamma": lambda x, n: mg.polygamma(n, x),
    "special.polygamma": lambda x, n: mg.polygamma(n, x),
    # products
    "mm": "matmul", "bmm": "matmul", "mv": "matmul",
    "einsum": lambda xs, equation: mg.einsum(equation, *xs),
    "tensordot": lambda a, b, axis=2: mg.tensordot(a, b, axis),
    "cross": lambda a, b, axis=-1: linalg.cross(a, b, axis=axis),
    "dist": lambda a, b, p=2: mg.dist(a, b, p),
    "cdist": lambda a, b, p=2.0, compute_mode=None: mg.cdist(a, b, p),
    # reductions
    "var": spread(mg.var), "std": spread(mg.std),
    "var_mean": spread(mg.var, True), "std_mean": spread(mg.std, True),
    "max": extreme("max"), "min": extreme("min"),
    "median": median, "nanmedian": nanmedian,
    "quantile": quantiles(mg.quantile),
    "nanquantile": quantiles(lambda *args, **kwargs: mg.nanquantile(*args, **kwargs)),
    "norm": norm, "linalg.matrix_norm": matrix_norm, "linalg.vector_norm": vector_norm,
    "linalg.norm": lambda x, ord=None, axis=None, keepdims=False: linalg.norm(
        x, ord, axis=axis, keepdims=keepdims),
    "trapz": "trapezoid",
    "histc": histc,
    # shapes
    "broadcast_tensors": "broadcast_arrays",
    "expand": expand,
    "expand_as": lambda x, y: mg.broadcast_to(x, y.shape),
    "reshape_as": lambda x, y: mg.reshape(x, y.shape),
    "permute": lambda x, *axes: mg.permute(x, lengths(*axes)),
    "transpose": "swapaxes", "t": "transpose", "T": "transpose",
    "mT": linalg.matrix_transpose,
    "movedim": "moveaxis",
    "unsqueeze": "expand_dims", "squeeze": squeeze,
    "flatten": lambda x, start_dim=0, end_dim=-1: mg.flatten(x, start_dim, end_dim),
    "unflatten": lambda x, axis, shape: mg.unflatten(x, axis=axis, shape=shape),
    "repeat": lambda x, *reps: mg.tile(x, lengths(*reps)),
    "tile": lambda x, *reps: mg.tile(x, lengths(*reps)),
    "repeat_interleave": repeat_interleave,
    "cat": "concatenate", "unbind": "unstack",
    "narrow": narrow,
    "select": lambda x, axis, i: mg.take(x, i, axis),
    "slice": lambda x, axis=0, start=None, end=None, step=1: cut(x, start, end, step, axis),
    "split": split, "split_with_sizes": split, "tensor_split": tensor_split,
    "meshgrid": lambda *xs, indexing="ij": mg.meshgrid(
        *(xs[0] if isinstance(xs[0], tuple) else xs), indexing=indexing),
    "atleast_1d": at_least(mg.atleast_1d), "atleast_2d": at_least(mg.atleast_2d),
    "atleast_3d": at_least(mg.atleast_3d),
    "diagonal": diagonals(mg.diagonal), "linalg.diagonal": diagonals(
        lambda x, offset=0, axis1=-2, axis2=-1: mg.diagonal(x, offset, axis1, axis2)),
    "diagonal_scatter": diagonals(lambda *args, **kwargs: mg.diagonal_scatter(*args, **kwargs)),
    "diag_embed": diagonals(lambda *args, **kwargs: mg.diag_embed(*args, **kwargs)),
    "diag": lambda x, k=0: mg.diag(x, k=k),
    "diagflat": lambda x, offset=0: mg.diagflat(x, k=offset),
    "unfold": lambda x, axis, size, step: mg.Tensor.unfold(x, axis, size, step),
    # creation
    "fill": lambda x, value: mg.full_like(x, fill_value=value),
    "full_like": made(mg.full_like), "ones_like": made(mg.ones_like),
    "zeros_like": made(mg.zeros_like), "arange": made(mg.arange), "eye": made(mg.eye),
    "full": made(mg.full), "ones": made(mg.ones), "zeros": made(mg.zeros),
    "linspace": made(mg.linspace),
    "logspace": made(lambda *ends, base=10.0, **kwargs: mg.logspace(
        *ends[:3], base=ends[3] if ends[3:] else base, **kwargs)),
    "tril_indices": triangle(mg.tril_indices), "triu_indices": triangle(mg.triu_indices),
    # indices, orders
    "__getitem__": lambda x, index: x[index],
    "index_copy": lambda x, axis, ids, values: mg.index_set(x, ids, values, axis=axis),
    "index_add": lambda x, axis, ids, values, alpha=1: mg.index_add(
        x, ids, alpha * values, axis=axis),
    "index_select": lambda x, axis, ids: mg.index_select(x, ids, axis),
    "gather": lambda x, axis, ids: mg.gather(x, ids, axis),
    "scatter": scatter,
    "scatter_add": lambda x, axis, ids, values: mg.scatter_add(x, ids, values, axis=axis),
    "take": lambda x, ids: mg.take(x, ids),
    "take_along_dim": lambda x, ids, axis=None: mg.take_along_axis(
        x, ids if axis is not None else mg.ravel(ids), axis=axis),
    "where": lambda a, condition, b: mg.where(condition, a, b),
    "nonzero": nonzero, "unique": unique,
    "sort": sort, "msort": lambda x: mg.sort(x, axis=0),
    "searchsorted": searchsorted,
    "bucketize": lambda x, bins, **kwargs: searchsorted(bins, x, **kwargs),
    # linear algebra
    "cholesky": lambda x, upper=False: linalg.cholesky(x, upper),
    "cholesky_inverse": lambda x, upper=False: linalg.cholesky_inverse(x, upper),
    "cholesky_solve": lambda b, l, upper=False: linalg.cholesky_solve(b, l, upper),
    "logdet": "linalg.logdet", "matrix_exp": "linalg.matrix_exp",
    "qr": qr, "svd": svd, "pinverse": linalg.pinv,
    "linalg.lstsq": lambda a, b, rcond=None, driver=None: linalg.lstsq(a, b, rcond)[0],
    "linalg.pinv singular": lambda a, b: linalg.pinv(a @ b.mT),
    "linalg.pinv": lambda x, rtol=None, hermitian=False: linalg.pinv(
        x, rtol, **{"hermitian": True} if hermitian else {}),
    # functions
    "constant_pad_nd": lambda x, pad, value=0: F.pad(x, pad, value=value),
    "linalg.matrix_rank": lambda x, tol=None, rtol=None, hermitian=False, atol=None: (
        linalg.matrix_rank(x, tol if atol is None else atol, hermitian, rtol=rtol)),
    "cov": lambda x, correction=1, fweights=None, aweights=None: mg.cov(
        x, ddof=correction, fweights=fweights, aweights=aweights),
    "gradient": lambda x, spacing=None, axis=None, edge_order=1: mg.gradient(
        x, *(spacing if isinstance(spacing, tuple) else (1 if spacing is None else spacing,)),
        axis=axis, edge_order=edge_order),
    "histogram": histogram,
    "fft.fftshift": lambda x, axis=None: mg.fft.fftshift(x, axis),
    "fft.ifftshift": lambda x, axis=None: mg.fft.ifftshift(x, axis),
    "linalg.tensorsolve": lambda a, b, axis=None: linalg.tensorsolve(a, b, axis),
    "index_fill": lambda x, axis, ids, value: mg.index_fill(x, ids, value, axis),
    "index_reduce": lambda x, axis, ids, values, how, include_self=True: mg.index_reduce(
        x, ids, values, axis, how, include_self),
    "scatter_reduce": lambda x, axis, ids, values, how, include_self=True: mg.scatter_reduce(
        x, ids, values, axis, how, include_self),
    "nn.functional.embedding": lambda weight, ids, **kwargs: F.embedding(ids, weight, **kwargs),
    "nn.functional.embedding_bag": lambda weight, ids, offsets=None, **kwargs: F.embedding_bag(
        ids, weight, offsets, **kwargs),
    "nn.functional.triplet_margin_with_distance_loss": triplets,
    "nn.functional.upsample_bilinear": resized("bilinear"),
    "nn.functional.upsample_nearest": resized("nearest"),
}  # fmt: skip


def label_of(op) -> str:
    return f"{op.name} {op.variant_test_name}".strip()


def ours_of(op):
    """Our function for PyTorch's `op`; None where there is none."""
    found = OURS.get(label_of(op), OURS.get(op.name, op.name))
    if not isinstance(found, str):
        return found
    space, _, last = found.rpartition(".")
    place = {"nn.functional": F, "linalg": linalg, "fft": mg.fft}.get(space, mg)
    return getattr(place, last, getattr(mg.special, last, None))


# ---------------------------------------------------------------------------- the comparison

# Of an op's results, what is determined.
DETERMINED = {
    "svd": lambda u, s, v: (u * u, s, v * v) if u.shape[-1] == v.shape[-1] else (s,),
    "linalg.svd": lambda u, s, v: (u * u, s, v * v) if u.shape[-1] == v.shape[-2] else (s,),
    "linalg.eigh": lambda w, v: (w, v * v),
    "kthvalue": lambda y, _: (y,),  # of equal elements any
    "mode": lambda y, _: (y,),
    "topk": lambda y, _: (y,),
    "median": lambda y, *_: (y,),
    "nanmedian": lambda y, *_: (y,),
    "linalg.lstsq": lambda x, *_: (x,),
}


def of_log_softmax(loss):
    """PyTorch's gradient of `ctc_loss` is right below a `log_softmax`, and nowhere else."""
    return lambda x, *args, **kwargs: loss(x.log_softmax(-1), *args, **kwargs)


def of_triangle(place):
    """PyTorch's gradient by a triangle that `cholesky` gave is not one: it has both triangles."""

    def prepared(function):
        def of(*args, upper=False):
            l = args[place].triu() if upper else args[place].tril()
            return function(*args[:place], l, *args[place + 1 :], upper=upper)

        return of

    return prepared


def of_symmetric(function):
    """PyTorch's gradient by a symmetric matrix is not always symmetric, ours is."""
    return lambda x, **kwargs: function((x + x.mT) / 2, **kwargs)


PREPARED = {
    "linalg.pinv hermitian": of_symmetric,
    "nn.functional.ctc_loss": of_log_softmax,
    "cholesky_inverse": of_triangle(0),
    "cholesky_solve": of_triangle(1),
}

# Floats given for integers, which PyTorch cuts off: ends of a range, factors, values.
FLOATS_ONLY = {"arange", "linspace", "logspace", "addmv", "addbmm", "baddbmm", "scatter"}
# And where NumPy, too, has floats of integers.
FLOATS_ONLY |= {"heaviside", "nanmedian"}


def samples_of(op, dtype):
    torch.manual_seed(0)
    tracked = op.supports_autograd and dtype.is_floating_point
    every = list(op.sample_inputs("cpu", dtype, requires_grad=tracked))
    every = [s for s in every if not s.kwargs.get("dropout_p")]
    return every[:: -(-len(every) // SAMPLES)] if every else []


def dtypes_of(op):
    """Those that it is asked about; a function of neural networks is not about integers."""
    of_floats = op.name.startswith("nn.functional") or op.name in FLOATS_ONLY
    for dtype in (torch.float64, torch.float32, torch.int64):
        if op.supports_dtype(dtype, "cpu"):
            yield dtype
        if dtype == torch.float32 and of_floats and op.supports_dtype(dtype, "cpu"):
            return


OPTIONS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}


def converted(value, pairs):
    """An argument with our Tensors for PyTorch's; those that are tracked go into `pairs`."""
    if isinstance(value, torch.Tensor):
        x = Tensor(value.detach().numpy(), requires_grad=value.requires_grad)
        if value.requires_grad:
            pairs.append((x, value))
        return x
    if isinstance(value, list | tuple):
        return tuple(converted(v, pairs) for v in value)
    if isinstance(value, dict):
        return {OPTIONS.get(k, k): converted(v, pairs) for k, v in value.items()}
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def tensors_of(y) -> list:
    """The results, one after the other."""
    return [v for part in y for v in tensors_of(part)] if isinstance(y, list | tuple) else [y]


def numbers_of(y):
    if isinstance(y, torch.Tensor):
        return y.detach().numpy(force=True)
    return y.detach().numpy() if isinstance(y, Tensor) else np.asarray(y)


def difference(ours, theirs, exact=False) -> str | None:
    """What is wrong with `ours`, if anything is."""
    ours, theirs = numbers_of(ours), numbers_of(theirs)
    theirs = theirs.astype(np.float32) if exact and theirs.dtype == np.float64 else theirs
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} for {theirs.shape}"
    if theirs.dtype.kind != "f":
        if (ours.dtype.kind == "b") != (theirs.dtype.kind == "b") or ours.dtype.kind == "f":
            return f"{ours.dtype} for {theirs.dtype}"
        return None if np.array_equal(ours, theirs) else "other values"
    if ours.dtype != theirs.dtype:
        return f"{ours.dtype} for {theirs.dtype}"
    tolerances = {8: (2e-6, 1e-9), 4: (2e-3, 2e-4), 2: (1e-2, 1e-3)}[theirs.itemsize]
    if np.allclose(ours, theirs, *tolerances, equal_nan=True):
        return None
    return f"off by {np.nanmax(np.abs(ours - theirs), initial=0):.1e}"


# With a place named twice PyTorch gives the gradient to both values; "... grad" are without.
VALUES_ONLY = {f"nn.functional.max_unpool{n}d" for n in (1, 2, 3)}


def in_float64(x):
    if not isinstance(x, torch.Tensor) or x.dtype != torch.float32:
        return x
    return x.detach().double().requires_grad_(x.requires_grad)


def compare(op, ours, sample, dtype, exact=False):
    """Put one sample to both: how far ours is right (-1: not at all, 0: values, 1: gradients, 2:
    theirs), and what is wrong with the next, if anything is. `exact`: PyTorch's is in float64."""
    pairs, draws = [], np.random.default_rng(0)
    x, args, kwargs = (converted(v, pairs) for v in (sample.input, sample.args, sample.kwargs))
    if exact:
        sample, others = sample.transform(in_float64), []
        converted((sample.input, sample.args, sample.kwargs), others)
        pairs = [(x, z) for (x, _), (_, z) in zip(pairs, others, strict=True)]
    prepared = PREPARED.get(label_of(op), lambda function: function)
    theirs = tensors_of(prepared(op)(sample.input, *sample.args, **sample.kwargs))
    found = tensors_of(prepared(ours)(x, *args, **kwargs))
    if determined := DETERMINED.get(op.name):
        theirs, found = determined(*theirs), determined(*found)
    if len(theirs) != len(found):
        return -1, f"{len(found)} results for {len(theirs)}"
    for y, z in zip(found, theirs, strict=True):
        if wrong := difference(y, z, exact):
            return -1, wrong
    if label_of(op) in VALUES_ONLY:
        return 2, None
    for order in range(1, 3 if dtype == torch.float64 and op.supports_gradgrad else 2):
        both = [
            (y, z)
            for y, z in zip(found, theirs, strict=True)
            if isinstance(z, torch.Tensor) and z.requires_grad
        ]
        if not both or not pairs:
            break
        found, theirs = gradients(both, pairs, draws, op.supports_gradgrad)
        for y, z in zip(found, theirs, strict=True):
            if wrong := difference(y, z, exact):
                return order - 1, f"gradient of order {order}: {wrong}"
    return 2, None


def gradients(both, pairs, draws, create_graph):
    """Ours and theirs of the results `both` by the inputs `pairs`, zeros for None."""
    weights = [np.asarray(draws.standard_normal(z.shape), numbers_of(y).dtype) for y, z in both]
    theirs = torch.autograd.grad(
        [z for _, z in both],
        [z for _, z in pairs],
        [torch.from_numpy(w).to(z.dtype) for w, (_, z) in zip(weights, both, strict=True)],
        create_graph=create_graph,
        allow_unused=True,
    )
    theirs = [
        torch.zeros_like(x) if g is None else g for g, (_, x) in zip(theirs, pairs, strict=True)
    ]
    reached = [
        (y, Tensor(w))
        for (y, _), w in zip(both, weights, strict=True)
        if isinstance(y, Tensor) and y.requires_grad
    ]
    if not reached:
        return [mg.zeros_like(x) for x, _ in pairs], theirs
    ys, weights = zip(*reached, strict=True)
    found = mg.gradients(ys, [x for x, _ in pairs], weights, create_graph=True)
    return [
        mg.zeros_like(x) if g is None else g for g, (x, _) in zip(found, pairs, strict=True)
    ], theirs


def checked(op):
    """For an op the order that all samples reach, and what went wrong, a line each."""
    ours = ours_of(op)
    if ours is None:
        return -1, Counter(["refused: there is none"])
    least, faults = 2, Counter()
    for dtype in dtypes_of(op):
        for sample in samples_of(op, dtype):
            try:
                done, wrong = compare(op, ours, sample, dtype)
                if wrong and "off by" in wrong and dtype == torch.float32:
                    # Perhaps PyTorch has lost digits: ours is held against its float64.
                    done, wrong = compare(op, ours, sample, dtype, exact=True)
                wrong = wrong and f"wrong: {wrong}"
            except (NotImplementedError, RuntimeError) as error:
                if "not implemented" not in str(error):  # by PyTorch, in its own gradient
                    raise
                done, wrong = 2, None
            except Exception as error:
                done, wrong = -1, f"refused: {type(error).__name__}: {error}"
            if wrong:
                least = min(least, done)
                faults[f"{wrong}  [{str(dtype)[6:]}; {shown(sample)}]"] += 1
    return least, faults


def shown(sample) -> str:
    def short(v):
        if isinstance(v, torch.Tensor):
            return f"{str(v.dtype)[6:]}{tuple(v.shape)}"
        return f"({', '.join(map(short, v))})" if isinstance(v, list | tuple) else str(v)

    options = [f"{k}={short(v)}" for k, v in sample.kwargs.items()]
    return ", ".join([*map(short, (sample.input, *sample.args)), *options])


def op_db():
    """PyTorch's table, which is made for a test library that is not needed here."""
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import common_methods_invocations

    return common_methods_invocations.op_db


# ---------------------------------------------------------------------------------- the tests

# Ops of which a sample is refused: each fault is an error.
REFUSED = {
    "cat": "a vector without elements does not fit matrices; PyTorch passes over it",
    "einsum": "an ellipsis that the output lacks; PyTorch sums over it, NumPy refuses as we do",
    "tensordot": "axes of lengths 1 and 2; PyTorch broadcasts, NumPy refuses as we do",
    "nonzero": "`as_tuple` of a number; NumPy refuses as we do",
    "nn.functional.batch_norm": "(0,) without an axis for the channels",
    "nn.functional.grid_sample": "there is none",
    "linalg.lu": "there is none",
}

# Ops of which a sample has another answer, which is right as well.
OTHERWISE = {
    "cumsum": "of a number along an axis a vector, as NumPy's",
    "cumprod": "of a number along an axis a vector, as NumPy's",
    "quantile": "no gradient by q, which is a number",
    "nanquantile": "no gradient by q, which is a number",
    "bincount": "with whole numbers as weights float32, as of all integers",
    "cov": "float32 weights are summed in float64",
    "linalg.solve": "several vectors are a matrix, as in NumPy 2; mostly that is refused",
    "linalg.norm subgradients_at_zero": "0 at 0; PyTorch's may be NaN, or a singular vector's",
}

PARTS = 8  # so that several processes may share the work


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_the_samples_of_torch(part):
    ops = [op for op in op_db() if not out_of_scope(op)]
    assert len(ops) > 400, "the table is another one"
    for op in ops[part::PARTS]:
        label, (_, faults) = label_of(op), checked(op)
        if label in REFUSED:
            assert all(fault.startswith("refused") for fault in faults), (label, faults)
        if label in REFUSED or label in OTHERWISE:
            assert faults, f"{label} is right by now"
        else:
            assert not faults, (label, faults)


def main(names):
    """Print what is not right, and how many are."""
    known, right, scope = Counter(), Counter(), Counter()
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")
    for op in op_db():
        label = label_of(op)
        if names and op.name not in names:
            continue
        if reason := out_of_scope(op):
            scope[reason] += 1
            continue
        began = time.perf_counter()
        order, faults = checked(op)
        known.update({"ops": 1, "twice": int(op.supports_gradgrad)})
        twice = bool(op.supports_gradgrad and order == 2)
        right.update({"ops": int(order >= 1), "twice": int(twice)})
        if faults:
            kinds = Counter()
            for fault, count in faults.items():
                kinds[fault if names else fault.split("  [")[0]] += count
            print(f"{label}: {order}  ({time.perf_counter() - began:.1f} s)")
            for fault, count in kinds.most_common(999 if names else 3):
                print(f"    {count} x {fault[:300]}")
    print("out of scope:", dict(scope))
    print(f"{right['ops']} of {known['ops']} ops, {right['twice']} of {known['twice']} twice")


if __name__ == "__main__":
    main(sys.argv[1:])

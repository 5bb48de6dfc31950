"""Products: of matrices, of vectors, over any axes, and by Einstein's notation."""

import functools
import math
from collections.abc import Sequence
from itertools import chain, combinations
from numbers import Integral

import numpy as np

from minigrad.autodiff import as_arrays, op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import astype, is_half, matched
from minigrad.ops.elementwise import add, multiply, subtract, zeros_like
from minigrad.ops.reductions import sum
from minigrad.ops.shaping import concatenate, expand_dims, moveaxis, ravel, reshape, transpose

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bilinear", "cross", "dot", "einsum", "inner",
    "kron", "linear", "matmul", "matvec", "outer", "tensordot", "vdot", "vecdot", "vecmat",
]  # fmt: skip


# -------------------------------------------------------------------------------- matrices


@primitive(kernel={"cupy": "cuda.products.matmul"})
def matmul(xp, a, b):
    """The matrix product over the last two axes, batched over the others, as NumPy's `@`.

    Half precision is multiplied and summed in float32 and cast back.

    Raises:
        ShapeError: the shapes do not fit, or an operand has no axis.
    """
    both = type(a) is type(b) is np.ndarray and a.dtype is b.dtype
    if both and a.ndim == b.ndim == 2 and a.dtype.itemsize > 2:
        return xp.matmul(a, b)  # the common case, quickly
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        raise ShapeError(
            f"matmul: each operand needs an axis, got shapes {np.shape(a)} and {np.shape(b)}; "
            f"use multiply, or dot, for a number"
        )
    a, b = matched(a, b)
    if xp is not np and a.dtype != b.dtype:
        dtype = np.result_type(a.dtype, b.dtype)
        return matmul(a.astype(dtype), b.astype(dtype))  # by the kernel
    dtype = a.dtype
    half = is_half(dtype) and dtype == b.dtype
    if half and xp is not np:  # a device does so by itself, but for many products of bfloat16
        half = dtype.kind == "V" and max(a.ndim, b.ndim) > 2 and b.ndim != 2
    if half:
        a, b = a.astype("float32"), b.astype("float32")
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of one per batch element
        y = xp.matmul(a.reshape(-1, a.shape[-1]) if a.size else a, b)
        y = y.reshape(*a.shape[:-1], b.shape[-1])
    else:
        y = xp.matmul(a, b)
    return y.astype(dtype) if half else y


def _matmul_a(g, _y, _a, b):
    if b.ndim == 1:
        return expand_dims(g, axis=-1) * b
    if _a.ndim == 1:
        return matmul(b, expand_dims(g, axis=-1))[..., 0]
    if b.ndim == 2 and g.ndim > 2:
        return _times(_rows(g), b.swapaxes(0, 1)).reshape(*g.shape[:-1], b.shape[0])
    return _times(g, b.swapaxes(-1, -2))


def _matmul_b(g, _y, a, _b):
    if a.ndim == 1:
        return expand_dims(a, axis=-1) * expand_dims(g, axis=-2) if _b.ndim > 1 else a * g
    if _b.ndim == 1:
        return matmul(ravel(g), _rows(a))
    if _b.ndim == 2:
        a, g = _rows(a), _rows(g)
    return _times(a.swapaxes(-1, -2), g)


def _rows(x):
    """`x` as a matrix: all axes but the last in one."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


matmul.vjps(_matmul_a, _matmul_b)


def _times(a, b):
    """`a @ b`; by the op where that does better: of 16 bits, and on a device."""
    return a @ b if type(a) is np.ndarray and a.dtype.itemsize > 2 else matmul(a, b)


def _sum_of(rows):
    """The sum of all rows, in float32 if they are narrower."""
    return rows.sum(axis=0) if rows.dtype.itemsize > 2 else sum(rows, axis=0)


@op(kernel={"cupy": "cuda.products.linear"})
def linear(xp, x, weight, bias=None):
    """`x @ weight.T + bias` over the last axis.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Raises:
        ShapeError: shapes do not fit.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x must be (..., in_features) and weight (out_features, in_features), got "
            f"{x.shape} and {weight.shape}"
        )
    if x.dtype.kind in "iub":
        x = astype(x, dtype=weight.dtype)  # as everywhere, integers take the dtype of the floats
    y = _times(_rows(x), weight.swapaxes(0, 1))
    y = y if bias is None else y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


@linear.vjp
def _(g, _y, x, weight, _bias):
    rows = _rows(g)
    return (
        _times(rows, weight).reshape(x.shape),
        _times(rows.swapaxes(0, 1), _rows(x)),
        None if _bias is None else _sum_of(rows),
    )


def bilinear(x1, x2, weight, bias=None):
    """`x1 @ weight[k] @ x2 + bias[k]` for each output feature k (PyTorch's `bilinear`).

    Args:
        x1: (..., in1_features).
        x2: (..., in2_features), with the leading axes of `x1`.
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,) or None.

    Raises:
        ShapeError: shapes do not fit.
    """
    x1, x2, weight, bias = as_arrays(x1, x2, weight, bias)
    if weight.ndim != 3 or (x1.shape[-1:], x2.shape[-1:]) != (weight.shape[1:2], weight.shape[2:]):
        raise ShapeError(
            f"bilinear: x1 must be (..., in1), x2 (..., in2) and weight (out, in1, in2), got "
            f"{x1.shape}, {x2.shape} and {weight.shape}"
        )
    if x1.shape[:-1] != x2.shape[:-1]:
        raise ShapeError(f"bilinear: the leading axes differ in {x1.shape} and {x2.shape}")
    y = einsum("...i,oij,...j->...o", x1, weight, x2)
    return y if bias is None else y + bias


# --------------------------------------------------------------------------------- vectors


def dot(a, b):
    """NumPy's `dot`: of the last axis of `a` with the last but one of `b`, or its only one.

    A number, or an array without axes, is multiplied with. Not batched: of (2, 3, 4) and (5, 4, 6)
    the result is (2, 3, 5, 6).
    """
    a, b = as_arrays(a, b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 else tensordot(a, b, (-1, -2))


def vdot(a, b):
    """The sum of the products of all elements: `dot` of the flattened arrays."""
    a, b = as_arrays(a, b)
    return matmul(ravel(a), ravel(b))


def inner(a, b):
    """The products of all vectors along the last axis of `a` with all along that of `b`.

    The shape is `a.shape[:-1] + b.shape[:-1]`. A number, or an array without axes, is multiplied
    with.
    """
    a, b = as_arrays(a, b)
    return tensordot(a, b, (-1, -1)) if a.ndim and b.ndim else multiply(a, b)


def outer(a, b):
    """The products of each element of `a` with each of `b`, both flattened: (a.size, b.size)."""
    a, b = as_arrays(a, b)
    return multiply(expand_dims(ravel(a), axis=1), ravel(b))


def vecdot(x1, x2, axis: int = -1):
    """The products of the vectors along `axis`; the other axes broadcast.

    Raises:
        ShapeError: the vectors are not of one length.
    """
    x1, x2 = as_arrays(x1, x2)
    n, m = _length("vecdot", x1, axis), _length("vecdot", x2, axis)
    if n != m:
        raise ShapeError(f"vecdot: axis {axis} has two lengths, in {x1.shape} and {x2.shape}")
    x1, x2 = moveaxis(x1, source=axis, destination=-1), moveaxis(x2, source=axis, destination=-1)
    return vecmat(x1, expand_dims(x2, axis=-1))[..., 0]


def matvec(x1, x2):
    """The matrices (..., m, n) times the vectors (..., n): (..., m); leading axes broadcast."""
    x1, x2 = as_arrays(x1, x2)
    return matmul(x1, expand_dims(x2, axis=-1))[..., 0]


def vecmat(x1, x2):
    """The vectors (..., n) times the matrices (..., n, m): (..., m); leading axes broadcast."""
    x1, x2 = as_arrays(x1, x2)
    return matmul(expand_dims(x1, axis=-2), x2)[..., 0, :]


def cross(a, b, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None):
    """The cross products of the vectors along an axis of length 3; the other axes broadcast.

    A vector of length 2 has 0 as its third element; of two such only the third element of the
    product is given, without an axis.

    Args:
        axisa, axisb, axisc: the axis of the vectors in `a`, in `b` and in the result.
        axis: all three of them at once.

    Raises:
        ShapeError: the vectors have neither 3 nor 2 elements.
    """
    a, b = as_arrays(a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    n, m = _length("cross", a, axisa), _length("cross", b, axisb)
    if not {n, m} <= {2, 3}:
        raise ShapeError(
            f"cross: the vectors must have 3 elements (or 2), got {n} and {m}, of shapes "
            f"{a.shape} and {b.shape} along axes {axisa} and {axisb}"
        )
    a, b = moveaxis(a, source=axisa, destination=-1), moveaxis(b, source=axisb, destination=-1)
    if n == m == 2:
        return subtract(multiply(a[..., 0], b[..., 1]), multiply(a[..., 1], b[..., 0]))
    a, b = _in_space(a), _in_space(b)
    return moveaxis(
        _turned(multiply(a, _turned(b)) - multiply(_turned(a), b)), source=-1, destination=axisc
    )


def _in_space(x):
    return x if x.shape[-1] == 3 else concatenate([x, zeros_like(x[..., :1])], -1)


def _turned(x):
    """`x` with its first element moved to the end of the last axis."""
    return concatenate([x[..., 1:], x[..., :1]], -1)


def _length(name: str, x, axis: int) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"{name}: axis {axis} is out of range for an array of shape {x.shape}")
    return x.shape[axis]


# -------------------------------------------------------------------------------- any axes


def tensordot(a, b, axes=2):
    """The sums of products over some axes of `a` and as many of `b`; the others remain, in order.

    Args:
        axes: a pair of axes, or of sequences of axes: those of `a` and their partners in `b`; or
            an int: that many last axes of `a` with the first ones of `b`.

    Raises:
        ShapeError: the axes have other lengths than their partners, an axis is repeated, or their
            number is negative.
    """
    a, b = as_arrays(a, b)
    if isinstance(axes, Integral):
        if axes < 0:
            raise ShapeError(f"tensordot: the number of axes must not be negative, got {axes}")
        axes = range(-axes, 0), range(axes)
    of_a, of_b = ([i] if isinstance(i, Integral) else list(i) for i in axes)
    if [_length("tensordot", a, i) for i in of_a] != [_length("tensordot", b, i) for i in of_b]:
        raise ShapeError(
            f"tensordot: axes {of_a} of shape {a.shape} do not have the lengths of axes {of_b} of "
            f"shape {b.shape}"
        )
    of_a, of_b = [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]
    if len(set(of_a)) < len(of_a) or len(set(of_b)) < len(of_b):
        raise ShapeError(f"tensordot: an axis is repeated in {of_a} or {of_b}")
    left = [i for i in range(a.ndim) if i not in of_a]
    right = [i for i in range(b.ndim) if i not in of_b]
    shape = [a.shape[i] for i in left] + [b.shape[i] for i in right]
    return reshape(matmul(_grouped(a, left, of_a), _grouped(b, of_b, right)), shape=tuple(shape))


def _grouped(x, *groups: Sequence[int]):
    """`x` with each group of its axes in one."""
    order = tuple(chain(*groups))
    lengths = tuple([math.prod([x.shape[i] for i in group]) for group in groups])
    x = x if order == tuple(range(x.ndim)) else transpose(x, axes=order)
    return x if x.shape == lengths else reshape(x, shape=lengths)


def kron(a, b):
    """The Kronecker product: blocks of `b`, one for each element of `a`, scaled by it.

    The lengths of each axis multiply; the one with fewer axes gets leading ones of length 1.
    """
    a, b = as_arrays(a, b)
    ndim = max(a.ndim, b.ndim)
    n, m = ((1,) * (ndim - x.ndim) + x.shape for x in (a, b))
    a = reshape(a, shape=tuple(chain(*((k, 1) for k in n))))
    b = reshape(b, shape=tuple(chain(*((1, k) for k in m))))
    return reshape(multiply(a, b), shape=tuple(k * l for k, l in zip(n, m, strict=True)))


# ------------------------------------------------------------------- a product and a sum


def addmm(x, a, b, *, beta=1, alpha=1):
    """`beta * x + alpha * (a @ b)` of matrices (n, k) and (k, m) (PyTorch's `addmm`).

    Args:
        x: what broadcasts to (n, m); with `beta` 0 nothing is read from it, not even a NaN.

    Raises:
        ShapeError: the shapes do not fit; so for the others, which differ in the product.
    """
    return _plus("addmm", x, a, b, (2, 2), matmul, beta, alpha)


def addmv(x, a, b, *, beta=1, alpha=1):
    """`beta * x + alpha * (a @ b)` of a matrix (n, m) and a vector (m,); see `addmm`."""
    return _plus("addmv", x, a, b, (2, 1), matmul, beta, alpha)


def addr(x, a, b, *, beta=1, alpha=1):
    """`beta * x + alpha * outer(a, b)` of two vectors; see `addmm`."""
    return _plus("addr", x, a, b, (1, 1), outer, beta, alpha)


def baddbmm(x, a, b, *, beta=1, alpha=1):
    """`beta * x + alpha * (a @ b)` of matrices (B, n, k) and (B, k, m); see `addmm`."""
    return _plus("baddbmm", x, a, b, (3, 3), matmul, beta, alpha)


def addbmm(x, a, b, *, beta=1, alpha=1):
    """As `baddbmm`, with the products summed: the result is (n, m)."""
    return _plus("addbmm", x, a, b, (3, 3), lambda a, b: sum(matmul(a, b), axis=0), beta, alpha)


def _plus(name: str, x, a, b, axes: tuple[int, int], product, beta, alpha):
    """`beta * x + alpha * product(a, b)`."""
    x, a, b = as_arrays(x, a, b)
    if (a.ndim, b.ndim) != axes or (a.ndim == b.ndim == 3 and len(a) != len(b)):
        raise ShapeError(
            f"{name}: expected arrays of {axes[0]} and {axes[1]} axes that fit each other, got "
            f"shapes {a.shape} and {b.shape}"
        )
    y = product(a, b)
    if x.ndim > y.ndim or any(n not in (1, m) for n, m in zip(x.shape[::-1], y.shape[::-1])):  # noqa: B905
        raise ShapeError(f"{name}: x of shape {x.shape} does not broadcast to {y.shape}")
    y = y if alpha == 1 else multiply(y, alpha)
    if beta == 0:
        return y
    return add(x if beta == 1 else multiply(x, beta), y)


# -------------------------------------------------------------------------------- einsum


def einsum(subscripts: str, *operands, optimize=True):
    """Einstein summation, `einsum("ij,jk->ik", a, b)`: NumPy's notation, with implicit output,
    ellipses, and indices that are repeated within an operand (its diagonal) or left out (summed).
    NumPy's other form, `einsum(a, [0, 1], b, [1, 2], [0, 2])`, works as well.

    Two operands are contracted as a matrix product. Of more than two, the pair comes first whose
    product adds the fewest elements, and so on: the cost of a chain is that of its products.

    Args:
        optimize: for calls written for NumPy; whatever it says, the order is the one above.

    Raises:
        ShapeError: the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _in_letters(subscripts, *operands)
    xs = as_arrays(*operands)
    terms, output = _explicit(subscripts.replace(" ", ""), tuple(x.shape for x in xs))
    parts = [_with_diagonals(x, term) for x, term in zip(xs, terms, strict=True)]
    size = _sizes(subscripts, parts)
    # What has length 1 and is longer elsewhere broadcasts: it counts as absent.
    parts = [_without(x, t, [c for c in t if size[c] != x.shape[t.index(c)]]) for x, t in parts]
    while len(parts) > 1:
        i, j = _next_pair([t for _, t in parts], output, size) if len(parts) > 2 else (0, 1)
        (b, tb), (a, ta) = parts.pop(j), parts.pop(i)
        parts.append(_contract(a, ta, b, tb, output + "".join(t for _, t in parts)))
    ((y, term),) = parts
    y, term = _without(y, term, [c for c in term if c not in output])
    return y if term == output else transpose(y, axes=tuple(term.index(c) for c in output))


def _next_pair(terms: list[str], output: str, size: dict[str, int]) -> tuple[int, int]:
    """Which two of `terms` to contract next: their product adds the fewest elements."""

    def elements(letters):
        return math.prod(size[c] for c in letters)

    def cost(pair):
        i, j = pair
        others = output + "".join(t for k, t in enumerate(terms) if k not in pair)
        union = set(terms[i] + terms[j])
        grown = elements(union & set(others)) - elements(terms[i]) - elements(terms[j])
        return grown, elements(union)

    return min(combinations(range(len(terms)), 2), key=cost)


def _contract(a, ta: str, b, tb: str, wanted: str):
    """The product of two operands, summed over the letters that nobody else wants; its term."""
    a, ta = _without(a, ta, [c for c in ta if c not in wanted + tb])
    b, tb = _without(b, tb, [c for c in tb if c not in wanted + ta])
    both = [c for c in ta if c in tb]
    batch, inner = [c for c in both if c in wanted], [c for c in both if c not in wanted]
    left, right = [c for c in ta if c not in tb], [c for c in tb if c not in ta]
    term = "".join(batch + left + right)
    if not inner:
        return multiply(_placed(a, ta, term), _placed(b, tb, term)), term
    shape = tuple(a.shape[ta.index(c)] if c in ta else b.shape[tb.index(c)] for c in term)
    a = _grouped(a, *([ta.index(c) for c in group] for group in (*batch, left, inner)))
    b = _grouped(b, *([tb.index(c) for c in group] for group in (*batch, inner, right)))
    y = matmul(a, b)
    return y if y.shape == shape else reshape(y, shape=shape), term


def _placed(x, term: str, letters: str):
    """`x` with its axes in the order of `letters`, and axes of length 1 for those it lacks."""
    order = tuple(term.index(c) for c in letters if c in term)
    x = x if order == tuple(range(x.ndim)) else transpose(x, axes=order)
    absent = tuple(i for i, c in enumerate(letters) if c not in term)
    return expand_dims(x, axis=absent) if absent else x


def _without(x, term: str, letters: Sequence[str]):
    """`x` summed over `letters`, and what is left of its term."""
    if not letters:
        return x, term
    rest = "".join(c for c in term if c not in letters)
    return sum(x, axis=tuple(term.index(c) for c in letters)), rest


def _sizes(subscripts: str, parts) -> dict[str, int]:
    """The length of each index."""
    size: dict[str, int] = {}
    for x, term in parts:
        for c, n in zip(term, x.shape, strict=True):
            m = size.setdefault(c, n)
            if m == 1:
                size[c] = n
            elif n not in (1, m):
                raise ShapeError(
                    f"einsum: index '{c}' of '{subscripts}' has two lengths, {m} and {n}, in "
                    f"operands of shapes {', '.join(str(x.shape) for x, _ in parts)}"
                )
    return size


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _in_letters(*operands) -> tuple[str, list]:
    """`einsum(a, [0, 1], b, [1, 2], [0, 2])` as subscripts and operands."""

    def letters(indices):
        return "".join("..." if i is Ellipsis else _LETTERS[i] for i in indices)

    terms = ",".join(map(letters, operands[1::2]))
    if len(operands) % 2:
        return f"{terms}->{letters(operands[-1])}", list(operands[:-1:2])
    return terms, list(operands[::2])


@functools.lru_cache(maxsize=1024)
def _explicit(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[str], str]:
    """Terms and output with ellipses spelled out in letters."""
    left, arrow, output = subscripts.partition("->")
    terms = left.split(",")
    for term in (*terms, output):
        if set(term.replace("...", "", 1)) - set(_LETTERS):
            raise ShapeError(
                f"einsum: '{term}' of '{subscripts}' must be letters and at most one '...'"
            )
    if len(terms) != len(shapes):
        raise ShapeError(
            f"einsum: '{subscripts}' has {len(terms)} terms for {len(shapes)} operands"
        )
    if not arrow:  # as NumPy: what appears once, in alphabetical order, after the ellipsis
        letters = left.replace(",", "").replace("...", "")
        output = "..." if "..." in left else ""
        output += "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    for c in output.replace("...", ""):
        if c not in left or output.count(c) > 1:
            why = "appears twice" if c in left else "is in no operand"
            raise ShapeError(f"einsum: index '{c}' of the output of '{subscripts}' {why}")
    hidden = [len(s) - len(t.replace("...", "")) for s, t in zip(shapes, terms, strict=True)]
    for shape, term, n in zip(shapes, terms, hidden, strict=True):
        if n < 0 or (n > 0 and "..." not in term):
            raise ShapeError(
                f"einsum: term '{term}' of '{subscripts}' does not fit an operand of shape {shape}"
            )
    if "..." not in output and max(hidden) > 0:
        raise ShapeError(f"einsum: the output of '{subscripts}' lacks the ellipsis")
    spare = [c for c in _LETTERS if c not in subscripts][: max(hidden)]
    dots = "".join(spare)
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, hidden, strict=True)]
    return terms, output.replace("...", dots)


def _with_diagonals(x, term: str):
    """`x` with one axis for each letter of its term: a letter that repeats means a diagonal."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            x, term = _diagonal(x, term, c)
    return x, term


def _diagonal(x, term: str, c: str):
    """`x` with the last two axes named `c` replaced by one, at the end: their diagonal."""
    j = term.rindex(c)
    i = term.rindex(c, 0, j)
    if x.shape[i] != x.shape[j]:
        raise ShapeError(
            f"einsum: index '{c}' has two lengths, {x.shape[i]} and {x.shape[j]}, in an operand "
            f"of shape {x.shape}"
        )
    rest = [a for a in range(x.ndim) if a not in (i, j)]
    n = x.shape[i]
    x = reshape(transpose(x, axes=(*rest, i, j)), shape=(*(x.shape[a] for a in rest), n * n))
    return x[..., :: n + 1] if n else x, "".join(term[a] for a in rest) + c

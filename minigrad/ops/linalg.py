"""Linear algebra, under NumPy's names: `minigrad.linalg`.

All functions work on the last two axes and are batched over the others. 16-bit floats are computed
in float32 and cast back; integers become float64, as in NumPy.

`cholesky`, `eigh` and `eigvalsh` read one triangle of what must be symmetric. Their gradients are
symmetric, as in PyTorch: they say what a symmetric change of the matrix does.

Where eigenvalues or singular values coincide, single vectors are not determined and have no
derivative. There the terms that would be infinite are left out, which is right for what does not
hang on the choice: sums of values, products of vectors such as `v[:, :2] @ v[:, :2].T`. Of what is
made of both, values and vectors, such as `v * f(w) @ v.T`, the derivative needs more than their
gradients tell; it is NaN, in the place of a wrong number. (`matrix_exp`, `inv`, `solve` and powers
by `@` have derivatives everywhere.) So is the second derivative of what is made of values alone,
unless it is their sum with constant weights.

A matrix that cannot be inverted, or is not positive definite, raises `LinAlgError` on the host. On
a device nothing is looked at, as that would wait for it: the result has NaN or infinities.
"""

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.abstract import Abstract
from minigrad.autodiff import as_arrays, on_device_of, op, primitive
from minigrad.backend import array_module
from minigrad.batched import Batched
from minigrad.errors import DtypeError, GradientError, LinAlgError, ShapeError
from minigrad.ops import reductions, shaping
from minigrad.ops.dtypes import astype, is_half
from minigrad.ops.elementwise import absolute, maximum, power, stop_gradient, where, zeros_like
from minigrad.ops.products import (
    cross,
    matmul,
    matvec,
    outer,
    tensordot,
    vecdot,
    vecmat,
)
from minigrad.ops.reductions import all, any, max, prod, sum
from minigrad.ops.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    ravel,
    reshape,
    transpose,
    tril,
    triu,
)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_inverse", "cholesky_solve", "cond", "cross", "det",
    "diagonal", "eigh", "eigvalsh", "householder_product", "inv", "logdet", "lstsq", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "matvec",
    "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
    "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vander", "vecdot", "vecmat",
    "vector_norm",
]  # fmt: skip


class SlogdetResult(NamedTuple):
    sign: Any
    logabsdet: Any


class QRResult(NamedTuple):
    Q: Any
    R: Any


class SVDResult(NamedTuple):
    U: Any
    S: Any
    Vh: Any


class EighResult(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


# ----------------------------------------------------------------------------- what all need


def _call(name: str, function, *xs, **options):
    """What `function`, of `xp.linalg`, gives; its error says which matrix it was."""
    try:
        return function(*xs, **options)
    except np.linalg.LinAlgError as error:
        batch, which = xs[0].shape[:-2], ""
        for at in np.ndindex(*batch):
            try:
                function(*(x[at] for x in xs), **options)
            except np.linalg.LinAlgError:
                which = f" at index {at} of the batch" if batch else ""
                break
        raise LinAlgError(f"{name}: {error}{which} (shape {xs[0].shape})") from None


def _matrices(name: str, *xs, square: bool = False) -> list:
    """`xs` as arrays of at least two axes."""
    arrays = as_arrays(*xs)
    for x in arrays:
        if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
            kind = "a square matrix" if square else "a matrix"
            raise ShapeError(f"{name}: expected {kind}, or a batch of them, got shape {x.shape}")
        if x.dtype.kind not in "fiubV":
            raise DtypeError(f"{name}: expected real numbers, got {x.dtype}")
    return arrays


def _single(function, *xs, **params):
    """`function` in float32 if `xs` are 16-bit floats, with the result cast back."""
    dtype = xs[0].dtype
    if not is_half(dtype):
        return function(*xs, **params)
    y = function(*(astype(x, dtype="float32") for x in xs), **params)
    return tuple(_back(v, dtype) for v in y) if isinstance(y, tuple) else _back(y, dtype)


def _back(y, dtype):
    return astype(y, dtype=dtype) if y.dtype == np.float32 else y


def matrix_transpose(x):
    """`x` with its last two axes exchanged."""
    (x,) = _matrices("matrix_transpose", x)
    return _T(x)


def _T(x):
    return x.swapaxes(-1, -2)


def _eye(x):
    """Identity matrices of the shape and dtype of `x`."""
    return tril(triu(zeros_like(x) + 1))


def _over(d):
    """`1 / d`, and 0 where `d` is 0."""
    return where(d == 0, 0.0, 1 / where(d == 0, 1.0, d))


def _columns(w):
    """`w` (..., n) as (..., 1, n): to scale the columns of a matrix with."""
    return expand_dims(w, axis=-2)


def _differences(w):
    """`w[j] - w[i]` at i, j, and 0 where that is only rounding."""
    d = _columns(w) - expand_dims(w, axis=-1)
    if not w.shape[-1]:
        return d
    size = expand_dims(max(absolute(w), axis=-1, keepdims=True), axis=-1)
    return where(absolute(d) > w.shape[-1] * float(np.finfo(w.dtype).eps) * size, d, 0.0)


def _known(d):
    """NaN where different vectors i, j have equal values, by `_differences`; else 1.

    To be multiplied with: rules are linear in gradients, for forward mode as well.
    """
    return where((d == 0) & (_eye(d) == 0), math.nan, 1.0)


# --------------------------------------------------------------------------- inverse, solve


def inv(a):
    """The inverse of each matrix.

    Raises:
        LinAlgError: a matrix is singular.
    """
    return _single(_inv, *_matrices("inv", a, square=True))


@primitive
def _inv(xp, x, *, name="inv"):
    """`inv`; `name` is what an error says."""
    return _call(name, xp.linalg.inv, x)


@_inv.vjp
def _(g, y, _x, *, name="inv"):
    return -matmul(_T(y), matmul(g, _T(y)))


def solve(a, b):
    """The `x` with `a @ x = b`.

    Args:
        a: (..., n, n).
        b: (n,), or matrices (..., n, k). As in NumPy 2 only an array of one axis is a vector.

    Raises:
        LinAlgError: a matrix is singular.
        ShapeError: the shapes do not fit.
    """
    a, b = as_arrays(a, b)
    (a,) = _matrices("solve", a, square=True)
    if not b.ndim or b.shape[-1 if b.ndim == 1 else -2] != a.shape[-1]:
        raise ShapeError(
            f"solve: b must be (n,) or (..., n, k) for a of shape (..., n, n), got {b.shape} for "
            f"{a.shape}"
        )
    return _single(_solve_any, *_promoted(a, b))


def _promoted(a, b):
    """`a` and `b` in one dtype, where integers take that of the floats."""
    if a.dtype == b.dtype:
        return a, b
    floats = [x.dtype for x in (a, b) if x.dtype.kind not in "iub"]
    dtype = np.result_type(*floats) if floats else np.dtype("float64")
    return tuple(x if x.dtype == dtype else astype(x, dtype=dtype) for x in (a, b))


def _solve_any(a, b):
    if b.ndim == 1:
        return _solve_any(a, expand_dims(b, axis=-1))[..., 0]
    batch = _batch("solve", a, b)
    return _solve(*(broadcast_to(x, shape=(*batch, *x.shape[-2:])) for x in (a, b)))


def _batch(name: str, a, b) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"{name}: the batches of {a.shape} and {b.shape} differ") from None


@primitive
def _solve(xp, a, b, *, name="solve"):
    """`solve` for matrices `b` with the batch of `a`; `name` is what an error says."""
    return _call(name, xp.linalg.solve, a, b)


@_solve.vjp
def _(g, y, a, _b, *, name="solve"):
    gb = _solve(_T(a), g, name=name)
    return lambda: -matmul(gb, _T(y)), gb


def solve_triangular(a, b, *, upper: bool, left: bool = True, unitriangular: bool = False):
    """The `x` with `a x = b`, or `x a = b`, for triangular `a` (PyTorch's `solve_triangular`).

    Args:
        a: (..., n, n), of which one triangle is read; only there it gets a gradient.
        b: (..., n, k), or (..., k, n) if not `left`; the batches broadcast.
        upper: whether it is the upper triangle, or the lower one.
        left: whether `a` stands left of `x`.
        unitriangular: whether the diagonal counts as ones, and is not read either.

    Raises:
        LinAlgError: on the host: there is a 0 in the diagonal.
        ShapeError: the matrices are not square, or the right-hand sides are not as long.
    """
    a, b = _matrices("solve_triangular", a, b)
    if a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2 if left else -1]:
        raise ShapeError(
            f"solve_triangular: expected square matrices and right-hand sides of as many "
            f"{'rows' if left else 'columns'}, got {a.shape} and {b.shape}"
        )
    k = int(unitriangular)
    a = triu(a, k=k) if upper else tril(a, k=-k)
    if unitriangular:
        a = a + _eye(a)
    return solve(a, b) if left else _T(solve(_T(a), _T(b)))


def matrix_power(a, n: int):
    """`a @ a @ ...`, n times; the identity for n = 0, and powers of the inverse below.

    Raises:
        LinAlgError: n is negative and a matrix is singular.
        TypeError: n is no integer.
    """
    (a,) = _matrices("matrix_power", a, square=True)
    if not isinstance(n, int | np.integer):
        raise TypeError(f"matrix_power: the exponent must be an integer, got {n!r}")
    return _single(_matrix_power, a, n=int(n))


def _matrix_power(a, n):
    if n < 0:
        return _matrix_power(_inv(a, name="matrix_power"), -n)
    if n == 0:
        return where(zeros_like(a) != 0, a, _eye(a))  # so that it has a gradient, of zeros
    y, square = None, a
    while True:
        if n & 1:
            y = square if y is None else matmul(y, square)
        n >>= 1
        if not n:
            return y
        square = matmul(square, square)


def multi_dot(arrays):
    """The product of matrices in the order that takes the fewest multiplications.

    The first and the last may be vectors: a row and a column.

    Raises:
        ShapeError: there are fewer than two arrays, or their shapes do not chain.
    """
    arrays = as_arrays(*arrays)
    if len(arrays) < 2:
        raise ShapeError(f"multi_dot: expected at least two arrays, got {len(arrays)}")
    first, *_, last = arrays
    xs = [expand_dims(first, axis=0) if first.ndim == 1 else first, *arrays[1:]]
    xs[-1] = expand_dims(xs[-1], axis=1) if last.ndim == 1 else xs[-1]
    for x, y in zip(xs, [*xs[1:], None], strict=True):
        if x.ndim != 2 or (y is not None and x.shape[1:] != y.shape[:1]):
            raise ShapeError(f"multi_dot: shapes {[x.shape for x in arrays]} do not chain")
    lengths = [x.shape[0] for x in xs] + [xs[-1].shape[1]]
    y = _chain(xs, _best_cuts(lengths), 0, len(xs))
    return reshape(y, shape=first.shape[:-1] + last.shape[1:])


def tensorinv(a, ind: int = 2):
    """The inverse of `a` for `tensordot` over `ind` axes: its shape has both halves exchanged.

    Args:
        a: the product of its first `ind` lengths is that of the others.

    Raises:
        LinAlgError: there is none.
        ShapeError: the products differ.
        ValueError: `ind` is not positive.
    """
    (a,) = as_arrays(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, got {ind}")
    first, last = a.shape[:ind], a.shape[ind:]
    if math.prod(first) != math.prod(last):
        raise ShapeError(f"tensorinv: the products of {first} and {last} differ, ind={ind}")
    n = math.prod(last)
    return reshape(inv(reshape(a, shape=(n, n))), shape=last + first)


def tensorsolve(a, b, axes=None):
    """The `x` with `tensordot(a, x, x.ndim) = b`.

    Args:
        a: b.shape + x.shape, with as many elements in x as in b.
        b: any shape.
        axes: axes of `a` that are moved to its end first.

    Raises:
        LinAlgError: `a`, as a matrix, is singular.
        ShapeError: the shapes do not fit.
    """
    a, b = as_arrays(a, b)
    if axes is not None:
        moved = [i % a.ndim for i in axes]
        order = [i for i in range(a.ndim) if i not in moved] + moved
        a = transpose(a, axes=tuple(order))
    shape, n = a.shape[b.ndim :], math.prod(b.shape)
    if math.prod(a.shape[: b.ndim]) != n or math.prod(shape) != n:  # NumPy, too, only counts
        raise ShapeError(
            f"tensorsolve: a must be b.shape + x.shape with as many elements in x as in b, got "
            f"{a.shape} for b of shape {b.shape}"
        )
    return reshape(solve(reshape(a, shape=(n, n)), reshape(b, shape=(n,))), shape=shape)


def _best_cuts(lengths: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut the product of matrices i to j, for all i < j."""
    n = len(lengths) - 1
    cost, cut = {(i, i + 1): 0 for i in range(n)}, {}
    for width in range(2, n + 1):
        for i in range(n - width + 1):
            j = i + width
            costs = {
                k: cost[i, k] + cost[k, j] + lengths[i] * lengths[k] * lengths[j]
                for k in range(i + 1, j)
            }
            cut[i, j] = min(costs, key=costs.__getitem__)
            cost[i, j] = costs[cut[i, j]]
    return cut


def _chain(xs, cut, i, j):
    if j == i + 1:
        return xs[i]
    return matmul(_chain(xs, cut, i, cut[i, j]), _chain(xs, cut, cut[i, j], j))


# ------------------------------------------------------------------------------ determinants


def det(a):
    """The determinant of each matrix. Its gradient is right for singular matrices as well."""
    return _single(_det, *_matrices("det", a, square=True))


@primitive
def _det(xp, x):
    """`det`."""
    return _call("det", xp.linalg.det, x)


_det.vjps(lambda g, _y, x: g[..., None, None] * _cofactors(x))


# The cofactors of u @ diag(s) @ vh are det(u) det(vh) times u @ diag(products of the other s) @ vh,
# which no division disturbs where an s is 0.


@primitive
def _cofactors(xp, x):
    """The derivative of the determinant by each element of the matrix."""
    u, s, vh = _call("det's gradient", xp.linalg.svd, x, full_matrices=False)
    others = xp.where(xp.eye(s.shape[-1], dtype=bool), 1, s[..., None, :]).prod(axis=-1)
    sign = xp.linalg.det(xp.matmul(u, vh))
    return xp.matmul(u * (sign[..., None] * others)[..., None, :], vh).astype(x.dtype)


@_cofactors.vjp
def _(g, _y, x):
    """Of a diagonal matrix with elements s the cofactors j, j and j, i move with the elements i, i
    and i, j by the product of all other s."""
    u, s, vh = _svd(x)
    h = matmul(_T(u), matmul(g, _T(vh)))
    eye = _eye(h)
    either = expand_dims(eye, axis=-2) + expand_dims(eye, axis=-3)  # i, j, k: whether k is i or j
    others = prod(where(either > 0, 1.0, _columns(_columns(s))), axis=-1) * (1 - eye)
    diagonal = matvec(others, sum(h * eye, axis=-1))
    core = eye * expand_dims(diagonal, axis=-1) - others * _T(h)
    sign = _det(stop_gradient(matmul(u, vh)))
    return sign[..., None, None] * matmul(u, matmul(core, vh))


def slogdet(a):
    """The sign of each determinant and the logarithm of its size, which does not overflow.

    The determinant of a singular matrix has sign 0 and logarithm minus infinity, and no gradient:
    to ask for it raises LinAlgError.
    """
    return SlogdetResult(*_single(_slogdet, *_matrices("slogdet", a, square=True)))


@primitive(outputs=2)
def _slogdet(xp, x):
    """`slogdet`."""
    return tuple(_call("slogdet", xp.linalg.slogdet, x))


@_slogdet.vjp
def _(g, _y, x):
    return None if g[1] is None else g[1][..., None, None] * _T(_inv(x, name="slogdet's gradient"))


def logdet(a):
    """The logarithm of each determinant: NaN of a negative one, minus infinity of 0."""
    sign, size = slogdet(a)
    return where(sign < 0, math.nan, size)


# -------------------------------------------------------------------------------- exponential


def matrix_exp(a):
    """The exponential of each matrix: `1 + a + a @ a / 2! + ...`."""
    return _single(_matrix_exp, *_matrices("matrix_exp", a, square=True))


# Of the Pade approximant of order 13, Higham, "The scaling and squaring method for the matrix
# exponential revisited" (2005). It holds where the norm is at most 5.37.
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip


@primitive
def _matrix_exp(xp, x):
    """`matrix_exp`."""
    if type(x) is Abstract:
        return x
    if type(x) is Batched:
        return Batched(_matrix_exp.formula(array_module(x.value), x.value), x.level)
    norm = float(xp.abs(x).sum(axis=-1).max()) if x.size else 0.0
    if not math.isfinite(norm):
        return xp.full_like(x, math.nan)
    halvings = builtins.max(0, math.frexp(norm / 5.37)[1])
    x = x / 2**halvings
    one, powers = xp.broadcast_to(xp.eye(x.shape[-1], dtype=x.dtype), x.shape), xp.matmul(x, x)
    odd, even, power = _PADE[1] * one, _PADE[0] * one, one
    for k in range(2, 14, 2):
        power = xp.matmul(power, powers)
        even, odd = even + _PADE[k] * power, odd + _PADE[k + 1] * power
    odd = xp.matmul(x, odd)
    y = xp.linalg.solve(even - odd, even + odd)
    for _ in range(halvings):
        y = xp.matmul(y, y)
    return y.astype(x.dtype, copy=False)


@_matrix_exp.vjp
def _(g, _y, x):
    # Mathias, "A chain rule for matrix functions and applications" (1996): the derivative stands
    # beside the diagonal in the exponential of a matrix of twice the size.
    n, t = x.shape[-1], _T(x)
    upper, lower = concatenate([t, g], -1), concatenate([zeros_like(t), t], -1)
    return _matrix_exp(concatenate([upper, lower], -2))[..., :n, n:]


# ---------------------------------------------------------------------------- decompositions


def cholesky(a, upper: bool = False):
    """The lower triangular `l` with `l @ l.T = a`, of symmetric positive definite matrices.

    Of `a` the lower triangle is read, and the gradient is symmetric.

    Args:
        upper: give `l.T`; then the upper triangle is read.

    Raises:
        LinAlgError: a matrix is not positive definite.
    """
    (a,) = _matrices("cholesky", a, square=True)
    return _T(_single(_cholesky, _T(a))) if upper else _single(_cholesky, a)


@primitive
def _cholesky(xp, x):
    """`cholesky`."""
    return _call("cholesky", xp.linalg.cholesky, x)


@_cholesky.vjp
def _(g, y, _x):
    """Murray, "Differentiation of the Cholesky decomposition" (arXiv 1602.07527)."""
    inverse, p = _inv(y), tril(matmul(_T(y), g))
    return _symmetric(matmul(_T(inverse), matmul(p - 0.5 * _eye(p) * p, inverse)))


def cholesky_inverse(l, upper: bool = False):
    """The inverse of `l @ l.T`, where `l` is what `cholesky` gives; one triangle of it is read."""
    (l,) = _matrices("cholesky_inverse", l, square=True)
    return _single(_cholesky_inverse, _T(triu(l)) if upper else tril(l))


def _cholesky_inverse(l):
    inverse = _inv(l, name="cholesky_inverse")
    return matmul(_T(inverse), inverse)


def cholesky_solve(b, l, upper: bool = False):
    """The `x` with `l @ l.T @ x = b`, where `l` (..., n, n) is what `cholesky` gives.

    Args:
        b: (..., n, k).
        upper: whether `l` is its upper triangle.
    """
    b, l = _matrices("cholesky_solve", *as_arrays(b, l))
    l = _T(triu(l)) if upper else tril(l)
    return solve(_T(l), solve(l, b))


def householder_product(v, tau):
    """The first n columns of the product of the reflections `1 - tau[i] w[i] w[i].T`.

    Args:
        v: (..., m, n), m >= n; column i of it, below the diagonal, is w[i], which has a 1 on the
            diagonal and zeros above.
        tau: (..., k), k <= n.

    Raises:
        ShapeError: the shapes do not fit.
    """
    v, tau = as_arrays(v, tau)
    (v,) = _matrices("householder_product", v)
    m, n = v.shape[-2:]
    if m < n or tau.shape[:-1] != v.shape[:-2] or tau.shape[-1] > n:
        raise ShapeError(
            f"householder_product: expected v (..., m, n) with m >= n and tau (..., k) with k <= n "
            f"in the same batch, got {v.shape} and {tau.shape}"
        )
    return _single(_householder_product, v, tau)


def _householder_product(v, tau):
    below = tril(v, k=-1)
    w, y = below + _eye(v), _eye(v)
    for i in reversed(range(tau.shape[-1])):
        column = w[..., i : i + 1]
        y = y - tau[..., None, i : i + 1] * matmul(column, matmul(_T(column), y))
    return y


def _symmetric(x):
    return 0.5 * (x + _T(x))


def qr(a, mode: str = "reduced"):
    """`q @ r = a` with orthonormal columns in `q` and an upper triangle `r`.

    Differentiable where the first min(m, n) columns of the (m, n) matrices are independent, and for
    mode 'complete' only if m <= n.

    Args:
        mode: 'reduced', for `q` (..., m, k) and `r` (..., k, n) with k = min(m, n); 'complete', for
            (..., m, m) and (..., m, n); 'r', for `r` of 'reduced' alone.

    Raises:
        ValueError: `mode` is none of the three.
    """
    (a,) = _matrices("qr", a)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    tall = a.shape[-2] > a.shape[-1]
    q, r = _single(_qr, a, mode="complete") if tall and mode == "complete" else _single(_qr_of, a)
    return r if mode == "r" else QRResult(q, r)


def _qr_of(a):
    m, n = a.shape[-2:]
    if m >= n:
        return _qr(a)
    q, r = _qr(a[..., :m])  # which determine the rest
    return q, concatenate([r, matmul(_T(q), a[..., m:])], -1)


@primitive(outputs=2)
def _qr(xp, x, *, mode="reduced"):
    """`qr` of matrices with at least as many rows as columns."""
    return tuple(_call("qr", xp.linalg.qr, x, mode=mode))


@_qr.vjp
def _(g, y, _x, *, mode="reduced"):
    """Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010)."""
    (gq, gr), (q, r) = g, y
    if mode == "complete":
        raise GradientError(
            f"qr: with mode 'complete', matrices with more rows than columns, shape {_x.shape}, "
            f"have no derivative, as the last columns of q are not determined; use mode 'reduced'"
        )
    m = 0.0 if gr is None else matmul(r, _T(gr))
    m = m if gq is None else m - matmul(_T(gq), q)
    below = tril(m, k=-1)
    x = matmul(q, below + _T(below) + _eye(m) * m)
    x = x if gq is None else x + gq
    return _T(_solve(r, _T(x), name="qr's gradient"))


def svd(a, full_matrices: bool = True, compute_uv: bool = True):
    """`u @ diag(s) @ vh = a` with orthonormal columns in `u`, orthonormal rows in `vh`, and the
    singular values `s`, of which the largest comes first.

    Single columns of `u` and rows of `vh` are determined up to their sign, and only where no
    singular values coincide.

    Args:
        a: (..., m, n); let k be min(m, n).
        full_matrices: for `u` (..., m, m) and `vh` (..., n, n); else (..., m, k) and (..., k, n).
        compute_uv: whether `u` and `vh` are wanted; else `s` is given alone.

    Raises:
        GradientError: the gradient through `u` or `vh` is wanted with `full_matrices`, and m is not
            n: what was added to make them square is not determined.
    """
    (a,) = _matrices("svd", a)
    if not compute_uv:
        return svdvals(a)
    fill = full_matrices and a.shape[-1] != a.shape[-2]
    return SVDResult(*_single(_svd_filled if fill else _svd, a))


@primitive(outputs=3)
def _svd(xp, x):
    """`svd` without `full_matrices`."""
    return tuple(_call("svd", xp.linalg.svd, x, full_matrices=False))


@_svd.vjp
def _(g, y, _x):
    """Townsend, "Differentiating the singular value decomposition" (2016)."""
    (gu, gs, gvh), (u, s, vh) = g, y
    (m, n), k = _x.shape[-2:], s.shape[-1]
    columns, rows = _columns(s), expand_dims(s, axis=-1)
    # (hu s[j] + hv s[i]) / (s[j]^2 - s[i]^2), in two parts: one of them is finite everywhere.
    d, apart = _differences(s), 0.5 * _over(columns + rows)
    between, core, around = 0.5 * _over(d), 0.0, 0.0
    if gs is not None:
        core = _columns(gs) * _eye(d)
        if gu is not None or gvh is not None:
            core = core * _known(d)
            if m != n:  # what belongs to 0 may as well be outside of these k
                core = core * where(rows == 0, math.nan, 1.0)
    if gu is not None:
        h = matmul(_T(u), gu)
        core = core + (h - _T(h)) * (between + apart)
        if m > k:
            around = around + matmul((gu - matmul(u, h)) * _over(columns), vh)
    if gvh is not None:
        h = matmul(vh, _T(gvh))
        core = core + (h - _T(h)) * (between - apart)
        if n > k:
            around = around + matmul(u, (gvh - matmul(_T(h), vh)) * _over(rows))
    return matmul(u, matmul(core, vh)) + around


@primitive(outputs=3)
def _svd_filled(xp, x):
    """`svd` with `full_matrices`."""
    return tuple(_call("svd", xp.linalg.svd, x, full_matrices=True))


@_svd_filled.vjp
def _(g, _y, x):
    gu, gs, gvh = g
    if gu is not None or gvh is not None:
        raise GradientError(
            f"svd: with full_matrices=True, u and vh of matrices that are not square, shape "
            f"{x.shape}, have no derivative; use full_matrices=False"
        )
    u, s, vh = _svd(x)
    return matmul(u * _columns(_of_values(gs, s)), vh)


def svdvals(a):
    """The singular values of each matrix, the largest first: `svd(a, compute_uv=False)`."""
    return _single(_svdvals, *_matrices("svdvals", a))


@primitive
def _svdvals(xp, x):
    """`svdvals`."""
    return _call("svdvals", xp.linalg.svd, x, compute_uv=False)


@_svdvals.vjp
def _(g, _y, x):
    u, s, vh = _svd(x)
    return matmul(u * _columns(_of_values(g, s)), vh)


def _of_values(g, w):
    """`g`, which may hang on the values `w`: then the rule of the vectors must hear of it."""
    return g + 0 * w if getattr(g, "requires_grad", False) else g


def eigh(a, UPLO: str = "L"):
    """Eigenvalues of symmetric matrices, the smallest first, and eigenvectors, in columns.

    Single eigenvectors are determined up to their sign, and only where no eigenvalues coincide.
    The gradient is symmetric.

    Args:
        UPLO: which triangle is read: 'L', the lower, or 'U', the upper.
    """
    return EighResult(*_single(_eigh, *_matrices("eigh", a, square=True), UPLO=_triangle(UPLO)))


def eigvalsh(a, UPLO: str = "L"):
    """The eigenvalues that `eigh` gives."""
    (a,) = _matrices("eigvalsh", a, square=True)
    return _single(_eigvalsh, a, UPLO=_triangle(UPLO))


def _triangle(UPLO: str) -> str:
    if UPLO not in ("L", "U", "l", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', got {UPLO!r}")
    return UPLO.upper()


@primitive(outputs=2)
def _eigh(xp, x, *, UPLO):
    """`eigh`."""
    return tuple(_call("eigh", xp.linalg.eigh, x, UPLO=UPLO))


@_eigh.vjp
def _(g, y, _x, *, UPLO):
    (gw, gv), (w, v) = g, y
    core, d = 0.0 if gw is None else _columns(gw) * _eye(v), _differences(w)
    core = core if gv is None else core + matmul(_T(v), gv) * _over(d)
    core = core if gw is None or gv is None else core * _known(d)
    return _symmetric(matmul(v, matmul(core, _T(v))))


@primitive
def _eigvalsh(xp, x, *, UPLO):
    """`eigvalsh`."""
    return _call("eigvalsh", xp.linalg.eigvalsh, x, UPLO=UPLO)


@_eigvalsh.vjp
def _(g, _y, x, *, UPLO):
    w, v = _eigh(x, UPLO=UPLO)
    return matmul(v * _columns(_of_values(g, w)), _T(v))


# ------------------------------------------------------------------- without a unique inverse


def pinv(a, rcond: float | None = None, hermitian: bool = False, *, rtol: float | None = None):
    """The Moore-Penrose inverse (..., n, m) of the matrices `a` (..., m, n).

    Its gradient is that for a rank that does not change (Golub and Pereyra, 1973).

    Args:
        rcond: singular values up to `rcond` times the largest count as 0. None: max(m, n) times the
            precision of the dtype; NumPy has 1e-15, which is below that of float32.
        hermitian: the matrices are symmetric: of each the lower triangle is read, and the gradient
            is symmetric.
        rtol: the array API's name of `rcond`.

    Raises:
        ValueError: both `rcond` and `rtol` are given.
    """
    if rtol is not None:
        if rcond is not None:
            raise ValueError(f"pinv: give rcond={rcond} or rtol={rtol}, not both")
        rcond = rtol
    (a,) = _matrices("pinv", a, square=hermitian)
    if hermitian:  # what is symmetric changes symmetrically; what is not, only as it is read
        lower = stop_gradient(tril(a) + _T(tril(a, k=-1)))
        middle = _symmetric(a)
        a = middle + (lower - stop_gradient(middle))
    return _single(_pinv_of, a, rcond=rcond)


def _pinv_of(a, rcond):
    return _pinv(a, rcond=_least(a) if rcond is None else float(rcond))


def _least(a) -> float:
    """What counts as 0, beside the largest singular value."""
    dtype = a.dtype if a.dtype.kind == "f" else np.dtype("float64")
    return builtins.max(a.shape[-2:]) * float(np.finfo(dtype).eps)


@primitive
def _pinv(xp, x, *, rcond):
    """`pinv`."""
    u, s, vh = _call("pinv", xp.linalg.svd, x, full_matrices=False)
    large = s > rcond * s[..., :1]
    inverse = xp.where(large, 1 / xp.where(large, s, 1), 0)
    return xp.matmul(_T(vh) * inverse[..., None, :], _T(u))


@_pinv.vjp
def _(g, y, x, *, rcond):
    pt, gt = _T(y), _T(g)
    left = matmul(matmul(gt, y), pt)
    right = matmul(matmul(pt, y), gt)
    found = left - matmul(x, matmul(y, left)) + right - matmul(matmul(right, y), x)
    return found - matmul(pt, matmul(g, pt))


def lstsq(a, b, rcond: float | None = None):
    """The `x` for which the norm of `b - a @ x` is least; of several such the shortest.

    The gradient is that for a rank that does not change.

    Args:
        a: (m, n), or a batch (..., m, n).
        b: (m,) or (m, k), or with a batch of `a` the same batch (..., m, k).
        rcond: as for `pinv`.

    Returns:
        As NumPy, x: (n,) or (n, k); the sums of squares of `b - a @ x`, (1,) or (k,), or (0,)
        unless the rank is n and m is larger; the rank of `a`; the singular values of `a`. Of a
        batch, that of each, and (0,) for the sums unless all ranks are n.

    Raises:
        ShapeError: shapes do not fit.
    """
    a, b = as_arrays(a, b)
    fits = a.ndim == b.ndim and a.shape[:-1] == b.shape[:-1]
    if a.ndim < 2 or not (fits or (a.ndim == 2 and b.ndim == 1 and len(a) == len(b))):
        raise ShapeError(
            f"lstsq: expected a (..., m, n) and b (..., m, k), or a (m, n) and b (m,), got shapes "
            f"{a.shape} and {b.shape}"
        )
    return _single(_lstsq, *_promoted(a, b), rcond=rcond)


def _lstsq(a, b, rcond):
    s, rcond = _svdvals(a), _least(a) if rcond is None else float(rcond)
    x = matmul(_pinv(a, rcond=rcond), b)
    rank = _count(s, rcond)
    (m, n), miss = a.shape[-2:], b - matmul(a, x)
    miss = miss if b.ndim > 1 else expand_dims(miss, axis=1)
    exact = m <= n or not bool(all(rank == n))
    return x, ravel(miss)[:0] if exact else sum(miss * miss, axis=-2), rank, s


def _count(s, rcond):
    """How many singular values `s` are not 0 beside the largest."""
    return sum(s > rcond * s[..., :1], axis=-1)


def matrix_rank(a, tol=None, hermitian: bool = False, *, rtol: Any = None):
    """How many singular values of each matrix are not 0, as integers.

    Of a number or a vector: whether there is anything but zeros.

    Args:
        tol: singular values up to it count as 0.
        hermitian: the matrices are symmetric; the lower triangle is read.
        rtol: or those up to `rtol` times the largest; max(m, n) times the precision if neither is
            given. Both may be arrays, a number for each matrix.
    """
    (a,) = as_arrays(a)
    if a.ndim < 2:
        return astype(any(a != 0), dtype="int64")
    if hermitian:
        (a,) = _matrices("matrix_rank", a, square=True)
        s = absolute(stop_gradient(eigvalsh(a)))
    else:
        s = stop_gradient(_single(_svdvals, a))
    if not s.shape[-1]:
        return sum(s > 0, axis=-1)
    if tol is None or rtol is not None:
        largest = max(s, axis=-1, keepdims=True)
        least = largest * _each_matrix(_least(a) if rtol is None else rtol)
    if tol is not None:
        least = _each_matrix(tol) if rtol is None else maximum(_each_matrix(tol), least)
    return sum(s > least, axis=-1)


def _each_matrix(tolerance):
    """A number, or one for each matrix, beside singular values."""
    return expand_dims(tolerance, axis=-1) if hasattr(tolerance, "dtype") else tolerance


@op
def cond(xp, x, *, p=None):
    """The condition number: `norm(x, p) * norm(inv(x), p)`.

    Args:
        p: an order of `norm` for matrices. None and 2, for any matrices: the largest singular value
            over the smallest; -2: the inverse of that.
    """
    _matrices("cond", x)
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, axis=(-2, -1)) * norm(inv(x), p, axis=(-2, -1))


# ------------------------------------------------------------------------- norms, diagonals


@op
def norm(xp, x, *, ord=None, axis=None, keepdims=False):
    """The norm of vectors or matrices, as NumPy's `linalg.norm`.

    Where a norm is 0, so is its gradient. Where the largest elements tie (`inf`, and 1 of a
    matrix), they share it evenly.

    Args:
        ord: None for the square root of the sum of all squares. Of vectors: `inf`, `-inf`, 0 (how
            many are not 0), or any number p, for the sum of |x|^p to the power 1/p. Of matrices:
            'fro', 'nuc', 1, -1, 2, -2, inf, -inf.
        axis: an int for vectors, a pair (rows, columns) for matrices; by default, what `x` is.

    Raises:
        ShapeError: `axis`, or `x` without one, names neither vectors nor matrices.
        ValueError: there is no such norm.
    """
    axes, wide = reductions.axes_of(axis, x.ndim), reductions.widened(x)
    if axis is None and ord is None:
        y = reductions._length(wide, keepdims=True)
    elif len(axes) == 1:
        y = reductions.norms_along(wide, ord, axes)
    elif len(axes) == 2:
        y = _matrix_norm(wide, ord, *axes)
    else:
        raise ShapeError(
            f"norm: expects one axis for vectors or two for matrices, got axis={axis} for shape "
            f"{x.shape}"
        )
    return reductions.narrowed(reductions.drop_axes(y, axes, keepdims), x)


def _matrix_norm(x, ord, rows: int, columns: int):
    """Norms of the matrices over two axes, which are kept."""
    if ord is None or ord == "fro":
        return reductions._length(x, axis=(rows, columns), keepdims=True)
    if ord in (1, -1, math.inf, -math.inf):
        along, across = (rows, columns) if ord in (1, -1) else (columns, rows)
        sums = sum(absolute(x), axis=along, keepdims=True)
        return (max if ord > 0 else reductions.min)(sums, axis=across, keepdims=True)
    if ord not in ("nuc", 2, -2):
        raise ValueError(
            f"matrices have the norms 'fro', 'nuc', 1, -1, 2, -2, inf and -inf, got {ord!r}"
        )
    s = svd(shaping.moveaxis(x, source=(rows, columns), destination=(-2, -1)), compute_uv=False)
    s = where(s == 0, 0.0, s)  # which ends the gradient there
    y = (sum if ord == "nuc" else max if ord > 0 else reductions.min)(s, axis=-1)
    return reductions.restore_axes(y, x, (rows, columns), False)


def vander(x, N: int | None = None):
    """(..., n, N): the powers 0 to N - 1 of each element of `x` (..., n) or (); N is n by default.

    It is PyTorch's `linalg.vander`; `minigrad.vander` is NumPy's, with the highest power first.
    """
    (x,) = as_arrays(x)
    x = x if x.ndim else reshape(x, shape=(1,))
    powers = np.arange(x.shape[-1] if N is None else N)
    if not len(powers):
        return broadcast_to(expand_dims(x, axis=-1)[..., :0], shape=(*x.shape, 0))
    return power(expand_dims(x, axis=-1), on_device_of([x], powers))


def matrix_norm(x, *, keepdims: bool = False, ord="fro"):
    """The norm of each matrix, of the order `ord`: see `norm`."""
    return norm(x, ord=ord, axis=(-2, -1), keepdims=keepdims)


def vector_norm(
    x, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
):
    """The norm of vectors, of the order `ord`: see `norm`.

    Args:
        axis: of the vectors; a tuple for all elements over these axes together, None for all.
    """
    (x,) = as_arrays(x)
    axes = reductions.axes_of(axis, x.ndim)
    if len(axes) == 1:
        return norm(x, ord=ord, axis=axes[0], keepdims=keepdims)
    lines = shaping.moveaxis(x, source=axes, destination=range(-len(axes), 0)) if axes else x
    rest = lines.shape[: x.ndim - len(axes)]
    lines = reshape(lines, shape=(*rest, math.prod(lines.shape[len(rest) :])))
    y = norm(lines, ord=ord, axis=-1)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return reshape(y, shape=kept) if keepdims else y


def trace(x, offset: int = 0):
    """The sum of a diagonal of each matrix (`minigrad.trace` has the first two axes)."""
    (x,) = _matrices("trace", x)
    return reductions.trace(x, offset=offset, axis1=-2, axis2=-1)


def diagonal(x, offset: int = 0):
    """A diagonal of each matrix, as the last axis (`minigrad.diagonal` has the first two axes)."""
    (x,) = _matrices("diagonal", x)
    return shaping.diagonal(x, offset=offset, axis1=-2, axis2=-1)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(name)
    from minigrad.elsewhere import missing  # not at the top: it is read when a name is missing

    raise AttributeError(missing("minigrad.linalg", name))

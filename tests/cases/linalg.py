"""Linear algebra."""

import itertools
import math

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import linalg as loops
from strategies import Call, broadcastable, floats, half_the_time, laid_out, shapes

import minigrad as mg
from cases.case import Case
from minigrad import linalg
from minigrad.ops import linalg as family

SIZES = (2, 1, 3, 0)

# --------------------------------------------------------------------------------- the calls


@st.composite
def matrix(draw, n, m, batch=()):
    """Matrices whose singular values are large and far apart, in any layout."""
    (x,) = draw(floats((*batch, n, m)))
    scale = np.diag([2.0 + 2 * i for i in range(max(n, m))])[:n, :m]
    return draw(laid_out(0.15 * x + scale))


@st.composite
def batches(draw):
    return draw(shapes(most=2, lengths=(2, 1, 0)))


@st.composite
def squares(draw, sizes=SIZES, params=None):
    n = draw(st.sampled_from(sizes))
    x = draw(matrix(n, n, draw(batches())))
    return Call((x,), {k: draw(v) for k, v in (params or {}).items()})


@st.composite
def oblongs(draw, sizes=SIZES, params=None):
    n, m = draw(st.sampled_from(sizes)), draw(st.sampled_from(sizes))
    x = draw(matrix(n, m, draw(batches())))
    return Call((x,), {k: draw(v) for k, v in (params or {}).items()})


@st.composite
def any_squares(draw):
    """Also of lower rank."""
    n = draw(st.sampled_from(SIZES))
    (x,) = draw(floats((*draw(shapes(most=1, lengths=(2, 1, 0))), n, n)))
    x = x.copy()
    for i in range(draw(st.integers(0, max(0, n - 1)))):
        x[..., i + 1, :] = (-1) ** i * x[..., 0, :]  # rank n - 1 - i
    return Call((draw(laid_out(x)),), {})


@st.composite
def equations(draw):
    n = draw(st.sampled_from(SIZES))
    left, right = draw(broadcastable(2, most=2, lengths=(2, 1, 0)))
    a = draw(matrix(n, n, left))
    b = (n,) if draw(half_the_time) else (*right, n, draw(st.sampled_from(SIZES)))
    return Call((a, *draw(floats(b))), {})


@st.composite
def triangles(draw):
    n, k = draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))
    a_batch, b_batch = draw(broadcastable(2, most=2, lengths=(2, 1, 0)))
    params = {"upper": draw(half_the_time), "left": draw(half_the_time)}
    if draw(half_the_time):
        params["unitriangular"] = True
    (b,) = draw(floats((*b_batch, n, k) if params["left"] else (*b_batch, k, n)))
    return Call((draw(matrix(n, n, a_batch)), b), params)


@st.composite
def fits(draw):
    n, m = draw(st.sampled_from((2, 1, 3, 4))), draw(st.sampled_from((2, 1, 3)))
    b = (n,) if draw(half_the_time) else (n, draw(st.sampled_from(SIZES)))
    return Call((draw(matrix(n, m)), *draw(floats(b))), {})


@st.composite
def of_lower_rank(draw):
    """Two factors, whose product has as many columns as rank at least."""
    r = draw(st.sampled_from((1, 2)))
    n, m = (draw(st.integers(r, 4)) for _ in "nm")
    batch = draw(shapes(most=1, lengths=(2, 1, 0)))
    return Call((draw(matrix(n, r, batch)), draw(matrix(r, m, batch))), {})


@st.composite
def chains(draw):
    lengths = [draw(st.sampled_from(SIZES)) for _ in range(draw(st.integers(3, 5)))]
    own = list(itertools.pairwise(lengths))
    if draw(half_the_time):
        own[0] = own[0][1:]
    if draw(half_the_time):
        own[-1] = own[-1][:1]
    return Call(tuple(draw(floats(*own))), {})


# ------------------------------------------------------- what is determined of decompositions


def cholesky_of(x, upper=False):
    return linalg.cholesky(x + linalg.matrix_transpose(x), upper=upper)


def positive_qr(x, mode="reduced"):
    """With a positive diagonal in `r`."""
    r = linalg.qr(x, "r")
    sign = mg.sign(linalg.diagonal(r))
    positive = mg.expand_dims(sign, axis=-1) * r
    if mode == "r":
        return positive
    q = linalg.qr(x, mode)[0]
    return q * mg.expand_dims(sign, axis=-2), positive


def eigh_of(x, UPLO="L"):
    w, v = linalg.eigh(x + linalg.matrix_transpose(x), UPLO)
    t = linalg.matrix_transpose(v)
    squared = mg.expand_dims(w * w, axis=-2)
    return mg.sum(w, -1), mg.sum(w * w, -1), mg.matmul(v * squared, t), mg.matmul(t, v)


def eigh_parts(x):
    w, v = linalg.eigh(x + linalg.matrix_transpose(x))
    return w, v * v, v[..., :1] * mg.sum(v, axis=-2, keepdims=True)[..., :1]


def eigvalsh_of(x, UPLO="L"):
    w = linalg.eigvalsh(x + linalg.matrix_transpose(x), UPLO)
    return mg.sum(w, -1), mg.sum(w * w, -1)


def svd_of(x):
    u, s, vh = linalg.svd(x, full_matrices=False)
    t, again = linalg.matrix_transpose, mg.matmul(u * mg.expand_dims(s, axis=-2), vh)
    return mg.sum(s * s, -1), mg.prod(s, axis=-1), again, mg.matmul(t(u), u), mg.matmul(vh, t(vh))


def svd_parts(x):
    u, s, vh = linalg.svd(x, full_matrices=False)
    return u * u, s, vh * vh, mg.matmul(u, vh), u[..., :1] * vh[..., :1, :]


def svd_filled(x):
    _, s, _ = linalg.svd(x)
    return mg.sum(s * s, -1), mg.prod(s, axis=-1)


def svdvals_of(x):
    s = linalg.svdvals(x)
    return mg.sum(s * s, -1), mg.prod(s, axis=-1)


def pinv_of(a, b):
    return linalg.pinv(mg.matmul(a, b))


def lstsq(a, b):
    return linalg.lstsq(a, b)[:3]


def multi_dot(*xs):
    return linalg.multi_dot(xs)


def matrix_rank_of(a, b):
    return linalg.matrix_rank(mg.matmul(a, b))


def cond_one(x):
    return linalg.cond(x, 1)


def pinv_hermitian(a):
    """Of what is symmetric, perhaps of lower rank."""
    return linalg.pinv(mg.matmul(a, linalg.matrix_transpose(a)), hermitian=True)


def pinv_hermitian_by_numpy(a):
    return np.linalg.pinv(a @ a.swapaxes(-1, -2))


@st.composite
def tall(draw):
    r = draw(st.sampled_from((1, 2)))
    n = draw(st.integers(r, 4))
    return Call((draw(matrix(n, r, draw(shapes(most=1, lengths=(2, 1, 0))))),), {})


@st.composite
def boxes(draw):
    """Matrices of products of lengths, as arrays of more axes; one with a right side."""
    rows, columns = draw(st.sampled_from([((2,), (2,)), ((4,), (2, 2)), ((2, 3), (3, 2))]))
    n = int(np.prod(rows))
    return draw(matrix(n, n)).reshape(rows + columns), rows, columns


@st.composite
def inverted(draw):
    a, rows, _ = draw(boxes())
    return Call((a,), {"ind": len(rows)})


@st.composite
def solved(draw):
    a, rows, columns = draw(boxes())
    (b,) = draw(floats(rows))
    if draw(half_the_time):
        return Call((a, b), {})
    ends = tuple(range(len(columns)))  # the axes of the result in front, to be moved to the end
    return Call((np.moveaxis(a, range(len(rows), a.ndim), ends), b), {"axes": ends})


OFFSETS = {"offset": st.integers(-2, 2)}
TRIANGLES = {"UPLO": st.sampled_from(["L", "U", "l"])}
MODES = {"mode": st.sampled_from(["reduced", "r"])}
SOME_SIZES = (2, 1, 3)


@st.composite
def of_vectors(draw):
    """An array, the axes of vectors, any number of them, and an order."""
    call = draw(draws.reduced(draws.SOME))
    orders = [2, 1, 3, 0.5, -2, 0, math.inf, -math.inf]
    return Call(call.inputs, call.params | {"ord": draw(st.sampled_from(orders))})


CASES = [
    # inverse, solve
    Case(linalg.inv, loops.inv, squares()),
    Case(linalg.solve, loops.solve, equations()),
    Case(linalg.solve_triangular, loops.solve_triangular, triangles()),
    Case(linalg.matrix_power, loops.matrix_power, squares(params={"n": st.integers(-2, 5)})),
    Case(multi_dot, loops.multi_dot, chains()),
    Case(linalg.tensorinv, np.linalg.tensorinv, inverted()),
    Case(linalg.tensorsolve, np.linalg.tensorsolve, solved()),
    # determinants
    Case(linalg.det, loops.det, any_squares()),
    Case(family._cofactors, loops.cofactors, any_squares(), order=1),
    Case(family._cofactors, loops.cofactors, squares()),
    Case(linalg.slogdet, loops.slogdet, squares()),
    # decompositions
    Case(cholesky_of, loops.cholesky_of, squares(params={"upper": half_the_time})),
    Case(positive_qr, loops.positive_qr, oblongs(params=MODES)),
    Case(eigh_of, loops.eigh_of, squares(params=TRIANGLES)),
    Case(eigh_parts, None, squares()),
    Case(eigvalsh_of, loops.eigvalsh_of, squares(params=TRIANGLES)),
    Case(svd_of, loops.svd_of, oblongs()),
    Case(svd_parts, None, oblongs(SOME_SIZES)),
    Case(svd_filled, loops.svdvals_of, oblongs()),
    Case(svdvals_of, loops.svdvals_of, oblongs()),
    # without a unique inverse
    Case(linalg.pinv, loops.pinv, oblongs()),
    Case(pinv_of, loops.pinv_of, of_lower_rank()),
    Case(pinv_hermitian, pinv_hermitian_by_numpy, tall()),
    Case(lstsq, loops.lstsq, fits()),
    Case(matrix_rank_of, loops.matrix_rank_of, of_lower_rank()),
    Case(linalg.cond, None, oblongs(SOME_SIZES)),
    Case(cond_one, loops.cond_one, squares(SOME_SIZES)),
    # norms, diagonals
    Case(linalg.matrix_norm, loops.matrix_norm, oblongs(SOME_SIZES, {"keepdims": half_the_time})),
    Case(linalg.vector_norm, loops.vector_norm, of_vectors()),
    Case(linalg.trace, loops.trace, oblongs(params=OFFSETS)),
    Case(linalg.diagonal, loops.diagonal, oblongs(params=OFFSETS)),
    Case(linalg.matrix_transpose, loops.matrix_transpose, oblongs()),
]  # fmt: skip

# What the table names under another name.
ALIASES = {
    "inv": "_inv", "solve": "_solve", "det": "_det", "slogdet": "_slogdet",
    "cholesky_of": "_cholesky", "positive_qr": "_qr", "eigh_of": "_eigh",
    "eigvalsh_of": "_eigvalsh", "svd_of": "_svd", "svd_filled": "_svd_filled",
    "svdvals_of": "_svdvals", "pinv": "_pinv",
}  # fmt: skip

# Functions of `minigrad.linalg` that the table names under another name.
FUNCTIONS = {
    "cholesky_of": "cholesky", "positive_qr": "qr", "eigh_of": "eigh", "eigvalsh_of": "eigvalsh",
    "svd_of": "svd", "svdvals_of": "svdvals", "lstsq": "lstsq", "multi_dot": "multi_dot",
    "matrix_rank_of": "matrix_rank", "cond_one": "cond",
}  # fmt: skip

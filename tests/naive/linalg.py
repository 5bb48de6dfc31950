"""Linear algebra, the slow way: expansion by rows, Cramer's rule, Gram and Schmidt.

Of decompositions, whose factors have no determined signs, what is determined is compared.
"""

import math

import numpy as np

import naive
from naive import element, table

# ------------------------------------------------------------------------------- one matrix


def rows_of(x):
    return [[v.item() for v in row] for row in x]


def minor(rows, i, j):
    return [row[:j] + row[j + 1 :] for k, row in enumerate(rows) if k != i]


def determinant(rows):
    """Expanded by the first row."""
    if not rows:
        return 1.0
    return math.fsum((-1) ** j * v * determinant(minor(rows, 0, j)) for j, v in enumerate(rows[0]))


def product(a, b):
    return [[math.fsum(v * b[k][j] for k, v in enumerate(row)) for j in range(len(b[0]))]
            for row in a]  # fmt: skip


def inverse(rows):
    d, n = determinant(rows), range(len(rows))
    return [[(-1) ** (i + j) * determinant(minor(rows, j, i)) / d for j in n] for i in n]


def lower_factor(rows):
    n = len(rows)
    y = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = rows[i][j] - math.fsum(y[i][k] * y[j][k] for k in range(j))
            y[i][j] = math.sqrt(rest) if i == j else rest / y[j][j]
    return y


def each_matrix(function):
    """The loop that calls `function` with the rows of each matrix, for rows or a number."""

    def loop(x, **params):
        found = {at: function(rows_of(x[at]), **params) for at in np.ndindex(*x.shape[:-2])}
        first = next(iter(found.values()), None)
        if first is None:
            first = function(np.eye(*x.shape[-2:]).tolist(), **params)
        return table(
            (*x.shape[:-2], *np.shape(first)),
            lambda at: _entry(found[at[: x.ndim - 2]], at[x.ndim - 2 :]),
        )

    return loop


def _entry(y, at):
    for i in at:
        y = y[i]
    return y


# -------------------------------------------------------------------------------- the loops

det = each_matrix(determinant)
inv = each_matrix(lambda rows: inverse(rows) if rows else np.zeros((0, 0)))
trace = each_matrix(lambda rows, offset=0: math.fsum(
    row[i + offset] for i, row in enumerate(rows) if 0 <= i + offset < len(row)))  # fmt: skip
diagonal = each_matrix(lambda rows, offset=0: [
    row[i + offset] for i, row in enumerate(rows) if 0 <= i + offset < len(row)])  # fmt: skip


@each_matrix
def cofactors(rows):
    n = range(len(rows))
    y = [[(-1) ** (i + j) * determinant(minor(rows, i, j)) for j in n] for i in n]
    return y or np.zeros((0, 0))


def slogdet(x):
    d = det(x)
    return table(d.shape, lambda at: math.copysign(1, d[at])), table(
        d.shape, lambda at: math.log(abs(d[at]))
    )


def solve_triangular(a, b, *, upper, left=True, unitriangular=False):
    a = np.array(a)
    for at in np.ndindex(*a.shape):
        i, j = at[-2:]
        if unitriangular and i == j:
            a[at] = 1.0
        elif j < i if upper else j > i:
            a[at] = 0.0
    if left:
        return solve(a, b)
    return np.swapaxes(solve(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2)


def solve(a, b):
    """Cramer's rule: a determinant with one column replaced, over the determinant."""
    matrices = b[:, None] if b.ndim == 1 else b
    batch = naive.lengths_together(a.shape[:-2], matrices.shape[:-2])
    n = a.shape[-1]

    def entry(at):
        *at, i, k = at
        rows = [[element(a, (*at, p, q)) for q in range(n)] for p in range(n)]
        d = determinant(rows)
        for p in range(n):
            rows[p][i] = element(matrices, (*at, p, k))
        return determinant(rows) / d

    y = table((*batch, n, matrices.shape[-1]), entry)
    return y[..., 0] if b.ndim == 1 else y


@each_matrix
def matrix_power(rows, n):
    y = np.eye(len(rows)).tolist()
    for _ in range(abs(n) if rows else 0):
        y = product(y, inverse(rows) if n < 0 else rows)
    return y or np.zeros((0, 0))


def multi_dot(*xs):
    y = xs[0]
    for x in xs[1:]:
        y = naive.matmul(y, x)
    return y


def matrix_transpose(x):
    return table(
        (*x.shape[:-2], x.shape[-1], x.shape[-2]), lambda at: x[(*at[:-2], at[-1], at[-2])]
    )


def symmetric(x):
    return x + matrix_transpose(x)


@each_matrix
def _cholesky(rows):
    return lower_factor(rows) or np.zeros((0, 0))


def cholesky_of(x, upper=False):
    y = _cholesky(symmetric(x))
    return matrix_transpose(y) if upper else y


def positive_qr(x, mode="reduced"):
    """Gram and Schmidt: each column less what it has of the columns before."""
    *batch, m, n = x.shape
    k = m if m < n else n
    q, r = np.zeros((*batch, m, k)), np.zeros((*batch, k, n))
    for at in np.ndindex(*batch):
        columns = []
        for j in range(n):
            column = [x[(*at, i, j)] for i in range(m)]
            for p, known in enumerate(columns):
                r[(*at, p, j)] = math.fsum(a * b for a, b in zip(known, column, strict=True))
            for p, known in enumerate(columns):
                column = [a - r[(*at, p, j)] * b for a, b in zip(column, known, strict=True)]
            if j < k:
                r[(*at, j, j)] = math.sqrt(math.fsum(a * a for a in column))
                columns.append([a / r[(*at, j, j)] for a in column])
        for j, column in enumerate(columns):
            for i, v in enumerate(column):
                q[(*at, i, j)] = v
    return r if mode == "r" else (q, r)


def eigh_of(x, UPLO="L"):
    """Sums of the eigenvalues and of their squares, the square put together, orthonormality."""
    s = symmetric(x)
    squared = naive.matmul(s, s)
    return trace(s), trace(squared), squared, identity(s)


def identity(x):
    return table(x.shape, lambda at: float(at[-1] == at[-2]))


def eigvalsh_of(x, UPLO="L"):
    return eigh_of(x)[:2]


def gram(x):
    """The products of the rows, or of the columns if those are fewer."""
    y = matrix_transpose(x)
    return naive.matmul(x, y) if x.shape[-2] <= x.shape[-1] else naive.matmul(y, x)


def svdvals_of(x):
    """The sum of the squares of the singular values, and their product."""
    y = det(gram(x))
    return trace(gram(x)), table(y.shape, lambda at: math.sqrt(y[at]))


def svd_of(x):
    """And the matrix put together again, and orthonormality."""
    return *svdvals_of(x), x, identity(gram(x)), identity(gram(x))


def pinv(x):
    y = matrix_transpose(x)
    if x.shape[-2] <= x.shape[-1]:
        return naive.matmul(y, inv(naive.matmul(x, y)))
    return naive.matmul(inv(naive.matmul(y, x)), y)


def pinv_of(a, b):
    """Of `a @ b`, whose rank is the number of columns of `a`."""
    return naive.matmul(pinv(b), pinv(a))


def lstsq(a, b):
    """Without the singular values."""
    x = naive.matmul(pinv(a), b)
    m, n = a.shape
    miss = (b - naive.matmul(a, x)).reshape(m, -1)
    squares = [math.fsum(v * v for v in miss[:, k]) for k in range(miss.shape[1])]
    return x, np.array(squares if m > n else [], float), np.array(m if m < n else n)


def matrix_rank_of(a, b):
    return table(a.shape[:-2], lambda at: a.shape[-1])


def vector_norm(x, axis=None, keepdims=False, ord=2):
    def one(xs):
        sizes = [abs(v) for v in xs]
        if math.isinf(ord):
            return max(sizes) if ord > 0 else min(sizes)
        return len(sizes) if ord == 0 else math.fsum(v**ord for v in sizes) ** (1 / ord)

    return naive.reduction(one)(x, axis=axis, keepdims=keepdims)


def matrix_norm(x, keepdims=False):
    return vector_norm(x, (-2, -1), keepdims)


def cond_one(x):
    """The largest sum of a column, times that of the inverse."""

    def size(rows):
        return sorted(math.fsum(abs(row[j]) for row in rows) for j in range(len(rows)))[-1]

    return each_matrix(lambda rows: size(rows) * size(inverse(rows)))(x)

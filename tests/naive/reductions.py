"""Reductions, running sums and products, norms: the slow way."""

import math

import numpy as np

from naive import along, axes_of, ravel, reduction, table, variance


def _known(xs):
    return [x for x in xs if not math.isnan(x)]


def _or_nan(xs):
    return math.fsum(xs) / len(xs) if xs else math.nan


def _times(xs):
    y = 1
    for x in xs:
        y = y * x
    return y


prod = reduction(_times)
nansum = reduction(lambda xs: math.fsum(_known(xs)))
nanmean = reduction(lambda xs: _or_nan(_known(xs)))
ptp = reduction(lambda xs: sorted(xs)[-1] - sorted(xs)[0])
count_nonzero = reduction(lambda xs: len([x for x in xs if x != 0]))
var = reduction(
    lambda xs, correction=0, ddof=None: variance(xs, correction if ddof is None else ddof)
)


length = reduction(lambda xs: math.sqrt(math.fsum(x * x for x in xs)))


def centred(x, *, axis=None):
    return x - reduction(_or_nan)(x, axis=axis, keepdims=True)


def _middle(xs):
    xs, n = sorted(xs), len(xs)
    return xs[n // 2] if n % 2 else (xs[n // 2 - 1] + xs[n // 2]) / 2


median = reduction(lambda xs: _middle(xs) if xs else math.nan)


def _quantile(xs, q, method):
    """`xs` as a function on [0, 1] with its elements evenly spread over it."""
    xs, place = sorted(xs), q * (len(xs) - 1)
    below = [i for i in range(len(xs)) if i <= place][-1]
    above = next(i for i in range(len(xs)) if i >= place)
    if method == "linear":
        return (
            xs[below]
            if below == above
            else xs[below] * (above - place) + xs[above] * (place - below)
        )
    if method == "midpoint":
        return (xs[below] + xs[above]) / 2
    if method == "nearest":
        even = below if below % 2 == 0 else above
        to_below, to_above = place - below, above - place
        nearest = even if to_below == to_above else below if to_below < to_above else above
        return xs[nearest]
    return xs[below if method == "lower" else above]


def quantile(x, *, q, axis=None, keepdims=False, method="linear"):
    one = reduction(_quantile)
    if isinstance(q, float | int):
        return one(x, axis=axis, keepdims=keepdims, q=q, method=method)
    return np.array([one(x, axis=axis, keepdims=keepdims, q=p, method=method) for p in q])


def _running(start, join):
    def lines(xs):
        y, found = start, []
        for x in xs:
            y = join(y, x)
            found.append(y)
        return found

    def loop(x, *, axis=None):
        return along(lines)(ravel(x), axis=0) if axis is None else along(lines)(x, axis=axis)

    return loop


cumsum = _running(0, lambda y, x: y + x)
cumprod = _running(1, lambda y, x: y * x)


def logcumsumexp(x, axis):
    return along(
        lambda xs: [math.log(math.fsum(map(math.exp, xs[: i + 1]))) for i in range(len(xs))]
    )(x, axis=axis)


def _reduced(xs, reduce):
    if reduce in ("amax", "amin"):
        return sorted(xs)[-1 if reduce == "amax" else 0]
    if reduce == "prod":
        return _times(xs)
    return math.fsum(xs) / (len(xs) if reduce == "mean" else 1)


def scatter_reduce(x, ids, values, axis, reduce, include_self=True):
    axis %= x.ndim
    lists = {at: [x[at].item()] if include_self else [] for at in np.ndindex(*x.shape)}
    for at in np.ndindex(*ids.shape):
        target = (*at[:axis], ids[at].item() % x.shape[axis], *at[axis + 1 :])
        lists[target].append(values[at].item())
    return table(x.shape, lambda at: _reduced(lists[at] or [x[at].item()], reduce))


def index_reduce(x, ids, values, axis, reduce, include_self=True):
    axis %= x.ndim
    every = np.zeros(values.shape, int)
    for at in np.ndindex(*values.shape):
        every[at] = ids[at[axis]].item()
    return scatter_reduce(x, every, values, axis, reduce, include_self)


def extreme_at(x, ids, values, *, axis, largest, include_self):
    return scatter_reduce(x, ids, values, axis, "amax" if largest else "amin", include_self)


def recurrence(a, b):
    def line(a, b):
        found = []
        for factor, term in zip(a, b, strict=True):
            found.append(term + (factor * found[-1] if found else 0))
        return found

    return along(line)(a, b, axis=0)


def trace(x, *, offset=0, axis1=0, axis2=1):
    axis1, axis2 = axis1 % x.ndim, axis2 % x.ndim
    rest = [a for a in range(x.ndim) if a not in (axis1, axis2)]

    def entry(at):
        total = 0.0
        for i in range(x.shape[axis1]):
            if 0 <= i + offset < x.shape[axis2]:
                place = dict(zip(rest, at, strict=True)) | {axis1: i, axis2: i + offset}
                total += x[tuple(place[a] for a in range(x.ndim))]
        return total

    return table([x.shape[a] for a in rest], entry)


def _vector(xs, ord):
    sizes = [abs(x) for x in xs]
    if ord is None:
        return math.sqrt(math.fsum(x * x for x in xs))
    if ord == math.inf:
        return sorted(sizes)[-1]
    if ord == -math.inf:
        return sorted(sizes)[0]
    if ord == 0:
        return len([x for x in xs if x != 0])
    return math.fsum(x**ord for x in sizes) ** (1 / ord)


def _matrix(m, ord):
    """The norm of a matrix, a list of rows."""
    n, k = m.shape
    if ord is None or ord == "fro":
        return _vector([m[i, j] for i in range(n) for j in range(k)], None)
    if ord in ("nuc", 2, -2):
        # The singular values, from the eigenvalues of the smaller of m.T m and m m.T.
        square = m @ m.T if n < k else m.T @ m
        values = [math.sqrt(v) if v > 0 else 0.0 for v in np.linalg.eigvalsh(square)]
        return math.fsum(values) if ord == "nuc" else sorted(values)[-1 if ord > 0 else 0]
    if ord in (math.inf, -math.inf):
        m, n, k = m.T, k, n
    sums = [math.fsum(abs(m[i, j]) for i in range(n)) for j in range(k)]
    return sorted(sums)[-1 if ord > 0 else 0]


def norm(x, *, ord=None, axis=None, keepdims=False):
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if (axis is None and ord is None) or len(axes) == 1:
        return reduction(_vector)(x, axis=axis, keepdims=keepdims, ord=ord)
    first, second = (a % x.ndim for a in axes)
    gone = axes_of(axes, x.ndim)
    short = tuple(1 if a in gone else n for a, n in enumerate(x.shape))

    def entry(at):
        matrix = np.zeros((x.shape[first], x.shape[second]))
        for i, j in np.ndindex(*matrix.shape):
            place = list(at)
            place[first], place[second] = i, j
            matrix[i, j] = x[tuple(place)]
        return _matrix(matrix, ord)

    y = table(short, entry)
    return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in gone])

"""Slow loops for what PyTorch puts under one name: a product and a sum, a part written anew."""

import itertools
import math

import numpy as np

import naive
from naive import each, table
from naive.linalg import determinant, each_matrix, inverse, product

# ----------------------------------------------------------------------------- elementwise

addcmul = each(lambda x, a, b, *, value=1: x + value * a * b)
addcdiv = each(lambda x, a, b, *, value=1: x + value * a / b)
frac = each(lambda x: math.fmod(x, 1))
ldexp = each(lambda a, b: a * 2**b)
nextafter = each(math.nextafter)
gcd = each(math.gcd)
lcm = each(math.lcm)


def frexp(x):
    return each(lambda v: math.frexp(v)[0])(x), each(lambda v: math.frexp(v)[1])(x)


exponent = each(lambda v: math.frexp(v)[1])

# --------------------------------------------------------------------- a product and a sum


def plus(multiply):
    def loop(x, a, b, *, beta=1, alpha=1):
        y = multiply(a, b)
        return table(y.shape, lambda at: beta * naive.element(x, at) + alpha * y[at])

    return loop


def _summed(a, b):
    y = naive.matmul(a, b)
    return table(y.shape[1:], lambda at: math.fsum(y[(i, *at)] for i in range(len(y))))


addmm = addmv = baddbmm = plus(naive.matmul)
addr = plus(lambda a, b: table((len(a), len(b)), lambda at: a[at[0]] * b[at[1]]))
addbmm = plus(_summed)

# ---------------------------------------------------------------------------------- shapes


def unflatten(x, *, axis, shape):
    axis %= x.ndim
    elements = iter(x.ravel().tolist())
    known = math.prod(n for n in shape if n >= 0)
    lengths = (n if n >= 0 else x.shape[axis] // known for n in shape)
    return table((*x.shape[:axis], *lengths, *x.shape[axis + 1 :]), lambda at: next(elements))


def block_diag(*xs):
    xs = [x.reshape((1,) * (2 - x.ndim) + x.shape) for x in xs]
    y = np.zeros((sum(len(x) for x in xs), sum(x.shape[1] for x in xs)))
    i = j = 0
    for x in xs:
        for a, b in np.ndindex(*x.shape):
            y[i + a, j + b] = x[a, b]
        i, j = i + x.shape[0], j + x.shape[1]
    return y


def cartesian_prod(*xs):
    if len(xs) == 1:
        return xs[0]
    return np.array([*itertools.product(*xs)], float).reshape(-1, len(xs))


def combinations(x, *, r=2, with_replacement=False):
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = [*choose(x.tolist(), r)]
    return np.array(rows, float).reshape(len(rows), r)


def windows(x, *, axis, size, step):
    axis %= x.ndim
    count = (x.shape[axis] - size) // step + 1
    return table(
        (*x.shape[:axis], count, *x.shape[axis + 1 :], size),
        lambda at: x[(*at[:axis], at[axis] * step + at[-1], *at[axis + 1 : -1])],
    )


def channel_shuffle(x, *, groups):
    each_ = x.shape[1] // groups
    return table(x.shape, lambda at: x[(at[0], at[1] % groups * each_ + at[1] // groups, *at[2:])])


# ----------------------------------------------------------------------- parts written anew


def put(x, ids, values, *, accumulate=False):
    y = x.ravel().tolist()
    for i, value in zip(ids.ravel().tolist(), values.ravel().tolist(), strict=True):
        y[i] = y[i] + value if accumulate else value
    return np.array(y, float).reshape(x.shape)


def select_scatter(x, values, *, axis, index):
    axis, index = axis % x.ndim, index % x.shape[axis]
    return table(
        x.shape,
        lambda at: values[(*at[:axis], *at[axis + 1 :])] if at[axis] == index else x[at],
    )


def slice_scatter(x, values, *, axis, start, end, step):
    axis %= x.ndim
    places = {i: n for n, i in enumerate(range(*slice(start, end, step).indices(x.shape[axis])))}
    return table(
        x.shape,
        lambda at: (
            values[(*at[:axis], places[at[axis]], *at[axis + 1 :])] if at[axis] in places else x[at]
        ),
    )


def diagonal_scatter(x, values, *, offset, axis1, axis2):
    y, axis1, axis2 = np.array(x, float), axis1 % x.ndim, axis2 % x.ndim
    for at in np.ndindex(*x.shape):
        if at[axis2] - at[axis1] == offset:
            rest = [i for a, i in enumerate(at) if a not in (axis1, axis2)]
            y[at] = values[(*rest, min(at[axis1], at[axis2]))]
    return y


def masked_scatter(x, mask, source):
    shape, elements = naive.lengths_together(x.shape, mask.shape), iter(source.ravel().tolist())
    return table(
        shape, lambda at: next(elements) if naive.element(mask, at) else naive.element(x, at)
    )


def ranks(mask, *, most):
    return table(mask.shape, lambda at: min(max(sum(mask[: at[0] + 1].tolist()) - 1, 0), most))


def unique_consecutive(x, *, return_inverse=False, return_counts=False, axis=None):
    lines = x.ravel() if axis is None else np.moveaxis(x, axis, 0)
    groups, inverse_ = [], []
    for line in lines.tolist():
        if not groups or groups[-1][0] != line:
            groups.append([line, 0])
        groups[-1][1] += 1
        inverse_.append(len(groups) - 1)
    kept = np.array([line for line, _ in groups], float)
    found = [kept if axis is None else np.moveaxis(kept, 0, axis)]
    found += [np.array(inverse_).reshape(x.shape if axis is None else -1)] * return_inverse
    found += [np.array([n for _, n in groups])] * return_counts
    return found[0] if len(found) == 1 else tuple(found)


# --------------------------------------------------------------------- reductions, distances


def mode(x, *, axis=-1, keepdims=False):
    lines = np.moveaxis(x, axis, -1)

    def of_line(at):
        line = lines[at].tolist()
        value = max(sorted(set(line)), key=line.count)
        return value, len(line) - 1 - line[::-1].index(value)

    found = [table(lines.shape[:-1], lambda at, i=i: of_line(at)[i]) for i in (0, 1)]
    return tuple(np.expand_dims(v, axis) if keepdims else v for v in found)


def searchsorted_lines(a, v, *, side):
    def entry(at):
        line, value = a[at[:-1]].tolist(), v[at]
        return sum(u < value if side == "left" else u <= value for u in line)

    return table(v.shape, entry)


def aminmax(x, **options):
    return naive.min(x, **options), naive.max(x, **options)


def cumulative_trapezoid(y, x=None, *, axis=-1, dx=1.0):
    axis %= y.ndim
    shape = tuple(n - (a == axis) for a, n in enumerate(y.shape))

    def entry(at):
        area = 0.0
        for i in range(at[axis] + 1):
            a, b = ((*at[:axis], j, *at[axis + 1 :]) for j in (i, i + 1))
            step = dx if x is None else x[i + 1] - x[i] if x.ndim == 1 else x[b] - x[a]
            area += step * (y[a] + y[b]) / 2
        return area

    return table(shape, entry)


def _norm(values, p):
    if p == 0:
        return sum(v != 0 for v in values)
    if math.isinf(p):
        return max(map(abs, values))
    return math.fsum(abs(v) ** p for v in values) ** (1 / p)


def renorm(x, *, p, axis, maxnorm):
    axis %= x.ndim
    sizes = [
        _norm([x[at] for at in np.ndindex(*x.shape) if at[axis] == i], p)
        for i in range(x.shape[axis])
    ]
    return table(
        x.shape,
        lambda at: x[at] * (maxnorm / sizes[at[axis]] if sizes[at[axis]] > maxnorm else 1),
    )


def dist(a, b, *, p=2.0):
    return np.array(_norm(naive.subtract(a, b).ravel().tolist(), p))


def cdist(x1, x2, *, p=2.0):
    lead = naive.lengths_together(x1.shape[:-2], x2.shape[:-2])

    def entry(at):
        rows = (
            [naive.element(x, (*at[:-2], i, k)) for k in range(x.shape[-1])]
            for x, i in ((x1, at[-2]), (x2, at[-1]))
        )
        return _norm([a - b for a, b in zip(*rows, strict=True)], p)

    return table((*lead, x1.shape[-2], x2.shape[-2]), entry)


def pdist(x, *, p=2.0):
    pairs = itertools.combinations(x.tolist(), 2)
    return np.array([_norm([a - b for a, b in zip(*pair, strict=True)], p) for pair in pairs])


def triplet_margin_with_distance_loss(anchor, positive, negative, *, margin=1.0, swap=False):
    def distance(a, b):
        return math.fsum(abs(u - v) for u, v in zip(a, b, strict=True))

    losses = []
    for a, p, n in zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True):
        far = min(distance(a, n), distance(p, n)) if swap else distance(a, n)
        losses.append(max(0.0, distance(a, p) - far + margin))
    return np.array(math.fsum(losses) / len(losses))


# ----------------------------------------------------------------------------- linear algebra


def _exponential(rows):
    """Of a matrix over 2^10 by its series, squared 10 times."""
    n = len(rows)
    x = [[v / 2**10 for v in row] for row in rows]
    y = term = [[float(i == j) for j in range(n)] for i in range(n)]
    for k in range(1, 12):
        term = [[v / k for v in row] for row in product(term, x)]
        y = [[a + b for a, b in zip(*both, strict=True)] for both in zip(y, term, strict=True)]
    for _ in range(10):
        y = product(y, y)
    return y if n else np.zeros((0, 0))


matrix_exp = each_matrix(_exponential)
logdet = each_matrix(lambda rows: math.log(determinant(rows)))


def vander(x, *, N=None):
    return table((*x.shape, x.shape[-1] if N is None else N), lambda at: x[at[:-1]] ** at[-1])


def _triangle(l, upper):
    return np.swapaxes(naive.triu(l), -1, -2) if upper else naive.tril(l)


def cholesky_inverse(l, *, upper=False):
    def of_rows(rows):
        return inverse(product(rows, [*zip(*rows, strict=True)])) if rows else np.zeros((0, 0))

    return each_matrix(of_rows)(_triangle(l, upper))


def cholesky_solve(b, l, *, upper=False):
    return naive.matmul(cholesky_inverse(l, upper=upper), b)


def householder_product(v, tau):
    m, n = v.shape[-2:]
    y = np.zeros(v.shape)
    for at in np.ndindex(*v.shape[:-2]):
        q = np.eye(m).tolist()
        for k in range(tau.shape[-1]):
            w = [0.0] * k + [1.0] + [v[(*at, i, k)].item() for i in range(k + 1, m)]
            h = [[float(i == j) - tau[(*at, k)] * w[i] * w[j] for j in range(m)] for i in range(m)]
            q = product(q, h)
        y[at] = [row[:n] for row in q] if m else np.zeros((0, n))
    return y

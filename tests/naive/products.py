"""Products, the slow way."""

import itertools
import math

import numpy as np

from naive import element, lengths_together, table


def dot(a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return table((*np.shape(a), *np.shape(b)), lambda at: _of_number(a, b, at))
    rest = (*b.shape[:-2], *b.shape[-1:]) if b.ndim > 1 else ()

    def entry(at):
        row, column = at[: a.ndim - 1], at[a.ndim - 1 :]
        terms = []
        for i in range(a.shape[-1]):
            place = (*column[:-1], i, column[-1]) if b.ndim > 1 else (i,)
            terms.append(a[(*row, i)] * b[place])
        return math.fsum(terms)

    return table((*a.shape[:-1], *rest), entry)


def _of_number(a, b, at):
    return (a if np.ndim(a) == 0 else a[at]) * (b if np.ndim(b) == 0 else b[at])


def vdot(a, b):
    return np.array(math.fsum(x * y for x, y in zip(a.flat, b.flat, strict=True)))


def inner(a, b):
    if a.ndim == 0 or b.ndim == 0:
        return dot(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


def outer(a, b):
    a, b = list(a.flat), list(b.flat)
    return table((len(a), len(b)), lambda at: a[at[0]] * b[at[1]])


def vecdot(x1, x2, axis=-1):
    n = x1.shape[axis]
    lines = [{}, {}]
    for x, found in zip((x1, x2), lines, strict=True):
        for at in np.ndindex(*x.shape):
            at_, i = list(at), at[axis]
            del at_[axis % x.ndim]
            found.setdefault(tuple(at_), {})[i] = x[at]
    shapes = [[m for k, m in enumerate(x.shape) if k != axis % x.ndim] for x in (x1, x2)]
    shape = lengths_together(*shapes)

    def line(found, own, at):
        at = at[len(at) - len(own) :]
        return found.get(tuple(0 if m == 1 else i for i, m in zip(at, own, strict=True)), {})

    def entry(at):
        left, right = (line(f, s, at) for f, s in zip(lines, shapes, strict=True))
        return math.fsum(left[i] * right[i] for i in range(n))

    return table(shape, entry)


def matvec(x1, x2):
    shape = (*lengths_together(x1.shape[:-2], x2.shape[:-1]), x1.shape[-2])
    n = range(x1.shape[-1])
    return table(
        shape,
        lambda at: math.fsum(element(x1, (*at, j)) * element(x2, (*at[:-1], j)) for j in n),
    )


def vecmat(x1, x2):
    shape = (*lengths_together(x1.shape[:-1], x2.shape[:-2]), x2.shape[-1])
    n = range(x1.shape[-1])
    return table(
        shape,
        lambda at: math.fsum(
            element(x1, (*at[:-1], j)) * element(x2, (*at[:-1], j, at[-1])) for j in n
        ),
    )


def cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    if axis is not None:
        axisa = axisb = axisc = axis

    def vectors(x, axis):
        axis %= x.ndim
        rest = [n for k, n in enumerate(x.shape) if k != axis]
        y = np.zeros((*rest, 3))
        for at in np.ndindex(*x.shape):
            y[(*at[:axis], *at[axis + 1 :], at[axis])] = x[at]
        return y

    flat = a.shape[axisa] == b.shape[axisb] == 2
    a, b = vectors(a, axisa), vectors(b, axisb)
    batch = lengths_together(a.shape[:-1], b.shape[:-1])

    def third(at, i):
        j, k = (i + 1) % 3, (i + 2) % 3
        return element(a, (*at, j)) * element(b, (*at, k)) - element(a, (*at, k)) * element(
            b, (*at, j)
        )

    if flat:
        return table(batch, lambda at: third(at, 2))
    axisc %= len(batch) + 1
    shape = (*batch[:axisc], 3, *batch[axisc:])
    return table(shape, lambda at: third((*at[:axisc], *at[axisc + 1 :]), at[axisc]))


def tensordot(a, b, axes=2):
    if isinstance(axes, int):
        axes = range(a.ndim - axes, a.ndim), range(axes)
    of_a, of_b = ([i] if isinstance(i, int) else i for i in axes)
    of_a, of_b = [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]
    left = [i for i in range(a.ndim) if i not in of_a]
    right = [i for i in range(b.ndim) if i not in of_b]

    def entry(at):
        total = 0.0
        for summed in itertools.product(*(range(a.shape[i]) for i in of_a)):
            place_a = dict(zip(left, at, strict=False)) | dict(zip(of_a, summed, strict=True))
            place_b = dict(zip(right, at[len(left) :], strict=True))
            place_b |= dict(zip(of_b, summed, strict=True))
            total += (
                a[tuple(place_a[i] for i in range(a.ndim))]
                * b[tuple(place_b[i] for i in range(b.ndim))]
            )
        return total

    return table([a.shape[i] for i in left] + [b.shape[i] for i in right], entry)


def kron(a, b):
    ndim = sorted((a.ndim, b.ndim))[-1]
    a, b = (np.reshape(x, (1,) * (ndim - x.ndim) + x.shape) for x in (a, b))

    def entry(at):
        block = tuple(i // n for i, n in zip(at, b.shape, strict=True))
        return a[block] * b[tuple(i % n for i, n in zip(at, b.shape, strict=True))]

    return table([n * m for n, m in zip(a.shape, b.shape, strict=True)], entry)


def bilinear(x1, x2, weight, bias=None):
    def entry(at):
        *row, k = at
        start = 0.0 if bias is None else bias[k]
        return start + math.fsum(
            x1[(*row, i)] * weight[k, i, j] * x2[(*row, j)]
            for i in range(x1.shape[-1])
            for j in range(x2.shape[-1])
        )

    return table((*x1.shape[:-1], weight.shape[0]), entry)

"""Functions that move elements, the slow way."""

import math
from itertools import pairwise

import numpy as np

from naive import broadcast_to, concatenate, lengths_together, ravel, reshape, table, transpose


def flatten(x, *, start_axis=0, end_axis=-1):
    if not x.ndim:
        return x.reshape(1)
    start, end = start_axis % x.ndim, end_axis % x.ndim
    return reshape(
        x, shape=(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])
    )


def broadcast_arrays(*xs):
    shape = lengths_together(*(x.shape for x in xs))
    return [broadcast_to(x, shape=shape) for x in xs]


def atleast_1d(x):
    return x if x.ndim else x.reshape(1)


def atleast_2d(x):
    while x.ndim < 2:
        x = x[None]
    return x


def atleast_3d(x):
    return atleast_2d(x)[..., None] if x.ndim < 3 else x


def moveaxis(x, source, destination):
    """The axes moved fill their places, the others the rest, in order."""
    source, destination = ((a,) if isinstance(a, int) else a for a in (source, destination))
    order = [None] * x.ndim
    for a, to in zip(source, destination, strict=True):
        order[to] = a % x.ndim
    others = iter([a for a in range(x.ndim) if a not in order])
    return transpose(x, axes=[next(others) if a is None else a for a in order])


def vstack(*xs):
    return concatenate(*map(atleast_2d, xs), axis=0)


def hstack(*xs):
    xs = [atleast_1d(x) for x in xs]
    return concatenate(*xs, axis=0 if xs[0].ndim == 1 else 1)


def dstack(*xs):
    return concatenate(*map(atleast_3d, xs), axis=2)


def column_stack(*xs):
    return concatenate(*(x.reshape(-1, 1) if x.ndim < 2 else x for x in xs), axis=1)


def pieces(x, lengths, axis):
    found, start = [], 0
    for n in lengths:
        found.append(np.take(x, list(range(start, start + n)), axis))
        start += n
    return found


def array_split(x, indices_or_sections, axis=0):
    n, parts = x.shape[axis], indices_or_sections
    if isinstance(parts, int):
        # Dealt out like cards: each element in turn makes the next part longer.
        return pieces(x, [len(range(i, n, parts)) for i in range(parts)], axis)
    cuts = [0, *parts, n]
    return pieces(x, [b - a for a, b in pairwise(cuts)], axis)


def chunk(x, chunks, axis=0):
    n = x.shape[axis]
    if not n:
        return pieces(x, [0] * chunks, axis)
    size = math.ceil(n / chunks)
    return pieces(x, [len(range(n)[i : i + size]) for i in range(0, n, size)], axis)


def unstack(x, axis=0):
    return [piece.squeeze(axis) for piece in pieces(x, [1] * x.shape[axis], axis)]


def tile(x, *, reps):
    reps = (reps,) if isinstance(reps, int) else reps
    while x.ndim < len(reps):
        x = x[None]
    reps = (1,) * (x.ndim - len(reps)) + tuple(reps)
    for axis, n in enumerate(reps):
        x = (
            concatenate(*[x] * n, axis=axis)
            if n
            else np.take(x, [], axis).reshape(
                [0 if a == axis else m for a, m in enumerate(x.shape)]
            )
        )
    return x


def picked(x, ids, axis):
    """The elements of `x` at the list `ids` along `axis`."""
    axis %= x.ndim
    shape = [len(ids) if a == axis else n for a, n in enumerate(x.shape)]
    return table(shape, lambda at: x[(*at[:axis], ids[at[axis]], *at[axis + 1 :])])


def repeat(x, *, repeats, axis=None):
    if axis is None:
        x, axis = ravel(x), 0
    n = x.shape[axis]
    repeats = [repeats] * n if isinstance(repeats, int) else list(repeats)
    repeats = repeats * n if len(repeats) == 1 else repeats
    return picked(x, [i for i, times in enumerate(repeats) for _ in range(times)], axis)


def flip(x, *, axis=None):
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        x = picked(x, list(range(x.shape[a]))[::-1], a)
    return x


def roll(x, *, shift, axis=None):
    if axis is None:
        shifts = shift if isinstance(shift, tuple) else (shift,)
        return reshape(roll(ravel(x), shift=int(np.sum(shifts)), axis=0), shape=x.shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    shifts = shift if isinstance(shift, tuple) else (shift,) * len(axes)
    for step, a in zip(shifts, axes, strict=True):
        n = x.shape[a]
        x = picked(x, [(i - step) % n for i in range(n)], a)
    return x


def rot90(x, *, k=1, axes=(0, 1)):
    """Each turn takes the element in row i, column j to row m - 1 - j, column i."""
    first, second = (a % x.ndim for a in axes)
    for _ in range(k % 4):
        shape = list(x.shape)
        shape[first], shape[second] = shape[second], shape[first]
        m, y = x.shape[second], np.zeros(shape)
        for at in np.ndindex(*x.shape):
            to = list(at)
            to[first], to[second] = m - 1 - at[second], at[first]
            y[tuple(to)] = x[at]
        x = y
    return x


def meshgrid(*xs, indexing="xy"):
    lengths = [x.size for x in xs]
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[0], places[1] = 1, 0
    shape = [lengths[p] for p in places]
    return [
        table(shape, lambda at, x=x, p=p: ravel(x)[at[p]]) for x, p in zip(xs, places, strict=True)
    ]


def pairs(value, ndim):
    """A pair for each axis, from all that NumPy takes for that."""
    if not isinstance(value, tuple):
        return [(value, value)] * ndim
    if not isinstance(value[0], tuple):
        return [value if len(value) == 2 else value * 2] * ndim
    value = [v if len(v) == 2 else v * 2 for v in value]
    return value if len(value) == ndim else value * ndim


def _step(i, n, mode):
    """One step from a place outside of n elements towards the place it stands for."""
    if mode == "edge":
        return 0 if i < 0 else n - 1
    if mode == "wrap":
        return i + n if i < 0 else i - n
    if mode == "symmetric":
        return -1 - i if i < 0 else 2 * n - 1 - i
    if n == 1:
        return 0
    return -i if i < 0 else 2 * (n - 1) - i


def pad(x, *, pad_width, mode="constant", constant_values=0):
    widths = pairs(pad_width, x.ndim)
    values = pairs(constant_values, x.ndim)
    for axis, ((before, after), (first, last)) in enumerate(zip(widths, values, strict=True)):
        n = x.shape[axis]
        if mode == "constant":
            ends = [
                np.full([w if a == axis else m for a, m in enumerate(x.shape)], v, dtype=float)
                for w, v in ((before, first), (after, last))
            ]
            x = concatenate(ends[0], x, ends[1], axis=axis)
            continue
        ids = []
        for place in range(-before, n + after):
            i = place
            while not 0 <= i < n:
                i = _step(i, n, mode)
            ids.append(i)
        x = picked(x, ids, axis)
    return x


def diagonal(x, *, offset=0, axis1=0, axis2=1):
    axis1, axis2 = axis1 % x.ndim, axis2 % x.ndim
    rest = [a for a in range(x.ndim) if a not in (axis1, axis2)]
    on_it = [
        (i, j) for i in range(x.shape[axis1]) for j in range(x.shape[axis2]) if j - i == offset
    ]

    def entry(at):
        place = dict(zip(rest, at, strict=False)) | dict(
            zip((axis1, axis2), on_it[at[-1]], strict=True)
        )
        return x[tuple(place[a] for a in range(x.ndim))]

    return table((*(x.shape[a] for a in rest), len(on_it)), entry)


def diag_embed(x, *, offset=0, axis1=-2, axis2=-1):
    ndim, n = x.ndim + 1, x.shape[-1] + abs(offset)
    axis1, axis2 = axis1 % ndim, axis2 % ndim
    rest = [a for a in range(ndim) if a not in (axis1, axis2)]
    shape = [n] * ndim
    for a, length in zip(rest, x.shape, strict=False):
        shape[a] = length

    def entry(at):
        row, column = at[axis1], at[axis2]
        on_it = column - row == offset
        return x[(*(at[a] for a in rest), row if offset >= 0 else column)] if on_it else 0.0

    return table(tuple(shape), entry)


def diagflat(x, *, k=0):
    x = ravel(x)
    n = x.size + abs(k)
    return table((n, n), lambda at: x[at[0 if k >= 0 else 1]] if at[1] - at[0] == k else 0.0)


def diag(x, *, k=0):
    return diagflat(x, k=k) if x.ndim == 1 else diagonal(x, offset=k)

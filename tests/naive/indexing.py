"""Slow loops: adding at indices, and shapes that depend on values."""

import numpy as np

from naive import element, lengths_together


def scatter_add(x, ids, values, *, axis):
    y = np.array(x, float)
    axis %= x.ndim
    for at in np.ndindex(*ids.shape):
        place = list(at)
        place[axis] = ids[at].item()
        y[tuple(place)] += values[at].item()
    return y


def put_along_axis(x, ids, values, *, axis):
    y = np.array(x, float)
    axis %= x.ndim
    for at in np.ndindex(*ids.shape):
        place = list(at)
        place[axis] = ids[at].item()
        y[tuple(place)] = values[at].item()
    return y


def masked_select(x, mask):
    shape = lengths_together(x.shape, mask.shape)
    return np.array([element(x, at) for at in np.ndindex(*shape) if element(mask, at)], float)


def nonzero(x):
    places = [at for at in np.ndindex(*x.shape) if x[at].item() != 0]
    return [np.array([at[a] for at in places], int) for a in range(x.ndim)]


def argwhere(x):
    places = [at for at in np.ndindex(*x.shape) if x[at].item() != 0]
    return np.array(places, int).reshape(len(places), x.ndim)


def flatnonzero(x):
    return np.array([i for i, v in enumerate(x.ravel().tolist()) if v != 0], int)


def unique(x, return_index=False, return_inverse=False, return_counts=False):
    flat = x.ravel().tolist()
    values = sorted(set(flat))
    found = [np.array(values, float)]
    if return_index:
        found.append(np.array([flat.index(v) for v in values], int))
    if return_inverse:
        found.append(np.array([values.index(v) for v in flat], int).reshape(x.shape))
    if return_counts:
        found.append(np.array([flat.count(v) for v in values], int))
    return found[0] if len(found) == 1 else found


def bincount(x, minlength=0):
    numbers = x.tolist()
    return np.array([numbers.count(i) for i in range(max([minlength, *(n + 1 for n in numbers)]))])

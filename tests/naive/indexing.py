"""Slow loops: adding at indices, and shapes that depend on values."""

import numpy as np

from naive import element, lengths_together


def write(x, ids, values, axis, change):
    """`x` with `change(old, value)` at each place that `ids` names along `axis`."""
    y = np.array(x, float)
    axis %= x.ndim
    for at in np.ndindex(*ids.shape):
        place = list(at)
        place[axis] = ids[at].item()
        value = values if isinstance(values, int | float) else values[at].item()
        y[tuple(place)] = change(y[tuple(place)].item(), value)
    return y


def scatter(x, ids, values, *, axis):
    return write(x, ids, values, axis, lambda old, value: value)


def scatter_add(x, ids, values, *, axis):
    return write(x, ids, values, axis, lambda old, value: old + value)


def put_along_axis(x, ids, values, *, axis):
    if axis is None:
        return put_along_axis(x.ravel(), ids, values, axis=0).reshape(x.shape)
    axis %= x.ndim
    y = np.array(x, float)
    for at in np.ndindex(*(ids.shape[a] if a == axis else n for a, n in enumerate(x.shape))):
        place = list(at)
        place[axis] = element(ids, at)
        y[tuple(place)] = element(values, at)
    return y


def take_along_axis(x, ids, *, axis):
    elements = x.ravel().tolist()
    return np.array([elements[i] for i in ids.tolist()], float)


def index_set(x, ids, value):
    y = np.array(x, float)
    for i in ids.tolist():
        y[i] = value
    return y


def index_add(x, ids, value):
    y = np.array(x, float)
    for i in ids.tolist():
        y[i] += value
    return y


def in_range(ids, *, name, n, low=None):
    return np.array(ids.ravel().tolist(), int).reshape(ids.shape)


def index_fill(x, ids, value, axis):
    y = np.array(x, float)
    for at in np.ndindex(*x.shape):
        if at[axis] in [i % x.shape[axis] for i in ids.tolist()]:
            y[at] = np.asarray(value).item()
    return y


def index_put(x, indices, values, accumulate=False):
    """By the places that `x[indices]` reads from."""
    y, places = np.array(x, float), np.arange(x.size).reshape(x.shape)[indices]
    for at in np.ndindex(*places.shape):
        place = np.unravel_index(places[at].item(), x.shape)
        y[place] = element(values, at) + (y[place].item() if accumulate else 0.0)
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


def bincount(x, weights=None, minlength=0):
    numbers = x.tolist()
    y = [0] * max([minlength, *(n + 1 for n in numbers)])
    for i, n in enumerate(numbers):
        y[n] += 1 if weights is None else weights[i].item()
    return np.array(y, int if weights is None else float)


def tril_indices(x, k):
    return np.array([x[i, j].item() for i, j in np.ndindex(*x.shape) if j - i <= k], float)


def triu_indices(x, k):
    return np.array([x[i, j].item() for i, j in np.ndindex(*x.shape) if j - i >= k], float)


def one_hot(ids, *, num_classes):
    if num_classes == -1:
        num_classes = max(ids.ravel().tolist()) + 1
    y = np.zeros((*ids.shape, num_classes))
    for at in np.ndindex(*ids.shape):
        y[(*at, ids[at].item())] = 1
    return y


def reorder_rows(x, order, back):
    return np.array([x[i] for i in order], x.dtype).reshape(x.shape)

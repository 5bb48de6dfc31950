"""Slow loops: sorting and searching."""

import numpy as np

from naive import along


def order(line, descending):
    found = []
    left = list(range(len(line)))
    while left:
        best = left[0]
        for i in left:
            if line[i] > line[best] if descending else line[i] < line[best]:
                best = i
        left.remove(best)
        found.append(best)
    return found


def flattened(loop):
    def function(x, *, axis=-1, **params):
        if not x.ndim:
            return x.astype(int) * 0 if loop is argsort_lines else x
        return loop(x.ravel(), axis=0, **params) if axis is None else loop(x, axis=axis, **params)

    return function


argsort_lines = along(lambda line, descending=False: order(line, descending))
argsort = flattened(argsort_lines)
sort = flattened(along(lambda line, descending=False: [line[i] for i in order(line, descending)]))


def topk(x, k, axis=-1, largest=True, sorted=True):
    ids = argsort_lines(x, axis=axis, descending=largest).astype(int).take(range(k), axis=axis)
    values = np.empty(ids.shape)
    for at in np.ndindex(*ids.shape):
        place = list(at)
        place[axis] = ids[at]
        values[at] = x[tuple(place)].item()
    return values, ids


def top_ids(x, *, k, descending):
    return argsort_lines(x, axis=-1, descending=descending).astype(int)[..., :k]


def _best_so_far(better):
    def ids(xs):
        found = []
        for i, x in enumerate(xs):
            last = found[-1] if found else i
            found.append(last if better(xs[last], x) else i)
        return found

    def loop(x, axis):
        values = along(lambda xs: [xs[i] for i in ids(xs)])(x, axis=axis)
        return values, along(ids)(x, axis=axis).astype(int)

    return loop


cummax = _best_so_far(lambda a, b: a > b)
cummin = _best_so_far(lambda a, b: a < b)


def running_ids(x, *, largest):
    return (cummax if largest else cummin)(x, axis=-1)[1]


def searchsorted(a, v, *, side="left"):
    found = np.empty(np.shape(v), int)
    for at in np.ndindex(*found.shape):
        x = np.asarray(v)[at].item()
        found[at] = sum(1 for w in a.tolist() if (w < x if side == "left" else w <= x))
    return found


def kthvalue(x, k, axis=-1, keepdims=False):
    found = [v.take([k - 1], axis=axis) for v in topk(x, k, axis=axis, largest=False)]
    return found if keepdims else [v.squeeze(axis) for v in found]


def digitize(x, bins, right=False):
    """How many bins have been passed."""
    return searchsorted(bins, x, side="left" if right else "right")

"""Slow loops for normalisation and dropout."""

import math

import numpy as np

from minigrad import random
from naive import along, attention_row, axes_of, element, lengths_together, standardised, table


def parameter(v, c, default):
    return default if v is None else float(v[c])


def rms_norm(x, weight=None, *, eps=None):
    eps = 2.0**-52 if eps is None else eps

    def line(xs):
        size = math.sqrt(math.fsum(x * x for x in xs) / len(xs) + eps)
        return [x / size * parameter(weight, i, 1.0) for i, x in enumerate(xs)]

    return along(line)(x)


def channel(x, c):
    """The places of `x` that belong to channel `c`."""
    return [at for at in np.ndindex(*x.shape) if at[1] == c]


def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, *, eps=1e-5):
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        places = channel(x, c)
        if running_mean is None:
            values, _ = standardised([x[at].item() for at in places], eps)
        else:
            std = math.sqrt(running_var[c] + eps)
            values = [(x[at].item() - running_mean[c]) / std for at in places]
        for at, h in zip(places, values, strict=True):
            y[at] = h * parameter(weight, c, 1.0) + parameter(bias, c, 0.0)
    return y


def batch_norm_train(x, weight=None, bias=None, *, eps=1e-5):
    return batch_norm(x, None, None, weight, bias, eps=eps)


def batch_norm_grad(g, x, weight=None, *, eps=1e-5):
    dx, (dweight, dbias) = np.zeros(x.shape), np.zeros((2, x.shape[1]))
    for c in range(x.shape[1]):
        places = channel(x, c)
        hs, std = standardised([x[at].item() for at in places], eps)
        gs, n = [g[at].item() for at in places], len(places)
        dbias[c] = math.fsum(gs)
        dweight[c] = math.fsum(g * h for g, h in zip(gs, hs, strict=True))
        scale = parameter(weight, c, 1.0) / std
        for at, gi, h in zip(places, gs, hs, strict=True):
            dx[at] = scale * (gi - dbias[c] / n - h * dweight[c] / n)
    return dx, dweight, dbias


def batch_norm_stats(x, running_mean, running_var, *, momentum=0.1):
    new_mean, new_var = np.array(running_mean, float), np.array(running_var, float)
    for c in range(x.shape[1]):
        values = [x[at].item() for at in channel(x, c)]
        middle = math.fsum(values) / len(values)
        spread = math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1)
        new_mean[c] += momentum * (middle - new_mean[c])
        new_var[c] += momentum * (spread - new_var[c])
    return new_mean, new_var


def group_norm(x, num_groups, weight=None, bias=None, *, eps=1e-5):
    y, size = np.zeros(x.shape), x.shape[1] // num_groups
    for n in range(x.shape[0]):
        for group in range(num_groups):
            members = range(group * size, (group + 1) * size)
            places = [at for c in members for at in channel(x, c) if at[0] == n]
            values, _ = standardised([x[at].item() for at in places], eps)
            for at, h in zip(places, values, strict=True):
                y[at] = h * parameter(weight, at[1], 1.0) + parameter(bias, at[1], 0.0)
    return y


def norm(xs, p):
    """The p-norm of numbers."""
    sizes = [abs(x) for x in xs]
    if p == math.inf:
        return sorted(sizes)[-1]
    if p == -math.inf:
        return sorted(sizes)[0]
    if p == 0:
        return float(len([x for x in sizes if x]))
    return math.fsum(x**p for x in sizes) ** (1 / p)


def normalize(x, *, p=2.0, axis=1, eps=1e-12):
    return along(lambda xs: [v / (norm(xs, p) if norm(xs, p) > eps else eps) for v in xs])(
        x, axis=axis
    )


def softmin(x, *, axis=-1):
    def line(xs):
        total = math.fsum(math.exp(-x) for x in xs)
        return [math.exp(-x) / total for x in xs]

    return along(line)(x, axis=axis)


def dropout(x, key, *, p, shared=()):
    """An element is dropped together with all that differ from it along shared axes only."""
    if p == 1:
        return np.zeros(x.shape)
    shape = [1 if a in shared or a - x.ndim in shared else n for a, n in enumerate(x.shape)]
    keep = random.bernoulli(key, 1 - p, shape)

    def entry(at):
        own = tuple(0 if n == 1 else i for i, n in zip(at, shape, strict=True))
        return x[at] / (1 - p) if keep[own] else 0.0

    return table(x.shape, entry)


def standardise(x, *, axis=-1, eps=1e-5):
    axes = axes_of(axis, x.ndim)
    short = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    y, stds = np.zeros(x.shape), np.zeros(short)
    for line in np.ndindex(*short):
        places = [
            at
            for at in np.ndindex(*x.shape)
            if all(a in axes or at[a] == line[a] for a in range(x.ndim))
        ]
        values, stds[line] = standardised([x[at].item() for at in places], eps)
        for at, h in zip(places, values, strict=True):
            y[at] = h
    return y, stds


def scaled_dot_product_attention(
    q, k, v, mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, *, key=None
):
    """Every matrix with every other along the broadcast leading axes; dropout is drawn for all."""
    if enable_gqa:
        heads = range(q.shape[-3])
        k, v = (np.stack([x[..., h * x.shape[-3] // len(heads), :, :] for h in heads], axis=-3)
                for x in (k, v))  # fmt: skip
    batch = lengths_together(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    T, S = q.shape[-2], k.shape[-2]
    keep = np.ones((math.prod(batch), T, S))
    if dropout_p:
        keep = random.bernoulli(key, 1 - dropout_p, keep.shape) / (1 - dropout_p)
    y = np.zeros((*batch, T, v.shape[-1]))
    for i, at in enumerate(np.ndindex(*batch)):
        q1, k1, v1 = (np.broadcast_to(x, (*batch, *x.shape[-2:]))[at] for x in (q, k, v))
        for t in range(T):
            boolean = mask is not None and mask.dtype == bool
            own = [0.0 if mask is None else element(mask, (*at, t, s)) for s in range(S)]
            seen = [(not boolean or own[s]) and (s <= t or not is_causal) for s in range(S)]
            p = attention_row(
                q1[t].tolist(),
                k1.tolist(),
                lambda s, own=own, boolean=boolean: 0.0 if boolean else own[s],
                lambda s, seen=seen: seen[s],
                1 / math.sqrt(q.shape[-1]) if scale is None else scale,
            )
            for s in range(S):
                y[(*at, t)] += p[s] * keep[i, t, s] * v1[s]
    return y

"""Slow loops for pooling and interpolation: the elements of one window in a list, and so on."""

import itertools
import math

import numpy as np

from naive import table
from naive.convs import per_axis


def in_batches(n):
    """Decorator: `function(x, n, ...)` of x (N, C, *lengths) for x without the first axis, too."""

    def decorated(function):
        def loop(x, **params):
            if x.ndim == n + 2:
                return function(x, n, **params)
            found = function(x[None], n, **params)
            return tuple(y[0] for y in found) if isinstance(found, tuple) else found[0]

        return loop

    return decorated


def starts(length, kernel, stride, padding, dilation, ceil_mode):
    """Where windows begin: while they end in the padded input, or with `ceil_mode` reach it."""
    found, start = [], -padding
    last = length + padding - dilation * (kernel - 1) - 1
    while start <= last or (ceil_mode and start < last + stride and start < length):
        found.append(start)
        start += stride
    return found


def windows(x, n, kernel_size, stride, padding, dilation, ceil_mode):
    """The shape of the result, and what gives the places of each window along each axis."""
    kernel, dilation, padding = (per_axis(v, n) for v in (kernel_size, dilation, padding))
    stride = kernel if stride is None else per_axis(stride, n)
    begins = [
        starts(x.shape[2 + a], kernel[a], stride[a], padding[a], dilation[a], ceil_mode)
        for a in range(n)
    ]

    def places(at):
        return [
            [begins[a][i] + k * dilation[a] for k in range(kernel[a])] for a, i in enumerate(at[2:])
        ]

    return (*x.shape[:2], *map(len, begins)), places


def inside(x, at):
    return all(0 <= i < m for i, m in zip(at, x.shape[2:], strict=True))


def largest(x, shape, places):
    """The first largest of each window and its place in the flattened (*lengths)."""
    values, indices = np.zeros(shape), np.zeros(shape, int)
    for at in np.ndindex(*shape):
        best, best_place = -math.inf, None
        for place in itertools.product(*places(at)):
            if inside(x, place):
                v = float(x[(*at[:2], *place)])
                if best_place is None or v > best:
                    best, best_place = v, place
        index = 0
        for i, m in zip(best_place, x.shape[2:], strict=True):
            index = index * m + i
        values[at], indices[at] = best, index
    return values, indices


def max_pool(n):
    @in_batches(n)
    def loop(
        x, n, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
        return_indices=False,
    ):  # fmt: skip
        shape, places = windows(x, n, kernel_size, stride, padding, dilation, ceil_mode)
        values, indices = largest(x, shape, places)
        return (values, indices) if return_indices else values

    return loop


def avg_pool(n):
    @in_batches(n)
    def loop(
        x, n, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
        divisor_override=None,
    ):  # fmt: skip
        shape, places = windows(x, n, kernel_size, stride, padding, 1, ceil_mode)
        padding = per_axis(padding, n)

        def entry(at):
            total, count = 0.0, 0
            for place in itertools.product(*places(at)):
                if inside(x, place):
                    total += float(x[(*at[:2], *place)])
                    count += 1
                elif count_include_pad:
                    sides = zip(place, x.shape[2:], padding, strict=True)
                    count += all(-p <= i < m + p for i, m, p in sides)
            return total / (divisor_override or count)

        return table(shape, entry)

    return loop


def lp_pool(n):
    @in_batches(n)
    def loop(x, n, *, norm_type, kernel_size, stride=None, ceil_mode=False):
        shape, places = windows(x, n, kernel_size, stride, 0, 1, ceil_mode)
        whole = math.prod(per_axis(kernel_size, n))

        def entry(at):
            inner = [p for p in itertools.product(*places(at)) if inside(x, p)]
            total = math.fsum(float(x[(*at[:2], *p)]) ** norm_type for p in inner)
            return (total / len(inner) * whole) ** (1 / norm_type)

        return table(shape, entry)

    return loop


def put_back(x, ids, *, size):
    y = np.zeros((len(x), size))
    for at in np.ndindex(*x.shape):
        y[at[0], ids[at].item()] = x[at].item()
    return y


def max_unpool(n):
    def loop(x, indices, *, kernel_size, stride=None, padding=0, output_size=None):
        if x.ndim == n + 1:
            options = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
            return loop(x[None], indices[None], output_size=output_size, **options)[0]
        kernel, padding = per_axis(kernel_size, n), per_axis(padding, n)
        stride = kernel if stride is None else per_axis(stride, n)
        lengths = output_size and tuple(output_size)[-n:]
        lengths = lengths or tuple(
            (m - 1) * s - 2 * p + k
            for m, s, p, k in zip(x.shape[2:], stride, padding, kernel, strict=True)
        )
        y = np.zeros((*x.shape[:2], *lengths))
        for at in np.ndindex(*x.shape):
            place, rest = [], indices[at].item()
            for length in lengths[::-1]:
                place.insert(0, rest % length)
                rest //= length
            y[(*at[:2], *place)] = x[at].item()
        return y

    return loop


def shares(x, n, output_size):
    """As `windows`, for windows that share each axis among so many."""
    wanted = zip(per_axis(output_size, n), x.shape[2:], strict=True)
    counts = [m if k is None else k for k, m in wanted]

    def places(at):
        return [
            [j for j in range(m) if j + 1 > i * m / k and j < (i + 1) * m / k]
            for i, k, m in zip(at[2:], counts, x.shape[2:], strict=True)
        ]

    return (*x.shape[:2], *counts), places


def adaptive_avg_pool(n):
    @in_batches(n)
    def loop(x, n, *, output_size):
        shape, places = shares(x, n, output_size)

        def entry(at):
            found = [float(x[(*at[:2], *p)]) for p in itertools.product(*places(at))]
            return math.fsum(found) / len(found)

        return table(shape, entry)

    return loop


def adaptive_max_pool(n):
    @in_batches(n)
    def loop(x, n, *, output_size, return_indices=False):
        values, indices = largest(x, *shares(x, n, output_size))
        return (values, indices) if return_indices else values

    return loop


# --------------------------------------------------------------------------- interpolation


def keys(t, a):
    """The cubic that is 1 at 0, and 0 at 1 and from 2 on."""
    t = abs(t)
    if t < 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def interpolate(
    x, *, size=None, scale_factor=None, mode="nearest", align_corners=None,
    recompute_scale_factor=None, antialias=False,
):  # fmt: skip
    n = x.ndim - 2
    old = x.shape[2:]
    if size is not None:
        new = per_axis(size, n)
        steps = [m / k for m, k in zip(old, new, strict=True)]
    else:
        factors = per_axis(scale_factor, n)
        new = tuple(math.floor(m * f) for m, f in zip(old, factors, strict=True))
        steps = [1 / f for f in factors]
        if recompute_scale_factor:
            steps = [m / k for m, k in zip(old, new, strict=True)]
    if mode == "area":
        return adaptive_avg_pool(n)(x, output_size=new)

    def covered(centre, step, length):
        """All that lie under the kernel, which is stretched to cover a step."""
        wide = max(step, 1.0)
        reach = wide * (2 if mode == "bicubic" else 1)
        first, end = int(centre - reach + 0.5), int(centre + reach + 0.5)
        kernel = (lambda t: keys(t, -0.5)) if mode == "bicubic" else (lambda t: max(1 - abs(t), 0))
        near = range(max(first, 0), min(end, length))
        found = [(j, kernel((j + 0.5 - centre) / wide)) for j in near]
        total = math.fsum(w for _, w in found)
        return [(j, w / total) for j, w in found]

    def taps(i, a):
        """The elements that element i takes along axis a, and how much of each."""
        if mode == "nearest":
            return [(min(math.floor(i * steps[a] + 1e-9), old[a] - 1), 1.0)]
        if mode == "nearest-exact":
            return [(min(math.floor((i + 0.5) * steps[a] + 1e-9), old[a] - 1), 1.0)]
        step = (old[a] - 1) / (new[a] - 1) if new[a] > 1 else 0.0
        if antialias:
            return covered((i + 0.5) * (step if align_corners else steps[a]),
                           step if align_corners else steps[a], old[a])  # fmt: skip
        at = i * step if align_corners else (i + 0.5) * steps[a] - 0.5
        if mode == "bicubic":
            low = math.floor(at)
            near = range(low - 1, low + 3)
            return [(min(max(j, 0), old[a] - 1), keys(at - j, -0.75)) for j in near]
        at = max(at, 0.0)
        low = min(math.floor(at), old[a] - 1)
        return [(low, 1 - (at - low)), (min(low + 1, old[a] - 1), at - low)]

    def entry(at):
        total = 0.0
        for tap in itertools.product(*(taps(i, a) for a, i in enumerate(at[2:]))):
            place = tuple(j for j, _ in tap)
            total += float(x[(*at[:2], *place)]) * math.prod(w for _, w in tap)
        return total

    return table((*x.shape[:2], *new), entry)


# ---------------------------------------------------------------------------------- pixels


def pixel_shuffle(x, *, upscale_factor):
    *lead, channels, height, width = x.shape
    r = upscale_factor

    def entry(at):
        *front, c, i, j = at
        return float(x[(*front, c * r * r + i % r * r + j % r, i // r, j // r)])

    return table((*lead, channels // (r * r), height * r, width * r), entry)


def pixel_unshuffle(x, *, downscale_factor):
    *lead, channels, height, width = x.shape
    r = downscale_factor

    def entry(at):
        *front, c, i, j = at
        return float(x[(*front, c // (r * r), i * r + c % (r * r) // r, j * r + c % r)])

    return table((*lead, channels * r * r, height // r, width // r), entry)


# -------------------------------------------------------------------------------- internal


def of_windows(x):
    """The largest element of each window along axis 2."""
    return table(
        (*x.shape[:2], *x.shape[3:]),
        lambda at: sorted(float(x[(*at[:2], i, *at[2:])]) for i in range(x.shape[2]))[-1],
    )


def first_of_windows(x, y):
    """Where the largest stands first."""

    def entry(at):
        a, b, i, *rest = at
        line = [float(x[(a, b, k, *rest)]) for k in range(x.shape[2])]
        return line.index(float(y[(a, b, *rest)])) == i

    return table(x.shape, entry)


def seen_from(at, kernel, stride, dilation):
    """The places that the window at `at` sees, row after row."""
    front, back = at[:2], at[2:]
    return [
        (*front, *(i * s + k * d for i, s, k, d in zip(back, stride, ks, dilation, strict=True)))
        for ks in itertools.product(*map(range, kernel))
    ]


def max_windows(x, *, kernel, stride, dilation, counts):
    return table(
        (*x.shape[:2], *counts),
        lambda at: sorted(float(x[p]) for p in seen_from(at, kernel, stride, dilation))[-1],
    )


def max_windows_grad(g, x, *, kernel, stride, dilation, counts):
    dx = np.zeros(x.shape)
    for at in np.ndindex(*x.shape[:2], *counts):
        places = seen_from(at, kernel, stride, dilation)
        values = [float(x[p]) for p in places]
        dx[places[values.index(sorted(values)[-1])]] += g[at]
    return dx

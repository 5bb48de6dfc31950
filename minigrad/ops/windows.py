"""Windows: what a kernel sees, in convolution and in pooling.

`_windows` puts what a kernel sees along one axis into an axis of its own; `_sum_windows` puts such
windows back where they came from, and adds them up where they overlap. Each is the gradient of the
other.
"""

import operator

from minigrad.autodiff import primitive
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import is_half
from minigrad.ops.shaping import reshape

__all__: list[str] = []

# -------------------------------------------------------------------------------- windows


def _seen(axis: int, start: int, count: int, stride: int) -> tuple:
    """The index of what `count` windows have at one place: `start`, and then every `stride`."""
    stop = start + (count - 1) * stride + 1
    return (..., slice(start, stop, stride), *(slice(None),) * (-axis - 1))


@primitive(kernel="windows.windows")
def _windows(xp, x, *, axis, size, count, stride=1, dilation=1):
    """`count` windows of `size` elements along `axis`, which is counted from the end.

    Of x (A, B, ..., L, ...) it gives (A, B, size, ..., count, ...): element i of window j is
    `x[j * stride + i * dilation]`.
    """
    shape = list(x.shape)
    shape[axis] = count
    y = xp.zeros((*shape[:2], size, *shape[2:]), x.dtype)  # in C order, so that it can be a matrix
    for i in range(size):
        y[:, :, i] = x[_seen(axis, i * dilation, count, stride)]
    return y


@primitive(kernel="windows.sum_windows")
def _sum_windows(xp, g, *, axis, length, stride=1, dilation=1):
    """Zeros of `length` along `axis` with all windows added in: the adjoint of `_windows`."""
    count = g.shape[axis]
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    y = xp.zeros(tuple(shape), "float32" if is_half(g.dtype) else g.dtype)
    for i in range(g.shape[2]):
        y[_seen(axis, i * dilation, count, stride)] += g[:, :, i]
    return y.astype(g.dtype) if is_half(g.dtype) else y


@_windows.vjp
def _(g, _y, _x, *, axis, size, count, stride=1, dilation=1):
    return _sum_windows(g, axis=axis, length=_x.shape[axis], stride=stride, dilation=dilation)


@_sum_windows.vjp
def _(gg, _y, _g, *, axis, length, stride=1, dilation=1):
    return _windows(
        gg, axis=axis, size=_g.shape[2], count=_g.shape[axis], stride=stride, dilation=dilation
    )


def all_windows(x, kernel, counts, stride, dilation):
    """`_windows` along the last axes: (A, B, ..., *L) becomes (A, B, *kernel, ..., *counts)."""
    for a in range(-1, -len(kernel) - 1, -1):
        x = _windows(
            x, axis=a, size=kernel[a], count=counts[a], stride=stride[a], dilation=dilation[a]
        )
    return x


def sum_all_windows(g, lengths, stride, dilation):
    """The adjoint: (A, B, *kernel, ..., *counts) becomes (A, B, ..., *lengths)."""
    for a in range(-len(lengths), 0):
        g = _sum_windows(g, axis=a, length=lengths[a], stride=stride[a], dilation=dilation[a])
    return g


# ------------------------------------------------------------------------------- arguments


def per_axis(name: str, what: str, value, n: int, least: int = 1) -> tuple[int, ...]:
    """One int for each of `n` axes, from an int or a sequence of `n` or of one."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    try:
        if bool in map(type, values):  # who passes one has mistaken an argument for another
            raise TypeError
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(
            f"{name}: {what} must be an int or a tuple of them, got {value!r}"
        ) from None
    values = values * n if len(values) == 1 else values
    if len(values) != n or any(v < least for v in values):
        raise ShapeError(
            f"{name}: {what} must be an int of at least {least}, or {n} of them, got {value}"
        )
    return values


def with_batch(name: str, x, n: int) -> tuple:
    """`x` as (N, C, *lengths) with `n` lengths, and whether the batch axis had to be added."""
    if x.ndim not in (n + 1, n + 2):
        lengths = ", ".join("DHW"[-n:]) if n > 1 else "L"
        raise ShapeError(f"{name}: x must be (N, C, {lengths}) or (C, {lengths}), got {x.shape}")
    return (x, False) if x.ndim == n + 2 else (reshape(x, shape=(1, *x.shape)), True)


def reach_of(kernel, dilation) -> tuple[int, ...]:
    """How many elements a kernel spans along each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def window_counts(name: str, lengths, kernel, stride, dilation) -> tuple[int, ...]:
    """How many windows there are along each axis of a padded input."""
    reach = reach_of(kernel, dilation)
    if any(r > n for r, n in zip(reach, lengths, strict=True)):
        raise ShapeError(
            f"{name}: the kernel spans {reach} elements, which is more than the padded input of "
            f"{tuple(lengths)}; give a larger input, more padding or a smaller kernel"
        )
    return tuple((n - r) // s + 1 for n, r, s in zip(lengths, reach, stride, strict=True))

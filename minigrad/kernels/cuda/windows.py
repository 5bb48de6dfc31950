"""Windows and arrays in any layout, as convolutions and pooling have them."""

import math
from collections.abc import Iterator
from typing import Any

from minigrad.kernels.cuda.elementwise import Step, broadcast, chain_launch, joined
from minigrad.kernels.cuda.machine import C_TYPES, Empty, Kernel, Launch, Page, Stand, address
from minigrad.kernels.cuda.updates import At
from minigrad.kernels.instructions import Declined
from minigrad.kernels.layouts import planes, windows_of

PAGE, COPIES = Page("windows"), Page("copies")
FLOATS = ("float32", "float64", "float16", "bfloat16")
THREADS, BLOCKS = 256, 1 << 20
SIDE = 32  # of a tile
SIZES = {1: "u8", 2: "short", 4: "int", 8: "i64"}  # a type for each size of elements

# --- copies ---------------------------------------------------------------------------------------


class Seen:
    """The memory of an array in another layout."""

    def __init__(self, x: Any, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.array, self.shape, self.strides = x, shape, strides
        self.dtype, self.ndim, self.size = x.dtype, len(shape), math.prod(shape)

    @property
    def address(self) -> int:
        return address(self.array)


def copied(y: Any, x: Any) -> Iterator[Launch]:
    """A launch that copies `x` to `y`, of one shape and dtype, whatever their layouts.

    Raises:
        Declined: there are too many axes.
    """
    if math.prod(y.shape):
        step = Step("positive", (-1,), y.dtype)
        yield _swapped(y, x) or chain_launch([step], [x], (0,), [y])


def _swapped(y: Any, x: Any) -> Launch | None:
    """A copy by tiles, where what lies side by side differs; None where it does not."""
    lengths, (of_y, of_x) = joined(y.shape, [broadcast(y, y.shape), broadcast(x, y.shape)])
    axes = range(len(lengths))
    along_x = next((a for a in axes if of_x[a] == 1), None)
    along_y = next((a for a in axes if of_y[a] == 1), None)
    if along_x is None or along_y is None or of_x[along_y] == 1:
        return None
    m, n = lengths[along_x], lengths[along_y]
    if min(m, n) < 8:
        return None
    others = [a for a in axes if a not in (along_x, along_y)]
    none = [0] * (4 - len(others))
    counts = [1] * len(none) + [lengths[a] for a in others]
    steps = [v for s in (of_y, of_x) for v in (*none, *(s[a] for a in others))]
    numbers = (m, n, of_x[along_y], of_y[along_x], *counts[1:], *steps, math.prod(counts))
    grid = (-(-m // SIDE) * -(-n // SIDE), min(math.prod(counts), 65535))
    kind = {"E": SIZES[y.dtype.itemsize]}
    return Launch(COPIES, "transpose", kind, grid, (SIDE, 8), (y, x, *numbers))


reshape = Kernel("reshape", COPIES)


@reshape.accepts
def _(x, *, shape):
    """The elements of `x` in C order, in another shape."""
    shape = shape if isinstance(shape, tuple) else (shape,)
    if not x.size or x.dtype.name not in C_TYPES:
        return None
    missing = x.size // -math.prod(shape)  # for the length that is -1, if one is
    found = Empty(tuple(missing if n == -1 else n for n in shape), x.dtype)
    return found if _fits(x) else None


def _fits(x: Any) -> bool:
    """Whether a copy of it in C order has few enough axes."""
    try:
        joined(x.shape, [_in_order(x), broadcast(x, x.shape)])
    except Declined:
        return False
    return True


def _in_order(x: Any) -> tuple[int, ...]:
    """The strides in elements of a C-contiguous array of that shape."""
    return tuple(math.prod(x.shape[i + 1 :]) for i in range(x.ndim))


@reshape.launches
def _(p, outputs, x, *, shape):
    (y,) = outputs
    if not y.flags.c_contiguous:
        raise Declined
    strides = tuple(s * x.dtype.itemsize for s in _in_order(x))
    yield from copied(Seen(y, x.shape, strides), x)


@reshape.examples
def _(dtype):
    yield (Empty((8, 1024), dtype),), {"shape": (16, -1)}
    x, item = Stand((64, 32), dtype), dtype.itemsize
    yield (Seen(x, (32, 64), (item, 32 * item)),), {"shape": (-1,)}


concatenate = Kernel("concatenate", COPIES)
concatenate.strided = True  # what lies in another order stays so


@concatenate.accepts
def _(*xs, axis=0):
    """`xs`, of one dtype, one behind the other along `axis`: a launch for each."""
    first = xs[0]
    if axis is None or not first.ndim or first.dtype.name not in C_TYPES:
        return None
    if any(x.dtype != first.dtype or not x.size or not _fits(x) for x in xs):
        return None
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    return Empty(tuple(shape), first.dtype)


@concatenate.launches
def _(p, outputs, *xs, axis=0):
    (y,) = outputs
    start = 0
    for x in xs:
        yield from copied(Seen(At(y, start), x.shape, y.strides), x)
        start += x.shape[axis] * y.strides[axis] // y.dtype.itemsize


@concatenate.examples
def _(dtype):
    yield (Empty((8, 4), dtype), Empty((3, 4), dtype)), {"axis": 0}


# --- windows --------------------------------------------------------------------------------------


def _within(lengths, kernel, stride, dilation, counts) -> bool:
    """Whether the last window along each axis ends within its length."""
    return all(
        (c - 1) * s + (k - 1) * d < n
        for n, k, s, d, c in zip(lengths, kernel, stride, dilation, counts, strict=True)
    )


windows = Kernel("windows", COPIES)


@windows.accepts
def _(x, *, axis, size, count, stride=1, dilation=1):
    """`count` windows of `size` elements along `axis`, counted from the end, in an axis 2."""
    fits = _within(x.shape[axis:][:1], (size,), (stride,), (dilation,), (count,))
    if not x.size or x.dtype.name not in C_TYPES or not size or not count or not fits:
        return None
    seen = Seen(x, *windows_of(x, axis, size, count, stride, dilation))
    return Empty(seen.shape, x.dtype) if _fits(seen) else None


@windows.launches
def _(p, outputs, x, *, axis, size, count, stride=1, dilation=1):
    yield from copied(outputs[0], Seen(x, *windows_of(x, axis, size, count, stride, dilation)))


@windows.examples
def _(dtype):
    yield (Empty((2, 3, 8, 8), dtype),), {"axis": -1, "size": 3, "count": 6}


sum_windows = Kernel("sum_windows", PAGE)


@sum_windows.accepts
def _(g, *, axis, length, stride=1, dilation=1):
    """Zeros of `length` along `axis` with all windows added in."""
    if g.dtype.name not in FLOATS or not g.size or not g.flags.c_contiguous or length >= 2**31:
        return None
    if not _within((length,), g.shape[2:3], (stride,), (dilation,), g.shape[axis:][:1]):
        return None
    shape = [*g.shape[:2], *g.shape[3:]]
    shape[axis] = length
    return Empty(tuple(shape), g.dtype)


@sum_windows.launches
def _(p, outputs, g, *, axis, length, stride=1, dilation=1):
    (y,) = outputs
    last = g.ndim + axis
    m, q = math.prod(g.shape[3:last]), math.prod(g.shape[last + 1 :])
    numbers = (m, length, q, g.shape[2], g.shape[last], stride, dilation)
    yield _each(y, "sum_windows", y, g, y.size, *numbers)


def _each(y: Any, function: str, *args: Any) -> Launch:
    """A launch with a thread for each element of `y`."""
    blocks = min(-(-y.size // THREADS), BLOCKS)
    return Launch(PAGE, function, {"T": y.dtype}, blocks, THREADS, args)


@sum_windows.examples
def _(dtype):
    yield (Empty((2, 3, 3, 8, 6), dtype),), {"axis": -1, "length": 8}


# --- the largest of each window -------------------------------------------------------------------

max_windows = Kernel("max_windows", PAGE)


@max_windows.accepts
def _(x, *, kernel, stride, dilation, counts):
    """The largest of each window along the last one or two axes of x (A, B, *lengths)."""
    if len(kernel) > 2 or x.ndim != 2 + len(kernel) or x.dtype.name not in FLOATS or not x.size:
        return None
    if planes(x) is None or math.prod(x.shape[2:]) >= 2**31 or not math.prod(counts):
        return None
    if not _within(x.shape[2:], kernel, stride, dilation, counts):
        return None
    return Empty((*x.shape[:2], *counts), x.dtype)


def _numbers(x: Any, kernel, stride, dilation, counts) -> tuple[int, ...]:
    """Counts, and what `WINDOW` of the source has; of one axis, those of a row."""
    one = (1,) * (2 - len(kernel))
    found = (counts, x.shape[2:], kernel, stride, dilation)
    return tuple(int(v) for pair in found for v in (*one, *pair))


@max_windows.launches
def _(p, outputs, x, **options):
    (y,) = outputs
    yield _each(y, "max_windows", y, x, y.size, x.shape[1], *planes(x), *_numbers(x, **options))


def _pools(x: Empty) -> dict[str, Any]:
    return {"kernel": (3, 2), "stride": (2, 2), "dilation": (1, 1), "counts": (3, 4)}


@max_windows.examples
def _(dtype):
    x = Empty((2, 3, 8, 8), dtype)
    yield (x,), _pools(x)


max_windows_grad = Kernel("max_windows_grad", PAGE)


@max_windows_grad.accepts
def _(g, x, **options):
    """Zeros like `x`, and `g` added where the first largest of its window is."""
    y = max_windows.outputs(x, **options)
    if y is None or g.shape != y.shape or g.dtype != y.dtype or planes(g) is None:
        return None
    return Empty(x.shape, x.dtype)


@max_windows_grad.launches
def _(p, outputs, g, x, **options):
    (dx,) = outputs
    steps = (*planes(g), *planes(x))
    numbers = _numbers(x, **options)
    yield _each(dx, "max_windows_grad", dx, g, x, dx.size, x.shape[1], *steps, *numbers)


@max_windows_grad.examples
def _(dtype):
    x = Empty((2, 3, 8, 8), dtype)
    yield (Empty((2, 3, 3, 4), dtype), x), _pools(x)

"""Functions that move elements and compute nothing. Results may be views; none is written."""

import math
import operator
from itertools import accumulate, chain, combinations_with_replacement, pairwise
from itertools import combinations as plain_combinations
from numbers import Integral

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minigrad.autodiff import as_arrays, on_device_of, op, primitive
from minigrad.errors import OutOfRangeError, ShapeError
from minigrad.ops.dtypes import matched
from minigrad.ops.elementwise import where

__all__ = [
    "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_arrays",
    "broadcast_to", "cartesian_prod", "chunk", "column_stack", "combinations", "concatenate",
    "diag", "diag_embed", "diagflat", "diagonal", "dstack", "expand_dims", "flatten", "flip",
    "hstack", "meshgrid", "moveaxis", "pad", "permute", "permute_dims", "ravel", "repeat",
    "reshape", "roll", "rot90", "split", "squeeze", "stack", "swapaxes", "tile", "transpose",
    "tril", "triu", "unflatten", "unstack", "vstack",
]  # fmt: skip


def axis_of(name: str, axis: int, shape: tuple[int, ...]) -> int:
    """`axis` counted from the front, for functions whose errors no op explains."""
    try:
        return normalize_axis_index(axis, len(shape))
    except np.exceptions.AxisError:
        raise OutOfRangeError(
            f"{name}: axis {axis} is out of range for an array of shape {shape}"
        ) from None


@primitive
def reshape(xp, x, *, shape):
    """The same elements in another shape, in C order; one length may be -1."""
    return x.reshape(shape)


@reshape.vjp
def _(g, _y, _x, *, shape):
    return reshape(g, shape=_x.shape)


@op
def ravel(xp, x):
    """`x` with one axis."""
    return reshape(x, shape=(-1,))


@op
def flatten(xp, x, *, start_axis=0, end_axis=-1):
    """`x` with the axes from `start_axis` to `end_axis`, that included, in one.

    Raises:
        ShapeError: `start_axis` comes after `end_axis`.
    """
    if not x.ndim:
        return reshape(x, shape=(1,))
    start, end = (normalize_axis_index(a, x.ndim) for a in (start_axis, end_axis))
    if start > end:
        raise ShapeError(f"flatten: start_axis {start_axis} comes after end_axis {end_axis}")
    one = math.prod(x.shape[start : end + 1])
    return reshape(x, shape=(*x.shape[:start], one, *x.shape[end + 1 :]))


@op
def unflatten(xp, x, *, axis, shape):
    """`x` with `axis` taken apart into the axes of `shape`; one length may be -1.

    Raises:
        ShapeError: `shape` does not fit the length of `axis`.
    """
    axis = normalize_axis_index(axis, x.ndim)
    known = math.prod(n for n in shape if n != -1)
    if [*shape].count(-1) == 1 and known:
        shape = [x.shape[axis] // known if n == -1 else n for n in shape]
    if math.prod(shape) != x.shape[axis] or any(n < 0 for n in shape):
        raise ShapeError(f"unflatten: {shape} does not fit axis {axis} of length {x.shape[axis]}")
    return reshape(x, shape=(*x.shape[:axis], *shape, *x.shape[axis + 1 :]))


@primitive
def transpose(xp, x, *, axes=None):
    """The axes of `x` in the order `axes`, reversed by default."""
    return x.transpose(axes)


@transpose.vjp
def _(g, _y, _x, *, axes=None):
    if axes is None:
        return transpose(g)
    order = [a % len(axes) for a in axes]
    return transpose(g, axes=tuple(order.index(i) for i in range(len(order))))


permute_dims = permute = transpose  # the names of the array API and of PyTorch


@primitive
def swapaxes(xp, x, *, axis1, axis2):
    """`x` with two axes exchanged."""
    if not x.ndim and {axis1, axis2} <= {0, -1}:  # a number is a line of one
        return x
    return x.swapaxes(axis1, axis2)


@swapaxes.vjp
def _(g, _y, _x, *, axis1, axis2):
    return swapaxes(g, axis1=axis1, axis2=axis2)


@op
def moveaxis(xp, x, *, source, destination):
    """`x` with the axes `source` moved to the places `destination` (ints or sequences).

    Raises:
        ShapeError: they are not equally many.
    """
    from_ = normalize_axis_tuple(source, x.ndim, "source")
    to = normalize_axis_tuple(destination, x.ndim, "destination")
    if len(from_) != len(to):
        raise ShapeError(
            f"moveaxis: source and destination must name equally many axes, got {source} and "
            f"{destination}"
        )
    order = [a for a in range(x.ndim) if a not in from_]
    for place, a in sorted(zip(to, from_, strict=True)):
        order.insert(place, a)
    return transpose(x, axes=tuple(order))


@primitive
def expand_dims(xp, x, *, axis):
    """`x` with a new axis of length 1 at `axis` (an int or a tuple)."""
    return xp.expand_dims(x, axis)


@primitive
def squeeze(xp, x, *, axis=None):
    """`x` without its axes of length 1: all of them, or those in `axis`."""
    return xp.squeeze(x, axis)


@primitive
def broadcast_to(xp, x, *, shape):
    """`x` repeated along new axes and along axes of length 1; a read-only view, or `x` itself."""
    return x if x.shape == shape else xp.broadcast_to(x, shape)


def _same_elements(g, _y, _x, **_):
    return reshape(g, shape=_x.shape)


expand_dims.vjp(_same_elements)
squeeze.vjp(_same_elements)
broadcast_to.vjp(lambda g, _y, _x, *, shape: g)  # the engine sums it


def broadcast_arrays(*xs) -> tuple:
    """The arrays, each repeated to the shape that they broadcast to together.

    Raises:
        ShapeError: the shapes do not fit each other.
    """
    arrays = as_arrays(*xs)
    shapes = [x.shape for x in arrays]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"broadcast_arrays: the shapes do not fit each other: {shapes}") from None
    return tuple(broadcast_to(x, shape=shape) for x in arrays)


def atleast_1d(*xs):
    """`x` with one axis if it had none; of several arrays a tuple."""
    return _each(xs, lambda shape: shape or (1,))


def atleast_2d(*xs):
    """`x` with two axes at least, new ones first: (n,) becomes (1, n); of several a tuple."""
    return _each(xs, lambda shape: (1,) * (2 - len(shape)) + shape)


def atleast_3d(*xs):
    """`x` with three axes at least: (n,) becomes (1, n, 1) and (m, n) becomes (m, n, 1).

    Of several arrays a tuple.
    """
    ends = {0: (2, 1), 1: (1, 1), 2: (0, 1)}

    def deep(shape):
        before, after = ends.get(len(shape), (0, 0))
        return (1,) * before + shape + (1,) * after

    return _each(xs, deep)


def _each(xs, shape_of):
    """The arrays in the shapes that `shape_of` makes of theirs: one, or a tuple of several."""
    found = tuple(reshape(x, shape=shape_of(x.shape)) for x in map(arrayed, xs))
    return found[0] if len(found) == 1 else found


# --------------------------------------------------------------- joining and taking apart


def concatenate(xs, axis: int | None = 0):
    """The arrays of a sequence, one after the other along an existing axis (None: flattened)."""
    return _concatenate(*_some("concatenate", xs), axis=axis)


def _some(name: str, xs) -> list:
    """The arrays of the sequence `xs`, of which there must be one."""
    xs = as_arrays(*xs)
    if any(x is None for x in xs):
        raise TypeError(f"{name}: expects arrays, there is a None among them")
    if not xs:
        raise ShapeError(f"{name}: expects a sequence of at least one array, got an empty one")
    return xs


def arrayed(x):
    """`x`, of a list or a number an array."""
    return as_arrays(x)[0]


@primitive
def _concatenate(xp, *xs, axis=0):
    """`concatenate`, each array an input of its own."""
    return xp.concatenate(matched(*xs), axis=axis)


@_concatenate.vjp
def _(g, _y, *_xs, axis=0):
    if axis is None:
        parts = split(g, _ends([math.prod(x.shape) for x in _xs]))
        return tuple(reshape(p, shape=x.shape) for p, x in zip(parts, _xs, strict=True))
    return tuple(split(g, _ends([x.shape[axis] for x in _xs]), axis))


def _ends(lengths: list[int]) -> list[int]:
    """Where to cut so that the pieces have these lengths."""
    return list(accumulate(lengths[:-1]))


def stack(xs, axis: int = 0):
    """The arrays of a sequence, all of one shape, along a new axis.

    Raises:
        ShapeError: there are none, or their shapes differ.
    """
    xs = _some("stack", xs)
    if len({x.shape for x in xs}) != 1:
        raise ShapeError(f"stack: all shapes must be the same, got {[x.shape for x in xs]}")
    axis = axis_of("stack", axis, (len(xs), *xs[0].shape))
    return concatenate([expand_dims(x, axis=axis) for x in xs], axis)


def vstack(xs):
    """The arrays of a sequence below each other: along the first axis, vectors as rows."""
    return concatenate([atleast_2d(x) for x in _some("vstack", xs)], 0)


def hstack(xs):
    """The arrays of a sequence beside each other: along the second axis, vectors end to end."""
    xs = [atleast_1d(x) for x in _some("hstack", xs)]
    return concatenate(xs, 0 if xs[0].ndim == 1 else 1)


def dstack(xs):
    """The arrays of a sequence behind each other: along the third axis."""
    return concatenate([atleast_3d(x) for x in _some("dstack", xs)], 2)


def column_stack(xs):
    """The arrays of a sequence beside each other, vectors as columns."""
    xs = [x if x.ndim > 1 else reshape(x, shape=(-1, 1)) for x in _some("column_stack", xs)]
    return concatenate(xs, 1)


def _cut(x, axis: int, places) -> list:
    """The pieces of `x` between neighbours of `places`, indices along `axis`."""
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in pairwise(places)]


def _cut_evenly(name: str, x, count, axis: int) -> list:
    """`count` pieces, of which the first are one longer where it does not divide evenly."""
    n = x.shape[axis]
    if count < 1:
        raise ShapeError(f"{name}: expects one piece or more, got {count}")
    size, longer = divmod(n, count)
    return _cut(x, axis, [i * size + min(i, longer) for i in range(count + 1)])


def split(x, indices_or_sections, axis: int = 0) -> list:
    """`x` cut along `axis`: into that many equal parts, or before each of the given indices.

    Raises:
        ShapeError: the axis does not divide into that many equal parts.
    """
    x, parts = arrayed(x), indices_or_sections
    n = x.shape[axis_of("split", axis, x.shape)]
    if isinstance(parts, Integral) and (parts < 1 or n % parts):
        raise ShapeError(
            f"split: axis {axis} of length {n} does not divide into {parts} equal parts; give the "
            f"indices to cut at, or use array_split"
        )
    return array_split(x, indices_or_sections, axis)


def array_split(x, indices_or_sections, axis: int = 0) -> list:
    """As `split`, but where the parts cannot be equal, the first ones are longer by one."""
    x = arrayed(x)
    axis = axis_of("array_split", axis, x.shape)
    if isinstance(indices_or_sections, Integral):
        return _cut_evenly("array_split", x, indices_or_sections, axis)
    return _cut(x, axis, [0, *indices_or_sections, x.shape[axis]])


def chunk(x, chunks: int, axis: int = 0) -> tuple:
    """At most `chunks` pieces along `axis`, all of one length but the last (PyTorch's `chunk`).

    Raises:
        ShapeError: `chunks` is less than 1.
    """
    x = arrayed(x)
    axis = axis_of("chunk", axis, x.shape)
    if chunks < 1:
        raise ShapeError(f"chunk: expects one piece or more, got {chunks}")
    n = x.shape[axis]
    size = -(-n // chunks)
    return tuple(_cut(x, axis, [*range(0, n, size), n] if n else [0] * (chunks + 1)))


def unstack(x, axis: int = 0) -> tuple:
    """The arrays that `stack` would make `x` of: one for each index along `axis`."""
    x = arrayed(x)
    before = (slice(None),) * axis_of("unstack", axis, x.shape)
    return tuple(x[(*before, i, ...)] for i in range(x.shape[axis]))  # `...`: no scalars


# ------------------------------------------------------------------- repeating and turning


@op
def tile(xp, x, *, reps):
    """`x` put together from `reps` copies along each axis (an int: along the last one).

    The shorter one of `reps` and the shape is filled up with ones at the front.

    Raises:
        ShapeError: a number of copies is negative.
    """
    reps = (reps,) if isinstance(reps, Integral) else tuple(reps)
    if any(r < 0 for r in reps):
        raise ShapeError(f"tile: reps must not be negative, got {reps}")
    ndim = max(len(reps), x.ndim)
    reps, shape = (1,) * (ndim - len(reps)) + reps, (1,) * (ndim - x.ndim) + x.shape
    pairs = list(zip(reps, shape, strict=True))
    y = reshape(x, shape=tuple(chain.from_iterable((1, n) for n in shape)))
    y = broadcast_to(y, shape=tuple(chain.from_iterable(pairs)))
    return reshape(y, shape=tuple(r * n for r, n in pairs))


@op
def repeat(xp, x, *, repeats, axis=None):
    """Each element `repeats` times along `axis` (None: of the flattened array).

    Args:
        repeats: an int, or one for each element along `axis`.

    Raises:
        ShapeError: `repeats` is negative.
    """
    if axis is None or (not x.ndim and axis in (0, -1)):  # a number counts as an axis of one
        return repeat(ravel(x), repeats=repeats, axis=0)
    axis = normalize_axis_index(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(repeats, Integral):
        if repeats < 0:
            raise ShapeError(f"repeat: repeats must not be negative, got {repeats}")
        y = expand_dims(x, axis=axis + 1)
        y = broadcast_to(y, shape=(*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :]))
        return reshape(y, shape=(*x.shape[:axis], n * repeats, *x.shape[axis + 1 :]))
    ids = np.repeat(np.arange(n), [operator.index(r) for r in repeats])
    return xp.take(x, on_device_of([x], ids), axis=axis)


@op
def flip(xp, x, *, axis=None):
    """`x` with the order reversed along `axis` (None: along all)."""
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    return x[(..., *(slice(None, None, -1 if a in axes else 1) for a in range(x.ndim)))]


@op
def roll(xp, x, *, shift, axis=None):
    """`x` with the elements moved on by `shift` along `axis`; what leaves at the end comes in at
    the front.

    Args:
        shift: an int, or one for each axis of a tuple.
        axis: None for the flattened array, which then gets its shape back.
    """
    if axis is None:
        return reshape(roll(ravel(x), shift=shift, axis=0), shape=x.shape)
    axes = normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)
    for step, a in np.broadcast(shift, axes):
        n = x.shape[a]
        places = [0, n - operator.index(step) % n, n] if n else [0, 0]
        x = concatenate(_cut(x, int(a), places)[::-1], int(a))
    return x


@op
def rot90(xp, x, *, k=1, axes=(0, 1)):
    """`x` turned by 90 degrees, `k` times, from the first of `axes` towards the second."""
    first, second = normalize_axis_tuple(axes, x.ndim)
    if k % 4 == 2:
        return flip(x, axis=(first, second))
    if k % 2:
        x = swapaxes(x, axis1=first, axis2=second)
        return flip(x, axis=first if k % 4 == 1 else second)
    return x


def meshgrid(*xs, indexing: str = "xy") -> tuple:
    """Vectors as grids: result `i` varies along axis `i` only, where it runs through vector `i`.

    Args:
        indexing: 'ij' for that; with 'xy' the first two axes are exchanged, as in a picture.

    Raises:
        ValueError: `indexing` is neither.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    order = list(range(len(xs)))
    if indexing == "xy":
        order[:2] = order[1::-1]
    lines = [ravel(x) for x in xs]
    lines = [
        reshape(x, shape=tuple(x.size if j == i else 1 for j in order)) for i, x in enumerate(lines)
    ]
    return broadcast_arrays(*lines)


def cartesian_prod(*xs):
    """All combinations of an element of each of `n` vectors, in rows: (product of lengths, n).

    The last vector changes fastest. Of a single vector it is that vector (PyTorch's).

    Raises:
        ShapeError: one is no vector.
    """
    xs = _some("cartesian_prod", xs)
    if any(x.ndim != 1 for x in xs):
        raise ShapeError(f"cartesian_prod: expected vectors, got shapes {[x.shape for x in xs]}")
    if len(xs) == 1:
        return xs[0]
    return stack([ravel(x) for x in meshgrid(*matched(*xs), indexing="ij")], axis=1)


def combinations(x, r: int = 2, with_replacement: bool = False):
    """All choices of `r` elements of the vector `x`, in rows: as `itertools.combinations`.

    Args:
        with_replacement: whether an element may be chosen again.

    Raises:
        ShapeError: `x` is no vector, or `r` is negative.
    """
    x = arrayed(x)
    if x.ndim != 1 or r < 0:
        raise ShapeError(f"combinations: expects a vector and r from 0 on, got {x.shape} and {r}")
    choose = combinations_with_replacement if with_replacement else plain_combinations
    ids = [*choose(range(x.shape[0]), r)]
    return x[on_device_of([x], np.array(ids, np.int64).reshape(len(ids), r))]


def windows(x, axis: int, size: int, step: int):
    """The windows of `size` elements, every `step`, along `axis`; elements in a new last axis.

    Raises:
        ShapeError: there is no window.
    """
    (x,) = as_arrays(x)
    if not x.ndim:
        return windows(reshape(x, shape=(1,)), axis, size, step)[0]
    axis = axis_of("unfold", axis, x.shape)
    n = x.shape[axis]
    if not 0 <= size <= n or step < 1:
        raise ShapeError(f"unfold: no window of {size}, every {step}, in axis {axis} of {x.shape}")
    ids = np.arange(0, n - size + 1, step)[:, None] + np.arange(size)
    y = x[(*(slice(None),) * axis, on_device_of([x], ids))]
    return moveaxis(y, source=axis + 1, destination=-1)


# --------------------------------------------------------------------------------- padding


@primitive
def _pad(xp, x, *, widths, values):
    """`x` with `widths[a]` = (before, after) elements added along axis `a`, with those `values`."""
    shape = tuple(before + n + after for n, (before, after) in zip(x.shape, widths, strict=True))
    y = xp.zeros(shape, x.dtype)
    for a, ((before, after), (first, last)) in enumerate(zip(widths, values, strict=True)):
        y[(slice(None),) * a + (slice(0, before),)] = first
        y[(slice(None),) * a + (slice(shape[a] - after, None),)] = last
    y[_inside(x.shape, widths)] = x
    return y


def _inside(shape, widths) -> tuple:
    """Where an array of `shape` is in a padded one."""
    return (
        ...,
        *(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True)),
    )


_pad.vjps(lambda g, _y, _x, *, widths, values: g[_inside(_x.shape, widths)])

# Which element of `n` is at place `i` of a padded axis, counted from the first element on.
FOLDS = {
    "edge": lambda i, n: np.clip(i, 0, n - 1),
    "wrap": lambda i, n: i % n,
    "symmetric": lambda i, n: np.minimum(i % (2 * n), (-1 - i) % (2 * n)),
    "reflect": lambda i, n: np.abs((i + n - 1) % max(2 * n - 2, 1) - (n - 1)),
}


@op
def pad(xp, x, *, pad_width, mode="constant", constant_values=0):
    """`x` with elements added at the ends of its axes; they may be more than there are.

    Args:
        pad_width: how many: an int, a pair (before, after), or one pair for each axis.
        mode: what is added: 'constant', 'edge' (the outermost element), 'reflect' and 'symmetric'
            (mirrored, the outermost element not doubled or doubled), 'wrap' (from the other end).
        constant_values: for 'constant': a number, a pair, or pairs, as for `pad_width`.

    Raises:
        TypeError: `pad_width` is not of integers.
        ShapeError: a width is negative, or an axis is empty whose elements are to be repeated.
        ValueError: `mode` is none of these.
    """
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad: pad_width must be of integers, got {pad_width}")
    widths = np.broadcast_to(widths, (x.ndim, 2)).tolist()
    if any(w < 0 for pair in widths for w in pair):
        raise ShapeError(f"pad: pad_width must not be negative, got {pad_width}; slice instead")
    if mode == "constant":
        values = np.broadcast_to(np.asarray(constant_values), (x.ndim, 2)).tolist()
        return _pad(x, widths=_tuples(widths), values=_tuples(values))
    if mode not in FOLDS:
        raise ValueError(f"mode must be 'constant' or one of {list(FOLDS)}, got {mode!r}")
    for a, (before, after) in enumerate(widths):
        n = x.shape[a]
        if before or after:
            if not n:
                raise ShapeError(f"pad: axis {a} is empty, so '{mode}' has nothing to add to it")
            ids = FOLDS[mode](np.arange(-before, n + after), n)
            x = xp.take(x, on_device_of([x], ids), axis=a)
    return x


def _tuples(pairs) -> tuple:
    return tuple(map(tuple, pairs))


# ------------------------------------------------------------------ triangles and diagonals


@primitive
def tril(xp, x, *, k=0):
    """The lower triangle of the last two axes, zeros above diagonal `k`."""
    _refuse_a_number("tril", x)
    return xp.tril(x, k)


@primitive
def triu(xp, x, *, k=0):
    """The upper triangle of the last two axes, zeros below diagonal `k`."""
    _refuse_a_number("triu", x)
    return xp.triu(x, k)


def _refuse_a_number(name: str, x):
    if not x.ndim:
        raise ShapeError(f"{name}: expects a matrix, a stack of them or a row, got shape ()")


tril.vjps(lambda g, _y, _x, *, k=0: tril(g, k=k))
triu.vjps(lambda g, _y, _x, *, k=0: triu(g, k=k))


@op
def diagonal(xp, x, *, offset=0, axis1=0, axis2=1):
    """The diagonals of the matrices over two axes, as a new last axis.

    Args:
        offset: which: above the main diagonal if positive, below it if negative.
    """
    x = moveaxis(x, normalize_axis_tuple((axis1, axis2), x.ndim), (-2, -1))
    n, m = x.shape[-2:]
    flat = reshape(x, shape=(*x.shape[:-2], n * m))
    start = offset if offset >= 0 else -offset * m
    length = max(0, min(n - max(-offset, 0), m - max(offset, 0)))
    return flat[..., start : start + length * (m + 1) : m + 1]  # m + 1: one down, one to the right


@primitive
def _diagonal_matrix(xp, x, *, k):
    """Zeros (n, n), n the length of `x` and |k|, with `x` on diagonal `k`."""
    n = x.shape[0] + abs(k)
    start = k if k >= 0 else -k * n
    y = xp.zeros((n * n,), x.dtype)
    y[start : start + x.shape[0] * (n + 1) : n + 1] = x
    return y.reshape(n, n)


_diagonal_matrix.vjps(lambda g, _y, _x, *, k: diagonal(g, offset=k))


@op
def diag(xp, x, *, k=0):
    """The square matrix with the vector `x` on diagonal `k`; or of a matrix that diagonal.

    Raises:
        ShapeError: `x` has neither one axis nor two.
    """
    if x.ndim not in (1, 2):
        raise ShapeError(f"diag: expects a vector or a matrix, got shape {x.shape}")
    return _diagonal_matrix(x, k=k) if x.ndim == 1 else diagonal(x, offset=k)


@op
def diag_embed(xp, x, *, offset=0, axis1=-2, axis2=-1):
    """The last axis of `x` as the diagonals of square matrices over two axes of the result.

    The reverse of `diagonal`, with zeros elsewhere (PyTorch's `diag_embed`).

    Args:
        offset: which diagonal: above the main one if positive, below it if negative.
        axis1, axis2: of the rows and columns in the result, which has one axis more than `x`.

    Raises:
        ShapeError: `x` has no axis.
    """
    if not x.ndim:
        raise ShapeError("diag_embed: expects at least one axis, got shape ()")
    axes = normalize_axis_tuple((axis1, axis2), x.ndim + 1)
    n = x.shape[-1] + abs(offset)
    x = pad(x, pad_width=((0, 0),) * (x.ndim - 1) + ((0, abs(offset)),))
    x = expand_dims(x, axis=-1 if offset >= 0 else -2)  # along rows, or along columns
    mask = on_device_of([x], np.eye(n, k=offset, dtype=bool))
    y = where(mask, x, False if x.dtype.kind == "b" else 0)
    return moveaxis(y, (-2, -1), axes)


@op
def diagflat(xp, x, *, k=0):
    """The square matrix with the elements of `x`, of any shape, on diagonal `k`."""
    return _diagonal_matrix(ravel(x), k=k)


def block_diag(*xs):
    """The matrices along the diagonal of a larger one, with zeros beside them.

    A vector counts as a row, a number as (1, 1).

    Raises:
        ShapeError: one has more than two axes.
    """
    xs = [atleast_2d(x) for x in matched(*_some("block_diag", xs))]
    if any(x.ndim != 2 for x in xs):
        raise ShapeError(f"block_diag: expected matrices, got shapes {[x.shape for x in xs]}")
    total, before, rows = sum(x.shape[1] for x in xs), 0, []
    for x in xs:
        after = total - before - x.shape[1]
        rows.append(pad(x, ((0, 0), (before, after))))
        before += x.shape[1]
    return concatenate(rows, 0)

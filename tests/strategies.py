"""What Hypothesis draws: the arguments of one call of an op.

Only shapes, axes, memory layouts and a seed are drawn; the numbers follow from the seed, which is
fast, and shrinks. Numbers are *spaced*: no two of a call are close and none is near 0, so that a
finite difference never crosses a tie or a kink.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from minigrad import random
from minigrad.backend import is_array
from minigrad.ops.indexing import _ARRAY, _Slice

LENGTHS = (1, 2, 3, 0, 4, 5, 7)  # simplest first: Hypothesis shrinks towards the front
MOST_ELEMENTS = 120


class Call(NamedTuple):
    """The arguments of one call."""

    inputs: tuple
    params: dict[str, Any]


# ------------------------------------------------------------------------- memory layouts


def fortran(x):
    return np.asarray(x, order="F")


def backwards(x):
    """Negative strides."""
    flip = (..., *[slice(None, None, -1)] * x.ndim)
    return x[flip].copy()[flip]


def gaps(x):
    """Strides larger than what they step over."""
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    view = wide[(..., *[slice(1, None, 2)] * x.ndim)]
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def stride_zero(x):
    """Its first row over and over, without any memory for the others."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim and x.size else x


SAME_VALUES = (np.array, fortran, backwards, gaps, read_only)


@st.composite
def laid_out(draw, x, repeats=False):
    """`x` in a drawn memory layout, with `repeats` perhaps as a view that repeats one row."""
    layout = draw(st.sampled_from([*SAME_VALUES, stride_zero] if repeats else SAME_VALUES))
    return layout(np.asarray(x))


# --------------------------------------------------------------------------------- shapes


@st.composite
def shapes(draw, least=0, most=4, lengths=LENGTHS):
    """Shapes of `least` to `most` axes and not too many elements."""
    shape = []
    for _ in range(draw(st.integers(least, most))):
        fits = [n for n in lengths if math.prod(shape) * n <= MOST_ELEMENTS]
        if fits:
            shape.append(draw(st.sampled_from(fits)))
    return tuple(shape)


SOME = tuple(n for n in LENGTHS if n)  # not empty
SEVERAL = tuple(n for n in SOME if n > 1)


@st.composite
def narrower(draw, shape):
    """A shape that broadcasts to `shape`: without leading axes, and with some lengths 1."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(draw(st.sampled_from([n, n, 1])) for n in kept)


@st.composite
def broadcastable(draw, count, **options):
    """`count` shapes that broadcast together, one of them to that of the result."""
    full = draw(shapes(**options))
    found = [full, *(draw(narrower(full)) for _ in range(count - 1))]
    return draw(st.permutations(found))


@st.composite
def axes(draw, ndim, kinds=("none", "int", "tuple")):
    """An axis argument: None, an int of either sign, or a tuple of them."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    kind = draw(st.sampled_from([k for k in kinds if ndim or k != "int"]))
    if kind == "none":
        return None
    if kind == "int":
        return draw(one)
    return tuple(draw(st.lists(one, max_size=ndim, unique_by=lambda a: a % ndim)))


# --------------------------------------------------------------------------------- values


def generator(draw):
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@st.composite
def floats(draw, *all_shapes, signed=True, low=0.3, high=2.0, repeats=False):
    """A float64 array of each shape; sizes of all numbers are apart and between low and high."""
    total = sum(map(math.prod, all_shapes))
    random_ = generator(draw)
    numbers = random_.permutation(np.linspace(low, high, total))
    if signed:
        numbers = numbers * random_.choice([-1.0, 1.0], total)
    found = []
    for shape in all_shapes:
        own, numbers = np.split(numbers, [math.prod(shape)])
        found.append(draw(laid_out(own.reshape(shape), repeats=repeats)))
    return found


@st.composite
def integers(draw, shape, low, high):
    """int64 or int32 in [low, high)."""
    dtype = draw(st.sampled_from([np.int64, np.int64, np.int32]))
    numbers = generator(draw).integers(low, max(high, low + 1), shape).astype(dtype)
    return draw(laid_out(numbers, repeats=True))


@st.composite
def booleans(draw, shape):
    return draw(laid_out(generator(draw).random(shape) < draw(st.sampled_from([0.5, 0.9, 0.1]))))


keys = st.integers(0, 2**32 - 1).map(random.key)
half_the_time = st.booleans()

# ------------------------------------------------------------ calls: elementwise, reductions


@st.composite
def one(draw, least=0, most=4, lengths=LENGTHS, repeats=True, params=None, **values):
    """One array, and static parameters, each from a strategy of its own."""
    (x,) = draw(floats(draw(shapes(least, most, lengths)), repeats=repeats, **values))
    return Call((x,), draw(st.fixed_dictionaries(params or {})))


@st.composite
def operands(draw, count, scalars=True, repeats=True, **values):
    """Arrays that broadcast together; sometimes one of several is a Python number."""
    found = draw(floats(*draw(broadcastable(count, most=3)), repeats=repeats, **values))
    if scalars and count > 1 and draw(st.integers(0, 4)) == 0:
        found[draw(st.integers(0, count - 1))] = draw(st.sampled_from([3, 0.25, 2.5]))
    return Call(tuple(found), {})


@st.composite
def scalar_exponent(draw):
    (x,) = draw(floats(draw(shapes(most=2))))
    return Call((x, draw(st.sampled_from([2, 0, 1, 3, -1, -2, 2.0]))), {})


@st.composite
def compared(draw, count=2):
    """Small integers as floats or as integers, so that many of them are equal."""
    found = [draw(integers(shape, -2, 3)) for shape in draw(broadcastable(count, most=3))]
    return Call(tuple(x.astype(draw(st.sampled_from(["f8", "i8"]))) for x in found), {})


@st.composite
def truths(draw, count):
    return Call(tuple(draw(booleans(s)) for s in draw(broadcastable(count, most=3))), {})


@st.composite
def bits(draw, count):
    """Integers, or booleans."""
    shapes_ = draw(broadcastable(count, most=3))
    kind = draw(st.sampled_from(["i8", "?"]))
    return Call(tuple(draw(integers(s, -9, 9)).astype(kind) for s in shapes_), {})


@st.composite
def odd_values(draw):
    """Numbers, infinities and NaN."""
    shape = draw(shapes())
    return Call((generator(draw).choice([0.0, 1.5, np.inf, -np.inf, np.nan], shape),), {})


@st.composite
def chosen(draw, order=(0, 1, 2)):
    """A condition and two operands, in the order that the function takes them."""
    condition, a, b = draw(broadcastable(3, most=3))
    found = [draw(booleans(condition)), *draw(floats(a, b, repeats=True))]
    if draw(half_the_time):
        found[2] = 0.75
    return Call(tuple(found[i] for i in order), {})


@st.composite
def clipped(draw):
    (x,) = draw(floats(draw(shapes()), low=0.31, high=1.99))
    limits = [(-1.0, 1.0), (None, 0.2), (0.1, None), (-1, None)]
    limits = [b for b in limits if all(np.all(np.abs(x - v) > 1e-3) for v in b if v is not None)]
    return Call((x, *draw(st.sampled_from(limits or [(None, None)]))), {})


@st.composite
def reduced(
    draw, lengths=LENGTHS, least=0, kinds=("none", "int", "tuple"), array=floats, **options
):
    """An array, `axis` and `keepdims`, all of which may be left to their defaults."""
    shape = draw(shapes(least, lengths=lengths))
    found = draw(array(shape, **options))
    params = {}
    if draw(st.integers(0, 4)):
        params = {"axis": draw(axes(len(shape), kinds)), "keepdims": draw(half_the_time)}
    return Call((found[0] if array is floats else found,), params)


@st.composite
def varied(draw, lengths=SOME, never_empty=False):
    """As `reduced`, with `correction`; with `never_empty` over two elements or more."""
    call = draw(reduced(lengths, least=never_empty, kinds=("none", "int")))
    (x,), axis = call.inputs, call.params.get("axis")
    count = x.size if axis is None else x.shape[axis]
    corrections = [0, 1] if count > 1 else [0]  # with 1, the variance of one element is NaN
    return Call(call.inputs, call.params | {"correction": draw(st.sampled_from(corrections))})


@st.composite
def lines(draw, count=1, lengths=LENGTHS, least=1):
    """`count` arrays of one shape and perhaps an `axis`."""
    shape = draw(shapes(least, 3, lengths))
    params = {} if draw(half_the_time) else {"axis": draw(axes(len(shape), ("int",)))}
    return Call(tuple(draw(floats(*[shape] * count, repeats=True))), params)


@st.composite
def dropped(draw):
    (x,) = draw(floats(draw(shapes())))
    return Call((x, draw(keys)), {"p": draw(st.sampled_from([0.5, 0.1, 0.0, 1.0]))})


# ------------------------------------------------------------------------- calls: shapes


@st.composite
def reshaped(draw):
    (x,) = draw(floats(draw(shapes())))
    divisors = [n for n in range(1, x.size + 1) if x.size % n == 0] or [3]
    first = draw(st.sampled_from(divisors))
    shape = draw(st.sampled_from([(first, x.size // first), (x.size,), (1, x.size, 1)]))
    if x.size and draw(half_the_time):
        shape = (-1, *shape[1:])
    return Call((x,), {"shape": shape})


@st.composite
def transposed(draw):
    (x,) = draw(floats(draw(shapes())))
    if draw(half_the_time):
        return Call((x,), {})
    order = draw(st.permutations(range(x.ndim)))
    return Call((x,), {"axes": tuple(a - x.ndim * draw(half_the_time) for a in order)})


@st.composite
def two_axes(draw, positional=False):
    (x,) = draw(floats(draw(shapes(1))))
    a, b = (draw(axes(x.ndim, ("int",))) for _ in range(2))
    return Call((x, a, b), {}) if positional else Call((x,), {"axis1": a, "axis2": b})


@st.composite
def widened(draw):
    (x,) = draw(floats(draw(shapes(most=3))))
    return Call((x,), {"axis": draw(st.sampled_from([0, -1, x.ndim, (0, -1), (0, 1), ()]))})


@st.composite
def squeezed(draw):
    (x,) = draw(floats(draw(shapes(lengths=(1, 1, 3, 0)))))
    ones = [a for a, n in enumerate(x.shape) if n == 1]
    choices = [None, *ones, tuple(ones), tuple(a - x.ndim for a in ones)]
    return Call((x,), {"axis": draw(st.sampled_from(choices))})


@st.composite
def spread_out(draw):
    full = draw(shapes(most=3))
    (x,) = draw(floats(draw(narrower(full))))
    return Call((x,), {"shape": full})


@st.composite
def joined(draw, new_axis=False):
    """One to three arrays that differ along one axis at most, and that axis."""
    shape = draw(shapes(0 if new_axis else 1, 3))
    axis = draw(axes(len(shape) + new_axis, ("int",)))
    count = draw(st.integers(1, 3))
    own = [list(shape) for _ in range(count)]
    if not new_axis:
        for lengths in own:
            lengths[axis] = draw(st.sampled_from([1, 2, 0, 3]))
        axis = draw(st.sampled_from([axis, axis, None]))
    return Call(tuple(draw(floats(*map(tuple, own), repeats=True))), {"axis": axis})


@st.composite
def cut(draw):
    (x,) = draw(floats(draw(shapes(1))))
    axis = draw(axes(x.ndim, ("int",)))
    n = x.shape[axis]
    even = [k for k in (1, 2, 3, 5, 7) if n % k == 0]
    at = st.lists(st.integers(0, n), max_size=3).map(sorted)
    return Call((x, draw(st.sampled_from(even) | at)), {"axis": axis})


# ----------------------------------------------------------------------- calls: products


@st.composite
def factors(draw):
    """Two arrays for a matrix product: vectors, matrices, stacks that broadcast."""
    n, inner, m = (draw(st.sampled_from([1, 2, 3, 0])) for _ in range(3))
    left, right = draw(broadcastable(2, most=2, lengths=(1, 2, 3, 0)))
    a = (inner,) if not draw(st.integers(0, 3)) else (*left, n, inner)
    b = (inner,) if not draw(st.integers(0, 3)) else (*right, inner, m)
    return Call(tuple(draw(floats(a, b, repeats=True))), {})


@st.composite
def affine(draw):
    row = draw(shapes(most=2))
    n, m = (draw(st.sampled_from([1, 2, 5, 0])) for _ in range(2))
    x, weight, bias = draw(floats((*row, n), (m, n), (m,)))
    return Call((x, weight) if draw(half_the_time) else (x, weight, bias), {})


@st.composite
def summed(draw, subscripts):
    """Operands for one of the `subscripts`, with a length for each letter."""
    chosen_ = draw(st.sampled_from(subscripts))
    letters = sorted(filter(str.isalpha, set(chosen_)))
    size = {c: draw(st.sampled_from([1, 2, 3, 2, 3, 0])) for c in letters}
    dots = draw(shapes(most=2, lengths=(2, 1, 3)))
    own = []
    for term in chosen_.split("->")[0].split(","):
        before, ellipsis, after = term.partition("...")
        hidden = draw(narrower(dots)) if ellipsis else ()
        own.append((*(size[c] for c in before), *hidden, *(size[c] for c in after)))
    return Call(tuple(draw(floats(*own))), {"subscripts": chosen_})


# ----------------------------------------------------------------------- calls: indexing


@st.composite
def indices(draw, shape, repeats=True):
    """A tuple that indexes an array of `shape` in one of NumPy's many ways."""
    if shape and draw(st.integers(0, 5)) == 0:
        return (draw(booleans(shape[: draw(st.integers(1, len(shape)))])),)
    parts, several = [], draw(broadcastable(2, least=1, most=2, lengths=(1, 2, 3)))
    for n in shape[: draw(st.integers(0, len(shape)))]:
        kinds = ["slice", "slice", "new"] + ["int", "array"] * (n > 0)
        kind = draw(st.sampled_from(kinds))
        if kind == "new":
            parts.append(None)
        if kind == "int":
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "array" and several:
            parts.append(draw(integers(several.pop(), -n, n)))
        else:
            bounds = [draw(st.none() | st.integers(-n - 1, n + 1)) for _ in range(2)]
            parts.append(slice(*bounds, draw(st.sampled_from([None, 2, -1, -2]))))
    if draw(half_the_time):
        parts.append(...)
    return tuple(parts)


@st.composite
def indexed(draw):
    (x,) = draw(floats(draw(shapes(most=3))))
    return Call((x, draw(indices(x.shape))), {})


@st.composite
def picked(draw, flat=True):
    """An array, ids of any shape, and an axis (None: of the flattened array)."""
    (x,) = draw(floats(draw(shapes(1, 3, SOME))))
    axis = draw(axes(x.ndim, ("none", "int") if flat else ("int",)))
    n = x.size if axis is None else x.shape[axis]
    ids = draw(integers(draw(shapes(0 if flat else 1, 2 if flat else 1)), -n, n))
    return Call((x, ids), {"axis": axis})


@st.composite
def looked_up(draw):
    rows, features = draw(st.sampled_from(SOME)), draw(st.sampled_from(LENGTHS))
    (weight,) = draw(floats((rows, features)))
    return Call((draw(integers(draw(shapes(most=3)), 0, rows)), weight), {})


@st.composite
def counted_up(draw):
    """Gradients of rows, and the ids that the rows came from."""
    ids = draw(integers(draw(shapes(most=2)), 0, 3))
    features = draw(st.sampled_from([(2,), (5,), (1,), (0,), (), (2, 3)]))
    (g,) = draw(floats((*ids.shape, *features)))
    return Call((g, ids), {"rows": draw(st.sampled_from([3, 4]))})


@st.composite
def written(draw, repeated):
    """An array, ids along an axis (perhaps `repeated`), and what is to be written there."""
    (shape,) = [draw(shapes(1, 3, SOME))]
    axis = draw(axes(len(shape), ("int",)))
    n = shape[axis]
    count = draw(st.integers(0, 5 if repeated else n))
    random_ = generator(draw)
    ids = random_.integers(-n, n, count) if repeated else random_.permutation(n)[:count]
    own = [*shape]
    own[axis] = count
    x, values = draw(floats(shape, tuple(own)))
    return Call((x, ids, values), {"axis": axis})


@st.composite
def gathered(draw, broadcasting=False):
    """An array and ids with as many axes, lengths up to its own (or `broadcasting` with it)."""
    (x,) = draw(floats(draw(shapes(1, 3, SOME))))
    axis = draw(axes(x.ndim, ("int",)))
    lengths = [draw(st.sampled_from([n, 1] if broadcasting else range(1, n + 1))) for n in x.shape]
    lengths[axis] = draw(st.integers(0, 4))
    ids = draw(integers(tuple(lengths), -x.shape[axis], x.shape[axis]))
    return Call((x, ids), {"axis": axis})


@st.composite
def scattered(draw, summing=False):
    """(x, ids, values), no id twice in a line; or `summing`, (g, ids), to be added to zeros."""
    shape = draw(shapes(1, 3, SOME))
    axis = draw(axes(len(shape), ("int",)))
    n = shape[axis]
    own = list(shape)
    own[axis] = draw(st.integers(0, 4 if summing else n))
    if summing:
        (g,) = draw(floats(tuple(own)))
        return Call((g, draw(integers(g.shape, -n, n))), {"axis": axis, "shape": shape})
    count = own[axis]
    own = [draw(st.integers(1, m)) for m in shape]
    own[axis] = n
    order = np.argsort(generator(draw).random(own), axis=axis)
    own[axis] = count
    x, values = draw(floats(shape, tuple(own)))
    return Call((x, order.take(range(count), axis=axis), values), {"axis": axis})


@st.composite
def classes(draw):
    count = draw(st.sampled_from(SOME))
    return Call((draw(integers(draw(shapes(most=3)), -count, count)),), {"num_classes": count})


# ----------------------------------------------------- calls: normalisation, losses, attention


@st.composite
def normalised(draw, gradient=False):
    """x, perhaps weight and bias; or the gradient, x and perhaps weight."""
    shape = draw(shapes(1, 3, SEVERAL))
    g, weight, bias = draw(floats(shape, shape[-1:], shape[-1:]))
    x = generator(draw).permuted(np.linspace(-2, 2, shape[-1]) * np.ones(shape), axis=-1)
    x = draw(laid_out(x + 0.1 * g))  # each line far from constant, where a norm is stiff
    params = {} if draw(half_the_time) else {"eps": 0.01}
    if gradient:
        return Call((g, x, draw(st.sampled_from([None, weight]))), params)
    parts = [(x,), (x, weight), (x, weight, bias), (x, None, bias)]
    return Call(draw(st.sampled_from(parts)), params)


@st.composite
def targets(draw, shape, C, ignore_index):
    found = np.array(draw(integers(shape, 0, C)))
    found[generator(draw).random(shape) < 0.25] = ignore_index
    return found


@st.composite
def classified(draw, gradient=False):
    """Logits (N, C) and targets, some of which do not count; perhaps the gradient of the rows."""
    N, C = draw(st.sampled_from(LENGTHS)), draw(st.sampled_from(SOME))
    g, x = draw(floats((N,), (N, C)))
    params = {
        "ignore_index": draw(st.sampled_from([-100, 0])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }
    target = draw(targets((N,), C, params["ignore_index"]))
    return Call((g, x, target) if gradient else (x, target), params)


@st.composite
def classified_anywhere(draw):
    """Logits with the classes along any axis."""
    (x,) = draw(floats(draw(shapes(1, 3, (2, 1, 3, 5)))))
    axis = draw(axes(x.ndim, ("int",)))
    shape = tuple(n for a, n in enumerate(x.shape) if a != axis % x.ndim)
    params = {
        "axis": axis,
        "ignore_index": draw(st.sampled_from([-100, 0])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    return Call((x, draw(targets(shape, x.shape[axis], params["ignore_index"]))), params)


@st.composite
def masks(draw, full):
    """None, booleans, or floats to add, of a shape that broadcasts to `full`."""
    kind = draw(st.sampled_from(["none", "booleans", "floats"]))
    if kind == "none":
        return None
    shape = tuple(draw(st.sampled_from([n, n, 1])) for n in full)
    return draw(booleans(shape)) if kind == "booleans" else draw(floats(shape))[0]


@st.composite
def attended(draw, gradient=False):
    """q, k, v, a mask, perhaps a key for dropout; with `gradient` that of the output first."""
    B, T, S = (
        draw(st.sampled_from(choices)) for choices in ((1, 2, 0), (1, 3, 5, 0), (1, 2, 7, 0))
    )
    H, D, Dv = (draw(st.sampled_from([1, 2, 3])) for _ in range(3))
    g, q, k, v = draw(floats((B, T, H * Dv), (B, T, H * D), (B, S, H * D), (B, S, H * Dv)))
    params = {"heads": H, "causal": draw(half_the_time)}
    if draw(half_the_time):
        params["scale"] = 0.7
    inputs = ((g,) if gradient else ()) + (q, k, v, draw(masks((B, H, T, S))))
    if draw(st.integers(0, 3)) == 0:
        return Call((*inputs, draw(keys)), params | {"dropout": 0.3})
    return Call(inputs, params)


@st.composite
def attended_anywhere(draw):
    """PyTorch's interface: any leading axes, one head."""
    batch = draw(shapes(most=2, lengths=(2, 1, 0)))
    T, S, D, Dv = (draw(st.sampled_from([1, 2, 3])) for _ in range(4))
    q, k, v = draw(floats((*batch, T, D), (*batch, S, D), (*batch, S, Dv)))
    mask = draw(masks((*batch, T, S)))
    return Call((q, k, v, mask), {"is_causal": draw(half_the_time)})


@st.composite
def spread_at(draw):
    """What `_spread` takes: the gradient of `x[index]`, and the index with the shape of `x`."""
    shape = draw(shapes(most=3))
    index = draw(indices(shape))
    (g,) = draw(floats(np.empty(shape)[index].shape))
    return Call((g,), {"index": index, "shape": shape})


def template_of(index):
    """The index taken apart as the ops behind `getitem` have it: a template and its arrays."""
    arrays = [part for part in index if is_array(part)]
    template = tuple(
        _ARRAY
        if is_array(part)
        else _Slice(part.start, part.stop, part.step)
        if isinstance(part, slice)
        else part
        for part in index
    )
    return template, arrays

"""Functions that move elements, and what is made in the shape of others."""

import naive
import strategies as draws
from hypothesis import strategies as st
from naive import shaping as loops
from strategies import Call, axes, broadcastable, floats, half_the_time, shapes

import minigrad as mg
from cases.case import Case


def of_several(function):
    """`function`, which takes a sequence of arrays, with each array an input of its own."""

    def joined(*xs, **params):
        return function(xs, **params)

    joined.__name__ = function.__name__
    return joined


def permute(x, *, axes=None):
    return mg.permute(x, axes)


concatenate = of_several(mg.concatenate)


@st.composite
def flattened(draw):
    (x,) = draw(floats(draw(shapes())))
    if not x.ndim or draw(half_the_time):
        return Call((x,), {})
    start = draw(st.integers(0, x.ndim - 1))
    end = draw(st.integers(start, x.ndim - 1))
    below = -x.ndim * draw(half_the_time)
    return Call((x,), {"start_axis": start + below, "end_axis": end + below})


@st.composite
def several_axes(draw):
    (x,) = draw(floats(draw(shapes(1))))
    count = draw(st.integers(0, x.ndim))
    found = []
    for _ in range(2):
        chosen = draw(st.permutations(range(x.ndim)))[:count]
        found.append(tuple(a - x.ndim * draw(half_the_time) for a in chosen))
    return Call((x, *found), {})


@st.composite
def together(draw):
    return Call(tuple(draw(floats(*draw(broadcastable(3, most=3)), repeats=True))), {})


@st.composite
def beside(draw, axis, least, most):
    """Arrays of one shape but for `axis`."""
    shape = list(draw(shapes(least, most)))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        if len(shape) > axis:
            shape[axis] = draw(st.sampled_from([1, 2, 0, 3]))
        found.append(tuple(shape))
    return Call(tuple(draw(floats(*found))), {})


@st.composite
def parted(draw, by_indices=False):
    (x,) = draw(floats(draw(shapes(1))))
    parts = st.integers(1, 5)
    if by_indices:
        parts |= st.lists(st.integers(0, x.shape[0]), max_size=3).map(sorted)
        return Call((x, draw(parts)), {})
    return Call((x, draw(parts)), {"axis": draw(axes(x.ndim, ("int",)))})


@st.composite
def unstacked(draw):
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    return Call((x,), {"axis": draw(axes(x.ndim, ("int",)))})


COUNTS = (1, 2, 0, 3)


@st.composite
def tiled(draw):
    (x,) = draw(floats(draw(shapes(most=3)), repeats=True))
    count = st.sampled_from(COUNTS)
    return Call((x,), {"reps": draw(count | st.lists(count, max_size=4).map(tuple))})


@st.composite
def repeated(draw):
    (x,) = draw(floats(draw(shapes(most=3))))
    axis = draw(axes(x.ndim, ("none", "int")))
    n = x.size if axis is None else x.shape[axis]
    count = st.sampled_from(COUNTS)
    several = st.lists(count, min_size=n, max_size=n).map(tuple)
    repeats = draw(count | several | st.tuples(count))
    return Call((x,), {"repeats": repeats, "axis": axis})


@st.composite
def reversed_(draw):
    (x,) = draw(floats(draw(shapes()), repeats=True))
    return Call((x,), {"axis": draw(axes(x.ndim))} if draw(half_the_time) else {})


@st.composite
def rolled(draw):
    (x,) = draw(floats(draw(shapes(most=3))))
    steps = st.integers(-6, 6)
    axis = draw(axes(x.ndim))
    if isinstance(axis, tuple) and axis and draw(half_the_time):
        shift = tuple(draw(steps) for _ in axis)
    elif axis is None and draw(half_the_time):
        return Call((x,), {"shift": draw(st.tuples(steps, steps))})
    else:
        shift = draw(steps)
    return Call((x,), {"shift": shift, "axis": axis})


@st.composite
def turned(draw):
    (x,) = draw(floats(draw(shapes(2))))
    first, second = draw(st.permutations(range(x.ndim)))[:2]
    params = {"axes": (first, second - x.ndim)} if x.ndim > 2 or draw(half_the_time) else {}
    return Call((x,), params | {"k": draw(st.integers(-4, 5))})


@st.composite
def gridded(draw):
    vectors = [(n,) if n < 4 else () for n in draw(st.lists(st.integers(0, 4), max_size=3))]
    indexing = {"indexing": draw(st.sampled_from(["xy", "ij"]))} if draw(half_the_time) else {}
    return Call(tuple(draw(floats(*vectors))) if vectors else (), indexing)


@st.composite
def one_for_each_end(draw, ndim, one):
    """What NumPy takes for the ends of `ndim` axes."""
    pair = st.tuples(one, one)
    forms = [one, pair, st.tuples(pair), st.tuples(one)]
    forms += [st.tuples(*[pair] * ndim), st.tuples(*[st.tuples(one)] * ndim)] if ndim else []
    return draw(draw(st.sampled_from(forms)))


@st.composite
def padded(draw):
    mode = draw(st.sampled_from([None, "constant", "edge", "reflect", "symmetric", "wrap"]))
    constant = mode in (None, "constant")
    lengths = (1, 2, 3, 0) if constant else (1, 2, 3)
    (x,) = draw(floats(draw(shapes(most=3, lengths=lengths)), repeats=True))
    widest = 2 if x.ndim > 2 else 7
    params = {"pad_width": draw(one_for_each_end(x.ndim, st.integers(0, widest)))}
    if mode:
        params["mode"] = mode
    if constant and draw(half_the_time):
        numbers = st.sampled_from([0, 1, -2, 0.25])
        params["constant_values"] = draw(one_for_each_end(x.ndim, numbers))
    return Call((x,), params)


OFFSETS = st.sampled_from([0, 1, -1, 2, -2, 4, -6])


@st.composite
def embedded_diagonals(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, (2, 1, 3, 0)))))
    params = {"offset": draw(st.integers(-2, 2))} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        pair = draw(st.permutations(range(x.ndim + 1)))[:2]
        params |= dict(zip(("axis1", "axis2"), pair, strict=True))
    return draws.Call((x,), params)


@st.composite
def diagonals(draw):
    (x,) = draw(floats(draw(shapes(2)), repeats=True))
    params = {}
    if draw(half_the_time):
        axis1, axis2 = draw(st.permutations(range(x.ndim)))[:2]
        params = {"axis1": axis1 - x.ndim * draw(half_the_time), "axis2": axis2}
    return Call((x,), params | {"offset": draw(OFFSETS)})


def full_like(x, *, fill_value):
    return naive.table(x.shape, lambda at: fill_value)


CASES = [
    # shapes
    Case(mg.reshape, naive.reshape, draws.reshaped()),
    Case(mg.ravel, naive.ravel, draws.one()),
    Case(mg.flatten, loops.flatten, flattened()),
    Case(mg.transpose, naive.transpose, draws.transposed()),
    Case(mg.permute, naive.transpose, draws.transposed()),
    Case(permute, naive.transpose, draws.transposed()),
    Case(mg.swapaxes, naive.swapaxes, draws.two_axes()),
    Case(mg.moveaxis, naive.moveaxis, draws.two_axes(positional=True)),
    Case(mg.moveaxis, loops.moveaxis, several_axes()),
    Case(mg.expand_dims, naive.expand_dims, draws.widened()),
    Case(mg.squeeze, naive.squeeze, draws.squeezed()),
    Case(mg.broadcast_to, naive.broadcast_to, draws.spread_out()),
    Case(mg.broadcast_arrays, loops.broadcast_arrays, together()),
    Case(mg.atleast_1d, loops.atleast_1d, draws.one()),
    Case(mg.atleast_2d, loops.atleast_2d, draws.one()),
    Case(mg.atleast_3d, loops.atleast_3d, draws.one()),
    # joining and taking apart
    Case(concatenate, naive.concatenate, draws.joined()),
    Case(of_several(mg.stack), naive.stack, draws.joined(new_axis=True)),
    Case(of_several(mg.vstack), loops.vstack, beside(0, 2, 3)),
    Case(of_several(mg.vstack), loops.vstack, beside(9, 0, 1)),
    Case(of_several(mg.hstack), loops.hstack, beside(1, 2, 3)),
    Case(of_several(mg.hstack), loops.hstack, beside(0, 0, 1)),
    Case(of_several(mg.dstack), loops.dstack, beside(2, 0, 3)),
    Case(of_several(mg.column_stack), loops.column_stack, beside(1, 1, 3)),
    Case(mg.split, naive.split, draws.cut()),
    Case(mg.array_split, loops.array_split, parted()),
    Case(mg.array_split, loops.array_split, parted(by_indices=True)),
    Case(mg.chunk, loops.chunk, parted()),
    Case(mg.unstack, loops.unstack, unstacked()),
    # repeating and turning
    Case(mg.tile, loops.tile, tiled()),
    Case(mg.repeat, loops.repeat, repeated()),
    Case(mg.flip, loops.flip, reversed_()),
    Case(mg.roll, loops.roll, rolled()),
    Case(mg.rot90, loops.rot90, turned()),
    Case(mg.meshgrid, loops.meshgrid, gridded()),
    Case(mg.pad, loops.pad, padded()),
    # triangles and diagonals
    Case(mg.tril, naive.tril, draws.one(2, params={"k": st.integers(-3, 3)})),
    Case(mg.triu, naive.triu, draws.one(2, params={"k": st.integers(-3, 3)})),
    Case(mg.diagonal, loops.diagonal, diagonals()),
    Case(mg.diag, loops.diag, draws.one(1, 2, params={"k": OFFSETS})),
    Case(mg.diag_embed, loops.diag_embed, embedded_diagonals()),
    Case(mg.diagflat, loops.diagflat, draws.one(0, 2, (1, 2, 3, 0), params={"k": OFFSETS})),
    # creation
    Case(mg.full_like, full_like, draws.one(params={"fill_value": st.sampled_from([0, 2.5])})),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {
    "concatenate": "_concatenate", "transpose": "permute_dims",
    "pad": "_pad", "diag": "_diagonal_matrix",
}  # fmt: skip

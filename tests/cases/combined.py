"""What PyTorch puts under one name: a product and a sum, a part written anew, distances."""

import math

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import combined as loops
from strategies import Call, axes, broadcastable, floats, generator, half_the_time, integers, shapes

import minigrad as mg
from cases.case import Case
from cases.elementwise import off_the_grid
from cases.linalg import matrix, squares
from minigrad import linalg
from minigrad.ops import elementwise, indexing, shaping

SHORT = (2, 1, 3, 0)


@st.composite
def three(draw):
    call = draw(draws.operands(3, scalars=False))
    return Call(call.inputs, draw(st.sampled_from([{}, {"value": 0.5}, {"value": -2}])))


@st.composite
def plus_a_product(draw, left, right, result):
    """(x, a, b); the letters are lengths, `x` may have fewer axes or lengths of 1."""
    size = {c: draw(st.sampled_from(SHORT)) for c in "bnmk"}
    a, b, y = (tuple(size[c] for c in letters) for letters in (left, right, result))
    x = draw(draws.narrower(y))
    params = draw(st.sampled_from([{}, {"beta": 0.5, "alpha": 2}, {"alpha": -0.5}]))
    return Call(tuple(draw(floats(x, a, b))), params)


@st.composite
def few_bits(draw):
    return Call(tuple(draw(integers(s, -12, 12)) for s in draw(broadcastable(2, most=3))), {})


@st.composite
def towards(draw):
    a, b = draw(draws.operands(2, scalars=False, repeats=False)).inputs
    return Call((a, b), {})


@st.composite
def taken_apart(draw):
    (x,) = draw(floats(draw(shapes(1, 3))))
    axis = draw(axes(x.ndim, ("int",)))
    n = x.shape[axis]
    parts = [(n,), (1, n), (n, 1)] + [(2, n // 2), (2, -1)] * (n > 0 and n % 2 == 0)
    return Call((x,), {"axis": axis, "shape": draw(st.sampled_from(parts))})


@st.composite
def blocks(draw):
    own = draw(st.lists(shapes(most=2, lengths=(2, 1, 0)), min_size=1, max_size=3))
    return Call(tuple(draw(floats(*own))), {})


@st.composite
def vectors(draw):
    own = draw(st.lists(st.sampled_from([(2,), (1,), (3,), (0,)]), min_size=1, max_size=3))
    return Call(tuple(draw(floats(*own))), {})


@st.composite
def chosen(draw):
    (x,) = draw(floats((draw(st.integers(0, 4)),)))
    return Call((x,), {"r": draw(st.integers(0, 3)), "with_replacement": draw(half_the_time)})


@st.composite
def windowed(draw):
    (x,) = draw(floats(draw(shapes(1, 3, (3, 1, 4)))))
    axis = draw(axes(x.ndim, ("int",)))
    size = draw(st.integers(0, x.shape[axis]))
    return Call((x,), {"axis": axis, "size": size, "step": draw(st.integers(1, 3))})


@st.composite
def in_groups(draw):
    groups, each = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    (x,) = draw(floats((2, groups * each, *draw(shapes(1, 2)))))
    return Call((x,), {"groups": groups})


@st.composite
def put_flat(draw):
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    accumulate = draw(half_the_time)
    if accumulate:
        ids = draw(integers(draw(shapes(most=2)), -x.size, x.size))
    else:
        count = draw(st.integers(0, x.size))
        ids = generator(draw).permutation(x.size)[:count] - x.size * draw(half_the_time)
    return Call((x, ids, *draw(floats(ids.shape))), {"accumulate": accumulate})


@st.composite
def one_selected(draw):
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    axis = draw(axes(x.ndim, ("int",)))
    (values,) = draw(floats(np.delete(x.shape, axis)))
    index = draw(st.integers(-x.shape[axis], x.shape[axis] - 1))
    return Call((x, values), {"axis": axis, "index": index})


@st.composite
def sliced(draw):
    (x,) = draw(floats(draw(shapes(1, 3, draws.SOME))))
    axis, end = draw(axes(x.ndim, ("int",))), st.sampled_from([None, 0, 1, 2, -1, 9])
    part = {"start": draw(end), "end": draw(end), "step": draw(st.sampled_from([None, 1, 2]))}
    shape = list(x.shape)
    shape[axis] = len(range(*slice(*part.values()).indices(x.shape[axis])))
    return Call((x, *draw(floats(tuple(shape)))), {"axis": axis, **part})


@st.composite
def on_a_diagonal(draw):
    (x,) = draw(floats(draw(shapes(2, 3))))
    axis1, axis2 = draw(st.permutations(range(x.ndim)))[:2]
    place = {"offset": draw(st.integers(-2, 2)), "axis1": axis1 - x.ndim, "axis2": axis2}
    return Call((x, *draw(floats(x.diagonal(*place.values()).shape))), place)


@st.composite
def masked(draw):
    full, other = draw(broadcastable(2, most=3))
    mask = draw(draws.booleans(other))
    count = int(np.broadcast_to(mask, np.broadcast_shapes(full, other)).sum())
    x, source = draw(floats(full, (count + draw(st.integers(0, 2)),)))
    return Call((x, mask, source), {})


@st.composite
def counted(draw):
    return Call((draw(draws.booleans((draw(st.integers(0, 6)),))),), {"most": 3})


@st.composite
def doubled(draw):
    shape = draw(shapes(1, 2, draws.SOME))
    x = draw(integers(shape, 0, 2)).astype(float)
    params = {n: draw(half_the_time) for n in ("return_inverse", "return_counts")}
    axis = draw(axes(x.ndim, ("none", "int")))
    return Call((x,), params if axis is None else params | {"axis": axis})


@st.composite
def often(draw):
    shape = draw(shapes(1, 3, draws.SOME))
    x = draw(integers(shape, 0, 3)).astype(float)
    return Call((x,), {"axis": draw(axes(x.ndim, ("int",))), "keepdims": draw(half_the_time)})


def searchsorted_lines(a, v, side):
    return mg.searchsorted(a, v, side=side)


@st.composite
def sorted_lines(draw):
    lead = draw(shapes(1, 2, (2, 1, 0)))
    a = np.sort(draw(integers((*lead, draw(st.integers(0, 5))), 0, 9)), axis=-1)
    v = draw(integers((*lead, draw(st.integers(0, 3))), 0, 9))
    return Call(
        (a.astype(float), v.astype(float)), {"side": draw(st.sampled_from(["left", "right"]))}
    )


@st.composite
def sampled(draw):
    shape = draw(shapes(1, 3, draws.SOME))
    axis = draw(axes(len(shape), ("int",)))
    where = draw(st.sampled_from([None, (shape[axis],), shape]))
    if where is None:
        return Call((*draw(floats(shape)), None), {"axis": axis, "dx": 0.5})
    return Call(tuple(draw(floats(shape, where))), {"axis": axis})


@st.composite
def scaled(draw):
    (x,) = draw(floats(draw(shapes(2, 3, draws.SOME))))
    norm = {"p": draw(st.sampled_from([1, 2.0, 3.0])), "axis": draw(axes(x.ndim, ("int",)))}
    return Call((x,), norm | {"maxnorm": draw(st.sampled_from([0.05, 99.0]))})


NORMS = (2.0, 1.0, 3.0, math.inf)


@st.composite
def apart(draw, *own):
    """Points on different grids, far from where one distance takes another's place."""
    points = []
    for k, shape in enumerate(own):
        random_ = generator(draw)
        points.append(random_.permutation(np.arange(1.0, math.prod(shape) + 1)) * (0.37 + 0.11 * k))
        points[-1] = points[-1].reshape(shape)
    return points


@st.composite
def two_points(draw):
    left, right = draw(broadcastable(2, most=2))
    points = draw(apart(left or (1,), right or (1,)))
    return Call(tuple(points), {"p": draw(st.sampled_from([2.0, 1.0, 3.0]))})


@st.composite
def two_sets(draw):
    left, right = draw(broadcastable(2, most=1, lengths=(2, 1)))
    n, m, k = (draw(st.sampled_from((2, 1, 3))) for _ in "nmk")
    points = draw(apart((*left, n, k), (*right, m, k)))
    return Call(tuple(points), {"p": draw(st.sampled_from((2.0, 1.0, 3.0)))})


@st.composite
def one_set(draw):
    points = draw(apart((draw(st.integers(0, 4)), draw(st.integers(1, 3)))))
    return Call(tuple(points), {"p": draw(st.sampled_from((2.0, 1.0, 3.0)))})


def city_block(a, b):
    return mg.sum(mg.absolute(a - b), axis=-1)


def triplet_margin_with_distance_loss(anchor, positive, negative, **options):
    return mg.nn.functional.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=city_block, **options
    )


@st.composite
def triplets(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    options = {"margin": 0.731, "swap": draw(half_the_time)}
    return Call(tuple(draw(apart(shape, shape, shape))), options)


@st.composite
def factored(draw, with_b=False):
    n = draw(st.sampled_from((2, 1, 3)))
    batch = draw(shapes(most=1, lengths=(2, 1, 0)))
    l = draw(matrix(n, n, batch))
    upper = {"upper": draw(half_the_time)}
    return Call((*draw(floats((*batch, n, 2))), l) if with_b else (l,), upper)


@st.composite
def reflected(draw):
    n = draw(st.integers(1, 2))
    m, batch = n + draw(st.integers(0, 2)), draw(shapes(most=1, lengths=(2, 1)))
    return Call(tuple(draw(floats((*batch, m, n), (*batch, draw(st.integers(0, n)))))), {})


def unfold(x, axis, size, step):
    return shaping.windows(x, axis, size, step)


CASES = [
    # elementwise
    Case(mg.addcmul, loops.addcmul, three()),
    Case(mg.addcdiv, loops.addcdiv, three()),
    Case(mg.frac, loops.frac, off_the_grid()),
    Case(mg.ldexp, loops.ldexp, draws.operands(2)),
    Case(mg.frexp, loops.frexp, draws.one(low=0.3, high=0.45)),
    Case(elementwise._exponent, loops.exponent, draws.one(low=0.3, high=0.45)),
    Case(mg.nextafter, loops.nextafter, towards()),
    Case(mg.gcd, loops.gcd, few_bits()),
    Case(mg.lcm, loops.lcm, few_bits()),
    # a product and a sum
    Case(mg.addmm, loops.addmm, plus_a_product("nk", "km", "nm")),
    Case(mg.addmv, loops.addmv, plus_a_product("nk", "k", "n")),
    Case(mg.addr, loops.addr, plus_a_product("n", "m", "nm")),
    Case(mg.baddbmm, loops.baddbmm, plus_a_product("bnk", "bkm", "bnm")),
    Case(mg.addbmm, loops.addbmm, plus_a_product("bnk", "bkm", "nm")),
    # shapes
    Case(mg.unflatten, loops.unflatten, taken_apart()),
    Case(mg.block_diag, loops.block_diag, blocks()),
    Case(mg.cartesian_prod, loops.cartesian_prod, vectors()),
    Case(mg.combinations, loops.combinations, chosen()),
    Case(unfold, loops.windows, windowed()),
    Case(mg.channel_shuffle, loops.channel_shuffle, in_groups()),
    # parts written anew
    Case(mg.put, loops.put, put_flat()),
    Case(mg.select_scatter, loops.select_scatter, one_selected()),
    Case(mg.slice_scatter, loops.slice_scatter, sliced()),
    Case(mg.diagonal_scatter, loops.diagonal_scatter, on_a_diagonal()),
    Case(mg.masked_scatter, loops.masked_scatter, masked()),
    Case(indexing._ranks, loops.ranks, counted()),
    Case(mg.unique_consecutive, loops.unique_consecutive, doubled(), order=0),
    # reductions, distances
    Case(mg.mode, loops.mode, often(), order=0),
    Case(searchsorted_lines, loops.searchsorted_lines, sorted_lines(), order=0),
    Case(mg.aminmax, loops.aminmax, draws.reduced(draws.SOME)),
    Case(mg.cumulative_trapezoid, loops.cumulative_trapezoid, sampled()),
    Case(mg.renorm, loops.renorm, scaled()),
    Case(mg.dist, loops.dist, two_points()),
    Case(mg.cdist, loops.cdist, two_sets()),
    Case(mg.pdist, loops.pdist, one_set()),
    Case(triplet_margin_with_distance_loss, loops.triplet_margin_with_distance_loss, triplets()),
    # linear algebra
    Case(linalg.matrix_exp, loops.matrix_exp, squares()),
    Case(linalg.cholesky_inverse, loops.cholesky_inverse, factored()),
    Case(linalg.cholesky_solve, loops.cholesky_solve, factored(with_b=True)),
    Case(linalg.householder_product, loops.householder_product, reflected()),
    Case(linalg.logdet, loops.logdet, squares()),
    Case(linalg.vander, loops.vander, draws.one(1, 3, params={"N": st.sampled_from([None, 0, 3])})),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"matrix_exp": "_matrix_exp"}

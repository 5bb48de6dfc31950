"""Products."""

import re
import string

import naive
import strategies as draws
from hypothesis import strategies as st
from naive import products as loops
from strategies import Call, broadcastable, floats, half_the_time, shapes

import minigrad as mg
from cases.case import Case

SHORT = (2, 1, 3, 0)


def einsum(*xs, subscripts):
    return mg.einsum(subscripts, *xs)


def einsum_of_lists(*xs, subscripts):
    """The other form, with a list of numbers behind each operand."""

    def numbers(term):
        return [Ellipsis if part == "..." else LETTERS.index(part) for part in PARTS(term)]

    left, arrow, output = subscripts.replace(" ", "").partition("->")
    given = []
    for x, term in zip(xs, left.split(","), strict=True):
        given += [x, numbers(term)]
    return mg.einsum(*given, numbers(output)) if arrow else mg.einsum(*given)


LETTERS = string.ascii_uppercase + string.ascii_lowercase  # in their order, as in NumPy
PARTS = re.compile(r"\.\.\.|\w").findall

EINSUMS = [
    # two operands: products of matrices, of elements, and both
    *("ij,jk->ik", "i,j->ij", "i,j->ji", "bij,bjk->bik", "bij,bkj->kib", "ij,ij->", "ij,ij->i"),
    *("ij,ji->i", "ij,ij->ij", "ijk,kjl->il", "ijk,jkl->", "ij,j->j", "ij,kl->", ",i->i", ",->"),
    # one operand
    *("ij->ji", "ijk->j", "ii", "ii->i", "iii->i", "iij->j", "iji->ij", "i->i", "->", "iijj->ij"),
    # three and more
    *("ij,jk,kl->il", "ij,jk,kl,lm->im", "i,i,i->i", "a,b,c->cab", "i,ij,j->", "ij,ik,il->jkl"),
    # implicit output, capitals
    *("ij,jk", "ij,j", "ba", "ij,ij", "aB,Bc", "iA,Ai"),
    # ellipses
    *("i...", "...i->i...", "b...,b...->...", "...ij,...jk->...ik", "...,...", "i...j,j...->...i"),
    *("...i,oij,...j->...o", "ij->...ij", "i...i->...", "a...b->...ba", "...ii->...i"),
]  # fmt: skip


@st.composite
def summed_with_ones(draw):
    """Operands of einsum in which some lengths are 1 and broadcast."""
    call = draw(draws.summed([s for s in EINSUMS if s not in REPEATED]))
    inputs = tuple(x[tuple(slice(0, 1) if draw(st.integers(0, 3)) == 0 else slice(None)
                           for _ in x.shape)] for x in call.inputs)  # fmt: skip
    return Call(inputs, call.params)


REPEATED = {s for s in EINSUMS for t in s.split("->")[0].replace(".", "").split(",")
            if len(set(t.strip())) < len(t.replace(" ", ""))}  # fmt: skip


@st.composite
def dotted(draw):
    """Operands of `dot`: numbers, arrays without axes, vectors, matrices, more."""
    n = draw(st.sampled_from(SHORT))
    a = (*draw(shapes(most=2, lengths=SHORT)), n)
    b = draw(st.sampled_from([(n,), (n, 2), (3, n, 2), (n, 1), (2, 1, n, 0)]))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        a = ()
    elif kind == 1:
        b = ()
    a, b = draw(floats(a, b))
    return Call((1.7 if kind == 2 else a, b), {})


@st.composite
def pairs(draw, most=3):
    """Two arrays of any shapes."""
    return Call(tuple(draw(floats(*(draw(shapes(most=most, lengths=SHORT)) for _ in "ab")))), {})


@st.composite
def of_one_size(draw):
    shape = draw(shapes(most=3))
    return Call(tuple(draw(floats(shape, shape[::-1]))), {})


@st.composite
def last_axis(draw):
    """Operands of `inner`."""
    n = draw(st.sampled_from(SHORT))
    own = [(*draw(shapes(most=2, lengths=SHORT)), n) for _ in "ab"]
    if draw(st.integers(0, 5)) == 0:
        own[draw(st.integers(0, 1))] = ()
    return Call(tuple(draw(floats(*own))), {})


@st.composite
def along_an_axis(draw):
    """Operands of `vecdot`."""
    n = draw(st.sampled_from(SHORT))
    left, right = draw(broadcastable(2, most=2, lengths=SHORT))
    if left == right:
        axis = draw(st.integers(-len(left) - 1, len(left)))
        at = axis % (len(left) + 1)
        left = right = (*left[:at], n, *left[at:])
        return Call(tuple(draw(floats(left, right))), {"axis": axis})
    return Call(tuple(draw(floats((*left, n), (*right, n)))), {})


@st.composite
def matrix_and_vector(draw, vector_first=False):
    n, m = draw(st.sampled_from(SHORT)), draw(st.sampled_from(SHORT))
    left, right = draw(broadcastable(2, most=2, lengths=SHORT))
    own = ((*left, n), (*right, n, m)) if vector_first else ((*left, m, n), (*right, n))
    return Call(tuple(draw(floats(*own))), {})


@st.composite
def crossed(draw):
    """Vectors of three (or two) elements, along axes of all kinds."""
    batches = draw(broadcastable(2, most=2, lengths=SHORT))
    lengths = draw(st.sampled_from([(3, 3), (3, 3), (3, 3), (2, 3), (3, 2), (2, 2)]))
    if batches[0] == batches[1] and draw(half_the_time):
        axis = draw(st.integers(-len(batches[0]) - 1, len(batches[0])))
        places, params = (axis, axis), {"axis": axis}
    else:
        places = [draw(st.integers(-len(batch) - 1, len(batch))) for batch in batches]
        last = sorted(map(len, batches))[-1]
        params = {"axisc": draw(st.integers(-last - 1, last))}
        params |= dict(zip(("axisa", "axisb"), places, strict=True))
    own = []
    for batch, place, n in zip(batches, places, lengths, strict=True):
        place %= len(batch) + 1
        own.append((*batch[:place], n, *batch[place:]))
    return Call(tuple(draw(floats(*own))), params)


@st.composite
def contracted(draw):
    """Operands of `tensordot` and the axes in all the ways that one can write them."""
    lengths = draw(st.lists(st.sampled_from(SHORT), max_size=2))
    left, right = (draw(shapes(most=2, lengths=SHORT)) for _ in "ab")
    if draw(half_the_time):
        a, b = (*left, *lengths), (*lengths, *right)
        return Call(tuple(draw(floats(a, b))), {"axes": len(lengths)})
    order_a = draw(st.permutations(range(len(left) + len(lengths))))[: len(lengths)]
    order_b = draw(st.permutations(range(len(right) + len(lengths))))[: len(lengths)]
    a, b = [], []
    for own, rest, order in ((a, left, order_a), (b, right, order_b)):
        rest = list(rest)
        for i in range(len(rest) + len(lengths)):
            own.append(lengths[order.index(i)] if i in order else rest.pop(0))
    axes = (tuple(order_a), tuple(i - len(b) for i in order_b))
    if len(lengths) == 1 and draw(half_the_time):
        axes = (order_a[0], order_b[0])
    return Call(tuple(draw(floats(tuple(a), tuple(b)))), {"axes": axes})


@st.composite
def two_features(draw):
    row = draw(shapes(most=2, lengths=SHORT))
    n, m, k = (draw(st.sampled_from(SHORT)) for _ in range(3))
    inputs = draw(floats((*row, n), (*row, m), (k, n, m), (k,)))
    return Call(tuple(inputs[: draw(st.sampled_from([3, 4]))]), {})


CASES = [
    # products
    Case(mg.matmul, naive.matmul, draws.factors()),
    Case(mg.linear, naive.linear, draws.affine()),
    Case(mg.bilinear, loops.bilinear, two_features()),
    Case(mg.dot, loops.dot, dotted()),
    Case(mg.vdot, loops.vdot, of_one_size()),
    Case(mg.inner, loops.inner, last_axis()),
    Case(mg.outer, loops.outer, pairs()),
    Case(mg.vecdot, loops.vecdot, along_an_axis()),
    Case(mg.matvec, loops.matvec, matrix_and_vector()),
    Case(mg.vecmat, loops.vecmat, matrix_and_vector(vector_first=True)),
    Case(mg.cross, loops.cross, crossed()),
    Case(mg.tensordot, loops.tensordot, contracted()),
    Case(mg.kron, loops.kron, pairs(most=2)),
    Case(einsum, naive.einsum, draws.summed(EINSUMS)),
    Case(einsum, naive.einsum, summed_with_ones()),
    Case(einsum_of_lists, naive.einsum, draws.summed(EINSUMS)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

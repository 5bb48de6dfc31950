"""Convolution."""

import math

from hypothesis import strategies as st
from naive import convs as loops
from strategies import Call, floats, half_the_time

import minigrad as mg
from cases.case import Case
from minigrad.ops import windows


@st.composite
def per_axis(draw, n, values, short=True):
    """An argument for `n` axes and what it means: an int, one in a tuple, or a tuple of `n`."""
    one = st.sampled_from(values)
    kind = draw(st.sampled_from(["int", "all", "one"] if short else ["int", "all"]))
    if kind == "all":
        found = tuple(draw(one) for _ in range(n))
        return found, found
    v = draw(one)
    return v if kind == "int" else (v,), (v,) * n


def some_of(draw, params, defaults):
    """`params` without some of those that have their default value."""
    return {k: v for k, v in params.items() if v != defaults[k] or draw(half_the_time)}


@st.composite
def kernels(draw, n, padding=(0, 1, 2)):
    """The static arguments of a kernel, what they mean for each axis, and its lengths."""
    size = tuple(draw(st.sampled_from((2, 1, 3) if n < 3 else (2, 1))) for _ in range(n))
    given, meant = {}, {}
    for what, values in {"stride": (1, 2, 3), "dilation": (1, 2), "padding": padding}.items():
        given[what], meant[what] = draw(per_axis(n, values))
    meant["reach"] = [(k - 1) * d + 1 for k, d in zip(size, meant["dilation"], strict=True)]
    return size, given, meant


def batch(draw, n):
    """The leading axes of x but its channels: a batch of examples, one, none at all, or no axis."""
    return draw(st.sampled_from([(1,), (2,), (0,), ()] if n < 3 else [(1,), (0,), ()]))


def enough(draw, meant):
    """Lengths at least as long as the kernel, with padding."""
    spare = st.sampled_from((0, 1, 2))
    pairs = zip(meant["reach"], meant["padding"], strict=True)
    return tuple(max(1, r - 2 * p) + draw(spare) for r, p in pairs)


DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}


@st.composite
def convolved(draw, n):
    """x, weight, perhaps a bias, and the static arguments of a convolution."""
    size, given, meant = draw(kernels(n))
    groups = draw(st.sampled_from((1, 2, 3) if n < 3 else (1, 2)))
    each, out = draw(st.sampled_from((1, 2))), groups * draw(st.sampled_from((1, 2)))
    kind = draw(st.sampled_from(("ints", "ints", "same", "valid")))
    if kind != "ints":
        given["padding"], meant["padding"] = kind, (0,) * n
    if kind == "same":
        given["stride"] = 1
        meant["padding"] = tuple(r // 2 for r in meant["reach"])
    lengths = enough(draw, meant)
    x, weight, bias = draw(
        floats((*batch(draw, n), groups * each, *lengths), (out, each, *size), (out,))
    )
    params = some_of(draw, given | {"groups": groups}, DEFAULTS)
    return Call((x, weight, draw(st.sampled_from((bias, None)))), params)


@st.composite
def convolved_back(draw, n):
    """The same for a transposed convolution."""
    size, given, meant = draw(kernels(n, padding=(0, 1)))
    groups = draw(st.sampled_from((1, 2)))
    each, out = draw(st.sampled_from((1, 2))), draw(st.sampled_from((1, 2)))
    most = [max(s, d) for s, d in zip(meant["stride"], meant["dilation"], strict=True)]
    extra = tuple(draw(st.integers(0, m - 1)) for m in most)
    lengths = tuple(draw(st.sampled_from((2, 1, 3) if n < 3 else (2, 1))) for _ in range(n))
    for a in range(n):  # of which something is left without the padding
        full = (lengths[a] - 1) * meant["stride"][a] + meant["reach"][a] + extra[a]
        if full <= 2 * meant["padding"][a]:
            given["padding"] = 0
    x, weight, bias = draw(
        floats(
            (*batch(draw, n), groups * each, *lengths), (groups * each, out, *size), (groups * out,)
        )
    )
    params = some_of(draw, given | {"groups": groups, "output_padding": extra}, DEFAULTS)
    return Call((x, weight, draw(st.sampled_from((bias, None)))), params)


@st.composite
def unfolded(draw):
    size, given, meant = draw(kernels(2))
    (x,) = draw(floats((*batch(draw, 2), draw(st.sampled_from((1, 2))), *enough(draw, meant))))
    return Call((x,), some_of(draw, given, DEFAULTS) | {"kernel_size": size})


@st.composite
def folded(draw):
    size, given, meant = draw(kernels(2))
    lengths = enough(draw, meant)
    places = loops.places(lengths, size, meant["dilation"], meant["padding"], meant["stride"])
    rows = math.prod(size) * draw(st.sampled_from((1, 2)))
    (x,) = draw(floats((*batch(draw, 2), rows, len(places))))
    params = some_of(draw, given, DEFAULTS) | {"kernel_size": size, "output_size": lengths}
    return Call((x,), params)


@st.composite
def in_windows(draw, summed=False):
    """An array for `_windows`, or one for its adjoint."""
    shape = [draw(st.sampled_from((1, 2, 0))) for _ in range(2)]
    shape += [draw(st.sampled_from((2, 3, 1))) for _ in range(draw(st.integers(1, 3)))]
    axis = draw(st.integers(2 - len(shape), -1))
    size, count = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    params = {"axis": axis, "stride": draw(st.integers(1, 3)), "dilation": draw(st.integers(1, 2))}
    last = (count - 1) * params["stride"] + (size - 1) * params["dilation"]
    length = last + 1 + draw(st.integers(0, 2))
    shape[axis] = count if summed else length
    if summed:
        (g,) = draw(floats((*shape[:2], size, *shape[2:])))
        return Call((g,), params | {"length": length})
    (x,) = draw(floats(tuple(shape)))
    return Call((x,), params | {"size": size, "count": count})


CASES = [
    Case(mg.conv1d, loops.conv, convolved(1)),
    Case(mg.conv2d, loops.conv, convolved(2)),
    Case(mg.conv3d, loops.conv, convolved(3)),
    Case(mg.conv_transpose1d, loops.conv_transpose, convolved_back(1)),
    Case(mg.conv_transpose2d, loops.conv_transpose, convolved_back(2)),
    Case(mg.conv_transpose3d, loops.conv_transpose, convolved_back(3)),
    Case(mg.unfold, loops.unfold, unfolded()),
    Case(mg.fold, loops.fold, folded()),
    Case(windows._windows, loops.windows, in_windows()),
    Case(windows._sum_windows, loops.sum_windows, in_windows(summed=True)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

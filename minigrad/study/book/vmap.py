"""vmap as an array module

The formulas of the last chapter are for one head of one sentence. A training step has many of both.
One could write each formula and rule again with more axes, or loop in Python. But formulas take
their array module as `xp`. So hand them arrays that look like one example and hold them all.
"""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad.study.book import namespace
from minigrad.study.pictures import heat

rng = np.random.default_rng(0)
attention, attention_grad = map(namespace("attention").__getitem__, ("attention", "attention_grad"))
q, k, v, g = rng.normal(size=(4, 16, 4, 10, 8))  # 16 sentences, 4 heads, 10 words, 8 channels
mask = np.tri(10, dtype=bool)
try:
    attention(np, q[0], k[0], v[0], mask)
except ValueError as error:
    print("four heads at once:", error)

"""
**Hidden axes.** NumPy's `transpose` reverses all axes, and the formula meant two. So we need arrays
that hide their first axis from whoever looks: `shape` leaves it out, and functions work behind it.
"""


class Batched:
    """The arrays of all examples, the axis of examples first; it looks like the array of one."""

    __array_ufunc__ = None  # so that NumPy leaves `array * batched` to us

    def __init__(self, value, level):
        self.value, self.level = value, level

    shape = property(lambda x: x.value.shape[1:])
    ndim = property(lambda x: len(x.shape))

    def __getitem__(self, index):
        return Batched(self.value[(slice(None), *index)], self.level)

    def __bool__(self):
        raise TypeError("it differs from example to example; choose with xp.where(condition, a, b)")


"""
**The module.** Most functions broadcast: they align axes from the right. The hidden axis is at the
left; where another argument has more visible axes, axes of length one (`None`) go in between. An
argument that is not batched is shared by all examples, and broadcasts anyway.

What a batched array holds may be batched again: heads of sentences. So each has a **level**. A
function takes off the highest, and calls itself on what is inside, down to NumPy.
"""


def broadcasting(name):
    def function(*xs):
        level = max((x.level for x in xs if type(x) is Batched), default=None)
        if level is None:
            return getattr(np, name)(*xs)
        ndim = max(getattr(x, "ndim", 0) for x in xs)
        grown = (x[(None,) * (ndim - x.ndim)] if type(x) is Batched else x for x in xs)
        inside = (x.value if getattr(x, "level", None) == level else x for x in grown)
        return Batched(function(*inside), level)

    return function


"""
**Axes.** Functions with axes count the visible ones. Counted from the right, they stay where they
are. That is all: a dozen names are enough for the last chapter's formulas, and for their rules.
"""


def reduction(name):
    def function(x, axis=None, keepdims=False):
        if type(x) is not Batched:
            return getattr(np, name)(x, axis=axis, keepdims=keepdims)
        axes = range(x.ndim) if axis is None else np.ravel(axis) % x.ndim
        return Batched(function(x.value, tuple(int(a) - x.ndim for a in axes), keepdims), x.level)

    return function


def transpose(x):  # of a matrix
    return Batched(transpose(x.value), x.level) if type(x) is Batched else np.swapaxes(x, -1, -2)


xp = SimpleNamespace(max=reduction("max"), sum=reduction("sum"), transpose=transpose)
for name in ("add", "subtract", "multiply", "divide", "exp", "maximum", "where", "matmul"):
    setattr(xp, name, broadcasting(name))
for short, f in ("add", xp.add), ("sub", xp.subtract), ("mul", xp.multiply), ("truediv", xp.divide):
    setattr(Batched, f"__{short}__", f)
    setattr(Batched, f"__r{short}__", lambda x, y, f=f: f(y, x))

"""
**vmap** hides the first axis of the arguments, calls the function once, and takes the axis out
again. `None` stands for an argument that all examples share. A vmap in another has its own level.
"""
levels = itertools.count()


def vmap(f, in_axes):
    def function(*xs):
        level, pairs = next(levels), list(zip(xs, in_axes, strict=True))
        y = f(*(Batched(x, level) if axis == 0 else x for x, axis in pairs))
        length = next(x.shape[0] for x, axis in pairs if axis == 0)
        zeros = Batched(np.zeros(length, bool), level)  # copies what is the same for all examples
        return tuple((a + zeros).value for a in y) if type(y) is tuple else (y + zeros).value

    return function


axes = (0, 0, 0, None)
one, rule = (partial(f, xp) for f in (attention, attention_grad))
y = vmap(vmap(one, axes), axes)(q, k, v, mask)
grads = vmap(vmap(rule, (0, *axes)), (0, *axes))(g, q, k, v, mask)
theirs, pull = mg.vjp(partial(mg.scaled_dot_product_attention, attn_mask=mask), q, k, v)
off = zip((y, *grads), (theirs, *pull(g)), strict=True)
print(f"{y.shape}, off by {max(np.abs(a - b).max() for a, b in off):.0e}, gradients too")

"""
**One by one.** What all examples share gets a gradient from each of them. Before they are summed
up, one can look: row by row, how each of 8 examples would move 12 weights.
"""


def gradient(xp, w, x, t):
    """Of the squared error of one example x (D,), by weights w (D,)."""
    return (xp.sum(w * x) - t) * 2 * x


w, x, t = (rng.normal(size=shape) for shape in (12, (8, 12), 8))
each = vmap(partial(gradient, xp), (None, 0, 0))(w, x, t)
heat(each, title="an example a row, a weight a column")
whole = mg.grad(lambda w: mg.sum((mg.matmul(x, w) - t) ** 2))(w)
print(f"their sum differs from the batch's gradient by {np.abs(each.sum(0) - whole).max():.0e}")

"""
**What the real one does.** [[minigrad.batched]] has a hundred functions more, and its
[[minigrad.batched.Batched]] can be written to. [[minigrad.transforms.vmap]] takes and gives
Tensors: hiding is an op, [[minigrad.ops.batching._hide]], whose rule is to show, so gradients pass
through. Rules are formulas and run on batched arrays too; so `vmap(grad(f))` needs nothing new.
What all examples share gets a sum: see [[minigrad.graph.match_levels]].
"""

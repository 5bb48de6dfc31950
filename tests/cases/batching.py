"""The ops behind `vmap` and the transforms, on plain arrays: there and back."""

import naive
import strategies as draws

from cases.case import Case
from minigrad import batched
from minigrad.autodiff import Tensor
from minigrad.ops import batching

LEVEL = 1_000_000_000


def hidden(x):
    y = batching._hide(x, axis=-1, level=LEVEL)
    return batching._show(y, axis=0, level=LEVEL, length=x.shape[-1])


def shown(x):
    return batching._show(x, axis=0, level=LEVEL, length=2)


def summed(x):
    y = batching._hide(x, axis=0, level=LEVEL)
    return batching._relevel(y, levels=batched.levels_of(x.data if type(x) is Tensor else x))


def constant(x):
    return batching._constant(x, x)


def turned(x):
    return naive.moveaxis(x, -1, 0)


CASES = [
    Case(batching._fresh, naive.same, draws.one()),
    Case(constant, naive.same, draws.one()),
    Case(hidden, turned, draws.one(1)),
    Case(shown, lambda x: naive.stack(x, x), draws.one()),
    Case(summed, lambda x: naive.sum(x, axis=0), draws.one(1)),
]

# What the table names under another name.
ALIASES = {"hidden": "_hide", "shown": "_show", "summed": "_relevel", "constant": "_constant"}

"""Functions that move elements."""

import naive
import strategies as draws
from hypothesis import strategies as st

import minigrad as mg
from cases.case import Case


def concatenate(*xs, axis=0):
    return mg.concatenate(xs, axis)


def stack(*xs, axis=0):
    return mg.stack(xs, axis)


CASES = [
    # shapes
    Case(mg.reshape, naive.reshape, draws.reshaped()),
    Case(mg.ravel, naive.ravel, draws.one()),
    Case(mg.transpose, naive.transpose, draws.transposed()),
    Case(mg.swapaxes, naive.swapaxes, draws.two_axes()),
    Case(mg.moveaxis, naive.moveaxis, draws.two_axes(positional=True)),
    Case(mg.expand_dims, naive.expand_dims, draws.widened()),
    Case(mg.squeeze, naive.squeeze, draws.squeezed()),
    Case(mg.broadcast_to, naive.broadcast_to, draws.spread_out()),
    Case(concatenate, naive.concatenate, draws.joined()),
    Case(stack, naive.stack, draws.joined(new_axis=True)),
    Case(mg.split, naive.split, draws.cut()),
    Case(mg.tril, naive.tril, draws.one(2, params={"k": st.integers(-3, 3)})),
    Case(mg.triu, naive.triu, draws.one(2, params={"k": st.integers(-3, 3)})),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"concatenate": "_concatenate"}

"""Activations."""

import naive
import strategies as draws
from hypothesis import strategies as st

import minigrad as mg
from cases.case import Case

CASES = [
    # activations
    Case(mg.relu, naive.relu, draws.one()),
    Case(mg.gelu, naive.gelu, draws.one()),
    Case(mg.gelu, naive.gelu, draws.one(params={"approximate": st.just("tanh")})),
    Case(mg.dropout, naive.dropout, draws.dropped()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

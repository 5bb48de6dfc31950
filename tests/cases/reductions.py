"""Reductions."""

import naive
import strategies as draws

import minigrad as mg
from cases.case import Case

CASES = [
    # reductions
    Case(mg.sum, naive.sum, draws.reduced(repeats=True)),
    Case(mg.mean, naive.mean, draws.reduced(draws.SOME, repeats=True)),
    Case(mg.var, naive.var, draws.varied()),
    Case(mg.std, naive.std, draws.varied(draws.SEVERAL, never_empty=True)),
    Case(mg.max, naive.max, draws.reduced(draws.SOME)),
    Case(mg.min, naive.min, draws.reduced(draws.SOME)),
    Case(mg.argmax, naive.argmax, draws.reduced(draws.SOME, kinds=("none", "int"))),
    Case(mg.argmin, naive.argmin, draws.reduced(draws.SOME, kinds=("none", "int"))),
    Case(mg.any, naive.any, draws.reduced(array=draws.booleans)),
    Case(mg.all, naive.all, draws.reduced(array=draws.booleans)),
    Case(mg.logsumexp, naive.logsumexp, draws.reduced(draws.SOME)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

"""The gamma function, the normal distribution, Bessel functions."""

import strategies as draws
from hypothesis import strategies as st
from naive import special as slow

import minigrad as mg
from cases.case import Case


def polygamma(x, n):
    return mg.polygamma(n, x)


CASES = [
    Case(mg.lgamma, slow.lgamma, draws.one(signed=False)),
    Case(mg.digamma, slow.digamma, draws.one(signed=False)),
    Case(polygamma, slow.polygamma, draws.one(signed=False, params={"n": st.integers(0, 3)})),
    Case(mg.multigammaln, slow.multigammaln,
         draws.one(signed=False, low=1.2, high=3, params={"d": st.integers(1, 3)})),
    Case(mg.erfinv, slow.erfinv, draws.one(high=0.9)),
    Case(mg.erfcx, slow.erfcx, draws.one()),
    Case(mg.erfcx, slow.erfcx, draws.one(signed=False, low=10.1, high=20)),
    Case(mg.ndtr, slow.ndtr, draws.one()),
    Case(mg.ndtri, slow.ndtri, draws.one(signed=False, low=0.1, high=0.9)),
    Case(mg.log_ndtr, slow.log_ndtr, draws.one()),
    Case(mg.entr, slow.entr, draws.one(signed=False)),
    Case(mg.entr, slow.entr, draws.one(low=0.5).map(
        lambda call: draws.Call((-abs(call.inputs[0]),), {})), order=0),
    Case(mg.xlog1py, slow.xlog1py, draws.operands(2, signed=False)),
    Case(mg.i0, slow.i0, draws.one(high=3)),
    Case(mg.i0e, slow.i0e, draws.one(high=3)),
    Case(mg.i1, slow.i1, draws.one(high=3)),
    Case(mg.i1e, slow.i1e, draws.one(high=3)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {"polygamma": "_polygamma"}

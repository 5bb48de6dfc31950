"""More functions of one element."""

import naive
import numpy as np
import strategies as draws
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case
from cases.elementwise import divided


@st.composite
def stepped(draw):
    """Integers around the step, with the values to take where they are 0."""
    a, b = draw(draws.broadcastable(2, most=3))
    return Call((draw(draws.integers(a, -1, 2)), *draw(draws.floats(b))), {})


def float_power(a, b):
    """Cast back: of all floats it makes float64, on purpose."""
    y = mg.float_power(a, b)
    return mg.astype(y, dtype=next((x.dtype for x in (a, b) if hasattr(x, "dtype")), "float32"))


def heaviside(x1, x2):
    return naive.each(lambda x, at: 1 if x > 0 else 0 if x < 0 else at)(x1, x2)


CASES = [
    Case(mg.fabs, naive.absolute, draws.one()),
    Case(mg.divmod, lambda a, b: (np.floor(a / b), a - b * np.floor(a / b)), divided()),
    Case(float_power, naive.power, draws.operands(2, signed=False)),
    Case(mg.heaviside, heaviside, draws.operands(2)),
    Case(mg.heaviside, heaviside, stepped()),
    Case(mg.logaddexp2, lambda a, b: np.log2(2.0**a + 2.0**b), draws.operands(2)),
    Case(mg.signbit, np.signbit, draws.odd_values()),
    Case(mg.isposinf, naive.each(lambda x: x == float("inf")), draws.odd_values()),
    Case(mg.isneginf, naive.each(lambda x: x == -float("inf")), draws.odd_values()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {}

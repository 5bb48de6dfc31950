"""Activations."""

import naive
import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import activations as slow
from strategies import Call

import minigrad as mg
from cases.case import Case
from minigrad.ops.activations import _relu_grad


@st.composite
def bent(draw, params=None, positional=(), far=80):
    """Numbers up to 8 away from the multiples of 0.1, where kinks are; and perhaps parameters.

    All `params` are either left to their defaults or given.
    """
    numbers = draws.generator(draw).integers(-far, far, draw(draws.shapes()))
    x = draw(draws.laid_out(0.1 * numbers + 0.04))
    return Call((x, *positional), params if params and draw(draws.half_the_time) else {})


@st.composite
def sloped(draw):
    """`x` and the weight of a prelu: one number, or one for each channel."""
    shape = draw(draws.shapes(least=draw(st.sampled_from([0, 2, 2]))))
    channels = [shape[1:2]] if len(shape) > 1 else []
    return Call(tuple(draw(draws.floats(shape, draw(st.sampled_from([*channels, (1,), ()]))))), {})


@st.composite
def gated(draw):
    """An array of even length along `axis`, which may be left to its default."""
    shape = list(draw(draws.shapes(least=1, most=3)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = draw(st.sampled_from([2, 4, 6, 0]))
    (x,) = draw(draws.floats(tuple(shape)))
    last = axis % len(shape) == len(shape) - 1
    return Call((x,), {} if last and draw(draws.half_the_time) else {"axis": axis})


@st.composite
def with_its_result(draw):
    """A gradient, and what a relu gave; at 0 it has a kink, see kernels/test_cpu.py."""
    g, y = draw(draws.floats(*[draw(draws.shapes())] * 2))
    return Call((g, np.abs(y) + 0.1), {})


CASES = [
    # made of straight lines
    Case(mg.relu, naive.relu, draws.one()),
    Case(_relu_grad, slow.relu_grad, with_its_result()),
    Case(mg.leaky_relu, slow.leaky_relu, bent({"negative_slope": 0.3})),
    Case(mg.prelu, slow.prelu, sloped()),
    Case(mg.hardtanh, slow.hardtanh, bent({"min_val": -2, "max_val": 0.5})),
    Case(mg.relu6, slow.relu6, bent()),
    Case(mg.hardsigmoid, slow.hardsigmoid, bent()),
    Case(mg.hardswish, slow.hardswish, bent()),
    Case(mg.softshrink, slow.softshrink, bent({"lambd": 1.5})),
    Case(mg.hardshrink, slow.hardshrink, bent({"lambd": 1.5})),
    Case(mg.threshold, slow.threshold, bent(positional=(0.5, -3))),
    # smooth
    Case(mg.gelu, naive.gelu, draws.one()),
    Case(mg.gelu, naive.gelu, draws.one(params={"approximate": st.just("tanh")})),
    Case(mg.silu, slow.silu, bent()),
    Case(mg.softplus, slow.softplus, bent({"beta": 2, "threshold": 5})),
    Case(mg.logsigmoid, slow.logsigmoid, bent()),
    Case(mg.mish, slow.mish, bent()),
    Case(mg.elu, slow.elu, bent({"alpha": 0.5})),
    Case(mg.celu, slow.celu, bent({"alpha": 0.5})),
    Case(mg.selu, slow.selu, bent()),
    Case(mg.softsign, slow.softsign, bent()),
    Case(mg.tanhshrink, slow.tanhshrink, bent()),
    Case(mg.glu, slow.glu, gated()),
    Case(mg.dropout, naive.dropout, draws.dropped()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

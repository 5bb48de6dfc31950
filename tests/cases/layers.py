"""Softmax, normalisation, attention, dropout."""

import math

import naive
import numpy as np
import strategies as draws
from hypothesis import strategies as st
from naive import norms
from strategies import Call

import minigrad as mg
from cases.case import Case
from minigrad.ops.norms import _batch_norm_grad, _batch_norm_train, _standardise

SDPA = mg.scaled_dot_product_attention


@st.composite
def spread_out(draw, least=1, most=3):
    """An array none of whose parts is near constant: there a norm is stiff."""
    (x,) = draw(draws.floats(draw(draws.shapes(least, most, draws.SEVERAL))))
    return x + draw(st.sampled_from([0.0, 0.5]))


@st.composite
def standardised(draw):
    x = draw(spread_out())
    axis = draw(draws.axes(x.ndim))
    if axis == ():
        axis = -1
    return Call((x,), {"axis": axis} | draw(options(eps=[0.1, 1e-5])))


@st.composite
def options(draw, **choices):
    """Some of the keyword parameters, each one of its choices."""
    return {k: draw(st.sampled_from(v)) for k, v in choices.items() if draw(draws.half_the_time)}


@st.composite
def parameters(draw, C, count=2):
    """Weight, bias, ... (C,), any of which may be None."""
    found = draw(draws.floats(*[(C,)] * count))
    return tuple(v if draw(st.integers(0, 2)) else None for v in found)


@st.composite
def of_features(draw):
    x = draw(spread_out())
    return Call((x, *draw(parameters(x.shape[-1], 1))), draw(options(eps=[0.1, None])))


@st.composite
def of_channels(draw):
    """x (N, C, ...), perhaps statistics, weight and bias."""
    x = draw(spread_out(2, 4))
    C = x.shape[1]
    statistics = draw(draws.floats((C,), (C,), signed=False))
    if draw(draws.half_the_time):
        statistics = [None, None]
    return Call((x, *statistics, *draw(parameters(C))), draw(options(eps=[0.1])))


@st.composite
def of_own_channels(draw, with_gradient=False):
    """x (N, C, ...), weight and bias; or a gradient, x and weight."""
    x = draw(spread_out(2, 4))
    w, b = draw(parameters(x.shape[1]))
    if not with_gradient:
        return Call((x, w, b), draw(options(eps=[0.1])))
    (g,) = draw(draws.floats(x.shape))
    return Call((g, x, w), draw(options(eps=[0.1])))


@st.composite
def running(draw):
    x = draw(spread_out(2, 4))
    statistics = draw(draws.floats((x.shape[1],), (x.shape[1],), signed=False))
    return Call((x, *statistics), draw(options(momentum=[0.1, 0.7, 1.0])))


@st.composite
def grouped(draw):
    groups, size = draw(st.sampled_from([(1, 2), (2, 1), (2, 3), (3, 1)]))
    lead, *rest = draw(draws.shapes(1, 3, (2, 3)))
    (x,) = draw(draws.floats((lead, groups * size, *rest, 2)))
    w, b = draw(parameters(groups * size))
    return Call((x, groups, w, b), draw(options(eps=[0.1])))


@st.composite
def directed(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(2, 3, draws.LENGTHS))))
    axis = {"axis": draw(st.integers(-x.ndim, x.ndim - 1))}
    return Call((x,), draw(options(p=[1, 2.0, 3, 1.5], eps=[1e-12, 20.0])) | axis)


@st.composite
def dropped(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1))))
    shared = draw(draws.axes(x.ndim, ("tuple",)))
    return Call((x, draw(draws.keys)), {"p": draw(st.sampled_from([0.5, 1.0])), "shared": shared})


@st.composite
def attended(draw):
    """PyTorch's interface: leading axes that broadcast, masks of all kinds, dropout."""
    batches = draw(draws.broadcastable(3, most=2, lengths=(2, 1)))
    T, S, D, Dv = (draw(st.sampled_from([1, 2, 3])) for _ in range(4))
    matrices = [(T, D), (S, D), (S, Dv)]
    q, k, v = draw(draws.floats(*((*b, *m) for b, m in zip(batches, matrices, strict=True))))
    mask = draw(draws.masks(draw(draws.narrower((*np.broadcast_shapes(*batches), T, S)))))
    params = {"is_causal": draw(draws.half_the_time)} | draw(options(scale=[0.7]))
    if draw(st.integers(0, 3)) == 0:
        params |= {"dropout_p": 0.4, "key": draw(draws.keys)}
    return Call((q, k, v, mask), params)


@st.composite
def attended_by_groups(draw):
    """Several heads of the queries for each head of the keys and of the values."""
    B, T, S = (draw(st.sampled_from([1, 2, 3])) for _ in range(3))
    few = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 3)]))
    H = math.lcm(*few) * draw(st.sampled_from([1, 2]))
    q, k, v = draw(draws.floats((B, H, T, 2), (B, few[0], S, 2), (B, few[1], S, 3)))
    mask = draw(draws.masks(draw(draws.narrower((B, H, T, S)))))
    return Call((q, k, v, mask), {"enable_gqa": True, "is_causal": draw(draws.half_the_time)})


CASES = [
    # softmax
    Case(mg.softmax, naive.softmax, draws.lines()),
    Case(mg.softmax_grad, naive.softmax_grad, draws.lines(2)),
    Case(mg.log_softmax, naive.log_softmax, draws.lines()),
    Case(mg.log_softmax_grad, naive.log_softmax_grad, draws.lines(2)),
    Case(mg.softmin, norms.softmin, draws.lines()),
    # normalisation
    Case(mg.layer_norm, naive.layer_norm, draws.normalised()),
    Case(mg.layer_norm_grad, naive.layer_norm_grad, draws.normalised(True)),
    Case(mg.rms_norm, norms.rms_norm, of_features()),
    Case(mg.batch_norm, norms.batch_norm, of_channels()),
    Case(_batch_norm_train, norms.batch_norm_train, of_own_channels()),
    Case(_batch_norm_grad, norms.batch_norm_grad, of_own_channels(with_gradient=True)),
    Case(mg.batch_norm_stats, norms.batch_norm_stats, running(), order=0),
    Case(mg.group_norm, norms.group_norm, grouped()),
    Case(mg.normalize, norms.normalize, directed()),
    Case(_standardise, norms.standardise, standardised()),
    # dropout
    Case(mg.dropout, norms.dropout, dropped()),
    # attention
    Case(mg.attention, naive.attention, draws.attended()),
    Case(mg.attention_grad, naive.attention_grad, draws.attended(True)),
    Case(mg.attention_mask_grad, naive.attention_mask_grad, draws.attended(True)),
    Case(SDPA, naive.scaled_dot_product_attention, draws.attended_anywhere()),
    Case(SDPA, norms.scaled_dot_product_attention, attended()),
    Case(SDPA, norms.scaled_dot_product_attention, attended_by_groups()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}

"""Updates of optimizers: one pass over flat buffers, in place.

    w, g            weights and gradients, flat
    a, b, c         moments of the same length, in the order of the optimizer's `slots`; empty where
                    there is none
    starts, stops   parameter i is w[starts[i]:stops[i]]; what no segment covers stays as it is
    steps           how many steps each has taken, this one included
    numbers         the optimizer's options in their order, yes as 1

Every loop but Adam's own, which is the quickest, has those arguments, so that one kernel of the
machine serves them all. The formulas, one beside each optimizer, say what is computed.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from minigrad.kernels.compiling import compiled
from minigrad.kernels.layouts import covered, covered_ids
from minigrad.kernels.machine import array, fields, integers, kernel, share

Array = np.ndarray

# --- loops ----------------------------------------------------------------------------------------


@compiled
def adam_loop(w, g, m, v, starts, stops, steps, lr, beta1, beta2, eps, shrink, l2):
    for i in range(starts.size):
        if not 0 <= starts[i] <= stops[i] <= w.size:
            return False
    # Corrections are float64; what meets the arrays is rounded to their dtype once.
    number = w.dtype.type
    b1, b2, c1, c2 = number(beta1), number(beta2), number(1 - beta1), number(1 - beta2)
    eps_, shrink_, l2_ = number(eps), number(shrink), number(l2)
    zero, tiny = number(0), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        rate = number(lr / (1 - beta1 ** steps[i]))
        root = number(1 / math.sqrt(1 - beta2 ** steps[i]))
        # Indices from 0 on are known not to be negative, which Numba would count from the end.
        segment = slice(starts[i], stops[i])
        wi, gi, mi, vi = w[segment], g[segment], m[segment], v[segment]
        for j in range(wi.size):
            x = wi[j] * shrink_
            d = gi[j] + l2_ * x
            mj = b1 * mi[j] + c1 * d
            vj = b2 * vi[j] + c2 * (d * d)
            # Moments of rows without gradients shrink for ever; denormals would slow every step.
            mj = zero if abs(mj) < tiny else mj
            vj = zero if vj < tiny else vj
            mi[j] = mj
            vi[j] = vj
            wi[j] = x - rate * mj / (math.sqrt(vj) * root + eps_)
    return True


@compiled
def sgd_loop(w, g, a, b, c, starts, stops, steps, numbers):
    """Numbers: lr, momentum, dampening, weight_decay, nesterov, maximize."""
    number = w.dtype.type
    lr, momentum, decay = number(numbers[0]), number(numbers[1]), number(numbers[3])
    nesterov, sign = numbers[4] != 0, number(-1 if numbers[5] else 1)
    zero, tiny = number(0), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        s = slice(starts[i], stops[i])
        wi, gi = w[s], g[s]
        if momentum == 0:
            for j in range(wi.size):
                wi[j] -= lr * (sign * gi[j] + decay * wi[j])
            continue
        ai = a[s]
        keep = zero if steps[i] == 1 else momentum
        take = number(1) if steps[i] == 1 else number(1 - numbers[2])
        for j in range(wi.size):
            d = sign * gi[j] + decay * wi[j]
            m = keep * ai[j] + take * d
            m = zero if abs(m) < tiny else m
            ai[j] = m
            wi[j] -= lr * (d + momentum * m if nesterov else m)


@compiled
def adagrad_loop(w, g, a, b, c, starts, stops, steps, numbers):
    """Numbers: lr, lr_decay, weight_decay, initial_accumulator_value, eps, maximize."""
    number = w.dtype.type
    decay, eps = number(numbers[2]), number(numbers[4])
    sign = number(-1 if numbers[5] else 1)
    for i in range(starts.size):
        rate = number(numbers[0] / (1 + (steps[i] - 1) * numbers[1]))
        s = slice(starts[i], stops[i])
        wi, gi, ai = w[s], g[s], a[s]
        for j in range(wi.size):
            d = sign * gi[j] + decay * wi[j]
            total = ai[j] + d * d
            ai[j] = total
            wi[j] -= rate * d / (math.sqrt(total) + eps)


@compiled
def rmsprop_loop(w, g, a, b, c, starts, stops, steps, numbers):
    """Numbers: lr, alpha, eps, weight_decay, momentum, centered, maximize."""
    number = w.dtype.type
    lr, keep, take = number(numbers[0]), number(numbers[1]), number(1 - numbers[1])
    eps, decay, momentum = number(numbers[2]), number(numbers[3]), number(numbers[4])
    centered, sign = numbers[5] != 0, number(-1 if numbers[6] else 1)
    zero, tiny = number(0), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        s = slice(starts[i], stops[i])
        wi, gi, ai = w[s], g[s], a[s]
        if momentum == 0 and not centered:
            for j in range(wi.size):
                d = sign * gi[j] + decay * wi[j]
                square = keep * ai[j] + take * (d * d)
                square = zero if square < tiny else square
                ai[j] = square
                wi[j] -= lr * (d / (math.sqrt(square) + eps))
            continue
        bi, ci = b[s], c[s]
        for j in range(wi.size):
            d = sign * gi[j] + decay * wi[j]
            square = keep * ai[j] + take * (d * d)
            square = zero if square < tiny else square
            ai[j] = square
            if centered:
                mean = ci[j] + take * (d - ci[j])
                mean = zero if abs(mean) < tiny else mean
                ci[j] = mean
                square -= mean * mean
                square = zero if square < zero else square
            d = d / (math.sqrt(square) + eps)
            if momentum != 0:
                d += momentum * bi[j]
                d = zero if abs(d) < tiny else d
                bi[j] = d
            wi[j] -= lr * d


@compiled
def lion_loop(w, g, a, b, c, starts, stops, steps, numbers):
    """Numbers: lr, beta1, beta2, weight_decay, maximize."""
    number = w.dtype.type
    lr, shrink = number(numbers[0]), number(1 - numbers[0] * numbers[3])
    b1, c1, b2, c2 = (
        number(numbers[1]), number(1 - numbers[1]), number(numbers[2]), number(1 - numbers[2]),
    )  # fmt: skip
    sign = number(-1 if numbers[4] else 1)
    zero, one, tiny = number(0), number(1), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        s = slice(starts[i], stops[i])
        wi, gi, ai = w[s], g[s], a[s]
        for j in range(wi.size):
            d = sign * gi[j]
            u = b1 * ai[j] + c1 * d
            u = one if u > zero else (-one if u < zero else u)  # a NaN stays one
            m = b2 * ai[j] + c2 * d
            ai[j] = zero if abs(m) < tiny else m
            wi[j] = wi[j] * shrink - lr * u


@compiled
def adam_variant_loop(w, g, a, b, c, starts, stops, steps, numbers):
    """Numbers: lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled."""
    number = w.dtype.type
    lr, beta1, beta2 = numbers[0], numbers[1], numbers[2]
    b1, b2, c1, c2 = number(beta1), number(beta2), number(1 - beta1), number(1 - beta2)
    eps, amsgrad, sign = number(numbers[3]), numbers[5] != 0, number(-1 if numbers[6] else 1)
    shrink = number(1 - lr * numbers[4] if numbers[7] else 1)
    decay = number(0 if numbers[7] else numbers[4])
    zero, tiny = number(0), np.finfo(w.dtype).tiny
    for i in range(starts.size):
        rate = number(lr / (1 - beta1 ** steps[i]))
        root = number(1 / math.sqrt(1 - beta2 ** steps[i]))
        s = slice(starts[i], stops[i])
        wi, gi, ai, bi, ci = w[s], g[s], a[s], b[s], c[s]
        for j in range(wi.size):
            x = wi[j] * shrink
            d = sign * gi[j] + decay * x
            m = b1 * ai[j] + c1 * d
            v = b2 * bi[j] + c2 * (d * d)
            m = zero if abs(m) < tiny else m
            v = zero if v < tiny else v
            ai[j] = m
            bi[j] = v
            if amsgrad:
                v = v if v > ci[j] or v != v else ci[j]
                ci[j] = v
            wi[j] = x - rate * m / (math.sqrt(v) * root + eps)


# --- on arrays ------------------------------------------------------------------------------------


def _fit(w: Array, buffers: Sequence[Array], starts: Array, stops: Array, steps: Array) -> bool:
    """Whether all buffers are flat and like `w`, and segments are as many starts, stops, steps."""
    if w.ndim != 1 or not covered(w, *buffers) or any(m.shape != w.shape for m in buffers):
        return False
    if starts.ndim != 1 or not starts.shape == stops.shape == steps.shape:
        return False
    return covered_ids(starts) and covered_ids(stops) and covered_ids(steps)


def adam_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    starts: Array,
    stops: Array,
    steps: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> Any:
    """One step of Adam (AdamW if `decoupled`), in place, on segments of flat buffers.

    What no segment covers stays as it is. Denormal moments become 0. NotImplemented if the buffers
    are not for it; None if it is done.
    """
    if not _fit(w, (g, m, v), starts, stops, steps):
        return NotImplemented
    shrink, l2 = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, float(weight_decay))
    numbers = float(lr), float(beta1), float(beta2), float(eps), shrink, l2
    return None if adam_loop(w, g, m, v, starts, stops, steps, *numbers) else NotImplemented


LOOPS = {
    "sgd_step": sgd_loop,
    "adagrad_step": adagrad_loop,
    "rmsprop_step": rmsprop_loop,
    "lion_step": lion_loop,
    "adam_variant_step": adam_variant_loop,
}
RULES = list(LOOPS)  # by the numbers that `update` knows them by


def step(
    rule: str,
    w: Array,
    g: Array,
    moments: Sequence[Array | None],
    starts: Array,
    stops: Array,
    steps: Array,
    numbers: Sequence[float],
) -> Any:
    """One step in place by the loop of a rule; NotImplemented if the buffers are not for it."""
    given = [m for m in moments if m is not None]
    if not _fit(w, (g, *given), starts, stops, steps):
        return NotImplemented
    if not ((starts >= 0) & (starts <= stops) & (stops <= w.size)).all():
        return NotImplemented
    none = w[:0]
    a, b, c = (*(none if m is None else m for m in moments), none, none, none)[:3]
    LOOPS[rule](w, g, a, b, c, starts, stops, steps, np.array(numbers, np.float64))
    return None


# --- in programs ----------------------------------------------------------------------------------

SEGMENTS = "starts stops steps numbers"  # the numbers begin with how many segments there are


@compiled
def mine(r, n, count, part, parts):
    """Where the share of a thread of each segment begins and ends."""
    starts, stops = integers(r.starts, count), integers(r.stops, count)
    low, high = share(n, 1024, part, parts)
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        first[i] = min(max(starts[i], low), high)
        last[i] = max(min(stops[i], high), first[i])
    return first, last


@compiled
def numbers_of(r):
    """How many segments there are, and the options, of which there are up to 15."""
    numbers = integers(r.numbers, 16).view(np.float64)
    return np.int64(numbers[0]), numbers[1:]


@kernel("n w g m v", SEGMENTS, work=12)
def adam(record, kind, part, parts):
    """One step of Adam; numbers: lr, beta1, beta2, eps, shrink, l2, as `adam_loop` takes them."""
    r = fields(record)
    n = r.n
    count, o = numbers_of(r)
    first, last = mine(r, n, count, part, parts)
    w, g = array(kind, r.w, (n,)), array(kind, r.g, (n,))
    m, v = array(kind, r.m, (n,)), array(kind, r.v, (n,))
    steps = integers(r.steps, count)
    adam_loop(w, g, m, v, first, last, steps, o[0], o[1], o[2], o[3], o[4], o[5])


@kernel("rule n w g a b c", SEGMENTS, work=12)
def update(record, kind, part, parts):
    """One step by the rule of this number."""
    r = fields(record)
    n = r.n
    count, numbers = numbers_of(r)
    first, last = mine(r, n, count, part, parts)
    w, g, a = array(kind, r.w, (n,)), array(kind, r.g, (n,)), array(kind, r.a, (n,))
    b, c, steps = array(kind, r.b, (n,)), array(kind, r.c, (n,)), integers(r.steps, count)
    if r.rule == 0:
        sgd_loop(w, g, a, b, c, first, last, steps, numbers)
    elif r.rule == 1:
        adagrad_loop(w, g, a, b, c, first, last, steps, numbers)
    elif r.rule == 2:
        rmsprop_loop(w, g, a, b, c, first, last, steps, numbers)
    elif r.rule == 3:
        lion_loop(w, g, a, b, c, first, last, steps, numbers)
    else:
        adam_variant_loop(w, g, a, b, c, first, last, steps, numbers)


def examples(dtype: str) -> dict[str, Any]:
    """Calls that compile the loops: by name, functions of no arguments."""
    (w, g, m, v, more), ids = np.zeros((5, 1), dtype), np.array([0, 1])
    segments = ids[:1], ids[1:], ids[1:]
    options: Any = {"lr": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    found = {rule: partial(step, rule, w, g, [m, v, more], *segments, [0.5] * 8) for rule in RULES}
    return {"adam": lambda: adam_step(w, g, m, v, *segments, **options, decoupled=False), **found}

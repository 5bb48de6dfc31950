"""Updates of optimizers beside Adam's: one pass over flat buffers.

    w, g            weights and gradients, flat
    a, b, c         moments of the same length, in the order of the optimizer's `slots`; empty where
                    there is none
    starts, stops   parameter i is w[starts[i]:stops[i]]; what no segment covers stays as it is
    steps           how many steps each has taken, this one included
    numbers         the optimizer's options in their order, yes as 1

Every loop has those arguments, so that one handler of the machine serves them all. The formulas,
one beside each optimizer, say what is computed.
"""

import math
import time
from collections.abc import Callable, Container, Iterable, Sequence
from types import NotImplementedType

import numpy as np
from numba import carray

from minigrad.kernels import cpu
from minigrad.kernels.compiling import compiled
from minigrad.kernels.machine import WORDS, at, handler, share

__all__ = ["adagrad_step", "adam_variant_step", "lion_step", "rmsprop_step", "sgd_step"]

Array = np.ndarray
Declined = NotImplementedType


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


# --- arrays in ------------------------------------------------------------------------------------


def run(
    loop: Callable,
    w: Array,
    g: Array,
    moments: Sequence[Array | None],
    starts: Array,
    stops: Array,
    steps: Array,
    numbers: Sequence[float],
) -> Declined | None:
    """One step in place, by a loop; see above."""
    given = [m for m in moments if m is not None]
    if w.ndim != 1 or not cpu.covered(w, g, *given) or any(m.shape != w.shape for m in (g, *given)):
        return NotImplemented
    if not all(cpu.covered_ids(x) and x.shape == starts.shape for x in (starts, stops, steps)):
        return NotImplemented
    if starts.ndim != 1 or not ((starts >= 0) & (starts <= stops) & (stops <= w.size)).all():
        return NotImplemented
    none = w[:0]
    a, b, c = (*(none if m is None else m for m in moments), none, none, none)[:3]
    loop(w, g, a, b, c, starts, stops, steps, np.array(numbers, np.float64))
    return None


def sgd_step(w, g, moments, starts, stops, steps, numbers) -> Declined | None:
    """One step of SGD; moments: the momentum buffer."""
    return run(sgd_loop, w, g, moments, starts, stops, steps, numbers)


def adagrad_step(w, g, moments, starts, stops, steps, numbers) -> Declined | None:
    """One step of Adagrad; moments: the sum of squares."""
    return run(adagrad_loop, w, g, moments, starts, stops, steps, numbers)


def rmsprop_step(w, g, moments, starts, stops, steps, numbers) -> Declined | None:
    """One step of RMSprop; moments: the mean of squares, the momentum buffer, the mean."""
    return run(rmsprop_loop, w, g, moments, starts, stops, steps, numbers)


def lion_step(w, g, moments, starts, stops, steps, numbers) -> Declined | None:
    """One step of Lion; moments: the mean."""
    return run(lion_loop, w, g, moments, starts, stops, steps, numbers)


def adam_variant_step(w, g, moments, starts, stops, steps, numbers) -> Declined | None:
    """One step of Adam or AdamW, AMSGrad or upwards; moments: mean, of squares, its largest."""
    return run(adam_variant_loop, w, g, moments, starts, stops, steps, numbers)


# --- in programs ----------------------------------------------------------------------------------

RULES = ["sgd_step", "adagrad_step", "rmsprop_step", "lion_step", "adam_variant_step"]


@handler
def update(words, kind, part, parts):
    """One step on segments of flat buffers; the numbers begin with how many there are.

    Words: rule, n, w, g, a, b, c, starts, stops, steps, numbers.
    """
    k = carray(words, (WORDS,))
    rule, n = k[0], k[1]
    numbers = carray(at(words, k[10]), (16,)).view(np.float64)
    count = np.int64(numbers[0])
    w, g = carray(at(kind, k[2]), (n,)), carray(at(kind, k[3]), (n,))
    a, b = carray(at(kind, k[4]), (n,)), carray(at(kind, k[5]), (n,))
    c, steps = carray(at(kind, k[6]), (n,)), carray(at(words, k[9]), (count,))
    starts, stops = carray(at(words, k[7]), (count,)), carray(at(words, k[8]), (count,))
    low, high = share(n, 1024, part, parts)
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        first[i] = min(max(starts[i], low), high)
        last[i] = max(min(stops[i], high), first[i])
    if rule == 0:
        sgd_loop(w, g, a, b, c, first, last, steps, numbers[1:])
    elif rule == 1:
        adagrad_loop(w, g, a, b, c, first, last, steps, numbers[1:])
    elif rule == 2:
        rmsprop_loop(w, g, a, b, c, first, last, steps, numbers[1:])
    elif rule == 3:
        lion_loop(w, g, a, b, c, first, last, steps, numbers[1:])
    else:
        adam_variant_loop(w, g, a, b, c, first, last, steps, numbers[1:])


def words(rule: str, w: Array, g: Array, moments: Sequence[Array | None]) -> list[int]:
    """The words of an instruction, up to those of its segments and numbers."""
    # Where there is no moment a loop does not look.
    addresses = [w.ctypes.data if m is None else m.ctypes.data for m in (*moments, None, None)]
    return [RULES.index(rule), w.size, w.ctypes.data, g.ctypes.data, *addresses[:3]]


# --- compiling ahead ------------------------------------------------------------------------------


def warm_up(
    dtypes: Iterable[str] = ("float32",),
    report: Callable[[str, float], None] | None = None,
    only: Container[str] | None = None,
) -> None:
    """Compile every loop, or load it from the on-disk cache; as `cpu.warm_up`."""
    for dtype in dtypes:
        for name in RULES:
            if only is not None and name not in only:
                continue
            began = time.perf_counter()
            x, ids = np.zeros((5, 1), dtype), np.array([0, 1])
            globals()[name](x[0], x[1], x[2:], ids[:1], ids[1:], ids[1:], np.ones(8) / 2)
            if report:
                report(name, time.perf_counter() - began)

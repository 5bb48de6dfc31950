"""Slow loops for activations, from their definitions."""

import math

import numpy as np

from naive import along, each, element, table


def logistic(x):
    return 1 / (1 + math.exp(-x))


def limited(x, low, high):
    return low if x < low else high if x > high else x


relu_grad = each(lambda g, y: g if y > 0 else 0)
leaky_relu = each(lambda x, *, negative_slope=0.01: x if x > 0 else negative_slope * x)
hardtanh = each(lambda x, *, min_val=-1, max_val=1: limited(x, min_val, max_val))
relu6 = each(lambda x: limited(x, 0, 6))
hardsigmoid = each(lambda x: limited(x / 6 + 1 / 2, 0, 1))
hardswish = each(lambda x: x * limited(x / 6 + 1 / 2, 0, 1))
hardshrink = each(lambda x, *, lambd=0.5: x if x > lambd or x < -lambd else 0)
threshold = each(lambda x, threshold, value: x if x > threshold else value)
silu = each(lambda x: x * logistic(x))
logsigmoid = each(lambda x: math.log(logistic(x)))
mish = each(lambda x: x * math.tanh(math.log(1 + math.exp(x))))
elu = each(lambda x, *, alpha=1: x if x > 0 else alpha * (math.exp(x) - 1))
celu = each(lambda x, *, alpha=1: x if x > 0 else alpha * (math.exp(x / alpha) - 1))
softsign = each(lambda x: x / (1 + abs(x)))
tanhshrink = each(lambda x: x - math.tanh(x))


@each
def softshrink(x, *, lambd=0.5):
    return x - lambd if x > lambd else x + lambd if x < -lambd else 0


@each
def softplus(x, *, beta=1, threshold=20):
    return x if beta * x > threshold else math.log(1 + math.exp(beta * x)) / beta


@each
def selu(x):
    scale, alpha = 1.05070098735548, 1.67326324235437
    return scale * (x if x > 0 else alpha * (math.exp(x) - 1))


def prelu(x, weight):
    def entry(at):
        slope = element(weight, (0 if np.size(weight) == 1 else at[1],) * np.ndim(weight))
        return x[at] if x[at] > 0 else slope * x[at]

    return table(x.shape, entry)


def glu(x, *, axis=-1):
    gated = along(lambda line: [a * logistic(b) for a, b in halves(line)] + [0] * (len(line) // 2))
    return np.split(gated(x, axis=axis), 2, axis)[0]


def halves(line):
    middle = len(line) // 2
    return zip(line[:middle], line[middle:], strict=True)

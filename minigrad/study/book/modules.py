"""Modules and optimizers

The engine gives gradients of whatever we name. But a network has parameters in many places. Someone
must find them, move them and save them: **modules** know their parameters by name, **optimizers**
move them. The engine is the tape of chapter 3, with one op more.
"""

from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad.study.book import namespace
from minigrad.study.pictures import lines

tape = SimpleNamespace(**namespace("tape"))
Tensor, rng = tape.Tensor, np.random.default_rng(0)


def matmul(a, b):
    x, w = a.data, b.data
    return tape.record("matmul", x @ w, (a, b), (lambda g: g @ w.T, lambda g: x.T @ g))


"""
**A module** is a function that holds tensors and other modules. A walk through its attributes, and
the lists in them, finds all. The path is the name. What is held twice counts once, by its first.
"""


class Module:
    def parameters(self):
        return dict(walk(self, "", set()))  # all tensors below that want gradients, by name


def walk(value, name, seen):
    if id(value) in seen:
        return
    seen.add(id(value))
    if type(value) is Tensor and value.requires_grad:
        yield name, value
    inside = vars(value).items() if isinstance(value, Module) else ()
    for part, x in enumerate(value) if type(value) is list else inside:
        yield from walk(x, f"{name}.{part}".strip("."), seen)


class Linear(Module):
    def __init__(self, n_in, n_out):
        self.weight = Tensor(rng.normal(size=(n_in, n_out)) / np.sqrt(n_in), requires_grad=True)
        self.bias = Tensor(np.zeros(n_out), requires_grad=True)

    def __call__(self, x):
        return tape.add(matmul(x, self.weight), self.bias)


class Network(Module):
    def __init__(self):
        self.layers = [Linear(1, 16), Linear(16, 16)]
        self.head, self.other = Linear(16, 1), Linear(16, 1)

    def __call__(self, x):
        for layer in self.layers:
            x = tape.tanh(layer(x))
        return self.head(x)  # the other head would be for another task


print({name: p.data.shape for name, p in Network().parameters().items()})

"""
**An optimizer** changes parameters by their gradients: hundreds of tensors in a large network. So
it lays all end to end in one flat array, and makes the `data` of each a **view** into it. One pass
updates all. What an optimizer keeps, its **moments**, has the same layout.

A gradient can be **absent**: the step did not use that parameter. That is not a gradient of zero:
nothing was learned. So weights, moments and count of steps are left alone. Neighbours that have
gradients, and have taken as many steps, are updated together: a stretch of the flat array.

**Adam** keeps running means of the gradient and of its square, and goes along the first, divided by
the root of the second. Both begin at zero, so at first they are too small: a division mends that.
"""


class SGD:
    moments = 0

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.steps = list(parameters.values()), lr, [0] * len(parameters)
        self.ends = np.cumsum([0, *(p.data.size for p in self.parameters)])
        self.flat = np.zeros((2 + self.moments, self.ends[-1]))  # weights, gradients, moments
        self.flat[0] = np.concatenate([p.data.ravel() for p in self.parameters])
        for p, part in zip(self.parameters, np.split(self.flat[0], self.ends[1:-1]), strict=True):
            p.data = part.reshape(p.data.shape)

    def step(self):
        runs: list = []  # stretches: start, stop, number of the step
        present = ((i, p) for i, p in enumerate(self.parameters) if p.grad is not None)
        for i, p in present:
            a, b = map(int, self.ends[i : i + 2])
            self.flat[1, a:b], p.grad = p.grad.ravel(), None
            self.steps[i] += 1
            if runs and runs[-1][1:] == (a, self.steps[i]):  # it joins its neighbour
                a = runs.pop()[0]
            runs.append((a, b, self.steps[i]))
        for a, b, number in runs:
            self.update(number, *self.flat[:, a:b])
        return runs

    def update(self, number, w, g):
        w -= self.lr * g


class Adam(SGD):
    moments = 2

    def update(self, number, w, g, m, v):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        w -= self.lr * m / (1 - 0.9**number) / (np.sqrt(v / (1 - 0.999**number)) + 1e-8)


x = Tensor(np.linspace(-2, 2, 64)[:, None])
minus_target, curves = Tensor(-np.sin(3 * x.data)), {}
for kind, lr in (SGD, 0.1 / 64), (Adam, 0.01):
    network, curve = Network(), []
    optimizer = kind(network.parameters(), lr)
    for _ in range(200):
        error = tape.add(network(x), minus_target)
        tape.backward(tape.multiply(error, error))
        runs = optimizer.step()
        curve.append(np.log10(np.mean(error.data**2)))
    curves[kind.__name__] = curve
    print(f"{kind.__name__}: loss {10 ** curve[-1]:.4f}, changed", runs, "of", optimizer.ends[-1])
lines(curves, title="log10 of the loss")

# Absent or zero? After one gradient of 1, moments remember it, and zeros keep Adam going.
for then in 0.0, None:
    ours, theirs = Tensor([1.0], requires_grad=True), mg.Tensor(np.ones(1), requires_grad=True)
    mine, other = Adam({"p": ours}, 0.1), mg.optim.Adam({"p": theirs}, 0.1)
    for g in (1.0, then, then):
        ours.grad = None if g is None else np.array([g])
        other.step({"p": ours.grad})
        mine.step()
    print(f"1, {then}, {then}: {ours.data[0]:.6f}, minigrad's {theirs.data[0]:.6f}")

"""
**What the real one does.** [[minigrad.nn.module.Module]] also walks through dictionaries, and finds
buffers, which are saved but not trained: all by name, in [[minigrad.nn.module.Module.state_dict]].
There is a [[minigrad.optim.flat.Flat]] for each group of options, dtype and device;
[[minigrad.optim.flat.runs]] finds the stretches. [[minigrad.optim.adam.adam_step]] is the formula.
"""

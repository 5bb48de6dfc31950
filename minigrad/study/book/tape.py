"""The tape and its order

The walk of chapters 1 and 2 has two faults. It goes along every path, and paths double. And it calls
itself for each step back, so a long computation ends it with an error. Both are mended by one idea:
number the operations as they happen, and go through them backward by number. On the way we split
`Tensor` in two, and the engine takes the form of the real one.
"""

import heapq
import itertools
import weakref

import numpy as np

from minigrad.study.pictures import graph, lines

"""
**Tensor and Node.** A tensor did two jobs. It held an array for whoever computes with it, and it knew
how it was made. The second job goes to a `Node`, one for each operation: its name, its rules and its
`parents`, that is, where the gradient of each input must go. A parent is the node that made the
input; or the tensor itself if nobody made it, a **leaf**; or `None` if no gradient is wanted there,
as for data. A tensor only keeps its `edge`: the node that made it. Nodes know arrays, and no
tensors but leaves; so what is only a step on the way is gone as soon as you let go of it.
"""
clock = itertools.count(1)


class Tensor:
    def __init__(self, data, requires_grad=False, edge=None):
        self.data, self.grad, self.edge = np.asarray(data, dtype="float64"), None, edge
        self.requires_grad = requires_grad or edge is not None

    def __add__(self, other):
        return add(self, other)

    def __mul__(self, other):
        return multiply(self, other)


class Node:
    """One operation that happened; its serial number tells when."""

    def __init__(self, name, parents, shapes, rules):
        self.name, self.parents, self.shapes, self.rules = name, parents, shapes, rules
        self.serial = next(clock)

    def pull_back(self, g):
        """Pairs (parent, its part of the gradient), for the parents that want one."""
        steps = zip(self.parents, self.shapes, self.rules, strict=True)
        return [(p, unbroadcast(rule(g), shape)) for p, shape, rule in steps if p is not None]


def unbroadcast(g, shape):  # as in chapter 2
    front = g.ndim - len(shape)
    grown = [i for i, n in enumerate(g.shape) if i < front or (shape[i - front] == 1 and n != 1)]
    return g.sum(axis=tuple(grown), keepdims=True).reshape(shape)


def record(name, y, inputs, rules):
    """The result `y` as a tensor; with a node behind it if any of the inputs wants a gradient."""
    if not any(x.requires_grad for x in inputs):
        return Tensor(y)
    parents = [x.edge or x if x.requires_grad else None for x in inputs]
    return Tensor(y, edge=Node(name, parents, [x.data.shape for x in inputs], rules))


def add(x, y):
    ...

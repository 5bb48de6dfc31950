"""The tape and its order

The walk of chapters 1 and 2 has two faults. It goes along every path, and paths double. And it
calls itself for each step back, so a long computation ends in an error. One idea mends both: number
the operations as they happen, and go back by number. Such a record is called a **tape**.
"""

import heapq
import itertools

import numpy as np

from minigrad.study.pictures import graph

"""
**Tensor and Node.** Our tensor did two jobs: it held an array for whoever computes with it, and it
knew how it was made. The second job goes to a `Node`, one for each operation. Its `parents` say for
each input where the gradient goes next: to the node that made the input; to the tensor itself if
nobody made it, a **leaf**; or nowhere, `None`, if nobody asked for that gradient, as for data. The
tensor keeps its `edge`, the node that made it. Every node takes a number from one clock, its
`serial`. Rules hold arrays, not tensors: a node that held the tensor it made would be held by it in
turn, and Python is late to free such circles.
"""
clock = itertools.count(1)


class Tensor:
    def __init__(self, data, requires_grad=False, edge=None):
        self.data, self.grad, self.edge = np.asarray(data, dtype="float64"), None, edge
        self.requires_grad = requires_grad or edge is not None


class Node:
    def __init__(self, name, parents, shapes, rules):
        self.name, self.parents, self.shapes, self.rules = name, parents, shapes, rules
        self.serial = next(clock)

    def pull_back(self, g):
        """Pairs (parent, its part of the gradient), for the parents that want one."""
        steps = zip(self.parents, self.rules, self.shapes, strict=True)
        return [(p, unbroadcast(rule(g), shape)) for p, rule, shape in steps if p is not None]


def unbroadcast(g, shape):  # as in chapter 2
    front = g.ndim - len(shape)
    grown = [i for i, n in enumerate(g.shape) if i < front or (shape[i - front] == 1 and n != 1)]
    return g.sum(axis=tuple(grown), keepdims=True).reshape(shape)


def record(name, y, inputs, rules):
    """The array `y` as a tensor; behind it a node, if any of the inputs wants a gradient."""
    parents = [(x.edge or x) if x.requires_grad else None for x in inputs]
    node = Node(name, parents, [x.data.shape for x in inputs], rules)
    return Tensor(y, edge=node if any(parents) else None)


def add(a, b):
    return record("add", a.data + b.data, (a, b), (lambda g: g, lambda g: g))


def multiply(a, b):
    x, y = a.data, b.data
    return record("multiply", x * y, (a, b), (lambda g: g * y, lambda g: g * x))


def tanh(a):
    y = np.tanh(a.data)
    return record("tanh", y, (a,), (lambda g: g * (1 - y * y),))


"""
**The old walk**, once more, on nodes. Each of these layers uses the one before twice. We count the
nodes that are entered.
"""


def walk(target, g):
    """Hand `g` on along every path; returns how many nodes that enters."""
    if type(target) is Tensor:  # a leaf
        return 0
    return 1 + sum(walk(parent, part) for parent, part in target.pull_back(g))


def layers(x, depth):
    for _ in range(depth):
        x = tanh(add(x, x))
    return x


x, depths = Tensor(0.1, requires_grad=True), range(1, 13)
print("every path, 1, 2, 3 ... layers:", *[walk(layers(x, n).edge, np.ones(())) for n in depths])
try:
    walk(layers(x, 10_000).edge, np.ones(()))
except RecursionError as error:
    print("every path, 10000 layers:", type(error).__name__)

"""
**Why it doubles.** Where paths meet, a gradient is complete only when all its parts have come. The
old walk goes on with each part at once; so it comes again with the next one, and goes all the way
below again. It should wait: **enter a node only after everything that was made from it.** But what
was made from it was made later! So always take the newest node that waits: whatever could still add
to it would be newer, and so would be all that leads there. Serial numbers are all the order we
need. A heap hands out what is smallest, so it gets them with a minus.
"""


def backward(y):
    """Add the gradient of `y`, summed, to the `grad` of all leaves; returns the nodes entered."""
    found, sums, heap, entered = [(y.edge or y, np.ones_like(y.data))], {}, [], []
    # sums: what has arrived so far, at nodes that wait and at leaves; heap: the nodes that wait
    while True:
        for target, g in found:
            if target in sums:
                sums[target] = sums[target] + g
                continue
            sums[target] = g
            if type(target) is Node:
                heapq.heappush(heap, (-target.serial, target))
        if not heap:
            break
        node = heapq.heappop(heap)[1]
        found = node.pull_back(sums.pop(node))
        entered.append(node)
    for leaf, g in sums.items():
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    return entered


print("by number, 1, 2, 3 ... layers:", *[len(backward(layers(x, n))) for n in depths])
print("by number, 10000 layers:", len(backward(layers(x, 10_000))))

"""
**Only what is needed.** What does not lie behind `y` is never entered, though it has a number, too.
"""
clock = itertools.count(1)  # again, for smaller numbers
data, w, b = Tensor([1.0, 2.0]), Tensor(0.5, requires_grad=True), Tensor(0.1, requires_grad=True)
h = multiply(data, w)
unused = tanh(w)
y = multiply(tanh(add(h, b)), h)
entered = backward(y)
print("unused is", unused.edge.serial, "and entered were", [node.serial for node in entered])
named = {node: f"{node.serial} {node.name}" for node in entered}
graph([(named[p], named[n]) for n in entered for p in n.parents if p in named], title="behind y")

"""
**What the real one does.** [[minigrad.graph.Tensor]] and [[minigrad.graph.Node]] are divided like
ours, and the loop of [[minigrad.autodiff.backward_pass]] is the one above, with the same names. It
can also be asked for chosen tensors only, and enters nothing that does not lead to them. Operations
may have several outputs, each with a [[minigrad.graph.Slot]] for its edge.
"""

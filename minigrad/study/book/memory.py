"""What must not be kept

A node keeps arrays until the walk comes back to it, and in a large network they fill the memory. So
we keep only what a rule will read, let go of it once it was read, and notice writes in between.
"""

import heapq
import inspect
import itertools
import weakref
from collections import namedtuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from minigrad.study.pictures import lines

"""
**A rule says what it reads.** That of `tanh` reads the output but not the input, that of `matmul`
the inputs but not the output, that of `add` neither. They say so by the names of their parameters:
what begins with an underscore is not read, and a node keeps only its shape, a `Like`. Only rules
that will run are asked, those of tensors: in `a * 0.5` that of `a`, and it reads the number only.
"""
Like = namedtuple("Like", "shape")
tick = itertools.count(1).__next__
writes: list = []  # (where an array begins, where it ends, when it was written)
nodes: weakref.WeakSet = weakref.WeakSet()  # those that are alive; a weak set keeps none so
everything = False  # whether nodes shall keep all, to see the difference


def reads(rule):
    """For the output and each input, whether the rule reads it."""
    _g, *names = inspect.signature(rule).parameters
    return [not name.startswith("_") for name in names]


class Op:
    def __init__(self, formula, *rules):
        self.formula, self.rules = formula, rules

    def __call__(self, *inputs):
        arrays = [x.data if type(x) is Tensor else np.asarray(x) for x in inputs]
        parents = [(x.edge or x) if type(x) is Tensor else None for x in inputs]
        arrays.insert(0, np.asarray(self.formula(*arrays)))  # the output first
        used = [reads(r) for r, p in zip(self.rules, parents, strict=True) if p is not None]
        needed = [everything or any(u[i] for u in used) for i in range(len(arrays))]
        kept = [a if n else Like(a.shape) for a, n in zip(arrays, needed, strict=True)]
        return Tensor(arrays[0], Node(self, parents, kept)) if any(parents) else arrays[0]


"""
**Somebody writes.** An optimizer writes into the arrays of parameters. If it did so before the
walk, the gradient would be wrong in silence. So a write is noted: its addresses, which views share,
and its time on the nodes' clock. A node refuses if what it kept was written later.
"""


def overwritten(array, since):
    low, high = byte_bounds(array)
    return any(low < end and start < high and when > since for start, end, when in writes)


class Tensor:
    def __init__(self, data, edge=None):
        self._data, self.edge = np.asarray(data, dtype="float64"), edge

    def _set(self, array):
        if array is self._data:  # `x.data += 1` ends here
            writes.append((*byte_bounds(array), tick()))
        self._data = array

    data = property(lambda self: self._data, _set)


"""
**Gone once it was read.** A node that the walk has entered lets go of what it kept. The picture
shows eight layers: with everything kept to the end, and with only what is read, until it was read.
"""


class Node:
    def __init__(self, op, parents, kept):
        self.op, self.parents, self.kept, self.serial = op, parents, kept, tick()
        nodes.add(self)

    def pull_back(self, g):
        if self.kept is None:
            raise RuntimeError("an earlier walk used up this graph; pass retain=True to it")
        if any(overwritten(x, self.serial) for x in self.kept if type(x) is not Like):
            raise RuntimeError("an array was overwritten after it was used; write to a copy")
        steps = zip(self.parents, self.op.rules, strict=True)
        return [(p, rule(g, *self.kept)) for p, rule in steps if p is not None]


def held():
    """KiB of arrays that nodes keep, each counted once."""
    arrays = {id(x): x.nbytes for n in nodes for x in n.kept or () if type(x) is not Like}
    return sum(arrays.values()) // 1024


add = Op(np.add, lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)
multiply = Op(np.multiply, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)
matmul = Op(np.matmul, lambda g, _y, _a, b: g @ b.T, lambda g, _y, a, _b: a.T @ g)
tanh = Op(np.tanh, lambda g, y, _x: g * (1 - y * y))


def gradients(y, inputs, retain=False):
    found, sums, heap = [(y.edge or y, np.ones_like(y.data))], {}, []
    while True:
        for target, g in found:
            if target not in sums and type(target) is Node:
                heapq.heappush(heap, (-target.serial, target))
            sums[target] = sums[target] + g if target in sums else g
        if not heap:
            return [sums.get(x) for x in inputs]
        node = heapq.heappop(heap)[1]
        found = node.pull_back(sums.pop(node))
        if not retain:
            node.parents = node.kept = None
        trace.append(held())


rng, curves = np.random.default_rng(0), {}
weights = [Tensor(w) for w in rng.standard_normal((8, 64, 64)) / 8]
for everything, name in [(True, "everything"), (False, "only what is read")]:
    x, trace = rng.standard_normal((256, 64)), [0]
    for w in weights:
        x = tanh(multiply(matmul(x, w), 0.5))
        trace.append(held())
    gradients(x, weights, retain=everything)
    curves[name] = trace
    print(f"{name}: at most {max(trace)} KiB, {trace[-1]} at the end")
lines(curves, title="KiB kept, forward and back")

for op in (multiply, add):  # one keeps w for its rules, the other nothing
    w = Tensor([1.0, 2.0])
    y = op(w, w)
    w.data *= 10
    try:
        print("add:", gradients(y, [w]))
    except RuntimeError as error:
        print("multiply:", error)

"""
**What the real one does.** [[minigrad.arguments.reads]], [[minigrad.operations.Op.keeps]] and
[[minigrad.arguments.Like]] are as here. [[minigrad.graph.Node.free]] also notes which line has used
up the graph. [[minigrad.writes.wrote]] and [[minigrad.graph.Node.check_unwritten]] see writes
through tensors; [[minigrad.observers.detect_anomaly]] also finds those of NumPy alone. And
[[minigrad.transforms.checkpoint]] keeps nothing inside a function, and computes it again later.
"""

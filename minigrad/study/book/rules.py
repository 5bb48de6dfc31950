"""A rule at two speeds, and the second derivative

A gradient is a function of the input like any other, so it has a derivative, too. Our backward pass
computes with arrays, which remember nothing. With tensors it would be recorded, and a second pass
could go back through it. So every rule is written **once**, and runs on either.
"""

import heapq
import itertools

import numpy as np

from minigrad.study.pictures import lines

"""
**Op.** In chapter 3 every call made its rules anew, around the arrays that they needed. Now an `Op`
has a formula, and for each input a rule, `rule(g, y, *inputs)`, which is given what it may need:
the gradient `g` of the output, the output `y`, the inputs. Called with arrays, an op gives an
array, and nothing is recorded. With a tensor among its inputs it gives a tensor. (Here all tensors
want gradients and have one shape; `unbroadcast` is left out.)
"""
clock = itertools.count(1)


class Op:
    def __init__(self, name, formula, *rules):
        self.name, self.formula, self.rules = name, formula, rules

    def __call__(self, *inputs):
        arrays = [x.data if type(x) is Tensor else x for x in inputs]
        parents = [(x.edge or x) if type(x) is Tensor else None for x in inputs]
        y = self.formula(*arrays)
        return Tensor(y, Node(self, parents, arrays, y)) if any(parents) else y


class Tensor:
    __array_ufunc__ = None  # so that `array * tensor` is ours, not NumPy's

    def __init__(self, data, edge=None):
        self.data, self.edge = np.asarray(data, dtype="float64"), edge

    def __add__(self, other):
        return add(self, other)

    def __mul__(self, other):
        return multiply(self, other)

    __radd__, __rmul__ = __add__, __mul__


"""
**Node.** It keeps the op, and the arrays that came in and out. To pull `g` back it calls the rules:
with these arrays; or, if the result is to have a history, with **tensors**, which it makes of the
arrays by giving them back the edges that they had. That is the whole trick.
"""


class Node:
    def __init__(self, op, parents, saved, output):
        self.op, self.parents, self.saved, self.output = op, parents, saved, output
        self.serial = next(clock)

    def pull_back(self, g, as_tensors):
        inputs, y = self.saved, self.output
        if as_tensors:
            y = Tensor(y, self)
            pairs = zip(self.saved, self.parents, strict=True)
            inputs = [Tensor(x, p) if type(p) is Node else p or x for x, p in pairs]
        steps = zip(self.parents, self.op.rules, strict=True)
        return [(p, rule(g, y, *inputs)) for p, rule in steps if p is not None]


"""
**The rules** use nothing but ops and operators, as these take arrays and tensors alike.
"""
add = Op("add", np.add, lambda g, y, a, b: g, lambda g, y, a, b: g)
multiply = Op("multiply", np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
sin: Op = Op("sin", np.sin, lambda g, y, x: g * sin(x + np.pi / 2))
exp = Op("exp", np.exp, lambda g, y, x: g * y)
tanh = Op("tanh", np.tanh, lambda g, y, x: g * (1 + -1 * y * y))

"""
**The walk** is that of chapter 3. It begins with an array or, for `create_graph`, with a tensor.
"""


def gradients(y, inputs, create_graph=False):
    """The gradients of `y`, summed, by leaves: arrays, or with `create_graph` tensors."""
    g = np.ones_like(y.data)
    found, sums, heap = [(y.edge or y, Tensor(g) if create_graph else g)], {}, []
    while True:
        for target, g in found:
            if target in sums:
                sums[target] = sums[target] + g
                continue
            sums[target] = g
            if type(target) is Node:
                heapq.heappush(heap, (-target.serial, target))
        if not heap:
            return [sums.get(x) for x in inputs]
        node = heapq.heappop(heap)[1]
        found = node.pull_back(sums.pop(node), create_graph)


x = Tensor(np.linspace(-3, 3, 61))
for create_graph in (False, True):
    y, before = tanh(x), next(clock)
    (g,) = gradients(y, [x], create_graph)
    print(f"{create_graph=}: {type(g).__name__}, nodes recorded: {next(clock) - before - 1}")

"""
**And again.** A gradient with a history is differentiated like anything else, as often as we like.
"""
curves, d = {"tanh": tanh(x).data}, tanh(x)
for name in ("first", "second", "third"):
    (d,) = gradients(d, [x], create_graph=True)
    curves[name] = d.data
lines(curves, title="tanh and its derivatives, from -3 to 3")

"""
**What it is good for.** The first derivatives say which way is down; the second ones, a matrix
called **Hessian**, how soon that changes. Newton's method uses both to jump to where the slope
should be 0. Row `i` of the Hessian is the gradient of element `i` of the gradient. Watch the
exponent of the slope: near the end it doubles with each step.
"""
a, b = Tensor(1.0), Tensor(2.0)
for _ in range(7):
    slope = gradients(exp(a + -1 * b) + a * a * a * a + b * b, [a, b], create_graph=True)
    hessian = np.array([gradients(d, [a, b]) for d in slope])
    values = np.array([d.data for d in slope])
    print(f"a {a.data:9.6f}  b {b.data:9.6f}  slope {np.abs(values).max():.1e}")
    a, b = map(Tensor, [a.data, b.data] - np.linalg.solve(hessian, values))

"""
**A rule that leaves the ops.** Here is `exp` in the manner of chapter 3, with an array in its rule.
The first derivative is right. But to the second pass the array is a constant: nothing comes
through, and no error tells.
"""
y = np.exp(a.data)
for f in (exp, Op("exp", np.exp, lambda g, _y, _x: g * y)):
    first = gradients(f(a), [a], create_graph=True)
    print(f"first {first[0].data:.4f}  second {gradients(first[0], [a])[0]}")

"""
**What the real one does.** [[minigrad.operations.Op]] has its rules by
[[minigrad.operations.Op.vjps]], or one for all inputs by [[minigrad.operations.Op.vjp]]; an op
without rules is differentiated through its formula ([[minigrad.operations.Op.inline]]).
[[minigrad.graph.Node.pull_back]] gives rules arrays or tensors as ours does, then calls
`unbroadcast`. A rule that leaves the ops is found by [[minigrad.testing.check_gradients]].
"""

"""Arrays and broadcasting

In chapter 1 every number was an object with parents. But one layer of a small network multiplies
matrices, and the first cell counts what that would take. So the engine shall know arrays: one
object for each *operation* on them. But what is a slope then, and what if NumPy broadcasts?
"""

import numpy as np

from minigrad.study.pictures import heat

rng = np.random.default_rng(0)
print(f"products of numbers in (64, 784) @ (784, 10): {64 * 784 * 10}; operations on arrays: 1")

"""
**All slopes at once.** Any element of the input may move any element of the output. So there is a
table of slopes, the **Jacobian**: a row for each element of the output, a column for each of the
input. Nudging finds it, column by column; here for `tanh` of six numbers.
"""


def jacobian(f, x, h=1e-6):
    """The slopes of `f` at `x`, (size of f(x), size of x), by nudging to both sides."""
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    return np.stack([(f(x + step) - f(x - step)).ravel() for step in steps], axis=1) / (2 * h)


x, g = rng.standard_normal((2, 6))
heat(jacobian(np.tanh, x), title="Jacobian of tanh")

"""
Element `i` of the output depends on element `i` of the input and on no other: the rest is 0. Of
large arrays such a table would be huge and nearly empty, and we never need it. Walking backward, we
arrive at an operation with `g`: the slopes of the loss by each element of the output `y`, an array
of the **shape of `y`**, called its **gradient**. We want the same for the input: an array of the
shape of `x`. By the chain rule that is, over all elements of `y`, the sum of `g` times slope:
`g @ jacobian`. A **rule** computes this product without the table. That of `tanh`, whose slope is
`1 - tanh(x) ** 2`, is one line.
"""
print("by the table:", (g @ jacobian(np.tanh, x)).round(4))
print("by the rule: ", (g * (1 - np.tanh(x) ** 2)).round(4))

"""
**A matrix product.** In `y = x @ w` the element `x[i, j]` moves all of row `i` of `y`, and moves
`y[i, k]` with the slope `w[j, k]`. So its gradient is the sum of `g[i, k] * w[j, k]` over `k`, and
that is an element of `g @ w.T`. In the same way the gradient of `w` is `x.T @ g`.
"""
a, w, g = rng.standard_normal((2, 3)), rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
by_table = g.ravel() @ jacobian(lambda w: a @ w, w)
print(f"largest difference for w: {abs(by_table - (a.T @ g).ravel()).max():.1e}")

"""
**Broadcasting.** NumPy adds a row `b` of three to a matrix of two rows as if `b` were written there
twice. The Jacobian shows it: one square for each copy.
"""
heat(jacobian(lambda b: np.zeros((2, 3)) + b, np.zeros(3)), title="Jacobian of x + b, by b")

"""
An element of `b` that was copied reaches the loss by several paths, one for each copy. Paths add.
So **the gradient of what was broadcast is the sum over its copies**, along every axis that was put
in front and every axis of length 1 that was stretched.
"""


def unbroadcast(g, shape):
    """`g` in the shape of the input: summed along the axes that broadcasting made."""
    front = g.ndim - len(shape)
    grown = [i for i, n in enumerate(g.shape) if i < front or (shape[i - front] == 1 and n != 1)]
    return g.sum(axis=tuple(grown), keepdims=True).reshape(shape)


for shape in [(2, 3), (3,), (2, 1), (1, 3), ()]:
    print(f"{shape!s:7} copied to (2, 3):", unbroadcast(np.ones((2, 3)), shape).tolist())

"""
**The engine.** A `Tensor` holds an array, its parents, and for each parent a rule. The rules below
say nothing of broadcasting: they give whatever shape comes out. `backward` mends it, for all
operations **in one place**. A sum is broadcasting turned around: its whole input gets the same `g`.
"""


class Tensor:
    def __init__(self, data, parents=(), rules=()):
        self.data, self.grad = np.asarray(data, dtype="float64"), None
        self.parents, self.rules = parents, rules

    def __add__(self, other):
        a, b = self, as_tensor(other)
        return Tensor(a.data + b.data, (a, b), (lambda g: g, lambda g: g))

    def __mul__(self, other):
        a, b = self, as_tensor(other)
        return Tensor(a.data * b.data, (a, b), (lambda g: g * b.data, lambda g: g * a.data))

    def __matmul__(self, other):
        a, b = self, as_tensor(other)
        return Tensor(a.data @ b.data, (a, b), (lambda g: g @ b.data.T, lambda g: a.data.T @ g))

    def sum(self, axis=None):
        """The sum along `axis`, which stays, with length 1."""
        y = self.data.sum(axis=axis, keepdims=True)
        return Tensor(y, (self,), (lambda g: np.broadcast_to(g, self.data.shape),))

    def tanh(self):
        y = np.tanh(self.data)
        return Tensor(y, (self,), (lambda g: g * (1 - y * y),))


def as_tensor(x):
    return x if isinstance(x, Tensor) else Tensor(x)


def backward(y, g=None):
    """Add the gradient `g` of `y` to its `grad`, and pull it back to all that is behind it."""
    g = np.ones(y.data.shape) if g is None else unbroadcast(g, y.data.shape)
    y.grad = g if y.grad is None else y.grad + g
    for parent, rule in zip(y.parents, y.rules, strict=True):
        backward(parent, rule(g))


"""
**Two layers.** Forty points of the plane, and a height to learn for each. A bias is a row that is
added to every point. One walk gives the gradients of all parameters; each has the shape of its
parameter, and is what nudging finds. The last line shows what a step would do without our one
place: NumPy would broadcast again, without a word, and the bias would become a matrix.
"""
points = rng.uniform(-1, 1, (40, 2))
heights = np.sin(3 * points[:, :1]) * points[:, 1:]
shapes = {"w1": (2, 8), "b1": (8,), "w2": (8, 1), "b2": (1,)}
parameters = {name: Tensor(rng.standard_normal(shape)) for name, shape in shapes.items()}


def loss_of(w1, b1, w2, b2):
    error = (Tensor(points) @ w1 + b1).tanh() @ w2 + b2 + -heights
    return (error * error).sum() * (1 / len(points))


backward(loss_of(**parameters))
for name, p in parameters.items():
    nudged = jacobian(lambda v, name=name: loss_of(**parameters | {name: Tensor(v)}).data, p.data)
    print(name, p.grad.shape, f"largest difference {abs(p.grad.ravel() - nudged).max():.0e}")
wrong = parameters["b1"].data - 0.1 * np.ones((40, 8))  # a gradient as it comes from the rule of +
print("without unbroadcast, one step downhill would make b1", wrong.shape)

"""
**What the real one does.** [[minigrad.graph.unbroadcast]] is ours, and the one place, too. It also
gives the dtype of the input, and refuses a shape that cannot be right. Rules stand below their
formulas: [[minigrad.ops.elementwise.multiply]], [[minigrad.ops.reductions.sum]], which may drop its
axes, [[minigrad.ops.products.matmul]], also for stacks of matrices.
"""

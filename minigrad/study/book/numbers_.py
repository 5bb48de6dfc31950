"""Numbers and the chain rule

A network is a function with many adjustable numbers, its **parameters**. To learn is to move each
of them so that one number, the **loss**, gets smaller. For that we must know how the loss changes
when a parameter is moved a little: its derivative by each of them, thousands at a time. This book
builds a machine that finds them: an engine of **reverse-mode automatic differentiation**. You need
NumPy, and the derivatives you learned at school. We begin with single numbers.
"""

import math

from minigrad.study.pictures import graph, lines

"""
**A derivative by nudging.** Move `x` a little, and `f(x)` moves, too. The derivative of `f` at `x`
says how many times as far. So move `x` by a small `h` and look. We take `f(x) = sin(x * x)`, whose
derivative you can find on paper, `cos(x * x) * 2 * x`, and let `h` shrink from step to step.
"""


def f(x):
    return math.sin(x * x)


at = 1.5
exact = math.cos(at * at) * 2 * at
off = [abs((f(at + h) - f(at)) / h - exact) for h in [10.0**-k for k in range(1, 15)]]
print(f"exact: {exact:.6f}; nudging is wrong by {min(off):.1e} at best")
lines({"log10 of the error": [math.log10(e) for e in off]}, title="h from 0.1 down to 1e-14")

"""
The error falls at first. Then it rises again: `f(x + h)` and `f(x)` agree in ever more digits, and
their difference keeps only what is left of the 16 that a `float` has. So nudging is never exact,
and every parameter needs a run of its own. But as it knows nothing of `f`, it is how engines are
*tested*.

**The chain rule** is exact. A program takes small steps, and for each step we know the slope: how
many times as far its result moves as its input. Along a chain of steps, slopes multiply.
"""
u = at * at  # the first step; its slope is 2 * at
v = math.sin(u)  # the second; its slope is cos(u)
print(f"slopes {2 * at:.4f} and {math.cos(u):.4f}, their product {2 * at * math.cos(u):.6f}")

"""
**Numbers that remember.** Let the program note the slopes while it computes. A `Number` holds its
value, the numbers it was made from (`parents`), and the slope of the step towards each of them.
"""


class Number:
    def __init__(self, data, parents=(), slopes=()):
        self.data, self.parents, self.slopes = data, parents, slopes
        self.grad = 0.0  # what we look for: how much the loss moves with this number

    def __add__(self, other):
        a, b = self, as_number(other)
        return Number(a.data + b.data, (a, b), (1.0, 1.0))

    def __mul__(self, other):
        a, b = self, as_number(other)
        return Number(a.data * b.data, (a, b), (b.data, a.data))  # when a moves: b times as far

    __radd__, __rmul__ = __add__, __mul__


def as_number(x):
    return x if isinstance(x, Number) else Number(x)


def sin(a):
    return Number(math.sin(a.data), (a,), (math.cos(a.data),))


"""
**Several paths.** Now `y = sin(x * x) + x`. Here `x` reaches `y` by more than one path: twice
through the product, once directly. If `x` moves, all of these move `y`, so what they do adds up.
This is the whole chain rule: **multiply the slopes along a path, and add over all paths.**
"""


def along_paths(y, x):
    """For each path from `y` back to `x` the product of its slopes."""
    if y is x:
        return [1.0]
    found = []
    for parent, slope in zip(y.parents, y.slopes, strict=True):
        found += [slope * rest for rest in along_paths(parent, x)]
    return found


x = Number(1.5)
y = sin(x * x) + x
print("along each path:", [round(s, 4) for s in along_paths(y, x)])
print(f"their sum {sum(along_paths(y, x)):.6f}, on paper {exact + 1:.6f}")
graph([("x", "x * x"), ("x", "x * x"), ("x * x", "sin"), ("sin", "y"), ("x", "y")], title="y")

"""
**Backward.** That answers for one input. But look at where the paths begin: all of them at `y`. So
start there with 1, as `y` moves exactly as `y` does, and hand down to each parent what has arrived,
times the slope. Whatever is reached adds it to its `grad`. One walk serves **all** inputs, however
many. This is the reverse in "reverse mode", and the reason why large networks can learn.
"""


def backward(y, g=1.0):
    """Add `g` times the derivative of `y` to every `grad` behind it; returns how many visits."""
    y.grad += g
    steps = zip(y.parents, y.slopes, strict=True)
    return 1 + sum(backward(parent, g * slope) for parent, slope in steps)


a, b = Number(2.0), Number(0.5)
backward(sin(a * b) * a + b)
print(f"by a: {a.grad:.6f}   on paper {math.sin(1.0) + 2.0 * math.cos(1.0) * 0.5:.6f}")
print(f"by b: {b.grad:.6f}   on paper {4.0 * math.cos(1.0) + 1:.6f}")

"""
**It learns.** Find the line `a * t + b` through points that someone took from a line. The loss is
the sum of squared errors. In each round we compute it, walk backward, and move both parameters a
little against their derivatives: downhill.
"""
points = [(t / 2, 1 - t) for t in range(5)]
a, b, losses = Number(0.0), Number(0.0), []
for _ in range(60):
    errors = [a * t + b + -goal for t, goal in points]
    loss = sum(e * e for e in errors)
    losses.append(loss.data)
    a.grad = b.grad = 0.0  # they add up otherwise
    backward(loss)
    a.data, b.data = a.data - 0.05 * a.grad, b.data - 0.05 * b.grad
print(f"a = {a.data:.3f}, b = {b.data:.3f}, loss {losses[0]:.2f} -> {losses[-1]:.6f}")
lines({"loss": losses}, title="the loss, round by round")

"""
**What is still wrong.** Our walk goes along every path. Add a number to itself, and the result to
itself, and so on: each step has two ways back, and the number of visits doubles with each. Chapter
3 mends this; before that, chapter 2 makes arrays of the numbers.
"""
for depth in (5, 10, 15):
    y = Number(1.0)
    for _ in range(depth):
        y = y + y
    print(f"{depth} additions: {backward(y)} visits")

"""
**What the real one does.** That is minigrad's engine. Its numbers are arrays, in a
[[minigrad.graph.Tensor]]; parents and slopes are in a [[minigrad.graph.Node]], one for each step,
whose [[minigrad.graph.Node.pull_back]] is the inside of our loop. [[minigrad.autodiff.backward]] is
our `backward`, without the doubling. Nudging tests it, in [[minigrad.testing.check_gradients]].
"""

"""Kernels and programs

An engine that is right can still be slow. NumPy computes one op at a time: each reads whole arrays
from memory, does a little with every number, and writes a whole new array. Much of the time the
processor waits for memory. This chapter makes fewer trips there: first by hand, then by machine.

The example is Adam of chapter 6, as a formula. The measure is a copy of an array: read, and write.
"""

import math
import timeit
from types import SimpleNamespace

import numba
import numpy as np

import minigrad as mg
from minigrad.study.pictures import heat


def adam(xp, w, g, m, v):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * (g * g)
    return w - 0.001 * (m / (xp.sqrt(v) + 1e-8)), m, v


def show_time(what, function, *arrays):
    print(f"{what:16} {min(timeit.repeat(lambda: function(*arrays), number=1)) * 1e3:5.1f} ms")


arrays = np.abs(np.random.default_rng(0).normal(size=(4, 2**20)))  # w, g, m and v
exact = np.array(adam(np, *arrays))
show_time("copy one array", np.copy, arrays[0])
show_time("Adam in NumPy", adam, np, *arrays)

"""
A **kernel** is the formula as a loop over numbers, compiled. What lies between `g` and `w` stays in
registers, and each array is read or written once. Numba compiles such a loop from Python.
"""


@numba.njit
def adam_kernel(w, g, m, v, new_w, new_m, new_v):
    for i in range(w.size):
        new_m[i] = 0.9 * m[i] + 0.1 * g[i]
        new_v[i] = 0.999 * v[i] + 0.001 * (g[i] * g[i])
        new_w[i] = w[i] - 0.001 * (new_m[i] / (math.sqrt(new_v[i]) + 1e-8))


results = np.empty_like(exact)
adam_kernel(*arrays, *results)  # it is compiled at its first call
show_time("by the kernel", adam_kernel, *arrays, *results)

"""
But a training step is no single loop, and nobody wants to write loops for it. Let a machine read
the formula. We run it once, on values that note what is done to them: an array module once more.
What comes out is a **program**: a list of calls, without the Python in between.
"""
calls: list = []


class Value:  # what an array is called in a program
    __array_ufunc__ = None

    def __init__(self, name, array):
        self.name, self.array, self.shape, self.size = name, array, array.shape, array.size


def recorded(f, turned=False):
    def call(*xs, **options):
        xs = xs[::-1] if turned else xs
        array = f(*(getattr(x, "array", x) for x in xs), **options)
        calls.append((Value(f"v{len(calls)}", array), f, xs, options))
        return calls[-1][0]

    return call


xp = SimpleNamespace(**{f.__name__: recorded(f) for f in (np.sqrt, np.exp, np.matmul, np.sum)})
for short, f in ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("truediv", np.divide):
    setattr(Value, f"__{short}__", recorded(f))
    setattr(Value, f"__r{short}__", recorded(f, turned=True))

"""
**Memory.** NumPy gave every result its own. But a program tells when a value is read for the last
time. So values can share a few slots, the **arena**: the slot of a dead one is free for the next.
And an op that works number by number may write **in place**, over one that dies there.
"""


def plan(program, outputs):
    """The slot of each value that is made, and the sizes of the slots."""
    last = {x: i for i, (_, _, xs, _) in enumerate(program) for x in xs}
    last |= dict.fromkeys(outputs, len(program))
    slot_of, sizes, free = {}, [], set()
    for i, (y, f, xs, _) in enumerate(program):
        dying = [x for x in xs if x in slot_of and last[x] == i]
        by_number = getattr(f, "signature", "") is None  # so NumPy tells add from matmul and sum
        over = [x for x in dying if by_number and x.shape == y.shape]
        fits = [slot_of[x] for x in over] or [s for s in free if sizes[s] >= y.size]
        slot = slot_of[y] = fits[0] if fits else len(sizes)
        sizes += [] if fits else [y.size]
        free = (free | {slot_of[x] for x in dying}) - {slot}
    return slot_of, sizes


class Program:
    """`f` of what these arrays hold, again and again; a run overwrites what the last one gave."""

    def __init__(self, f, *arrays) -> None:
        calls.clear()
        inputs = [Value(f"in{i}", x) for i, x in enumerate(arrays)]
        self.outputs, self.calls = f(xp, *inputs), list(calls)
        self.slot_of, self.sizes = plan(self.calls, self.outputs)
        arena = [np.empty(size) for size in self.sizes]
        for y, slot in self.slot_of.items():
            y.array = arena[slot][: y.size].reshape(y.shape)  # in place of the example

    def run(self):
        for y, f, xs, options in self.calls:
            f(*(getattr(x, "array", x) for x in xs), out=y.array, **options)
        return [y.array for y in self.outputs]


program = Program(adam, *arrays)
held = np.zeros((len(program.sizes), len(program.calls)))
for i, (y, f, xs, _) in enumerate(program.calls):
    held[program.slot_of[y], i:] = i + 1
    inputs = ", ".join(str(getattr(x, "name", x)) for x in xs)
    print(f"{y.name} = {f.__name__}({inputs}) in slot {program.slot_of[y]}")
heat(held, title="a slot a row, a call a column; a shade is a value, which takes another's place")
show_time("as a program", program.run)

# minigrad does both: it writes a program, and puts calls together into kernels.
jitted = mg.jit(lambda *arrays: adam(mg, *arrays))
with mg.backend.using("numpy"):
    theirs = [y.data for y in [jitted(*arrays) for _ in range(3)][-1]]
for name, found in ("kernel", results), ("program", program.run()), ("jit", theirs):
    print(f"{name}: off by {np.abs(np.array(found) - exact).max():.0e}")
print(jitted.program())

"""
**What the real one does.** [[minigrad.programs.jitted.jit]] captures a whole step, with its
backward pass and optimizer ([[minigrad.programs.tracing.Tracer]]), gives every array its place
([[minigrad.programs.memory.Memory]]), and compares the first two runs with the function's own.
[[minigrad.programs.chains.chains]] finds calls that work number by number. They become one call of
[[minigrad.kernels.elementwise.elementwise]]: any such chain, nothing to compile, so slower than a
loop for one, as `us` tells. Ours is [[minigrad.kernels.updates.adam_step]]. And before each run a
[[minigrad.programs.guards.Guard]] looks whether what the step read has changed.
"""

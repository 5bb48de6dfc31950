"""The same on a GPU

A GPU is a second computer with a memory of its own, and thousands of workers who all do the same,
each to other numbers. Formulas do not change: they take their array module as `xp`, and CuPy is
one. What changes is where arrays lie, what a call costs, and who waits for whom.
"""

from types import SimpleNamespace

import numpy as np

import minigrad as mg
from minigrad.study.book import namespace
from minigrad.study.pictures import lines

"""
**A stand-in.** You may have no GPU at hand. So here is a stand-in for CuPy: NumPy behind a fence.
NumPy can use its arrays only once `get` has copied them. Its functions **launch** work and do not
wait for it. So there are two clocks. A launch takes the host a while. The device follows, and takes
the time to move the numbers. The three constants are a model, of the order of CuPy and a large GPU.
"""
LAUNCH, GAP, BYTES = 10.0, 1.5, 2e6  # us on the host; us, and bytes per us, on the device
clock = SimpleNamespace(host=0.0, device=0.0, launches=0)
log: list | None = None  # of launches, while they are noted


class Array:
    __array_ufunc__ = None

    def __init__(self, held):
        self.held, self.shape = held, held.shape

    def get(self):
        clock.host = max(clock.host, clock.device)  # it waits for all that was launched
        return self.held.copy()

    def __array__(self, *_, **__):
        raise TypeError("it lies on the device; copy it with get()")


def work(f, xs, options):
    arrays = [getattr(x, "held", x) for x in xs]
    y = np.asarray(f(*arrays, **options))
    moved = sum(getattr(a, "nbytes", 0) for a in (y, *arrays))
    clock.device = max(clock.device, clock.host) + GAP + moved / BYTES
    return y


def kernel(f):
    def launch(*xs, **options):
        if any(isinstance(x, np.ndarray) for x in xs):
            raise TypeError("an array lies on the host; copy it with asarray")
        clock.host, clock.launches = clock.host + LAUNCH, clock.launches + 1
        y = Array(work(f, xs, options))
        if log is not None:
            log.append((y, f, xs, options))
        return y

    return launch


functions = (np.exp, np.max, np.maximum, np.sum, np.matmul, np.where)
device = SimpleNamespace(**{f.__name__: kernel(f) for f in functions})
device.asarray = lambda x: Array(np.array(x))
device.transpose = lambda x: Array(x.held.T)  # a view: nothing to launch
for short, f in ("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("truediv", np.divide):
    setattr(Array, f"__{short}__", kernel(f))
    setattr(Array, f"__r{short}__", kernel(lambda x, y, f=f: f(y, x)))

"""
**The formula.** The attention of chapter 7, as it stands: on CuPy where it is there, else on the
stand-in. Arrays of host and device do not mix. A copy takes long, so nobody makes one unasked.
"""
xp = device if mg.backend.xp() is np else mg.backend.xp()
print(mg.backend.explain())
attention = namespace("attention")["attention"]
arrays = [*np.random.default_rng(0).normal(size=(3, 8, 16)), np.tri(8, dtype=bool)]
y = attention(xp, *map(xp.asarray, arrays))
print("off by", np.abs(y.get() - attention(np, *arrays)).max())
print("launches of the stand-in:", clock.launches)
try:
    y * arrays[0]
except TypeError as error:
    print("mixed:", error)

"""
**Launches.** For so small a head the device is idle most of the time, and the host is busy
launching. There are two ways out. One is a **kernel** for the whole formula: one launch, and each
number is moved once. (Here a function of NumPy may stand for a kernel. For a GPU one writes it in
CUDA.) The other is a **graph**: launches are noted once, with their arrays; then one call of the
host starts them all.
"""


def silu(x):
    return x / (1.0 + device.exp(0.0 - x))


silu_kernel = kernel(lambda x: x / (1.0 + np.exp(-x)))


class Graph:
    def __init__(self, f, *xs):
        global log
        self.calls = log = []
        self.y, log = f(*xs), None

    def launch(self):
        clock.host += LAUNCH
        for y, *call in self.calls:
            y.held[...] = work(*call)


def microseconds(f, *xs):
    clock.host = clock.device = 0.0
    f(*xs)
    return max(clock.host, clock.device)


inputs = [device.asarray(np.ones(10**k, "float32")) for k in range(3, 8)]
microseconds(silu, inputs[-1])
print(f"the host is free after {clock.host:.0f} us, the device after {clock.device:.0f} us")
curves = {
    "4 launches": [microseconds(silu, x) for x in inputs],
    "a graph of 4": [microseconds(Graph(silu, x).launch) for x in inputs],
    "1 kernel": [microseconds(silu_kernel, x) for x in inputs],
}
for name, times in curves.items():
    print(f"{name:12}", *(f"{t:7.1f} us" for t in times))
lines({n: np.log10(t) for n, t in curves.items()}, title="log10 of us, for 1e3 to 1e7 numbers")

"""
**A graph has its price:** what was a number of Python's when it was noted stays that number. What
shall change from step to step must lie in an array on the device.
"""
rate, there = 0.5, device.asarray(0.5)
graph = Graph(lambda x: x * rate + x * there, device.asarray(1.0))
rate, there.held[...] = 2.0, 2.0
graph.launch()
print("1 * 2 + 1 * 2 is, to the graph,", graph.y.get())

"""
**What the real one does.** An array says by its type which module computes with it
([[minigrad.backend.array_module]], which refuses a mixture); [[minigrad.backend.xp]] is the module
for new ones, and [[minigrad.backend.using]] sets it. So ops, rules, modules and optimizers run on
CuPy as they are. Kernels are another matter: [[minigrad.operations.Op.compute_by_kernel]] asks for
one of the array's module, and where there is none the formula answers, launch by launch. Those in
Numba are for NumPy, and [[minigrad.programs.jitted.Jitted]] runs a function as it is on a device.
[[minigrad.kernels]] says where kernels in CUDA, and graphs, have their place.
"""

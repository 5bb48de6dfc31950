"""What draws random numbers: dropout, and the draws of `minigrad.random` themselves."""

from typing import Any

import numpy as np

from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, aligned
from minigrad.kernels.instructions import Drawn
from minigrad.random import Key, checked_shape

PAGE, DRAWS = Page("noise"), Page("draws")
FLOATS = ("float32", "float64", "float16", "bfloat16")
THREADS = 256

dropout = Kernel("dropout", PAGE)


def dropout_limit(p: float) -> int:
    """The largest word for which an element is kept, as `random.bernoulli` decides; -1 for none."""
    return round((1 - p) * 2**32) - 1


@dropout.accepts
def _(x, key, *, p, shared=(), levels=None):
    """x, scaled or 0 as the words of the key say; its gradient is the same of the gradient."""
    if shared or levels or type(key) not in (Key, Drawn) or not 0 <= p <= 1:
        return None
    if x.dtype.name not in FLOATS or not x.flags.c_contiguous or dropout_limit(p) < 0:
        return None
    return x


@dropout.launches
def _(asks, outputs, x, key, /, *, p, shared=(), levels=None):
    (y,) = outputs
    define = {"T": x.dtype, "PACKED": aligned(x, y)}
    each = THREADS * max(4, 16 // x.dtype.itemsize)
    args = (y, x, x.size, *asks.key(key), dropout_limit(p), 1 / (1 - p))
    if x.size:
        yield Launch(PAGE, "dropout", define, -(-x.size // each), THREADS, args)


@dropout.examples
def _(dtype):
    yield (Empty((100,), dtype), Key(1, 2)), {"p": 0.5}


# --- draws ----------------------------------------------------------------------------------------


def _drawing(asks: Any, y: Any, key: Any, wide: str, *numbers: Any) -> Launch:
    """A launch that draws `y`; `numbers` are what is multiplied by, added, and for integers."""
    kind, scale, shift, span, first = numbers
    define = {"T": y.dtype, "A": np.dtype(wide), "DRAW": kind, "PACKED": aligned(y)}
    args = (y, y.size, *asks.key(key), float(scale), float(shift), int(span), int(first))
    each = THREADS * (16 // y.dtype.itemsize)
    return Launch(DRAWS, "draw", define, -(-y.size // each), THREADS, args)


def _drawn(name: str, key: Any, shape: Any, dtype: Any) -> Empty | None:
    dtype = np.dtype(dtype)
    if type(key) not in (Key, Drawn) or dtype.name not in ("float32", "float64", "int64"):
        return None
    return Empty(checked_shape(name, shape), dtype)


uniform = Kernel("uniform", DRAWS, ("float32", "float64"))


@uniform.accepts
def _(key, *, shape, low=0.0, high=1.0, dtype="float32"):
    """As `minigrad.random.uniform`, bit by bit."""
    return _drawn("uniform", key, shape, dtype)


@uniform.launches
def _(asks, outputs, key, *, shape, low=0.0, high=1.0, dtype="float32"):
    (y,) = outputs
    if y.size:
        yield _drawing(asks, y, key, y.dtype.name, "UNIFORM", float(high - low), low, 0, 0)


@uniform.examples
def _(dtype):
    yield (Key(1, 2),), {"shape": (10, 10), "dtype": dtype}


normal = Kernel("normal", DRAWS, ("float32", "float64"))


@normal.accepts
def _(key, *, shape, mean=0.0, std=1.0, dtype="float32"):
    """As `minigrad.random.normal`, computed in float64 too."""
    return _drawn("normal", key, shape, dtype)


@normal.launches
def _(asks, outputs, key, *, shape, mean=0.0, std=1.0, dtype="float32"):
    (y,) = outputs
    if y.size:
        yield _drawing(asks, y, key, "float64", "NORMAL", std, mean, 0, 0)


@normal.examples
def _(dtype):
    yield (Key(1, 2),), {"shape": (10, 10), "dtype": dtype}


integers = Kernel("integers", DRAWS, ("float32",))


@integers.accepts
def _(key, *, low, high, shape):
    """As `minigrad.random.integers`, bit by bit."""
    return _drawn("integers", key, shape, "int64") if 1 <= high - low <= 2**32 else None


@integers.launches
def _(asks, outputs, key, *, low, high, shape):
    (y,) = outputs
    if y.size:
        yield _drawing(asks, y, key, "int64", "INTEGERS", 0, 0, high - low, low)


@integers.examples
def _(dtype):
    yield (Key(1, 2),), {"low": -3, "high": 5, "shape": (10, 10)}

"""What draws random numbers: dropout."""

from minigrad.kernels.cuda.machine import Empty, Kernel, Launch, Page, aligned
from minigrad.kernels.instructions import Drawn
from minigrad.random import Key

PAGE = Page("noise")
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

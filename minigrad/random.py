"""Random numbers drawn from keys: the same numbers on NumPy and on CuPy, on every machine.

A draw is a pure function of a key and a shape. There is no state to save, no order to keep:

    root = random.key(2026)
    w = random.normal(random.fold(root, "encoder.weight"), (512, 512), std=0.02)
    keep = random.bernoulli(random.fold(root, step, "dropout"), 0.9, x.shape, xp=cupy)

Element i (in C order) of a draw depends on the key and on i alone, so a longer draw begins with
the shorter one and a shape only reshapes. Use a key for one draw: two draws from one key share
their random words. `fold` makes as many keys as are needed.

Code that draws in order, such as parameter initialisation, takes its keys from the current
`Stream` by `next_key()`. Nobody has to seed: the default stream starts from seed 0.

The words come from Philox4x32-10: J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011. They are equal bit by bit on every array module, and with
them `bits`, `uniform`, `bernoulli` and `integers`; `normal` calls log, cos and sin, which differ
by units in the last place. Not for cryptography.
"""

import hashlib
import itertools
import math
import numbers
import operator
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.errors import CaptureError, DtypeError, ShapeError

__all__ = [
    "Key",
    "Stream",
    "bernoulli",
    "bits",
    "fold",
    "integers",
    "key",
    "next_key",
    "normal",
    "permutation",
    "philox",
    "seed",
    "stream",
    "uniform",
]

MASK = 0xFFFFFFFF

Shape = int | Sequence[int]


# ---------------------------------------------------------------------------------------- keys


@dataclass(frozen=True, slots=True)
class Key:
    """Two 32-bit words from which numbers are drawn; hashable, and unpacks as (low, high).

    Raises:
        ValueError: they are no such integers.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        for word in (self.low, self.high):
            if not (isinstance(word, int) and 0 <= word <= MASK):
                raise ValueError(
                    f"Key: expects two integers of 32 bits, got {self.low!r} and {self.high!r}; "
                    "use random.key(seed)"
                )

    def __iter__(self) -> Iterator[int]:
        return iter((self.low, self.high))


def key(seed: int) -> Key:
    """The key of a seed, an integer from 0 to 2**64 - 1.

    Raises TypeError for anything but an integer and ValueError for one out of range.
    """
    try:
        number = None if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"key: expects an integer seed, got {seed!r}")
    if not 0 <= number < 2**64:
        raise ValueError(f"key: expects a seed from 0 to 2**64 - 1, got {number}")
    return Key(number & MASK, number >> 32)


def fold(key: Key, *data: int | str) -> Key:
    """A new key from `key` and integers or strings; a pure function, the same in every process.

    The order counts: `fold(k, a, b)` is `fold(fold(k, a), b)`, and differs from `fold(k, b, a)`.
    The integer 1 and the string "1" give different keys. Integers may be of any size and sign.
    Each item costs one BLAKE2b hash. Raises TypeError for other kinds of data.
    """
    for item in data:
        if isinstance(item, str):
            content = b"s" + item.encode("utf-8", "surrogatepass")
        elif isinstance(item, numbers.Integral):
            content = b"i%d" % int(item)
        else:
            raise TypeError(f"fold: expects integers and strings, got {item!r}")
        head = key.low.to_bytes(4, "little") + key.high.to_bytes(4, "little")
        digest = hashlib.blake2b(head + content, digest_size=8, person=b"minigrad.random").digest()
        key = Key(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))
    return key


# --------------------------------------------------------------------------------------- words


def philox(key: Any, counter: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Four random 32-bit words for each counter of four 32-bit words: Philox4x32-10.

    `key` (two words) and `counter` (four) hold Python integers, or uint64 arrays of any one array
    module, which broadcast. The result is of the same kind: below 2**32, in uint64 if an array.
    """
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        # The product of two 32-bit words fits into 64 bits: its high half is mixed, its low kept.
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def _words(key: Key, n: int, xp: ModuleType) -> Any:
    """The first `n` random words of a key, uint32 (n,): word i is lane i % 4 of block i // 4."""
    block = xp.arange(-(-n // 4), dtype=xp.uint64)
    words = xp.empty((block.size, 4), dtype=xp.uint32)
    for lane, word in enumerate(philox(key, (block & MASK, block >> 32, 0, 0))):
        words[:, lane] = word
    return words.reshape(-1)[:n]


def _pairs(key: Key, n: int, xp: ModuleType) -> tuple[Any, Any]:
    """The first `2 n` random words as `n` pairs (low, high), two uint64 arrays (n,)."""
    words = _words(key, 2 * n, xp).astype(xp.uint64)
    return words[0::2], words[1::2]


def _unit(key: Key, n: int, xp: ModuleType) -> Any:
    """The first `n` uniforms in [0, 1) of 53 bits, float64 (n,)."""
    low, high = _pairs(key, n, xp)
    return ((high << 21) | (low >> 11)).astype(xp.float64) * 2.0**-53


def checked_shape(function: str, shape: Shape) -> tuple[int, ...]:
    """`shape` as a tuple of Python integers; raises ShapeError if it is none."""
    given: Any = shape if hasattr(shape, "__len__") else (shape,)
    try:
        lengths = tuple(-1 if n is True or n is False else operator.index(n) for n in given)
    except TypeError:
        lengths = (-1,)
    if any(length < 0 for length in lengths):
        raise ShapeError(f"{function}: expects a shape of non-negative integers, got {shape!r}")
    return lengths


def _float_dtype(function: str, dtype: Any) -> np.dtype:
    """`dtype` as float32 or float64; raises DtypeError if it is neither."""
    if (dtype := np.dtype(dtype)) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DtypeError(
            f"{function}: expects float32 or float64, got {dtype}; draw float32 and cast"
        )
    return dtype


# --------------------------------------------------------------------------------------- draws


def bits(key: Key, shape: Shape, xp: ModuleType = np) -> Any:
    """Random 32-bit words, uint32 of `shape`, on the array module `xp`."""
    shape = checked_shape("bits", shape)
    return _words(key, math.prod(shape), xp).reshape(shape)


def uniform(
    key: Key,
    shape: Shape,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = "float32",
    xp: ModuleType = np,
) -> Any:
    """Uniform numbers from `low` to `high`, float32 or float64 of `shape`.

    A float32 has 24 random bits, a float64 has 53. In [0, 1) `high` never comes; elsewhere
    rounding can yield it. Raises ValueError unless low <= high and both are finite.
    """
    shape, dtype = checked_shape("uniform", shape), _float_dtype("uniform", dtype)
    if not (low <= high and math.isfinite(high - low)):
        raise ValueError(f"uniform: expects finite low <= high, got low={low} and high={high}")
    n = math.prod(shape)
    if dtype == np.float32:
        u = (_words(key, n, xp) >> 8).astype(xp.float32) * 2.0**-24
    else:
        u = _unit(key, n, xp)
    # float(): a NumPy scalar would lift float32 to float64.
    return (u * float(high - low) + float(low)).reshape(shape)


def normal(
    key: Key,
    shape: Shape,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = "float32",
    xp: ModuleType = np,
) -> Any:
    """Normal numbers of `mean` and standard deviation `std`, float32 or float64 of `shape`.

    Computed in float64 and rounded, so that a float32 draw is the float64 draw rounded. Raises
    ValueError unless std >= 0 and both are finite.

    G. Box and M. Muller, "A note on the generation of random normal deviates", 1958.
    """
    shape, dtype = checked_shape("normal", shape), _float_dtype("normal", dtype)
    if not (std >= 0 and math.isfinite(std) and math.isfinite(mean)):
        raise ValueError(f"normal: expects finite mean and std >= 0, got mean={mean}, std={std}")
    n = math.prod(shape)
    # Two uniforms give a point of the plane, and its two coordinates are elements 2 i and 2 i + 1.
    u = _unit(key, n + n % 2, xp)
    radius = xp.sqrt(-2.0 * xp.log(1.0 - u[0::2]))  # 1 - u is never 0
    angle = 2.0 * math.pi * u[1::2]
    z = xp.stack((radius * xp.cos(angle), radius * xp.sin(angle)), axis=-1).reshape(-1)[:n]
    return (z * float(std) + float(mean)).astype(dtype).reshape(shape)


def bernoulli(key: Key, p: float, shape: Shape, xp: ModuleType = np) -> Any:
    """True with probability `p`, bool of `shape`; never for p = 0, always for p = 1.

    `p` is taken to the nearest multiple of 2**-32, and random words are compared with it as
    integers. Raises ValueError unless 0 <= p <= 1.
    """
    shape = checked_shape("bernoulli", shape)
    if not 0 <= p <= 1:
        raise ValueError(f"bernoulli: expects a probability from 0 to 1, got {p}")
    threshold = round(float(p) * 2**32)
    if threshold == 0:
        return xp.zeros(shape, dtype=bool)
    # word < threshold, but so that 2**32, for p = 1, is not needed as a uint32.
    return (_words(key, math.prod(shape), xp) <= threshold - 1).reshape(shape)


def integers(key: Key, low: int, high: int, shape: Shape, xp: ModuleType = np) -> Any:
    """Integers from `low` up to but without `high`, int64 of `shape`.

    Each is the high half of the product of a random 64-bit word and `high - low`, which may be
    up to 2**32: probabilities differ from equal ones by less than 2**-32 of their value. Raises
    ValueError for an empty or longer range, or one outside int64.

    D. Lemire, "Fast random integer generation in an interval", 2019 (without its rejection).
    """
    shape = checked_shape("integers", shape)
    low, high = operator.index(low), operator.index(high)
    span = high - low
    if not (1 <= span <= 2**32 and low >= -(2**63) and high <= 2**63):
        raise ValueError(
            f"integers: expects low < high <= low + 2**32 within int64, got low={low}, high={high}"
        )
    low_word, high_word = _pairs(key, math.prod(shape), xp)
    offset = (high_word * span + (low_word * span >> 32)) >> 32
    return (offset.astype(xp.int64) + low).reshape(shape)


def permutation(key: Key, n: int) -> np.ndarray:
    """The numbers 0 to n - 1 in random order, int64 (n,), on the host.

    They are sorted by random 64-bit words. Raises ShapeError for a negative `n`.
    """
    (n,) = checked_shape("permutation", (n,))
    low, high = _pairs(key, n, np)
    return np.argsort((high << 32) | low, kind="stable").astype(np.int64, copy=False)


# -------------------------------------------------------------------------------------- streams


class Stream:
    """An endless sequence of keys from one key or seed, for code that draws in order."""

    def __init__(self, source: Key | int) -> None:
        self.key = source if isinstance(source, Key) else key(source)
        # Apart from fold(key, 0), fold(key, 1), ... that a user may draw from.
        self._base = fold(self.key, "minigrad.random.Stream")
        self._count = itertools.count()

    def next_key(self) -> Key:
        """The next key of this stream; safe to call from several threads."""
        return fold(self._base, next(self._count))


# The default stream, once there is one, is `_default`; the streams of the open blocks, innermost
# last, are `_blocks`. A block removes itself by identity and not by resetting a token: blocks in
# generators can end in any order, and in another context than they began in.
_default: ContextVar[Stream | None] = ContextVar("minigrad.random.default", default=None)
_blocks: ContextVar[tuple[Any, ...]] = ContextVar("minigrad.random.blocks", default=())


def seed(number: int) -> None:
    """Restart the default stream of this context (thread or asynchronous task) from a seed.

    Without it, the default stream starts from seed 0, and so it does anew in a thread that does
    not inherit a context: threads that shall differ are given keys. Inside a `with stream(...)`
    block, `next_key` goes on drawing from the block's stream.
    """
    _default.set(Stream(number))


@contextmanager
def stream(source: Key | int) -> Iterator[Stream]:
    """Make a new stream of a key or seed the current one inside a `with` block.

    Blocks nest, and an exception ends them as usual. A block in a generator also holds for the
    code that runs between the generator's steps, as for every context variable.
    """
    own = Stream(source)
    _blocks.set((*_blocks.get(), own))
    try:
        yield own
    finally:
        _blocks.set(tuple(other for other in _blocks.get() if other is not own))


class _Recorder:
    """Stands above the current stream, and writes down what it gives."""

    def __init__(self, keys: list[Key]):
        self.keys = keys

    def next_key(self) -> Key:
        # Of the stream that is below it now: `seed` may have been called meanwhile.
        blocks = _blocks.get()
        below = blocks[: next(i for i, other in enumerate(blocks) if other is self)]
        key = _current(below).next_key()
        self.keys.append(key)
        return key


class _Player:
    """Gives keys that were drawn before."""

    def __init__(self, keys: list[Key]):
        self.keys = iter(keys)

    def next_key(self) -> Key:
        if (key := next(self.keys, None)) is None:
            raise CaptureError(
                "jit: a function draws more random numbers than when it was captured"
            )
        return key


def recorded(keys: list[Key]) -> AbstractContextManager[None]:
    """Inside the block, every key that is drawn from the current stream is added to `keys`."""
    return _block(_Recorder(keys))


def replayed(keys: list[Key]) -> AbstractContextManager[None]:
    """Inside the block, `next_key` gives `keys`, one after the other."""
    return _block(_Player(keys))


@contextmanager
def _block(own: Any) -> Iterator[None]:
    """Inside the block keys come from `own`; streams that are opened there may outlive it."""
    _blocks.set((*_blocks.get(), own))
    try:
        yield
    finally:
        _blocks.set(tuple(other for other in _blocks.get() if other is not own))


def next_key() -> Key:
    """The next key of the current stream: the innermost block's, or else the default one's."""
    return _current(_blocks.get()).next_key()


def _current(blocks: tuple[Any, ...]) -> Any:
    """The innermost of `blocks`; without any the default stream."""
    if blocks:
        return blocks[-1]
    if (current := _default.get()) is None:
        _default.set(current := Stream(0))
    return current


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(name)
    from minigrad.elsewhere import missing  # not at the top: it is read when a name is missing

    raise AttributeError(missing("minigrad.random", name))

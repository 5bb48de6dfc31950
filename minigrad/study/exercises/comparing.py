"""What an answer gave beside what is right: arrays in lists and dictionaries, and their
differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_numpy


@dataclass(frozen=True)
class Difference:
    """Where an answer misses the right one: `kind` is type, length, keys, plain, shape, dtype or
    value."""

    part: str
    kind: str
    yours: Any
    right: Any


def differences(
    yours: Any, right: Any, narrow: bool, part: str = "", parts: Sequence[str] = ()
) -> Iterator[Difference]:
    """How `yours` differs from what is `right`; numbers may differ by rounding.

    Args:
        narrow: whether the numbers are float32.
        part: what is compared, as a message calls it.
        parts: names of the things in a tuple.
    """
    if isinstance(right, tuple | list):
        if not isinstance(yours, tuple | list):
            yield Difference(part, "type", yours, right)
        elif len(yours) != len(right):
            yield Difference(part, "length", yours, right)
        else:
            for i, (a, b) in enumerate(zip(yours, right, strict=True)):
                name = parts[i] if i < len(parts) else f"{part}[{i}]"
                yield from differences(a, b, narrow, name)
    elif isinstance(right, dict):
        if not isinstance(yours, dict):
            yield Difference(part, "type", yours, right)
        elif yours.keys() != right.keys():
            yield Difference(part, "keys", set(yours), set(right))
        else:
            for name in right:
                yield from differences(yours[name], right[name], narrow, f"{part}[{name!r}]")
    elif isinstance(right, set | frozenset):
        if not isinstance(yours, set | frozenset):
            yield Difference(part, "type", yours, right)
        elif yours != right:
            yield Difference(part, "keys", set(yours), set(right))
    elif right is None or isinstance(right, str | bool):
        yours = bool(yours) if isinstance(yours, np.bool_) else yours
        if type(yours) is not type(right):
            yield Difference(part, "type", yours, right)
        elif yours != right:
            yield Difference(part, "plain", yours, right)
    else:
        yield from _numbers_differ(yours, right, narrow, part)


def _numbers_differ(yours: Any, right: Any, narrow: bool, part: str) -> Iterator[Difference]:
    a, b = _numbers(yours), np.asarray(right)
    if a is None or (b.ndim and isinstance(yours, list | tuple)):
        yield Difference(part, "type", yours, right)
    elif a.shape != b.shape:
        yield Difference(part, "shape", a, b)
    elif not near(a, b, narrow):
        yield Difference(part, "value", a, b)
    elif b.ndim and a.dtype != b.dtype:
        yield Difference(part, "dtype", a, b)


def _numbers(x: Any) -> np.ndarray | None:
    """`x` as an array; None if it is no numbers."""
    if type(x) is Tensor or is_array(x):
        return to_numpy(x.data if type(x) is Tensor else x)
    if not isinstance(x, int | float | np.generic | list | tuple):
        return None
    try:
        a = np.asarray(x)
    except ValueError:  # ragged
        return None
    return a if a.dtype.kind in "fiub" else None


def close(a: np.ndarray, b: np.ndarray, narrow: bool) -> np.ndarray:
    """Where two arrays of one shape agree."""
    if b.dtype.kind in "iub" and a.dtype.kind in "iub":
        return a == b
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    size = max(1.0, finite.max()) if finite.size else 1.0
    relative, absolute = (1e-4, 1e-5) if narrow else (1e-7, 1e-10)
    return np.isclose(a, b, relative, absolute * size, equal_nan=True)


def near(a: np.ndarray, b: np.ndarray, narrow: bool) -> bool:
    return a.shape == b.shape and bool(close(a, b, narrow).all())


# ------------------------------------------------------------------------- arrays in containers


def arrays(x: Any) -> Iterator[np.ndarray]:
    """The NumPy arrays in `x`."""
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, dict):
        for part in x.values():
            yield from arrays(part)
    elif isinstance(x, list | tuple):
        for part in x:
            yield from arrays(part)


def narrowed(x: Any) -> Any:
    """`x` with float32 in place of float64 in its arrays; `x` itself if there are none."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return x.astype(np.float32)
    if type(x) is dict:
        new = {name: narrowed(part) for name, part in x.items()}
        return new if any(new[name] is not x[name] for name in x) else x
    if type(x) in (list, tuple):
        parts = [narrowed(part) for part in x]
        return x if all(a is b for a, b in zip(parts, x, strict=True)) else type(x)(parts)
    return x


def copied(x: Any, known: dict[int, Any] | None = None) -> Any:
    """`x` with copies of its arrays and containers; what is the same object stays the same."""
    known = {} if known is None else known
    if id(x) in known:
        return known[id(x)]
    new = x
    if isinstance(x, np.ndarray):
        new = x.copy()
    elif type(x) is dict:
        new = {name: copied(part, known) for name, part in x.items()}
    elif type(x) in (list, tuple):
        new = type(x)(copied(part, known) for part in x)
    known[id(x)] = new
    return new

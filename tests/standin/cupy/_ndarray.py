"""The stand-in's array: a NumPy array in a box, with a keeper who says what may pass."""

import operator
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from cupy._devices import Device, present

# ---------------------------------------------------------------------------------- accounts

synchronisations: Counter[str] = Counter()  # what made the host wait: how often
transfers: Counter[str] = Counter()  # what moved data between host and device: how often

_captured = False


@contextmanager
def capturing() -> Iterator[None]:
    """Inside the `with` block a synchronisation or a transfer is a RuntimeError."""
    global _captured
    before, _captured = _captured, True
    try:
        yield
    finally:
        _captured = before


def count(account: Counter[str], what: str) -> None:
    """Put `what` on an account; or raise, while capturing."""
    if _captured:
        raise RuntimeError(f"{what}: the current stream is capturing")
    account[what] += 1


# ------------------------------------------------------------------------- in and out of NumPy

SCALARS = (bool, int, float, complex, np.generic)


def to_host(x: Any) -> Any:
    """An argument as NumPy takes it."""
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type numpy.ndarray; move the array with cupy.asarray(x)")
    if isinstance(x, tuple | list):
        return type(x)(map(to_host, x))
    return x._host if isinstance(x, ndarray) else x


def to_operand(x: Any) -> Any:
    """An operand as NumPy takes it: a device array or a scalar, and nothing else."""
    if not isinstance(x, (ndarray, *SCALARS)):
        raise TypeError(f"Unsupported type {type(x).__module__}.{type(x).__qualname__}")
    return to_host(x)


def as_index(index: Any) -> tuple:
    """An index as NumPy takes it: a tuple with an ellipsis, which makes `x[0]` a 0-d view."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, ndarray):
            if part.dtype == np.bool_:
                count(synchronisations, "a mask as an index")  # how many elements are True?
        elif isinstance(part, bool) or not (
            part is None or part is Ellipsis or isinstance(part, slice | int | np.integer)
        ):
            raise TypeError(f"an index of type {type(part).__name__}; move it with cupy.asarray(x)")
    whole = () if any(part is Ellipsis for part in parts) else (...,)
    return (*map(to_host, parts), *whole)


def to_device(y: Any) -> Any:
    """A result of NumPy as CuPy gives it; the same device array for the same NumPy array."""
    if isinstance(y, tuple | list):
        return type(y)(map(to_device, y))
    if isinstance(y, np.generic | bool):
        y = np.asarray(y)
    if not isinstance(y, np.ndarray):
        return y
    x = _alive.get(id(y))
    if x is None:
        x = _alive[id(y)] = object.__new__(ndarray)
        x._host, x._device = y, present()
    return x


_alive: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # by the id of `_host`


def run(function: Callable, *args: Any, **options: Any) -> Any:
    """What a NumPy function gives for NumPy arguments; floating-point errors are silent."""
    with np.errstate(all="ignore"):
        return to_device(function(*args, **options))


def matmul(a: Any, b: Any, **options: Any) -> np.ndarray:
    """NumPy's, without what CuPy has no kernel for."""
    if max(np.ndim(a), np.ndim(b)) > 2 and is_bfloat16(a) and is_bfloat16(b):
        raise TypeError("matmul: many products of bfloat16 matrices in one are not supported")
    return np.matmul(a, b, **options)


def is_bfloat16(x: Any) -> bool:
    """Whether it is an array or a scalar of bfloat16."""
    return isinstance(x, np.ndarray | np.generic) and x.dtype.name == "bfloat16"


def call(function: Callable, *args: Any, **options: Any) -> Any:
    """What a NumPy function gives for device arguments."""
    if function.__name__ in ("argsort", "sort", "unique"):
        x = to_host(args[0]) if args else function.__self__
        if is_bfloat16(x):
            raise NotImplementedError("Sorting arrays with dtype 'bfloat16' is not supported")
    if unknown := {"where", "initial", "subok", "like", "device"} & options.keys():
        raise TypeError(f"{function.__name__}: CuPy has no argument {', '.join(unknown)}")
    return run(function, *map(to_host, args), **{k: to_host(v) for k, v in options.items()})


def scatter(write: Callable, x: "ndarray", index: Any, values: Any) -> None:
    """`write(x, index, values)`; what an array names is written one by one, in random order."""
    host, index, values = x._host, as_index(index), to_operand(values)
    if not any(isinstance(part, np.ndarray) for part in index):
        return write(host, index, values)
    places = np.arange(host.size).reshape(host.shape)[index]
    values = np.broadcast_to(values, places.shape).reshape(-1)
    order = _generator.permutation(places.size)
    flat = host.reshape(-1)  # a copy if `host` is not contiguous
    write(flat, places.reshape(-1)[order], values[order])
    host[...] = flat.reshape(host.shape)


_generator = np.random.default_rng()  # unseeded: on a device, too, every run has its own order

# ---------------------------------------------------------------------------- memory and launches

_asked: dict[int, Any] = {}  # addresses of arrays that were asked for, with weak references


def _pointer(x: "ndarray") -> int:
    address = x._host.__array_interface__["data"][0]
    _asked[address] = weakref.ref(x)
    return address


def memory_at(address: int) -> tuple[int, int] | None:
    """Where the memory of an array begins and ends that has the byte at `address`."""
    asked = _asked.get(address, lambda: None)()
    for x in list(_alive.values()) if asked is None else [asked]:
        begin, end = np.lib.array_utils.byte_bounds(_owner(x._host))
        if begin <= address < end:
            return begin, end
    return None


def _owner(host: np.ndarray) -> np.ndarray:
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def submit(work: Callable[[], None]) -> None:
    """Do what a kernel does: now."""
    work()


# --------------------------------------------------------------------------------- the array


class ndarray:
    """An array on the device that is not there. Its operators and most methods come below."""

    __slots__ = ("__weakref__", "_device", "_host")

    __array_ufunc__ = None  # NumPy's ufuncs refuse it, and NumPy's operators leave it to its own
    __hash__ = None

    def __new__(cls, *_: Any, **__: Any) -> "ndarray":
        raise TypeError("the stand-in for cupy makes arrays by functions only, as empty(shape)")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use x.get()")

    def __array_function__(self, function: Callable, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of a device array; use cupy's, or x.get()")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in for cupy.ndarray has no {name!r}")

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    data = property(lambda self: SimpleNamespace(ptr=_pointer(self)))
    device = property(lambda self: Device(self._device))
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    base = property(lambda self: to_device(self._host.base))
    T = property(lambda self: to_device(self._host.T))
    real = property(lambda self: to_device(self._host.real))
    imag = property(lambda self: to_device(self._host.imag))

    @property
    def flags(self) -> SimpleNamespace:
        """The layout. There are no read-only arrays."""
        names = ("c_contiguous", "f_contiguous", "owndata")
        return SimpleNamespace(**{name: getattr(self._host.flags, name) for name in names})

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        count(synchronisations, "iteration")  # CuPy does not wait yet, but what follows will
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> "ndarray":
        return run(operator.getitem, self._host, as_index(index))

    def __setitem__(self, index: Any, values: Any) -> None:
        scatter(operator.setitem, self, index, values)

    def get(self) -> np.ndarray:
        """A copy on the host."""
        count(transfers, "get")
        return self._host.copy()

    def set(self, values: np.ndarray) -> None:
        """Overwrite it with a host array of its shape and dtype."""
        if (values.shape, values.dtype) != (self.shape, self.dtype):
            raise ValueError("set: the shape and the dtype must be the array's own")
        count(transfers, "set")
        self._host[...] = values


METHODS = """
    all any argmax argmin argsort astype clip copy cumprod cumsum diagonal dot fill flatten max mean
    min prod ravel repeat reshape round sort squeeze std sum swapaxes trace transpose var view
"""
WAITING = "__bool__ __complex__ __float__ __format__ __int__ __repr__ __str__ item tolist"
UNARY = "neg pos abs invert"
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
COMPARISONS = "lt le eq ne gt ge"


def _method(name: str) -> Callable:
    return lambda self, *args, **options: call(getattr(self._host, name), *args, **options)


def _waiting(name: str) -> Callable:
    def method(self: ndarray, *args: Any) -> Any:
        count(synchronisations, name.strip("_"))
        return getattr(self._host, name)(*args)

    return method


def _unary(name: str) -> Callable:
    return lambda self: run(getattr(operator, name), self._host)


def _binary(name: str, reflected: bool = False) -> Callable:
    function = matmul if "matmul" in name and "imatmul" not in name else getattr(operator, name)

    def method(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (np.ndarray, *SCALARS)) and hasattr(other, "__array_priority__"):
            return NotImplemented  # a Tensor, whose own operator answers
        a, b = self._host, to_operand(other)
        return run(function, b, a) if reflected else run(function, a, b)

    return method


for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))
for _name in WAITING.split():
    setattr(ndarray, _name, _waiting(_name))
for _name in UNARY.split():
    setattr(ndarray, f"__{_name}__", _unary(_name))
for _name in (*BINARY.split(), *COMPARISONS.split()):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))
for _name in BINARY.split():
    setattr(ndarray, f"__r{_name}__", _binary(f"__{_name}__", reflected=True))
    setattr(ndarray, f"__i{_name}__", _binary(f"__i{_name}__"))

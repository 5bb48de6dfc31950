"""The stand-in's array: a NumPy array in a box, with a keeper who says what may pass."""

import operator
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from cupy._devices import Device, present
from cupy.cuda import stream as streams
from cupy.cuda.memory import MemoryPointer, UnownedMemory, in_place, made, placed
from cupy.cuda.stream import (
    capturing,
    count,
    refuse_library,
    refuse_upload,
    synchronisations,
    transfers,
)

__all__ = [
    "SCALARS", "as_index", "call", "capturing", "count", "ndarray", "refuse_library", "run",
    "scatter", "synchronisations", "to_device", "to_host", "to_operand", "transfers",
]  # fmt: skip

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


def run(
    function: Callable, *args: Any, writes: tuple = (), indices: tuple = (), **options: Any
) -> Any:
    """What a NumPy function gives for NumPy arguments; floating-point errors are silent.

    Args:
        writes: the arrays among the arguments that it writes to, beside `out`.
        indices: the arrays among them that it takes as indices.
    """
    with np.errstate(all="ignore"):
        operands = list(_arrays((args, tuple(options.values()))))
        if not streams.later():
            return to_device(_owned(function(*args, **options), operands))
        return _run_later(function, args, options, operands, [*writes, options.get("out")], indices)


def _run_later(
    function: Callable, args: tuple, options: dict, operands: list, writes: list, indices: tuple
) -> Any:
    """As `run`, but for a stream whose work waits: results are rubbish until it is done.

    Their shapes are found by a trial. It writes to copies, and finds zeros for indices, which may
    be rubbish so far.
    """
    instead: dict[int, np.ndarray] = {}
    for x in writes:
        if x is not None:
            instead[id(x)] = x.copy()
    instead |= {id(x): np.zeros_like(x) for x in indices}

    def swapped(x: Any) -> Any:
        if isinstance(x, tuple | list):
            return type(x)(map(swapped, x))
        return instead.get(id(x), x) if isinstance(x, np.ndarray) else x

    found = function(*swapped(args), **{k: swapped(v) for k, v in options.items()})
    original = {id(copy): x for x in operands if (copy := instead.get(id(x))) is not None}
    new: list[tuple[int, np.ndarray]] = []

    def result(y: Any) -> Any:
        if isinstance(y, tuple | list):
            return type(y)(map(result, y))
        if isinstance(y, np.ndarray | np.generic | bool):
            i, y = number(), np.asarray(y)
            if id(y) in original:
                return original[id(y)]
            if y.size and not any(map(np.may_share_memory, operands, [y] * len(operands))):
                y = placed(y)
                y.fill(_rubbish(y.dtype))
                new.append((i, y))
        return y

    number = iter(range(1 << 30)).__next__
    results = result(found)
    if not new and not any(x is not None for x in writes):
        return to_device(results)  # a view

    def work() -> None:
        with np.errstate(all="ignore"):
            again = list(_leaves(function(*args, **options)))
            for i, y in new:
                y[...] = again[i]

    streams.submit(work)
    return to_device(results)


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, tuple | list):
        for part in x:
            yield from _leaves(part)
    elif isinstance(x, np.ndarray | np.generic | bool):
        yield x


def _arrays(x: Any) -> Iterator[np.ndarray]:
    return (y for y in _leaves(x) if isinstance(y, np.ndarray))


def _owned(y: Any, operands: list) -> Any:
    """A result, in memory of the device's if it is new."""
    if isinstance(y, tuple | list):
        return type(y)(_owned(part, operands) for part in y)
    if isinstance(y, np.generic | bool):
        y = np.asarray(y)
    if not isinstance(y, np.ndarray) or any(np.may_share_memory(y, x) for x in operands):
        return y
    return placed(y)


def _rubbish(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.nan


def uninitialised(shape: Any, dtype: Any = "float64") -> "ndarray":
    """Rubbish: NaN, the largest integer, or True."""
    dtype = np.dtype(dtype)
    y = made(shape, dtype)
    y.fill(_rubbish(dtype))
    return to_device(y)


def matmul(a: Any, b: Any, **options: Any) -> np.ndarray:
    """NumPy's, without what CuPy has no kernel for."""
    if max(np.ndim(a), np.ndim(b)) > 2 and is_bfloat16(a) and is_bfloat16(b):
        raise TypeError("matmul: many products of bfloat16 matrices in one are not supported")
    if np.result_type(a, b).kind not in "iub":
        refuse_library("cuBLAS")
    return np.matmul(a, b, **options)


def is_bfloat16(x: Any) -> bool:
    """Whether it is an array or a scalar of bfloat16."""
    return isinstance(x, np.ndarray | np.generic) and x.dtype.name == "bfloat16"


def call(function: Callable, *args: Any, **options: Any) -> Any:
    """What a NumPy function gives for device arguments."""
    if function.__name__ in ("argsort", "sort", "unique") and is_bfloat16(to_host(args[0])):
        raise NotImplementedError("Sorting arrays with dtype 'bfloat16' is not supported")
    if function.__name__ in ("dot", "tensordot"):
        a, b = map(to_host, args[:2])
        if np.result_type(a, b).kind not in "iub" and max(np.ndim(a), np.ndim(b)) > 1:
            refuse_library("cuBLAS")
    if function.__name__ in ("concatenate", "stack", "hstack", "vstack") and len(args[0]) > 8:
        refuse_upload("concatenate of more than 8")  # a table of their addresses
    if unknown := {"where", "initial", "subok", "like", "device"} & options.keys():
        raise TypeError(f"{function.__name__}: CuPy has no argument {', '.join(unknown)}")
    args = tuple(map(to_host, args))
    writes = args[:1] if function in (np.ndarray.fill, np.ndarray.sort) else ()
    return run(function, *args, writes=writes, **{k: to_host(v) for k, v in options.items()})


def scatter(write: Callable, x: "ndarray", index: Any, values: Any) -> None:
    """`write(x, index, values)`; what an array names is written one by one, in random order."""
    host, index, values = x._host, as_index(index), to_operand(values)
    ids = tuple(part for part in index if isinstance(part, np.ndarray))
    run(_scattered if ids else write, *((write,) if ids else ()), host, index, values,
        writes=(host,), indices=ids)  # fmt: skip


def _scattered(write: Callable, host: np.ndarray, index: tuple, values: Any) -> None:
    places = np.arange(host.size).reshape(host.shape)[index]
    values = np.broadcast_to(values, places.shape).reshape(-1)
    order = _generator.permutation(places.size)
    flat = host.reshape(-1)  # a copy if `host` is not contiguous
    write(flat, places.reshape(-1)[order], values[order])
    host[...] = flat.reshape(host.shape)


_generator = np.random.default_rng()  # unseeded: on a device, too, every run has its own order

# ---------------------------------------------------------------------------- memory and launches

_found: dict[int, tuple[Any, tuple[int, int]]] = {}  # what `memory_at` found, by address


def memory_at(address: int) -> tuple[np.ndarray, tuple[int, int]] | None:
    """An array that has the byte at `address`, and where its memory begins and ends."""
    owner, bounds = _found.get(address, (lambda: None, (0, 0)))
    if (host := owner()) is not None:
        return host, bounds
    best = None
    for x in list(_alive.values()):
        begin, end = _extent(x._host)
        if begin <= address < end and (best is None or end - begin > best[1][1] - best[1][0]):
            best = x._host, (begin, end)
    if best is not None:
        _found[address] = weakref.ref(best[0]), best[1]
    return best


def _extent(host: np.ndarray) -> tuple[int, int]:
    root = _owner(host)
    memory = getattr(root.base, "memory", None)
    if memory is not None:
        return memory.ptr, memory.ptr + memory.size
    return np.lib.array_utils.byte_bounds(root)


def _owner(host: np.ndarray) -> np.ndarray:
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


# --------------------------------------------------------------------------------- the array


class ndarray:
    """An array on the device that is not there. Its operators and most methods come below."""

    __slots__ = ("__weakref__", "_device", "_host")

    __array_ufunc__ = None  # NumPy's ufuncs refuse it, and NumPy's operators leave it to its own
    __hash__ = None

    def __new__(
        cls,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: str = "C",
    ) -> "ndarray":
        if memptr is None:
            return uninitialised(shape, dtype)
        host = in_place(memptr, shape, np.dtype(dtype), strides)
        return to_device(host)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use x.get()")

    def __array_function__(self, function: Callable, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of a device array; use cupy's, or x.get()")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in for cupy.ndarray has no {name!r}")

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    device = property(lambda self: Device(self._device))
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: to_device(self._host.T))
    real = property(lambda self: to_device(self._host.real))
    imag = property(lambda self: to_device(self._host.imag))

    @property
    def data(self) -> MemoryPointer:
        """Where it begins."""
        address, root = self._host.__array_interface__["data"][0], _owner(self._host)
        begin, end = _extent(root)
        memory = getattr(root.base, "memory", None) or UnownedMemory(begin, end - begin, root)
        return MemoryPointer(memory, address - begin)

    @property
    def base(self) -> "ndarray | None":
        """The array that it is a view of."""
        base = self._host.base
        return to_device(base) if isinstance(base, np.ndarray) else None

    @property
    def flags(self) -> SimpleNamespace:
        """The layout. There are no read-only arrays."""
        names = ("c_contiguous", "f_contiguous")
        layout = {name: getattr(self._host.flags, name) for name in names}
        return SimpleNamespace(**layout, owndata=self.base is None)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        count(synchronisations, "iteration")  # CuPy does not wait yet, but what follows will
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> "ndarray":
        index = as_index(index)
        ids = tuple(part for part in index if isinstance(part, np.ndarray))
        return run(operator.getitem, self._host, index, indices=ids)

    def __setitem__(self, index: Any, values: Any) -> None:
        scatter(operator.setitem, self, index, values)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id  # kDLCUDA

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        if dl_device == (1, 0):  # the host
            if copy is False:
                raise ValueError("GPU memory cannot be exported to CPU without copy.")
            return self.get().__dlpack__(max_version=max_version)
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("unsupported device requested.")
        if copy:
            raise BufferError("copy=True only supported for copy to CPU.")
        if not isinstance(stream, int):  # NumPy, which gives none, refuses what is on a device
            raise BufferError("Unsupported device in DLTensor.")
        return self._host.__dlpack__(max_version=max_version)

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        """A copy on the host, in `out` if that is given; without `blocking` it comes later."""
        stream = streams.get_current_stream() if stream is None else stream
        with stream:
            if blocking:
                count(transfers, "get")
            elif stream.is_capturing():
                raise RuntimeError("get: the current stream is capturing")
        host = self._host
        if out is None:
            out = np.empty(host.shape, host.dtype, "F" if order == "F" else "C")
            out.fill(_rubbish(host.dtype))
        elif (out.shape, out.dtype) != (host.shape, host.dtype):
            raise ValueError("get: out must have the shape and the dtype of the array")
        if blocking:
            out[...] = host
        else:
            transfers["get"] += 1
            streams.submit(lambda: np.copyto(out, host), stream)
        return out

    def set(self, values: np.ndarray, stream: Any = None) -> None:
        """Overwrite it with a host array of its shape and dtype.

        What is page-locked is read when the stream comes to it, and else now.
        """
        if (values.shape, values.dtype) != (self.shape, self.dtype):
            raise ValueError("set: the shape and the dtype must be the array's own")
        stream = streams.get_current_stream() if stream is None else stream
        if streams._refusing or stream.is_capturing():
            raise RuntimeError("set: the current stream is capturing")
        transfers["set"] += 1
        host, source = self._host, values if is_pinned(values) else values.copy()
        streams.submit(lambda: np.copyto(host, source), stream)


def pinned(shape: Any, dtype: Any, value: Any = None) -> np.ndarray:
    """A host array that is page-locked."""
    y = np.empty(shape, dtype)
    y.fill(_rubbish(y.dtype) if value is None else value)
    _pinned[id(y)] = y
    return y


def is_pinned(x: np.ndarray) -> bool:
    """Whether a host array is page-locked."""
    return id(_owner(x)) in _pinned


_pinned: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


METHODS = """
    all any argmax argmin argsort astype clip copy cumprod cumsum diagonal dot fill flatten max mean
    min prod ravel repeat reshape round sort squeeze std sum swapaxes trace transpose var view
"""
WAITING = "__bool__ __complex__ __float__ __format__ __int__ __repr__ __str__ item tolist"
UNARY = "neg pos abs invert"
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
COMPARISONS = "lt le eq ne gt ge"


def _method(name: str) -> Callable:
    function = getattr(np.ndarray, name)
    return lambda self, *args, **options: call(function, self, *args, **options)


def _waiting(name: str) -> Callable:
    def method(self: ndarray, *args: Any) -> Any:
        count(synchronisations, name.strip("_"))
        return getattr(self._host, name)(*args)

    return method


def _unary(name: str) -> Callable:
    return lambda self: run(getattr(operator, name), self._host)


def _binary(name: str, reflected: bool = False) -> Callable:
    function = matmul if "matmul" in name and "imatmul" not in name else getattr(operator, name)
    in_place = name.startswith("__i")

    def method(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (np.ndarray, *SCALARS)) and hasattr(other, "__array_priority__"):
            return NotImplemented  # a Tensor, whose own operator answers
        a, b = self._host, to_operand(other)
        writes = (a,) if in_place else ()
        return run(function, b, a) if reflected else run(function, a, b, writes=writes)

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

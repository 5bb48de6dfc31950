"""Kernels from source: `RawModule` and its functions, which run on the CPU."""

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from cupy import _host_compiler
from cupy._ndarray import memory_at, ndarray
from cupy.cuda.stream import submit

WHERE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)
)
MOST_SHARED = 227 * 1024  # bytes of a block, on sm_90


class KernelError(RuntimeError):
    """A kernel did what on a device would go wrong, with or without a word."""


class _Launch(ctypes.Structure):
    """`HostLaunch` of `on_host.h`."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_size_t),
        ("count", ctypes.c_int),
        ("args", ctypes.POINTER(ctypes.c_void_p)),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("kinds", ctypes.c_char_p),
        ("stacks", ctypes.POINTER(ctypes.c_void_p)),
        ("seed", ctypes.c_ulonglong),
        ("where", WHERE),
        ("error", ctypes.c_char_p),
        ("error_size", ctypes.c_size_t),
    )


class RawModule:
    """The kernels of a source."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc"):
        if not isinstance(options, tuple):
            raise TypeError("options: expected a tuple of strings")
        defines = "".join(
            f"#define {' '.join(x[2:].split('=', 1))}\n" for x in options if x.startswith("-D")
        )
        self.code, self.options = defines + code, options

    def compile(self) -> None:
        """Compile it now, and not when the first function is asked for."""
        try:
            _host_compiler.library(self.code)
        except _host_compiler.CompileError as error:
            raise CompileException(str(error)) from error

    def get_function(self, name: str) -> "Function":
        """A kernel by its name."""
        self.compile()
        library = _host_compiler.library(self.code)
        try:
            call = getattr(library, f"host_call_{name}")
        except AttributeError:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}") from None
        call.argtypes, call.restype = (ctypes.POINTER(_Launch),), ctypes.c_int
        return Function(name, call)


class CompileException(Exception):
    """A source cannot be compiled."""


class Function:
    """A kernel: `f(grid, block, args, shared_mem=0)`.

    Attributes:
        max_dynamic_shared_size_bytes: more than 48 KiB have to be asked for here.
    """

    def __init__(self, name: str, call: Callable):
        self.name, self._call = name, call
        self._most_shared = 48 * 1024

    @property
    def kernel(self) -> "Function":
        return self

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > MOST_SHARED:
            raise RuntimeError(
                f"CUDA_ERROR_INVALID_VALUE: {size} bytes of dynamic shared memory; "
                f"a block has {MOST_SHARED} at most"
            )
        self._most_shared = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple, *, shared_mem: int = 0
    ) -> None:
        launch = _Launch()
        for field, sizes, most in (
            (launch.grid, grid, (2**31 - 1, 65535, 65535)),
            (launch.block, block, (1024, 1024, 64)),
        ):
            sizes = (*sizes, *(1,) * (3 - len(sizes)))
            if not all(0 < n <= m for n, m in zip(sizes, most, strict=True)):
                raise RuntimeError(
                    f"CUDA_ERROR_INVALID_VALUE: {self.name}: grid {grid}, block {block}"
                )
            field[:] = sizes
        if np.prod(launch.block) > 1024:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: block {block}")
        if shared_mem > self._most_shared:
            raise RuntimeError(
                f"CUDA_ERROR_INVALID_VALUE: {self.name}: {shared_mem} bytes of dynamic shared "
                f"memory, and {self._most_shared} were asked for"
            )
        kinds, values = zip(*map(_packed, args), strict=True) if args else ((), ())
        keep = [np.frombuffer(v, np.uint8).copy() for v in values]
        launch.shared = shared_mem
        launch.count = len(args)
        launch.args = (ctypes.c_void_p * (len(args) + 1))(*(x.ctypes.data for x in keep))
        launch.sizes = (ctypes.c_int * (len(args) + 1))(*map(len, values))
        # Memory that is freed meanwhile is given to others only behind this, on the same stream.
        arrays = {}
        for kind, value in zip(kinds, values, strict=True):
            for start in range(0, len(value) - 7, 8) if kind in "iv" else ():
                address = int.from_bytes(value[start : start + 8], "little")
                if address >= 1 << 16 and (found := memory_at(address)):
                    arrays[address] = found
        submit(lambda: self._run(launch, "".join(kinds).encode(), arrays, keep))

    def _run(self, launch: _Launch, kinds: bytes, arrays: dict[int, Any], *kept: Any) -> None:
        global _launches, _arrays
        error = ctypes.create_string_buffer(1000)
        with _one:
            _launches += 1
            _arrays = arrays
            launch.kinds = kinds  # at each launch by a graph: the last has put its own in place
            launch.stacks = ctypes.pointer(_stacks)
            launch.seed = _launches
            launch.where = _where
            launch.error, launch.error_size = ctypes.cast(error, ctypes.c_char_p), len(error)
            wrong = self._call(launch)
            _arrays = {}
        if wrong:
            raise KernelError(f"{self.name}: {error.value.decode(errors='replace')}")


_one = threading.RLock()  # a kernel has the emulator for itself
_launches = 0
_arrays: dict[int, Any] = {}  # that the kernel was given, by the addresses
_stacks = ctypes.c_void_p()


@WHERE
def _where(at: int, begin: Any, end: Any) -> int:
    found = _arrays.get(at) or memory_at(at)
    if found is None:
        return 0
    begin[0], end[0] = found[1]
    return 1


def _packed(x: Any) -> tuple[str, bytes]:
    """An argument as it is passed: its kind for `on_host.h`, and its bytes."""
    if isinstance(x, ndarray):
        x = x.data.ptr
    if isinstance(x, bool | np.bool_):
        return "b", np.bool_(x).tobytes()
    if isinstance(x, int):
        return "i", np.int64(x).tobytes() if x < 2**63 else np.uint64(x).tobytes()
    if isinstance(x, float):
        return "f", np.float64(x).tobytes()
    if isinstance(x, np.ndarray):
        if x.size != 1:
            raise TypeError("a NumPy array as an argument must have one element")
        return "v", x.tobytes()
    if isinstance(x, np.generic):
        return {"i": "i", "u": "i", "f": "f"}.get(x.dtype.kind, "v"), x.tobytes()
    raise TypeError(f"Unsupported type {type(x)}")

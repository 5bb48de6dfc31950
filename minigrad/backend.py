"""Which array module computes, and every other question about CuPy's presence.

An array says by its type which module it belongs to (`array_module`), so an op needs no setting.
The setting made here is for arrays that do not exist yet: `xp()` is the module that new tensors,
parameters and random numbers are made with. It is chosen, in this order, by

1. `using("cupy")`, a context manager, or `set_backend("cupy")` for the current context,
2. the environment variable `MINIGRAD_BACKEND`,
3. `auto`: CuPy where it is installed and a device computes, NumPy otherwise.

`explain()` says what was chosen and why the other module was not. CuPy is imported here and
nowhere else, and not before somebody needs it.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import BackendError

__all__ = [
    "array_module", "choice", "explain", "get_backend", "is_array", "register", "set_backend",
    "synchronize", "to_device", "to_numpy", "using", "xp",
]  # fmt: skip

NAMES = ("auto", "numpy", "cupy")


class Observer:
    """Who watches the engine for the length of a `with watched(observer)` block.

    The engine tells its observers what happens, and knows nothing else of them. Here nothing is
    done about it; subclasses (`minigrad.observers`, the tracer of `mg.jit`) override what they
    wait for.

    Attributes:
        captures: whether what happens is written down, to be repeated with other numbers. Then no
            step may hang on the numbers there are now, and derivatives too are computed by ops.
        updates: the steps of optimizers that were written down.
    """

    captures = False
    updates: Sequence[Any] = ()

    def whole(self, op: Any) -> bool:
        """Whether a composite op is to be captured as one call, not as those of its formula."""
        return False

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        """An op was called with `arrays`, and gave `y`; by its kernel, or else by its formula."""

    def walks_back(self, found: list) -> None:
        """A backward pass begins, with pairs (edge or leaf, gradient)."""

    def walked_back(self) -> None:
        """The backward pass that began last is over."""

    def unbroadcast(self, shape: tuple[int, ...], g: Any) -> None:
        """A gradient of `shape` was summed to `g`, which has the shape of the input."""

    def pulled_back(self, node: Any, g: Any, found: list, seconds: float) -> None:
        """The rule of a node made of its gradient `g` pairs (parent, gradient)."""

    def frees(self, node: Any) -> None:
        """A node is about to forget what it kept."""

    def added_up(self, target: Any, g: Any, total: Any) -> None:
        """A gradient `g` was added to what had arrived at an edge or leaf before."""

    def shown(self, tensor: Any, array: Any) -> Any:
        """What `tensor.data` is to whoever reads it; `array` is what it has."""
        return array

    def assigned(self, tensor: Any, array: Any) -> None:
        """`tensor` is about to be given another array."""

    def overwrites(self, array: Any) -> None:
        """An array is about to be written to in place, or just has been, and not by an op."""

    def sets_gradient(self, tensor: Any, adds: bool) -> None:
        """`tensor.grad` is about to be set; `adds`: a backward pass adds to what there is."""

    def drew(self, draw: Callable, key: Any, numbers: Any) -> None:
        """`draw(key)` gave random numbers."""

    def updated(self, optimizer: Any, gradients: Any, skip: Any = None) -> None:
        """An optimizer is about to make a step, unless the tensor `skip` turns out true."""

    def stepped(self, optimizer: Any) -> None:
        """An optimizer has made a step."""

    def split(self, groups: Any, models: list) -> bool:
        """Rows are about to go to `models` by `groups`; whether all may go through the first."""
        return False

    def refuse(self, what: str, reason: str) -> None:
        """`what` is about to be done, which cannot be repeated with other numbers."""


class Modes(NamedTuple):
    """What a `with` block can switch: one immutable value, so that leaving a block restores all."""

    recording: bool = True
    backend: str | None = None  # None: not set here, ask the environment
    observers: tuple[Observer, ...] = ()
    levels: tuple[int, ...] = ()  # the hidden batch axes of the `vmap`s in progress
    differentiating: int = 0  # how many transforms of `minigrad.transforms` are in progress
    capturing: bool = False  # whether one of the observers captures
    autocast: np.dtype | None = None  # the 16 bits that products compute in, see `precision`


modes: ContextVar[Modes] = ContextVar("minigrad_modes", default=Modes())  # noqa: B039 (immutable)


@contextmanager
def switched(**changes) -> Iterator[None]:
    """Modes with `changes`, for the length of a `with` block."""
    token = modes.set(modes.get()._replace(**changes))
    try:
        yield
    finally:
        modes.reset(token)


def watched(observer: Observer) -> AbstractContextManager[None]:
    """Inside the `with` block `observer` is told what the engine does."""
    mode = modes.get()
    return switched(
        observers=(*mode.observers, observer), capturing=mode.capturing or observer.captures
    )


def refuse_while_capturing(what: str, reason: str = "") -> None:
    """Raise CaptureError if a step is being captured, which cannot have `what` in it.

    Args:
        reason: how the sentence that `what` begins goes on; by default it asks for a value.
    """
    for observer in modes.get().observers:
        observer.refuse(what, reason)


@cache
def _try_cupy() -> tuple[ModuleType | None, str, str]:
    """CuPy, proved by a computation on a device, or None; what was found, of FOUND; a detail."""
    try:
        import cupy
    except ImportError as error:
        return None, "absent", str(error)
    try:
        if int((cupy.arange(4, dtype="float32") + 1).sum()) != 10:
            return None, "wrong", ""
        device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        _devices[0] = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy has one class of error per CUDA library
        return None, "no device", str(error)
    return cupy, "computes", device


FOUND = {
    "absent": "CuPy cannot be imported ({}); install minigrad[cuda12] or [cuda13]",
    "wrong": "CuPy is installed, but its device computes wrong numbers",
    "no device": "CuPy is installed, but no CUDA device answers ({})",
    "computes": "a CUDA device computes ({})",
}

_devices = [1]  # how many there are, once somebody has asked for CuPy


def _cupy_or_reason() -> tuple[ModuleType | None, str]:
    """CuPy, or None; and in words what it was found to be."""
    cupy, found, detail = _try_cupy()
    return cupy, FOUND[found].format(detail)


def _checked(name: str, source: str) -> str:
    if name not in NAMES:
        raise BackendError(
            f"{source}: unknown backend {name!r}; expected one of {', '.join(NAMES)}"
        )
    return name


def _requested() -> tuple[str, str]:
    """The name asked for, and who asked."""
    if (name := modes.get().backend) is not None:
        return name, "chosen by the caller"
    if name := os.environ.get("MINIGRAD_BACKEND"):
        return _checked(name, "MINIGRAD_BACKEND"), "MINIGRAD_BACKEND"
    return "auto", "the default"


def xp() -> ModuleType:
    """The array module for new arrays: numpy or cupy.

    Its type is `ModuleType`, here as in every formula's `xp`: the two modules have the same names,
    but no type in common that says so, and a checker takes what is in a module as it comes.

    Raises:
        BackendError: CuPy was asked for by name and cannot be used; the message says why.
    """
    name, source = _requested()
    if name == "numpy":
        return np
    cupy, reason = _cupy_or_reason()
    if cupy is None and name == "cupy":
        raise BackendError(f"backend 'cupy' ({source}): {reason}; or choose 'numpy'")
    return cupy or np


def get_backend() -> str:
    """The name of the array module in force: 'numpy' or 'cupy'."""
    return xp().__name__


def set_backend(name: str) -> None:
    """Make new arrays with `name` ('auto', 'numpy' or 'cupy') from here on in this context.

    Raises:
        BackendError: `name` is not known, or it is 'cupy' and CuPy cannot be used; then nothing
            has changed.
    """
    before = modes.set(modes.get()._replace(backend=_checked(name, "set_backend")))
    try:
        xp()
    except BackendError:
        modes.reset(before)
        raise


@contextmanager
def using(name: str) -> Iterator[ModuleType]:
    """Make new arrays with `name` inside a `with` block, which gets the module: numpy or cupy."""
    with switched(backend=_checked(name, "using")):
        yield xp()


def explain() -> str:
    """One line: the backend in force, who asked for it, and why the other was not taken."""
    name, source = _requested()
    if name == "numpy":
        return f"backend numpy ({source}); CuPy was not tried"
    cupy, reason = _cupy_or_reason()
    if cupy is not None:
        return f"backend cupy ({source}: {name}); {reason}"
    if name == "cupy":
        return f"backend cupy ({source}) cannot be used: {reason}"
    return f"backend numpy ({source}: auto); cupy was rejected: {reason}"


class Choice(NamedTuple):
    """What computes, and why, in words that a program can turn into those of its user.

    Attributes:
        name: 'numpy' or 'cupy'.
        source: who asked: 'the default', 'MINIGRAD_BACKEND', 'chosen by the caller'.
        auto: whether the choice was left to the machine.
        cupy: 'computes', 'absent', 'no device', 'wrong'; 'not tried' if NumPy was asked for.
        detail: the name of the device, or the error that CuPy or the import of it raised.
    """

    name: str
    source: str
    auto: bool
    cupy: str
    detail: str


def choice() -> Choice:
    """The backend in force and how it was chosen; `explain` says it in a line.

    Raises:
        BackendError: CuPy was asked for by name and cannot be used.
    """
    name, source = _requested()
    if name == "numpy":
        return Choice("numpy", source, False, "not tried", "")
    return Choice(get_backend(), source, name == "auto", *_try_cupy()[1:])


_kinds: dict[type, Callable[[Any], ModuleType]] = {}  # of arrays beside NumPy's and CuPy's


def register(kind: type, module_of: Callable[[Any], ModuleType]) -> None:
    """Make arrays of the class `kind` known; `module_of` says which module computes with one."""
    _kinds[kind] = module_of


def array_module(*arrays: Any) -> ModuleType:
    """The module that the arrays among `arrays` belong to: numpy or cupy.

    Raises:
        BackendError: NumPy and CuPy arrays were mixed; nothing is copied between host and device
            behind the caller's back.
    """
    for x in arrays:
        if type(x) in _kinds:
            return _kinds[type(x)](x)
    cupy = sys.modules.get("cupy")  # an array of a module that nobody imported cannot exist
    if cupy is None:
        return np
    on_device = [isinstance(x, cupy.ndarray) for x in arrays]
    if not any(on_device):
        return np
    for x, there in zip(arrays, on_device, strict=True):
        # A 0-d NumPy array may meet a device array as a scalar may; CuPy refuses it, we do not mix.
        if isinstance(x, np.ndarray) and not there:
            raise BackendError(
                f"NumPy and CuPy arrays were mixed (shapes "
                f"{', '.join(str(getattr(a, 'shape', a)) for a in arrays)}); move one with "
                f"x.to('cuda') or x.to('cpu'), an array with minigrad.backend.to_device(x) or "
                f"to_numpy(x)"
            )
    if _devices[0] > 1:
        _refuse_other_devices(
            cupy, [x for x, there in zip(arrays, on_device, strict=True) if there]
        )
    return cupy


def _refuse_other_devices(cupy: ModuleType, arrays: list) -> None:
    """Raise unless all lie on the device that computes: kernels would read wrong addresses."""
    present = cupy.cuda.runtime.getDevice()
    ids = [x.device.id for x in arrays]
    other = next((i for i in ids if i != present), None)
    if other is not None:
        raise BackendError(
            f"arrays of {', '.join(f'cuda:{i}' for i in ids)} (shapes "
            f"{', '.join(str(x.shape) for x in arrays)}) meet on cuda:{present}; move them there "
            f"with x.to('cuda:{present}'), or compute within `with mg.device('cuda:{other}'):`"
        )


def is_array(x: Any) -> bool:
    """Whether `x` is an array of NumPy or CuPy (a Tensor or a scalar is not)."""
    if isinstance(x, np.ndarray) or type(x) in _kinds:
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a NumPy array; copied from the device if it is there, shared if it is on the host."""
    if isinstance(x, np.ndarray):
        return x
    if type(x) in _kinds:
        return x.item()  # which says why there is no such array
    if not is_array(x):
        return np.asarray(x)
    return arrived(x.get())


def number(x: Any) -> Any:
    """The only element of an array as a Python number; on a device, it is waited for."""
    y = x.item()
    return y if isinstance(x, np.ndarray) else arrived(y)


def synchronize() -> None:
    """Wait until the device has computed all that it was given; there is none to wait for on NumPy.

    Raises:
        MinigradError: a call before this found its input to be wrong, such as an id out of range.
    """
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        cupy.cuda.runtime.deviceSynchronize()
        arrived(None)


_looks: list[Callable[[], None]] = []


def when_waiting(look: Callable[[], None]) -> None:
    """Have `look` called whenever the host has waited for a device; it may raise what it finds."""
    if look not in _looks:
        _looks.append(look)


def arrived(y: Any) -> Any:
    """`y`, which the host has waited for: what `when_waiting` was given looks first."""
    for look in _looks:
        look()
    return y


def to_device(x: Any) -> Any:
    """`x` as an array of the backend in force; copied only if it has to move."""
    module = xp()
    if module is np:
        return to_numpy(x)
    return module.asarray(x)


def pinned(nbytes: int) -> np.ndarray:
    """(nbytes,) uint8 on the host, page-locked: a device copies from it while the host goes on."""
    import cupyx

    return cupyx.empty_pinned(nbytes, "uint8")


def describe(x: Any) -> str:
    """'float32 (2, 3)' for an array, its type's name for anything else: for messages."""
    if hasattr(x, "dtype"):
        return f"{x.dtype} {x.shape}"
    return type(x).__name__

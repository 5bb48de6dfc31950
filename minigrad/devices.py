"""Devices by their names: 'cpu', 'cuda', 'cuda:1'. What moves to one, and what is made on one.

    x.to("cuda")                       the same numbers on the device, with their history
    model.to("cuda:1")                 parameters and buffers, in place
    with mg.device("cuda:1"): ...      what is new is made there, and ops compute there
    mg.zeros(3, device="cpu")          this one is made there

Nothing moves unasked. 'cuda' is the device that computes at the moment, the first one unless a
`with` block has chosen another. An op computes where its arrays are, which is one device; with
several in a machine, those of another than the present one are refused, and not computed slowly or
wrongly: enter its block.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

from minigrad import backend
from minigrad.errors import BackendError

__all__ = ["Device", "device_of", "move"]

_open: ContextVar[tuple[ExitStack, ...]] = ContextVar("minigrad.devices.open", default=())


class Device(str):
    """The name of a device, 'cpu', 'cuda' or 'cuda:0'; new arrays are made there in a `with` block.

    Attributes:
        type: 'cpu' or 'cuda'.
        index: which device of CUDA, from 0; None if it is the present one, and for 'cpu'.

    Raises:
        BackendError: it is no such name.
    """

    type: str
    index: int | None  # type: ignore[assignment]  # a text has a method of this name

    def __new__(cls, name: str) -> "Device":
        found = re.fullmatch(r"(cpu)|cuda(?::(\d{1,4}))?", name) if isinstance(name, str) else None
        if found is None:
            raise BackendError(
                f"device: expected 'cpu', 'cuda' or one of several as 'cuda:0', got {name!r}"
            )
        device = super().__new__(cls, name)
        device.type = "cpu" if found[1] else "cuda"
        device.index = None if found[2] is None else int(found[2])
        return device

    @contextmanager
    def entered(self) -> Iterator[ModuleType]:
        """Inside the block new arrays are made here; it gets the module, numpy or cupy.

        Raises:
            BackendError: CuPy cannot be used, or there is no device of this index.
        """
        if self.type == "cpu":
            with backend.using("numpy") as module:
                yield module
            return
        with backend.using("cupy") as module:
            if self.index is None:
                yield module
                return
            count = module.cuda.runtime.getDeviceCount()
            if self.index >= count:
                names = ", ".join(f"'cuda:{i}'" for i in range(count))
                raise BackendError(f"device: there is no '{self}' here; there is {names}")
            with module.cuda.Device(self.index):
                yield module

    def __enter__(self) -> "Device":
        stack = ExitStack()
        stack.enter_context(self.entered())
        _open.set((*_open.get(), stack))
        return self

    def __exit__(self, *error: Any) -> None:
        *before, stack = _open.get()
        _open.set(tuple(before))
        stack.__exit__(*error)


CPU = Device("cpu")


def device_of(x: Any) -> Device:
    """Where the array `x` is: 'cpu', or 'cuda:0' and so on."""
    while hasattr(x, "hides_a_batch_axis"):  # under vmap
        x = x.value
    return CPU if isinstance(x, np.ndarray) else Device(f"cuda:{x.device.id}")


def move(x: Any, device: Device) -> Any:
    """The array `x` on a device: itself if it is there, a copy otherwise.

    Raises:
        BackendError: CuPy cannot be used, or there is no such device.
    """
    if hasattr(x, "hides_a_batch_axis"):  # under vmap
        return type(x)(move(x.value, device), x.level)
    if device.type == "cpu":
        return backend.to_numpy(x)
    with device.entered() as module:
        if isinstance(x, np.ndarray):
            return module.asarray(x)
        present = module.cuda.runtime.getDevice() if device.index is None else device.index
        return x if x.device.id == present else x.copy()  # which CuPy makes on the present device


def duplicate(x: Any) -> Any:
    """A copy of the array `x` in C order, where it is: CuPy's own is made on the present device."""
    if isinstance(x, np.ndarray) or not hasattr(x, "device"):
        return x.copy(order="C")
    with x.device:
        return x.copy(order="C")


@contextmanager
def placed(device: str | None) -> Iterator[ModuleType]:
    """The module to make new arrays with, on `device` if one is named."""
    if device is None:
        yield backend.xp()
    else:
        with Device(device).entered() as module:
            yield module


def target_of(
    who: str, target: Any, dtype: Any, device: Any
) -> tuple[Device | None, np.dtype | None]:
    """What the arguments of `to` mean: a device and a dtype, either of which may be None.

    Args:
        target: a device, a dtype, or an array or Tensor that is where, and of the dtype, that is
            wanted.

    Raises:
        BackendError: it is none of these.
    """
    if target is None and dtype is None and device is None:
        raise BackendError(f"{who}: name a device ('cpu', 'cuda:0'), a dtype, or a tensor")
    array = getattr(target, "_data", target)  # of a Tensor
    if backend.is_array(array):
        return device_of(array), array.dtype
    if isinstance(target, str) and re.match("cpu|cuda|gpu|mps|xpu|meta", target):
        target, device = None, target
    if target is not None:
        if dtype is not None:
            raise BackendError(f"{who}: two dtypes were given, {target!r} and {dtype!r}")
        try:
            target, dtype = None, np.dtype(target)
        except TypeError as error:
            raise BackendError(
                f"{who}: expected a device ('cpu', 'cuda:0'), a dtype or a tensor, got {target!r} "
                f"({error}; bfloat16 comes with ml_dtypes)"
            ) from error
    return None if device is None else Device(device), None if dtype is None else np.dtype(dtype)

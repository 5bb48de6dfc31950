"""Inputs that turn out wrong on the device, such as an id that is out of range.

Asking a device after every op would make the host wait for it each time. So a call writes down the
first fault that it meets, in words of device memory: the number of the call, the position and the
value. They are read when the host waits in any case: at the next transfer (`minigrad.backend`
calls `check`), where the error is raised that the host would have raised in the call. Of several
calls the first one is told. Until then results are of no meaning, but nothing is read or written
beyond an end.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from minigrad.backend import when_waiting
from minigrad.errors import OutOfRangeError, caller

KEPT = 4096  # calls that are remembered; of what is older it is only told that it was wrong

Tell = Callable[[int, int], Exception]

_numbers = count(1)
_told: OrderedDict[int, tuple[Tell, str]] = OrderedDict()
_lasting: dict[int, tuple[Tell, str]] = {}
_words: dict[int, Any] = {}  # by device
_local = threading.local()


def words() -> Any:
    """The words of the current device, zero while nothing is wrong; the fourth is a lock."""
    import cupy

    device = cupy.cuda.runtime.getDevice()
    if device not in _words:
        when_waiting(check)
        _words[device] = cupy.zeros(4, "int64")
    return _words[device]


def note(tell: Tell, where: str = "") -> int:
    """The number of a call; `tell(position, value)` makes the error of a fault in it.

    Args:
        where: the line of the call; that of the caller by default.
    """
    number, told = next(_numbers), (tell, where or caller())
    if getattr(_local, "lasting", False):
        _lasting[number] = told
        return number
    _told[number] = told
    if len(_told) > KEPT:
        _told.popitem(last=False)
    return number


@contextmanager
def lasting() -> Iterator[None]:
    """Calls in the `with` block are repeated, as those of a program are, and never forgotten."""
    before, _local.lasting = getattr(_local, "lasting", False), True
    try:
        yield
    finally:
        _local.lasting = before


def look(xp: Any, wrong: Any, value: Any, tell: Tell) -> None:
    """Note the first place where `wrong`, booleans on the device, hold, with `value` there.

    This is what the kernels of `indexing.cu` do, in ops of CuPy.
    """
    status = words()
    wrong = wrong.reshape(-1)
    at = wrong.argmax()
    value = xp.zeros_like(at) if value is None else value.reshape(-1)[at].astype("int64")
    number = xp.full((), note(tell), "int64")
    found = xp.stack([number, at.astype("int64"), value, xp.zeros_like(number)])
    status[...] = xp.where((status[0] == 0) & wrong.any(), found, status)


def check() -> None:
    """Raise what was found since the last time; it waits for the device.

    Raises:
        MinigradError: what a call that found a fault says of it.
    """
    for device, status in tuple(_words.items()):
        number, position, value, _ = status.get().tolist()
        if number:
            with _on(device):
                status.fill(0)
            raise _error(number, position, value)


def _on(device: int) -> Any:
    import cupy

    return cupy.cuda.Device(device)


def _error(number: int, position: int, value: int) -> Exception:
    told = _lasting.get(number) or _told.get(number)
    if told is None:
        return OutOfRangeError(
            f"an id was out of range on the device: {value} at position {position}, in a call that "
            f"more than {KEPT} others came after"
        )
    error = told[0](position, value)
    error.args = (f"{error.args[0]} (on the device, in the call at {told[1]})", *error.args[1:])
    return error

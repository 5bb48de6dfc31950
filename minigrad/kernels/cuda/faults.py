"""Inputs that turn out wrong on the device, such as an id that is out of range.

Asking a device after every op would make the host wait for it each time. So a kernel writes down
the first fault that it meets, in three words of device memory: the number of the call, the position
and the value. They are read when the host waits in any case, and then the error is raised.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

KEPT = 4096  # calls that are remembered; of what is older it is only told that it was wrong

_numbers = count(1)
_told: OrderedDict[int, Callable[[int, int], Exception]] = OrderedDict()


@cache
def words() -> Any:
    """The three words on the device, zero while nothing is wrong."""
    import cupy

    return cupy.zeros(3, "int64")


def note(tell: Callable[[int, int], Exception]) -> int:
    """The number of a call; `tell(position, value)` makes the error of a fault in it."""
    number = next(_numbers)
    _told[number] = tell
    if len(_told) > KEPT:
        _told.popitem(last=False)
    return number


def check() -> None:
    """Raise what was found since the last time; it waits for the device.

    Raises:
        MinigradError: what a call that found a fault says of it.
    """
    if not words.cache_info().currsize:
        return
    number, position, value = words().get().tolist()
    if number:
        words().fill(0)
        tell = _told.get(number)
        if tell is None:
            raise IndexError(f"an id is out of range: {value} at position {position}")
        raise tell(position, value)

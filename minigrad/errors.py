"""The errors that minigrad raises.

    MinigradError
    ├── ShapeError            shapes, axes or lengths that do not fit        (a ValueError)
    │   └── OutOfRangeError   an index beyond the end of its axis            (an IndexError too)
    ├── DtypeError            a dtype that an op cannot take                 (a TypeError)
    ├── GradientError         what cannot be differentiated, or no longer    (a RuntimeError)
    │   └── AnomalyError      a bad number, under `detect_anomaly`           (an ArithmeticError)
    ├── LinAlgError           a matrix without an inverse or a root          (NumPy's as well)
    ├── DivergenceError       a training whose loss is not finite           (FloatingPointError)
    ├── CaptureError          a step that jit cannot repeat                  (a RuntimeError)
    ├── ExportError           a model that ONNX cannot express               (a RuntimeError)
    ├── OutOfMemoryError      no memory for an array, and who has it         (a MemoryError)
    ├── BackendError          an array module that is absent or mixed        (a RuntimeError)
    ├── StateError            a state dictionary that does not fit a model   (a ValueError)
    ├── GroupError            unknown groups, sub-models that differ         (a ValueError)
    ├── DataError             a file or table of data that is not as it should be (a ValueError)
    ├── WorkerError           a worker of a DataLoader that failed or died   (a RuntimeError)
    ├── DistributedError      processes that do not work together            (a RuntimeError)
    └── RunError              a run directory that cannot be read or written (an OSError)

Each message names the function, what it expects, what came, and the way out. Every class also
inherits from the built-in error that a NumPy user would expect, so `except ValueError` works.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = [
    "AnomalyError", "BackendError", "CaptureError", "DataError", "DistributedError",
    "DivergenceError", "DtypeError", "ExportError", "GradientError", "GroupError", "LinAlgError",
    "MinigradError", "OutOfMemoryError", "OutOfRangeError", "RunError", "ShapeError", "StateError",
    "WorkerError",
]  # fmt: skip

LONGEST = 4000  # characters of a message; lists of names can have a line for each of thousands


class MinigradError(Exception):
    """Anything that minigrad itself raises. `args` has the whole message; printed, it is cut."""

    def __str__(self) -> str:
        message = super().__str__()
        if len(message) <= LONGEST:
            return message
        head, tail = message[: LONGEST * 3 // 4], message[-LONGEST // 5 :]
        return (
            f"{head} ... ({len(message) - len(head) - len(tail):,} characters left out) ... {tail}"
        )


class ShapeError(MinigradError, ValueError):
    """Shapes, axes or lengths do not fit each other."""


class OutOfRangeError(ShapeError, IndexError):
    """An index is beyond the end of its axis."""


class DtypeError(MinigradError, TypeError):
    """A dtype that the op cannot take."""


class GradientError(MinigradError, RuntimeError):
    """A derivative that does not exist, or a graph that is gone."""


class CaptureError(MinigradError, RuntimeError):
    """A step cannot be captured, or what was captured does not repeat it."""


class AnomalyError(GradientError, ArithmeticError):
    """An op made a number that is not finite, or an array changed that a rule needs."""


class ExportError(MinigradError, RuntimeError):
    """A model does what a file of another format cannot express."""


class DivergenceError(MinigradError, FloatingPointError):
    """A figure of a training, as its loss, is not finite.

    Attributes:
        figure, value: its name, and what it is.
        step: how many steps there were.
    """

    figure: str = ""
    value: float = float("nan")
    step: int = 0


class LinAlgError(MinigradError, np.linalg.LinAlgError):
    """A matrix for which the function is not defined, as a singular one for `inv`."""


class BackendError(MinigradError, RuntimeError):
    """An array module is not available, or arrays of two of them were mixed."""


class OutOfMemoryError(MinigradError, MemoryError):
    """There is no memory for an array; the message says who has it."""


class StateError(MinigradError, ValueError):
    """A state dictionary does not fit the model or the optimizer."""


class GroupError(MinigradError, ValueError):
    """A group is not known, or a sub-model differs from the others."""


class DataError(MinigradError, ValueError):
    """A file or a table of data is not what it should be."""


class WorkerError(MinigradError, RuntimeError):
    """A worker of a DataLoader failed or died; the message has its traceback."""

    # Of what a worker raised there is also a class that is both this and the worker's own, so that
    # `except ValueError` works as without workers. KeyError's __str__ would quote the message.
    __str__ = Exception.__str__


class DistributedError(MinigradError, RuntimeError):
    """Processes do not do the same, or one of them is gone."""


class RunError(MinigradError, OSError):
    """A run directory cannot be read or written."""


_PACKAGE = str(Path(__file__).parent) + os.sep
_EXAMPLES = os.path.join(_PACKAGE, "examples", "")  # who runs one is its user


def caller() -> str:
    """'file.py:12' of the innermost line outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) or file.startswith(_EXAMPLES):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def out_of_range(
    name: str, shape: tuple[int, ...], n: int, low: int, axis: int | None = None
) -> Callable[[int, int], OutOfRangeError]:
    """What makes the error of an id in an array of `shape`, of its position there and its value.

    Args:
        name: of the op; ids must be in [low, n).
        axis: that the ids count along, if the message is to be NumPy's of an index.
    """

    def tell(position: int, value: int) -> OutOfRangeError:
        at = tuple(map(int, np.unravel_index(position, shape)))
        place = f" at position {at[0] if len(at) == 1 else at}" if at else ""
        if axis is not None:
            return OutOfRangeError(
                f"{name}: index {value} is out of bounds for axis {axis} with size {n}{place}"
            )
        return OutOfRangeError(f"{name}: index {value}{place} is out of range [{low}, {n})")

    return tell

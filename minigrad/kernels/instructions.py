"""What programs and kernels both know; without Numba, for programs that have no kernel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GROUPS = "groups offsets each"  # fields of records: groups of rows; see `Groups` of programs


@dataclass
class Instruction:
    """One line of a program: a kernel's address and its record, or a function of no arguments."""

    name: str
    address: int = 0
    record: np.ndarray | None = None
    function: Callable[[], None] | None = None
    work: int = 0  # floating-point operations, roughly
    shapes: str = ""

    @property
    def by(self) -> str:
        """Who answers: 'kernel' or 'NumPy'."""
        return "kernel" if self.function is None else "NumPy"


class Drawn:
    """The key that a run of a program draws as its number `index`."""

    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index


class Declined(Exception):
    """These arrays, or values of a program, are not for a kernel after all."""


class NotByGroup(Exception):
    """A call that cannot be done group by group."""

"""Special functions."""

import scipy.special
from cupy._ndarray import ndarray, run, to_operand


def erf(x: ndarray) -> ndarray:
    """The error function."""
    return run(scipy.special.erf, to_operand(x))


def erfc(x: ndarray) -> ndarray:
    """`1 - erf(x)`."""
    return run(scipy.special.erfc, to_operand(x))

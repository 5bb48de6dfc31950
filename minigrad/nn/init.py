"""Initial values for parameters, drawn from the current stream of keys (`minigrad.random`)."""

import math

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import xp
from minigrad.nn.module import Parameter


def uniform(shape: tuple[int, ...], bound: float, dtype: str = "float32") -> Tensor:
    """A parameter uniform in [-bound, bound)."""
    key = random.next_key()
    return Parameter(random.uniform(key, shape, -bound, bound, dtype=dtype, xp=xp()))


def normal(shape: tuple[int, ...], std: float = 1.0, dtype: str = "float32") -> Tensor:
    """A parameter of normal numbers around 0."""
    return Parameter(random.normal(random.next_key(), shape, std=std, dtype=dtype, xp=xp()))


def constant(shape: tuple[int, ...], value: float, dtype: str = "float32") -> Tensor:
    """A parameter with one value everywhere; draws nothing."""
    return Parameter(xp().full(shape, value, dtype))


def glorot_uniform(
    n_out: int, n_in: int, fan_out: int | None = None, dtype: str = "float32"
) -> Tensor:
    """An (n_out, n_in) matrix uniform within sqrt(6 / (fan_in + fan_out)).

    (Glorot and Bengio, AISTATS 2010.) `fan_out` is `n_out` unless it is part of a larger matrix.
    """
    fans = int(n_in) + int(fan_out or n_out)  # NumPy's integers of few bits would overflow
    return uniform((n_out, n_in), math.sqrt(6 / fans), dtype)


def fan_in_bound(fan_in: int) -> float:
    """PyTorch's bound for the weights and biases of Linear: 1 / sqrt(fan_in)."""
    return 1 / math.sqrt(fan_in) if fan_in else 0.0

"""Initial values for parameters, drawn from the current stream of keys (`minigrad.random`).

Those whose names end with an underscore write into a parameter that is there, and return it; names
and arguments are PyTorch's. The others make parameters, for the layers here.
"""

import math
from typing import Any

import numpy as np

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import array_module, is_array, refuse_while_capturing, xp
from minigrad.errors import ShapeError
from minigrad.nn.module import Parameter
from minigrad.random import Key
from minigrad.writes import wrote

# ------------------------------------------------------------------- parameters that are made


def uniform(shape: tuple[int, ...], bound: float, dtype: str = "float32") -> Tensor:
    """A parameter uniform in [-bound, bound)."""
    key = random.next_key()
    return Parameter(random.uniform(key, shape, -bound, bound, dtype=dtype, xp=xp()))


def normal(shape: tuple[int, ...], std: float = 1.0, dtype: str = "float32") -> Tensor:
    """A parameter of normal numbers around 0."""
    return Parameter(random.normal(random.next_key(), shape, std=std, dtype=dtype, xp=xp()))


def constant(shape: tuple[int, ...], value: float, dtype: str = "float32") -> Tensor:
    """A parameter with one value everywhere; draws nothing."""
    return Parameter(xp().full(random.checked_shape("constant", shape), value, dtype))


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


# ---------------------------------------------------------------------------- plain values


def _fill(tensor: Any, values: Any) -> Any:
    """Put `values`, drawn in float64 or float32, into the array that `tensor` is or has."""
    refuse_while_capturing(
        "init", "gives parameters their first values, which is done before a step is captured"
    )
    array = tensor.data if type(tensor) is Tensor else tensor
    array[...] = values
    wrote(array)
    return tensor


def _shape(name: str, tensor: Any, least: int = 0) -> tuple[int, ...]:
    if type(tensor) is not Tensor and not is_array(tensor):
        raise TypeError(f"{name}: expected a Tensor or an array, got {type(tensor).__name__}")
    if tensor.ndim < least:
        raise ShapeError(f"{name}: the tensor must have at least {least} axes, got {tensor.shape}")
    return tensor.shape


def _place(tensor: Any) -> dict[str, Any]:
    """The dtype in which to draw, and the array module."""
    wide = tensor.dtype == np.float64
    array = tensor.data if type(tensor) is Tensor else tensor
    return {"dtype": "float64" if wide else "float32", "xp": array_module(array)}


def constant_(tensor: Any, val: float) -> Any:
    """`val` everywhere."""
    _shape("constant_", tensor)
    return _fill(tensor, val)


def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return constant_(tensor, 0)


def ones_(tensor: Any) -> Any:
    """Ones."""
    return constant_(tensor, 1)


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, *, key: Key | None = None) -> Any:
    """Uniform numbers from `a` to `b`, drawn from `key` or from the next one of the stream."""
    shape = _shape("uniform_", tensor)
    return _fill(tensor, random.uniform(key or random.next_key(), shape, a, b, **_place(tensor)))


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, *, key: Key | None = None) -> Any:
    """Normal numbers of this mean and standard deviation.

    Raises:
        ValueError: `std` is negative.
    """
    shape = _shape("normal_", tensor)
    if not std >= 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    numbers = random.normal(key or random.next_key(), shape, **_place(tensor))
    return _fill(tensor, mean + std * numbers)


def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    key: Key | None = None,
) -> Any:
    """Normal numbers from those between `a` and `b` only (bounds of the numbers, not of std).

    Raises:
        ValueError: `std` is not positive, or there is nothing between `a` and `b`.
    """
    shape = _shape("trunc_normal_", tensor)
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: needs std > 0 and a < b, got {std}, {a} and {b}")
    place = _place(tensor)
    module = place["xp"]
    low, high = (0.5 * (1 + math.erf((v - mean) / std / math.sqrt(2))) for v in (a, b))
    if not low < high:
        raise ValueError(f"trunc_normal_: there is nothing between {a} and {b} at std {std}")
    u = random.uniform(key or random.next_key(), shape, low, high, dtype="float64", xp=module)
    numbers = mean + std * _normal_quantile(u, module)
    return _fill(tensor, module.clip(numbers, a, b).astype(place["dtype"]))


def _normal_quantile(p: Any, module: Any) -> Any:
    """Where the normal distribution function is `p`: Acklam's approximation, to 1.2e-9 of it."""
    a = (-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2,
         1.383577518672690e2, -3.066479806614716e1, 2.506628277459239)  # fmt: skip
    b = (-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2,
         6.680131188771972e1, -1.328068155288572e1, 1.0)  # fmt: skip
    c = (-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838,
         -2.549732539343734, 4.374664141464968, 2.938163982698783)  # fmt: skip
    d = (7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0)

    def horner(coefficients, x):
        y = 0.0
        for v in coefficients:
            y = y * x + v
        return y

    tiny = module.finfo(p.dtype).tiny
    q = p - 0.5
    middle = q * horner(a, q * q) / horner(b, q * q)
    t = module.sqrt(-2 * module.log(module.maximum(module.minimum(p, 1 - p), tiny)))
    tail = horner(c, t) / horner(d, t)
    return module.where(abs(q) <= 0.47575, middle, module.where(q < 0, tail, -tail))


# ------------------------------------------------------------------ scaled by what comes in


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much the weights before an activation are scaled up, so that the variance stays.

    Args:
        nonlinearity: 'linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu', 'conv2d', ...
        param: the negative slope of 'leaky_relu', 0.01 by default.

    Raises:
        ValueError: there is no such nonlinearity, or its slope is no number.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"calculate_gain: param must be a number, got {param!r}")
        return math.sqrt(2 / (1 + slope**2))
    convolutions = [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]
    gains = dict.fromkeys(("linear", "sigmoid", *convolutions), 1.0)
    gains |= {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity must be one of {sorted([*gains, 'leaky_relu'])}, got "
            f"{nonlinearity!r}"
        )
    return gains[nonlinearity]


def _fans(name: str, tensor: Any) -> tuple[int, int]:
    """How many numbers go into each element of a layer's result, and how many an input meets."""
    shape = _shape(name, tensor, least=2)
    seen = math.prod(shape[2:])
    return shape[1] * seen, shape[0] * seen


def xavier_uniform_(tensor: Any, gain: float = 1.0, *, key: Key | None = None) -> Any:
    """Uniform within `gain sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, AISTATS 2010)."""
    bound = gain * math.sqrt(6 / max(1, sum(_fans("xavier_uniform_", tensor))))
    return uniform_(tensor, -bound, bound, key=key)


def xavier_normal_(tensor: Any, gain: float = 1.0, *, key: Key | None = None) -> Any:
    """Normal with the standard deviation `gain sqrt(2 / (fan_in + fan_out))`."""
    fans = max(1, sum(_fans("xavier_normal_", tensor)))
    return normal_(tensor, 0.0, gain * math.sqrt(2 / fans), key=key)


def _kaiming_std(name: str, tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan_in, fan_out = _fans(name, tensor)
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


def kaiming_uniform_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    key: Key | None = None,
) -> Any:
    """Uniform within `gain sqrt(3 / fan)` (He et al., arXiv 1502.01852).

    Args:
        a: the negative slope of the 'leaky_relu' that follows.
        mode: 'fan_in' keeps the variance on the way forward, 'fan_out' on the way back.
        nonlinearity: as for `calculate_gain`.
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, key=key)


def kaiming_normal_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    key: Key | None = None,
) -> Any:
    """Normal with the standard deviation `gain / sqrt(fan)`; arguments as `kaiming_uniform_`."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, key=key)


# ------------------------------------------------------------------------- of a certain form


def eye_(tensor: Any) -> Any:
    """The identity matrix: ones on the diagonal, zeros elsewhere.

    Raises:
        ShapeError: the tensor is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: the tensor must have 2 axes, got {tensor.shape}")
    return _fill(tensor, _place(tensor)["xp"].eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """Kernels that pass on the channels as they are, as many as there are of both.

    Raises:
        ShapeError: the tensor is no kernel, or its channels do not divide into `groups`.
    """
    shape = _shape("dirac_", tensor, least=3)
    if len(shape) > 5 or groups < 1 or shape[0] % groups:
        raise ShapeError(
            f"dirac_: the tensor must have 3 to 5 axes, the first one divisible by groups; got "
            f"{shape} and {groups} groups"
        )
    values = np.zeros(shape, "float32")
    out = shape[0] // groups
    for group in range(groups):
        for i in range(min(out, shape[1])):
            values[(group * out + i, i, *(n // 2 for n in shape[2:]))] = 1
    return _fill(tensor, _place(tensor)["xp"].asarray(values))


def orthogonal_(tensor: Any, gain: float = 1.0, *, key: Key | None = None) -> Any:
    """`gain` times a matrix with orthonormal rows, or columns if they are fewer.

    (Saxe, McClelland and Ganguli, arXiv 1312.6120.) All axes but the first count as one.
    """
    shape = _shape("orthogonal_", tensor, least=2)
    rows, columns = shape[0], math.prod(shape[1:])
    if not rows * columns:
        return tensor
    module = _place(tensor)["xp"]
    size = (max(rows, columns), min(rows, columns))
    numbers = random.normal(key or random.next_key(), size, dtype="float64", xp=module)
    q, r = module.linalg.qr(numbers)
    q = q * module.where(module.diagonal(r) < 0, -1.0, 1.0)  # else the signs would not be random
    q = q.T if rows < columns else q
    return _fill(tensor, gain * q.reshape(shape))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, *, key: Key | None = None) -> Any:
    """Normal numbers, but for the share `sparsity` of each column, rounded up, which is zero.

    (Martens, "Deep learning via Hessian-free optimization", ICML 2010.)

    Raises:
        ShapeError: the tensor is no matrix.
        ValueError: `sparsity` is not in [0, 1].
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: the tensor must have 2 axes, got {tensor.shape}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity must be in [0, 1], got {sparsity}")
    key = key or random.next_key()
    rows = tensor.shape[0]
    module = _place(tensor)["xp"]
    order = random.uniform(random.fold(key, "rows"), tensor.shape, dtype="float64", xp=module)
    ranks = module.argsort(module.argsort(order, axis=0), axis=0)
    normal_(tensor, 0.0, std, key=random.fold(key, "values"))
    array = tensor.data if type(tensor) is Tensor else tensor
    return _fill(tensor, module.where(ranks < math.ceil(sparsity * rows), 0, array))

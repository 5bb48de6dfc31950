"""Functions of one element at a time. Shapes broadcast; gradients are summed back by the engine.

Dtypes: Python scalars never change the dtype of an array, and integers and booleans take the dtype
of the floating-point operand that they meet, so float32 stays float32.
"""

import math

import numpy as np

from minigrad.autodiff import Tensor, op, primitive
from minigrad.backend import is_array
from minigrad.errors import DtypeError

__all__ = [
    "abs", "absolute", "add", "astype", "bitwise_and", "bitwise_or", "bitwise_xor", "clip", "cos",
    "divide", "equal", "erf", "exp", "expm1", "gelu", "greater", "greater_equal", "invert",
    "isfinite", "isnan", "less", "less_equal", "log", "log1p", "logical_and", "logical_not",
    "logical_or", "masked_fill", "maximum", "minimum", "multiply", "negative", "not_equal",
    "ones_like", "power", "reciprocal", "relu", "sigmoid", "sign", "sin", "sqrt", "square",
    "stop_gradient", "subtract", "tanh", "where", "zeros_like",
]  # fmt: skip


def _match(*operands):
    """Operands with integer and boolean arrays in the dtype of the floating-point ones."""
    first, *others = operands
    dtype = getattr(first, "dtype", None)
    for x in others:  # the common case, quickly: scalars beside an array, or one dtype for all
        if type(x) is not float and type(x) is not int and getattr(x, "dtype", None) is not dtype:
            break
    else:
        if dtype is None or dtype.kind != "c":
            return operands
    dtypes = {x.dtype for x in operands if is_array(x)}
    if len(dtypes) > 1:
        if any(d.kind == "c" for d in dtypes):
            raise DtypeError(f"an operand is {np.result_type(*dtypes)}; complex is not supported")
        floats = [d for d in dtypes if d.kind not in "iub"]
        if floats and len(floats) < len(dtypes):
            target = np.result_type(*floats) if len(floats) > 1 else floats[0]
            return [
                x.astype(target) if is_array(x) and x.dtype.kind in "iub" else x for x in operands
            ]
    return operands


# ---------------------------------------------------------------------------- arithmetic


@primitive
def add(xp, a, b):
    """`a + b`, element by element."""
    return xp.add(*_match(a, b))


add.vjps(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)


@primitive
def subtract(xp, a, b):
    """`a - b`, element by element."""
    return xp.subtract(*_match(a, b))


subtract.vjps(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g)


@primitive
def multiply(xp, a, b):
    """`a * b`, element by element."""
    return xp.multiply(*_match(a, b))


multiply.vjps(lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)


@primitive
def divide(xp, a, b):
    """`a / b`, element by element."""
    return xp.divide(*_match(a, b))


divide.vjps(lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -g * y / b)


@primitive
def power(xp, a, b):
    """`a` to the power `b`. At `a = 0` the gradient by `b` is 0, at `b = 0` that by `a` is 0."""
    return xp.power(*_match(a, b))


def _power_a(g, _y, a, b):
    if isinstance(b, int | float):
        return g * b * power(a, b - 1) if b != 0 else zeros_like(g)
    return g * b * power(a, where(logical_and(a == 0, b == 0), 1, b - 1))


def _power_b(g, y, a, _b):
    a = a if not isinstance(a, int | float) else astype(y * 0 + a, dtype=y.dtype)
    return g * y * log(where(a == 0, 1, a))


power.vjps(_power_a, _power_b)


@primitive
def negative(xp, x):
    """`-x`."""
    return xp.negative(x)


negative.vjps(lambda g, _y, _x: -g)


@op
def reciprocal(xp, x):
    """`1 / x`."""
    return 1 / x


@op
def square(xp, x):
    """`x * x`."""
    return x * x


@primitive
def astype(xp, x, *, dtype):
    """`x` in another dtype; the gradient returns in the dtype of `x`.

    Integers and booleans have no gradient: there the history ends.
    """
    if np.dtype(dtype).kind not in "fiubV":
        raise DtypeError(f"astype: {dtype} is not supported; real numbers only")
    return x.astype(dtype)


astype.vjps(lambda g, _y, _x, *, dtype: g)  # the engine casts it back


@primitive
def zeros_like(xp, x):
    """Zeros of the shape and dtype of `x`."""
    return xp.zeros_like(x)


zeros_like.no_gradient()


@primitive
def ones_like(xp, x):
    """Ones of the shape and dtype of `x`."""
    return xp.ones_like(x)


ones_like.no_gradient()

# ------------------------------------------------------------------- sign, size, choice


@primitive
def absolute(xp, x):
    """`|x|`; the derivative at 0 is 0."""
    return xp.absolute(x)


absolute.vjps(lambda g, _y, x: g * sign(x))
abs = absolute


@primitive
def sign(xp, x):
    """-1, 0 or 1; its derivative is 0 everywhere."""
    return xp.sign(x)


sign.vjps(lambda g, _y, _x: zeros_like(g))


@primitive
def maximum(xp, a, b):
    """The larger of `a` and `b`; where they are equal, each gets half of the gradient."""
    return xp.maximum(*_match(a, b))


@primitive
def minimum(xp, a, b):
    """The smaller of `a` and `b`; where they are equal, each gets half of the gradient."""
    return xp.minimum(*_match(a, b))


def _share(g, first, second):
    """`g` where `first` is ahead, half of it where they are level."""
    return where(first > second, g, where(first == second, g * 0.5, 0.0))


maximum.vjps(lambda g, _y, a, b: _share(g, a, b), lambda g, _y, a, b: _share(g, b, a))
minimum.vjps(lambda g, _y, a, b: _share(g, b, a), lambda g, _y, a, b: _share(g, a, b))


@primitive
def where(xp, condition, a, b):
    """`a` where `condition` holds, `b` elsewhere; nothing flows to the element not taken."""
    a, b = _match(a, b)
    return xp.where(condition, a, b)


where.vjps(
    lambda g, _y, _c, _a, _b: None,
    lambda g, _y, c, _a, _b: where(c, g, 0.0),
    lambda g, _y, c, _a, _b: where(c, 0.0, g),
)


def clip(x, min=None, max=None):  # NumPy's names
    """`x` limited to `min` and `max`, either of which may be None."""
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def masked_fill(x, mask, value):
    """`x` with `value` where `mask` is True (PyTorch's `masked_fill`)."""
    return where(mask, value, x)


# ------------------------------------------------------------ exponentials and the like


@primitive
def exp(xp, x):
    """The exponential function."""
    return xp.exp(x)


exp.vjps(lambda g, y, _x: g * y)


@primitive
def expm1(xp, x):
    """`exp(x) - 1`, precise near 0."""
    return xp.expm1(x)


expm1.vjps(lambda g, y, _x: g * (y + 1))


@primitive
def log(xp, x):
    """The natural logarithm."""
    return xp.log(x)


log.vjps(lambda g, _y, x: g / x)


@primitive
def log1p(xp, x):
    """`log(1 + x)`, precise near 0."""
    return xp.log1p(x)


log1p.vjps(lambda g, _y, x: g / (x + 1))


@primitive
def sqrt(xp, x):
    """The square root; its derivative at 0 is infinite."""
    return xp.sqrt(x)


sqrt.vjps(lambda g, y, _x: g * 0.5 / y)


@primitive
def sin(xp, x):
    """The sine of `x` radians."""
    return xp.sin(x)


sin.vjps(lambda g, _y, x: g * cos(x))


@primitive
def cos(xp, x):
    """The cosine of `x` radians."""
    return xp.cos(x)


cos.vjps(lambda g, _y, x: -g * sin(x))


@primitive
def tanh(xp, x):
    """The hyperbolic tangent."""
    return xp.tanh(x)


tanh.vjps(lambda g, y, _x: g * (1 - y * y))


@op
def sigmoid(xp, x):
    """`1 / (1 + exp(-x))`, which cannot overflow in this form."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


@sigmoid.vjp
def _(g, y, _x):
    return g * y * (1 - y)


@primitive
def erf(xp, x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to `x`."""
    if xp is np:
        from scipy.special import erf  # not at import: SciPy is slow to start
    else:
        from cupyx.scipy.special import erf
    return erf(x)


erf.vjps(lambda g, _y, x: g * exp(-x * x) * (2 / math.sqrt(math.pi)))

# ----------------------------------------------------------------------- activations


@primitive
def relu(xp, x):
    """`max(x, 0)`; the derivative at 0 is 0. NaN stays NaN."""
    return xp.maximum(x, 0)


relu.vjps(lambda g, y, _x: g * (y > 0))


@op
def gelu(xp, x, *, approximate="none"):
    """`x` times the normal distribution function at `x` (Hendrycks and Gimpel, arXiv 1606.08415).

    Args:
        approximate: 'none' for the exact function, 'tanh' for the paper's approximation.
    """
    if approximate == "none":
        return 0.5 * x * (1 + erf(x * (1 / math.sqrt(2))))
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + xp.tanh(inner))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


# -------------------------------------------------------------- comparisons and logic


def _untracked(name: str, doc: str, operands: int = 2):
    """An op from NumPy's function of that name, whose result has no history."""

    def of_two(xp, a, b):
        return getattr(xp, name)(*_match(a, b))

    def of_one(xp, x):
        return getattr(xp, name)(x)

    formula = of_two if operands == 2 else of_one
    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = doc
    return primitive(formula).no_gradient()


equal = _untracked("equal", "Where `a == b`, as booleans without history.")
not_equal = _untracked("not_equal", "Where `a != b`, as booleans without history.")
less = _untracked("less", "Where `a < b`, as booleans without history.")
less_equal = _untracked("less_equal", "Where `a <= b`, as booleans without history.")
greater = _untracked("greater", "Where `a > b`, as booleans without history.")
greater_equal = _untracked("greater_equal", "Where `a >= b`, as booleans without history.")
logical_and = _untracked("logical_and", "Where both are true.")
logical_or = _untracked("logical_or", "Where at least one is true.")
bitwise_and = _untracked("bitwise_and", "The bits that both integers have; of booleans: both.")
bitwise_or = _untracked("bitwise_or", "The bits that either integer has; of booleans: either.")
bitwise_xor = _untracked("bitwise_xor", "The bits that one of two integers has, not both.")
invert = _untracked("invert", "All bits of an integer changed; of a boolean: not.", operands=1)
logical_not = _untracked("logical_not", "Where `x` is false.", operands=1)
isnan = _untracked("isnan", "Where `x` is not a number.", operands=1)
isfinite = _untracked("isfinite", "Where `x` is neither infinite nor NaN.", operands=1)


def stop_gradient(x):
    """`x` as a constant: the same values, no history."""
    return x.detach() if type(x) is Tensor else x

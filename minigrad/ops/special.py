"""The gamma function, the normal distribution, Bessel functions: values by SciPy, under its names.

Of integers and booleans they are float32. Their derivatives are written so that they keep their
digits where the textbook's formula subtracts two numbers that are nearly equal.
"""

import math

from minigrad.autodiff import op, primitive
from minigrad.ops.dtypes import floating, floating_pair
from minigrad.ops.elementwise import (
    absolute,
    exp,
    greater,
    less,
    log,
    log1p,
    multiply,
    negative,
    sign,
    special_function,
    where,
    xlogy,
    zeros_like,
)
from minigrad.ops.reductions import sum
from minigrad.ops.shaping import expand_dims

__all__ = [
    "digamma", "entr", "erfcx", "erfinv", "i0", "i0e", "i1", "i1e", "lgamma", "log_ndtr",
    "multigammaln", "ndtr", "ndtri", "polygamma", "xlog1py",
]  # fmt: skip


def _scipys(name: str, doc: str, scipy_name: str | None = None):
    """An op from SciPy's function of that name, for floats; its rule is to follow."""

    def formula(xp, x):
        return special_function(xp, scipy_name or name, floating(xp, x))

    formula.__name__ = formula.__qualname__ = name
    formula.__doc__ = doc
    return primitive(formula)


# ------------------------------------------------------------------------------------- gamma

lgamma = _scipys("lgamma", "The logarithm of the size of the gamma function.", "gammaln")
digamma = _scipys("digamma", "The derivative of `lgamma`.")


def polygamma(n: int, x):
    """The derivative of order `n` of `digamma`: `digamma(x)` for 0, the trigamma function for 1.

    Raises:
        ValueError: `n` is negative or no integer.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"polygamma: n must be an integer from 0 on, got {n!r}")
    return _polygamma(x, n=n)


@primitive
def _polygamma(xp, x, *, n):
    """`polygamma`."""
    return special_function(xp, "polygamma", floating(xp, x), n)


lgamma.vjps(lambda g, _y, x: g * digamma(x))
digamma.vjps(lambda g, _y, x: g * _polygamma(x, n=1))
_polygamma.vjps(lambda g, _y, x, *, n: g * _polygamma(x, n=n + 1))


@op
def multigammaln(xp, x, *, d):
    """The logarithm of the gamma function of `d` dimensions; `x` > (d - 1) / 2.

    It is d (d - 1) / 4 log(pi) and the sum of `lgamma(x - i / 2)` for i = 0 ... d - 1.
    """
    x = expand_dims(floating(xp, x), axis=-1)
    halves = multiply(xp.arange(d).astype(x.dtype), 0.5)
    return sum(lgamma(x - halves), axis=-1) + d * (d - 1) / 4 * math.log(math.pi)


# ------------------------------------------------------------------- the normal distribution

SQRT2, SQRTPI = math.sqrt(2), math.sqrt(math.pi)

erfinv = _scipys("erfinv", "The inverse of `erf`: infinite at -1 and 1, NaN beyond.")
erfinv.vjps(lambda g, y, _x: g * exp(y * y) * (SQRTPI / 2))

erfcx = _scipys("erfcx", "`exp(x * x) * erfc(x)`, which for a large `x` is neither 0 nor infinite.")


@erfcx.vjp
def _(g, y, x):
    # 2 x y and 2 / sqrt(pi) agree in ever more digits as x grows: beyond 10 the difference is
    # taken from the series of y in 1 / x^2, of which the first term is just what cancels.
    far = greater(x, 10)
    one = where(far, 0.0, x)
    near = 2 * one * where(far, 0.0, y) - 2 / SQRTPI
    inverse = 1 / where(far, x, 10.0)
    square = inverse * inverse / 2
    series = zeros_like(square)
    for k in range(12, 0, -1):
        series = -(2 * k - 1) * square * (1 + series)
    return g * where(far, series * (2 / SQRTPI), near)


ndtr = _scipys("ndtr", "The chance that a standard normal number is at most `x`.")
ndtr.vjps(lambda g, _y, x: g * exp(-0.5 * x * x) * (1 / (SQRT2 * SQRTPI)))

ndtri = _scipys("ndtri", "The inverse of `ndtr`: infinite at 0 and 1, NaN beyond.")
ndtri.vjps(lambda g, y, _x: g * exp(0.5 * y * y) * (SQRT2 * SQRTPI))

log_ndtr = _scipys("log_ndtr", "The logarithm of `ndtr`, precise where that would be 0.")


@log_ndtr.vjp
def _(g, y, x):
    # On the left, density and chance both vanish, and erfcx is their ratio.
    left = less(x, 0)
    ratio = (SQRT2 / SQRTPI) / erfcx(where(left, x, 0.0) * (-1 / SQRT2))
    right = where(left, 0.0, x)
    density = exp(-0.5 * right * right - where(left, 0.0, y)) * (1 / (SQRT2 * SQRTPI))
    return g * where(left, ratio, density)


# ------------------------------------------------------------------------------------ entropy


@op
def entr(xp, x):
    """`-x * log(x)`, a term of the entropy: 0 at 0, minus infinity below; NaN stays."""
    x = floating(xp, x)
    below = less(x, 0)
    return where(below, -math.inf, negative(xlogy(x, where(below, 1.0, x))))


@entr.vjp
def _(g, _y, x):
    return g * (-1 - log(where(less(x, 0), math.nan, x)))  # of NaN there is nothing to warn of


@op
def xlog1py(xp, a, b):
    """`a * log1p(b)`, but 0 where `a` is 0, unless `b` is NaN; derivatives are as for `xlogy`."""
    a, b = floating_pair(xp, a, b)
    return multiply(a, log1p(_where_log1p_counts(b if hasattr(b, "dtype") else a, a, b)))


def _where_log1p_counts(like, a, b):
    """`b`, and 0 where `a` is 0 and `log1p(b)` is not finite; in the dtype of `like`."""
    endless = (b <= -1) | (b == math.inf)  # operators: of two numbers an op would make an array
    return where((a == 0) & endless, zeros_like(like), b)


xlog1py.vjps(
    lambda g, _y, a, b: g * log1p(_where_log1p_counts(g, a, b)),
    lambda g, _y, a, b: g * (a / (1 + _where_log1p_counts(g, a, b))),
)

# ------------------------------------------------------------------------------------- Bessel

i0 = _scipys("i0", "The modified Bessel function of the first kind, of order 0.")
i0e = _scipys("i0e", "`exp(-|x|) * i0(x)`, which does not overflow.")
i1 = _scipys("i1", "The modified Bessel function of the first kind, of order 1.")
i1e = _scipys("i1e", "`exp(-|x|) * i1(x)`, which does not overflow.")


def _over_x(y, x):
    """`y / x` for `y = i1(x)`; near 0 a series, as derivatives of the quotient lose all digits."""
    near = absolute(x) < 1
    square, series = where(near, x * x, 0.0) / 4, 1.0
    for k in range(9, 0, -1):
        series = 1 + square / (k * (k + 1)) * series
    return where(near, 0.5 * series, where(near, 0.0, y) / where(near, 1.0, x))


def _scaled_over_x(y, x):
    """`y / x` for `y = i1e(x)`."""
    near = absolute(x) < 1
    small = where(near, x, 0.0)
    far = where(near, 0.0, y) / where(near, 1.0, x)
    return where(near, _over_x(y, small) * exp(-absolute(small)), far)


i0.vjps(lambda g, _y, x: g * i1(x))
i0e.vjps(lambda g, y, x: g * (i1e(x) - sign(x) * y))
i1.vjps(lambda g, y, x: g * (i0(x) - _over_x(y, x)))
i1e.vjps(lambda g, y, x: g * (i0e(x) - _scaled_over_x(y, x) - sign(x) * y))

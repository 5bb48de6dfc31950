"""Slow loops for special functions: series, and inverses by halving an interval."""

import math

from naive import each


def _inverse(function, low, high):
    """The inverse of a rising function."""

    def inverse(y):
        a, b = low, high
        for _ in range(200):
            middle = (a + b) / 2
            a, b = (middle, b) if function(middle) < y else (a, middle)
        return a

    return inverse


def _ndtr(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _psi(n, x):
    """`polygamma`, the first terms of its series and Euler and Maclaurin's for the others."""
    if n == 0:
        far = x + 30
        rest = math.log(far) - 1 / (2 * far) - 1 / (12 * far**2) + 1 / (120 * far**4)
        return rest - math.fsum(1 / (x + k) for k in range(30))
    far, terms = x + 30, [1 / (x + k) ** (n + 1) for k in range(30)]
    terms += [1 / (n * far**n), 1 / (2 * far ** (n + 1)), (n + 1) / (12 * far ** (n + 2))]
    terms += [-(n + 1) * (n + 2) * (n + 3) / (720 * far ** (n + 4))]
    return (-1) ** (n + 1) * math.factorial(n) * math.fsum(terms)


def _bessel(order, x):
    terms = ((x / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order))
             for k in range(30))  # fmt: skip
    return math.fsum(terms)


def polygamma(x, *, n):
    return each(lambda v: _psi(n, v))(x)


def multigammaln(x, *, d):
    constant = d * (d - 1) / 4 * math.log(math.pi)
    return each(lambda v: constant + math.fsum(math.lgamma(v - i / 2) for i in range(d)))(x)


lgamma = each(math.lgamma)
digamma = each(lambda x: _psi(0, x))
erfinv = each(_inverse(math.erf, -6.0, 6.0))
erfcx = each(lambda x: math.exp(x * x) * math.erfc(x))
ndtr = each(_ndtr)
ndtri = each(_inverse(_ndtr, -9.0, 9.0))
log_ndtr = each(lambda x: math.log(_ndtr(x)))
entr = each(lambda x: -x * math.log(x) if x > 0 else 0.0 if x == 0 else -math.inf)
xlog1py = each(lambda a, b: a * math.log(1 + b) if a else 0.0)
i0 = each(lambda x: _bessel(0, x))
i1 = each(lambda x: _bessel(1, x))
i0e = each(lambda x: math.exp(-abs(x)) * _bessel(0, x))
i1e = each(lambda x: math.exp(-abs(x)) * _bessel(1, x))

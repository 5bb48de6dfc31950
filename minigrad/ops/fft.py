"""Discrete Fourier transforms, under NumPy's names: `minigrad.fft`.

Numbers are real here, so what is complex is a pair: `Complex(real, imag)`, two arrays of one shape.
The functions take one where NumPy's take complex numbers, and give one where they give them:

    spectrum = mg.fft.rfft(x)        Complex(real, imag)
    y = mg.fft.irfft(spectrum)

All are differentiable, by one op: the transform and its inverse are each other's adjoint. Half
precision and integers are computed in float32.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.abstract import Abstract
from minigrad.autodiff import Tensor, as_arrays, primitive
from minigrad.backend import array_module, xp
from minigrad.batched import Batched
from minigrad.errors import ShapeError
from minigrad.ops.dtypes import astype, widened
from minigrad.ops.elementwise import negative, zeros_like
from minigrad.ops.shaping import axis_of, broadcast_arrays, concatenate, flip, moveaxis, pad, stack
from minigrad.ops.shaping import roll as rolled

__all__ = [
    "Complex", "fft", "fft2", "fftfreq", "fftn", "fftshift", "ifft", "ifft2", "ifftn", "ifftshift",
    "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip


class Complex(NamedTuple):
    """Complex numbers as two arrays of one shape."""

    real: Any
    imag: Any


@primitive
def _dft(xp, x, *, inverse):
    """The transform, unscaled, along the last axis but one of pairs: (..., n, 2)."""
    return _transformed(xp, x, inverse)


def _transformed(module, x, inverse):
    if type(x) is Abstract:
        return x
    if type(x) is Batched:
        return Batched(_transformed(array_module(x.value), x.value, inverse), x.level)
    z = x[..., 0] + 1j * x[..., 1]
    z = module.fft.ifft(z, norm="forward") if inverse else module.fft.fft(z)  # neither is scaled
    return module.stack([z.real, z.imag], axis=-1).astype(x.dtype)


# Its matrix is symmetric, so its adjoint has the conjugate numbers: the inverse, unscaled.
_dft.vjps(lambda g, _y, _x, *, inverse: _dft(g, inverse=not inverse))


def _pair(name: str, a) -> Complex:
    """`a`, real or complex, as two arrays of floats."""
    if type(a) is tuple:
        raise TypeError(f"{name}: got a tuple; give fft.Complex(real, imag), or a list of numbers")
    real, imag = as_arrays(*a) if type(a) is Complex else (*as_arrays(a), None)
    if imag is None:
        real = widened(real)
        return Complex(real, zeros_like(real))
    real, imag = broadcast_arrays(widened(real), widened(imag))
    dtype = np.result_type(real.dtype, imag.dtype)
    return Complex(*(x if x.dtype == dtype else astype(x, dtype=dtype) for x in (real, imag)))


def _fitted(name: str, x, n: int | None, axis: int):
    """`x` with `n` elements along `axis`: cut off, or with zeros at the end."""
    m = x.shape[axis_of(name, axis, x.shape)]
    n = m if n is None else n
    if n < 1:
        raise ShapeError(f"{name}: there must be an element along axis {axis}, got {n}")
    axis %= x.ndim
    if n <= m:
        return x[(*(slice(None),) * axis, slice(0, n))]
    return pad(x, pad_width=[(0, (n - m) * (a == axis)) for a in range(x.ndim)])


def _scale(name: str, norm: str | None, n: int, inverse: bool) -> float:
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(f"{name}: norm must be 'backward', 'ortho' or 'forward', got {norm!r}")
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") != inverse else 1.0


def _along(name: str, a: Complex, n: int | None, axis: int, norm, inverse: bool) -> Complex:
    real, imag = (moveaxis(_fitted(name, x, n, axis), source=axis, destination=-1) for x in a)
    scale = _scale(name, norm, real.shape[-1], inverse)
    y = _dft(stack([real, imag], -1), inverse=inverse) * scale
    return Complex(
        moveaxis(y[..., 0], source=-1, destination=axis),
        moveaxis(y[..., 1], source=-1, destination=axis),
    )


# ------------------------------------------------------------------------------- along one axis


def fft(a, n: int | None = None, axis: int = -1, norm: str | None = None) -> Complex:
    """The discrete Fourier transform along `axis`.

    Args:
        a: real numbers or a `Complex`.
        n: the length to take: what is beyond is cut off, and zeros fill up.
        norm: which direction is scaled: 'backward' (by default), by 1 / n, 'forward', or 'ortho',
            both by its root.
    """
    return _along("fft", _pair("fft", a), n, axis, norm, False)


def ifft(a, n: int | None = None, axis: int = -1, norm: str | None = None) -> Complex:
    """The inverse of `fft`, with the same arguments."""
    return _along("ifft", _pair("ifft", a), n, axis, norm, True)


def rfft(a, n: int | None = None, axis: int = -1, norm: str | None = None) -> Complex:
    """The first n // 2 + 1 elements of the `fft` of real numbers; the others mirror them.

    Raises:
        TypeError: `a` is a `Complex`.
    """
    if type(a) is Complex:
        raise TypeError("rfft: expects real numbers, got a Complex; use fft")
    y = _along("rfft", _pair("rfft", a), n, axis, norm, False)
    half = y.real.shape[axis] // 2 + 1
    return Complex(*(_fitted("rfft", x, half, axis) for x in y))


def irfft(a, n: int | None = None, axis: int = -1, norm: str | None = None):
    """The inverse of `rfft`: `n` real numbers, 2 (m - 1) of m by default.

    Raises:
        ShapeError: `n` is less than 1.
    """
    real, imag = _pair("irfft", a)
    axis = axis_of("irfft", axis, real.shape)
    n = 2 * (real.shape[axis] - 1) if n is None else n
    if n < 1:
        raise ShapeError(f"irfft: there must be an element along axis {axis}, got {n}")
    real, imag = (_fitted("irfft", x, n // 2 + 1, axis) for x in (real, imag))
    mirrored = (*(slice(None),) * axis, slice(1, (n + 1) // 2))
    real = concatenate([real, flip(real[mirrored], axis=axis)], axis)
    imag = concatenate([imag, negative(flip(imag[mirrored], axis=axis))], axis)
    return _along("irfft", Complex(real, imag), None, axis, norm, True).real


# --------------------------------------------------------------------------- along several axes


def _lengths(name: str, a, s, axes) -> list[tuple[int, int | None]]:
    """Pairs (axis, length to take)."""
    if axes is None:
        axes = range(-len(s), 0) if s is not None else range(a.ndim)
    axes = list(axes)
    if s is not None and len(s) != len(axes):
        raise ShapeError(f"{name}: {len(s)} lengths for {len(axes)} axes")
    return list(zip(axes, [None if n == -1 else n for n in s or [None] * len(axes)], strict=True))


def _over(name: str, a, s, axes, norm, inverse: bool) -> Complex:
    a = _pair(name, a)
    for axis, n in reversed(_lengths(name, a.real, s, axes)):
        a = _along(name, a, n, axis, norm, inverse)
    return a


def fftn(a, s=None, axes=None, norm: str | None = None) -> Complex:
    """`fft` along several `axes` (all by default), with the lengths `s`."""
    return _over("fftn", a, s, axes, norm, False)


def ifftn(a, s=None, axes=None, norm: str | None = None) -> Complex:
    """The inverse of `fftn`, with the same arguments."""
    return _over("ifftn", a, s, axes, norm, True)


def fft2(a, s=None, axes=(-2, -1), norm: str | None = None) -> Complex:
    """`fftn` along the last two axes."""
    return _over("fft2", a, s, axes, norm, False)


def ifft2(a, s=None, axes=(-2, -1), norm: str | None = None) -> Complex:
    """The inverse of `fft2`, with the same arguments."""
    return _over("ifft2", a, s, axes, norm, True)


def rfftn(a, s=None, axes=None, norm: str | None = None) -> Complex:
    """`rfft` along the last of `axes` (all by default), `fft` along the others."""
    (real,) = as_arrays(a) if type(a) is not Complex else (a,)
    *others, (axis, n) = _lengths("rfftn", real, s, axes)
    y = rfft(real, n, axis, norm)
    for axis, n in reversed(others):
        y = fft(y, n, axis, norm)
    return y


def irfftn(a, s=None, axes=None, norm: str | None = None):
    """The inverse of `rfftn`, real numbers; `s` tells the lengths of the result."""
    a = _pair("irfftn", a)
    *others, (axis, n) = _lengths("irfftn", a.real, s, axes)
    for other, m in others:
        a = ifft(a, m, other, norm)
    return irfft(a, n, axis, norm)


def rfft2(a, s=None, axes=(-2, -1), norm: str | None = None) -> Complex:
    """`rfftn` along the last two axes."""
    return rfftn(a, s, axes, norm)


def irfft2(a, s=None, axes=(-2, -1), norm: str | None = None):
    """The inverse of `rfft2`, with the same arguments."""
    return irfftn(a, s, axes, norm)


# ---------------------------------------------------------------------------------- frequencies


def fftfreq(n: int, d: float = 1.0, dtype="float32") -> Tensor:
    """(n,): which frequency each element of `fft` is of, of samples that are `d` apart."""
    return Tensor(xp().asarray(np.fft.fftfreq(n, d).astype(dtype)))


def rfftfreq(n: int, d: float = 1.0, dtype="float32") -> Tensor:
    """(n // 2 + 1,): which frequency each element of `rfft` is of."""
    return Tensor(xp().asarray(np.fft.rfftfreq(n, d).astype(dtype)))


def fftshift(x, axes=None):
    """`x`, of `fft` or `fftfreq`, with frequency 0 in the middle of `axes` (all by default)."""
    return _shifted(x, axes, lambda n: n // 2)


def ifftshift(x, axes=None):
    """The inverse of `fftshift`."""
    return _shifted(x, axes, lambda n: -(n // 2))


def _shifted(x, axes, by):
    if type(x) is Complex:
        return Complex(*(_shifted(part, axes, by) for part in x))
    (x,) = as_arrays(x)
    axes = tuple(range(x.ndim)) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    return rolled(x, shift=tuple(by(x.shape[a]) for a in axes), axis=axes)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(name)
    from minigrad.elsewhere import missing  # not at the top: it is read when a name is missing

    raise AttributeError(missing("minigrad.fft", name))

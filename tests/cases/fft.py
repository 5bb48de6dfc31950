"""Fourier transforms of pairs: as NumPy's of complex numbers."""

import numpy as np
import strategies as draws
from hypothesis import strategies as st
from strategies import Call

import minigrad as mg
from cases.case import Case
from minigrad.ops.fft import _dft

LENGTHS = (1, 2, 3, 4, 5)
NORMS = st.sampled_from([None, "backward", "ortho", "forward"])


@st.composite
def along(draw, count):
    """Real numbers, or the two parts of complex ones, and the axis."""
    shape = draw(draws.shapes(1, 3, LENGTHS))
    params = {"n": draw(st.sampled_from([None, 2, 3, 6])), "norm": draw(NORMS)}
    if draw(draws.half_the_time):
        params["axis"] = draw(draws.axes(len(shape), ("int",)))
    if count == 2 and shape[params.get("axis", -1)] == 1:
        params["n"] = params["n"] or 3  # NumPy's irfft of one would have none
    return Call(tuple(draw(draws.floats(*[shape] * count))), params)


@st.composite
def over(draw, count, two):
    shape = draw(draws.shapes(2, 3, (2, 3, 4)))
    params = {"norm": draw(NORMS)}
    if draw(draws.half_the_time):
        params |= {"s": (3, 4), "axes": tuple(draw(st.permutations([-1, 0])))}
    elif not two and draw(draws.half_the_time):
        params["axes"] = (-1, 0)
    return Call(tuple(draw(draws.floats(*[shape] * count))), params)


@st.composite
def shifted(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3))))
    return Call((x,), {"axes": draw(draws.axes(x.ndim))})


@st.composite
def pairs(draw):
    (x,) = draw(draws.floats((*draw(draws.shapes(1, 2, LENGTHS)), 2)))
    return Call((x,), {"inverse": draw(draws.half_the_time)})


def of_pairs(name):
    """`minigrad.fft`'s function, of real and imaginary part."""
    subject = getattr(mg.fft, name)

    def function(real, imag, **params):
        return subject(mg.fft.Complex(real, imag), **params)

    function.__name__, function.subject = f"{name}_of_pairs", subject
    return function


def by_numpy(name):
    def function(real, imag=None, **params):
        y = getattr(np.fft, name)(real if imag is None else real + 1j * imag, **params)
        return (y.real, y.imag) if np.iscomplexobj(y) else y

    return function


def case(name, calls):
    return Case(of_pairs(name), by_numpy(name), calls)


def dft(x, *, inverse):
    z = x[..., 0] + 1j * x[..., 1]
    n = x.shape[-2]
    turn = np.exp((2j if inverse else -2j) * np.pi * np.outer(np.arange(n), np.arange(n)) / n)
    z = z @ turn
    return np.stack([z.real, z.imag], -1)


CASES = [
    Case(_dft, dft, pairs()),
    Case(mg.fft.fft, by_numpy("fft"), along(1)),
    case("fft", along(2)),
    case("ifft", along(2)),
    Case(mg.fft.rfft, by_numpy("rfft"), along(1)),
    case("irfft", along(2)),
    case("fft2", over(2, two=True)),
    case("ifft2", over(2, two=True)),
    case("fftn", over(2, two=False)),
    case("ifftn", over(2, two=False)),
    Case(mg.fft.rfft2, by_numpy("rfft2"), over(1, two=True)),
    Case(mg.fft.rfftn, by_numpy("rfftn"), over(1, two=False)),
    case("irfft2", over(2, two=True)),
    case("irfftn", over(2, two=False)),
    Case(mg.fft.fftshift, np.fft.fftshift, shifted()),
    Case(mg.fft.ifftshift, np.fft.ifftshift, shifted()),
]

# What the table names under another name.
ALIASES: dict[str, str] = {}

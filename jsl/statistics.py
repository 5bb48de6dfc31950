"""What the numbers of each parameter are like, as `metrics.json` keeps it under "layers"."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.backend import to_numpy


def statistics(weights: Mapping[str, Any]) -> dict[str, dict[str, float | int]]:
    """For each parameter, by its full name, what `summary` says of it."""
    return {name: summary(array) for name, array in weights.items()}


def summary(array: Any) -> dict[str, float | int]:
    """Figures of an array of any shape and dtype: JSON numbers, whatever is in it.

        mean, std, min, max    of the elements that are finite; std divides by their number (ddof 0)
        norm                   the square root of the sum of their squares
        zero_fraction          the share of zeros among all elements; 0 of none
        nonfinite              how many elements are NaN or infinite

    They are computed in float64. Without finite elements the first five are absent, and so is one
    that float64 cannot hold, as the norm of many elements of 1e308.
    """
    x = np.asarray(to_numpy(array)).astype(np.float64).ravel()
    finite = x[np.isfinite(x)]
    figures: dict[str, float | int] = {}
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        # A power of two changes no digit, and keeps squares and sums from overflow and underflow.
        _, exponent = math.frexp(max(-low, high))
        y = np.ldexp(finite, -exponent)
        scaled = {"mean": y.mean(), "std": y.std(), "norm": np.sqrt(np.square(y).sum())}
        with np.errstate(over="ignore"):
            found = {name: float(np.ldexp(value, exponent)) for name, value in scaled.items()}
        found["mean"] = min(max(found["mean"], low), high)  # a sum may be rounded out of them
        found["std"] = 0.0 if low == high else found["std"]
        found |= {"min": low, "max": high}
        names = ("mean", "std", "min", "max", "norm")
        figures |= {name: found[name] for name in names if math.isfinite(found[name])}
    figures["zero_fraction"] = float(np.mean(x == 0)) if x.size else 0.0
    figures["nonfinite"] = int(x.size - finite.size)
    return figures

"""What tests of kernels along rows have in common: numbers, arrays on the device, comparing."""

import cupy
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

DTYPES = ["float32", "float64", "float16"]
try:
    import ml_dtypes

    DTYPES.append("bfloat16")
except ImportError:
    pass

LENGTHS = st.sampled_from([1, 3, 8, 33, 64, 100, 256, 520, 1040, 2100])
FEW = settings(max_examples=4, deadline=None)


def eps_of(dtype):
    return 2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)


def numbers(rng, shape, dtype, scale=1.0, offset=0.0):
    """Random numbers that the dtype can hold, in float64."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return (rng.standard_normal(shape) * scale + offset).astype(dtype).astype("float64")


def device(x, dtype, aligned=True):
    """`x` on the device; perhaps an element behind where packs begin."""
    skip = 0 if aligned else 1
    memory = cupy.empty(x.size + skip, dtype)
    y = memory[skip:].reshape(x.shape)
    y[...] = cupy.asarray(x).astype(dtype)
    return y


def close(found, expected, dtype, ulps=16, scale=None):
    """Within some roundings of the largest number of each row."""
    assert found is not NotImplemented
    assert found.dtype == dtype
    found = found.get().astype("float64")
    assert found.shape == expected.shape
    rows = np.where(np.isfinite(expected), np.abs(expected), 0).max(axis=-1, keepdims=True)
    room = ulps * eps_of(dtype) * np.maximum(rows, 1e-3 if scale is None else scale)
    exact = np.isnan(expected) | np.isinf(expected)
    np.testing.assert_array_equal(found[exact], expected[exact])
    off = np.abs(np.where(exact, 0, found) - np.where(exact, 0, expected))
    assert (off <= room).all(), f"off by {(off / room).max():.2g} of what is allowed"

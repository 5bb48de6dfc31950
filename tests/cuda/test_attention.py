"""Attention on the device, forward and backward, against its formula in float64 on NumPy."""

import cupy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import ops, random
from minigrad.kernels.cuda import attention as page
from minigrad.precision import float32_matmul_precision

# Of the largest number of a result, for scores of a few units.
TOLERANCES = {
    "float64": 1e-13, "float32": 3e-6, "tf32": 4e-3, "float16": 4e-3, "bfloat16": 3e-2,
}  # fmt: skip
SHORT, LONG = st.integers(1, 16), st.integers(65, 100)

# Each is compiled once for all lengths: dtype, features of a head of keys and of values, queries
# and keys, the mask's axes and what it is of, causal, dropout, whether heads are views.
CASES = [
    ("float32", 16, 16, LONG, LONG, None, True, 0.0, True),
    ("float32", 5, 9, SHORT, LONG, "B11S", False, 0.25, True),
    ("float64", 6, 20, LONG, SHORT, "BHTS", True, 0.5, False),
    ("tf32", 16, 24, LONG, LONG, "TS floats", False, 0.25, True),
    ("tf32", 9, 4, SHORT, SHORT, "BHTS", True, 0.0, False),
    ("float16", 24, 8, SHORT, LONG, "1H1S floats", False, 0.0, True),
    ("bfloat16", 40, 16, LONG, LONG, "B11S", True, 0.1, True),
    ("bfloat16", 3, 20, LONG, SHORT, None, False, 0.0, False),
]


def named(dtype):
    if dtype == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype("float32" if dtype == "tf32" else dtype)


class Case:
    """Arrays on NumPy and on the device, and what the formula says in float64."""

    def __init__(self, seed, dtype, heads, d, e, batch, queries, keys, mask, causal, p, views):
        rng = np.random.default_rng(seed)
        self.tolerance, dtype = TOLERANCES[dtype], named(dtype)

        def drawn(length, features):
            """Rows which, as `views`, are parts of wider ones: as of a packed projection."""
            more = 2 * heads * features if views else 0
            wide = rng.standard_normal((batch, length, heads * features + more)).astype(dtype)
            start = heads * features if views else 0
            part = (..., slice(start, start + heads * features))
            return wide[part], cupy.asarray(wide)[part]

        pairs = [drawn(queries, d), drawn(keys, d), drawn(keys, e), drawn(queries, e)]
        (self.q, self.k, self.v, self.g), (q, k, v, self.on_device_g) = zip(*pairs, strict=True)
        self.mask = None
        if mask is not None:
            letters, *floats = mask.split()
            sizes = {"B": batch, "H": heads, "T": queries, "S": keys, "1": 1}
            shape = [sizes[x] for x in letters]
            self.mask = rng.random(shape) < 0.7
            if floats:
                self.mask = np.where(self.mask, rng.standard_normal(shape), -np.inf).astype(dtype)
            if rng.random() < 0.5:  # queries that see no key
                self.mask[(0,) * (len(shape) - 2)][:1] = -np.inf if floats else False
        self.key = random.key(seed) if p else None
        self.options = {"heads": heads, "causal": causal, "scale": None, "dropout": p}
        on_device = None if self.mask is None else cupy.asarray(self.mask)
        self.on_device = (q, k, v, on_device, self.key)

    def expected(self):
        g, q, k, v = (x.astype("float64") for x in (self.g, self.q, self.k, self.v))
        mask = self.mask
        mask = mask if mask is None or mask.dtype == bool else mask.astype("float64")
        given = (q, k, v, mask, self.key)
        y = ops.attention.formula(np, *given, **self.options)
        return [y, *ops.attention_grad.formula(np, g, *given, **self.options)]

    def actual(self):
        y = page.attention(*self.on_device, **self.options)
        return [y, *page.attention_grad(self.on_device_g, *self.on_device, **self.options)]

    def check(self):
        names = ("y", "dq", "dk", "dv")
        for name, got, want in zip(names, self.actual(), self.expected(), strict=True):
            got = got.get().astype("float64")
            assert got.shape == want.shape
            size = max(1, np.abs(want).max())
            np.testing.assert_allclose(got, want, rtol=0, atol=self.tolerance * size, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_attention_equals_the_formula(case):
    dtype, d, e, queries, keys, *others = case

    @settings(max_examples=8, deadline=None)
    @given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 3), queries, keys)
    def check(seed, heads, batch, queries, keys):
        Case(seed, dtype, heads, d, e, batch, queries, keys, *others).check()

    with float32_matmul_precision("high" if dtype == "tf32" else "highest"):
        check()

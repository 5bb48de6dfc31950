"""Statistics and pictures of arrays, against slow loops; arrays as text and back."""

import base64
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.errors import DataError
from minigrad.sparse import SparseRows
from minigrad.study import values
from minigrad.study.values import SIDE, Value, copy_of, figures_of, from_json, picture_of, shown

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64",
]  # fmt: skip
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    st.tuples(st.integers(0, 80), st.integers(0, 80)),
    st.tuples(st.integers(0, 3000)),
)


@st.composite
def arrays(draw):
    """Of every dtype and many shapes; floats with NaN, infinities and the largest there are."""
    dtype, shape = draw(st.sampled_from([*DTYPES, "bfloat16"])), draw(SHAPES)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype == "bool":
        return generator.random(shape) < 0.5
    if dtype[0] in "iu":
        info = np.iinfo(dtype)
        if draw(st.booleans()):
            return generator.integers(info.min, info.max, shape, dtype, endpoint=True)
        return generator.integers(0, 5, shape).astype(dtype)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    info = ml_dtypes.finfo(kind)
    x = np.asarray(generator.normal(size=shape))
    extremes = [
        0.0,
        -0.0,
        np.nan,
        np.inf,
        -np.inf,
        float(info.max),
        float(info.min),
        float(info.tiny),
    ]
    if draw(st.booleans()):
        few = draw(st.lists(st.sampled_from(extremes), min_size=1, max_size=3))
        x = np.where(generator.random(shape) < 0.3, generator.choice(few, shape), x)
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(kind)


def slowly(x):
    """The statistics by a loop."""
    numbers = [float(v) for v in x.reshape(-1)]
    finite = [v for v in numbers if math.isfinite(v)]
    found = {
        "zeros": sum(v == 0 for v in numbers),
        "nan": sum(map(math.isnan, numbers)),
        "infinite": sum(map(math.isinf, numbers)),
        "low": min(finite, default=None),
        "high": max(finite, default=None),
    }
    try:
        mean = math.fsum(finite) / len(finite) if finite else None
        std = (
            None
            if mean is None
            else math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / len(finite))
        )
    except OverflowError:
        mean = std = math.nan
    return found | {"mean": mean, "std": std}


@settings(max_examples=200, deadline=None)
@given(arrays())
@example(np.array([1.7e308, -1.7e308, 1.7e308]))
@example(np.array([5e-324, 0.0]))
@example(np.full((3, 50), np.nan))
@example(np.array([2**63 - 1, -(2**63)]))
def test_statistics(x):
    found, expected = figures_of(x), slowly(x)
    for name in ("zeros", "nan", "infinite"):
        assert found[name] == expected[name]
        assert type(found[name]) is int
    for name in ("low", "high"):
        if expected[name] is None:
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(expected[name], rel=1e-8, abs=0)
    if expected["mean"] is None:
        assert found["mean"] is found["std"] is None
    elif math.isfinite(expected["mean"]) and math.isfinite(expected["std"]):
        size = max(abs(expected["low"]), abs(expected["high"]))
        for name in ("mean", "std"):
            if found[name] is None:
                assert size > 1e150, "too large for a sum of squares"
            else:
                assert found[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-7 * size)


def blocks(n):
    """Where the blocks of an axis begin and end."""
    cuts = [i * n // SIDE for i in range(SIDE)] if n > SIDE else range(n)
    return list(zip(cuts, [*cuts[1:], n], strict=True))


def drawn_slowly(x):
    """Means over blocks by loops, as a list of rows."""
    rows = math.prod(x.shape[:-1]) if x.ndim else 1
    columns = x.shape[-1] if x.ndim else 1
    m = [[float(v) for v in row] for row in x.reshape(rows, columns)] if rows * columns else []
    if not m:
        return [[] for _ in range(min(rows, SIDE))] if columns == 0 else []

    def mean(vs):
        return sum(vs) / len(vs)

    return [
        [
            mean([mean([m[i][j] for i in range(a, b)]) for j in range(c, d)])
            for c, d in blocks(columns)
        ]
        for a, b in blocks(rows)
    ]


@settings(max_examples=200, deadline=None)
@given(arrays())
@example(np.array([1.7e308, -1.7e308]))
@example(np.array([5e-324, 0.0]))
@example(np.full((40, 50), np.inf))
@example(np.zeros((0, 100)))
@example(np.zeros((100, 0)))
def test_pictures(x):
    found = picture_of(x.astype(np.float32) if x.dtype.kind == "V" else x)
    expected = drawn_slowly(x.astype(np.float32) if x.dtype.kind == "V" else x)
    rows, columns = found["shape"]
    assert rows <= SIDE
    assert columns <= SIDE
    levels = np.frombuffer(base64.b64decode(found["data"]), np.uint8)
    assert levels.size == rows * columns
    assert math.isfinite(found["low"])
    assert math.isfinite(found["high"])
    flat = [v for row in expected for v in row]
    assert len(flat) == levels.size
    finite = [v for v in flat if math.isfinite(v)]
    if len(finite) < len(flat) and any(abs(v) > 1e300 for v in x.reshape(-1).astype(float)):
        return  # whether a sum of the largest numbers overflows is a matter of its order
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    size = max(
        (abs(v) for v in x.reshape(-1).astype(float).tolist() if math.isfinite(v)), default=0
    )
    assert found["low"] == pytest.approx(low, rel=1e-6, abs=1e-9 * size)
    assert found["high"] == pytest.approx(high, rel=1e-6, abs=1e-9 * size)
    span = high / 2 - low / 2
    for level, v in zip(levels.tolist(), flat, strict=True):
        if not math.isfinite(v):
            assert level == 255
        elif span <= 1e-9 * size:
            assert 0 <= level <= 254
        else:
            assert abs(level - (v / 2 - low / 2) / span * 254) <= 0.51
    if finite and span > 1e-9 * size:
        assert {0, 254} <= set(levels.tolist())


@settings(max_examples=200, deadline=None)
@given(arrays(), st.sampled_from([0, 3, 4096]), st.integers(0, 5))
def test_a_value_comes_back(x, full, made):
    value = Value(x.copy(), made, None)
    found = values.to_json(value, full)
    assert ("data" in found) == (x.size <= full)
    again = from_json(found)
    assert (again.shape, again.dtype, again.made, again.leaf) == (x.shape, x.dtype.name, made, None)
    if "data" in found:
        y = again.numbers()
        assert y.dtype == x.dtype
        assert y.shape == x.shape
        assert y.tobytes() == x.tobytes()
        assert len(base64.b64decode(found["data"])) == x.nbytes
    else:
        assert again.array is None
        assert again.figures == figures_of(x)
    assert values.to_json(again, full) == found, "and is written as it was read"


@settings(max_examples=100, deadline=None)
@given(arrays())
def test_a_norm(x):
    numbers = [float(v) for v in x.reshape(-1)]
    found = Value(x).norm()
    if any(map(math.isnan, numbers)):
        assert math.isnan(found)
    elif any(map(math.isinf, numbers)):
        assert found == math.inf
    else:
        assert found == pytest.approx(math.hypot(*numbers), rel=1e-6)
    shrunk = Value(x)
    shrunk.shrink()
    got = shrunk.norm()
    if not math.isnan(found) and found != math.inf and found < 1e150 and x.size:
        assert got == pytest.approx(found, rel=1e-4)


def test_the_norm_of_the_largest_numbers():
    for x in (np.full(3, 1.5e308), np.full(3, 1e-320), np.array([3e38, 4e38])):
        assert Value(x).norm() == pytest.approx(math.hypot(*x))


def test_a_value_that_is_not_kept():
    x = np.arange(6.0).reshape(2, 3)
    value = Value(x)
    figures = value.described()
    value.shrink()
    assert value.figures is figures
    assert not value.differs(x)
    assert value.differs(-x)
    assert repr(value) == "<value float64 (2, 3)>"
    with pytest.raises(DataError, match=r"of this float64 \(2, 3\) the record has statistics"):
        value.numbers()
    assert value.norm() == pytest.approx(np.linalg.norm(x))


def test_values_that_differ_in_their_bits():
    zero = Value(np.zeros(2))
    assert zero.differs(np.array([0.0, -0.0]))
    assert not zero.differs(np.zeros(2))
    nan = Value(np.full(2, np.nan))
    assert not nan.differs(np.full(2, np.nan))


def test_copies_are_copies():
    x = np.arange(3.0)
    y = copy_of(x)
    x[...] = 7
    assert y.tolist() == [0, 1, 2]
    rows = SparseRows(np.array([2]), np.ones((1, 2)), (4, 2))
    assert copy_of(rows).tolist() == rows.to_dense().tolist()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (None, "None"), (3, "3"), (-0.0, "-0.0"), (True, "True"), ("same", "'same'"),
        ((1, 2), "(1, 2)"), (np.zeros((2, 3)), "float64 (2, 3)"), (math.inf, "inf"),
        (list(range(1000)), str(list(range(1000)))[:200] + "..."),
    ],
)  # fmt: skip
def test_parameters_as_text(x, text):
    assert shown(x) == text


def test_the_order_of_bytes_is_one():
    x = np.arange(3, dtype=">i4")
    found = values.to_json(Value(x), 10)
    assert base64.b64decode(found["data"]) == x.astype("<i4").tobytes()
    assert from_json(found).numbers().tolist() == [0, 1, 2]

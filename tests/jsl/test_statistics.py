"""The figures of parameters: what they are, and that JSON takes them whatever the numbers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jsl import checkpoint
from jsl.statistics import statistics, summary

NAMES = ["mean", "std", "min", "max", "norm", "zero_fraction", "nonfinite"]


def test_figures_of_a_matrix():
    found = summary(np.array([[1, -2], [0, 3]], np.float32))
    assert list(found) == NAMES
    assert found == {
        "mean": 0.5,
        "std": math.sqrt(13 / 4),  # divided by four, not by three
        "min": -2.0,
        "max": 3.0,
        "norm": math.sqrt(14),
        "zero_fraction": 0.25,
        "nonfinite": 0,
    }


def test_what_is_not_finite_is_counted_and_left_out():
    found = summary(np.array([np.nan, np.inf, -np.inf, 0, 4], np.float32))
    assert found == {
        "mean": 2.0, "std": 2.0, "min": 0.0, "max": 4.0, "norm": 4.0,
        "zero_fraction": 0.2, "nonfinite": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full(3, np.nan), {"zero_fraction": 0.0, "nonfinite": 3}),
        (np.zeros((0, 4), np.float32), {"zero_fraction": 0.0, "nonfinite": 0}),
    ],
    ids=["none finite", "none"],
)
def test_where_there_are_no_finite_elements_there_are_no_moments(array, expected):
    assert summary(array) == expected


def test_one_element_and_equal_ones_do_not_vary():
    assert summary(np.float32(0.1))["std"] == 0
    assert summary(np.full(1000, 0.1, np.float32))["std"] == 0


def test_sums_of_half_precision_and_of_giants_do_not_overflow():
    assert summary(np.full(4, 60000, np.float16))["norm"] == 120000
    most = np.finfo(np.float32).max
    assert summary(np.full(4, most, np.float32))["norm"] == 2 * float(most)
    tiny = np.full(4, 1e-44, np.float32)
    assert summary(tiny)["norm"] == 2 * float(tiny[0])
    giants = summary(np.full(4, 1.7e308))
    assert "norm" not in giants
    assert giants["mean"] == giants["max"] == 1.7e308


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_json_takes_them_and_they_agree_with_one_another(array):
    found = summary(array)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) <= set(NAMES)
    assert 0 <= found["zero_fraction"] <= 1
    if "mean" in found:
        assert found["min"] <= found["mean"] <= found["max"]
    if {"norm", "std"} <= set(found):
        n = array.size - found["nonfinite"]
        squares = (found["norm"], math.hypot(found["mean"], found["std"]) * math.sqrt(n))
        assert squares[0] == pytest.approx(squares[1], rel=1e-9)


def test_every_parameter_of_a_run_has_its_figures(learned):
    weights = checkpoint.load(learned).weights
    found = statistics(weights)
    assert found.keys() == weights.keys()
    norm = found["models.甲.encoder.norm.weight"]
    assert norm["mean"] == pytest.approx(weights["models.甲.encoder.norm.weight"].mean(), rel=1e-6)
    assert all(set(figures) == set(NAMES) for figures in found.values())
    assert found["models.甲.encoder.embed.weight"]["zero_fraction"] > 0  # the row of padding

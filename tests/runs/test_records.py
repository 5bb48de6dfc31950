"""Records: full, compact and pretty; and those that earlier formats wrote."""

import importlib.util
import io
import json
import math
import shutil
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import names_in, same_arrays, same_state

from minigrad import nn, runs
from minigrad.errors import DtypeError, RunError

some = settings(deadline=None, max_examples=200)


def through(arrays, record, **options):
    """What comes back, and the errors that were told."""
    file = io.BytesIO()
    errors = runs.save(file, arrays, record, **options)
    return runs.load(file.getvalue()), errors


def same_bits(got, expected):
    """Equal to the bit, but for which of all NaN a NaN is."""
    expected = expected.astype(expected.dtype.newbyteorder("="))
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    nan = np.isnan(expected) if expected.dtype.kind == "f" else np.zeros(expected.shape, bool)
    if nan.any():
        np.testing.assert_array_equal(np.isnan(got), nan)
    assert np.where(nan, 0, got).tobytes() == np.where(nan, 0, expected).tobytes()


@st.composite
def any_arrays(draw):
    dtype = np.dtype(draw(st.sampled_from([str(d) for d in runs.arrays.DTYPES.values()])))
    dtype = dtype.newbyteorder(draw(st.sampled_from("<>")))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    count = math.prod(shape)
    if dtype.kind == "b" or draw(st.booleans()):
        return draw(hnp.arrays(dtype, shape))
    bits = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(bits, dtype).reshape(shape)


@some
@given(arrays=st.dictionaries(st.text(max_size=5), any_arrays(), max_size=3))
def test_every_number_of_a_pretty_record_comes_back_to_the_bit(arrays):
    arrays.pop("__metadata__", None)
    found, errors = through(arrays, "pretty")
    assert errors == {}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        same_bits(found[name], array)


def test_digits_that_float64_would_round_to_a_neighbour():
    x = np.array([0x15AE43FD], np.uint32).view(np.float32)  # 7.038531e-26
    assert np.float32(float(str(x[0]))) != x[0]
    same_bits(through({"x": x}, "pretty")[0]["x"], x)


def test_pretty_records_are_to_be_read(tmp_path):
    x = np.array([[0.1, np.inf], [-0.0, np.nan]], np.float32)
    runs.save(tmp_path / "a.json", {"重み": x, "同じ": x, "n": np.array(3)}, record="pretty")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "minigrad.pretty": 1,
        "arrays": {
            "重み": {"dtype": "float32", "shape": [2, 2], "values": [[0.1, "inf"], [-0.0, "nan"]]},
            "同じ": {"same_as": "重み"},
            "n": {"dtype": "int64", "shape": [], "values": 3},
        },
    }
    found = runs.load(tmp_path / "a.json")
    assert found["重み"] is found["同じ"]
    assert list(runs.load(tmp_path / "a.json", names="n")) == ["n"]


GOOD = {"dtype": "float32", "shape": [2], "values": [1.0, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float128"},
        {"dtype": "object"},
        {"dtype": None},
        {"shape": [3]},
        {"shape": [2, 1]},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": [2**70]},
        {"shape": [1] * 100, "values": [1.0]},
        {"shape": 2},
        {"shape": [2, 3], "values": [[1, 2], [3, 4], [5, 6]]},
        {"shape": [4], "values": [[1, 2], [3, 4]]},
        {"shape": [], "values": [1.0]},
        {"values": [1.0, "Infinity"]},
        {"values": [1.0, None]},
        {"values": [1.0, True]},
        {"values": {"0": 1.0, "1": 2.0}},
        {"values": [10**400, 1]},
        {"values": [1e300, 1]},
        {"dtype": "float16", "values": [65520.0, 1]},
        {"dtype": "int8", "values": [1, 128]},
        {"dtype": "int8", "values": [1, 1.0]},
        {"dtype": "uint8", "values": [1, -1]},
        {"dtype": "bool", "values": [1, 0]},
    ],
    ids=str,
)
def test_pretty_records_of_another_form_are_refused(change):
    def record(entry):
        return json.dumps({"minigrad.pretty": 1, "arrays": {"a": entry}}).encode()

    assert runs.load(record(GOOD))["a"].tolist() == [1, 2]
    with pytest.raises(RunError):
        runs.load(record(GOOD | change))


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"{",
        b'{"minigrad.pretty": 2, "arrays": {}}',
        b'{"minigrad.pretty": 1, "arrays": []}',
        b'{"minigrad.pretty": 1, "arrays": {"a": {"same_as": "a"}}}',
        b'{"minigrad.pretty": 1, "arrays": {"a": {"dtype": "int8", "shape": [2]}}}',
        b'{"minigrad.pretty": 1, "arrays": {"a": {"dtype": "int8", "shape": [1], "values": '
        + b"[" * 900 + b"1" + b"]" * 900 + b"}}}",
    ],
    ids=lambda data: str(data[:70]),
)  # fmt: skip
def test_json_that_is_no_pretty_record_is_refused(data):
    with pytest.raises(RunError):
        runs.load(data)


# --------------------------------------------------------------------------------------- compact

FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def exact_error(x, kept, dtype):
    """The relative error of one number, by exact fractions."""
    least = Fraction(2) ** (-14 if dtype == "float16" else -126)
    return abs(Fraction(float(kept)) - Fraction(float(x))) / max(abs(Fraction(float(x))), least)


def nearest_bfloat16(x):
    """By search among all of them: the nearest; of two, the one whose last bit is 0."""
    bits = np.arange(0x7F80, dtype=np.uint32)
    known = (bits << 16).view(np.float32).astype(np.float64)
    right = min(int(np.searchsorted(known, abs(x))), len(known) - 1)
    near = [i for i in (right - 1, right) if i >= 0]
    far = [(abs(Fraction(float(known[i])) - Fraction(abs(float(x)))), i % 2, i) for i in near]
    return math.copysign(known[min(far)[2]], x)


@some
@given(
    x=hnp.arrays(
        st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
        hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
        elements={"min_value": -65504, "max_value": 65504, "allow_nan": False},
    ),
    dtype=st.sampled_from(list(FLOATS)),
)
@example(x=np.array(1 + 2**-8 + 2**-40), dtype="bfloat16")  # no tie, but in float32
@example(x=np.array([1 + 2**-8 - 2**-40, 1 + 3 * 2**-8 - 2**-40]), dtype="bfloat16")
@example(x=np.array([1 + 2**-11 + 2**-40, 1 + 2**-11 - 2**-40]), dtype="float16")
@example(x=np.array([2.0**-25, 2.0**-24, 1e-8, 2.0**-134, 2.0**-133, 1e-300]), dtype="float16")
@example(x=np.array([2.0**-25, 2.0**-24, 1e-8, 2.0**-134, 2.0**-133, 1e-300]), dtype="bfloat16")
def test_compact_records_keep_the_nearest_number_and_tell_the_error(x, dtype):
    found, errors = through({"x": x}, "compact", dtype=dtype)
    got = found["x"]
    assert got.dtype == x.dtype.newbyteorder("=")
    assert got.shape == x.shape
    for g, e in zip(got.ravel(), x.ravel(), strict=True):
        if dtype == "bfloat16":
            assert g == nearest_bfloat16(e)
        else:
            assert g == np.float16(e)
        assert np.signbit(g) == np.signbit(e)
    pairs = zip(x.ravel(), got.ravel(), strict=True)
    largest = max((exact_error(e, g, dtype) for e, g in pairs), default=0)
    assert math.isclose(errors["x"], largest, rel_tol=1e-12)
    assert errors["x"] <= (2.0**-11 if dtype == "float16" else 2.0**-8)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_bit_pattern_of_float32_halves_rounds_as_others_round(dtype):
    """Each upper half, with lower halves about the tie; ml_dtypes and NumPy are the others."""
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    x = ((np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] | lower).view(np.float32)
    with np.errstate(all="ignore"):
        expected = x.astype(FLOATS[dtype]).astype(np.float32)
    fits = np.isinf(expected) == np.isinf(x)
    same_bits(through({"x": x[fits]}, "compact", dtype=dtype)[0]["x"], expected[fits])


@pytest.mark.parametrize("dtype", FLOATS)
def test_compact_records_keep_what_is_not_finite_and_refuse_what_is_too_large(dtype):
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1.0])
    found, errors = through({"x": special, "none": special[:3], "half": special.astype("f2")},
                            "compact", dtype=dtype)  # fmt: skip
    same_bits(found["x"], special)
    assert errors == {"x": 0.0, "none": 0.0}
    largest = {"float16": 65520.0, "bfloat16": float(np.finfo(np.float32).max)}[dtype]
    for x in (largest, -largest, 1e300):
        with pytest.raises(RunError, match="entry 'big'"):
            through({"big": np.array([1.0, x])}, "compact", dtype=dtype)
    fits = {"float16": 65519.0, "bfloat16": 3.38e38}[dtype]
    assert np.isfinite(through({"x": np.array([fits])}, "compact", dtype=dtype)[0]["x"]).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_compact_records_leave_alone_what_is_not_wide(dtype):
    kept = {
        "h": np.array([1.001, 65504], np.float16),
        "i": np.arange(3, dtype=np.int64) + 2**40,
        "b": np.array([True]),
    }
    found, errors = through(kept, "compact", dtype=dtype)
    same_arrays(found, kept)
    assert errors == {}


# ---------------------------------------------------------------------------------- what is saved


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("record", ["full", "compact", "pretty"])
def test_a_model_comes_back(tmp_path, record):
    model = Tied()
    runs.save(tmp_path / "a", model, record)
    fresh = Tied()
    fresh.load_state_dict(runs.load(tmp_path / "a"))
    if record == "compact":
        for name, x in model.state_dict().items():
            np.testing.assert_allclose(fresh.state_dict()[name], x, rtol=2**-11, atol=2**-25)
    else:
        same_state(fresh.state_dict(), model.state_dict())
    assert fresh.first.weight is fresh.second.weight


@pytest.mark.parametrize("record", ["full", "compact", "pretty"])
def test_what_is_one_array_is_written_once_and_one_after_loading(record):
    x = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    file, twice = io.BytesIO(), io.BytesIO()
    runs.save(file, {"a": x, "b": x}, record)
    runs.save(twice, {"a": x, "b": x.copy()}, record)
    assert len(file.getvalue()) < 0.7 * len(twice.getvalue())
    found = runs.load(file.getvalue())
    assert found["a"] is found["b"]
    found = runs.load(twice.getvalue())
    assert found["a"] is not found["b"]


@pytest.mark.parametrize("record", ["full", "compact"])
def test_equal_content_gives_equal_bytes_in_any_order(record):
    x, y = np.arange(4.0), np.arange(3)
    first, second = io.BytesIO(), io.BytesIO()
    runs.save(first, {"a": x, "b": y, "c": x}, record)
    runs.save(second, {"c": x, "b": y.copy(), "a": x}, record)
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("record", ["full", "compact", "pretty"])
def test_other_things_are_refused_by_name(tmp_path, record):
    for value in (np.array(["a"]), np.zeros(2, np.complex64), [1.0], None, 1.0):
        with pytest.raises(DtypeError, match="'bad'"):
            runs.save(tmp_path / "a", {"good": np.zeros(1), "bad": value}, record)
    with pytest.raises(DtypeError, match="by name"):
        runs.save(tmp_path / "a", np.zeros(1), record)
    with pytest.raises(RunError, match="named 1"):
        runs.save(tmp_path / "a", {1: np.zeros(1)}, record)
    assert names_in(tmp_path) == []


def test_records_and_dtypes_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="record must be one of full, compact, pretty"):
        runs.save(tmp_path / "a", {}, "half")
    with pytest.raises(ValueError, match="'float16' or 'bfloat16'"):
        runs.save(tmp_path / "a", {}, "compact", dtype="float8")


def test_the_model_of_a_directory(tmp_path):
    with runs.transaction(tmp_path) as new:
        runs.save(new / "model.safetensors", {"w": np.ones(3), "v.w": np.zeros(2)})
    assert list(runs.load(tmp_path)) == ["v.w", "w"]
    assert list(runs.load(tmp_path, names="v")) == ["v.w"]
    with runs.transaction(tmp_path) as new:
        runs.save_json(new / "config.json", {})
    with pytest.raises(RunError, match=r"has no model\.safetensors; its files are config\.json"):
        runs.load(tmp_path)


# ---------------------------------------------------------------------------------------- golden

GOLDEN = Path(__file__).parent / "golden"


def maker():
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", ["1", "2"])
def test_golden_directories_load_and_verify(version):
    make = maker()
    assert runs.verify(GOLDEN / version) == []
    files = runs.files_of(GOLDEN / version)
    same_arrays(runs.load(GOLDEN / version), make.arrays())
    assert runs.load_metadata(files["model.safetensors"]) == {"step": "12", "名": "手話"}
    assert runs.load_json(files["config.json"]) == {"d_model": 64, "名": ["手話", 0.1]}
    lazy = runs.load(GOLDEN / version, lazy=True)
    same_arrays(dict(lazy), make.arrays())
    names = {n for n in make.arrays() if n.startswith("encoder.layers.0.")}
    assert runs.load(GOLDEN / version, names="encoder.layers.0").keys() == names


def test_golden_records_load():
    make = maker()
    for name in ("full.safetensors", "pretty.json"):
        found = runs.load(GOLDEN / "2" / name)
        same_arrays(found, make.tied())
        assert found["decoder.weight"] is found["encoder.layers.0.weight"]
    for dtype, bits in (("float16", 11), ("bfloat16", 8)):
        found = runs.load(GOLDEN / "2" / f"{dtype}.safetensors")
        for name, array in make.tied().items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=2.0**-bits)


def test_what_is_written_today_is_what_was_written(tmp_path):
    """Format 2 is fixed: another byte would be another format."""
    maker().make(tmp_path)
    for file in sorted((GOLDEN / "2").iterdir()):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_golden_directory_in_the_middle_of_a_save(tmp_path):
    assert runs.verify(GOLDEN / "2-moving") == []
    same_arrays(runs.load(GOLDEN / "2-moving"), maker().arrays())
    files = runs.files_of(GOLDEN / "2-moving")
    assert runs.load_json(files["config.json"])["d_model"] == 64
    shutil.copytree(GOLDEN / "2-moving", tmp_path / "run")
    with runs.transaction(tmp_path / "run") as new:
        runs.save_text(new / "config.json", "{}")
    assert names_in(tmp_path / "run") == ["config.json", "manifest.json"]


def test_a_golden_file_of_the_first_format_is_verified_as_a_whole():
    data = bytearray((GOLDEN / "1" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    for options in ({}, {"lazy": True}, {"names": "steps"}):
        with pytest.raises(RunError, match="damaged"):
            runs.load(bytes(data), **options)

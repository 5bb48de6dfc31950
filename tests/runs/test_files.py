"""Files of a run are whole or as they were, and damage is noticed on loading."""

import contextlib
import json
import os
import stat
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad import runs
from minigrad.errors import DtypeError, RunError

posix = pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
slow = settings(deadline=None, max_examples=50)


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def assert_same(got, expected):
    assert sorted(got) == sorted(expected)
    for name, array in expected.items():
        assert type(got[name]) is np.ndarray
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name], array)  # NaN equals NaN
        assert got[name].flags.writeable
        assert got[name].flags.c_contiguous
        assert got[name].flags.aligned


# -------------------------------------------------------------------------------------- arrays

DTYPES = [str(dtype) for dtype in runs.arrays.DTYPES.values()]
NAMES = st.one_of(
    st.sampled_from(["encoder.layers.0.weight", "日本語.重み", "", " ", 'a"b\\c', "\n", "é", "é"]),
    st.text(max_size=8),
).filter(lambda name: name != "__metadata__")


@st.composite
def strided_arrays(draw):
    """Arrays of every dtype, rank, byte order and layout."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES))).newbyteorder(draw(st.sampled_from("<>")))
    x = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4)))
    x = x.transpose(draw(st.permutations(range(x.ndim))))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1, -2])] * x.ndim))
    return x[tuple(slice(None, None, step) for step in steps)] if x.ndim else x


@slow
@given(
    arrays=st.dictionaries(NAMES, strided_arrays(), max_size=4),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_arrays_come_back(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    runs.save_arrays(path, arrays, metadata)
    assert_same(runs.load_arrays(path), arrays)
    assert runs.load_metadata(path) == metadata
    assert_same(safetensors.numpy.load_file(path), {k: np.array(a) for k, a in arrays.items()})


LAYOUTS = {
    "transposed": lambda x: x.T,
    "strided": lambda x: x[:, ::2],
    "reversed": lambda x: x[::-1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[0], (5, 6)),
    "Fortran": np.asfortranarray,
    "big-endian": lambda x: x.astype(">f4"),
    "read-only": lambda x: np.frombuffer(x.tobytes(), "f4"),
    "0-d": lambda x: np.array(x[1, 1]),
    "empty": lambda x: x[:0],
    "empty inside": lambda x: np.zeros((3, 0, 2), "f4"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_kept_in_value_only(tmp_path, layout):
    array = layout(np.arange(24, dtype=np.float32).reshape(4, 6))
    runs.save_arrays(tmp_path / "a", {"x": array})
    assert_same(runs.load_arrays(tmp_path / "a"), {"x": array})


@pytest.mark.parametrize("code", ["l", "q", "L", "Q", "i", "d"])
def test_c_types_are_stored_by_their_width(tmp_path, code):
    x = np.arange(3, dtype=code)
    runs.save_arrays(tmp_path / "a", {"x": x})
    assert_same(runs.load_arrays(tmp_path / "a"), {"x": x})


def test_equal_content_gives_equal_bytes(tmp_path):
    arrays = {f"w{i}": np.arange(i, dtype=DTYPES[i]) for i in range(12)}
    metadata = {f"m{i}": str(i) for i in range(12)}
    for name, order in [("a", 1), ("b", -1)]:
        runs.save_arrays(
            tmp_path / name,
            dict(list(arrays.items())[::order]),
            dict(list(metadata.items())[::order]),
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_elements_are_aligned_for_readers_that_map_the_file(tmp_path):
    arrays = {"a": np.ones(3, np.int8), "b": np.ones(1), "c": np.ones(1, np.float16)}
    runs.save_arrays(tmp_path / "a", arrays)
    data = (tmp_path / "a").read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    assert n % 8 == 0
    header = json.loads(data[8 : 8 + n])
    for name, array in arrays.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0


def test_loaded_arrays_do_not_hold_the_file(tmp_path):
    path = tmp_path / "a"
    runs.save_arrays(path, {"x": np.zeros(1000)})
    loaded = runs.load_arrays(path)["x"]
    runs.save_arrays(path, {"x": np.ones(1000)})  # fails on Windows if the file is still mapped
    path.unlink()
    assert not loaded.any()


REFUSED = [
    np.array([None, 1]),
    np.array(["a"]),
    np.array([b"a"]),
    np.zeros(2, np.complex64),
    np.zeros(2, [("a", "f4")]),
    np.zeros(2, "datetime64[s]"),
    [1.0, 2.0],
    1.0,
    np.float32(1.0),
    None,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: str(getattr(value, "dtype", value)))
def test_other_dtypes_are_refused_by_name(tmp_path, value):
    with pytest.raises(DtypeError, match=r"entry 'decoder\.bad'"):
        runs.save_arrays(tmp_path / "a", {"good": np.zeros(2), "decoder.bad": value})
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arrays", "metadata"),
    [
        ({"__metadata__": np.zeros(1)}, None),
        ({1: np.zeros(1)}, None),
        ({"\ud800": np.zeros(1)}, None),
        ({}, {"a": 1}),
        ({}, {1: "a"}),
        ({}, {"minigrad.sha256": "a"}),
        ({}, {"a": "\udfff"}),
    ],
)
def test_bad_names_and_metadata_are_refused(tmp_path, arrays, metadata):
    with pytest.raises(RunError, match="cannot write"):
        runs.save_arrays(tmp_path / "a", arrays, metadata)
    assert names_in(tmp_path) == []


# -------------------------------------------------------------------------------------- damage

SMALL = {"重み": np.array([[1.5, -2.0]], np.float32), "b": np.arange(3, dtype=np.int8)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a"
    runs.save_arrays(path, SMALL, {"step": "12", "sigrad.sha256": "x"})
    return path.read_bytes()


def refuses(path, data):
    path.write_bytes(data)
    for load in (runs.load_arrays, runs.load_metadata):
        with pytest.raises(RunError) as caught:
            load(path)
        assert str(path) in str(caught.value)
    return True


def test_every_flipped_bit_is_noticed(tmp_path, whole):
    for i in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[i] ^= 1 << bit
            assert refuses(tmp_path / "a", damaged)


@settings(deadline=None, max_examples=500)
@given(data=st.data())
def test_every_changed_byte_is_noticed(tmp_path_factory, whole, data):
    i = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[i]))
    path = tmp_path_factory.getbasetemp() / "changed"
    assert refuses(path, whole[:i] + bytes([value]) + whole[i + 1 :])


def test_every_truncation_is_noticed(tmp_path, whole):
    for n in range(len(whole)):
        assert refuses(tmp_path / "a", whole[:n])
    assert refuses(tmp_path / "a", whole + b"\0")


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=64))
@example(b"")
def test_random_bytes_load_as_nothing_or_not_at_all(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(data)
    with contextlib.suppress(RunError):
        assert all(array.size == 0 for array in runs.load_arrays(path).values())


def foreign(header, data=b"", length=None):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE = {
    "nothing": b"",
    "no header": foreign(b""),
    "length of 2**63": foreign({}, length=2**63),
    "length of 90 MB": foreign({}, length=90_000_000),
    "not JSON": foreign(b"{" * 100),
    "deep": foreign(b'{"a":' * 100_000),
    "not UTF-8": foreign(b'{"\xff":1}'),
    "a list": foreign([]),
    "shape too large": foreign({"a": entry(shape=(2**62, 2**62))}, b"abcd"),
    "shape negative": foreign({"a": entry(shape=(-1,))}, b"abcd"),
    "empty but beyond NumPy": foreign({"a": entry(shape=(0, 2**62, 2), offsets=(0, 0))}),
    "too many axes": foreign({"a": entry(shape=(1,) * 100)}, b"abcd"),
    "offsets outside": foreign({"a": entry(offsets=(0, 400))}, b"abcd"),
    "offsets backwards": foreign({"a": entry(offsets=(4, 0))}, b"abcd"),
    "overlap": foreign({"a": entry(), "b": entry()}, b"abcd"),
    "hole": foreign({"a": entry(offsets=(4, 8))}, b"abcdabcd"),
    "unknown dtype": foreign({"a": entry("F33")}, b"abcd"),
    "metadata not text": foreign({"__metadata__": {"a": 1}}),
    "name twice": foreign(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}'
    ),
    "giant number": foreign(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":' + b"9" * 5000 + b"}}"
    ),
    "padded with tabs": foreign(b"{}\t"),
    "our digest without our format": foreign({"__metadata__": {"minigrad.sha256": "0"}}),
    "our format without our digest": foreign({"__metadata__": {"minigrad.format": "1"}}),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(RunError):
        runs.load_arrays(path)


def test_what_numpy_has_not_is_refused_by_name_or_read_as_float32(tmp_path):
    (tmp_path / "a").write_bytes(foreign({"編": entry("F8_E4M3", (4,))}, b"abcd"))
    with pytest.raises(RunError, match="'編' is F8_E4M3"):
        runs.load_arrays(tmp_path / "a")
    (tmp_path / "a").write_bytes(foreign({"編": entry("BF16", (2,))}, b"\xc0\x3f\x80\xff"))
    found = runs.load_arrays(tmp_path / "a")["編"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.5, -np.inf])


def test_files_by_others_load(tmp_path):
    safetensors.numpy.save_file(SMALL, tmp_path / "a", {"format": "pt"})
    assert_same(runs.load_arrays(tmp_path / "a"), SMALL)
    assert runs.load_metadata(tmp_path / "a") == {"format": "pt"}
    safetensors.numpy.save_file(SMALL, tmp_path / "b")
    assert runs.load_metadata(tmp_path / "b") == {}
    (tmp_path / "c").write_bytes(foreign({"x": entry("BOOL", (4,))}, b"\0\1\2\xff"))
    assert runs.load_arrays(tmp_path / "c")["x"].view(np.uint8).tolist() == [0, 1, 1, 1]


def test_the_digest_is_of_the_content_not_of_the_layout(tmp_path, whole):
    """A tool that rewrites a file of ours and keeps its metadata does not spoil it."""
    metadata = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    safetensors.numpy.save_file(SMALL, tmp_path / "a", metadata)
    assert_same(runs.load_arrays(tmp_path / "a"), SMALL)
    safetensors.numpy.save_file(SMALL | {"b": np.zeros(3, np.int8)}, tmp_path / "a", metadata)
    with pytest.raises(RunError, match="damaged"):
        runs.load_arrays(tmp_path / "a")


# ---------------------------------------------------------------------------------------- JSON

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@slow
@given(value=PLAIN)
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("run") / "config.json"
    runs.save_json(path, value)
    assert runs.load_json(path) == value


def test_json_is_readable_text(tmp_path):
    runs.save_json(tmp_path / "a", {"名前": ["手話", (1, 2.5)], "x": None})
    assert (tmp_path / "a").read_bytes().decode() == (
        '{\n  "名前": [\n    "手話",\n    [\n      1,\n      2.5\n    ]\n  ],\n  "x": null\n}\n'
    )


def itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "the value is nan"),
        ({"history": [{"loss": 1.0}, {"loss": float("inf")}]}, r"history\[1\]\.loss is inf"),
        ({"a": (1.0, -float("inf"))}, r"a\[1\] is -inf"),
        ({"a": np.float64("nan")}, "a is nan"),
        ({"a": np.float32(1)}, "a is of type float32; convert"),
        ({"a": {1: 2}}, "a has the key 1; keys are strings"),
        ([{1, 2}], r"\[0\] is of type set"),
        ([b"x"], r"\[0\] is of type bytes"),
        ("\ud800", "UTF-8"),
        (10**5000, "digits"),
        (itself(), "recursion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_json_that_cannot_be_written(tmp_path, value, message):
    with pytest.raises(RunError, match=message):
        runs.save_json(tmp_path / "a", value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1, column 1"),
        (b'{\n  "a": 1,\n  "b" 2\n}', "line 3, column 7"),
        (b"[1, 2", "line 1, column 6"),
        (b"1 2", "Extra data"),
        (b"NaN", "NaN is not finite"),
        (b"[Infinity]", "Infinity is not finite"),
        (b'{"a": -Infinity}', "-Infinity is not finite"),
        (b"1e999", "1e999 is not finite"),
        (b'{"a": {"k": 1, "k": 1}}', "'k' is repeated"),
        (b'"\xff"', "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"9" * 5000, "digits"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(RunError, match=message) as caught:
        runs.load_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("load", [runs.load_json, runs.load_arrays, runs.load_metadata])
def test_missing_files_and_directories_are_named(tmp_path, load):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(RunError, match="cannot read") as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, OSError)


def test_text_is_written_as_it_is(tmp_path):
    runs.save_text(tmp_path / "a", "手話\nb\r\n")
    assert (tmp_path / "a").read_bytes() == "手話\nb\r\n".encode()
    runs.save_text(str(tmp_path / "a"), "")
    assert (tmp_path / "a").read_bytes() == b""


# ------------------------------------------------------------------------------------- atomicity


def failing(error, after=0):
    """A function that raises `error`, the first `after` calls aside."""
    calls = []

    def fail(*_args, **_kwargs):
        calls.append(1)
        if len(calls) > after:
            raise error

    return fail


def fail_in_write(monkeypatch, error):
    """Writing raises half-way: part of the data is in the temporary file."""
    real = open

    def opening(*args, **kwargs):
        file = real(*args, **kwargs)
        write = file.write

        class Half:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def write(self, data):
                write(data[: len(data) // 2])
                raise error

        return Half()

    monkeypatch.setattr(runs.files, "open", opening, raising=False)


POINTS = {
    "open": lambda m, e: m.setattr(runs.files, "open", failing(e), raising=False),
    "write": fail_in_write,
    "fsync": lambda m, e: m.setattr(os, "fsync", failing(e)),
    "replace": lambda m, e: m.setattr(os, "replace", failing(e)),
    "chmod": lambda m, e: m.setattr(os, "chmod", failing(e)),
}
if os.name != "posix":
    del POINTS["chmod"]

SAVES = {
    "save_arrays": lambda path: runs.save_arrays(path, {"x": np.ones(100)}),
    "save_json": lambda path: runs.save_json(path, {"x": 1}),
    "save_text": lambda path: runs.save_text(path, "new text"),
}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize("old", [None, b"old content"], ids=["new", "existing"])
def test_interrupted_saves_leave_the_old_file(tmp_path, monkeypatch, save, point, error, old):
    path = tmp_path / "a"
    if old is not None:
        path.write_bytes(old)
    elif point is POINTS.get("chmod"):
        return  # a new file needs none
    expected = RunError if isinstance(error, OSError) else type(error)
    with monkeypatch.context() as patch:
        point(patch, error)
        with pytest.raises(expected):
            save(path)
    assert names_in(tmp_path) == ([] if old is None else ["a"])
    assert old is None or path.read_bytes() == old
    save(path)
    assert names_in(tmp_path) == ["a"]
    assert path.read_bytes() != old


@posix
def test_a_directory_that_cannot_be_flushed_is_no_failed_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(OSError("not here"), after=1))
    runs.save_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"


def test_the_file_is_flushed_before_it_is_moved(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (order.append(n), f(*a))[1])
    runs.save_text(tmp_path / "a", "new")
    assert order[:2] == ["fsync", "replace"]
    assert order[2:] == (["fsync"] if os.name == "posix" else [])


def test_writing_where_nothing_can_be_written(tmp_path):
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "absent" / "a", tmp_path / "directory"):
        with pytest.raises(RunError, match="cannot write"):
            runs.save_text(path, "x")
    assert names_in(tmp_path) == ["directory"]


@posix
def test_new_files_get_the_mode_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        runs.save_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_existing_files_keep_their_mode(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")
    path.chmod(0o604)
    runs.save_text(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@posix
def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "store").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "store" / "a")
    for text in ("first", "second"):
        runs.save_text(link, text)
        assert link.is_symlink()
        assert names_in(tmp_path / "store") == ["a"]
        assert (tmp_path / "store" / "a").read_text() == text


# ----------------------------------------------------------------------------------- directories


def test_prepare_directory_creates_parents(tmp_path):
    path = runs.prepare_directory(tmp_path / "a" / "b")
    assert path.is_dir()
    assert runs.prepare_directory(str(path)) == path  # an empty one is fine


def test_prepare_directory_refuses_an_occupied_one(tmp_path):
    (tmp_path / "old").write_text("x")
    with pytest.raises(RunError, match="overwrite=True"):
        runs.prepare_directory(tmp_path)
    assert runs.prepare_directory(tmp_path, overwrite=True) == tmp_path
    assert names_in(tmp_path) == ["old"]


def test_prepare_directory_refuses_files(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        for overwrite in (False, True):
            with pytest.raises(RunError, match="not a directory"):
                runs.prepare_directory(path, overwrite)


@pytest.fixture
def run(tmp_path):
    """A directory of three files and their manifest."""
    for name in ("model.safetensors", "optimizer.safetensors", "設定.json"):
        runs.save_text(tmp_path / name, f"first {name}")
    runs.write_manifest(tmp_path, names_in(tmp_path))
    return tmp_path


def test_manifest_of_whole_files(run):
    names = ["model.safetensors", "optimizer.safetensors", "設定.json"]
    assert runs.verify_manifest(run) == names
    assert runs.load_json(run / runs.MANIFEST)["files"]["model.safetensors"] == {
        "bytes": 23,
        "sha256": "2964eaab29ede18a185c53463eea8466000263db350f3531d7af6b7df1050657",
    }


def test_manifest_names_every_file_that_does_not_fit(run):
    runs.save_text(run / "model.safetensors", "other model.safetensors")  # of the same size
    (run / "設定.json").unlink()
    with pytest.raises(RunError) as caught:
        runs.verify_manifest(run)
    assert "model.safetensors differs; 設定.json is missing" in str(caught.value)
    assert "optimizer" not in str(caught.value)


def test_manifest_ignores_other_files(run):
    runs.save_text(run / "notes.txt", "x")
    assert "notes.txt" not in runs.verify_manifest(run)


def test_an_interrupted_second_save_is_noticed(run):
    runs.save_text(run / "model.safetensors", "second model")
    with pytest.raises(RunError, match=r"model\.safetensors differs"):
        runs.verify_manifest(run)
    runs.write_manifest(run, runs.load_json(run / runs.MANIFEST)["files"])
    assert len(runs.verify_manifest(run)) == 3


PATHS = ["../a", "/etc/a", "a/b", "a\\b", "C:a", "..", ".", "", runs.MANIFEST]


@pytest.mark.parametrize("name", PATHS)
def test_manifest_names_are_plain(tmp_path, name):
    with pytest.raises(RunError, match="plain names"):
        runs.write_manifest(tmp_path, [name])
    runs.save_json(tmp_path / runs.MANIFEST, {"files": {name: {"bytes": 0, "sha256": ""}}})
    with pytest.raises(RunError, match="plain name"):
        runs.verify_manifest(tmp_path)


def test_manifest_of_missing_files_is_not_written(tmp_path):
    with pytest.raises(RunError, match="a, b"):
        runs.write_manifest(tmp_path, ["b", "a"])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("value", [None, [], {}, {"files": []}, {"files": None}, "x"])
def test_manifest_of_another_form_is_refused(tmp_path, value):
    runs.save_json(tmp_path / runs.MANIFEST, value)
    with pytest.raises(RunError, match="expects"):
        runs.verify_manifest(tmp_path)


@pytest.mark.parametrize("value", [None, 3, {}, {"bytes": 0}, []])
def test_manifest_entries_of_another_form_differ(tmp_path, value):
    runs.save_text(tmp_path / "a", "")
    runs.save_json(tmp_path / runs.MANIFEST, {"files": {"a": value}})
    with pytest.raises(RunError, match="a differs"):
        runs.verify_manifest(tmp_path)


def test_a_directory_without_manifest_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*manifest\.json"):
        runs.verify_manifest(tmp_path)

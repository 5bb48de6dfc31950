"""Files of a run are whole or as they were."""

import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import names_in

from minigrad import runs
from minigrad.errors import RunError

posix = pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
slow = settings(deadline=None, max_examples=50)

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
            fileno = file.fileno

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

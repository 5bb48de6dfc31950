"""Hostile files: each gives a RunError or loads, within its directory, its size, and some time.

Mutations of whole files by a seeded generator; what they find first is what Hypothesis would not.
"""

import builtins
import io
import json
import os
import random
import struct
import time
import tracemalloc
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad import runs
from minigrad.errors import RunError

SECONDS = 5  # for one input, on a machine that does other things beside
# Of a file of n bytes: JSON of one sign an object is some fifty times as large in Python.
MEMORY = lambda n: 100 * n + (1 << 20)  # noqa: E731


def times(few, many):
    return pytest.mark.parametrize(
        "count", [few, pytest.param(many, marks=pytest.mark.slow)], ids=["few", "many"]
    )


def outcome(load):
    """What happens on loading: 'refused' or 'loaded'; nothing else may."""
    began = time.perf_counter()
    try:
        load()
        return "loaded"
    except RunError:
        return "refused"
    finally:
        assert time.perf_counter() - began < SECONDS


def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@contextmanager
def nothing_leaks():
    before = descriptors()
    yield
    assert descriptors() == before


# ------------------------------------------------------------------------------------- mutations

NUMBERS = [0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 1.5, -0.0, 1e300]
TEXTS = [
    "", ".", "..", "../outside", "/etc/passwd", "a/b", "a\\b", "C:\\a", "C:a", "\\\\host\\share",
    "con", "NUL", "a\x00b", "\ud800", "é", "e\u0301", "x" * 300, "__metadata__", "F32", "BF16",
    "F8_E5M2",
    "minigrad.format", "minigrad.sha256", "minigrad.tied", "minigrad.dtypes", "{}", '{"w":"F64"}',
    '{"x":"w"}', "[" * 2000, "1", "2", "3", "nan", "inf", "int8", "float64", "object", ".commit",
    "manifest.json", ".lock", "model.safetensors", "link", "pipe", "folder",
]  # fmt: skip


def any_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind < 4:
        return rng.choice(TEXTS)
    if kind < 6:
        return rng.choice([None, True, False, rng.randrange(-5, 300)])
    if kind == 6:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        nested = []
        for _ in range(rng.choice([10, 100, 400])):
            nested = [nested]
        return nested
    return {rng.choice(TEXTS): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def places(value, path=()):
    """Where there is something in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(rng, value):
    """A JSON value with one, two or three places of it replaced, removed, renamed or doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randrange(1, 4)):
        path = rng.choice(list(places(value)))
        if not path:
            if rng.random() < 0.1:
                value = any_value(rng)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        key, way = path[-1], rng.randrange(5)
        if way < 2:
            holder[key] = any_value(rng)
        elif way == 2:
            del holder[key]
        elif isinstance(holder, dict):
            new = rng.choice(TEXTS)
            holder[new] = holder[key] if way == 3 else holder.pop(key)
        else:
            holder.insert(key, holder[key] if way == 3 else any_value(rng))
    return value


def as_json(rng, value):
    data = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2]))
    return data.encode("utf-8", "surrogatepass")


def bytes_changed(rng, data):
    """Bytes with some of them flipped, cut out, put in or repeated."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, way = rng.randrange(len(data) + 1), rng.randrange(6)
        n = rng.choice([1, 2, 8, 100])
        if way == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            del data[at : at + n]
        elif way == 2:
            data[at:at] = rng.randbytes(n)
        elif way == 3:
            data[at:at] = data[at : at + n]
        elif way == 4:
            data = data[:at]
        else:
            data[at : at + n] = rng.choice([b"[" * n, b"9" * n, b"\xff" * n, b"\0" * n, b'"'])
    return bytes(data)


def safetensors_file(head, data):
    return struct.pack("<Q", len(head)) + head + data


def record(kind, **arrays):
    file = io.BytesIO()
    runs.save(file, arrays, kind)
    return file.getvalue()


W = np.arange(12, dtype=np.float32).reshape(3, 4)
SEEDS = {
    "full": record("full", w=W, x=W, **{"層.0": np.zeros((0, 2)), "n": np.array(3)}),
    "compact": record("compact", w=W, x=W, b=np.array([True])),
    "pretty": record("pretty", w=W, x=W, n=np.array(3), f=np.array([np.nan, np.inf])),
    "theirs": safetensors_file(
        b'{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
        b'"b":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]}}',
        bytes(20),
    ),
}


def mutated(rng, kind):
    seed = SEEDS[kind]
    if rng.random() < 0.4:
        return bytes_changed(rng, seed)
    if kind == "pretty":
        return as_json(rng, changed(rng, json.loads(seed)))
    n = int.from_bytes(seed[:8], "little")
    header, data = changed(rng, json.loads(seed[8 : 8 + n])), seed[8 + n :]
    if rng.random() < 0.4 and isinstance(header, dict):
        header = signed(header)
    head = as_json(rng, header)
    if rng.random() < 0.1:
        data = bytes_changed(rng, data)
    return safetensors_file(head, data)


def signed(header):
    """With the digest that belongs to it, so that what is behind that check is reached."""
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict):
        return header
    with suppress(Exception):
        entries = [
            runs.arrays.Entry(name, e["dtype"], e["shape"], b"")
            for name, e in header.items()
            if name != "__metadata__"
        ]
        hashes = json.loads(metadata[runs.arrays.HASHES])
        missing = {e.name: "0" * 64 for e in entries} | hashes
        kept = {e.name: missing[e.name] for e in entries}
        metadata[runs.arrays.HASHES] = runs.arrays.as_text(kept)
        metadata[runs.arrays.DIGEST] = runs.arrays._digest(entries, metadata)
    return header


def all_of(target):
    return dict(runs.load(target, lazy=True))


@times(100, 4000)
@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_files(kind, count):
    """In all ways to read them: at once, lazily, and their metadata."""
    rng = random.Random(f"{kind}{count}")
    counts = {"refused": 0, "loaded": 0}
    with nothing_leaks():
        for _ in range(count):
            data = mutated(rng, kind)
            counts[outcome(lambda data=data: runs.load(data))] += 1
            if kind != "pretty":
                outcome(lambda data=data: all_of(data))
                outcome(lambda data=data: runs.load_metadata(data))
                outcome(lambda data=data: runs.load(data, names="w"))
    print(f"{kind}: {count} mutated files, {counts}")
    assert counts["refused"] > count / 2


@times(60, 1500)
def test_mutated_files_take_no_more_memory_than_they_could_hold(count):
    rng = random.Random(count)
    tracemalloc.start()
    try:
        for i in range(count):
            data = mutated(rng, list(SEEDS)[i % len(SEEDS)])
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            outcome(lambda data=data: runs.load(data))
            assert tracemalloc.get_traced_memory()[1] - held < MEMORY(len(data))
    finally:
        tracemalloc.stop()
    print(f"memory: {count} mutated files")


BOMBS = {
    "length": struct.pack("<Q", 2**40) + b"{}",
    "shape": safetensors_file(
        b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 4000), b"abcd"
    ),
    "shapes": safetensors_file(
        b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}'
        % b",".join([b"99999999"] * 20_000),
        b"abcd",
    ),
    "axes": safetensors_file(
        b'{"a":{"dtype":"U8","shape":[%s],"data_offsets":[0,1]}}' % b",".join([b"1"] * 50_000), b"a"
    ),
    "many": safetensors_file(b"{%s}" % b",".join(b'"%d":{}' % i for i in range(50_000)), b""),
    "lists": safetensors_file(b'{"a":[%s]}' % b",".join([b"[]"] * 100_000), b""),
    "deep": safetensors_file(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b""),
    "pretty shape": b'{"minigrad.pretty":1,"arrays":{"a":{"dtype":"int8","shape":[999999999999],'
    b'"values":[]}}}',
    "pretty zero": b'{"minigrad.pretty":1,"arrays":{"a":{"dtype":"int8","shape":[0,999999999999],'
    b'"values":[]}}}',
    "pretty deep": b'{"minigrad.pretty":1,"arrays":{"a":{"dtype":"int8","shape":[1],"values":'
    + b"[" * 100_000,
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_files_that_promise_more_than_they_hold(data):
    tracemalloc.start()
    try:
        for load in (runs.load, all_of):
            tracemalloc.reset_peak()
            outcome(lambda load=load: load(data))
            assert tracemalloc.get_traced_memory()[1] < MEMORY(len(data))
    finally:
        tracemalloc.stop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "values", "same_as", "a"]), inner
        )
    ),
    max_leaves=15,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BF16", "F64", "F4"]) | JSON,
        "shape": st.lists(st.integers(0, 4), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | JSON,
    }
)


@settings(deadline=None, max_examples=300)
@given(
    header=st.dictionaries(st.text(max_size=3), ENTRY | JSON, max_size=3) | JSON,
    data=st.binary(max_size=64),
)
def test_headers_of_any_form(header, data):
    data = safetensors_file(json.dumps(header).encode(), data)
    outcome(lambda: runs.load(data))
    outcome(lambda: all_of(data))


@settings(deadline=None, max_examples=200)
@given(arrays=st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_pretty_records_of_any_form(arrays):
    data = json.dumps({"minigrad.pretty": 1, "arrays": arrays}).encode()
    outcome(lambda: runs.load(data))


# ----------------------------------------------------------------------------------- directories


@contextmanager
def only_inside(directory):
    """Fails if a file outside of the directory is opened."""
    real = builtins.open, os.open, io.open

    def spying(function):
        def opening(path, *args, **kwargs):
            if not isinstance(path, int):
                found = os.path.realpath(path)
                assert Path(found).is_relative_to(directory.resolve()), f"opened {found}"
            return function(path, *args, **kwargs)

        return opening

    builtins.open, os.open, io.open = map(spying, real)
    try:
        yield
    finally:
        builtins.open, os.open, io.open = real


@times(100, 3000)
def test_mutated_manifests(tmp_path, count):
    """With names that lead out, links, a pipe and a folder in place of files; nothing outside of
    the directory is opened, nothing waits, and what verifies is what was saved.
    """
    (tmp_path / "outside").write_text("secret")
    directory = tmp_path / "run"
    with runs.transaction(directory) as new:
        runs.save(new / "model.safetensors", {"w": W})
        runs.save_json(new / "config.json", {"a": 1})
    (directory / "folder").mkdir()
    if os.name == "posix":
        (directory / "link").symlink_to(tmp_path / "outside")
        os.mkfifo(directory / "pipe")
    whole = (directory / runs.MANIFEST).read_bytes()
    digest = json.loads(whole)["files"]["config.json"]
    TEXTS.extend([digest["sha256"]] if digest["sha256"] not in TEXTS else [])
    rng, counts = random.Random(count), {"refused": 0, "loaded": 0}
    with nothing_leaks():
        for _ in range(count):
            if rng.random() < 0.3:
                data = bytes_changed(rng, whole)
            else:
                data = as_json(rng, changed(rng, json.loads(whole)))
            waiting = rng.random() < 0.2
            (directory / ".commit").mkdir(exist_ok=True)
            (directory / ".commit" / runs.MANIFEST).unlink(missing_ok=True)
            place = directory / ".commit" if waiting else directory
            (place / runs.MANIFEST).write_bytes(data)
            with only_inside(directory):
                counts[outcome(lambda: runs.files_of(directory))] += 1
                outcome(lambda: runs.verify(directory))
                with suppress(RunError):
                    assert runs.load(directory)["w"].tolist() == W.tolist()
            if not waiting:
                continue
            (directory / runs.MANIFEST).write_bytes(whole)
    print(f"manifests: {count} mutated, {counts}")
    assert counts["refused"] > count / 3


@times(40, 600)
def test_saves_into_mutated_directories(tmp_path, count):
    """A save either works or says why not, and touches nothing outside of the directory."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.safetensors").write_text("secret")
    rng, counts = random.Random(count), {"refused": 0, "loaded": 0}
    manifest = {"files": {"model.safetensors": {"bytes": 1, "sha256": "0"}, "b": {}}}
    for i in range(count):
        directory = tmp_path / f"run-{i}"
        directory.mkdir()
        for name in ("manifest.json", ".commit", ".lock", "model.safetensors", ".save-" + "0" * 16):
            path, way = directory / name, rng.randrange(7 if os.name == "posix" else 4)
            if way == 0:
                path.write_bytes(as_json(rng, changed(rng, manifest)))
            elif way == 1:
                path.mkdir()
                (path / "manifest.json").write_bytes(as_json(rng, changed(rng, manifest)))
                (path / "model.safetensors").write_text("x")
            elif way == 4:
                path.symlink_to(outside)
            elif way == 5:
                path.symlink_to(outside / "model.safetensors")
            elif way == 6 and rng.random() < 0.3:
                os.mkfifo(path)

        def save(directory=directory):
            with runs.transaction(directory) as new:
                runs.save(new / "model.safetensors", {"w": W})

        counts[found := outcome(save)] += 1
        if found == "loaded":
            np.testing.assert_array_equal(runs.load(directory)["w"], W)
        else:
            outcome(lambda directory=directory: runs.load(directory))
        assert [p.name for p in outside.iterdir()] == ["model.safetensors"]
        assert (outside / "model.safetensors").read_text() == "secret"
    print(f"saves: into {count} mutated directories, {counts}")
    assert counts["loaded"] > count / 50

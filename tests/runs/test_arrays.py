"""Arrays come back from safetensors to the bit, and damage is noticed on loading."""

import contextlib
import io
import json
import struct
from collections.abc import Mapping

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import names_in, same_arrays

from minigrad import runs
from minigrad.errors import DtypeError, RunError

slow = settings(deadline=None, max_examples=50)

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
    same_arrays(runs.load_arrays(path), arrays)
    assert runs.load_metadata(path) == metadata
    same_arrays(safetensors.numpy.load_file(path), {k: np.array(a) for k, a in arrays.items()})


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
    same_arrays(runs.load_arrays(tmp_path / "a"), {"x": array})


@pytest.mark.parametrize("code", ["l", "q", "L", "Q", "i", "d"])
def test_c_types_are_stored_by_their_width(tmp_path, code):
    x = np.arange(3, dtype=code)
    runs.save_arrays(tmp_path / "a", {"x": x})
    same_arrays(runs.load_arrays(tmp_path / "a"), {"x": x})


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
    same_arrays(runs.load_arrays(tmp_path / "a"), SMALL)
    assert runs.load_metadata(tmp_path / "a") == {"format": "pt"}
    safetensors.numpy.save_file(SMALL, tmp_path / "b")
    assert runs.load_metadata(tmp_path / "b") == {}
    (tmp_path / "c").write_bytes(foreign({"x": entry("BOOL", (4,))}, b"\0\1\2\xff"))
    assert runs.load_arrays(tmp_path / "c")["x"].view(np.uint8).tolist() == [0, 1, 1, 1]


def test_the_digest_is_of_the_content_not_of_the_layout(tmp_path, whole):
    """A tool that rewrites a file of ours and keeps its metadata does not spoil it."""
    metadata = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    safetensors.numpy.save_file(SMALL, tmp_path / "a", metadata)
    same_arrays(runs.load_arrays(tmp_path / "a"), SMALL)
    safetensors.numpy.save_file(SMALL | {"b": np.zeros(3, np.int8)}, tmp_path / "a", metadata)
    with pytest.raises(RunError, match="damaged"):
        runs.load_arrays(tmp_path / "a")


# ------------------------------------------------------------------------------ more than a file


def saved(arrays, **options):
    file = io.BytesIO()
    runs.save_arrays(file, arrays, **options)
    return file.getvalue()


def test_an_array_of_several_names_is_written_once_and_is_one_array_after_loading():
    x = np.arange(1000, dtype=np.float32)
    data = saved({"a": x, "b": x, "c": x[:500], "d": x.copy()})
    assert len(data) < 2.7 * x.nbytes
    found = runs.load_arrays(data)
    assert found["a"] is found["b"]
    assert found["c"] is not found["a"]
    assert found["d"] is not found["a"]
    same_arrays(found, {"a": x, "b": x, "c": x[:500], "d": x})
    assert saved({"b": x, "a": x}) == saved({"a": x, "b": x})


def test_arrays_at_one_address_are_one_only_if_they_are_equal():
    x = np.arange(4, dtype="<f4")
    views = {
        "x": x,
        "swapped": x.view(">f4"),
        "bits": x.view("<u4"),
        "back": x[::-1],
        "square": x.reshape(2, 2),
        "turned": x.reshape(2, 2).T,
    }
    same_arrays(runs.load_arrays(saved(views)), views)


class Made(Mapping):
    """Makes its arrays when it is asked, and keeps none."""

    def __iter__(self):
        return iter([f"x{i}" for i in range(20)])

    def __len__(self):
        return 20

    def __getitem__(self, name):
        return np.full(1000, int(name[1:]), ">f4")


def test_arrays_that_are_made_one_after_the_other_are_told_apart():
    for data in (saved(Made()), saved_in("full", Made())):
        found = runs.load_arrays(data)
        assert [found[f"x{i}"][0] for i in range(20)] == list(range(20))


def saved_in(record, arrays, **options):
    file = io.BytesIO()
    runs.save(file, arrays, record, **options)
    return file.getvalue()


class Pipe(io.RawIOBase):
    """A file that cannot seek, and gives and takes a few bytes at a time."""

    def __init__(self, data=b""):
        self.data = bytearray(data)

    readable = writable = lambda self: True

    def readinto(self, buffer):
        n = min(len(buffer), len(self.data), 7)
        buffer[:n], self.data[:n] = self.data[:n], b""
        return n

    def write(self, data):
        self.data += bytes(data[:7])
        return min(len(data), 7)


ARRAYS = {"a.x": np.arange(100, dtype=np.float32), "b": np.ones((2, 3), ">i2"), "c": np.zeros(0)}


def opened(kind, path, data):
    """The data as each of the things that a file can be given as."""
    path.write_bytes(data)
    if kind == "at an offset":
        path.write_bytes(b"before" + data)
    found = {
        "path": lambda: path,
        "text": lambda: str(path),
        "URI": lambda: path.as_uri(),
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "BytesIO": lambda: io.BytesIO(data),
        "open file": lambda: path.open("rb"),
        "at an offset": lambda: path.open("rb"),
        "unbuffered": lambda: path.open("rb", buffering=0),
        "pipe": lambda: Pipe(data),
    }[kind]()
    if kind == "at an offset":
        found.seek(6)
    return found


KINDS = [
    "path", "text", "URI", "bytes", "bytearray", "memoryview", "BytesIO", "open file",
    "at an offset", "unbuffered", "pipe",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_file_is_given_as(tmp_path, kind):
    for record in ("full", "pretty"):
        data = saved_in(record, ARRAYS)
        for read in (
            runs.load,
            lambda target: dict(runs.load(target, lazy=True)),
            lambda target: runs.load(target, names=ARRAYS),
        ):
            with contextlib.ExitStack() as stack:
                target = opened(kind, tmp_path / "a", data)
                if hasattr(target, "close"):
                    stack.callback(target.close)
                same_arrays(read(target), ARRAYS)


def test_streams_are_written_to_their_end(tmp_path):
    whole = saved(ARRAYS)
    pipe = Pipe()
    runs.save_arrays(pipe, ARRAYS)
    assert bytes(pipe.data) == whole
    with open(tmp_path / "a", "wb", buffering=0) as file:
        file.write(b"before")
        runs.save_arrays(file, ARRAYS)
    assert (tmp_path / "a").read_bytes() == b"before" + whole


def test_streams_that_take_or_give_no_bytes_are_refused(tmp_path):
    class Full(Pipe):
        def write(self, data):
            return None

    with pytest.raises(RunError, match="cannot write"):
        runs.save_arrays(Full(), ARRAYS)
    with pytest.raises(RunError, match="cannot write"):
        runs.save_arrays(io.StringIO(), ARRAYS)
    with pytest.raises(RunError, match="no binary file"):
        runs.load_arrays(io.StringIO("text"))
    with pytest.raises(RunError, match="into bytes"):
        runs.save_arrays(b"", ARRAYS)
    with pytest.raises(RunError, match="expects a path, a URI, bytes or an open"):
        runs.load_arrays(3)
    closed = io.BytesIO(saved(ARRAYS))
    closed.close()
    with pytest.raises(RunError, match="cannot read"):
        runs.load_arrays(closed)


class Spy(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, n=-1):
        data = super().read(n)
        self.count += len(data)
        return data


def test_one_layer_is_read_without_the_others():
    arrays = {
        f"{group}.layers.{i}.weight": np.full(1000, i, np.float32)
        for group in ("encoder", "decoder")
        for i in range(12)
    }
    data = saved(arrays)
    head = int.from_bytes(data[:8], "little") + 8 + 16
    for names, count in [
        ("encoder.layers.1", 1),
        (["encoder.layers.1.weight", "encoder.layers.1"], 1),
        ("decoder", 12),
        ([], 0),
    ]:
        spy = Spy(data)
        found = runs.load(spy, names=names)
        assert len(found) == count
        same_arrays(found, {name: arrays[name] for name in found})
        assert spy.count <= head + count * 4000
    spy = Spy(data)
    lazy = runs.load(spy, lazy=True)
    assert len(lazy) == 24
    assert spy.count <= head
    assert lazy["encoder.layers.11.weight"][0] == 11
    assert spy.count <= head + 4000
    assert "encoder" not in lazy
    with pytest.raises(KeyError):
        lazy["encoder"]
    with pytest.raises(RunError, match=r"'encoder\.layers\.99'.*did you mean 'encoder\.layers\.9"):
        runs.load(data, names="encoder.layers.99")
    with pytest.raises(RunError, match="neither an array nor a module 'encod'"):
        runs.load(data, names=["decoder", "encod"])


def test_damage_to_one_array_does_not_touch_the_others():
    data = bytearray(saved({"a": np.zeros(100), "b": np.ones(100)}))
    data[-1] ^= 1
    lazy = runs.load(bytes(data), lazy=True)
    assert not lazy["a"].any()
    with pytest.raises(RunError, match="'b' differs from the digest"):
        lazy["b"]
    with pytest.raises(RunError, match="damaged"):
        runs.load(bytes(data))


def test_entries_of_ours_are_checked_in_files_whose_digests_are_right():
    """Who makes a file on purpose can make its digests, too."""

    def forged(**ours):
        file = io.BytesIO()
        entries = {f"minigrad.{name}": text for name, text in ours.items()}
        arrays = {"a": np.ones(2, np.float16), "b": np.ones(2, np.int8)}
        runs.arrays.write_arrays(file, arrays, entries)
        return file.getvalue()

    assert runs.load(forged(dtypes='{"a":"F64"}'))["a"].dtype == np.float64
    for ours in [
        {"dtypes": '{"b":"F64"}'},
        {"dtypes": '{"a":"I8"}'},
        {"dtypes": '{"c":"F32"}'},
        {"dtypes": "[]"},
        {"dtypes": '{"a":1}'},
        {"dtypes": "{"},
        {"tied": '{"c":"d"}'},
        {"tied": '{"a":"b"}'},
        {"tied": '{"c":["b"]}'},
        {"tied": "[" * 100_000},
    ]:
        for lazy in (False, True):
            with pytest.raises(RunError):
                dict(runs.load(forged(**ours), lazy=lazy))


def test_lone_surrogates_are_refused():
    for head in (b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
                 b'{"__metadata__":{"minigrad.format":"\\ud800"}}',
                 b'{"__metadata__":{"\\ud800":""}}'):  # fmt: skip
        for lazy in (False, True):
            with pytest.raises(RunError):
                runs.load(foreign(head), lazy=lazy)


def test_a_repeated_key_is_found_among_many_at_once():
    head = "{" + ",".join(f'"{i}":0' for i in range(200_000)) + ',"199999":0}'
    with pytest.raises(RunError, match="'199999' is repeated"):
        runs.load_arrays(foreign(head.encode()))


@pytest.mark.parametrize("first", [0x7B, 0x7B20, 0x7B0A, 0x7B2020])
def test_a_header_as_long_as_a_text_begins_is_no_text(first):
    """The first bytes are its length: 31520 is a space and a brace."""
    empty = len(saved({}, metadata={"x": ""}))
    if first % 8:
        data = foreign(json.dumps({"a": entry()}).ljust(first).encode(), b"abcd")
        assert runs.load(data)["a"].shape == (1,)
    else:
        data = saved({}, metadata={"x": "y" * (first + 8 - empty)})
        assert int.from_bytes(data[:8], "little") == first
        assert runs.load(data) == {}


def test_bits_of_numbers_that_are_none_are_kept():
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32)
    found = runs.load(saved_in("full", {"x": bits.view(np.float32)}))["x"]
    np.testing.assert_array_equal(found.view(np.uint32), bits)


@pytest.mark.peer
def test_pytorch_reads_ours_and_we_read_theirs(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "i": np.array(3, np.int64)}
    runs.save(tmp_path / "ours", arrays)
    for name, x in load_file(tmp_path / "ours").items():
        np.testing.assert_array_equal(x.numpy(), arrays[name])
    runs.save(tmp_path / "compact", arrays, record="compact", dtype="bfloat16")
    assert load_file(tmp_path / "compact")["w"].dtype == torch.bfloat16
    assert load_file(tmp_path / "compact")["w"].tolist() == arrays["w"].tolist()
    theirs = {"w": torch.arange(6).reshape(3, 2).float(), "h": torch.tensor([1.5]).bfloat16()}
    save_file(theirs, tmp_path / "theirs", {"format": "pt"})
    found = runs.load(tmp_path / "theirs")
    assert found["w"].tolist() == theirs["w"].tolist()
    assert found["h"].tolist() == [1.5]

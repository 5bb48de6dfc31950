"""Files of PyTorch, read without it: those that it wrote, those made by hand, and damaged ones.

`pytorch_files` holds some that PyTorch 2.13 wrote, with `write_golden` below.
"""

import io
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minigrad.errors import RunError
from minigrad.runs import pickled
from minigrad.runs import pytorch as files

GOLDEN = Path(__file__).parent / "pytorch_files"

# ------------------------------------------------------------------------ what PyTorch writes

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
          "uint64", "uint32", "uint16", "uint8", "bool", "complex64", "complex128"]  # fmt: skip
X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
COMPLEX = np.array([1 + 2j, 3 - 4j], np.complex64)
EXPECTED = {
    "x": X,
    "transposed": X.transpose(0, 2, 1),
    "part": X[:, 1:, ::2],
    "row": X[1, 2],
    "tied": X,
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "expanded": np.array([[1.0] * 5, [2.0] * 5], np.float32),
    "parameter": np.ones(2, np.float32),
    "with attributes": np.ones(3, np.float32),
    "conjugated": COMPLEX.conj(),
    "negated": COMPLEX.conj().imag,
    **{name: np.array([[0, 1], [2, 3]], "f4" if name == "bfloat16" else name).T for name in DTYPES},
}
OTHERS = {
    "epoch": 3, "best": 1.5, "steps": 7, "name": "run 日本", "nothing": None, "flag": True,
    "raw": b"\xff\x00", "set": {1, 2}, "complex": 1j, "big": 2**70, "nested": [1, [2, "a"]],
    "dtype": "torch.float32", "device": "cuda:1", "size": [1, 2], "bare": {}, "mixed.1": 5,
    "schedule.milestones.30": 1, "optimizer.param_groups.0.lr": 0.1,
    "optimizer.param_groups.0.params": [0, 1],
}  # fmt: skip


def of_kinds(torch):
    """A state dictionary with tensors of all kinds that are read."""
    x = torch.arange(24.0).reshape(2, 3, 4)
    attributes = torch.ones(3)
    attributes.note = "kept by PyTorch"
    numbers = torch.tensor([[0, 1], [2, 3]])
    return {
        "x": x,
        "transposed": x.transpose(1, 2),
        "part": x[:, 1:, ::2],
        "row": x[1, 2],
        "tied": x,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "with attributes": attributes,
        "conjugated": torch.tensor(COMPLEX).conj(),
        "negated": torch.tensor(COMPLEX).conj().imag,
        **{name: numbers.to(getattr(torch, name)).T for name in DTYPES},
    }


def checkpoint(torch):
    """What one saves to go on later: the model, the optimizer, and values about them."""
    from collections import Counter, OrderedDict

    w = torch.arange(6.0).reshape(2, 3)
    model = OrderedDict([("layer.weight", w), ("layer.bias", torch.ones(2)), ("out.weight", w)])
    groups = [{"lr": 0.1, "params": [0, 1]}]
    state = {0: {"step": torch.tensor(7.0), "exp_avg": w * 2}}
    return {
        "model": model, "optimizer": {"state": state, "param_groups": groups}, "epoch": 3,
        "best": np.float64(1.5), "steps": np.int64(7), "name": "run 日本", "nothing": None,
        "flag": True, "raw": b"\xff\x00", "set": {1, 2}, "complex": 1j, "big": 2**70,
        "nested": (1, [2, "a"]), "dtype": torch.float32, "device": torch.device("cuda:1"),
        "size": torch.Size([1, 2]), "bare": {}, "mixed": [w[0], 5],
        "schedule": {"milestones": Counter({30: 1})},
    }  # fmt: skip


def write_golden(torch, folder):
    torch.save(of_kinds(torch), folder / "kinds.pt")
    torch.save(of_kinds(torch), folder / "kinds_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(checkpoint(torch), folder / "checkpoint.pt", pickle_protocol=4)
    torch.save(torch.nn.Linear(2, 1), folder / "whole.pt")
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), buffer)
    with zipfile.ZipFile(buffer) as theirs, zipfile.ZipFile(folder / "scripted.pt", "w") as file:
        for each in theirs.infolist():
            if not each.filename.endswith(".debug_pkl"):  # it has paths of the machine
                file.writestr(each, theirs.read(each))


def same_arrays(found, expected):
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        np.testing.assert_array_equal(found[name], x, strict=True, err_msg=name)
        assert found[name].flags.writeable, name
        assert found[name].flags.c_contiguous, name
        assert found[name].dtype.isnative, name


def same_checkpoint(data):
    arrays, others = files.read_all(data)
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    same_arrays(arrays, {
        "model.layer.weight": w, "model.layer.bias": np.ones(2, np.float32), "model.out.weight": w,
        "optimizer.state.0.step": np.array(7, np.float32), "optimizer.state.0.exp_avg": w * 2,
        "mixed.0": w[0],
    })  # fmt: skip
    assert arrays["model.layer.weight"] is arrays["model.out.weight"]
    assert others == OTHERS
    assert [type(others[name]) for name in ("best", "steps", "flag")] == [float, int, bool]


@pytest.mark.parametrize("name", ["kinds.pt", "kinds_legacy.pt"])
def test_tensors_of_all_kinds(name):
    with open(GOLDEN / name, "rb") as file:
        found = files.read(file)
        same_arrays(found, EXPECTED)
        assert found["x"] is found["tied"]
        assert not np.shares_memory(found["x"], found["transposed"])
        assert files.read(file, ["row"])["row"].tolist() == [20, 21, 22, 23]
        assert files.contents(file)["bfloat16"] == ("bfloat16", (2, 2))
    assert {k: shape for k, (_, shape) in files.contents((GOLDEN / name).read_bytes()).items()} == {
        k: v.shape for k, v in EXPECTED.items()
    }


def test_a_checkpoint():
    data = (GOLDEN / "checkpoint.pt").read_bytes()
    same_checkpoint(data)
    layer = ["model.layer.weight", "model.layer.bias"]
    assert list(files.read(data, "model.layer")) == layer
    assert list(files.read(data, ["mixed", "model.layer"])) == [*layer, "mixed.0"]
    for name in ("model.lay", "layer", "", 3):
        with pytest.raises(RunError, match=f"^theirs: has no tensor {name!r}, and none in it"):
            files.read(data, [name], where="theirs")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("whole.pt", "zip", r"torch\.nn\.modules\.linear\.Linear.*whole model.*state_dict"),
        ("scripted.pt", "torchscript", r"TorchScript.*torch\.jit\.load\(path\)\.state_dict"),
    ],
)
def test_what_needs_code_is_refused_with_the_way_out(name, kind, message):
    data = (GOLDEN / name).read_bytes()
    assert files.recognise(data) == kind
    for read in (files.read, files.read_all, files.contents):
        with pytest.raises(RunError, match=f"^models/{name}: .*{message}"):
            read(data, where=f"models/{name}")


def test_kinds_of_files():
    for name, kind in {"kinds.pt": "zip", "kinds_legacy.pt": "legacy"}.items():
        data = (GOLDEN / name).read_bytes()
        assert files.recognise(data) == files.recognise(io.BytesIO(data)) == kind
        assert files.recognise(data[: len(data) // 2]) == kind  # `read` says that it is cut off
    arrays = io.BytesIO()
    np.savez(arrays, x=X)
    for data in (b"", b"PK\x03\x04", arrays.getvalue(), b"\x80\x02}.", b"{}", b"\x08" * 300):
        assert files.recognise(data) is None
        with pytest.raises(RunError):
            files.read(data)


class Watched(io.BytesIO):
    """A file that notes which bytes of it are read."""

    def __init__(self, data):
        super().__init__(data)
        self.parts = []

    def readinto(self, buffer):
        start = self.tell()
        n = super().readinto(buffer)
        self.parts.append((start, start + n))
        return n


@pytest.mark.parametrize("legacy", [False, True])
def test_only_the_bytes_of_named_tensors_are_read(legacy):
    n = 100_000
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    body = dictionary(*((u(k), tensor(k, n=n, shape=(n,), strides=(1,), legacy=legacy))
                        for k in values))  # fmt: skip
    stored = {k: np.full(n, v, "<f4").tobytes() for k, v in values.items()}
    data = (legacy_file if legacy else archive)(body, stored)
    file = Watched(data)
    found = files.read(file, names=["b"])
    assert list(found) == ["b"]
    assert (found["b"] == 2).all()
    assert sum(end - start for start, end in file.parts) < 4 * n + 150_000
    with pytest.raises(RunError, match="no tensor 'bb', and none in it; the nearest is 'b'"):
        files.read(data, names=["b", "bb"])
    assert list(files.read(data, names=("c", "a"))) == ["a", "c"]


def test_sources():
    data = (GOLDEN / "kinds.pt").read_bytes()
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert list(files.read(source)) == list(EXPECTED)
    file = io.BytesIO(data)
    file.close()
    for source, message in [
        ("model.pt", "got a str"),
        (io.StringIO("PK"), "binary"),
        (file, "closed"),
    ]:
        with pytest.raises(RunError, match=message):
            files.read(source)


# --------------------------------------------------------------------------- beside PyTorch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def saved(torch, value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@pytest.mark.peer
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_now(torch, zipped, protocol):
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    same_arrays(files.read(saved(torch, of_kinds(torch), **options)), EXPECTED)
    same_checkpoint(saved(torch, checkpoint(torch), **options))
    w = torch.arange(3)
    assert files.read(saved(torch, w, **options))["tensor"].tolist() == [0, 1, 2]
    assert files.read_all(saved(torch, 3, **options)) == ({}, {"value": 3})
    assert list(files.read(saved(torch, [w, {"a": w}], **options))) == ["0", "1.a"]


@pytest.mark.peer
def test_files_without_checksums_and_with_a_name_of_letters(torch, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        data = saved(torch, of_kinds(torch))
    finally:
        torch.serialization.set_crc32_options(True)
    same_arrays(files.read(data), EXPECTED)
    torch.save(of_kinds(torch), tmp_path / "翻訳 モデル.pt")
    same_arrays(files.read((tmp_path / "翻訳 モデル.pt").read_bytes()), EXPECTED)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.zeros(2, device="meta"), "'meta', which has no numbers"),
        (lambda t: t.eye(2).to_sparse(), r"sparse tensor.*to_dense"),
        (lambda t: t.eye(2).to_sparse_csr(), r"sparse tensor.*to_dense"),
        (lambda t: t.quantize_per_tensor(t.zeros(2), 0.1, 0, t.qint8), "quantised.*dequantize"),
        (lambda t: t.zeros(2, dtype=t.float8_e4m3fn), "float8_e4m3fn, which NumPy has not"),
        (lambda t: t.nested.nested_tensor([t.zeros(2), t.zeros(3)]), "nested tensor"),
        (lambda t: np.zeros(2), "NumPy array.*from_numpy"),
        (lambda t: t.zeros(2).storage(), "storage that belongs to no tensor"),
        (lambda t: t.ones(1).expand(10**9), "asks for arrays of 4,000,000,000.*contiguous"),
        (lambda t: t.optim.SGD, "needs code"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_and_is_refused(torch, make, message, zipped):
    data = saved(torch, {"x": make(torch)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match=message):
        files.read(data)


@pytest.mark.peer
def test_the_big_end_first_as_pytorch_reads_it(torch):
    for kind, dtype in [("Float", ">f4"), ("Short", ">i2"), ("ComplexFloat", ">c8")]:
        x = np.arange(4).astype(dtype)
        body = tensor("0", f"{kind}Storage")
        data = archive(body, {"0": x.tobytes()}, byteorder=b"big")
        theirs = torch.load(io.BytesIO(data), weights_only=True)
        same_arrays(files.read(data), {"tensor": theirs.numpy()})
        assert theirs.tolist() == x.tolist()


# ---------------------------------------------------------------------------- made by hand


def u(text):
    """A string, as protocol 2 writes it."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def i(n):
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def dictionary(*pairs):
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def call(function, *args):
    return name(*function.rsplit(".", 1)) + tup(*args) + b"R"


def storage(key="0", kind="FloatStorage", n=4, device="cpu", legacy=False, view=b"N"):
    more = [view] if legacy else []
    return tup(u("storage"), name("torch", kind), u(key), u(device), i(n), *more) + b"Q"


def tensor(key="0", kind="FloatStorage", n=4, shape=(4,), strides=(1,), offset=0, more=(), **what):
    return call(
        "torch._utils._rebuild_tensor_v2", storage(key, kind, n, **what), i(offset),
        tup(*map(i, shape)), tup(*map(i, strides)), b"\x89", call("collections.OrderedDict"), *more,
    )  # fmt: skip


def archive(body, stored=None, byteorder=b"little", pickled=None, **options):
    """A zip archive as `torch.save` makes it, around the instructions of a pickle."""
    buffer = io.BytesIO()
    stored = {"0": np.arange(4, dtype="<f4").tobytes()} if stored is None else stored
    with zipfile.ZipFile(buffer, "w", **options) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + body + b"." if pickled is None else pickled)
        file.writestr("archive/byteorder", byteorder)
        for key, data in stored.items():
            file.writestr(f"archive/data/{key}", data)
        file.writestr("archive/version", b"3\n")
    return buffer.getvalue()


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def legacy_file(body, stored=None, little=True, end=b"", itemsize=4):
    stored = {"0": np.arange(4, dtype="<f4").tobytes()} if stored is None else stored
    system = dictionary((u("little_endian"), b"\x88" if little else b"\x89"))
    keys = b"](" + b"".join(map(u, stored)) + b"e"
    pickles = [b"M\xe9\x03", system, body, keys]
    data = MAGIC + b"".join(b"\x80\x02" + each + b"." for each in pickles)
    for each in stored.values():
        data += struct.pack("<q", len(each) // itemsize) + each
    return data + end


def test_files_made_by_hand_are_read():
    for make in (archive, legacy_file):
        legacy = make is legacy_file
        found = files.read(make(dictionary((u("x"), tensor(legacy=legacy)))))
        same_arrays(found, {"x": np.arange(4, dtype=np.float32)})


def test_both_ends_first():
    x = np.arange(4, dtype=np.float32)
    same_arrays(files.read(archive(tensor(), {"0": x.astype(">f4").tobytes()}, b"big")),
                {"tensor": x})  # fmt: skip
    halves = np.array([0x3F80, 0xBF80, 0x7FC0, 0x0001], ">u2")  # bfloat16: 1, -1, NaN, 2**-133
    found = files.read(archive(tensor(kind="BFloat16Storage"), {"0": halves.tobytes()}, b"big"))
    np.testing.assert_array_equal(found["tensor"], np.float32([1, -1, np.nan, 2.0**-133]))
    # The older format has the little end first on every machine.
    same_arrays(files.read(legacy_file(tensor(legacy=True), little=False)), {"tensor": x})
    with pytest.raises(RunError, match="complex64 that a machine with the big end first wrote"):
        files.read(legacy_file(tensor(kind="ComplexFloatStorage", legacy=True), little=False,
                               stored={"0": bytes(32)}, itemsize=8))  # fmt: skip


def test_how_older_versions_wrote():
    """Python 2 wrote strings of its own, and ordered dictionaries as lists of lists."""
    x = np.arange(4, dtype=np.float32)
    old = b"U\x01x"
    pairs = b"](](" + old + tensor(legacy=True) + b"ee"
    same_arrays(files.read(legacy_file(call("collections.OrderedDict", pairs))), {"x": x})
    args = [storage(legacy=True), i(1), tup(i(2)), tup(i(2))]
    same_arrays(files.read(legacy_file(call("torch._utils._rebuild_tensor", *args))),
                {"tensor": x[1::2]})  # fmt: skip
    view = tup(u("9"), i(1), i(3))  # a storage that is a part of another
    body = tensor(legacy=True, view=view, shape=(3,))
    same_arrays(files.read(legacy_file(body)), {"tensor": x[1:]})


def test_an_axis_of_length_1_may_have_any_stride():
    body = tensor(shape=(1, 4, 1), strides=(2**62, 1, 2**62))
    assert files.read(archive(body))["tensor"].shape == (1, 4, 1)


def listed(depth):
    """Lists in lists."""
    return b"]" * depth + b"a" * (depth - 1)


def laughs(rounds=40, width=10):
    """A list that names another ten times, which names another ten times, and so on."""
    body = b"]q\x00"
    for n in range(rounds):
        body += (
            b"](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * (width - 1) + b"eq" + bytes([n + 1])
        )
    return tup(body)


LONG = u("k" * 1_000)
HOSTILE = {
    "a call of a system": (call("os.system", u("echo run")), "'os.system', which needs code"),
    "posix": (call("posix.system", u("echo run")), "'posix.system'"),
    "eval": (call("builtins.eval", u("1")), "'builtins.eval'"),
    "getattr": (call("builtins.getattr", u("a"), u("b")), "'builtins.getattr'"),
    "a module of torch's": (call("torch.hub.load", u("a")), "'torch.hub.load'"),
    "dotted": (name("torch", "nn.Module"), "'torch.nn.Module'"),
    "a storage class of another": (name("os", "FloatStorage"), "'os.FloatStorage'"),
    "a string that is called": (u("torch.Size") + tup() + b"R", "calls what is no function"),
    "a function that is no value": (dictionary((u("x"), name("torch", "Size"))), "no tensor"),
    "an instance": (name("torch.nn", "Linear") + b")\x81", "'torch.nn.Linear'"),
    "NEWOBJ": (name("torch", "Size") + b")\x81", "instruction b'.x81'"),
    "INST": (b"(ios\nsystem\n", "instruction b'i'"),
    "EXT1": (b"\x82\x01", "instruction"),
    "text of protocol 0": (b"I1\n", "instruction b'I'"),
    "attributes of a tensor": (tensor() + dictionary((u("a"), i(1))) + b"b", "expects a dict"),
    "a hook": (
        call("torch._utils._rebuild_parameter", tensor(), b"\x88", dictionary((u("a"), i(1)))),
        "hooks",
    ),
    "nothing": (b"", "value is missing"),
    "two values": (i(1) + i(2), "left over"),
    "no mark": (b"e", "mark is missing"),
    "a mark as a value": (b"(", "missing"),
    "no memory": (b"h\x05", "nothing was remembered as 5"),
    "half a pair": (b"}(" + i(1) + b"u", "no value"),
    "a key twice": (dictionary((u("a"), i(1)), (u("a"), i(2))), "'a' is repeated"),
    "a key that is a list": (dictionary((b"]", i(1))), "a list, not a string"),
    "a key that is a tensor": (dictionary((tensor(), i(1))), "a tensor, not a string"),
    "one name for two": (
        dictionary((u("a.b"), tensor()), (u("a"), dictionary((u("b"), tensor())))),
        "both called 'a.b'",
    ),
    "no UTF-8": (b"X\x01\x00\x00\x00\xff", "not UTF-8"),
    "a string beyond the end": (b"X\xff\xff\xff\xff", "cut off"),
    "bytes beyond the end": (b"\x8e" + b"\xff" * 8, "cut off"),
    "a frame beyond the end": (b"\x95" + b"\xff" * 8, "cut off"),
    "deep lists": (listed(10_000), "more than 64 deep"),
    "deep dictionaries": (b"}" + (u("a") + b"}") * 1000 + b"s" * 1000, "more than 64 deep"),
    "deep tuples": (b")" + b"\x85" * 10_000, "more than 64 deep"),
    "a list in itself": (b"]q\x00h\x00a", "more than 64 deep"),
    "a dictionary in itself": (b"}q\x00X\x01\x00\x00\x00ah\x00s", "more than 64 deep"),
    "a billion laughs": (laughs(), "too often|too deep|more than 64"),
    "long names": (
        dictionary((LONG, b"}(" + LONG + b"}(" + u("a") + i(1) + b"uu")), "name has"
    ),
    "sets of a long list": (
        tup(b"](" + b"N" * 10_000 + b"eq\x00", *[call("builtins.set", b"h\x00")] * 1000),
        "too long",
    ),
    "a tensor beyond its storage": (tensor(shape=(5,)), "beyond its storage"),
    "by an offset": (tensor(offset=1), "beyond its storage"),
    "by a stride": (tensor(shape=(2, 2), strides=(3, 1)), "beyond its storage"),
    "by a wide dtype": (
        call("torch._utils._rebuild_tensor_v3",
             tup(u("storage"), name("torch.storage", "UntypedStorage"), u("0"), u("cpu"), i(16))
             + b"Q", i(0), tup(i(3)), tup(i(1)), b"\x89", b"}", name("torch", "float64")),
        "beyond its storage",
    ),
    "a negative length": (tensor(shape=(-1,)), "no count"),
    "a negative stride": (tensor(strides=(-1,)), "no count"),
    "a negative offset": (tensor(offset=-1), "no count"),
    "a length beyond 64 bits": (tensor(shape=(2**80,), strides=(0,)), "no count"),
    "a length that is a boolean": (
        call("torch._utils._rebuild_tensor_v2", storage(), i(0), tup(b"\x88"), tup(i(1))),
        "no count",
    ),
    "lengths and strides": (tensor(shape=(2, 2)), "as many of both"),
    "65 axes": (tensor(shape=(1,) * 65, strides=(1,) * 65), "at most 64"),
    "an empty giant": (tensor(shape=(2**62, 2**62, 0), strides=(1, 1, 1)), "cannot hold"),
    "a repeated number": (tensor(shape=(2**60,), strides=(0,)), "asks for arrays"),
    "of many axes": (tensor(shape=(2**62,) * 64, strides=(0,) * 64), "asks for arrays"),
    "a storage of another length": (tensor(n=5), "expects a storage of 20 bytes, there is one"),
    "a storage that is missing": (tensor("1"), "there is none"),
    "a storage outside": (tensor("../../../etc/passwd"), "there is none"),
    "two lengths of a storage": (tup(tensor(), tensor(n=5)), "two lengths"),
    "a storage of a kind that is none": (tensor(kind="HugeStorage"), "no kind of storage 'Huge'"),
    "a quantised storage": (tensor(kind="QInt8Storage"), "quantised"),
    "another point": (tup(u("module"), u("a")) + b"Q", "no storage"),
    "a mark of a tensor": (tensor(more=[dictionary((u("odd"), b"\x88"))]), "'odd', not known"),
    "conjugated floats": (tensor(more=[dictionary((u("conj"), b"\x88"))]), "conjugated"),
    "a scalar of objects": (
        call("numpy._core.multiarray.scalar", call("numpy.dtype", u("O8")), u("a")), "no plain"
    ),
    "a scalar of a wrong length": (
        call("numpy._core.multiarray.scalar", call("numpy.dtype", u("f8")),
             call("_codecs.encode", u("abc"), u("latin1"))),
        "other bytes",
    ),
    "an encoding": (call("_codecs.encode", u("a"), u("zip")), "codes"),
}  # fmt: skip


def hostile_files():
    """Each pickle in both containers, as far as they describe storages in one way."""
    for case, (body, message) in HOSTILE.items():
        yield case, archive(body), message
        if b"storage" not in body:
            yield f"{case}, legacy", legacy_file(body, {}), message


@pytest.mark.parametrize(
    ("data", "message"), [pytest.param(*each, id=case) for case, *each in hostile_files()]
)
def test_hostile_pickles_are_refused(data, message, monkeypatch):
    monkeypatch.setattr(pickled, "STEPS", 200_000)  # so that it is soon over
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match=f"^theirs.pt: .*({message})"):
            files.read_all(data, where="theirs.pt")
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


# Python tells a hook what it does: imports, files that are opened, processes, code that is run.
WATCHED = """
import sys
from pathlib import Path
from minigrad.runs import pickled, pytorch

seen, watching = set(), False
sys.addaudithook(lambda event, args: seen.add(event) if watching else None)
pickled.STEPS = 200_000
b"a".decode("cp437")  # an encoding is a module, which zipfile loads at its first name
datas = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]
for data in datas:
    watching = True
    try:
        pytorch.read(data)
    except OSError:
        pass
    watching = False
watching = True
compile("1", "seen", "eval")
watching = False
print(*sorted(seen - {"builtins.id", "object.__getattr__", "sys._getframe"}))
"""


def test_hostile_pickles_run_nothing(tmp_path):
    for n, (_, data, _) in enumerate(hostile_files()):
        (tmp_path / f"{n}.pt").write_bytes(data)
    found = subprocess.run(
        [sys.executable, "-c", WATCHED, tmp_path], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["compile"], "more than what the script itself does"


def changed(data, old, new):
    assert data.count(old) >= 1
    return data.replace(old, new)


def entry(data, n):
    """Where the n-th entry of a zip archive's directory stands."""
    return [found.start() for found in re.finditer(b"PK\x01\x02", data)][n]


def patched(data, place, form, value):
    part = struct.pack(form, value)
    return data[:place] + part + data[place + len(part) :]


GOOD = archive(dictionary((u("x"), tensor())))
LAST = GOOD.rindex(b"PK\x05\x06")
ZIPS = {
    "cut off": (GOOD[:-30], "no readable end"),
    "without an end": (GOOD[:LAST], "no readable end"),
    "an end elsewhere": (patched(GOOD, LAST + 16, "<I", 2**31), "cut off"),
    "a size of 2 GiB": (patched(GOOD, entry(GOOD, 2) + 24, "<I", 2**31), "storage of 16 bytes"),
    "both sizes": (
        patched(patched(GOOD, entry(GOOD, 2) + 20, "<I", 17), entry(GOOD, 2) + 24, "<I", 17),
        "storage of 16 bytes, there is one of 17",
    ),
    "another place": (patched(GOOD, entry(GOOD, 2) + 42, "<I", 4), "is not where"),
    "one place for two": (patched(GOOD, entry(GOOD, 2) + 42, "<I", 0), "at one place"),
    "one name for two": (
        changed(archive(tensor(), {"0": bytes(16), "1": b""}), b"data/1", b"data/0"), "of one name"
    ),
    "damaged numbers": (changed(GOOD, np.float32(3).tobytes(), b"abcd"), "storage '0' differs"),
    "a damaged pickle": (changed(GOOD, b"_rebuild_tensor_v2", b"_rebuild_tensor_v3"), "data.pkl"),
    "compressed": (archive(tensor(), compression=zipfile.ZIP_DEFLATED), "compressed"),
    "a bomb": (
        archive(tensor(n=10**7, shape=(10**7,)), {"0": bytes(4 * 10**7)},
                compression=zipfile.ZIP_DEFLATED), "compressed"),
    "encrypted": (patched(GOOD, entry(GOOD, 0) + 8, "<H", 1), "encrypted"),
    "no pickle": (changed(GOOD, b"data.pkl", b"dota.pkl"), "0 entries 'data.pkl'"),
    "an order of bytes": (archive(tensor(), byteorder=b"middle"), "b'middle'"),
    "a pickle of nothing": (archive(b"", pickled=b""), "cut off"),
    "a pickle that goes on": (archive(b"", pickled=b"\x80\x02N.N."), "bytes follow"),
    "protocol 0": (archive(b"", pickled=b"I1\n."), "protocols 2 to 5"),
    "protocol 6": (archive(b"", pickled=b"\x80\x06N."), "protocols 2 to 5"),
}  # fmt: skip


@pytest.mark.parametrize("case", ZIPS)
def test_damaged_archives_are_refused(case):
    data, message = ZIPS[case]
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match=message):
            files.read(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()


def test_damaged_files_of_the_older_kind_are_refused():
    good = legacy_file(dictionary((u("x"), tensor(legacy=True))))
    assert list(files.read(good)) == ["x"]
    for n in range(0, len(good), 3):
        with pytest.raises(RunError):
            files.read(good[:n])
    for data, message in [
        (good + b"more", "written behind"),
        (legacy_file(tensor(legacy=True), {"1": bytes(16)}), "for no tensor"),
        (legacy_file(tensor(legacy=True), {}), "there is none"),
        (legacy_file(tensor(legacy=True), {"0": bytes(20)}), "another length"),
        (legacy_file(tensor()), "no storage"),
        (changed(good, b"M\xe9\x03", b"M\xe9\x04"), "head"),
        (bytes(257) + b"ustar", "tar archive"),
    ]:
        with pytest.raises(RunError, match=message):
            files.read(data)


# ------------------------------------------------------------------------------ damaged at random


def mutated(rng, data):
    """A file with a few bytes, a stretch, or a number in it changed."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data)))
        match rng.integers(7):
            case 0:
                data[at] ^= 1 << rng.integers(8)
            case 1:
                data[at] = rng.integers(256)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + int(rng.integers(1, 9))]
            case 4:
                data[at:at] = data[at : at + int(rng.integers(1, 40))]
            case 5:
                form, n = [("<I", 2**32 - 1), ("<Q", 2**63 - 1), ("<H", 2**16 - 1), ("<q", -1)][
                    rng.integers(4)
                ]
                part = struct.pack(form, n)
                data[at : at + len(part)] = part
            case 6:
                other = int(rng.integers(len(data)))
                n = int(rng.integers(1, 20))
                data[at : at + n] = data[other : other + n]
        if not data:
            break
    return bytes(data)


CODES = (
    b"qr\x94hjX\x8c\x8dUTCB\x8eKMJ\x8aGN\x88\x89()\x85\x86\x87t]ae}su\x8f\x90c\x93RbQ\x95.0i\x81"
)


def repacked(rng, data):
    """An archive with a changed pickle, of which the checksums are right; codes for codes."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = {each.filename: file.read(each) for each in file.infolist()}
    [pickled] = [n for n in parts if n.endswith("/data.pkl")]
    new = bytearray(parts[pickled])
    for _ in range(rng.integers(1, 4)):
        places = [i for i, byte in enumerate(new) if byte in CODES] or [0]
        new[places[rng.integers(len(places))]] = CODES[rng.integers(len(CODES))]
    parts[pickled] = bytes(new) if rng.random() < 0.5 else mutated(rng, parts[pickled])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for each, content in parts.items():
            file.writestr(each, content)
    return buffer.getvalue()


def swarm(n, seed):
    """Mutated files; how many of them are still read."""
    rng = np.random.default_rng(seed)
    names = ["kinds.pt", "kinds_legacy.pt", "checkpoint.pt", "whole.pt", "scripted.pt"]
    good = [(GOLDEN / each).read_bytes() for each in names] + [GOOD]
    read = 0
    for _ in range(n):
        data = good[rng.integers(len(good))]
        if data[:2] == b"PK" and rng.random() < 0.5:
            data = repacked(rng, data)
        else:
            data = mutated(rng, data)
        begun = time.perf_counter()
        try:
            files.recognise(data)
            arrays, _ = files.read_all(data)
        except RunError:
            pass
        else:
            read += 1
            for x in arrays.values():
                assert type(x) is np.ndarray
                x.tobytes()
            largest = max(files.ALWAYS, files.TIMES * len(data))
            assert sum(x.nbytes for x in arrays.values()) <= 3 * largest  # one array may be tied
        assert time.perf_counter() - begun < 20, "a file took long"
    return read


def test_mutated_files_are_refused_or_read():
    tracemalloc.start()
    try:
        read = swarm(250, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()
    assert 5 < read < 240


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_mutated_files_are_refused_or_read(seed):
    tracemalloc.start()
    try:
        assert swarm(1000, seed) > 10
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()

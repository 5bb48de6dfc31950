"""Data in files: idx files, MNIST in them, the digits of scikit-learn, the lecture's toy data."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad import data
from minigrad.data import idx
from minigrad.errors import DataError, DtypeError, ShapeError

DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]
# Where the four files of MNIST are, for those who have them.
REAL = Path(os.environ.get("MINIGRAD_MNIST", "no-mnist"))

arrays = st.sampled_from(DTYPES).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


@given(arrays, st.sampled_from(["a.idx", "a.idx.gz"]))
def test_what_is_written_is_read(tmp_path_factory, array, name):
    path = tmp_path_factory.mktemp("idx") / name
    data.write_idx(path, array)
    found = data.read_idx(path)
    np.testing.assert_array_equal(found, array, strict=True)
    assert found.flags.writeable
    before = path.read_bytes()
    data.write_idx(path, found)
    assert path.read_bytes() == before


def test_the_bytes_of_a_file(tmp_path):
    path = tmp_path / "a"
    data.write_idx(path, np.array([[1, -2]], np.int16))
    assert path.read_bytes() == bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xFF, 0xFE])
    data.write_idx(path, np.array([[1, -2]], ">i2"))
    assert data.read_idx(path).dtype == np.dtype("i2")
    for dtype in (np.int64, bool, np.uint16, "U1"):
        with pytest.raises(DtypeError, match=r"write_idx.*cast it"):
            data.write_idx(path, np.zeros(2, dtype))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\0\0\x08", "is no idx file"),
        (b"PK\x03\x04rest", "50 4b 03 04"),
        (b"\0\0\x07\x01\0\0\0\x01a", "00 00 07 01"),
        (b"\0\0\x08\x03\0\0\0\x01\0\0", "a header of 16 bytes, the file has 10"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"truncated: uint8 \(5,\) takes 13 bytes, the file has 11"),
        (b"\0\0\x08\x01\0\0\0\x01abc", "too long"),
        (b"\0\0\x0e\x02" + b"\xff" * 8, "truncated"),
    ],
)
def test_files_that_are_no_idx(tmp_path, content, message):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        data.read_idx(path)
    assert str(path) in str(raised.value)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=message):
        data.read_idx(path)


@pytest.mark.parametrize("cut", [5, 30, -1, -9])
def test_damaged_gzip(tmp_path, cut):
    path = tmp_path / "a.gz"
    data.write_idx(path, np.arange(100, dtype=np.int32))
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    with pytest.raises(DataError, match="damaged or truncated gzip"):
        data.read_idx(path)
    path.write_bytes(content[:40] + b"\x55" + content[41:])
    with pytest.raises(DataError, match="gzip"):
        data.read_idx(path)
    with pytest.raises(FileNotFoundError):
        data.read_idx(tmp_path / "b")


# --------------------------------------------------------------------------------------- MNIST


@pytest.fixture
def small(tmp_path):
    """A folder of files in the form of MNIST's, and what is in them."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (7, 28, 28), np.uint8)
    labels = generator.integers(0, 10, 7).astype(np.uint8)
    for part in ("train", "t10k"):
        data.write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        data.write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path, images, labels


def double(x):
    return 2 * x


def test_mnist(small):
    root, images, labels = small
    for train in (True, False):
        mnist = data.MNIST(root, train=train, check=False)
        assert len(mnist) == 7
        x, y = mnist[3]
        assert (x.shape, x.dtype, type(y)) == ((1, 28, 28), np.float32, int)
        np.testing.assert_array_equal(x[0], images[3] / np.float32(255), strict=True)
        assert y == labels[3]
        np.testing.assert_array_equal(mnist.data, images)
        all_x, all_y = mnist.arrays()
        assert (all_x.shape, all_y.dtype) == ((7, 1, 28, 28), np.int64)
        [(xs, ys)] = data.DataLoader(mnist, 7, as_arrays=True)  # a gather
        np.testing.assert_array_equal(xs, all_x, strict=True)
        np.testing.assert_array_equal(ys, all_y, strict=True)
    changed = data.MNIST(root, transform=double, target_transform=double, check=False)
    [(xs, ys)] = data.DataLoader(changed, 7, as_arrays=True)
    np.testing.assert_array_equal(xs, 2 * all_x)
    np.testing.assert_array_equal(ys, 2 * all_y)


def test_mnist_in_torchvisions_folders(small, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "MNIST").mkdir()
    os.rename(small[0], root / "MNIST" / "raw")
    assert len(data.MNIST(root, check=False)) == 7


def test_files_are_compared_with_the_published_ones(small, monkeypatch):
    root, _, _ = small
    path = root / "train-images-idx3-ubyte.gz"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"not the published file: its SHA-256 is {digest}"):
        data.MNIST(root)
    unpacked = [hashlib.sha256(idx.read_bytes(root / f"train-{f}")).hexdigest() for f in (
        "images-idx3-ubyte.gz", "labels-idx1-ubyte")]  # fmt: skip
    known = dict(zip(("train-images-idx3", "train-labels-idx1"), unpacked, strict=True))
    monkeypatch.setattr(data.MNIST, "UNPACKED", known)
    assert len(data.MNIST(root)) == 7
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=0))
    assert len(data.MNIST(root)) == 7  # packed in another way
    monkeypatch.setattr(data.MNIST, "UNPACKED", {"train-labels-idx1": unpacked[1]})
    packed = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(data.MNIST, "PACKED", {"train-images-idx3": packed})
    assert len(data.MNIST(root)) == 7


def test_missing_and_unfit_files(small):
    root, _, labels = small
    with pytest.raises(FileNotFoundError, match="nothing is downloaded") as raised:
        data.MNIST(root / "nowhere")
    for name in ("train-images", "t10k-labels", "https://ossci-datasets"):
        assert name in str(raised.value)
    with pytest.raises(FileNotFoundError, match="fashion-mnist"):
        data.FashionMNIST(root / "nowhere", train=False)
    assert len(data.FashionMNIST(root, check=False)) == 7
    with pytest.raises(DataError, match=r"FashionMNIST: .* 3aede38d61863908"):
        data.FashionMNIST(root)
    data.write_idx(root / "train-labels-idx1-ubyte", labels[:3])
    with pytest.raises(DataError, match=r"labels \(N,\) in .* got \(7, 28, 28\) and \(3,\)"):
        data.MNIST(root, check=False)


@pytest.mark.skipif(
    not REAL.is_dir(), reason="set MINIGRAD_MNIST to the folder of MNIST's four files"
)
@pytest.mark.parametrize(
    ("train", "n", "labels", "mean"),
    [(True, 60_000, [5, 0, 4, 1, 9], 33.318421), (False, 10_000, [7, 2, 1, 0, 4], 33.791224)],
)
def test_the_published_mnist(train, n, labels, mean):
    mnist = data.MNIST(REAL, train=train)
    assert mnist.data.shape == (n, 28, 28)
    assert mnist.targets[:5].tolist() == labels
    assert mnist.data.mean() == pytest.approx(mean, abs=1e-5)


# -------------------------------------------------------------------------------- digits, toys


def test_digits():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra 'data')")
    x, y = data.digits()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1797, 1, 8, 8), np.float32, (1797,), np.int64)
    assert (x.min(), x.max()) == (0, 1)
    assert y[:5].tolist() == [0, 1, 2, 3, 4]
    assert x[0, 0, 0].tolist() == [0, 0, 0.3125, 0.8125, 0.5625, 0.0625, 0, 0]


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn.*minigrad\[data\]"):
        data.digits()


def toy_of_the_lecture(dim, n_class, N_batch):
    """The lecture's own code, less its data frame."""
    rg = np.random.default_rng(seed=3)
    mu_for_class_np = rg.normal(0, 1, size=(n_class, dim))
    x, y = [], []
    for n in range(n_class):
        mu = mu_for_class_np[n]
        x = x + (rg.normal(0, 0.2, size=(N_batch // n_class, dim)) + mu).tolist()
        y = y + (n * np.ones(shape=(N_batch // n_class, 1))).tolist()
    return np.array(x).astype(np.float32), np.array(y).astype(np.int32).reshape(-1)


@pytest.mark.parametrize(("dim", "n_class", "n"), [(2, 5, 3000), (3, 2, 11)])
def test_the_toy_data_of_the_lecture(dim, n_class, n):
    toy = data.ToyDataGenerator(dim=dim, n_class=n_class)
    x, y = toy.sample(n)
    expected = toy_of_the_lecture(dim, n_class, n)
    np.testing.assert_array_equal(x, expected[0], strict=True)
    np.testing.assert_array_equal(y, expected[1], strict=True)
    assert toy.mu_for_class_np.shape == (n_class, dim)
    with pytest.raises(ShapeError, match=f"at least {n_class} points"):
        toy.sample(n_class - 1)


def test_toy_numbers():
    x, y = data.ToyDataGenerator().sample(3000)
    assert (x.shape, y.shape) == ((3000, 2), (3000,))
    np.testing.assert_allclose(x[0], [2.0860765, -2.6261911], rtol=1e-6)
    assert struct.unpack("<i", y[-1:].tobytes()) == (4,)

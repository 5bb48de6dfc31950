"""Published data sets, from files on this machine: nothing here downloads."""

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.data.datasets import Dataset, take
from minigrad.data.idx import StrPath, parse_idx, read_bytes
from minigrad.data.transforms import call
from minigrad.errors import DataError


class MNIST(Dataset):
    """Handwritten digits, 28 x 28: 60,000 images for training, or 10,000 for testing.

    Item i is an image, float32 (1, 28, 28) from 0 to 1, and its label, an int. A batch is one
    gather. `data` are all the images, uint8 (N, 28, 28), and `targets` the labels, int64 (N,).

    Args:
        root: the folder with the four files, as published or unpacked; `root/MNIST/raw`, where
            torchvision keeps them, is looked into as well.
        transform: called with an image; one with a parameter `key` gets a random key.
        target_transform: called with a label.
        check: compare the files' SHA-256 with the published ones'. (False for files of one's own.)

    Raises:
        FileNotFoundError: a file is not there; the message says where to get it.
        DataError: a file is damaged, or not the published one.

    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    # Of the unpacked files: the same whoever packed them.
    UNPACKED: Mapping[str, str] = {
        "train-images-idx3": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
    # Of the files as they are published, `-ubyte.gz`.
    PACKED: Mapping[str, str] = {
        "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }

    def __init__(
        self,
        root: StrPath,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        check: bool = True,
    ):
        self.train, self.transform, self.target_transform = train, transform, target_transform
        part = "train" if train else "t10k"
        self.data = self._read(Path(root), f"{part}-images-idx3", check)
        self.targets = self._read(Path(root), f"{part}-labels-idx1", check).astype(np.int64)
        if self.data.shape[1:] != (28, 28) or self.targets.shape != self.data.shape[:1]:
            raise DataError(
                f"{type(self).__name__}: expects images (N, 28, 28) and labels (N,) in {root}, got "
                f"{self.data.shape} and {self.targets.shape}"
            )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = _scaled(self.data[index][None]), int(self.targets[index])
        if self.transform is not None:
            image = call(self.transform, image)
        if self.target_transform is not None:
            label = call(self.target_transform, label)
        return image, label

    @property
    def __getitems__(self) -> Any:
        if self.transform is not None or self.target_transform is not None:
            raise AttributeError("transforms are for one item")
        return self._gather

    def _gather(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return _scaled(take(self.data, indices)[:, None]), take(self.targets, indices)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images, float32 (N, 1, 28, 28) from 0 to 1, and labels, int64 (N,)."""
        return _scaled(self.data[:, None]), self.targets

    def _read(self, root: Path, name: str, check: bool) -> np.ndarray:
        path = self._find(root, name)
        content = read_bytes(path)
        if check and hashlib.sha256(content).hexdigest() != self.UNPACKED.get(name):
            packed = hashlib.sha256(path.read_bytes()).hexdigest()
            if packed != self.PACKED[name]:
                raise DataError(
                    f"{type(self).__name__}: {path} is not the published file: its SHA-256 is "
                    f"{packed}, expected {self.PACKED[name]} of {name}-ubyte.gz; get it anew from "
                    f"{self.SOURCE}, or give check=False for data of your own"
                )
        return parse_idx(content, str(path))

    def _find(self, root: Path, name: str) -> Path:
        folders = (root, root / type(self).__name__ / "raw", root / "raw")
        for folder in folders:
            for path in (folder / f"{name}-ubyte.gz", folder / f"{name}-ubyte"):
                if path.is_file():
                    return path
        files = "\n".join(f"    {self.SOURCE}{file}-ubyte.gz" for file in self.PACKED)
        raise FileNotFoundError(
            f"{type(self).__name__}: no {name}-ubyte.gz and no {name}-ubyte in {root}; "
            f"nothing is downloaded for you. Put these files there:\n{files}"
        )


class FashionMNIST(MNIST):
    """Pictures of clothes, 28 x 28, in ten classes, in the form of MNIST.

    Of its files the packed ones are known by SHA-256: unpacked ones need `check=False`.

    H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
    machine learning algorithms", 2017.
    """

    SOURCE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    UNPACKED: Mapping[str, str] = {}
    PACKED: Mapping[str, str] = {
        "train-images-idx3": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1797 digits of scikit-learn: images, float32 (1797, 1, 8, 8), and labels, int64 (1797,).

    Images are divided by their maximum, 16, so they go from 0 to 1.

    Raises:
        ModuleNotFoundError: scikit-learn, which brings the data along, is not installed.
    """
    try:
        load_digits = importlib.import_module("sklearn.datasets").load_digits
    except ImportError as error:
        raise ModuleNotFoundError(
            f"digits: the data come with scikit-learn, which cannot be imported ({error}); "
            "pip install 'minigrad[data]'"
        ) from None
    found = load_digits()
    images = found["images"] / found["images"].max()
    return images.astype(np.float32)[:, None], found["target"].astype(np.int64)


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)

"""Data sets: things with a length that give item i, and streams, which give one item after another.

Whatever has `__len__` and `__getitem__` is a data set: a list, an array, a class of one's own that
need not be a `Dataset`. It may have a third method, `__getitems__(indices)`, for a faster way to
get many items. What that returns is

- a list of items (as in PyTorch), which are collated as usual; or
- anything else, such as a tuple of arrays: the whole batch, made by one gather.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import array_module, is_array
from minigrad.data.transforms import call
from minigrad.errors import OutOfRangeError, ShapeError

Items = Any  # whatever has __len__ and __getitem__


class Dataset:
    """A data set: subclasses define `__len__` and `__getitem__`."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Items) -> "ConcatDataset":
        return ConcatDataset([self, other])


class TensorDataset(Dataset):
    """Rows of tensors or arrays that have the same length: item i is the tuple of their rows i.

    Rows are untracked Tensors. A batch is one gather for each array, where that array lies.

    Raises:
        ShapeError: there are no tensors, or their lengths differ.
    """

    def __init__(self, *tensors: Any):
        self.arrays = tuple(map(_as_array, tensors))
        lengths = [a.shape[0] if a.ndim else None for a in self.arrays]
        if not lengths or None in lengths or len(set(lengths)) > 1:
            raise ShapeError(
                "TensorDataset: expects tensors with one length of their first axis, got the "
                f"shapes {[a.shape for a in self.arrays]}"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(Tensor(a[index]) for a in self.arrays)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        return tuple(take(a, indices) for a in self.arrays)


class MapDataset(Dataset):
    """Item i is `transform(dataset[i])`.

    A transform with a parameter `key` gets a random key (`minigrad.data.transforms`).
    """

    def __init__(self, dataset: Items, transform: Any):
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return call(self.transform, self.dataset[index])


class Subset(Dataset):
    """Some items of a data set: item i is `dataset[indices[i]]`.

    Raises TypeError for a mask, whose True and False would be the items 1 and 0.
    """

    def __init__(self, dataset: Items, indices: Sequence[int]):
        if len(indices) and isinstance(indices[0], bool | np.bool_):
            raise TypeError(
                f"Subset: expects indices, got a mask of {len(indices)} truth values; give "
                f"np.flatnonzero(mask)"
            )
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    @property
    def __getitems__(self) -> Any:
        gather = self.dataset.__getitems__  # if it has none, neither has this: an AttributeError
        return lambda indices: gather([self.indices[i] for i in indices])


class ConcatDataset(Dataset):
    """Several data sets, one after another.

    Raises ShapeError if there are none.

    Raises:
        TypeError: one is a stream.
        OutOfRangeError: an item is asked for that is not there.
    """

    def __init__(self, datasets: Iterable[Items]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ShapeError("ConcatDataset: expects at least one data set, got none")
        for part in self.datasets:
            if isinstance(part, IterableDataset):
                raise TypeError("ConcatDataset: expects data sets with items, got a stream")
        self.ends = np.cumsum([len(part) for part in self.datasets])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise OutOfRangeError(f"ConcatDataset: index {index} of {n} items")
        index %= n
        part = int(np.searchsorted(self.ends, index, side="right"))
        return self.datasets[part][index - (int(self.ends[part - 1]) if part else 0)]


class StackDataset(Dataset):
    """Data sets side by side: item i is the tuple, or the dictionary, of their items i.

    Raises ShapeError if there are none or their lengths differ.

    Raises:
        TypeError: some are given by position and some by name.
    """

    def __init__(self, *datasets: Items, **named: Items):
        if datasets and named:
            raise TypeError("StackDataset: expects data sets by position or by name, got both")
        self.datasets = named or datasets
        parts = list(named.values() or datasets)
        if len({len(part) for part in parts}) != 1:
            raise ShapeError(
                f"StackDataset: expects data sets of one length, got {[len(p) for p in parts]}"
            )
        self.length = len(parts[0])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)


class IterableDataset:
    """A stream of items: subclasses define `__iter__`, or `num_shards` and `shard(i)`.

    A stream is read in one place: with `__iter__` alone, it is one shard, and one worker reads it.
    For several workers, say in how many independent shards it comes, such as files:

        class Lines(IterableDataset):
            num_shards = property(lambda self: len(self.files))
            def shard(self, i):
                yield from open(self.files[i], encoding="utf-8")

    Batch t then comes from shard t modulo `num_shards`, until each has ended; a batch never mixes
    shards. So what comes, and in which order, depends on the shards and not on the workers. The
    code of a stream draws random numbers from `minigrad.random.next_key()`: its key is that of the
    (seed, epoch, shard, position of the item).
    """

    num_shards: Any = 1

    def shard(self, index: int) -> Iterator[Any]:
        """The items of one shard."""
        if self.num_shards != 1:
            raise NotImplementedError(f"{type(self).__name__} has shards, so it must define shard")
        if type(self).__iter__ is IterableDataset.__iter__:
            raise NotImplementedError(f"{type(self).__name__} must define __iter__ or shard")
        return iter(self)

    def __iter__(self) -> Iterator[Any]:
        if type(self).shard is IterableDataset.shard:
            raise NotImplementedError(f"{type(self).__name__} must define __iter__ or shard")
        for i in range(self.num_shards):
            yield from self.shard(i)


def _as_array(x: Any) -> Any:
    if type(x) is Tensor:
        return x.data
    if is_array(x):
        return x
    # a Tensor knows which dtype lists of numbers have; data frames become the array they hold
    return Tensor(x).data if isinstance(x, list | tuple) else np.asarray(x)


def take(array: Any, indices: Any) -> Any:
    """Rows of an array, as a new array on the same side; raises OutOfRangeError."""
    try:
        return array[array_module(array).asarray(indices, dtype=np.int64)]
    except IndexError as error:
        raise OutOfRangeError(f"item beyond the end: {error}") from None

"""The way of tf.data: `from_tensor_slices(data).shuffle(1000).batch(10)`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minigrad import trees
from minigrad.autodiff import Tensor
from minigrad.data.datasets import Dataset, MapDataset, TensorDataset
from minigrad.data.loaders import DataLoader


def from_tensor_slices(data: Any) -> "Slices":
    """A data set of the rows of `data`: an array, or a tuple or dictionary of arrays.

    Items have the structure of `data`. Raises ShapeError if lengths differ.
    """
    return Slices(_Rows(data))


class _Rows(Dataset):
    def __init__(self, data: Any):
        leaves, self._rebuild = trees.flatten(_with_arrays(data))
        self.rows = TensorDataset(*leaves)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self._rebuild(list(self.rows[index]))

    def __getitems__(self, indices: Sequence[int]) -> Any:
        return self._rebuild(list(self.rows.__getitems__(indices)))


def _with_arrays(data: Any) -> Any:
    """`data` with arrays for its lists: structure is in tuples and dictionaries only."""
    if isinstance(data, Mapping):
        return {k: _with_arrays(v) for k, v in data.items()}
    if isinstance(data, tuple):
        parts = [_with_arrays(v) for v in data]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return Tensor(data).data if isinstance(data, list) else data


class Slices:
    """A data set and how to go through it; every method gives a new one, `batch` the loader."""

    def __init__(self, dataset: Any, shuffled: bool = False, seed: int = 0):
        self.dataset, self.shuffled, self.seed = dataset, shuffled, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def map(self, function: Callable) -> "Slices":
        """Items changed by `function(item)`; one with a parameter `key` gets a random key."""
        return Slices(MapDataset(self.dataset, function), self.shuffled, self.seed)

    def shuffle(self, buffer_size: int | None = None, seed: int = 0) -> "Slices":
        """Items in another random order each epoch.

        Rows can be had in any order here, so it is a permutation of all, whatever `buffer_size` is.
        """
        return Slices(self.dataset, True, seed)

    def batch(self, batch_size: int, drop_remainder: bool = False, **options: Any) -> DataLoader:
        """A loader of batches; options are those of `DataLoader`, such as `num_workers`."""
        return DataLoader(
            self.dataset,
            batch_size,
            self.shuffled,
            drop_last=drop_remainder,
            **{"seed": self.seed, **options},
        )

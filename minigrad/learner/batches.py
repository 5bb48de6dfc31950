"""Data as batches."""

from typing import Any

import numpy as np

from minigrad import data
from minigrad.autodiff import Tensor
from minigrad.backend import is_array
from minigrad.trees import flatten


def as_batches(
    who: str,
    given: Any,
    size: int | None,
    shuffle: bool = False,
    seed: int = 0,
    shared: bool | None = None,
) -> Any:
    """Something to go through again and again that gives batches.

    Args:
        who: for messages.
        given: an array, a tuple of arrays, a data set; what is a loader or another iterable of
            batches stays as it is.
        size: of a batch; by default 32.
        shared: whether several processes share the batches, as of a DataLoader.
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
        hint = ""
        if is_array(size) or isinstance(size, Tensor | list | tuple):
            hint = f"; arrays go together, as in {who}((x, y))"
        raise TypeError(f"Learner.{who}: batch_size must be an integer, got a {_kind(size)}{hint}")
    if size is not None and size < 1:
        raise ValueError(f"Learner.{who}: batch_size must be at least 1, got {size}")
    if is_array(given) or type(given) is Tensor:
        given = (given,)
    if isinstance(given, tuple):
        given = data.TensorDataset(*given)
    size = 32 if size is None else int(size)
    if isinstance(given, data.IterableDataset):  # a stream, which has its own order
        return data.DataLoader(given, size, seed=seed, shared=shared)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__") and type(given) is not list:
        return data.DataLoader(
            given, size, shuffle=shuffle, seed=seed, shared=shared, pin_memory=True
        )
    if not hasattr(given, "__iter__"):
        raise TypeError(
            f"Learner.{who}: expected arrays (x, ..., y), a data set, a loader or another iterable "
            f"of batches, got a {_kind(given)}"
        )
    return given


def _kind(x: Any) -> str:
    return type(x).__name__


def samples_of(batch: Any) -> int:
    """How many samples a batch has: the length of its first array."""
    first = batch[0] if isinstance(batch, list | tuple) and batch else None
    for x in flatten(first if hasattr(first, "shape") else batch)[0]:
        if getattr(x, "shape", ()):
            return int(x.shape[0])
    return 1


def length_of(batches: Any) -> int | None:
    """How many batches there are, where that is known."""
    try:
        return len(batches)
    except TypeError:
        return None


def state_of(loader: Any) -> Any:
    """Where a loader is; None for what cannot say it."""
    return loader.state_dict() if hasattr(loader, "state_dict") else None

"""Splits: a data set in parts, arrays in two."""

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import random
from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_numpy
from minigrad.data.datasets import Subset, take
from minigrad.data.samplers import as_key
from minigrad.errors import ShapeError


def random_split(
    dataset: Any, lengths: Sequence[float], seed: int | random.Key = 0
) -> list[Subset]:
    """Parts of a data set, chosen at random, that have no item in common.

    Args:
        lengths: how many items each part gets, or their shares, which sum to 1. Items left over by
            rounding shares down go to the first parts, one each.
        seed: an integer, or a key.

    Raises:
        ShapeError: the lengths do not sum to that of the data set, or the shares not to 1.
    """
    n = len(dataset)
    sizes: list[Any] = list(lengths)
    if any(size < 0 for size in sizes):
        raise ShapeError(f"random_split: expects lengths or shares >= 0, got {lengths}")
    if any(isinstance(size, float) for size in sizes) and math.isclose(sum(sizes), 1):
        # 0.1 * 10 items may be a hair below 1
        sizes = [math.floor(share * n + 1e-9) for share in sizes]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != n:
        raise ShapeError(
            f"random_split: expects lengths that sum to the {n} items of the data set, or shares "
            f"that sum to 1, got {list(lengths)} (sum {sum(lengths)})"
        )
    order = random.permutation(random.fold(as_key(seed), "random_split"), n).tolist()
    ends = np.cumsum([0, *sizes]).astype(int).tolist()
    return [Subset(dataset, order[a:b]) for a, b in pairwise(ends)]


def train_test_split(
    *arrays: Any,
    test_size: float | None = None,
    train_size: float | None = None,
    random_state: int = 0,
    shuffle: bool = True,
    by_hash: bool = False,
) -> list[Any]:
    """[a_train, a_test, b_train, b_test, ...]: the same rows of every array on either side.

    Sizes, order and rows are those of scikit-learn's function for the same `random_state`.

    Args:
        test_size: how many rows, or their share; by default what `train_size` leaves, or 0.25.
        train_size: how many rows, or their share; by default what `test_size` leaves.
        shuffle: if False, the first rows are for training and the last ones for the test.
        by_hash: decide for each row by a hash of the first array's row and of `random_state`. Sizes
            are met on average only, but a row keeps its side when the data grow or change order,
            and equal rows are on one side.

    Raises:
        ShapeError: lengths differ, or sizes do not leave a row for either side.
    """
    rows = [a if is_array(a) or type(a) is Tensor else np.asarray(a) for a in arrays]
    if not rows or len({len(a) for a in rows}) > 1:
        raise ShapeError(
            f"train_test_split: expects arrays of one length, got {[len(a) for a in rows]}"
        )
    n = len(rows[0])
    train, test = _sizes(n, train_size, test_size)
    if by_hash:
        if train + test < n:
            raise ShapeError("train_test_split: by_hash puts every row on a side; give one size")
        kept = _hashes(rows[0], random_state) >= test / n
        sides = np.flatnonzero(kept), np.flatnonzero(~kept)
    elif shuffle:
        order = np.random.RandomState(random_state).permutation(n)  # as scikit-learn; it is frozen
        sides = order[test : test + train], order[:test]
    else:
        sides = np.arange(train), np.arange(train, train + test)
    return [_rows(a, side) for a in rows for side in sides]


def _sizes(n: int, train: float | None, test: float | None) -> tuple[int, int]:
    """How many rows for training and for the test."""
    test = 0.25 if test is None and train is None else test
    # shares are rounded in favour of the test, as in scikit-learn
    counts: list[Any] = [
        rounded(x * n) if isinstance(x, float) and math.isfinite(x) else x
        for rounded, x in ((math.ceil, test), (math.floor, train))
    ]
    n_test, n_train = counts
    if n_test is None:
        n_test = n - (n_train or 0)
    if n_train is None:
        n_train = n - n_test
    given = [x for x in (train, test) if x is not None]
    if (
        any(isinstance(x, bool) or math.isnan(x) for x in given)
        or n_train < 1
        or n_test < 1
        or n_train + n_test > n
    ):
        raise ShapeError(
            f"train_test_split: {n} rows cannot be split with train_size={train} and "
            f"test_size={test}, which are {n_train} and {n_test} rows"
        )
    return n_train, n_test


def _hashes(rows: Any, random_state: int) -> np.ndarray:
    """A number in [0, 1) for each row that depends on it and on `random_state` alone."""
    salt = b"%d" % random_state
    rows = to_numpy(rows.data if type(rows) is Tensor else rows)
    found = [
        hashlib.blake2b(salt + str(row.tolist()).encode(), digest_size=8).digest() for row in rows
    ]
    return np.array([int.from_bytes(digest, "little") / 2**64 for digest in found])


def _rows(array: Any, indices: np.ndarray) -> Any:
    return Tensor(take(array.data, indices)) if type(array) is Tensor else take(array, indices)

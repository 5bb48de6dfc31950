"""Samplers: which items, in which order. Each order is a pure function of (seed, epoch).

A sampler is an iterable of indices, a batch sampler one of lists of indices. If it has a method
`set_epoch`, the loader calls it before each epoch; nothing else is needed to use one's own.

Where several processes train one model, all of them go through the same order, and the loader takes
from each batch the `share` of its process.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minigrad import distributed, random
from minigrad.arguments import count
from minigrad.errors import OutOfRangeError, ShapeError


def as_key(seed: int | random.Key) -> random.Key:
    """The key of a seed; a key is its own."""
    return seed if isinstance(seed, random.Key) else random.key(seed)


def share(batch: Any) -> Any:
    """Of a batch the items of this process: every n-th, so that those sorted by length are fair."""
    n = distributed.world_size()
    return batch if n == 1 else batch[distributed.rank() :: n]


class Sampler:
    """An order of indices: subclasses define `__len__` and `__iter__`, and look at `epoch`."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration is for."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class _Ordered(Sampler):
    """A sampler that knows the whole order at once: the loader need not go through it."""

    def order(self) -> np.ndarray:
        """The indices of this epoch, int64 (n,)."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order().tolist())


class SequentialSampler(_Ordered):
    """0, 1, 2, ... to the end."""

    def __init__(self, data_source: Any):
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def order(self) -> np.ndarray:
        return np.arange(len(self))


class RandomSampler(_Ordered):
    """Every item once, in another random order each epoch; or draws with replacement.

    Args:
        num_samples: how many; by default as many as there are. Without replacement more than there
            are go through several permutations.
        seed: an integer, or a key.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        seed: int | random.Key = 0,
    ):
        if num_samples is not None:
            num_samples = count("RandomSampler", "num_samples", num_samples)
        self.data_source, self.replacement, self.num_samples = data_source, replacement, num_samples
        self.key = as_key(seed)

    def __len__(self) -> int:
        return len(self.data_source) if self.num_samples is None else self.num_samples

    def order(self) -> np.ndarray:
        n, wanted = len(self.data_source), len(self)
        key = random.fold(self.key, "order", self.epoch)
        if n == 0:
            return np.zeros(0, np.int64)
        if self.replacement:
            return random.integers(key, 0, n, (wanted,))
        rounds = [random.permutation(key, n)]
        rounds += [random.permutation(random.fold(key, i), n) for i in range(1, -(-wanted // n))]
        return np.concatenate(rounds)[:wanted]


class SubsetRandomSampler(_Ordered):
    """The given indices, in another random order each epoch.

    Raises:
        TypeError: the indices are no integers.
    """

    def __init__(self, indices: Sequence[int], seed: int | random.Key = 0):
        found = np.asarray(indices)
        if found.size and found.dtype.kind not in "iu":
            raise TypeError(
                f"SubsetRandomSampler: expects indices, got {found.dtype}; of a mask give "
                f"np.flatnonzero(mask)"
            )
        self.indices = found.astype(np.int64)
        self.key = as_key(seed)

    def __len__(self) -> int:
        return len(self.indices)

    def order(self) -> np.ndarray:
        key = random.fold(self.key, "order", self.epoch)
        return self.indices[random.permutation(key, len(self))]


class WeightedRandomSampler(_Ordered):
    """`num_samples` draws, item i with a probability proportional to `weights[i]`.

    Without replacement by the keys of P. Efraimidis and P. Spirakis, "Weighted random sampling with
    a reservoir", 2006.

    Raises:
        ValueError: weights that are no probabilities, or too few of them above zero.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        seed: int | random.Key = 0,
    ):
        self.weights = np.asarray(weights, dtype=np.float64)
        w = self.weights
        if w.ndim != 1 or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
            raise ValueError("WeightedRandomSampler: expects weights >= 0, and some above, (n,)")
        num_samples = count("WeightedRandomSampler", "num_samples", num_samples)
        if not (replacement or num_samples <= np.count_nonzero(w)):
            raise ValueError(
                f"WeightedRandomSampler: expects num_samples from 1 to {np.count_nonzero(w)} "
                f"items with a weight above 0, got {num_samples}; or replacement=True"
            )
        self.num_samples, self.replacement, self.key = num_samples, replacement, as_key(seed)

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> np.ndarray:
        key = random.fold(self.key, "order", self.epoch)
        if self.replacement:
            ends = np.cumsum(self.weights)
            u = random.uniform(key, (self.num_samples,), dtype="float64") * ends[-1]
            last = np.flatnonzero(self.weights)[-1]  # rounding may reach the end itself
            return np.minimum(np.searchsorted(ends, u, side="right"), last)
        u = 1.0 - random.uniform(key, self.weights.shape, dtype="float64")  # in (0, 1]
        with np.errstate(divide="ignore"):
            waits = -np.log(u) / self.weights  # the smallest win; a weight of 0 waits for ever
        waits[self.weights == 0] = np.inf
        return np.argsort(waits, kind="stable")[: self.num_samples]


class DistributedSampler(_Ordered):
    """Of an order that all processes have, the items of this one: every n-th.

    For loaders whose `batch_size` is that of one process. (Without it a loader shares each batch,
    and its size is that of all processes together.) Every item comes in one process, once: none is
    left out or repeated to make the shares equal, so a process may have one item, and perhaps one
    batch, less.

    Args:
        num_replicas, rank: how many processes and which this is; by default as in `distributed`.
        seed: an integer, or a key; the same in all processes.

    Raises:
        OutOfRangeError: there is no such rank.
    """

    shared = False

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int | random.Key = 0,
    ):
        self.dataset, self.shuffle, self.key = dataset, shuffle, as_key(seed)
        n = distributed.world_size() if num_replicas is None else num_replicas
        self.num_replicas = count("DistributedSampler", "num_replicas", n)
        self.rank = distributed.rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise OutOfRangeError(
                f"DistributedSampler: expects a rank from 0 to {self.num_replicas - 1}, got "
                f"{self.rank}"
            )

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))

    def order(self) -> np.ndarray:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = random.permutation(random.fold(self.key, "order", self.epoch), n)
        return order[self.rank :: self.num_replicas]


class BatchSampler(Sampler):
    """The indices of a sampler in lists of `batch_size`; the last may be shorter."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool = False):
        self.sampler, self.drop_last = sampler, drop_last
        self.shared = getattr(sampler, "shared", True)
        self.batch_size = count("BatchSampler", "batch_size", batch_size)

    def __len__(self) -> int:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Any]]:
        batch = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch


class _Batches(Sampler):
    """Lists of indices that are made for a whole epoch at once."""

    def batches(self) -> list[np.ndarray]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches())

    def __len__(self) -> int:
        return len(self.batches())


class GroupBatchSampler(_Batches):
    """Batches of items that belong to groups.

    Args:
        groups: the group of each item: integers, strings or members of an enumeration.
        mode: 'mixed': every item once, whatever its group;
            'homogeneous': every item once, one group a batch, the batches of all groups shuffled;
            'balanced': as many batches as 'mixed', with as many items of each group in a batch (to
            within one). Items of small groups come several times, not all of large ones come.
        shuffle: if False, items come in their own order, and so do the groups' batches.
        drop_last: leave out batches that are not full.

    Raises:
        ValueError: an unknown mode or a batch size below 1.
    """

    def __init__(
        self,
        groups: Sequence[Any],
        batch_size: int,
        mode: str = "mixed",
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | random.Key = 0,
    ):
        if mode not in ("mixed", "homogeneous", "balanced"):
            raise ValueError(
                "GroupBatchSampler: expects mode 'mixed', 'homogeneous' or 'balanced', got "
                f"{mode!r}"
            )
        groups = groups.tolist() if hasattr(groups, "tolist") else list(groups)
        self.batch_size = count("GroupBatchSampler", "batch_size", batch_size)
        self.mode, self.shuffle, self.drop_last, self.key = mode, shuffle, drop_last, as_key(seed)
        self.counts = dict(Counter(groups))  # in the order of their first items
        numbers = {group: i for i, group in enumerate(self.counts)}
        which = np.array([numbers[group] for group in groups], dtype=np.int64)
        self.members = [np.flatnonzero(which == i) for i in range(len(numbers))]

    def batches(self) -> list[np.ndarray]:
        """The batches of this epoch, int64 (batch size,) each."""
        key = random.fold(self.key, "order", self.epoch)
        n, size = sum(self.counts.values()), self.batch_size
        if self.mode == "homogeneous":
            own = [
                self._mixed(members, random.fold(key, "group", i))
                for i, members in enumerate(self.members)
            ]
            found = [batch for order in own for batch in chunks(order, size)]
        elif self.mode == "mixed" or not n:
            found = chunks(self._mixed(np.arange(n), key), size)
        else:
            found = chunks(self._balanced(n, key), size)
        if self.drop_last:
            found = [batch for batch in found if len(batch) == size]
        if self.mode == "homogeneous" and self.shuffle:
            order = random.permutation(random.fold(key, "batches"), len(found))
            found = [found[i] for i in order]
        return found

    def __len__(self) -> int:
        sizes = [len(m) for m in self.members]
        if self.mode != "homogeneous":
            sizes = [sum(sizes)]
        if self.drop_last:
            return sum(n // self.batch_size for n in sizes)
        return sum(-(-n // self.batch_size) for n in sizes)

    def _mixed(self, members: np.ndarray, key: random.Key) -> np.ndarray:
        return members[random.permutation(key, len(members))] if self.shuffle else members

    def _balanced(self, n: int, key: random.Key) -> np.ndarray:
        # Place t of the epoch belongs to group t % G, which goes through its members again and
        # again, each time in another order.
        found, groups = np.empty(n, np.int64), len(self.members)
        for g, members in enumerate(self.members):
            places = np.arange(g, n, groups)
            rounds = -(-len(places) // len(members))
            orders = [self._mixed(members, random.fold(key, g, i)) for i in range(rounds)]
            found[places] = np.concatenate([*orders, members[:0]])[: len(places)]
        return found


class BucketBatchSampler(_Batches):
    """Batches of items of similar length.

    With `boundaries`, a batch holds items of one bucket: lengths up to the first boundary, up to
    the second, ..., beyond the last (so that padding to the boundary gives few different shapes).
    Without, shuffled items are taken by `pool` batches, sorted by length and cut into batches.
    Every item comes once, and batches come in random order.

    Args:
        shuffle: if False, batches go from the shortest to the longest, and equals in their order.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        boundaries: Sequence[int] | None = None,
        pool: int = 50,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | random.Key = 0,
    ):
        self.lengths = _lengths("BucketBatchSampler", lengths)
        self.batch_size = count("BucketBatchSampler", "batch_size", batch_size)
        self.pool = count("BucketBatchSampler", "pool", pool)
        self.shuffle, self.drop_last, self.key = shuffle, drop_last, as_key(seed)
        self.boundaries = None if boundaries is None else np.sort(np.asarray(boundaries))

    def batches(self) -> list[np.ndarray]:
        """The batches of this epoch, int64 (batch size,) each."""
        key, n = random.fold(self.key, "order", self.epoch), len(self.lengths)
        order = random.permutation(key, n) if self.shuffle else np.arange(n)
        if self.boundaries is not None:
            bucket = np.searchsorted(self.boundaries, self.lengths[order], side="left")
            parts = [order[bucket == i] for i in range(len(self.boundaries) + 1)]
        else:
            pools = chunks(order, self.batch_size * self.pool) if self.shuffle else [order]
            parts = [part[np.argsort(self.lengths[part], kind="stable")] for part in pools]
        found = [batch for part in parts for batch in chunks(part, self.batch_size)]
        if self.drop_last:
            found = [batch for batch in found if len(batch) == self.batch_size]
        return _shuffled(found, key) if self.shuffle else found


class TokenBatchSampler(_Batches):
    """Batches of items of similar length that hold at most `max_tokens`, padding included.

    A batch costs its number of items times its longest length. Shuffled items are taken by `pool`
    at a time, sorted by length and packed one after another; batches come in random order.

    Args:
        max_items: a batch has no more items than that.
        shuffle: if False, batches go from the shortest to the longest, and equals in their order.

    Raises:
        ShapeError: an item alone is longer than `max_tokens`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_tokens: int,
        max_items: int | None = None,
        pool: int = 10_000,
        shuffle: bool = True,
        seed: int | random.Key = 0,
    ):
        self.lengths = _lengths("TokenBatchSampler", lengths)
        self.max_tokens = count("TokenBatchSampler", "max_tokens", max_tokens)
        n = len(self.lengths)
        self.max_items = (
            n if max_items is None else count("TokenBatchSampler", "max_items", max_items)
        )
        self.pool = count("TokenBatchSampler", "pool", pool)
        self.shuffle, self.key = shuffle, as_key(seed)
        if (too_long := np.flatnonzero(self.lengths > max_tokens)).size:
            i = too_long[0]
            raise ShapeError(
                f"TokenBatchSampler: item {i} has {self.lengths[i]} tokens, more than "
                f"max_tokens={max_tokens} ({too_long.size} such items); cut or leave out long items"
            )
        self._made: tuple[int, list[np.ndarray]] | None = None

    def batches(self) -> list[np.ndarray]:
        """The batches of this epoch, int64 (number of items,) each."""
        if self._made is None or self._made[0] != self.epoch:  # both `len` and the loop ask
            self._made = self.epoch, self._pack()
        return self._made[1]

    def _pack(self) -> list[np.ndarray]:
        key, n = random.fold(self.key, "order", self.epoch), len(self.lengths)
        order = random.permutation(key, n) if self.shuffle else np.arange(n)
        found = []
        for part in chunks(order, self.pool) if self.shuffle else [order]:
            part = part[np.argsort(self.lengths[part], kind="stable")]
            start = 0
            for end, length in enumerate(self.lengths[part].tolist()):
                count = end - start + 1  # with this item, which is the longest so far
                if count * length > self.max_tokens or count > self.max_items:
                    found.append(part[start:end])
                    start = end
            found.append(part[start:])
        found = [batch for batch in found if len(batch)]
        return _shuffled(found, key) if self.shuffle else found


def chunks(order: np.ndarray, size: int) -> list[np.ndarray]:
    """`order` cut into parts of `size`; the last may be shorter."""
    return [order[i : i + size] for i in range(0, len(order), size)]


def _shuffled(batches: list[np.ndarray], key: random.Key) -> list[np.ndarray]:
    order = random.permutation(random.fold(key, "batches"), len(batches))
    return [batches[i] for i in order]


def _lengths(function: str, lengths: Sequence[int]) -> np.ndarray:
    found = np.asarray(lengths if len(lengths) else np.zeros(0, np.int64))
    if found.ndim != 1 or found.dtype.kind not in "iu" or (found < 0).any():
        raise OutOfRangeError(f"{function}: expects lengths >= 0 as integers (n,), got {lengths!r}")
    return found.astype(np.int64)

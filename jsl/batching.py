"""Rows of a corpus as arrays of ids, and the order in which an epoch goes through them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jsl.config import SLOTS
from jsl.corpus import Row
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import distributed, random


@dataclass(frozen=True)
class Batch:
    """Ids padded to the longest sequence of the batch. B rows, S source and T target positions.

    Attributes:
        groups: the group of each row.
        src: (B, S) symbols and the end.
        tgt_in: (B, T) the start and the tags: what the decoder is shown (teacher forcing).
        tgt_out: (B, T) the tags and the end: what it is to say.
        capacity: how many rows a batch of this kind has at most; 0: nobody knows.
        whole: the batch of all processes, if this is the share of one of several.
    """

    groups: list[str]
    src: np.ndarray
    tgt_in: np.ndarray
    tgt_out: np.ndarray
    capacity: int = 0
    whole: "Batch | None" = None

    def share(self, rank: int, processes: int) -> "Batch":
        """Every n-th row, of the same lengths: the part of one of n processes."""
        mine = slice(rank, None, processes)
        return Batch(
            self.groups[mine],
            self.src[mine],
            self.tgt_in[mine],
            self.tgt_out[mine],
            -(-self.capacity // processes),
            self,
        )

    @property
    def tokens(self) -> int:
        """How many target positions are not padding."""
        return int(np.count_nonzero(self.tgt_out != PAD))

    def filled(self, multiple: int = 4) -> "Batch":
        """With padding up to `capacity` rows, and to lengths that are multiples: few shapes.

        What is added has no targets, so it has no part in a loss; its group is that of row 0.
        """

        def longer(ids: np.ndarray) -> np.ndarray:
            missing = max(self.capacity - len(ids), 0), -ids.shape[1] % multiple
            return np.pad(ids, [(0, n) for n in missing], constant_values=PAD)

        missing = max(self.capacity - len(self.groups), 0)
        src, tgt_in, tgt_out = map(longer, (self.src, self.tgt_in, self.tgt_out))
        return Batch(self.groups + self.groups[:1] * missing, src, tgt_in, tgt_out, self.capacity)


def padded(sequences: Sequence[Sequence[int]], least: int = 0) -> np.ndarray:
    """(B, longest) ids, filled up with PAD; at least `least` positions."""
    ids = np.full((len(sequences), max(least, *map(len, sequences))), PAD, np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids


def encoded(rows: Sequence[Row], vocabulary: Vocabulary) -> list[tuple[list[int], list[int]]]:
    """The ids of source and target of each row, each with its end."""
    return [
        (vocabulary.encode_symbols(row.symbols), vocabulary.encode_tags(row.tags)) for row in rows
    ]


def make_batch(rows: Sequence[Row], vocabulary: Vocabulary) -> Batch:
    """The batch of `rows`, in their order."""
    return _batch(rows, encoded(rows, vocabulary))


def _batch(rows: Sequence[Row], ids: Sequence[tuple[list[int], list[int]]], **sizes: Any) -> Batch:
    src, tgt = zip(*ids, strict=True)
    return Batch(
        groups=[row.group for row in rows],
        src=padded(src, sizes.get("source", 0)),
        tgt_in=padded([[BOUNDARY, *ids[:-1]] for ids in tgt], sizes.get("target", 0)),
        tgt_out=padded(tgt, sizes.get("target", 0)),
        capacity=sizes.get("capacity", 0),
    )


def in_slots(batch: Batch) -> Batch:
    """A batch for a model that says `SLOTS` tags at once: what is no tag is the end."""
    tgt = np.full((len(batch.tgt_out), SLOTS), BOUNDARY)
    given = batch.tgt_out[:, :SLOTS]
    tgt[:, : given.shape[1]] = np.where(given == PAD, BOUNDARY, given)
    tgt[(batch.tgt_out == PAD).all(axis=1)] = PAD  # a row that was only filled in
    return replace(batch, tgt_in=tgt, tgt_out=tgt)


def bucket(length: int) -> int:
    """The length to which a sequence is filled up: 4, 8, 12, 16, 24, 32, 48, 64, 96, ..."""
    size = 4 if length <= 4 else 8
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


class Batches:
    """A corpus to be gone through once an epoch, batch by batch.

    The order is a pure function of `seed` and the number of the epoch. Where several processes
    train one model, each goes through its shares of the batches, None where it has no row of one.

    Args:
        batch_size: rows of a batch.
        buckets: whether rows of about the same lengths make a batch, whose lengths are those of a
            few buckets.
        batch_tokens: how many positions the longer side of a batch may have, padding counted; of
            rows there are then as many as fit. 0: `batch_size` rows.
    """

    shared = True

    def __init__(
        self,
        rows: Sequence[Row],
        vocabulary: Vocabulary,
        batch_size: int,
        seed: int,
        buckets: bool = False,
        batch_tokens: int = 0,
    ):
        self.rows, self.vocabulary = rows, vocabulary
        self.batch_size, self.seed, self.epoch = min(batch_size, len(rows)), seed, 0
        self.buckets, self.batch_tokens = buckets or batch_tokens > 0, batch_tokens
        self.ids = encoded(rows, vocabulary)
        self.sizes = [(bucket(len(src)), bucket(len(tgt))) for src, tgt in self.ids]
        self._length = len(self._parts(range(len(rows))))

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, from 0 on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch | None]:
        rank, processes = distributed.rank(), distributed.world_size()
        for batch in self.whole():
            if processes == 1:
                yield batch
            else:
                yield batch.share(rank, processes) if rank < len(batch.groups) else None

    def whole(self) -> Iterator[Batch]:
        """The batches of the epoch, whoever takes which part of them."""
        key = random.key(self.seed)
        order = random.permutation(random.fold(key, "order", self.epoch), len(self.rows))
        parts = self._parts(order)
        if self.buckets:
            turns = random.permutation(random.fold(key, "batches", self.epoch), len(parts))
            parts = [parts[i] for i in turns]
        for part in parts:
            sizes = self._sizes(part) if self.buckets else {}
            rows, ids = [self.rows[i] for i in part], [self.ids[i] for i in part]
            yield _batch(rows, ids, **{"capacity": self.batch_size, **sizes})

    def _parts(self, order: Iterable[int]) -> list[list[int]]:
        """The numbers of the rows of each batch, if rows come in this order."""
        order, parts = list(order), list[list[int]]()
        if self.buckets:
            order.sort(key=self.sizes.__getitem__)
        if not self.batch_tokens:
            return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        longest = 0
        for i in order:
            longest = max(longest, *self.sizes[i])
            if not parts or (len(parts[-1]) + 1) * longest > self.batch_tokens:
                parts.append([])
                longest = max(self.sizes[i])
            parts[-1].append(i)
        return parts

    def _sizes(self, part: Sequence[int]) -> dict[str, int]:
        """The lengths of a batch, and how many rows one of these lengths has at most."""
        source, target = (max(sizes) for sizes in zip(*(self.sizes[i] for i in part), strict=True))
        found = {"source": source, "target": target}
        if self.batch_tokens:
            found["capacity"] = max(self.batch_tokens // max(source, target), 1)
        return found

    def padding(self) -> float:
        """The share of an epoch's source and target positions that is padding."""
        batches = list(self.whole())
        places = sum(batch.src.size + batch.tgt_out.size for batch in batches)
        filled = sum(map(len, (ids for pair in self.ids for ids in pair)))
        return 1 - filled / places

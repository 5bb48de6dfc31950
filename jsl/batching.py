"""Rows of a corpus as arrays of ids, and the order in which an epoch goes through them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jsl.corpus import Row
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import random


@dataclass(frozen=True)
class Batch:
    """Ids padded to the longest sequence of the batch. B rows, S source and T target positions.

    Attributes:
        groups: the group of each row.
        src: (B, S) symbols and the end.
        tgt_in: (B, T) the start and the tags: what the decoder is shown (teacher forcing).
        tgt_out: (B, T) the tags and the end: what it is to say.
    """

    groups: list[str]
    src: np.ndarray
    tgt_in: np.ndarray
    tgt_out: np.ndarray

    @property
    def tokens(self) -> int:
        """How many target positions are not padding."""
        return int(np.count_nonzero(self.tgt_out != PAD))

    def filled(self, rows: int, multiple: int = 4) -> "Batch":
        """With padding up to `rows` rows, and to lengths that are multiples: few different shapes.

        What is added has no targets, so it has no part in a loss; its group is that of row 0.
        """

        def longer(ids: np.ndarray) -> np.ndarray:
            missing = max(rows - len(ids), 0), -ids.shape[1] % multiple
            return np.pad(ids, [(0, n) for n in missing], constant_values=PAD)

        missing = max(rows - len(self.groups), 0)
        return Batch(
            self.groups + self.groups[:1] * missing,
            *map(longer, (self.src, self.tgt_in, self.tgt_out)),
        )


def padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """(B, longest) ids, filled up with PAD."""
    ids = np.full((len(sequences), max(map(len, sequences))), PAD, np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids


def make_batch(rows: Sequence[Row], vocabulary: Vocabulary) -> Batch:
    """The batch of `rows`, in their order."""
    targets = [vocabulary.encode_tags(row.tags) for row in rows]
    return Batch(
        groups=[row.group for row in rows],
        src=padded([vocabulary.encode_text(row.japanese) for row in rows]),
        tgt_in=padded([[BOUNDARY, *ids[:-1]] for ids in targets]),
        tgt_out=padded(targets),
    )


def epoch_batches(
    rows: Sequence[Row], vocabulary: Vocabulary, batch_size: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """The batches of one epoch; the order of rows is a pure function of `seed` and `epoch`."""
    order = random.permutation(random.fold(random.key(seed), "order", epoch), len(rows))
    for start in range(0, len(rows), batch_size):
        yield make_batch([rows[i] for i in order[start : start + batch_size]], vocabulary)


class Batches:
    """A corpus to be gone through once an epoch, batch by batch; see `epoch_batches`."""

    def __init__(self, rows: Sequence[Row], vocabulary: Vocabulary, batch_size: int, seed: int):
        self.rows, self.vocabulary = rows, vocabulary
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, from 0 on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return epoch_batches(self.rows, self.vocabulary, self.batch_size, self.seed, self.epoch)

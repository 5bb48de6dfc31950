"""Rows of a corpus beside what a model makes of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from jsl.batching import make_batch
from jsl.corpus import Row
from jsl.decode import generator
from jsl.vocabulary import Vocabulary
from minigrad import nn

KEPT = 20  # rows that are not given back: so many are kept to be shown
EXAMPLES = 3  # of each group


@dataclass(frozen=True)
class Compared:
    """A row and its translation.

    Attributes:
        expected: the row's tags, as a text.
        got: those of the translation.
    """

    group: str
    text: str
    expected: str
    got: str

    @property
    def right(self) -> bool:
        return self.got == self.expected


@dataclass
class Matches:
    """What came of comparing: how many are right in each group, some examples, what failed.

    Attributes:
        counts: for each group how many rows are given back, and of how many.
        examples: the first rows of each group, right or wrong.
        failures: the first that are not given back.
    """

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    examples: list[Compared] = field(default_factory=list)
    failures: list[Compared] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many rows are not given back, in all."""
        return sum(rows - right for right, rows in self.counts.values())

    def add(self, group: str, compared: Iterable[Compared]) -> None:
        """Take in the rows of a group."""
        right = rows = 0
        for one in compared:
            if rows < EXAMPLES:
                self.examples.append(one)
            if not one.right and len(self.failures) < KEPT:
                self.failures.append(one)
            right, rows = right + one.right, rows + 1
        self.counts[group] = right, rows


def compare(
    model: nn.Seq2Seq,
    vocabulary: Vocabulary,
    rows: Sequence[Row],
    max_seq_len: int,
    batch_size: int = 64,
) -> Iterator[Compared]:
    """Each row of one group with what greedy decoding makes of it, in order."""
    search = generator(model, vocabulary, max_seq_len)
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        decoded = search.greedy(make_batch(part, vocabulary).src)
        for row, ids in zip(part, decoded, strict=True):
            got = vocabulary.decode_tags(ids)
            yield Compared(row.group, row.japanese, " ".join(row.tags), got)

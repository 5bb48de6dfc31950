"""Rows of a corpus beside what a model makes of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsl.batching import padded
from jsl.corpus import Row
from jsl.decode import generator
from jsl.tokens import joined
from jsl.vocabulary import Vocabulary

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
    model: Any,
    vocabulary: Vocabulary,
    rows: Sequence[Row],
    max_seq_len: int,
    batch_size: int = 64,
) -> Iterator[Compared]:
    """Each row of one group with what greedy decoding makes of it, in order."""
    search = generator(model, vocabulary, max_seq_len)
    # Neighbours of one length are padded little.
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].symbols))
    said: dict[int, str] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        src = padded([vocabulary.encode_symbols(rows[i].symbols) for i in part])
        for i, ids in zip(part, search.greedy(src), strict=True):
            said[i] = vocabulary.decode_tags(ids)
    for i, row in enumerate(rows):
        yield Compared(row.group, row.japanese, expected(vocabulary, row), said[i])


def expected(vocabulary: Vocabulary, row: Row) -> str:
    """The tags of a row as `Vocabulary.decode_tags` writes them."""
    return joined(row.tags, vocabulary.target_kind)

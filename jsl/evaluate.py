"""How well a saved run translates a corpus: row by row, and in figures with their intervals."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from jsl import scores
from jsl.corpus import Row
from jsl.errors import TextError
from jsl.translate import Translator


@dataclass(frozen=True)
class Outcome:
    """A row of a corpus and what it was translated into.

    Attributes:
        tags: of the translation; none if there is an error.
        error: None, or what kept the text from being translated, which counts as a wrong
            translation.
    """

    row: Row
    tags: tuple[str, ...]
    error: TextError | None = None

    @property
    def right(self) -> bool:
        """Whether the translation is the reference, tag for tag."""
        return self.tags == self.row.tags


@dataclass(frozen=True)
class Figure:
    """A figure, and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """The figures of some rows.

    Attributes:
        rows, right, untranslated: how many there are, are translated exactly, and have an error.
        texts: how many of the rows' texts are distinct.
        edits, tags: to make the references of the translations, and in the references.
        figures: by their names in `scores.FIGURES`.
        few: whether there are too few texts for any figure to tell much.
        unsure: names of the figures that tell little.
        undefined: names of those that are 0 because no translation has so many tags.
        computed_by, signatures: "sacrebleu", or "jsl" where that is not installed; and how, as
            sacrebleu's signatures say it, of "bleu" and "chrf".
    """

    rows: int
    right: int
    untranslated: int
    texts: int
    edits: int
    tags: int
    figures: dict[str, Figure]
    few: bool
    unsure: tuple[str, ...]
    undefined: tuple[str, ...]
    computed_by: str
    signatures: dict[str, str]


def translate(
    translator: Translator,
    rows: Sequence[Row],
    *,
    batch_size: int = 64,
    length_penalty: float = 1.0,
    report: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """The outcome of each row, in order, each translated in its own group.

    Args:
        report: called with how many rows are done.

    Raises:
        GroupError: the run does not know the group of a row.
    """
    found: dict[int, Outcome] = {}
    for group in dict.fromkeys(row.group for row in rows):
        own = [i for i, row in enumerate(rows) if row.group == group]
        for start in range(0, len(own), 16 * batch_size):
            part = own[start : start + 16 * batch_size]
            texts = [rows[i].japanese for i in part]
            results = translator.translate(texts, group, batch_size, length_penalty=length_penalty)
            for i, result in zip(part, results, strict=True):
                tags = tuple(translator.vocabulary.decode(result.ids))
                found[i] = Outcome(rows[i], tags, result.error)
            if report is not None:
                report(len(found))
    return [found[i] for i in range(len(rows))]


def measure(
    outcomes: Sequence[Outcome], characters: bool = False, seed: int = 0
) -> tuple[dict[str, Scores], Scores]:
    """The figures of each group, and of all outcomes, of which there is at least one.

    BLEU and chrF are computed by sacrebleu where it is installed, and else as it does.

    Args:
        characters: whether tags are characters of a text.
        seed: of the bootstrap.
    """
    references = [outcome.row.tags for outcome in outcomes]
    counts = scores.statistics([outcome.tags for outcome in outcomes], references)
    of_group: dict[str, list[int]] = {}
    for i, outcome in enumerate(outcomes):
        of_group.setdefault(outcome.row.group, []).append(i)

    def part(own: list[int]) -> Scores:
        return _scores([outcomes[i] for i in own], counts[own], characters, seed)

    groups = {group: part(own) for group, own in of_group.items()}
    if len(groups) == 1:
        return groups, next(iter(groups.values()))
    return groups, part([*range(len(outcomes))])


def _scores(outcomes: Sequence[Outcome], counts: np.ndarray, characters: bool, seed: int) -> Scores:
    sums = counts.sum(0)
    values = dict(zip(scores.FIGURES, map(float, scores.figures(sums)), strict=True))
    computed_by, signatures = "jsl", scores.signatures(characters)
    with suppress(ImportError):
        theirs, signatures = scores.by_sacrebleu(
            [outcome.tags for outcome in outcomes],
            [outcome.row.tags for outcome in outcomes],
            characters,
        )
        values |= theirs
        computed_by = "sacrebleu"
    texts = [outcome.row.japanese for outcome in outcomes]
    distinct = len(set(texts))
    low, high = scores.intervals(counts, texts, seed)
    return Scores(
        rows=len(outcomes),
        right=int(sums[scores.RIGHT]),
        untranslated=sum(outcome.error is not None for outcome in outcomes),
        texts=distinct,
        edits=int(sums[scores.EDITS]),
        tags=int(sums[scores.LENGTH]),
        figures={
            name: Figure(values[name], float(a), float(b))
            for name, a, b in zip(scores.FIGURES, low, high, strict=True)
        },
        few=distinct < scores.ENOUGH,
        unsure=tuple(scores.unsure(low, high)),
        undefined=tuple(scores.undefined(sums)),
        computed_by=computed_by,
        signatures=signatures,
    )


def unknown_tags(rows: Sequence[Row], known: Sequence[str]) -> Counter[str]:
    """Tags of references that a run cannot say, and in how many rows each is, most first."""
    able = frozenset(known)
    return Counter(tag for row in rows for tag in dict.fromkeys(row.tags) if tag not in able)

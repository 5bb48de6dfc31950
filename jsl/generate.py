"""Draws sentences of the grammar, and parts them into training and validation.

The sentences of a seed are an endless row that ends when there are no more: a larger size begins
with the sentences of a smaller one. Which they are is decided by integers of `minigrad.random`
alone, and so is the same on every platform and in every version of Python.
"""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from jsl.errors import UsageError
from jsl.frames import WEIGHTS, Stratum, capacity, strata
from jsl.grammar import GROUPS, Sentence
from jsl.messages import say
from minigrad import random

COLUMNS = ("group", "japanese", "tags")
ANNOTATIONS = ("frame", "words")
SPLITS = ("random", "compositional")
AHEAD = 8  # sentences of which the one with the rarest words is taken


def generate(size: int, seed: int, groups: Sequence[str] = GROUPS) -> list[Sentence]:
    """The distinct sentences of `size` rows, of which each has one for each of `groups`.

    Raises:
        UsageError: there are not so many.
    """
    most = capacity() * len(groups)
    if size > most:
        raise UsageError(say("generate.too_many", size=size, most=most))
    return list(_drawn(-(-size // len(groups)), random.fold(random.key(seed), "jsl.generate")))


def _drawn(count: int, key: random.Key) -> Iterator[Sentence]:
    """So many sentences: a frame by its weight, its next head, and one of the next of these.

    Heads take turns, and of a few sentences that come next it is the one with the rarest words so
    far: else there would be words of which a model sees too little to learn them.
    """
    heads: dict[str, dict[str, deque[_Source]]] = {}
    for n, stratum in enumerate(strata()):
        sources = heads.setdefault(stratum.frame, {}).setdefault(stratum.head, deque())
        sources.append(_Source(stratum, random.fold(key, n)))
    left: dict[str, deque[deque[_Source]]] = {}
    for frame, found in heads.items():
        turns = [*found.values()]
        order = random.permutation(random.fold(key, frame), len(turns)).tolist()
        left[frame] = deque(turns[n] for n in order)
    limits, seen = _limits(left), Counter[str]()
    for word in random.bits(random.fold(key, "frames"), count).tolist():
        place = word * limits[-1] >> 32
        frame = next(name for name, limit in zip(left, limits, strict=True) if place < limit)
        sources = left[frame].popleft()
        source = sources.popleft()
        sentence = source.next(seen)
        seen.update(dict.fromkeys(sentence.words, 1))
        yield sentence
        # To the end of the queues, unless they are used up.
        if source.ahead:
            sources.append(source)
        if sources:
            left[frame].append(sources)
        if not left[frame]:
            del left[frame]
            limits = _limits(left)


def _limits(frames: Iterable[str]) -> list[int]:
    """The sums of the weights of the first, the first two, ..., all frames."""
    return [*itertools.accumulate(WEIGHTS[frame] for frame in frames)]


class _Source:
    """The sentences of a stratum in random order, a few of them looked at ahead."""

    def __init__(self, stratum: Stratum, key: random.Key):
        self.stratum, self.key = stratum, key
        self.ahead: list[Sentence] = []
        self.indices: Iterator[int] | None = None  # shuffled when the first is asked for

    def next(self, seen: Counter[str]) -> Sentence:
        """One of those ahead, that with the rarest words."""
        if self.indices is None:
            order = random.permutation(self.key, self.stratum.capacity)
            self.indices = iter(order.tolist())
            self.fill(AHEAD)
        chosen = min(self.ahead, key=lambda s: sorted(seen[word] for word in s.words))
        self.ahead.remove(chosen)
        self.fill(1)
        return chosen

    def fill(self, count: int) -> None:
        """Look at so many more."""
        assert self.indices is not None
        self.ahead += map(self.stratum.sentence, itertools.islice(self.indices, count))


# ------------------------------------------------------------------------------------------ splits


def split(
    sentences: Sequence[Sentence],
    kind: str,
    share: float,
    seed: int,
    groups: Sequence[str] = GROUPS,
) -> tuple[list[Sentence], list[Sentence]]:
    """`sentences` in two parts, for training and for validation, in their order.

    With `kind` "random", sentences are chosen by lot. With "compositional", pairs of a word and a
    frame are chosen by lot, and a sentence that has one of them is held out: the word and the
    frame are trained, each with others, and never together. In either case every word, frame and
    tag of the second part is in the first.

    Args:
        share: how much is held out, if there is enough that can be.

    Raises:
        UsageError: nothing can be held out.
    """
    key = random.fold(random.key(seed), "jsl.generate.split", kind)
    part = _at_random if kind == "random" else _by_pairs
    goal = max(round(len(sentences) * share), 1)
    held = part(sentences, goal, key, lambda s: _parts(s, groups))
    if not held:
        raise UsageError(say("generate.nothing_held", count=len(sentences)))
    training = [s for n, s in enumerate(sentences) if n not in held]
    return training, [sentences[n] for n in sorted(held)]


Parts = Callable[[Sentence], Iterable[Hashable]]


def _parts(sentence: Sentence, groups: Sequence[str]) -> set[Hashable]:
    """What a sentence is made of that training must have seen."""
    found: set[Hashable] = {("word", word) for word in sentence.words}
    found.add(("frame", sentence.frame))
    return found | {(group, tag) for group in groups for tag in sentence.tags(group)}


def _at_random(sentences: Sequence[Sentence], goal: int, key: random.Key, parts: Parts) -> set[int]:
    left = Counter(part for sentence in sentences for part in parts(sentence))
    held: set[int] = set()
    for n in random.permutation(key, len(sentences)).tolist():
        found = parts(sentences[n])
        if len(held) < goal and all(left[part] > 1 for part in found):
            held.add(n)
            left.subtract(found)
    return held


def _by_pairs(sentences: Sequence[Sentence], goal: int, key: random.Key, parts: Parts) -> set[int]:
    of_pair: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, sentence in enumerate(sentences):
        for word in dict.fromkeys(sentence.words):
            of_pair[word, sentence.frame].append(n)
    whole = Counter(part for sentence in sentences for part in parts(sentence))
    left, held = whole.copy(), set[int]()
    pairs = sorted(of_pair)
    for at in random.permutation(key, len(pairs)).tolist():
        new = [n for n in of_pair[pairs[at]] if n not in held]
        # Not a pair that would take much more than what is missing.
        if len(held) >= goal or not new or len(held) + len(new) > goal * 1.1 + 1:
            continue
        lost = Counter(part for n in new for part in parts(sentences[n]))
        # Half of what there is of each part stays, so that it can be learned.
        if all(left[p] - k >= max(1, whole[p] / 2) for p, k in lost.items()):
            held.update(new)
            left.subtract(lost)
    return held


# ------------------------------------------------------------------------------------------- rows


def table(
    sentences: Iterable[Sentence], groups: Sequence[str], most: int, annotate: bool = False
) -> str:
    """A corpus in TSV of these sentences, a row for each group, of at most `most` rows.

    With `annotate` there are two more columns: the frame of a sentence and its words.
    """
    lines = ["\t".join((*COLUMNS, *ANNOTATIONS) if annotate else COLUMNS)]
    for sentence in sentences:
        more = (sentence.frame, " ".join(sentence.words)) if annotate else ()
        for group in groups:
            lines.append("\t".join((group, sentence.kana, " ".join(sentence.tags(group)), *more)))
    del lines[most + 1 :]
    return "\n".join(lines) + "\n"

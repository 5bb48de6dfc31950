"""How good translations are beside their references: figures, and how sure they are.

Everything that a figure needs of a sentence is counted once, into a row of `statistics`. A figure
of any selection of sentences follows from the sum of their rows: that of a group, of everything,
and of each sample of a bootstrap.

    exact_match       translations that equal their reference, in percent
    tag_error_rate    tags to insert, delete or replace, over those of the references, in percent
    bleu_1 .. bleu_4  BLEU with n-grams of up to 1 .. 4 tags, as sacrebleu has it, from 0 to 100
    chrf              F2 of n-grams of up to 6 characters, as sacrebleu has it, from 0 to 100

A tag is what the run translates into: a gloss, a word or a character. White space between
characters is no token of BLEU, as it is none to sacrebleu.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

Tokens = Sequence[str]

WORDS, CHARACTERS = 4, 6  # the longest n-grams of BLEU, and of chrF
BETA = 2  # how much more chrF weighs recall than precision
FIGURES = ("exact_match", "tag_error_rate", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf")

CONFIDENCE = 0.95
RESAMPLES = 1000
ENOUGH = 100  # sentences; with fewer, an interval of a bootstrap is too narrow itself
CHUNK = 10_000  # sentences that are counted at once, so that memory does not grow with them
SURE = 5.0  # points to either side; a figure that is less sure tells little

# Columns of the statistics.
RIGHT, SENTENCES, EDITS, LENGTH = range(4)
_BLEU = 4  # from here on: translations' tokens, references' tokens, then 4 matches, 4 n-grams
_CHRF = _BLEU + 2 + 2 * WORDS  # from here on, for each order: of translations, references, matches
COLUMNS = _CHRF + 3 * CHARACTERS


def statistics(translations: Sequence[Tokens], references: Sequence[Tokens]) -> np.ndarray:
    """(sentences, COLUMNS) counts, of which sums give the figures.

    Raises:
        ValueError: a reference is empty, or there are not as many as translations.
    """
    if len(translations) != len(references) or not all(map(len, references)):
        raise ValueError(
            f"statistics: expected a reference with tokens for each of {len(translations)} "
            f"translations, got {sum(map(bool, references))} of {len(references)}"
        )
    some = [slice(i, i + CHUNK) for i in range(0, len(references), CHUNK)]
    found = [_statistics(translations[part], references[part]) for part in some]
    return np.concatenate([np.zeros((0, COLUMNS), np.int64), *found])


def _statistics(*both: Sequence[Tokens]) -> np.ndarray:
    translations, references = both
    found = np.zeros((len(references), COLUMNS), np.int64)
    found[:, SENTENCES] = 1
    found[:, EDITS] = edit_distances(translations, references)
    found[:, RIGHT] = found[:, EDITS] == 0
    found[:, LENGTH] = [len(tokens) for tokens in references]
    ours, theirs = ([[t for t in s if not t.isspace()] for s in x] for x in both)
    counts = ngrams(ours, theirs, WORDS)
    words = found[:, _BLEU:_CHRF]
    words[:, :2] = counts[:, 0, :2]
    words[:, 2 : 2 + WORDS] = counts[:, :, 2]
    words[:, 2 + WORDS :] = counts[:, :, 0]
    letters, expected = (["".join("".join(s).split()) for s in x] for x in both)
    counts = ngrams(letters, expected, CHARACTERS)
    # An n-gram longer than its reference is not held against a translation.
    counts[:, :, 0] *= counts[:, :, 1] > 0
    found[:, _CHRF:] = counts.reshape(len(references), -1)
    return found


def figures(sums: np.ndarray) -> np.ndarray:
    """(..., FIGURES) values of (..., COLUMNS) sums of statistics."""
    sums = np.asarray(sums, np.float64)
    right = 100 * sums[..., RIGHT] / sums[..., SENTENCES]
    errors = 100 * sums[..., EDITS] / sums[..., LENGTH]
    return np.stack([right, errors, *(bleu(sums, n) for n in range(1, WORDS + 1)), chrf(sums)], -1)


def bleu(sums: np.ndarray, order: int) -> np.ndarray:
    """BLEU of n-grams of 1 to `order` tokens: their precisions' geometric mean, for brevity less.

    An order with n-grams but no match is smoothed as sacrebleu does by default ("exp"): the first
    such counts half a match, the next a quarter, and so on. Without n-grams or any match it is 0.
    """
    ours, theirs = sums[..., _BLEU], sums[..., _BLEU + 1]
    first = _BLEU + 2
    matches = sums[..., first : first + order]
    total = sums[..., first + WORDS : first + WORDS + order]
    halved = 0.5 ** np.cumsum(matches == 0, axis=-1)
    able = (total > 0).all(-1) & (matches > 0).any(-1)
    precision = np.where(matches > 0, matches, halved) / np.maximum(total, 1)
    brevity = np.minimum(1 - theirs / np.maximum(ours, 1), 0)
    return np.where(able, 100 * np.exp(brevity + np.log(precision).mean(-1)), 0.0)


def chrf(sums: np.ndarray) -> np.ndarray:
    """F2 of the mean precision and the mean recall of n-grams of characters.

    Means are over the orders of which both sides have n-grams.
    """
    ours, theirs, matches = np.moveaxis(
        sums[..., _CHRF:].reshape(*sums.shape[:-1], CHARACTERS, 3), -1, 0
    )
    both = (ours > 0) & (theirs > 0)
    orders = np.maximum(both.sum(-1), 1)
    precision = np.where(both, matches / np.maximum(ours, 1), 0).sum(-1) / orders
    recall = np.where(both, matches / np.maximum(theirs, 1), 0).sum(-1) / orders
    below = BETA**2 * precision + recall
    some = below > 0
    return 100 * (1 + BETA**2) * precision * recall / np.where(some, below, 1)


def intervals(
    found: np.ndarray,
    texts: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> np.ndarray:
    """(2, FIGURES) lower and upper ends of what the figures may be, by a percentile bootstrap.

    Samples are of texts, as many as there are, with replacement; rows of the same text (in several
    groups, or repeated) come together, as they are right and wrong together. Equal arguments give
    equal intervals.

    Args:
        found: (rows, COLUMNS) statistics.
        texts: of the rows.
    """
    names, owner = np.unique(np.array(texts, dtype=object), return_inverse=True)
    by_text = np.zeros((len(names), COLUMNS))
    np.add.at(by_text, owner, found)
    random = np.random.default_rng(seed)
    count = len(names)
    sums: list[np.ndarray] = []
    while len(sums) < resamples:  # many samples in one product of matrices
        some = min(max(100 * CHUNK // count, 1), resamples - len(sums))
        drawn = [
            np.bincount(random.integers(count, size=count), minlength=count) for _ in range(some)
        ]
        sums += list(np.array(drawn, np.float64) @ by_text)
    tails = (1 - confidence) / 2
    return np.quantile(figures(np.array(sums)), [tails, 1 - tails], axis=0)


def unsure(low: np.ndarray, high: np.ndarray) -> list[str]:
    """Names of the figures that tell little: those that are less sure than `SURE`."""
    wide = (high - low) / 2 > SURE
    return [name for name, w in zip(FIGURES, wide, strict=True) if w]


def undefined(sums: np.ndarray) -> list[str]:
    """Names of the figures that are 0 because no translation has so many tokens."""
    totals = sums[_BLEU + 2 + WORDS : _CHRF]
    return [f"bleu_{n}" for n, total in enumerate(totals, 1) if not total]


def by_sacrebleu(
    translations: Sequence[Tokens], references: Sequence[Tokens], characters: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF as sacrebleu itself computes them, and its signatures of both.

    Args:
        characters: whether tokens are characters of a text, not words with spaces between.

    Raises:
        ImportError: it is not installed.
    """
    from sacrebleu.metrics import BLEU, CHRF

    between = "" if characters else " "
    ours = [between.join(tokens) for tokens in translations]
    theirs = [[between.join(tokens) for tokens in references]]
    # force: tokens are what is to be compared, so there is nothing to warn of.
    measure = BLEU(tokenize="char" if characters else "none", force=True)
    whole = measure.corpus_score(ours, theirs)
    found = {
        f"bleu_{n}": BLEU.compute_bleu(
            whole.counts[:n],
            whole.totals[:n],
            whole.sys_len,
            whole.ref_len,
            smooth_method="exp",
            max_ngram_order=n,
        ).score
        for n in range(1, WORDS + 1)
    }
    letters = CHRF()
    found["chrf"] = letters.corpus_score(ours, theirs).score
    return found, {"bleu": str(measure.get_signature()), "chrf": str(letters.get_signature())}


def signatures(characters: bool) -> dict[str, str]:
    """What the signatures of sacrebleu say, of BLEU and chrF as they are computed here."""
    split = "char" if characters else "none"
    return {
        "bleu": f"nrefs:1|case:mixed|eff:no|tok:{split}|smooth:exp",
        "chrf": f"nrefs:1|case:mixed|eff:yes|nc:{CHARACTERS}|nw:0|space:no",
    }


# ---------------------------------------------------------------------------------- counting


def edit_distances(first: Sequence[Tokens], second: Sequence[Tokens]) -> np.ndarray:
    """(pairs,) how many tokens to insert, delete or replace to make each first one the second."""
    found = np.zeros(len(first), np.int64)
    ids = _Ids()
    differ = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if list(a) != list(b)]
    # Of similar length together, as all are filled up to the longest.
    differ.sort(key=lambda i: (len(second[i]), len(first[i])))
    for start in range(0, len(differ), 512):
        part = differ[start : start + 512]
        found[part] = _distances([ids(first[i]) for i in part], [ids(second[i]) for i in part])
    return found


def _distances(first: list[list[int]], second: list[list[int]]) -> np.ndarray:
    """Levenshtein's table of all pairs at once, a row after the other."""
    ends, widths = np.array([*map(len, first)]), np.array([*map(len, second)])
    a, b = _filled(first, -1), _filled(second, -2)
    at = np.arange(b.shape[1] + 1)
    row = np.broadcast_to(at, (len(a), len(at))).copy()
    found = np.where(ends == 0, widths, 0)
    for i in range(a.shape[1]):
        kept = np.minimum(row[:, 1:] + 1, row[:, :-1] + (a[:, i, None] != b))
        row = np.concatenate([np.full((len(a), 1), i + 1), kept], 1)
        # Inserting k tokens costs k: the least of row[j - k] + k, for all k at once.
        row = np.minimum.accumulate(row - at, 1) + at
        done = ends == i + 1
        found[done] = row[done, widths[done]]
    return found


def ngrams(first: Sequence[Tokens], second: Sequence[Tokens], longest: int) -> np.ndarray:
    """(pairs, longest, 3) counts of n-grams of 1 to `longest` tokens, in each pair.

    Those of the first, of the second, and matches: of each n-gram as many as both have.
    """
    count = len(first)
    ids = _Ids()
    sequences = [ids(tokens) for tokens in (*first, *second)]
    lengths = np.array([len(s) for s in sequences], np.int64)
    tokens = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
    owner = np.repeat(np.arange(2 * count), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # up to the end
    found = np.zeros((count, longest, 3), np.int64)
    gram = tokens
    for n in range(1, longest + 1):
        begin = np.flatnonzero(left >= n)
        if n > 1:  # an n-gram is one that is shorter and a token more
            _, names = np.unique(
                gram[begin] * len(ids) + tokens[begin + n - 1], return_inverse=True
            )
            gram = np.zeros_like(tokens)
            gram[begin] = names
        pair, of_second = owner[begin] % count, owner[begin] >= count
        keys, of_key = np.unique(gram[begin] * count + pair, return_inverse=True)
        counts = [
            np.bincount(of_key[side], minlength=len(keys)) for side in (~of_second, of_second)
        ]
        for column, number in enumerate((*counts, np.minimum(*counts))):
            found[:, n - 1, column] = np.bincount(keys % count, weights=number, minlength=count)
    return found


class _Ids:
    """A number for each token, in the order in which they come."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, tokens: Iterable[str]) -> list[int]:
        known = self._known
        return [known.setdefault(token, len(known)) for token in tokens]


def _filled(sequences: list[list[int]], value: int) -> np.ndarray:
    ids = np.full((len(sequences), max(map(len, sequences), default=0)), value, np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids

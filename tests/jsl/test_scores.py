"""Figures of translations: against loops that are plainly right, and against sacrebleu."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsl import scores

TAGS = ("<a>", "<b>", "<c>", "<ab>", "<い>")
CHARACTERS = ("a", "b", "い", " ", "\u3000")


def pairs(tokens, least=1):
    """Translations with their references, of which none is empty or but white space."""
    reference = st.lists(st.sampled_from(tokens), min_size=1, max_size=9).filter(
        lambda tokens: "".join(tokens).strip()
    )
    # Often almost the reference, else hardly anything longer than a token ever matches.
    near = reference.flatmap(
        lambda r: st.tuples(
            st.one_of(
                st.just(r),
                st.integers(0, len(r)).map(lambda n: r[:n] + r[n + 1 :]),
                st.lists(st.sampled_from(tokens), max_size=9),
            ),
            st.just(r),
        )
    )
    return st.lists(near, min_size=least, max_size=6)


def distance(a, b):
    """Levenshtein's, by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0])
    )


def counted(sequence, n):
    return Counter(tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1))


def value(name, sums):
    return dict(zip(scores.FIGURES, scores.figures(sums), strict=True))[name]


short = st.lists(st.sampled_from("abc"), max_size=5)


@given(st.lists(st.tuples(short, short), max_size=5))
def test_distances_are_those_of_the_definition(some):
    found = scores.edit_distances([a for a, _ in some], [b for _, b in some])
    assert found.tolist() == [distance(a, b) for a, b in some]


def test_distances_of_pairs_of_very_different_lengths():
    first = [["a"] * n for n in (0, 1, 700, 3)] * 300
    second = [["a"] * n + ["b"] for n in (5, 0, 1, 2)] * 300
    expected = [6, 1, 699, 1] * 300
    assert scores.edit_distances(first, second).tolist() == expected


@given(pairs(TAGS))
def test_ngrams_are_counted_as_by_a_counter(some):
    first, second = [a for a, _ in some], [b for _, b in some]
    found = scores.ngrams(first, second, 4)
    for i, (a, b) in enumerate(some):
        for n in range(1, 5):
            x, y = counted(a, n), counted(b, n)
            assert found[i, n - 1].tolist() == [x.total(), y.total(), (x & y).total()]


def test_figures_of_a_case_worked_out_by_hand():
    translations = [["<a>", "<b>"], ["<a>", "<c>", "<c>"], []]
    references = [["<a>", "<b>"], ["<a>", "<b>", "<c>", "<c>"], ["<a>"]]
    sums = scores.statistics(translations, references).sum(0)
    assert value("exact_match", sums) == pytest.approx(100 / 3)
    assert value("tag_error_rate", sums) == pytest.approx(100 * 2 / 7)
    brevity = math.exp(1 - 7 / 5)
    assert value("bleu_1", sums) == pytest.approx(100 * brevity)
    assert value("bleu_2", sums) == pytest.approx(100 * brevity * math.sqrt(2 / 3))
    # The only 3-gram, <a> <c> <c>, is in no reference: it counts half. There is no 4-gram.
    assert value("bleu_3", sums) == pytest.approx(100 * brevity * (2 / 3 * 1 / 2) ** (1 / 3))
    assert value("bleu_4", sums) == 0


def agrees_with_sacrebleu(some, characters):
    pytest.importorskip("sacrebleu")
    translations, references = [a for a, _ in some], [b for _, b in some]
    sums = scores.statistics(translations, references).sum(0)
    expected, _ = scores.by_sacrebleu(translations, references, characters)
    assert set(expected) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "chrf"}
    for name, number in expected.items():
        assert value(name, sums) == pytest.approx(number, abs=1e-9), name


@settings(deadline=None)
@given(pairs(TAGS))
def test_bleu_and_chrf_are_those_of_sacrebleu(some):
    agrees_with_sacrebleu(some, characters=False)


@settings(deadline=None)
@given(pairs(CHARACTERS))
def test_those_of_characters_are_too(some):
    agrees_with_sacrebleu(some, characters=True)


@given(pairs(TAGS))
def test_cumulative_bleu_is_what_sacrebleu_gives_for_that_order(some):
    metrics = pytest.importorskip("sacrebleu.metrics")
    lines = [[" ".join(a) for a, _ in some], [" ".join(b) for _, b in some]]
    found, _ = scores.by_sacrebleu([a for a, _ in some], [b for _, b in some], False)
    for n in range(1, 5):
        measure = metrics.BLEU(tokenize="none", max_ngram_order=n)
        expected = measure.corpus_score(lines[0], [lines[1]]).score
        assert found[f"bleu_{n}"] == pytest.approx(expected, abs=1e-9)


def test_the_signatures_say_how_it_was_computed():
    pytest.importorskip("sacrebleu")
    _, said = scores.by_sacrebleu([["<a>"]], [["<a>"]], characters=False)
    assert said["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:")
    assert said["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    _, said = scores.by_sacrebleu([["a"]], [["a"]], characters=True)
    assert "|tok:char|" in said["bleu"]


@given(pairs(TAGS))
def test_what_is_right_scores_best_and_nothing_scores_more(some):
    references = [b for _, b in some]
    best = scores.figures(scores.statistics(references, references).sum(0))
    longest = max(map(len, references))
    expected = [100, 0, *(100 if longest >= n else 0 for n in range(1, 5)), 100]
    np.testing.assert_allclose(best, expected)
    found = scores.figures(scores.statistics([a for a, _ in some], references).sum(0))
    assert (found >= 0).all()
    assert (np.delete(found, 1) <= 100 + 1e-9).all()  # only errors can be more than there are tags
    assert (found[0] == 100) == (found[1] == 0)


def test_it_does_not_matter_how_many_are_counted_at_once(monkeypatch):
    random = np.random.default_rng(0)
    references = [[*random.choice(TAGS, n)] for n in random.integers(1, 9, 50)]
    translations = [[*random.choice(TAGS, n)] for n in random.integers(0, 9, 50)]
    texts = [*map(str, range(50))]
    whole = scores.statistics(translations, references)
    ends = scores.intervals(whole, texts)
    monkeypatch.setattr(scores, "CHUNK", 7)
    assert (scores.statistics(translations, references) == whole).all()
    assert (scores.intervals(whole, texts) == ends).all()
    assert scores.statistics([], []).shape == (0, scores.COLUMNS)


def test_a_reference_without_tokens_is_refused():
    with pytest.raises(ValueError, match="got 1 of 2"):
        scores.statistics([["a"], ["b"]], [["a"], []])
    with pytest.raises(ValueError, match="each of 2 translations, got 1 of 1"):
        scores.statistics([["a"], ["b"]], [["a"]])


# ---------------------------------------------------------------------------------- intervals


def resampled(found, texts, seed, resamples):
    """The bootstrap sentence by sentence, from the rows that were drawn."""
    names = sorted(set(texts))
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        rows = []
        for drawn in random.integers(len(names), size=len(names)):
            rows += [row for row, text in zip(found, texts, strict=True) if text == names[drawn]]
        values.append(scores.figures(np.sum(rows, axis=0)))
    return np.quantile(values, [0.025, 0.975], axis=0)


@settings(max_examples=10, deadline=None)
@given(pairs(TAGS, least=2), st.integers(0, 9), st.randoms())
def test_intervals_are_those_of_samples_drawn_one_by_one(some, seed, random):
    found = scores.statistics([a for a, _ in some], [b for _, b in some])
    texts = [random.choice("xyz") for _ in some]
    got = scores.intervals(found, texts, seed, resamples=40)
    np.testing.assert_allclose(got, resampled(found, texts, seed, 40), atol=1e-9)


def exact(right):
    """Statistics of so many sentences of one tag, right where `right` says so."""
    return scores.statistics([["a"] if r else ["b"] for r in right], [["a"]] * len(right))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(0)
    truth, held = 70, 0
    for seed in range(200):
        found = exact(random.random(200) < truth / 100)
        low, high = scores.intervals(found, [*map(str, range(200))], seed, 300)[:, 0]
        held += low <= truth <= high
    assert 0.90 <= held / 200 <= 0.99


def test_intervals_grow_where_rows_of_one_text_are_right_and_wrong_together():
    right = np.arange(200) % 4 != 0
    apart = scores.intervals(exact(right), [*map(str, range(200))])
    pairwise = scores.intervals(exact(np.repeat(right, 2)), [str(i // 2) for i in range(400)])
    np.testing.assert_allclose(pairwise, apart)  # each row twice tells nothing new
    as_if = scores.intervals(exact(np.repeat(right, 2)), [*map(str, range(400))])
    assert as_if[1, 0] - as_if[0, 0] < 0.8 * (apart[1, 0] - apart[0, 0])


def test_what_is_too_small_to_tell():
    low, high = np.full(7, 50.0), np.full(7, 50.0)
    assert scores.unsure(low, high) == []
    high[1], low[6] = 60.1, 39.9
    assert scores.unsure(low, high) == ["tag_error_rate", "chrf"]
    high[1] = 60
    assert scores.unsure(low, high) == ["chrf"]

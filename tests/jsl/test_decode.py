"""Decoding: batched greedy decoding is the obvious loop, sentence by sentence."""

import numpy as np
import pytest
from naive.decoding import greedy

from jsl.batching import padded
from jsl.config import ModelConfig
from jsl.decode import generator
from jsl.errors import TextError
from jsl.model import build_model
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import nn, no_grad
from minigrad.backend import to_device, to_numpy
from minigrad.errors import GroupError

VOCABULARY = Vocabulary(tuple(f"<{c}>" for c in "いろはにほへとちりぬるを"))
SIZES = ModelConfig(d_model=8, n_heads=2, d_ff=8, n_layers=2, max_seq_len=10)
LIMIT = 10
SEEDS = (2, 3, 4, 7, 9)  # their models give short, long and different answers

pytestmark = pytest.mark.usefixtures("english")


def random_model(seed):
    """A model that has opinions: its logits are far apart, and depend on what came before."""
    model = build_model(SIZES, VOCABULARY, ["甲"], seed)["甲"]
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        if p.ndim == 2:
            p.data[...] = to_device(rng.normal(size=p.shape).astype(p.dtype))
    model.decoder.output_projection.bias.data[BOUNDARY] = 5  # so that many sentences end
    return model.eval()


def random_sources(seed, count=12):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 10, count)
    return [[*map(int, rng.integers(2, 88, length)), BOUNDARY] for length in lengths]


def slowly(model, source, max_seq_len=LIMIT):
    """One sentence, the whole model anew for each tag, one score after the other."""
    tags = []
    while len(tags) < max_seq_len - 1:  # a place is kept for the end
        with no_grad():
            ids = map(to_device, (np.array([source]), np.array([[BOUNDARY, *tags]])))
            logits = to_numpy(model(*ids).data)[0, -1]
        best = BOUNDARY
        for i in VOCABULARY.tag_ids:
            if logits[i] > logits[best]:
                best = i
        if best == BOUNDARY:
            break
        tags.append(best)
    return tags


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_is_the_obvious_loop(seed):
    model, sources = random_model(seed), random_sources(seed)
    expected = [slowly(model, source) for source in sources]
    assert greedy(model, padded(sources), VOCABULARY, LIMIT) == expected


def test_the_loop_above_is_a_test():
    """It has answers of many kinds."""
    answers = [slowly(random_model(s), source) for s in SEEDS for source in random_sources(s)]
    lengths = [len(tags) for tags in answers]
    assert min(lengths) < 3
    assert max(lengths) == LIMIT - 1
    assert len(set(lengths)) > 4
    assert len(set(map(tuple, answers))) > 20


def test_a_sentence_does_not_depend_on_its_batch():
    model, sources = random_model(7), random_sources(7)
    together = greedy(model, padded(sources), VOCABULARY, LIMIT)
    alone = [greedy(model, padded([s]), VOCABULARY, LIMIT)[0] for s in sources]
    assert together == alone


def test_only_tags_and_the_end_compete():
    model, source = random_model(3), padded(random_sources(3))
    before = greedy(model, source, VOCABULARY, LIMIT)
    bias = model.decoder.output_projection.bias.data
    for i in set(range(VOCABULARY.source_size)) - set(VOCABULARY.output_ids):
        bias[i] = 1e6
    assert greedy(model, source, VOCABULARY, LIMIT) == before
    assert {i for tags in before for i in tags} <= set(VOCABULARY.tag_ids)


@pytest.mark.parametrize("max_seq_len", [1, 2, 5])
def test_a_sentence_without_end_is_cut(max_seq_len):
    model, source = random_model(2), padded(random_sources(2))
    model.decoder.output_projection.bias.data[BOUNDARY] = -1e6
    found = greedy(model, source, VOCABULARY, max_seq_len)
    assert [len(tags) for tags in found] == [max_seq_len - 1] * len(source)


def test_a_sentence_may_be_empty():
    model, source = random_model(2), padded(random_sources(2))
    model.decoder.output_projection.bias.data[BOUNDARY] = 1e6
    assert greedy(model, source, VOCABULARY, LIMIT) == [[]] * len(source)


def test_decoding_ends_with_its_longest_sentence(monkeypatch):
    model = random_model(2)
    short = [s for s in random_sources(2) if len(slowly(model, s)) < LIMIT - 1]
    calls, decode = [], model.decode
    monkeypatch.setattr(model, "decode", lambda *inputs: calls.append(inputs) or decode(*inputs))
    found = greedy(model, padded(short), VOCABULARY, LIMIT)
    assert len(calls) == max(map(len, found)) + 1


def test_of_equal_scores_the_smaller_id_wins():
    model, source = random_model(2), padded(random_sources(2, count=3))
    projection = model.decoder.output_projection
    projection.weight.data[...] = 0
    projection.bias.data[...] = 0
    assert greedy(model, source, VOCABULARY, 3) == [[]] * 3  # the end has the smallest id
    projection.bias.data[BOUNDARY] = -1
    assert greedy(model, source, VOCABULARY, 3) == [[88] * 2] * 3
    projection.bias.data[88] = -1
    assert greedy(model, source, VOCABULARY, 3) == [[89] * 2] * 3


def test_no_sentences_give_no_tags():
    assert greedy(random_model(0), np.full((0, 3), PAD), VOCABULARY, LIMIT) == []


# ----------------------------------------------------------------------------- generators


def by_kernels(model, vocabulary, max_seq_len, **options):
    return nn.Generator(
        model,
        start_id=BOUNDARY,
        end_id=BOUNDARY,
        allowed=vocabulary.output_ids,
        max_length=max_seq_len - 1,
        use_kernels=True,
        **options,
    )


@pytest.mark.parametrize("make", [generator, by_kernels])
@pytest.mark.parametrize("seed", SEEDS)
def test_generators_find_what_the_reference_finds(make, seed):
    model, sources = random_model(seed), padded(random_sources(seed))
    for max_seq_len in (1, 2, LIMIT):
        expected = greedy(model, sources, VOCABULARY, max_seq_len)
        assert make(model, VOCABULARY, max_seq_len).greedy(sources) == expected


def test_generators_find_what_the_reference_finds_after_training(learned, corpus):
    """On all rows, and on what is far from them, where scores are nearer to each other."""
    translator = Translator(learned)
    vocabulary, limit = translator.vocabulary, LIMIT
    texts = [*(row.japanese for row in corpus.rows), *TEXTS]
    sources = [vocabulary.encode_text(text) for text in texts]
    sources = padded([*sources, *random_sources(0, 200)])
    near = 0
    for group in translator.groups:
        model = translator.model[group]
        expected = greedy(model, sources, vocabulary, limit)
        assert len(set(map(tuple, expected))) >= 3
        for make in (generator, by_kernels):
            found = make(model, vocabulary, limit).greedy(sources)
            for src, a, b in zip(sources, found, expected, strict=True):
                if a != b:
                    assert gap_where_they_part(model, src, a, b, vocabulary) < 1e-5
                    near += 1
        rounded = by_kernels(model, vocabulary, limit, weights="int8").greedy(sources)
        equal = [a == b for a, b in zip(rounded, expected, strict=True)]
        assert all(equal[: len(corpus.rows)])
        assert np.mean(equal) > 0.8
    assert near <= 2


def gap_where_they_part(model, src, a, b, vocabulary):
    """By how much the two best scores differ where two answers begin to."""
    same = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    with no_grad():
        tgt = np.array([[BOUNDARY, *a[:same]]])
        logits = to_numpy(model(to_device(src[None]), to_device(tgt)).data)[0, -1]
    best = np.sort(logits[list(vocabulary.output_ids)])
    return best[-1] - best[-2]


# ---------------------------------------------------------------------------- translator


@pytest.fixture(scope="module")
def translator(learned):
    return Translator(learned)


TEXTS = ["ありがとう", "はい", "わたしはたべます", "あ", "いいえ", "はい", "わたしは", "ハイ"]


def test_what_was_learned_is_translated(translator, corpus):
    for row in corpus.rows:
        [found] = translator.translate([row.japanese], row.group)
        assert (found.text, found.group, found.error) == (row.japanese, row.group, None)
        assert found.tags == " ".join(row.tags)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_translations_come_in_the_order_of_the_texts(translator, batch_size):
    found = translator.translate(TEXTS, "甲", batch_size)
    assert [t.text for t in found] == TEXTS
    assert found == [translator.translate([text], "甲")[0] for text in TEXTS]
    assert len({t.tags for t in found}) >= 3


@pytest.mark.parametrize("options", [{"beam": 3}, {"int8": True}, {"beam": 2, "int8": True}])
def test_what_was_learned_is_found_by_every_search(learned, corpus, options):
    translator = Translator(learned, **options)
    for row in corpus.rows:
        assert translator.translate([row.japanese], row.group)[0].tags == " ".join(row.tags)


def test_no_texts_give_no_translations(translator):
    assert translator.translate([], "甲") == []


def test_only_the_text_with_an_error_is_marked(translator):
    texts = ["はい", "犬", "", "ありがとう", "あ" * 10, "はい"]
    found = translator.translate(texts, "甲")
    assert [t.text for t in found] == texts
    assert [t.error is None for t in found] == [True, False, False, True, False, True]
    assert [t.tags for t in found] == ["<はい>", "", "", "<ありがとう>", "", "<はい>"]
    assert "「犬」" in str(found[1].error)
    assert "empty" in str(found[2].error)
    assert "10 characters, this model takes up to 9" in str(found[4].error)


def test_length_counts_once_normalised(translator):
    assert len(translator.encode(" ｶﾞｶﾞｶﾞｶﾞｶﾞｶﾞｶﾞｶﾞｶﾞ ")) == LIMIT
    with pytest.raises(TextError, match="10 characters"):
        translator.encode("㌔" * 5)


def test_an_unknown_group_lists_the_known_ones(translator):
    with pytest.raises(GroupError, match=r"'丙'; known groups: 甲, 乙"):
        translator.translate(["はい"], "丙")


@pytest.mark.parametrize(
    ("text", "share", "far"),
    [
        ("はい", 1, False),
        ("ハイ", 1, False),  # as it is read
        ("ありがとうね", 4 / 6, False),  # ^あり ありが りがと がとう | とうね うね$
        ("はいは", 1 / 3, True),  # ^はい | はいは いは$
        ("いいえあ", 2 / 4, False),  # ^いい いいえ | いえあ えあ$
        ("ゆき", 0, True),
        ("あ", 1, False),  # ^あ$
        ("ん", 0, True),
    ],
)
def test_familiarity_is_the_share_of_known_trigrams(translator, text, share, far):
    [found] = translator.translate([text], "乙")
    assert found.familiarity == pytest.approx(share)
    assert found.far is far


def test_a_text_with_an_error_is_not_called_far(translator):
    [found] = translator.translate(["犬"], "甲")
    assert (found.familiarity, found.far) == (0, False)

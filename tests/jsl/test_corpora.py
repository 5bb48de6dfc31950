"""Corpora of other tokens than kana and tags, in one file or two, and what is trained with them."""

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsl import checkpoint, tokens
from jsl.batching import Batches, bucket, in_slots, make_batch
from jsl.config import KINDS, SHARED, SLOTS, ModelConfig, TrainingConfig
from jsl.corpus import Row, load_corpus, load_parallel
from jsl.decode import Slots
from jsl.errors import CorpusError, RunDirError, TextError, UsageError, VocabularyError
from jsl.model import build_model, group_weights, loss_of, shapes_of
from jsl.text import SYMBOLS
from jsl.train import Saves, Trainer
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY, PAD, UNK, Vocabulary
from minigrad import cross_entropy, nn, no_grad

pytestmark = pytest.mark.usefixtures("english")

TINY = ModelConfig(d_model=8, n_heads=2, d_ff=8, n_layers=1, max_seq_len=12)
SOURCE = "私 は 行く 。\nきのう 雨 が 降っ た 。\n雨 だ 。\n犬 は 犬 だ 。\n"
TARGET = "i go .\nit rained yesterday .\nit is rain .\na dog is a dog .\n"


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "a.ja", tmp_path / "a.en"
    for path, text in zip(paths, (SOURCE, TARGET), strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    return paths


@pytest.fixture
def words(files):
    return load_parallel(*files, source_kind="word", target_kind="word")


# -------------------------------------------------------------------------------- vocabularies


def test_two_id_spaces(words):
    vocabulary = Vocabulary.from_rows(words.rows, "word", "word")
    assert not vocabulary.shared
    assert vocabulary.special == ("PAD", "SOS/EOS", "UNK")
    assert vocabulary.source_tokens == (*vocabulary.special, *vocabulary.symbols)
    assert vocabulary.target_tokens == (*vocabulary.special, *vocabulary.tags)
    assert list(vocabulary.tags) == sorted(set(TARGET.split()))
    assert vocabulary.source_size == 3 + len(set(SOURCE.split()))
    assert vocabulary.target_size == 3 + len(set(TARGET.split()))
    assert not {UNK, PAD} & set(vocabulary.output_ids)
    ids = vocabulary.encode_text(" 雨　だ 猫 ")
    assert [vocabulary.source_tokens[i] for i in ids] == ["雨", "だ", "UNK", "SOS/EOS"]
    assert vocabulary.unknown_in("雨 だ 猫") == [(3, "猫")]
    assert vocabulary.encode_tags(["it", "snows"])[1:] == [UNK, BOUNDARY]
    assert vocabulary.decode_tags(vocabulary.encode_tags(["it", "is"])) == "it is"
    with pytest.raises(ValueError, match="got 2;"):
        vocabulary.decode_tags([UNK])
    with pytest.raises(TextError, match="empty"):
        vocabulary.encode_text(" \u3000")


def test_words_that_are_rare_are_left_out(words):
    vocabulary = Vocabulary.from_rows(words.rows, "word", "word", min_count=2)
    assert set(vocabulary.symbols) == {"は", "。", "だ", "雨", "犬"}
    assert set(vocabulary.tags) == {".", "is", "it", "a", "dog"}


def test_tags_are_never_rare_and_kana_are_always_the_same():
    rows = [Row("g", "あい", ("<い>",), 2)]
    vocabulary = Vocabulary.from_rows(rows, "kana", "tag", min_count=9)
    assert (vocabulary.symbols, vocabulary.tags) == (SYMBOLS, ("<い>",))
    assert Vocabulary.from_rows(rows, "kana", "word").symbols == SYMBOLS
    with pytest.raises(TextError, match="犬"):
        Vocabulary.from_rows(rows, "kana", "word").encode_text("犬")


@given(
    source=st.sampled_from(tokens.SOURCES),
    target=st.sampled_from(tokens.TARGETS),
    symbols=st.sets(st.characters(codec="utf-8", exclude_categories=("Z", "C", "M")), min_size=1),
    tags=st.sets(st.text("abc", min_size=1, max_size=1), min_size=1),
)
def test_there_and_back(source, target, symbols, tags):
    tags = tuple(sorted(f"<{t}>" if target == "tag" else t for t in tags))
    symbols = SYMBOLS if source == "kana" else tuple(sorted(symbols))
    vocabulary = Vocabulary(tags, symbols, source, target)
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert (again, again.hash) == (vocabulary, vocabulary.hash)
    assert vocabulary.decode(vocabulary.encode_tags(tags)) == list(tags)
    assert vocabulary.target_tokens_of(vocabulary.decode_tags(vocabulary.encode_tags(tags))) == tags
    assert len(vocabulary.target_tokens) == vocabulary.target_size
    assert len(vocabulary.source_tokens) == vocabulary.source_size
    other = "word" if source != "word" else "char"
    if source != "kana" and other == "word":
        assert Vocabulary(tags, symbols, other, target).hash != vocabulary.hash


@pytest.mark.parametrize(
    "change",
    [
        {"source_tokens": "syllable"},
        {"target_tokens": ["word"]},
        {"source_tokens": "kana"},
        {"symbols": ["a b"]},
        {"tags": [""]},
        {"tags": ["a", "a"]},
        {"tags": ["\ud800"]},
        {"special": ["PAD", "SOS/EOS"]},
    ],
)
def test_a_stored_vocabulary_that_was_changed_is_refused(words, change):
    data = Vocabulary.from_rows(words.rows, "word", "word").to_json()
    with pytest.raises(VocabularyError):
        Vocabulary.from_json(data | change)


# ------------------------------------------------------------------------------------- corpora


def test_two_files_line_by_line(files, words):
    assert [row.line for row in words.rows] == [1, 2, 3, 4]
    assert words.rows[1].symbols == ("きのう", "雨", "が", "降っ", "た", "。")
    assert words.rows[1].tags == ("it", "rained", "yesterday", ".")
    assert words.groups == ("default",)
    assert words.name == "a.ja + a.en"
    characters = load_parallel(*files, source_kind="char", target_kind="char")
    assert "".join(characters.rows[0].tags) == "i go ."
    assert characters.rows[0].symbols == tuple("私 は 行く 。")
    files[1].write_text(TARGET.replace("dog", "cat"), encoding="utf-8")
    assert load_parallel(*files, source_kind="word", target_kind="word").sha256 != words.sha256


def test_lines_that_are_empty_on_one_side_are_left_out(files):
    files[1].write_text("i go .\n\n   \na dog is a dog .\n", encoding="utf-8")
    found = load_parallel(*files, source_kind="word", target_kind="word")
    assert [row.line for row in found.rows] == [1, 4]
    assert found.notes == ("2 lines that are empty on one side were left out (2-3).",)


def test_files_of_other_lengths_are_refused(files):
    files[1].write_text(TARGET + "one more\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"has 4 lines and .* 5"):
        load_parallel(*files, source_kind="word", target_kind="word")


def test_lines_end_as_they_do_elsewhere(files, words):
    files[0].write_bytes(SOURCE.replace("\n", "\r\n").encode("utf-8-sig"))
    files[1].write_text(TARGET.rstrip("\n"), encoding="utf-8")
    again = load_parallel(*files, source_kind="word", target_kind="word")
    assert again.rows == words.rows


def test_of_words_there_may_be_several_translations(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("japanese\ttags\n雨 だ\tit rains\n雨 だ\train\n雨 だ\train\n", encoding="utf-8")
    corpus = load_corpus(path, source_kind="word", target_kind="word")
    assert [row.tags for row in corpus.rows] == [("it", "rains"), ("rain",), ("rain",)]
    assert corpus.notes == ("There is no column group, so all rows are in the group default.",)
    path.write_text("japanese\ttags\nあめ\t<雨>\nあめ\t<飴>\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.tsv:3"):
        load_corpus(path)


def test_a_column_of_groups_that_is_misspelt_is_not_overlooked(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("gruop\tjapanese\ttags\n甲\tあめ\t<雨>\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="gruop"):
        load_corpus(path)


# ------------------------------------------------------------------------------------- batches


def rows_of(lengths):
    return [
        Row("甲" if i % 3 else "乙", "あ" * s, ("<い>",) * t, i) for i, (s, t) in enumerate(lengths)
    ]


def test_buckets():
    sizes = [bucket(n) for n in range(1, 200)]
    assert sorted(set(sizes)) == [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    assert all(n <= size < 2 * n or size == 4 for n, size in enumerate(sizes, 1))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.sampled_from([0, 20, 64, 200]),
    st.integers(0, 3),
)
def test_every_row_is_in_one_batch_of_its_bucket(lengths, batch_size, budget, epoch):
    rows = rows_of(lengths)
    vocabulary = Vocabulary.from_rows(rows)
    batches = Batches(rows, vocabulary, batch_size, 5, True, budget)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    seen = []
    filled = places = 0
    for batch in found:
        assert batch.src.shape[1] == bucket(batch.src.shape[1])
        assert batch.tgt_out.shape[1] == bucket(batch.tgt_out.shape[1])
        longest = max(batch.src.shape[1], batch.tgt_out.shape[1])
        assert len(batch.groups) <= batch.capacity
        assert budget == 0 or len(batch.groups) == 1 or len(batch.groups) * longest <= budget
        assert budget or len(batch.groups) <= batch_size
        full = batch.filled()
        assert full.src.shape == (batch.capacity, batch.src.shape[1])
        assert full.tokens == batch.tokens
        filled += np.count_nonzero(batch.src) + np.count_nonzero(batch.tgt_out)
        places += batch.src.size + batch.tgt_out.size
        seen += [
            (g, np.count_nonzero(s), np.count_nonzero(t))
            for g, s, t in zip(batch.groups, batch.src, batch.tgt_out, strict=True)
        ]
    assert sorted(seen) == sorted((r.group, len(r.japanese) + 1, len(r.tags) + 1) for r in rows)
    assert batches.padding() == pytest.approx(1 - filled / places)
    again = [batch.src.tobytes() for batch in batches]
    assert again == [batch.src.tobytes() for batch in found]


def test_epochs_have_their_own_order():
    rows = rows_of([(1 + i % 20, 1 + i % 7) for i in range(60)])
    batches = Batches(rows, Vocabulary.from_rows(rows), 4, 0, True)

    def order(epoch):
        batches.set_epoch(epoch)
        return [batch.src.tobytes() for batch in batches]

    first = order(0)
    assert order(1) != first
    assert order(0) == first


def test_buckets_pad_less():
    rows = rows_of([(1 + 7 * i % 40, 3) for i in range(200)])
    vocabulary = Vocabulary.from_rows(rows)
    plain = Batches(rows, vocabulary, 16, 0)
    assert Batches(rows, vocabulary, 16, 0, buckets=True).padding() < 0.6 * plain.padding()


# -------------------------------------------------------------------------------------- losses


def test_every_group_has_the_same_say():
    rows = rows_of([(2, 5), (3, 1), (1, 2), (4, 7)])  # 乙, 甲, 甲, 乙
    vocabulary = Vocabulary.from_rows(rows)
    batch = make_batch(rows, vocabulary)
    model = build_model(TINY, vocabulary, ["甲", "乙"], 0)
    ids = model.group_ids(batch.groups)
    arrays = ids, batch.src, batch.tgt_in, batch.tgt_out
    means = []
    with no_grad():
        for group in (0, 1):
            here = ids == group
            part = [a[here] for a in arrays]
            means.append(loss_of(model, *part).item())
        found = loss_of(model, *arrays, group_weights(batch)).item()
        assert found == pytest.approx(sum(means) / 2, rel=1e-5)
        assert loss_of(model, *arrays).item() != pytest.approx(found, rel=1e-3)
    weights = group_weights(batch)
    assert weights.sum() == pytest.approx(1)
    assert not weights[batch.tgt_out == PAD].any()


def test_labels_are_smoothed_in_training_only(corpus):
    training = TrainingConfig(epochs=1, batch_size=100, label_smoothing=0.3)
    smooth, plain = Trainer(corpus, TINY, training), Trainer(corpus, TINY, TrainingConfig())
    assert smooth.look() == pytest.approx(plain.look(), rel=1e-6)
    batch = make_batch(corpus.rows, smooth.vocabulary)
    with no_grad():
        model = smooth.model
        logits = model(batch.groups, batch.src, batch.tgt_in)
        expected = cross_entropy(logits, batch.tgt_out, ignore_index=PAD, label_smoothing=0.3)
    smooth.run()
    assert smooth.losses.first == pytest.approx(expected.item(), rel=1e-5)


def test_the_rate_rises_and_falls(corpus):
    training = TrainingConfig(0.5, epochs=4, batch_size=2, warmup=4, clip_norm=1e-6)
    trainer = Trainer(corpus, TINY, training)
    assert trainer.optimizer.lr(2) == pytest.approx(0.25)
    assert trainer.optimizer.lr(16) == pytest.approx(0.25)
    assert trainer.clip_norm == 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_made_as_its_config_says(kind):
    vocabulary = Vocabulary(("<い>",))
    config = replace(TINY, kind=kind, dropout=0.25, layer_norm="post")
    model = build_model(config, vocabulary, ["甲"], 0)["甲"]
    layers = [m for _, m in model.named_modules() if hasattr(m, "norm_first")]
    assert len(layers) == (2 if kind == "seq2seq" else 1)
    assert not any(layer.norm_first for layer in layers)
    assert {m.p for _, m in model.named_modules() if isinstance(m, nn.Dropout)} == {0.25}
    before = build_model(replace(config, layer_norm="pre"), vocabulary, ["甲"], 0)["甲"]
    layers = [m for _, m in before.named_modules() if hasattr(m, "norm_first")]
    assert all(layer.norm_first for layer in layers)


def test_the_best_state_is_that_of_the_lowest_loss_of_validation(corpus, tmp_path):
    """Not of the training's, which falls on and on."""
    path = tmp_path / "v.tsv"
    other = "group\tjapanese\ttags\n甲\tはい\t<食べる> <食べる>\n"
    path.write_text(other, encoding="utf-8")
    saves = Saves(tmp_path / "a", steps=1)
    training = TrainingConfig(0.02, epochs=40, batch_size=100)
    trainer = Trainer(corpus, TINY, training, saves=saves, valid=load_corpus(path))
    trainer.run()
    losses = [epoch["loss"] for epoch in trainer.history.epochs]
    valid = [epoch["val_loss"] for epoch in trainer.history.epochs]
    lowest = int(np.argmin(valid))
    assert lowest < int(np.argmin(losses))
    best = checkpoint.load(tmp_path / "a" / checkpoint.BEST)
    assert best.metrics["history"][-1]["valid_loss_per_token"] == valid[lowest]


@pytest.mark.parametrize(
    "more",
    [{"buckets": True}, {"batch_tokens": 24}, {"warmup": 3, "clip_norm": 0.1}],
    ids=lambda more: next(iter(more)),
)
def test_what_was_interrupted_goes_on_to_the_same_bits(corpus, tmp_path, more):
    """In the midst of an epoch, with dropout and batches of their own order."""
    config = replace(TINY, dropout=0.2, share=("encoder", "embeddings"))
    training = replace(TrainingConfig(0.01, epochs=2, batch_size=2, label_smoothing=0.1), **more)
    whole = Trainer(corpus, config, training, valid=corpus)
    whole.run()
    for step in range(1, whole.step):
        cut = Trainer(corpus, config, training, valid=corpus)

        def press(learner, logs, step=step):
            if learner.step == step:
                signal.raise_signal(signal.SIGINT)

        cut.report.on_batch_end = press
        cut.run()
        assert (cut.interrupted, cut.step) == (True, step)
        cut.save_run(tmp_path / str(step), {})
        before = checkpoint.load(tmp_path / str(step))
        left = replace(training, epochs=2 - before.training.epochs)
        on = Trainer(corpus, config, left, before, valid=corpus)
        on.run()
        for name, array in whole.model.state_dict().items():
            assert on.model.state_dict()[name].tobytes() == array.tobytes(), (step, name)
        figures = ("loss", "val_loss")
        assert [[e[f] for f in figures] for e in on.history.epochs] == [
            [e[f] for f in figures] for e in whole.history.epochs
        ]


# ------------------------------------------------------------------------- what groups share


SUBSETS = [(), ("encoder",), ("decoder",), ("embeddings",), ("encoder", "decoder")]
SUBSETS += [("encoder", "embeddings"), ("decoder", "embeddings")]


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("share", SUBSETS)
def test_what_is_shared_is_one(corpus, tmp_path, share, tie):
    """Programs give what plain steps give, one gradient for all groups; and files keep it."""
    config = replace(TINY, share=share, tie_embeddings=tie)
    losses, counts = [], []
    for jit in (True, False):
        trainer = Trainer(corpus, config, TrainingConfig(0.02, 3, 3), jit=jit)
        trainer.run()
        losses.append([e["loss"] for e in trainer.history.epochs])
        counts.append(sum(p.size for p in trainer.model.parameters()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    both = build_model(TINY, trainer.vocabulary, ["甲", "乙"], 0)
    everything = sum(p.size for p in both.parameters())
    assert counts[0] == counts[1] < everything or (share, tie) == ((), False)
    for half, name in (("encoder", "norm"), ("decoder", "norm")):
        one, other = (getattr(getattr(trainer.model[g], half), name).weight for g in ("甲", "乙"))
        assert (one is other) == (half in share)
    trainer.save_run(tmp_path / "a", {})
    run = checkpoint.load(tmp_path / "a")
    assert run.model == config
    shapes = shapes_of(config, *2 * [trainer.vocabulary.source_size], ["甲", "乙"])
    assert dict(shapes) == {k: w.shape for k, w in trainer.model.state_dict().items()}
    translator = Translator(tmp_path / "a")
    rows = corpus.rows[:2]
    assert trainer.exact_matches(rows) == {
        group: (
            sum(
                translator.translate([r.japanese], group)[0].tags == " ".join(r.tags)
                for r in rows
                if r.group == group
            ),
            sum(r.group == group for r in rows),
        )
        for group in ("甲", "乙")
    }
    again = Trainer(corpus, config, TrainingConfig(0.02, 3, 3), run)
    assert sum(p.size for p in again.model.parameters()) == counts[0]
    again.run()


def test_groups_that_share_everything_are_refused(corpus):
    with pytest.raises(UsageError, match="would be one"):
        Trainer(corpus, replace(TINY, share=SHARED), TrainingConfig())


# ------------------------------------------------------------------------- five tags at once


def test_decoder_only(corpus, tmp_path):
    config = ModelConfig(16, 2, 16, 1, 10, kind="decoder-only")
    trainer = Trainer(corpus, config, TrainingConfig(0.01, 120, 3))
    trainer.run()
    matches = trainer.exact_matches()
    assert matches == {"甲": (3, 3), "乙": (4, 4)}
    trainer.save_run(tmp_path / "a", matches)
    translator = Translator(tmp_path / "a")
    for row in corpus.rows:
        for texts in ([row.japanese], [row.japanese, "あ" * 9]):
            found = translator.translate(texts, row.group)[0]
            assert found.tags == " ".join(row.tags)
            assert 0 < found.probabilities[0] <= 1
    for wrong in ({"beam": 2}, {"attention": True}):
        with pytest.raises(UsageError, match="decoder-only"):
            translator.translate(["はい"], "甲", **wrong)
    with pytest.raises(UsageError, match="decoder-only"):
        Translator(tmp_path / "a", int8=True)


def test_every_slot_counts_in_the_loss_of_an_epoch(corpus):
    """In one step on the whole corpus, against a loop over its rows."""
    config = replace(TINY, kind="decoder-only")
    trainer = Trainer(corpus, config, TrainingConfig(epochs=1, batch_size=100))
    total = 0
    with no_grad():
        for row in corpus.rows:
            batch = in_slots(make_batch([row], trainer.vocabulary))
            logits = trainer.model[row.group](batch.src).numpy()[0].astype(float)
            logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            total -= logs[np.arange(SLOTS), batch.tgt_out[0]].sum()
    reports = []
    trainer.run(reports.append)
    assert reports[0].loss_per_token == pytest.approx(total / len(corpus.rows) / SLOTS, rel=1e-5)
    assert reports[0].loss_per_sentence == pytest.approx(total / len(corpus.rows), rel=1e-5)


def test_slots_hold_tags_then_ends():
    rows = rows_of([(2, 5), (3, 2)])
    batch = make_batch(rows, Vocabulary.from_rows(rows))
    filled = in_slots(replace(batch, capacity=3).filled())
    tag = 88
    assert filled.tgt_out.tolist() == [
        [tag] * 5, [tag, tag, *[BOUNDARY] * 3], [PAD] * SLOTS,
    ]  # fmt: skip


def test_slots_say_what_is_most_probable():
    rows = rows_of([(2, 5), (3, 2)])
    vocabulary = Vocabulary.from_rows(rows)
    model = build_model(replace(TINY, kind="decoder-only"), vocabulary, ["甲"], 3)["甲"]
    src = make_batch(rows, vocabulary).src
    with no_grad():
        logits = model(src).numpy()[:, :, list(vocabulary.output_ids)]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for row, [found] in zip(probabilities, Slots(model, vocabulary).search(src), strict=True):
        best = [vocabulary.output_ids[i] for i in row.argmax(axis=-1)]
        ids = best[: best.index(BOUNDARY)] if BOUNDARY in best else best
        assert found.ids == ids
        said = row.max(axis=-1)[: min(len(ids) + 1, SLOTS)]
        assert np.exp(found.log_probabilities) == pytest.approx(said, rel=1e-5)


def test_too_many_tags_for_the_slots_are_refused(tmp_path):
    path = tmp_path / "a.tsv"
    tags = " ".join(f"<{i}>" for i in range(6))
    path.write_text(f"japanese\ttags\nはい\t<あ>\nいいえ\t{tags}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 3 .* has 6"):
        Trainer(load_corpus(path), replace(TINY, kind="decoder-only"), TrainingConfig())


# ---------------------------------------------------------------------------- the command line


WORDS = ["--source-tokens", "word", "--target-tokens", "word"]
SMALL = ["--d-model", 16, "--n-heads", 2, "--d-ff", 16, "--n-layers", 1, "--learning-rate", 0.02]


def test_words_from_files_to_translations(run, files, tmp_path):
    pair = ["--source", files[0], "--target", files[1]]
    valid = ["--valid-source", files[0], "--valid-target", files[1]]
    found = run("train", *pair, *valid, *WORDS, *SMALL, "--epochs", 80, "--save", "a")
    assert (found.code, found.err) == (0, "")
    assert re.search(r"  valid \d\.\d{4}  ", found.out)
    sizes = 3 + len(set(SOURCE.split())), 3 + len(set(TARGET.split()))
    assert "vocabulary {} + {},".format(*sizes) in found.out
    assert "4 of 4 sentences for validation" in found.out
    saved = checkpoint.load(Path("a"))
    assert saved.corpus["name"] == saved.corpus["valid_name"] == "a.ja + a.en"
    assert saved.metrics["valid_exact_match"] == {"default": {"right": 4, "rows": 4}}
    assert "valid_loss_per_token" in saved.metrics["history"][-1]

    found = run("predict", "--load", "a", "犬 は 犬 だ 。", "犬 は 猫 だ 。")
    assert found.lines[0] == "a dog is a dog ."
    assert "The vocabulary lacks: “猫” at 3." in found.err
    found = run("predict", "--load", "a", "--json", "--attention", "犬 は 猫 だ 。")
    data = json.loads(found.out)
    assert data["unknown"] == [{"position": 3, "character": "猫", "codepoint": "U+732B"}]
    attention = data["translations"][0]["attention"]["cross"]
    assert attention["columns"] == ["犬", "は", "猫", "だ", "。", "SOS/EOS"]

    assert run("train", *pair, *WORDS, "--load", "a", "--epochs", 1, "--save", "b").code == 0
    assert run("train", *pair, "--load", "a", "--epochs", 1, "--save", "c").code == 0
    kana = ["--source-tokens", "char"]
    found = run("train", *pair, *kana, "--load", "a", "--max-seq-len", 40, "--save", "d")
    assert found.code == 2
    assert "char → word" in found.err


def test_characters_are_joined(run, files):
    options = ["--source-tokens", "char", "--target-tokens", "char", "--batch-tokens", 60]
    pair = ["--source", files[0], "--target", files[1]]
    assert run("train", *pair, *options, *SMALL, "--epochs", 120, "--save", "a").code == 0
    assert run("predict", "--load", "a", "私 は 行く 。").lines == ["i go ."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "a"], "--source needs --target"),
        (["--valid-target", "a"], "--valid-target needs --valid-source"),
        (["--corpus", "a", "--source", "b", "--target", "c"], "either --corpus, or --source"),
        (["--share", "all"], "expected one of encoder, decoder, embeddings, none"),
        (["--dropout", "1"], "1 is not a number from 0 to below 1"),
        (["--model", "decoder-only", "--tie-embeddings"], "decoder-only"),
    ],
)
def test_what_does_not_go_together_is_refused(run, arguments, message):
    found = run("train", *arguments, "--save", "a")
    assert (found.code, found.out) == (2, "")
    assert message in found.err


def test_a_run_goes_on_with_longer_sentences(run, learned, tmp_path):
    path = tmp_path / "long.tsv"
    path.write_text("group\tjapanese\ttags\n甲\t" + "はい" * 20 + "\t<はい>\n", encoding="utf-8")
    options = ["--load", learned, "--corpus", path, "--epochs", 1]
    found = run("train", *options, "--save", "a")
    assert found.code == 1
    assert "--max-seq-len" in found.err
    found = run("train", *options, "--max-seq-len", 9, "--save", "a")
    assert found.code == 2
    assert "at least 10" in found.err
    assert run("train", *options, "--max-seq-len", 50, "--save", "a").code == 0
    assert checkpoint.load(Path("a")).model.max_seq_len == 50
    assert run("predict", "--load", "a", "--group", "甲", "はい" * 24).code == 0


def test_an_interrupted_run_needs_its_corpus_for_validation(run, corpus, corpus_path, tmp_path):
    trainer = Trainer(corpus, TINY, TrainingConfig(epochs=2), valid=corpus)
    trainer.run()
    trainer.last_epoch = 3
    trainer.save_run(tmp_path / "work" / "a", {})
    found = run("resume", "a", "--corpus", corpus_path)
    assert found.code == 2
    assert "small.tsv for validation" in found.err
    assert run("resume", "a", "--corpus", corpus_path, "--valid", corpus_path).code == 0
    assert len(checkpoint.load(Path("a")).metrics["history"]) == 3


def test_rows_for_validation_that_no_model_can_say_are_left_out(corpus, tmp_path):
    path = tmp_path / "v.tsv"
    path.write_text(
        "group\tjapanese\ttags\n甲\tはい\t<はい>\n甲\tあう\t<未知>\n丙\tはい\t<はい>\n",
        encoding="utf-8",
    )
    valid = load_corpus(path)
    trainer = Trainer(corpus, TINY, TrainingConfig(epochs=1), valid=valid)
    assert trainer.left_out == 2
    trainer.run()
    assert trainer.history.epochs[-1]["val_loss"] > 0
    found = trainer.exact_matches(valid.rows)
    assert (found["甲"][1], found["丙"]) == (2, (0, 1))


def test_files_whose_weights_are_not_shared_as_the_config_says_are_refused(corpus, tmp_path):
    trainer = Trainer(corpus, TINY, TrainingConfig(epochs=1))
    trainer.run()
    trainer.model_config = replace(TINY, tie_embeddings=True)
    trainer.save_run(tmp_path / "a", {})
    with pytest.raises(RunDirError, match="output_projection"):
        checkpoint.load(tmp_path / "a")

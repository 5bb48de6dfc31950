"""Training: what a batch is, what a step gives, and that nothing is left to chance."""

import json
import math
import signal
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import jsl.matching
from jsl import checkpoint
from jsl.batching import Batches, make_batch
from jsl.config import PRESETS, ModelConfig, TrainingConfig
from jsl.corpus import Row, load_corpus, starter_corpus_path
from jsl.errors import TrainingError
from jsl.model import build_model
from jsl.train import Trainer, parameter_count
from jsl.translate import Translator
from jsl.vocabulary import PAD, Vocabulary
from minigrad import no_grad, runs
from minigrad.learner import Callback

SMALL = ModelConfig(d_model=8, n_heads=2, d_ff=8, n_layers=1, max_seq_len=10)

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(scope="module")
def starter():
    return load_corpus(starter_corpus_path(), PRESETS["tiny"][0].max_seq_len)


def trained(corpus, epochs=2, resume=None, **schedule):
    """A trainer that has trained."""
    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=epochs, **schedule), resume)
    trainer.run()
    return trainer


def saved(trainer, directory):
    """The run of a trainer, by way of the disk."""
    checkpoint.prepare(directory, overwrite=False)
    trainer.save_run(directory, trainer.exact_matches())
    return checkpoint.load(directory)


def without_times(history):
    return [
        {k: v for k, v in entry.items() if k not in ("seconds", "tokens_per_second")}
        for entry in history
    ]


def assert_equal_bits(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        assert got[name].tobytes() == array.tobytes(), name


# ------------------------------------------------------------------------------- batches


def test_a_batch_is_padded_and_its_targets_are_shifted():
    vocabulary = Vocabulary(("<い>", "<ろ>"))
    rows = [
        Row("甲", "ああ", ("<ろ>",), line=2),
        Row("乙", "い", ("<い>", "<い>", "<ろ>"), line=3),
    ]
    batch = make_batch(rows, vocabulary)
    # 0 pads; 1 starts and ends; ぁ is 2, あ 3, ぃ 4, い 5; the tags are 88 and 89.
    assert batch.groups == ["甲", "乙"]
    assert batch.src.tolist() == [[3, 3, 1], [5, 1, 0]]
    assert batch.tgt_in.tolist() == [[1, 89, 0, 0], [1, 88, 88, 89]]
    assert batch.tgt_out.tolist() == [[89, 1, 0, 0], [88, 88, 89, 1]]
    assert batch.tokens == 2 + 4


def rows_of(batch, vocabulary):
    """The rows that went into a batch, from its ids."""
    return [
        (group, tuple(src[src != PAD]), vocabulary.decode_tags(tgt))
        for group, src, tgt in zip(batch.groups, batch.src, batch.tgt_out, strict=True)
    ]


def epoch_rows(corpus, batch_size=3, seed=0, epoch=0):
    vocabulary = Vocabulary.from_tags(corpus.tags)
    batches = Batches(corpus.rows, vocabulary, batch_size, seed)
    batches.set_epoch(epoch)
    return [rows_of(batch, vocabulary) for batch in batches]


def test_an_epoch_has_every_row_once(corpus):
    vocabulary = Vocabulary.from_tags(corpus.tags)
    batches = epoch_rows(corpus, batch_size=3)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    everything = rows_of(make_batch(corpus.rows, vocabulary), vocabulary)
    assert Counter(row for batch in batches for row in batch) == Counter(everything)


def test_the_order_depends_on_seed_and_epoch_alone(starter):
    first = epoch_rows(starter, seed=5, epoch=2)
    Trainer(starter, SMALL, TrainingConfig())  # draws random numbers of its own
    assert epoch_rows(starter, seed=5, epoch=2) == first
    others = [epoch_rows(starter, seed=5, epoch=3), epoch_rows(starter, seed=6, epoch=2)]
    assert first not in others
    assert others[0] != others[1]


def test_batches_mix_groups(starter):
    mixed = [len({group for group, *_ in batch}) == 2 for batch in epoch_rows(starter, 8)]
    assert sum(mixed) > len(mixed) / 2


# -------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_first_every_token_is_about_equally_probable(starter, seed):
    model, training = PRESETS["tiny"]
    trainer = Trainer(starter, model, replace(training, seed=seed, epochs=1))
    trainer.run()
    assert trainer.vocabulary.source_size == 168
    assert trainer.losses.first == pytest.approx(math.log(168), rel=0.1)


def test_losses_per_token_and_per_sentence(corpus):
    """In one step on the whole corpus, against a loop over its tokens."""
    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=1, batch_size=100))
    total = tokens = 0
    with no_grad():
        for row in corpus.rows:
            batch = make_batch([row], trainer.vocabulary)
            logits = trainer.model[row.group](batch.src, batch.tgt_in).numpy()[0].astype(float)
            for scores, target in zip(logits, batch.tgt_out[0], strict=True):
                total += math.log(sum(math.exp(s) for s in scores)) - scores[target]
                tokens += 1
    assert tokens == sum(len(row.tags) + 1 for row in corpus.rows)

    reports = []
    trainer.run(reports.append)
    [progress] = reports
    assert progress.loss_per_token == pytest.approx(total / tokens, rel=1e-5)
    assert progress.loss_per_sentence == pytest.approx(total / len(corpus.rows), rel=1e-5)
    assert trainer.losses.first == pytest.approx(total / tokens, rel=1e-5)
    assert progress.tokens_per_second == pytest.approx(tokens / progress.seconds)


def test_an_epoch_weighs_its_batches_by_their_tokens(corpus):
    seen, reports = [], []

    class Watch(Callback):
        def on_batch_start(self, learner, batch):
            self.tokens = batch.tokens

        def on_batch_end(self, learner, logs):
            seen.append((logs["loss"] * self.tokens, self.tokens))

    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=1, batch_size=2))
    trainer.callbacks.append(Watch())
    trainer.run(reports.append)
    [progress] = reports
    losses, tokens = map(sum, zip(*seen, strict=True))
    assert len(seen) == 4
    assert progress.loss_per_token == pytest.approx(losses / tokens)
    assert progress.loss_per_sentence == pytest.approx(losses / 7)


def test_progress_counts_epochs(corpus):
    reports = []
    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=3))
    trainer.run(reports.append)
    assert [(p.epoch, p.epochs) for p in reports] == [(1, 3), (2, 3), (3, 3)]
    assert trainer.history["loss"] == [p.loss_per_token for p in reports]


def test_a_stop_is_heeded_at_the_end_of_a_step(corpus, tmp_path):
    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=5))
    with trainer.interrupts:
        signal.raise_signal(signal.SIGINT)  # before the first step
        trainer.run()
    assert (trainer.interrupted, trainer.epoch, trainer.step) == (True, 0, 1)
    run = saved(trainer, tmp_path / "a")
    assert run.training.epochs == 0
    assert run.progress == {"steps": 1, "last_epoch": 5, "finished": False, "jit": True}


def test_a_loss_that_is_not_finite_ends_training(corpus):
    trainer = Trainer(corpus, SMALL, TrainingConfig(learning_rate=1e30))
    with pytest.raises(TrainingError, match=r"nan|inf") as caught:
        trainer.run()
    assert "1e+30" in str(caught.value)
    assert "--learning-rate" in str(caught.value)


# ------------------------------------------------------------------------------- repeats


def test_the_same_seed_gives_the_same_bits(corpus, tmp_path):
    for name in "ab":
        saved(trained(corpus), tmp_path / name)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    configs, metrics = (
        [json.loads((tmp_path / run / name).read_text("utf-8")) for run in "ab"]
        for name in ("config.json", "metrics.json")
    )
    for config in configs:
        del config["metadata"]["trained_at"]
    for metric in metrics:
        metric["history"] = without_times(metric["history"])
    assert configs[0] == configs[1]
    assert metrics[0] == metrics[1]


def test_another_seed_gives_other_weights_and_another_order(corpus):
    a, b = (trained(corpus, epochs=1, seed=seed) for seed in (0, 1))
    assert all(
        not np.array_equal(a.model.state_dict()[name], weights)
        for name, weights in b.model.state_dict().items()
        if "norm" not in name and "bias" not in name
    )


def test_continuing_is_the_same_as_never_stopping(corpus, tmp_path):
    through = trained(corpus, epochs=4)
    run = saved(trained(corpus, epochs=2), tmp_path / "half")
    continued = trained(corpus, epochs=2, resume=run)

    assert_equal_bits(continued.model.state_dict(), through.model.state_dict())
    assert_equal_bits(continued.optimizer.state_dict(), through.optimizer.state_dict())
    assert without_times(continued.history.epochs) == without_times(through.history.epochs)
    assert continued.losses.first == through.losses.first
    assert saved(continued, tmp_path / "whole").training == through.training


def older(run):
    """The same run as earlier versions wrote it, without the Learner's own file."""
    (run.directory / checkpoint.TRAINING).unlink()
    runs.write_manifest(run.directory, checkpoint.FILES)
    return checkpoint.load(run.directory)


@pytest.mark.parametrize("jit", [True, False])
def test_a_run_of_an_earlier_version_goes_on(corpus, tmp_path, jit):
    def trainer(epochs, resume=None):
        made = Trainer(corpus, SMALL, TrainingConfig(epochs=epochs, seed=3), resume, jit=jit)
        made.run()
        return made

    run = older(saved(trainer(2), tmp_path / "half"))
    through, continued = trainer(4), trainer(2, run)
    assert_equal_bits(continued.model.state_dict(), through.model.state_dict())
    assert_equal_bits(continued.optimizer.state_dict(), through.optimizer.state_dict())
    assert without_times(continued.history.epochs) == without_times(through.history.epochs)
    assert (continued.step, continued.epoch) == (through.step, through.epoch)
    [whole, both] = (saved(t, tmp_path / str(n)) for n, t in enumerate((through, continued)))
    assert without_times(whole.metrics.pop("history")) == without_times(both.metrics.pop("history"))
    assert whole.metrics == both.metrics


def test_continuing_needs_the_optimizers_state(corpus, tmp_path):
    """The test above would notice if the state were not taken over."""
    run = saved(trained(corpus, epochs=2), tmp_path / "half")
    fresh = Trainer(corpus, SMALL, TrainingConfig()).optimizer.state_dict()
    forgetful = Trainer(corpus, SMALL, TrainingConfig(epochs=2), run)
    forgetful.optimizer.load_state_dict(fresh)
    forgetful.run()
    weights = trained(corpus, epochs=4).model.state_dict()
    assert any(not np.array_equal(forgetful.model.state_dict()[k], weights[k]) for k in weights)


def test_saved_and_loaded_logits_are_the_same_bits(corpus, tmp_path):
    trainer = trained(corpus)
    saved(trainer, tmp_path / "a")
    loaded = Translator(tmp_path / "a").model
    batch = make_batch(corpus.rows, trainer.vocabulary)
    with no_grad():
        ours, theirs = (
            model.eval()(batch.groups, batch.src, batch.tgt_in).data
            for model in (trainer.model, loaded)
        )
    assert ours.tobytes() == theirs.tobytes()


def test_the_weights_of_a_group_do_not_depend_on_the_others(corpus):
    vocabulary = Vocabulary.from_tags(corpus.tags)

    def weights(group, among, seed=0):
        return build_model(SMALL, vocabulary, among, seed)[group].state_dict()

    alone = weights("乙", ["乙"])
    for among in (["甲", "乙"], ["乙", "丙", "甲"]):
        assert_equal_bits(weights("乙", among), alone)
    embedding = "encoder.embed.weight"
    assert not np.array_equal(alone[embedding], weights("甲", ["甲"])[embedding])
    assert not np.array_equal(alone[embedding], weights("乙", ["乙"], seed=1)[embedding])


# ---------------------------------------------------------------------------- other corpora


def corpus_of(tmp_path, *rows):
    path = tmp_path / "other.tsv"
    lines = ["group\tjapanese\ttags", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return load_corpus(path, SMALL.max_seq_len)


def test_a_run_learns_groups_and_tags_that_it_does_not_know(corpus, tmp_path):
    """What it knew stays as it was; only a group that is in the new corpus learns."""
    run = saved(trained(corpus, epochs=1), tmp_path / "a")
    rows = [("丙", "はい", "<はい> <新しい>"), ("丙", "いいえ", "<あ>")]
    trainer = Trainer(corpus_of(tmp_path, *rows), run.model, TrainingConfig(epochs=2), run)
    assert trainer.grown == ["丙", "<新しい>", "<あ>"]
    assert trainer.vocabulary.tags == (*run.vocabulary.tags, "<あ>", "<新しい>")
    assert trainer.model.groups == ["甲", "乙", "丙"]
    for name, array in trainer.model.state_dict().items():
        if name in run.weights:
            known = tuple(slice(0, n) for n in run.weights[name].shape)
            assert array[known].tobytes() == run.weights[name].tobytes(), name
            new = array[len(run.weights[name]) :]
            if name.endswith("output_projection.bias"):
                assert new.tolist() == [checkpoint.UNHEARD] * 2, name
            if name.endswith("output_projection.weight"):
                assert new.any() == 0, name
    trainer.run()
    assert trainer.exact_matches()["乙"] == (0, 0)
    after = saved(trainer, tmp_path / "b")
    assert after.groups == ("甲", "乙", "丙")
    assert [e["epoch"] for e in after.metrics["history"]] == [1, 2, 3]
    for name, array in run.weights.items():
        known = tuple(slice(0, n) for n in array.shape)
        assert after.weights[name][known].tobytes() == array.tobytes(), name
    texts = ["はい", "いう"]
    before = Translator(tmp_path / "a").translate(texts, "甲")
    assert [t.tags for t in Translator(tmp_path / "b").translate(texts, "甲")] == [
        t.tags for t in before
    ]
    assert checkpoint.load(tmp_path / "b").vocabulary == trainer.vocabulary


def test_a_run_keeps_the_groups_that_another_corpus_lacks(corpus, tmp_path):
    run = saved(trained(corpus, epochs=1), tmp_path / "a")
    only_second = corpus_of(tmp_path, ("乙", "うえ", "<はい>"))
    trainer = trained(only_second, epochs=1, resume=run)
    assert trainer.exact_matches()["甲"] == (0, 0)

    continued = saved(trainer, tmp_path / "b")
    assert continued.groups == ("甲", "乙")
    assert run.trigrams < continued.trigrams  # both corpora were trained on
    assert "^うえ" in continued.trigrams
    for name, weights in run.weights.items():
        same = continued.weights[name].tobytes() == weights.tobytes()
        assert same or name.startswith("models.乙.")  # the other group sat out
    assert Translator(tmp_path / "b").translate(["はい"], "甲")[0].error is None


# ------------------------------------------------------------------------------- results


def test_exact_matches_are_counted_by_group(corpus, monkeypatch):
    trainer = Trainer(corpus, SMALL, TrainingConfig())
    vocabulary = trainer.vocabulary

    class Generator:
        def greedy(self, src):
            """The tags of 甲 whatever the group."""
            answers = {
                (*vocabulary.encode_text(row.japanese),): vocabulary.encode_tags(row.tags)[:-1]
                for row in corpus.rows
                if row.group == "甲"
            }
            return [answers.get(tuple(ids[ids != PAD].tolist()), []) for ids in src]

    monkeypatch.setattr(
        jsl.matching, "generator", lambda model, vocabulary, max_length: Generator()
    )
    assert vocabulary.source_size == 88 + 6
    for batch_size in (1, 2, 64):
        assert trainer.exact_matches(batch_size=batch_size) == {"甲": (3, 3), "乙": (1, 4)}


def test_the_main_job(starter, tmp_path):
    """The preset learns the bundled corpus by heart, and what is saved translates it."""
    model, training = PRESETS["tiny"]
    trainer = Trainer(starter, model, training)
    assert parameter_count(trainer.model) == 61_136
    trainer.run()
    matches = trainer.exact_matches()
    assert trainer.history["loss"][-1] < 0.05
    assert matches == {"日本手話": (47, 47), "日本語対応手話": (47, 47)}

    saved(trainer, tmp_path / "run")
    translator = Translator(tmp_path / "run")
    for group in translator.groups:
        rows = [row for row in starter.rows if row.group == group]
        found = translator.translate([row.japanese for row in rows], group)
        assert [t.tags for t in found] == [" ".join(row.tags) for row in rows]
        assert {t.familiarity for t in found} == {1.0}
    [eat] = translator.translate(["ワタシハタベマス"], "日本手話")
    assert eat.tags == "<私> <食べる>"

"""Metrics of the Learner, against scikit-learn's and sacrebleu's values as literals."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import OutOfRangeError, ShapeError, StateError
from minigrad.learner import (
    BLEU,
    Accuracy,
    Mean,
    MeanSquaredError,
    Metric,
    Perplexity,
    SparseCategoricalAccuracy,
)

Y = np.array([3, 2, 2, 1, 1, 0, 0, 0])
SCORES = np.array(
    [
        [-0.5, 0.4, 1.3, 0.9], [-0.7, -1.3, -0.6, 0.0], [-2.3, -0.2, -1.2, -0.7],
        [-0.5, -0.3, 0.4, 1.0], [-0.1, 1.4, -0.7, 0.4], [0.9, 0.1, -0.7, -0.9],
        [-0.5, 0.2, -1.0, -0.2], [-0.2, 0.5, 0.2, 0.4],
    ]
)  # fmt: skip
WEIGHTS = np.array([1, 2, 3, 0.5, 1, 1, 0, 2])


def seen(metric, *batches):
    for batch in batches:
        metric.update(*batch)
    return metric


@pytest.mark.parametrize("kind", [Accuracy, SparseCategoricalAccuracy])
@pytest.mark.parametrize("convert", [np.asarray, mg.tensor])
def test_accuracy_is_that_of_scikit_learn(kind, convert):
    scores, y = convert(SCORES), convert(Y)
    assert seen(kind(), (scores, y)).result() == pytest.approx(0.25)
    weighted = seen(kind(), (scores, y, WEIGHTS)).result()
    assert weighted == pytest.approx(0.19047619047619047)
    parts = [(SCORES[:3], Y[:3], WEIGHTS[:3]), (SCORES[3:], Y[3:], WEIGHTS[3:])]
    assert seen(kind(), *parts).result() == pytest.approx(weighted)


def test_accuracy_of_labels_and_of_one_hot():
    assert seen(Accuracy(), ([1, 2, 3], [1, 2, 0])).result() == pytest.approx(2 / 3)
    assert seen(Accuracy(), (SCORES, np.eye(4)[Y])).result() == pytest.approx(0.25)
    sequences = SCORES.reshape(2, 4, 4), Y.reshape(2, 4)
    assert seen(Accuracy(), sequences).result() == pytest.approx(0.25)


def test_mean_squared_error_is_that_of_scikit_learn():
    a = [[-0.7, -0.1], [0.8, 1.5], [-1.3, 1.5], [1.3, 0.8]]
    b = [[0.3, -0.3], [1.5, 2.0], [1.8, 1.3], [0.4, -1.2]]
    assert seen(MeanSquaredError(), (a, b)).result() == pytest.approx(2.03)
    weighted = seen(MeanSquaredError(), (a, b, [1, 2, 0, 3])).result()
    assert weighted == pytest.approx(1.4125)
    with pytest.raises(ShapeError, match=r"\(4, 1\) and \(4,\)"):
        MeanSquaredError().update(np.ones((4, 1)), np.ones(4))


def test_perplexity_is_that_of_scikit_learn():
    assert seen(Perplexity(), (SCORES, Y)).result() == pytest.approx(3.948920881678674)
    weighted = seen(Perplexity(), (SCORES, Y, WEIGHTS)).result()
    assert weighted == pytest.approx(4.22995876992554)
    # uniform logits over C classes
    assert seen(Perplexity(), (np.zeros((5, 7)), np.arange(5))).result() == pytest.approx(7)
    assert seen(Perplexity(), (np.array([[0.0, -1e6]]), [1])).result() == math.inf


def test_labels_to_be_ignored_do_not_count():
    padded = np.concatenate([Y[:4], [-100, -100]]).reshape(2, 3)
    scores = np.concatenate([SCORES[:4], SCORES[:2]]).reshape(2, 3, 4)
    for metric in (Perplexity(ignore_index=-100), SparseCategoricalAccuracy(ignore_index=-100)):
        plain = seen(type(metric)(), (SCORES[:4], Y[:4])).result()
        assert seen(metric, (scores, padded)).result() == pytest.approx(plain)
    only = seen(Perplexity(), (scores, padded, np.array([1.0, 0.0])))  # a weight for each row
    assert only.result() == pytest.approx(seen(Perplexity(), (SCORES[:3], Y[:3])).result())


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(OutOfRangeError, match=r"\[0, 4\).*from -1 to 3"):
        Perplexity().update(SCORES, np.array([3, 2, 2, 1, 1, 0, 0, -1]))


def test_mean_is_weighted_by_what_it_counts():
    mean = seen(Mean("loss"), (1.0, 10), (4.0, 20))
    assert mean.result() == 3.0
    assert repr(mean) == "Mean(name='loss', result=3)"
    assert seen(Mean(), ([1.0, 2.0],), ([6.0],)).result() == 3.0
    assert seen(Mean(), ([1.0, math.nan], [1, 0])).result() == 1.0  # no weight, no part in it
    assert math.isnan(Mean().result())
    with pytest.raises(ShapeError, match=r"broadcast to \(3,\), got \(2,\)"):
        Mean().update(np.ones(3), np.ones(2))


def test_nothing_seen_is_no_number_and_reset_forgets():
    for kind in (Mean, Accuracy, SparseCategoricalAccuracy, MeanSquaredError, Perplexity, BLEU):
        assert math.isnan(kind().result())
    metric = seen(Accuracy(), (SCORES, Y))
    metric.reset()
    assert math.isnan(metric.result())


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match=r"accuracy: .*\(8, 4\) and \(7,\)"):
        Accuracy().update(SCORES, Y[:7])
    with pytest.raises(ShapeError, match=r"scores \(..., C\) and labels"):
        SparseCategoricalAccuracy().update(Y, Y)
    with pytest.raises(NotImplementedError, match="Metric must define update"):
        Metric().update(1, 1)


SENTENCES = {  # translations, lists of references; sacrebleu with smooth_method exp and none
    "long": (["the cat sat on the mat today"], [("the cat sat on the mat",)], 80.9106711570, None),
    "no 4-gram of two": (
        ["the cat is on the mat", "there is a dog here"],
        [("the cat sat on the mat",), ("there is a big dog here",)],
        33.12307792537, 0.0,
    ),
    "only words": (["a b c d e f g"], [("a b x d e y g",)], 19.64073254502566, 0.0),
    "too short for 4-grams": (["the cat"], [("the cat sat",)], 0.0, 0.0),
    "brief": (["a b c d"], [("a b c d e f",)], 60.65306597126, None),
    "one word right": (["q w e r t"], [("a b c d e",)], 10.6821751598, 0.0),
    "nothing right": (["q w u r t"], [("a b c d e",)], 0.0, 0.0),
    "Papineni's": (
        ["it is a guide to action which ensures that the military always obeys the commands of the "
         "party"],
        [("it is a guide to action that ensures that the military will forever heed party commands",
          "it is the guiding principle which guarantees the military forces always being under the "
          "command of the party",
          "it is the practical guide for the army always to heed the directions of the party")],
        50.4566684005, None,
    ),
    "repeated": (
        ["the the the the the the the"],
        [("the cat is on the mat", "there is a cat on the mat")], 7.809849842300637, 0.0,
    ),
    "a reference of one word": (["b d c d", "a"], [("a", "b d c d"), ("b", "a")], 100.0, None),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_bleu_is_that_of_sacrebleu(name):
    translations, references, smooth, plain = SENTENCES[name]
    assert seen(BLEU(), (translations, references)).result() == pytest.approx(smooth)
    found = seen(BLEU(smooth="none"), (translations, references)).result()
    assert found == pytest.approx(smooth if plain is None else plain)


def test_bleu_takes_words_in_several_forms():
    wanted = 80.91067115702212
    reference = ["the", "cat", "sat", "on", "the", "mat"]
    words = [*reference, "today"]
    assert seen(BLEU(), ([words], [reference])).result() == pytest.approx(wanted)
    assert seen(BLEU(), ([words], [[reference, ["x"]]])).result() == pytest.approx(wanted)
    ids = {w: i for i, w in enumerate(sorted(set(words)))}
    arrays = np.array([[ids[w] for w in words]]), mg.tensor([[ids[w] for w in reference]])
    assert seen(BLEU(), arrays).result() == pytest.approx(wanted)
    assert seen(BLEU(), (["the cat"], ["the cat sat"])).result() == 0.0
    assert seen(BLEU(order=2), (["the cat"], ["the cat sat"])).result() == pytest.approx(60.6530659)
    assert seen(BLEU(), ([""], ["a b"])).result() == 0.0


def test_bleu_says_what_it_expects():
    with pytest.raises(ValueError, match="several references of one translation go into a tuple"):
        BLEU().update(["a b c"], [["a b c", "a c"]])
    with pytest.raises(TypeError, match="got one string"):
        BLEU().update("a b c", "a b c")
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        BLEU().update(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="smooth 'exp' or 'none'"):
        BLEU(smooth="floor")


def batches_for(metric, rng, count):
    if isinstance(metric, BLEU):
        words = [[list(rng.integers(0, 3, rng.integers(1, 9))) for _ in range(2)] for _ in "ab"]
        return [tuple(words) for _ in range(count)]
    if isinstance(metric, Mean):
        return [(rng.normal(size=3), rng.uniform(size=3)) for _ in range(count)]
    if isinstance(metric, MeanSquaredError):
        return [(rng.normal(size=(3, 2)), rng.normal(size=(3, 2))) for _ in range(count)]
    return [(rng.normal(size=(3, 4)), rng.integers(0, 4, 3)) for _ in range(count)]


@given(
    st.sampled_from(
        [Mean, Accuracy, SparseCategoricalAccuracy, MeanSquaredError, Perplexity, BLEU]
    ),
    st.integers(0, 2**32 - 1),
    st.integers(0, 4),
    st.integers(1, 4),
)
def test_merged_and_resumed_metrics_are_as_one_that_saw_all(kind, seed, first, second):
    batches = batches_for(kind(), np.random.default_rng(seed), first + second)
    whole = seen(kind(), *batches).result()
    merged = seen(kind(), *batches[:first]).merge(seen(kind(), *batches[first:]))
    assert merged.result() == pytest.approx(whole)
    resumed = kind()
    resumed.load_state_dict(json.loads(json.dumps(seen(kind(), *batches[:first]).state_dict())))
    assert seen(resumed, *batches[first:]).result() == whole


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="expected a Mean, got a Accuracy"):
        Mean().merge(Accuracy())
    with pytest.raises(TypeError, match="BLEU of order 4"):
        BLEU().merge(BLEU(order=2))
    with pytest.raises(StateError, match=r"expected the entries \['total', 'weight'\]"):
        Mean().load_state_dict({"total": 1.0})


def test_a_metric_of_ones_own():
    class Largest(Metric):
        name = "largest"

        def reset(self):
            self.value = -math.inf

        def update(self, y_pred, y, weight=None):
            self.value = max(self.value, float(mg.tensor(y_pred).max().item()))

        def result(self):
            return self.value

    assert seen(Largest(), ([1.0, 3.0], None), ([2.0], None)).result() == 3.0


def test_metrics_refuse_to_be_captured():
    metric = Mean()

    @mg.jit
    def step(x):
        metric.update(x.sum())
        return x * 2

    with pytest.raises(mg.errors.CaptureError, match=r"numpy\(\) asks for a value"):
        step(np.ones(3, "float32"))
    assert metric.weight == 0


def test_scores_are_no_labels():
    """Their accuracy would be 0, without a word."""
    scores, labels = np.array([[0.2], [0.9]], "f"), np.array([[0.0], [1.0]], "f")
    with pytest.raises(ShapeError, match=r"\(2, 1\) numbers that are no labels; .* y_pred > 0.5"):
        Accuracy().update(scores, labels)
    accuracy = Accuracy()
    accuracy.update(scores > 0.5, labels)
    accuracy.update(np.array([[np.nan], [1.0]], "f"), labels)
    assert accuracy.result() == 0.75

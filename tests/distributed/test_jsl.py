"""`mpiexec -n 2 jsl train`: the run of one process, and what is said is said once."""

import json

import numpy as np
import pytest
import several

from minigrad import runs

SMALL = ["--d-model", "8", "--d-ff", "8", "--n-heads", "2", "--n-layers", "1", "--dropout", "0"]


@pytest.fixture
def corpus(tmp_path):
    """Seven rows of two groups and unequal lengths; two processes share a batch of three."""
    lines = ["group\tjapanese\ttags"]
    for i, text in enumerate(["あ", "いうえお", "か", "きくけ", "こさ", "しすせそた", "ち"]):
        tags = " ".join(f"<{c}>" for c in text[: 1 + i % 3])
        lines.append(f"{('日本手話', '日本語対応手話')[i % 2]}\t{text}\t{tags}")
    file = tmp_path / "corpus.tsv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def train(processes, *arguments):
    found = several.run(processes, "-m", "jsl", *arguments, limit=100)
    assert found.code == 0, found.text
    return found.text


def same_run(a, b):
    left, right = (runs.load_arrays(d / "model.safetensors") for d in (a, b))
    assert left.keys() == right.keys()
    for name, w in left.items():
        if name.endswith("k_proj.bias"):  # its gradient is zero, and Adam makes steps of the noise
            continue
        np.testing.assert_allclose(right[name], w, rtol=2e-4, atol=2e-5, err_msg=name)
    one, two = (json.loads((d / "metrics.json").read_text()) for d in (a, b))
    for x, y in zip(one["history"], two["history"], strict=True):
        for name in ("loss_per_token", "loss_per_sentence"):
            assert x[name] == pytest.approx(y[name], rel=1e-5)
    assert one["loss_by_group"] == pytest.approx(two["loss_by_group"], rel=1e-4)
    assert one["exact_match"] == two["exact_match"]


@pytest.mark.parametrize(
    "options",
    [
        ["--clip-norm", "0.1", "--label-smoothing", "0.1"],
        ["--loss-weighting", "group", "--buckets", "--no-jit"],
        ["--loss-weighting", "group", "--model", "decoder-only"],
    ],
    ids=["tokens", "groups", "slots"],
)
def test_two_processes_train_the_run_of_one(options, corpus, tmp_path):
    given = ["train", "--corpus", corpus, "--epochs", 2, "--batch-size", 3, *SMALL, *options]
    train(0, *given, "--save", tmp_path / "one")
    text = train(2, *given, "--save", tmp_path / "two")
    same_run(tmp_path / "one", tmp_path / "two")
    assert text.count("2 processes share the work; rank 0 writes.") == 1
    assert text.count("epoch 2/2") == text.count("Saved to") == 1


def test_a_training_of_two_goes_on_with_three(corpus, tmp_path):
    given = ["train", "--corpus", corpus, "--batch-size", 3, *SMALL]
    train(0, *given, "--epochs", 4, "--save", tmp_path / "one")
    train(2, *given, "--epochs", 2, "--save", tmp_path / "begun")
    load = ["train", "--corpus", corpus, "--load", tmp_path / "begun", "--epochs", 2]
    train(3, *load, "--save", tmp_path / "gone-on")
    same_run(tmp_path / "one", tmp_path / "gone-on")


def test_an_error_of_all_is_said_once(corpus, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    given = ["train", "--corpus", corpus, *SMALL, "--save", tmp_path / "full"]
    found = several.run(2, "-m", "jsl", *given)
    assert found.code != 0
    assert found.text.count("is not empty") == 1, found.text
    assert "Traceback" not in found.text, found.text
    missing = several.run(2, "-m", "jsl", "train", "--corpus", tmp_path / "no.tsv")
    assert missing.code != 0
    assert missing.text.count("no.tsv") == 1, missing.text


def test_several_processes_can_be_asked_for(corpus):
    found = several.run(0, "-m", "jsl", "train", "--corpus", corpus, "--distributed")
    assert found.code == 1
    assert "was started alone" in found.text

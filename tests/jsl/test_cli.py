"""The command line: what it prints and where, its exit codes, and how it is interrupted."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support import Result

import jsl.commands.predict
import jsl.commands.train
import jsl.messages
import jsl.train
import jsl.translate
import minigrad
from jsl import checkpoint
from minigrad import runs

# Quick to train, on the small corpus.
QUICK = ["--d-model", "8", "--d-ff", "8", "--n-layers", "1"]

posix = pytest.mark.skipif(os.name != "posix", reason="signals and shells of POSIX")


def process(*arguments, code=None, cwd=None, **environment):
    """`jsl`, or Python `code`, in a process of its own."""
    command = [sys.executable, *(("-c", code) if code else ("-m", "jsl")), *map(str, arguments)]
    found = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C", **environment},
    )
    return Result(found.returncode, found.stdout, found.stderr)


# --------------------------------------------------------------------------------- train


@pytest.fixture
def train(run, corpus_path):
    """A quick training on the small corpus."""

    def train(*arguments):
        return run("train", "--corpus", corpus_path, *QUICK, *arguments)

    return train


EPOCH = re.compile(
    r"epoch (\d+)/(\d+)  loss \d+\.\d{4} per token \d+\.\d{4} per sentence  "
    r"[\d,]+ tokens/s(?:  \d+:\d\d left)?"
)


def epochs_of(result):
    return [
        tuple(map(int, EPOCH.fullmatch(line).groups()))
        for line in result.lines
        if line.startswith("epoch")
    ]


def test_train_prints_plain_lines_and_saves(train):
    found = train("--epochs", 3, "--save", "a")
    assert (found.code, found.err) == (0, "")
    assert epochs_of(found) == [(1, 3), (2, 3), (3, 3)]
    assert "7 rows (groups: 甲, 乙), vocabulary 94," in found.out
    assert found.lines[0].startswith("Computing on the CPU with NumPy")
    assert re.fullmatch(r"甲: \d of 3 rows are translated exactly\.", found.lines[-3])
    assert found.lines[-1] == "Saved to a."
    assert not set(found.out) & set("\r\b\x1b")
    assert checkpoint.load(Path("a")).training.epochs == 3


def test_a_long_training_prints_about_twenty_lines(train):
    epochs = epochs_of(train("--epochs", 100))
    assert 15 <= len(epochs) <= 25
    assert (epochs[0], epochs[-1]) == ((1, 100), (100, 100))


def test_by_default_a_run_is_saved_under_its_time(train):
    found = train("--epochs", 1)
    [directory] = Path("models", "jsl-seq2seq").iterdir()
    assert re.fullmatch(r"\d{8}_\d{6}", directory.name)
    assert found.lines[-1] == f"Saved to {directory}."
    checkpoint.load(directory)


def test_every_option_reaches_the_config(run, corpus_path):
    options = {
        "--preset": "tiny",
        "--epochs": 2,
        "--batch-size": 4,
        "--learning-rate": 0.25,
        "--seed": 2**64 - 1,
        "--d-model": 12,
        "--n-heads": 3,
        "--d-ff": 5,
        "--n-layers": 2,
        "--max-seq-len": 11,
        "--dropout": 0.25,
        "--layer-norm": "post",
        "--share": "embeddings,encoder",
        "--label-smoothing": 0.125,
        "--warmup": 3,
        "--clip-norm": 2,
        "--min-count": 2,
        "--batch-tokens": 40,
        "--loss-weighting": "group",
        "--backend": "numpy",
    }
    pairs = [word for pair in options.items() for word in pair]
    flags = ["--tie-embeddings", "--buckets"]
    assert run("train", "--corpus", corpus_path, "--save", "a", *pairs, *flags).code == 0
    config = json.loads(Path("a", "config.json").read_text("utf-8"))
    assert config["model"] == {
        "d_model": 12,
        "n_heads": 3,
        "d_ff": 5,
        "n_layers": 2,
        "max_seq_len": 11,
        "vocab_size": 94,
        "target_vocab_size": 94,
        "dropout": 0.25,
        "layer_norm": "post",
        "tie_embeddings": True,
        "share": ["encoder", "embeddings"],
        "kind": "seq2seq",
    }
    assert config["training"] == {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.25,
        "seed": 2**64 - 1,
        "optimizer": "Adam",
        "warmup": 3,
        "clip_norm": 2.0,
        "label_smoothing": 0.125,
        "buckets": True,
        "batch_tokens": 40,
        "min_count": 2,
        "loss_weighting": "group",
    }
    assert config["metadata"]["backend"] == "numpy"


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_it_trains_in_other_precisions(run, corpus_path, precision):
    options = ["--epochs", 3, "--precision", precision, "--backend", "numpy"]
    assert run("train", "--corpus", corpus_path, "--save", "a", *options).code == 0
    metrics = json.loads(Path("a", "metrics.json").read_text("utf-8"))
    losses = [epoch["loss_per_token"] for epoch in metrics["history"]]
    assert losses[-1] < losses[0]


def test_options_have_the_names_that_they_had(run, corpus_path):
    sizes = ["--heads", 4, "--layers", 1, "--max-length", 12]
    found = run("train", "--corpus", corpus_path, *sizes, "--epochs", 1, "--save", "a")
    assert found.code == 0
    model = checkpoint.load(Path("a")).model
    assert (model.n_heads, model.n_layers, model.max_seq_len) == (4, 1, 12)


def test_the_defaults_are_the_preset_and_the_bundled_corpus(run):
    found = run("train", "--epochs", 1, "--save", "a")
    assert "94 rows (groups: 日本手話, 日本語対応手話), vocabulary 168, 61,136 para" in found.out
    config = json.loads(Path("a", "config.json").read_text("utf-8"))
    assert config["model"]["d_model"] == 16
    assert config["training"]["batch_size"] == 8
    assert config["training"]["seed"] == 0


def test_another_process_trains_the_same_bits(train, corpus_path):
    assert train("--epochs", 2, "--save", "a").code == 0
    found = process("train", "--corpus", corpus_path, *QUICK, "--epochs", 2, "--save", "b")
    assert found.code == 0, found.err
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_a_run_goes_on(train, run, corpus_path):
    assert train("--epochs", 4, "--save", "through").code == 0
    assert train("--epochs", 2, "--save", "half").code == 0
    options = ["--corpus", corpus_path, "--load", "half", "--epochs", 2, "--save", "whole"]
    found = run("train", *options)
    assert (found.code, found.err) == (0, "")
    assert epochs_of(found) == [(3, 4), (4, 4)]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert Path("through", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_run_goes_on_with_another_schedule(train, run, corpus_path):
    assert train("--epochs", 1, "--save", "a").code == 0
    options = ["--learning-rate", 0.5, "--batch-size", 2, "--epochs", 1]
    assert run("train", "--load", "a", "--corpus", corpus_path, *options, "--save", "b").code == 0
    config = json.loads(Path("b", "config.json").read_text("utf-8"))["training"]
    assert (config["learning_rate"], config["batch_size"], config["epochs"]) == (0.5, 2, 2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--preset", "tiny"),
        ("--seed", 0),
        ("--d-model", 8),
        ("--n-heads", 2),
        ("--d-ff", 8),
        ("--n-layers", 1),
        ("--layer-norm", "pre"),
        ("--tie-embeddings", None),
        ("--share", "encoder"),
        ("--model", "seq2seq"),
        ("--min-count", 1),
    ],
)
def test_what_a_continued_run_keeps_cannot_be_given(run, learned, option, value):
    values = [] if value is None else [value]
    found = run("train", "--load", learned, option, *values, "--save", "b")
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"Error: {option} cannot be changed")
    assert not os.listdir()


def test_a_run_goes_on_with_its_own_corpus_or_one_that_is_named(run, learned, tmp_path):
    found = run("train", "--load", learned, "--save", "b")
    assert found.code == 2
    assert "another corpus, small.tsv" in found.err
    assert "--corpus" in found.err

    other = tmp_path / "other.tsv"
    other.write_text("group\tjapanese\ttags\n甲\tはい\t<はい>\n", encoding="utf-8")
    options = ["--load", learned, "--corpus", other, "--epochs", 1, "--save", "c"]
    found = run("train", *options)
    assert found.code == 0
    assert found.err == "Note: this is not the corpus that the run was trained on before.\n"
    assert run("predict", "--load", "c", "はい").code == 0


def test_a_directory_with_something_in_it_is_refused_before_training(train, monkeypatch):
    def fail(*arguments):
        raise AssertionError("training has begun")

    Path("mine").mkdir()
    Path("mine", "notes.txt").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(jsl.train, "Trainer", fail)
        found = train("--save", "mine")
    assert (found.code, found.out) == (1, "")
    assert "mine is not empty" in found.err
    assert "--overwrite" in found.err
    assert os.listdir("mine") == ["notes.txt"]

    assert train("--save", "mine", "--overwrite", "--epochs", 1).code == 0
    assert Path("mine", "notes.txt").read_text() == "mine"
    checkpoint.load(Path("mine"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", "0", "--epochs: expected an integer from 1 to 1000000000, got 0."),
        ("--epochs", "-3", "from 1 to 1000000000, got -3."),
        ("--epochs", "1.5", "got 1.5."),
        ("--epochs", "many", "got many."),
        ("--batch-size", "0", "--batch-size: expected an integer from 1 to 1000000, got 0."),
        ("--learning-rate", "0", "--learning-rate: expected a positive number, got 0."),
        ("--learning-rate", "-0.1", "expected a positive number, got -0.1."),
        ("--learning-rate", "nan", "expected a positive number, got nan."),
        ("--learning-rate", "inf", "expected a positive number, got inf."),
        ("--learning-rate", "fast", "--learning-rate: expected a positive number, got fast."),
        ("--seed", "-1", "--seed: expected an integer from 0 to 18446744073709551615, got -1."),
        ("--seed", str(2**64), "got 18446744073709551616."),
        ("--d-model", "0", "--d-model: expected an integer from 1 to 16384"),
        ("--n-heads", "3", "d_model (16) must be a multiple of the number of heads (3)"),
        ("--d-ff", "0", "--d-ff: expected an integer from 1 to 65536"),
        ("--n-layers", "0", "--n-layers: expected an integer from 1 to 1000"),
        (
            "--max-seq-len",
            "1",
            "--max-seq-len: expected an integer from 2 to 10000, got 1. auto will do as well.",
        ),
        ("--preset", "big", "--preset: expected one of tiny, long, large, got big."),
        ("--backend", "tpu", "--backend: expected one of auto, cupy, numpy, got tpu."),
        ("--epoch-count", "3", "There is no option --epoch-count."),
    ],
)
def test_wrong_values_are_refused_at_once(run, option, value, message):
    found = run("train", option, value, "--save", "a")
    assert (found.code, found.out) == (2, "")
    assert message in found.err
    assert not os.listdir()


def test_problems_with_a_corpus_are_all_shown(run, tmp_path):
    found = run("train", "--corpus", "none.tsv")
    assert (found.code, found.err) == (1, "Error: There is no corpus none.tsv.\n")

    bad = tmp_path / "bad.tsv"
    bad.write_text("group\tjapanese\ttags\n甲\t犬\t<犬>\n甲\tはい\tはい\n", encoding="utf-8")
    found = run("train", "--corpus", bad)
    assert found.code == 1
    assert f"{bad}:2:" in found.err
    assert f"{bad}:3:" in found.err

    found = run("train", "--max-seq-len", 3)
    assert found.code == 1
    assert "--max-seq-len 10 (or auto) would do" in found.err
    assert not os.listdir()


def test_a_training_that_diverges_says_so(train):
    found = train("--learning-rate", "1e30", "--save", "a")
    assert found.code == 1
    assert "Lower the learning rate" in found.err
    assert not os.path.exists("a")


# -------------------------------------------------------------------------- interruptions


STOPPING = "Saving after this step, then stopping. To leave without saving, press Ctrl-C"


def pressing(monkeypatch, method, *numbers):
    """At the next call of a Trainer's method these signals come."""
    real, left = getattr(jsl.train.Trainer, method), list(numbers)

    def press(self, *arguments):
        while left:
            signal.raise_signal(left.pop())
        return real(self, *arguments)

    monkeypatch.setattr(jsl.train.Trainer, method, press)


STOPS = [(signal.SIGINT, 1), (signal.SIGTERM, 143)]
STOPS += [(signal.SIGHUP, 129)] if hasattr(signal, "SIGHUP") else []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_stops_after_the_step_and_what_there_is_is_saved(
    train, run, monkeypatch, number, code, times
):
    before = signal.getsignal(signal.SIGINT)
    pressing(monkeypatch, "weigh", *[number] * times)
    found = train("--epochs", 3, "--save", "a b")
    assert signal.getsignal(signal.SIGINT) is before
    assert found.code == code
    assert [line.startswith(STOPPING) for line in found.err.splitlines()] == [True] * times
    assert "2 more" in found.err
    assert ("1 more" in found.err) == (times == 2)
    assert found.lines[-2] == "Saved to a b."
    begun = checkpoint.load(Path("a b"))
    assert begun.progress == {"steps": 1, "last_epoch": 3, "finished": False, "jit": True}

    program, *arguments = shlex.split(found.lines[-1].removeprefix("To go on:  "))
    assert (program, arguments[:3]) == ("jsl", ["train", "--resume", "a b"])
    found = run(*arguments)
    assert (found.code, found.err) == (0, "")
    assert epochs_of(found) == [(1, 3), (2, 3), (3, 3)]
    assert train("--epochs", 3, "--save", "through").code == 0
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert Path("through", name).read_bytes() == Path("a b", name).read_bytes()


def test_resume_is_a_command_too(train, run, monkeypatch, corpus_path):
    pressing(monkeypatch, "weigh", signal.SIGINT)
    assert train("--epochs", 3, "--save", "a b").code == 1
    shutil.copytree("a b", "c")
    options = ["--corpus", corpus_path, "--no-jit"]
    by_option, by_name = (
        run(*command, *options) for command in (["train", "--resume", "a b"], ["resume", "c"])
    )
    assert by_name.code == 0, by_name.err
    assert epochs_of(by_name) == epochs_of(by_option) == [(1, 3), (2, 3), (3, 3)]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert Path("a b", name).read_bytes() == Path("c", name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "DIR is missing."),
        (["none"], 1, "There is no run directory none."),
        (["LEARNED"], 2, "has come to its end"),
        (["LEARNED", "--epochs", 3], 2, "There is no option --epochs."),
        (["LEARNED", "--encoding", "utf-8"], 2, "--corpus"),
    ],
)
def test_wrong_resumptions(run, learned, arguments, code, message):
    found = run("resume", *(learned if a == "LEARNED" else a for a in arguments))
    assert (found.code, found.out) == (code, "")
    assert message in found.err


def test_the_third_ctrl_c_ends_in_the_midst_of_a_step(train, monkeypatch):
    pressing(monkeypatch, "loss_step", *[signal.SIGINT] * 3)
    found = train("--epochs", 3, "--save", "a")
    assert found.code == 1
    assert found.err.splitlines()[-1].endswith(
        "Left in the midst of a step. Nothing had been saved."
    )
    assert not os.path.exists("a")


def test_the_third_ctrl_c_says_what_was_saved_last(train, monkeypatch):
    real = jsl.train.Trainer.loss_step

    def press(self, batch):
        if self.step == 2:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
        return real(self, batch)

    monkeypatch.setattr(jsl.train.Trainer, "loss_step", press)
    options = ["--batch-size", 3, "--save-every-steps", 1, "--no-jit"]
    found = train("--epochs", 3, "--save", "a", *options)
    assert found.code == 1
    last = Path("a", "checkpoints", "step-00000002")
    assert found.err.splitlines()[-1].endswith(f"The last state that was saved is {last}.")
    assert checkpoint.load(last).progress["steps"] == 2


def test_ctrl_c_before_the_first_step_saves_nothing(train, monkeypatch):
    pressing(monkeypatch, "weigh", *[signal.SIGINT] * 3)
    found = train("--epochs", 3, "--save", "a")
    assert (found.code, os.path.exists("a")) == (1, False)
    assert found.err.splitlines()[-1].endswith("there is nothing to save.")

    def build(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("jsl.train.build_model", build)
    found = train("--epochs", 3, "--save", "a")
    assert (found.code, found.err, os.path.exists("a")) == (1, "Interrupted.\n", False)


@pytest.mark.parametrize("times", [1, 3])
def test_an_interrupt_after_the_last_step_loses_nothing(train, monkeypatch, times):
    pressing(monkeypatch, "compare", *[signal.SIGINT] * times)
    found = train("--epochs", 3, "--save", "a")
    assert found.code == 0
    whole = checkpoint.load(Path("a"))
    assert whole.progress["finished"]
    assert bool(whole.metrics["exact_match"]) == (times == 1)


def test_saving_is_not_interrupted(train, monkeypatch):
    save = jsl.train.Trainer.save_run

    def interrupted(self, directory, **figures):
        signal.raise_signal(signal.SIGINT)
        save(self, directory, **figures)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(jsl.train.Trainer, "save_run", interrupted)
    assert train("--epochs", 1, "--save", "a").code == 0
    checkpoint.load(Path("a"))


@posix
def test_an_interrupted_training_can_go_on(run, corpus_path):
    options = ["--corpus", corpus_path, *QUICK, "--epochs", 1_000_000, "--save", "a b"]
    with subprocess.Popen(
        [sys.executable, "-m", "jsl", "--lang", "en", "train", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as training:
        while not training.stdout.readline().startswith("epoch 1/"):
            assert training.poll() is None
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    assert training.returncode == 1
    assert STOPPING in err
    assert "Traceback" not in err
    assert "Saved to a b." in out

    begun = checkpoint.load(Path("a b"))
    assert 1 <= begun.training.epochs < 1_000_000
    _, _, command = out.splitlines()[-1].partition("To go on:  ")
    program, *arguments = shlex.split(command)
    assert (program, arguments[:3]) == ("jsl", ["train", "--resume", "a b"])
    # Not to the end of a million epochs.
    config = json.loads(Path("a b", "config.json").read_text("utf-8"))
    config["progress"]["last_epoch"] = begun.training.epochs + 2
    runs.save_json(Path("a b", "config.json"), config)
    runs.write_manifest(Path("a b"), [*checkpoint.FILES, checkpoint.TRAINING])
    found = run(*arguments)
    assert found.code == 0, found.err
    last = begun.training.epochs + 2
    assert epochs_of(found) == [(last - 1, last), (last, last)]


def test_an_interrupted_prediction(run, learned, monkeypatch):
    def interrupt(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(jsl.translate.Translator, "translate", interrupt)
    found = run("predict", "--load", learned, "はい")
    assert (found.code, found.out, found.err.strip()) == (1, "", "Interrupted.")


# ------------------------------------------------------------------------------- predict


@pytest.fixture
def predict(run, learned):
    """A prediction with the run that has learned the small corpus."""

    def predict(*arguments, stdin=b""):
        return run("predict", "--load", learned, *arguments, stdin=stdin)

    return predict


def test_predict_prints_tags(predict):
    found = predict("--group", "甲", "わたしはたべます")
    assert found == Result(0, "<私> <食べる>\n", "")


@pytest.mark.parametrize("options", [["--beam", 3], ["--int8"], ["--int8", "--beam", 2]])
def test_other_searches(predict, options):
    found = predict("--group", "甲", *options, "わたしはたべます")
    assert found == Result(0, "<私> <食べる>\n", "")


def test_without_group_there_is_a_line_for_each(predict):
    found = predict("わたしはたべます", "ありがとう")
    assert found == Result(
        0, "甲\t<私> <食べる>\n乙\t<私> <は> <食べる>\n甲\t<ありがとう>\n乙\t<ありがとう>\n", ""
    )


def test_the_name_of_an_only_group_is_not_printed(run, tmp_path):
    only = tmp_path / "only.tsv"
    only.write_text("group\tjapanese\ttags\n甲\tはい\t<はい>\n", encoding="utf-8")
    options = ["--corpus", only, *QUICK, "--epochs", 20, "--learning-rate", 0.05]
    assert run("train", *options, "--save", "a").code == 0
    assert run("predict", "--load", "a", "はい") == Result(0, "<はい>\n", "")


def test_a_group_is_found_however_its_name_is_typed(run, tmp_path):
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("group\tjapanese\ttags\nが\tはい\t<はい>\n", encoding="utf-8")
    assert run("train", "--corpus", corpus, *QUICK, "--epochs", 1, "--save", "a").code == 0
    assert run("predict", "--load", "a", "--group", "か\u3099", "はい").code == 0


def test_an_unknown_group_lists_the_known_ones(predict):
    found = predict("--group", "丙", "はい")
    assert found == Result(2, "", "Error: There is no group “丙”. The run has: 甲, 乙.\n")


def test_texts_that_cannot_be_translated_give_empty_lines(predict):
    found = predict("--group", "甲", "はい", "犬", "", "ありがとう", "あ" * 10)
    assert found.code == 1
    assert found.out == "<はい>\n\n\n<ありがとう>\n\n"
    errors = found.err.splitlines()
    assert [error.partition(":")[0] for error in errors] == ["text 2", "text 3", "text 5"]
    assert "「犬」(U+72AC)" in errors[0]


def test_each_group_has_its_empty_line(predict):
    found = predict("犬", "はい")
    assert found.code == 1
    assert found.lines[:3] == ["甲\t", "乙\t", "甲\t<はい>"]
    assert found.err.count("text 1:") == 1


LINES = "\ufeffはい\r\nわたしはたべます\n\n犬\r\n".encode() + b"\xff\xfe\n" + "ありがとう".encode()
TAGS = ["<はい>", "<私> <食べる>", "", "", "", "<ありがとう>"]


@pytest.mark.parametrize("chunk", [1, 2, 5, 256])
def test_standard_input_is_read_line_by_line(predict, monkeypatch, chunk):
    monkeypatch.setattr(jsl.commands.predict, "CHUNK", chunk)
    found = predict("--group", "甲", "-", stdin=LINES)
    assert found.code == 1
    assert found.lines == TAGS
    errors = found.err.splitlines()
    assert [error.partition(":")[0] for error in errors] == ["line 4", "line 5"]
    assert [word in e for word, e in zip(["犬", "UTF-8"], errors, strict=True)] == [True] * 2


def test_more_lines_than_a_chunk_stay_in_order(predict, monkeypatch):
    chunks = []
    translate = jsl.translate.Translator.translate

    def watched(self, texts, group, **options):
        chunks.append(len(texts))
        return translate(self, texts, group, **options)

    monkeypatch.setattr(jsl.translate.Translator, "translate", watched)
    monkeypatch.setattr(jsl.commands.predict, "CHUNK", 7)
    texts = {"はい": "<はい>", "ありがとう": "<ありがとう>", "わたしはたべます": "<私> <食べる>"}
    lines = [list(texts)[i * i % 3] for i in range(50)]
    found = predict("--group", "甲", "-", stdin="\n".join(lines) + "\n")
    assert found == Result(0, "".join(texts[line] + "\n" for line in lines), "")
    assert chunks == [7] * 7 + [1]


def test_no_lines_give_no_lines(predict):
    assert predict("-") == Result(0, "", "")


def test_json_is_for_programs(predict):
    found = predict("--json", "わたしはたべます", "犬")
    good, bad = map(json.loads, found.lines)
    assert found.code == 1
    assert list(good) == ["text", "translations", "reading", "familiarity", "error", "unknown"]
    assert (good["text"], good["familiarity"], good["error"]) == ("わたしはたべます", 1.0, None)
    assert (good["reading"], good["unknown"]) == (None, [])
    assert [(t["group"], t["tags"]) for t in good["translations"]] == [
        ("甲", ["<私>", "<食べる>"]),
        ("乙", ["<私>", "<は>", "<食べる>"]),
    ]
    for t in good["translations"]:
        assert list(t) == ["group", "tags", "ids", "score", "probabilities"]
        assert len(t["ids"]) == len(t["tags"]) == len(t["probabilities"]) - 1
        logs = [math.log(p) for p in t["probabilities"]]
        assert t["score"] == pytest.approx(sum(logs) / len(logs), abs=1e-5)
        assert all(0.3 < p <= 1 for p in t["probabilities"])  # it was learned
    nothing = {"tags": [], "ids": [], "score": None, "probabilities": []}
    assert bad["translations"] == [{"group": g, **nothing} for g in "甲乙"]
    assert "「犬」" in bad["error"]
    assert bad["unknown"] == [{"position": 1, "character": "犬", "codepoint": "U+72AC"}]


def test_the_n_best_have_ranks_and_scores(predict):
    found = predict("--group", "甲", "--beam", 3, "--nbest", 3, "--length-penalty", 0, "はい")
    rows = [line.split("\t") for line in found.lines]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][2] == "<はい>"
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    data = json.loads(
        predict("--json", "--beam", 3, "--nbest", 3, "--length-penalty", 0, "はい").lines[0]
    )
    first = data["translations"][0]
    assert [" ".join(c["tags"]) for c in first["nbest"]] == [row[2] for row in rows]
    assert [c["score"] for c in first["nbest"]] == pytest.approx(scores, abs=1e-5)
    assert first["nbest"][0]["ids"] == first["ids"]
    assert first["score"] == pytest.approx(sum(map(math.log, first["probabilities"])), abs=1e-5)
    found = predict("--beam", 2, "--nbest", 2, "はい")
    assert [line.split("\t")[0] for line in found.lines] == ["甲", "甲", "乙", "乙"]


def test_attention_as_json_has_labels(predict):
    [line] = predict("--json", "--attention", "--group", "乙", "わたしはたべます").lines
    maps = json.loads(line)["translations"][0]["attention"]
    source, tags = [*"わたしはたべます", "<eos>"], ["<私>", "<は>", "<食べる>"]
    end = maps["encoder"]["rows"][-1]
    source[-1] = end
    expected = {
        "encoder": (source, source),
        "decoder": ([*tags, end], [end, *tags]),
        "cross": ([*tags, end], source),
    }
    assert {k: (m["rows"], m["columns"]) for k, m in maps.items()} == expected
    for kind, m in maps.items():
        weights = np.array(m["weights"])  # layers, heads
        assert weights.shape == (1, 2, *map(len, expected[kind]))
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)


def test_files_are_read_and_written(predict, tmp_path):
    source, output = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("はい\nわたしはたべます\n\nはい\n", encoding="utf-8", newline="\n")
    options = "--group", "甲", "--input", source
    found = predict(*options, "--batch-size", 1)
    assert found.out == "<はい>\n<私> <食べる>\n\n<はい>\n"
    again = predict(*options, "--output", output)
    assert (again.code, again.out) == (0, "")
    assert output.read_text(encoding="utf-8") == found.out
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.txt"]
    assert predict("--group", "甲", "--input", "-", stdin="はい\n").out == "<はい>\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nbest", 2, "はい"), "Give --beam 2 or more"),
        (("--attention", "はい"), "with --json"),
        (("--input", "-", "はい"), "not both"),
        (("--input", "absent.txt"), "Cannot read absent.txt"),
        (("--length-penalty", -1, "はい"), "not a number from 0 up"),
        (("--output", "absent/out.txt", "はい"), "Cannot write"),
    ],
)
def test_options_of_a_search_that_do_not_go_together(predict, options, said):
    found = predict(*options)
    assert found.code == 2
    assert said in found.err


def test_json_of_lines(predict):
    found = predict("--json", "--group", "甲", "-", stdin=LINES)
    results = [json.loads(line) for line in found.lines]
    assert [" ".join(r["translations"][0]["tags"]) for r in results] == TAGS
    assert [r["text"] for r in results[:2]] == ["はい", "わたしはたべます"]
    assert results[4]["text"] is None


def test_json_of_what_is_not_unicode(predict):
    """A shell can put any bytes into an argument; Python makes lone surrogates of them."""
    found = predict("--json", "は\udcff")
    assert found.code == 1
    assert json.loads(found.out)["text"] == "は\udcff"


def test_a_text_far_from_training_gets_a_note(predict):
    found = predict("--group", "甲", "ゆきがふる", "はい")
    assert found.code == 0
    assert len(found.lines) == 2
    assert found.err == (
        "Note: “ゆきがふる” is far from everything in training, so its tags mean little.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--load", "LEARNED"], 2, "Give a text to translate, or -"),
        (["--load", "LEARNED", "-", "はい"], 2, "- cannot be combined with texts."),
        (["はい"], 2, "--load is missing."),
        (["--load", "none", "はい"], 1, "There is no run directory none. Make one with: jsl train"),
        (["--load", ".", "はい"], 1, "lacks model.safetensors"),
        (
            ["--length-penalti", "はい"],
            2,
            "There is no option --length-penalti. The nearest: --length-penalty.",
        ),
        (["--load"], 2, "After --load a value is missing"),
    ],
)
def test_wrong_predictions(run, learned, arguments, code, message):
    found = run("predict", *(learned if a == "LEARNED" else a for a in arguments))
    assert (found.code, found.out) == (code, "")
    assert message in found.err


def test_a_damaged_run_is_refused(run, learned):
    shutil.copytree(learned, "a")
    Path("a", "model.safetensors").write_bytes(b"")
    found = run("--lang", "ja", "predict", "--load", "a", "はい")
    assert (found.code, found.out) == (1, "")
    assert "エラー: フォルダー a のファイルが壊れているか" in found.err
    assert "model.safetensors" in found.err


# ------------------------------------------------------------------------------- backends


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
@pytest.mark.parametrize(
    "command", [["train", "--save", "a"], ["predict", "--load", "LEARNED", "はい"]]
)
def test_a_backend_that_is_not_there(run, learned, command):
    command = [learned if word == "LEARNED" else word for word in command]
    found = run(*command, "--backend", "cupy")
    assert (found.code, found.out) == (1, "")
    assert "--backend numpy works everywhere" in found.err
    assert not os.listdir()


def test_a_wrong_backend_in_the_environment_is_named(predict, monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "abacus")
    found = predict("はい")
    assert found.code == 1
    assert "MINIGRAD_BACKEND: unknown backend 'abacus'" in found.err
    assert predict("--backend", "numpy", "はい").code == 0  # an option comes first


# ------------------------------------------------------------------------ language, errors


def test_languages(run, learned):
    japanese = "エラー: - はほかの文と一緒には使えません。\n"
    english = "Error: - cannot be combined with texts.\n"
    command = ["predict", "--load", learned, "-", "はい"]
    assert run("--lang", "ja", *command).err == japanese
    assert run(*command, "--lang", "en").err == english
    assert run(*command, "--lang", "ja").err == japanese
    assert process(*command, LC_ALL="ja_JP.UTF-8").err == japanese


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--epochs", "0"],
            "エラー: --epochs: 0 ではなく、1以上1000000000以下の整数にしてください。",
        ),
        (["train", "--learning-rate", "x"], "エラー: --learning-rate: x ではなく、正の数に"),
        (["train", "--preset", "x"], "エラー: --preset: x ではなく、tiny、long、large のどれかに"),
        (["train", "--seed", "-1"], "エラー: --seed: -1 ではなく、0以上18446744073709551615以下の"),
        (["predict", "はい"], "エラー: --load を指定してください。"),
        (
            ["predict", "--length-penalti"],
            "エラー: --length-penalti というオプションはありません。"
            "近いのは --length-penalty です。",
        ),
        (["predict", "--load"], "エラー: --load の後に値が足りないか、余分です。"),
        (
            ["forget"],
            "エラー: forget というコマンドはありません。"
            "あるのは completion、corpus、doctor、evaluate、export、inspect、predict、resume、"
            "study、train、verify、warmup です。",
        ),
    ],
)
def test_a_wrong_command_line_in_japanese(run, arguments, message):
    found = run("--lang", "ja", *arguments)
    assert (found.code, found.out) == (2, "")
    assert message in found.err
    assert "--help" in found.err


def test_training_in_japanese(train):
    found = train("--lang", "ja", "--epochs", 1, "--save", "a")
    assert found.code == 0
    assert "損失" in found.out
    assert "トークン/秒" in found.out
    assert found.lines[-1] == "a に保存しました。"


def test_a_traceback_comes_with_debug_only_and_the_exit_code_stays(run, learned, monkeypatch):
    def fail(self, *arguments, **options):
        raise ZeroDivisionError("one over none")

    monkeypatch.setattr(jsl.translate.Translator, "translate", fail)
    found = run("predict", "--load", learned, "はい")
    assert (found.code, found.out) == (1, "")
    assert found.err == "Unexpected error: one over none (--debug shows where)\n"
    for command in (["--debug", "predict"], ["predict", "--debug"]):
        debugged = run(*command, "--load", learned, "はい")
        assert debugged.code == 1
        assert debugged.err.startswith("Traceback")
        assert debugged.err.endswith(found.err)
    wrong = ["predict", "--load", learned, "--group", "丙", "はい"]
    assert run("--debug", *wrong).code == run(*wrong).code == 2


def test_too_large_a_model_is_said_to_be_too_large(train, monkeypatch):
    def fail(*arguments):
        raise MemoryError("Unable to allocate 626. GiB")

    monkeypatch.setattr(jsl.train, "build_model", fail)
    found = train("--save", "a")
    assert found.code == 1
    assert "not enough memory" in found.err
    assert not os.path.exists("a"), "nothing came of it"


def test_warmup_compiles_and_says_so(run):
    found = run("warmup")
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert all(re.fullmatch(r" *[\d.]+ s  .+", line) for line in lines[:-1])
    assert any(line.endswith("search.float32") for line in lines)
    assert lines[-1].startswith("The kernels were ready after")
    assert "秒  attention" in run("--lang", "ja", "warmup").out


def test_help_and_version(run):
    for command in ([], ["train"], ["predict"], ["warmup"]):
        long, short = run(*command, "--help"), run(*command, "-h")
        assert (long.code, long.err) == (0, "")
        assert long == short
        assert long.out.startswith("Usage: jsl")
    assert run("--version") == Result(0, f"{minigrad.__version__}\n", "")


def test_the_name_alone_shows_help(run):
    found = run()
    assert (found.code, found.out) == (2, "")
    assert "Commands:" in found.err


# ------------------------------------------------------------------------------ processes


def test_exit_codes_of_the_process(tmp_path):
    assert process("--help").code == 0
    assert process("predict").code == 2
    missing = process("predict", "--load", "none", "はい", cwd=tmp_path)
    assert missing.code == 1
    assert "Traceback" not in missing.err
    debugged = process("--debug", "predict", "--load", "none", "はい", cwd=tmp_path)
    assert debugged.code == 1
    assert "Traceback" in debugged.err
    assert "RunDirError: There is no run directory none" in debugged.err


LOADED = """
import json, sys
from jsl.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_help_imports_next_to_nothing():
    for command in (["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]):
        found = process(*command, code=LOADED)
        assert found.code == 0
        loaded = set(json.loads(found.err))
        assert not loaded & {"numpy", "numba", "scipy", "cupy", "rich", "safetensors"}


def test_predict_imports_nothing_of_training(learned):
    found = process("predict", "--load", learned, "--group", "甲", "はい", code=LOADED)
    assert (found.code, found.out) == (0, "<はい>\n")
    loaded = set(json.loads(found.err))
    assert not loaded & {"numba", "scipy", "cupy", "rich", "jsl.train"}


def piped(arguments, lines, **options):
    """`jsl` with a reader who closes after so many lines: the exit code, and standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "jsl", "--lang", "en", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", **options,
    ) as running:  # fmt: skip
        for _ in range(lines):
            running.stdout.readline()
        running.stdout.close()
        return running.wait(), running.stderr.read()


def test_a_closed_output_has_an_exit_code_of_its_own(learned):
    texts = ["はい"] * 5000  # for more than a pipe takes before anybody reads
    predict = ["predict", "--load", learned, *texts]
    assert piped(predict, 1) == piped(["--help"], 0) == (141, "")


def test_a_training_whose_output_is_closed_is_saved(corpus_path, tmp_path):
    command = ["train", "--corpus", corpus_path, *QUICK, "--epochs", 1000, "--save", "a"]
    with subprocess.Popen(
        [sys.executable, "-m", "jsl", "--lang", "en", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=tmp_path,
    ) as running:  # fmt: skip
        while not running.stdout.readline().startswith("epoch 1/"):
            assert running.poll() is None
        running.stdout.close()
        assert running.wait() == 141
        assert running.stderr.read() == ""
    assert 1 <= checkpoint.load(tmp_path / "a").training.epochs < 1000


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_said_once(learned):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jsl", "predict", "--load", str(learned), "はい"]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)


def test_a_waiting_line_is_answered_at_once(learned):
    command = [sys.executable, "-m", "jsl", "predict", "--load", str(learned), "--group", "甲"]
    for options, answer in (([], "<はい>\n"), (["--json"], '{"text": "はい"')):
        with subprocess.Popen(
            [*command, *options, "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
        ) as running:  # fmt: skip
            for line in ("はい\n", "はい\n"):
                running.stdin.write(line)
                running.stdin.flush()
                assert running.stdout.readline().startswith(answer)
            running.stdin.close()
            assert running.wait() == 0


def test_an_empty_line_is_no_error(predict):
    lines = "はい\n\n \u3000\u200b\nはい\n"
    assert predict("--group", "甲", "-", stdin=lines) == Result(0, "<はい>\n\n\n<はい>\n", "")
    assert predict("-", stdin="\n") == Result(0, "甲\t\n乙\t\n", "")
    found = predict("--json", "--group", "甲", "-", stdin="\n")
    nothing = {"group": "甲", "tags": [], "ids": [], "score": None, "probabilities": []}
    expected = {"text": "", "translations": [nothing], "familiarity": 1.0, "error": None}
    expected |= {"reading": None, "unknown": []}
    assert (found.code, json.loads(found.out)) == (0, expected)


def test_the_length_of_a_corpus_of_ones_own_is_found(run, tmp_path):
    corpus = tmp_path / "long.tsv"
    rows = f"group,japanese,tags\n甲,{'あ' * 20},<あ>\n甲,は\u200bい,<はい>\n"
    corpus.write_bytes(rows.encode("utf-16"))
    options = ["--corpus", corpus, *QUICK, "--epochs", 1]
    for length, name in (([], "a"), (["--max-seq-len", "auto"], "b"), (["--max-seq-len", 30], "c")):
        found = run("train", *options, "--encoding", "utf-16", *length, "--save", name)
        assert found.code == 0
        assert "was read as CSV" in found.err
        limit = checkpoint.load(Path(name)).model.max_seq_len
        assert limit == (30 if name == "c" else 21)
    assert run("predict", "--load", "a", "あ" * 20).code == 0
    assert "looks like Unicode text" in run("train", *options).err
    assert run("train", "--encoding", "utf-16").code == 2
    assert run("train", *options, "--encoding", "x").code == 2


@pytest.mark.parametrize("value", ["x" * 100_000, "9" * 5000, "nan", "-inf", "1e400", "\udcff", ""])
def test_wrong_values_of_every_option_get_a_short_message(run, learned, value):
    commands = {"train": jsl.commands.train.train, "predict": jsl.commands.predict.predict}
    for name, command in commands.items():
        for option in command.params:
            takes_any = option.name in (
                "texts",
                "debug",
                "corpus",
                "source",
                "target",
                "valid",
                "valid_source",
                "valid_target",
                "load",
                "save",
                "resume",
                "output",
            )
            if takes_any or getattr(option, "is_flag", False):
                continue
            needed = ["はい", "--load", learned] if name == "predict" else []
            found = run("--lang", "en", name, *needed, option.opts[0], value)
            assert (found.code, found.out) == (2, ""), option.name
            assert found.err.count("\n") <= 4
            assert len(found.err) < 500
    assert not os.listdir()


def test_what_this_machine_has_no_memory_for_is_refused(run):
    found = run("train", "--d-model", 16384, "--d-ff", 65536, "--n-layers", 1000)
    assert (found.code, found.out) == (2, "")
    assert re.search(r"takes at least [\d,.]+ GiB of memory, and this machine has", found.err)
    assert not os.listdir()


def test_a_beam_for_which_there_is_no_memory_is_refused(run, learned, monkeypatch):
    predict = "predict", "--load", learned, "--beam", 1000, "はい"
    assert run(*predict).code == 0
    monkeypatch.setattr("jsl.memory.installed", lambda: 1e5)
    found = run(*predict)
    assert (found.code, found.out) == (2, "")
    assert found.err.endswith("Lower --beam.\n")
    assert run("predict", "--load", learned, "--beam", 2, "はい").code == 0


def test_words_too_many_are_named(run):
    found = run("warmup", "x" * 1000)
    assert found.code == 2
    assert "There are arguments too many: xxx" in found.err
    assert "余分な引数" in run("--lang", "ja", "train", "x").err


def test_the_time_left_is_not_said_before_it_is_known(train):
    left = ["left" in line for line in train("--epochs", 6).lines if line.startswith("epoch")]
    assert left == [False, False, False, False, True, True]


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(learned, closed):
    command = shlex.join([sys.executable, "-m", "jsl", "predict", "--load", str(learned), "-"])
    found = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], capture_output=True, stdin=subprocess.DEVNULL
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_a_run_may_be_named_by_the_uri_of_its_file(train, run, tmp_path):
    uri = (tmp_path / "a b").as_uri()
    assert train("--epochs", 1, "--save", uri).code == 0
    assert checkpoint.load(tmp_path / "a b").training.epochs == 1
    assert run("verify", uri).code == 0
    assert run("predict", "--load", uri, "はい").code == 0


def test_where_no_lock_can_be_made_the_reason_is_named(train, monkeypatch):
    def refused(path, *rest, real=os.open):
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refused)
    found = train("--epochs", 1, "--save", "a")
    assert found.code == 1
    assert "cannot be written to" in found.err
    assert "Permission denied" in found.err


def test_a_run_may_be_in_an_object_store(train, run, corpus_path):
    pytest.importorskip("fsspec")
    assert train("--epochs", 1, "--save", "memory://jsl/a").code == 0
    again = train("--epochs", 1, "--save", "memory://jsl/a")
    assert (again.code, "is not empty" in again.err) == (1, True)
    assert run("verify", "memory://jsl/a").out == "memory://jsl/a: all 5 files are whole.\n"
    options = ["--corpus", corpus_path, "--epochs", 1, "--save", "memory://jsl/b"]
    on = run("train", "--load", "memory://jsl/a", *options)
    assert on.code == 0, on.err
    assert checkpoint.load("memory://jsl/b").training.epochs == 2
    assert run("predict", "--load", "memory://jsl/b", "はい").code == 0
    assert (
        "memory://jsl/none lacks model.safetensors"
        in run("predict", "--load", "memory://jsl/none", "はい").err
    )
    assert not os.path.exists("memory:")

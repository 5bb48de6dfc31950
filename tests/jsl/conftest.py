"""A corpus small enough to be learned in a second, and a run that has learned it."""

import io
import os
import sys

import pytest
from support import Result

import jsl.messages
import jsl.reading
from jsl.cli import main
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import load_corpus
from jsl.train import Trainer
from minigrad import kernels

CORPUS = """\
group\tjapanese\ttags
甲\tわたしはたべます\t<私> <食べる>
乙\tわたしはたべます\t<私> <は> <食べる>
甲\tありがとう\t<ありがとう>
乙\tありがとう\t<ありがとう>
甲\tはい\t<はい>
乙\tいいえ\t<いいえ>
乙\tあ\t<私> <私> <私> <私>
"""

# Sizes and schedule that learn the corpus by heart.
SIZES = ModelConfig(d_model=16, n_heads=2, d_ff=16, n_layers=1, max_seq_len=10)
SCHEDULE = TrainingConfig(learning_rate=0.02, epochs=60, batch_size=3)


@pytest.fixture(scope="session", autouse=True)
def one_way_to_compute():
    """On the host unless another backend is asked for, so that bits can be compared; by kernels,
    which `jsl predict` would leave off in this process, for all tests that follow."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("MINIGRAD_BACKEND"):
            patch.setenv("MINIGRAD_BACKEND", "numpy")
        kernels.enabled()
        yield


DICTIONARY = jsl.reading._dictionary


@pytest.fixture(scope="session", autouse=True)
def without_the_extra_kanji():
    """What is installed here makes no difference; `sudachi` is for tests that need the extra."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsl.reading, "_dictionary", lambda: None)
        yield


@pytest.fixture
def sudachi(monkeypatch):
    """The extra `kanji`, where it is installed."""
    pytest.importorskip("sudachipy", reason="minigrad[kanji] is not installed")
    pytest.importorskip("sudachidict_core", reason="minigrad[kanji] is not installed")
    monkeypatch.setattr(jsl.reading, "_dictionary", DICTIONARY)


@pytest.fixture
def english(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", "en")


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "small.tsv"
    path.write_text(CORPUS, encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="session")
def corpus(corpus_path):
    return load_corpus(corpus_path, SIZES.max_seq_len)


@pytest.fixture(scope="session")
def learned(corpus, tmp_path_factory):
    """The directory of a run that translates every row of the corpus; not to be changed."""
    trainer = Trainer(corpus, SIZES, SCHEDULE)
    trainer.run()
    matches = trainer.exact_matches()
    assert matches == {"甲": (3, 3), "乙": (4, 4)}
    directory = tmp_path_factory.mktemp("learned")
    trainer.save_run(directory, matches)
    return directory


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """`jsl` in this process, in an empty directory, in English: run("train", "--epochs", 3)."""
    monkeypatch.setattr(jsl.messages, "_chosen", "en")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments, stdin=b""):
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "argv", ["jsl", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        return Result(code, *capsys.readouterr())

    return run

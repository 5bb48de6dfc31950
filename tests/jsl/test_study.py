"""`jsl study`: a step of the training as a page, a file and a list."""

from pathlib import Path

import numpy as np

from jsl.config import PRESETS
from jsl.corpus import load_corpus
from jsl.train import Trainer
from minigrad.study import load


def test_the_page_and_the_file(run, corpus_path, tmp_path):
    page, file = tmp_path / "a.html", tmp_path / "a.json"
    done = run("study", "--lang", "en", "--corpus", corpus_path, "--out", page, "--json", file)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"Written to {file}.", f"Written to {page}."]
    assert "jsl train --preset tiny" in page.read_text(encoding="utf-8")
    record = load(file)
    assert {s.kind for s in record.steps} == {"call", "seed", "pull", "update"}
    assert record.program is not None
    assert record.why("models.甲.encoder.embed.weight").count > 1

    # What was recorded is the first step of such a training.
    model, training = PRESETS["tiny"]
    trainer = Trainer(load_corpus(corpus_path, model.max_seq_len), model, training)
    trainer.model.train()
    before = {name: p.data.copy() for name, p in trainer.model.named_parameters()}
    trainer.train_step(trainer.prepare(next(iter(trainer.batches))))
    for name, p in trainer.model.named_parameters():
        found = record.parameter(name)
        assert found.value.tobytes() == before[name].tobytes()
        after = record.values[found.update.after].numbers()
        np.testing.assert_allclose(after, p.data, rtol=1e-5, atol=1e-7)


def test_by_itself_it_writes_a_page(run):
    done = run("study", "--lang", "ja")
    assert (done.code, done.out) == (0, "jsl.study.html に書きました。\n")
    assert '<html lang="ja"' in Path("jsl.study.html").read_text(encoding="utf-8")


def test_in_the_terminal_without_one(run, corpus_path):
    done = run("study", "--lang", "en", "--corpus", corpus_path, "--terminal")
    assert done.code == 0
    assert "Adam models.甲." in done.out
    assert not list(Path().iterdir())


def test_what_is_wrong_is_told(run, corpus_path, tmp_path):
    absent = tmp_path / "absent" / "a.html"
    assert run("study", "--preset", "huge").code == 2
    done = run("study", "--lang", "en", "--corpus", corpus_path, "--out", absent)
    assert done.code == 1
    assert "absent" in done.err
    assert "Traceback" not in done.err
    assert run("study", "--corpus", tmp_path / "none.tsv").code == 1

"""What was trained on a device is used on the host, within 1e-4: runs of jsl and of a Learner."""

import cupy
import numpy as np
import pytest
from support import host

import minigrad as mg
from jsl import measuring
from jsl.batching import make_batch
from jsl.checkpoint import load
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import load_corpus
from jsl.model import arrays_of
from jsl.train import Trainer
from jsl.translate import Translator
from minigrad import backend, nn
from minigrad.learner import Learner

CORPUS = """\
group\tjapanese\ttags
甲\tわたしはたべます\t<私> <食べる>
乙\tわたしはたべます\t<私> <は> <食べる>
甲\tありがとう\t<ありがとう>
"""
SIZES = ModelConfig(d_model=16, n_heads=2, d_ff=16, n_layers=1, max_seq_len=10)
SCHEDULE = TrainingConfig(learning_rate=0.02, epochs=2, batch_size=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "small.tsv"
    path.write_text(CORPUS, encoding="utf-8", newline="\n")
    return load_corpus(path, SIZES.max_seq_len)


def scores(trainer, corpus):
    """The scores of every tag of the corpus, given those before it."""
    trainer.model.eval()
    found = []
    with mg.no_grad():
        for group in trainer.model.groups:
            rows = [row for row in corpus.rows if row.group == group]
            _, src, tgt, _ = arrays_of(trainer.model, make_batch(rows, trainer.vocabulary))
            found.append(host(trainer.model[group](src, tgt)))
    return found


def test_a_run_of_jsl(corpus, tmp_path):
    trainer = Trainer(corpus, SIZES, SCHEDULE)
    trainer.run()
    assert all(isinstance(p.data, cupy.ndarray) for p in trainer.model.parameters())
    trainer.save_run(tmp_path / "run", {})
    expected, loss = scores(trainer, corpus), trainer.look()
    with backend.using("numpy"):
        run = load(tmp_path / "run")
        assert run.config["metadata"]["backend"] == "cupy"
        other = Trainer(corpus, SIZES, SCHEDULE, run)
        assert all(type(p.data) is np.ndarray for p in other.model.parameters())
        for a, b in zip(scores(other, corpus), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert abs(other.look() - loss) < 1e-4
        on_host = Translator(tmp_path / "run")
        text = on_host.translate("ありがとう", "甲")
    assert text is not None


def test_a_run_of_a_learner(tmp_path):
    x = np.sin(np.arange(48.0)).reshape(16, 3).astype("float32")
    y = np.arange(16) % 3

    def learner():
        with mg.random.stream(1):
            model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
        return Learner(model, "adam", loss="cross_entropy", verbose=0)

    there = learner()
    there.fit((x, y), epochs=2, batch_size=4)
    assert all(isinstance(p.data, cupy.ndarray) for p in there.model.parameters())
    there.save(tmp_path / "run")
    with backend.using("numpy"):
        here = learner()
        here.load(tmp_path / "run")
        np.testing.assert_allclose(here.predict(x), there_predicts(there, x), rtol=1e-4, atol=1e-4)
        here.fit((x, y), epochs=3, batch_size=4, resume="here")  # and goes on there


def there_predicts(learner, x):
    with backend.using("cupy"):
        return learner.predict(x)


def test_a_step_is_measured_on_each(corpus):
    found = measuring.faster(lambda: Trainer(corpus, SIZES, SCHEDULE))
    assert found.errors == {}
    assert found.name in found.seconds
    assert found.seconds.keys() == {"numpy", "cupy"}

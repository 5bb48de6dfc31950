"""A Learner in several processes: the numbers of one, and the files of one."""

import json

import numpy as np
import pytest
import several

TRAIN = """
import json, os, sys
import numpy as np
import minigrad as mg
from minigrad import data, distributed, nn, optim
from minigrad.learner import Accuracy, Checkpoint, JSONLog, Learner
from several import give

options = json.loads(sys.argv[1])
r = np.random.default_rng(0)
# 23 samples in batches of 5: the last has 3, and of two processes one has more of each
x, y = r.normal(size=(23, 6)), r.integers(0, 3, 23)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(6, 3)
        mine = np.random.default_rng(distributed.rank())  # others in each process, at first
        for p in self.parameters():
            p.data = mine.normal(size=p.shape) * 0.3

    def forward(self, x):
        return self.b(mg.tanh(self.a(x)))


class TwoParts(Learner):
    '''Two updates a step, of parts that feed on each other.'''

    def train_step(self, batch):
        x, y = batch
        first = mg.cross_entropy(self.model(x), y)
        figures = {"loss": first, **self.update(first, "a")}
        second = mg.cross_entropy(self.model(x) * 2.0, y)
        return {**figures, "second": second, **self.update(second, "b")}


kind = options.pop("kind", "plain")
fit = options.pop("fit", {})
if kind == "two":
    distributed.init()
    model = Net()
    model.c.requires_grad_(False)
    optimizers = {"a": optim.SGD(model.a, lr=0.1), "b": optim.Adam(model.b, lr=0.01)}
    learner = TwoParts(model, optimizers, verbose=2, **options)
else:
    distributed.init()
    model = Net()
    learner = Learner(
        model, optim.AdamW(model, lr=0.02), loss="cross_entropy", metrics=[Accuracy()],
        verbose=2, callbacks=[Checkpoint(), JSONLog()] if "artifact_dir" in options else [],
        **options,
    )
history = learner.fit((x, y), (x[:7], y[:7]), batch_size=5, **{"epochs": 2, **fit})
give({
    "weights": {n: p.data.tolist() for n, p in model.named_parameters()},
    "history": history.epochs,
    "predicted": len(learner.predict(x)),
    "steps": learner.step,
    "waits": [type(c).__name__ for c in learner.callbacks],
})
"""


def train(processes, limit=60, environment=(), **options):
    return several.run(processes, TRAIN, json.dumps(options), limit=limit, **dict(environment))


def alone(**options):
    return several.alone(TRAIN, json.dumps(options))


def trained(*given, **options):
    finished = train(*given, **options)
    assert finished.code == 0, finished.text
    return finished


def equal(found, wanted):
    for mine in found:
        assert mine["weights"].keys() == wanted["weights"].keys()
        for name, w in wanted["weights"].items():
            np.testing.assert_allclose(mine["weights"][name], w, rtol=1e-8, atol=1e-9, err_msg=name)
        for a, b in zip(mine["history"], wanted["history"], strict=True):
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-8, err_msg=name)
        assert mine["predicted"] == 23
        assert mine["steps"] == wanted["steps"]


@pytest.mark.parametrize(
    "options",
    [
        {"jit": False, "clip_norm": 0.5},
        {"jit": True, "clip_norm": 0.5},
        {"jit": True, "accumulate": 2},
        {"kind": "two"},
    ],
    ids=["eager", "jit", "accumulate", "two optimizers"],
)
def test_two_processes_train_what_one_trains(options):
    whole = alone(**options)
    finished = trained(2, **options)
    equal(finished.found, whole)
    said = "2 processes, each with its share of every batch; rank 0 writes"
    assert finished.text.count(said) == 1, finished.text
    assert finished.text.count("epoch 2/2") == 1, finished.text


def test_three_processes_of_which_one_has_no_share_of_the_last_batch():
    options = {"jit": True, "fit": {"epochs": 2, "shuffle": False}}
    whole = alone(**options)
    # 23 = 4 * 5 + 3, and of evaluation 7 = 5 + 2
    equal(trained(3, **options).found, whole)


def test_rank_0_writes_and_all_resume(tmp_path):
    whole = alone(jit=True, fit={"epochs": 3})
    where = str(tmp_path / "run")
    trained(2, artifact_dir=where, jit=True, fit={"epochs": 2})
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    steps = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert steps == ["step-00000005", "step-00000010"]
    resumed = trained(3, artifact_dir=where, jit=True, fit={"epochs": 3, "resume": True})
    equal(resumed.found, whole)
    assert resumed.text.count("resumed from") == 1


def test_who_trains_something_else_is_found_out():
    program = TRAIN.replace("nn.Linear(8, 3)", "nn.Linear(8, 3 + distributed.rank())")
    finished = several.run(2, program, json.dumps({"jit": False}))
    assert finished.code != 0
    assert "the processes do not train the same; they differ in model" in finished.text
    assert "b.weight float64 (4, 8)" in finished.text

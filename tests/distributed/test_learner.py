"""A Learner in several processes: the numbers of one, and the files of one."""

import json

import pytest
import several


def train(processes, limit=60, environment=(), **options):
    return several.run(
        processes, several.TRAINING, json.dumps(options), limit=limit, **dict(environment)
    )


def alone(**options):
    return several.alone(several.TRAINING, json.dumps(options))


def trained(*given, **options):
    finished = train(*given, **options)
    assert finished.code == 0, finished.text
    return finished


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
    several.equal_trainings(finished.found, whole)
    said = "2 processes, each with its share of every batch; rank 0 writes"
    assert finished.text.count(said) == 1, finished.text
    assert finished.text.count("epoch 2/2") == 1, finished.text


def test_three_processes_of_which_one_has_no_share_of_the_last_batch():
    options = {"jit": True, "fit": {"epochs": 2, "shuffle": False}}
    whole = alone(**options)
    # 23 = 4 * 5 + 3, and of evaluation 7 = 5 + 2
    several.equal_trainings(trained(3, **options).found, whole)


def test_rank_0_writes_and_all_resume(tmp_path):
    whole = alone(jit=True, fit={"epochs": 3})
    where = str(tmp_path / "run")
    trained(2, artifact_dir=where, jit=True, fit={"epochs": 2})
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    steps = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert steps == ["step-00000005", "step-00000010"]
    resumed = trained(3, artifact_dir=where, jit=True, fit={"epochs": 3, "resume": True})
    several.equal_trainings(resumed.found, whole)
    assert resumed.text.count("resumed from") == 1


def test_who_trains_something_else_is_found_out():
    program = several.TRAINING.replace("nn.Linear(8, 3)", "nn.Linear(8, 3 + distributed.rank())")
    finished = several.run(2, program, json.dumps({"jit": False}))
    assert finished.code != 0
    assert "the processes do not train the same; they differ in model" in finished.text
    assert "b.weight float64 (4, 8)" in finished.text

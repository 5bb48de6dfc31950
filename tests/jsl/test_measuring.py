"""What computes is said in either language; `auto` of a training measures, where there is a GPU.

A device is pretended here, by NumPy under CuPy's name; tests/cuda/test_runs.py has CuPy.
"""

from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from support import same_state

import jsl.messages
from jsl import checkpoint, measuring
from jsl.commands.backends import what_computes
from jsl.config import ModelConfig, TrainingConfig
from jsl.train import Trainer
from minigrad import backend
from minigrad.errors import BackendError
from minigrad.learner import Throughput

SIZES = ModelConfig(d_model=16, n_heads=2, d_ff=16, n_layers=1, max_seq_len=10)
SHORT = TrainingConfig(learning_rate=0.02, epochs=2, batch_size=3)


@pytest.fixture
def device(monkeypatch):
    """NumPy, under the name of CuPy."""
    cupy = ModuleType("cupy")
    vars(cupy).update({name: x for name, x in vars(np).items() if name[:2] != "__"})
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    cupy.get_default_memory_pool = cupy.get_default_pinned_memory_pool = lambda: pool
    monkeypatch.setattr(backend, "_try_cupy", lambda: (cupy, "computes", "X1"))
    monkeypatch.delenv("MINIGRAD_BACKEND", raising=False)
    return cupy


CHOICES = {
    "asked": ((), "MINIGRAD_BACKEND", "NumPy, as MINIGRAD_BACKEND asks for"),
    "absent": ((None, "absent", "No module"), "auto", "CuPy cannot be imported (No module)"),
    "no device": ((None, "no device", "cudaError"), "auto", "no GPU answers (cudaError)"),
    "wrong": ((None, "wrong", ""), "auto", "its GPU computes wrong numbers"),
    "computes": ((np, "computes", "X1"), "auto", "on a GPU with CuPy: X1."),
}


@pytest.mark.parametrize("case", CHOICES)
def test_why_it_computes_where_it_does(case, monkeypatch):
    found, source, said = CHOICES[case]
    monkeypatch.setenv("MINIGRAD_BACKEND", "numpy" if source == "MINIGRAD_BACKEND" else "auto")
    monkeypatch.setattr(backend, "_try_cupy", lambda: found)
    monkeypatch.setattr(jsl.messages, "_chosen", "en")
    assert said in what_computes()
    assert "\n" not in what_computes()
    monkeypatch.setattr(jsl.messages, "_chosen", "ja")
    assert what_computes().startswith("GPUで" if case == "computes" else "CPUで")


def test_a_few_steps_are_taken_on_each(corpus, device):
    made = []

    def trainer():
        made.append(backend.xp().__name__)
        return Trainer(corpus, SIZES, SHORT)

    found = measuring.faster(trainer)
    assert made == ["numpy", "cupy"]
    assert found.errors == {}
    assert found.seconds.keys() == {"numpy", "cupy"}
    assert found.name == min(found.seconds, key=found.seconds.get)
    assert all(0 < seconds < 5 for seconds in found.seconds.values())


def test_measuring_changes_nothing(corpus, device):
    with backend.using("numpy"):
        plain = Trainer(corpus, SIZES, SHORT)
        plain.run()
        measuring.faster(lambda: Trainer(corpus, SIZES, SHORT))
        measured = Trainer(corpus, SIZES, SHORT)
        measured.run()
    same_state(measured.model.state_dict(), plain.model.state_dict())
    same_state(measured.optimizer.state_dict(), plain.optimizer.state_dict())


@pytest.mark.parametrize(("broken", "name"), [("cupy", "numpy"), ("numpy", "cupy")])
def test_a_backend_that_fails_is_not_taken(corpus, device, monkeypatch, broken, name):
    seconds_of = measuring.seconds_of

    def fails(trainer):
        if backend.xp().__name__ == broken:
            raise MemoryError("out of memory\nand more")
        return seconds_of(trainer)

    monkeypatch.setattr(measuring, "seconds_of", fails)
    found = measuring.faster(lambda: Trainer(corpus, SIZES, SHORT))
    assert found.name == name
    assert found.errors.keys() == {broken}


def test_a_slow_backend_is_not_measured_for_long(corpus, monkeypatch):
    monkeypatch.setattr(measuring, "ENOUGH", 0.0)
    trainer = Trainer(corpus, SIZES, SHORT)
    assert measuring.seconds_of(trainer) > 0
    assert trainer.step == 1
    assert not any(isinstance(c, Throughput) for c in trainer.callbacks)


TRAIN = ["train", "--preset", "tiny", "--epochs", 1, "--d-model", 16, "--d-ff", 16, "--n-layers", 1]


def test_a_training_says_which_it_took(run, corpus_path, device, monkeypatch):
    times = {"numpy": 0.002, "cupy": 0.001}
    monkeypatch.setattr(measuring, "seconds_of", lambda _: times[backend.xp().__name__])
    train = [*TRAIN, "--corpus", corpus_path]
    found = run(*train, "--save", "a")
    assert found.code == 0, found.err
    assert "Computing on a GPU with CuPy: X1." in found.out
    line = "A step takes 2.0 ms with NumPy and 1.0 ms with CuPy: training with cupy"
    assert line in found.out
    assert checkpoint.load("a").config["metadata"]["backend"] == "cupy"

    times["cupy"] = 0.003
    assert "training with numpy" in run(*train, "--save", "b").out
    assert checkpoint.load("b").config["metadata"]["backend"] == "numpy"

    for name in ("numpy", "cupy"):  # asked for: nothing is measured
        assert "A step takes" not in run(*train, "--save", name, "--backend", name).out
        assert checkpoint.load(name).config["metadata"]["backend"] == name


def test_a_device_that_fails_on_trial(run, corpus_path, device, monkeypatch):
    seconds_of = measuring.seconds_of

    def fails(trainer):
        if backend.xp().__name__ == "cupy":
            raise BackendError("the device is on fire\nand more")
        return seconds_of(trainer)

    monkeypatch.setattr(measuring, "seconds_of", fails)
    found = run(*TRAIN, "--corpus", corpus_path, "--save", "a")
    assert found.code == 0, found.err
    assert "A step on trial failed with cupy (the device is on fire)" in found.err
    assert checkpoint.load("a").config["metadata"]["backend"] == "numpy"


def test_what_goes_on_goes_on_where_it_was(run, corpus_path, device, monkeypatch):
    monkeypatch.setattr(measuring, "seconds_of", lambda _: 1.0)
    assert run(*TRAIN, "--corpus", corpus_path, "--save", "a", "--save-every-steps", 1).code == 0
    saved = checkpoint.load("a")
    monkeypatch.setattr(measuring, "faster", None)  # is not asked
    monkeypatch.setattr(
        checkpoint,
        "newest",
        lambda _: (replace(saved, progress={**saved.progress, "last_epoch": 2}), []),
    )
    found = run("train", "--resume", "a", "--corpus", corpus_path)
    assert found.code == 0, found.err
    assert "A step takes" not in found.out
    assert checkpoint.load("a").config["metadata"]["backend"] == "numpy"


def test_without_a_device_nothing_is_measured(run, corpus_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "auto")
    monkeypatch.setattr(backend, "_try_cupy", lambda: (None, "no device", "none"))
    monkeypatch.setattr(measuring, "faster", None)
    found = run(*TRAIN, "--corpus", corpus_path, "--save", "a")
    assert found.code == 0, found.err
    assert "no GPU answers (none)" in found.out
    assert "A step takes" not in found.out

"""Kernels and formulas give the same results, and each repeats its own to the bit.

Whether kernels answer is decided once per process, so every run here has a process of its own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels
from minigrad.errors import BackendError

TESTS = Path(__file__).parents[1]

# A short training of the translator on a few sentences of two groups: argv[1] is for the weights.
TRAINING = """
import json
import sys

import numpy as np

from jsl.batching import Batches
from jsl.config import ModelConfig
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.model import arrays_of, build_model, loss_of
from jsl.vocabulary import Vocabulary
from minigrad import kernels, optim

config = ModelConfig()
corpus = load_corpus(starter_corpus_path(), config.max_seq_len)
vocabulary = Vocabulary.from_tags(corpus.tags)
model = build_model(config, vocabulary, corpus.groups, seed=3)
optimizer = optim.Adam(model, lr=0.001)
batches = Batches(corpus.rows[:14], vocabulary, batch_size=5, seed=3)
losses = []
for epoch in range(2):
    batches.set_epoch(epoch)
    for batch in batches:
        loss = loss_of(model, *arrays_of(model, batch))
        loss.backward()
        optim.clip_grad_norm_(model, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
np.savez(sys.argv[1], **model.state_dict())
report = {"losses": losses, "in_use": kernels.in_use(), "numba": "numba" in sys.modules}
print(json.dumps(report))
"""


class Run(NamedTuple):
    losses: list[float]
    in_use: bool
    numba: bool
    weights: dict[str, np.ndarray]


def environment(setting: str, **more: str) -> dict[str, str]:
    return os.environ | {"MINIGRAD_KERNELS": setting, "MINIGRAD_BACKEND": "numpy"} | more


def train(path: Path, setting: str, hash_seed: str) -> Run:
    """What the training gives with MINIGRAD_KERNELS as `setting`."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, path],
        env=environment(setting, PYTHONHASHSEED=hash_seed),
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(path) as file:
        return Run(**json.loads(done.stdout), weights=dict(file))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, str], Run]:
    """Two trainings with kernels and two without, by setting and hash seed."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        (setting, seed): train(folder / f"{setting}-{seed}.npz", setting, seed)
        for setting in "10"
        for seed in "12"
    }


# ------------------------------------------------------------------------------- training


def test_kernels_run_in_the_one_and_numba_is_not_even_imported_in_the_other(runs):
    for (setting, _), run in runs.items():
        assert run.in_use == run.numba == (setting == "1")


def test_the_loss_falls(runs):
    """So that what is compared below is a training."""
    for run in runs.values():
        assert len(run.losses) == 6
        assert run.losses[-1] < run.losses[0] - 0.1


def test_kernels_and_formulas_train_alike(runs):
    """Losses to 1e-5: float32 has 6e-8, and a loss is a sum over some thousand operations.

    Weights to 1e-4, a sixtieth of the 6 steps of at most 0.001 that each took. Adam divides by the
    size of the gradient, so rounding that is small beside the largest gradient can be large in the
    step of a weight with a small one. The biases of the keys are left out: their gradients are zero
    by theory, so that rounding alone says where Adam moves them; no output depends on them.
    """
    fast, slow = runs["1", "1"], runs["0", "1"]
    np.testing.assert_allclose(fast.losses, slow.losses, rtol=1e-5)
    assert fast.weights.keys() == slow.weights.keys()
    for name, w in fast.weights.items():
        if not name.endswith("k_proj.bias"):
            np.testing.assert_allclose(w, slow.weights[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("setting", ["1", "0"])
def test_two_runs_with_one_seed_are_equal_to_the_bit(runs, setting):
    one, two = runs[setting, "1"], runs[setting, "2"]
    assert one.losses == two.losses
    assert one.weights.keys() == two.weights.keys()
    for name, w in one.weights.items():
        assert w.tobytes() == two.weights[name].tobytes(), name


# ------------------------------------------------------------------ other tests, without kernels


def test_what_is_tested_with_kernels_holds_without():
    # (The table of ops and the modules run without kernels on arrays that may not be written to.)
    files = ["nn/test_grouped.py", "ops/test_numerics.py", "optim/test_optimizers.py"]
    # For the plugin `few_examples`; CuPy's stand-in beside it is not imported on NumPy.
    path = os.pathsep.join(filter(None, [str(TESTS / "standin"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *(TESTS / file for file in files), "-q"),
            *("-p", "no:cacheprovider", "-p", "few_examples"),
        ],
        env=environment("0", PYTHONPATH=path),
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"[1-9]\d* passed in .*", summary), summary


# ------------------------------------------------------------------------------- the switch


@pytest.fixture
def undecided(monkeypatch):
    """As in a process that has not computed anything yet, without a setting."""
    monkeypatch.setattr(kernels, "_decision", None)
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("setting", "asked", "expected"),
    [
        (None, True, True),
        (None, False, False),
        ("", False, False),
        ("0", True, False),
        ("0", False, False),
        ("1", False, True),
        ("1", True, True),
    ],
)
def test_the_environment_decides_and_then_the_program(undecided, setting, asked, expected):
    if setting is not None:
        undecided.setenv("MINIGRAD_KERNELS", setting)
    assert kernels.in_use() is None
    assert kernels.use(asked) is expected
    assert kernels.in_use() is expected
    assert kernels.use(asked) is expected
    assert kernels.enabled() is expected
    if setting:
        assert kernels.use(not asked) is expected  # overruled again, and no contradiction
    else:
        state = "on" if expected else "off"
        with pytest.raises(BackendError, match=f"already computed with kernels {state}"):
            kernels.use(not asked)
        assert kernels.in_use() is expected


def test_the_first_call_that_has_a_kernel_decides(undecided):
    mg.exp(np.ones(2))
    assert kernels.in_use() is None
    mg.softmax(np.ones(2))
    assert kernels.in_use() is True
    with pytest.raises(BackendError, match="decide before the first op"):
        kernels.use(False)


def test_another_setting_is_refused(undecided):
    undecided.setenv("MINIGRAD_KERNELS", "off")
    with pytest.raises(BackendError, match="expected 0 or 1, got 'off'"):
        kernels.use(True)


@pytest.mark.parametrize("wanted", [True, False])
def test_an_op_asks_its_kernel_only_where_kernels_answer(undecided, wanted):
    asked = []

    @mg.op(kernel=lambda x: asked.append(x) or NotImplemented)
    def asking(xp, x):
        return xp.exp(x)

    kernels.use(wanted)
    np.testing.assert_array_equal(asking(np.ones(2)), np.exp(np.ones(2)))
    assert len(asked) == wanted


def test_a_kernel_is_found_by_its_page_and_name():
    from minigrad.kernels import softmaxes

    assert kernels.find("softmaxes.softmax") is softmaxes.softmax
    with pytest.raises(AttributeError):
        kernels.find("softmaxes.no_such_kernel")
    with pytest.raises(ModuleNotFoundError):
        kernels.find("no_such_page.softmax")

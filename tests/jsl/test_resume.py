"""Trainings that were interrupted anywhere, by anything, go on to the same bits; or say why not."""

import contextlib
import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jsl.train
from jsl import checkpoint, notes
from jsl.config import ModelConfig, TrainingConfig
from jsl.errors import TrainingError
from jsl.train import Saves, Trainer
from minigrad import runs

SMALL = ModelConfig(d_model=4, n_heads=1, d_ff=4, n_layers=1, max_seq_len=10)
EPOCHS, SIZE, STEPS = 2, 2, 8  # of seven rows: four steps an epoch

pytestmark = pytest.mark.usefixtures("english")
posix = pytest.mark.skipif(os.name != "posix", reason="kill -9, and modes of directories")


def trainer_of(corpus, before=None, jit=True, saves=None, epochs=EPOCHS):
    begun = before.training.epochs if before is not None else 0
    training = TrainingConfig(epochs=epochs - begun, batch_size=SIZE, seed=3, learning_rate=0.01)
    return Trainer(corpus, SMALL, training, before, jit=jit, saves=saves)


class Watched(Trainer):
    """Notes which sentences it has seen."""

    def weigh(self, batch):
        self.__dict__.setdefault("seen", []).append(batch.src.tobytes())
        return super().weigh(batch)


def state_of(trainer):
    """All that a training has come to, without the times."""
    times = ("seconds", "tokens_per_second")
    history = [{k: v.hex() for k, v in e.items() if k not in times} for e in trainer.history.epochs]
    arrays = {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}
    place = trainer.epoch, trainer.step, trainer.losses.first
    return place, history, {k: (v.dtype, v.tobytes()) for k, v in arrays.items()}


@pytest.fixture(scope="module", params=[True, False], ids=["jit", "plain"])
def through(request, corpus):
    """Whether by jit, and a training that nobody interrupted, with what it saw."""
    trainer = watched(corpus, jit=request.param)
    trainer.run()
    assert (trainer.step, len(trainer.seen)) == (STEPS, STEPS)
    return request.param, state_of(trainer), trainer.seen


def watched(corpus, before=None, jit=True, epochs=EPOCHS):
    begun = before.training.epochs if before is not None else 0
    training = TrainingConfig(epochs=epochs - begun, batch_size=SIZE, seed=3, learning_rate=0.01)
    return Watched(corpus, SMALL, training, before, jit=jit)


def interrupted_after(trainer, step, point="weigh"):
    """Trains until a signal ends it after that step."""

    def press(learner, *_):
        if learner.step == step - 1 + (point != "weigh"):
            signal.raise_signal(signal.SIGINT)

    if point == "weigh":
        real = trainer.weigh
        trainer.weigh = lambda batch: (press(trainer), real(batch))[1]
    else:
        setattr(trainer.report, point, press)
    trainer.run()
    assert trainer.interrupted
    assert trainer.step == step


@pytest.mark.parametrize("point", ["weigh", "on_batch_end"])
def test_after_every_step_a_training_goes_on_to_the_same_bits(through, corpus, tmp_path, point):
    jit, expected, seen = through
    for step in range(1, STEPS + 1):
        cut = watched(corpus, jit=jit)
        interrupted_after(cut, step, point)
        cut.save_run(tmp_path / str(step), {})
        before = checkpoint.load(tmp_path / str(step))
        assert before.progress["steps"] == step
        resumed = watched(corpus, before, jit=jit)
        resumed.run()
        assert state_of(resumed) == expected, step
        assert cut.seen + getattr(resumed, "seen", []) == seen, step


def test_a_training_that_is_interrupted_at_every_step_goes_on_too(through, corpus, tmp_path):
    jit, expected, seen = through
    before, found = None, []
    for step in range(1, STEPS + 1):
        cut = watched(corpus, before, jit=jit)
        interrupted_after(cut, step)
        found += cut.seen
        cut.save_run(tmp_path, {})
        before = checkpoint.load(tmp_path)
    last = watched(corpus, before, jit=jit)
    last.run()
    assert (state_of(last), found) == (expected, seen)


def test_epochs_are_added_to_a_finished_run(through, corpus, tmp_path):
    jit, expected, seen = through
    first = watched(corpus, jit=jit, epochs=1)
    first.run()
    first.save_run(tmp_path, {})
    second = watched(corpus, checkpoint.load(tmp_path), jit=jit)
    second.run()
    assert (state_of(second), first.seen + second.seen) == (expected, seen)


# ----------------------------------------------------------------- by the command line


def options_of(corpus_path, *more, epochs=EPOCHS):
    sizes = ["--d-model", 4, "--n-heads", 1, "--d-ff", 4, "--n-layers", 1]
    schedule = ["--epochs", epochs, "--batch-size", SIZE, "--seed", 3, "--learning-rate", 0.01]
    return [str(x) for x in ["train", "--corpus", corpus_path, *sizes, *schedule, *more]]


def same_files(a, b):
    for name in (checkpoint.MODEL, checkpoint.OPTIMIZER):
        assert Path(a, name).read_bytes() == Path(b, name).read_bytes(), name


@posix
@pytest.mark.parametrize(
    "kills", [3, pytest.param(200, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_process_that_is_killed_at_any_instant_goes_on_to_the_same_bits(
    run, corpus_path, tmp_path, kills
):
    """kill -9, again and again, until the training has come to its end."""
    epochs, left, rng = 12, kills, random.Random(kills)
    assert run(*options_of(corpus_path, "--save", "through", epochs=epochs)).code == 0
    turn = 0
    while left > 0:
        directory = f"killed{turn}"
        begin = options_of(corpus_path, "--save", directory, epochs=epochs)
        ways = ["--save-every-steps", "1"]
        resume = ["train", "--resume", directory, "--corpus", str(corpus_path)]
        for attempt in itertools.count():
            there = Path(directory, checkpoint.CHECKPOINTS)
            saved = there.is_dir() and any(runs.has_run(p) for p in there.glob("step-*"))
            saved = saved or Path(directory, runs.MANIFEST).exists()
            begin_again = begin if attempt == 0 else [*begin, "--overwrite"]
            command = resume if saved else begin_again
            with subprocess.Popen(
                [sys.executable, "-m", "jsl", *command, *ways, "--lang", "en"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            ) as training:  # fmt: skip
                lines = []
                if left > 0:
                    for line in training.stdout:
                        lines.append(line)
                        if line.startswith("Training on"):
                            time.sleep(rng.random() * 0.4)
                            training.kill()
                            break
                out = "".join(lines) + training.communicate(timeout=120)[0]
            if training.returncode == -signal.SIGKILL:
                left -= 1
                for state in checkpoint.on_the_way(Path(directory)):
                    if runs.has_run(state):
                        checkpoint.load(state)  # whole
                if runs.has_run(directory) and checkpoint.load(directory).progress["finished"]:
                    break  # it was killed when all was saved
                continue
            assert training.returncode == 0, out
            break
        same_files("through", directory)
        assert checkpoint.load(Path(directory)).progress["steps"] == 4 * epochs
        if training.returncode == 0:
            assert not (Path(directory) / checkpoint.CHECKPOINTS).exists()
        turn += 1


def test_a_process_that_is_killed_before_its_last_save_goes_on_to_it(run, corpus_path):
    ways = ("--save-every-steps", 1, "--keep", 3)
    assert run(*options_of(corpus_path, "--save", "through", *ways, epochs=2)).code == 0
    last = checkpoint.on_the_way(Path("through"))[-1]
    assert checkpoint.load(last).progress["steps"] == checkpoint.load("through").progress["steps"]
    shutil.copytree(last, Path("cut", checkpoint.CHECKPOINTS, last.name))
    found = run("resume", "cut", "--corpus", corpus_path)
    assert (found.code, found.err) == (0, "")
    same_files("through", "cut")
    ended, whole = (checkpoint.load(Path(name)).metrics for name in ("cut", "through"))
    assert ended["exact_match"] == whole["exact_match"] != {}
    assert run("resume", "cut", "--corpus", corpus_path).code == 2


@pytest.fixture
def begun(run, corpus_path, monkeypatch):
    """The directory of a training of eight steps that was killed after the sixth: there are only
    states on the way. And beside it, `through`, one that nobody killed."""
    with monkeypatch.context() as patch:
        real = jsl.train.Trainer.weigh

        def press(self, batch):
            if self.step == 6:
                raise KeyboardInterrupt
            return real(self, batch)

        patch.setattr(jsl.train.Trainer, "weigh", press)
        ways = ["--save-every-steps", 2, "--keep", 4]
        found = run(*options_of(corpus_path, "--save", "a", *ways))
        assert found.code == 1
    for name in (*checkpoint.FILES, checkpoint.TRAINING, runs.MANIFEST):
        Path("a", name).unlink()
    states = [path.name for path in checkpoint.on_the_way(Path("a"))]
    assert states == [f"step-{n:08}" for n in (2, 4, 6)]
    assert run(*options_of(corpus_path, "--save", "through")).code == 0
    return Path("a")


def test_what_stays_of_the_states_on_the_way(begun, run, corpus_path):
    found = run("train", "--resume", begun, "--corpus", corpus_path, "--keep", 2)
    assert (found.code, found.err) == (0, "")
    same_files("through", begun)
    assert [path.name for path in checkpoint.on_the_way(begun)] == ["step-00000006"]
    best = checkpoint.load(begun / checkpoint.BEST)
    assert best.progress["steps"] == 6
    ways = ["--save-every-steps", 3, "--keep", 2]
    assert run(*options_of(corpus_path, "--save", "b", *ways, epochs=3)).code == 0
    assert [path.name for path in checkpoint.on_the_way(Path("b"))] == ["step-00000012"]
    assert run(*options_of(corpus_path, "--save", "c", "--save-every-steps", 3)).code == 0
    assert sorted(os.listdir("c")) == sorted(
        [*checkpoint.FILES, checkpoint.TRAINING, runs.MANIFEST, checkpoint.BEST, notes.FILE]
    )


def damage(directory):
    path = directory / checkpoint.MODEL
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_of_a_damaged_state_the_one_before_is_taken(begun, run, corpus_path):
    damage(checkpoint.on_the_way(begun)[-1])
    ways = ["--save-every-steps", 1, "--keep", 1]
    found = run("train", "--resume", begun, "--corpus", corpus_path, *ways)
    assert found.code == 0
    [line] = found.err.splitlines()
    assert "step-00000006" in line
    assert "are damaged" in line
    same_files("through", begun)
    assert not checkpoint.on_the_way(begun)


def test_a_damaged_state_does_not_outlive_those_that_come_after_it(begun, corpus, tmp_path):
    """It is of more steps than the first that are saved then."""
    damage(checkpoint.on_the_way(begun)[-1])
    before, [_] = checkpoint.newest(begun)
    assert before.progress["steps"] == 4
    others = checkpoint.of_others(begun, before)
    saves = Saves(begun, 1, steps=1, others=others)
    trainer = trainer_of(corpus, before, saves=saves)
    interrupted_after(trainer, 5)
    assert [path.name for path in checkpoint.on_the_way(begun)] == ["step-00000005"]
    assert checkpoint.newest(begun)[0].progress["steps"] == 5


def test_when_all_is_damaged_nothing_is_touched(begun, run, corpus_path):
    for state in [*checkpoint.on_the_way(begun), begun / checkpoint.BEST]:
        if state.is_dir():
            damage(state)
    before = sorted(path.relative_to(begun) for path in begun.rglob("*"))
    found = run("train", "--resume", begun, "--corpus", corpus_path)
    assert (found.code, found.out) == (1, "")
    assert "are damaged" in found.err
    assert sorted(path.relative_to(begun) for path in begun.rglob("*")) == before


def test_a_former_training_is_not_mistaken_for_the_one_that_replaces_it(
    begun, corpus, corpus_path, run
):
    """Its states are of more steps; they go when the first of the new one is there."""
    others = checkpoint.of_others(begun, None)
    saves = Saves(begun, 2, steps=1, others=others)
    interrupted_after(trainer_of(corpus, saves=saves), 1)
    assert [path.name for path in checkpoint.on_the_way(begun)] == ["step-00000001"]
    assert not (begun / checkpoint.BEST).exists()
    # A whole old run, of more steps than what has begun to replace it:
    shutil.copytree("through", begun, dirs_exist_ok=True)
    config = runs.load_json(begun / checkpoint.CONFIG)
    config["metadata"]["trained_at"] = "2001-01-01T00:00:00Z"
    runs.save_json(begun / checkpoint.CONFIG, config)
    runs.write_manifest(begun, [*checkpoint.FILES, checkpoint.TRAINING])
    assert checkpoint.newest(begun)[0].progress["steps"] == 1


def test_what_cannot_be_resumed_says_why(begun, run, corpus_path, tmp_path):
    found = run("train", "--resume", "through", "--corpus", corpus_path)
    assert found.code == 2
    assert "has come to its end. To add epochs, use --load and --epochs." in found.err
    other = tmp_path / "other.tsv"
    other.write_text("group\tjapanese\ttags\n甲\tはい\t<はい>\n", encoding="utf-8")
    found = run("train", "--resume", begun, "--corpus", other)
    assert found.code == 2
    assert "not the corpus that a was being trained on. Name the same small.tsv" in found.err
    found = run("train", "--resume", begun)
    assert (found.code, "another corpus, small.tsv" in found.err) == (2, True)
    found = run("train", "--resume", "none")
    assert (found.code, found.err) == (
        1, "Error: There is no run directory none. Make one with: jsl train\n",
    )  # fmt: skip
    assert not os.path.exists("none")
    for option in (["--epochs", 3], ["--save", "b"], ["--load", "through"], ["--overwrite"],
                   ["--seed", 1], ["--learning-rate", 1]):  # fmt: skip
        found = run("train", "--resume", begun, *option)
        assert (found.code, f"does not go with {option[0]}" in found.err) == (2, True), option


def test_without_the_optimizers_state_it_goes_on_and_says_so(begun, run, corpus_path):
    for state in checkpoint.on_the_way(begun):
        (state / checkpoint.OPTIMIZER).unlink()
    found = run("train", "--resume", begun, "--corpus", corpus_path)
    assert found.code == 0
    assert "no optimizer.safetensors; the optimizer begins anew" in found.err
    assert checkpoint.load(begun).progress["steps"] == STEPS


# -------------------------------------------------------------- disks, modes, other processes


@posix
def test_of_two_trainings_into_one_directory_one_is_refused(corpus_path, run):
    command = [sys.executable, "-m", "jsl", "--lang", "en"]
    command += options_of(corpus_path, "--save", "a", epochs=400)
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=120) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1], ends
    error = ends[codes.index(1)][1]
    assert error.count("\n") == 1
    assert "Another process is writing into a." in error or "a is not empty." in error
    assert checkpoint.load(Path("a")).progress["steps"] == 1600
    assert run("verify", "a").code == 0


@contextlib.contextmanager
def tiny_disk(path, size):
    """A file system of so many bytes."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)]
    if (
        sys.platform != "linux"
        or os.geteuid()
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small file system needs Linux and its administrator")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_is_full_leaves_the_last_run(run, corpus_path, tmp_path):
    disk = tmp_path / "disk"
    with tiny_disk(disk, 400 * 1024):
        save = ["--save", disk / "a"]
        assert run(*options_of(corpus_path, *save)).code == 0
        before = checkpoint.load(disk / "a").metrics
        (disk / "filler").write_bytes(b"\0" * 4096)
        with contextlib.suppress(OSError), open(disk / "filler", "ab") as file:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        found = run(*options_of(corpus_path, *save, "--overwrite", epochs=1))
        assert found.code == 1
        assert "cannot be written to" in found.err
        assert checkpoint.load(disk / "a").metrics == before
        (disk / "filler").unlink()
        assert run(*options_of(corpus_path, *save, "--overwrite", epochs=1)).code == 0
        assert checkpoint.load(disk / "a").training.epochs == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_state_on_the_way_that_cannot_be_written_leaves_the_one_before(
    run, corpus_path, monkeypatch, number
):
    real = os.fsync

    def fails(descriptor):
        if runs.has_run(Path("a", checkpoint.CHECKPOINTS, "step-00000002")):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    found = run(*options_of(corpus_path, "--save", "a", "--save-every-steps", 1))
    assert found.code == 1
    assert "cannot be written to" in found.err
    assert os.strerror(number) in found.err
    before, damaged = checkpoint.newest(Path("a"))
    assert (before.progress["steps"], damaged) == (2, [])


@posix
def test_a_directory_that_may_not_be_written_is_named(run, corpus_path, tmp_path):
    if not os.geteuid():
        pytest.skip("the administrator may write everywhere")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    found = run(*options_of(corpus_path, "--save", locked))
    assert found.code == 1
    assert f"{locked} cannot be written to" in found.err


# ------------------------------------------------------------------------ weights that are lost


def test_weights_that_are_lost_after_the_last_step_are_not_saved(run, corpus, corpus_path):
    lost = ["--learning-rate", 1e10, "--batch-size", 1000, "--epochs", 1]
    found = run(*options_of(corpus_path), *lost, "--save", "a")
    assert found.code == 1
    assert "After the training the loss is" in found.err
    assert not os.path.exists("a")
    found = run("train", *lost, "--save", "b")
    assert (found.code, os.path.exists("b")) == (1, False)


def test_weights_that_are_not_finite_are_not_saved(corpus, tmp_path):
    trainer = trainer_of(corpus)
    trainer.run()
    next(iter(trainer.model.parameters())).data[...] = float("nan")
    with pytest.raises(TrainingError, match="not saved"):
        trainer.save_run(tmp_path / "a", {})
    assert not checkpoint_files(tmp_path / "a")


def checkpoint_files(directory):
    return [p for p in directory.rglob("*") if p.is_file()] if directory.is_dir() else []


# ---------------------------------------------------------------------------------- jsl verify


@pytest.mark.parametrize("language", ["en", "ja"])
def test_verify_names_what_is_damaged(run, learned, tmp_path, language):
    whole, flipped, less = (
        Path(shutil.copytree(learned, tmp_path / name)) for name in ("whole", "flipped", "less")
    )
    damage(flipped)
    (less / checkpoint.METRICS).unlink()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")

    found = run("--lang", language, "verify", whole)
    assert (found.code, found.err) == (0, "")
    assert str(whole) in found.out
    found = run("--lang", language, "verify", whole / checkpoint.MODEL)
    assert (found.code, found.err) == (0, "")
    for damaged, name in (
        (flipped, checkpoint.MODEL), (less, checkpoint.METRICS), (tmp_path / "foreign", "foreign"),
        (tmp_path / "file", "file"), (tmp_path / "none", "none"),
    ):  # fmt: skip
        found = run("--lang", language, "verify", whole, damaged)
        assert (found.code, len(found.lines)) == (1, 1), damaged
        [line] = found.err.splitlines()
        assert str(damaged) in line
        assert name in line
    assert run("verify").code == 2
    assert (tmp_path / "foreign" / "notes.txt").read_text() == "mine"


def test_verify_looks_at_what_files_say(run, learned, tmp_path):
    wrong = Path(shutil.copytree(learned, tmp_path / "wrong"))
    config = runs.load_json(wrong / checkpoint.CONFIG)
    config["model"]["n_layers"] += 1
    runs.save_json(wrong / checkpoint.CONFIG, config)
    runs.write_manifest(wrong, [*checkpoint.FILES, checkpoint.TRAINING])
    found = run("verify", wrong)
    assert (found.code, found.out) == (1, "")
    assert "not of the sizes" in found.err


def test_verify_looks_at_what_was_saved_on_the_way(run, corpus_path):
    steps = ("--save-every-steps", 2, "--keep", 2)
    assert run(*options_of(corpus_path, "--save", "a", *steps, epochs=4)).code == 0
    on_the_way = checkpoint.all_in(Path("a"))
    assert [path.name for path in on_the_way][1:] == ["best"]
    found = run("verify", "a")
    assert (found.code, found.err, len(found.lines)) == (0, "", 3)
    # Killed before its end, a training has no run of its own; of a part of one it is said.
    for name in checkpoint.ALL_FILES:
        assert run("verify", "a").code == (0 if name == checkpoint.ALL_FILES[0] else 1)
        Path("a", name).unlink()
    found = run("verify", "a")
    assert (found.code, found.err, len(found.lines)) == (0, "", 2)
    for place in on_the_way:
        damage(place)
        found = run("verify", "a")
        assert found.code == 1
        assert str(place / checkpoint.MODEL) in found.err or str(place) in found.err
    assert run("verify", "a").lines == []

"""Runs on disk: what the files say, and that no damaged or half-saved run is ever loaded."""

import ast
import errno
import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import safetensors.numpy

import jsl
import minigrad
from jsl import checkpoint
from jsl.checkpoint import CONFIG, FILES, METRICS, MODEL, OPTIMIZER, TRAINING
from jsl.config import ModelConfig, TrainingConfig
from jsl.errors import RunDirError
from jsl.train import Trainer
from jsl.translate import Translator
from minigrad import runs

ALL = (*FILES, TRAINING, runs.MANIFEST)
SMALL = ModelConfig(d_model=8, n_heads=2, d_ff=8, n_layers=1, max_seq_len=10)

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def run(learned, tmp_path):
    """A directory with a whole run, to be damaged."""
    return Path(shutil.copytree(learned, tmp_path / "run"))


@pytest.fixture(scope="module")
def trainer(corpus):
    """Another training than that of `learned`."""
    trainer = Trainer(corpus, SMALL, TrainingConfig(epochs=1, seed=7))
    trainer.run()
    return trainer


def read(path):
    """A JSON file, read without what JSON does not have."""

    def refuse(token):
        raise AssertionError(f"{path} holds {token}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def strings(value):
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


# ------------------------------------------------------------------------------- content


def test_a_run_has_these_files_and_no_others(learned):
    assert sorted(path.name for path in learned.iterdir()) == [
        "config.json",
        "manifest.json",
        "metrics.json",
        "model.safetensors",
        "optimizer.safetensors",
        "training.json",
    ]


def test_the_config(learned, corpus):
    config = read(learned / CONFIG)
    assert config["format"] == 3
    assert config["model"] == {
        "d_model": 16,
        "n_heads": 2,
        "d_ff": 16,
        "n_layers": 1,
        "vocab_size": 88 + len(corpus.tags),
        "target_vocab_size": 88 + len(corpus.tags),
        "dropout": 0.0,
        "layer_norm": "pre",
        "tie_embeddings": False,
        "share": [],
        "kind": "seq2seq",
        "max_seq_len": 10,
    }
    assert config["training"] == {
        "learning_rate": 0.02,
        "epochs": 60,
        "batch_size": 3,
        "optimizer": "Adam",
        "seed": 0,
        "warmup": 0,
        "clip_norm": 0.0,
        "label_smoothing": 0.0,
        "buckets": False,
        "batch_tokens": 0,
        "min_count": 1,
        "loss_weighting": "batch",
    }
    steps = 60 * 3
    assert config["progress"] == {"steps": steps, "last_epoch": 60, "finished": True, "jit": True}
    assert config["groups"] == ["甲", "乙"]
    assert config["vocabulary"]["tags"] == sorted(corpus.tags)
    assert config["corpus"]["name"] == "small.tsv"
    assert config["corpus"]["sha256"] == corpus.sha256

    about = config["metadata"]
    assert about["minigrad_version"] == minigrad.__version__
    assert about["seed"] == 0
    assert about["backend"] in ("numpy", "cupy")
    assert type(about["kernels"]) is bool
    assert re.fullmatch(r"[0-9a-f]{64}", about["vocab_hash"])
    assert re.fullmatch(r"[0-9a-f]{40,64}(-dirty)?|unknown", about["git_commit"])
    datetime.strptime(about["trained_at"], "%Y-%m-%dT%H:%M:%SZ")


def test_the_metrics(learned):
    metrics = read(learned / METRICS)
    assert metrics["exact_match"] == {"甲": {"right": 3, "rows": 3}, "乙": {"right": 4, "rows": 4}}
    assert [entry["epoch"] for entry in metrics["history"]] == list(range(1, 61))
    assert all(
        set(entry)
        == {"epoch", "loss_per_token", "loss_per_sentence", "tokens_per_second", "seconds"}
        for entry in metrics["history"]
    )
    for loss in ("loss_per_token", "loss_per_sentence"):
        assert metrics[loss] == metrics["history"][-1][loss]
    assert metrics["first_step_loss_per_token"] > metrics["loss_per_token"] > 0


@pytest.mark.parametrize("name", [CONFIG, METRICS, runs.MANIFEST])
def test_text_is_portable(learned, name):
    data = (learned / name).read_bytes()
    assert b"\r" not in data
    assert data.endswith(b"}\n")
    for text in strings(read(learned / name)):
        assert not Path(text).is_absolute()
        assert not PureWindowsPath(text).drive
        assert str(learned.parent) not in text


def test_arrays_are_plain_safetensors(learned):
    weights = safetensors.numpy.load_file(learned / MODEL)
    state = safetensors.numpy.load_file(learned / OPTIMIZER)
    assert {name.split(".")[1] for name in weights} == {"甲", "乙"}
    assert set(state) == {
        f"{kind}.{name}" for name in weights for kind in ("exp_avg", "exp_avg_sq", "step")
    }
    assert all(w.dtype == np.float32 for w in weights.values())


def test_what_was_saved_is_loaded(trainer, tmp_path):
    trainer.save_run(tmp_path, {"甲": (1, 3), "乙": (0, 4)})
    run = checkpoint.load(tmp_path)
    assert (run.model, run.groups, run.vocabulary) == (SMALL, ("甲", "乙"), trainer.vocabulary)
    assert run.training == trainer.training
    assert run.metrics["exact_match"] == {
        "甲": {"right": 1, "rows": 3},
        "乙": {"right": 0, "rows": 4},
    }
    for loaded, state in [
        (run.weights, trainer.model.state_dict()),
        (runs.load_arrays(tmp_path / OPTIMIZER), trainer.optimizer.state_dict()),
    ]:
        assert {k: v.tobytes() for k, v in loaded.items()} == {
            k: v.tobytes() for k, v in state.items()
        }


# -------------------------------------------------------------------------------- damage


def refused(directory, match):
    """That a directory is not loaded, for translating and for training; and says why."""
    with pytest.raises(RunDirError, match=match) as caught:
        Translator(directory)
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize("name", [n for n in ALL if n != OPTIMIZER])
def test_a_missing_file_is_named(run, name):
    (run / name).unlink()
    missing = re.escape(name)
    refused(run, f"lacks {missing}" if name == runs.MANIFEST else f"{missing} is missing")


def test_without_the_optimizers_state_training_goes_on_anew(run, corpus):
    (run / OPTIMIZER).unlink()
    loaded = checkpoint.load(run)
    assert OPTIMIZER not in loaded.files
    assert Translator(run).translate(["はい"], "甲")[0].tags == "<はい>"
    trainer = Trainer(corpus, loaded.model, loaded.training, loaded)
    assert (trainer.epoch, trainer.step) == (60, 180)
    fresh = Trainer(corpus, loaded.model, loaded.training).optimizer.state_dict()
    for name, array in trainer.optimizer.state_dict().items():
        assert np.array_equal(array, fresh[name]), name


def test_what_is_no_directory_is_no_run(tmp_path):
    refused(tmp_path / "none", "There is no run directory .*none")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "There is no run directory .*file")
    refused(tmp_path, "lacks model.safetensors, optimizer.safetensors, config.json")


@pytest.mark.parametrize("place", [0.0, 0.1, 0.37, 0.5, 0.83, 1.0])
@pytest.mark.parametrize("name", ALL)
def test_a_flipped_byte_is_noticed(run, name, place):
    data = bytearray((run / name).read_bytes())
    data[round(place * (len(data) - 1))] ^= 0x04
    (run / name).write_bytes(data)
    refused(run, "damaged" if name == runs.MANIFEST else name)


@pytest.mark.parametrize("size", [0, 1, 200, -2])
@pytest.mark.parametrize("name", ALL)
def test_a_truncated_file_is_noticed(run, name, size):
    (run / name).write_bytes((run / name).read_bytes()[:size])
    refused(run, name)


@pytest.mark.parametrize("name", ALL)
def test_files_of_two_runs_are_never_mixed(run, trainer, tmp_path, name):
    other = tmp_path / "other"
    checkpoint.prepare(other, overwrite=False)
    trainer.save_run(other, {})
    shutil.copy(other / name, run / name)
    refused(run, "not saved together")


@pytest.mark.parametrize("name", [OPTIMIZER, TRAINING])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_damaged_optimizer_stops_a_continuation(run, corpus, name, earlier):
    loaded = checkpoint.load(run)
    (run / name).write_bytes(b"")  # after the hashes were compared
    if earlier:
        (run / TRAINING).unlink()
        name = OPTIMIZER
        (run / name).write_bytes(b"")
    with pytest.raises(RunDirError, match=re.escape(name)):
        Trainer(corpus, loaded.model, loaded.training, loaded)


def section(name, **changes):
    def change(config):
        config[name].update(changes)

    return change


def without(*names):
    def change(config):
        for name in names:
            del config[name]

    return change


def replaced(name, value):
    def change(config):
        config[name] = value

    return change


def first_tag_renamed(config):
    config["vocabulary"]["tags"][0] = "<あ>"


def last_tag_gone(config):
    config["vocabulary"]["tags"].pop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("format", 4), "format 4; this program reads up to 3"),
        (replaced("format", True), "format True"),
        (without("format"), "format None"),
        (without("training", "corpus"), "lacks training, corpus"),
        (replaced("metadata", []), "entry metadata of .*config.json should be: object; it is list"),
        (section("metadata", vocab_hash="0" * 64), "the hash that were recorded"),
        (section("model", vocab_size=1), "have the size"),
        (first_tag_renamed, "the hash that were recorded"),
        (last_tag_gone, "have the size"),
        (section("model", n_experts=2), r"has the entry model\.n_experts, which is not known"),
        (section("model", d_modell=2), r"model\.d_modell, .* The nearest one is d_model\."),
        (
            section("model", d_model="16"),
            r"entry model\.d_model of .*config.json should be: integer .* 16,384; it is '16'",
        ),
        (section("model", d_model=0), r"model\.d_model of .* integer from 1 to 16,384; it is 0"),
        (section("model", n_heads=3), "multiple of the number of heads"),
        (section("model", n_layers=2), "weights in .* not of the sizes in its config.json"),
        (section("model", n_layers=4_000_000), r"model\.n_layers of .* from 1 to 1,000"),
        (section("model", d_model=2**14), "not of the sizes"),
        (section("model", d_ff=2**16), "not of the sizes"),
        (section("training", batch_size=True), r"training\.batch_size of .* integer .* it is True"),
        (section("training", optimizer="SGD"), "`Adam`; it is 'SGD'"),
        (section("training", seed=[1]), r"training\.seed of .* integer .* it is list"),
        (
            section("training", learning_rate=10**400),
            r"\.learning_rate of .* number above 0",
        ),
        (section("training", learning_rate=None), r"number above 0; it is None"),
        (replaced("groups", ["甲", "甲"]), "groups"),
        (replaced("groups", ["甲", "い.ろ"]), r"groups\[1\]"),
        (replaced("groups", []), "groups"),
        (replaced("groups", ["甲"]), "not of the sizes"),
        (replaced("groups", ["甲", "乙", "丙"]), "not of the sizes"),
    ],
)
def test_a_config_that_is_whole_but_wrong(run, change, message):
    """As another program, or a person with an editor, might leave it."""
    config = read(run / CONFIG)
    change(config)
    runs.save_json(run / CONFIG, config)
    runs.write_manifest(run, FILES)
    with pytest.raises(RunDirError, match=message) as caught:
        Translator(run)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_no_object(run):
    runs.save_json(run / CONFIG, [1])
    runs.write_manifest(run, FILES)
    refused(run, "format None")


def test_a_manifest_must_list_every_file(run):
    runs.write_manifest(run, [OPTIMIZER, CONFIG, METRICS])
    refused(run, "lacks model.safetensors")


# ------------------------------------------------------------------------- interruptions


@pytest.fixture(params=range(len(ALL)), ids=ALL)
def interrupted(request, monkeypatch):
    """Saving fails when the file of this number is to be moved into its place."""

    def interrupted(error):
        real, written = os.replace, []

        def move(source, target):
            written.append(target)
            if len(written) == request.param + 1:
                raise error
            real(source, target)

        monkeypatch.setattr(os, "replace", move)

    return interrupted


FULL = OSError(errno.ENOSPC, "No space left on device")


def temporaries(directory):
    return [path.name for path in directory.iterdir() if path.name not in ALL]


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "killed"])
def test_an_interrupted_first_save_is_no_run(interrupted, error, trainer, tmp_path):
    interrupted(error)
    with pytest.raises((RunDirError, KeyboardInterrupt)):
        trainer.save_run(tmp_path, {})
    assert not list(tmp_path.iterdir())
    trainer.save_run(tmp_path, {})
    assert not temporaries(tmp_path)
    checkpoint.load(tmp_path)


def test_what_a_killed_first_save_left_is_gone_after_the_next(trainer, tmp_path, monkeypatch):
    """Of a process that was killed nothing tidies up."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        patch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trainer.save_run(tmp_path, {})
    assert temporaries(tmp_path)
    refused(tmp_path, "lacks .*manifest.json")
    checkpoint.prepare(tmp_path, overwrite=False)  # it does not count as something
    trainer.save_run(tmp_path, {})
    assert not temporaries(tmp_path)
    checkpoint.load(tmp_path)


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "killed"])
def test_an_interrupted_overwriting_leaves_the_old_run(interrupted, error, trainer, run):
    before = checkpoint.load(run)
    interrupted(error)
    with pytest.raises((RunDirError, KeyboardInterrupt)):
        trainer.save_run(run, {})
    after = checkpoint.load(run)
    assert (after.training, after.metrics) == (before.training, before.metrics)
    assert not temporaries(run)


@pytest.mark.parametrize("moves", range(6))
def test_an_overwriting_that_is_interrupted_as_files_move_leaves_the_new_run(
    trainer, run, tmp_path, monkeypatch, moves
):
    """From the move of all files on, the new run counts, wherever they lie."""
    real, moved = os.replace, []

    def move(source, target):
        if ".commit" in str(source):
            if len(moved) == moves:
                raise KeyboardInterrupt
            moved.append(target)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", move)
        with pytest.raises(KeyboardInterrupt):
            trainer.save_run(run, {})
    assert len(moved) == moves
    between = checkpoint.load(run)
    assert between.training == trainer.training
    assert Trainer(trainer.corpus, SMALL, trainer.training, between).step == trainer.step
    trainer.save_run(run, {"甲": (1, 3)})
    assert checkpoint.load(run).metrics["exact_match"] == {"甲": {"right": 1, "rows": 3}}
    assert not temporaries(run)


def test_a_full_disk_is_named(interrupted, trainer, tmp_path):
    interrupted(FULL)
    with pytest.raises(RunDirError, match=r"cannot be written to.*No space left"):
        trainer.save_run(tmp_path, {})


# --------------------------------------------------------------------------- directories


def test_the_default_directory_is_new_and_relative(tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 2, 3, 4, 5, 6, tzinfo=tz)

    monkeypatch.setattr(checkpoint, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    for name in ("20310203_040506", "20310203_040506_2", "20310203_040506_3"):
        directory = checkpoint.default_directory()
        assert directory == Path("models", "jsl-seq2seq", name)
        checkpoint.prepare(directory, overwrite=False)


def test_only_an_empty_directory_is_used_unasked(tmp_path):
    directory = tmp_path / "a" / "b"
    checkpoint.prepare(directory, overwrite=False)
    checkpoint.prepare(directory, overwrite=False)
    (directory / "notes.txt").write_text("mine")
    with pytest.raises(RunDirError, match=r"b is not empty.*--save.*--overwrite"):
        checkpoint.prepare(directory, overwrite=False)
    checkpoint.prepare(directory, overwrite=True)
    assert (directory / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("below", [".", "a"])
def test_a_file_is_no_directory(tmp_path, below, overwrite):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunDirError, match=r"file.* cannot be written to"):
        checkpoint.prepare(tmp_path / "file" / below, overwrite)
    assert (tmp_path / "file").read_text() == "mine"


# ----------------------------------------------------------------------------- the commit


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The module, as if it lay in an empty directory under no version control."""
    file = tmp_path / "checkpoint.py"
    file.write_text("")
    monkeypatch.setattr(checkpoint, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path.parent / "none"))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_there_is_no_commit_outside_a_repository(elsewhere):
    assert checkpoint.git_commit() == "unknown"


def test_there_is_no_commit_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert checkpoint.git_commit() == "unknown"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_code(elsewhere):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(elsewhere), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (elsewhere / "theirs.py").write_text("")
    git("init", "--quiet")
    git("add", "theirs.py")
    git("commit", "--quiet", "-m", "first")
    assert checkpoint.git_commit() == "unknown"  # somebody else's repository
    git("add", "checkpoint.py")
    git("commit", "--quiet", "-m", "second")
    assert checkpoint.git_commit() == git("rev-parse", "HEAD")
    (elsewhere / "checkpoint.py").write_text("# changed\n")
    assert checkpoint.git_commit() == git("rev-parse", "HEAD") + "-dirty"


# ------------------------------------------------------------------------------ no pickle

SOURCES = [
    path
    for package in (jsl, minigrad)
    for path in sorted(Path(package.__file__).parent.rglob("*.py"))
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_that_could_run_code_from_a_file_is_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal"}
    assert not imported & {"shelve", "copyreg"}
    assert not (names | arguments) & {"allow_pickle", "pickle", "fromfile"}


@pytest.mark.parametrize(
    ("file", "entry"),
    [
        ("config.json", "corpus.trigrams"),
        ("config.json", "corpus.sha256"),
        ("metrics.json", "history"),
    ],
)
def test_an_entry_of_another_type_is_named(run, file, entry):
    """As another program might write it: the hashes fit."""
    value = runs.load_json(run / file)
    section = value
    for key in entry.split(".")[:-1]:
        section = section[key]
    section[entry.split(".")[-1]] = 5
    runs.save_json(run / file, value)
    runs.write_manifest(run, checkpoint.FILES)
    with pytest.raises(RunDirError, match=entry):
        checkpoint.load(run)


def test_weights_of_another_model_are_one_line(run):
    config = runs.load_json(run / "config.json")
    config["model"]["n_layers"] += 1
    runs.save_json(run / "config.json", config)
    runs.write_manifest(run, checkpoint.FILES)
    with pytest.raises(RunDirError) as caught:
        Translator(run)
    assert "\n" not in str(caught.value)

"""What the files of a run say: one table for who writes and who reads, and nobody gets past it."""

import json
import random
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jsl
from jsl import checkpoint, schema
from jsl.checkpoint import CONFIG, FILES, METRICS, MODEL, OPTIMIZER, TRAINING
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import load_corpus
from jsl.errors import JslError, RunDirError
from jsl.model import build_model, shapes_of
from jsl.train import Trainer
from jsl.translate import Translator
from jsl.vocabulary import Vocabulary
from minigrad import runs
from minigrad.errors import MinigradError

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ["format-1-without-training", "format-1", "format-2", "format-3"]

pytestmark = pytest.mark.usefixtures("english")


# ------------------------------------------------------------------------------------ the table


def test_the_reference_page_is_made_of_the_table():
    page = Path(jsl.__file__).with_name("FILES.md").read_text(encoding="utf-8")
    assert page == schema.page(), "python -m jsl.schema > jsl/FILES.md"


@pytest.mark.parametrize(
    "sizes",
    [
        ModelConfig(),
        ModelConfig(d_model=4, n_heads=1, d_ff=3, n_layers=1),
        ModelConfig(d_model=12, n_heads=3, d_ff=5, n_layers=2, max_seq_len=50),
    ],
)
@pytest.mark.parametrize("groups", [("甲",), ("乙", "甲", "a b")])
def test_shapes_are_those_of_the_model_that_is_built(sizes, groups):
    vocabulary = Vocabulary(("<い>", "<ろ>"))
    model = build_model(sizes, vocabulary, groups, 0)
    expected = {name: array.shape for name, array in model.state_dict().items()}
    assert dict(shapes_of(sizes, *2 * [vocabulary.source_size], groups)) == expected


def places(value, place=""):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for item in value:
            yield from places(item, f"{place}[]")
    else:
        yield place, value


def test_every_entry_that_is_written_is_in_the_table_and_none_is_null(corpus, tmp_path):
    trainer = Trainer(
        corpus, ModelConfig(4, 1, 4, 1, share=("encoder",)), TrainingConfig(epochs=1), valid=corpus
    )
    trainer.run()
    matches = trainer.exact_matches()
    learned = tmp_path / "a"
    trainer.save_run(learned, matches, matches, trainer.losses_by_group())
    for name, table in ((CONFIG, schema.CONFIG), (METRICS, schema.METRICS)):
        known = dict(schema.rows(table))
        found = list(places(runs.load_json(learned / name)))
        written = set()
        for place, value in found:
            assert value is not None, place
            for each in ("exact_match", "valid_exact_match", "layers"):
                if place.startswith(f"{each}."):
                    place = f"{each}.*.{place.rpartition('.')[2]}"
            if place.startswith("loss_by_group."):
                place = "loss_by_group.*"
            assert known[place].fits(value), place
            written.add(place)
        assert written == known.keys()


@pytest.mark.parametrize("value", [None, "", "a b", 1])
def test_what_the_table_does_not_let_in_is_not_written(corpus, tmp_path, monkeypatch, value):
    trainer = Trainer(corpus, ModelConfig(4, 1, 4, 1), TrainingConfig(epochs=1))
    monkeypatch.setattr(checkpoint, "git_commit", lambda: value)
    with pytest.raises(RunDirError, match=r"metadata\.git_commit"):
        trainer.save_run(tmp_path / "a", {})
    assert not (tmp_path / "a").exists()


def test_entries_have_their_ranges():
    entry = schema.integer("", 1, 5)
    assert [entry.fits(x) for x in (1, 5, 0, 6, True, 1.0, "1", None)] == [True] * 2 + [False] * 6
    rate = schema.number("", 0, above=True)
    values = (1, 0.5, 0, -1, float("nan"), float("inf"), 10**400, True)
    assert [rate.fits(x) for x in values] == [True] * 2 + [False] * 6
    assert schema.text("", "a+").fits("aa")
    assert not schema.text("", "a+").fits("aab")
    assert not schema.text("").fits(b"a")


# ----------------------------------------------------------------------------- earlier versions


@pytest.fixture(params=VERSIONS)
def golden(request, tmp_path):
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / request.param))


def test_runs_of_earlier_versions_are_whole(golden):
    assert runs.verify(golden) == []
    run = checkpoint.load(golden)
    assert run.model == ModelConfig(d_model=4, n_heads=1, d_ff=4, n_layers=1, max_seq_len=10)
    assert run.training == TrainingConfig(epochs=3, batch_size=1, seed=5)
    assert run.groups == ("甲",)
    assert (run.progress["steps"], run.progress["finished"]) == (6, True)
    assert [e["epoch"] for e in run.metrics["history"]] == [1, 2, 3]
    assert run.metrics["first_step_loss_per_token"] == pytest.approx(4.82325363)
    assert Translator(golden).translate(["はい"], "甲")[0].error is None


def test_runs_of_earlier_versions_go_on_and_become_of_this_one(tmp_path):
    corpus = load_corpus(GOLDEN / "small.tsv", 10)
    weights, losses = [], []
    for version in VERSIONS:
        before = checkpoint.load(GOLDEN / version)
        trainer = Trainer(corpus, before.model, replace(before.training, epochs=2), before)
        assert (trainer.epoch, trainer.step, trainer.last_epoch) == (3, 6, 5)
        trainer.run()
        trainer.save_run(tmp_path / version, {})
        after = checkpoint.load(tmp_path / version)
        assert after.progress == {"steps": 10, "last_epoch": 5, "finished": True, "jit": True}
        assert [e["epoch"] for e in after.metrics["history"]] == [1, 2, 3, 4, 5]
        assert runs.load_json(tmp_path / version / CONFIG)["format"] == 3
        weights.append({k: w.tobytes() for k, w in after.weights.items()})
        losses.append([e["loss_per_token"] for e in after.metrics["history"]])
    # (Between the first two the kernels have changed, and with them last bits.)
    assert weights[1] == weights[2]
    for other in losses[1:]:
        assert losses[0] == pytest.approx(other, rel=1e-4)


# --------------------------------------------------------------------------------------- fuzzing

STRANGE = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e308, 1e-320,
    "", " ", "a", "1", "甲", "い.ろ", "../x", "\ud800", "\u0000", "x" * 3000, "<あ>", "NaN",
    [], [[]], [None], [1], ["甲"], ["甲", "甲"], {}, {"a": 1}, {"number": "nan"}, {"number": "x"},
    {"number": None}, [[[[]]]] * 3, 4_000_000, 65536, 16384, 1000,
]  # fmt: skip


def deep(kind, depth):
    value = []
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def entries(value, path=()):
    """Paths of all entries of a JSON value; of long lists a few."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:3])
    for key, item in items:
        if isinstance(item, dict | list):
            yield from entries(item, (*path, key))
        else:
            yield (*path, key)


def changed(value, rng):
    """A JSON value with one or two entries changed, gone, renamed, or new."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        *path, last = rng.choice([p for p in entries(value) if p] or [("a",)])
        section = value
        for key in path:
            section = section[key]
        other = rng.choice([*STRANGE, deep(list, rng.choice([50, 300])), deep(dict, 200)])
        match rng.randrange(6):
            case 0 if isinstance(section, dict):
                section.pop(last, None)
            case 1 if isinstance(section, dict):
                section[rng.choice(["", "x", str(last) + "s", "x" * 2000])] = other
            case 2 if isinstance(section, list):
                section.append(rng.choice([other, *section]))
            case 3 if isinstance(section, list) and section:
                section.pop()
            case 4 if type(section[last]) in (int, float):
                section[last] = section[last] * rng.choice([-1, 2, 3, 1.5, 1000]) + rng.choice(
                    [0, 1]
                )
            case _:
                section[last] = other
        if not isinstance(value, dict | list):
            break
    return value


def mutated_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[at : at + rng.choice([1, 3, 100])] = b""
            case 1:
                data[at:at] = rng.choice([b"\0", b"\xff\xfe", b'"', b"{", b"]", b"9" * 400, b"\t"])
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data = data[:at] if rng.random() < 0.3 else data
    return bytes(data)


OURS = (JslError, MinigradError)


def attempt(directory, corpus):
    """Load, translate, go on and save; gives the error, if it is one of ours."""
    try:
        run = checkpoint.load(directory)
        Translator(directory).translate(["はい"], run.groups[0])
        trainer = Trainer(corpus, run.model, replace(run.training, epochs=1), run, jit=False)
        trainer.run()
        trainer.save_run(directory.with_name("again"), trainer.exact_matches())
        checkpoint.load(directory.with_name("again"))
    except OURS as error:
        return error
    return None


def mutations(rng, directory, turn):
    """Changes something in a run's directory, whose manifest fits again, mostly."""
    name = [CONFIG, METRICS, TRAINING, CONFIG, runs.MANIFEST, MODEL, OPTIMIZER, TRAINING][turn % 8]
    path = directory / name
    if not path.exists():
        return
    if name in (MODEL, OPTIMIZER):
        arrays = runs.load_arrays(path)
        key = rng.choice(sorted(arrays))
        match rng.randrange(6):
            case 0:
                del arrays[key]
            case 1:
                arrays["x" + key] = arrays[key]
            case 2:
                arrays[key] = arrays[key].astype(
                    rng.choice(["float64", "int32", "bool", "float16"])
                )
            case 3:
                arrays[key] = np.zeros((*arrays[key].shape, 2), np.float32)
            case 4 if arrays[key].size:
                arrays[key] = np.full_like(arrays[key], rng.choice([-1, 2**31 - 1]))
            case _:
                arrays[key] = (arrays[key] * np.float32("nan")).astype(arrays[key].dtype)
        runs.save_arrays(path, {k: np.asarray(x) for k, x in arrays.items()})
    elif rng.random() < 0.25:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        value = changed(runs.load_json(path), rng)
        path.write_text(json.dumps(value), encoding="utf-8")
    if name != runs.MANIFEST:
        names = [n for n in (*FILES, TRAINING) if (directory / n).exists()]
        runs.write_manifest(directory, names)


def memory():
    """The most bytes that this process has had; 0 where nobody counts them."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.mark.parametrize(
    "count", [120, pytest.param(3000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_run_with_changed_files_is_refused_in_a_sentence_or_is_a_run(tmp_path, count):
    rng, seconds, before = random.Random(count), [], memory()
    corpus = load_corpus(GOLDEN / "small.tsv", 10)
    good = 0
    with np.errstate(all="ignore"):
        for turn in range(count):
            directory = tmp_path / "run"
            shutil.copytree(GOLDEN / VERSIONS[turn % 7 % 4], directory)
            mutations(rng, directory, turn)
            began = time.process_time()
            error = attempt(directory, corpus)
            seconds.append(time.process_time() - began)
            good += error is None
            if isinstance(error, JslError):
                assert 0 < len(str(error)) < 2000, turn
                assert "\n" not in str(error).strip(), turn
            for left in tmp_path.iterdir():
                shutil.rmtree(left)
    assert 0 < good < count
    assert sorted(seconds)[-3] < 2, sorted(seconds)[-5:]
    assert memory() - before < 2**28


@pytest.mark.parametrize(
    "count", [60, pytest.param(3000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_changed_corpus_is_refused_in_words_or_is_a_corpus(tmp_path, count):
    rng, path = random.Random(count), tmp_path / "corpus.tsv"
    data = (GOLDEN / "small.tsv").read_bytes()
    good = long = 0
    for _ in range(count):
        encoding = rng.choice([None, None, "utf-8", "cp932", "utf-16"])
        path.write_bytes(mutated_bytes(data, rng))
        try:
            corpus = load_corpus(path, 10, encoding)
        except JslError as error:
            long += len(str(error)) > 5_000
        else:
            good += 1
            vocabulary = Vocabulary.from_tags(corpus.tags)
            assert all(vocabulary.encode_text(row.japanese) for row in corpus.rows)
            assert dict(shapes_of(ModelConfig(), *2 * [vocabulary.source_size], corpus.groups))
    assert not long
    assert 0 < good < count


@pytest.mark.parametrize("depth", [10, 300, 450, 480, 600, 900, 960, 980, 990, 5000])
@pytest.mark.parametrize("name", [CONFIG, METRICS, TRAINING, runs.MANIFEST])
def test_json_of_any_depth_is_refused_in_a_sentence(tmp_path, name, depth):
    directory = Path(shutil.copytree(GOLDEN / "format-2", tmp_path / "run"))
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        value = runs.load_json(GOLDEN / "format-2" / name)
        first = next(iter(value))
        rest = json.dumps({k: v for k, v in value.items() if k != first})
        (directory / name).write_text('{"' + first + '":' + text + "," + rest[1:])
        if name != runs.MANIFEST:
            runs.write_manifest(directory, [*FILES, TRAINING])
        assert attempt(directory, load_corpus(GOLDEN / "small.tsv", 10)) is not None

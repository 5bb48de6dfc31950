"""What a run must be good for, whatever it was trained on: saved, moved, translated elsewhere.

Five acceptance tests: a round trip, backends that agree, maps of attention, JSON that parses, and a
run that is trained on one machine and translates on another. Each is a function that raises an
AssertionError, so that it can be seen to fail on something that is broken by intention.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jsl import checkpoint, schema
from jsl.batching import make_batch
from jsl.config import ModelConfig, TrainingConfig
from jsl.errors import RunDirError
from jsl.train import Trainer
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY
from minigrad import nn, no_grad

STANDIN = Path(__file__).parents[1] / "standin"
TEXTS = ["わたしはたべます", "ありがとう", "はい"]


def relative_error(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def logits_of(model, corpus, vocabulary):
    batch = make_batch(corpus.rows, vocabulary)
    with no_grad():
        return model.eval()(batch.groups, batch.src, batch.tgt_in).data


def disturb(model):
    """Change one number of a model."""
    model["甲"].decoder.output_projection.weight.data[90, 3] += 0.1


def elsewhere(program, *arguments, where, **environment):
    """What a process prints that has another working directory and nothing of this one's state."""
    path = os.pathsep.join(map(str, [STANDIN, Path(__file__).parents[2]]))
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "MINIGRAD_KERNELS": "0"} | environment,
        cwd=where,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -------------------------------------------------------------------------------- round trip


def check_round_trip(before, after):
    assert relative_error(after, before) < 1e-5


def test_a_round_trip(corpus, tmp_path):
    sizes = ModelConfig(d_model=16, n_heads=2, d_ff=16, n_layers=1, max_seq_len=10)
    trainer = Trainer(corpus, sizes, TrainingConfig(learning_rate=0.02, epochs=2, batch_size=3))
    trainer.run()
    before = logits_of(trainer.model, corpus, trainer.vocabulary)  # what was never on disk
    trainer.save_run(tmp_path / "run", trainer.exact_matches())
    again = Translator(tmp_path / "run")
    check_round_trip(before, logits_of(again.model, corpus, again.vocabulary))
    disturb(again.model)
    with pytest.raises(AssertionError):
        check_round_trip(before, logits_of(again.model, corpus, again.vocabulary))


# ---------------------------------------------------------------------------------- backends

LOGITS = """
import sys
import numpy as np
from jsl.batching import make_batch
from jsl.corpus import load_corpus
from jsl.translate import Translator
from minigrad import backend, no_grad
from minigrad.backend import to_device, to_numpy

run, corpus, out = sys.argv[1:]
translator = Translator(run)
batch = make_batch(load_corpus(corpus).rows, translator.vocabulary)
with no_grad():
    logits = translator.model(batch.groups, *map(to_device, (batch.src, batch.tgt_in))).data
np.save(out, to_numpy(logits))
print(backend.get_backend(), type(logits).__module__.partition(".")[0])
"""


def check_backends(logits):
    reference = logits["numpy, kernels"]
    for name, found in logits.items():
        assert relative_error(found, reference) < 1e-4, name


def test_backends_agree(learned, corpus, corpus_path, tmp_path):
    here = Translator(learned)
    logits = {"numpy, kernels": logits_of(here.model, corpus, here.vocabulary)}
    for name in ("numpy", "cupy"):
        program = ("-c", LOGITS)
        files = learned, corpus_path, tmp_path / f"{name}.npy"
        said = elsewhere(program, *files, where=tmp_path, MINIGRAD_BACKEND=name)
        assert said.split() == [name, name]  # not NumPy twice
        logits[f"{name}, formulas"] = np.load(tmp_path / f"{name}.npy")
    check_backends(logits)
    disturb(here.model)
    broken = logits_of(here.model, corpus, here.vocabulary)
    with pytest.raises(AssertionError):
        check_backends(logits | {"cupy, formulas": broken})


# --------------------------------------------------------------------------------- attention


def check_maps(maps, S, T, heads=2):
    for kind, shape in (("encoder", (S, S)), ("decoder", (T, T)), ("cross", (T, S))):
        layers = getattr(maps, kind)
        assert len(layers) == 1  # as the run's model has
        for layer in layers:
            assert layer.shape == (heads, *shape)
            np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-5)
            assert (layer >= 0).all()


@pytest.mark.parametrize("beam", [1, 3])
def test_maps_of_attention(learned, beam):
    found = Translator(learned).translate(TEXTS, "甲", beam=beam, attention=True)
    for text, translation in zip(TEXTS, found, strict=True):
        S, T = len(text) + 1, len(translation.ids) + 1
        maps = translation.attention
        check_maps(maps, S, T)
        broken = [
            maps._replace(cross=[layer * 1.0001 for layer in maps.cross]),
            maps._replace(encoder=[layer[:, :-1] for layer in maps.encoder]),
            nn.Attention(maps.encoder, maps.decoder, [np.negative(x) for x in maps.cross]),
            maps._replace(decoder=[]),
        ]
        for wrong in broken:
            with pytest.raises(AssertionError):
                check_maps(wrong, S, T)


def test_maps_of_a_full_pass(learned):
    translator = Translator(learned)
    vocabulary = translator.vocabulary
    for row, text in enumerate(TEXTS):
        src = translator.encode(text)
        tgt = [BOUNDARY, *vocabulary.tag_ids[:row]]
        maps = nn.attention_maps(translator.model["甲"], src, tgt)
        check_maps(maps, len(src), len(tgt))
        with pytest.raises(AssertionError):
            check_maps(maps._replace(decoder=[layer * 1.01 for layer in maps.decoder]),
                       len(src), len(tgt))  # fmt: skip


def test_maps_that_jsl_predict_prints(learned, run):
    lines = run("predict", "--load", learned, "--json", "--attention", *TEXTS).lines
    assert len(lines) == len(TEXTS)
    for text, line in zip(TEXTS, lines, strict=True):
        for found in json.loads(line)["translations"]:
            weights = {k: list(map(np.array, m["weights"])) for k, m in found["attention"].items()}
            S, T = len(text) + 1, len(found["tags"]) + 1
            check_maps(nn.Attention(**weights), S, T)
            scaled = {kind: [layer * 1.01 for layer in maps] for kind, maps in weights.items()}
            with pytest.raises(AssertionError):
                check_maps(nn.Attention(**scaled), S, T)


def check_csv(directory, text, tags, heads=2):
    """That all maps of one text are there, labelled, of the right shapes, with rows that sum to 1.

    They are read as any program would that knows nothing of jsl.
    """
    end = "SOS/EOS"
    source, output, given = [*text, end], [*tags, end], [end, *tags]
    sides = {"enc": (source, source), "dec": (output, given), "cross": (output, source)}
    names = {f"attn_{kind}_layer0_head{h}.csv" for kind in sides for h in range(heads)}
    assert {path.name for path in Path(directory).glob("attn_*.csv")} == names
    for name in names:
        rows, columns = sides[name.split("_")[1]]
        with open(Path(directory, name), encoding="utf-8", newline="") as file:
            head, *lines = csv.reader(file)
        assert head == ["", *columns]
        assert [line[0] for line in lines] == rows
        weights = np.array([line[1:] for line in lines], np.float64)
        assert weights.shape == (len(rows), len(columns))
        assert ((weights >= 0) & (weights <= 1)).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-5)


def scaled(path):
    """A number of a map made larger by a thousandth."""
    head, row, *rest = path.read_text(encoding="utf-8").splitlines()
    label, *cells = row.split(",")
    cells[0] = f"{float(cells[0]) + 0.001:.9g}"
    path.write_text("\n".join([head, ",".join([label, *cells]), *rest, ""]), encoding="utf-8")


def negative(path):
    """Two numbers that keep the sum, one of them below zero."""
    head, row, *rest = path.read_text(encoding="utf-8").splitlines()
    label, a, b, *cells = row.split(",")
    row = ",".join([label, "-0.5", f"{float(a) + float(b) + 0.5:.9g}", *cells])
    path.write_text("\n".join([head, row, *rest, ""]), encoding="utf-8")


def without_a_row(path):
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:-1]), "utf-8")


def with_another_label(path):
    path.write_text(path.read_text(encoding="utf-8").replace("SOS/EOS", "EOS"), "utf-8")


def missing_file(path):
    path.unlink()


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("text", TEXTS)
def test_maps_as_csv(learned, run, text, beam):
    command = ["predict", "--load", learned, "--group", "甲", "--export-attn", "--out", "maps"]
    found = run(*command, "--beam", beam, text)
    assert found.code == 0
    tags = found.out.split()
    check_csv("maps", text, tags)
    for kind in ("enc", "dec", "cross"):
        for breaking in (scaled, negative, without_a_row, with_another_label, missing_file):
            broken = Path(shutil.copytree("maps", f"{breaking.__name__}_{kind}"))
            breaking(broken / f"attn_{kind}_layer0_head1.csv")
            with pytest.raises((AssertionError, ValueError)):
                check_csv(broken, text, tags)


# -------------------------------------------------------------------------------------- JSON


def check_json(directory):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for name, table in ((checkpoint.CONFIG, schema.CONFIG), (checkpoint.METRICS, schema.METRICS)):
        text = Path(directory, name).read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=refuse)  # NaN and Infinity
        try:
            schema.check(name, value, table)
        except RunDirError as error:
            raise AssertionError(error) from error


def null(entries, name):
    entries[name] = None


def missing(entries, name):
    del entries[name]


def unknown(entries, name):
    entries[f"{name}s"] = entries[name]


def no_number(entries, name):
    entries[name] = float("nan")


@pytest.mark.parametrize("breaking", [null, missing, unknown, no_number])
@pytest.mark.parametrize(
    ("file", "entries", "name"),
    [
        (checkpoint.CONFIG, lambda config: config["training"], "learning_rate"),
        (checkpoint.METRICS, lambda metrics: metrics["history"][0], "loss_per_token"),
    ],
    ids=["config", "metrics"],
)
def test_json_parses(learned, tmp_path, file, entries, name, breaking):
    check_json(learned)
    broken = Path(shutil.copytree(learned, tmp_path / "broken"))
    value = json.loads((broken / file).read_text(encoding="utf-8"))
    breaking(entries(value), name)
    (broken / file).write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(AssertionError, match=name if breaking is not no_number else "NaN"):
        check_json(broken)


# ------------------------------------------------------------------- trained here, used there

PREDICT = """
import json, sys
from jsl.cli import outcome
{before}
code = outcome()
assert code == 0, code
print(json.dumps([name for name in sys.modules if name.startswith(("jsl.", "minigrad."))]))
"""
OF_TRAINING = ("jsl.train", "minigrad.optim", "minigrad.learner")


def check_elsewhere(expected, run, where, before="", **environment):
    command = ("predict", "--load", run, "--group", "甲", "--quiet", *TEXTS)
    said = elsewhere(("-c", PREDICT.format(before=before)), *command, where=where, **environment)
    *tags, modules = said.splitlines()
    assert tags == expected, "other tags"
    names = json.loads(modules)
    training = [n for n in names if n.startswith(OF_TRAINING)]
    assert not training, f"training code: {training}"


def test_trained_here_and_used_there(learned, tmp_path):
    expected = [t.tags for t in Translator(learned).translate(TEXTS, "甲")]
    here = Path(shutil.copytree(learned, tmp_path / "here"))
    there = tmp_path / "another place" / "モデル"
    there.parent.mkdir()
    here.rename(there)
    run = there.relative_to(there.parent)
    check_elsewhere(expected, run, there.parent, MINIGRAD_BACKEND="cupy")
    check_elsewhere(expected, run, there.parent)
    with pytest.raises(AssertionError, match=r"training code: .*'jsl\.train'"):
        check_elsewhere(expected, run, there.parent, before="import jsl.train")
    with pytest.raises(AssertionError, match="other tags"):
        check_elsewhere(["<私>", *expected[1:]], run, there.parent)

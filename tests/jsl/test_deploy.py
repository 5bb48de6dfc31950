"""Deployed models: they translate as the run does, lose what they say, and hold nothing else."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jsl import checkpoint, deployed
from jsl import deploy as deploying
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import load_parallel
from jsl.deploy import deploy
from jsl.errors import RunDirError, UsageError
from jsl.train import Trainer
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY
from minigrad import no_grad, runs
from minigrad.nn import generation

TEXTS = ["わたしはたべます", "ありがとう", "はい", "いいえ", "あ"]
DTYPES = ["float32", "float16", "int8"]

# As those of `learned`.
SIZES = ModelConfig(d_model=16, n_heads=2, d_ff=16, n_layers=1, max_seq_len=10)
SCHEDULE = TrainingConfig(learning_rate=0.02, epochs=60, batch_size=3)

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(scope="module")
def few(learned):
    """Sentences that the losses are measured on: those of the corpus."""
    return deploying.sentences_of(checkpoint.load(learned), "small.tsv", TEXTS)


@pytest.fixture(scope="module")
def made(learned, few, tmp_path_factory):
    """The deployed models of the run, in directories, by dtype; not to be changed."""
    places = {dtype: tmp_path_factory.mktemp("made") / dtype for dtype in DTYPES}
    for dtype, place in places.items():
        deploy(checkpoint.load(learned), place, dtype, sentences=few)
    return places


def read(place):
    return json.loads((place / "config.json").read_text(encoding="utf-8"))


def tags(place, group):
    return [t.tags for t in Translator(place).translate(TEXTS, group)]


def logits(translator, group, few):
    """What the decoder gives for each sentence, when it is shown the first tags."""
    tgt = np.array([[BOUNDARY, *translator.vocabulary.tag_ids[:3]]])
    with no_grad():
        return np.stack([translator.model[group](np.array([ids])[:, -2:], tgt).data
                         for ids in few.ids])  # fmt: skip


# ------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_translates_as_the_run_does(learned, made, dtype):
    for group in ("甲", "乙"):
        assert tags(made[dtype], group) == tags(learned, group)


def test_float32_computes_the_same_bits(learned, made, few):
    run, model = Translator(learned), Translator(made["float32"])
    assert model.run.weights.keys() == run.run.weights.keys()
    for name, w in run.run.weights.items():
        np.testing.assert_array_equal(model.run.weights[name], w, strict=True)
    for group in run.groups:
        assert logits(model, group, few).tobytes() == logits(run, group, few).tobytes()


def test_float16_is_rounded_once(learned, made):
    run, model = checkpoint.load(learned), checkpoint.load(made["float16"])
    for name, w in run.weights.items():
        expected = w.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(model.weights[name], expected, strict=True)


def test_int8_has_the_numbers_that_generating_with_int8_has(learned, made):
    run, model = checkpoint.load(learned), checkpoint.load(made["int8"])
    for name, w in run.weights.items():
        expected = generation.rounded(w.T).T if w.ndim > 1 else w
        np.testing.assert_array_equal(model.weights[name], expected, strict=True)


def test_int8_translates_as_generating_with_int8_does(learned, made):
    """Products and all; embeddings are rounded in one and not in the other, so they are put in."""
    run, model = Translator(learned, int8=True), Translator(made["int8"])
    for half in ("encoder", "decoder"):
        getattr(run.model["甲"], half).embed.weight.data[...] = getattr(
            model.model["甲"], half
        ).embed.weight.data
    run.generators["甲"].refresh()
    expected, found = (t.translate(TEXTS, "甲", nbest=3, beam=3) for t in (run, model))
    for a, b in zip(expected, found, strict=True):
        assert [c.tags for c in a.candidates] == [c.tags for c in b.candidates]
        np.testing.assert_allclose(a.score, b.score, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_losses_are_those_that_anybody_measures(learned, made, few, dtype):
    said = read(made[dtype])["deployed"]["measured"]
    assert (said["texts"], said["sentences"], said["translations"]) == ("small.tsv", 5, 10)
    assert list(said["dtypes"]) == DTYPES
    exact, model = Translator(learned), Translator(made[dtype])
    worst, changed = 0.0, 0
    for group in exact.groups:
        difference = largest = 0.0
        for text, ids in zip(TEXTS, few.ids, strict=True):
            [found] = exact.translate([text], group)
            tgt = np.array([[BOUNDARY, *found.ids]])
            with no_grad():
                a, b = (t.model[group](np.array([ids]), tgt).data for t in (exact, model))
            difference = max(difference, np.abs(a - b).max())
            largest = max(largest, np.abs(a).max())
            changed += found.tags != model.translate([text], group)[0].tags
        worst = max(worst, difference / largest)
    loss = said["dtypes"][dtype]
    assert loss["bytes"] == (made[dtype] / "model.safetensors").stat().st_size
    assert loss["changed"] == changed
    np.testing.assert_allclose(loss["logit_error"], worst, rtol=1e-2, atol=1e-7)
    assert (loss["logit_error"] > 0) == (dtype != "float32")


def test_more_bits_lose_less_and_take_more(made):
    found = read(made["int8"])["deployed"]["measured"]["dtypes"]
    errors = [found[dtype]["logit_error"] for dtype in DTYPES]
    sizes = [found[dtype]["bytes"] for dtype in DTYPES]
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)


def test_other_translations_are_counted(learned, few, tmp_path, monkeypatch):
    rounded = deployed.rounded
    monkeypatch.setattr(deployed, "rounded", lambda w: (rounded(w)[0] // 60, rounded(w)[1] * 60))
    found = deploy(checkpoint.load(learned), tmp_path / "a", "int8", sentences=few)
    loss = found.about["measured"]["dtypes"]["int8"]
    right = {group: tags(learned, group) for group in ("甲", "乙")}
    other = sum(
        a != b for group in right for a, b in zip(right[group], tags(tmp_path / "a", group),
                                                 strict=True)
    )  # fmt: skip
    assert loss["changed"] == other > 0


# ----------------------------------------------------------------------------------------- int8

finite = st.floats(-(2.0**100), 2.0**100, width=32)
matrices = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
                      elements=finite)  # fmt: skip


@given(matrices)
def test_a_number_moves_by_half_a_step_at_most(w):
    q, scale = deployed.rounded(w)
    assert (q.dtype, scale.dtype, q.shape, scale.shape) == (
        np.int8,
        np.float32,
        w.shape,
        w.shape[:1],
    )
    assert (np.abs(q.astype(int)) <= 127).all()
    assert (scale > 0).all()
    s = scale.astype(np.float64).reshape(-1, *(1,) * (w.ndim - 1))
    # (w / s is rounded, to 24 bits of at most 127, before it is brought to an integer.)
    assert (np.abs(w - q * s) <= s * (0.5 + 127 * 2.0**-24)).all()
    top = np.abs(q.reshape(len(w), -1)).max(axis=1)
    assert (top[np.abs(w.reshape(len(w), -1)).max(axis=1) > 1e-30] == 127).all()


@given(matrices, st.sampled_from(DTYPES))
def test_what_is_stored_is_read(w, dtype):
    bias = w.reshape(-1)[:2].copy()
    weights = {"m.weight": w, "m.bias": bias}
    if dtype == "float16" and np.abs(w).max() >= 65520:
        with pytest.raises(RunDirError, match="float16 does not reach"):
            deployed.stored(weights, dtype)
        return
    data = deployed.stored(weights, dtype)
    found = deployed.Stored(data, dtype).load()
    assert found.keys() == weights.keys()
    assert all(x.dtype == np.float32 and x.shape == weights[n].shape for n, x in found.items())
    if dtype == "float16":
        weights = {name: x.astype(np.float16).astype(np.float32) for name, x in weights.items()}
    if dtype == "int8":
        q, scale = deployed.rounded(w)
        np.testing.assert_array_equal(
            found["m.weight"], q * scale.reshape(-1, *(1,) * (w.ndim - 1))
        )
    else:
        np.testing.assert_array_equal(found["m.weight"], weights["m.weight"])
    np.testing.assert_array_equal(found["m.bias"], weights["m.bias"])


def test_rows_of_nothing_and_of_almost_nothing():
    w = np.array([[0, 0], [1e-45, -190 * 1.4e-45], [127, -64]], np.float32)
    q, scale = deployed.rounded(w)
    assert q.tolist() == [[0, 0], [0, 0], [127, -64]]
    assert scale.tolist() == [1, 1, 1]


def test_what_float16_does_not_reach_is_said(learned, few, tmp_path):
    run = checkpoint.load(learned)
    name = "models.甲.encoder.norm.weight"
    run.weights[name] = run.weights[name] * 0 + np.float32(1e5)
    with pytest.raises(RunDirError, match=r"norm.weight has 100000, which float16"):
        deploy(run, tmp_path / "a", "float16", sentences=few)
    assert not (tmp_path / "a").exists()
    found = deploy(run, tmp_path / "a", "int8", sentences=few)
    assert list(found.about["measured"]["dtypes"]) == ["float32", "int8"]
    from jsl.commands.deploying import table

    assert "out of range" in table(found.about["measured"])[2]
    assert checkpoint.load(tmp_path / "a").weights[name][0] == 1e5


# --------------------------------------------------------------------------------- what there is


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_more_than_inference_needs(learned, made, dtype):
    names = ["config.json", "manifest.json", "model.safetensors"]
    assert sorted(path.name for path in made[dtype].iterdir()) == names
    config, before = read(made[dtype]), read(learned)
    assert config.keys() == before.keys() - {"training", "progress"} | {"deployed"}
    for section in config.keys() - {"deployed"}:
        assert config[section] == before[section]
    about = config["deployed"]
    assert about["dtype"] == dtype
    weights = (learned / "model.safetensors").read_bytes()
    assert about["run"] == hashlib.sha256(weights).hexdigest()
    assert runs.verify(made[dtype]) == []
    # The numbers themselves, and no second copy of any.
    from safetensors import safe_open

    size = {"float32": 4, "float16": 2, "int8": 1}[dtype]
    with safe_open(made[dtype] / "model.safetensors", "numpy") as file:
        for name in checkpoint.load(learned).weights:
            w = file.get_tensor(name)
            assert w.itemsize == (size if dtype != "int8" or w.ndim > 1 else 4)
            assert ((name + ".scale") in file.keys()) == (dtype == "int8" and w.ndim > 1)  # noqa: SIM118


def test_equal_models_are_equal_bytes(learned, few, made, tmp_path):
    run = checkpoint.load(learned)
    for name in ("a.zip", "b.zip"):
        deploy(run, tmp_path / name, "int8", sentences=few)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.namelist() == ["config.json", "model.safetensors", "manifest.json"]
        for name in file.namelist():
            assert file.read(name) == (made["int8"] / name).read_bytes()
    for group in ("甲", "乙"):
        assert tags(tmp_path / "a.zip", group) == tags(made["int8"], group)


def test_its_bytes_are_counted(learned, few, tmp_path):
    run = checkpoint.load(learned)
    files = [path for path in learned.iterdir() if path.name != "manifest.json"]
    found = deploy(run, tmp_path / "a", sentences=few)
    assert found.before == sum(path.stat().st_size for path in files)
    assert found.bytes == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    found = deploy(run, tmp_path / "a.ZIP", sentences=few)
    assert found.bytes == (tmp_path / "a.ZIP").stat().st_size


# ----------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group", ["甲", "乙"])
def test_one_group_alone_translates_the_same(made, learned, few, tmp_path, group, dtype):
    found = deploy(checkpoint.load(learned), tmp_path / "a", dtype, [group], few)
    assert found.groups == (group,)
    alone, both = Translator(tmp_path / "a"), Translator(made[dtype])
    assert alone.groups == (group,)
    for a, b in zip(alone.translate(TEXTS, group), both.translate(TEXTS, group), strict=True):
        assert (a.tags, a.ids, a.score, a.familiarity) == (b.tags, b.ids, b.score, b.familiarity)
    assert logits(alone, group, few).tobytes() == logits(both, group, few).tobytes()
    bytes_of = found.about["measured"]["dtypes"][dtype]["bytes"]
    assert bytes_of < 0.55 * read(made[dtype])["deployed"]["measured"]["dtypes"][dtype]["bytes"]


def test_a_group_that_is_left_out_is_an_error(learned, few, tmp_path, run):
    deploy(checkpoint.load(learned), tmp_path / "a", groups=["乙"], sentences=few)
    done = run("predict", "--load", tmp_path / "a", "--group", "甲", "はい")
    assert done.code == 2
    assert "甲" in done.err
    assert "乙" in done.err
    assert run("predict", "--load", tmp_path / "a", "いいえ").out == "<いいえ>\n"


def test_groups_are_in_the_order_of_the_run(learned, few, tmp_path):
    found = deploy(checkpoint.load(learned), tmp_path / "a", groups=["乙", "甲", "乙"],
                   sentences=few)  # fmt: skip
    assert found.groups == ("甲", "乙")
    with pytest.raises(UsageError, match=r"丙.*甲, 乙"):
        deploy(checkpoint.load(learned), tmp_path / "b", groups=["丙"], sentences=few)


# ---------------------------------------------------------------------------------- what is refused


def refused(place, *words):
    with pytest.raises(RunDirError) as caught:
        checkpoint.load(place)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_any_byte_that_is_changed_is_noticed(made, tmp_path, name, dtype):
    place = shutil.copytree(made[dtype], tmp_path / "a")
    whole = (place / name).read_bytes()
    for at in np.linspace(0, len(whole) - 1, 50).astype(int).tolist():
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        (place / name).write_bytes(data)
        refused(place, name)
    (place / name).write_bytes(whole[:-1])
    refused(place, name)
    (place / name).unlink()
    refused(place, name)


def rewritten(made, tmp_path, change, dtype="int8", weights=None):
    """A model with another config.json or other weights, its manifest made to fit."""
    place = tmp_path / "changed"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(made[dtype], place)
    config = read(place)
    change(config)
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if weights is not None:
        (place / "model.safetensors").write_bytes(weights)
    runs.write_manifest(place, ["config.json", "model.safetensors"])
    return place


def put(*keys, value):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


def drop(*keys):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        del config[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("deployed", "format", value=2), ["deployed.format"]),
        (put("deployed", "dtype", value="float16"), ["float16"]),
        (put("deployed", "dtype", value="float64"), ["deployed.dtype"]),
        (put("deployed", value=None), ["deployed"]),
        (put("deployed", "extra", value=1), ["deployed.extra"]),
        (put("deployed", "normalisation", "sha256", value="0" * 64), ["normalised in another way"]),
        (put("groups", value=["甲"]), ["乙"]),
        (put("groups", value=["甲", "乙", "丙"]), ["丙"]),
        (put("model", "d_model", value=32), ["embed.weight"]),
        (put("metadata", "vocab_hash", value="0" * 64), ["vocabulary"]),
        (drop("vocabulary"), ["vocabulary"]),
        (drop("deployed", "measured"), ["deployed.measured"]),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(made, tmp_path, change, words):
    refused(rewritten(made, tmp_path, change), *words)


def test_weights_that_are_not_as_the_dtype_says_are_refused(made, tmp_path):
    from safetensors.numpy import load, save

    arrays = load((made["int8"] / "model.safetensors").read_bytes())
    name = "models.甲.encoder.embed.weight"
    scale = f"{name}.scale"
    nothing = {n: w for n, w in arrays.items() if n != scale}
    broken = [
        nothing,
        {n: w for n, w in arrays.items() if n != name},
        {**arrays, scale: arrays[scale][:-1]},
        {**arrays, scale: arrays[scale].astype(np.float64)},
        {**arrays, name: arrays[name].astype(np.int16)},
        {**arrays, scale: arrays[scale] * np.float32(np.nan)},
        {**nothing, name: arrays[name].astype(np.float16)},
        {**arrays, "models.丙.weight": arrays[name], "models.丙.weight.scale": arrays[scale]},
    ]
    for other in broken:
        refused(rewritten(made, tmp_path, lambda config: None, weights=save(other)))
    assert tags(rewritten(made, tmp_path, lambda config: None, weights=save(arrays)), "甲")


def test_another_normalisation_is_refused(made, monkeypatch):
    """As a program has it that leaves ヴ as it is."""
    from jsl import text

    folded = {code: to for code, to in text._FOLDED.items() if code != ord("ヴ")}
    checkpoint.load(made["int8"])
    monkeypatch.setattr(text, "_FOLDED", folded)
    refused(made["int8"], "normalised in another way", "minigrad")


def test_the_normalisation_is_known_by_what_it_does():
    """If a hash changes, models that were deployed before are refused: is that meant?"""
    known = {"kana": "14c8a89caf9cd093", "char": "eb9200f3d7c45521", "word": "b9fe68db01d209c9"}
    for kind, start in known.items():
        found = deployed.normalisation(kind)
        assert (found["name"], found["sha256"][:16]) == (kind, start)


def test_rounded_weights_are_not_exported_again(made, few, tmp_path):
    for dtype in ("float16", "int8"):
        with pytest.raises(RunDirError, match=f"rounded to {dtype} already"):
            deploy(checkpoint.load(made[dtype]), tmp_path / "a", sentences=few)
    assert not (tmp_path / "a").exists()
    found = deploy(checkpoint.load(made["float32"]), tmp_path / "a", "int8", sentences=few)
    assert found.about == read(made["int8"])["deployed"]
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (made["int8"] / name).read_bytes()


def test_a_deployed_model_is_not_trained_further(made, run, corpus_path):
    for dtype in DTYPES:
        for command in (["train", "--load"], ["train", "--resume"], ["resume"]):
            done = run(*command, made[dtype], "--corpus", corpus_path)
            assert done.code == 1
            assert "Go on from the run" in done.err


# ----------------------------------------------------------------------------------- the command


def test_the_command_says_what_each_dtype_loses(learned, run, corpus_path):
    done = run("export", "--load", learned, "--deploy", "small", "--dtype", "int8",
               "--corpus", corpus_path)  # fmt: skip
    assert done.code == 0, done.err
    measured = read(Path("small"))["deployed"]["measured"]
    assert (measured["texts"], measured["sentences"]) == (corpus_path.name, 5)
    first, head, *rows, last = done.lines
    assert "5 sentences (10 translations) of small.tsv" in first
    assert [word for word in ("dtype", "bytes", "error", "translations") if word not in head] == []
    for row, (dtype, loss) in zip(rows, measured["dtypes"].items(), strict=True):
        name, size, error, changed, _ = row.split()
        assert (name, size, changed) == (dtype, f"{loss['bytes']:,}", str(loss["changed"]))
        assert float(error) == pytest.approx(loss["logit_error"], rel=0.1)
    assert "small: int8, 甲, 乙" in last
    assert run("verify", "small").out == "small: all 2 files are whole.\n"
    shown = run("inspect", "small")
    assert shown.code == 0
    assert "int8" in shown.out
    expected = run("predict", "--load", learned, "--group", "甲", *TEXTS).out
    assert run("predict", "--load", "small", "--group", "甲", *TEXTS).out == expected


def test_json_says_the_same(learned, run):
    done = run("export", "--load", learned, "--deploy", "a", "--group", "乙", "--json")
    [line] = done.lines
    said = json.loads(line)["deployed"]
    assert {k: v for k, v in said.items() if k in read(Path("a"))["deployed"]} == (
        read(Path("a"))["deployed"]
    )
    assert (said["path"], said["groups"]) == ("a", ["乙"])
    assert said["bytes"] == sum(path.stat().st_size for path in Path("a").iterdir())


def test_a_deployed_model_is_exported_to_be_looked_at(made, learned, run):
    """Its weights are those that it computes with; a file has no room for exports in it."""
    words = ("--export-weights", "models.甲.decoder.output_projection.weight")
    files = []
    for number, place in enumerate((learned, made["float32"], made["int8"])):
        out = f"out{number}"
        done = run("export", "--load", place, *words, "--out", out, "--json")
        assert done.code == 0, done.err
        names = [told["file"] for told in json.loads(done.out)["exports"]]
        files.append([(name, (Path(out) / name).read_text(encoding="utf-8")) for name in names])
    assert files[0] == files[1] != files[2]
    done = run("export", "--load", learned, *words, "--deploy", "b.zip", "--out", "b", "--json")
    assert json.loads(done.out).keys() == {"directory", "exports", "skipped", "deployed"}
    done = run("export", "--load", "b.zip", *words)
    assert (done.code, "--out" in done.err) == (2, True)
    assert run("export", "--load", "b.zip", "--list-layers").code == 0


def test_the_bundled_sentences_are_measured_on(learned, run):
    assert run("export", "--load", learned, "--deploy", "a.zip").code == 0
    with zipfile.ZipFile("a.zip") as file:
        measured = json.loads(file.read("config.json"))["deployed"]["measured"]
    assert measured["texts"] == "starter.tsv"
    assert measured["sentences"] == 47
    assert measured["translations"] == 94


def test_random_symbols_where_a_run_can_read_no_sentence(learned, few, tmp_path):
    run = checkpoint.load(learned)
    short = replace(run, model=replace(run.model, max_seq_len=3))
    found = deploying.starter_sentences(short)
    assert found.name == "random"
    assert len(found.ids) == 100
    assert {len(ids) for ids in found.ids} == {2, 3}
    symbols = set(range(2, run.vocabulary.tag_ids[0]))
    assert all(ids[-1] == BOUNDARY and symbols.issuperset(ids[:-1]) for ids in found.ids)
    assert found == deploying.starter_sentences(short)
    with pytest.raises(UsageError, match=r"x.tsv has no sentence"):
        deploying.sentences_of(short, "x.tsv", ["わたしはたべます", "漢字", ""])


def test_of_many_sentences_some_from_all_over_are_taken(learned):
    run = checkpoint.load(learned)
    texts = [a + b for a in "あいうえおかきくけこさしすせそ" for b in "あいうえおかきくけこ"]
    found = deploying.sentences_of(run, "many.tsv", texts)
    assert len(found.ids) == deploying.MOST
    assert found.ids[0] == tuple(run.vocabulary.encode_text(texts[0]))
    assert found.ids[-1] == tuple(run.vocabulary.encode_text(texts[-1]))


def test_nothing_is_lost_by_exporting(learned, tmp_path, run):
    """Neither the run itself, nor another run, nor what else is there without being asked."""
    own = Path(shutil.copytree(learned, tmp_path / "own"))
    other = Path(shutil.copytree(learned, tmp_path / "other"))
    before = {path: path.read_bytes() for path in [*own.iterdir(), *other.iterdir()]}

    def export(*words):
        return run("export", "--load", own, *words)

    done = export("--deploy", own, "--overwrite")
    assert (done.code, "is the run" in done.err) == (2, True)
    done = export("--deploy", other, "--overwrite")
    assert (done.code, "not even --overwrite" in done.err) == (1, True)
    (other / "config.json").unlink()  # damaged, and still no reason to replace what is left
    before.pop(other / "config.json")
    assert export("--deploy", other, "--overwrite").code == 1
    assert {path: path.read_bytes() for path in before} == before
    assert export("--deploy", "a").code == 0
    assert export("--deploy", "a.zip").code == 0
    for place in ("a", "a.zip"):
        done = export("--deploy", place, "--group", "甲")
        assert done.code == 1
        assert "--overwrite" in done.err
        assert checkpoint.load(place).groups == ("甲", "乙")
        assert export("--deploy", place, "--group", "甲", "--overwrite").code == 0
        assert checkpoint.load(place).groups == ("甲",)
    Path("b.zip").mkdir()
    Path("c").write_bytes(b"")
    for place in ("b.zip", "c"):
        done = export("--deploy", place, "--overwrite")
        assert (done.code, "Give another name" in done.err) == (1, True)
    zipped = Path(shutil.make_archive("run", "zip", other))
    shutil.copytree(learned, other, dirs_exist_ok=True)
    zipped = Path(shutil.make_archive("run", "zip", other))
    assert export("--deploy", zipped, "--overwrite").code == 1
    assert run("export", "--load", zipped, "--deploy", "of_a_zip").code == 0
    assert (Path("of_a_zip") / "model.safetensors").read_bytes()


def test_object_stores(learned, few, run):
    pytest.importorskip("fsspec")
    for place in ("memory://deployed/a", "memory://deployed/a.zip"):
        assert run("export", "--load", learned, "--deploy", place, "--dtype", "int8").code == 0
        assert run("predict", "--load", place, "--group", "甲", *TEXTS[:3]).out == (
            run("predict", "--load", learned, "--group", "甲", *TEXTS[:3]).out
        )
        again = ("export", "--load", learned, "--deploy", place, "--group", "乙")
        done = run(*again)
        assert (done.code, "--overwrite" in done.err) == (1, True)
        assert checkpoint.load(place).groups == ("甲", "乙")
        assert run(*again, "--overwrite").code == 0
        assert checkpoint.load(place).groups == ("乙",)
        assert run("export", "--load", place, "--deploy", place, "--overwrite").code == 2


def test_wrong_command_lines(learned, run, corpus_path):
    done = run("export", "--load", learned)
    assert (done.code, "--deploy" in done.err) == (2, True)
    done = run("export", "--load", learned, "--list-layers", "--dtype", "int8")
    assert (done.code, "--dtype" in done.err, "--deploy" in done.err) == (2, True, True)
    done = run("export", "--load", learned, "--deploy", "a", "--dtype", "int4")
    assert (done.code, "float32, float16, int8" in done.err) == (2, True)
    done = run("export", "--load", learned, "--deploy", "a", "--group", "丙")
    assert (done.code, "甲, 乙" in done.err) == (2, True)
    done = run("export", "--load", learned, "--deploy", "a", "--encoding", "utf-8")
    assert done.code == 2
    done = run("export", "--load", learned, "--deploy", "a", "--corpus", "none.tsv")
    assert done.code == 1
    assert not Path("a").exists()


# -------------------------------------------------------------------- models of every make

MAKES = {
    "tied": {"tie_embeddings": True},
    "post": {"layer_norm": "post", "dropout": 0.1},
    "encoder": {"share": ("encoder",)},
    "decoder": {"share": ("decoder", "embeddings")},
    "tied-and-shared": {"share": ("encoder", "embeddings"), "tie_embeddings": True},
    "decoder-only": {"kind": "decoder-only", "share": ("embeddings",)},
}


@pytest.fixture(scope="module", params=MAKES)
def make(request, corpus, tmp_path_factory):
    """A run of another make, trained a little; not to be changed."""
    sizes = replace(SIZES, **MAKES[request.param])
    trainer = Trainer(corpus, sizes, replace(SCHEDULE, epochs=8), jit=not sizes.dropout)
    trainer.run()
    directory = tmp_path_factory.mktemp(request.param)
    trainer.save_run(directory, {}, {}, {})
    return directory


def once(weights):
    """How many numbers there are."""
    return sum(w.size for w in weights.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_make_of_model_is_deployed(make, few, tmp_path, dtype):
    run = checkpoint.load(make)
    found = deploy(run, tmp_path / "a.zip", dtype, sentences=few)
    again = checkpoint.load(tmp_path / "a.zip")
    assert again.model == run.model
    assert once(again.weights) == once(run.weights)
    exact, model = Translator(make), Translator(tmp_path / "a.zip")
    changed = sum(
        a.tags != b.tags
        for group in run.groups
        for a, b in zip(*(t.translate(TEXTS, group) for t in (exact, model)), strict=True)
    )
    assert found.about["measured"]["dtypes"][dtype]["changed"] == changed
    assert changed == 0 or dtype == "int8"
    for group in run.groups:
        deploy(run, tmp_path / group, dtype, [group], few)
        alone = Translator(tmp_path / group)
        assert all(name.startswith(f"models.{group}.") for name in alone.run.weights)
        for a, b in zip(*(t.translate(TEXTS, group) for t in (model, alone)), strict=True):
            assert (a.tags, a.score, a.familiarity) == (b.tags, b.score, b.familiarity)


def test_what_groups_share_is_shipped_once_and_with_each(make, few, tmp_path):
    run = checkpoint.load(make)
    sizes = {
        groups: deploy(run, tmp_path / "-".join(groups), "float32", groups, few)
        .about["measured"]["dtypes"]["float32"]["bytes"]
        for groups in (("甲",), ("甲", "乙"))
    }  # fmt: skip
    data = 4 * once(run.weights)
    assert data < sizes["甲", "乙"] < data + 40_000
    assert (tmp_path / "甲-乙" / "model.safetensors").stat().st_size == sizes["甲", "乙"]
    alone = checkpoint.load(tmp_path / "甲").weights
    assert 4 * once(alone) < sizes["甲",] < 4 * once(alone) + 20_000
    first = {name: w for name, w in run.weights.items() if name.startswith("models.甲.")}
    assert alone.keys() == first.keys()
    for name, w in alone.items():
        np.testing.assert_array_equal(w, first[name])


@pytest.mark.parametrize("kinds", [("word", "word"), ("char", "char"), ("word", "tag")])
def test_open_vocabularies(tmp_path, run, kinds):
    source, target = tmp_path / "a.ja", tmp_path / "a.en"
    lines = ["私 は 食べ ます", "ありがとう 。", "猫 が いる", "犬 が いる"]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    targets = ["I eat", "thank you", "a cat", "a dog"]
    if kinds[1] == "tag":
        targets = [" ".join(f"<{word}>" for word in line.split()) for line in targets]
    target.write_text("\n".join(targets) + "\n", encoding="utf-8")
    corpus = load_parallel(source, target, None, None, *kinds)
    trainer = Trainer(corpus, replace(SIZES, max_seq_len=16), replace(SCHEDULE, epochs=10))
    trainer.run()
    trainer.save_run("a", {}, {}, {})
    for dtype in DTYPES:
        done = run("export", "--load", "a", "--deploy", dtype, "--dtype", dtype,
                   "--source", source, "--target", target)  # fmt: skip
        assert done.code == 0, done.err
        measured = read(Path(dtype))["deployed"]["measured"]
        assert (measured["texts"], measured["sentences"]) == ("a.ja + a.en", 4)
        found = [
            run("predict", "--load", place, "--json", *lines, "猫 と 犬").out
            for place in ("a", dtype)
        ]
        if measured["dtypes"][dtype]["changed"] == 0:
            both = [[json.loads(line) for line in out.splitlines()] for out in found]
            for one, other in zip(*both, strict=True):
                assert one["familiarity"] == other["familiarity"]
                assert one["unknown"] == other["unknown"]
            first = [[x["translations"][0]["tags"] for x in part[:4]] for part in both]
            assert first[0] == first[1]
    # The bundled sentences say nothing of such a model: it would not know a word of them.
    assert run("export", "--load", "a", "--deploy", "b").code == 0
    assert read(Path("b"))["deployed"]["measured"]["texts"] == "random"


def test_an_older_run_is_deployed_as_this_version_writes(few, tmp_path):
    for version in ("format-1", "format-2", "format-3"):
        old = Path(__file__).parent / "golden" / version
        run = checkpoint.load(old)
        deploy(run, tmp_path / version, "int8")
        assert read(tmp_path / version)["format"] == checkpoint.FORMAT
        assert checkpoint.load(tmp_path / version).vocabulary == run.vocabulary


def test_nothing_of_validation_is_shipped(learned, few, tmp_path):
    run = checkpoint.load(learned)
    run.config["corpus"] |= {"valid_name": "v.tsv", "valid_sha256": "0" * 64, "valid_rows": 3}
    deploy(run, tmp_path / "a", sentences=few)
    assert read(tmp_path / "a")["corpus"].keys() == {"name", "sha256", "rows", "trigrams"}

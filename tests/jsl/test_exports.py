"""What `jsl export`, and exports of other commands, write: names, numbers, labels, all or none."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jsl.exports
import jsl.heatmaps
from jsl import checkpoint, exports
from jsl.config import ModelConfig
from jsl.errors import ExportError, UsageError
from jsl.exports import Labels, Style
from jsl.model import build_model
from jsl.translate import Translator
from jsl.vocabulary import BOUNDARY, Vocabulary
from minigrad import nn, runs
from minigrad.nn import generation

TEXT = "わたしはたべます"  # 8 symbols, and the end
KINDS = {"enc": "encoder", "dec": "decoder", "cross": "cross"}
OUTPUT = "models.甲.decoder.output_projection.weight"


@pytest.fixture
def copy(run, learned):
    """A run of its own, called `a` where commands run; it stays what it is."""
    shutil.copytree(learned, "a")
    before = {p.name: p.read_bytes() for p in Path("a").iterdir() if p.is_file()}
    yield Path("a")
    assert runs.verify("a") == []
    assert {p.name: p.read_bytes() for p in Path("a").iterdir() if p.is_file()} == before


def table(path, encoding="utf-8"):
    """Labels of rows and of columns, and the numbers."""
    text = Path(path).read_bytes().decode(encoding)
    assert "\r" not in text
    assert text.endswith("\n")
    head, *rows = csv.reader(io.StringIO(text))
    assert head[0] == ""
    return [r[0] for r in rows], head[1:], np.array([r[1:] for r in rows], np.float64)


def index(directory):
    return json.loads(Path(directory, "index.json").read_text(encoding="utf-8"))


def names_in(directory):
    found = (p.relative_to(directory).as_posix() for p in Path(directory).rglob("*"))
    return sorted(n for n in found if Path(directory, n).is_file())


def maps_of(directory, folder="", kinds=KINDS, heads=2):
    names = (f"attn_{kind}_layer0_head{h}.csv" for kind in kinds for h in range(heads))
    return sorted(f"{folder}/{name}" if folder else name for name in names)


# ------------------------------------------------------------------------------------ weights


def test_a_layer_of_one_group(run, copy):
    found = run("export", "--load", copy, "--group", "甲", "--export-weights",
                "decoder.output_projection")  # fmt: skip
    assert (found.code, found.err) == (0, "")
    stem = "weights_models.甲.decoder.output_projection"
    files = ["decoder_output_weight.csv", f"{stem}.bias.csv", f"{stem}.weight.csv"]
    assert names_in("a/exports") == sorted([*files, "index.json"])
    weights = checkpoint.load(copy).weights
    for file in (files[0], files[2]):
        read = np.loadtxt(copy / "exports" / file, delimiter=",", dtype=np.float32)
        np.testing.assert_array_equal(read, weights[OUTPUT], strict=True)
    bias = (copy / "exports" / files[1]).read_text(encoding="utf-8").splitlines()
    assert len(bias) == 94  # a column
    [entry] = [e for e in index("a/exports")["exports"] if e["file"] == files[0]]
    assert entry == {
        "file": files[0], "kind": "weights", "name": OUTPUT, "group": "甲", "shape": [94, 16],
        "layout": "matrix", "encoding": "utf-8", "run": "a",
        "trained_at": checkpoint.load(copy).trained_at,
    }  # fmt: skip


def test_of_all_groups_each_has_its_file_and_it_is_said_whose_the_plain_one_is(run, copy):
    found = run("export", "--load", copy, "--export-weights", OUTPUT.partition("甲.")[2])
    assert names_in("a/exports") == sorted(
        ["decoder_output_weight.csv", "index.json"]
        + [f"decoder_output_weight.{g}.csv" for g in "甲乙"]
        + [f"weights_models.{g}.decoder.output_projection.weight.csv" for g in "甲乙"]
    )
    assert "decoder_output_weight.csv is of group “甲”" in found.out
    there = {p.name: p.read_bytes() for p in (copy / "exports").iterdir()}
    assert there["decoder_output_weight.csv"] == there["decoder_output_weight.甲.csv"]
    assert there["decoder_output_weight.csv"] != there["decoder_output_weight.乙.csv"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("models.乙.encoder.norm.bias", ["models.乙.encoder.norm.bias"]),
        ("encoder.norm.bias", ["models.甲.encoder.norm.bias", "models.乙.encoder.norm.bias"]),
        ("models.甲.encoder.norm",
         ["models.甲.encoder.norm.bias", "models.甲.encoder.norm.weight"]),
        ("*.embed.weight", [f"models.{g}.{h}.embed.weight" for g in "甲乙" for h in
                            ("decoder", "encoder")]),
        ("models.甲.*.norm?.bias", [f"models.甲.decoder.layers.0.norm{i}.bias" for i in (1, 2, 3)]
         + [f"models.甲.encoder.layers.0.norm{i}.bias" for i in (1, 2)]),
        ("decoder.layers.[0-3].multihead_attn.q_proj.bias",
         [f"models.{g}.decoder.layers.0.multihead_attn.q_proj.bias" for g in "甲乙"]),
        ("models.甲.encoder.layers.*.linear?", [f"models.甲.encoder.layers.0.linear{i}.{p}"
                                               for i in (1, 2) for p in ("bias", "weight")]),
    ],
)  # fmt: skip
def test_patterns(learned, pattern, names):
    known = list(checkpoint.load(learned).weights)
    assert sorted(exports.choose(known, [pattern])) == sorted(names)


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("decoder.output_projecton", "decoder.output_projection"),
        ("output_projection", "decoder.output_projection"),
        ("models.丙.encoder.norm", "encoder.norm"),
        ("Encoder.norm", "encoder.norm"),
    ],
)
def test_what_no_layer_is_called_is_refused_with_the_nearest(run, copy, pattern, near):
    found = run("export", "--load", copy, "--export-weights", pattern)
    assert found.code == 2
    assert f"No layer is called “{pattern}”" in found.err
    assert near in found.err.partition("Did you mean")[2]
    assert not (copy / "exports").exists()


def test_a_layer_of_another_group_than_the_one_that_is_asked_for(run, copy):
    command = ["export", "--load", copy, "--export-weights", "models.乙.encoder.norm"]
    assert run(*command, "--group", "甲").code == 2
    found = run(*command, "--group", "丙")
    assert (found.code, "The run has: 甲, 乙." in found.err) == (2, True)


def test_layers_are_listed(run, copy):
    found = run("export", "--load", copy, "--list-layers")
    weights = checkpoint.load(copy).weights
    assert [line.split()[0] for line in found.lines] == list(weights)
    assert found.lines[0].split()[1:] == ["94", "×", "16", "1,504"]
    one = json.loads(run("export", "--load", copy, "--list-layers", "--json", "--group", "乙").out)
    assert one["layers"][0] == {
        "name": "models.乙.decoder.embed.weight", "shape": [94, 16], "count": 1504,
    }  # fmt: skip
    assert len(one["layers"]) == len(weights) / 2
    assert not (copy / "exports").exists()


def test_something_has_to_be_asked_for(run, copy):
    found = run("export", "--load", copy)
    assert (found.code, "--list-layers" in found.err) == (2, True)


def everything(dtype):
    bits = {np.float32: np.uint32, np.float16: np.uint16, np.float64: np.uint64}[dtype]
    return st.integers(0, np.iinfo(bits).max).map(lambda x: np.array(x, bits).view(dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_numbers_read_back_as_they_were(dtype, data):
    x = data.draw(everything(dtype))
    [text] = exports.lines(x, "matrix")
    read = np.array(float(text), np.float64)
    with np.errstate(all="ignore"):
        again = np.array(float(text)).astype(dtype)
    if np.isnan(x):
        assert np.isnan(read)
    else:
        assert again.tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("array", "layout", "expected"),
    [
        ([1.5, -2], "matrix", "1.5\n-2\n"),
        ([[1, 2, 3], [4, 5, 6]], "matrix", "1,2,3\n4,5,6\n"),
        (0.5, "matrix", "0.5\n"),
        (np.zeros((0, 3)), "matrix", ""),
        ([[1, 2], [3, 4]], "long", "row,col,value\n0,0,1\n0,1,2\n1,0,3\n1,1,4\n"),
        ([7, 8], "long", "row,value\n0,7\n1,8\n"),
        (np.ones((1, 2, 1)), "matrix", "dim0,dim1,dim2,value\n0,0,0,1\n0,1,0,1\n"),
    ],
)
def test_layouts(array, layout, expected):
    assert "".join(exports.lines(np.asarray(array, np.float32), layout)) == expected


@pytest.mark.parametrize("share", [(), ("decoder",), ("embeddings",), ("encoder", "decoder")])
@pytest.mark.parametrize("tie", [False, True])
def test_what_is_shared_or_tied_is_there_under_each_name(share, tie):
    sizes = ModelConfig(8, 2, 8, 1, 10, share=share, tie_embeddings=tie)
    plain = ModelConfig(8, 2, 8, 1, 10)
    vocabulary = Vocabulary.from_tags(["<は>"])
    weights = build_model(sizes, vocabulary, ("甲", "乙"), 0).state_dict()
    whole = build_model(plain, vocabulary, ("甲", "乙"), 0).state_dict()
    found = exports.complete(weights, ("甲", "乙"))
    assert found.keys() == whole.keys()
    assert all(found[name] is weights[name] for name in weights)
    assert all(found[name].shape == whole[name].shape for name in found)
    name = "models.乙.decoder.output_projection.weight"
    model = build_model(sizes, vocabulary, ("甲", "乙"), 0)["乙"]
    np.testing.assert_array_equal(found[name], model.decoder.output_projection.weight.data)
    sheets = exports.of_weights(found, [name], Style())
    kept = name if name in weights else next(n for n in found if found[n] is found[name])
    assert [s.about.get("same_as", name) for s in sheets] == [kept, kept]


# ---------------------------------------------------------------------------------- attention


def test_all_layers_heads_and_kinds(run, copy):
    found = run("predict", "--load", copy, "--group", "甲", "--export-attn", TEXT)
    assert (found.code, found.out) == (0, "<私> <食べる>\n")
    assert "Exporting 6 files, about " in found.err
    assert names_in("a/exports") == sorted([*maps_of("a/exports"), "index.json"])
    translator = Translator(copy)
    [translation] = translator.translate([TEXT], "甲", attention=True)
    source, end = [*TEXT, "SOS/EOS"], "SOS/EOS"
    output, given = ["<私>", "<食べる>", end], [end, "<私>", "<食べる>"]
    labels = {"enc": (source, source), "dec": (output, given), "cross": (output, source)}
    for kind, whole in KINDS.items():
        for head in range(2):
            rows, columns, weights = table(f"a/exports/attn_{kind}_layer0_head{head}.csv")
            assert (rows, columns) == labels[kind]
            expected = getattr(translation.attention, whole)[0][head]
            np.testing.assert_array_equal(weights.astype(np.float32), expected)
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    entry = index("a/exports")["exports"][0]
    assert entry | {"file": "", "trained_at": ""} == {
        "file": "", "kind": "enc", "layer": 0, "head": 0, "shape": [9, 9], "text": TEXT,
        "group": "甲", "tags": ["<私>", "<食べる>"], "layout": "matrix", "encoding": "utf-8",
        "run": "a", "trained_at": "",
    }  # fmt: skip


@pytest.mark.parametrize("way", ["greedy", "beam", "kernels off", "no cache", "in a batch"])
def test_maps_are_those_of_a_full_pass(run, copy, way, monkeypatch):
    """Whatever search found the tags, and whatever it kept in its cache."""
    if way == "kernels off":
        monkeypatch.setenv("MINIGRAD_KERNELS", "0")
    if way == "no cache":  # the model itself is called for each tag
        monkeypatch.setattr(nn.Generator, "_current", lambda self: None)
    options = {"greedy": [], "beam": ["--beam", 4], "in a batch": ["--batch-size", 2]}.get(
        way, ["--beam", 3, "--length-penalty", "0.5"]
    )
    texts = [TEXT, *(["はい", "ありがとう"] if way == "in a batch" else [])]
    command = ["predict", "--load", copy, "--group", "甲", "--export-attn", *options, *texts]
    assert run(*command).code == 0
    translator = Translator(copy)
    src = translator.encode(TEXT)
    tags = index("a/exports")["exports"][0]["tags"]
    tgt = [BOUNDARY, *translator.vocabulary.encode_tags(tags)[:-1]]
    full = nn.attention_maps(translator.model["甲"], src, tgt)
    folder = "a/exports/text0001" if len(texts) > 1 else "a/exports"
    for kind, whole in KINDS.items():
        for head in range(2):
            *_, weights = table(f"{folder}/attn_{kind}_layer0_head{head}.csv")
            np.testing.assert_allclose(weights, getattr(full, whole)[0][head], atol=1e-6)
    other = nn.attention_maps(translator.model["甲"], src, [BOUNDARY, *tgt[:0:-1]])
    *_, weights = table(f"{folder}/attn_cross_layer0_head0.csv")
    assert np.abs(weights - other.cross[0][0]).max() > 1e-3  # that is of another target


def test_jsl_export_writes_the_same_as_jsl_predict(run, copy):
    assert run("predict", "--load", copy, "--export-attn", TEXT, "--out", "one").code == 0
    found = run("export", "--load", copy, "--export-attn", TEXT, "--out", "other")
    assert (found.code, found.err) == (0, "")
    assert names_in("one") == names_in("other")
    assert len(names_in("one")) == 13  # in a folder for each of two groups
    for name in names_in("one"):
        assert Path("one", name).read_bytes() == Path("other", name).read_bytes()
    assert not (copy / "exports").exists()


def test_several_texts_and_groups_have_a_folder_each(run, copy):
    assert run("export", "--load", copy, "--export-attn", TEXT, "--export-attn", "はい").code == 0
    folders = [f"text000{n}_{g}" for n in (1, 2) for g in "甲乙"]
    there = [name for folder in folders for name in maps_of("a/exports", folder)]
    assert names_in("a/exports") == sorted([*there, "index.json"])
    entries = index("a/exports")["exports"]
    assert {(e["file"].partition("/")[0], e["text"], e["group"]) for e in entries} == {
        (f"text000{n}_{g}", text, g) for n, text in ((1, TEXT), (2, "はい")) for g in "甲乙"
    }


def test_lines_of_a_file(run, copy):
    lines = f"{TEXT}\n\n犬\nはい\n"
    found = run("predict", "--load", copy, "--group", "甲", "--export-attn", "-", stdin=lines)
    assert (found.code, found.lines) == (1, ["<私> <食べる>", "", "", "<はい>"])
    there = [name for n in (1, 4) for name in maps_of("a/exports", f"text000{n}")]
    assert names_in("a/exports") == sorted([*there, "index.json"])
    [left] = index("a/exports")["skipped"]
    assert (left["folder"], left["text"], left["group"]) == ("text0003", "犬", "甲")
    assert "犬" in left["reason"]


def test_a_line_each_number(run, copy):
    run("export", "--load", copy, "--group", "甲", "--export-attn", TEXT, "--csv-layout", "long")
    [translation] = Translator(copy).translate([TEXT], "甲", attention=True)
    text = (copy / "exports/attn_cross_layer0_head1.csv").read_text(encoding="utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["row", "col", "value"]
    expected = translation.attention.cross[0][1]
    assert [(int(i), int(j)) for i, j, _ in rows] == [*np.ndindex(expected.shape)]
    np.testing.assert_array_equal(np.array([float(x) for *_, x in rows], np.float32),
                                  expected.ravel())  # fmt: skip
    [entry] = [e for e in index("a/exports")["exports"] if "cross_layer0_head1" in e["file"]]
    assert entry["rows"] == ["<私>", "<食べる>", "SOS/EOS"]
    assert entry["columns"] == [*TEXT, "SOS/EOS"]


@pytest.mark.parametrize(("limit", "kinds"), [(9, KINDS), (8, ["dec"]), (2, [])])
def test_a_side_that_is_too_long(run, copy, limit, kinds):
    """9 is the longest side of this text: it is exported where 9 is the limit."""
    found = run("predict", "--load", copy, "--json", "--group", "甲", "--export-attn",
                "--attn-max-len", limit, TEXT)  # fmt: skip
    assert found.code == 0
    left = [kind for kind in KINDS if kind not in kinds]
    assert names_in("a/exports") == sorted([*maps_of("a/exports", kinds=kinds), "index.json"])
    assert ("is left out" in found.err) == bool(left)
    assert [e["kind"] for e in index("a/exports")["skipped"]] == left
    [said] = json.loads(found.out)["translations"]
    assert "attention" not in said
    assert sorted(said["exports"]["files"]) == maps_of("a/exports", kinds=kinds)
    assert [e["kind"] for e in said["exports"]["skipped"]] == left
    shapes = {"enc": [9, 9], "cross": [3, 9], "dec": [3, 3]}
    assert all(e["shape"] == shapes[e["kind"]] for e in said["exports"]["skipped"])
    assert all(str(limit) in e["reason"] for e in said["exports"]["skipped"])


def test_the_limit_is_twenty_if_nothing_is_said():
    def of(n):
        maps = nn.Attention([np.full((1, n, n), 1 / n)], [np.ones((1, 1, 1))],
                            [np.full((1, 1, n), 1 / n)])  # fmt: skip
        labels = Labels(["あ"] * n, ["<終>"], ["<始>"])
        sheets, skipped = exports.of_attention(maps, labels, {}, Style())
        return [s.name for s in sheets], [s["kind"] for s in skipped]

    names = [f"attn_{kind}_layer0_head0.csv" for kind in KINDS]
    assert of(20) == (names, [])
    assert of(21) == (["attn_dec_layer0_head0.csv"], ["enc", "cross"])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda x: x[:, :-1], "its shape is"),
        (lambda x: x * 1.0001, "off 1"),
        (lambda x: -x, "from 0 to 1"),
        (lambda x: x * np.nan, "from 0 to 1"),
        (lambda x: np.concatenate([x[:, :1] * 0, x[:, :-1]], 1), "off 1"),
    ],
)
def test_maps_that_are_wrong_are_not_written(run, copy, monkeypatch, broken, words):
    def attention_maps(*arguments):
        maps = nn.attention_maps(*arguments)
        return maps._replace(cross=[np.stack(list(map(broken, heads))) for heads in maps.cross])

    monkeypatch.setattr(generation, "attention_maps", attention_maps)
    found = run("export", "--load", copy, "--group", "甲", "--export-attn", TEXT)
    assert (found.code, "attn_cross_layer0_head0" in found.err) == (1, True)
    assert words in found.err
    assert not (copy / "exports").exists()


def test_no_map_is_made_unless_it_is_asked_for(run, copy, monkeypatch):
    def attention_maps(*arguments):
        raise AssertionError("a map was made")

    monkeypatch.setattr(generation, "attention_maps", attention_maps)
    assert run("predict", "--load", copy, "--json", "--beam", 3, TEXT).code == 0
    assert run("export", "--load", copy, "--export-weights", "*").code == 0
    assert run("predict", "--load", copy, "--export-attn", TEXT).code == 1


def test_what_exports_need_is_not_loaded_without_them(copy):
    program = (
        "import sys; from jsl.cli import outcome; outcome();"
        "print([m for m in ('jsl.exports', 'jsl.heatmaps', 'matplotlib') "
        "if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, "predict", "--load", copy, "--group", "甲", "はい"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == ["<はい>", "[]"]


# --------------------------------------------------------------------- names, cells, encodings

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=90)


@given(st.lists(NAMES, unique=True))
def test_names_of_files_are_distinct_and_safe_everywhere(names):
    made = exports.file_names(names)
    assert list(made) == names
    folded = {unicodedata.normalize("NFC", name.casefold()) for name in made.values()}
    assert len(folded) == len(names)
    for name in made.values():
        assert not set(name) & set('<>:"/\\|?*')
        assert name == unicodedata.normalize("NFC", name).rstrip(". ")
        assert name
        assert name[0] != "."
        assert len(f"weights_{name}.csv".encode()) < 230
        assert not any(unicodedata.category(c)[0] == "C" and unicodedata.category(c) != "Cn"
                       and unicodedata.category(c) != "Co" for c in name)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("日本手話", "日本手話"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("a:b*", "a%3Ab%2A"),
        ("con", "_con"),
        ("COM1", "_COM1"),
        ("か\u3099", "が"),
        ("..", "_.%2E"),
        ("", "_"),
    ],
)
def test_names(name, expected):
    assert exports.safe(name) == expected


def test_groups_that_differ_in_case_only(learned):
    weights = {f"models.{g}.decoder.output_projection.weight": np.zeros((1, 1)) for g in "Aa"}
    sheets = exports.of_weights(weights, list(weights), Style())
    names = [sheet.name for sheet in sheets]
    assert len({name.casefold() for name in names}) == len(names) == 5
    # The name does not depend on what else is exported.
    [_, a] = weights
    assert exports.of_weights(weights, [a], Style())[0].name == names[1]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"])
def test_labels_that_a_spreadsheet_would_execute(start):
    label = f'{start}HYPERLINK("http://x","y")'
    array = np.array([[-0.5, 0.25]], np.float32)
    text = "".join(exports.lines(array, "matrix", ([label], [label, "あ,い"])))
    head, row = csv.reader(io.StringIO(text, newline=""))
    assert head == ["", f"'{label}", "あ,い"]
    assert row == [f"'{label}", "-0.5", "0.25"]  # numbers stay numbers
    assert exports.cell(f" {label}") == f"' {label}"
    assert exports.cell("ー") == "ー"
    assert exports.cell("<=>") == "<=>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
def test_encodings(run, copy, encoding):
    found = run("export", "--load", copy, "--group", "甲", "--export-attn", TEXT,
                "--csv-encoding", encoding)  # fmt: skip
    assert found.code == 0
    path = copy / "exports" / "attn_enc_layer0_head0.csv"
    rows, *_ = table(path, encoding)
    assert rows == [*TEXT, "SOS/EOS"]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")


def test_an_encoding_without_the_characters_writes_nothing(run, copy):
    found = run("export", "--load", copy, "--group", "甲", "--export-weights", "encoder.norm",
                "--export-attn", TEXT, "--csv-encoding", "latin-1")  # fmt: skip
    assert (found.code, "--csv-encoding utf-8-sig" in found.err) == (1, True)
    assert "わ (U+308F)" in found.err
    assert not (copy / "exports").exists()
    for wrong in ("latin-99", "hex", "idna\0"):
        found = run("export", "--load", copy, "--export-attn", TEXT, "--csv-encoding", wrong)
        assert found.code == 2


# ------------------------------------------------------------------------------ all or nothing


def test_what_is_exported_again_is_replaced_and_said(run, copy):
    assert run("predict", "--load", copy, "--group", "甲", "--export-attn", TEXT).code == 0
    run("export", "--load", copy, "--export-weights", "encoder.norm")
    found = run("predict", "--load", copy, "--group", "乙", "--export-attn", "あ",
                "--attn-max-len", 4)  # fmt: skip
    assert "6 files of an earlier export were replaced" in found.err
    # Nothing of the earlier text stays under a name without a text.
    texts = {e.get("text") for e in index("a/exports")["exports"]}
    assert texts == {"あ", None}
    files = [e["file"] for e in index("a/exports")["exports"]]
    assert sorted(files) == [n for n in names_in("a/exports") if n != "index.json"]
    assert not any(name.startswith("attn_dec") for name in files)  # five long


def test_what_was_there_stays_if_something_fails(run, copy, monkeypatch):
    command = ["export", "--load", copy, "--group", "甲", "--export-attn"]
    assert run(*command, TEXT).code == 0
    before = {name: Path("a/exports", name).read_bytes() for name in names_in("a/exports")}

    def failing(whence, where):
        if str(where).endswith("attn_dec_layer0_head1.csv") and "aside" not in str(where):
            monkeypatch.undo()
            raise PermissionError(13, "a spreadsheet has it open")
        os.replace(whence, where)

    with monkeypatch.context() as patch:
        patch.setattr(jsl.exports, "os", SimpleNamespace(**vars(os) | {"replace": failing}))
        patch.setattr(monkeypatch, "undo", lambda: patch.setattr(jsl.exports, "os", os))
        found = run(*command, "はい")
    assert found.code == 1
    assert "a spreadsheet has it open" in found.err
    assert {name: Path("a/exports", name).read_bytes() for name in names_in("a/exports")} == before


def test_too_much_is_refused_before_anything_is_written(run, copy, monkeypatch):
    monkeypatch.setattr(jsl.exports, "LIMIT", 100_000)
    command = ["export", "--load", copy, "--export-weights", "*"]
    found = run(*command)
    assert (found.code, "more than 100.0 kB" in found.err, "--force" in found.err) == (
        2,
        True,
        True,
    )
    assert not (copy / "exports").exists()
    assert run(*command, "--yes").code == 0
    size = sum(p.stat().st_size for p in (copy / "exports").glob("*.csv"))
    weights = checkpoint.load(copy).weights
    estimate = exports.size_of(exports.of_weights(weights, list(weights), Style()))
    assert 0.7 * estimate < size < 1.1 * estimate


def test_a_disk_that_is_full(run, copy, monkeypatch):
    usage = SimpleNamespace(free=10)
    monkeypatch.setattr(jsl.exports.shutil, "disk_usage", lambda place: usage)
    found = run("export", "--load", copy, "--export-weights", "*", "--force")
    assert (found.code, "10 B are free" in found.err) == (1, True)
    assert not (copy / "exports").exists()


def test_an_index_that_is_something_else_is_left_alone(run, copy):
    Path("out").mkdir()
    for text in ('{"name": "mine"}', "[]", "no JSON", '{"format": 1, "exports": [1]}'):
        Path("out/index.json").write_text(text, encoding="utf-8")
        found = run("export", "--load", copy, "--export-weights", "encoder.norm", "--out", "out")
        assert (found.code, "is no index of exports" in found.err) == (1, True)
        assert names_in("out") == ["index.json"]
        assert Path("out/index.json").read_text(encoding="utf-8") == text


def test_an_index_cannot_have_other_files_removed(run, copy):
    victims = ["../a/config.json", "mine.csv", "../attn_enc_layer0_head0.csv"]
    for name in victims[1:]:
        Path("a", "exports").mkdir(exist_ok=True)
        Path("a/exports", name).write_text("mine", encoding="utf-8")
    entries = [{"file": name, "kind": "enc"} for name in victims]
    runs.save_json("a/exports/index.json", {"format": 1, "exports": entries, "skipped": []})
    assert run("predict", "--load", copy, "--export-attn", "--group", "甲", TEXT).code == 0
    for name in victims[1:]:
        assert Path("a/exports", name).read_text(encoding="utf-8") == "mine"
    Path("a/attn_enc_layer0_head0.csv").unlink()


def test_files_of_another_training_are_pointed_out(run, copy):
    run("export", "--load", copy, "--export-weights", "encoder.norm")
    there = index("a/exports")
    for entry in there["exports"]:
        entry["trained_at"] = "2020-01-01T00:00:00Z"
    runs.save_json("a/exports/index.json", there)
    found = run("export", "--load", copy, "--export-weights", "decoder.norm")
    assert "a/exports has 4 files of another training" in found.err


def test_where_there_is_no_directory_a_place_has_to_be_named():
    with pytest.raises(UsageError, match="--out"):
        exports.place_of("s3://key:secret@bucket/run", None)
    assert exports.place_of("s3://bucket/run", Path("here")) == Path("here")
    assert exports.place_of(Path("."), None) == Path("exports")


def test_options_of_exports_are_refused_where_nothing_is_exported(run, copy):
    found = run("predict", "--load", copy, "--out", "x", "--csv-layout", "long", "はい")
    assert (found.code, found.out) == (2, "")
    assert "--csv-layout, --out" in found.err or "--out, --csv-layout" in found.err
    Path("s.toml").write_text('[predict]\ncsv-encoding = "utf-8-sig"\n', encoding="utf-8")
    assert run("predict", "--config", "s.toml", "--load", copy, "はい").code == 0


def test_what_cannot_be_written(run, copy):
    Path("file").write_text("", encoding="utf-8")
    found = run("export", "--load", copy, "--export-weights", "encoder.norm", "--out", "file/x")
    assert (found.code, "Cannot export into file/x" in found.err) == (1, True)
    with pytest.raises(ExportError):
        exports.write(Path("file"), [exports.Sheet("a.csv", 1, {"kind": "weights"}, list)])


def test_for_programs(run, copy):
    found = run("export", "--load", copy, "--group", "甲", "--export-attn", TEXT, "--json",
                "--export-weights", "encoder.norm", "--attn-max-len", 3)  # fmt: skip
    [line] = found.lines
    said = json.loads(line)
    assert said["directory"] == str(Path("a", "exports"))
    assert len(said["exports"]) == 4
    assert [e["kind"] for e in said["skipped"]] == ["enc", "cross"]


# ------------------------------------------------------------------------------------ pictures


def test_pictures(run, copy):
    found = run("predict", "--load", copy, "--group", "甲", "--attn-plot", "はい")
    assert found.code == 0
    names = names_in("a/exports")
    assert len(names) == 3 * 6 + 1
    picture = (copy / "exports" / "attn_cross_layer0_head1.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    svg = (copy / "exports" / "attn_cross_layer0_head1.svg").read_text(encoding="utf-8")
    for label in ("は", "い", "SOS/EOS", "&lt;はい&gt;", "cross-attention, layer 0, head 1"):
        assert f">{label}</text>" in svg
    assert "\r" not in svg


def test_labels_that_matplotlib_would_take_for_formulas():
    weights = np.array([[0.5, 0.5]])
    about = {"kind": "dec", "layer": 0, "head": 0, "text": "$x^2$", "group": "\\frac"}
    svg = jsl.heatmaps.pictures(weights, (["<$a$>"], ["$\\x$", " "]), about)["svg"].decode()
    assert ">&lt;$a$&gt;</text>" in svg
    assert ">␣</text>" in svg
    again = jsl.heatmaps.pictures(weights, (["<$a$>"], ["$\\x$", " "]), about)["svg"].decode()
    assert svg == again


def test_without_matplotlib_the_extra_is_named(run, copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = run("predict", "--load", copy, "--attn-plot", "はい")
    assert (found.code, found.out) == (2, "")
    assert "pip install 'minigrad[plot]'" in found.err


def test_a_font_that_has_the_characters_is_found(monkeypatch):
    fonts = {"DejaVu Sans": set("abc"), "A": set("あ"), "B": set("あい"), "C": set("う")}
    monkeypatch.setattr(jsl.heatmaps, "_paths", lambda: {name: name for name in fonts})
    monkeypatch.setattr(jsl.heatmaps, "_characters", lambda path: frozenset(fonts[path]))
    jsl.heatmaps._families.cache_clear()
    assert jsl.heatmaps.undrawn(["ab", "いう"]) == ""
    assert jsl.heatmaps._families(frozenset("aいう")) == ("DejaVu Sans", "B", "C")
    assert jsl.heatmaps.undrawn(["あ犬"]) == "犬"
    jsl.heatmaps._families.cache_clear()


def test_where_there_is_no_font_it_is_said_once(run, copy, monkeypatch):
    monkeypatch.setattr(jsl.heatmaps, "undrawn", lambda texts: "はい")
    found = run("predict", "--load", copy, "--attn-plot", "はい")
    assert found.err.count("no installed font has い, は") == 1

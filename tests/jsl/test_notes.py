"""The README.md of a run: what it says, that its commands run, and that no data breaks it."""

import json
import re
import shlex
import signal
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import jsl.messages
from jsl import checkpoint, notes
from jsl.errors import RunDirError
from jsl.matching import KEPT, Compared, Matches, compare
from jsl.train import Trainer
from jsl.translate import Translator
from minigrad import runs


@pytest.fixture(scope="module")
def files(learned):
    """What config.json and metrics.json of a run say."""
    names = (checkpoint.CONFIG, checkpoint.METRICS)
    return [json.loads((learned / name).read_text(encoding="utf-8")) for name in names]


@pytest.fixture(autouse=True)
def _english(english):
    pass


def page(files, **options):
    options = {"command": ["jsl", "train", "--save", "a"], "directory": "a"} | options
    return notes.notes(*files, **options)


def tables(text):
    """Each table of a page as rows of cells, as a reader of Markdown finds them."""
    found, rows = [], []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "table_open":
            rows = []
            found.append(rows)
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level == 4 and rows:
            kinds = {child.type for child in token.children}
            assert kinds <= {"text", "text_special", "code_inline"}, f"{token.content}: {kinds}"
            rows[-1].append("".join(child.content for child in token.children))
    return found


def matches(*compared):
    found = Matches()
    for group in dict.fromkeys(one.group for one in compared):
        found.add(group, [one for one in compared if one.group == group])
    return found


WRONG = Compared("甲", "わたしはたべます", "<私> <食べる>", "<私> <歩く>")
RIGHT = Compared("甲", "はい", "<はい>", "<はい>")


def test_what_it_says(files):
    text = page(files, looked={"training": matches(RIGHT, WRONG)})
    config, metrics = files
    for title in ("Settings", "Results", "Learning curve", "Examples", "Commands", "Limits"):
        assert f"\n## {title}\n" in text
    found = {row[0]: row[1] for t in tables(text) for row in t if len(row) == 2}
    assert found["d_model"] == "16"
    assert found["learning_rate"] == "0.02"
    assert found["groups"] == "甲, 乙"
    assert found["Loss per token"] == f"{metrics['loss_per_token']:.4g}"
    assert found["corpus sha256"] == config["corpus"]["sha256"]
    assert found["git_commit"] == config["metadata"]["git_commit"]
    assert "Of 2 rows of the training corpus, 1 are not translated exactly." in text
    [head, *rows] = tables(text)[-2]
    assert head == ["Group", "Text", "Expected", "Got", "Same"]
    assert rows == [["甲", "わたしはたべます", "<私> <食べる>", "<私> <歩く>", "no"]]
    assert "native signers" in text
    assert "```sh\njsl train --save a\n```" in text
    assert str(Path.cwd()) not in text


def test_in_japanese(files):
    jsl.messages.use_language("ja")
    text = page(files, looked={"training": matches(WRONG)})
    for title in ("設定", "結果", "学習曲線", "訳の例", "正しく訳せなかった文", "限界"):
        assert f"\n## {title}\n" in text
    assert "学習した1文のうち、1文の訳が正解と一致しません。" in text


def test_limits_follow_from_what_was_trained(files):
    assert "no native signer has reviewed it" in page(files, reviewed=False)
    assert "no native signer has reviewed it" not in page(files)
    assert "A sentence may have 9 tokens at most." in page(files)
    assert "reads hiragana" in page(files)
    config, metrics = json.loads(json.dumps(files))
    config["vocabulary"] |= {"source_tokens": "word", "target_tokens": "word"}
    other = page((config, metrics))
    assert "reads hiragana" not in other
    assert "manual signs" not in other
    looked = {"training": matches(RIGHT), "valid": matches(WRONG)}
    text = page(files, looked=looked)
    assert "how good it is on others was not measured" not in text
    assert "Of 1 rows of the validation corpus, 1 are not translated exactly." in text
    assert "All 1 rows of the training corpus are translated exactly." in text


def test_one_that_was_interrupted_can_be_resumed(files):
    config, metrics = json.loads(json.dumps(files))
    config["progress"]["finished"] = False
    metrics |= {"history": [], "exact_match": {}}
    text = page((config, metrics), corpus=["--corpus", "my corpus.tsv"], directory="m/私")
    assert "jsl train --resume 'm/私' --corpus 'my corpus.tsv'" in text
    assert "Nobody has looked yet" in text
    assert "## Learning curve" not in text


HOSTILE = st.text(
    st.one_of(st.sampled_from("|\\`*_<>[]()#&!~$\n\r\t:@{}-+=. あ"), st.characters(codec="utf-8")),
    max_size=30,
)


@given(HOSTILE, HOSTILE)
@settings(max_examples=200)
def test_what_is_in_a_cell_stays_in_it(text, tags):
    lines = notes.table(("notes.text", "notes.got"), [("x", text), (tags, "y")])
    [[head, *rows]] = tables("\n".join(lines))
    assert head == ["Text", "Got"]

    def visible(text):
        spaces = "Zs"
        return "".join(
            c if c.isprintable() or unicodedata.category(c) == spaces else ascii(c)[1:-1]
            for c in text
        )

    assert [[cell.strip() for cell in row] for row in rows] == [
        ["x", visible(text).strip()],
        [visible(tags).strip(), "y"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "www.example.com",
        "https://example.com",
        "@someone",
        "<script>alert(1)</script>",
        "![x](http://y)",
        "a</td>",
        "$x$",
    ],
)
def test_nothing_becomes_a_link_or_html(text):
    shown = notes.plain(text)
    html = MarkdownIt("commonmark").render(shown)
    assert not re.search(r"<(?!/?p>)", html)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")),
                min_size=1))  # fmt: skip
def test_a_command_cannot_leave_its_fence_and_reads_back(words):
    lines = notes.code(shlex.join(words))
    [fence] = [t for t in MarkdownIt().parse("\n".join(lines)) if t.type == "fence"]
    assert fence.info == "sh"
    assert shlex.split(fence.content.rstrip("\n")) == words


def test_long_texts_are_cut():
    assert len(notes.plain("あ" * 1000)) == notes.LONGEST
    assert notes.plain("あ" * 1000).endswith("…")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1], "▁"), ([2, 2], "▁▁"), ([10, 1, 0.1], "█▅▁"), ([1, 0], "█▁")],
)
def test_bars(values, expected):
    assert notes.sparkline(values) == expected


def test_many_epochs_are_few_bars_and_rows(files):
    config, metrics = json.loads(json.dumps(files))
    metrics["history"] = [
        {"epoch": n, "loss_per_token": 5 / n, "loss_per_sentence": 15 / n} for n in range(1, 1001)
    ]
    text = page((config, metrics))
    [rows] = [t for t in tables(text) if t[0][0] == "Epoch"]
    assert [row[0] for row in rows[1:]][:: notes.EPOCHS - 1] == ["1", "1000"]
    assert len(rows) == notes.EPOCHS + 1
    assert re.search(rf": [{notes.BARS}]{{{notes.WIDE}}}\n", text)


# ------------------------------------------------------------------------------------ matching


def test_rows_beside_what_a_model_makes_of_them(learned, corpus):
    translator = Translator(learned)
    rows = [row for row in corpus.rows if row.group == "乙"]
    limit = translator.run.model.max_seq_len
    model = translator.model["乙"]
    found = [*compare(model, translator.vocabulary, rows, limit, 2)]
    assert [one.text for one in found] == [row.japanese for row in rows]
    assert all(one.right for one in found)
    model.decoder.output_projection.weight.data[:] = 0
    wrong = [*compare(model, translator.vocabulary, rows, limit)]
    assert not any(one.right for one in wrong)
    assert [one.expected for one in wrong] == [one.got for one in found]


def test_failures_are_counted_all_and_kept_some():
    found = matches(*[WRONG] * 50, *[RIGHT] * 3)
    assert found.counts == {"甲": (3, 53)}
    assert (found.failed, len(found.failures), len(found.examples)) == (50, KEPT, 3)


# ------------------------------------------------------------------------------------- writing


def test_a_page_of_somebody_else_stays(tmp_path, files):
    assert notes.write(tmp_path, page(files))
    assert notes.write(tmp_path, "<!-- jsl train: again -->\n")
    (tmp_path / "README.md").write_text("# My project\n", encoding="utf-8")
    assert not notes.write(tmp_path, page(files))
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# My project\n"
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunDirError, match="file"):
        notes.write(tmp_path / "file", "text")


def test_commands_of_earlier_trainings_stay(tmp_path, files):
    assert notes.trained(tmp_path) == ""
    first = ["jsl", "train", "--save", "a b```"]
    notes.write(tmp_path, page(files, command=first))
    assert shlex.split(notes.trained(tmp_path)) == first
    then = ["jsl", "train", "--load", "a", "--save", "b"]
    text = page(files, command=then, before=notes.trained(tmp_path))
    notes.write(tmp_path, text)
    assert notes.trained(tmp_path).splitlines() == [shlex.join(first), shlex.join(then)]
    (tmp_path / "README.md").write_text("mine\n" + text, encoding="utf-8")
    assert notes.trained(tmp_path) == ""


def test_paths_are_relative_and_passwords_stay_out(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert notes.relative(tmp_path / "models" / "私") == "../models/私"
    assert notes.relative(Path("models/a")) == "models/a"
    assert "secret" not in notes.relative("s3://key:secret@bucket/run")


# ------------------------------------------------------------------------------- jsl train


def commands_of(path):
    """The commands in a page, under the line before each."""
    text = Path(path).read_text(encoding="utf-8")
    found = re.findall(r"^([^\n]+):\n\n(?:<!--.*?-->\n)?(```+)sh\n(.*?)\n\2$", text, re.S | re.M)
    return {title: command for title, _, command in found}


def test_a_training_writes_its_page_beside_the_manifest(run, corpus_path):
    Path("my data").mkdir()
    Path("my data/c.tsv").write_bytes(corpus_path.read_bytes())
    train = ["train", "--epochs", 2, "--d-model", 8, "--n-layers", 1, "--corpus", "my data/c.tsv"]
    assert run(*train, "--save", Path.cwd() / "m a", "--lang", "ja").code == 0
    text = Path("m a/README.md").read_text(encoding="utf-8")
    assert text.startswith(notes.MARK)
    assert "## 正しく訳せなかった文" in text
    assert str(Path.cwd()) not in text
    assert "\r" not in text
    assert "README.md" not in runs.load_json("m a/manifest.json")["files"]
    said = commands_of("m a/README.md")
    words = [shlex.split(command) for command in said.values()]
    assert words[0] == [
        *("jsl", "train", "--corpus", "my data/c.tsv", "--epochs", "2", "--d-model", "8"),
        *("--n-layers", "1", "--save", "m a"),
    ]
    for call in words:
        if call[1] in ("predict", "verify"):
            assert run(*call[1:], "--lang", "en").code == 0, call
    [more] = [call for call in words[1:] if call[1] == "train"]
    assert run(*more[1:], "--epochs", 1).code == 0
    both = commands_of("m a-2/README.md")["By this it was trained"]
    assert [shlex.split(line) for line in both.splitlines()] == [
        words[0],
        ["jsl", "train", "--corpus", "my data/c.tsv", "--epochs", "1", "--save", "m a-2",
         "--load", "m a"],
    ]  # fmt: skip
    # What a person writes into it is no damage.
    with open("m a/README.md", "a", encoding="utf-8") as file:
        file.write("mine\n")
    assert run("verify", "m a").code == 0
    Path("m a/README.md").unlink()
    assert run("predict", "--load", "m a", "はい").code == 0


def test_the_page_names_what_fails(run, corpus_path):
    train = ["train", "--epochs", 1, "--corpus", corpus_path, "--valid", corpus_path]
    found = run(*train, "--d-model", 8, "--n-layers", 1, "--save", "m")
    assert found.code == 0
    text = Path("m/README.md").read_text(encoding="utf-8")
    counts = runs.load_json("m/metrics.json")["exact_match"].values()
    failed = sum(c["rows"] - c["right"] for c in counts)
    assert failed > 0
    assert f"Of 7 rows of the training corpus, {failed} are not translated exactly." in text
    assert f"Of 7 rows of the validation corpus, {failed} are not translated exactly." in text
    [rows] = {tuple(map(tuple, t[1:])) for t in tables(text) if len(t) == failed + 1
              and t[0][0] == "Group" and all(r[-1] == "no" for r in t[1:])}  # fmt: skip
    translator = Translator("m")
    for group, text, expected, got, _ in rows:
        [translation] = translator.translate([text], group)
        assert translation.tags == got != expected


def test_options_of_a_file_of_settings_are_in_the_command(run, corpus_path):
    settings = (
        f'lang = "en"\n[train]\nepochs = 1\ncorpus = "{corpus_path.as_posix()}"\nno-jit = true\n'
    )
    Path("s.toml").write_text(settings, encoding="utf-8")
    assert run("train", "--config", "s.toml", "--save", "m").code == 0
    words = shlex.split(commands_of("m/README.md")["By this it was trained"])
    assert words[:2] == ["jsl", "train"]
    assert {"--epochs", "--corpus", "--no-jit", "--save"} == {w for w in words if w[:2] == "--"}
    assert notes.relative(corpus_path) in words


def test_weights_are_exported_when_a_training_has_ended(run, corpus_path):
    train = ["train", "--epochs", 1, "--corpus", corpus_path, "--save", "m", "--export-weights"]
    wrong = run(*train, "decoder.outptu_projection")
    assert (wrong.code, "decoder.output_projection" in wrong.err) == (2, True)
    assert "epoch" not in wrong.out
    assert run(*train, "decoder.output_projection", "--csv-encoding", "klingon").code == 2
    assert not Path("m").exists()
    assert run(*train[:-1], "--csv-encoding", "utf-8").code == 2
    found = run(*train, "decoder.output_projection")
    assert found.code == 0
    assert Path("m/exports/decoder_output_weight.csv").is_file()
    assert len([*Path("m/exports").glob("weights_models.*.csv")]) == 4
    assert run("verify", "m").code == 0


def test_a_training_that_was_interrupted_and_went_on(run, corpus_path, monkeypatch):
    weigh, steps = Trainer.weigh, []

    def interrupted(self, batch):
        steps.append(batch)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return weigh(self, batch)

    monkeypatch.setattr(Trainer, "weigh", interrupted)
    options = ["--corpus", corpus_path, "--d-model", 8, "--n-layers", 1]
    found = run("train", *options, "--epochs", 3, "--save", "m", "--export-weights", "encoder.norm")
    assert found.code == 1
    assert "--export-weights encoder.norm" in found.lines[-1]
    assert not Path("m/exports").exists()
    first = commands_of("m/README.md")
    assert "The training was interrupted" in Path("m/README.md").read_text(encoding="utf-8")
    resume = shlex.split(first["To go on to its end"])
    assert resume[:4] == ["jsl", "train", "--resume", "m"]
    assert run(*resume[1:]).code == 0
    lines = commands_of("m/README.md")["By this it was trained"].splitlines()
    assert lines == [first["By this it was trained"], lines[1]]
    assert "--resume m" in lines[1]
    assert "interrupted" not in Path("m/README.md").read_text(encoding="utf-8")

"""`jsl evaluate`: every row is counted, with the figures that follow from what was translated."""

import io
import json
import re
import sys

import pytest

from jsl import scores
from jsl.commands.evaluate import chosen, progress
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import Row, load_corpus, load_parallel
from jsl.errors import UsageError
from jsl.evaluate import measure, translate
from jsl.messages import columns
from jsl.train import Trainer
from jsl.translate import Translator

# Of a run that has learned the small corpus by heart: what is right, and what is not.
MIXED = """\
group\tjapanese\ttags
甲\tわたしはたべます\t<私> <食べる>
甲\tわたしはたべます\t<私> <食べる>
甲\tありがとう\t<私>
甲\tありがとう\t<ありがとう>
乙\tいいえ\t<いいえ>
乙\t漢字\t<いいえ>
乙\tあああああああああああああああああ\t<私> <私>
乙\tわたしはたべます\t<私> <は> <無い> <食べる>
"""
FEW = {"exact_match": (4, 8), "edits": 1 + 1 + 2 + 1, "tags": 14}


@pytest.fixture
def mixed(tmp_path):
    path = tmp_path / "mixed.tsv"
    path.write_text(MIXED, encoding="utf-8", newline="\n")
    return path


def evaluated(run, *arguments):
    found = run("evaluate", "--json", *arguments)
    assert found.code == 0, found.err
    [line] = found.lines
    return json.loads(line)


def test_a_run_that_knows_its_corpus_by_heart_is_right(run, learned, corpus_path):
    found = evaluated(run, "--load", learned, "--corpus", corpus_path)
    assert [*found["groups"]] == ["甲", "乙"]
    for part in (*found["groups"].values(), found["all"]):
        assert part["right"] == part["rows"]
        assert part["figures"]["exact_match"] == {"value": 100, "low": 100, "high": 100}
        assert part["figures"]["tag_error_rate"]["value"] == 0
        assert part["figures"]["bleu_1"]["value"] == pytest.approx(100)
        assert part["figures"]["chrf"]["value"] == pytest.approx(100)
        assert part["few"]
    assert (found["all"]["rows"], found["all"]["texts"]) == (7, 5)
    assert found["untranslated"] == found["failures"] == []
    assert found["unknown_tags"] == {}


def test_every_row_counts(run, learned, mixed):
    found = evaluated(run, "--load", learned, "--corpus", mixed, "--failures", 9)
    whole = found["all"]
    assert (whole["right"], whole["rows"]) == FEW["exact_match"]
    assert (whole["edits"], whole["reference_tags"]) == (FEW["edits"], FEW["tags"])
    assert whole["figures"]["exact_match"]["value"] == 50
    assert whole["figures"]["tag_error_rate"]["value"] == pytest.approx(500 / 14)
    assert [part["untranslated"] for part in found["groups"].values()] == [0, 2]
    assert [x["line"] for x in found["failures"]] == [4, 7, 8, 9]
    assert found["failures"][0] == {
        "line": 4,
        "group": "甲",
        "text": "ありがとう",
        "expected": ["<私>"],
        "got": ["<ありがとう>"],
        "error": None,
    }
    assert [x["line"] for x in found["untranslated"]] == [7, 8]
    assert "「漢」(U+6F22) at position 1" in found["untranslated"][0]["error"]
    assert "too long" in found["untranslated"][1]["error"]
    assert all(x["got"] is None for x in found["untranslated"])
    assert found["unknown_tags"] == {"<無い>": 1}
    assert any("not in the run's vocabulary (1)" in w and "<無い>" in w for w in found["warnings"])
    assert any("in lines 7-8. The first: There are unknown" in w for w in found["warnings"])


def test_the_figures_are_those_of_the_translations(run, learned, mixed):
    translator = Translator(learned)
    rows = load_corpus(mixed, strict=False).rows
    translations, references = [], []
    for row in rows:
        [result] = translator.translate([row.japanese], row.group)
        translations.append(result.tags.split())
        references.append(row.tags)
    found = evaluated(run, "--load", learned, "--corpus", mixed)
    for name, part in (*found["groups"].items(), (None, found["all"])):
        own = [i for i, row in enumerate(rows) if name in (None, row.group)]
        counts = scores.statistics([translations[i] for i in own], [references[i] for i in own])
        ends = scores.intervals(counts, [rows[i].japanese for i in own])
        values = scores.figures(counts.sum(0)), *ends
        for figure, *numbers in zip(scores.FIGURES, *values, strict=True):
            assert [*part["figures"][figure].values()] == pytest.approx(numbers, abs=1e-6)


def test_it_says_what_was_evaluated_and_how(run, learned, mixed, corpus_path):
    loaded = Translator(learned).run
    arguments = "--load", learned, "--corpus", mixed, "--beam", 3, "--length-penalty", 0.5, "--int8"
    found = evaluated(run, *arguments)
    assert found["run"]["vocabulary_hash"] == loaded.vocabulary.hash
    assert found["run"]["trained_at"] == loaded.trained_at
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found["run"]["git_commit"])
    assert found["corpus"]["sha256"] == load_corpus(mixed, strict=False).sha256
    expected = {"beam": 3, "length_penalty": 0.5, "weights": "int8", "backend": "numpy"}
    assert found["search"] == expected
    assert found["bootstrap"] == {
        "resamples": 1000, "confidence": 0.95, "seed": 0, "enough": 100, "sure": 5,
    }  # fmt: skip
    assert evaluated(run, *arguments) == found  # once more, to the last digit


def test_a_search_with_beams_is_that_of_the_translator(learned, mixed):
    rows = load_corpus(mixed, strict=False).rows
    translator = Translator(learned, beam=4)
    found = translate(translator, rows, batch_size=2, length_penalty=0.3)
    for row, outcome in zip(rows, found, strict=True):
        [result] = translator.translate([row.japanese], row.group, length_penalty=0.3)
        assert " ".join(outcome.tags) == result.tags
        assert (outcome.row, outcome.error is None) == (row, result.error is None)


def test_what_is_asked_of_the_search_comes_to_it(run, learned, mixed, monkeypatch):
    asked = []

    def search(self, texts, group, batch_size, real=Translator.translate, **options):
        asked.append((self.beam, batch_size, options))
        return real(self, texts, group, batch_size, **options)

    monkeypatch.setattr(Translator, "translate", search)
    options = "--beam", 3, "--length-penalty", 0.5, "--batch-size", 7
    evaluated(run, "--load", learned, "--corpus", mixed, *options)
    assert asked == [(3, 7, {"length_penalty": 0.5})] * 2


def test_progress_counts_rows(learned, mixed):
    done = []
    rows = load_corpus(mixed, strict=False).rows * 9
    translate(Translator(learned), rows, batch_size=1, report=done.append)
    assert done == [16, 32, 36, 52, 68, 72]


def test_one_group(run, learned, mixed):
    found = evaluated(run, "--load", learned, "--corpus", mixed, "--group", "甲")
    assert [*found["groups"]] == ["甲"]
    assert found["all"] == found["groups"]["甲"]
    assert (found["all"]["rows"], found["corpus"]["rows"]) == (4, 8)
    refused = run("evaluate", "--load", learned, "--corpus", mixed, "--group", "丙")
    assert (refused.code, refused.out) == (2, "")
    assert "There is no group “丙”. The run has: 甲, 乙." in refused.err


def test_groups_that_the_run_does_not_know_are_refused(run, learned, tmp_path):
    path = tmp_path / "other.tsv"
    text = "group\tjapanese\ttags\n丙\tはい\t<はい>\n甲\tはい\t<はい>\n"
    path.write_text(text, encoding="utf-8")
    refused = run("evaluate", "--load", learned, "--corpus", path)
    assert (refused.code, refused.out) == (2, "")
    assert "does not know: 丙. The run has: 甲, 乙." in refused.err
    assert evaluated(run, "--load", learned, "--corpus", path, "--group", "甲")["all"]["rows"] == 1
    refused = run("evaluate", "--load", learned, "--corpus", path, "--group", "乙")
    assert refused.code == 2
    assert "no rows of the group “乙”. It has: 丙, 甲." in refused.err


def test_what_is_no_corpus_is_refused(run, learned, tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("group\tjapanese\ttags\n甲\tはい\t<は い>\n", encoding="utf-8")
    refused = run("evaluate", "--load", learned, "--corpus", path)
    assert (refused.code, refused.out) == (1, "")
    assert "bad.tsv:2:" in refused.err
    assert run("evaluate", "--load", learned).code == 2
    assert run("evaluate", "--load", "none", "--corpus", path).code == 1


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_table_for_people(run, learned, mixed, language):
    found = run("--lang", language, "evaluate", "--load", learned, "--corpus", mixed)
    assert found.code == 0
    start = found.lines.index("") + 1
    table = found.lines[start : found.lines.index("", start)]
    assert len(table) == 1 + 3 * (1 + len(scores.FIGURES))
    ends = {columns(line) for line in table if not line.endswith(")")}
    assert len(ends) == 1  # the last column is set to the right, and counted in columns
    for name in ("chrF", "BLEU-4"):
        places = {columns(line[: line.index(name)]) for line in table if name in line}
        assert len(places) == 1
    assert re.search(r"^甲 +(exact match|完全一致) % +75\.0 +\d", found.out, re.M)
    assert re.search(r"^(all|全体) +(exact match|完全一致) % +50\.0 ", found.out, re.M)
    assert ("4 of 8 rows are wrong" if language == "en" else "4行が誤り") in found.out
    for warning in ("甲", "乙", "all" if language == "en" else "全体"):
        assert re.search(rf"^(Warning|警告): {warning}: ", found.err, re.M)


def test_failures_stand_beside_what_was_expected(run, learned, mixed):
    found = run("evaluate", "--load", learned, "--corpus", mixed, "--failures", 2)
    start = found.lines.index("4  甲  ありがとう")
    assert found.lines[start + 1 :][:2] == ["  expected  <私>", "  got       <ありがとう>"]
    assert found.lines[start + 4] == "7  乙  漢字"
    assert found.lines[start + 6].startswith("  got       There are unknown characters")
    assert len(found.lines) == start + 7


def test_without_sacrebleu_the_figures_are_the_same(run, learned, mixed, monkeypatch):
    pytest.importorskip("sacrebleu")
    arguments = "--load", learned, "--corpus", mixed
    theirs = evaluated(run, *arguments)
    assert theirs["signatures"]["computed_by"] == "sacrebleu"
    assert "|tok:none|smooth:exp|version:" in theirs["signatures"]["bleu"]
    for name in [name for name in sys.modules if name.startswith("sacrebleu")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    found = run("evaluate", "--json", *arguments)
    assert "pip install 'minigrad[evaluate]'" in found.err.splitlines()[0]
    ours = json.loads(found.out)
    assert ours["signatures"]["computed_by"] == "jsl"
    for name in ("bleu", "chrf"):  # it is the same but for the version
        assert theirs["signatures"][name].startswith(ours["signatures"][name] + "|version:")
    assert ours | {"signatures": None} == theirs | {"signatures": None}


def test_few_texts_and_wide_intervals_are_warned_of(run, learned, tmp_path):
    path = tmp_path / "many.tsv"
    texts = [f"{a}{b}" for a in "あいうえおかきくけこ" for b in "さしすせそたちつてと"]

    def warnings(count):
        rows = [f"乙\t{text}\t<私>\n" for text in texts[:count]]
        path.write_text("group\tjapanese\ttags\n" + "".join(rows), encoding="utf-8")
        found = evaluated(run, "--load", learned, "--corpus", path)
        return found["all"], "\n".join(found["warnings"])

    part, said = warnings(99)
    assert part["few"]
    assert "乙: 99 texts are too few to tell; below 100" in said
    part, said = warnings(100)
    assert not part["few"]
    assert "below 100" not in said
    assert "tag_error_rate" in part["unsure"]
    assert re.search(r"乙: 100 texts are too few to tell: .*tag error rate % \d+\.\d \(\d", said)


def test_figures_without_ngrams_are_pointed_out(run, learned, tmp_path):
    path = tmp_path / "short.tsv"
    path.write_text("group\tjapanese\ttags\n甲\tはい\t<はい>\n", encoding="utf-8")
    found = evaluated(run, "--load", learned, "--corpus", path)
    assert found["all"]["undefined"] == ["bleu_2", "bleu_3", "bleu_4"]
    assert any("BLEU-2, BLEU-3, BLEU-4" in w for w in found["warnings"])


# ------------------------------------------------------------- words, characters, two files


SENTENCES = "we eat rice\nthank you\nyes\nwe eat fish\n"
TRANSLATIONS = "nous mangeons du riz\nmerci\noui\nnous mangeons du poisson\n"


@pytest.fixture(scope="module", params=["word", "char"])
def spoken(request, tmp_path_factory):
    """A run of words, or of characters, that knows its corpus by heart; and the two files."""
    directory = tmp_path_factory.mktemp("spoken")
    files = directory / "some.en", directory / "some.fr"
    for path, text in zip(files, (SENTENCES, TRANSLATIONS), strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    corpus = load_parallel(*files, source_kind=request.param, target_kind=request.param)
    sizes = ModelConfig(d_model=32, n_heads=2, d_ff=32, n_layers=1, max_seq_len=30)
    trainer = Trainer(corpus, sizes, TrainingConfig(learning_rate=0.01, epochs=120, batch_size=4))
    trainer.run()
    matches = trainer.exact_matches()
    assert matches == {"default": (4, 4)}
    trainer.save_run(directory / "run", matches)
    return directory / "run", *files, request.param


def test_two_files_are_compared_line_by_line(run, spoken):
    load, source, target, kind = spoken
    arguments = "--load", load, "--source", source, "--target", target
    found = evaluated(run, *arguments)
    assert found["groups"]["default"] == found["all"]
    assert (found["all"]["right"], found["all"]["rows"]) == (4, 4)
    assert found["all"]["reference_tags"] == (10 if kind == "word" else 52)
    assert (found["corpus"]["path"], found["corpus"]["target_path"]) == (str(source), str(target))
    assert found["run"]["source_tokens"] == found["run"]["target_tokens"] == kind
    kinds = "--source-tokens", kind, "--target-tokens", kind
    assert evaluated(run, *arguments, *kinds) == found


def test_figures_of_words_and_characters_are_sacrebleus(run, spoken, tmp_path):
    metrics = pytest.importorskip("sacrebleu.metrics")
    load, source, _, kind = spoken
    target = tmp_path / "other.fr"
    other = "nous mangeons du pain\nmerci\nnon\nmerci beaucoup\n"
    target.write_text(other, encoding="utf-8")
    said = evaluated(run, "--load", load, "--source", source, "--target", target)
    ours, theirs = TRANSLATIONS.splitlines(), [other.splitlines()]
    tokens = "none" if kind == "word" else "char"
    for n in range(1, 5):
        measure = metrics.BLEU(tokenize=tokens, max_ngram_order=n)
        expected = measure.corpus_score(ours, theirs).score
        assert said["all"]["figures"][f"bleu_{n}"]["value"] == pytest.approx(expected, abs=1e-6)
        assert str(measure.get_signature()) == said["signatures"]["bleu"]
    expected = metrics.CHRF().corpus_score(ours, theirs).score
    assert said["all"]["figures"]["chrf"]["value"] == pytest.approx(expected, abs=1e-6)
    assert said["all"]["figures"]["exact_match"]["value"] == 25
    assert said["unknown_tags"] == (
        {"pain": 1, "non": 1, "beaucoup": 1} if kind == "word" else {"b": 1}
    )


def test_a_table_says_what_is_compared(run, spoken):
    load, source, target, kind = spoken
    found = run("evaluate", "--load", load, "--source", source, "--target", target, "--failures", 1)
    name = {"word": "word", "char": "character"}[kind]
    assert re.search(rf"^default +{name} error rate % +0\.0 ", found.out, re.M)
    assert f"{source} + {target}" in found.out


def test_lines_that_cannot_be_translated_count(run, spoken, tmp_path):
    load, _, _, kind = spoken
    source, target = tmp_path / "long.en", tmp_path / "long.fr"
    source.write_text("we " * 40 + "\nthank you\nyes\n", encoding="utf-8")
    target.write_text("nous " * 60 + "\nmerci\noui\n", encoding="utf-8")
    found = evaluated(run, "--load", load, "--source", source, "--target", target, "--failures", 3)
    assert (found["all"]["right"], found["all"]["rows"], found["all"]["untranslated"]) == (2, 3, 1)
    assert found["all"]["edits"] == (60 if kind == "word" else 299)
    assert [x["line"] for x in found["failures"]] == [1]


def test_options_that_contradict_the_run_are_refused(run, spoken):
    load, source, target, kind = spoken
    files = "--load", load, "--source", source, "--target", target
    other = {"word": "char", "char": "word"}[kind]
    for side in ("source", "target"):
        refused = run("evaluate", *files, f"--{side}-tokens", other)
        assert (refused.code, refused.out) == (2, "")
        assert f"--{side}-tokens {other} does not go with this run" in refused.err
        assert f"trained with {kind}" in refused.err


def test_a_corpus_must_be_named_whole(run, learned, corpus_path):
    refused = run("evaluate", "--load", learned)
    assert (refused.code, refused.out) == (2, "")
    assert "--corpus, or --source and --target" in refused.err
    assert run("evaluate", "--load", learned, "--source", corpus_path).code == 2
    both = "--corpus", corpus_path, "--source", corpus_path, "--target", corpus_path
    assert run("evaluate", "--load", learned, *both).code == 2


def test_a_corpus_without_groups_is_translated_in_the_one_that_is_named(run, learned, tmp_path):
    one, source, target = (tmp_path / name for name in ("one.tsv", "a.ja", "a.tags"))
    one.write_text("japanese\ttags\nいいえ\t<いいえ>\n", encoding="utf-8")
    source.write_text("いいえ\n漢字\n", encoding="utf-8")
    target.write_text("<いいえ>\n<いいえ>\n", encoding="utf-8")
    for files, rows in ((["--corpus", one], 1), (["--source", source, "--target", target], 2)):
        refused = run("evaluate", "--load", learned, *files)
        assert (refused.code, refused.out) == (2, "")
        assert "Name the one to translate in with --group: 甲, 乙" in refused.err
        found = evaluated(run, "--load", learned, *files, "--group", "乙")
        assert [*found["groups"]] == ["乙"]
        assert (found["all"]["right"], found["all"]["rows"]) == (1, rows)


def test_a_corpus_without_groups_is_in_the_only_one_of_a_run():
    rows = [Row("default", "はい", ("<はい>",), 2)]
    assert [row.group for row in chosen(rows, None, ("甲",))] == ["甲"]
    assert chosen(rows, None, ("default", "甲")) == rows
    with pytest.raises(UsageError):
        chosen(rows, "乙", ("甲",))


def test_a_damaged_run_scores_worse(learned, corpus):
    """The twin of a run that is right: with other weights it must not be."""
    translator = Translator(learned)
    assert measure(translate(translator, corpus.rows))[1].figures["exact_match"].value == 100
    translator = Translator(learned)
    for parameter in translator.model.parameters():
        parameter.data = parameter.data * 0.5
    damaged = measure(translate(translator, corpus.rows))[1].figures
    assert damaged["exact_match"].value < 100
    assert damaged["tag_error_rate"].value > 0


def test_a_bar_on_a_terminal_only(monkeypatch, english):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with progress(10) as report:
        assert report is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with progress(10) as report:
        report(5)
        report(10)
    assert "Translating" in sys.stderr.getvalue()

"""`jsl corpus check`: each thing that it finds, for people and for programs."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsl.corpus import Row, load_corpus, starter_corpus_path
from jsl.errors import CorpusError
from jsl.survey import BINS, histogram, lengths, survey, tag_counts

HEADER = "group\tjapanese\ttags"
GOOD = "甲\tはい\t<はい>"

pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def files(tmp_path):
    """Writes files of rows, {name: rows}, with the header before them; their paths."""

    def files(**rows):
        paths = []
        for name, lines in rows.items():
            paths.append(tmp_path / f"{name}.tsv")
            paths[-1].write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
        return paths if len(paths) > 1 else paths[0]

    return files


@pytest.fixture
def checked(run):
    """(exit code, the JSON) of `jsl corpus check`."""

    def checked(*arguments):
        found = run("corpus", "check", *arguments, "--json")
        assert found.err == ""
        return found.code, json.loads(found.out)

    return checked


def only(data):
    [file] = data["files"]
    return file


# ------------------------------------------------------------------------------------- one file


def test_the_bundled_corpus_is_well(run, checked):
    code, data = checked(starter_corpus_path())
    assert (code, data["ok"], data["max_length"]) == (0, True, None)
    file = only(data)
    corpus = load_corpus(starter_corpus_path())
    assert file["path"] == starter_corpus_path().as_posix()
    assert file["role"] == "train"
    assert (file["rows"], file["sentences"]) == (94, 47)
    assert file["sha256"] == corpus.sha256
    assert file["problems"] == file["unknown_characters"] == file["malformed_tags"] == []
    assert file["duplicates"] == {"count": 0, "lines": []}
    assert set(file["groups"]) == set(corpus.groups)
    assert file["longest"] == corpus.longest == 10
    assert file["too_long_for"]["tiny"] == 0
    counts = Counter(tag for row in corpus.rows for tag in row.tags)
    assert file["tags"]["distinct"] == 80
    assert file["tags"]["total"] == counts.total()
    assert set(file["tags"]["once"]) == {tag for tag, n in counts.items() if n == 1}
    assert sum(bin["tags"] for bin in file["tags"]["histogram"]) == 80
    assert list(file["tags"]["most_frequent"].values()) == [n for _, n in counts.most_common(10)]

    found = run("corpus", "check", starter_corpus_path())
    assert (found.code, found.err) == (0, "")
    assert found.lines[0].endswith("starter.tsv: rows 94, sentences 47, tags 80")
    assert found.lines[-1] == "Nothing is wrong."
    assert max(map(len, found.lines)) < 300


def test_rows_that_are_there_again_are_no_fault(files, checked, run):
    path = files(a=[GOOD, "甲\tいいえ\t<いいえ>", GOOD, " 甲\tハイ\t<はい>"])
    code, data = checked(path)
    assert code == 0
    assert only(data)["duplicates"] == {"count": 2, "lines": [4, 5]}
    assert only(data)["rows"] == 2
    assert "2 rows that repeat earlier ones" in run("corpus", "check", path).out


def test_contradictions_are_listed_with_their_places(files, checked, run):
    path = files(a=[GOOD, "乙\tはい\t<そう>", "甲\tハイ\t<そう>", "甲\tはい\t<はい> <そう>"])
    code, data = checked(path)
    assert (code, data["ok"]) == (1, False)
    [clash] = data["contradictions"]
    assert (clash["group"], clash["japanese"]) == ("甲", "はい")
    assert [(c["tags"], [p["line"] for p in c["places"]]) for c in clash["tags"]] == [
        ("<はい>", [2]),
        ("<そう>", [4]),
        ("<はい> <そう>", [5]),
    ]
    found = run("corpus", "check", path)
    assert found.code == 1
    assert "Contradictions: sentences with several tags: 1." in found.out
    assert f"甲 “はい”: {path.as_posix()}:2 <はい>, {path.as_posix()}:4 <そう>" in found.out
    assert found.lines[-1] == "Something is wrong."


@pytest.mark.parametrize(
    ("row", "kind", "cause"),
    [
        ("甲\tはい", "corpus.fields", "2 fields; there should be 3"),
        ("甲\tはい\t<はい>\tx", "corpus.fields", "4 fields; there should be 3"),
        ("甲\t\t<はい>", "empty japanese", "column “japanese” is empty"),
        ("\tはい\t<はい>", "empty group", "column “group” is empty"),
        ("甲\tはい\t", "empty tags", "column “tags” is empty"),
        ("甲/乙\tはい\t<はい>", "corpus.group", "group name “甲/乙”"),
        ("甲\tうん\tはい", "corpus.tag", "tag “はい” is malformed"),
        ('甲\t"はい\t<はい>', "corpus.quotes", "are not closed"),
    ],
)
def test_malformed_rows_are_named_and_do_not_end_it(files, checked, run, row, kind, cause):
    path = files(a=["甲\tいいえ\t<いいえ>", row])
    code, data = checked(path)
    assert code == 1
    [problem] = only(data)["problems"]
    assert (problem["kind"], problem["lines"]) == (kind, [3])
    assert cause in problem["cause"]
    assert only(data)["rows"] >= 1
    found = run("corpus", "check", path)
    assert found.code == 1
    assert cause in found.out
    assert "in lines 3" in found.out
    with pytest.raises(CorpusError):
        load_corpus(path)


def test_all_that_is_wrong_is_reported_not_the_first_alone(files, checked):
    path = files(a=["甲\t犬\t<犬>", "甲\tはい\tはい", GOOD, "甲\tはい\t<そう>", "甲"])
    code, data = checked(path)
    kinds = {problem["kind"] for problem in only(data)["problems"]}
    assert code == 1
    assert kinds == {"text.unknown", "corpus.tag", "corpus.conflict", "corpus.fields"}
    assert data["contradictions"]


def test_unknown_characters_are_counted(files, checked, run):
    path = files(a=["甲\t犬がいる\t<犬>", GOOD, "甲\t犬と猫\t<犬> <猫>"])
    code, data = checked(path)
    assert code == 1
    assert only(data)["unknown_characters"] == [
        {"character": "犬", "codepoint": "U+72AC", "lines": [2, 4]},
        {"character": "猫", "codepoint": "U+732B", "lines": [4]},
    ]
    assert "Unknown characters: “犬” (U+72AC) in lines 2, 4" in run("corpus", "check", path).out


def test_rows_that_are_too_long(files, checked, run):
    path = files(a=[GOOD, f"甲\t{'あ' * 12}\t<あ>", f"甲\tい\t{'<あ> ' * 11}"])
    code, data = checked(path)
    assert (code, only(data)["longest"]) == (0, 13)
    assert only(data)["too_long_for"]["tiny"] == 2
    assert "Rows too long for a preset: tiny 2, long 0, large 0" in run("corpus", "check", path).out
    code, data = checked(path, "--max-length", 12)
    assert code == 1
    [problem] = only(data)["problems"]
    assert (problem["kind"], problem["lines"]) == ("corpus.too_long", [3])
    assert checked(path, "--max-seq-len", 13)[0] == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "is empty"),
        (b"a\tb\n1\t2\n", "is not a header"),
        ("group\tjapanese\ttags\n甲\tはい\t<はい>\n".encode("cp932"), "looks like Shift-JIS"),
    ],
)
def test_a_file_that_cannot_be_read_does_not_hide_the_others(
    files, checked, run, tmp_path, content, error
):
    good, bad = files(a=[GOOD]), tmp_path / "bad.tsv"
    bad.write_bytes(content)
    code, data = checked(bad, good)
    assert code == 1
    assert error in data["files"][0]["error"]
    assert data["files"][1]["rows"] == 1
    found = run("corpus", "check", bad, good, tmp_path / "none.tsv")
    assert found.code == 1
    assert error in found.out
    assert "There is no corpus" in found.out
    assert "a.tsv: rows 1" in found.out


def test_other_encodings(run, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(f"{HEADER}\n{GOOD}\n".encode("cp932"))
    assert run("corpus", "check", path, "--encoding", "cp932").code == 0
    found = run("corpus", "check", path, "--encoding", "klingon")
    assert (found.code, found.out) == (2, "")
    assert "no encoding klingon" in found.err


# ----------------------------------------------------------------------------------- two and more


def test_sentences_of_both_sides_are_leaks(files, checked, run):
    train, valid = files(
        a=[GOOD, "甲\tいいえ\t<いいえ>", "乙\tうん\t<うん>", "甲\tそうですか\t<そう>"],
        v=["甲\tハイ\t<はい>", "甲\tうん\t<うん>", "甲\tそうですか？\t<そう>", "甲\tべつ\t<別>"],
    )
    code, data = checked(train, "--valid", valid)
    assert code == 1
    leakage = data["leakage"]
    place = {"path": train.as_posix(), "valid_path": valid.as_posix(), "valid_group": "甲"}
    assert leakage["same_group"] == [
        {**place, "japanese": "はい", "group": "甲", "lines": [2], "valid_lines": [2]}
    ]
    assert leakage["other_group"] == [
        {**place, "japanese": "うん", "group": "乙", "lines": [4], "valid_lines": [3]}
    ]
    assert leakage["alike_but_for_marks"] == [
        {**place, "japanese": "そうですか？", "group": "甲", "lines": [5], "valid_lines": [4]}
    ]
    assert data["unseen_tags"] == {"甲": {"<うん>": 1, "<別>": 1}}
    assert [file["role"] for file in data["files"]] == ["train", "valid"]
    found = run("corpus", "check", train, "--against", valid)
    assert found.code == 1
    for text in (
        "Leakage: sentences that are trained and validated: 1.",
        "Leakage: sentences that are validated, and trained in another group: 1.",
        "differ in marks and spaces only: 1.",
        "validation has tags that training has not: 2; <うん>, <別>.",
    ):
        assert text in found.out


def test_a_statement_and_its_plain_question_are_not_alike(files, checked):
    train, valid = files(a=["甲\tたべる。\t<食べる>"], v=["甲\tたべる？\t<食べる>"])
    code, data = checked(train, "--valid", valid)
    assert code == 0
    assert not any(data["leakage"].values())


def test_unseen_tags_alone_are_a_note(files, checked, run):
    train, valid = files(a=[GOOD], v=["甲\tうん\t<うん>", "甲\tううん\t<うん>"])
    code, data = checked(train, "--valid", valid)
    assert (code, data["unseen_tags"]) == (0, {"甲": {"<うん>": 2}})
    assert (
        "No sentence is trained and validated."
        in run("corpus", "check", train, "--valid", valid).out
    )


def test_contradictions_between_files(files, checked):
    first, second = files(a=[GOOD], b=["甲\tはい\t<そう>"])
    for arguments in ((first, second), (first, "--valid", second)):
        code, data = checked(*arguments)
        assert code == 1
        [clash] = data["contradictions"]
        places = [place["path"] for tags in clash["tags"] for place in tags["places"]]
        assert places == [first.as_posix(), second.as_posix()]


def test_rows_of_several_files_are_a_note(files, checked, run):
    first, second = files(a=[GOOD], b=[GOOD, "甲\tうん\t<うん>"])
    code, data = checked(first, second)
    assert (code, data["in_several_files"]) == (0, 1)
    assert "Note: rows that are in several files: 1." in run("corpus", "check", first, second).out


@pytest.mark.parametrize("kind", ["random", "compositional"])
def test_generated_parts_are_well(run, checked, kind):
    made = ["--size", 4000, "--out", "a.tsv", "--split", kind, "--valid-out", "v.tsv"]
    assert run("corpus", "generate", *made).code == 0
    code, data = checked("a.tsv", "--valid", "v.tsv", "--max-length", 50)
    assert (code, data["ok"]) == (0, True)
    assert not any(data["leakage"].values())
    assert data["unseen_tags"] == {}
    assert data["contradictions"] == []


def test_an_annotated_file_is_well(run, checked):
    assert run("corpus", "generate", "--size", 50, "--annotate", "--out", "a.tsv").code == 0
    code, data = checked("a.tsv")
    assert (code, only(data)["notes"]) == (0, ["Note: these columns are not used: frame, words."])


def test_words_may_be_anything_and_have_several_translations(files, checked):
    path = files(a=["甲\t犬 が いる\tthere is a dog", "甲\t犬 が いる\ta dog is there"])
    assert checked(path)[0] == 1
    code, data = checked(path, "--source-tokens", "word", "--target-tokens", "word")
    assert (code, data["contradictions"]) == (0, [])
    assert only(data)["sentence_lengths"]["max"] == 3
    assert only(data)["unknown_characters"] == only(data)["malformed_tags"] == []
    assert only(data)["longest"] == 5


def test_a_corpus_without_groups(run, checked, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("japanese\ttags\nはい\t<はい>\n", encoding="utf-8")
    code, data = checked(path)
    assert (code, list(only(data)["groups"])) == (0, ["default"])


# ---------------------------------------------------------------------------------- its texts


def test_many_findings_are_cut_and_counted(files, run):
    rows = [f"甲\t{chr(ord('あ') + 2 * n)}ん\t<い>" for n in range(14)]
    train, valid = files(a=rows, v=rows)
    found = run("corpus", "check", train, "--valid", valid)
    assert "  4 more" in found.lines
    assert len(found.lines) < 40


def test_it_speaks_japanese(files, run):
    found = run("--lang", "ja", "corpus", "check", files(a=[GOOD]))
    assert found.lines[-1] == "問題はありません。"
    assert "行" in found.lines[0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["check"], "FILE... is missing"),
        (["check", "a.tsv", "--max-length", 0], "expected an integer from 1"),
        (["forget"], "There is no command forget. The commands: check, generate."),
    ],
)
def test_a_wrong_command_line(run, arguments, error):
    found = run("corpus", *arguments)
    assert (found.code, found.out) == (2, "")
    assert error in found.err
    assert not list(Path().iterdir())


# ------------------------------------------------------------------------------------- figures


@given(st.lists(st.integers(1, 5000)))
def test_each_count_is_in_one_bin(counts):
    found = histogram(counts)
    assert [low for low, _, _ in found] == list(BINS)
    for low, high, n in found:
        assert n == sum(low <= count and (high is None or count <= high) for count in counts)


@given(st.lists(st.integers(0, 100), min_size=1))
def test_lengths_are_in_order(numbers):
    found = lengths(numbers)
    assert found["min"] <= found["median"] <= found["max"]
    assert found["min"] <= found["p95"] <= found["max"]
    assert lengths([]) == {}


@given(st.lists(st.lists(st.sampled_from(["<a>", "<b>", "<c>"]), min_size=1)))
def test_tags_are_counted(tags):
    rows = [Row("甲", "あ", tuple(found), n) for n, found in enumerate(tags)]
    counts = tag_counts(rows)
    assert counts == Counter(tag for found in tags for tag in found)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_a_survey_of_nothing_shared_is_well(files):
    assert survey([files(a=[GOOD])]).is_well

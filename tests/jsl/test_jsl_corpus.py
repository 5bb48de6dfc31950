"""What a corpus file may be, every way it can be wrong, and the corpus that comes with jsl."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import jsl.messages
from jsl.corpus import MAX_SHOWN, Row, load_corpus, starter_corpus_path
from jsl.errors import CorpusError
from jsl.text import SYMBOLS, normalise
from jsl.vocabulary import Vocabulary

HEADER = "group\tjapanese\ttags"
GOOD = "手話\tはい\t<はい>"


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", "en")


@pytest.fixture
def load(tmp_path):
    """Writes lines, a text or bytes to a file, and loads it."""

    def load(content, max_length=10):
        path = tmp_path / "corpus.tsv"
        if isinstance(content, list):
            content = "\n".join(content) + "\n"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return load_corpus(path, max_length)

    return load


@pytest.fixture
def problems(load):
    """The (line, cause) pairs of the error that a content gives."""

    def problems(content, max_length=10):
        with pytest.raises(CorpusError) as caught:
            load(content, max_length)
        return re.findall(r"^.*corpus\.tsv:(\d+): (.*)$", str(caught.value), re.MULTILINE)

    return problems


def test_rows_are_normalised_and_numbered(load):
    corpus = load([HEADER, "", "日本手話\t ﾊｲ! \t<はい>   <そう>", "", GOOD])
    assert corpus.rows == (
        Row("日本手話", "はい！", ("<はい>", "<そう>"), line=3),
        Row("手話", "はい", ("<はい>",), line=5),
    )
    assert corpus.groups == ("日本手話", "手話")
    assert corpus.tags == ("<はい>", "<そう>")
    assert corpus.path.name == "corpus.tsv"
    assert corpus.sha256 == hashlib.sha256(corpus.path.read_bytes()).hexdigest()


def test_columns_come_in_any_order(load):
    assert load(["tags\tgroup\tjapanese", "<はい>\t手話\tはい"]).rows == load([HEADER, GOOD]).rows


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}"])
def test_line_ends_and_byte_order_marks(load, end, mark, last):
    content = mark + HEADER + end + end + GOOD + last.format(end=end)
    assert load(content).rows == (Row("手話", "はい", ("<はい>",), line=3),)


def test_decomposed_groups_and_tags_are_composed(load):
    row = "ぐるーぷ\tがんばる\t<頑張ろうぜ>"
    assert load([HEADER, unicodedata.normalize("NFD", row)]).rows == load([HEADER, row]).rows


def test_quotes_are_no_more_than_characters(problems):
    [(line, cause)] = problems([HEADER, '手話\t"はい"\t<はい>'])
    assert line == "2"
    assert '「"」(U+0022) at position 1' in cause
    assert '「"」(U+0022) at position 4' in cause


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("手話\tは犬い\t<はい>", "「犬」(U+72AC) at position 2"),
        ("手話\t\t<はい>", "column “japanese” is empty"),
        ("手話\t \u3000\t<はい>", "column “japanese” is empty"),
        ("\tはい\t<はい>", "column “group” is empty"),
        ("手話\tはい\t ", "column “tags” is empty"),
        ("手話\tはい", "2 fields between tabs; there should be 3"),
        ("手話\tはい\t<はい>\t", "4 fields between tabs; there should be 3"),
        ("手\x1b話\tはい\t<はい>", r"group name “\u624b\x1b\u8a71”"),
        ("手話\tはい\t<\x1bはい>", "malformed"),
        ("手話\tはい\t<はい><はい>", "tag “<はい><はい>” is malformed"),
        ("手話\tはい\tはい", "tag “はい” is malformed"),
        ("手話\tはい\t<>", "tag “<>” is malformed"),
        ("手話\tはい\t<は い>", "tag “<は” is malformed"),
        ("手話.二\tはい\t<はい>", "group name “手話.二”"),
        ("手/話\tはい\t<はい>", "group name “手/話”"),
        ("手話\t" + "あ" * 10 + "\t<はい>", "text takes 11 and the tags 2; the limit is 10"),
        ("手話\tはい\t" + "<はい> " * 10, "text takes 3 and the tags 11; the limit is 10"),
    ],
)
def test_each_problem_of_a_row_names_its_line(problems, row, cause):
    line, found = problems([HEADER, "手話\tいいえ\t<いいえ>", "", row])[0]
    assert line == "4"
    assert cause in found


def test_sequences_may_be_as_long_as_the_limit(load):
    assert load([HEADER, "手話\t" + "ｶﾞ" * 9 + "\t" + "<はい> " * 9]).rows


def test_the_same_sentence_with_other_tags_names_both_lines(problems):
    assert problems([HEADER, GOOD, "別\tはい\t<そう>", "手話\tハイ\t<そう>"]) == [
        ("4", "The text “はい” has other tags in line 2 (group “手話”).")
    ]


def test_the_same_row_twice_names_both_lines(problems):
    assert problems([HEADER, GOOD, "", GOOD, GOOD]) == [
        ("4", "This is the same row as line 2. Delete one of them."),
        ("5", "This is the same row as line 2. Delete one of them."),
    ]


def test_empty_fields_are_not_taken_for_repeated_rows(problems):
    found = problems([HEADER, "手話\t\t<はい>", "手話\t\t<はい>"])
    assert [line for line, _ in found] == ["2", "3"]


def test_all_problems_come_together(problems):
    found = problems([HEADER + "\tnote", "手.話\tＡ\tはい\tx", GOOD + "\tx", GOOD])
    causes = ["“note” is unknown", "group name", "U+0041", "“はい” is malformed", "3 fields"]
    assert [line for line, _ in found] == ["1", "2", "2", "2", "4"]
    for (_, cause), expected in zip(found, causes, strict=True):
        assert expected in cause


def test_a_row_can_be_malformed_and_too_long_at_once(problems):
    found = problems([HEADER, "手話\t" + "犬" * 4 + "\tはい"], max_length=4)
    assert [line for line, _ in found] == ["2", "2", "2"]


def test_a_long_list_of_problems_is_cut(load):
    with pytest.raises(CorpusError) as caught:
        load([HEADER, *["手話"] * (MAX_SHOWN + 7)])
    first, *shown, last = str(caught.value).splitlines()
    assert first.endswith(f": {MAX_SHOWN + 7}.")
    assert len(shown) == MAX_SHOWN
    assert last == "And 7 more."


def test_the_columns_of_the_header(problems):
    assert problems(["group\tjapanese\tTags", GOOD]) == [
        ("1", "The column “tags” is missing."),
        ("1", "The column “Tags” is unknown. The columns are group, japanese, tags."),
    ]
    assert problems(["", HEADER + "\ttags", GOOD + "\tはい"]) == [
        ("2", "The column “tags” is there more than once.")
    ]


def test_a_header_needs_rows(problems):
    assert problems(HEADER) == [("1", "There are no rows after the header.")]


def test_what_is_not_utf8_is_placed(problems):
    content = f"\ufeff{HEADER}\r\n手話\t".encode() + "はい".encode("cp932")
    [(line, cause)] = problems(content)
    assert line == "2"
    assert f"after {3 + 21 + 7} bytes" in cause


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\r\n\n"])
def test_an_empty_file(load, content):
    with pytest.raises(CorpusError, match=r"is empty.*group, japanese, tags"):
        load(content)


def test_a_file_that_is_not_there_or_is_a_directory(tmp_path):
    with pytest.raises(CorpusError, match=r"no corpus .*none\.tsv"):
        load_corpus(tmp_path / "none.tsv", 10)
    with pytest.raises(CorpusError, match="is a directory"):
        load_corpus(str(tmp_path), 10)


def test_a_file_that_cannot_be_read(monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CorpusError, match="cannot be read: Permission denied"):
        load_corpus("corpus.tsv", 10)


def test_a_report_in_japanese(monkeypatch, problems):
    monkeypatch.setattr(jsl.messages, "_chosen", "ja")
    assert problems([HEADER, GOOD, GOOD]) == [
        ("3", "2行目と同じ行です。どちらかを消してください。")
    ]


class TestStarterCorpus:
    @pytest.fixture
    def corpus(self):
        return load_corpus(starter_corpus_path(), max_length=10)

    @pytest.fixture
    def by_sentence(self, corpus):
        sentences = defaultdict(dict)
        for row in corpus.rows:
            sentences[row.japanese][row.group] = " ".join(row.tags)
        return sentences

    def test_its_counts(self, corpus, by_sentence):
        assert corpus.groups == ("日本手話", "日本語対応手話")
        assert Counter(row.group for row in corpus.rows) == dict.fromkeys(corpus.groups, 47)
        assert len(by_sentence) == 47
        assert all(tuple(tags) == corpus.groups for tags in by_sentence.values())
        assert len(corpus.tags) == 80
        assert Vocabulary.from_tags(corpus.tags).size == 168

    def test_its_lengths(self, corpus):
        assert max(len(row.japanese) for row in corpus.rows) == 9
        assert max(len(row.tags) for row in corpus.rows) <= 9

    def test_the_sentences_it_must_and_must_not_have(self, by_sentence):
        assert set(by_sentence["わたしはたべます"].values()) == {"<私> <食べる>"}
        assert set(by_sentence["ありがとう"].values()) == {"<ありがとう>"}
        assert "おはようございます" not in by_sentence

    def test_the_groups_often_differ(self, by_sentence):
        assert sum(len(set(tags.values())) == 2 for tags in by_sentence.values()) >= 20

    def test_its_bytes(self):
        text = starter_corpus_path().read_bytes().decode("utf-8")
        assert "\r" not in text
        assert text.endswith("\n")
        lines = text.splitlines()
        assert lines[0] == "group\tjapanese\ttags"
        assert len(lines) == 1 + 94
        assert all(normalise(line.split("\t")[1]) == line.split("\t")[1] for line in lines[1:])

    def test_its_marks_and_space_are_each_shown_once(self, by_sentence):
        used = set("".join(by_sentence))
        assert set("ー、。？！ ") <= used <= set(SYMBOLS)

"""What a corpus file may be, every way it can be wrong, and the corpus that comes with jsl."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import jsl.messages
from jsl.corpus import Row, load_corpus, starter_corpus_path
from jsl.errors import CorpusError, UsageError
from jsl.text import SYMBOLS, normalise
from jsl.vocabulary import Vocabulary

HEADER = "group\tjapanese\ttags"
GOOD = "手話\tはい\t<はい>"


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def load(tmp_path):
    """Writes lines, a text or bytes to a file, and loads it."""

    def load(content, max_seq_len=10, encoding=None):
        path = tmp_path / "corpus.tsv"
        if isinstance(content, list):
            encoded = (x if isinstance(x, bytes) else x.encode() for x in content)
            content = b"\n".join(encoded) + b"\n"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return load_corpus(path, max_seq_len, encoding)

    return load


@pytest.fixture
def problems(load):
    """The (line, cause) pairs of the error that a content gives."""

    def problems(content, max_seq_len=10):
        with pytest.raises(CorpusError) as caught:
            load(content, max_seq_len)
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


def test_fields_are_quoted_as_excel_quotes_them(load):
    rows = [
        '"group"\t"japanese"\ttags',
        '手話\t"はい\tそう"\t"<はい>\n<そう>"',
        '"手話"\tうん\t<""はい"">',
        '"手話 ""東"""\t"はい"\t<はい>',
    ]
    assert load(rows).rows == (
        Row("手話", "はい そう", ("<はい>", "<そう>"), line=2),
        Row("手話", "うん", ('<""はい"">',), line=4),
        Row('手話 "東"', "はい", ("<はい>",), line=5),
    )


@pytest.mark.parametrize("row", ['手話\t"はい\t<はい>', '"手話"x\tはい\t<はい>'])
def test_quotes_that_do_not_close_are_one_problem(problems, row):
    found = problems([HEADER, GOOD, row, "手話\t犬\t<犬>", *["手話\tいいえ\t<いいえ>"] * 9])
    assert [line for line, _ in found] == ["3"]
    assert "are not closed" in found[0][1]
    assert problems(['"group\tjapanese\ttags', GOOD])[0][0] == "1"


def test_a_long_field_is_no_wrong_quote(problems):
    [(_, cause)] = problems([HEADER, "手話\t" + "x" * 200_000 + "\t<はい>"], max_seq_len=300_000)
    assert cause.startswith("There are unknown characters")


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("手話\tは犬い\t<はい>", "「犬」(U+72AC) at position 2"),
        ("手話\t\t<はい>", "column “japanese” is empty"),
        ("手話\t \u3000\t<はい>", "column “japanese” is empty"),
        ("\tはい\t<はい>", "column “group” is empty"),
        ("手話\tはい\t ", "column “tags” is empty"),
        ("手話\tはい", "2 fields; there should be 3"),
        ("手話\tはい\t<はい>\tx", "4 fields; there should be 3"),
        ("手\ue000話\tはい\t<はい>", r"group name “手\ue000話”"),
        ("手話\tはい\t<\ue000はい>", "malformed"),
        ("手話\tはい\t<はい><はい>", "tag “<はい><はい>” is malformed"),
        ("手話\tはい\tはい", "tag “はい” is malformed"),
        ("手話\tはい\t<>", "tag “<>” is malformed"),
        ("手話\tはい\t<は い>", "tag “<は” is malformed"),
        ("手話.二\tはい\t<はい>", "group name “手話.二”"),
        ("手/話\tはい\t<はい>", "group name “手/話”"),
        (
            "手話\t" + "あ" * 10 + "\t<はい>",
            "Rows that are too long: 1; with its end mark, a sequence may have 10.",
        ),
        ("手話\tはい\t" + "<はい> " * 10, "--max-seq-len 11 (or auto) would do"),
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


def test_rows_that_are_there_again_are_dropped_with_a_note(load):
    corpus = load([HEADER, GOOD, "", GOOD, "手話\t ハイ\u200b\t<はい> ", "別\tはい\t<はい>"])
    assert [row.line for row in corpus.rows] == [2, 6]
    assert corpus.notes == ("Note: 2 rows that repeat earlier ones were dropped, in lines 4-5.",)


def test_empty_fields_are_not_taken_for_repeated_rows(problems):
    [(line, cause)] = problems([HEADER, "手話\t\t<はい>", "手話\t\t<はい>"])
    assert line == "2"
    assert cause.endswith("Lines with the same problem: 3.")


def test_all_problems_come_together(problems):
    found = problems([HEADER + "\tnote", "手.話\tＡ\tはい\tx", GOOD + "\tx", GOOD])
    causes = ["group name", "U+0041", "“はい” is malformed"]
    assert [line for line, _ in found] == ["2", "2", "2"]
    for (_, cause), expected in zip(found, causes, strict=True):
        assert expected in cause


def test_a_row_can_be_malformed_and_too_long_at_once(problems):
    found = problems([HEADER, "手話\t" + "犬" * 4 + "\tはい"], max_seq_len=4)
    assert [line for line, _ in found] == ["2", "2", "2"]


def test_a_long_list_of_problems_is_cut(load):
    with pytest.raises(CorpusError) as caught:
        load([HEADER, *["手話"] * 500, "手話\t犬\t<犬>"])
    first, fields, unknown = str(caught.value).splitlines()
    assert first.endswith(": 501.")
    assert fields.endswith("Lines with the same problem: 3-501.")
    assert "「犬」" in unknown


def test_the_columns_of_the_header(problems):
    assert problems(["group\tjapanese\tglosses", GOOD]) == [
        ("1", "The header lacks tags. It has: group, japanese, glosses."),
    ]
    assert problems(["group  japanese  tags", GOOD]) == [
        ("1", "The header is separated by spaces. Separate the columns by tabs."),
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
    assert problems([HEADER, GOOD, "手話", "手話"]) == [
        ("3", "項目が1個あります。3個にしてください。同じ問題のある行: 4。")
    ]


def test_the_columns_are_found_however_they_are_written(load):
    assert (
        load(["  Group\tＪＡＰＡＮＥＳＥ\t\ufeff tags\u200b ", GOOD]).rows
        == load([HEADER, GOOD]).rows
    )


def test_other_columns_are_ignored_with_a_note(load):
    corpus = load([HEADER + "\tnote\t\tid", GOOD + "\tx\ty\tz", "手話\tいいえ\t<いいえ>", "\t\t\t"])
    assert len(corpus.rows) == 2
    assert corpus.notes == ("Note: these columns are not used: note, id.",)
    assert load([HEADER + "\t\t", GOOD + "\t\t\t"]).notes == ()


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_is_read_as_such(load, delimiter):
    rows = [HEADER, "手話\tはい\t<はい> <そう>"]
    corpus = load("\ufeff" + "\r\n".join(rows).replace("\t", delimiter))
    assert corpus.rows == load(rows).rows
    [note] = corpus.notes
    assert f"was read as CSV, with “{delimiter}”" in note


@pytest.mark.parametrize("first", [GOOD, GOOD.replace("\t", ","), "わたし", "x\ty\tz"])
def test_a_missing_header_is_one_problem(problems, first):
    [(line, cause)] = problems([first, *["手話\t犬\t犬"] * 30])
    assert line == "1"
    assert cause.startswith("The first line is not a header: “")
    assert "Begin the file with the header group, japanese, tags" in cause


ENCODINGS = [
    ("utf-16", "utf-16", "Unicode text as Excel saves it"),
    ("utf-16-le", "utf-16-le", "Unicode text as Excel saves it"),
    ("utf-16-be", "utf-16-be", "Unicode text as Excel saves it"),
    ("utf-32", "utf-32", "UTF-32"),
    ("cp932", "cp932", "Shift-JIS"),
    ("euc_jp", "euc_jp", "EUC-JP"),
    ("iso-2022-jp", "iso-2022-jp", "JIS"),
]


@pytest.mark.parametrize(("encoding", "name", "kind"), ENCODINGS)
def test_another_encoding_is_named_or_read(load, encoding, name, kind):
    rows = [HEADER, "手話\tわたしはたべます\t<私> <食べる>", "手話\tアリガトウ\t<ありがとう>"]
    content = "\r\n".join(rows).encode(encoding)
    with pytest.raises(
        CorpusError, match=rf"looks like {kind}.*Save it as UTF-8.*--encoding {name}$"
    ):
        load(content)
    assert load(content, encoding=name).rows == load(rows).rows
    if encoding.startswith("utf-16-"):
        marked = ("\ufeff" + "\n".join(rows)).encode(encoding)
        assert load(marked, encoding=name).rows == load(rows).rows
        assert load(marked, encoding="utf-16").rows == load(rows).rows


def test_what_looks_like_no_encoding(problems, load):
    [(line, cause)] = problems([HEADER.encode(), b"\xff\xfe\xfd\t\x80\t\x81"])
    assert line == "2"
    assert "--encoding" in cause
    with pytest.raises(CorpusError, match=r"corpus\.tsv:1: This is not ascii \(after 20 bytes"):
        load([HEADER + "\tあ"], encoding="ascii")
    for name in ("klingon", "hex", "", "a\0b", "\udcff"):
        with pytest.raises(UsageError, match="--encoding: there is no encoding"):
            load([HEADER, GOOD], encoding=name)


@pytest.mark.parametrize("content", [b"PK\x03\x04\0\0", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_workbook_is_named(load, content):
    with pytest.raises(CorpusError, match="Excel workbook or an archive"):
        load(content)


def test_what_does_not_show_is_taken_out_of_all_fields(load):
    row = "\u200e手\u2060話\tは\u200bい\u00ad\ufe0f\t<は\u200cい>\ufeff"
    assert load([HEADER, row]).rows == load([HEADER, GOOD]).rows


def test_too_long_rows_are_one_problem_with_the_length_that_would_do(problems, load):
    rows = [HEADER, *(f"手話\t{'あ' * n}\t<は>" for n in range(3, 30))]
    [(line, cause)] = problems(rows)
    assert line == "9"
    assert cause == (
        "Rows that are too long: 20; with its end mark, a sequence may have 10. The longest is in "
        "line 28; for a new run, --max-seq-len 30 (or auto) would do. "
        "Lines with the same problem: 10-28."
    )
    assert load(rows, max_seq_len=30).longest == load(rows, max_seq_len=None).longest == 30


@pytest.mark.parametrize(
    "row", ["手話\t" + "x" * 10**5 + "\t<は>", "手話\tは\t" + "x" * 10**5, "x" * 10**5]
)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_report_fits_a_screen(monkeypatch, load, row, times, language):
    monkeypatch.setattr(jsl.messages, "_chosen", language)
    for rows in ([HEADER, *[row] * times], [row] * times):
        with pytest.raises(CorpusError) as caught:
            load(rows)
        assert len(str(caught.value)) < 1700


class TestStarterCorpus:
    @pytest.fixture
    def corpus(self):
        return load_corpus(starter_corpus_path(), max_seq_len=10)

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
        assert Vocabulary.from_tags(corpus.tags).source_size == 168

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

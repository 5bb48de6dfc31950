"""Generated corpora: their rows, that they are the same everywhere, and how they are parted."""

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest

from jsl import generate
from jsl.corpus import load_corpus
from jsl.errors import UsageError
from jsl.frames import capacity
from jsl.grammar import GROUPS, SIGN, SIGNED, lexicon
from jsl.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("english")

# Of 400 rows of seed 0. It changes with the grammar, and with nothing else.
SHA256 = "7a25ac1c46678f2ff09eadec3fca99ae2a9128cb387c54a5c74a01e2ada1e3cc"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


@pytest.fixture
def make(run):
    """`jsl corpus generate`, which must succeed; what is on standard output."""

    def make(*arguments):
        found = run("corpus", "generate", *arguments)
        assert found.code == 0, found.err
        return found.out

    return make


# --------------------------------------------------------------------------------------------- rows


def test_rows_are_those_that_the_size_asks_for(make):
    rows = rows_of(make("--size", 7))
    assert [row["group"] for row in rows] == [*GROUPS, *GROUPS, *GROUPS, SIGN]
    assert rows[0]["japanese"] == rows[1]["japanese"]
    assert list(rows[0]) == ["group", "japanese", "tags"]


@pytest.mark.parametrize("group", GROUPS)
def test_one_group_alone(make, group):
    rows = rows_of(make("--size", 5, "--group", group))
    assert {row["group"] for row in rows} == {group}
    assert len({row["japanese"] for row in rows}) == 5
    both = rows_of(make("--size", 10))
    assert rows == [row for row in both if row["group"] == group]


def test_the_same_everywhere(make):
    assert hashlib.sha256(make("--size", 400).encode()).hexdigest() == SHA256
    assert make("--size", 400, "--seed", 0) == make("--size", 400)
    assert make("--size", 400, "--seed", 1) != make("--size", 400)


def test_a_larger_size_begins_with_a_smaller_one(make):
    assert make("--size", 900, "--seed", 2**64 - 1).startswith(
        make("--size", 301, "--seed", 2**64 - 1)
    )


def test_rows_are_distinct_and_load(make, tmp_path):
    make("--size", 30_000, "--out", tmp_path / "corpus.tsv")
    corpus = load_corpus(tmp_path / "corpus.tsv", 50)
    assert len(corpus.rows) == 30_000
    assert corpus.notes == ()
    assert corpus.groups == GROUPS
    assert 350 <= len(Vocabulary.from_tags(corpus.tags).tags) <= 520
    assert corpus.longest <= 50


def test_a_file_is_written_whole(run, tmp_path):
    found = run("corpus", "generate", "--size", 20, "--out", "a.tsv")
    assert (found.code, found.out, found.err) == (0, "", "a.tsv: 20 rows\n")
    assert b"\r" not in Path("a.tsv").read_bytes()
    assert Path("a.tsv").read_text("utf-8") == run("corpus", "generate", "--size", 20).out
    assert [path.name for path in Path().iterdir()] == ["a.tsv"]


def test_what_cannot_be_written_is_said(run):
    Path("folder").mkdir()
    found = run("corpus", "generate", "--size", 20, "--out", "folder")
    assert found.code == 2
    assert found.err.startswith("Error: Cannot write folder")


def test_more_than_there_are_is_refused(run):
    found = run("corpus", "generate", "--size", 10**9)
    assert (found.code, found.out) == (2, "")
    assert found.err == (f"Error: --size 1000000000: the grammar can make {2 * capacity()} rows.\n")
    with pytest.raises(UsageError, match=f"can make {capacity()} rows"):
        generate.generate(capacity() + 1, 0, (SIGNED,))


def test_no_word_is_too_rare_to_be_learned():
    counted = Counter(word for s in generate.generate(20_000, 0) for word in {*s.words})
    assert {word.kana for word in lexicon()} <= set(counted)
    assert min(counted.values()) >= 6


def test_when_a_frame_is_used_up_the_others_go_on(monkeypatch):
    kept = [s for s in generate.strata() if s.frame in ("phrase", "いま C", "X いつ")]
    monkeypatch.setattr(generate, "strata", lambda: kept)
    monkeypatch.setattr(generate, "capacity", lambda: sum(s.capacity for s in kept))
    every = generate.generate(generate.capacity(), 3, (SIGN,))
    assert len({s.kana for s in every}) == len(every) == generate.capacity()


# ------------------------------------------------------------------------------------------ splits


def parts_of(make, kind, *more, size=3000):
    """The rows for training and for validation, with their annotations."""
    arguments = ["--size", size, "--split", kind, "--valid-out", "valid.tsv", "--annotate", *more]
    training = rows_of(make(*arguments))
    valid = rows_of(Path("valid.tsv").read_text("utf-8"))
    assert len(training) + len(valid) == size
    return training, valid


def pairs(row):
    return {(word, row["frame"]) for word in row["words"].split()}


@pytest.mark.parametrize("kind", generate.SPLITS)
@pytest.mark.parametrize("size", [3000, 2999])
def test_parts_are_apart_and_what_is_validated_was_trained(make, kind, size):
    training, valid = parts_of(make, kind, size=size)
    assert 0.09 <= len(valid) / size <= 0.12
    assert not {row["japanese"] for row in training} & {row["japanese"] for row in valid}
    for group in GROUPS:
        trained = {tag for r in training if r["group"] == group for tag in r["tags"].split()}
        tested = {tag for r in valid if r["group"] == group for tag in r["tags"].split()}
        assert tested <= trained
    for parts in (lambda row: row["words"].split(), lambda row: [row["frame"]]):
        trained, tested = (
            {part for row in rows for part in parts(row)} for rows in (training, valid)
        )
        assert tested <= trained


def test_a_compositional_split_never_shows_its_pairs(make):
    training, valid = parts_of(make, "compositional")
    seen = {pair for row in training for pair in pairs(row)}
    new = [pairs(row) - seen for row in valid]
    assert all(new)
    # Both are trained, with others.
    words = {word for row in training for word in row["words"].split()}
    frames = {row["frame"] for row in training}
    assert {word for found in new for word, _ in found} <= words
    assert {frame for found in new for _, frame in found} <= frames
    assert len({frame for found in new for _, frame in found}) > 20


def test_a_random_split_shows_most_pairs(make):
    training, valid = parts_of(make, "random", size=12_000)
    seen = {pair for row in training for pair in pairs(row)}
    assert sum(pairs(row) <= seen for row in valid) > len(valid) * 0.5


def test_a_split_is_the_same_everywhere_and_random_by_default(make):
    first = parts_of(make, "random")
    assert parts_of(make, "random") == first
    assert parts_of(make, "compositional") != first
    text = make("--size", 3000, "--valid-out", "default.tsv", "--annotate")
    assert (rows_of(text), rows_of(Path("default.tsv").read_text("utf-8"))) == first


def test_the_share_is_what_it_is_asked_to_be(make):
    for share in (0.05, 0.3):
        _, valid = parts_of(make, "random", "--valid-share", share)
        assert len(valid) == round(1500 * share) * 2


def test_an_annotated_corpus_loads_with_a_note(make, tmp_path):
    make("--size", 50, "--annotate", "--out", tmp_path / "a.tsv")
    corpus = load_corpus(tmp_path / "a.tsv", 50)
    assert corpus.notes == ("Note: these columns are not used: frame, words.",)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--size", 10, "--split", "random"], "need a file for validation: --valid-out"),
        (["--size", 10, "--valid-share", 0.2], "need a file for validation: --valid-out"),
        (["--size", 10, "--out", "a", "--valid-out", "./a"], "are the same file, a"),
        (["--size", 0], "--size: expected an integer from 1"),
        (["--size", 10, "--valid-out", "a", "--valid-share", 1], "above 0 and below 1"),
        (["--size", 10, "--group", "甲"], "expected one of 日本手話, 日本語対応手話"),
        (["--size", 10, "--split", "x", "--valid-out", "a"], "one of random, compositional"),
        (["--size", 2, "--valid-out", "a"], "Of 1 sentences none can be held out"),
        ([], "--size is missing"),
    ],
)
def test_what_does_not_go_together_is_refused(run, arguments, error):
    found = run("corpus", "generate", *arguments)
    assert (found.code, found.out) == (2, "")
    assert error in found.err
    assert not list(Path().iterdir())

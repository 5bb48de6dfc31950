"""Ids, their way there and back, the hash, and what a stored vocabulary must be."""

import hashlib
import json
import unicodedata

import pytest

from jsl.errors import CorpusError, TextError, VocabularyError
from jsl.text import SYMBOLS
from jsl.vocabulary import BOUNDARY, PAD, SPECIAL, Vocabulary, is_tag

TAGS = ("<私>", "<食べる>", "<歩く>")
DECOMPOSED = unicodedata.normalize("NFD", "<ありがとう>")


pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture
def vocabulary():
    return Vocabulary(TAGS)


def test_the_id_space(vocabulary):
    assert (PAD, BOUNDARY) == (0, 1)
    assert vocabulary.source_tokens == (*SPECIAL, *SYMBOLS, *TAGS)
    assert vocabulary.source_size == len(vocabulary.source_tokens) == 2 + 86 + 3
    assert vocabulary.tag_ids == (88, 89, 90)
    assert vocabulary.output_ids == (BOUNDARY, 88, 89, 90)


def test_80_tags_make_168_ids():
    assert Vocabulary.from_tags(f"<{i}>" for i in range(80)).source_size == 168


def test_from_tags_does_not_depend_on_order_or_repetition():
    assert Vocabulary.from_tags([*TAGS, *TAGS]) == Vocabulary.from_tags(reversed(TAGS))
    assert Vocabulary.from_tags(TAGS).tags == tuple(sorted(TAGS))


def test_from_tags_composes():
    assert Vocabulary.from_tags([DECOMPOSED, "<ありがとう>"]).tags == ("<ありがとう>",)


@pytest.mark.parametrize("tag", ["<a>", "<私>", "<->", "<食べる/行く>"])
def test_a_tag(tag):
    assert is_tag(tag)


@pytest.mark.parametrize(
    "tag",
    [
        *("", "<>", "私", "<私", "私>", "<私 達>", "<私\u3000達>", "<<私>", "<私><私>", "<私>\n"),
        *("＜私＞", DECOMPOSED, "<\ud800>"),
    ],
)
def test_not_a_tag(tag):
    assert not is_tag(tag)
    with pytest.raises(VocabularyError, match="malformed"):
        Vocabulary((tag,))


def test_repeated_or_absent_tags_are_refused():
    with pytest.raises(VocabularyError, match="twice: <私>"):
        Vocabulary((*TAGS, "<私>"))
    with pytest.raises(VocabularyError, match="no tags"):
        Vocabulary(())


def test_a_text_becomes_symbols_and_the_end(vocabulary):
    expected = [2 + SYMBOLS.index(symbol) for symbol in "こーひー！"]
    assert vocabulary.encode_text(" ｺｰﾋｰ!") == [*expected, BOUNDARY]


def test_a_text_with_unknown_characters_is_refused(vocabulary):
    with pytest.raises(TextError, match="犬"):
        vocabulary.encode_text("犬")


def test_tags_go_there_and_back(vocabulary):
    ids = vocabulary.encode_tags(["<歩く>", "<私>", "<歩く>"])
    assert ids == [90, 88, 90, BOUNDARY]
    assert vocabulary.decode_tags(ids) == "<歩く> <私> <歩く>"
    assert vocabulary.encode_tags([]) == [BOUNDARY]
    assert vocabulary.decode_tags([]) == ""


def test_tags_may_be_decomposed():
    assert Vocabulary(("<ありがとう>",)).encode_tags([DECOMPOSED]) == [88, BOUNDARY]


def test_decoding_stops_at_the_first_end(vocabulary):
    assert vocabulary.decode_tags([88, BOUNDARY, 89, PAD]) == "<私>"
    assert vocabulary.decode_tags(iter([88, 89])) == "<私> <食べる>"


@pytest.mark.parametrize("i", [PAD, 2, 87, 91, -1])
def test_decoding_refuses_what_is_no_tag(vocabulary, i):
    with pytest.raises(ValueError, match=f"got {i};"):
        vocabulary.decode_tags([88, i])


def test_unknown_tags_are_all_named_with_the_nearest(vocabulary):
    with pytest.raises(CorpusError) as caught:
        vocabulary.encode_tags(["<食べた>", "<私>", "<傘>", "<傘>"])
    assert "<食べた> (the nearest is <食べる>), <傘>." in str(caught.value)


def test_the_hash_is_that_of_the_tokens_as_compact_json(vocabulary):
    text = '["PAD","SOS/EOS",' + ",".join(f'"{token}"' for token in (*SYMBOLS, *TAGS)) + "]"
    assert unicodedata.is_normalized("NFC", text)
    assert vocabulary.hash == hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert vocabulary.hash != Vocabulary(TAGS[::-1]).hash


def test_json_there_and_back(vocabulary):
    stored = json.dumps(vocabulary.to_json(), ensure_ascii=False)
    again = Vocabulary.from_json(json.loads(stored))
    assert again == vocabulary
    assert again.hash == vocabulary.hash


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"tags": None}, "entry tags .* not a list"),
        ({"tags": "<私>"}, "entry tags .* not a list"),
        ({"tags": ["<私>", 1]}, "entry tags .* not a list"),
        ({"tags": []}, "no tags"),
        ({"tags": ["私"]}, "malformed tags: 私"),
        ({"tags": ["<私>", "<私>"]}, "twice"),
        ({"symbols": list(SYMBOLS[:-1])}, "entry symbols .* differs"),
        ({"symbols": list(SYMBOLS[::-1])}, "entry symbols .* differs"),
        ({"symbols": [*SYMBOLS, "ゎ"]}, "entry symbols .* differs"),
        ({"symbols": "".join(SYMBOLS)}, "entry symbols .* not a list"),
        ({"special": ["PAD", "SOS", "EOS"]}, "entry special .* differs"),
        ({"size": 91}, "has source_tokens, target_tokens, special, symbols, tags, size"),
    ],
)
def test_a_stored_vocabulary_that_was_changed_is_refused(vocabulary, change, cause):
    with pytest.raises(VocabularyError, match=cause):
        Vocabulary.from_json(vocabulary.to_json() | change)


def test_a_stored_vocabulary_of_another_structure_is_refused():
    with pytest.raises(VocabularyError, match="not a JSON object"):
        Vocabulary.from_json(["<私>"])
    with pytest.raises(VocabularyError, match=r"special, symbols, tags, but has \{\}"):
        Vocabulary.from_json({})

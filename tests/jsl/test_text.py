"""Every spelling of the 86 symbols becomes the symbol, and what is unknown is reported."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jsl.messages
from jsl.errors import TextError
from jsl.text import SYMBOLS, check, normalise, visible

# U+FF66 to U+FF9D, the half-width forms, in the order of Unicode.
HALF_WIDTH = dict(
    zip(
        "をぁぃぅぇぉゃゅょっーあいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほ"
        "まみむめもやゆよらりるれろわん",
        "ｦｧｨｩｪｫｬｭｮｯｰｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜﾝ",
        strict=True,
    )
)
UNMARKED = "かきくけこさしすせそたちつてとはひふへほ"
VOICED = dict(zip("がぎぐげござじずぜぞだぢづでどばびぶべぼ", UNMARKED, strict=True))
HALF_VOICED = dict(zip("ぱぴぷぺぽ", "はひふへほ", strict=True))
MARKS = {"。": "｡", "、": "､", "？": "?", "！": "!", " ": "\u3000"}


def forms(symbol):
    """Every other way to write `symbol` that the documentation of `normalise` promises."""
    if symbol in HALF_WIDTH:
        yield HALF_WIDTH[symbol]
    if symbol in MARKS:
        yield MARKS[symbol]
    if unicodedata.name(symbol).startswith("HIRAGANA"):
        yield unicodedata.lookup(unicodedata.name(symbol).replace("HIRAGANA", "KATAKANA"))
    for table, half, combining, spacing in (
        (VOICED, "ﾞ", "\u3099", "\u309b"),
        (HALF_VOICED, "ﾟ", "\u309a", "\u309c"),
    ):
        if symbol in table:
            plain = table[symbol]
            katakana = unicodedata.normalize("NFKC", HALF_WIDTH[plain])
            yield HALF_WIDTH[plain] + half
            yield from (kana + mark for kana in (plain, katakana) for mark in (combining, spacing))


pytestmark = pytest.mark.usefixtures("english")


def test_the_symbols_are_80_hiragana_five_marks_and_the_space():
    hiragana = [chr(code) for code in range(0x3041, 0x3094) if chr(code) not in "ゎゐゑ"]
    assert len(hiragana) == 80
    assert "".join(SYMBOLS) == "".join(hiragana) + "ー、。？！ "
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 86


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_each_symbol_and_each_form_of_it_becomes_the_symbol(symbol):
    # Between two others, so that the space is not trimmed.
    for form in (symbol, *forms(symbol)):
        assert check(f"ん{form}ん") == f"ん{symbol}ん", unicodedata.normalize("NFD", form)


def test_each_symbol_has_the_forms_one_expects():
    assert [*forms("あ")] == ["ｱ", "ア"]
    assert [*forms("ぱ")] == ["パ", "ﾊﾟ", "は\u309a", "は゜", "ハ\u309a", "ハ゜"]
    assert all([*forms(symbol)] for symbol in SYMBOLS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ヴ", "ぶ"),
        ("ゔ", "ぶ"),
        ("ｳﾞ", "ぶ"),
        ("う\u3099", "ぶ"),
        ("ヴァイオリン", "ぶぁいおりん"),
        ("ｺｰﾋｰ?", "こーひー？"),
        ("㌔", "きろ"),
        ("\u3000 ありがとう\r\n", "ありがとう"),
        ("はい\u3000そう!", "はい そう！"),
        ("だれ⁉", "だれ！？"),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected
    assert check(text) == expected


@given(st.text() | st.text(st.sampled_from("うかはわウヴワヲ゛゜ﾞﾟゔ\u3099\u309a\u0301?！ \u3000")))
def test_normalising_twice_changes_nothing_more(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(st.sampled_from(SYMBOLS)))
def test_symbols_stay_as_they_are(text):
    assert normalise(text) == text.strip()


@given(st.text())
def test_a_text_is_either_all_symbols_or_refused(text):
    try:
        assert set(check(text)) <= set(SYMBOLS)
    except TextError:
        assert not normalise(text) or set(normalise(text)) - set(SYMBOLS)


@pytest.mark.parametrize("text", ["", " ", "\u3000\t\n"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(TextError, match="empty"):
        check(text)


def test_all_unknown_characters_are_reported_with_positions_in_the_normalised_text():
    with pytest.raises(TextError) as caught:
        check("  ﾀﾞﾒな漢字A")
    message = str(caught.value)
    assert "「漢」(U+6F22) at position 4, 「字」(U+5B57) at position 5" in message
    assert "「A」(U+0041) at position 6" in message
    assert "“だめな漢字A”" in message


@pytest.mark.parametrize("character", [*"ゎゐゑゕゖ・～~「-ゝ1a🙂", "\u3099", "\ue000"])
def test_an_unknown_character_is_reported_and_never_dropped(character):
    folded = normalise(character)
    with pytest.raises(TextError, match=rf"U\+{ord(folded):04X}\)? at position 2"):
        check(f"あ{character}あ")


def test_what_does_not_show_is_named_by_its_code_alone():
    with pytest.raises(TextError) as caught:
        check("あ\ue000[あ")
    assert "\ue000" not in str(caught.value)
    assert ": U+E000 at position 2" in str(caught.value)
    assert "“あ\ufffd[あ”" in str(caught.value)


INVISIBLE = [
    *"\x00\x08\x1b\x7f\x9f\xad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e",
    *"\u2060\u2066\u2069\u3164\ufe00\ufe0f\ufeff\uffa0\ufffb\U000e0001\U000e0100\U000e01ef",
]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_what_does_not_show_is_taken_out(character):
    assert normalise(f"{character}は{character}い{character}") == "はい"
    assert normalise(f"か{character}\u3099") == "が"


def test_every_character_that_unicode_says_to_ignore_is_taken_out():
    """All of the categories Cc and Cf but white space and the few that show."""
    codes = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in "CcCf"]
    left = {c for c in codes if visible(c)}
    white = set("\t\n\v\f\r\x85")
    assert {visible(c) for c in white} == {" "}
    shown = "ARABIC|SYRIAC|KAITHI|EGYPTIAN"
    assert all(re.match(shown, unicodedata.name(c)) for c in left - white)


def test_tabs_and_line_ends_inside_a_text_are_spaces():
    assert normalise("はい\tそう\nです\r") == "はい そう です"


def test_the_report_in_japanese(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", "ja")
    with pytest.raises(TextError, match="3文字目の「犬」"):
        check("わん犬")


def test_a_very_long_text_does_not_flood():
    with pytest.raises(TextError) as caught:
        check("X" * 100_000)
    assert len(str(caught.value)) < 1000
    assert "99990 more" in str(caught.value)

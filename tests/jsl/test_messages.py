"""Every text exists in both languages, and every call of `say` fits its text."""

import ast
import re
import string
import unicodedata
from pathlib import Path

import pytest

import jsl.messages
from jsl.errors import TextError
from jsl.messages import (
    LANGUAGES,
    TEXTS,
    default_language,
    language,
    listed,
    ranges,
    say,
    use_language,
)  # fmt: skip

SOURCES = sorted(Path(jsl.messages.__file__).parent.glob("**/*.py"))


def fields_of(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.fixture(autouse=True)
def unchosen(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", None)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_have_the_text_and_the_same_fields(key):
    japanese, english = TEXTS[key]
    assert japanese
    assert english
    assert fields_of(japanese) == fields_of(english)
    assert all(name.isidentifier() for name in fields_of(japanese))


@pytest.mark.parametrize("key", TEXTS)
def test_no_text_has_pictures(key):
    assert not any(unicodedata.category(c) in ("So", "Cs", "Co") for c in "".join(TEXTS[key]))


def calls_of_say():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("say"), args=[ast.Constant(key)], keywords=keywords):
                    given = {keyword.arg for keyword in keywords}
                    yield pytest.param(key, given, id=f"{path.name}:{node.lineno}")


@pytest.mark.parametrize(("key", "given"), [*calls_of_say()])
def test_every_call_of_say_gives_the_fields_of_its_text(key, given):
    assert key in TEXTS
    assert given == fields_of(TEXTS[key][0])


def test_the_chosen_language_speaks():
    use_language("ja")
    assert (language(), say("corpus.more", count=3)) == ("ja", "ほかに3種類あります。")
    use_language("en")
    assert (language(), say("corpus.more", count=3)) == ("en", "And problems of 3 more kinds.")


def test_an_unknown_language_is_refused_and_changes_nothing():
    use_language("ja")
    with pytest.raises(ValueError, match="'fr'"):
        use_language("fr")
    assert language() == "ja"


def test_a_missing_key_or_field_is_an_error():
    with pytest.raises(KeyError):
        say("no.such.key")
    with pytest.raises(KeyError):
        say("corpus.more")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ja"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ({"LC_MESSAGES": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "", "LC_ALL": ""}, "ja"),
    ],
)
def test_the_environment_decides_until_a_language_is_chosen(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_language() == language() == expected
    other = next(name for name in LANGUAGES if name != expected)
    use_language(other)
    assert language() == other


HOSTILE = ["x", "あ", "\n", "\x1b", "\udcff", "a\n"]


def columns(text):
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.parametrize("part", HOSTILE, ids=ascii)
def test_every_message_fits_a_screen_whatever_comes_into_it(name, part):
    """Very many characters in every field, as text, as an error, as a list."""
    use_language(name)
    text = part * 20_000
    for key, pair in TEXTS.items():
        if any(spec for _, _, spec, _ in string.Formatter().parse(pair[0])):
            continue  # numbers
        for value in (text, ValueError(text), TextError(text), listed([text] * 30)):
            said = say(key, **dict.fromkeys(fields_of(pair[0]), value))
            assert columns(said) <= 1700
            assert said.count("\n") <= 25
            assert set("\x1b\udcff").isdisjoint(said)


def test_what_is_shortened_keeps_its_ends():
    use_language("en")
    found = say("checkpoint.no_directory", path="begin" + "x" * 1000 + "end")
    assert "begin" in found
    assert "xend. Make one" in found
    assert re.search(r"x … \([89]\d\d characters left out\) … x", found)


def test_what_is_short_stays_as_it_is():
    use_language("en")
    for text in ("models/私の　モデル", "a" * 160, "あ" * 80, "C:\\models"):
        assert text in say("checkpoint.no_directory", path=text)


def test_lists_are_cut():
    use_language("en")
    assert listed("abc") == "a, b, c"
    assert listed(range(13)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3 more"
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    use_language("ja")
    assert listed(range(12)).endswith("9、ほか2件")

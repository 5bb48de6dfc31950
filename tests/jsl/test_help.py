"""Help: a text of everything in both languages, in the language that was asked for."""

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jsl.messages
from jsl import help as helping
from jsl.cli import cli
from jsl.help import Command, Commands, Option, wrapped
from jsl.helptexts import HELP
from jsl.messages import LANGUAGES, columns, say, use_language

PAGES = {context.command_path: context for context in helping.pages(cli, "jsl")}


@pytest.fixture(autouse=True)
def unchosen(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", None)


def texts_of(command):
    """The keys of a command's texts: what it does, and what its options do."""
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert all(isinstance(option, Option) for option in options)
    return [command._help_key, *(option._help_key for option in options)]


@pytest.mark.parametrize("page", PAGES)
def test_everything_has_its_own_text_in_both_languages(page):
    command = PAGES[page].command
    assert isinstance(command, Command | Commands)
    for key in texts_of(command):
        japanese, english = HELP[key]
        assert japanese.strip()
        assert english.isascii()
        assert not japanese.isascii(), key


def test_no_text_is_for_nothing():
    """What is left over is of help itself, and of commands that are no more."""
    used = {key for context in PAGES.values() for key in texts_of(context.command)}
    own = {f"help.{name}" for name in ("usage", "options", "commands", "help", "default")}
    assert set(HELP) - used == own | {"help.required", "help.exit_codes"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", HELP)
def test_no_text_is_shortened(key, language):
    use_language(language)
    assert say(key, value=1) == HELP[key][LANGUAGES.index(language)].format(value=1)


def test_what_has_no_text_cannot_be_made():
    for missing in (None, "help.none", "Passes over the corpus."):
        with pytest.raises(KeyError, match="a key of"):
            Option(["--epochs"], help=missing)
        with pytest.raises(KeyError, match="a key of"):
            Command("train", help=missing)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_in_one_language_and_fits(page, language):
    use_language(language)
    text = PAGES[page].get_help()
    assert max(map(columns, text.splitlines())) <= 80
    # What click would say of itself.
    words = ("Usage:", "Options:", "Commands:", "this message", "[default:", "[required")
    if language == "ja":
        assert not [word for word in words if word in text]
        assert "使い方: jsl" in text
    else:
        assert text.isascii()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lang", "ja", "train", "--help"],
        ["train", "--lang", "ja", "--help"],
        ["train", "--help", "--lang", "ja"],
        ["train", "--help", "--lang=ja"],
        ["train", "--helq", "--lang", "ja"],
        ["trein", "--lang", "ja"],
    ],
)
def test_the_language_may_be_chosen_anywhere(run, arguments):
    found = run(*arguments)
    assert "使い方: jsl" in found.out + found.err
    assert "Usage" not in found.out + found.err


def test_a_text_is_no_choice_of_a_language(run):
    found = run("predict", "--", "--lang", "ja")
    assert "Error: --load is missing." in found.err


def test_required_options_and_defaults_are_said_in_japanese(run):
    assert "保存した実行。 [必須]" in run("--lang", "ja", "export", "--help").out
    assert "既定値: 10.0" in run("--lang", "ja", "train", "--help").out.replace("\n", "").replace(
        " " * 34, ""
    )


def test_the_environment_decides_too(monkeypatch, run):
    monkeypatch.setattr(jsl.messages, "_chosen", None)
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert run("--help").out.startswith("使い方: jsl")


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one-two three", 4, ["one-two", "three"]),
        ("あいうえお", 4, ["あい", "うえ", "お"]),
        ("あい。うえ", 6, ["あい。", "うえ"]),
        ("あいう。え", 6, ["あい", "う。え"]),
        ("あい「うえ」", 6, ["あい", "「う", "え」"]),
        ("あ「い」", 5, ["あ", "「い」"]),
        ("あ --load い", 8, ["あ", "--load", "い"]),
        ("あ\n\nい", 8, ["あ", "", "い"]),
        ("", 8, [""]),
    ],
)
def test_lines_are_broken_where_they_may_be(text, width, lines):
    assert wrapped(text, width) == lines


@given(st.text("aあ。「 -", max_size=60), st.integers(4, 20))
def test_breaking_lines_loses_nothing(text, width):
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert line == line.rstrip()
        # One that is too long has no place to break it at.
        assert columns(line) <= width or not re.search("あ[^。]|. .", line)
        assert line[:1] != "。" or text.lstrip().startswith("。") or " 。" in text
        assert line[-1:] != "「" or re.search("「( |$)", text)

"""Texts in two languages."""

import re
from pathlib import Path
from string import Formatter

import pytest

from minigrad.study import messages
from minigrad.study.messages import TEXTS, language, say


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_say_the_same(key):
    ja, en = (
        {(name, spec) for _, name, spec, _ in Formatter().parse(text) if name}
        for text in TEXTS[key]
    )
    assert ja == en
    assert re.search("[ぁ-んァ-ン一-龠]", TEXTS[key][0])
    assert not re.search("[ぁ-んァ-ン一-龠]", TEXTS[key][1])


def test_every_text_is_used():
    files = Path(messages.__file__).parent.rglob("*.py")
    used = "".join(file.read_text(encoding="utf-8") for file in files)
    unused = [key for key in TEXTS if len(re.findall(f"[\"']{key}[\"']", used)) < 2]
    assert unused == []


@pytest.mark.parametrize(
    ("everything", "lang", "wish", "expected"),
    [
        (None, None, None, "en"),
        (None, "ja_JP.UTF-8", None, "ja"),
        ("", "ja_JP.UTF-8", None, "ja"),
        ("en_US.UTF-8", "ja_JP.UTF-8", None, "en"),
        ("ja", "en_US.UTF-8", None, "ja"),
        ("ja", None, "en", "en"),
        (None, None, "ja", "ja"),
    ],
)
def test_the_language(monkeypatch, everything, lang, wish, expected):
    for name, value in (("LC_ALL", everything), ("LANG", lang)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert language(wish) == expected


def test_fields_are_filled_in():
    assert say("cli.no_file", "en", path="a.py") == "there is no file a.py"
    assert say("cli.no_file", "ja", path="a.py") == "a.py というファイルはありません。"

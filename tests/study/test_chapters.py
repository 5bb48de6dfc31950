"""A chapter in a terminal and as a page: what is shown, in order, and that nothing else is."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from minigrad.study import exercises
from minigrad.study.book import read, run
from minigrad.study.chapters import page, show, show_text


def shown(chapter, lang="en", **options):
    stream = io.StringIO()
    show(chapter, run(chapter), Console(file=stream, width=90, **options), lang)
    return stream.getvalue()


def in_order(text, *parts):
    at = 0
    for part in parts:
        at = text.index(part, at) + len(part)


VOID = {"meta", "hr", "br", "rect", "path", "circle"}


class Reader(HTMLParser):
    """Its elements, and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.said, self.links = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def test_piped_it_is_markdown(folder):
    text = shown(read("tape", folder=folder))
    assert "\x1b" not in text
    in_order(
        text,
        "# 3. A title\n", "`minigrad/graph.py:", "```python\nfrom minigrad", "# why\nx = 3\n```",
        "A second `text`", '```python\nprint("x is", x)',
        "```\nx is 3\nfour\n|  --|\n|**@@|\n1 .:-=+*#%@ 4\nafter <b>\n```\n", "The last.",
        "Chapter 4, Title of rules: `python -m minigrad.study 4`",
    )  # fmt: skip


def test_in_a_terminal_it_has_colors_and_the_lines_of_the_file(folder):
    text = shown(read("tape", folder=folder), force_terminal=True, color_system="truecolor")
    assert "\x1b[48;2;" in text  # the picture
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    in_order(plain, "3. A title", "  9 x = 3", "x is 3", "four", "1 to 4", "after <b>", "The last.")


def test_a_page(folder):
    chapter = read("tape", folder=folder)
    reader = Reader(page(chapter, run(chapter), "en"))
    assert reader.open == []
    assert reader.tags.count("svg") == 1
    assert "strong" in reader.tags
    assert "b" not in reader.tags
    in_order(
        reader.said,
        "3. A title", "minigrad/graph.py:", "# why\nx = 3", "of 1 < 2.", 'print("x is", x)',
        "x is 3", "four", "after <b>", "The last.", "python -m minigrad.study 4",
    )  # fmt: skip


def test_a_page_asks_for_nothing(folder):
    chapter = read("tape", folder=folder)
    text = page(chapter, run(chapter), "ja")
    reader = Reader(text)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert reader.links == []
    assert "url(" not in text.replace("url(#arrow)", "")
    assert '<html lang="ja">' in text
    assert "第 4 章「rulesの題」" in reader.said
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_exercises_of_a_chapter_stand_at_its_end(folder, monkeypatch):
    some = next(iter(exercises.EXERCISES.values()))
    mine, other = (
        replace(some, name=name, chapter=chapter, title={"en": f"The {name}", "ja": f"{name}の題"})
        for name, chapter in (("topological", "tape"), ("tanh_rule", "rules"))
    )
    monkeypatch.setattr(exercises, "EXERCISES", {e.name: e for e in (mine, other)})
    text = shown(read("tape", folder=folder))
    in_order(text, "The last.", "## Exercises", "- The topological: `python -m minigrad.study exer")
    assert "tanh_rule" not in text
    assert "- topologicalの題" in shown(read("tape", "ja", folder), "ja")


def test_after_the_last_chapter_come_the_contents(folder):
    assert "the last chapter. Back to the contents: `python -m minigrad.study`\n" in shown(
        read("gpu", folder=folder)
    )


def test_a_reference_that_leads_nowhere_is_an_error(folder):
    (folder / "rules.py").write_text('"""T\n\n[[minigrad.graph.nosuch]]"""\n', encoding="utf-8")
    chapter = read("rules", folder=folder)
    with pytest.raises(LookupError, match=r"chapter rules: \[\[minigrad.graph.nosuch\]\]"):
        shown(chapter)


def test_a_text_that_is_long_is_not_cut_when_piped():
    stream = io.StringIO()
    show_text("word " * 100, Console(file=stream, width=40))
    assert stream.getvalue() == "word " * 100 + "\n\n"

"""The ten chapters: they run, in two languages, and what they say can be relied on."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from minigrad.study import book
from minigrad.study.__main__ import main
from minigrad.study.book import CHAPTERS, REFERENCE, file_of, find, linked, read, run
from minigrad.study.chapters import COMMAND, closing, page
from minigrad.study.exercises import EXERCISES
from minigrad.study.pictures import Picture

ROOT = book.FOLDER.parents[2]
LANGUAGES = ("en", "ja")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
chapters = pytest.mark.parametrize("name", CHAPTERS)


def python(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran():
    """What each cell of a chapter gives; run once."""
    known = {}

    def outputs(name):
        if name not in known:
            known[name] = [outputs for _, outputs in run(read(name))]
        return known[name]

    return outputs


def test_every_file_is_a_chapter():
    files = set(book.FOLDER.glob("*.py")) - {book.FOLDER / "__init__.py"}
    assert files == {file_of(name) for name in CHAPTERS}
    assert {f.stem for f in (book.FOLDER / "ja").glob("*.md")} == set(CHAPTERS)


def test_no_chapter_hides_a_module_of_the_standard_library():
    """Its folder comes first on the path where a chapter is run as a file."""
    assert {file_of(name).stem for name in CHAPTERS} & set(sys.stdlib_module_names) == set()


@chapters
def test_a_chapter_is_short(name):
    chapter = read(name)
    assert len(chapter.path.read_text(encoding="utf-8").splitlines()) <= 150
    assert len(chapter.title) <= 60
    kinds = [cell.kind for cell in chapter.cells]
    assert kinds[-1] == "text"
    assert "What the real one does" in chapter.texts[-1]
    assert REFERENCE.search(chapter.texts[-1])


@chapters
def test_a_chapter_runs_without_a_warning(name, ran, recwarn, capsys):
    outputs = ran(name)
    assert list(recwarn) == []
    assert capsys.readouterr() == ("", "")
    assert any(isinstance(o, Picture) for part in outputs for o in part)


@chapters
def test_a_chapter_runs_as_a_file(name, ran):
    """It prints what the runner shows."""
    done = python(str(file_of(name)))
    assert done.returncode == 0, done.stderr
    shown = [o if isinstance(o, str) else o.text() + "\n" for part in ran(name) for o in part]
    assert len(done.stdout.splitlines()) == len("".join(shown).splitlines())


def test_a_chapter_runs_as_a_module():
    done = python("-m", "minigrad.study.book.tape")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(python(str(file_of("tape"))).stdout.splitlines())


@chapters
def test_the_languages_say_the_same(name):
    english, japanese = (read(name, lang) for lang in LANGUAGES)
    assert re.search("[ぁ-ん]", japanese.texts[-1])
    for en, ja in zip(english.texts, japanese.texts, strict=True):
        assert REFERENCE.findall(en) == REFERENCE.findall(ja)
        plain = [FENCED.sub("", text) for text in (en, ja)]
        assert FENCED.findall(en) == FENCED.findall(ja)
        assert set(CODE.findall(plain[1])) == set(CODE.findall(plain[0])), en[:60]


@pytest.mark.parametrize("lang", LANGUAGES)
@chapters
def test_references_lead_somewhere_and_markdown_is_understood(name, lang, ran):
    chapter = read(name, lang)
    for text in chapter.texts:
        assert "[[" not in linked(chapter, text)
    shown = page(chapter, zip(chapter.cells, ran(name), strict=True), lang)
    texts = re.sub(r"<(code|pre|style|svg).*?</\1>", "", shown, flags=re.S)
    assert "**" not in texts
    assert "`" not in texts


def commands_in(text):
    """The arguments of the commands of ours in a text, on lines of their own or within one."""
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found += [code for code in CODE.findall(text) if code.startswith(COMMAND)]
    assert all(command.startswith(COMMAND) for command in found)
    return [tuple(shlex.split(c.removeprefix(COMMAND), comments=True)) for c in found]


def test_commands_are_found_in_texts():
    text = f"Try `{COMMAND} 3` or\n```\n$ {COMMAND} exercise a  # why\nx\n```\n`python x`"
    assert commands_in(text) == [("exercise", "a"), ("3",)]
    with pytest.raises(AssertionError):
        commands_in("```\n$ rm\n```")


@chapters
def test_commands_in_texts_work(name, capsys):
    """Those of a chapter, and those that the runner adds at its end."""
    found = {
        command
        for lang in LANGUAGES
        for text in (*read(name, lang).texts, closing(read(name, lang), lang))
        for command in commands_in(text)
    }
    assert found
    for command in sorted(found):
        if len(command) == 1 and command[0].isdecimal():  # which runs in a test above
            assert find(command[0]) == CHAPTERS[CHAPTERS.index(name) + 1]
            continue
        with pytest.raises(SystemExit) as caught:
            main(list(command))
        assert caught.value.code == 0, command
    capsys.readouterr()


def test_every_chapter_has_exercises():
    assert {e.chapter for e in EXERCISES.values()} == set(CHAPTERS)
    assert len(EXERCISES) >= 25

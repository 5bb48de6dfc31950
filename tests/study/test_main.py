"""The command line: what it says, and how it fails."""

import errno
import os
import re
from pathlib import Path

import pytest

from minigrad.examples import digits_cnn
from minigrad.study import __main__ as command_line
from minigrad.study import load, recorder
from minigrad.study.__main__ import contents, main, wished
from minigrad.study.book import CHAPTERS
from minigrad.study.exercises import EXERCISES
from minigrad.study.record import Record
from minigrad.study.targets import EXAMPLES

OWN = """
import minigrad as mg

def step():
    x = mg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    (x * x).sum().backward()

@mg.jit
def fast():
    return (mg.ones(3) * 2).sum()

def idle():
    return 3

def needs(x):
    return x

def broken():
    raise ValueError("mine")

def leaves():
    raise SystemExit(3)

if __name__ == "__main__":
    step()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file of the user's, in the folder in which the command is given."""
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LANG", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Record, "page", written_page)
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def written_page(record, path, lang="en"):
    path.write_text(f"<html lang={lang}>{record}", encoding="utf-8")


def said(capsys, *arguments, code=0):
    """What a command prints: to standard output if it works, else to that of errors."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert caught.value.code == code, err
    if code == 0:
        assert err == ""
        return out
    return err


# ---------------------------------------------------------------------------------- what there is


def test_a_newcomer_sees_where_to_begin(own, capsys):
    text = said(capsys)
    assert "Begin with chapter 1:  `python -m minigrad.study 1`" in text
    for i, name in enumerate(CHAPTERS, 1):
        assert re.search(rf"^{i}\. .+ \(`{name}`\)$", text, re.M)
    assert f"There are {len(EXERCISES)}." in text
    for name in EXAMPLES:
        assert name in text
    assert text.strip() == contents("en").strip()


@pytest.mark.parametrize("shown", [[], ["3"], ["10"], ["exercises"], ["exercise", "unbroadcast"]])
def test_a_command_that_is_shown_goes_on_in_the_same_language(own, capsys, shown):
    """Where the environment does not say it already."""
    assert "--lang" not in said(capsys, *shown).replace("`--lang ja`", "")
    commands = re.findall(
        r"`(python -m minigrad.study[^`]*)`", said(capsys, *shown, "--lang", "ja")
    )
    assert commands
    assert all(command.endswith(" --lang ja") for command in commands)


def test_who_reads_the_other_language_is_told_how(own, capsys):
    assert "日本語で読むには、どのコマンドにも `--lang ja`" in said(capsys)
    assert "In English: add `--lang en`" in said(capsys, "--lang", "ja")


def test_the_language(own, capsys, monkeypatch):
    assert "第 1 章から始めましょう" in said(capsys, "--lang", "ja")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert "第 1 章から始めましょう" in said(capsys)
    assert "Begin with chapter 1" in said(capsys, "--lang=en")
    assert "章を 1 つの HTML ファイルに書き出します" in said(capsys, "3", "--help")
    assert "there is no such" not in said(capsys, "--lang", "fr", code=2)
    assert wished(["a", "--lang", "ja"]) == wished(["--lang=ja"]) == "ja"
    assert wished(["--lang"]) is wished(["--lang", "fr"]) is None


def test_a_chapter(own, capsys):
    assert "# 3. " in said(capsys, "3")
    assert said(capsys, "tape", "--lang", "en") == said(capsys, "3")
    assert said(capsys, "tape", "--html", "tape.html") == "written: tape.html\n"
    assert "<!DOCTYPE html>" in (own / "tape.html").read_text(encoding="utf-8")
    assert "'11' is no chapter" in said(capsys, "11", code=2)


# ------------------------------------------------------------------------------------- exercises


def test_exercises(own, capsys):
    listed = said(capsys, "exercises")
    for name, exercise in EXERCISES.items():
        assert f"- `{name}`: {exercise.title['en']}" in listed
    name = next(iter(EXERCISES))
    shown = said(capsys, "exercise", name)
    assert "```python\nimport" in shown
    assert f"`python -m minigrad.study check {name}.py`" in shown
    assert shown.count(EXERCISES[name].title["en"]) == 1


def test_an_answer_is_written_and_checked(own, capsys):
    name = next(iter(EXERCISES))
    assert said(capsys, "exercise", name, "--write", "a.py") == "written: a.py\n"
    assert "a.py is there already" in said(capsys, "exercise", name, "--write", "a.py", code=2)
    with pytest.raises(SystemExit) as caught:
        main(["check", "a.py"])
    assert caught.value.code == 1
    assert name in capsys.readouterr().out
    right = f"from minigrad.study.exercises import EXERCISES\n{name} = EXERCISES[{name!r}].answer\n"
    (own / "b.py").write_text(right, encoding="utf-8")
    assert name in said(capsys, "check", "b.py")
    assert name in said(capsys, "check", "b.py", name)


def test_what_cannot_be_checked(own, capsys):
    name = next(iter(EXERCISES))
    assert "there is no file no.py" in said(capsys, "check", "no.py", code=2)
    assert "own.py defines no function of an exercise" in said(capsys, "check", "own.py", code=2)
    near = said(capsys, "check", "own.py", name[:-1], code=2)
    assert f"there is no exercise '{name[:-1]}'; near it: {name}" in near
    (own / "bad.py").write_text("x = 1\n1 / 0\n", encoding="utf-8")
    error = said(capsys, "check", "bad.py", code=1)
    (own / "step.json").write_text("{}", encoding="utf-8")
    assert "step.json is no Python file" in said(capsys, "check", "step.json", code=2)
    assert error.startswith("Traceback")
    assert 'bad.py", line 2, in <module>' in error
    assert "exercises/__init__.py" not in error


# ---------------------------------------------------------------------------------------- records


def test_a_function_of_a_file(own, capsys):
    assert said(capsys, "own.py:step") == "page written: own.step.study.html\n"
    assert "multiply" in (own / "own.step.study.html").read_text(encoding="utf-8")
    assert said(capsys, "own.py:step", "--json", "r.json") == "record saved: r.json\n"
    assert "multiply" in str(load(own / "r.json"))
    assert {p.name for p in own.iterdir()} == {"own.py", "own.step.study.html", "r.json"}
    assert said(capsys, "r.json", "--out", "p.html", "--lang", "ja") == (
        "ページを書き出しました: p.html\n"
    )
    assert "<html lang=ja>" in (own / "p.html").read_text(encoding="utf-8")


def test_a_function_under_jit(own, capsys):
    said(capsys, "own.py:fast", "--json", "r.json")
    assert load(own / "r.json").program is not None


def test_a_whole_file(own, capsys):
    said(capsys, "own.py")
    text = (own / "own.study.html").read_text(encoding="utf-8")
    assert "own.py: " in text
    assert "backward begins" in text
    assert "own.py:6" in text


def test_it_is_opened_and_walked_through(own, capsys, monkeypatch):
    done = []
    monkeypatch.setattr(command_line.click, "launch", lambda url: done.append(url))
    monkeypatch.setattr(Record, "walk", lambda record, lang: done.append(lang))
    said(capsys, "own.py:step", "--terminal", "--open")
    assert done == ["own.step.study.html", "en"]
    done.clear()
    (own / "own.step.study.html").unlink()
    assert said(capsys, "own.py:step", "--terminal", "--lang", "ja") == ""
    assert done == ["ja"]
    assert not (own / "own.step.study.html").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digits_cn"], "'digits_cn' is no chapter, no example and no file; near it: digits_cnn"),
        (["no.py"], "there is no file no.py"),
        (["no.py:f"], "there is no file no.py"),
        (["own.txt"], "there is no file own.txt"),
        (["own.py:nosuch"], "without arguments: step, fast, idle, broken, leaves"),
        (["own.py:needs"], "needs of own.py needs arguments (x)"),
        (["own.py:idle"], "own.py:idle called no op of the engine"),
        (["bad.json"], "bad.json cannot be read as a record"),
        (["own.py:step", "--out", "no/p.html"], "cannot write no"),
        (["own.py:step", "--json", "no/p.json"], "cannot write no"),
        (["tape", "--html", "no/p.html"], "cannot write no"),
        (["tape", "--out", "p.html"], "No such option"),
        (["exercise"], "Missing argument"),
        (["exercise", "xyzzy"], "there is no exercise 'xyzzy'; python -m minigrad.study exercises"),
    ],
)
def test_errors_are_one_line(own, capsys, monkeypatch, arguments, told):
    monkeypatch.setattr(Record, "page", lambda record, path, lang: path.write_text(lang, "utf-8"))
    (own / "bad.json").write_text("{}", encoding="utf-8")
    error = said(capsys, *arguments, code=2)
    assert told in error
    assert error.startswith("python -m minigrad.study")
    assert error.count("\n") == 1


def test_why_a_file_cannot_be_written_is_told_once(own, capsys):
    error = said(capsys, "own.py:step", "--json", "no/p.json", code=2)
    told = f"cannot write {Path('no/p.json')}: {os.strerror(errno.ENOENT)}"
    assert error == f"python -m minigrad.study: {told}\n"


def test_that_a_record_was_full_is_told(own, capsys, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_STEPS", 2)
    with pytest.raises(SystemExit) as caught:
        main(["own.py:step"])
    out, err = capsys.readouterr()
    assert not caught.value.code
    assert "page written" in out
    assert "holds the first 2 steps only" in err


def test_an_error_of_the_user_is_shown_as_python_does(own, capsys):
    error = said(capsys, "own.py:broken", code=1)
    assert error.startswith("Traceback (most recent call last):\n")
    assert error.count('  File "') == 1
    assert error.endswith("ValueError: mine\n")
    assert said(capsys, "own.py:leaves", code=3) == ""


def test_an_interruption_leaves_quietly(own, capsys, monkeypatch):
    (own / "own.py").write_text("def f():\n    raise KeyboardInterrupt\n", encoding="utf-8")
    assert said(capsys, "own.py:f", code=130) == "\n"


def test_an_example_that_lacks_a_package(own, capsys, monkeypatch):
    def lacks():
        raise ModuleNotFoundError("pip install 'minigrad[data]'")

    monkeypatch.setattr(digits_cnn, "one_step", lacks)
    error = said(capsys, "digits_cnn", code=2)
    assert "the example digits_cnn cannot run: pip install 'minigrad[data]'" in error
    assert error.count("\n") == 1


def test_an_example(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said(
        capsys, "entity_embedding", "--lang", "en", "--json", "r.json", "--out", "p.html"
    ) == ("record saved: r.json\npage written: p.html\n")
    record = load(tmp_path / "r.json")
    assert record.title == "entity_embedding"
    assert record.program is not None
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "entity_embedding" in page
    assert len(page) < 3_000_000

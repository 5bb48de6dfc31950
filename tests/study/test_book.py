"""Reading and running chapters, and where their references lead."""

import traceback

import pytest

import minigrad as mg
from minigrad.study import book
from minigrad.study.book import CHAPTERS, find, linked, namespace, read, resolve, run
from minigrad.study.pictures import Picture


def test_a_chapter_is_found_by_name_and_number():
    assert find("tape") == find("3") == "tape"
    for name in ("0", "11", "nosuch"):
        with pytest.raises(ValueError, match=f"no chapter '{name}'; there are 1 .*, 10 gpu"):
            find(name)


def test_texts_and_code_in_order(folder):
    chapter = read("tape", folder=folder)
    assert [(cell.kind, cell.line) for cell in chapter.cells] == [
        ("text", 1), ("code", 6), ("text", 11), ("code", 13), ("text", 17),
    ]  # fmt: skip
    assert (chapter.title, chapter.number) == ("A title", CHAPTERS.index("tape") + 1)
    assert chapter.cells[1].source.endswith("\n\n# why\nx = 3")
    assert chapter.cells[3].source.startswith('print("x is", x)')


def test_texts_in_japanese(folder):
    chapter = read("tape", "ja", folder)
    assert chapter.title == "題"
    assert chapter.texts[1:] == ["次の`text`。", "最後。"]
    assert [cell.line for cell in chapter.cells] == [1, 6, 11, 13, 17]
    (folder / "ja" / "tape.md").write_text("題\n---\n次", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ja/tape.md has 2 texts, and tape.py has 3"):
        read("tape", "ja", folder)


def test_lines_of_japanese_are_joined_without_a_space(folder):
    (folder / "ja" / "rules.md").write_text("題\n\n一行目、\n二行目\nand `code`\n- a\n", "utf-8")
    assert read("rules", "ja", folder).texts == ["題\n\n一行目、二行目\nand `code`\n- a"]


def test_a_chapter_without_an_introduction(folder):
    (folder / "tape.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tape.py: a chapter begins with a docstring"):
        read("tape", folder=folder)


def test_outputs_and_pictures_in_order(folder, capsys):
    ran = list(run(read("tape", folder=folder)))
    assert [cell.kind for cell, _ in ran] == ["text", "code", "text", "code", "text"]
    first, picture, last = ran[3][1]
    assert (first, last) == ("x is 3\n", "after <b>\n")
    assert isinstance(picture, Picture)
    assert picture.title == "four"
    assert [outputs for _, outputs in ran[:3]] == [[], [], []]
    assert capsys.readouterr().out == ""


def test_the_names_of_a_chapter(folder, capsys):
    assert namespace("tape", folder)["x"] == 3
    assert capsys.readouterr().out == ""


def test_an_error_in_a_chapter_shows_its_line(folder):
    (folder / "tape.py").write_text('"""T"""\n\n"""more"""\n\nx = 1\n1 / 0\n', encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        namespace("tape", folder)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == (str(folder / "tape.py"), 6, "1 / 0")


def test_an_op_of_a_chapter_is_not_the_engines(folder):
    (folder / "tape.py").write_text(
        '"""T"""\nimport minigrad as mg\n\n@mg.op\ndef tanh(xp, x):\n    return x\n', "utf-8"
    )
    before = mg.autodiff.REGISTRY["tanh"]
    assert namespace("tape", folder)["tanh"] is not before
    assert mg.autodiff.REGISTRY["tanh"] is before


# ------------------------------------------------------------------------------------- references


def line_of(file, start):
    lines = (book.FOLDER.parents[1] / file).read_text(encoding="utf-8").splitlines()
    [found] = [i for i, line in enumerate(lines, 1) if line.startswith(start)]
    return found


def test_where_references_lead():
    line = line_of(
        "graph.py",
        "    def pull_back(",
    )
    assert resolve("minigrad.graph.Node.pull_back") == f"minigrad/graph.py:{line} Node.pull_back"
    line = line_of("graph.py", "class Tensor(TensorMethods):")
    assert resolve("minigrad.Tensor") == f"minigrad/graph.py:{line} Tensor"
    line = line_of("ops/softmaxes.py", "def softmax(xp, x, *, axis=-1, dtype=None):")
    assert resolve("minigrad.softmax") == f"minigrad/ops/softmaxes.py:{line} softmax"
    assert resolve("minigrad.graph") == "minigrad/graph.py"
    assert resolve("minigrad.ops") == "minigrad/ops/__init__.py"


@pytest.mark.parametrize(
    "reference", ["minigrad.graph.Node.nosuch", "minigrad.nosuch.x", "os.path"]
)
def test_a_reference_that_leads_nowhere(folder, reference):
    chapter = read("tape", folder=folder)
    with pytest.raises(LookupError, match=rf"chapter tape: \[\[{reference}\]\]: there is no"):
        linked(chapter, f"See [[{reference}]].")


def test_a_text_with_its_references(folder):
    chapter = read("tape", folder=folder)
    assert "tells of `minigrad/graph.py:" in linked(chapter, chapter.texts[0])

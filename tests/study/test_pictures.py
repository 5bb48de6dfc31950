"""Pictures as text and as SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest

from minigrad.study.pictures import color, graph, handed_to, heat, lines


def drawn(draw, *args, **kwargs):
    found = []
    with handed_to(found.append):
        draw(*args, **kwargs)
    [picture] = found
    return picture


def parts(picture, tag):
    return list(ElementTree.fromstring(picture.svg()).iter("{http://www.w3.org/2000/svg}" + tag))


def test_a_plain_run_prints_them(capsys):
    heat([[0, 1], [2, 3]], title="four numbers")
    assert capsys.readouterr().out == "four numbers\n|  --|\n|**@@|\n0 .:-=+*#%@ 3\n"
    graph([("a", "c"), ("b", "c"), ("c", "d")])
    assert capsys.readouterr().out == "a, b -> c\n   c -> d\n"
    lines({"up": [0, 1, 2], "flat": [1, 1, 1]}, title="two")
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "two"
    assert rows[1].startswith("2 |")
    assert rows[1].rindex("*") == rows[-2].rindex("2")  # above the end of the axis
    assert rows[12].startswith("0 |*")
    assert rows[-1] == "* up  o flat"


def test_they_are_handed_over_instead(capsys):
    picture = drawn(heat, np.eye(3), title="an <identity>")
    assert capsys.readouterr().out == ""
    assert picture.text().startswith("an <identity>\n")
    assert len(parts(picture, "rect")) == 9
    assert {rect.get("fill") for rect in parts(picture, "rect")} == {"#ffffff", "#2166ac"}
    assert parts(picture, "text")[0].text == "an <identity>"


def test_large_matrices_are_drawn_by_blocks():
    picture = drawn(heat, np.arange(1000.0 * 70).reshape(1000, 70))
    assert len(parts(picture, "rect")) <= 64 * 64
    assert len(picture.text().splitlines()) <= 33
    assert max(map(len, picture.text().splitlines())) <= 78


def test_numbers_that_are_none():
    picture = drawn(heat, [[np.nan, 1.0, 2.0]])
    assert picture.text().startswith("|??  @@|")
    assert parts(picture, "rect")[0].get("fill") == "#000000"
    assert drawn(heat, [[np.inf]]).text().startswith("|??|")
    assert len(parts(drawn(lines, {"a": [1.0, np.inf, 3.0]}), "circle")) == 2


def test_colors_of_signs():
    assert color(0.0, -1.0, 1.0) == "#ffffff"
    red, blue = color(-1.0, -1.0, 1.0), color(1.0, -1.0, 1.0)
    assert int(red[1:3], 16) > int(red[5:], 16)
    assert int(blue[1:3], 16) < int(blue[5:], 16)
    assert color(5.0, 5.0, 5.0) != "#000000"


def test_layers_follow_the_longest_path():
    picture = drawn(graph, [("c", "d"), ("b", "c"), ("a", "b"), ("a", "d")])
    assert picture.layers == [["a"], ["b"], ["c"], ["d"]]
    assert [t.text for t in parts(picture, "text")] == ["a", "b", "c", "d"]
    left = [float(r.get("x")) for r in parts(picture, "rect")]
    assert left == sorted(left)


@pytest.mark.parametrize(
    ("draw", "given", "said"),
    [
        (heat, np.zeros((2, 2, 2)), r"expected a matrix with numbers in it, got shape \(2, 2, 2\)"),
        (heat, [], "expected a matrix"),
        (lines, {}, "got none"),
        (graph, [], "got none"),
        (graph, [("a", "b"), ("b", "a")], "in a circle"),
    ],
)
def test_what_cannot_be_drawn(draw, given, said):
    with pytest.raises(ValueError, match=said):
        draw(given)

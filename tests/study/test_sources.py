"""Where things stand: the texts of formulas and rules, and the lines that called them."""

import functools
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.autodiff import REGISTRY, Tensor
from minigrad.study.sources import Sources, line_at, path_of, rules_of, source_of

FILE = "tests/study/test_sources.py"


def text_of(function, name="f"):
    return source_of(function, name).text


def plain(x):
    """A docstring."""
    return x + 1


def decorated(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


@decorated
def wrapped(x):
    return x * 2


def maker(factor, deep):
    def inner(x):
        def innermost(y):
            return y * factor

        return innermost(x) + deep

    return inner


class Thing:
    def method(self, x):
        return x


def test_a_function():
    found = source_of(plain, "plain")
    assert found.text == 'def plain(x):\n    """A docstring."""\n    return x + 1'
    assert (found.name, found.file) == ("plain", FILE)
    assert line_at(__file__, found.line).text == "def plain(x):"


def test_decorated_functions_partials_and_methods():
    assert text_of(wrapped) == "@decorated\ndef wrapped(x):\n    return x * 2"
    assert text_of(functools.partial(functools.partial(plain, 1))) == text_of(plain)
    assert text_of(Thing().method) == "def method(self, x):\n    return x"
    assert text_of(Thing.method) == text_of(Thing().method)


def test_a_nested_function_says_what_it_stands_for():
    found = text_of(maker(2.5, "text"))
    assert found.startswith("# factor = 2.5\n# deep = 'text'\ndef inner(x):") or found.startswith(
        "# deep = 'text'\n# factor = 2.5\ndef inner(x):"
    )
    assert "\n    def innermost(y):\n" in found
    assert text_of(maker(np.zeros(3), plain)).startswith("def inner(x):"), "arrays are not shown"


def test_a_long_text_among_what_a_function_closes_over_is_cut():
    assert len(text_of(maker(1, "x" * 10_000))) < 1000


def test_what_a_function_closes_over_may_not_be_set_yet():
    def early():
        return source_of(uses, "uses").text

    def uses():
        return later

    found = early()
    later = 3
    assert found == "def uses():\n    return later"
    assert later == 3


one, two, three = (lambda x: x + 1), (lambda x: x + 2), (lambda y: (lambda z: z + y)(3))
inside = (lambda y: lambda z: z + y)(3)
pairs = [(lambda g, y, x: g), (lambda g, y, x: -g)]
multi = (lambda x:
         x + 1,
         lambda x: x * (
             2))  # fmt: skip
umlauts = {"größe": lambda x: x + len("ß"), "日本": lambda x: x - len("語")}
default = [lambda x, k=(lambda q: q): k(x), lambda x, /, *a, **k: (x, a, k)]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (one, "lambda x: x + 1"), (two, "lambda x: x + 2"),
        (three, "lambda y: (lambda z: z + y)(3)"), (inside, "# y = 3\nlambda z: z + y"),
        (pairs[0], "lambda g, y, x: g"),
        (pairs[1], "lambda g, y, x: -g"), (umlauts["größe"], 'lambda x: x + len("ß")'),
        (umlauts["日本"], 'lambda x: x - len("語")'), (multi[0], "lambda x:\n x + 1"),
        (multi[1], "lambda x: x * (\n 2)"), (default[0], "lambda x, k=(lambda q: q): k(x)"),
        (default[1], "lambda x, /, *a, **k: (x, a, k)"),
    ],
)  # fmt: skip
def test_lambdas(function, text):
    found = source_of(function, "f")
    assert re.sub(r"\n\s+", "\n ", found.text) == text
    assert found.file == FILE
    assert "lambda" in Path(__file__).read_text(encoding="utf-8").splitlines()[found.line - 1]


def test_rules_of_ops_are_found():
    """Of every op of ours the formula and all rules have a text, and it is the right one."""
    for name, op in REGISTRY.items():
        if "." in name:
            continue
        formula = source_of(op.formula, name)
        assert formula.file.startswith("minigrad/"), name
        assert formula.text, name
        for k, rule in rules_of(op, list(range(4))):
            found = source_of(rule, name)
            assert found.file.startswith("minigrad/"), (name, k)
            own = [line for line in found.text.splitlines() if not line.startswith("# ")]
            assert own[0].startswith(("lambda", "def ", "@")), (name, k, found.text)
            inner = getattr(rule, "func", rule)
            names = inner.__code__.co_varnames[: inner.__code__.co_argcount]
            assert all(re.search(rf"\b{re.escape(n)}\b", found.text) for n in names), (name, found)


def test_rules_and_their_inputs():
    @mg.primitive
    def several(xp, a, b, c):
        return a + b + c

    first, last = (lambda g, _y, _a, _b, _c: g), (lambda g, _y, _a, _b, _c: g * 1)
    assert rules_of(several, [0, 1]) == []
    several.vjps(first, last)
    assert rules_of(several, [0, 1, 2]) == [(0, first), (1, last), (2, last)]
    assert rules_of(several, [2]) == [(2, last)]
    several.vjp(first)
    assert rules_of(several, [0, 1]) == [(None, first)]


def test_functions_without_a_file():
    space = {}
    exec("def typed(x):\n    return x", space)
    found = source_of(space["typed"], "typed")
    assert (found.name, found.file, found.text) == ("typed", "<string>", "")
    assert found.line == 1
    for function in (len, np.exp, max, int, Thing(), np.add.reduce):
        assert source_of(function, "f") == ("f", "", 0, "")


def test_a_file_that_is_gone(tmp_path):
    path = tmp_path / "gone.py"
    path.write_text("def gone(x):\n    return x\nboth = lambda x: x, lambda y: y\n", "utf-8")
    space = {}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), space)
    path.unlink()
    for function in (space["gone"], *space["both"]):
        found = source_of(function, "gone")
        assert (found.file, found.text) == ("gone.py", "")


def test_a_file_that_has_other_lines_by_now(tmp_path):
    path = tmp_path / "other.py"
    path.write_text("f = [\n    lambda x: x + 1,\n    lambda x: x + 2,\n]\n", "utf-8")
    space = {}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), space)
    path.write_text("x = (((\n", "utf-8")
    for function in space["f"]:
        assert source_of(function, "f").file == "other.py"


def test_paths_are_relative_and_have_slashes(tmp_path, monkeypatch):
    root = Path(mg.__file__).parent
    assert path_of(mg.__file__) == "minigrad/__init__.py"
    assert path_of(str(root / "ops" / "norms.py")) == "minigrad/ops/norms.py"
    assert path_of("<stdin>") == "<stdin>"
    assert path_of("<frozen importlib>") == "<frozen importlib>"
    assert path_of(__file__) == FILE
    assert path_of(str(tmp_path / "a" / "b.py")) == "b.py"
    monkeypatch.chdir(tmp_path)
    assert path_of(str(tmp_path / "a" / "b.py")) == "a/b.py"
    assert path_of(os.path.join("a", "b.py")) == "a/b.py"
    assert path_of(mg.__file__) == "minigrad/__init__.py"
    assert path_of(re.__file__).startswith("re")
    assert path_of(functools.__file__) == "functools.py"
    assert path_of(np.__file__) == "numpy/__init__.py"


def test_no_record_has_an_absolute_path():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    record = mg.study(lambda x: mg.nn.functional.gelu(x * x).sum().backward(), x)
    files = {s.file for s in record.sources} | {line.file for line in record.lines}
    assert files
    for file in files:
        assert not os.path.isabs(file), file
        assert "\\" not in file
        assert ".." not in file
    text = str(record.to_json())
    assert str(Path(__file__).parents[2]) not in text
    assert sys.prefix not in text


def test_sources_are_a_sequence():
    found = Sources([(plain, "a"), (wrapped, "b")])
    assert len(found) == 2
    assert [s.name for s in found] == ["a", "b"]
    assert found[-1].name == "b"
    assert [s.name for s in found[:1]] == ["a"]
    with pytest.raises(IndexError):
        found[2]


def test_lines():
    found = line_at(__file__, 1)
    assert found.text.startswith('"""Where things stand')
    assert str(found) == f"{FILE}:1"
    assert line_at(__file__, 10**6).text == ""
    assert line_at("<nowhere>", 3) == ("<nowhere>", 3, "")


def test_lines_of_calls_and_of_layers():
    layer = mg.nn.Sequential(mg.nn.Linear(2, 2), mg.nn.Tanh())

    def run(x):
        y = layer(x)
        return mg.exp(
            y  # on a line of its own
        )

    record = mg.study(run, np.ones((1, 2), np.float32))
    assert record.op("linear").line.text == "y = layer(x)"
    site = record.lines[record.op("linear").call.site]
    assert site.file.startswith("minigrad/nn/")
    assert record.op("exp").line.text == "return mg.exp("
    assert record.op("exp").call.site is None

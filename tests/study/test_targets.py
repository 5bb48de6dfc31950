"""What can be recorded: examples, functions of files, files, records."""

import sys

import click
import pytest

from minigrad import data
from minigrad.study import targets
from minigrad.study.targets import (
    EXAMPLES,
    UserError,
    function_in,
    module_at,
    near,
    needed,
    recorded,
    split,
)

FILE = """
import neighbour

import minigrad as mg

def step():
    return neighbour.twice(mg.ones(3)).sum()

def with_default(x=2.0):
    return mg.ones(2) * x

def with_argument(x, *, y):
    return x

def broken():
    raise ValueError("mine")

if __name__ == "__main__":
    import sys
    assert sys.argv[1:] == []
    step()
    sys.exit()
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbour.py").write_text("def twice(x):\n    return x * 2\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    yield tmp_path / "mine.py"
    for name in ("mine", "neighbour"):
        sys.modules.pop(name, None)


def test_examples_are_those_of_the_lecture():
    assert {"digits_cnn", "toy_classifier"} <= set(EXAMPLES)
    assert "command" not in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_step_of_every_example(name):
    record, file = recorded(name, "en")
    assert record.title == file == name
    kinds = {step.kind for step in record.steps}
    assert {"call", "seed", "pull"} <= kinds
    assert ("update" in kinds) == (name != "adversarial")
    assert not record.truncated


@pytest.mark.parametrize("name", ["adversarial", "digits_cnn", "digits_gan", "digits_vae"])
def test_a_step_where_the_digits_are_missing(name, monkeypatch, capsys):
    """With what minigrad itself needs, and nothing more; it is said."""

    def missing():
        raise ModuleNotFoundError("no sklearn here")

    monkeypatch.setattr(data, "digits", missing)
    record, _ = recorded(name, "en")
    assert "pull" in {step.kind for step in record.steps}
    assert "noise stands for the pictures: no sklearn here" in capsys.readouterr().err


def test_a_file_and_a_function(tmp_path):
    assert split("a.py") == (targets.Path("a.py"), None)
    assert split("a.py:step") == (targets.Path("a.py"), "step")
    assert split("C:\\x\\a.py") == (targets.Path("C:\\x\\a.py"), None)
    assert split("C:\\x\\a.py:step") == (targets.Path("C:\\x\\a.py"), "step")


def test_a_module_finds_what_is_beside_it(file):
    before = list(sys.path)
    module = module_at(file)
    assert module.step().item() == 6
    assert module.__name__ == "mine"
    assert sys.path == before


def test_a_file_that_is_called_like_a_module_does_not_replace_it(tmp_path):
    (tmp_path / "ast.py").write_text("x = 1\n", encoding="utf-8")
    import ast

    module = module_at(tmp_path / "ast.py")
    assert module.x == 1
    assert sys.modules["ast"] is ast
    del sys.modules[module.__name__]


def test_functions_that_need_no_arguments(file):
    module = module_at(file)
    assert function_in(module, "step", file, "en") is module.step
    assert function_in(module, "with_default", file, "en") is module.with_default
    with pytest.raises(click.UsageError) as caught:
        function_in(module, "nosuch", file, "en")
    assert str(caught.value) == (
        "mine.py has no function nosuch; those that can be called without arguments: step, "
        "with_default, broken"
    )
    with pytest.raises(click.UsageError, match=r"with_argument of mine.py needs arguments \(x, y"):
        function_in(module, "with_argument", file, "en")
    assert needed(lambda a, b=1, *c, d, **e: 0) == ["a", "d"]


def test_an_error_of_the_user_is_shown_from_his_file_on(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f():\n    1 / 0\n\nf()\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        module_at(tmp_path / "bad.py")
    caught.value.show()
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n  File ")
    assert 'bad.py", line 4, in <module>' in said
    assert "targets.py" not in said
    assert said.endswith("ZeroDivisionError: division by zero\n")
    del sys.modules["bad"]


def test_a_file_that_is_no_python(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        module_at(tmp_path / "bad.py")
    caught.value.show()
    said = capsys.readouterr().err
    assert 'bad.py", line 1' in said
    assert "importlib" not in said
    assert "SyntaxError" in said
    del sys.modules["bad"]


def test_names_that_are_near():
    assert near("digits_cn", EXAMPLES, "en").startswith("near it: digits_cnn")
    assert near("xyzzy", EXAMPLES, "en") == ""

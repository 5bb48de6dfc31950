"""Nothing of ours can run code from a file: no module that unpickles is imported, anywhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("minigrad", "jsl", "benchmarks", "tests")
FILES = [file for top in OURS for file in sorted((ROOT / top).rglob("*.py"))]
NEVER = {
    "pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve",
    "marshal", "jsonpickle", "_compat_pickle",
}  # fmt: skip


def breaches(tree):
    """The lines that import one of these modules, by statement or by name, or ask for pickles."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__", "importorskip"):
                names = [a.value for a in node.args if isinstance(a, ast.Constant)]
            for keyword in node.keywords:
                value = getattr(keyword.value, "value", None)
                if (keyword.arg, value) == ("allow_pickle", True):
                    yield node.lineno
        if any(set(str(name).split(".")) & NEVER for name in names):
            yield node.lineno


def test_nothing_imports_what_unpickles():
    found = [
        f"{file.relative_to(ROOT).as_posix()}:{line}"
        for file in FILES
        for line in breaches(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert len(FILES) > 200
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "from six.moves import cPickle",
        "def f():\n    import joblib.numpy_pickle",
        "import importlib; importlib.import_module('dill')",
        "__import__('marshal')",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_each_way_to_import_it_is_seen(code):
    assert list(breaches(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["import multiprocessing", "np.load(path, allow_pickle=False)", "x = 'pickle'"]
)
def test_other_things_are_not(code):
    assert not list(breaches(ast.parse(code)))

"""A name with an underscore stays in its module.

An op's is another matter: there it says that the op is not exported. Rules, kernels and programs
name ops wherever they are.
"""

import ast
import importlib.util
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.autodiff import Op

ROOT = Path(mg.__file__).parents[1]
FILES = [f for package in ("minigrad", "jsl") for f in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_private_name_of_another_module_is_used(file):
    assert private_uses(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from minigrad.ops.shaping import _ends, axis_of", ["minigrad.ops.shaping._ends"]),
        ("from minigrad.ops import shaping; shaping._ends", ["minigrad.ops.shaping._ends"]),
        ("from minigrad import graph as heart; heart._nested", ["minigrad.graph._nested"]),
        ("from minigrad.ops.reductions import _centred", []),  # an op
        ("from minigrad.ops import reductions; reductions._centred, reductions.sum", []),
        ("import math; math.__name__; x._mine", []),
    ],
)
def test_private_names_are_found(code, found):
    assert private_uses(code) == found


def private_uses(code):
    """What a file takes from other modules of ours by names with an underscore; full names."""
    tree = ast.parse(code)
    taken, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "minigrad":
            for alias in node.names:
                taken.add((node.module, alias.name))
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    taken |= {
        (modules[node.value.id], node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and is_module(modules.get(node.value.id))
    }
    return sorted(
        f"{module}.{name}"
        for module, name in taken
        if name[0] == "_"
        and name[:2] != "__"
        and not isinstance(getattr(importlib.import_module(module), name, None), Op)
    )


def is_module(name):
    """Whether there is a module of that full name."""
    try:
        return name is not None and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of something in a module, which is no package
        return False

"""What a docstring owes: every error that a public function raises by its own hand is named in it.

Read from the `raise` statements themselves, so that a new one cannot be forgotten.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import jsl
import minigrad as mg

# A method that its subclasses write, and a fault of our own: nothing that a caller handles.
UNNAMED = {"AssertionError", "NotImplementedError"}
# Of the special methods, those that one calls; the class may say what they raise. What `+` or
# `len` raise, and `__getattr__`, is Python's own rule.
CALLED = {"__init__", "__post_init__", "__call__", "__getitem__", "__enter__"}


@functools.cache
def definitions(module):
    """The functions and classes that a module writes down, by name."""
    tree = ast.parse(Path(inspect.getfile(sys.modules[module])).read_text("utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def offered(module):
    """What a module shows: its `__all__`, or what it defines without an underscore."""
    return getattr(module, "__all__", [n for n in definitions(module.__name__) if n[0] != "_"])


def ours(value):
    return (getattr(value, "__module__", None) or "").partition(".")[0] in ("minigrad", "jsl")


@functools.cache
def public():
    """(module, name) of every function and class that can be reached from the packages."""
    # Errors of the command line end as a message and an exit code; its docstrings are its help.
    names = {m.name for m in pkgutil.iter_modules(jsl.__path__)} - {"__main__", "cli"}
    waiting = [importlib.import_module(f"jsl.{name}") for name in names]
    for package in (mg.ops, mg.kernels, mg.programs):
        names = [m.name for m in pkgutil.iter_modules(package.__path__)]
        waiting += [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    waiting += [mg, mg.data, mg.export, mg.learner, mg.nn.functional, mg.nn.utils]
    waiting += [mg.reference, mg.testing]
    modules, found = set(), set()
    while waiting:
        module = waiting.pop()
        if module.__name__ in modules:
            continue
        modules.add(module.__name__)
        for name in offered(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                waiting.append(value)
            elif name in definitions(module.__name__):
                found.add((module.__name__, name))
            elif ours(value):
                found.add((value.__module__, value.__name__))
            if inspect.isclass(value):  # and its methods, from wherever they are
                parts = [part for kind in value.__mro__ for part in (kind, *vars(kind).values())]
                written = [p for p in parts if hasattr(p, "__qualname__") and ours(p)]
                found |= {(p.__module__, p.__qualname__) for p in written}
    return sorted({(home, name.partition(".")[0]) for home, name in found})


def raised(function):
    """The names of the classes in its `raise X(...)`; `raise error` passes on what it caught."""
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(called).rpartition(".")[2]
            if name[0].isupper() and name not in UNNAMED:
                yield name


def owed(function, said):
    """The classes that `function` raises and a docstring, `said`, does not name."""
    return {name for name in raised(function) if not re.search(rf"\b{name}\b", said or "")}


def debts(module, name):
    """What a function, or a class with its methods, does not name: (who, which classes)."""
    node, value = definitions(module)[name], getattr(sys.modules[module], name)
    if isinstance(node, ast.FunctionDef):
        found = [(name, owed(node, ast.get_docstring(node)))]
    else:
        found = []
        for method in [part for part in node.body if isinstance(part, ast.FunctionDef)]:
            # A method without a docstring has that of the class above, as help() shows it.
            said = inspect.getdoc(getattr(value, method.name)) or ""
            if method.name in CALLED or not ast.get_docstring(method):
                said += value.__doc__ or ""
            if method.name[0] != "_" or method.name in CALLED:
                found.append((f"{name}.{method.name}", owed(method, said)))
    return [(who, names) for who, names in found if names]


@pytest.mark.parametrize("module", sorted({module for module, _ in public()}))
def test_docstrings_name_what_is_raised(module):
    names = [name for home, name in public() if home == module and name in definitions(home)]
    assert [debt for name in names for debt in debts(module, name)] == []


def test_a_docstring_that_owes_is_seen():
    [function] = ast.parse(
        'def f(x):\n    """Raises ShapeError."""\n'
        "    if x:\n        raise ShapeError(x)\n    raise errors.DtypeError"
    ).body
    assert owed(function, ast.get_docstring(function)) == {"DtypeError"}
    assert {"Tensor", "softmax", "where", "Learner", "DataLoader", "checkpoint"} <= {
        name for _, name in public()
    }

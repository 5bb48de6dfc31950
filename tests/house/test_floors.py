"""The floors of the house: imports go down only, and `import minigrad` is light.

Read from the import statements themselves, so that a picture in a docstring cannot go stale.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(mg.__file__).parents[1]

# A name stands for itself and everything in it; the longest name that fits counts.
FLOORS = {
    "minigrad.abstract": 0,
    "minigrad.configuration": 0,
    "minigrad.elsewhere": 0,
    "minigrad.errors": 0,
    "minigrad.arguments": 0,
    "minigrad.backend": 0,
    "minigrad.batched": 0,
    "minigrad.kernels": 0,
    "minigrad.random": 0,
    "minigrad.runs": 0,
    "minigrad.sparse": 0,
    "minigrad.trees": 0,
    "minigrad.writes": 0,
    "minigrad.graph": 1,
    "minigrad.operations": 1,
    "minigrad.autodiff": 1,
    "minigrad.ops": 2,
    "minigrad.nn": 3,
    "minigrad.optim": 3,
    "minigrad.transforms": 3,
    "minigrad.programs": 3,
    "minigrad.data": 3,
    "minigrad.observers": 3,
    "minigrad.reference": 5,
    "minigrad.testing": 3,
    "minigrad.learner": 4,
    "minigrad.examples": 6,
    "minigrad": 5,  # the public names of all the floors
    "jsl": 6,
}
# Formulas are given `minigrad.ops` as their array module, at run time.
LOOKS_UP = {
    ("minigrad.graph", "minigrad.ops"),
    ("minigrad.testing", "minigrad.reference"),  # when it is run as a command
}
HEAVY = {"cupy", "numba", "scipy", "torch", "click", "rich", "hypothesis"}


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(f): f for package in ("minigrad", "jsl") for f in sorted((ROOT / package).rglob("*.py"))
}


def floor_of(module):
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


def imports_of(module):
    """(what is imported, whether inside a function) for every import of ours in `module`."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for_checkers = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        names = []
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports hide the floor"
            # `from minigrad import ops` imports minigrad.ops if that is a module
            names = [
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            ]
        for name in names:
            if name.partition(".")[0] in ("minigrad", "jsl"):
                yield name, node in inside


@pytest.mark.parametrize("module", [m for m in MODULES if m != "minigrad"])
def test_imports_go_down(module):
    for name, inside in imports_of(module):
        if (module, name) in LOOKS_UP and inside:
            continue
        own = name == module or floor_of(name) == floor_of(module)
        assert own or floor_of(name) < floor_of(module), f"{module} imports {name} from above"


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] == "jsl"])
def test_the_application_uses_public_names_only(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "minigrad":
            names = [alias.name for alias in node.names]
            assert not [n for n in (*names, *node.module.split(".")) if n.startswith("_")]


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_test_is_imported(file):
    """What several tests need is in `tests/support.py` or a conftest."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        parts = {part for name in names for part in name.split(".")}
        assert not [part for part in parts if part.startswith("test_")]


def test_every_module_is_on_a_floor():
    forgotten = {
        m for m in MODULES if m.startswith("minigrad.") and floor_of(m) == FLOORS["minigrad"]
    }
    above = {"minigrad.reference", *(m for m in MODULES if m.startswith("minigrad.examples"))}
    assert forgotten <= above


def fresh(code):
    """What `code` prints as JSON in a new process."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


EACH_ALONE = """
import importlib, json, sys
import numpy, click, rich, numba  # from elsewhere: loaded once, as they take the time

failed = {{}}
for name in {names!r}:
    for loaded in [m for m in sys.modules if m.partition(".")[0] in ("minigrad", "jsl")]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""


def test_each_module_imports_alone():
    names = [
        m for m in MODULES if not m.startswith("minigrad.examples") and not m.endswith("__main__")
    ]
    assert fresh(EACH_ALONE.format(names=names)) == {}


@pytest.mark.parametrize("module", ["minigrad", "minigrad.testing"])
def test_importing_minigrad_is_light(module):
    loaded = fresh(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    assert not HEAVY & set(loaded)


def test_ordinary_ops_need_nothing_heavy():
    code = "import json, sys, minigrad as mg; x = mg.ones((2, 2), requires_grad=True); "
    code += "mg.gelu(x @ x, approximate='tanh').sum().backward(); "
    code += "print(json.dumps(sorted(sys.modules)))"
    assert not HEAVY & set(fresh(code))


def test_no_file_is_named_like_a_public_function():
    for package in [m for m, file in MODULES.items() if file.stem == "__init__"]:
        files = {m.rpartition(".")[2] for m in MODULES if m.rpartition(".")[0] == package}
        namespace = vars(sys.modules[package]) if package in sys.modules else {}
        for name in files:
            found = namespace.get(name)
            is_module = found is None or getattr(found, "__name__", "") == f"{package}.{name}"
            assert is_module, f"{package}.{name} is a file and a {type(found).__name__}"


def test_public_names_exist_and_are_listed():
    assert len(mg.__all__) == len(set(mg.__all__))
    assert [name for name in mg.__all__ if not hasattr(mg, name)] == []
    assert [name for name in mg.__all__ if not getattr(mg, name).__doc__] == []


def test_ops_register_in_one_place_each():
    for name, op in mg.autodiff.REGISTRY.items():
        if not name.startswith("_"):
            assert name in (*mg.ops.__all__, *mg.linalg.__all__), f"{name} is not exported"
            assert op.__doc__, f"{name} has no docstring"

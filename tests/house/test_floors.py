"""The floors of the house: imports go down only, and `import minigrad` is light.

Read from the import statements themselves, and compared with the picture that `minigrad` draws.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
import types
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(mg.__file__).parents[1]

# A name stands for itself and everything in it; the longest name that fits counts. The docstring of
# `minigrad` draws the same.
FLOORS = {
    8: "jsl minigrad.examples",
    7: "minigrad.study",
    # `minigrad`: the public names of all
    6: "minigrad minigrad.comparing minigrad.reference minigrad.testing",
    5: "minigrad.learner minigrad.export",
    4: (
        "minigrad.nn minigrad.optim minigrad.data minigrad.transforms minigrad.programs "
        "minigrad.observers"
    ),
    3: "minigrad.ops minigrad.distributed",
    2: "minigrad.graph minigrad.operations minigrad.autodiff",
    1: "minigrad.kernels minigrad.configuration",
    0: (
        "minigrad.abstract minigrad.arguments minigrad.backend minigrad.batched "
        "minigrad.devices minigrad.elsewhere minigrad.errors minigrad.memory minigrad.precision "
        "minigrad.random minigrad.runs minigrad.sparse minigrad.trees minigrad.writes"
    ),
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
HEAVY = {"cupy", "mpi4py", "numba", "scipy", "torch", "click", "rich", "hypothesis", "onnx"}


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(f): f for package in ("minigrad", "jsl") for f in sorted((ROOT / package).rglob("*.py"))
}


def floor_of(module):
    while module not in FLOOR_OF:
        module = module.rpartition(".")[0]
    return FLOOR_OF[module]


def imports_of(module):
    """What of ours is imported in `module` at run time, inside functions too.

    That a module's packages are run before it is not counted: they hold it.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_checkers = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative imports hide the floor"
            # `from minigrad import ops` imports minigrad.ops if that is a module
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            }
    return {name for name in found if name.partition(".")[0] in ("minigrad", "jsl")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    for name in imports_of(module):
        assert floor_of(name) <= floor_of(module), f"{module} imports {name} from above"


def circle_in(imports):
    """The first circle in {module: what it imports}, from a module back to itself; or None."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]


def test_no_imports_run_in_a_circle():
    imports = {
        module: {name for name in imports_of(module) if name != module} for module in MODULES
    }
    assert circle_in(imports) is None


def test_a_circle_is_seen():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"d"}}) is None
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def test_the_picture_shows_the_floors():
    drawn, floor = {}, None
    for number, names in re.findall(r"^ {4}(\d| )  ([\w ]+):", mg.__doc__, re.M):
        floor = int(number) if number.strip() else floor  # a line without one goes on
        drawn.setdefault(floor, set()).update(names.split())
    assert drawn == {
        floor: {name.removeprefix("minigrad.") for name in listed.split()} - {"minigrad"}
        for floor, listed in FLOORS.items()
    }


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] == "jsl"])
def test_the_application_uses_public_names_only(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert hidden_uses(tree) == []


@pytest.mark.parametrize(
    ("code", "hidden"),
    [
        ("from minigrad import nn, no_grad; nn.Linear, nn.functional.relu", []),
        ("import minigrad; minigrad.__version__, minigrad.kernels.use(True)", []),
        ("from minigrad.learner import Learner, Callback", []),
        ("import minigrad.runs as files; files.save_json", []),
        ("from minigrad.kernels import norms", ["minigrad.kernels.norms"]),
        ("from minigrad import kernels; kernels.find('exp')", ["minigrad.kernels.find"]),
        ("import minigrad; minigrad.backend.modes.get()", ["minigrad.backend.modes"]),
        ("from minigrad.learner.compiled import Compiled", ["minigrad.learner.compiled.Compiled"]),
        ("from minigrad import trees", ["minigrad.trees"]),
        ("import minigrad.kernels.norms", ["minigrad.kernels.norms"]),
        ("from minigrad import nn; nn.module.x", ["minigrad.nn.module", "minigrad.nn.module.x"]),
    ],
)
def test_names_that_are_not_public_are_found(code, hidden):
    assert hidden_uses(ast.parse(code)) == hidden


def hidden_uses(tree):
    """What a file takes from minigrad's modules that is in no `__all__`; full names."""

    def public(module, name):
        return name in getattr(importlib.import_module(module), "__all__", ()) or name[:2] == "__"

    return sorted({f"{module}.{name}" for module, name in uses(tree) if not public(module, name)})


def uses(tree):
    """(module, name) of what a file imports from minigrad, and of attributes of its modules."""
    modules = {}  # what names in the file stand for, wherever they are bound
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "minigrad":
                    name = alias.name if alias.asname else "minigrad"
                    modules[alias.asname or "minigrad"] = importlib.import_module(name)
                    if "." in alias.name:
                        yield alias.name.rsplit(".", 1)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "minigrad":
            for alias in node.names:
                yield node.module, alias.name
                found = getattr(importlib.import_module(node.module), alias.name, None)
                if isinstance(found, types.ModuleType):
                    modules[alias.asname or alias.name] = found

    def module_of(node):
        if isinstance(node, ast.Name):
            return modules.get(node.id)
        if isinstance(node, ast.Attribute) and (above := module_of(node.value)) is not None:
            found = getattr(above, node.attr, None)
            ours = getattr(found, "__name__", "").split(".")[0] == "minigrad"
            return found if isinstance(found, types.ModuleType) and ours else None
        return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (module := module_of(node.value)) is not None:
            yield module.__name__, node.attr


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


def test_every_module_is_on_a_floor_of_its_own():
    forgotten = {m for m in MODULES if m not in FLOOR_OF and m.rpartition(".")[0] == "minigrad"}
    assert not forgotten, "as `minigrad` itself, on the floor of all public names"


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


def test_each_package_and_file_at_the_top_imports_alone():
    names = [m for m in MODULES if m.count(".") <= 1 and not m.endswith("__main__")]
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

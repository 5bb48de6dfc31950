"""What the page says of adding a fast op is done, in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "minigrad" / "README.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Adding a fast op") :].split("\n## ")[0]
PARTS = re.findall(r"^```py\n# (\S+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)

IN_A_PROGRAM = """
import numpy as np

import minigrad as mg
from minigrad.kernels import warming

assert "squareplus" in warming.names_of("all")
assert mg.explain(mg.squareplus, np.ones(3, "float32")).endswith(": kernel")
fast = mg.jit(lambda x: mg.squareplus(x, b=1.0))
for seed in range(3):
    x = np.random.default_rng(seed).standard_normal((40, 77)).astype("float32")
    y = (x + np.sqrt(x * x + 1)) / 2
    np.testing.assert_allclose(fast(x).numpy(), y, rtol=1e-6, atol=1e-7)
print(fast.program())
"""


def test_it_takes_few_lines_in_few_files():
    """The fifth file is `tested.json`, in which a line is written by the tests."""
    lines = [line for _, code in PARTS for line in code.splitlines() if line.strip()]
    assert len({file for file, _ in PARTS}) == len(PARTS) == 4
    assert 0 < len(lines) < 50


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what is needed, with the parts of the page at the ends of their files."""
    tree = tmp_path_factory.mktemp("tree")
    without = shutil.ignore_patterns("__pycache__")
    for folder in ("minigrad", "tests"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=without)
    shutil.copy2(ROOT / "pyproject.toml", tree)
    for name, code in PARTS:
        file = tree / name
        file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{code}", encoding="utf-8")
    return tree


def run(tree, *arguments):
    environment = os.environ | {
        "PYTHONPATH": str(tree), "MINIGRAD_KERNELS": "1", "MINIGRAD_BACKEND": "numpy"
    }  # fmt: skip
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree, env=environment, capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_table_of_ops_proves_it(tree, monkeypatch):
    """The value by the slow loop, derivatives, the kernel, and what a program gives."""
    [command] = re.findall(r"`MINIGRAD_WRITE_TESTED=1 python (-m pytest (\S+))`", SECTION)
    monkeypatch.setenv("MINIGRAD_WRITE_TESTED", "1")
    files = command[1], "tests/programs/test_capture_ops.py"
    ours = [f"{file}::test_op[squareplus]" for file in files]
    said = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ours)
    assert "2 passed" in said
    known = (ROOT / "minigrad" / "tested.json").read_text(encoding="utf-8").splitlines()
    found = (tree / "minigrad" / "tested.json").read_text(encoding="utf-8").splitlines()
    [line] = set(found) - set(known)
    assert "squareplus" in line


def test_it_is_a_kernel_in_a_program(tree):
    assert re.search(r"kernel +squareplus +float32\[40, 77\]", run(tree, "-c", IN_A_PROGRAM))

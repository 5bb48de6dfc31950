"""The table of ops and the reference page, and what editors and type checkers see."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg
from minigrad import reference
from minigrad.errors import RunError


def command(*arguments, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "minigrad.testing", *arguments],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_table_has_a_line_for_every_op():
    lines = command().splitlines()
    assert lines[0].split() == list(reference.COLUMNS)
    table = {line.split()[0]: line for line in lines[1:]}
    assert {*mg.ops.__all__} - {*mg.ops.MODULES} <= set(table)
    ours = {name for name in mg.autodiff.REGISTRY if name[0] != "_" and "." not in name}
    assert ours <= {name.removeprefix("linalg.") for name in table}
    assert re.search(r"composite +rule +Numba +.*float32.* 2 +batched", table["softmax"])
    assert re.search(r"primitive +no gradient", table["argmax"])
    assert table["nonzero"].endswith("refused")


def test_the_page_has_formula_rule_and_kernel(tmp_path):
    path = Path(command("--docs", "pages", cwd=tmp_path).strip())
    page = (tmp_path / path).read_text(encoding="utf-8")
    [section] = re.findall(r'<section id="softmax">.*?</section>', page, re.DOTALL)
    assert "softmax(x, *, axis=-1, dtype=None)" in section
    assert "scaled to sum to one" in section
    for title in ("formula", "rule", "Numba kernel"):
        assert f"<summary>{title}</summary>" in section
    assert "softmax_grad(g, y, axis=axis)" in section
    assert page.count("<section") == len(list(reference.names()))
    assert 'type="search"' in page
    assert not re.search(r"(src|href)=", page), "it needs no network"


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--docs: cannot make the directory"):
        reference.write_docs(tmp_path / "file" / "pages")


SEEN = """
import minigrad as mg
reveal_type(mg.softmax)
x = mg.ones((2, 2))
reveal_type(mg.softmax(x, axis=0))
reveal_type(x.sum())
reveal_type(x.reshape(4) + 1)
mg.softmax(x, axi=0)
"""


def test_a_type_checker_sees_signatures(tmp_path):
    pytest.importorskip("mypy")
    file = tmp_path / "seen.py"
    file.write_text(SEEN)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", "--follow-imports=silent",
         file],
        capture_output=True, text=True, cwd=Path(mg.__file__).parents[1], check=False,
    )  # fmt: skip
    seen = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert seen == [
        "minigrad.operations.Op[[x: Any, *, axis: Any =, dtype: Any =]]",
        *["minigrad.graph.Tensor"] * 3,
    ]
    assert 'Unexpected keyword argument "axi"' in done.stdout

"""Every promise names the tests that prove it, and they exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "minigrad" / "PROMISES.md"


def rows():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]


def test_every_promise_names_a_test_that_exists():
    assert len(rows()) > 10
    for promise, proof, counted in rows():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
        assert named, promise
        assert counted
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in tests, f"{promise}: {path} has no {name}"


def test_the_page_can_be_found():
    assert "PROMISES.md" in (ROOT / "minigrad" / "README.md").read_text(encoding="utf-8")

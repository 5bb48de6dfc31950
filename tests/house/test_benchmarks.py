"""The benchmarks can be found and started; nothing here asserts a time."""

import argparse
import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import harness, pictures, summary
from benchmarks.__main__ import BENCHMARKS, parse
from jsl.translate import Translator
from minigrad.autodiff import REGISTRY

FOLDER = Path(harness.__file__).parent


def test_the_command_line_lists_every_benchmark():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    no_benchmarks = {"__init__", "__main__", "harness", "pictures", "summary"}
    modules = {p.stem for p in FOLDER.glob("*.py")} - no_benchmarks
    assert modules == set(BENCHMARKS)
    for name in modules:
        assert name in shown
        assert importlib.util.find_spec(f"benchmarks.{name}")


def test_a_benchmark_that_is_not_there_is_refused(capsys):
    assert parse(["groups", "memory"]).names == ["groups", "memory"]
    with pytest.raises(SystemExit):
        parse(["groups", "speed"])
    assert "no benchmark speed; there are kernels" in capsys.readouterr().err


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_table_shows_its_results(name):
    text = harness.TABLES.read_text(encoding="utf-8")
    value = json.loads((harness.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert f"\n<!-- table: {name} -->\n{harness.shown(value)}\n<!-- end -->\n" in text
    assert f"| `{name}` | " in text


def test_the_readme_has_six_lines_of_the_results():
    shown = harness.summed_up()
    assert shown.count("\n| ") == 1 + len(summary.LINES) == 7
    begin, end = "\n<!-- table: summary -->\n", "\n<!-- end -->\n"
    assert begin + shown + end in harness.README.read_text(encoding="utf-8")


def result(rows, processor="A"):
    return {"machine": {"processor": processor, "cores": 2}, "rows": rows}


def test_a_peer_that_was_not_there_has_no_line():
    ours = {"network": "MNIST", "library": "minigrad", "ms a step": 2.0, "times ours": 1.0}
    theirs = ours | {"library": summary.FUSED, "ms a step": 5.0, "times ours": 2.4}
    rows, where = summary.summary({"images": result([ours, theirs])})
    [line] = summary.LINES[2:3]
    assert rows == [
        {"what": line.what, "minigrad": "2 ms", "beside": "5 ms, PyTorch", "times ours": 2.4}
    ]
    assert where == "A, 2 cores"
    assert summary.summary({"images": result([ours])}) == ([], "")


def test_several_machines_are_told_apart():
    ours = {"network": "MNIST", "library": "minigrad", "ms a step": 2.0, "times ours": 1.0}
    theirs = ours | {"library": summary.FUSED}
    chain = {"chain of": "relu(x)", "forward, us an op": 4.0, "PyTorch": 2.0, "ratio": 2.0}
    rows, where = summary.summary(
        {"images": result([ours, theirs]), "overhead": result([chain], "B")}
    )
    assert rows[1]["times ours"] == 0.5
    assert where == "line 1: A, 2 cores; line 2: B, 2 cores"


def test_every_kernel_is_measured():
    """Of those that are called on arrays; some of those of programs are, too."""
    tree = ast.parse((FOLDER / "kernels.py").read_text(encoding="utf-8"))
    measured = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    ours = [op for op in REGISTRY.values() if op.__module__.startswith("minigrad.")]
    named = [op.kernel["numpy"] for op in ours if "numpy" in op.kernel]
    kernels = {getattr(k, "name", k).rpartition(".")[2] for k in named}
    assert len(kernels) > 15
    assert kernels | {"square_sum", "adam_step"} <= measured


def test_candidates_take_turns():
    order = []
    found = harness.measure(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, seconds=0.0
    )
    assert "".join(order) == "aabb" + "ab" * 3
    assert [len(timing.rounds) for timing in found.values()] == [3, 3]
    assert all(timing.median > 0 for timing in found.values())


def test_a_ratio_is_the_median_of_ratios():
    # Round 2 was slow for both; medians alone would give 4 / 2.
    a, b = harness.Timing("a", [3.0, 40.0, 4.0]), harness.Timing("b", [1.0, 20.0, 2.0])
    assert a.ratio(b) == 2
    assert harness.Timing("a", [3.0, 1.0, 8.0]).ratio(harness.Timing("b", [1.0, 1.0, 1.0])) == 3


def test_a_table_in_markdown():
    rows = [{"what": "x", "ms": 1.23456, "n": 3}, {"what": "y", "ms": 12345.6, "n": None}]
    assert harness.table(rows).splitlines() == [
        "| what | ms | n |",
        "| --- | --- | --- |",
        "| x | 1.23 | 3 |",
        "| y | 12346 |  |",
    ]


def test_figures_are_kept_where_the_options_say(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table: t -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(harness, "TABLES", page)
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    given = ["--save", "--json", str(tmp_path / "all.json")]
    options = harness.parser("A test.\n\nMore.", rounds=5, threads=2).parse_args(given)
    assert (options.rounds, options.threads) == (5, 2)
    rows = [{"a": 1.0}]
    harness.finish("t", rows, options, notes=["A note."], size="s")
    assert "| 1 |\n\nA note." in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- table: t -->\n| a |")
    assert text.endswith(")\n<!-- end -->\nafter\n")
    assert "A note." in text
    assert "old" not in text
    for path in (tmp_path / "all.json", tmp_path / "results" / "t.json"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["benchmark"] == "t"
        assert kept["rows"] == rows
        assert kept["size"] == "s"
        assert kept["machine"]["cores"] >= 1


def test_nothing_is_kept_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "write", None)  # a call would fail
    harness.finish("t", [{"a": 1.0}], argparse.Namespace(json=None, save=False))


# ----------------------------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run after two epochs."""
    saved = tmp_path_factory.mktemp("clone") / "models" / "first"
    command = [sys.executable, "-m", "jsl", "train", "--epochs", "2", "--no-jit", "--save", saved]
    subprocess.run(command, capture_output=True, check=True)
    return saved


def texts(svg):
    """What is written in a picture, from top to bottom as it was drawn."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [element.text for element in found]


def test_a_run_is_drawn_as_the_readme_says(trained, monkeypatch):
    [said] = re.findall(r"-m benchmarks\.pictures ([^`]*)`", harness.README.read_text("utf-8"))
    monkeypatch.chdir(trained.parents[1])
    monkeypatch.setattr(sys, "argv", ["pictures", *said.split()])
    pictures.main()
    drawn = texts(Path("picture.svg").read_text(encoding="utf-8"))
    assert "loss per token" in drawn
    at = drawn.index("わ")
    assert drawn[at : at + 9] == [*"わたしはたべます", pictures.END]
    assert drawn[-1] == pictures.END


def test_attention_is_a_share_for_each_symbol(trained):
    translator = Translator(trained)
    for group in translator.groups:
        weights, rows, columns = pictures.attention(translator, "ありがとう", group)
        assert weights.shape == (len(rows), len(columns))
        assert columns == [*"ありがとう", pictures.END]
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_the_picture_in_the_readme_is_of_the_main_job():
    drawn = texts((FOLDER / "results" / "first_run.svg").read_text(encoding="utf-8"))
    assert "200" in drawn  # epochs
    assert drawn[-3:] == ["<私>", "<食べる>", pictures.END]

"""The benchmarks can be found and started; nothing here asserts a time."""

import argparse
import ast
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import __main__ as every
from benchmarks import gpu, harness, pictures, summary
from benchmarks.__main__ import BENCHMARKS, parse
from jsl.translate import Translator
from minigrad.autodiff import REGISTRY

FOLDER = Path(harness.__file__).parent


def test_the_command_line_lists_every_benchmark():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    no_benchmarks = {"__init__", "__main__", "device_kernels", "harness", "pictures", "summary"}
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


@pytest.mark.parametrize("name", [*BENCHMARKS, "kernels_cuda"])
def test_every_table_shows_its_results(name):
    text = harness.TABLES.read_text(encoding="utf-8")
    results = harness.RESULTS / f"{name}.json"
    if name in ("gpu", "kernels_cuda") and not results.exists():
        assert f"\n<!-- table: {name} -->\nNothing has been measured on a GPU yet. " in text
    else:
        shown = harness.shown(json.loads(results.read_text(encoding="utf-8")))
        assert f"\n<!-- table: {name} -->\n{shown}\n<!-- end -->\n" in text
    assert f"| `{name}` | " in text or name == "kernels_cuda"


def run_on_the_stand_in(module, *arguments):
    """Standard output of a benchmark on the stand-in for CuPy, and what it writes as JSON."""
    folder = Path(__file__).parents[1] / "standin"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path, "MINIGRAD_KERNELS": "1"}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "found.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json", str(file)]
        found = subprocess.run(
            command, env=env, capture_output=True, encoding="utf-8", cwd=FOLDER.parent
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout, json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.skipif(not shutil.which("g++"), reason="the stand-in compiles kernels by g++")
def test_the_gpu_benchmark_runs_on_the_stand_in():
    said, value = run_on_the_stand_in(
        "gpu", "--small", "--only", "kernels", "attention", "tiny", "--minutes", "3"
    )
    assert value["failed"] == {}
    assert value["small"] is True
    assert value["device"] == "stand-in"
    measured = {row["what"].partition(",")[0] for row in value["rows"]}
    assert {"softmax", "layer_norm_grad", "dropout", "adam_step", "attention"} <= measured
    assert {"step tiny", gpu.HOST} <= measured
    assert all(row["ms"] > 0 for row in value["rows"])
    assert len(value["targets"]) == 8
    assert value["targets"] == gpu.summary(value["rows"])
    assert value["targets"][-1]["met"] in ("yes", "no")
    assert "tiny, float32: minigrad ...\n" in said


@pytest.mark.skipif(not shutil.which("g++"), reason="the stand-in compiles kernels by g++")
def test_kernels_for_cuda_are_measured_on_the_stand_in():
    names = "argmax", "chain of three", "sgd_step", "matmul", "max_windows", "embedding_grad"
    _, value = run_on_the_stand_in("kernels", "--device", "cuda", "--small", "--only", *names)
    assert {row["kernel"] for row in value["rows"]} == set(names)
    assert {row["limit"] for row in value["rows"]} == {"copy", "product"}
    assert all(row["of the limit, %"] > 0 for row in value["rows"])


def test_a_target_is_met_or_not():
    def row(what, library, ratio):
        return {"what": what, "library": library, "theirs / ours": ratio, "ms": 0.04}

    rows = [
        row("step tiny, float32", gpu.EAGER, 21.0),
        row("step long, float32", gpu.EAGER, 7.5),
        row("step long, float32", "JAX, jit", 1.25),
        row("step xl, tf32", gpu.COMPILE, 1.5),
        row("softmax, 8x8, float32", "minigrad", 0.9),
        row("softmax_grad, 8x8, float32", "minigrad", 0.7),
        row(gpu.HOST, "minigrad", None),
    ]
    found = [(line["measured"], line["met"]) for line in gpu.summary(rows)]
    assert found[:4] == [
        ("21 / 7.5", "yes / no"),
        ("1.25", "yes"),
        ("not measured / 1.5", "- / yes"),
        ("not measured / not measured", ""),
    ]
    assert found[4][0].startswith("0.7 / not measured")
    assert found[7] == ("40 us", "yes")


def test_what_takes_too_long_is_broken_off():
    clock = gpu.Clock(1)
    if not hasattr(signal, "setitimer"):
        pytest.skip("Windows has no alarm")
    with pytest.raises(TimeoutError, match="broken off after 0 s"), clock.at_most(0.1):
        time.sleep(5)
    with clock.at_most(0.1):
        pass
    time.sleep(0.15)  # the alarm is off


@pytest.mark.parametrize("command", [["gpu"], ["kernels", "--device", "cuda"]])
def test_without_a_gpu_the_way_out_is_told(command):
    module, *more = command
    code = (
        "import sys, runpy; sys.modules['cupy'] = None; "
        f"sys.argv = ['x', *{more}]; runpy.run_module('benchmarks.{module}', run_name='__main__')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=FOLDER.parent
    )
    assert found.returncode == 1
    assert "needs a GPU: CuPy is not installed" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_all_benchmarks_leave_the_gpu_out_where_there_is_none(monkeypatch, capsys):
    ran = []
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(every, "run", lambda name, *_: ran.append(name) or {})
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    every.main()
    assert ran == [name for name in BENCHMARKS if name != "gpu"]
    assert "left out: gpu, as CuPy is not installed" in capsys.readouterr().out


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

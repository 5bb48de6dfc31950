"""`pytest -m gpu`, and what a user runs on a machine with a GPU; on the stand-in for one."""

import os
import subprocess
import sys

import pytest
from on_device import TESTS

ROOT = TESTS.parent


def run(*command, **environment):
    """A process to which CuPy is the stand-in, and `auto` chooses it."""
    inherited = {k: v for k, v in os.environ.items() if k != "MINIGRAD_BACKEND"}
    path = os.pathsep.join(filter(None, [str(TESTS / "standin"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *command],
        env=inherited | {"PYTHONPATH": path, "MINIGRAD_KERNELS": "0"} | environment,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def selected(*arguments, **environment):
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, **environment)


def test_without_a_device_nothing_passes():
    done = selected("-m", "gpu", "tests/data/test_backend.py", MINIGRAD_BACKEND="numpy")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "-m gpu: backend numpy (MINIGRAD_BACKEND)" in done.stderr
    assert "passed" not in done.stdout


@pytest.mark.parametrize("processes", [[], ["-n", "1"]], ids=["one process", "xdist"])
def test_the_table_is_selected(processes):
    files = ["tests/data/test_backend.py", "tests/ops/test_bfloat16.py", "tests/data/test_files.py"]
    done = selected("-m", "gpu", *processes, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    # Files of data know of no device.
    listed = selected("-m", "gpu", "--collect-only", *files).stdout
    assert "test_bfloat16.py" in listed
    assert "test_files.py" not in listed


def test_the_readme_runs_on_a_device():
    names = [
        "test_the_python_prints_what_it_says[README]",
        "test_every_call_of_the_table_of_idioms_runs",
    ]
    done = selected(*(f"tests/house/test_readme.py::{name}" for name in names))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_benchmarks_measure_on_the_processor():
    done = run("-m", "benchmarks.jacobians", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("On the processor; ")
    assert "vmap(jacrev(f))" in done.stdout

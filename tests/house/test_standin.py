"""The device half of minigrad without a device: tests that run under a strict stand-in for CuPy.

`tests/standin/cupy` says what the stand-in is. It must be there before minigrad asks for CuPy, so
these tests run in processes of their own.
"""

import os
import re
import subprocess
import sys

import pytest
from on_device import FILES, HOST_FILES, HOST_ONLY, LONG, PATTERNS, TESTS, name_of


@pytest.mark.parametrize("pattern", PATTERNS + HOST_FILES + LONG)
def test_every_pattern_has_a_file(pattern):
    assert list(TESTS.glob(pattern))


READ_ONLY = [
    "nn/test_modules.py",
    "ops/test_table.py",
]


def test_on_arrays_that_may_not_be_written_to():
    run([TESTS / name for name in READ_ONLY], {"MINIGRAD_BACKEND": "numpy"}, "-p", "read_only")


# A process for each: starting one takes as long as the tests of a file.
GROUPS = {
    "the table of ops": lambda name: name == "ops/test_table.py",
    "other ops and the engine": lambda name: name.startswith(("ops/", "engine/", "standin/")),
    "layers": lambda name: name.startswith("nn/"),
    "the rest": lambda name: not name.startswith("cuda/"),
}
GROUPS |= {name_of(path): name_of(path).__eq__ for path in sorted(TESTS.glob("cuda/test_*.py"))}


@pytest.mark.parametrize("group", GROUPS)
def test_under_the_stand_in(group):
    def first(path):
        return next(g for g, holds in GROUPS.items() if holds(name_of(path)))

    environment = {"MINIGRAD_BACKEND": "cupy"}
    if group.startswith("cuda/"):  # which are the kernels' own; without a C++ compiler they fail
        environment["MINIGRAD_KERNELS"] = "1"
    summary = run([p for p in FILES if first(p) == group], environment)
    assert "skipped" not in summary, summary


def run(paths, environment, *options):
    """Run the tests of some files in a process, on the stand-in but for HOST_ONLY; its summary."""
    deselected = []
    for path in paths if environment["MINIGRAD_BACKEND"] == "cupy" else ():
        source = path.read_text(encoding="utf-8")
        for name in HOST_ONLY.get(name_of(path), []):
            assert f"def {name.partition('[')[0]}(" in source, "HOST_ONLY is stale"
            deselected.append(f"{path.relative_to(TESTS.parent).as_posix()}::{name}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, "-q", "-p", "no:cacheprovider"]
        + ["-p", "few_examples", "-m", "not peer and not slow"]  # PyTorch is on the host
        + list(options)
        + [f"--deselect={name}" for name in deselected],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(TESTS / "standin"), os.environ.get("PYTHONPATH")])
            ),
            "MINIGRAD_KERNELS": "0",  # the formulas are looked at
        }
        | environment,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert re.search(r"\b[1-9]\d* passed", summary), summary
    return summary

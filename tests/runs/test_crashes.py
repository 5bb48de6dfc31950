"""Whoever is killed or fails while saving leaves the old state or the new one, whole.

`crashing.py` is what they run: a process that forks others and kills them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

HERE = Path(__file__).parent


def run(name, count=1):
    """What `crashing.py` has counted."""
    command = [sys.executable, str(HERE / "crashing.py"), name, str(count)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, timeout=600
    )
    assert found.returncode == 0, found.stderr[-4000:]
    counts = json.loads(found.stdout)
    print(f"{name}: {counts}")
    if "skipped" in counts:
        pytest.skip(counts["skipped"])
    return counts


def every(number):
    """All, or in the short set every so many."""
    return pytest.mark.parametrize(
        "every", [number, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"]
    )


def times(few, many):
    return pytest.mark.parametrize(
        "count", [few, pytest.param(many, marks=pytest.mark.slow)], ids=["few", "many"]
    )


@every(5)
def test_killed_before_or_after_any_step_of_a_save(every):
    """mkdir, open, write (in halves), fsync, chmod, rename, replace, unlink, rmdir."""
    counts = run("kill_everywhere", every)
    assert counts["kills"] >= 300 / every
    assert counts["old"] > 0 < counts["new"]
    assert {"mkdir", "write", "fsync", "rename", "replace", "unlink", "rmdir"} <= set(
        counts["steps"]
    )


@times(5, 100)
def test_killed_in_a_save_and_again_in_the_one_that_cleans_up(count):
    assert run("kill_twice", count)["kills"] == 2 * count


@times(10, 200)
def test_killed_at_any_instant(count):
    counts = run("kill_at_random", count)
    assert counts["kills"] == count
    if count > 100:
        assert counts["saves"] > 10


@every(5)
def test_errors_of_the_system_at_any_step(every):
    """A full disk, an input or output error, permission lost, a disk that is read-only."""
    counts = run("fail_everywhere", every)
    assert counts["failures"] >= 300 / every
    assert counts["told"] > counts["failures"] / 2


def test_a_disk_that_is_full():
    assert run("full_disk")["told"] > 3


def test_a_directory_that_is_read_only_or_becomes_so():
    run("read_only")


@times(30, 300)
def test_two_writers_and_a_reader(count):
    """One of two gets an error, and who reads meanwhile never sees files of two saves."""
    counts = run("two_writers", count)
    assert counts["saves"] + counts["refused"] == 2 * count
    assert counts["saves"] > 0


def test_one_of_two_is_refused_and_the_killed_hold_no_lock():
    run("one_is_refused")

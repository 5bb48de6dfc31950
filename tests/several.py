"""Programs that several MPI processes run together, for tests: `run(2, program)`.

MPI is that of the test extra. Where there is none the tests fail: a machine that cannot run them
has not tested anything.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = "libmpi.so.12", "libmpi.so.40", "libmpi.so", "libmpi.12.dylib", "libmpi.dylib"


@dataclass
class Finished:
    """What came of a program.

    Attributes:
        code: the exit status of mpiexec.
        text: standard output and errors of all processes.
        found: what each process gave, by rank; None for who gave nothing.
    """

    code: int
    text: str
    found: list


@cache
def installed():
    """(mpiexec, library) of an MPI that was installed from the package index."""
    for name in ("mpich", "impi-rt", "openmpi"):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        by_name = {f.name: Path(f.locate()).resolve() for f in files}
        starter = by_name.get("mpiexec") or by_name.get("mpiexec.exe")
        library = next((by_name[n] for n in LIBRARIES if n in by_name), None)
        if starter is not None:
            return starter, library
    return None


def run(processes, program, *arguments, limit=60, **environment):
    """Have `processes` run a program (a text), or what follows "-m"; 0: one without MPI."""
    found = installed()
    if found is None:
        pytest.fail("no mpiexec of the package index is installed; pip install -e .[test]")
    starter, library = found
    folder = Path(os.environ["SEVERAL_FOLDER"])
    for old in folder.glob("*.json"):
        old.unlink()
    if program == "-m":
        command = ["-m", *map(str, arguments)]
    else:
        script = folder / "program.py"
        script.write_text(program, encoding="utf-8")
        command = [str(script), *map(str, arguments)]
    env = {
        **os.environ,
        "I_MPI_FABRICS": "shm",  # no network is needed, and in a sandbox there is none
        "FI_PROVIDER": "tcp",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "MINIGRAD_DISTRIBUTED_TIMEOUT": "20",
        "MINIGRAD_BACKEND": "numpy",
        "MINIGRAD_KERNELS": "0",
        "LC_ALL": "C.UTF-8",  # messages in English
        "OPENBLAS_NUM_THREADS": "1",
    }
    if library is not None:
        env["MPI4PY_LIBMPI"] = str(library)
    env |= {name: str(value) for name, value in environment.items()}
    start = [str(starter), "-n", str(processes)] if processes else []
    done = subprocess.run(
        [*start, sys.executable, *command], env=env, cwd=ROOT, capture_output=True, timeout=limit
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    gave = [folder / f"{rank}.json" for rank in range(max(processes, 1))]
    results = [json.loads(f.read_text(encoding="utf-8")) if f.exists() else None for f in gave]
    return Finished(done.returncode, text, results)


def alone(program, *arguments):
    """What the program gives in a process that no mpiexec has started."""
    finished = run(0, program, *arguments)
    assert finished.code == 0, finished.text
    return finished.found[0]


def give(result):
    """Called in a program: what the test gets of this process."""
    from minigrad import distributed

    file = Path(os.environ["SEVERAL_FOLDER"]) / f"{distributed.rank()}.json"
    file.write_text(json.dumps(result), encoding="utf-8")

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

import numpy as np
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


def equal_trainings(found, wanted):
    """That all processes have what one has, but for rounding."""
    for mine in found:
        assert mine["weights"].keys() == wanted["weights"].keys()
        for name, w in wanted["weights"].items():
            np.testing.assert_allclose(mine["weights"][name], w, rtol=1e-8, atol=1e-9, err_msg=name)
        for a, b in zip(mine["history"], wanted["history"], strict=True):
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-8, err_msg=name)
        assert mine["predicted"] == 23
        assert mine["steps"] == wanted["steps"]


def give(result):
    """Called in a program: what the test gets of this process."""
    from minigrad import distributed

    file = Path(os.environ["SEVERAL_FOLDER"]) / f"{distributed.rank()}.json"
    file.write_text(json.dumps(result), encoding="utf-8")


# Trains by options, a JSON text, and gives what came of it.
TRAINING = """
import json, os, sys
import numpy as np
import minigrad as mg
from minigrad import data, distributed, nn, optim
from minigrad.learner import Accuracy, Checkpoint, JSONLog, Learner
from several import give

options = json.loads(sys.argv[1])
r = np.random.default_rng(0)
# 23 samples in batches of 5: the last has 3, and of two processes one has more of each
x, y = r.normal(size=(23, 6)), r.integers(0, 3, 23)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(6, 3)
        mine = np.random.default_rng(distributed.rank())  # others in each process, at first
        for p in self.parameters():
            p.data = mg.backend.to_device(mine.normal(size=p.shape) * 0.3)

    def forward(self, x):
        return self.b(mg.tanh(self.a(x)))


class TwoParts(Learner):
    '''Two updates a step, of parts that feed on each other.'''

    def train_step(self, batch):
        x, y = batch
        first = mg.cross_entropy(self.model(x), y)
        figures = {"loss": first, **self.update(first, "a")}
        second = mg.cross_entropy(self.model(x) * 2.0, y)
        return {**figures, "second": second, **self.update(second, "b")}


kind = options.pop("kind", "plain")
fit = options.pop("fit", {})
if kind == "two":
    distributed.init()
    model = Net()
    model.c.requires_grad_(False)
    optimizers = {"a": optim.SGD(model.a, lr=0.1), "b": optim.Adam(model.b, lr=0.01)}
    learner = TwoParts(model, optimizers, verbose=2, **options)
else:
    distributed.init()
    model = Net()
    learner = Learner(
        model, optim.AdamW(model, lr=0.02), loss="cross_entropy", metrics=[Accuracy()],
        verbose=2, callbacks=[Checkpoint(), JSONLog()] if "artifact_dir" in options else [],
        **options,
    )
history = learner.fit((x, y), (x[:7], y[:7]), batch_size=5, **{"epochs": 2, **fit})
give({
    "weights": {n: p.detach().numpy().tolist() for n, p in model.named_parameters()},
    "history": history.epochs,
    "predicted": len(learner.predict(x)),
    "steps": learner.step,
})
"""

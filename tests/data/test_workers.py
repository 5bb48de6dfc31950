"""Loaders with threads and processes: the same batches as without, and no way to hang."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import data, random
from minigrad.data import DataLoader
from minigrad.errors import ShapeError, WorkerError

# What works alike in both; with as few processes as the test can do with, as each takes a while.
BOTH = [{"worker_type": "thread"}, {"worker_type": "process"}]


@pytest.fixture(autouse=True)
def nothing_is_left():
    threads = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    deadline = time.monotonic() + 5  # a thread that sleeps ends after its item
    while ours := {t for t in threading.enumerate() if t.name.startswith("minigrad")} - threads:
        assert time.monotonic() < deadline, ours
        time.sleep(0.01)


class Squares(data.Dataset):
    def __init__(self, n, transform=None):
        self.n, self.transform = n, transform

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        x = float(i * i)
        return (self.transform(x) if self.transform else x), i


def jitter(x, key):
    return x + random.normal(key, ()).item()


Pair = namedtuple("Pair", "image rest")


class Mixed(data.Dataset):
    """Items of all kinds, of sizes that go through the pipe and through shared memory, and grow."""

    def __len__(self):
        return 12

    def __getitem__(self, i):
        side = 40 if i < 6 else 120
        image = np.full((3, side, side), i, np.float32)
        rest = {
            "id": i,
            "name": f"item {i}",
            "none": np.zeros((0, 2), np.int16),
            "flag": i % 2 == 0,
            "list": [mg.Tensor([1.0, i]), np.asfortranarray(np.arange(6).reshape(2, 3) + i)],
        }
        return Pair(image, rest)


def described(batch):
    """Type, dtype and content of everything in a batch."""
    if isinstance(batch, dict):
        return {k: described(v) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch).__name__, [described(v) for v in batch]
    if isinstance(batch, np.ndarray):
        return batch.dtype, batch.tolist()
    return batch


class Faulty(Squares):
    """Fails at 5, in the way that its name says."""

    def __init__(self, how):
        super().__init__(8)
        self.how = how

    def __getitem__(self, i):
        if i != 5:
            return i
        if self.how == "exit":
            os._exit(3)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "unicode":
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")
        if self.how == "group":
            raise ExceptionGroup("several", [ValueError("one")])
        if self.how == "stop":
            raise StopIteration
        raise {"value": ValueError, "key": KeyError, "own": OwnError, "ours": ShapeError}[self.how](
            f"no item {i}"
        )


class OwnError(Exception):
    pass


class Logging(Squares):
    """Writes down which items were asked for, for all processes to see."""

    def __init__(self, n, path):
        super().__init__(n)
        self.path = path

    def __getitem__(self, i):
        with open(self.path, "ab", buffering=0) as file:
            file.write(b"%d\n" % i)
        return i

    def asked(self):
        return [int(line) for line in Path(self.path).read_bytes().split()]


class Sleepy(Squares):
    def __getitem__(self, i):
        # A thread cannot be ended from outside.
        time.sleep(i == 2 and (60 if multiprocessing.parent_process() else 2))
        return i


class Shards(data.IterableDataset):
    num_shards = 3

    def shard(self, i):
        for k in range([5, 2, 9][i]):
            yield 100 * i + k, random.uniform(random.next_key(), ()).item()


class Where(Squares):
    def __getitem__(self, i):
        info = data.get_worker_info()
        return info.id, info.num_workers, mg.backend.get_backend() == "numpy", STARTED[-1]


STARTED = [-1]


def started(worker):
    STARTED.append(worker)


def refuse(worker):
    raise RuntimeError("no start today")


def epochs(loader, n=2):
    return [[described(b) for b in loader.as_numpy_iterator()] for _ in range(n)]


# ------------------------------------------------------------------------------ the same batches


@pytest.mark.parametrize("shuffle", [False, True])
def test_order_and_draws_do_not_depend_on_workers(shuffle):
    dataset = Squares(23, data.Compose([jitter, jitter]))
    expected = epochs(DataLoader(dataset, 4, shuffle, seed=3))
    assert expected[0] != expected[1]
    for workers, kind, keep in ((1, "thread", False), (4, "thread", True), (4, "process", True)):
        options = {"num_workers": workers, "worker_type": kind, "persistent_workers": keep}
        with DataLoader(dataset, 4, shuffle, seed=3, **options) as loader:
            assert epochs(loader) == expected
    if not shuffle:
        assert epochs(DataLoader(dataset, 4, num_workers=1), 1) == epochs(DataLoader(dataset, 4), 1)


def test_batches_of_all_kinds_and_sizes():
    expected = epochs(DataLoader(Mixed(), 3), 1)
    with DataLoader(Mixed(), 3, num_workers=1, persistent_workers=True) as loader:
        assert epochs(loader, 3) == 3 * expected
        [batch, *_] = loader
        assert type(batch) is Pair
        assert type(batch.image) is mg.Tensor
        assert batch.rest["name"] == ["item 0", "item 1", "item 2"]
        first = batch.image
        second = next(iter(loader)).image
        second.data[...] = -1  # nothing is shared with other batches
        assert first.data.max() == 2


def test_streams_do_not_depend_on_workers():
    expected = epochs(DataLoader(Shards(), 2))
    assert expected[0] != expected[1]
    for workers, kind in ((1, "thread"), (2, "thread"), (5, "thread"), (2, "process")):
        loader = DataLoader(
            Shards(), 2, num_workers=workers, worker_type=kind, persistent_workers=True
        )
        with loader:
            assert epochs(loader) == expected


def test_going_on_in_the_midst_of_an_epoch_with_other_workers(tmp_path):
    dataset = Logging(20, tmp_path / "log")
    whole = epochs(DataLoader(dataset, 3, True))
    with DataLoader(dataset, 3, True, num_workers=2) as loader:
        batches = loader.as_numpy_iterator()
        for expected in whole[0][:3]:
            assert described(next(batches)) == expected
        state = loader.state_dict()
        batches.close()
    before = set(np.concatenate([b[1] for b in whole[0][:3]]).tolist())
    (tmp_path / "log").write_bytes(b"")
    other = DataLoader(dataset, 3, True, num_workers=1)
    other.load_state_dict(state)
    assert epochs(other, 1) == [whole[0][3:]]
    assert not before & set(dataset.asked())


@pytest.mark.parametrize("kind", BOTH)
def test_workers_know_who_they_are(kind):
    loader = DataLoader(Where(4), 1, num_workers=2, worker_init_fn=started, as_arrays=True, **kind)
    found = [[x.tolist() for x in b] for b in loader]
    assert [b[:3] for b in found] == [[[i], [2], [True]] for i in (0, 1, 0, 1)]
    if kind["worker_type"] == "process":
        assert [b[3] for b in found] == [[0], [1], [0], [1]]
    assert data.get_worker_info() is None


# --------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("factor", [1, 3])
def test_batches_in_flight_are_bounded(kind, factor, tmp_path):
    dataset = Logging(100, tmp_path / "log")
    (tmp_path / "log").touch()
    loader = DataLoader(dataset, 2, num_workers=2, prefetch_factor=factor, **kind)
    for number, _ in enumerate(loader, start=1):
        ahead = min(100, 2 * (number + 2 * factor))
        if number <= 2:
            deadline = time.monotonic() + 20
            while len(dataset.asked()) < ahead and time.monotonic() < deadline:
                time.sleep(0.01)  # they do get as far as they may
            time.sleep(0.1)
            assert len(dataset.asked()) == ahead
        assert len(dataset.asked()) <= ahead
    assert sorted(dataset.asked()) == list(range(100))


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("how", "kind"),
    [("value", ValueError), ("key", KeyError), ("own", OwnError), ("ours", ShapeError)],
)
def test_errors_of_worker_processes(how, kind):
    with pytest.raises(WorkerError) as raised:
        list(DataLoader(Faulty(how), 2, num_workers=1))
    assert isinstance(raised.value, kind)
    text = str(raised.value)
    assert "worker 0 failed\n\nTraceback" in text
    assert "in __getitem__" in text
    assert "no item 5" in text
    assert "while it loaded item 5" in text


def test_errors_of_a_form_of_their_own():
    with pytest.raises(UnicodeDecodeError, match="worker 0 failed") as raised:
        list(DataLoader(Faulty("unicode"), 2, num_workers=2))
    assert isinstance(raised.value, WorkerError)
    with pytest.raises(WorkerError, match="ExceptionGroup: several"):
        list(DataLoader(Faulty("group"), 2, num_workers=1))
    with pytest.raises(WorkerError, match="while it loaded item 5"):  # no end of the loop
        list(DataLoader(Faulty("stop"), 2, num_workers=1))


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_in_this_process(workers):
    loader = DataLoader(Faulty("value"), 2, num_workers=workers, worker_type="thread")
    with pytest.raises(ValueError, match="no item 5") as raised:
        list(loader)
    assert "while it loaded item 5" in raised.value.__notes__[0]
    seen = []
    with contextlib.suppress(ValueError):
        for batch in loader:
            seen.append(batch.tolist())
    assert seen == [[0, 1], [2, 3]]  # what comes before is not lost


@pytest.mark.parametrize(
    ("how", "ended"), [("exit", "ended with exit code 3"), ("kill", "was killed by SIGKILL")]
)
def test_a_worker_that_dies(how, ended):
    if how == "kill" and sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    batches = iter(DataLoader(Faulty(how), 2, num_workers=2))
    assert [next(batches).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(WorkerError, match=f"worker 0 {ended}, when it was to load the items 4, 5"):
        next(batches)


def test_workers_that_are_killed_from_outside():
    batches = iter(DataLoader(Mixed(), 1, sampler=[11] * 500, num_workers=2))
    next(batches)
    for child in multiprocessing.active_children():
        child.kill()  # perhaps in the midst of a batch
    with pytest.raises(WorkerError, match=r"worker [01] (was killed|ended)"):
        list(batches)


def test_a_loader_can_be_used_again_after_an_error():
    with DataLoader(Faulty("value"), 2, num_workers=1, persistent_workers=True) as loader:
        for _ in range(2):
            with pytest.raises(ValueError, match="no item 5"):
                list(loader)
        assert multiprocessing.active_children() == []


def slow_collate(items):
    if 2 in items:
        Sleepy(4)[2]
    return items


class SleepyStream(data.IterableDataset):
    def __iter__(self):
        return (Sleepy(4)[i] for i in range(4))


@pytest.mark.parametrize("what", ["item", "collate", "stream"])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("kind", BOTH)
def test_waiting_has_an_end(kind, workers, what):
    if kind["worker_type"] == "process" and (workers, what) == (4, "item"):
        pytest.skip("one of four processes is like one of one")
    dataset = {"item": Sleepy(4), "collate": range(4), "stream": SleepyStream()}[what]
    collate = slow_collate if what == "collate" else None
    limit = 0.5 if kind["worker_type"] == "thread" else 1
    loader = DataLoader(dataset, 1, num_workers=workers, timeout=limit, collate_fn=collate, **kind)
    seen = []
    with pytest.raises(WorkerError, match=rf"made no batch within timeout={limit} s"):  # noqa: PT012
        for _ in loader:
            seen.append(began := time.monotonic())
    assert len(seen) == 2  # what comes before is not lost
    assert time.monotonic() - began < limit + (1.4 if kind["worker_type"] == "thread" else 10)


class Stuck(Squares):
    """Its items come when `let` is set."""

    let = threading.Event()

    def __getitem__(self, i):
        assert self.let.wait(60)
        return i


@pytest.mark.parametrize("keep", [False, True])
def test_nobody_waits_for_a_thread_that_is_stuck(keep):
    Stuck.let.clear()
    began = time.monotonic()
    options = {"worker_type": "thread", "persistent_workers": keep, "timeout": 0.2}
    loader = DataLoader(Stuck(9), num_workers=2, prefetch_factor=3, **options)
    with pytest.raises(WorkerError, match=r"timeout=0\.2 s"):
        next(iter(loader))
    batches = iter(loader)
    with pytest.raises(WorkerError):
        next(batches)
    loader.close()
    del loader, batches
    assert time.monotonic() - began < 10
    Stuck.let.set()


def test_a_thread_goes_on_with_the_next_epoch():
    loader = DataLoader(Squares(9), worker_type="thread", num_workers=2, persistent_workers=True)
    with loader:
        next(iter(loader))  # left at once, with batches in flight
        assert [b[1].item() for b in loader] == list(range(9))


class Inner(Squares):
    """Goes through a loader of its own for each item."""

    def __init__(self, **options):
        super().__init__(2)
        self.options = options

    def __getitem__(self, i):
        return sum(b[1].item() for b in DataLoader(Squares(3), **self.options))


def test_a_loader_inside_a_worker():
    with pytest.raises(WorkerError, match=r"a worker process .* itself.*num_workers=0 or"):
        list(DataLoader(Inner(num_workers=1), num_workers=1))
    inner = Inner(num_workers=1, worker_type="thread")
    assert [b.item() for b in DataLoader(inner, num_workers=1)] == [3, 3]


def test_what_cannot_go_to_a_process():
    with pytest.raises(WorkerError, match=r"cannot be pickled.*worker_type='thread'"):
        list(DataLoader(Squares(3, lambda x: x), num_workers=1))
    with pytest.raises(WorkerError, match="no start today"):
        list(DataLoader(Squares(3), num_workers=1, worker_init_fn=refuse))


def test_threads_that_cannot_start_say_why():
    loader = DataLoader(Squares(3), num_workers=2, worker_type="thread", worker_init_fn=refuse)
    with pytest.raises(RuntimeError, match="no start today"):
        list(loader)


# ------------------------------------------------------------------------------ leaving the loop


@pytest.mark.parametrize("kind", BOTH)
def test_leaving_early(kind):
    for error in (None, KeyboardInterrupt):
        with contextlib.suppress(KeyboardInterrupt):
            for _ in DataLoader(Mixed(), 1, num_workers=2, **kind):
                if error:
                    raise error
                break
        assert multiprocessing.active_children() == []


@pytest.mark.parametrize("kind", BOTH)
def test_leaving_early_with_workers_that_stay(kind):
    expected = epochs(DataLoader(Mixed(), 1, True), 3)
    with DataLoader(Mixed(), 1, True, num_workers=1, persistent_workers=True, **kind) as loader:
        for batch in loader.as_numpy_iterator():
            assert described(batch) == expected[0][0]
            break
        assert epochs(loader) == expected[1:]
        if kind["worker_type"] == "process":
            assert len(multiprocessing.active_children()) == 1


def test_a_forgotten_loader_ends_its_workers():
    loader = DataLoader(Squares(4), num_workers=1, persistent_workers=True)
    list(loader)
    del loader
    assert multiprocessing.active_children() == []


def run(tmp_path, script, *arguments, stdin=None):
    """A script in a process of its own: (exit code, what it printed, what it complained about)."""
    file = tmp_path / "script.py"
    file.write_text("from minigrad import data\n" + script, encoding="utf-8")
    command = [sys.executable, "-W", "error", *(arguments or [str(file)])]
    root = str(Path(mg.__file__).parents[1])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=120, cwd=tmp_path,
        input=stdin, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


UNGUARDED = {
    "at the top": "for b in data.DataLoader([1, 2], num_workers=3):\n    print(b)\n",
    "in a function": "def main():\n    list(data.DataLoader([1], num_workers=3))\nmain()\n",
    "fit": (
        "import minigrad as mg, numpy as np\n"
        "pairs = data.TensorDataset(np.ones((4, 2), 'f'), np.ones((4, 1), 'f'))\n"
        "learner = mg.Learner(mg.nn.Linear(2, 1), 'sgd', 'mse_loss', artifact_dir='here')\n"
        "learner.fit(data.DataLoader(pairs, 2, num_workers=3))\n"
    ),
    "imported": "import training\n",
    "under an if of its own": "if data:\n    list(data.DataLoader([1], num_workers=3))\n",
}


@pytest.mark.parametrize("how", UNGUARDED)
def test_a_script_without_its_guard(how, tmp_path):
    (tmp_path / "training.py").write_text(
        "from minigrad import data\nlist(data.DataLoader([1], num_workers=3))\n"
    )
    began = time.monotonic()
    code, printed, said = run(tmp_path, "print('begun')\n" + UNGUARDED[how])
    assert code == 1
    assert said.count("Traceback") == 1
    assert "    if __name__ == '__main__':" in said
    assert "worker_type='thread'" in said
    if how != "under an if of its own":  # where only the processes show it
        assert printed == "begun\n"
        line = {"fit": 6, "in a function": 5}.get(how, 3)
        assert f"line {line} of script.py" in said
    assert time.monotonic() - began < 60


GUARDED = {
    "guard": "if __name__ == '__main__':\n    main()\n",
    "and": "__name__ == '__main__' and main()\n",
    "parent": "import multiprocessing as m\nif m.current_process().name == 'MainProcess': main()\n",
}


@pytest.mark.parametrize("how", [*GUARDED, "package", "module"])
def test_a_script_with_a_guard_of_any_kind(how, tmp_path):
    script = "def main():\n    print([int(b) for b in data.DataLoader([1, 2], num_workers=1)])\n"
    (tmp_path / "pack").mkdir()
    head = "from minigrad import data\n"
    (tmp_path / "pack" / "__main__.py").write_text(f"{head}{script}main()\n")
    (tmp_path / "pack" / "part.py").write_text(f"{head}{script}main()\n")
    if how in GUARDED:
        assert run(tmp_path, script + GUARDED[how]) == (0, "[1, 2]\n", "")
    elif how == "package":  # which a worker does not import
        assert run(tmp_path, "", "-m", "pack") == (0, "[1, 2]\n", "")
    else:
        code, printed, said = run(tmp_path, "", "-m", "pack.part")
        assert (code, printed, said.count("Traceback")) == (1, "", 1)
        assert "line 4 of part.py" in said


def test_scripts_that_are_no_files(tmp_path):
    script = (
        "from minigrad import data\n"
        "print([int(b) for b in data.DataLoader([1, 2], num_workers=1)])\n"
    )
    assert run(tmp_path, "", "-c", script) == (0, "[1, 2]\n", "")
    code, printed, said = run(tmp_path, "", "-", stdin=script)
    assert (code, printed, said.count("Traceback")) == (1, "", 1)
    assert "'<stdin>', is no file" in said


def test_the_end_of_a_script_does_not_wait_for_a_thread(tmp_path):
    script = (
        "import time\nclass Slow(data.Dataset):\n    def __len__(self): return 9\n"
        "    def __getitem__(self, i): time.sleep(100 * (i == 2)); return i\n"
        "options = dict(num_workers=1, worker_type='thread')\n"
        "print(next(iter(data.DataLoader(Slow(), **options))).item())\n"
        "batches = iter(data.DataLoader(Slow(), persistent_workers=True, **options))\n"
        "print(next(batches).item())\n"
    )
    began = time.monotonic()
    assert run(tmp_path, script) == (0, "0\n0\n", "")
    assert time.monotonic() - began < 60


def test_a_class_that_workers_cannot_find(tmp_path):
    script = (
        "from minigrad import data\nclass Own(data.Dataset):\n    def __len__(self): return 3\n"
        "    def __getitem__(self, i): return i\n"
        "print(list(data.DataLoader(Own(), num_workers=1, worker_type='thread')))\n"
        "list(data.DataLoader(Own(), num_workers=1))\n"
    )
    code, printed, said = run(tmp_path, "", "-c", script)
    assert code == 1
    assert printed.startswith("[")
    assert "must be defined in a module" in said


ENDINGS = {
    "exit": "next(iter(loader)); sys.exit(0)",
    "variable": "batches = iter(loader); next(batches); raise SystemExit",
    "ctrl-c": "interrupt()\n    for b in loader: pass",
}


@pytest.mark.parametrize("how", ENDINGS)
def test_the_end_of_a_script_is_quiet(how, tmp_path):
    if how == "ctrl-c" and sys.platform == "win32":
        pytest.skip("Windows has no such signal for one process")
    script = f"""
import multiprocessing, os, signal, sys, threading
class Endless(data.Dataset):
    def __len__(self): return 10**6
    def __getitem__(self, i): return i
def interrupt():
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
if __name__ == "__main__":
  try:
    loader = data.DataLoader(Endless(), num_workers=2, persistent_workers=True)
    {ENDINGS[how]}
  except KeyboardInterrupt:
    print("children:", multiprocessing.active_children())
"""
    code, printed, said = run(tmp_path, script)
    assert (code, said) == (0, "")
    assert printed == ("children: []\n" if how == "ctrl-c" else "")

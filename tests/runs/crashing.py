"""Saves that are killed, or that fail, at every step they take; run by test_crashes.py.

    python crashing.py NAME COUNT

It forks: the child saves and dies, the parent looks at what is there. Prints a JSON object of
counts; exits with an error where a directory holds neither the old state nor the new one.
"""

import builtins
import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from minigrad import runs
from minigrad.errors import RunError

# ---------------------------------------------------------------------------------------- a run


def save(directory, number):
    """Four files: the number in each, and one whose name only this number has."""
    with runs.transaction(directory) as new:
        runs.save_arrays(new / "model.safetensors", {"w": np.full(3000, number)})
        runs.save_json(new / "config.json", {"number": number})
        (new / f"only-{number}.txt").write_text(str(number))


def state(directory):
    """The number of the run, after looking that every file has it; None if there is no run."""
    if not os.path.lexists(directory / "manifest.json") and not (directory / ".commit").exists():
        return None

    def numbers(files):
        found = {runs.load_json(files["config.json"])["number"]}
        found |= set(runs.load_arrays(files["model.safetensors"])["w"].tolist())
        found |= {int(files[name].read_text()) for name in files if name.startswith("only-")}
        assert len(files) == 3, files
        [number] = found
        return number

    return runs.load_together(directory, numbers)


def files_of_a_run(number):
    return {"config.json", "manifest.json", "model.safetensors", f"only-{number}.txt"}


FOREIGN = {"notes.txt": "mine", ".hidden": "mine", "folder/inside.txt": "mine"}


def before_nothing(directory):
    return None


def before_old(directory):
    save(directory, 1)
    return 1


def before_foreign(directory):
    for name, text in FOREIGN.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return None


def before_both(directory):
    before_foreign(directory)
    return before_old(directory)


BEFORE = {f.__name__[7:]: f for f in (before_nothing, before_old, before_foreign, before_both)}


def check(directory, before, old, new):
    """That the state is old or new, foreign files are there, and the next save works; the state."""
    found = state(directory) if directory.is_dir() else None
    assert found in (old, new), f"{found} is neither {old} nor {new}"
    save(directory, 9)
    assert state(directory) == 9
    names = {p.name for p in directory.iterdir()}
    foreign = FOREIGN if before in (before_foreign, before_both) else {}
    assert names == files_of_a_run(9) | {name.split("/")[0] for name in foreign}, names
    for name, text in foreign.items():
        assert (directory / name).read_text() == text
    return found


# ------------------------------------------------------------------------------- one file


def write(directory, number):
    runs.atomic_write(directory / "a", str(number).encode() * 10_000)


def check_file(directory, before, old, new):
    found = None
    if (directory / "a").exists():
        [found] = {int(c) for c in (directory / "a").read_text()}
        assert (directory / "a").stat().st_size == 10_000
    assert found in (old, new)
    write(directory, 9)
    assert [p.name for p in directory.iterdir()] == ["a"]
    return found


def before_old_file(directory):
    directory.mkdir()
    write(directory, 1)
    return 1


def before_no_file(directory):
    directory.mkdir()
    return None


CASES = {f"transaction over {name}": (f, save, check) for name, f in BEFORE.items()} | {
    "atomic_write over old": (before_old_file, write, check_file),
    "atomic_write over nothing": (before_no_file, write, check_file),
}

# ------------------------------------------------------------------------------- the steps

STEPS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "chmod", "open")


@contextmanager
def watched(at):
    """Calls `at(step, do)` in place of every call that changes something; it may call `do()`."""
    real = {name: getattr(os, name) for name in STEPS}

    def wrap(name):
        def call(*args, **kwargs):
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return real[name](*args, **kwargs)
            return at(name, lambda: real[name](*args, **kwargs))

        return call

    def opening(path, mode="r", *args, **kwargs):
        if mode == "rb":
            return builtins.open(path, mode, *args, **kwargs)
        file = at("create", lambda: builtins.open(path, mode, *args, **kwargs))  # noqa: SIM115
        return Writing(file, at)

    for name in STEPS:
        setattr(os, name, wrap(name))
    runs.files.open = opening
    try:
        yield
    finally:
        del runs.files.open
        for name, function in real.items():
            setattr(os, name, function)


class Writing:
    """A file that is written in two halves, each a step."""

    def __init__(self, file, at):
        self._file, self._at = file, at

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        data = bytes(data)
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            self._at("write", lambda half=half: (self._file.write(half), self._file.flush()))
        return len(data)


def steps_of(call, directory):
    taken = []

    def at(name, do):
        taken.append(name)
        return do()

    with watched(at):
        call(directory, 2)
    return taken


def fork(do):
    """Run `do` in a process of its own; how it ended."""
    child = os.fork()
    if not child:
        code = 1
        try:
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(call, directory, number, k, after):
    """A process that is killed before, or just after, its k-th step."""
    seen = [0]

    def at(name, do):
        seen[0] += 1
        if seen[0] - 1 != k:
            return do()
        try:
            if after:
                do()
        finally:  # whether or not there was something to unlink
            die()

    def do():
        with watched(at):
            call(directory, number)

    status = fork(do)
    assert os.WIFSIGNALED(status), f"{directory}: step {k} was not reached ({status})"


def kill_everywhere(home, every):
    """A process killed before and after every step of a save, or every fifth, if that is asked."""
    found = {"kills": 0, "old": 0, "new": 0, "steps": {}}
    for name, (before, call, look) in CASES.items():
        directory = home / name
        before(directory)
        steps = steps_of(call, directory)
        for step in steps:
            found["steps"][step] = found["steps"].get(step, 0) + 1
        for k in range(0, len(steps), every):
            for after in (False, True):
                directory = home / f"{name} {k} {after}"
                old = before(directory)
                killed_at(call, directory, 2, k, after)
                try:
                    state = look(directory, before, old, 2)
                except BaseException as error:
                    error.add_note(f"{name}: killed {'after' if after else 'before'} {steps[k]}")
                    raise
                found["kills"] += 1
                found["new" if state == 2 else "old"] += 1
    assert found["old"]
    assert found["new"]
    return found


def kill_twice(home, count):
    """A save killed at a step, then the next one, which has to clean up, at one of its own."""
    found = {"kills": 0}
    steps = len(steps_of(save, home / "steps"))
    for i in range(count):
        directory = home / f"{i}"
        directory.mkdir()
        states = {before_both(directory)}
        for number in (2, 3):
            k, after = random.randrange(steps), random.random() < 0.5
            with suppress(AssertionError):  # with fewer steps to take it was not killed
                killed_at(save, directory, number, k, after)
            found["kills"] += 1
            now = state(directory)
            assert now in states | {number}, (now, states)
            states = {now}
        check(directory, before_both, now, now)
    return found


def kill_at_random(home, count):
    """kill -9 at some instant of a process that saves again and again: nothing it said is lost."""
    found = {"kills": 0, "saves": 0}
    number = before_both(home)
    while found["kills"] < count:
        done, said = os.pipe()
        child = os.fork()
        if not child:
            try:
                n = number
                while True:
                    n += 1
                    save(home, n)
                    os.write(said, n.to_bytes(4, "little"))
            finally:
                os._exit(1)
        os.close(said)
        time.sleep(random.uniform(0.0, 0.08))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        with open(done, "rb") as file:
            told = file.read()
        last = int.from_bytes(told[-4:], "little") if told else number
        now = state(home)
        assert now in (last, last + 1), (now, last)
        found["kills"] += 1
        found["saves"] += now - number
        number = now
    check(home, before_both, now, now)
    return found


# ------------------------------------------------------------------------------- failures

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)


def fail_everywhere(home, every):
    """An error of the system at every step, once, or from there on; or at every fifth."""
    found = {"failures": 0, "told": 0, "old": 0, "new": 0}
    for name, (before, call, look) in CASES.items():
        directory = home / name
        before(directory)
        steps = steps_of(call, directory)
        for k in range(0, len(steps), every):
            for code, stays in [(CODES[k % 4], False), (CODES[(k + 1) % 4], True)]:
                directory = home / f"{name} {k} {stays}"
                old = before(directory)
                seen = [0]

                def at(step, do, k=k, code=code, stays=stays, seen=seen):
                    seen[0] += 1
                    if seen[0] - 1 == k or (stays and seen[0] - 1 > k):
                        raise OSError(code, os.strerror(code))
                    return do()

                told = False
                try:
                    with watched(at):
                        call(directory, 2)
                except RunError as error:
                    told = True
                    assert str(directory) in str(error), error
                try:
                    state = look(directory, before, old, 2)
                    assert told or state == 2, "nothing was said, and nothing saved"
                except BaseException as error:
                    error.add_note(f"{name}: {errno.errorcode[code]} at {steps[k]}, {stays=}")
                    raise
                found["failures"] += 1
                found["told"] += told
                found["new" if state == 2 else "old"] += 1
    return found


def full_disk(home, _):
    """A small file system that is full, at some place or another."""
    disk = home / "disk"
    disk.mkdir()
    if (
        os.getuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True
        ).returncode
    ):
        return {"skipped": "cannot mount a small file system"}
    found = {"tries": 0, "told": 0}
    try:
        directory = disk / "run"
        for free in range(0, 100_000, 4096):
            save(directory, 1)
            room = os.statvfs(disk)
            filler = disk / "filler"
            filler.write_bytes(b"x" * max(0, room.f_bavail * room.f_frsize - free))
            try:
                save(directory, 2)
            except RunError as error:
                assert "No space left" in str(error)
                found["told"] += 1
                assert state(directory) in (1, 2)
            else:
                assert state(directory) == 2
            filler.unlink()
            found["tries"] += 1
            check(directory, before_old, 1, 2)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert 0 < found["told"] < found["tries"]
    return found


def read_only(home, _):
    """A directory that is not, or no longer, ours to write into."""
    home.chmod(0o755)
    directory = home / "run"
    save(directory, 1)
    assert state(directory) == 1  # all is imported, from where only the administrator may read
    directory.chmod(0o777)

    def try_it():
        if not os.getuid():
            os.setuid(65534)
        with suppress(RunError):
            save(directory, 1)
        if not os.access(directory, os.W_OK):
            try:
                save(directory, 2)
            except RunError as error:
                assert "cannot write into" in str(error)
                assert state(directory) == 1
                return
            raise AssertionError("it was written")
        os.chmod(directory, 0o777)

    directory.chmod(0o555)
    assert fork(try_it) == 0
    directory.chmod(0o755)

    def lose_it():
        with runs.transaction(directory) as new:
            runs.save_json(new / "config.json", {"number": 2})
            directory.chmod(0o555)
            if not os.getuid():
                os.setuid(65534)

    def lose():
        try:
            lose_it()
        except RunError as error:
            assert "Permission denied" in str(error)
            return
        raise AssertionError("it was written")

    assert fork(lose) == 0
    directory.chmod(0o755)
    assert check(directory, before_old, 1, 1) == 1
    return {"tries": 2}


# ------------------------------------------------------------------------------- at once


def two_writers(home, count):
    """Two processes save into one directory, and a third reads: whole states only."""
    directory = home / "run"
    save(directory, 0)

    def writing(first):
        def do():
            refused = 0
            for i in range(count):
                try:
                    save(directory, 2 * i + first)
                except RunError as error:
                    assert "another process is writing" in str(error), error
                    refused += 1
            (home / f"refused-{first}").write_text(str(refused))

        return do

    children = []
    for first in (10, 11):
        child = os.fork()
        if not child:
            try:
                writing(first)()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    reads, seen = 0, set()
    while children:
        seen.add(state(directory))
        reads += 1
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            assert status == 0
            children.remove(child)
    last = state(directory)
    refused = sum(int((home / f"refused-{first}").read_text()) for first in (10, 11))
    names = {p.name for p in directory.iterdir()}
    assert names == files_of_a_run(last), names
    return {"saves": 2 * count - refused, "refused": refused, "reads": reads, "states": len(seen)}


def one_is_refused(home, _):
    """While one process is in its transaction another gets an error; killed, it holds no lock."""
    directory = home / "run"
    save(directory, 1)
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with runs.transaction(directory):
            os.write(tell, b"x")
            time.sleep(60)
    os.read(ready, 1)
    try:
        save(directory, 2)
    except RunError as error:
        assert "another process is writing" in str(error)
    else:
        raise AssertionError("both have written")
    assert state(directory) == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check(directory, before_old, 1, 1)
    return {"tries": 1}


NAMES = (
    kill_everywhere, kill_twice, kill_at_random, fail_everywhere, full_disk, read_only,
    two_writers, one_is_refused,
)  # fmt: skip

if __name__ == "__main__":
    [run] = [f for f in NAMES if f.__name__ == sys.argv[1]]
    random.seed(0)
    # In memory where there is such a place: flushing takes no time, and processes die alike.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as home:
        print(json.dumps(run(Path(home), int(sys.argv[2]))))

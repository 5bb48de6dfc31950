"""Workers: whoever makes batches while the training uses others.

A crew gets tasks, each for one of its workers, and gives back their batches in the order of the
tasks. There are three: no worker at all, threads, and processes. What a task gives depends on the
task alone, so all three give the same.

Processes are started by spawning, on every system: nothing of the parent is inherited, no lock, no
device. The data set goes to them once and batches come back by the transport of `multiprocessing`,
which pickles what is not an array; the bytes of arrays go through memory that both sides see, if
they are many, and through a pipe if they are few.
"""

import ast
import contextlib
import contextvars
import copy
import itertools
import multiprocessing
import multiprocessing.spawn
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from minigrad import backend, random
from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_numpy
from minigrad.data.collating import default_collate, map_leaves
from minigrad.errors import WorkerError


class WorkerInfo(NamedTuple):
    """Which worker runs this code."""

    id: int
    num_workers: int


_here = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """Which worker this code runs in; None outside of workers.

    For messages and the like. What an item is must not depend on it.
    """
    return getattr(_here, "info", None)


# ------------------------------------------------------------------------------------- the work


class Task(NamedTuple):
    """One batch to make: of some indices, or of the next items of one shard of a stream."""

    key: random.Key  # of the seed and epoch
    indices: Any = None
    shard: int = 0
    most: int = 0  # how many items of the shard
    drop_last: bool = False


class Fetcher:
    """Makes the batches of a data set; every worker has one."""

    def __init__(self, dataset: Any, collate: Callable | None):
        self.dataset, self.collate = dataset, collate or default_collate
        # A data set that gathers whole batches leaves nothing to do for a collate_fn: it is asked
        # for items then.
        self.own_collate, self.gathers_batches = collate is not None, False
        self.streams: dict[int, Iterator[Any]] = {}

    def __call__(self, task: Task) -> list[Any]:
        """The batch in a list, or an empty list at the end of a stream."""
        if task.indices is None:
            return self._next_of_stream(task)
        return [self._batch(task.key, task.indices)]

    def begin(self) -> None:
        """Forget the streams of an earlier epoch."""
        self.streams = {}

    def _batch(self, key: random.Key, indices: Any) -> Any:
        gather = getattr(self.dataset, "__getitems__", None)
        numbers = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
        if gather is not None and not (self.own_collate and self.gathers_batches):
            which = indices.tobytes().hex() if isinstance(indices, np.ndarray) else str(numbers)
            with random.stream(random.fold(key, "items", which)), _noting("items", numbers):
                found = gather(numbers)
            if isinstance(found, list):
                return self._collated(found, numbers)
            if not self.own_collate:
                return found
            self.gathers_batches = True
        items, key = [], random.fold(key, "item")
        for index in numbers:
            place = index if isinstance(index, int | str) else repr(index)
            with random.stream(random.fold(key, place)), _noting("item", index):
                items.append(self.dataset[index])
        return self._collated(items, numbers)

    def _collated(self, items: list[Any], numbers: list[Any]) -> Any:
        with _noting("a batch of the items", numbers):
            return self.collate(items)

    def _next_of_stream(self, task: Task) -> list[Any]:
        if task.shard not in self.streams:
            shard = getattr(self.dataset, "shard", None)
            stream = iter(self.dataset) if shard is None else shard(task.shard)
            self.streams[task.shard] = _keyed(stream, task)
        items = list(itertools.islice(self.streams[task.shard], task.most))
        if not items or (task.drop_last and len(items) < task.most):
            return []
        return [self._collated(items, [f"of shard {task.shard}"])]


def _keyed(stream: Iterator[Any], task: Task) -> Iterator[Any]:
    """The items of a stream, each made with its own stream of random keys."""
    stream = iter(stream)
    place, end = 0, object()
    while True:
        key = random.fold(task.key, "shard", task.shard, place)
        with random.stream(key), _noting(f"shard {task.shard}, item", place):
            item = next(stream, end)
        if item is end:
            return
        yield item
        place += 1


class _noting:
    """Errors inside are noted to have come up in that item."""

    def __init__(self, what: str, which: Any):
        self.what, self.which = what, which

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            error.add_note(f"DataLoader: while it loaded {self.what} {self.which}")


# ------------------------------------------------------------------------------------- the crews


class Crew(Protocol):
    """Workers, numbered from 0; results of one worker come in the order of its tasks."""

    size: int

    def submit(self, worker: int, task: Task) -> None: ...

    def result(self, worker: int) -> list[Any]: ...

    def begin(self) -> None:
        """Forget whatever was asked for before."""

    def close(self) -> None:
        """End all workers, and wait for them a while."""


class NoWorkers:
    """A crew without workers: a batch is made when it is asked for."""

    def __init__(self, fetcher: Fetcher):
        self.size, self.fetcher = 1, fetcher
        self.tasks: deque[Task] = deque()

    def submit(self, worker: int, task: Task) -> None:
        self.tasks.append(task)

    def result(self, worker: int) -> list[Any]:
        return self.fetcher(self.tasks.popleft())

    def begin(self) -> None:
        self.tasks.clear()
        self.fetcher.begin()

    def close(self) -> None:
        pass


class Threads:
    """A crew of threads: nothing is copied, and they run side by side where NumPy or reading files
    releases Python's lock.

    A thread cannot be ended from outside. One that is busy when the crew is closed ends after its
    item; nobody waits for it for long, and neither does the end of Python.
    """

    def __init__(self, fetcher: Fetcher, size: int, timeout: float, init: Callable | None):
        self.size, self.timeout, self.run = size, timeout or None, 0
        self.latest = [0]  # the run that counts, for all to see
        # One queue a worker: its tasks are done in order, one at a time.
        self.tasks: list[queue.SimpleQueue] = [queue.SimpleQueue() for _ in range(size)]
        self.found: list[queue.SimpleQueue] = [queue.SimpleQueue() for _ in range(size)]
        self.threads = [
            threading.Thread(
                # Not a method: a crew that is forgotten closes itself. Each has streams of its own.
                target=_fetch,
                args=(copy.copy(fetcher), WorkerInfo(i, size), init, *queues, self.latest),
                name=f"minigrad-data-{i}",
                daemon=True,
            )
            for i, queues in enumerate(zip(self.tasks, self.found, strict=True))
        ]
        self.close = weakref.finalize(self, _dismiss, self.threads, self.tasks, self.latest)
        for thread in self.threads:
            thread.start()

    def submit(self, worker: int, task: Task) -> None:
        # (the context: the backend in force)
        self.tasks[worker].put((self.run, task, contextvars.copy_context()))

    def result(self, worker: int) -> list[Any]:
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                run, batch, error = self.found[worker].get(timeout=left)
            except queue.Empty:
                raise _too_slow(worker, self.timeout or 0) from None
            if error is not None and run in (self.run, None):
                raise error
            if run == self.run:
                return batch

    def begin(self) -> None:
        self.run += 1
        self.latest[0] = self.run


def _fetch(
    fetcher: Fetcher,
    info: WorkerInfo,
    init: Callable | None,
    tasks: queue.SimpleQueue,
    found: queue.SimpleQueue,
    latest: list[int],
) -> None:
    """What a worker thread does: make batches until there is None to make."""
    try:
        _settle(info, init)
    except BaseException as error:  # whatever it is, it belongs to who waits
        found.put((None, None, error))
        return
    known = 0
    while (given := tasks.get()) is not None:
        run, task, context = given
        if run != latest[0]:
            continue  # of an epoch that was left early
        if run != known:
            fetcher.begin()
            known = run
        try:
            found.put((run, context.run(fetcher, task), None))
        except BaseException as error:
            found.put((run, None, error))
        del given, context


def _dismiss(threads: list[threading.Thread], tasks: list[Any], latest: list[int]) -> None:
    latest[0] = -1  # what is still in the queues is left undone
    for each in tasks:
        each.put(None)
    deadline = time.monotonic() + 0.5
    for thread in threads:
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _settle(info: WorkerInfo, init: Callable | None) -> None:
    _here.info = info
    if init is not None:
        init(info.id)


def _too_slow(worker: int, timeout: float) -> WorkerError:
    return WorkerError(f"DataLoader: worker {worker} made no batch within timeout={timeout:g} s")


# ---------------------------------------------------------------------------- processes, this side

LARGE = 1 << 18  # bytes of a batch from which shared memory pays
ALIGNMENT = 64
START = 60  # seconds that a process may take to start, beside the timeout
NAME = "minigrad-data"  # of worker processes
UNGUARDED = 76  # the exit code of one that was told to start workers while it imported the script


class Processes:
    """A crew of processes.

    A worker that dies closes its end of the pipe, which is an end of file here. So a result, or an
    error, always comes.
    """

    def __init__(
        self, fetcher: Fetcher, size: int, depth: int, timeout: float, init: Callable | None
    ):
        self.size, self.timeout, self.run = size, timeout, 0
        _check_startable()
        payload = _packed((fetcher, init))
        context = multiprocessing.get_context("spawn")
        self.processes: list[Any] = []
        self.connections: list[Connection] = []
        self.memories = [SharedPlaces(depth) for _ in range(size)]
        self.tasks: list[deque[Task]] = [deque() for _ in range(size)]
        self.begun = [False] * size  # whether it has come as far as the data set
        self.ready = [False] * size  # and has it
        # Also ends the workers when the crew is forgotten, or Python ends.
        self.close = weakref.finalize(self, _end, self.processes, self.connections, self.memories)
        try:
            for i in range(size):
                here, there = context.Pipe()
                self.connections.append(here)
                with there:  # the worker's end is to be open in the worker only
                    info = WorkerInfo(i, size)
                    process = context.Process(
                        target=serve, args=(there, info), daemon=True, name=f"{NAME}-{i}"
                    )
                    process.start()
                self.processes.append(process)
            for i, connection in enumerate(self.connections):
                with self._watching(i):
                    connection.send_bytes(payload)
        except BaseException:
            self.close()
            raise

    def submit(self, worker: int, task: Task) -> None:
        self.tasks[worker].append(task)
        place = self.memories[worker].next_place()
        # If the worker is dead, `result` says so, after what it had made before.
        with contextlib.suppress(ConnectionError):
            self.connections[worker].send((self.run, task, place))

    def result(self, worker: int) -> list[Any]:
        connection, memory = self.connections[worker], self.memories[worker]
        deadline = time.monotonic() + self.timeout + START * (not self.begun[worker])
        while True:
            with self._watching(worker):
                left = max(0.0, deadline - time.monotonic())
                if self.timeout and not connection.poll(left):
                    raise _too_slow(worker, self.timeout)
                run, kind, content, headers, place = connection.recv()
                if kind == "begun":
                    self.begun[worker] = True
                    deadline = time.monotonic() + self.timeout
                    continue
                self.ready[worker] = True
                arrays = _received(connection, memory, headers, place)
            if run == self.run or kind in ("unpickled", "unsettled"):
                break
        if kind != "batch":
            raise _failed(worker, kind, *content)
        self.tasks[worker].popleft()
        return map_leaves(lambda x: arrays[x.number] if type(x) is Slot else x, content)

    def begin(self) -> None:
        self.run += 1
        for tasks in self.tasks:
            tasks.clear()

    @contextlib.contextmanager
    def _watching(self, worker: int) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            process = self.processes[worker]
            process.join(5)
            if process.exitcode is None:
                raise
            raise WorkerError(self._epitaph(worker, process.exitcode)) from None

    def _epitaph(self, worker: int, code: int | None) -> str:
        if code == UNGUARDED and not self.begun[worker]:
            return (
                f"DataLoader: the main script starts workers where it is imported, too. A {_GUARD}"
            )
        ended = f"ended with exit code {code}"
        if code is not None and code < 0:
            ended = f"was killed by {signal.Signals(-code).name}"
        if self.ready[worker] or not code or code < 0:
            tasks = self.tasks[worker]
            where = f", when it was to load {_name(tasks[0])}" if tasks else ""
            return f"DataLoader: worker {worker} {ended}{where}"
        return (
            f"DataLoader: worker {worker} {ended} before it was ready; what it said is above. A "
            f"{_GUARD}"
        )


_GUARD = (
    "worker process imports the main script anew, so what starts the loop must stand under\n\n"
    "    if __name__ == '__main__':\n\n"
    "and the script must be a file. Or use worker_type='thread', or num_workers=0"
)


def _check_startable() -> None:
    """Raise WorkerError if worker processes cannot be started from here.

    That a script lacks its guard is seen here where that can be seen, before any process has run
    the script again, and printed again what it prints, and written what it writes.
    """
    here = multiprocessing.current_process()
    if getattr(here, "_inheriting", False):  # a spawned process that imports the main script
        if here.name.startswith(NAME):
            os._exit(UNGUARDED)  # its parent says so, once for all
        raise WorkerError(f"DataLoader: the process '{here.name}' is being started. A {_GUARD}")
    if here.daemon:
        raise WorkerError(
            f"DataLoader: this is a worker process ('{here.name}') itself, and a daemonic process "
            "cannot have processes of its own; give the inner DataLoader num_workers=0 or "
            "worker_type='thread'"
        )
    script = multiprocessing.spawn.get_preparation_data("").get("init_main_from_path")
    if script and not Path(script).exists():
        raise WorkerError(
            f"DataLoader: the main script, '{Path(script).name}', is no file that worker processes "
            f"could import. A {_GUARD}"
        )
    if (line := _unguarded_line()) is not None:
        raise WorkerError(
            f"DataLoader: {line} starts worker processes, without its guard. A {_GUARD}"
        )


def _unguarded_line() -> str | None:
    """The place in the main script that led here, if a process that imports it comes by as well.

    None where that is not certain: inside an `if` or the like, whatever it asks.
    """
    main = sys.modules.get("__main__")
    frame = sys._getframe()
    while frame is not None and not (
        frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"
    ):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or getattr(sys, "frozen", False):
        return None
    said = multiprocessing.spawn.get_preparation_data("")
    name, path = said.get("init_main_from_name", ""), said.get("init_main_from_path")
    # Spawning does not import a package's __main__, nor what is no file.
    if name.endswith("__main__") or not (name or path):
        return None
    try:
        tree = ast.parse(Path(frame.f_code.co_filename).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    forks = (ast.If, ast.IfExp, ast.BoolOp, ast.Match, ast.While, ast.Assert)
    for node in ast.walk(tree):
        if isinstance(node, forks) and node.lineno <= frame.f_lineno <= (node.end_lineno or 0):
            return None
    return f"line {frame.f_lineno} of {Path(frame.f_code.co_filename).name}"


def _packed(work: Any) -> Any:
    try:
        return ForkingPickler.dumps(work)
    except Exception as error:  # pickling has no class of its own for what it cannot do
        raise WorkerError(
            f"DataLoader: the data set, its transforms and collate_fn must go to worker processes, "
            f"but cannot be pickled ({error}). Define classes and functions at the top level of a "
            "module (no lambda), keep arrays in place of Tensors, open files when they are first "
            "read; or use worker_type='thread'"
        ) from error


def _name(task: Task) -> str:
    if task.indices is None:
        return f"shard {task.shard}"
    shown = ", ".join(map(str, task.indices[:8])) + (", ..." if len(task.indices) > 8 else "")
    return f"the items {shown}"


def _failed(worker: int, kind: str, text: str, error_type: Any) -> WorkerError:
    """What a worker raised: a WorkerError that is of the worker's own class too, if it can be."""
    message = f"DataLoader: worker {worker} failed\n\n{text}"
    if kind == "unpickled":
        message = (
            f"DataLoader: worker {worker} cannot rebuild the data set. Its class must be defined "
            "in a module that can be imported: an interactive session or a notebook is none. Put "
            f"it into a file, or use worker_type='thread'\n\n{text}"
        )
    # (A StopIteration would end the loop, or be taken for a mistake of the loader's.)
    if error_type is not None and not issubclass(error_type, (WorkerError, StopIteration)):
        with contextlib.suppress(TypeError):  # classes with a form of their own
            kinds = (WorkerError, error_type)
            return type("WorkerError", kinds, {"__module__": WorkerError.__module__})(message)
    return WorkerError(message)


def _end(processes: list[Any], connections: list[Connection], memories: list[Any]) -> None:
    for connection in connections:
        connection.close()  # at which a worker ends
    deadline = time.monotonic() + 2
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():  # in the midst of a long item
            process.terminate()
            process.join(1)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
    for memory in memories:
        memory.close()  # after the workers: none of them attaches to it any more


# ----------------------------------------------------------------------------- arrays on their way


class Slot:
    """Stands for an array in a batch that is on its way."""

    def __init__(self, number: int):
        self.number = number


class SharedPlaces:
    """Shared memory for the batches of one worker, in as many places as it may be ahead.

    It belongs to the parent: a worker that is killed leaves nothing behind. It is made when a batch
    was large, so the first large batch comes through the pipe.
    """

    def __init__(self, depth: int):
        self.depth, self.place, self.count = depth, 0, 0
        self.memories: list[SharedMemory] = []  # the last one is in use
        self.refused = False

    def next_place(self) -> tuple[str, int, int] | None:
        """(name, first byte, bytes) for the next batch, which may use it or not."""
        if not self.memories:
            return None
        self.count += 1
        return self.memories[-1].name, self.count % self.depth * self.place, self.place

    def grow(self, nbytes: int) -> None:
        """Have places for batches of that size from now on, unless memory is short."""
        place = _aligned(nbytes + nbytes // 4)
        if self.refused or place <= self.place:
            return
        try:
            free = shutil.disk_usage("/dev/shm").free if sys.platform == "linux" else sys.maxsize
            if free < 2 * place * self.depth:  # a container may have little of it
                raise OSError
            memory = SharedMemory(create=True, size=place * self.depth)
        except OSError:
            self.refused = True  # the pipe will do
            return
        _bytes_of(memory, 0, place * self.depth)[:] = 0  # takes the memory now, and not in a worker
        self.memories.append(memory)
        self.place = place

    def array(self, place: tuple[str, int, int], shape: tuple, dtype: Any, start: int) -> Any:
        """A copy of an array in a place."""
        memory = next(m for m in self.memories if m.name == place[0])
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return _bytes_of(memory, place[1] + start, nbytes).copy().view(dtype).reshape(shape)

    def close(self) -> None:
        for memory in self.memories:
            memory.close()
            memory.unlink()


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _bytes_of(memory: SharedMemory, start: int, nbytes: int) -> np.ndarray:
    return np.ndarray((nbytes,), np.uint8, memory.buf, start)


def _received(
    connection: Connection, memory: SharedPlaces, headers: list, place: Any
) -> list[np.ndarray]:
    if place is not None:
        return [memory.array(place, *header) for header in headers]
    arrays, total = [], 0
    for shape, dtype, _ in headers:
        array = np.empty(shape, dtype)
        if array.size:
            connection.recv_bytes_into(array.reshape(-1).view(np.uint8))
        arrays.append(array)
        total += _aligned(array.nbytes)
    if total >= LARGE:
        memory.grow(total)
    return arrays


# ---------------------------------------------------------------------------- processes, that side


def serve(connection: Connection, info: WorkerInfo) -> None:
    """What a worker process does: make batches until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who closes the pipe
    backend.set_backend("numpy")  # a device belongs to the parent
    try:
        connection.send((-1, "begun", None, [], None))
        kind = "unpickled"
        fetcher, init = connection.recv()
        kind = "unsettled"
        _settle(info, init)
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send((0, kind, *_described(error), [], None))
        return
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    latest = [-1]
    # Tasks are taken in at once: the parent never waits to get rid of one, and its end is noticed.
    threading.Thread(target=_listen, args=(connection, tasks, latest), daemon=True).start()
    attached = Attached()
    run = -1
    with contextlib.suppress(OSError):  # the parent is gone
        connection.send((-1, "ready", None, [], None))
        while (given := tasks.get()) is not None:
            if given[0] != latest[0]:
                continue  # of an epoch that was left early
            if given[0] != run:
                fetcher.begin()
            run, task, place = given
            try:
                structure, arrays = _taken_apart(fetcher(task))
                message = ForkingPickler.dumps(_message(run, structure, arrays, place, attached))
            except Exception as error:
                connection.send((run, "failed", *_described(error), [], None))
                continue
            connection.send_bytes(message)
            if attached.used is None:
                for array in arrays:
                    if array.size:
                        connection.send_bytes(array.reshape(-1).view(np.uint8).data)


def _listen(connection: Connection, tasks: queue.SimpleQueue, latest: list[int]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            given = connection.recv()
            latest[0] = given[0]
            tasks.put(given)
    latest[0] = -1  # what is still in the queue is left undone
    tasks.put(None)


def _described(error: Exception) -> tuple[tuple[str, Any]]:
    kind: Any = type(error)
    try:
        ForkingPickler.dumps(kind)
    except Exception:
        kind = None  # a class that cannot be found from outside
    return (("".join(traceback.format_exception(error)), kind),)


def _taken_apart(batch: Any) -> tuple[Any, list[np.ndarray]]:
    """`batch` with a Slot for each array of numbers, and those arrays."""
    arrays: list[np.ndarray] = []

    def slot(x: Any) -> Any:
        x = x.data if type(x) is Tensor else x
        if not is_array(x) or x.dtype.hasobject:
            return x
        arrays.append(np.ascontiguousarray(to_numpy(x)))
        return Slot(len(arrays) - 1)

    return map_leaves(slot, batch), arrays


class Attached:
    """The shared memory that a worker writes to."""

    def __init__(self) -> None:
        self.memory: SharedMemory | None = None
        self.used: Any = None  # the place that the last message is in, or None

    def write(self, arrays: list[np.ndarray], starts: list[int], place: Any) -> Any:
        """Copy arrays to a place; gives it, or None if they do not fit or are few."""
        self.used = None
        total = starts[-1]
        if place is None or not LARGE <= total <= place[2]:
            return None
        try:
            if self.memory is None or self.memory.name != place[0]:
                if self.memory is not None:
                    self.memory.close()
                self.memory = SharedMemory(place[0])
        except OSError:
            return None
        for array, start in zip(arrays, starts, strict=False):
            there = _bytes_of(self.memory, place[1] + start, array.nbytes)
            there[:] = array.reshape(-1).view(np.uint8)
        self.used = place
        return place


def _message(
    run: int, structure: Any, arrays: list[np.ndarray], place: Any, attached: Attached
) -> tuple:
    starts = [0]
    for array in arrays:
        starts.append(starts[-1] + _aligned(array.nbytes))
    headers = [(a.shape, a.dtype, start) for a, start in zip(arrays, starts, strict=False)]
    return run, "batch", structure, headers, attached.write(arrays, starts, place)

"""Compiles kernels ahead, on several cores.

Numba compiles one function at a time in a process, so processes share the work: this one takes jobs
from the front of the list, each helper from its end, and what a helper has compiled is loaded from
Numba's cache on disk. Kernels that share loops stand side by side in the list. Helpers are started
when something has to be compiled, not for what is on disk already.
"""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numba.core import event

from minigrad.kernels import (
    attention,
    decoding,
    elementwise,
    embeddings,
    losses,
    machine,
    noise,
    norms,
    products,
    reductions,
    softmaxes,
    sorting,
    updates,
    windows,
)

HELPERS = 3  # at most; the longest job takes as long as a quarter of all

PAGES = (
    windows, norms, softmaxes, sorting, noise, reductions, losses, attention, embeddings,
    elementwise, updates, products,
)  # fmt: skip
KERNELS = {
    value.name: value
    for page in PAGES
    for value in vars(page).values()
    # (Those with the loop of another compile with it.)
    if type(value) is machine.Kernel and value.name == value.loop.__name__
}

# What a step of a transformer takes, with cross entropy and Adam. In programs and op by op, a
# kernel has the same loops, so that the second costs next to nothing.
TRANSFORMER = tuple(
    kernel.name
    for kernel in (
        attention.attention_grad, attention.attention, norms.layer_norm_grad, norms.layer_norm,
        losses.cross_entropy_rows_grad, losses.cross_entropy_rows, updates.adam,
        elementwise.elementwise, embeddings.embedding, embeddings.embedding_grad, elementwise.add,
        elementwise.relu_grad, reductions.sum_all, losses.count_of, reductions.column_sums,
        products.group_products, products.product,
    )
)  # fmt: skip


class Warm(NamedTuple):
    """How far `warm_up` is: one kernel begins to be compiled, or is there.

    Attributes:
        name: of the kernel.
        seconds: that it took; None as it begins.
        done: how many are there.
        total: how many there will be.
    """

    name: str
    seconds: float | None
    done: int
    total: int


Report = Callable[[Warm], None]


def names_of(what: str) -> list[str]:
    """The kernels that `what` stands for, in the order of compiling.

    Raises:
        ValueError: it stands for none.
    """
    search = [f"search.{kind.name}" for kind in decoding.LOOPS]
    known = {"transformer": list(TRANSFORMER), "search": search}
    known["search and transformer"] = [*search, *TRANSFORMER]
    if what == "all":
        others = [name for name in (*KERNELS, *updates.RULES, "run") if name not in TRANSFORMER]
        return [*search, *others, *TRANSFORMER]
    if what not in known:
        raise ValueError(f"warm_up: expected 'all' or one of {', '.join(known)}; got {what!r:.60}")
    return known[what]


def compile_one(name: str) -> None:
    """Compile a kernel for float32, or load it from the cache."""
    part, _, rest = name.partition(".")
    if part == "search":
        decoding.compile_for(next(kind for kind in decoding.LOOPS if kind.name == rest))
    if name == "run":
        machine.compile_run()
    if (kernel := KERNELS.get(name)) is not None:
        kernel.address(np.dtype(np.float32))
        if kernel.example is not None:
            inputs, params = kernel.example("float32")
            kernel(*inputs, **params)
    if (update := updates.examples("float32").get(name)) is not None:
        update()


class _Watch(event.Listener):
    """Calls `then` once, as soon as something is compiled rather than loaded."""

    def __init__(self, then: Callable[[], None]):
        self.then: Callable[[], None] | None = then

    def on_start(self, event: event.Event) -> None:
        then, self.then = self.then, None
        if then:
            then()

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def _watching(then: Callable[[], None]) -> Iterator[None]:
    watch = _Watch(then)
    event.register("numba:run_pass", watch)
    try:
        yield
    finally:
        event.unregister("numba:run_pass", watch)


class _Warming:
    """The jobs of one `warm_up`, and who works on them."""

    def __init__(self, names: list[str], report: Report | None, helpers: int):
        self.jobs, self.total, self.done = deque(names), len(names), 0
        self.given: list[str] = []  # to helpers
        self.report, self.helpers = report, helpers
        self.failed: BaseException | None = None  # what a report raised
        self.lock = threading.Lock()
        self.processes: list[subprocess.Popen] = []
        self.threads: list[threading.Thread] = []

    def tell(self, name: str, seconds: float | None) -> None:
        with self.lock:
            self.done += seconds is not None
            if self.report is None or self.failed is not None:
                return
            try:
                self.report(Warm(name, seconds, self.done, self.total))
            except BaseException as error:  # on whatever thread, and in the midst of Numba
                self.failed = error

    def work(self) -> None:
        """All jobs; returns when every kernel is in this process."""
        try:
            while self.failed is None:
                busy = [thread for thread in self.threads if thread.is_alive()]
                try:
                    name = self.jobs.popleft()
                except IndexError:
                    if not busy:
                        break
                    busy[0].join(0.05)  # and should it fail, its job comes back
                    continue
                began = perf_counter()
                with _watching(partial(self.begins, name)):
                    compile_one(name)
                self.tell(name, perf_counter() - began)
            if self.failed is not None:
                raise self.failed
            for name in self.given:
                compile_one(name)
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def begins(self, name: str) -> None:
        self.tell(name, None)
        while self.jobs and len(self.threads) < self.helpers:
            thread = threading.Thread(target=self.help, daemon=True)
            self.threads.append(thread)
            thread.start()

    def help(self) -> None:
        """Have a process do jobs from the end of the list, while there are any."""
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
            "from minigrad.kernels.warming import serve; serve()"
        )
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        except OSError:
            return
        self.processes.append(process)
        asks, answers = process.stdin, process.stdout
        assert asks is not None
        assert answers is not None
        with asks, answers:
            if answers.readline() != "ready\n":
                return
            while True:
                try:
                    name = self.jobs.pop()
                except IndexError:
                    return
                self.tell(name, None)
                began = perf_counter()
                try:
                    asks.write(f"{name}\n")
                    asks.flush()
                    answered = answers.readline() == f"{name}\n"
                except OSError:
                    answered = False
                if not answered:
                    self.jobs.append(name)
                    return
                self.given.append(name)
                self.tell(name, perf_counter() - began)


class Kept(NamedTuple):
    """Numba's cache on disk: its folder, and the kernels that it has and has not."""

    folder: Path | None
    there: list[str]
    missing: list[str]


def kept(what: str) -> Kept:
    """See `minigrad.kernels.kept`; a file that is older than its source does not count."""
    folder = norms.layer_norm_loop.stats.cache_path
    here = Path(__file__).parent
    found = set()
    for file in Path(folder).glob("*.nbi") if folder else ():
        page, _, rest = file.name.partition(".")
        source = here / f"{page}.py"
        if source.exists() and file.stat().st_mtime >= source.stat().st_mtime:
            found.add(rest.rpartition("-")[0])
    names = names_of(what)
    there = [name for name in names if name.replace("search.", "search_") in found]
    return Kept(Path(folder) if folder else None, there, [n for n in names if n not in there])


def serve() -> None:
    """What a helper does: the names of kernels come in by lines, and go out when they are there."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asked
    print("ready", flush=True)
    for line in sys.stdin:
        compile_one(line.strip())
        print(line.strip(), flush=True)


def warm_up(what: str, report: Report | None, cores: int) -> None:
    """See `minigrad.kernels.warm_up`; on so many cores."""
    # What helpers compile comes by way of the disk, if there is one that may be written.
    kept = norms.layer_norm_loop.stats.cache_path is not None and sys.executable
    helpers = min(cores - 1, HELPERS) if kept else 0
    _Warming(names_of(what), report, helpers).work()

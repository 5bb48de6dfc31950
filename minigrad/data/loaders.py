"""The loader: batches of Tensors, in an order that is a function of (seed, epoch)."""

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad import backend, distributed, random
from minigrad.arguments import count, number
from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_device, xp
from minigrad.data.collating import map_leaves
from minigrad.data.datasets import IterableDataset
from minigrad.data.prefetching import Prefetcher
from minigrad.data.samplers import RandomSampler, SequentialSampler, as_key, share
from minigrad.data.workers import Crew, Fetcher, NoWorkers, Processes, Task, Threads
from minigrad.errors import StateError

NOBODY = -1  # makes a batch of which this process has no share
MOST_WORKERS, MOST_AHEAD = 1024, 1 << 16  # what is more is a slip


class Plan(NamedTuple):
    """What a loader keeps ready at most, beside the batch that is in use."""

    batches: int
    samples: int
    nbytes: int

    def __str__(self) -> str:
        return (
            f"{self.batches} batches in flight, {self.samples} samples, {self.nbytes / 2**20:.1f} "
            "MiB"
        )


class DataLoader:
    """Goes through a data set in batches, one epoch for each `for` loop over it.

        loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, num_workers=4)
        for epoch in range(5):
            for x, y in loader: ...

    Batches are untracked Tensors on the backend in force, in the structure of the items.

    The order is a function of (seed, epoch), and so is, with the index, what a random transform
    draws: they are the same for any number of workers. `state_dict()` at any moment, also in the
    midst of an epoch, and `load_state_dict` in a new process, go on with the very next batch; no
    item before it is loaded.

    After `distributed.init()` each process gets its share of every batch, which all have in the
    same order: `batch_size` is that of all together, every sample comes in one process, and what is
    trained does not depend on how many there are. Where a batch, as the last, has fewer samples
    than there are processes, those without one get None: they have to take part in the step.

    Args:
        dataset: has `__len__` and `__getitem__`, or is an `IterableDataset`.
        batch_size: None gives single items, without a new axis.
        shuffle: another random order each epoch.
        num_workers: how many workers make batches ahead; 0: none, they are made when needed.
        worker_type: 'process' or 'thread'. Processes are spawned: the main script needs its
            `if __name__ == "__main__":`, and the data set is copied to each of them. Threads share
            it, and suffice where time goes into NumPy or into files.
        pin_memory: copy batches to the device ahead of the steps that use them, through
            page-locked memory and beside what is computed there: two batches are made, and are on
            their way, while one is in use. On NumPy there is nothing to copy.
        drop_last: leave out a last batch that is not full.
        persistent_workers: keep the workers from epoch to epoch, until `close()`, or until the
            loader is forgotten.
        prefetch_factor: how many batches each worker may be ahead; None for 2.
        collate_fn: makes a batch of a list of items; by default `default_collate`.
        sampler: indices in the order to come; its `set_epoch` is called before each epoch.
        batch_sampler: lists of indices; stands for batch_size, shuffle, sampler and drop_last.
        seed: an integer, or a key.
        as_arrays: give arrays of the backend in force in place of Tensors.
        timeout: how many seconds to wait for a batch of a worker; 0: as long as it lives. That a
            process has to start does not count, up to a minute. A thread that is busy meanwhile
            cannot be ended: it ends after its item.
        worker_init_fn: called with its number in each worker when it starts.
        shared: whether several processes share the batches; by default they do, unless the sampler
            gives each of them its own (`DistributedSampler`). A stream is not shared: have each
            process read another part of it, and say so by `shared=False`.

    Raises:
        ValueError: arguments that exclude each other.
        StateError: several processes would go through the same stream.
        WorkerError: a worker raised or died (the message has its traceback), or was too slow; or
            processes cannot be started from here: the script lacks its guard, or this is a worker.
        TypeError: `dataset` is no data set.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool = False,
        *,
        num_workers: int = 0,
        worker_type: str = "process",
        pin_memory: bool = False,
        drop_last: bool = False,
        persistent_workers: bool = False,
        prefetch_factor: int | None = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        seed: int | random.Key = 0,
        as_arrays: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        shared: bool | None = None,
    ):
        self.streams = isinstance(dataset, IterableDataset)
        if not self.streams and not (
            hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        ):
            raise TypeError(
                "DataLoader: expects a data set with __len__ and __getitem__, or an "
                f"IterableDataset, got {type(dataset).__name__}"
            )
        if self.streams and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError(
                "DataLoader: a stream has its own order; shuffle, sampler and batch_sampler are "
                "for data sets with __getitem__"
            )
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise ValueError(
                "DataLoader: batch_sampler stands for batch_size, shuffle, sampler and drop_last; "
                "give either it or them"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler gives the order; leave out shuffle")
        if batch_size is None and drop_last:
            raise ValueError("DataLoader: batch_size=None gives single items: nothing to drop")
        if batch_size is not None:
            batch_size = count("DataLoader", "batch_size", batch_size)
        num_workers = count("DataLoader", "num_workers", num_workers, 0, MOST_WORKERS)
        if worker_type not in ("process", "thread"):
            raise ValueError(
                f"DataLoader: expects worker_type 'process' or 'thread', got {worker_type!r}"
            )
        if persistent_workers and not num_workers:
            raise ValueError("DataLoader: persistent_workers needs num_workers > 0")
        timeout = number("DataLoader", "timeout", timeout)
        if timeout and not num_workers:
            raise ValueError("DataLoader: timeout needs num_workers > 0: nobody else could wait")
        self.dataset, self.shuffle = dataset, shuffle
        self.batch_size = None if batch_sampler is not None else batch_size
        self.num_workers, self.worker_type = num_workers, worker_type
        self.pin_memory, self.drop_last = pin_memory, drop_last
        self.persistent_workers = persistent_workers
        ahead = 2 if prefetch_factor is None else prefetch_factor
        self.prefetch_factor = count("DataLoader", "prefetch_factor", ahead)
        if num_workers * ahead > MOST_AHEAD:
            raise ValueError(
                f"DataLoader: num_workers={num_workers} with prefetch_factor={ahead} keep "
                f"{num_workers * ahead} batches in memory; {MOST_AHEAD} is the most"
            )
        self.collate_fn, self.as_arrays = collate_fn, as_arrays
        self.timeout, self.worker_init_fn = timeout, worker_init_fn
        self.seed = as_key(seed)
        self.batch_sampler = batch_sampler
        if sampler is None and not self.streams and batch_sampler is None:
            sampler = RandomSampler(dataset, seed=seed) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        own = getattr(sampler if batch_sampler is None else batch_sampler, "shared", True)
        self.shared = own if shared is None else shared
        self._position = _Position()
        self._crew: Crew | None = None  # at rest

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: everything but the workers, and a place of its own in the data."""
        return {**vars(self), "_crew": None, "_position": copy.copy(self._position)}

    def __len__(self) -> int:
        """How many batches an epoch has. Raises TypeError for a stream without a length."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset) if self.streams else len(self.sampler)  # type: ignore[arg-type]
        size = self._size()
        return n // size if self.drop_last else -(-n // size)

    def _size(self) -> int:
        """How many items are gone through at a time; of single ones, one in each process."""
        return self.batch_size or (distributed.world_size() if self.shared else 1)

    def __iter__(self) -> Iterator[Any]:
        return self._run(self._start(), self.as_arrays, _to_backend)

    def as_numpy_iterator(self) -> Iterator[Any]:
        """One epoch, as `iter` gives it, in NumPy arrays."""
        return self._run(self._start(), True, _to_host)

    def plan(self) -> Plan:
        """How many batches, samples and bytes are in flight; one item is loaded to measure it.

        Raises:
            TypeError: the data set is a stream.
        """
        batches = self.num_workers * self.prefetch_factor
        if self.streams:
            raise TypeError("plan: the items of a stream cannot be looked at without using them up")
        given = list(self._batches(_Position()))
        size = max(map(len, given), default=0)
        if not size:
            return Plan(batches, 0, 0)
        [batch] = Fetcher(self.dataset, self._collate())(Task(self.seed, max(given, key=len)[:1]))
        nbytes: list[int] = []
        map_leaves(lambda x: nbytes.append(getattr(x, "nbytes", 0)), batch)
        return Plan(batches, batches * size, batches * size * sum(nbytes))

    # -- where it is

    @property
    def epoch(self) -> int:
        """The epoch in progress, or else the next one."""
        return self._position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Have the next `for` loop go through that epoch.

        From its beginning, unless a state in the midst of that very epoch has just been loaded.
        """
        if self._position.begun or self._position.epoch != epoch:
            self._position = _Position(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, and what must be equal to go on from there: numbers for JSON.

        After batch k of an epoch has been given, that is the place behind it, also if the loop was
        left then; after the end of the loop, it is the beginning of the next epoch.
        """
        return {"epoch": self._position.epoch, "batch": self._position.batch, **self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have the next `for` loop go on from a state.

        Workers may be more or fewer than they were. Of a stream, the batches before are read again
        and dropped; of all others, nothing before is loaded.

        Raises StateError if the loader would go through the data in another order.
        """
        settings = self._settings()
        if missing := {"epoch", "batch", *settings} - state.keys():
            raise StateError(f"DataLoader: the state lacks {sorted(missing)}")
        for name, value in settings.items():
            if state[name] != value:
                raise StateError(
                    f"DataLoader: the state is of a loader with {name}={state[name]}, this one has "
                    f"{name}={value}: its order is another"
                )
        self._position = _Position(int(state["epoch"]), int(state["batch"]))

    def _settings(self) -> dict[str, Any]:
        return {
            "seed": list(self.seed),
            "samples": None if self.streams else len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _start(self) -> "_Position":
        """The position of a new loop: as it was set, or the beginning of the next epoch."""
        if self._position.begun:
            self._position = _Position(self._position.epoch + 1)
        self._position.begun = True
        return self._position

    # -- what it does

    def _run(self, position: "_Position", as_arrays: bool, moved: Callable) -> Iterator[Any]:
        """The batches from `position` on, where they are wanted."""
        with contextlib.closing(self._made(position)) as batches:
            given = batches
            if self.pin_memory and moved is _to_backend and xp() is not np:
                given = Prefetcher().prefetched(batches)
            with contextlib.closing(given):
                for batch in given:
                    batch = map_leaves(moved, batch)
                    position.batch += 1
                    yield batch if as_arrays else map_leaves(_as_tensor, batch)
        position.end()

    def _made(self, position: "_Position") -> Generator[Any, None, None]:
        """What the workers make: the batches from `position` on, wherever their arrays are."""
        crew: Any = self._crew or self._new_crew()
        self._crew, kept = None, False
        try:
            crew.begin()
            depth = self.num_workers * self.prefetch_factor or 1
            ended: set[int] = set()  # shards
            pending: deque[tuple[int, int]] = deque()  # (worker, shard)
            tasks = self._tasks(position, ended)
            skip = position.batch if self.streams else 0

            def fill() -> None:
                while len(pending) < depth and (task := next(tasks, None)) is not None:
                    number, work = task
                    if work.indices is not None and not len(work.indices):
                        pending.append((NOBODY, 0))
                        continue
                    # a shard stays with one worker, who keeps it open
                    worker = (work.shard if self.streams else number) % crew.size
                    crew.submit(worker, work)
                    pending.append((worker, work.shard))

            fill()
            while pending:
                worker, shard = pending.popleft()
                if worker == NOBODY:
                    fill()
                    position.batch += 1
                    yield None
                    continue
                found = crew.result(worker)
                if not found:
                    ended.add(shard)
                fill()
                if found and skip:
                    skip -= 1
                elif found:
                    yield found[0]
            kept = self.persistent_workers
        except GeneratorExit:  # the loop was left
            kept = self.persistent_workers
            raise
        finally:
            if kept and self._crew is None:
                crew.begin()
                self._crew = crew
            else:
                crew.close()

    def close(self) -> None:
        """End workers that wait for the next epoch."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _new_crew(self) -> Crew:
        fetcher = Fetcher(self.dataset, self._collate())
        size = min(self.num_workers, self.dataset.num_shards) if self.streams else self.num_workers
        if not self.num_workers:
            return NoWorkers(fetcher)
        size = max(1, size)
        if self.worker_type == "thread":
            return Threads(fetcher, size, self.timeout, self.worker_init_fn)
        # of a stream, one worker may have all that is in flight
        depth = self.prefetch_factor * (self.num_workers if self.streams else 1)
        return Processes(fetcher, size, depth, self.timeout, self.worker_init_fn)

    def _collate(self) -> Callable | None:
        if self.batch_size is None and self.batch_sampler is None:
            return _Single(self.collate_fn)
        return self.collate_fn

    def _tasks(self, position: "_Position", ended: set[int]) -> Iterator[tuple[int, Task]]:
        """Pairs (number, task) of the batches from `position` on; streams until all have ended."""
        key = random.fold(self.seed, "epoch", position.epoch)
        if self.streams and self.shared and distributed.world_size() > 1:
            raise StateError(
                "DataLoader: a stream is not shared by several processes, as each would read all "
                "of it; let it give other items in each, by distributed.rank(), and say "
                "shared=False"
            )
        if self.streams:
            shards = self.dataset.num_shards
            number, size = 0, self.batch_size or 1
            while len(ended) < shards:
                if (shard := number % shards) not in ended:
                    yield number, Task(key, None, shard, size, self.drop_last)
                number += 1
            return
        for number, indices in enumerate(self._batches(position)):
            yield number, Task(key, indices)

    def _batches(self, position: "_Position") -> Iterator[Any]:
        """The indices of each batch; items before are not loaded, and not even numbered."""
        ordered: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if hasattr(ordered, "set_epoch"):
            ordered.set_epoch(position.epoch)
        if self.batch_sampler is not None:
            for number, batch in enumerate(self.batch_sampler):
                if number >= position.batch:
                    yield share(batch) if self.shared else batch
            return
        order = ordered.order() if hasattr(ordered, "order") else list(ordered)
        size = self._size()
        stop = len(order) - len(order) % size if self.drop_last else len(order)
        for start in range(position.batch * size, stop, size):
            batch = order[start : start + size]
            yield share(batch) if self.shared else batch


class _Position:
    """How many batches of an epoch have been given."""

    def __init__(self, epoch: int = 0, batch: int = 0):
        self.epoch, self.batch, self.begun = epoch, batch, False

    def end(self) -> None:
        self.epoch, self.batch, self.begun = self.epoch + 1, 0, False


def _to_backend(x: Any) -> Any:
    x = x.data if type(x) is Tensor else x
    return to_device(x) if is_array(x) and x.dtype.kind in "biufc" else x


def _to_host(x: Any) -> Any:
    x = x.data if type(x) is Tensor else x
    return backend.to_numpy(x) if is_array(x) else x


def _as_tensor(x: Any) -> Any:
    return Tensor(x) if is_array(x) and x.dtype.kind in "biufc" else x


class _Single:
    """Stands for a collate_fn where items come one by one."""

    def __init__(self, convert: Callable | None):
        self.convert = convert

    def __call__(self, items: list[Any]) -> Any:
        return items[0] if self.convert is None else self.convert(items[0])


class DataLoaderBuilder:
    """Burn's way to a loader: `DataLoaderBuilder(batcher).batch_size(32).shuffle(0).build(items)`.

    Args:
        batcher: makes a batch of a list of items; by default `default_collate`.
    """

    def __init__(self, batcher: Callable[[list[Any]], Any] | None = None):
        self.options: dict[str, Any] = {"collate_fn": batcher}

    def batch_size(self, size: int) -> Self:
        """How many items a batch has."""
        self.options["batch_size"] = size
        return self

    def shuffle(self, seed: int | random.Key) -> Self:
        """Another random order each epoch, from that seed."""
        self.options.update(shuffle=True, seed=seed)
        return self

    def num_workers(self, count: int) -> Self:
        """How many workers make batches ahead."""
        self.options["num_workers"] = count
        return self

    def build(self, dataset: Any, **options: Any) -> DataLoader:
        """The loader of a data set; further options are those of `DataLoader`."""
        return DataLoader(dataset, **{**self.options, **options})

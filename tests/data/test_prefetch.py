"""Prefetching keeps its three promises on a device that takes its time.

The device is simulated: streams are queues whose work is done at some later moment, in an order
that is drawn at random and is as bad as the events allow; memory that was freed is used again at
once, as CuPy's pool does. A copy that starts too early, or a slot that is filled too early, shows
in what the steps read. tests/cuda/test_prefetching.py runs the same loader on CuPy.
"""

import contextlib
import random
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from minigrad import data
from minigrad.data import loaders, prefetching


class Event:
    def __init__(self, machine):
        self.machine, self.reached = machine, False

    @property
    def done(self):
        self.machine.go_on()
        return self.reached

    def synchronize(self):
        self.machine.waits += 1
        while not self.reached:
            assert self.machine.go_on(force=True), "nobody ever gets there"


class Stream:
    def __init__(self, machine):
        self.machine, self.queue = machine, deque()
        machine.streams.append(self)

    def record(self):
        event = Event(self.machine)
        self.queue.append((None, lambda: setattr(event, "reached", True)))
        return event

    def wait_event(self, event):
        self.queue.append((event, lambda: None))

    def launch(self, work):
        self.queue.append((None, work))

    def step(self):
        """Do the first thing in the queue, if it need not wait; whether there was one."""
        if not self.queue or (self.queue[0][0] is not None and not self.queue[0][0].reached):
            return False
        self.queue.popleft()[1]()
        return True


class Machine:
    """A device, with the names of CuPy that a prefetcher uses."""

    def __init__(self, seed, lazy):
        self.random, self.lazy = random.Random(seed), lazy
        self.streams, self.free, self.waits = [], {}, 0
        self.compute = Stream(self)
        self.copies = None
        self.cuda = SimpleNamespace(
            Device=contextlib.nullcontext,
            Stream=self.new_stream,
            get_current_stream=lambda: self.compute,
        )

    def new_stream(self, non_blocking):
        assert non_blocking
        self.copies = Stream(self)
        return self.copies

    def go_on(self, force=False):
        """Some of the work that is queued is done; with `force` at least one thing."""
        if not force and self.random.random() < 0.5:
            return False
        streams = self.streams[:]
        self.random.shuffle(streams)
        if self.lazy == "copies":
            streams.sort(key=lambda s: s is self.copies)
        elif self.lazy == "steps":
            streams.sort(key=lambda s: s is self.compute)
        if not force and self.lazy:
            streams = streams[:1]
        return any(stream.step() for stream in streams)

    def empty(self, shape, dtype):
        self.go_on()
        return Array(self, shape, np.dtype(dtype))


class Array:
    def __init__(self, machine, shape, dtype):
        self.machine, nbytes = machine, int(np.prod(shape)) * dtype.itemsize
        free = machine.free.setdefault(nbytes, [])
        self.memory = free.pop() if free else np.full(nbytes, 255, np.uint8)
        self.values = self.memory.view(dtype).reshape(shape)

    def __del__(self):
        self.machine.free[self.memory.size].append(self.memory)

    def set(self, host, stream):
        values = self.values
        stream.launch(lambda: values.__setitem__(..., host))


LAZY = ["copies", "steps", None]


@pytest.fixture(params=LAZY)
def machine(request, monkeypatch):
    """A machine in which one kind of work is always late."""
    machines = []

    def new(seed):
        machine = Machine(seed, request.param)
        machines.append(machine)
        for module in (prefetching, loaders):
            monkeypatch.setattr(module, "xp", lambda: machine)
        monkeypatch.setattr(prefetching, "pinned", lambda n: np.full(n, 254, np.uint8))
        return machine

    return new


def read(machine, loader, most=None):
    """What steps read of each batch, a long time after it was handed out and forgotten."""
    found = []

    def step(values, place):
        machine.compute.launch(lambda: found.__setitem__(place, values.copy()))

    for batch in loader:
        found.append(None)
        step(batch.values, len(found) - 1)
        if len(found) == most:
            break
        del batch  # its memory is free from here on
    while machine.go_on(force=True):
        pass
    assert not any(stream.queue for stream in machine.streams)
    return found


X = np.arange(64, dtype=np.float32).reshape(32, 2)


@pytest.mark.parametrize("seed", range(12))
def test_steps_read_what_the_loader_made(machine, seed):
    machine = machine(seed)
    found = read(machine, data.DataLoader(X, 2, shuffle=True, seed=seed, pin_memory=True))
    expected = data.DataLoader(X, 2, shuffle=True, seed=seed).as_numpy_iterator()
    np.testing.assert_array_equal(np.stack(found), np.stack(list(expected)))


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_growing_size(machine, seed):
    machine = machine(seed)
    batches = [list(range(n)) for n in (1, 7, 2, 9, 3, 3, 11, 1, 5, 13)]
    found = read(machine, data.DataLoader(X, batch_sampler=batches, pin_memory=True))
    for got, ids in zip(found, batches, strict=True):
        np.testing.assert_array_equal(got, X[ids])


def test_who_leaves_early_leaves_nothing_behind(machine):
    machine = machine(0)
    loader = data.DataLoader(X, 2, pin_memory=True)
    before = iter(loader)
    batch = next(before)
    assert loader.state_dict()["batch"] == 1, "those made ahead do not count"
    before.close()
    assert not machine.copies.queue, "a copy in progress would write into memory of others"
    del batch
    found = read(machine, loader)
    np.testing.assert_array_equal(np.concatenate(found), X)


class Breaks(data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            raise KeyError("item 5")
        return X[i]


def test_an_error_comes_in_its_place(machine):
    machine(1)
    seen = []
    with pytest.raises(KeyError, match="item 5"):  # noqa: PT012
        for batch in data.DataLoader(Breaks(), 1, pin_memory=True):
            seen.append(batch)
    assert len(seen) == 5


def test_copies_that_are_over_are_not_waited_for(machine):
    machine = machine(2)
    slowly = machine.go_on

    def at_once(force=False):
        while slowly(force=True):
            pass
        return False

    machine.go_on = at_once
    read(machine, data.DataLoader(X, 2, pin_memory=True))
    assert machine.waits == 0

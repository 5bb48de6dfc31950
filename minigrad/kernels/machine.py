"""A machine that runs kernels one after the other, without Python in between.

A *kernel* is a compiled loop, and what its page says of the arrays that it takes. It reads its
arguments from a *record*: named fields of 64 bits, addresses of arrays, lengths, flags. A program
is a list of kernels with their records, and `run` calls them in order. Several threads may run the
same program side by side: every kernel computes its share of the result, rows or columns, and all
wait for each other after every instruction. How a result is cut has no influence on its bits, so
that the number of threads has none either: sums are never split between threads.

Kernels are compiled on first use, one by one, and kept on disk.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import queue
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from minigrad.kernels import blas
from minigrad.kernels.compiling import AS_WRITTEN, compiled
from minigrad.kernels.instructions import GROUPS, Declined, Instruction
from minigrad.kernels.layouts import INT64

PATIENCE = 20_000  # looks at the counter before a waiting thread gives up its core

# ---------------------------------------------------------------------- what Numba does not have


@intrinsic
def at(typing, kind, address):
    """`address` as a pointer of the type of the pointer `kind`."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(kind))

    return kind(kind, types.int64), generate


def _at(kind):
    @intrinsic
    def at_it(typing, address):
        def generate(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), generate

    return at_it


at_integers, at_booleans = _at(types.CPointer(types.int64)), _at(types.CPointer(types.boolean))


@intrinsic
def _call(typing, address, record, part, parts):
    """Call the kernel at `address`."""

    def generate(context, builder, signature, args):
        i64 = ir.IntType(64)
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, i64, i64])
        function = builder.inttoptr(args[0], kind.as_pointer())
        record = builder.inttoptr(args[1], pointer)
        builder.call(function, [record, record, args[2], args[3]])
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), generate


@intrinsic
def _arrive(typing, address):
    """Add 1 to the counter at `address`, seen by all threads; what it was before."""

    def generate(context, builder, signature, args):
        cell = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", cell, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def _look(typing, address):
    """The counter at `address`, as other threads left it."""

    def generate(context, builder, signature, args):
        cell = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(cell, "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _let_others_run(typing, address):
    """Call the system's routine that gives the core to another thread."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@compiled
def _run(addresses, records, start, stop, part, parts, counter, give_way):
    """Instructions `start` to `stop`, this thread being number `part` of `parts`."""
    for i in range(start, stop):
        _call(addresses[i], records[i].ctypes.data, part, parts)
        if parts > 1:
            goal = (_arrive(counter) // parts + 1) * parts
            spins = 0
            while _look(counter) < goal:
                spins += 1
                if spins > PATIENCE:
                    _let_others_run(give_way)


# ------------------------------------------------------------------------------------- kernels


@compiled
def share(n, step, part, parts):
    """Where the share of thread `part` of `n` things begins and ends: at multiples of `step`."""
    units = (n + step - 1) // step
    return min(units * part // parts * step, n), min(units * (part + 1) // parts * step, n)


@compiled
def fields(record):
    """What is in a record, by name: `r = fields(record); r.x`."""
    return carray(record, (1,))[0]


@compiled
def array(kind, address, shape):
    """The array of the dtype of `kind` that begins at `address`."""
    return carray(at(kind, address), shape)


@compiled
def integers(address, n):
    """The n integers that begin at `address`."""
    return carray(at_integers(address), (n,))


@compiled
def span_of(r, g, n):
    """Where the rows of group `g` begin and end; without groups, all n rows."""
    if not r.groups:
        return 0, n
    offsets = integers(r.offsets, r.groups + 1)
    return offsets[g] * r.each, offsets[g + 1] * r.each


@compiled
def of_group(r, address, g):
    """The address of what group `g` has; without groups, `address` itself."""
    return integers(address, r.groups)[g] if r.groups else address


PROTOTYPE = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)
_ON_BYTES = ctypes.CFUNCTYPE(None, ctypes.c_char_p, *(ctypes.c_int64,) * 3)


class Alone:
    """In place of a program, where a kernel is called on arrays."""

    def groups(self, rows: int, *values: Any) -> dict[str, Any]:
        return {}

    def of_groups(self, value: Any) -> Any:
        return value

    def owns(self, *values: Any) -> bool:
        return False


class Kernel:
    """A loop, and the arrays that it takes; called on NumPy arrays, it computes at once.

    Three functions of its page are given to it by decorators:

    accepts     `f(*inputs, **params)`: what comes out, as one thing with `shape` and `dtype` for
                each output, an input itself if it is like it; None to decline. Inputs are arrays,
                or values of a program; see `layouts`.
    fills       `f(p, outputs, *inputs, **params)`: by name, the fields of the record that have no
                value yet, or another one. The first have the outputs, those named like an input or
                a parameter have that; so where nothing is left there is no `fills`. What has
                strides stands for its address, None for 0. Raises `Declined` for what only shows in
                the outputs. `p` is the program that asks (see `minigrad.programs.lowering`), or
                stands for there being none.
    direct      `f(*outputs, *inputs, **params)`: computes arrays without a record, which takes a
                microsecond or two to fill; for kernels that are called so often that it counts. It
                gives False if an input turns out to be wrong, for the formula to say so. The
                decorator has an example of inputs and parameters, to compile it: a shape stands for
                ones.

    Attributes:
        name: as it is shown.
        loop: `loop(record, kind, part, parts)` computes a share; `kind` is there for its dtype.
        layout: the dtype of the record.
        work: floating-point operations for each element of the first input, roughly.
        strided: whether outputs may lie in any layout; else they are C-contiguous.
        example: `example(dtype)` gives inputs and parameters to compile `direct` with.
        scratch: `scratch(*inputs)`: what it needs of memory meanwhile, as one with shape and dtype.
    """

    def __init__(self, loop: Callable, layout: np.dtype, work: int, strided: bool, name: str = ""):
        self.loop, self.layout, self.work, self.strided = loop, layout, work, strided
        self.name = self.__name__ = name or loop.__name__
        self.__doc__, self.__module__ = loop.__doc__, loop.__module__
        self.__wrapped__ = loop  # whose source is shown
        self.address = cache(self._compiled)
        self._on_bytes = cache(lambda dtype: _ON_BYTES(self.address(dtype)))
        assert layout.fields is not None  # it is a record
        self.by_group = "groups" in layout.fields
        self.example: Callable[[str], tuple[tuple, dict[str, Any]]] | None = None
        self.scratch: Callable[..., Any] | None = None
        self.outputs: Any = None  # what `accepts` was given
        self._fills: Callable[..., dict[str, Any]] | None = None
        self._direct: Callable | None = None
        self._inputs: tuple[str, ...] = ()
        self._given = dict.fromkeys(GROUPS.split(), 0) if self.by_group else {}
        self._names = {
            name: 0 if kind.subdtype is None else kind.subdtype[1][0]
            for name, (kind, *_) in layout.fields.items()
        }
        self._may_give = {*self._names, "work"}
        codes = {"i": "q", "f": "d"}
        self._pack = struct.Struct(
            "".join(f"{n or 1}{codes[layout[name].base.kind]}" for name, n in self._names.items())
        ).pack

    def like(self, name: str) -> Kernel:
        """The same loop for other calls, with `accepts` and `fills` of its own."""
        return Kernel(self.loop, self.layout, self.work, self.strided, name)

    def accepts(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self.outputs = function
        self._name_inputs(function, 0)
        return function

    def _name_inputs(self, function: Callable, others: int) -> None:
        """The names of inputs, and what is given where they are left out."""
        code, defaults = function.__code__, function.__defaults__ or ()
        self._inputs = code.co_varnames[others : code.co_argcount]
        self._given |= zip(self._inputs[::-1], defaults[::-1], strict=False)
        self._given |= function.__kwdefaults__ or {}

    def fills(self, function: Callable) -> Callable:
        """Decorator: see the class."""
        self._fills = function
        if self.outputs is None:
            self._name_inputs(function, 2)
        return function

    def direct(self, *inputs: Any, **params: Any) -> Callable:
        """Decorator: see the class."""

        def example(dtype):
            return tuple(np.ones(x, dtype) if type(x) is tuple else x for x in inputs), params

        def decorate(function):
            self._direct, self.example = function, example
            return function

        return decorate

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        return self.call(*inputs, **params)

    @cached_property
    def call(self) -> Callable:
        """What an op calls: what `accepts` tells of, computed at once, or NotImplemented.

        Written out with the names of all arguments: packed into a tuple and a dictionary, and
        unpacked again, they would take as long as the loop of a small array.
        """
        if self._direct is None:
            return self._by_record
        accepts, direct = map(inspect.getfullargspec, (self.outputs, self._direct))
        inputs = accepts.args
        made = [name for name in direct.args if name not in inputs]
        options = list(dict.fromkeys((*accepts.kwonlyargs, *direct.kwonlyargs)))
        by_name = [f"{name}={name}" for name in options]
        for_direct = [
            x for x in by_name if direct.varkw or x.partition("=")[0] in direct.kwonlyargs
        ]
        given = [*inputs, *by_name]
        to_loop = [*direct.args, *for_direct]
        lines = [
            f"def {self.name}({', '.join([*inputs, *(('*',) if options else ()), *options])}):",
            f"    like = accepts({', '.join(given)})",
            "    if like is None:",
            "        return NotImplemented",
            f"    {', '.join(f'like_{name}' for name in made)} = like",
            *(f"    {n} = empty(like_{n}.shape, like_{n}.dtype)" for n in made),
            f"    if direct({', '.join(to_loop)}) is False:",
            "        return NotImplemented",
            f"    return {', '.join(made)}",
        ]
        found = {"accepts": self.outputs, "direct": self._direct, "empty": np.empty}
        # (It is a file of this package to `mg.jit`, which asks whose code has run.)
        file = os.path.join(os.path.dirname(__file__), f"<{self.name}>")
        exec(compile("\n".join(lines), file, "exec"), found)
        call: Any = found[self.name]
        call.__defaults__, call.__kwdefaults__ = accepts.defaults, accepts.kwonlydefaults
        return call

    def _by_record(self, *inputs: Any, **params: Any) -> Any:
        like = self.outputs(*inputs, **params)
        if like is None:
            return NotImplemented
        many = type(like) is tuple
        outputs = [np.empty(v.shape, v.dtype) for v in (like if many else (like,))]
        try:
            values = self._values(ALONE, outputs, inputs, params)
        except Declined:
            return NotImplemented
        self._on_bytes(float_of(*outputs, *inputs))(self._packed(values), 0, 0, 1)
        return tuple(outputs) if many else outputs[0]

    def values(
        self, program: Any, outputs: Sequence[Any], *inputs: Any, **params: Any
    ) -> dict[str, Any]:
        """The fields of the record for a call, by name; perhaps with `work`, operations of it all.

        Raises:
            Declined: see the class.
            TypeError: a field has no value, or there is no field of one of the names.
        """
        found = self._values(program, outputs, inputs, params)
        if missing := self._names.keys() - found.keys():
            raise TypeError(f"{self.name}: nothing gives its fields {', '.join(sorted(missing))}")
        return {name: x for name, x in found.items() if name in self._names or name == "work"}

    def _values(self, program: Any, outputs: Sequence[Any], inputs: tuple, params: dict) -> dict:
        """As `values`, with options among them that the loop does not ask for."""
        found = {**self._given, **params, **dict(zip(self._names, outputs, strict=False))}
        found.update(zip(self._inputs, inputs, strict=False))
        if "status" in self._names:
            found.update(status=program.status, number=program.number)
        if self._fills is not None:
            given = self._fills(program, outputs, *inputs, **params)
            if not given.keys() <= self._may_give:
                raise self._unknown(given.keys() - self._may_give)
            found.update(given)
        return found

    def _unknown(self, names: set[str]) -> TypeError:
        return TypeError(f"{self.name}: its record has no fields called {', '.join(sorted(names))}")

    def run(self, dtype: np.dtype, **values: Any) -> None:
        """Run on this thread; ctypes lets other threads of Python run meanwhile."""
        self._on_bytes(dtype)(self._packed(values), 0, 0, 1)

    def instruction(self, dtype: np.dtype, work: int, **values: Any) -> Instruction:
        """A line of a program: this kernel with its record."""
        return Instruction(self.name, self.address(dtype), self.record(values), work=work)

    def record(self, values: dict[str, Any]) -> np.ndarray:
        """The record with these fields, as words of 64 bits; one that is not given is 0.

        Raises:
            TypeError: it has no field of one of the names.
        """
        if unknown := values.keys() - self._names.keys():
            raise self._unknown(unknown)
        return np.frombuffer(self._packed(values), np.int64)

    def _packed(self, values: dict[str, Any]) -> bytes:
        """The record with these fields."""
        numbers: list[Any] = []
        for name, n in self._names.items():
            value = values.get(name)
            kind = type(value)
            if kind is int or kind is float:
                numbers.append(value)
            elif isinstance(value, np.ndarray):
                numbers.append(value.ctypes.data)
            elif n:
                numbers += value or ()
                numbers += (0,) * (n - len(value or ()))
            elif value is None:
                numbers.append(0)
            elif isinstance(value, np.generic):  # a setting, which NumPy has computed
                numbers.append(value.item())
            else:
                numbers.append(value.address if hasattr(value, "strides") else value)
        return self._pack(*numbers)

    def _compiled(self, dtype: np.dtype) -> int:
        """The address of the loop, compiled for arrays of `dtype`."""
        number = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
        record = types.CPointer(from_dtype(self.layout))
        signature = types.void(record, number, types.int64, types.int64)
        options: Any = {"error_model": "numpy", "fastmath": AS_WRITTEN}
        try:
            made: Any = cfunc(signature, cache=True, **options)(self.loop)
        except RuntimeError:  # nowhere to keep it
            made = cfunc(signature, **options)(self.loop)
        _alive.append(made)
        return made.address

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"


ALONE = Alone()
_alive: list = []  # compiled functions whose addresses are in use


def kernel(*names: str, work: int = 1, strided: bool = False, **others: Any) -> Callable:
    """Decorator: a `Kernel` from its loop and the fields of its record, in order.

    Args:
        names: fields of 64-bit integers, addresses among them; several of them by spaces.
        work, strided: see `Kernel`.
        others: `float` for a field of a float64, a number for a field of so many integers.
    """
    layout: list[Any] = [(name, np.int64) for group in names for name in group.split()]
    layout += [
        (name, np.float64) if kind is float else (name, np.int64, (kind,))
        for name, kind in others.items()
    ]
    return lambda loop: Kernel(loop, np.dtype(layout, align=True), work, strided)


def address_of(x: Any) -> int:
    """Where an array begins, or a value of a program."""
    return x.ctypes.data if type(x) is np.ndarray else x.address


def float_of(*values: Any) -> np.dtype:
    """The dtype of the first that is of floats: for which a kernel is compiled."""
    return next(v.dtype for v in values if getattr(v, "dtype", INT64).kind == "f")


# -------------------------------------------------------------------------------------- programs

WORTH_THREADS = 20_000_000  # operations of a program from which on a second thread pays


PROBE = 16  # instructions after which it is seen whether the threads pay
SHORTEST, LONGEST = 0.5, 30.0  # seconds for which the caller goes on alone


class _Team:
    """The threads that run programs: the caller and its helpers.

    Where other processes have the cores, every instruction waits for the system to let the last
    thread run: 30 times as long as alone was measured. So what is run first runs alone, and is
    timed; where together it takes longer than that, the caller goes on alone for a while, for twice
    as long if it happens again. Bits do not depend on it.
    """

    def __init__(self, parts: int):
        self.parts = parts
        self.until, self.pause = 0.0, SHORTEST
        self.counter = np.zeros(16, np.int64)
        self.doors: list[queue.SimpleQueue] = [queue.SimpleQueue() for _ in range(parts - 1)]
        self.give_way = _give_way()
        for part, door in enumerate(self.doors, start=1):
            threading.Thread(target=self._help, args=(part, door), daemon=True).start()

    def _help(self, part: int, door: queue.SimpleQueue) -> None:
        while (task := door.get()) is not None:
            _run(*task, part, self.parts, self.counter.ctypes.data, self.give_way)

    def run(
        self, addresses: np.ndarray, records: np.ndarray, start: int, stop: int,
        alone: dict[int, float] | None = None,
    ) -> None:  # fmt: skip
        """Instructions `start` to `stop`.

        Args:
            alone: what stretches take alone, by where they begin; None to have all threads run.
        """
        if alone is None or self.parts == 1:
            self._together(addresses, records, start, stop)
            return
        middle = min(start + PROBE, stop)
        for first, last in ((start, middle), (middle, stop)):
            if first == last:
                continue
            began = time.perf_counter()
            if first not in alone or began < self.until:
                _run(addresses, records, first, last, 0, 1, 0, 0)
                seconds = time.perf_counter() - began
                alone[first] = min(seconds, alone.get(first, seconds))
                continue
            self._together(addresses, records, first, last)
            now = time.perf_counter()
            if now - began > 1.2 * alone[first] + 0.001:
                self.until, self.pause = now + self.pause, min(2 * self.pause, LONGEST)
            else:
                self.pause = SHORTEST

    def _together(self, addresses: np.ndarray, records: np.ndarray, start: int, stop: int) -> None:
        for door in self.doors:
            door.put((addresses, records, start, stop))
        _run(
            addresses, records, start, stop, 0, self.parts, self.counter.ctypes.data, self.give_way
        )


@cache
def _give_way() -> int:
    """The address of the system's routine that gives the core to another thread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None  # what a library has is somewhere
    return address


_teams: dict[int, _Team] = {}
_busy = threading.Lock()


def _after_fork() -> None:
    """A child has none of the threads of its parent, and nobody to open a lock that was closed."""
    global _busy
    _busy = threading.Lock()
    _teams.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def team(parts: int) -> Iterator[Callable]:
    """A function `run(addresses, records, start, stop)` with `parts` threads, for a `with` block.

    One program runs at a time; the BLAS uses one thread meanwhile.
    """
    with _busy, blas.one_thread():
        if parts not in _teams:
            _teams[parts] = _Team(parts)
        yield _teams[parts].run


def compile_run() -> None:
    """Compile what runs programs, or load it from the on-disk cache."""
    _run(np.zeros(0, np.int64), np.zeros((0, 1), np.int64), 0, 0, 0, 1, 0, 0)

"""Programs on a device: their calls are launches, which a CUDA graph repeats.

The plan is that of the host: calls are put together, and every array has its place in one block.
Each call becomes launches of kernels of `minigrad.kernels.cuda`, of cuBLAS, or CuPy's functions
where there is neither. The first run launches them one by one; the second records them, and from
then on a run is

1. copies of the arguments to their places,
2. one copy of what changes from run to run: keys of random numbers, options and step counts of
   optimizers (`Words`),
3. the launch of the graph; of several, where something in between cannot be recorded,
4. copies of the results.

Nothing waits for the device. What is made on the way lies in a memory pool that lives as long as
the program, since a graph has the addresses built in.
"""

import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import kernels, ops
from minigrad.autodiff import Op
from minigrad.errors import BackendError, CaptureError
from minigrad.kernels.cuda import machine
from minigrad.kernels.cuda.elementwise import elementwise
from minigrad.kernels.instructions import Declined, Drawn, Instruction, NotByGroup
from minigrad.kernels.layouts import dense
from minigrad.memory import register_pool
from minigrad.ops.shaping import _concatenate
from minigrad.optim.flat import LeftOut
from minigrad.optim.optimizer import Segments
from minigrad.programs.in_python import UFUNCS
from minigrad.programs.memory import IN_PLACE, Memory
from minigrad.programs.places import on_device_at
from minigrad.programs.program import Program
from minigrad.programs.values import Call, Graph, Hidden, Value, uncovered
from minigrad.writes import wrote

ALIGNED = 256  # bytes, as CUDA's own allocations are
TO_DEVICE, ON_DEVICE = 1, 3  # kinds of cudaMemcpy

# Kernels that only programs of a device use, beside the twins of the host's.
MORE = {
    ops.sum: ("cuda.reductions.group_sums",), ops.max: ("cuda.reductions.largest",),
    ops.min: ("cuda.reductions.smallest",),
}  # fmt: skip
FLOATS = ("float32", "float64", "float16", "bfloat16")


class Device:
    """The machine of programs on CuPy's arrays: what its kernels take."""

    def knows(self, call: Call) -> bool:
        """Whether all its arrays of floats are of one dtype."""
        if any(type(x) is Hidden for x in call.inputs):
            return False
        kinds = {v.dtype for v in (*call.reads, *call.outputs) if v.dtype.kind in "fV"}
        return len(kinds) == 1 and kinds.pop().name in FLOATS

    def flat(self, *values: Value) -> bool:
        """Whether all lie without gaps, in the same order of axes."""
        return dense(*values)

    def alike(self, *values: Value) -> bool:
        """Whether all are C-contiguous, and of one shape and dtype of floats."""
        first = values[0]
        return first.dtype.name in FLOATS and all(
            v.c_contiguous and v.shape == first.shape and v.dtype == first.dtype for v in values
        )

    def kernels_for(self, call: Call) -> list[Any]:
        """The kernels that take a call, in the order in which they are tried."""
        if any(type(x) is Hidden for x in call.inputs):
            return []
        return [kernel for kernel in self.twins(call.op) if self.takes(kernel, call)]

    def twins(self, op: Any) -> list[Any]:
        """The kernels for CUDA of an op, or of a kernel of the host; one of these itself."""
        from minigrad.kernels.machine import Kernel
        from minigrad.programs.lowering import CHOICES

        if type(op) is machine.Kernel:
            return [op]
        if op is _concatenate:  # called eagerly it is CuPy's, which has one launch for few arrays
            named = ["cuda.windows.concatenate"]
        elif type(op) is Op and type(own := op.kernel.get("cupy")) is str:
            named = [own]
        elif op in CHOICES:
            named = [place_of(kernel) for kernel in CHOICES[op]]
        elif type(op) is Kernel:
            named = [place_of(op)]
        elif type(op) is Op and type(own := op.kernel.get("numpy")) is str:
            named = [own]
        else:
            named = []
        found = [name if name.startswith("cuda.") else kernels.twin(name) for name in named]
        more = MORE.get(op, ()) if type(op) is Op else ()
        names = dict.fromkeys((*more, *found))
        return [kernels.find(name) for name in names if name is not None]

    def takes(self, kernel: Any, call: Call) -> bool:
        """Whether a kernel, or its twin, says that what comes out is what the call gives."""
        from minigrad.kernels.machine import Kernel

        if type(kernel) is Kernel:
            return any(self.takes(twin, call) for twin in self.twins(kernel))
        if kernel.outputs is None:
            return True
        if any(type(x) is Hidden for x in call.inputs):
            return False
        return call.is_given_by(kernel.outputs(*call.inputs, **call.settings), kernel.strided)


def place_of(kernel: Any) -> str:
    """What an op calls a kernel of the host: 'page.name'."""
    return f"{kernel.__module__.rpartition('.')[2]}.{kernel.name}"


@dataclass
class OnDevice(Instruction):
    """One line of a program on a device: a function that launches something.

    Attributes:
        who: answers: 'CUDA', 'cuBLAS', 'CuPy' or 'Python'.
        reason: why it cannot be recorded in a graph; "" where it can, or nobody has tried.
    """

    who: str = "CuPy"
    reason: str = ""

    @property
    def by(self) -> str:
        return self.who


class DeviceMemory(Memory):
    """A program's block on the device, in a pool of its own."""

    show = staticmethod(on_device_at)
    in_place = IN_PLACE | {elementwise}

    def allocate(self, size: int) -> int:
        import cupy

        self.pool = cupy.cuda.MemoryPool()
        with cupy.cuda.using_allocator(self.pool.malloc):
            self.block = cupy.empty(size + ALIGNED, "uint8")
        begin = self.block.data.ptr
        return begin + -begin % ALIGNED

    def rest(self) -> None:
        """Nothing: a graph has the addresses built in."""

    def free(self) -> None:
        """Give the memory back to the device: CuPy's pools keep what returns to them."""
        self.block = None
        self.pool.free_all_blocks()


class Words:
    """What changes from run to run: 64-bit words that the host writes, and one copy brings.

    The host writes to `here`; `send` copies that to page-locked memory, of which there are several
    slots so that the host need not wait for the device, and from there to the device.
    """

    SLOTS = 3

    def __init__(self, size: int):
        import cupy
        import cupyx

        size = max(size, 1)
        self.here = np.zeros(size, np.int64)
        self.there = cupy.zeros(size, "int64")
        self._slots = [cupyx.empty_pinned(size, np.int64) for _ in range(self.SLOTS)]
        self._done = [cupy.cuda.Event(disable_timing=True) for _ in self._slots]
        self._sent = 0
        self._taken = 0

    def take(self, rows: int, size: int) -> tuple[np.ndarray, Any]:
        """The next words (rows, size): where the host writes them, and the device has them."""
        start = self._taken
        self._taken += rows * size
        assert self._taken <= self.here.size
        here, there = (x[start : self._taken] for x in (self.here, self.there))
        return here.reshape(rows, size), there.reshape(rows, size)

    def send(self, stream: Any) -> None:
        """Bring the words to the device, before what `stream` does next."""
        import cupy

        i = self._sent % self.SLOTS
        if self._sent >= self.SLOTS:
            self._done[i].synchronize()  # of some runs ago: the device has long read the slot
        self._slots[i][:] = self.here
        cupy.cuda.runtime.memcpyAsync(
            self.there.data.ptr, self._slots[i].ctypes.data, self.here.nbytes, TO_DEVICE, stream.ptr
        )
        self._done[i].record(stream)
        self._sent += 1


class KeyOnDevice:
    """A key whose words lie on the device: each run draws others."""

    def __init__(self, words: Any):
        self.words = words.view("uint64")

    def __iter__(self) -> Iterator[Any]:
        return iter((self.words[0], self.words[1]))


class DeviceProgram(Program):
    """A captured step on a device; see the module, and `Program`."""

    kind_of_memory = DeviceMemory
    words: Words
    memory: DeviceMemory
    instructions: list[Any]

    def _lower(self, calls: list[Call], kept: set[Value], place: Callable[..., Any]) -> None:
        offsets = 0 if self.groups is None else self.groups.count + 1
        self.words = Words(2 * self.keys_drawn + offsets + sum(map(_words_of, self.updates)))
        self.key_words, self.keys_there = self.words.take(self.keys_drawn, 2)
        if self.groups is not None:
            (self.groups.offsets,), (self.offsets,) = self.words.take(1, offsets)
        import cupy

        self.device = cupy.cuda.runtime.getDevice()
        # Its own, since what is recorded is so on one that nothing else uses; cuBLAS has a handle
        # for it.
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.last: Any = None  # the caller's stream at the last run
        self.runs = 0
        self.parts: list[Any] | None = None  # graphs, and functions in between
        self.chosen: dict[Call, list[Any]] = {}
        if kernels.enabled():
            from minigrad.programs.device_attention import tell
            from minigrad.programs.device_chains import chains
            from minigrad.programs.device_draws import drawn_by_kernels
            from minigrad.programs.device_products import together
            from minigrad.programs.device_scales import scaled_together
            from minigrad.programs.device_sums import sums_of_chains
            from minigrad.programs.fusion import fuse

            graph = Graph(drawn_by_kernels(calls, Device()), kept, Device())
            fuse(graph)
            tell(graph)
            chains(graph)
            sums_of_chains(graph)
            calls = [c for c in graph.calls if c is not None]
            owns = (lambda *values: False) if self.groups is None else self.groups.owns
            if self.groups is None:
                calls = together(calls)
            calls = scaled_together(calls, owns)
            self.chosen = {call: graph.machine.kernels_for(call) for call in calls}
        elif self.groups is not None:
            raise NotByGroup("a step without kernels")
        self.calls = calls

        def scratch(call: Call) -> list:
            needs = (k.needs(*call.inputs, **call.settings) for k in self.chosen.get(call, ()))
            return [like for likes in needs for like in likes]

        self.memory = place(calls, scratch=scratch)
        register_pool("a program of mg.jit", self.memory.pool, self)
        self.instructions, self.call_of = [], []
        with self.stream:
            for i, call in enumerate(calls):
                found = Lowered(self, call).instructions()
                self.instructions += found
                self.call_of += [i] * len(found)

    def copy(self, target: Any, value: Value) -> Instruction:
        return OnDevice("copy", function=functools.partial(_copy, target, value.view()))

    def on_host(self, name: str, function: Callable[[], None]) -> Instruction:
        return OnDevice(name, function=function, who="Python", reason="it reads a number")

    def leaving(self, optimizer: Any, skip: Value, stepped: list) -> Any:
        fits = skip.dtype == np.bool_ and skip.size == 1 and self.groups is None
        if fits and all(_update_kernel(optimizer, flat) is not None for flat, *_ in stepped):
            return LeavingOut(optimizer, skip.view(), {flat: common for flat, common, _ in stepped})
        return super().leaving(optimizer, skip, stepped)

    def update(
        self, optimizer: Any, flat: Any, present: Callable[[], np.ndarray], leaving: Any
    ) -> tuple[list[Instruction], Callable[[], None]]:
        if (kernel := _update_kernel(optimizer, flat)) is not None:
            rule = optimizer.rule(flat)
            table, (starts, stops, steps) = self.words.take(3, len(flat.parameters))
            (numbers,), (options,) = self.words.take(1, 16)
            moments = (*(flat.moments.get(name) for name in optimizer.slots), None, None, None)[:3]
            there = leaving if type(leaving) is LeavingOut else None
            skip, late = (None, None) if there is None else (there.skip, there.steps.number)
            inputs = (
                flat.weights, flat.gradients, *moments, starts, stops, steps,
                options.view("float64"), None, None, skip, late, None,
            )  # fmt: skip
            lines: list[Instruction] = [
                OnDevice(rule, function=launch.ready(), who="CUDA")
                for launch in kernel.launched(machine.Eager(()), [], *inputs, rule=rule)
            ]
            segments, words = Segments(flat, table), numbers.view(np.float64)
            before = optimizer.preparing(flat, present, segments, words, settled=there is None)
            return lines, before
        # A function of Python reads options on the host, which a graph would have built in.
        instruction, before = optimizer.captured(flat, present)
        reason = "this optimizer has no kernel for a device"
        name, function = instruction.name, instruction.function
        return [OnDevice(name, function=function, who="Python", reason=reason)], before

    def _assemble(self, threads: int | None) -> None:
        self.threads, self.work = 1, 0
        self.places = [Place(v.view()) for v in self.arguments]
        self.outputs = [v.view() for v in self.results]

    def _run(self, arrays: Sequence[Any]) -> list[Any]:
        """See `Program.run`; this does not wait for the device.

        Raises:
            BackendError: another device is in force than the one that it belongs to.
        """
        import cupy

        if (here := cupy.cuda.runtime.getDevice()) != self.device:
            raise BackendError(
                f"jit: this program is of cuda:{self.device}, and cuda:{here} is in force; call it "
                f"within `with mg.device('cuda:{self.device}'):`"
            )
        stream = cupy.cuda.get_current_stream()
        if self.last is not None and self.last.ptr != stream.ptr:
            self.last.synchronize()  # the run before has the same memory
        self.last = stream
        for place, x in zip(self.places, arrays, strict=True):
            place.take(x, stream)
        self.begin()
        self.words.send(stream)
        if self.runs == 0:
            with self._beside(stream):
                for instruction in self.instructions:
                    instruction.function()
        else:
            if self.parts is None:
                with _no_collection():  # once for all graphs: it takes a while
                    self.parts = self._recorded()
            for part in self.parts:
                part(stream)
        self.runs += 1
        for array in self.written:
            wrote(array)
        return [y.copy() for y in self.outputs]

    @contextmanager
    def _beside(self, stream: Any) -> Iterator[None]:
        """The program's own stream and pool are current; what came before on `stream` is done
        before, and what comes after waits.
        """
        import cupy

        self.stream.wait_event(stream.record())
        with self.stream, cupy.cuda.using_allocator(self.memory.pool.malloc):
            yield
        stream.wait_event(self.stream.record())

    def __del__(self) -> None:
        with suppress(Exception):  # it may not have come so far; or the process ends
            self.parts, self.instructions = None, []
            self.memory.free()

    # -- recording

    def _recorded(self) -> list[Callable[[Any], None]]:
        """Graphs of what can be recorded, with functions in between: each takes a stream."""
        parts: list[Callable[[Any], None]] = []
        start = 0
        while start < len(self.instructions):
            stop = start
            while stop < len(self.instructions) and not self.instructions[stop].reason:
                stop += 1
            if stop > start:
                graph, failed = self._graph(start, stop)
                if failed is not None:  # it now has a reason
                    continue
                parts.append(graph)
                start = stop
            else:
                parts.append(functools.partial(_called, self.instructions[start].function))
                start += 1
        return parts

    def _graph(self, start: int, stop: int) -> tuple[Callable[[Any], None], int | None]:
        """What launches a graph of some instructions; or which of them cannot be recorded."""
        import cupy

        from minigrad.kernels.cuda.faults import lasting

        failed: int | None = None
        stream = self.stream
        with lasting(), cupy.cuda.using_allocator(self.memory.pool.malloc), stream:
            stream.begin_capture()
            try:
                for i in range(start, stop):
                    try:
                        self.instructions[i].function()
                    except Exception as error:
                        self.instructions[i].reason = f"{type(error).__name__}: {error}"
                        failed = i
                        break
            finally:
                graph = _ended(stream, failed)
        return (lambda s: graph.launch(s)), failed

    # -- telling

    def times(self) -> list[float]:
        """The seconds that each instruction takes on old arguments; it changes what a run does."""
        import cupy

        stream = cupy.cuda.get_current_stream()
        for prepare in self.before:
            prepare()
        self.words.send(stream)
        found = []
        with self._beside(stream):
            for instruction in self.instructions:
                began, ended = cupy.cuda.Event(), cupy.cuda.Event()
                began.record(self.stream)
                instruction.function()
                ended.record(self.stream)
                ended.synchronize()
                found.append(cupy.cuda.get_elapsed_time(began, ended) / 1e3)
        return found

    def table(self, title: str) -> str:
        """A line for each instruction, with shapes, and the time it takes on old arguments."""
        lines = [
            f"{i:5}  {seconds * 1e6:9.1f}  {line.by:6}  {line.name:24}  {line.shapes}"
            + (f"  not recorded: {line.reason}" if line.reason else "")
            for i, (line, seconds) in enumerate(zip(self.instructions, self.times(), strict=True))
        ]
        graphs = len([p for p in self.parts or () if not isinstance(p, functools.partial)])
        head = (
            f"{title}: {len(self.captured)} ops became {len(lines)} launches in {graphs} CUDA "
            f"graphs; {self.memory.bytes / 1e6:.2f} MB of buffers"
        )
        return "\n".join(
            [head, "   no         us  by      what                      shapes", *lines]
        )


class Lowered:
    """Who asks for the launches of a call of a program: see `minigrad.kernels.cuda.machine.Eager`.

    Attributes:
        scratch: the values of what its kernel told that it needs.
    """

    program = True

    def __init__(self, program: DeviceProgram, call: Call):
        self.of, self.call = program, call
        self.scratch: list[Value] = []

    def instructions(self) -> list[OnDevice]:
        """What computes the call.

        Raises:
            NotByGroup: it has to do with parameters of groups, and cannot be done for each.
            CaptureError: calls were put together to one that no kernel takes.
        """
        call = self.call
        shapes = f"{', '.join(map(repr, call.reads))} -> {', '.join(map(repr, call.outputs))}"
        owned = self.owns(*call.reads, *call.outputs)
        scratches = iter(self.of.memory.scratches[call])
        for kernel in self.of.chosen.get(call, ()):
            needs = kernel.needs(*call.inputs, **call.settings)
            self.scratch = [next(scratches) for _ in needs]
            if owned and not kernel.by_group:
                continue
            try:
                launches = kernel.launched(self, call.outputs, *call.inputs, **call.settings)
            except (Declined, NotByGroup):
                continue
            return [
                OnDevice(
                    call.name, function=x.ready(), shapes=shapes, who=getattr(x, "who", "CUDA")
                )
                for x in launches
            ]
        if owned:
            raise NotByGroup(f"'{call.name}' of {shapes}")
        if not (type(call.op) is Op or isinstance(call.op, functools.partial)):
            raise CaptureError(
                f"jit: no kernel computes '{call.name}' of {shapes} on the device; this is a fault"
            )
        return [OnDevice(call.name, function=by_cupy(call, self.of), shapes=shapes)]

    # -- what kernels ask

    def key(self, key: Any) -> tuple[Any, int, int]:
        """A key as three arguments: an address of its two words, or null and the words."""
        if type(key) is Drawn:
            return self.of.keys_there[key.index], 0, 0
        return None, key.low, key.high

    def fault(self, tell: Callable[[int, int], Exception]) -> tuple[Any, int]:
        """Two arguments: see `Eager.fault`."""
        from minigrad.kernels.cuda.faults import lasting, note, words

        with lasting():
            return words(), note(tell)

    def words(self, numbers: Sequence[int]) -> Any:
        """Integers as `i64` on the device, for as long as the program."""
        return self._kept(np.array(numbers, np.int64))

    def _kept(self, array: np.ndarray) -> Any:
        import cupy

        there = cupy.asarray(array)
        self.of.memory.keep_alive.append(there)
        return there

    def owns(self, *values: Any) -> bool:
        """Whether one of the values is a group's own."""
        return self.of.groups is not None and self.of.groups.owns(*values)

    def groups(self, rows: int) -> tuple[int, Any, int]:
        """How many groups, where it lies where each begins, and how many of `rows` a sample has.

        Raises:
            NotByGroup: there are none, or the rows are not those of samples.
        """
        if self.of.groups is None:
            raise NotByGroup
        found = self.of.groups.fields(rows)
        return found["groups"], self.of.offsets, found["each"]

    def table(self, value: Value) -> Any:
        """The addresses of a value in each group, as an array of the device.

        Raises:
            NotByGroup: it is not a group's own, or a part of it.
        """
        found = None if self.of.groups is None else self.of.groups.table(value)
        if found is None:
            raise NotByGroup
        return self._kept(found)


def by_cupy(call: Call, program: DeviceProgram) -> Callable[[], None]:
    """A function that computes a call with CuPy, into the places of its outputs."""
    import cupy

    inputs = [x.view() if type(x) in (Value, Hidden) else x for x in call.inputs]
    for i, x in enumerate(inputs):
        if type(x) is Drawn:
            inputs[i] = KeyOnDevice(program.keys_there[x.index])
    outputs = [y.view() for y in call.outputs]
    ufunc = UFUNCS.get(call.op)
    same = getattr(cupy, ufunc.__name__, None) if ufunc is not None and not call.params else None
    if same is not None and all(type(x) in (cupy.ndarray, int, float) for x in inputs):
        like = same(*inputs).dtype  # computed once, to see what it gives
        if like == outputs[0].dtype:
            return lambda: same(*inputs, out=outputs[0])
    op, params = call.op, call.params

    def compute() -> None:
        found = op(*inputs, **params)
        for y, new in zip(outputs, found if type(found) is tuple else (found,), strict=True):
            y[...] = uncovered(new)[0]

    return compute


class Place:
    """Where an argument lies."""

    def __init__(self, array: Any):
        self.array, self.address = array, array.data.ptr
        self.whole = array.flags.c_contiguous

    def take(self, x: Any, stream: Any) -> None:
        """Copy an argument to it, without waiting."""
        import cupy

        if not (self.whole and x.flags.c_contiguous):
            self.array[...] = x
        elif x.size:
            cupy.cuda.runtime.memcpyAsync(self.address, x.data.ptr, x.nbytes, ON_DEVICE, stream.ptr)


def _copy(target: Any, value: Any) -> None:
    target[...] = value


def _called(function: Callable[[], None], stream: Any) -> None:
    function()


def _words_of(update: Any) -> int:
    """How many words an optimizer's options, segments and steps may take."""
    return sum(16 + 3 * len(flat.parameters) for flat in update.optimizer.flats)


def _update_kernel(optimizer: Any, flat: Any) -> Any:
    """The kernel that makes an optimizer's steps on a buffer; None if there is none."""
    rule, named = optimizer.rule(flat), kernels.twin("updates.update")
    if not (rule and kernels.enabled()) or named is None:
        return None
    kernel = kernels.find(named)
    ids = machine.Stand((len(flat.parameters),), np.dtype("int64"))
    options = machine.Stand((16,), np.dtype("float64"))
    moments = (*(flat.moments.get(name) for name in optimizer.slots), None, None, None)[:3]
    inputs = flat.weights, flat.gradients, *moments, ids, ids, ids, options, *[None] * 5
    return None if kernel.outputs(*inputs, rule=rule) is None else kernel


class LeavingOut:
    """Leaves a step out by a flag on the device, which the host does not read.

    Attributes:
        skip: the flag, ().
        steps: who knows how many were left out.
        first, last: as of `minigrad.programs.program.Kept`.
    """

    last: tuple = ()

    def __init__(self, optimizer: Any, skip: Any, stepped: dict[Any, np.ndarray]):
        import cupy

        from minigrad.kernels.cuda.updates import leave_out

        none = np.zeros(0, np.int64)
        places = [(f, np.append(stepped.get(f, none), -1)) for f in optimizer.flats]
        self.skip, self.steps = skip, LeftOut(places, cupy.zeros((), "int64"))
        self.begin = self.steps.begin
        asks, inputs = machine.Eager(()), (skip, self.steps.number)
        self.first = [
            OnDevice("leave_out", function=launch.ready(), who="CUDA")
            for launch in leave_out.launched(asks, [], *inputs)
        ]


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: what frees a module or memory would spoil a recording."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _ended(stream: Any, failed: int | None) -> Any:
    """The recorded graph; None if something in it has failed."""
    try:
        graph = stream.end_capture()
    except Exception:
        if failed is None:
            raise
        return None
    return graph if failed is None else None

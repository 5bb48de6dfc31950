"""The program that `mg.jit` makes of what was recorded, as data."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minigrad import random
from minigrad.autodiff import Tensor, as_array
from minigrad.backend import is_array, modes, switched, xp
from minigrad.batched import base
from minigrad.errors import CaptureError
from minigrad.programs import Jitted
from minigrad.programs.program import Program
from minigrad.programs.step import jit_enabled
from minigrad.programs.tracing import state_of
from minigrad.programs.values import Call, Value
from minigrad.study.record import Record
from minigrad.study.recorder import Recorder
from minigrad.study.sources import path_of
from minigrad.writes import wrote

TIMES = 5  # that each instruction is timed; the least counts


def add_program(
    record: Record,
    jitted: Jitted,
    f: functools.partial,
    args: tuple,
    kwargs: Mapping[str, Any],
    recorder: Recorder,
) -> None:
    """Give a record the program of `f`, which calls `jitted`, or say why there is none.

    The function is called once more for it, with the random numbers of the recorded run; what that
    changes is put back, of all arrays and tensors that the recorded run has read or changed.
    """
    if refusal := _refusal():
        record.program_note = refusal
        return
    own = Jitted(jitted.function, jitted.threads)  # whose programs are as they were
    own.report = lambda text: None
    put_back = _kept(recorder)
    try:
        with (
            switched(observers=(), capturing=False),  # who watches has seen the recorded run
            random.replayed(list(recorder.keys)),
            np.errstate(all="ignore"),  # nobody will have these numbers
        ):
            own(*f.args, *args, **{**f.keywords, **kwargs})
            if own.as_it_is:
                record.program_note = _told(f"it runs as it is: {own.as_it_is}")
            else:
                with own.measuring() as program:
                    record.program = as_data(program)
    except CaptureError as error:
        record.program_note = _told(str(error))
    except Exception as error:  # a second call may not be the like of the first
        record.program_note = _told(f"called once more it raised {type(error).__name__}: {error}")
    finally:
        put_back()


def _refusal() -> str:
    """Why no program can be made here; empty if one can."""
    mode = modes.get()
    if not jit_enabled.get():
        return "mg.disable_jit is in force"
    if xp() is not np:
        return "a device computes here, whose programs this does not show; jitted.program() does"
    if mode.levels or mode.differentiating:
        return "it was called inside a transform, where no programs are made"
    return ""


def _kept(recorder: Recorder) -> Callable[[], None]:
    """What puts back all that the recorded run has read or changed; gradients are as before it."""
    found = list(recorder.outside())
    tensors = [(t, as_array(t)) for t in found if type(t) is Tensor]
    grads = [(t, t.grad) for t, _ in recorder.gradients.values()]
    arrays = [a for optimizer in recorder.optimizers for a in state_of(optimizer)]
    arrays += [base(x) for x in found if is_array(x)]
    arrays += [a for _, a in tensors]
    arrays += [as_array(g) for _, g in grads if type(g) is Tensor]
    kept = [(a, a.copy()) for a in {id(a): a for a in arrays if type(a) is np.ndarray}.values()]
    for t, before in recorder.gradients.values():
        t.grad = before

    def put_back() -> None:
        for t, a in tensors:
            if as_array(t) is not a:
                t.data = a
        for a, old in kept:
            if a.tobytes() != old.tobytes():
                a[...] = old
                wrote(a)
        for t, g in grads:
            t.grad = g

    return put_back


def _told(reason: str) -> str:
    """A message with the paths of files as a record has them."""
    return re.sub(r"(?<=\bat )(.+?)(?=:\d+)", lambda found: path_of(found.group()), reason)


def as_data(program: Program) -> dict[str, Any]:
    """A program as a record has it; see FORMAT.md."""
    seconds = [min(ts) for ts in zip(*(program.times() for _ in range(TIMES)), strict=True)]
    count = len(program.instructions)
    number = {call: i for i, call in enumerate(program.captured)}
    by_call: dict[int, list[int]] = {}
    for number_of, call_of in enumerate(program.call_of):
        by_call.setdefault(call_of, []).append(number_of)
    became = {
        number[part]: by_call[i][0]
        for i, call in enumerate(program.calls)
        for part in call.parts or (call,)
        if i in by_call
    }
    storages = {storage: i for i, storage in enumerate(program.memory.storages)}

    def places(values: list[Value]) -> list[int]:
        found = {storages.get(v.root.place) for v in values}
        return sorted(i for i in found if i is not None)

    instructions = []
    for i, instruction in enumerate(program.instructions):
        own = program.calls[program.call_of[i]] if i < len(program.call_of) else None
        parts = [] if own is None else [number[part] for part in own.parts or (own,)]
        instructions.append(
            {
                "name": instruction.name,
                "by": instruction.by,
                "shapes": instruction.shapes,
                "seconds": seconds[i],
                "calls": sorted(parts),
                "reads": [] if own is None else places(own.reads),
                "writes": [] if own is None else places(own.outputs),
            }
        )
    return {
        "calls": [
            {
                "op": call.name,
                "inputs": [repr(x) if isinstance(x, Value) else str(x)[:80] for x in call.inputs],
                "outputs": [repr(y) for y in call.outputs],
                "instruction": became.get(i),
            }
            for i, call in enumerate(program.captured)
        ],
        "instructions": instructions,
        "places": [
            {
                "offset": s.offset,
                "size": s.size,
                "first": -1 if s.first < 0 else by_call.get(s.first, [count])[0],
                "last": by_call[s.last][-1] if s.last in by_call else count,
                "what": what,
            }
            for s, what in zip(storages, _holds(program, storages), strict=True)
        ],
        "bytes": program.memory.bytes,
        "threads": program.threads or 0,
    }


def _holds(program: Program, storages: Mapping[Any, int]) -> Iterator[str]:
    """What each place holds, in words."""
    names: list[list[str]] = [[] for _ in storages]
    for v in program.arguments:
        if (i := storages.get(v.root.place)) is not None:
            names[i].append(f"{v!r}, an argument")
    for call in program.calls:
        for y in call.outputs:
            if (i := storages.get(y.root.place)) is not None:
                names[i].append(f"{y!r} of {_name(call)}")
    for call, values in program.memory.scratches.items():
        for v in values:
            names[storages[v.place]].append(f"what {_name(call)} needs meanwhile")
    for parts in names:
        yield "; then ".join(parts)


def _name(call: Call) -> str:
    chain = call.params.get("chain")
    return call.name if chain is None else ", ".join(op.__name__ for op, _ in chain.steps)

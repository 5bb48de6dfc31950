"""Chains of element-by-element ops as one pass over memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.kernels import elementwise as kernel
from minigrad.kernels.layouts import flat
from minigrad.ops.elementwise import where
from minigrad.programs.values import Call, Graph, Value, kernels_know

CODES = {
    ops.add: kernel.ADD, ops.subtract: kernel.SUBTRACT, ops.multiply: kernel.MULTIPLY,
    ops.divide: kernel.DIVIDE, ops.maximum: kernel.MAXIMUM, ops.minimum: kernel.MINIMUM,
    ops.greater: kernel.GREATER, ops.greater_equal: kernel.GREATER_EQUAL, ops.less: kernel.LESS,
    ops.less_equal: kernel.LESS_EQUAL, ops.equal: kernel.EQUAL, ops.not_equal: kernel.NOT_EQUAL,
    where: kernel.WHERE, ops.negative: kernel.NEGATIVE, ops.absolute: kernel.ABSOLUTE,
    ops.square: kernel.SQUARE, ops.sqrt: kernel.SQRT, ops.reciprocal: kernel.RECIPROCAL,
    ops.exp: kernel.EXP, ops.sigmoid: kernel.SIGMOID, ops.tanh: kernel.TANH,
}  # fmt: skip
MOST_LINES, MOST_VALUES = 40, 12


@dataclass
class Chain:
    """Steps (op, numbers of earlier steps or inputs): input i is -1 - i, step i is i."""

    inputs: list[Any]
    steps: list[tuple[Any, tuple[int, ...]]]

    def take(self, x: Any) -> int:
        """The number of an input, which is listed once."""
        for i, known in enumerate(self.inputs):
            if known is x or (
                type(x) is Value
                and type(known) is Value
                and (known.root, known.offset, known.shape, known.strides)
                == (x.root, x.offset, x.shape, x.strides)
            ):
                return -1 - i
        self.inputs.append(x)
        return -len(self.inputs)

    def lines(self, y: Value) -> np.ndarray:
        """What the kernel runs to compute y: see `minigrad.kernels.elementwise`."""
        found = []
        for what, sources, register in _allocated(self):
            if what is not None:
                found.append((CODES[what], register, *(*sources, 0, 0, 0)[:3]))
                continue
            x = self.inputs[-1 - sources[0]]
            if type(x) is not Value:
                bits = int(np.float64(x).view(np.int64))
                found.append((kernel.NUMBER, register, bits, 0, 0))
            elif flat(x, y):
                found.append((kernel.LOAD, register, x.address, 0, 0))
            elif x.size == 1:
                found.append((kernel.LOAD_ONE, register, x.address, 0, 0))
            else:
                found.append((kernel.LOAD_ROWS, register, x.address, x.size, 0))
        found.append((kernel.STORE, found[-1][1], y.address, 0, 0))
        return np.array(found, np.int64)


def _operand(x: Any, y: Value) -> bool:
    """Whether `x` can be loaded beside `y`: a number, one element, the last axes, or all."""
    if type(x) in (int, float, bool):
        return True
    if type(x) is not Value or x.dtype != y.dtype:
        return False
    if x.size == 1 or flat(x, y):
        return True
    n = len(x.shape)
    return y.c_contiguous and x.c_contiguous and n > 0 and x.shape == y.shape[len(y.shape) - n :]


def chains(graph: Graph) -> None:
    """Put each elementwise call together with those that only it reads."""
    made: dict[Call, Chain] = {}
    for call in graph.plain():
        op, given = call.op, call.inputs
        if op is ops.power and type(given[1]) in (int, float) and given[1] == 2:
            op, given = ops.square, given[:1]
        if op not in CODES or call.params or len(call.outputs) != 1:
            continue
        y = call.outputs[0]
        compares = y.dtype == bool
        if op is ops.tanh and y.dtype != np.float32:  # the kernel's is not good enough
            continue
        if y.root is not y or not y.size or not (compares or kernels_know(call)):
            continue
        floats = [x for x in call.reads if x.dtype.kind == "f"]
        whole = next((x for x in floats if x.shape == y.shape), None) if compares else y
        if whole is None or (compares and whole.strides != _scaled(y, whole)):
            continue
        chain, absorbed, fits = Chain([], []), [], True
        numbers = []
        for x in given:
            maker = graph.maker.get(x.root) if type(x) is Value else None
            if (
                maker in made
                and graph.only_reader(x) is call
                and x.shape == maker.outputs[0].shape
                and x.strides == maker.outputs[0].strides == _scaled(whole, x)
                and x.shape == y.shape
                # What was compared may have another dtype than what is chosen by it.
                and all(type(v) is not Value or v.dtype == whole.dtype for v in made[maker].inputs)
            ):
                inner = made[maker]
                moved = [chain.take(v) for v in inner.inputs]
                shift = len(chain.steps)
                for step, sources in inner.steps:
                    chain.steps.append(
                        (step, tuple(s + shift if s >= 0 else moved[-1 - s] for s in sources))
                    )
                numbers.append(len(chain.steps) - 1)
                absorbed.append(maker)
            elif type(x) is Value and x.dtype == bool:
                fits = False
            elif _operand(x, whole):
                numbers.append(chain.take(x))
            else:
                fits = False
        if not fits or (op is where) != (len(numbers) == 3):
            continue
        chain.steps.append((op, tuple(numbers)))
        if len(chain.steps) + len(chain.inputs) > MOST_LINES or _registers(chain) > MOST_VALUES:
            continue
        made[call] = chain
        if compares:
            continue
        if op is ops.add and not absorbed:
            continue  # which has a kernel of its own
        values = [x for x in chain.inputs if type(x) is Value]
        new = Call("elementwise", kernel.elementwise, values, {"chain": chain}, call.outputs)
        graph.replace([*absorbed, call], new)
        del made[call]
        made[new] = chain


def _scaled(y: Value, like: Value) -> tuple[int, ...]:
    """The strides of `y` as they would be with the elements of `like`."""
    return tuple(s * like.dtype.itemsize // y.dtype.itemsize for s in y.strides)


def _registers(chain: Chain) -> int:
    return max(number for *_, number in _allocated(chain)) + 1


def _allocated(chain: Chain) -> list[tuple[Any, tuple[int, ...], int]]:
    """Steps with registers in place of numbers; (None, (input,), register) is to load one."""
    last: dict[int, int] = {}
    for i, (_, sources) in enumerate(chain.steps):
        for s in sources:
            last[s] = i
    found: list[tuple[Any, tuple[int, ...], int]] = []
    at: dict[int, int] = {}
    free: list[int] = []
    most = 0

    def register() -> int:
        nonlocal most
        if free:
            return free.pop()
        most += 1
        return most - 1

    # Numbers are written once, so they keep their registers.
    for i, x in enumerate(chain.inputs):
        if type(x) is not Value:
            at[-1 - i] = register()
            found.append((None, (-1 - i,), at[-1 - i]))
    for i, (op, sources) in enumerate(chain.steps):
        for s in sources:
            if s not in at:
                at[s] = register()
                found.append((None, (s,), at[s]))
        registers = tuple(at[s] for s in sources)
        for s in set(sources):
            if last[s] == i and (s >= 0 or type(chain.inputs[-1 - s]) is Value):
                free.append(at[s])
        at[i] = register()
        found.append((op, registers, at[i]))
    return found

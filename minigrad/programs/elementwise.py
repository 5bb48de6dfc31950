"""Chains of element-by-element ops as one pass over memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.programs.fusion import Graph, flat
from minigrad.programs.values import Call, Value, kernels_know

NAMES = {
    "add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide",
    "true_divide": "divide", "maximum": "maximum", "minimum": "minimum", "greater": "greater",
    "greater_equal": "greater_equal", "less": "less", "less_equal": "less_equal",
    "equal": "equal", "not_equal": "not_equal", "where": "where", "choice": "where",
    "negative": "negative", "abs": "absolute", "absolute": "absolute", "square": "square",
    "sqrt": "sqrt", "reciprocal": "reciprocal", "exp": "exp", "sigmoid": "sigmoid",
    "tanh": "tanh",
}  # fmt: skip
MOST_LINES, MOST_VALUES = 40, 12


@dataclass
class Chain:
    """Lines (name, numbers of earlier lines or inputs): input i is -1 - i, line i is i."""

    inputs: list[Any]
    lines: list[tuple[str, tuple[int, ...]]]

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


def _operand(x: Any, y: Value) -> bool:
    """Whether `x` can be loaded beside `y`: a number, one element, the last axes, or all."""
    if type(x) in (int, float, bool):
        return True
    if type(x) is not Value or x.dtype != y.dtype:
        return False
    if x.size == 1 or flat(x, y):
        return True
    n = len(x.shape)
    return y.contiguous and x.contiguous and n > 0 and x.shape == y.shape[len(y.shape) - n :]


def chains(graph: Graph) -> None:
    """Put each elementwise call together with those that only it reads."""
    made: dict[Call, Chain] = {}
    booleans: dict[Value, Call] = {}  # comparisons, of which only chains may read
    for call in graph.plain():
        op, given = NAMES.get(call.name), call.inputs
        if call.name == "power" and type(given[1]) in (int, float) and given[1] == 2:
            op, given = "square", given[:1]
        if call.op is None or op is None or call.params or len(call.outputs) != 1:
            continue
        y = call.outputs[0]
        compares = y.dtype == bool
        if op == "tanh" and y.dtype != np.float32:  # the kernel's is not good enough
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
                shift = len(chain.lines)
                for name, sources in inner.lines:
                    chain.lines.append(
                        (name, tuple(s + shift if s >= 0 else moved[-1 - s] for s in sources))
                    )
                numbers.append(len(chain.lines) - 1)
                absorbed.append(maker)
            elif type(x) is Value and x.dtype == bool:
                fits = False
            elif _operand(x, whole):
                numbers.append(chain.take(x))
            else:
                fits = False
        if not fits or (op == "where") != (len(numbers) == 3):
            continue
        chain.lines.append((op, tuple(numbers)))
        if len(chain.lines) + len(chain.inputs) > MOST_LINES or _registers(chain) > MOST_VALUES:
            continue
        made[call] = chain
        if compares:
            booleans[y] = call
            continue
        if call.name == "add" and not absorbed:
            continue  # a handler of its own
        values = [x for x in chain.inputs if type(x) is Value]
        new = Call("elementwise", None, values, {"chain": chain}, call.outputs)
        graph.replace([*absorbed, call], new)
        del made[call]
        made[new] = chain


def _scaled(y: Value, like: Value) -> tuple[int, ...]:
    """The strides of `y` as they would be with the elements of `like`."""
    return tuple(s * like.dtype.itemsize // y.dtype.itemsize for s in y.strides)


def _registers(chain: Chain) -> int:
    return max(number for *_, number in _allocated(chain)) + 1


def _allocated(chain: Chain) -> list[tuple[str, tuple[int, ...], int]]:
    """Lines with registers in place of numbers: ('load', (input,), register), then the ops."""
    last: dict[int, int] = {}
    for i, (_, sources) in enumerate(chain.lines):
        for s in sources:
            last[s] = i
    found, where, free, most = [], {}, [], 0

    def register() -> int:
        nonlocal most
        if free:
            return free.pop()
        most += 1
        return most - 1

    # Numbers are written once, so they keep their registers.
    for i, x in enumerate(chain.inputs):
        if type(x) is not Value:
            where[-1 - i] = register()
            found.append(("load", (-1 - i,), where[-1 - i]))
    for i, (name, sources) in enumerate(chain.lines):
        for s in sources:
            if s not in where:
                where[s] = register()
                found.append(("load", (s,), where[s]))
        registers = tuple(where[s] for s in sources)
        for s in set(sources):
            if last[s] == i and (s >= 0 or type(chain.inputs[-1 - s]) is Value):
                free.append(where[s])
        where[i] = register()
        found.append((name, registers, where[i]))
    return found


def table(call: Call) -> np.ndarray:
    """The lines of a call as the handler reads them."""
    from minigrad.kernels import elementwise as kernel

    chain, y = call.params["chain"], call.outputs[0]
    lines = []
    for name, sources, register in _allocated(chain):
        if name != "load":
            padded = (*sources, 0, 0, 0)[:3]
            lines.append((kernel.CODES[name], register, *padded))
            continue
        x = chain.inputs[-1 - sources[0]]
        if type(x) is not Value:
            bits = int(np.float64(x).view(np.int64))
            lines.append((kernel.NUMBER, register, bits, 0, 0))
        elif flat(x, y):
            lines.append((kernel.LOAD, register, x.address, 0, 0))
        elif x.size == 1:
            lines.append((kernel.LOAD_ONE, register, x.address, 0, 0))
        else:
            lines.append((kernel.LOAD_ROWS, register, x.address, x.size, 0))
    lines.append((kernel.STORE, lines[-1][1], y.address, 0, 0))
    return np.array(lines, np.int64)

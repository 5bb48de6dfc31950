"""What convolutions and pooling are made of: windows as layouts of the same memory.

`_windows` (see `minigrad.ops.convs`) copies what a kernel sees. Where the reader can take it as one
axis more over the old memory, nothing is copied.
"""

from typing import Any

import numpy as np

from minigrad.programs.fusion import Graph, flat
from minigrad.programs.values import Call, Value, kernels_know

AXES = 6
READ_ANY_LAYOUT = ("_windows",)


def layout(root: Value, shape: tuple, strides: tuple, offset: int) -> Value:
    """Another view of a root."""
    found = Value(np.empty(0, root.dtype), root, offset)
    found.shape, found.strides = tuple(shape), tuple(strides)
    return found


def windows_of(x: Value, axis: int, size: int, count: int, stride: int, dilation: int) -> Value:
    """The windows along `axis` (from the end) as a view: (A, B, size, ..., count, ...)."""
    shape, strides = list(x.shape), list(x.strides)
    step = strides[axis]
    shape[axis], strides[axis] = count, step * stride
    shape.insert(2, size)
    strides.insert(2, step * dilation)
    return layout(x.root, shape, strides, x.offset)


def _along(call: Call) -> dict[str, int]:
    return {"stride": 1, "dilation": 1} | call.params


def use_layouts(graph: Graph) -> None:
    """Windows that are read by what can read any layout are not copied."""
    for call in graph.plain():
        if call.name != "_windows" or call.op is None or not kernels_know(call):
            continue
        out, x = call.outputs[0], call.inputs[0]
        readers = graph.readers.get(out.root, [])
        if out.root in graph.kept or not readers:
            continue
        if not all(r.name in READ_ANY_LAYOUT and r.reads[0].size == out.size for r in readers):
            continue
        view = windows_of(x, **_along(call))
        for reader in readers:
            old = reader.inputs[0]
            if old.shape != view.shape:
                break
        else:
            graph.drop(call)
            for reader in readers:
                reader.inputs[0] = view
                graph.readers.setdefault(view.root, []).append(reader)


def row_biases(graph: Graph) -> None:
    """The bias of each row of a product, as convolutions have it, added on the way."""
    for call in graph.plain():
        if call.name != "add" or call.op is None or len(call.reads) != 2:
            continue
        for a, b in (call.inputs, call.inputs[::-1]):
            maker = graph.maker.get(a.root)
            if (
                maker is None
                or maker.name != "product"
                or maker.inputs[2] is not None
                or maker.params["add"]
                or graph.only_reader(a) is not call
                or a.size != a.root.size
                or not flat(a, call.outputs[0])
                or b.size != maker.params["m"]
                or not b.contiguous
                or b.dtype != a.dtype
            ):
                continue
            # The axis of the bias must be the rows of the product.
            axes = [i for i, n in enumerate(b.shape) if n > 1]
            place = axes[0] - len(b.shape) if axes else None
            row = maker.params["n"] * a.dtype.itemsize
            if len(axes) > 1 or (place is not None and a.strides[place] != row):
                continue
            if place is not None and a.shape[place] != maker.params["m"]:
                continue
            params = maker.params | {"by_row": True}
            inputs = [*maker.inputs[:2], b]
            graph.replace([maker, call], Call("product", None, inputs, params, call.outputs))
            break


# --------------------------------------------------------------------------------------- writing


def _steps(shape: tuple, *strides: tuple, item: int) -> tuple[list[int], list[list[int]]] | None:
    """Lengths and steps in elements, neighbours joined where all layouts allow it."""
    axes = [(n, *(s[i] for s in strides)) for i, n in enumerate(shape) if n != 1]
    joined: list[tuple] = []
    for axis in axes:
        if joined and all(
            outer == inner * axis[0] for outer, inner in zip(joined[-1][1:], axis[1:], strict=True)
        ):
            joined[-1] = (joined[-1][0] * axis[0], *axis[1:])
        else:
            joined.append(axis)
    joined = joined or [(1, *(item for _ in strides))]
    if len(joined) > AXES or any(s % item or s < 0 for _, *steps in joined for s in steps):
        return None
    lengths = [n for n, *_ in joined]
    return lengths, [[axis[i + 1] // item for axis in joined] for i in range(len(strides))]


def _filled(numbers: list[int]) -> list[int]:
    return numbers + [0] * (AXES - len(numbers))


def strided_words(y: Value, a: Value, b: Value | None, what: int) -> list[int] | None:
    """The words of the handler `strided`; None if a layout is not for it."""
    layouts = [v.strides for v in (y, a, b) if v is not None]
    found = _steps(y.shape, *layouts, item=y.dtype.itemsize)
    if found is None or not y.size:
        return None
    lengths, steps = found
    words = [y.address, a.address, b.address if b is not None else 0, what, len(lengths)]
    for numbers in (lengths, *steps):
        words += _filled(numbers)
    return words


def max_windows_words(to: Value, x: Value, g: Value | None, params: dict) -> list[int] | None:
    """The words of `max_windows`, to an output, or with `g` of its gradient, to that of `x`."""
    kernel, stride, dilation = params["kernel"], params["stride"], params["dilation"]
    counts, item = params["counts"], x.dtype.itemsize
    values = [to, x] if g is None else [to, x, g]
    if len(kernel) > 2 or not to.size:
        return None
    words = [to.address, x.address, *x.shape[:2]]
    for v in values:
        steps = planes(v.shape, v.strides, item)
        if steps is None:
            return None
        words += steps if v is not g else []
    one = (1,) * (2 - len(kernel))
    for numbers in (x.shape[2:], counts, kernel, stride, dilation):
        words += [*one, *numbers]
    return words if g is None else [*words, g.address, *planes(g.shape, g.strides, item)]


def planes(shape: tuple, strides: tuple, item: int) -> list[int] | None:
    """Steps in elements along the first two axes, if what is behind them lies without gaps."""
    expected = item
    for n, s in zip(shape[:1:-1], strides[:1:-1], strict=True):
        if n != 1 and s != expected:
            return None
        expected *= n
    if any(s % item or s < 0 for s in strides[:2]):
        return None
    return [s // item for s in strides[:2]]


def sum_windows_words(call: Call) -> list[int] | None:
    g, y = call.inputs[0], call.outputs[0]
    p = {"stride": 1, "dilation": 1} | call.params
    if not y.contiguous:
        return None
    axis = p["axis"]
    target = windows_of(y, axis, g.shape[2], g.shape[axis], p["stride"], p["dilation"])
    item = y.dtype.itemsize
    without = [v.strides[:2] + v.strides[3:] for v in (target, g)]
    shape = g.shape[:2] + g.shape[3:]
    found = _pieces(shape, without, y, item)
    if found is None or g.strides[2] % item or g.strides[2] < 0:
        return None
    lengths, steps, whole, leading = found
    words = [y.address, g.address, 0, g.shape[2], len(lengths)]
    for numbers in (lengths, *steps):
        words += _filled(numbers)
    return [*words, target.strides[2] // item, g.strides[2] // item, whole, leading]


def _pieces(shape: tuple, strides: list[tuple], whole: Value, item: int) -> Any:
    """Lengths and steps as `_steps`; elements of `whole` in a piece, and how many axes count them.

    Pieces are what threads share: what belongs to one index of the first two axes.
    """
    first = _steps(shape[:2], *(s[:2] for s in strides), item=item)
    rest = _steps(shape[2:], *(s[2:] for s in strides), item=item)
    if first is None or rest is None or not whole.size:
        return None
    lengths = first[0] + rest[0]
    if len(lengths) > AXES:
        return None
    steps = [a + b for a, b in zip(first[1], rest[1], strict=True)]
    pieces = shape[0] * shape[1]
    return lengths, steps, whole.size // pieces, len(first[0])


def channel_sum_words(x: Value, y: Value, axis: Any) -> list[int] | None:
    """The words for sums of (A, C, ...) over all axes but the second."""
    n = len(x.shape)
    axes = tuple(sorted(a % n for a in (axis if isinstance(axis, tuple) else (axis,))))
    if n < 3 or axes != (0, *range(2, n)) or not x.size or not y.contiguous:
        return None
    item = x.dtype.itemsize
    found = _steps(x.shape[2:], x.strides[2:], item=item)
    if found is None or len(found[0]) != 1 or found[1][0][0] != 1:
        return None
    if any(s % item or s < 0 for s in x.strides[:2]):
        return None
    a, c = x.shape[:2]
    return [y.address, x.address, a, c, found[0][0], x.strides[0] // item, x.strides[1] // item]

"""Arrays that are multiplied by the same number, as one launch: gradients that are clipped."""

from collections.abc import Callable
from typing import Any

from minigrad.kernels.cuda.elementwise import elementwise
from minigrad.kernels.cuda.updates import scaled
from minigrad.programs.values import Call, Value


def scaled_together(calls: list[Call], owns: Callable[..., bool]) -> list[Call]:
    """The calls with those multiplications put together, where the first of them is needed.

    Args:
        owns: whether a group of rows has one of some values for itself; those stay alone.
    """
    found: list[Call] = []
    waiting: dict[Value, list[tuple[Value, Call]]] = {}

    def go(factor: Value) -> None:
        pairs = waiting.pop(factor)
        if len(pairs) == 1:
            found.append(pairs[0][1])
            return
        outputs = [c.outputs[0] for _, c in pairs]
        parts = tuple(part for _, c in pairs for part in c.parts or (c,))
        inputs: list[Any] = [factor, *(x for x, _ in pairs)]
        found.append(Call("scaled", scaled, inputs, {}, outputs, parts=parts))

    for call in calls:
        roots = {x.root for x in call.reads}
        over = None if call.into is None else call.into.root
        for factor, pairs in list(waiting.items()):
            made = {c.outputs[0].root for _, c in pairs}
            read = {factor.root, *(x.root for x, _ in pairs)}
            if roots & made or over in made or over in read:
                go(factor)
        both = _factor_and_array(call)
        if both is None or owns(*call.reads, *call.outputs):
            found.append(call)
        else:
            waiting.setdefault(both[0], []).append((both[1], call))
    for factor in list(waiting):
        go(factor)
    return found


def _factor_and_array(call: Call) -> tuple[Value, Value] | None:
    """What a call multiplies, if it does no more than that: a number of the device, an array."""
    if call.op is not elementwise or call.into is not None or len(call.inputs) != 2:
        return None
    steps, (y,) = call.params["steps"], call.outputs[:1]
    if len(steps) != 1 or steps[0].name != "multiply" or len(call.reads) != 2:
        return None
    x, factor = call.inputs if call.inputs[0].shape == y.shape else call.inputs[::-1]
    fits = x.shape == y.shape and x.dtype == y.dtype and factor.shape == () and x.ndim
    if not fits or scaled.outputs(factor, x) is None or not y.c_contiguous:
        return None
    return factor, x

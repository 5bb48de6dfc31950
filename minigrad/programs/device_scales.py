"""Arrays that are cast, or multiplied by the same number, as one launch: weights, gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad.kernels.cuda.elementwise import elementwise
from minigrad.kernels.cuda.updates import scaled
from minigrad.programs.device_waiting import waited_for
from minigrad.programs.values import Call, Value


class Kind(NamedTuple):
    """What those of one launch have in common: a number () of the device or None, and a dtype."""

    factor: Value | None
    dtype: np.dtype


def scaled_together(calls: list[Call], owns: Callable[..., bool]) -> list[Call]:
    """The calls with those put together, where the first of them is needed.

    Casts of what lies outside and is not changed, as weights under autocast, stand where the first
    of them does.

    Args:
        owns: whether a group of rows has one of some values for itself; those stay alone.
    """
    kinds = {c: own for c in calls if (own := _kind(c)) and not owns(*c.reads, *c.outputs)}
    changed = {v.root for c in calls for v in (*c.outputs, c.into) if v is not None}
    early: dict[Kind, list[Call]] = {}
    for call, (kind, x) in kinds.items():
        if kind.factor is None and x.root.array is not None and x.root not in changed:
            early.setdefault(kind, []).append(call)

    def joined(kind: Kind, those: list[Call]) -> Call:
        if len(those) == 1:
            return those[0]
        outputs = [c.outputs[0] for c in those]
        parts = tuple(part for c in those for part in c.parts or (c,))
        inputs: list[Any] = [kind.factor, *(kinds[c][1] for c in those)]
        return Call("scaled", scaled, inputs, {"dtype": kind.dtype}, outputs, parts=parts)

    first = {those[0]: joined(kind, those) for kind, those in early.items()}
    gone = {c for those in early.values() for c in those[1:]}
    may_wait = {c: kind for c, (kind, _) in kinds.items() if c not in first}
    return waited_for([first.get(c, c) for c in calls if c not in gone], may_wait, joined)


def _kind(call: Call) -> tuple[Kind, Value] | None:
    """What a call does, if it does no more than cast an array, or multiply it, or both."""
    if call.op is not elementwise or call.into is not None or len(call.outputs) != 1:
        return None
    (y,), steps = call.outputs, call.params["steps"]
    names = [s.name for s in steps]
    if len(call.reads) != len(call.inputs) or names not in (
        ["astype"], ["multiply"], ["astype", "multiply"],
    ):  # fmt: skip
        return None
    if len(names) == 2 and 0 not in steps[1].sources:
        return None
    if names == ["astype"]:
        (x,), factor = call.inputs, None
    elif len(call.inputs) == 2:
        x, factor = call.inputs if call.inputs[0].shape == y.shape else call.inputs[::-1]
    else:
        return None
    fits = x.shape == y.shape and x.ndim and y.c_contiguous and x is not factor
    if not fits or (factor is not None and (factor.shape != () or factor.dtype != y.dtype)):
        return None
    if len(names) == 2 and (steps[0].dtype != y.dtype or steps[0].sources != (_place(call, x),)):
        return None
    if names != ["astype"] and x.dtype != y.dtype and x.dtype.itemsize >= y.dtype.itemsize:
        return None  # it would be rounded once, not twice
    if scaled.outputs(factor, x, dtype=y.dtype) is None:
        return None
    return Kind(factor, y.dtype), x


def _place(call: Call, x: Value) -> int:
    """How steps name an input."""
    return -1 - next(i for i, v in enumerate(call.inputs) if v is x)

"""Calls as functions that call NumPy, or the op itself: where there is no kernel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.autodiff import REGISTRY, Op
from minigrad.backend import is_array
from minigrad.kernels.instructions import Drawn
from minigrad.programs.values import Call, Hidden, Value, uncovered

# Primitives that are the ufunc of their name. (A composite may mean something else.)
UFUNCS: dict[Any, np.ufunc] = {
    op: ufunc
    for name, op in REGISTRY.items()
    if type(op) is Op and op.primitive and op.outputs == 1
    if type(ufunc := getattr(np, name, None)) is np.ufunc
}


def in_python(call: Call, keys: list) -> Callable[[], None]:
    """A function that computes a call with NumPy, into the places of its outputs."""
    inputs = [x.view() if type(x) in (Value, Hidden) else x for x in call.inputs]
    outputs = [y.view() for y in call.outputs]
    ufunc = UFUNCS.get(call.op)
    if ufunc is not None and not call.params:
        y = outputs[0]
        plain = all(type(x) in (int, float) or _as_it_is(x) for x in (*inputs, y))
        if plain and ufunc.nin == len(inputs) and _gives(ufunc, inputs) == y.dtype:
            return lambda: ufunc(*inputs, out=y)
    op, params = call.op, call.params

    def compute() -> None:
        values = [keys[x.index] if type(x) is Drawn else x for x in inputs]
        found = op(*values, **params)
        for y, new in zip(outputs, found if type(found) is tuple else (found,), strict=True):
            y[...] = uncovered(new)[0]

    return compute


def _as_it_is(x: Any) -> bool:
    """Whether ops take an array as it is: those of 16 bits they multiply in float32."""
    return type(x) is np.ndarray and (x.dtype.kind not in "fV" or x.dtype.itemsize > 2)


def _gives(ufunc: np.ufunc, inputs: Sequence[Any]) -> Any:
    """The dtype that a ufunc gives; None if that is not known without computing."""
    try:
        types = (x.dtype if is_array(x) else type(x) for x in inputs)
        return ufunc.resolve_dtypes((*types, None))[-1]
    except TypeError:
        return None

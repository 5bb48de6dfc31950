"""Gradients kept within bounds."""

import math
from collections import Counter
from typing import Any

import numpy as np

from minigrad import kernels, ops
from minigrad.autodiff import Tensor, primitive
from minigrad.backend import array_module, modes
from minigrad.errors import GradientError
from minigrad.optim.flat import rows_in
from minigrad.optim.naming import Parameters, pairs_of
from minigrad.writes import wrote


def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Any:
    """Scale all gradients so that their common norm is at most `max_norm`.

    In place, where a gradient has its array for itself. Gradients that are views or share an array,
    as those from `minigrad.gradients` may, get arrays of their own.

    Args:
        parameters: as for an optimizer, or without names, or one parameter alone.
        norm_type: p of the p-norm, `math.inf` for the largest of all.
        error_if_nonfinite: raise GradientError if the norm is not finite, rather than scale
            nothing.

    Returns:
        The norm before, a float; under `mg.jit`, where it is not known yet, a Tensor. Absent
        gradients stay absent.

    Raises:
        ValueError: `max_norm` or `norm_type` is not positive.
        GradientError: the norm is not finite, and `error_if_nonfinite`.
    """
    if isinstance(max_norm, bool) or not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, got {max_norm}")
    if isinstance(norm_type, bool) or not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be positive, got {norm_type}")
    owners = [p for _, p in pairs_of(parameters) if p.grad is not None]
    grads: list[Any] = [p.grad for p in owners]
    if modes.get().capturing and grads:
        known_later, clipped = _by_ops(grads, max_norm, norm_type)
        for p, g in zip(owners, clipped, strict=True):
            p.grad = g
        return known_later
    arrays = [_values(g) for g in grads]
    if not arrays:
        return 0.0
    wide = (array.astype("float64").reshape(-1) for array in arrays)
    if norm_type == 2:
        norm = _norm(arrays)
    elif norm_type == math.inf:
        peaks = [float(abs(g).max()) for g in wide if g.size]
        norm = math.nan if any(map(math.isnan, peaks)) else max(peaks, default=0.0)
    else:
        norm = float(sum((abs(g) ** norm_type).sum() for g in wide)) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        bad = [
            f"'{p.name}' {p.shape}"
            for p, array in zip(owners, arrays, strict=True)
            if not bool(array_module(array).isfinite(array).all())
        ]
        raise GradientError(
            f"clip_grad_norm_: the norm of the gradients is {norm}; not finite are those of "
            f"{', '.join(bad) or 'none, it overflows'}"
        )
    if max_norm < norm < math.inf:
        scale = float(max_norm / norm)  # a NumPy scalar would lift float32
        uses = Counter(id(_owner(array)) for array in arrays)
        for g, array in zip(grads, arrays, strict=True):
            own = _owner(array) is array and uses[id(array)] == 1
            if own and getattr(array.flags, "writeable", True):  # CuPy's arrays always are
                array *= scale
                wrote(array)
            elif (sparse := rows_in(g)) is not None:
                sparse.values = array * scale
            else:
                g.data = array_module(array).asarray(array * scale)
    return norm


def _norm(arrays: list[Any]) -> float:
    """The 2-norm of all; from a device it is fetched once."""
    if array_module(*arrays) is not np and kernels.enabled():
        found = kernels.find("cuda.updates.clip_factor").call(*arrays, max_norm=1.0)
        if found is not NotImplemented:
            return float(found[0])
    return math.sqrt(float(sum(map(_square_sum, arrays))))


def _square_sum(array: Any) -> Any:
    """The sum of the squares in float64, where the square of no float32 overflows."""
    found = NotImplemented
    if array_module(array) is np and kernels.enabled():
        found = kernels.find("reductions.square_sum")(array)
    if found is NotImplemented:
        wide = array.astype("float64").reshape(-1)
        found = wide @ wide
    return found


def _by_ops(grads: list[Tensor], max_norm: float, norm_type: float) -> tuple[Tensor, list[Tensor]]:
    """The norm and the scaled gradients, as ops that a program repeats."""
    if norm_type == 2 and array_module(grads[0].data) is not np:
        norm, factor = _norm_and_factor(*grads, max_norm=float(max_norm))
        same = {g.dtype: factor.astype(g.dtype) for g in grads if g.dtype != factor.dtype}
        return norm, [g * same.get(g.dtype, factor) for g in grads]
    wide = [ops.absolute(g.astype("float64")) for g in grads]
    if norm_type == math.inf:
        norm = ops.max(ops.stack([ops.max(g) for g in wide]))
    else:
        norm = ops.sum(ops.stack([ops.sum(g**norm_type) for g in wide])) ** (1 / norm_type)
    # A norm that is not finite scales nothing.
    scale = ops.where((norm > max_norm) & (norm < math.inf), max_norm / norm, 1.0)
    return norm, [g * scale.astype(g.dtype) for g in grads]


@primitive(kernel={"cupy": "cuda.updates.clip_factor"}, outputs=2)
def _norm_and_factor(xp, *gradients, max_norm):
    """The 2-norm of all, and the factor that makes it at most `max_norm`: in few launches."""
    norm = xp.sqrt(sum(xp.square(g.astype("float64")).sum() for g in gradients))
    factor = xp.where((norm > max_norm) & (norm < math.inf), max_norm / norm, 1.0)
    return norm, factor.astype(
        "float64" if any(g.dtype == np.float64 for g in gradients) else "float32"
    )


_norm_and_factor.no_gradient()


def clip_grad_value_(parameters: Parameters, clip_value: float) -> None:
    """Bring every element of every gradient into [-clip_value, clip_value]; NaN stays NaN.

    Raises:
        ValueError: `clip_value` is not positive.
    """
    if isinstance(clip_value, bool) or not clip_value > 0:
        raise ValueError(f"clip_grad_value_: clip_value must be positive, got {clip_value}")
    bound = float(clip_value)
    for _, p in pairs_of(parameters):
        if p.grad is None:
            continue
        if modes.get().capturing:
            p.grad = ops.clip(p.grad, -bound, bound)
            continue
        g, array = p.grad, _values(p.grad)
        clipped = array_module(array).clip(array, -bound, bound)
        if (sparse := rows_in(g)) is not None:
            sparse.values = clipped
        else:
            g.data = clipped


def _values(g: Any) -> Any:
    """The array of a gradient; of a sparse one that of its rows."""
    sparse = rows_in(g)
    return g.data if sparse is None else sparse.values


def _owner(array: Any) -> Any:
    """The array whose memory `array` shows: itself, unless it is a view."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array

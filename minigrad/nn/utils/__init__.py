"""What PyTorch has in `nn.utils`: packed sequences, parametrizations, vectors of parameters."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.backend import array_module, refuse_while_capturing
from minigrad.errors import ShapeError
from minigrad.nn.utils import parametrizations, parametrize, rnn
from minigrad.writes import wrote

if TYPE_CHECKING:
    from minigrad.optim import clip_grad_norm_, clip_grad_value_

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "parametrizations",
    "parametrize", "rnn", "vector_to_parameters",
]  # fmt: skip


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All numbers of the parameters in one axis, one parameter after the other, with history."""
    return ops.concatenate([ops.reshape(p, shape=(-1,)) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Write the numbers of `vec` into the parameters, which keep their arrays and dtypes.

    Raises:
        ShapeError: there are not as many numbers as the parameters have; nothing was written then.
    """
    refuse_while_capturing("vector_to_parameters()")
    parameters = list(parameters)
    array = vec.data if type(vec) is Tensor else vec
    count = sum(p.size for p in parameters)
    if array.shape != (count,):
        raise ShapeError(
            f"vector_to_parameters: the parameters have {count} numbers, got {array.shape}"
        )
    start = 0
    for p in parameters:
        part = array[start : start + p.size].reshape(p.shape)
        p.data[...] = array_module(p.data).asarray(part)
        wrote(p.data)
        start += p.size


def __getattr__(name: str) -> Any:
    if name in ("clip_grad_norm_", "clip_grad_value_"):  # optimizers stand on modules
        from minigrad.optim import clipping

        return getattr(clipping, name)
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(f"module 'minigrad.nn.utils' has no attribute '{name}'")
    from minigrad.elsewhere import missing

    raise AttributeError(missing("minigrad.nn.utils", name))

"""The only place where Tensor learns its operators, its methods, and to answer NumPy itself."""

from numbers import Integral
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autodiff import Op, Tensor
from minigrad.backend import to_numpy


def _flexible(function):
    """`x.reshape(2, 3)` as well as `x.reshape((2, 3))`."""

    def method(x, *lengths):
        if len(lengths) == 1 and not isinstance(lengths[0], Integral):
            lengths = lengths[0]
        return function(x, tuple(map(int, lengths)))

    method.__doc__ = function.__doc__
    return method


def _method(function):
    """`x.sum(axis=0)` for `sum(x, axis=0)`: an op is no function that binds to an instance."""
    return lambda x, *args, **params: function(x, *args, **params)


def _reflected(function):
    return lambda x, other: function(other, x)


def _refuse_assignment(x, index, value):
    raise TypeError(
        "a tensor is not changed in place, as its history would no longer be true; use "
        "index_set(x, ids, values), index_add(x, ids, values) or where(mask, values, x)"
    )


class _Manners:
    """What Python and NumPy expect of a number-like container; copied onto Tensor below."""

    def __repr__(self) -> str:
        text = np.array2string(to_numpy(self.data), separator=", ", prefix="tensor(")
        parts = [text]
        if self.dtype not in (np.float32, np.int64, np.bool_):
            parts.append(f"dtype={self.dtype}")
        if not isinstance(self.data, np.ndarray):
            parts.append("device='cuda'")
        if self.edge is not None:
            parts.append(f"op={self.edge[0].op.__name__}")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth value of a tensor of shape {self.shape} is ambiguous; use .any() or "
                f".all()"
            )
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only integer tensors can be an index, this one is {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if not isinstance(self.data, np.ndarray):
            raise TypeError("the tensor is on a device; write x.detach().numpy()")
        return np.array(self.numpy(), dtype=dtype, copy=copy)


for _name, _manner in vars(_Manners).items():
    if callable(_manner):
        setattr(Tensor, _name, _manner)

OPERATORS = {
    "add": ops.add, "sub": ops.subtract, "mul": ops.multiply, "truediv": ops.divide,
    "pow": ops.power, "matmul": ops.matmul, "and": ops.bitwise_and, "or": ops.bitwise_or,
    "xor": ops.bitwise_xor,
}  # fmt: skip
for _name, _function in OPERATORS.items():
    setattr(Tensor, f"__{_name}__", lambda a, b, f=_function: f(a, b))
    setattr(Tensor, f"__r{_name}__", _reflected(_function))

COMPARISONS = {
    "eq": ops.equal, "ne": ops.not_equal, "lt": ops.less, "le": ops.less_equal,
    "gt": ops.greater, "ge": ops.greater_equal,
}  # fmt: skip
for _name, _function in COMPARISONS.items():
    setattr(Tensor, f"__{_name}__", lambda a, b, f=_function: f(a, b))

Tensor.__neg__ = lambda x: ops.negative(x)
Tensor.__abs__ = lambda x: ops.absolute(x)
Tensor.__invert__ = lambda x: ops.invert(x)
Tensor.__getitem__ = lambda x, index: ops.getitem(x, index)
Tensor.__setitem__ = _refuse_assignment

METHODS = (
    "all", "any", "argmax", "argmin", "clip", "exp", "log", "max", "mean", "min", "ravel",
    "sigmoid", "softmax", "sqrt", "squeeze", "std", "sum", "swapaxes", "take", "tanh", "tril",
    "triu", "var",
)  # fmt: skip
for _name in METHODS:
    setattr(Tensor, _name, _method(getattr(ops, _name)))
Tensor.abs = Tensor.__abs__
Tensor.astype = lambda x, dtype: ops.astype(x, dtype=dtype)
Tensor.reshape = _flexible(lambda x, shape: ops.reshape(x, shape=shape))
Tensor.transpose = _flexible(lambda x, axes: ops.transpose(x, axes=axes or None))
Tensor.permute = Tensor.transpose
Tensor.T = property(lambda x: ops.transpose(x))


def _op_named(function) -> Op:
    name = {"true_divide": "divide", "abs": "absolute"}.get(function.__name__, function.__name__)
    found = getattr(ops, name, None)
    if found is None:
        raise TypeError(
            f"minigrad has no op for np.{function.__name__}; use the ops there are, or "
            f"x.detach().numpy() to leave the graph on purpose"
        )
    return found


def _array_ufunc(self, ufunc, method, *inputs, **options):
    if method != "__call__" or options:
        raise TypeError(
            f"np.{ufunc.__name__}: on tensors only the plain call works, without "
            f"{', '.join(options) or method}; use minigrad's ops"
        )
    return _op_named(ufunc)(*inputs)


def _array_function(self, function, types, args, kwargs):
    if function in (np.shape, np.ndim, np.size) and len(args) == 1 and not kwargs:
        return getattr(args[0], function.__name__)  # what an array is needs no derivative
    return _op_named(function)(*args, **kwargs)


# np.exp(tensor) and the like go through the op of that name: nothing is detached in silence.
Tensor.__array_ufunc__ = _array_ufunc
Tensor.__array_function__ = _array_function

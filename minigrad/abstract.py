"""The array module of a dry call: arrays that have a shape and a dtype, and no numbers.

A formula `f(xp, x)` runs with `xp = minigrad.abstract` as it does with NumPy, and gives shapes:

    x = Abstract((32, 3, 224, 224), "float32")
    x.sum(axis=1).shape, minigrad.abstract.exp(x).shape

Behind each stands a NumPy array of one number that is repeated without end (all strides are zero).
What only looks at an array differently (`reshape`, `transpose`, slices) is NumPy's own function of
that array, and costs nothing; for what computes, the functions here say what the result is like.
Any others are computed, on zeros; decompositions on a single identity.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minigrad import backend
from minigrad.backend import is_array
from minigrad.errors import ShapeError


class Abstract:
    """An array without numbers; see the module."""

    __slots__ = ("like",)

    __array_ufunc__ = None  # NumPy leaves `array * abstract` to us,
    __array_priority__ = 2000  # and so does CuPy

    def __init__(self, shape: Sequence[int], dtype: Any):
        self.like = np.broadcast_to(np.zeros((), dtype), shape)

    shape = property(lambda x: x.like.shape)
    ndim = property(lambda x: x.like.ndim)
    size = property(lambda x: x.like.size)
    dtype = property(lambda x: x.like.dtype)
    nbytes = property(lambda x: x.like.nbytes)
    flags = property(lambda x: x.like.flags)
    T = property(lambda x: _wrapped(x.like.T))

    def __len__(self) -> int:
        return len(self.like)

    def __getitem__(self, index: Any) -> "Abstract":
        return Abstract(self.like[_plain(index)].shape, self.dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        np.broadcast_to(_plain(value), self.like[_plain(index)].shape)  # raises if it does not fit

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ShapeError(
            "shapes: in a dry call nothing is computed, so what depends on values has none; give "
            "the model an input that has some"
        )

    __bool__ = __float__ = __int__ = __index__ = __array__ = item = tolist = _refuse

    def astype(self, dtype: Any, **_: Any) -> "Abstract":
        return Abstract(self.shape, dtype)

    def reshape(self, *shape: Any, **_: Any) -> "Abstract":
        return _wrapped(self.like.reshape(*shape))

    def transpose(self, *axes: Any) -> "Abstract":
        return _wrapped(self.like.transpose(*axes))

    def copy(self, **_: Any) -> "Abstract":
        return self

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"an array of a dry call has no '{name}'")
        function = getattr(sys.modules[__name__], name)
        return lambda *args, **kwargs: function(self, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<abstract {self.dtype} {self.shape}>"


def _wrapped(x: Any) -> Any:
    """A result of NumPy without its numbers."""
    if isinstance(x, tuple):
        return tuple(map(_wrapped, x))
    return Abstract(np.shape(x), np.result_type(x))


def _plain(x: Any) -> Any:
    """What stands for `x` in a call of NumPy; device arrays are not looked at."""
    if type(x) is Abstract:
        return x.like
    if isinstance(x, tuple | list):
        return type(x)(map(_plain, x))
    if is_array(x) and not isinstance(x, np.ndarray):
        return np.broadcast_to(np.zeros((), x.dtype), x.shape)
    return x


def as_output(x: Any) -> Any:
    """The result of a formula as an array."""
    return x if is_array(x) else np.asarray(x)


def asarray(x: Any, dtype: Any = None, **_: Any) -> Any:
    """`x` itself, perhaps of another dtype."""
    if type(x) is Abstract:
        return x if dtype is None else x.astype(dtype)
    return np.asarray(x, dtype)


ascontiguousarray = asarray

# ------------------------------------------------------------------------ kinds of functions


def _elementwise(name: str) -> Callable:
    def function(*inputs: Any, **options: Any) -> Any:
        """The shapes meet; the dtype is that of the function of no elements."""
        plain = [_plain(x) for x in inputs]
        shape = np.broadcast_shapes(*(np.shape(x) for x in plain))
        none = [np.empty(0, x.dtype) if isinstance(x, np.ndarray) else x for x in plain]
        found = getattr(np, name)(*none, **options)
        if isinstance(found, tuple):
            return tuple(Abstract(shape, v.dtype) for v in found)
        return Abstract(shape, found.dtype)

    return function


def _reduction(name: str) -> Callable:
    def function(x: Any, axis: Any = None, *, keepdims: bool = False, **options: Any) -> Abstract:
        """The shape without `axis`."""
        x = _plain(x)
        axes = normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
        if name in ("max", "min", "argmax", "argmin") and any(x.shape[a] == 0 for a in axes):
            raise ValueError(f"{name}: there are no elements along axis {axis}")
        lengths = [1 if a in axes else n for a, n in enumerate(x.shape)]
        shape = [n for a, n in enumerate(lengths) if keepdims or a not in axes]
        kind = getattr(np, name)(np.zeros(2, x.dtype), **options)
        return Abstract(shape, np.result_type(kind))

    return function


def _unchanged(name: str) -> Callable:
    def function(x: Any, *args: Any, **options: Any) -> Abstract:
        """The shape stays."""
        few = np.zeros((1,) * max(np.ndim(_plain(x)), 1), x.dtype)
        return Abstract(x.shape, getattr(np, name)(few, *args, **options).dtype)

    return function


def matmul(a: Any, b: Any) -> Abstract:
    a, b = _plain(a), _plain(b)
    left, right = a.shape, b.shape
    if not left or not right or left[-1] != right[-2 if len(right) > 1 else 0]:
        raise ValueError(f"matmul: shapes {left} and {right} do not fit")
    lead = np.broadcast_shapes(left[:-2], right[:-2])
    ends = (*(left[-2:-1] if len(left) > 1 else ()), *(right[-1:] if len(right) > 1 else ()))
    return Abstract((*lead, *ends), np.result_type(a, b))


def concatenate(xs: Sequence[Any], axis: int = 0) -> Abstract:
    xs = [_plain(x) for x in xs]
    axis = normalize_axis_index(axis, xs[0].ndim)
    shapes = [list(x.shape) for x in xs]
    total = sum(s.pop(axis) for s in shapes)
    if any(s != shapes[0] for s in shapes):
        raise ValueError(f"concatenate: shapes {[x.shape for x in xs]} differ beside axis {axis}")
    return Abstract((*shapes[0][:axis], total, *shapes[0][axis:]), np.result_type(*xs))


def stack(xs: Sequence[Any], axis: int = 0) -> Abstract:
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def expand_dims(x: Any, axis: Any) -> Any:
    return _wrapped(np.expand_dims(_plain(x), axis))


def take(x: Any, ids: Any, axis: int | None = None) -> Abstract:
    x, ids = _plain(x), _plain(ids)
    if axis is None:
        return Abstract(np.shape(ids), x.dtype)
    axis = normalize_axis_index(axis, x.ndim)
    return Abstract((*x.shape[:axis], *np.shape(ids), *x.shape[axis + 1 :]), x.dtype)


def take_along_axis(x: Any, ids: Any, axis: int | None) -> Abstract:
    x, ids = _plain(x), _plain(ids)
    if axis is None:
        return Abstract(ids.shape, x.dtype)
    axis = normalize_axis_index(axis, x.ndim)
    others = ((*s[:axis], 1, *s[axis + 1 :]) for s in (x.shape, ids.shape))
    shape = list(np.broadcast_shapes(*others))
    shape[axis] = ids.shape[axis]
    return Abstract(shape, x.dtype)


def zeros(shape: Any, dtype: Any = float, **_: Any) -> Abstract:
    return Abstract((shape,) if np.ndim(shape) == 0 else shape, dtype)


empty = ones = zeros


def full(shape: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Abstract:
    return zeros(shape, np.result_type(_plain(fill_value)) if dtype is None else dtype)


def zeros_like(x: Any, dtype: Any = None, **_: Any) -> Abstract:
    return Abstract(x.shape, x.dtype if dtype is None else dtype)


empty_like = ones_like = zeros_like


def full_like(x: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Abstract:
    return zeros_like(x, dtype)


def _by_numpy(function: Callable) -> Callable:
    """NumPy's function of what stands for the arguments: free for views, computed for others."""

    def call(*args: Any, **options: Any) -> Any:
        return _wrapped(function(*map(_plain, args), **{k: _plain(v) for k, v in options.items()}))

    return call


# Those of NumPy that are no ufuncs.
ELEMENTWISE = {"where", "clip", "round", "isclose", "nan_to_num", "sinc", "i0"}
REDUCTIONS = {
    "all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "std", "sum", "var",
    "count_nonzero", "median",
}  # fmt: skip
UNCHANGED = {"argsort", "cumprod", "cumsum", "flip", "roll", "sort", "tril", "triu"}
MADE = {"arange", "errstate", "eye", "finfo", "iinfo", "linspace", "promote_types", "tri"}


@functools.cache
def __getattr__(name: str) -> Any:  # no attributes of the module: some are called as builtins are
    if name.startswith("__"):
        raise AttributeError(name)
    theirs = getattr(np, name)
    if name in MADE or isinstance(theirs, type) or not callable(theirs):
        return theirs
    if name in REDUCTIONS:
        function = _reduction(name)
    elif name in UNCHANGED:
        function = _unchanged(name)
    elif name in ELEMENTWISE or isinstance(theirs, np.ufunc):
        function = _elementwise(name)
        setattr(function, "at", lambda x, index, value: None)  # noqa: B010  (changes no shape)
    else:
        function = _by_numpy(theirs)
    return function


def result_type(*args: Any) -> np.dtype:
    return np.result_type(*(x.dtype if hasattr(x, "dtype") else x for x in args))


def _of_matrices(name: str) -> Callable:
    def function(a: Any, *others: Any, **options: Any) -> Any:
        """Computed for a single identity, in place of all the matrices."""
        a, others = _plain(a), tuple(_plain(x) for x in others)
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in (a, *others)))
        few = [np.zeros(x.shape[-2:], x.dtype) for x in others]
        found = getattr(np.linalg, name)(np.eye(*a.shape[-2:], dtype=a.dtype), *few, **options)
        if not isinstance(found, tuple):
            return Abstract((*lead, *np.shape(found)), found.dtype)
        return tuple(Abstract((*lead, *np.shape(x)), x.dtype) for x in found)

    return function


DECOMPOSITIONS = ("cholesky", "det", "eigh", "eigvalsh", "inv", "qr", "slogdet", "solve", "svd")
linalg = SimpleNamespace(**{name: _of_matrices(name) for name in DECOMPOSITIONS})

# -------------------------------------------------------------------------------- operators


def _operator(name: str, reflected: bool = False) -> Callable:
    def operator(x: Abstract, other: Any) -> Any:
        if not (is_array(other) or isinstance(other, int | float | np.generic)):
            return NotImplemented  # a Tensor knows what to do with us
        function = getattr(sys.modules[__name__], name)
        return function(other, x) if reflected else function(x, other)

    return operator


for _name, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "floordiv": "floor_divide", "mod": "remainder", "matmul": "matmul", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}.items():  # fmt: skip
    setattr(Abstract, f"__{_name}__", _operator(_function))
    setattr(Abstract, f"__r{_name}__", _operator(_function, reflected=True))
for _name, _function in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(Abstract, f"__{_name}__", _operator(_function))
Abstract.__hash__ = object.__hash__  # type: ignore[method-assign]
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(
        Abstract,
        f"__{_name}__",
        lambda x, function=_function: getattr(sys.modules[__name__], function)(x),
    )


def _this(x: Any) -> ModuleType:
    return sys.modules[__name__]


backend.register(Abstract, _this)

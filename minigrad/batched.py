"""The array module behind `vmap`: arrays whose batch axis is hidden.

A `Batched` looks like the array of one example and holds those of all. Every function here computes
what NumPy's function of that name gives for one example, for all examples at once:

    x = hide(numpy.ones((512, 3)), axis=0, level=1)
    x.shape                       (3,)
    x.sum(), minigrad.batched.exp(x)       512 sums; 512 times 3 exponentials
    show(x, level=1, length=512, axis=0)   (512, 3)

So a formula `f(xp, x)` that is written for one example runs on a batch with
`xp = minigrad.batched`, and not one of the ops needs a rule of its own for it. How each function
does it: its arguments of the highest level give their arrays, with the batch axis first; others are
constants, which broadcast over it; the function of the same name of the module below computes; the
result hides the batch axis again. Levels come from nested `vmap`s: a `Batched` of one level may
hold one of a lower level, and "the module below" is then this one again.

`zeros` and the like make arrays that formulas write into. As it is not known yet whether what is
written differs from example to example, they start with a batch axis of length 1 and the level
`BLANK`, below all others, and grow at the first write that needs it.
"""

import builtins
import functools
import math
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minigrad import backend
from minigrad.backend import array_module, is_array
from minigrad.errors import ShapeError

BLANK = -1


class Batched:
    """Arrays of all examples that look like one; see the module.

    Attributes:
        value: the array, or a Batched of a lower level, with the batch axis first.
        level: which `vmap` the batch axis belongs to.
    """

    __slots__ = ("level", "value")

    hides_a_batch_axis = True
    __array_ufunc__ = None  # NumPy leaves `array * batched` to us,
    __array_priority__ = 2000  # and so does CuPy

    def __init__(self, value: Any, level: int):
        self.value, self.level = value, level

    shape = property(lambda x: x.value.shape[1:])
    ndim = property(lambda x: x.value.ndim - 1)
    size = property(lambda x: math.prod(x.value.shape[1:]))
    dtype = property(lambda x: x.value.dtype)
    flags = property(lambda x: x.value.flags)
    nbytes = property(lambda x: x.value.nbytes)
    T = property(lambda x: transpose(x))

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """(level, length) of all hidden axes, the lowest first; none for a blank one."""
        below = levels_of(self.value)
        return below if self.level == BLANK else (*below, (self.level, self.value.shape[0]))

    def __getitem__(self, index: Any) -> Any:
        return _read(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _write(self, index, value, lambda y, at, v: y.__setitem__(at, v))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _refuse(self, *_: Any) -> Any:
        raise ShapeError(
            "under vmap what depends on values differs from example to example, so it is no Python "
            "number; choose with where(condition, a, b) instead"
        )

    __bool__ = __float__ = __int__ = __index__ = item = tolist = _refuse

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("under vmap an array has no NumPy equivalent; use minigrad's ops")

    def __repr__(self) -> str:
        return (
            f"<batched {self.dtype} {self.shape}, level {self.level}, {self.value.shape[0]} times>"
        )

    # -- methods that formulas use

    def reshape(self, *shape: Any) -> Any:
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        if len(axes) == 1 and not isinstance(axes[0], int):
            (axes,) = axes
        return transpose(self, axes or None)

    def astype(self, dtype: Any, **options: Any) -> "Batched":
        return Batched(self.value.astype(dtype, **options), self.level)

    def copy(self, order: str = "C") -> "Batched":
        return Batched(self.value.copy(), self.level)

    def __iadd__(self, other: Any) -> "Batched":
        y = add(self, other)
        self.value, self.level = y.value, y.level
        return self


# ------------------------------------------------------------------------------------- levels


def levels_of(x: Any) -> tuple[tuple[int, int], ...]:
    """(level, length) of all hidden axes of `x`; none for an array."""
    return x.levels if type(x) is Batched else ()


def hide(x: Any, axis: int, level: int) -> Batched:
    """`x` without `axis`, which becomes the hidden axis of `level`."""
    axis = normalize_axis_index(axis, x.ndim)
    if type(x) is Batched and x.level > level:
        return Batched(hide(x.value, axis + 1, level), x.level)
    return Batched(array_module(x).moveaxis(x, axis, 0) if axis else x, level)


def show(x: Any, level: int, length: int, axis: int) -> Any:
    """The reverse of `hide`; an `x` that has no such axis is copied `length` times along it."""
    axis = normalize_axis_index(axis, x.ndim + 1)
    if type(x) is Batched and x.level > level:
        return Batched(show(x.value, level, length, axis + 1), x.level)
    if type(x) is Batched and x.level == level:
        value = x.value
    else:
        value = array_module(x).broadcast_to(x, (length, *x.shape))
    return array_module(value).moveaxis(value, 0, axis) if axis else value


def sum_levels(x: Any, levels: Sequence[int]) -> Any:
    """`x` summed over the hidden axes of `levels`."""
    if type(x) is not Batched:
        return x
    if x.level in levels:
        return sum_levels(x.value.sum(axis=0), levels)
    return Batched(sum_levels(x.value, levels), x.level)


def add_levels(x: Any, levels: Sequence[tuple[int, int]]) -> Any:
    """`x` with the hidden axes `levels`, copied along those that it lacks."""
    for level, length in levels:
        if level not in dict(levels_of(x)):
            x = hide(show(x, level, length, 0), 0, level)
    return x


def as_output(x: Any) -> Any:
    """The result of a formula: an array or a Batched, none that is still blank."""
    if type(x) is Batched:
        return as_output(x.value[0]) if x.level == BLANK else x
    return x if is_array(x) else np.asarray(x)


def _top(*arguments: Any) -> int | None:
    """The highest level among the arguments; None if there is no Batched."""
    return builtins.max((x.level for x in arguments if type(x) is Batched), default=None)


def _constant(x: Any, level: int) -> Any:
    """An argument below `level` as it is seen from there."""
    return x.value[0] if type(x) is Batched and x.level == BLANK != level else x


def _aligned(x: Any, level: int, ndim: int) -> Any:
    """The value of `x` for a computation at `level`, so that visible axes broadcast from the right.

    A constant needs nothing; in a batched one, axes of length 1 are put behind the batch axis.
    """
    if type(x) is not Batched or x.level != level:
        return _constant(x, level)
    shape = x.value.shape
    if len(shape) > ndim:
        return x.value
    return x.value.reshape((shape[0], *(1,) * (ndim + 1 - len(shape)), *shape[1:]))


def _full(x: Any, level: int, length: int) -> Any:
    """The value of `x` at `level` with a batch axis of `length`, whatever `x` is."""
    if type(x) is Batched and x.level == level:
        return x.value
    x = _constant(x, level)
    return array_module(x).broadcast_to(x, (length, *x.shape))


def _length(level: int, *arguments: Any) -> int:
    return next(x.value.shape[0] for x in arguments if type(x) is Batched and x.level == level)


# ------------------------------------------------------- one rule each for most of the functions


def _elementwise(name: str) -> Callable:
    def function(*arguments: Any, **options: Any) -> Any:
        level = _top(*arguments)
        ndim = builtins.max(getattr(x, "ndim", 0) for x in arguments)
        values = arguments
        if level is not None:
            values = tuple(_aligned(x, level, ndim) for x in arguments)
        y = getattr(array_module(*values), name)(*values, **options)
        return y if level is None else Batched(y, level)

    return function


def _reduction(name: str) -> Callable:
    def function(x: Any, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        if type(x) is not Batched:
            return getattr(array_module(x), name)(x, axis=axis, keepdims=keepdims, **options)
        axis = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
        axes = tuple(a + 1 for a in axis)
        y = getattr(array_module(x.value), name)(x.value, axis=axes, keepdims=keepdims, **options)
        return Batched(y, x.level)

    return function


def _along(name: str) -> Callable:
    """Functions along one axis, None for the flattened array: `cumsum`, `sort`, `argmax`."""
    default = -1 if name in ("sort", "argsort") else None

    def function(x: Any, axis: Any = default, **options: Any) -> Any:
        below = getattr(array_module(x.value if type(x) is Batched else x), name)
        if type(x) is not Batched:
            return below(x, axis=axis, **options)
        ndim = x.ndim
        if axis is None:
            keepdims = options.get("keepdims", False)
            y = below(x.value.reshape(x.value.shape[0], x.size), axis=1, **options)
            return Batched(y.reshape(y.shape[0], *(1,) * ndim) if keepdims else y, x.level)
        return Batched(
            below(x.value, axis=normalize_axis_index(axis, ndim) + 1, **options), x.level
        )

    return function


def _unchanged(name: str) -> Callable:
    """Functions that leave leading axes alone: `tril`, and all of `linalg` with one operand."""

    def function(x: Any, *arguments: Any, **options: Any) -> Any:
        owner = name.split(".")
        below: Any = array_module(x.value if type(x) is Batched else x)
        for part in owner:
            below = getattr(below, part)
        if type(x) is not Batched:
            return below(x, *arguments, **options)
        y = below(x.value, *arguments, **options)
        if isinstance(y, tuple):
            parts = [Batched(v, x.level) for v in y]
            return type(y)(*parts) if hasattr(y, "_fields") else tuple(parts)
        return Batched(y, x.level)

    return function


def _refused(name: str) -> Callable:
    def function(*_: Any, **__: Any) -> Any:
        raise ShapeError(
            f"{name}: the shape of the result depends on values, which differ from example to "
            f"example under vmap; use where(condition, x, 0) or a fixed number of elements"
        )

    return function


ELEMENTWISE = """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or
    bitwise_xor cbrt ceil clip copysign cos cosh deg2rad divide equal exp exp2 expm1 floor
    floor_divide fmax fmin fmod gcd greater greater_equal hypot invert isfinite isinf
    isnan lcm left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and
    logical_not logical_or logical_xor maximum minimum mod multiply nan_to_num negative
    nextafter not_equal positive power rad2deg reciprocal remainder right_shift rint round sign
    signbit sin sinc sinh sqrt square subtract tan tanh true_divide trunc where isclose
    zeros_like ones_like full_like empty_like
"""
REDUCTIONS = "all amax amin any max mean min prod std sum var"
ALONG = "argmax argmin argsort cumprod cumsum sort"
UNCHANGED = "tril triu"
DECOMPOSITIONS = "cholesky det eigh eigvalsh inv matrix_power pinv qr slogdet svd svdvals"
SIZED_BY_VALUES = "argwhere extract flatnonzero nonzero unique bincount"
SAME = """
    bool_ dtype e finfo float16 float32 float64 floating iinfo inf int16 int32 int64 int8 integer
    intp nan newaxis pi promote_types uint16 uint32 uint64 uint8
"""

# Beyond this line `abs`, `all`, `any`, `max`, `min`, `round` and `sum` are those of arrays.
for _make, _names in (
    (_elementwise, ELEMENTWISE),
    (_reduction, REDUCTIONS),
    (_along, ALONG),
    (_unchanged, UNCHANGED),
    (_refused, SIZED_BY_VALUES),
    (lambda name: getattr(np, name), SAME),
):
    globals().update({_name: _make(_name) for _name in _names.split()})
linalg = SimpleNamespace(**{name: _unchanged(f"linalg.{name}") for name in DECOMPOSITIONS.split()})
add: Any = globals()["add"]


def _add_at(y: Batched, index: Any, v: Any) -> None:
    """`y[index] += v`, where an index that is repeated counts each time."""
    _write(y, index, v, lambda y, at, v: array_module(y).add.at(y, at, v))


add.at = _add_at


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"vmap has no batching rule for the array function '{name}'; write the formula with others "
        f"(see minigrad/batched.py), or with ops"
    )


def _solve(a: Any, b: Any) -> Any:
    """`linalg.solve`, in which `b` is a matrix."""
    level = _top(a, b)
    if level is None:
        return array_module(a, b).linalg.solve(a, b)
    length = _length(level, a, b)
    values = [_full(x, level, length) for x in (a, b)]
    ndim = 1 + builtins.max(a.ndim, b.ndim)
    values = [v.reshape((length, *(1,) * (ndim - v.ndim), *v.shape[1:])) for v in values]
    return Batched(array_module(*values).linalg.solve(*values), level)


linalg.solve = _solve


# ------------------------------------------------------------------------------- array makers


def _makers(below: ModuleType) -> dict[str, Callable]:
    """Functions that make arrays of the module `below`, numpy or cupy, for formulas."""

    def blank(name: str) -> Callable:
        def function(shape: Any, *arguments: Any, **options: Any) -> Batched:
            shape = (shape,) if isinstance(shape, int) else tuple(shape)
            return Batched(getattr(below, name)((1, *shape), *arguments, **options), BLANK)

        return function

    def asarray(x: Any, dtype: Any = None, **_: Any) -> Any:
        if type(x) is Batched:
            return x if dtype is None or x.dtype == dtype else x.astype(dtype)
        return below.asarray(x, dtype=dtype)

    made = {name: getattr(below, name) for name in ("arange", "eye", "linspace", "tri")}
    made |= {name: blank(name) for name in ("zeros", "ones", "empty", "full")}
    return made | {"asarray": asarray, "ascontiguousarray": asarray}


globals().update(_makers(np))


@functools.cache
def _over(below: ModuleType) -> ModuleType:
    """This module for arrays of the module `below`: the makers differ, nothing else does."""
    this = sys.modules[__name__]
    if below is np:
        return this
    module = ModuleType(f"{__name__}.over_{below.__name__}", __doc__)
    vars(module).update(vars(this) | _makers(below) | {"__name__": module.__name__})
    return module


def base(x: Any) -> Any:
    """The array at the bottom of `x`; an array itself."""
    while type(x) is Batched:
        x = x.value
    return x


def result_type(*arguments: Any) -> np.dtype:
    return np.result_type(*(x.dtype if hasattr(x, "dtype") else x for x in arguments))


# ------------------------------------------------------------------------------------- shapes


def reshape(x: Any, shape: Any) -> Any:
    if type(x) is not Batched:
        return x.reshape(shape)
    shape = [shape] if isinstance(shape, int) else list(shape)
    if -1 in shape:  # of an empty batch NumPy cannot tell
        known = -math.prod(shape)
        shape[shape.index(-1)] = x.size // known if known else 0
    if math.prod(shape) != x.size:
        raise ValueError(f"cannot reshape array of size {x.size} into shape {tuple(shape)}")
    return Batched(x.value.reshape((x.value.shape[0], *shape)), x.level)


def ravel(x: Any) -> Any:
    return reshape(x, (-1,))


def transpose(x: Any, axes: Any = None) -> Any:
    if type(x) is not Batched:
        return x.transpose(axes)
    axes = range(x.ndim)[::-1] if axes is None else normalize_axis_tuple(axes, x.ndim)
    if len(axes) != x.ndim:
        raise ValueError("axes don't match array")
    return Batched(x.value.transpose((0, *(a + 1 for a in axes))), x.level)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    if type(x) is not Batched:
        return x.swapaxes(axis1, axis2)
    a, b = (normalize_axis_index(a, x.ndim) + 1 for a in (axis1, axis2))
    return Batched(x.value.swapaxes(a, b), x.level)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    if type(x) is not Batched:
        return array_module(x).moveaxis(x, source, destination)
    source, destination = (
        tuple(a + 1 for a in normalize_axis_tuple(axes, x.ndim)) for axes in (source, destination)
    )
    return Batched(array_module(x.value).moveaxis(x.value, source, destination), x.level)


def expand_dims(x: Any, axis: Any) -> Any:
    if type(x) is not Batched:
        return array_module(x).expand_dims(x, axis)
    count = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    axes = tuple(a + 1 for a in normalize_axis_tuple(axis, count))
    return Batched(array_module(x.value).expand_dims(x.value, axes), x.level)


def squeeze(x: Any, axis: Any = None) -> Any:
    if type(x) is not Batched:
        return array_module(x).squeeze(x, axis)
    if axis is None:
        axis = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = tuple(a + 1 for a in normalize_axis_tuple(axis, x.ndim))
    return Batched(array_module(x.value).squeeze(x.value, axes), x.level)


def broadcast_to(x: Any, shape: Any) -> Any:
    if type(x) is not Batched:
        return array_module(x).broadcast_to(x, shape)
    value = _aligned(x, x.level, len(shape))
    full_shape = (value.shape[0], *shape)
    return Batched(array_module(value).broadcast_to(value, full_shape), x.level)


def concatenate(xs: Sequence[Any], axis: int | None = 0) -> Any:
    level = _top(*xs)
    if level is None:
        return array_module(*xs).concatenate(xs, axis=axis)
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    length = _length(level, *xs)
    values = [_full(x, level, length) for x in xs]
    axis = normalize_axis_index(axis, xs[0].ndim) + 1
    return Batched(array_module(*values).concatenate(values, axis=axis), level)


def stack(xs: Sequence[Any], axis: int = 0) -> Any:
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def _over_axes(name: str) -> Callable:
    """`flip(x, axis)` and `roll(x, shift, axis)`: None means all axes."""

    def function(x: Any, *arguments: Any, axis: Any = None) -> Any:
        if name == "roll" and axis is None and type(x) is Batched:
            return reshape(function(ravel(x), *arguments, axis=0), x.shape)
        if type(x) is not Batched:
            return getattr(array_module(x), name)(x, *arguments, axis=axis)
        axes = (
            range(x.ndim)
            if axis is None
            else normalize_axis_tuple(axis, x.ndim, allow_duplicate=True)
        )
        axes = tuple(a + 1 for a in axes)
        return Batched(
            getattr(array_module(x.value), name)(x.value, *arguments, axis=axes), x.level
        )

    return function


flip, roll = _over_axes("flip"), _over_axes("roll")


def frexp(x: Batched) -> tuple[Batched, Batched]:
    """Mantissas and exponents."""
    mantissa, exponent = array_module(x.value).frexp(x.value)
    return Batched(mantissa, x.level), Batched(exponent, x.level)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    if type(x) is not Batched:
        return array_module(x).diagonal(x, offset, axis1, axis2)
    a, b = (normalize_axis_index(a, x.ndim) + 1 for a in (axis1, axis2))
    return Batched(array_module(x.value).diagonal(x.value, offset, a, b), x.level)


# ----------------------------------------------------------------------------------- products


def matmul(a: Any, b: Any) -> Any:
    level = _top(a, b)
    if level is None:
        return array_module(a, b).matmul(a, b)
    if a.ndim == 1:
        y = matmul(expand_dims(a, 0), b)
        return squeeze(y, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        return squeeze(matmul(a, expand_dims(b, -1)), -1)
    batched = [type(x) is Batched and x.level == level for x in (a, b)]
    if batched == [True, False] and b.ndim == 2 and a.size:
        # One large product in place of one an example.
        rows = a.value.reshape((-1, a.shape[-1]))
        y = array_module(rows, b := _constant(b, level)).matmul(rows, b)
        return Batched(y.reshape((*a.value.shape[:-1], b.shape[-1])), level)
    ndim = builtins.max(a.ndim, b.ndim)
    values = [_aligned(x, level, ndim) for x in (a, b)]
    return Batched(array_module(*values).matmul(*values), level)


def dot(a: Any, b: Any) -> Any:
    if not a.ndim or not b.ndim:
        return globals()["multiply"](a, b)
    if b.ndim > 2:
        raise ShapeError("dot: under vmap the second operand has at most two axes; use tensordot")
    return matmul(a, b)


# ------------------------------------------------------------------------------------ indices


def take(x: Any, ids: Any, axis: int | None = None) -> Any:
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalize_axis_index(axis, x.ndim)
    return _read(x, (*(slice(None),) * axis, ids))


def take_along_axis(x: Any, ids: Any, axis: int | None) -> Any:
    if axis is None:
        x, ids, axis = ravel(x), ravel(ids), 0
    axis = normalize_axis_index(axis, x.ndim)
    arange = array_module(base(ids)).arange
    places = [
        ids
        if a == axis
        else arange(x.shape[a]).reshape([-1 if b == a else 1 for b in range(x.ndim)])
        for a in range(x.ndim)
    ]
    # Other axes broadcast: an axis of length 1 of either goes along with the other's.
    places = [
        p if a == axis or x.shape[a] == ids.shape[a] or ids.shape[a] == 1 else p * 0
        for a, p in enumerate(places)
    ]
    return _read(x, tuple(places))


def searchsorted(a: Any, v: Any, side: str = "left") -> Any:
    """How many of the sorted `a` come before each `v`."""
    names = globals()
    before = names["less" if side == "left" else "less_equal"](a, expand_dims(v, -1))
    return names["sum"](before, axis=-1)


class _Index:
    """An index taken apart: what NumPy does with it for one example, and for a batch.

    Attributes:
        parts: for each axis a slice, None, int or integer array; no Ellipsis and no mask.
        block: how many axes the arrays together give, and `place`, where in the result.
        ndim: the number of axes of the result.
    """

    def __init__(self, x: Any, index: Any):
        parts = list(index) if isinstance(index, tuple) else [index]
        asarray = array_module(base(x)).asarray
        parts = [asarray(p) if isinstance(p, list | bool | np.bool_) else p for p in parts]
        parts = self._without_masks(parts)
        used = builtins.sum(p is not None and p is not Ellipsis for p in parts)
        if used > x.ndim:
            raise IndexError(f"too many indices: {used} for an array of shape {x.shape}")
        rest = [slice(None)] * (x.ndim - used)
        self.arrays = [p for p in parts if is_array(p)]
        # Once there is an array, ints count as arrays too. What stands between them separates
        # them, even an Ellipsis that stands for no axis.
        advanced = [i for i, p in enumerate(parts) if is_array(p) or _is_int(p)]
        self.apart = bool(self.arrays) and advanced[-1] - advanced[0] + 1 != len(advanced)
        if builtins.any(p is Ellipsis for p in parts):
            at = next(i for i, p in enumerate(parts) if p is Ellipsis)
            parts[at : at + 1] = rest
        else:
            parts += rest
        self.parts = parts
        self.block = builtins.max((a.ndim for a in self.arrays), default=0)
        self.place = 0
        if self.arrays and not self.apart:
            self.place = next(i for i, p in enumerate(parts) if is_array(p) or _is_int(p))
        kept = builtins.sum(p is None or isinstance(p, slice) for p in parts)
        self.ndim = kept + self.block

    @staticmethod
    def _without_masks(parts: list) -> list:
        found: list[Any] = []
        for p in parts:
            if is_array(p) and p.dtype.kind == "b":
                if type(p) is Batched:
                    raise ShapeError(
                        "getitem: the shape of the result depends on values, which differ from "
                        "example to example under vmap; use where(mask, x, 0)"
                    )
                found += array_module(p).nonzero(p) if p.ndim else [p]
            else:
                found.append(p)
        return found

    def full(self, level: int, length: int) -> tuple:
        """The index into the value, whose arrays name the example too: their block comes first."""
        aligned = [_aligned(p, level, self.block) if is_array(p) else p for p in self.parts]
        bottom = base(next(p for p in aligned if is_array(p)))
        rows = array_module(bottom).arange(length).reshape((-1, *(1,) * self.block))
        return (rows, *aligned)


def _is_int(p: Any) -> bool:
    return isinstance(p, int | np.integer) and not isinstance(p, bool)


def _read(x: Any, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) == 1 and is_array(parts[0]) and parts[0].dtype.kind == "b" and not parts[0].ndim:
        if type(parts[0]) is Batched:
            _refused("getitem")()
        x, parts = expand_dims(x, 0), (array_module(parts[0]).arange(int(parts[0])),)
        index = parts  # a 0-d mask gives an axis of length 0 or 1
    level = _top(x, *parts)
    if level is None:
        return x[index]
    if level == BLANK:
        level = x.level if type(x) is Batched else BLANK
    at = _Index(x, index)
    by_arrays = builtins.any(type(p) is Batched and p.level == level for p in at.arrays)
    if type(x) is Batched and x.level == level and not by_arrays and not at.apart:
        constants = tuple(_constant(p, level) for p in at.parts)
        return Batched(_read(x.value, (slice(None), *constants)), level)
    if type(x) is Batched and x.level == level:
        value = x.value
    else:
        value = _constant(x, level)[None]
    length = value.shape[0]
    y = _read(value, at.full(level, length))
    if at.place:  # the block of the arrays goes where it stands for one example
        block = range(1, 1 + at.block)
        y = array_module(y).moveaxis(y, tuple(block), tuple(b + at.place for b in block))
    return Batched(y, level)


def _write(y: Batched, index: Any, v: Any, write: Callable) -> None:
    """Write `v` into `y[index]` by `write(array, index, values)`."""
    parts = index if isinstance(index, tuple) else (index,)
    level: Any = _top(y, v, *parts)  # `y` is one
    if y.level != level:
        y.value, y.level = _grown(_constant(y, level), level, (v, *parts)), level
    at = _Index(y, index)
    length = y.value.shape[0]
    if not at.arrays:
        _write_below(y, (slice(None), *at.parts), _aligned(v, level, at.ndim), write)
        return
    v = _constant(v, level) if not (type(v) is Batched and v.level == level) else v
    if at.place and getattr(v, "ndim", 0):
        v = v.value if type(v) is Batched and v.level == level else v[None]
        v = v.reshape((v.shape[0], *(1,) * (at.ndim + 1 - v.ndim), *v.shape[1:]))
        block = range(1, 1 + at.block)
        v = array_module(v).moveaxis(v, tuple(b + at.place for b in block), tuple(block))
    else:
        v = _aligned(v, level, at.ndim)
    _write_below(y, at.full(level, length), v, write)


def _write_below(y: Batched, at: tuple, v: Any, write: Callable) -> None:
    """Write into the value of `y`, which may have to differ at a lower level from now on."""
    if type(y.value) is not Batched and _top(v, *at) is not None:
        y.value = Batched(y.value[None], BLANK)
    write(y.value, at, v)


def _grown(x: Any, level: int, others: Sequence[Any]) -> Any:
    """A writable array of copies of `x`, of the kind and length that `others` have at `level`."""
    given = next(o.value for o in others if type(o) is Batched and o.level == level)
    copies = array_module(x).broadcast_to(x, (given.shape[0], *x.shape))
    return (copies if type(copies) is Batched else array_module(base(given)).asarray(copies)).copy()


# ---------------------------------------------------------------------- operators and methods


def _operator(name: str, reflected: bool = False) -> Callable:
    function = globals()[name]

    def operator(x: Batched, other: Any) -> Any:
        if not (is_array(other) or isinstance(other, int | float | np.generic)):
            return NotImplemented  # a Tensor knows what to do with us
        return function(other, x) if reflected else function(x, other)

    return operator


for _name, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "floordiv": "floor_divide", "mod": "remainder", "matmul": "matmul", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}.items():  # fmt: skip
    setattr(Batched, f"__{_name}__", _operator(_function))
    setattr(Batched, f"__r{_name}__", _operator(_function, reflected=True))
for _name, _function in {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(Batched, f"__{_name}__", _operator(_function))
Batched.__hash__ = object.__hash__  # type: ignore[method-assign]
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(Batched, f"__{_name}__", globals()[_function])
for _name in (
    "all", "any", "argmax", "argmin", "argsort", "clip", "cumprod", "cumsum", "diagonal", "dot",
    "max", "mean", "min", "prod", "ravel", "round", "squeeze", "sum", "swapaxes", "take",
):  # fmt: skip
    setattr(Batched, _name, globals()[_name])
Batched.flatten = ravel  # type: ignore[attr-defined]

backend.register(Batched, lambda x: _over(array_module(base(x))))

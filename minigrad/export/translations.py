"""Ops as nodes of ONNX: what each op of `minigrad.ops` becomes.

A translation is called with the builder, the op's inputs (Terms; numbers, Sizes, Roots and None as
they come), what is known of the result `y` and the op's static parameters, and gives a Term for
each output. It says what runtimes must compute, to the last digits; where ONNX leaves something
open that NumPy does not (NaN, minus infinity in all of a softmax, the sign of a remainder), it is
spelled out.

Composite ops that are not here are exported through their formula, which is made of others.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from minigrad.autodiff import REGISTRY
from minigrad.errors import ExportError
from minigrad.export.building import ENDS, INT64, Builder, Term
from minigrad.export.sizes import Size, Unfit
from minigrad.ops.windows import per_axis, reach_of


class Like(NamedTuple):
    """What is known of an output."""

    dtype: np.dtype
    shape: tuple


class Translation(NamedTuple):
    """How calls of an op are translated.

    Attributes:
        function: what adds the nodes.
        fits: whether it can for these arrays and parameters; else the formula is taken.
        sized: the parameters that may follow from sizes.
        loose: those of them that may do so in a way that cannot be told.
    """

    function: Callable
    fits: Callable | None
    sized: frozenset[str]
    loose: frozenset[str]


TRANSLATIONS: dict[str, Translation] = {}

# Ops that can never be exported, and why; for others there is just no translation.
REFUSED = {
    "dropout": "it draws random numbers; call eval() on what the forward pass is made of",
    "_uniform_beside": "it draws random numbers",
    "_hide": "vmap cannot be exported; write the batch axis out",
    "_show": "vmap cannot be exported; write the batch axis out",
    "_relevel": "vmap cannot be exported; write the batch axis out",
}


def translates(
    *names: str, fits: Callable | None = None, sized: Sequence[str] = (), loose: Sequence[str] = ()
) -> Callable:
    """Decorator: a function is the translation of the ops of these names."""

    def register(function: Callable) -> Callable:
        for name in names:
            TRANSLATIONS[name] = Translation(
                function, fits, frozenset((*sized, *loose)), frozenset(loose)
            )
        return function

    return register


def translation_of(op: Any) -> Translation | None:
    """The translation of an op of ours, if it has one; a user's op may have the same name."""
    name = op.__name__
    return TRANSLATIONS.get(name) if REGISTRY.get(name) is op else None


def has_translation(op: Any) -> bool:
    return translation_of(op) is not None


def fits(op: Any, arrays: Sequence[Any], params: dict[str, Any]) -> bool:
    """Whether a call is translated whole."""
    found = translation_of(op)
    return found is not None and (found.fits is None or found.fits(*arrays, **params))


# ------------------------------------------------------------------------------ conditions


def _floats(*arrays: Any, **_: Any) -> bool:
    """Whether all arrays are float32, or all are float64."""
    dtypes = {x.dtype for x in arrays if hasattr(x, "dtype")}
    return len(dtypes) == 1 and next(iter(dtypes)) in (np.float32, np.float64)


def _one_axis(*arrays: Any, axis: Any = -1, dtype: Any = None, **_: Any) -> bool:
    return _floats(*arrays) and type(axis) is int and dtype is None and arrays[0].ndim > 0


# ---------------------------------------------------------------------------- by one node

OF_FLOATS = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh",
    "tanh": "Tanh", "arcsinh": "Asinh", "arccosh": "Acosh", "arctanh": "Atanh", "erf": "Erf",
    "sigmoid": "Sigmoid",
}  # fmt: skip
TO_WHOLE = {"floor": "Floor", "ceil": "Ceil", "rint": "Round"}  # halves to even
OF_ONE = {"negative": "Neg", "absolute": "Abs", "sign": "Sign"}
OF_TWO = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
OF_TWO_BOOLEANS = {"add": "Or", "multiply": "And", "maximum": "Or", "minimum": "And"}
COMPARISONS = {
    "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "equal": "Equal", "not_equal": "Equal",
}  # fmt: skip
LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
BITWISE = {"bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor"}


def _register_plain() -> None:
    for name, kind in OF_FLOATS.items():
        translates(name)(lambda b, x, y, kind=kind: b.node(kind, b.cast(x, y.dtype)))
    for name, kind in TO_WHOLE.items():
        translates(name)(lambda b, x, y, kind=kind: x if y.dtype.kind in "iub" else b.node(kind, x))
    for name, kind in OF_ONE.items():
        translates(name)(
            lambda b, x, y, kind=kind: b.through(
                lambda v: b.node(kind, v), b.cast(x, y.dtype), also=["bool", "float16"]
            )
        )
    for name, kind in OF_TWO.items():
        translates(name)(
            lambda b, u, v, y, kind=kind, name=name: _of_two(b, kind, name, u, v, y.dtype)
        )
    for name, kind in COMPARISONS.items():
        translates(name)(
            lambda b, u, v, y, kind=kind, name=name: _compared(b, kind, u, v, name == "not_equal")
        )
    for name, kind in LOGICAL.items():
        translates(name)(
            lambda b, u, v, y, kind=kind: b.node(kind, b.cast(u, bool), b.cast(v, bool))
        )
    for name, kind in BITWISE.items():
        translates(name)(
            lambda b, u, v, y, kind=kind: b.node(
                kind if y.dtype.kind == "b" else f"Bitwise{kind}", b.cast(u, y.dtype),
                b.cast(v, y.dtype),
            )
        )  # fmt: skip


_register_plain()


def _of_two(b: Builder, kind: str, name: str, u: Any, v: Any, dtype: np.dtype) -> Term:
    u, v = b.cast(u, dtype), b.cast(v, dtype)
    if dtype.kind == "b":
        if name not in OF_TWO_BOOLEANS:
            raise ExportError(f"there is no {name} of booleans")
        return b.node(OF_TWO_BOOLEANS[name], u, v)
    return b.through(lambda *xs: b.node(kind, *xs), u, v)


def _together(u: Any, v: Any) -> np.dtype:
    """The dtype in which two operands meet: integers take that of the floats."""
    dtypes = [x.dtype for x in (u, v) if type(x) is Term]
    floats = [d for d in dtypes if d.kind == "f"]
    if floats:
        return np.result_type(*floats)
    if any(type(x) is float for x in (u, v)):
        return np.dtype(np.float32)
    others = [x for x in (u, v) if type(x) in (int, bool)]
    dtype = np.result_type(*dtypes, *others)
    if others and dtype.kind in "iu" and not all(_holds(dtype, x) for x in others):
        return INT64
    return dtype


def _holds(dtype: np.dtype, n: int) -> bool:
    return np.iinfo(dtype).min <= n <= np.iinfo(dtype).max


def _compared(b: Builder, kind: str, u: Any, v: Any, negated: bool = False) -> Term:
    dtype = _together(u, v)
    small = dtype.kind in "iu" and dtype.itemsize < 4
    if small or (dtype.kind == "b" and kind != "Equal"):
        dtype = np.dtype(np.int32)
    elif dtype == np.uint32:
        dtype = INT64
    y = b.node(kind, b.cast(u, dtype), b.cast(v, dtype), dtype=bool)
    return b.node("Not", y) if negated else y


@translates("positive", "_fresh")
def _positive(b, x, y):
    return b.cast(x, y.dtype)


@translates("astype")
def _astype(b, x, y, *, dtype):
    return b.cast(x, y.dtype)


@translates("invert")
def _invert(b, x, y):
    return b.node("Not" if y.dtype.kind == "b" else "BitwiseNot", x)


@translates("logical_not")
def _logical_not(b, x, y):
    return b.node("Not", b.cast(x, bool))


# ---------------------------------------------------------------------------- arithmetic


@translates("relu")
def _relu(b, x, y):
    return _extreme(b, "Max", x, 0, y.dtype)


@translates("maximum")
def _maximum(b, u, v, y):
    return _extreme(b, "Max", u, v, y.dtype)


@translates("minimum")
def _minimum(b, u, v, y):
    return _extreme(b, "Min", u, v, y.dtype)


def _extreme(b: Builder, kind: str, u: Any, v: Any, dtype: np.dtype) -> Term:
    return _of_two(b, kind, "maximum" if kind == "Max" else "minimum", u, v, dtype)


def _without_nan(kind: str) -> Callable:
    def function(b, u, v, y):
        u, v = b.cast(u, y.dtype), b.cast(v, y.dtype)
        if y.dtype.kind == "f":
            nan_u, nan_v = (b.node("IsNaN", x, dtype=bool) for x in (u, v))
            u, v = b.choice(nan_u, v, u), b.choice(nan_v, u, v)
        return _extreme(b, kind, u, v, y.dtype)

    return function


translates("fmax")(_without_nan("Max"))
translates("fmin")(_without_nan("Min"))


@translates("mod")
def _mod(b, u, v, y):
    u, v = b.cast(u, y.dtype), b.cast(v, y.dtype)
    if y.dtype.kind in "iu":
        return b.node("Mod", u, v)  # of integers with the sign of the divisor
    rest = b.node("Mod", u, v, fmod=1)
    return b.choice(_other_sign(b, rest, v), b.node("Add", rest, v), rest)


def _other_sign(b: Builder, rest: Term, v: Term) -> Term:
    """Whether a remainder is not 0, and has not the sign of the divisor."""
    zero = b.constant(0, rest.dtype)
    below = [b.node("Less", x, zero, dtype=bool) for x in (rest, v)]
    some = b.node("Not", b.node("Equal", rest, zero, dtype=bool))
    return b.node("And", some, b.node("Xor", *below))


@translates("fmod")
def _fmod(b, u, v, y):
    return b.node("Mod", b.cast(u, y.dtype), b.cast(v, y.dtype), fmod=1)


@translates("floor_divide")
def _floor_divide(b, u, v, y):
    u, v = b.cast(u, y.dtype), b.cast(v, y.dtype)
    if y.dtype.kind in "iu":  # Div rounds towards zero

        def floored(u, v):
            rest = b.node("Mod", u, v, fmod=1)
            one_less = b.cast(_other_sign(b, rest, v), u.dtype)
            return b.node("Sub", b.node("Div", u, v), one_less)

        return b.through(floored, u, v)
    rest = b.node("Mod", u, v, fmod=1)  # as NumPy: without it, it divides evenly but for rounding
    whole = b.node("Div", b.node("Sub", u, rest), v)
    whole = b.node("Sub", whole, b.cast(_other_sign(b, rest, v), y.dtype))
    down = b.node("Floor", whole)
    above = b.node("Greater", b.node("Sub", whole, down), b.constant(0.5, y.dtype), dtype=bool)
    found = b.node("Add", down, b.cast(above, y.dtype))
    by_zero = b.node("Equal", v, b.constant(0, y.dtype), dtype=bool)
    return b.choice(by_zero, b.node("Div", u, v), found)


@translates("trunc")
def _trunc(b, x, y):
    if y.dtype.kind in "iub":
        return x
    return b.node("Mul", b.node("Sign", x), b.node("Floor", b.node("Abs", x)))


@translates("round", fits=lambda x, decimals=0: x.dtype.kind == "f" or decimals >= 0)
def _round(b, x, y, *, decimals=0):
    if y.dtype.kind in "iub":
        return b.cast(x, y.dtype)
    factor = b.constant(10.0 ** abs(decimals), x.dtype)
    there, back = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
    if not decimals:
        return b.node("Round", x)
    return b.node(back, b.node("Round", b.node(there, x, factor)), factor)


@translates("where")
def _where(b, condition, u, v, y):
    return b.choice(b.cast(condition, bool), b.cast(u, y.dtype), b.cast(v, y.dtype))


@translates("power")
def _power(b, u, v, y):
    if y.dtype.kind == "f":
        if v == 0.5:  # NumPy takes the root, which differs for minus infinity
            return b.node("Sqrt", b.cast(u, y.dtype))
        return b.node("Pow", b.cast(u, y.dtype), b.cast(v, y.dtype))
    if type(v) is not int or not 0 < v <= 64:
        raise ExportError("a power of integers may be too large, where runtimes differ; use floats")
    u = found = b.cast(u, y.dtype)
    for _ in range(v - 1):
        found = _of_two(b, "Mul", "multiply", found, u, y.dtype)
    return found


@translates("copysign")
def _copysign(b, u, v, y):
    size = b.node("Abs", b.cast(u, y.dtype))
    return b.choice(_signbit(b, b.cast(v, y.dtype), y), b.node("Neg", size), size)


@translates("signbit")
def _signbit(b, x, y):
    x = b.cast(x, _ordered(x.dtype))
    zero = b.constant(0, x.dtype)
    below = b.node("Less", x, zero, dtype=bool)
    if x.dtype.kind != "f":
        return below
    inverse = b.node("Div", b.constant(1, x.dtype), x)  # of -0 it is -inf
    return b.node("Or", below, b.node("Less", inverse, zero, dtype=bool))


def _kind_of_number(name: str) -> Callable:
    def function(b, x, y):
        x = x if x.dtype.kind == "f" else b.cast(x, np.float32)
        if name == "isnan":
            return b.node("IsNaN", x, dtype=bool)
        infinite = b.endless(x)
        if name == "isinf":
            return infinite
        return b.node("Not", b.node("Or", infinite, b.node("IsNaN", x, dtype=bool)))

    return function


for _name in ("isnan", "isinf", "isfinite"):
    translates(_name)(_kind_of_number(_name))


@translates("isclose")
def _isclose(b, u, v, y, *, rtol=1e-5, atol=1e-8, equal_nan=False):
    dtype = _together(u, v)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    u, v = b.cast(u, dtype), b.cast(v, dtype)
    far = b.node("Abs", b.node("Sub", u, v))
    near = b.node("Mul", b.node("Abs", v), b.constant(rtol, dtype))
    near = b.node("LessOrEqual", far, b.node("Add", near, b.constant(atol, dtype)), dtype=bool)
    finite = b.node("And", *(_kind_of_number("isfinite")(b, x, None) for x in (u, v)))
    found = b.choice(finite, near, b.node("Equal", u, v, dtype=bool))
    if equal_nan:
        both = b.node("And", *(b.node("IsNaN", x, dtype=bool) for x in (u, v)))
        found = b.node("Or", found, both)
    return found


@translates("allclose")
def _allclose(b, u, v, y, **options):
    return _all(b, b.reshape(_isclose(b, u, v, y, **options), (-1,)), None)


# --------------------------------------------------------------- exponentials and the like


@translates("exp2")
def _exp2(b, x, y):
    return b.node("Pow", b.constant(2, y.dtype), b.cast(x, y.dtype))


@translates("log2")
def _log2(b, x, y):
    return b.node("Div", b.node("Log", b.cast(x, y.dtype)), b.constant(math.log(2), y.dtype))


@translates("log10")
def _log10(b, x, y):
    return b.node("Div", b.node("Log", b.cast(x, y.dtype)), b.constant(math.log(10), y.dtype))


@translates("log1p")
def _log1p(b, x, y):
    """With u = 1 + x as it is rounded: x log(u) / (u - 1), which loses no digits (Kahan)."""
    x, one = b.cast(x, y.dtype), b.constant(1, y.dtype)
    u = b.node("Add", one, x)
    step = b.node("Sub", u, one)
    bent = b.node("Mul", x, b.node("Div", b.node("Log", u), step))
    tiny = b.node("Equal", step, b.constant(0, y.dtype), dtype=bool)
    endless = b.endless(x)
    return b.choice(tiny, x, b.choice(endless, b.node("Log", u), bent))


@translates("expm1")
def _expm1(b, x, y):
    """tanh(x / 2) (exp(x) + 1), which loses no digits near 0."""
    x = b.cast(x, y.dtype)
    half = b.node("Tanh", b.node("Mul", x, b.constant(0.5, y.dtype)))
    return b.node("Mul", half, b.node("Add", b.node("Exp", x), b.constant(1, y.dtype)))


@translates("cbrt")
def _cbrt(b, x, y):
    x = b.cast(x, y.dtype)
    root = b.node("Pow", b.node("Abs", x), b.constant(1 / 3, y.dtype))
    return b.node("Mul", b.node("Sign", x), root)


@translates("logaddexp2")
def _logaddexp2(b, u, v, y):
    two = b.constant(math.log(2), y.dtype)
    u, v = (b.node("Mul", b.cast(x, y.dtype), two) for x in (u, v))
    return b.node("Div", _logaddexp(b, u, v, y), two)


@translates("logaddexp")
def _logaddexp(b, u, v, y):
    u, v = b.cast(u, y.dtype), b.cast(v, y.dtype)
    apart = b.node("Neg", b.node("Abs", b.node("Sub", u, v)))
    equal = b.node("Equal", u, v, dtype=bool)  # the difference of infinities is NaN
    apart = b.choice(equal, b.constant(0, y.dtype), apart)
    more = _log1p(b, b.node("Exp", apart), y)
    return b.node("Add", b.node("Max", u, v), more)


@translates("hypot")
def _hypot(b, u, v, y):
    u, v = (b.node("Abs", b.cast(x, y.dtype)) for x in (u, v))
    most, least = b.node("Max", u, v), b.node("Min", u, v)
    zero, one = b.constant(0, y.dtype), b.constant(1, y.dtype)
    share = b.node("Div", least, b.choice(b.node("Equal", most, zero, dtype=bool), one, most))
    found = b.node("Mul", most, b.node("Sqrt", b.node("Add", b.node("Mul", share, share), one)))
    endless = b.node("Or", *(b.endless(x) for x in (u, v)))
    return b.choice(endless, b.constant(math.inf, y.dtype), found)


@translates("arctan2")
def _arctan2(b, u, v, y):
    """From the angle in the first quarter, by the signs of both, also those of zeros."""
    u, v = b.cast(u, y.dtype), b.cast(v, y.dtype)
    up, over = b.node("Abs", u), b.node("Abs", v)
    angle = b.node("Atan", b.node("Div", up, over))
    for odd, value in (("zero", 0), ("endless", math.pi / 4)):  # 0 / 0, inf / inf
        wanted = b.constant(0 if odd == "zero" else math.inf, y.dtype)
        both = b.node("And", *(b.node("Equal", x, wanted, dtype=bool) for x in (up, over)))
        angle = b.choice(both, b.constant(value, y.dtype), angle)
    other = b.node("Sub", b.constant(math.pi, y.dtype), angle)
    angle = b.choice(_signbit(b, v, y), other, angle)
    return b.choice(_signbit(b, u, y), b.node("Neg", angle), angle)


@translates("gelu", fits=lambda x, approximate: approximate == "none" and x.dtype != np.float16)
def _gelu(b, x, y, *, approximate):
    """x (1 + erf(x / sqrt 2)) / 2, which runtimes know, and which errs by the last digit of 1."""
    x = b.cast(x, y.dtype)
    inner = b.node("Erf", b.node("Mul", x, b.constant(1 / math.sqrt(2), x.dtype)))
    half = b.node("Mul", x, b.constant(0.5, x.dtype))
    return b.node("Mul", half, b.node("Add", inner, b.constant(1, x.dtype)))


# ---------------------------------------------------------------------------------- shape


def _shape(shape: Any) -> tuple:
    return tuple(shape) if isinstance(shape, tuple | list) else (shape,)


@translates("reshape", loose=["shape"])
def _reshape(b, x, y, *, shape):
    shape = _shape(shape)
    if unfit := [n for n in shape if type(n) is Unfit]:
        if len(unfit) > 1 or -1 in shape:
            raise ExportError(unfit[0].why.removeprefix("export.onnx: "))
        shape = tuple(-1 if type(n) is Unfit else n for n in shape)
    return b.reshape(x, shape)


@translates("flatten", fits=lambda x, **_: x.ndim > 0)
def _flatten(b, x, y, *, start_axis=0, end_axis=-1):
    start, end = (normalize_axis_index(a, x.ndim) for a in (start_axis, end_axis))
    if None in y.shape:  # a product that is no formula of sizes
        parts = [b.shape_of(x, 0, start)] if start else []
        parts.append(b.ints([-1]))
        parts += [b.shape_of(x, end + 1)] if end + 1 < x.ndim else []
        return b.node("Reshape", x, b.node("Concat", *parts, axis=0))
    return b.reshape(x, y.shape)


@translates("transpose")
def _transpose(b, x, y, *, axes=None):
    order = range(x.ndim)[::-1] if axes is None else normalize_axis_tuple(axes, x.ndim)
    return b.transpose(x, order)


@translates("swapaxes", fits=lambda x, **_: x.ndim > 0)
def _swapaxes(b, x, y, *, axis1, axis2):
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return b.transpose(x, order)


@translates("expand_dims")
def _expand_dims(b, x, y, *, axis):
    axes = normalize_axis_tuple(axis, len(y.shape))
    return b.node("Unsqueeze", x, b.ints(sorted(axes)))


@translates("squeeze")
def _squeeze(b, x, y, *, axis=None):
    ones = [a for a, n in enumerate(x.shape) if n == 1]
    axes = ones if axis is None else sorted(normalize_axis_tuple(axis, x.ndim))
    return b.node("Squeeze", x, b.ints(axes)) if axes else x


@translates("broadcast_to", sized=["shape"])
def _broadcast_to(b, x, y, *, shape):
    return _spread(b, x, _shape(shape))


@translates("_concatenate")
def _concatenate(b, *xs, y, axis=0):
    xs = [b.cast(x, y.dtype) for x in xs]
    if axis is None:
        xs, axis = [b.reshape(x, (-1,)) for x in xs], 0
    return b.node("Concat", *xs, axis=axis)


@translates("_pad", sized=["widths"])
def _pad(b, x, y, *, widths, values):
    for axis, (pair, numbers) in enumerate(zip(widths, values, strict=True)):
        sides: dict[Any, list] = {}  # a Pad has one number: both sides at once if it is the same
        for side, (width, number) in enumerate(zip(pair, numbers, strict=True)):
            if width != 0:
                sides.setdefault(number, [0, 0])[side] = width
        for number, both in sides.items():
            x = b.through(
                lambda v, both=both, number=number, axis=axis: b.node(
                    "Pad", v, b.ints(both), b.constant(number, v.dtype), b.ints([axis])
                ),
                x,
                also=["bool"],
            )
    return x


def _part(upper: int) -> Callable:
    def function(b, x, y, *, k=0):
        if x.ndim == 1:  # a row stands for all rows
            x = b.node("Expand", x, b.ints(y.shape))
        return b.through(
            lambda v: b.node("Trilu", v, b.constant(k, np.int64), upper=upper),
            x,
            also=["bool", "int32"],
        )

    return function


translates("tril")(_part(0))
translates("triu")(_part(1))


def _all_of(number: int | None) -> Callable:
    def function(b, x, y, *, fill_value=None, dtype=None):
        one = b.number(fill_value if number is None else number, y.dtype)
        return b.node("Expand", one, b.shape_of(x)) if x.ndim else one

    return function


translates("zeros_like")(_all_of(0))
translates("ones_like")(_all_of(1))
translates("full_like")(_all_of(None))


# ------------------------------------------------------------------------------- look-ups


@translates("_in_range")
def _in_range(b, ids, y, **_):
    return b.cast(ids, y.dtype)


@translates("take")
def _take(b, x, ids, y, *, axis=None):
    ids = b.cast(ids, INT64)
    if axis is None or not x.ndim:
        x, axis = b.reshape(x, (-1,)), 0
    return b.node("Gather", x, ids, axis=normalize_axis_index(axis, x.ndim))


@translates("embedding")
def _embedding(b, ids, weight, y, *, padding_idx=None):
    return b.node("Gather", weight, b.cast(ids, INT64), axis=0)


@translates("_sparse_rows")
def _sparse_rows(b, ids, weight, y, *, padding_idx=None):
    return b.node("Gather", weight, b.cast(ids, INT64), axis=0)


@translates("take_along_axis")
def _take_along_axis(b, x, ids, y, *, axis=-1):
    if axis is None:
        x, axis = b.reshape(x, (-1,)), 0
    ids = b.cast(ids, INT64)
    axis = normalize_axis_index(axis, x.ndim)
    if any(n != m for a, (n, m) in enumerate(zip(x.shape, ids.shape, strict=True)) if a != axis):
        x = _spread(b, x, [1 if a == axis else n for a, n in enumerate(y.shape)])
        ids = _spread(b, ids, y.shape)
    return b.node("GatherElements", x, ids, axis=axis)


def _spread(b: Builder, x: Term, shape: Sequence[Any]) -> Term:
    if None in shape or 0 in shape:  # of empty arrays runtimes make something else
        raise ExportError("it broadcasts to a length that is 0, or no formula of sizes")
    return b.node("Expand", x, b.ints(shape))  # to ones it leaves what is longer


@translates("one_hot", fits=lambda ids, num_classes: num_classes != -1)
def _one_hot(b, ids, y, *, num_classes):
    ids = b.node("Unsqueeze", b.cast(ids, INT64), b.ints([-1]))
    classes = b.constant(np.arange(num_classes))
    return b.cast(b.node("Equal", ids, classes, dtype=bool), y.dtype)


@translates("_getitem", sized=["template"])
def _getitem(b, x, *arrays, y, template):
    if any(a.dtype.kind == "b" for a in arrays):
        raise ExportError("the shape of what a mask selects depends on values; use where")
    ids = iter(arrays)
    parts: list[Any] = list(template)
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    missing = x.ndim - sum(p is not None and p is not Ellipsis for p in parts)
    parts[at : at + 1] = [slice(None)] * missing
    parts = [next(ids) if isinstance(p, str) else slice(*p) if isinstance(p, tuple) else p
             for p in parts]  # fmt: skip
    x = _sliced(b, x, [p for p in parts if p is not None])
    if new := [a for a, p in enumerate(parts) if p is None]:
        x = b.node("Unsqueeze", x, b.ints(new))
    chosen = [a for a, p in enumerate(parts) if type(p) in (Term, int, Size)]
    if not arrays:
        for a in reversed(chosen):
            x = b.node("Gather", x, b.number(parts[a], INT64), axis=a)
        return x
    if len(chosen) == 1:
        return b.node("Gather", x, b.cast(parts[chosen[0]], INT64), axis=chosen[0])
    return _of_several(b, x, chosen, [b.cast(parts[a], INT64) for a in chosen], len(parts))


def _sliced(b: Builder, x: Term, parts: list) -> Term:
    starts, ends, axes, steps = [], [], [], []
    for a, p in enumerate(parts):
        if type(p) is slice and p != slice(None):
            step = 1 if p.step is None else p.step
            first, last = (0, ENDS.max) if step > 0 else (ENDS.max, ENDS.min)
            starts.append(first if p.start is None else p.start)
            ends.append(last if p.stop is None else p.stop)
            axes.append(a)
            steps.append(step)
    if not axes:
        return x
    return b.node("Slice", x, *map(b.ints, (starts, ends, axes, steps)))


def _of_several(b: Builder, x: Term, chosen: list[int], ids: list[Term], ndim: int) -> Term:
    """`x` at ids for several axes at once, which are broadcast, as NumPy places the result."""
    others = [a for a in range(ndim) if a not in chosen]
    nothing = ids[0]
    for i in ids[1:]:
        nothing = b.node("Add", nothing, i)
    nothing = b.node("Mul", nothing, b.constant(0, INT64))
    columns = [b.node("Unsqueeze", b.node("Add", i, nothing), b.ints([-1])) for i in ids]
    y = b.node(
        "GatherND", b.transpose(x._replace(shape=None), [*chosen, *others]),
        b.node("Concat", *columns, axis=-1), dtype=x.dtype,
    )  # fmt: skip
    if chosen != list(range(chosen[0], chosen[-1] + 1)):
        return y  # apart from each other: their axes come first
    lead = max(i.ndim for i in ids)
    before = list(range(lead, lead + chosen[0]))
    after = range(lead + chosen[0], lead + len(others))
    return b.transpose(y, [*before, *range(lead), *after])


def _rows_written(reduction: str) -> Callable:
    def function(b, x, ids, values, y, *, axis=0):
        axis = normalize_axis_index(axis, x.ndim)
        ids, values = b.cast(ids, INT64), b.cast(values, y.dtype)
        after = x.ndim - axis - 1
        if not ids.ndim and values.ndim >= after:  # the values have no such axis
            values = b.node("Unsqueeze", values, b.ints([values.ndim - after]))
        ids = b.reshape(ids, [-1 if a == axis else 1 for a in range(x.ndim)])
        count = b.shape_of(ids, axis, axis + 1)
        parts = [b.shape_of(x, 0, axis)] * (axis > 0) + [count]
        parts += [b.shape_of(x, axis + 1)] * (axis + 1 < x.ndim)
        shape = b.node("Concat", *parts, axis=0)
        ids = b.node("Expand", ids, shape)
        values = b.node("Expand", values, shape)
        return _scattered(b, b.cast(x, y.dtype), ids, values, axis, reduction)

    return function


translates("index_add", fits=lambda x, *_, **__: x.ndim > 0)(_rows_written("add"))
translates("index_set", fits=lambda x, *_, **__: x.ndim > 0)(_rows_written("none"))


def _scattered(b, x, ids, values, axis, reduction):
    if reduction == "none":
        return b.node("ScatterElements", x, ids, values, axis=axis)
    return b.through(
        lambda x, values: b.node(
            "ScatterElements", x, ids, values, axis=axis, reduction=reduction
        ),
        x, values, also=["float16", "uint64"],
    )  # fmt: skip


def _elements_written(reduction: str) -> Callable:
    def function(b, x, ids, values, y, *, axis):
        ids, values = b.cast(ids, INT64), b.cast(values, y.dtype)
        if not values.shape:
            values = b.node("Expand", values, b.shape_of(ids))
        elif values.shape != ids.shape:  # the first ones count
            axes = b.ints(range(ids.ndim))
            values = b.node("Slice", values, b.ints([0] * ids.ndim), b.shape_of(ids), axes)
        axis = normalize_axis_index(axis, x.ndim)
        return _scattered(b, b.cast(x, y.dtype), ids, values, axis, reduction)

    return function


translates("scatter", fits=lambda x, *_, **__: x.ndim > 0)(_elements_written("none"))
translates("scatter_add", fits=lambda x, *_, **__: x.ndim > 0)(_elements_written("add"))


# ------------------------------------------------------------------------------ reductions


def _axes(axis: Any, ndim: int) -> list[int]:
    if axis is None or (not ndim and axis in (0, -1, (0,), (-1,))):
        return list(range(ndim))
    return sorted(normalize_axis_tuple(axis, ndim))


def _reduced(b: Builder, kind: str, x: Term, axis: Any, keepdims: bool = True) -> Term:
    axes = _axes(axis, x.ndim)
    if not axes:
        return x
    lengths = [(a, n) for a, n in enumerate(x.shape or ()) if keepdims or a not in axes]
    shape = tuple(1 if a in axes else n for a, n in lengths)
    return b.node(kind, x, b.ints(axes), keepdims=int(keepdims), shape=shape)


def _wide(dtype: np.dtype) -> np.dtype:
    """Float32 for half precision, of which sums need more digits."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _ordered(dtype: np.dtype) -> np.dtype:
    """A dtype with the same order that runtimes have kernels for."""
    if dtype.kind in "iub" and dtype.itemsize < 4:
        return np.dtype(np.int32)
    return INT64 if dtype == np.uint32 else dtype


@translates("sum")
def _sum(b, x, y, *, axis=None, keepdims=False, dtype=None):
    x = b.cast(b.cast(x, y.dtype), _wide(y.dtype))
    return b.through(lambda v: _reduced(b, "ReduceSum", v, axis, keepdims), x, also=["uint64"])


@translates("prod")
def _prod(b, x, y, *, axis=None, keepdims=False, dtype=None):
    x = b.cast(b.cast(x, y.dtype), _wide(y.dtype))
    return b.through(lambda v: _reduced(b, "ReduceProd", v, axis, keepdims), x, also=["uint64"])


@translates("mean")
def _mean(b, x, y, *, axis=None, keepdims=False, dtype=None):
    if x.dtype.kind in "iub" and dtype is None:
        x = b.cast(x, np.float64)  # the sum of integers is to be exact
    else:
        x = b.cast(x, _wide(y.dtype))
    return _reduced(b, "ReduceMean", x, axis, keepdims)


@translates("_centred")
def _centred(b, x, y, *, axis=None):
    for _ in range(2):  # the mean is off by its rounding
        x = b.node("Sub", x, _reduced(b, "ReduceMean", x, axis), shape=x.shape)
    return x


@translates("_length")
def _length(b, x, y, *, axis=None, keepdims=False):
    """By the largest, as its square could be too large."""
    most = _reduced(b, "ReduceMax", b.node("Abs", x, shape=x.shape), axis)
    zero = b.node("Equal", most, b.constant(0, x.dtype), dtype=bool)
    odd = b.node("Or", zero, b.endless(most))
    scale = b.choice(odd, b.constant(1, x.dtype), most)
    share = b.node("Div", x, scale)
    total = _reduced(b, "ReduceSum", b.node("Mul", share, share, shape=x.shape), axis)
    found = b.node("Mul", b.node("Sqrt", total), scale)
    axes = _axes(axis, x.ndim)
    return found if keepdims or not axes else b.node("Squeeze", found, b.ints(axes))


@translates("cumsum")
def _cumsum(b, x, y, *, axis=None, dtype=None):
    x = b.cast(b.cast(x, y.dtype), _wide(y.dtype))
    if axis is None or not x.ndim:
        x, axis = b.reshape(x, (-1,)), 0
    along = b.constant(normalize_axis_index(axis, x.ndim), INT64)
    return b.through(lambda v: b.node("CumSum", v, along), x, also=["uint64"])


def _extreme_along(kind: str) -> Callable:
    def function(b, x, y, *, axis=None, keepdims=False):
        found = b.through(lambda v: _reduced(b, kind, v, axis, keepdims), x, also=["bool"])
        if y.dtype.kind != "f" or not _axes(axis, x.ndim):
            return found
        # Runtimes differ in whether NaN counts; here it does.
        bad = b.cast(b.node("IsNaN", x, dtype=bool, shape=x.shape), np.int32)
        bad = b.cast(_reduced(b, "ReduceMax", bad, axis, keepdims), bool)
        return b.choice(bad, b.constant(math.nan, y.dtype), found)

    return function


translates("max")(_extreme_along("ReduceMax"))
translates("min")(_extreme_along("ReduceMin"))


def _place_of(kind: str) -> Callable:
    def function(b, x, y, *, axis=None, keepdims=False):
        x = b.cast(x, _ordered(x.dtype))
        if axis is not None and x.ndim:
            axis = normalize_axis_index(axis, x.ndim)
            return b.node(kind, x, dtype=INT64, axis=axis, keepdims=int(keepdims))
        found = b.node(kind, b.reshape(x, (-1,)), dtype=INT64, axis=0, keepdims=0)
        return b.reshape(found, (1,) * len(y.shape))

    return function


translates("argmax")(_place_of("ArgMax"))
translates("argmin")(_place_of("ArgMin"))


@translates("all")
def _all(b, x, y, *, axis=None, keepdims=False):
    x = b.cast(b.cast(x, bool), np.int32)
    return b.cast(_reduced(b, "ReduceMin", x, axis, keepdims), bool)


@translates("any")
def _any(b, x, y, *, axis=None, keepdims=False):
    # As `not all not`: of no elements the smallest is true, and the largest is not false.
    none = b.node("Not", b.cast(x, bool), shape=x.shape)
    return b.node("Not", _all(b, none, y, axis=axis, keepdims=keepdims))


# --------------------------------------------------------------------------------- orders


@translates("argsort")
def _argsort(b, x, y, *, axis=-1, descending=False, stable=True):
    if axis is None or not x.ndim:
        line = b.reshape(x, (-1,))
        return b.reshape(_top(b, line, b.shape_of(line), 0, descending), y.shape)
    axis = normalize_axis_index(axis, x.ndim)
    return _top(b, x, b.shape_of(x, axis, axis + 1), axis, descending)


@translates("_order", fits=lambda x: x.ndim > 0)
def _order(b, x, y):
    return _argsort(b, x, y)


@translates("_top_ids", fits=lambda x, **_: x.ndim > 0)
def _top_ids(b, x, y, *, k, descending):
    return _top(b, x, b.ints([k]), x.ndim - 1, descending)


def _top(b: Builder, x: Term, count: Term, axis: int, descending: bool) -> Term:
    """Of equal elements the one with the lower index comes first, here as there."""
    x = b.cast(x, _ordered(x.dtype))
    _, ids = b.node(
        "TopK", x, count, dtype=x.dtype, outputs=2, axis=axis, largest=int(descending), sorted=1
    )
    return ids._replace(dtype=INT64)


# ------------------------------------------------------------------------------- products


@translates("matmul")
def _matmul(b, u, v, y):
    wide = _wide(y.dtype)
    return b.through(
        lambda *xs: b.node("MatMul", *xs),
        *(b.cast(b.cast(x, y.dtype), wide) for x in (u, v)),
        also=["bool"],
    )


@translates("linear", fits=lambda x, weight, bias=None: weight.dtype.itemsize > 2)
def _linear(b, x, weight, bias, y):
    x, weight = b.cast(x, y.dtype), b.cast(weight, y.dtype)
    if x.ndim == 2 and bias is not None:
        return b.node("Gemm", x, weight, b.cast(bias, y.dtype), transB=1)
    found = b.node("MatMul", x, b.transpose(weight, (1, 0)))
    return found if bias is None else b.node("Add", found, b.cast(bias, y.dtype))


# ------------------------------------------------------------------------------- softmaxes


@translates("softmax", fits=_one_axis)
def _softmax(b, x, y, *, axis=-1, dtype=None):
    return _softened(b, "Softmax", x, axis, 0)


@translates("log_softmax", fits=lambda x, **k: x.dtype == np.float32 and _one_axis(x, **k))
def _log_softmax(b, x, y, *, axis=-1, dtype=None):
    return _softened(b, "LogSoftmax", x, axis, -math.inf)


def _softened(b: Builder, kind: str, x: Term, axis: int, otherwise: float) -> Term:
    """A softmax that is not NaN but `otherwise` where all is minus infinity."""
    found = b.node(kind, x, axis=axis)
    none = _none_seen(b, x, axis)
    return b.choice(none, b.constant(otherwise, x.dtype), found)


def _none_seen(b: Builder, x: Term, axis: int) -> Term:
    top = b.node("ReduceMax", x, b.ints([axis]), keepdims=1)
    return b.node("Equal", top, b.constant(-math.inf, x.dtype), dtype=bool)


def _can_attend(q, k, v, mask=None, key=None, **_):
    return key is None and _floats(q, k, v)


@translates("attention", fits=_can_attend, sized=["scale"])
def _attention(b, q, k, v, mask, key, y, *, heads, causal, scale, dropout):
    width = q.shape[2] // heads
    scale = (1 / math.sqrt(width) if width else 1.0) if scale is None else scale

    def split(x, *axes):  # (B, T, H*D) -> (B, H, T, D); 0 keeps a length
        each = x.shape[2] // heads
        apart = b.node("Reshape", x, b.ints([0, 0, heads, each]))
        return b.node("Transpose", apart, perm=list(axes))

    scores = b.node("MatMul", split(q, 0, 2, 1, 3), split(k, 0, 2, 3, 1))
    scores = b.node("Mul", scores, b.number(scale, q.dtype))
    allowed = None
    if causal:
        rows, columns = (
            b.node("Range", b.constant(0, INT64), _alone(b, b.shape_of(x, 1, 2)),
                   b.constant(1, INT64))
            for x in (q, k)
        )  # fmt: skip
        rows = b.node("Unsqueeze", rows, b.ints([1]))
        allowed = b.node("LessOrEqual", columns, rows, dtype=bool)
    if mask is not None and mask.dtype.kind == "b":
        allowed = mask if allowed is None else b.node("And", mask, allowed)
    elif mask is not None:
        scores = b.node("Add", scores, b.cast(mask, q.dtype))
    if allowed is not None:
        scores = b.choice(allowed, scores, b.constant(-math.inf, q.dtype))
    p = b.node("Softmax", scores, axis=-1)
    if mask is not None:  # a row that sees nothing is zero
        p = b.choice(_none_seen(b, scores, -1), b.constant(0, q.dtype), p)
    found = b.node("Transpose", b.node("MatMul", p, split(v, 0, 2, 1, 3)), perm=[0, 2, 1, 3])
    return b.node("Reshape", found, b.ints([0, 0, v.shape[2]]))


def _alone(b: Builder, x: Term) -> Term:
    return b.node("Squeeze", x, b.ints([0]))


# ------------------------------------------------------------------------------------ norms


@translates("layer_norm", fits=lambda x, w=None, bias=None, eps=0: eps >= 0 and _floats(x, w, bias))
def _layer_norm(b, x, weight, bias, y, *, eps):
    if type(x.shape[-1]) is not int:
        raise ExportError("the length of the last axis differs")
    weight = b.constant(np.ones(x.shape[-1], x.dtype)) if weight is None else weight
    return b.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)


@translates("_standardise", fits=lambda x, axis, eps: eps >= 0 and _floats(x))
def _standardise(b, x, y, *, axis, eps):
    x = _centred(b, x, None, axis=axis)
    variance = _reduced(b, "ReduceMean", b.node("Mul", x, x, shape=x.shape), axis)
    std = b.node("Sqrt", b.node("Add", variance, b.constant(eps, x.dtype)))
    return b.node("Div", x, std), std


def _running(x, mean=None, var=None, weight=None, bias=None, **_):
    return mean is not None and _floats(x, mean, var, weight, bias)


@translates("batch_norm", fits=_running)
def _batch_norm(b, x, mean, var, weight, bias, y, *, eps):
    weight = b.constant(np.ones(mean.shape, x.dtype)) if weight is None else weight
    bias = b.constant(np.zeros(mean.shape, x.dtype)) if bias is None else bias
    return b.node("BatchNormalization", x, weight, bias, mean, var, epsilon=eps)


# ---------------------------------------------------------------------- convolutions, pools


def _batched(b: Builder, n: int, x: Term) -> Term:
    return b.node("Unsqueeze", x, b.ints([0])) if x.ndim == n + 1 else x


def _alone_again(b: Builder, n: int, x: Term, y: Term) -> Term:
    return b.node("Squeeze", y, b.ints([0])) if x.ndim == n + 1 else y


def _convolution(n: int) -> Callable:
    def function(b, x, weight, bias, y, *, stride, padding, dilation, groups):
        kernel = weight.shape[2:]
        dilation = per_axis("conv", "dilation", dilation, n)
        if padding == "same":
            reach = reach_of(kernel, dilation)
            pads = [*((r - 1) // 2 for r in reach), *(r // 2 for r in reach)]
        else:
            padding = 0 if padding == "valid" else padding
            pads = [*per_axis("conv", "padding", padding, n, least=0)] * 2
        given = (_batched(b, n, x), weight, bias)
        found = b.node(
            "Conv", *(v if v is None else b.cast(v, y.dtype) for v in given),
            kernel_shape=list(kernel), strides=list(per_axis("conv", "stride", stride, n)),
            dilations=list(dilation), pads=pads, group=groups,
        )  # fmt: skip
        return _alone_again(b, n, x, found)

    return function


def _transposed(n: int) -> Callable:
    def function(
        b, x, weight, bias, y, *, stride, padding, output_padding, groups, dilation
    ):  # fmt: skip
        stride, dilation, before, more = (
            list(per_axis("conv", "", v, n, least=0))
            for v in (stride, dilation, padding, output_padding)
        )
        after = list(before)
        for a in range(n):  # runtimes take no more than the stride
            if more[a] >= stride[a]:
                after[a], more[a] = after[a] - more[a], 0
        if min(after) < 0:
            raise ExportError("an output_padding exceeds both stride and padding")
        found = b.node(
            "ConvTranspose",
            *(v if v is None else b.cast(v, y.dtype) for v in (_batched(b, n, x), weight, bias)),
            kernel_shape=list(weight.shape[2:]), group=groups, strides=stride, dilations=dilation,
            pads=[*before, *after], output_padding=more,
        )  # fmt: skip
        return _alone_again(b, n, x, found)

    return function


for _n in (1, 2, 3):
    translates(f"conv{_n}d")(_convolution(_n))
    translates(f"conv_transpose{_n}d")(_transposed(_n))


@translates("_max_windows", fits=_floats, loose=["counts"])
def _max_windows(b, x, y, *, kernel, stride, dilation, counts):
    needed = [(c - 1) * s + r for c, s, r in zip(
        counts, stride, reach_of(kernel, dilation), strict=True)
    ] if all(type(c) is int for c in counts) else []  # fmt: skip
    for a, n in enumerate(needed, x.ndim - len(needed)):  # what no window reaches
        if type(x.shape[a]) is int and n < x.shape[a]:
            x = b.node("Slice", x, b.ints([0]), b.ints([n]), b.ints([a]), shape=x.shape)
    found = b.node(
        "MaxPool", x, kernel_shape=list(kernel), strides=list(stride), dilations=list(dilation)
    )
    # NaN counts as the largest, of which ONNX says nothing.
    bad = b.cast(b.node("IsNaN", x, dtype=bool), x.dtype)
    bad = b.node(
        "MaxPool", bad, kernel_shape=list(kernel), strides=list(stride), dilations=list(dilation)
    )
    return b.choice(b.cast(bad, bool), b.constant(math.nan, x.dtype), found)


@translates("_largest")
def _largest(b, windows, y):
    return _extreme_along("ReduceMax")(b, windows, y, axis=2)


@translates("_windows", loose=["count"])
def _windows(b, x, y, *, axis, size, count, stride=1, dilation=1):
    """(A, B, ..., L, ...) -> (A, B, size, ..., count, ...): a look-up, and the axes in order."""
    at = normalize_axis_index(axis, x.ndim)
    places = np.arange(size)[:, None] * dilation
    if type(count) is int:
        ids = b.constant(places + np.arange(count) * stride, INT64)
    elif type(count) is Size:
        starts = b.node("Mul", b.arange(count), b.constant(stride, INT64))
        ids = b.node("Add", b.constant(places, INT64), starts)
    else:  # as many as there is room for
        last = b.node("Sub", b.shape_of(x, at, at + 1), b.ints([(size - 1) * dilation]))
        starts = b.node("Range", b.constant(0, INT64), _alone(b, last), b.constant(stride, INT64))
        ids = b.node("Add", b.constant(places, INT64), starts)
    found = b.node("Gather", x, ids, axis=at)  # (..., size, count, ...)
    order = [a for a in range(x.ndim + 1) if a != at]
    order.insert(2, at)
    return b.transpose(found, order) if at != 2 else found

"""Vectors of a fixed number of lanes, for the inner loops that LLVM does not find by itself.

`load(pointer, i, lanes)` gives a vector that lives in registers; it can be added, multiplied,
compared and stored. LLVM splits one into as many registers as the processor needs, so the loops are
the same everywhere. `lanes` is a literal number.

    acc = fill(x[0], 16)                       # 16 times x[0]
    acc = fma(load(a, i, 16), acc, acc)        # a[i:i+16] * acc + acc
    store(y, i, acc)
"""

from __future__ import annotations

import functools
import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

__all__ = [
    "beats", "data", "evens", "exp", "fill", "fma", "iota", "load", "maximum", "nan_or", "odds",
    "select", "spread", "store", "total", "zipped",
]  # fmt: skip


class Vector(types.Type):
    """Numba's type of a vector."""

    def __init__(self, dtype: types.Type, lanes: int):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        part = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(part, kind.lanes))


def _number(kind):
    return kind.dtype if isinstance(kind, types.CPointer | types.Array | Vector) else kind


def _place(context, builder, kind, pointer, index, lanes):
    """Where `lanes` elements of an array or pointer begin, as a pointer to a vector."""
    part = context.get_value_type(_number(kind))
    if isinstance(kind, types.Array):
        pointer = context.make_array(kind)(context, builder, pointer).data
    start = builder.gep(pointer, [index])
    return builder.bitcast(start, ir.VectorType(part, lanes).as_pointer())


@intrinsic
def data(typing, array):
    """Where a contiguous array begins, as a pointer; the array must live on.

    A function that is given an array counts one reference more and then one less, which are locked
    additions: of functions that take a hundred cycles, half the time. Pointers are not counted.
    """

    def generate(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def load(typing, source, index, lanes):
    """Elements `index` to `index + lanes` of a pointer or a contiguous array."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    count = lanes.literal_value
    kind = Vector(source.dtype, count)

    def generate(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], args[0], args[1], count)
        return builder.load(place, align=context.get_abi_sizeof(place.type.pointee.element))

    return kind(source, types.intp, lanes), generate


@intrinsic
def store(typing, target, index, vector):
    """Write a vector to elements `index` and up."""

    def generate(context, builder, signature, args):
        place = _place(context, builder, signature.args[0], args[0], args[1], vector.lanes)
        builder.store(args[2], place, align=context.get_abi_sizeof(args[2].type.element))
        return context.get_dummy_value()

    return types.void(target, types.intp, vector), generate


def _splat(builder, x, lanes):
    whole = ir.VectorType(x.type, lanes)
    first = builder.insert_element(
        ir.Constant(whole, ir.Undefined), x, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(whole, ir.Undefined), zeros)


@intrinsic
def fill(typing, x, lanes):
    """A vector of equal numbers."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vector(x, lanes.literal_value)

    def generate(context, builder, signature, args):
        return _splat(builder, args[0], kind.lanes)

    return kind(x, lanes), generate


@intrinsic
def spread(typing, source, index, lanes):
    """A vector of element `index`, repeated."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vector(source.dtype, lanes.literal_value)

    def generate(context, builder, signature, args):
        pointer = args[0]
        if isinstance(signature.args[0], types.Array):
            pointer = context.make_array(signature.args[0])(context, builder, pointer).data
        return _splat(builder, builder.load(builder.gep(pointer, [args[1]])), kind.lanes)

    return kind(source, types.intp, lanes), generate


@intrinsic
def iota(typing, like):
    """0, 1, 2, ... in as many lanes as `like` has."""

    def generate(context, builder, signature, args):
        kind = context.get_value_type(like)
        return ir.Constant(kind, [float(i) for i in range(like.lanes)])

    return like(like), generate


@intrinsic
def fma(typing, a, b, c):
    """`a * b + c`, rounded once where the processor can."""

    def generate(context, builder, signature, args):
        kind = context.get_value_type(c)
        name = f"llvm.fmuladd.v{c.lanes}f{32 if c.dtype == types.float32 else 64}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), name
        )
        return builder.call(function, args)

    return c(c, c, c), generate


def _binary(make):
    @intrinsic
    def compute(typing, a, b):
        return a(a, a), lambda context, builder, signature, args: make(builder, *args)

    return compute


_add, _sub, _mul, _div = (
    _binary(getattr(ir.IRBuilder, name)) for name in ("fadd", "fsub", "fmul", "fdiv")
)


@_binary
def maximum(builder, a, b):
    """The larger of each lane; `b` where `a` is NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@_binary
def nan_or(builder, a, b):
    """`a` where it is NaN, else `b`."""
    return builder.select(builder.fcmp_unordered("uno", a, a), a, b)


def _operator(symbol, function):
    @overload(symbol)
    def _(a, b):
        if isinstance(a, Vector) and isinstance(b, Vector):
            return lambda a, b: function(a, b)


_operator(operator.add, _add)
_operator(operator.iadd, _add)
_operator(operator.sub, _sub)
_operator(operator.mul, _mul)
_operator(operator.truediv, _div)


@intrinsic
def select(typing, a, relation, b, x, y):
    """`x` where `a` stands in `relation` ('<', '>', '==', ...) to `b`, else `y`."""

    def generate(context, builder, signature, args):
        hit = builder.fcmp_ordered(relation.literal_value, args[0], args[2])
        return builder.select(hit, args[3], args[4])

    if not isinstance(relation, types.StringLiteral):
        return None
    return x(a, relation, b, x, x), generate


@intrinsic
def beats(typing, a, b, x, y):
    """`x` where `a` is larger than `b`, or NaN and `b` is not; else `y`."""

    def generate(context, builder, signature, args):
        a, b, x, y = args
        lost = builder.and_(builder.fcmp_unordered("uno", a, a), builder.fcmp_ordered("ord", b, b))
        return builder.select(builder.or_(builder.fcmp_ordered(">", a, b), lost), x, y)

    return x(a, a, x, x), generate


def _shuffled(count, places):
    """An intrinsic of `count` vectors that picks lanes; `places(lanes)` numbers them through."""

    def pick(typing, *vectors):
        kind = vectors[0]
        mask = places(kind.lanes)

        def generate(context, builder, signature, args):
            order = ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), mask)
            return builder.shuffle_vector(args[0], args[-1], order)

        return Vector(kind.dtype, len(mask))(*vectors), generate

    if count == 1:
        return intrinsic(lambda typing, a: pick(typing, a))
    return intrinsic(lambda typing, a, b: pick(typing, a, b))


evens = _shuffled(1, lambda lanes: list(range(0, lanes, 2)))
odds = _shuffled(1, lambda lanes: list(range(1, lanes, 2)))
zipped = _shuffled(2, lambda lanes: [i // 2 + i % 2 * lanes for i in range(2 * lanes)])


@intrinsic
def total(typing, vector):
    """The sum of the lanes: pairs half a vector apart, again and again."""

    def generate(context, builder, signature, args):
        x, n = args[0], vector.lanes
        while n > 1:
            half = ir.VectorType(ir.IntType(32), n // 2)
            parts = [
                builder.shuffle_vector(x, x, ir.Constant(half, list(range(i, i + n // 2))))
                for i in (0, n // 2)
            ]
            x, n = builder.fadd(*parts), n // 2
        return builder.extract_element(x, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


# exp(x) = 2**n * exp(r) with n = round(x / log 2), |r| <= log(2) / 2; at most 1.3 ulp off. Adding
# ROUNDER, 1.5 * 2**23, leaves a float32 no bits for a fraction, so it rounds, and n appears in the
# low bits; shifted by 23 they are the exponent field of 2**n. log 2 is subtracted in two parts, the
# first short enough for n * part to be exact. Below LOWEST, results would be denormal: 0.
LOWEST, ROUNDER, LOG2 = -87.33, 12582912.0, (0.693359375, -2.12194440e-4)
EXP = (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
    5.0000001201e-1,
)  # fmt: skip


@intrinsic
def exp(typing, vector):
    """e**x in each lane: 0 below the normal numbers, NaN where x is NaN; see `rows.exp`."""

    def generate(context, builder, signature, args):
        (x,), n = args, vector.lanes
        kind = x.type
        if vector.dtype != types.float32:
            name = f"llvm.exp.v{n}f64"
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), name
            )
            return builder.call(function, [x])

        def number(value):
            return ir.Constant(kind, [float(np.float32(value))] * n)

        # Flags of their own keep Numba from adding those that let sums be reordered: `t - rounder`
        # would undo the rounding.
        exact = ("contract",)
        plus, minus, times = (
            functools.partial(getattr(builder, name), flags=exact)
            for name in ("fadd", "fsub", "fmul")
        )
        low, integers = number(LOWEST), ir.VectorType(ir.IntType(32), n)
        small = builder.fcmp_ordered("<", x, low)
        z = builder.select(small, low, x)
        rounder = number(ROUNDER)
        t = plus(times(z, number(1 / math.log(2))), rounder)
        whole = minus(t, rounder)
        r = minus(minus(z, times(whole, number(LOG2[0]))), times(whole, number(LOG2[1])))
        p = number(EXP[0])
        for c in EXP[1:]:
            p = plus(times(p, r), number(c))
        p = plus(times(p, times(r, r)), plus(r, number(1.0)))
        bits = builder.shl(builder.bitcast(t, integers), ir.Constant(integers, [23] * n))
        # Added to the exponent of p: as a factor, 2**128 would be infinite where p is below 1.
        y = builder.bitcast(builder.add(bits, builder.bitcast(p, integers)), kind)
        y = builder.select(builder.fcmp_unordered("uno", x, x), x, y)
        return builder.select(small, number(0.0), y)

    return vector(vector), generate

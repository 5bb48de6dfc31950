"""Sums, means, largest and smallest over axes, perhaps of a chain of element-by-element ops.

Each result is added up in one order, which the shapes alone decide. Where there are few results of
many elements each, parts of them are added up by different blocks, and these by a second launch.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.kernels.cuda.elementwise import (
    NUMBER,
    Indexing,
    Step,
    broadcast,
    element,
    joined,
    lanes_of,
    number,
)
from minigrad.kernels.cuda.machine import C_TYPES, Empty, Kernel, Launch, Page, Stand, address
from minigrad.kernels.instructions import Declined

PAGE = Page("reductions", shared="chains")
THREADS = 256
BLOCKS = 1024  # about as many as keep a device busy
HOW = {"sum": "Add", "mean": "Add", "max": "Greatest", "min": "Least"}


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` means, counted from the front, in order."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in axes)) if ndim else ()


def _dtypes(own: np.dtype, what: str, dtype: Any) -> tuple[np.dtype, np.dtype] | None:
    """Of the result, and what it is computed in; None if it is declined."""
    integers = own.kind in "iub"
    if what in ("max", "min"):
        wide = "int64" if integers else "float64" if own.itemsize == 8 else "float32"
        return (own, np.dtype(wide)) if dtype is None else None
    if dtype is not None:
        result = np.dtype(dtype)
    elif integers:
        if own.kind == "u":
            return None  # NumPy's result has no sign
        result = np.dtype("float32" if what == "mean" else "int64")
    else:
        result = own
    if result.kind in "iub":
        return (result, result) if result.name == "int64" and what == "sum" and integers else None
    double = result.itemsize == 8 or (integers and what == "mean")
    return result, np.dtype("float64" if double else "float32")


class Plan:
    """How a reduction is shared among threads: by shapes, strides and dtypes alone.

    Attributes:
        kept, gone: the joined axes that stay, and those that are reduced.
        along: whether the last axis is reduced, so that neighbours add up one result; else they
            have results side by side.
        group: threads of one result; where they are not along, columns of a block.
        outputs: results, of which a thread has several side by side if it is not along.
        units: packs of one result, or else rows.
        parts: shares of each result, which `each` units go into.
    """

    def __init__(self, shape: tuple[int, ...], arrays: Sequence[Any], like: Any):
        """`like` is the result with its axes kept; `arrays` are the inputs.

        Raises:
            Declined: nothing is reduced, or there are too many axes.
        """
        all_ = [*arrays, like]
        lengths, strides = joined(shape, [broadcast(x, shape) for x in all_])
        lanes = lanes_of(lengths, strides, all_)
        self.kept = [a for a, s in enumerate(strides[-1]) if s]
        self.gone = [a for a, s in enumerate(strides[-1]) if not s]
        if not self.gone:
            raise Declined
        self.along = not self.kept or self.kept[-1] != len(lengths) - 1
        units = [n // (lanes if a == len(lengths) - 1 else 1) for a, n in enumerate(lengths)]
        self.outputs = math.prod(units[a] for a in self.kept)
        self.units = math.prod(units[a] for a in self.gone)
        if self.along:
            self.group = 1
            while self.group < min(self.units, 32):
                self.group *= 2
            if self.units > 64 and self.outputs < 4 * BLOCKS:
                self.group = THREADS
            self.blocks = -(-self.outputs * self.group // THREADS)
            together = self.group
        else:
            self.group = 1
            while self.group < min(self.outputs, 32):
                self.group *= 2
            self.blocks = -(-self.outputs // self.group)
            together = THREADS // self.group
        parts = min(-(-BLOCKS // self.blocks), -(-self.units // (8 * together)))
        if self.along and self.group < THREADS:
            parts = 1
        self.each = -(-self.units // max(parts, 1))
        self.parts = -(-self.units // max(self.each, 1)) if self.units else 1
        self.width = 1 if self.along else lanes  # results of a thread


reduce = Kernel("reduce", PAGE)


def _like(inputs, steps, what, axis, keepdims, dtype):
    """The result as it comes out, and with its axes kept; and the dtype that it is computed in."""
    arrays = [x for x in inputs if not isinstance(x, NUMBER)]
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    own = steps[-1].dtype if steps else inputs[0].dtype
    found = _dtypes(own, what, dtype)
    if found is None or not math.prod(shape) or any(x.dtype.name not in C_TYPES for x in arrays):
        raise Declined
    if found[0].name not in C_TYPES:
        raise Declined
    gone = axes_of(axis, len(shape))
    whole = tuple(1 if i in gone else n for i, n in enumerate(shape))
    short = whole if keepdims else tuple(n for i, n in enumerate(shape) if i not in gone)
    return Empty(short, found[0]), Flat(whole, found[0]), found[1], shape, arrays


class Flat:
    """A C-contiguous array of this shape, perhaps in the place of another."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, where: Any = None):
        self.shape, self.dtype, self.ndim, self.where = shape, dtype, len(shape), where
        steps, step = [], dtype.itemsize
        for n in reversed(shape):
            steps.append(step)
            step *= n
        self.strides = tuple(reversed(steps))

    @property
    def address(self) -> int:
        return address(self.where) if self.where is not None else 0


@reduce.accepts
def _(*inputs, steps, what, axis=None, keepdims=False, dtype=None):
    """The sum, mean, max or min (`what`) along `axis` of the last step of a chain.

    Args:
        inputs: arrays that broadcast with each other, and numbers: see `elementwise.chain_launch`.
        steps: of the chain; none to reduce the first input itself.
        dtype: of the result; by default as the ops have it. Floats are added up in float32, in
            float64 if they are so.
    """
    try:
        result, like, wide, shape, arrays = _like(inputs, steps, what, axis, keepdims, dtype)
        element(steps, inputs, (len(steps) - 1,), (C_TYPES[wide.name],))
        Plan(shape, arrays, like)
    except (Declined, ValueError):
        return None
    return result


@reduce.scratch
def _(*inputs, steps, what, axis=None, keepdims=False, dtype=None):
    _, like, wide, shape, arrays = _like(inputs, steps, what, axis, keepdims, dtype)
    plan = Plan(shape, arrays, like)
    if plan.parts == 1:
        return ()
    return (Empty((plan.parts * plan.outputs * plan.width,), wide),)


@reduce.launches
def _(p, outputs, *inputs, steps, what, axis=None, keepdims=False, dtype=None):
    _, like, wide, shape, arrays = _like(inputs, steps, what, axis, keepdims, dtype)
    y = Flat(like.shape, like.dtype, outputs[0])
    plan = Plan(shape, arrays, y)
    names = [f"x{i}" for i, x in enumerate(inputs) if not isinstance(x, NUMBER)]
    where = Indexing(shape, [*arrays, y], [*names, "y"])
    kinds = [C_TYPES[x.dtype.name] for x in arrays]
    types = kinds, C_TYPES[wide.name], C_TYPES[y.dtype.name]
    made = Made(plan, where, *types, what, simple=not steps)
    text = element(steps, inputs, (len(steps) - 1,), (made.wide,))
    count = math.prod(shape) // math.prod(like.shape)
    scratch = p.scratch[0] if plan.parts > 1 else None
    block = THREADS if plan.along else (plan.group, THREADS // plan.group)
    text += made.first()
    args = (y if scratch is None else scratch, *arrays, count, *where.arguments)
    yield Launch(PAGE.plus(text), "reduce", {}, (plan.blocks, plan.parts), block, args)
    if scratch is not None:
        results = plan.outputs * plan.width
        where = Indexing(shape, [*arrays, y], [*names, "y"])
        made.where = where
        text = made.second()
        args = (y, scratch, results, plan.parts, count, *where.arguments)
        grid = -(-results * 32 // THREADS)
        yield Launch(PAGE.plus(text), "finish", {}, grid, THREADS, args)


class Made:
    """The text of the kernels of a reduction."""

    def __init__(
        self,
        plan: Plan,
        where: Indexing,
        kinds: list[str],
        wide: str,
        result: str,
        what: str,
        simple: bool,
    ):
        """`simple` if no steps are to be computed."""
        self.plan, self.where, self.kinds = plan, where, kinds
        self.wide, self.result, self.what = wide, result, what
        lowest = "-9223372036854775807ll - 1" if wide == "i64" else number(-math.inf, wide)
        highest = "9223372036854775807ll" if wide == "i64" else number(math.inf, wide)
        self.none = {"max": lowest, "min": highest}.get(what, "0")
        # Units whose loads are under way together; registers are few.
        self.unroll = min(max(1, 16 // (where.lanes * len(kinds))), 4 if simple else 2)

    def element(self, at: Sequence[str], loaded: bool) -> str:
        """The value of element `e`: loaded, or from where each array has its first."""
        given = (
            f"p{k}.x[e]" if loaded else self.where.one(k, at[k]) for k in range(len(self.kinds))
        )
        return f"element({', '.join([*given, 'v'])});"

    def unit(self, into: str) -> list[str]:
        """Lines that add what a thread has of unit `r` to `into`, which may hang on `e`."""
        where, how = self.where, HOW[self.what]
        number_of_arrays = range(len(self.kinds))
        at = [f"at{k}" for k in number_of_arrays]
        lines = where.unravel("r", self.plan.gone)
        for k in number_of_arrays:
            lines.append(f"const {where.kind} at{k} = base{k} + {where.place(k, self.plan.gone)};")
        if where.lanes > 1:
            for k in number_of_arrays:
                lines += where.load(k, self.kinds[k], f"at{k}")
            lines.append("#pragma unroll")
        loop = f"for (int e = 0; e < {where.lanes}; e++)"
        value = self.element(at, loaded=where.lanes > 1)
        lines.append(f"{loop} {{ {self.wide} v; {value} {into} = {how}::of({into}, v); }}")
        return lines

    def bases(self) -> list[str]:
        """Lines that find where the elements of result `o` begin in each array."""
        where, kept = self.where, self.plan.kept
        return [
            *where.unravel("o", kept),
            *(
                f"const {where.kind} base{k} = {where.place(k, kept)};"
                for k in range(len(self.kinds))
            ),
        ]

    def stored(self, value: str) -> str:
        """What is written of a result that is complete."""
        mean = f"({value}) / {self.wide}(count)"
        return f"stored<{self.result}>({mean if self.what == 'mean' else value})"

    def first(self) -> str:
        """The kernel `reduce`, which writes results, or parts of them."""
        plan, where, how, wide = self.plan, self.where, HOW[self.what], self.wide
        partial = plan.parts > 1
        outputs = where.argument("outputs", plan.outputs)
        units, each = where.argument("units", plan.units), where.argument("each", plan.each)
        y = len(self.kinds)
        bases, unit = self.bases(), self.unit("sum" if plan.along else "sum[e]")
        if plan.along:
            g = plan.group
            body = [
                f"const i64 o = ((i64)blockIdx.x * {THREADS} + threadIdx.x) / {g};",
                f"{wide} sum = {self.none};",
                f"if (o < {outputs}) {{",
                *bases,
                f"const {where.kind} start = blockIdx.y * {each};",
                f"const {where.kind} stop = start + {each} < {units} ? start + {each} : {units};",
                f"#pragma unroll {self.unroll}",
                f"for ({where.kind} r = start + threadIdx.x % {g}; r < stop; r += {g}) {{",
                *unit,
                "}",
                *self.end(),
                "}",
                f"sum = over_block<{how}>(sum, {wide}({self.none}));"
                if g == THREADS
                else f"sum = over_group<{how}, {g}>(sum);",
                f"if (threadIdx.x % {g} == 0 && o < {outputs}) {{",
                *(
                    [f"y[blockIdx.y * {outputs} + o] = sum;"]
                    if partial
                    else [
                        *where.unravel("o", plan.kept),
                        f"y[{where.place(y, plan.kept)}] = {self.stored('sum')};",
                    ]
                ),
                "}",
            ]
        else:
            v, bx = where.lanes, plan.group
            by = THREADS // bx
            mine = f"box[(threadIdx.y * {bx} + threadIdx.x) * {v} + e]"
            other = mine.replace("threadIdx.y", "(threadIdx.y + k)")
            place = where.place(y, plan.kept)
            if partial:
                place = f"(blockIdx.y * {outputs} + o) * {v} + e"
            body = [
                f"__shared__ {wide} box[{THREADS * v}];",
                f"const i64 o = (i64)blockIdx.x * {bx} + threadIdx.x;",
                f"{wide} sum[{v}];",
                "#pragma unroll",
                f"for (int e = 0; e < {v}; e++) sum[e] = {self.none};",
                f"if (o < {outputs}) {{",
                *bases,
                f"const {where.kind} start = blockIdx.y * {each};",
                f"const {where.kind} stop = start + {each} < {units} ? start + {each} : {units};",
                f"#pragma unroll {self.unroll}",
                f"for ({where.kind} r = start + threadIdx.y; r < stop; r += {by}) {{",
                *unit,
                "}",
                "}",
                "#pragma unroll",
                f"for (int e = 0; e < {v}; e++) {mine} = sum[e];",
                "__syncthreads();",
                f"for (int k = {by // 2}; k > 0; k /= 2) {{",
                "if (threadIdx.y < k)",
                f"for (int e = 0; e < {v}; e++) {mine} = {how}::of({mine}, {other});",
                "__syncthreads();",
                "}",
                f"if (threadIdx.y == 0 && o < {outputs}) {{",
                *([] if partial else where.unravel("o", plan.kept)),
                f"for (int e = 0; e < {v}; e++) {{",
                f"const {wide} all = {mine};",
                f"y[{place}] = all;"
                if partial
                else f"{where.one(y, place)} = {self.stored('all')};",
                "}",
                "}",
            ]
        inputs = zip(self.kinds, where.names, strict=False)
        pointers = [f"const {kind}* {name}" for kind, name in inputs]
        to = f"{wide if partial else self.result}* y"
        parameters = ", ".join([to, *pointers, "i64 count", *where.parameters])
        return f'extern "C" __global__ void reduce({parameters}) {{\n    {_lines(body)}\n}}\n'

    def end(self) -> list[str]:
        """Lines for what is left of a single axis, as it makes no whole pack: the last part's."""
        where, v = self.where, self.where.lanes
        if len(where.lengths) > 1 or v == 1:
            return []
        length = where.argument("length", where.lengths[0])
        how, group = HOW[self.what], self.plan.group
        at = [where.place(k, [0]) for k in range(len(self.kinds))]
        return [
            "if (blockIdx.y + 1 == gridDim.y)",
            f"for ({where.kind} i_0 = {length} / {v} * {v} + threadIdx.x % {group}; "
            f"i_0 < {length}; i_0 += {group}) {{",
            "const int e = 0;",
            f"{self.wide} v; {self.element(at, loaded=False)} sum = {how}::of(sum, v);",
            "}",
        ]

    def second(self) -> str:
        """The kernel `finish`, which adds parts up: a warp for each result."""
        plan, where, how = self.plan, self.where, HOW[self.what]
        y = len(self.kinds)
        e = "0" if plan.along else f"o % {plan.width}"
        body = [
            "const i64 o = ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;",
            f"{self.wide} sum = {self.none};",
            "if (o < results)",
            "    for (i64 k = threadIdx.x % WARP; k < parts; k += WARP)",
            f"        sum = {how}::of(sum, from[k * results + o]);",
            f"sum = over_group<{how}, WARP>(sum);",
            "if (threadIdx.x % WARP == 0 && o < results) {",
            *where.unravel(f"o / {plan.width}", plan.kept),
            f"const int e = {e};",
            f"{where.one(y, where.place(y, plan.kept))} = {self.stored('sum')};",
            "}",
        ]
        parameters = ", ".join(
            [f"{self.result}* y, const {self.wide}* from, i64 results, i64 parts, i64 count",
             *where.parameters]
        )  # fmt: skip
        return f'extern "C" __global__ void finish({parameters}) {{\n    {_lines(body)}\n}}\n'


def _lines(body: Sequence[str]) -> str:
    return "\n    ".join(body)


@reduce.examples
def _(dtype):
    x, row = Empty((64, 512), dtype), Empty((512,), dtype)
    steps = [Step("multiply", (-1, -2), dtype), Step("exp", (0,), dtype)]
    for what in HOW:
        for axis in (0, 1, None):
            yield (x, row), {"steps": steps, "what": what, "axis": axis}
    for shape, axis in [
        ((1 << 20,), None), ((1 << 14, 8), 0), ((2, 1 << 16), 1), ((8, 16, 64), (0, 2)),
        ((8, 16, 64), 1), ((5, 7), 1), ((1001,), None),
    ]:  # fmt: skip
        yield (Empty(shape, dtype),), {"steps": (), "what": "sum", "axis": axis}


def _reduction(what: str, name: str, typed: bool) -> Kernel:
    """The kernel of an op: `typed` if it is told of a dtype."""
    kernel = Kernel(name, PAGE)

    def settings(axis, keepdims, dtype):
        return {"steps": (), "what": what, "axis": axis, "keepdims": keepdims, "dtype": dtype}

    @kernel.accepts
    def _(x, *, axis=None, keepdims=False, dtype=None):
        return reduce.outputs(x, **settings(axis, keepdims, dtype))

    @kernel.scratch
    def _(x, *, axis=None, keepdims=False, dtype=None):
        return reduce.needs(x, **settings(axis, keepdims, dtype))

    @kernel.launches
    def _(p, outputs, x, *, axis=None, keepdims=False, dtype=None):
        return reduce.launched(p, outputs, x, **settings(axis, keepdims, dtype))

    @kernel.examples
    def _(dtype):
        yield (Empty((64, 512), dtype),), {"axis": -1}

    return kernel


# One for each op, and those by which programs look for sums.
total, mean = _reduction("sum", "total", True), _reduction("mean", "mean", True)
largest, smallest = _reduction("max", "largest", False), _reduction("min", "smallest", False)
column_sums = channel_sums = sum_all = total


# --- by groups of rows ----------------------------------------------------------------------------

GROUPS = Page("groups")
group_sums = Kernel("group_sums", GROUPS, by_group=True)


@group_sums.accepts
def _(x, *, axis=None, keepdims=False, dtype=None):
    """The sums over all axes but the last, where a program has them for each group of rows."""
    if x.ndim < 2 or not x.size or not x.flags.c_contiguous or axis is None:
        return None
    rows = axes_of(axis, x.ndim) == tuple(range(x.ndim - 1))
    if not rows or dtype is not None or x.dtype.kind in "iub":
        return None
    return Empty((*(1,) * (x.ndim - 1) * keepdims, x.shape[-1]), x.dtype)


@group_sums.launches
def _(p, outputs, x, **_):
    (y,), d = outputs, x.shape[-1]
    if not p.owns(y):
        raise Declined
    count, offsets, each = p.groups(x.size // d)
    args = p.table(y), x, offsets, each, d
    yield Launch(GROUPS, "sums_of_groups", {"T": x.dtype}, (-(-d // 32), count), 256, args)


@group_sums.examples
def _(dtype):
    yield (Empty((64, 48), dtype),), {"axis": 0}, Stand((48,), dtype, by_group=True)

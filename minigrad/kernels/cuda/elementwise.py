"""Chains of element-by-element ops: for each structure a kernel, whose source is made.

A chain is a list of steps over inputs. Every element is loaded once, goes through all steps in
registers, and what is kept is stored. Shapes broadcast; strides, dtypes and alignment may be any:
neighbouring axes are joined where all arrays allow it, and where one axis is left, as it mostly is,
no index is divided.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minigrad.kernels.cuda.machine import C_TYPES, Empty, Kernel, Launch, Page, address
from minigrad.kernels.instructions import Declined
from minigrad.kernels.layouts import AXES

PAGE = Page("elementwise", shared="chains")
THREADS = 256
PACK = 16  # bytes of the widest load
SMALL = 2**31  # elements that are indexed by 32 bits

# --- steps ----------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One op of a chain.

    Attributes:
        name: of the op.
        sources: what it takes: input i is -1 - i, step i is i.
        dtype: of what comes out. Floats of 16 bits are computed with in float32, and rounded where
            they are kept, or cast by `astype`.
        params: static parameters.
    """

    name: str
    sources: tuple[int, ...]
    dtype: np.dtype
    params: tuple[tuple[str, Any], ...] = ()


# Expressions in C, with {A} for the type that is computed in, {0}, {1}, {2} for what comes in.
SAME = {  # in the type of what comes out
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "negative": "-{0}",
    "square": "{0} * {0}", "positive": "{0}", "astype": "{0}", "maximum": "greatest({0}, {1})",
    "minimum": "least({0}, {1})", "fmax": "greater_number({0}, {1})",
    "fmin": "lesser_number({0}, {1})", "absolute": "size_of({0})", "sign": "sign_of({0})",
    "floor_divide": "floored({0}, {1})", "mod": "remainder_of({0}, {1})",
    "fmod": "rest_in_c({0}, {1})", "zeros_like": "0", "ones_like": "1",
    "relu": "{0} <= {A}(0) ? {A}(0) : {0}", "_relu_grad": "{1} > {A}(0) ? {0} : {1}",
}  # fmt: skip
FLOAT = {  # likewise, and only for floats
    "divide": "{0} / {1}", "reciprocal": "{A}(1) / {0}", "sqrt": "sqrt({0})",
    "rsqrt": "{A}(1) / sqrt({0})", "cbrt": "cbrt({0})", "exp": "exp({0})", "exp2": "exp2({0})",
    "expm1": "expm1({0})", "log": "log({0})", "log2": "log2({0})", "log10": "log10({0})",
    "log1p": "log1p({0})", "sin": "sin({0})", "cos": "cos({0})", "tan": "tan({0})",
    "arcsin": "asin({0})", "arccos": "acos({0})", "arctan": "atan({0})", "sinh": "sinh({0})",
    "cosh": "cosh({0})", "tanh": "tanh({0})", "arcsinh": "asinh({0})", "arccosh": "acosh({0})",
    "arctanh": "atanh({0})", "hypot": "hypot({0}, {1})", "arctan2": "atan2({0}, {1})",
    "copysign": "copysign({0}, {1})", "erf": "erf({0})", "erfc": "erfc({0})",
    "sigmoid": "logistic({0})", "logsigmoid": "log_logistic({0})",
    "softsign": "{0} / ({A}(1) + size_of({0}))", "tanhshrink": "{0} - tanh({0})",
    "logaddexp": "log_of_sum({0}, {1})", "logaddexp2": "log2_of_sum({0}, {1})",
    "xlogy": "x_log_y({0}, {1})", "xlog1py": "x_log1p_y({0}, {1})",
}  # fmt: skip
ROUNDING = {"floor": "floor({0})", "ceil": "ceil({0})", "trunc": "trunc({0})", "rint": "rint({0})"}
INTEGER = {  # likewise, and only for integers and booleans
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}",
    "left_shift": "shifted_left({0}, {1})", "right_shift": "shifted_right({0}, {1})",
}  # fmt: skip
COMPARE = {  # in the type that both have in common
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "less": "{0} < {1}",
    "less_equal": "{0} <= {1}", "greater": "{0} > {1}", "greater_equal": "{0} >= {1}",
    "isnan": "{0} != {0}", "isinf": "infinite({0})", "isfinite": "finite({0})",
}  # fmt: skip
LOGIC = {
    "logical_and": "{0} && {1}", "logical_or": "{0} || {1}", "logical_xor": "{0} != {1}",
    "logical_not": "!{0}",
}  # fmt: skip
NAMES = frozenset(
    [*SAME, *FLOAT, *ROUNDING, *INTEGER, *COMPARE, *LOGIC, "where", "power", "invert", "softplus"]
)
NUMBER = (bool, int, float, np.generic)


def knows(name: str, sources: Sequence[Any], dtype: np.dtype, /, **params: Any) -> bool:
    """Whether a step can be part of a chain: of an op on `sources`, arrays or numbers."""
    numbers = [x if isinstance(x, NUMBER) else None for x in sources]
    dtypes = [getattr(x, "dtype", None) for x in sources]
    if any(d is not None and d.name not in C_TYPES for d in dtypes):
        return False
    try:
        _expression(Step(name, (), dtype, tuple(params.items())), dtypes, numbers)
    except Declined:
        return False
    return True


def computed_in(dtype: np.dtype) -> str:
    """The type in C that values of a dtype are computed in."""
    return "float" if dtype.name in ("float16", "bfloat16") else C_TYPES[dtype.name]


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind not in "iub"


def _expression(step: Step, dtypes: list, numbers: list) -> tuple[str, str]:
    """What computes a step, and the type that its sources are to have.

    Args:
        dtypes: of the sources; None for Python's numbers.
        numbers: the sources' values, None but for numbers.

    Raises:
        Declined: no chain can have this step.
    """
    name, dtype, params = step.name, step.dtype, dict(step.params)
    if dtype.name not in C_TYPES or name not in NAMES:
        raise Declined
    own = computed_in(dtype)
    if name in LOGIC:
        return LOGIC[name], "bool"
    if name in COMPARE:
        return COMPARE[name], computed_in(_common(dtypes, numbers))
    if name in INTEGER and not _is_float(dtype):
        return INTEGER[name], own
    if name == "invert" and not _is_float(dtype):
        return ("!{0}" if own == "bool" else "~{0}"), own
    if name in ROUNDING:
        return ROUNDING[name] if _is_float(dtype) else "{0}", own
    if name in SAME:
        if params.keys() - {"dtype"} or (own == "bool" and name in ("subtract", "negative")):
            raise Declined
        return SAME[name], own
    if name == "power":
        return _power(dtype, numbers[1]), own
    if name == "where":
        return "{0} ? {1} : {2}", own
    if not _is_float(dtype):
        raise Declined
    if name == "softplus":
        beta, threshold = (float(params.get(k, v)) for k, v in (("beta", 1), ("threshold", 20)))
        return f"soft_plus({{0}}, {number(beta, own)}, {number(threshold, own)})", own
    if params:
        raise Declined
    return FLOAT[name], own


def _power(dtype: np.dtype, exponent: Any) -> str:
    """A power, of integers only to a number that is known."""
    simple: dict[Any, str] = {1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}"}
    if _is_float(dtype):
        simple |= {-1: "{A}(1) / {0}", 0.5: "sqrt({0})"}  # as NumPy does
    if exponent in simple:
        return simple[exponent]
    if _is_float(dtype):
        return "pow({0}, {1})"
    if isinstance(exponent, int) and 0 <= exponent < 64:
        return f"whole_power({{0}}, {int(exponent)})"
    raise Declined  # a negative one is an error


def _common(dtypes: list, numbers: list) -> np.dtype:
    """The dtype in which ops compare, as `minigrad.ops.dtypes.matched` has it."""
    known = [d for d in dtypes if d is not None]
    floats = [d for d in known if _is_float(d)]
    if floats:
        return np.result_type(*floats) if len(set(floats)) > 1 else floats[0]
    if not known or any(isinstance(x, float) for x in numbers):
        return np.dtype(np.float32)
    whole = np.result_type(*known)
    if whole.kind == "b" and any(type(x) is int for x in numbers):
        whole = np.dtype(np.int64)
    for x in numbers:
        if type(x) is int and not np.iinfo(whole).min <= x <= np.iinfo(whole).max:
            raise Declined
    return whole


def number(x: Any, kind: str) -> str:
    """A number in C, in the type `kind`."""
    x = x.item() if isinstance(x, np.generic) else x
    if isinstance(x, bool):
        return f"{kind}({str(x).lower()})"
    if isinstance(x, int) and -(2**63) < x < 2**63:
        return f"{kind}({x}ll)"
    x = float(x)
    if math.isfinite(x):
        return f"{kind}({x.hex()})"
    bits = np.float64(x).view(np.int64)
    return f"{kind}(__longlong_as_double({bits}ll))" if x > 0 or x != x else f"-{number(-x, kind)}"


def element(
    steps: Sequence[Step], inputs: Sequence[Any], kept: Sequence[int], kinds: Sequence[str] = ()
) -> str:
    """A function in C of one element: `element(r0, r1, ..., w0, ...)` of inputs and results.

    Numbers among the inputs are constants in it. `kinds` are the types of the results, in C; by
    default they are of the dtypes of the steps.

    Raises:
        Declined: a step is not for it.
    """
    arguments = [
        f"const {C_TYPES[x.dtype.name]} r{i}"
        for i, x in enumerate(inputs)
        if not isinstance(x, NUMBER)
    ]
    lines = []
    names: dict[int, str] = {}
    dtypes: dict[int, Any] = {}
    for i, x in enumerate(inputs):
        if isinstance(x, NUMBER):
            dtypes[-1 - i] = x.dtype if isinstance(x, np.generic) else None
        else:
            names[-1 - i], dtypes[-1 - i] = f"x{i}", x.dtype
            lines.append(f"const {computed_in(x.dtype)} x{i} = value(r{i});")
    for i, step in enumerate(steps):
        given = [inputs[-1 - s] if s < 0 else None for s in step.sources]
        numbers = [x if isinstance(x, NUMBER) else None for x in given]
        text, kind = _expression(step, [dtypes[s] for s in step.sources], numbers)
        words = []
        for place, (s, x) in enumerate(zip(step.sources, numbers, strict=True)):
            into = "bool" if step.name == "where" and place == 0 else kind
            words.append(number(x, into) if x is not None else f"(({into}){names[s]})")
        value = text.format(*words, A=kind)
        own = computed_in(step.dtype)
        if step.name == "astype" and own != C_TYPES[step.dtype.name]:
            value = f"value(stored<{C_TYPES[step.dtype.name]}>({value}))"
        lines.append(f"const {own} v{i} = ({own})({value});")
        names[i], dtypes[i] = f"v{i}", step.dtype
    for k, i in enumerate(kept):
        kind = kinds[k] if kinds else C_TYPES[dtypes[i].name]
        arguments.append(f"{kind}& w{k}")
        lines.append(f"w{k} = stored<{kind}>({names[i]});")
    body = "\n    ".join(lines)
    return f"__device__ __forceinline__ void element({', '.join(arguments)}) {{\n    {body}\n}}\n"


# --- layouts --------------------------------------------------------------------------------------


def divisor(d: int) -> tuple[int, int]:
    """`magic` and `shift` for `quotient` of the source, d from 1 to 2^31."""
    shift = (d - 1).bit_length()
    return (2**32 * (2**shift - d)) // d + 1, shift


def broadcast(x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides in elements of `x` as an array of this shape: 0 where it is repeated.

    Raises:
        Declined: it cannot be, or an element lies at no whole number of elements.
    """
    item, ahead = x.dtype.itemsize, len(shape) - x.ndim
    if ahead < 0 or any(s % item for s in x.strides):
        raise Declined
    found = [0] * ahead
    for n, own, s in zip(shape[ahead:], x.shape, x.strides, strict=True):
        if own not in (1, n):
            raise Declined
        found.append(0 if own == 1 else s // item)
    return tuple(found)


def joined(
    shape: tuple[int, ...], strides: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[list[int]]]:
    """Lengths and strides of fewer axes, ordered as the largest array lies in memory.

    Raises:
        Declined: there are more than AXES.
    """
    axes = [(n, *(s[i] for s in strides)) for i, n in enumerate(shape) if n != 1]
    sizes = [math.prod(axis[0] for axis in axes if axis[k + 1]) for k in range(len(strides))]
    lead = 1 + sizes.index(max(sizes))
    axes.sort(key=lambda axis: -abs(axis[lead]))
    found: list[tuple[int, ...]] = []
    for axis in axes:
        if found and all(a == b * axis[0] for a, b in zip(found[-1][1:], axis[1:], strict=True)):
            found[-1] = (found[-1][0] * axis[0], *axis[1:])
        else:
            found.append(axis)
    found = found or [(1, *(0 for _ in strides))]
    if len(found) > AXES:
        raise Declined
    return [axis[0] for axis in found], [
        [axis[i + 1] for axis in found] for i in range(len(strides))
    ]


def lanes_of(lengths: list[int], strides: list[list[int]], arrays: Sequence[Any]) -> int:
    """How many elements along the last axis a thread takes at once: as many as make a pack."""
    sizes = [
        x.dtype.itemsize
        for x, s in zip(arrays, strides, strict=True)
        if s[-1] and x.dtype.itemsize > 1
    ]
    lanes = PACK // min(sizes, default=1)
    while len(lengths) > 1 and lengths[-1] % lanes:
        lanes //= 2
    return lanes


class Indexing:
    """How a kernel finds its elements: the text for it, and the arguments.

    Attributes:
        lengths, strides: of the joined axes; strides for each array.
        lanes: elements along the last axis that a thread takes at once.
        packed: which arrays have them in one load.
        kind: the type of indices in C.
        parameters, arguments: of the kernel, as they are declared and passed.
    """

    def __init__(self, shape: tuple[int, ...], arrays: Sequence[Any], names: Sequence[str]):
        self.lengths, self.strides = joined(shape, [broadcast(x, shape) for x in arrays])
        self.lanes = lanes_of(self.lengths, self.strides, arrays)
        self.packed = [self._packed(x, s) for x, s in zip(arrays, self.strides, strict=True)]
        self.names = names
        reach = max(
            sum((m - 1) * abs(s) for m, s in zip(self.lengths, each, strict=True))
            for each in self.strides
        )
        self.small = max(math.prod(self.lengths), reach) + THREADS * PACK < SMALL
        self.kind = "int" if self.small else "i64"
        self.parameters: list[str] = []
        self.arguments: list[Any] = []
        self._steps = [
            [str(s) if s in (0, 1) else self.argument(f"s{k}_{a}", s) for a, s in enumerate(each)]
            for k, each in enumerate(self.strides)
        ]

    def _packed(self, x: Any, strides: list[int]) -> bool:
        item = x.dtype.itemsize
        step = min(self.lanes * item, PACK)
        whole = all(s * item % step == 0 for s in strides[:-1])
        return self.lanes > 1 and strides[-1] == 1 and whole and address(x) % step == 0

    def argument(self, name: str, value: int) -> str:
        """An argument of this name, as it is read."""
        if f"i64 {name}" not in self.parameters:
            self.parameters.append(f"i64 {name}")
            self.arguments.append(value)
        return f"({self.kind}){name}"

    def units(self, axes: Sequence[int]) -> list[int]:
        """The lengths of some axes, that of the last one of all in packs."""
        last = len(self.lengths) - 1
        return [
            n // (self.lanes if a == last else 1) for a, n in enumerate(self.lengths) if a in axes
        ]

    def unravel(self, number: str, axes: Sequence[int]) -> list[str]:
        """Lines that find the indices `i_a` of some axes, outermost first, from a number in C."""
        if not axes:
            return []
        rest, lines = f"rest_{axes[0]}", []
        lines.append(f"{self.kind} {rest} = ({self.kind})({number});")
        last = len(self.lengths) - 1
        for a, m in reversed(list(zip(axes, self.units(axes), strict=True))):
            times = f" * {self.lanes}" if a == last and self.lanes > 1 else ""
            if a == axes[0]:
                lines.append(f"const {self.kind} i_{a} = {rest}{times};")
                break
            length = self.argument(f"l{a}", m)
            if self.small:
                magic, shift = divisor(m)
                self.argument(f"m{a}", magic)
                self.argument(f"h{a}", shift)
                quotient = f"(int)quotient((u32){rest}, (u32)m{a}, (u32)h{a})"
            else:
                quotient = f"{rest} / l{a}"
            lines.append(f"const {self.kind} q_{a} = {quotient};")
            lines.append(f"const {self.kind} i_{a} = ({rest} - q_{a} * {length}){times};")
            lines.append(f"{rest} = q_{a};")
        return lines

    def place(self, k: int, axes: Sequence[int]) -> str:
        """Where in array k an element lies, as far as some axes say."""
        terms = [(f"i_{a}", self._steps[k][a]) for a in axes]
        return " + ".join(f"{i} * {s}" for i, s in terms if s != "0") or "0"

    def one(self, k: int, at: str) -> str:
        """The element `e` of array k among those that a thread has; the first is `at`."""
        step = self._steps[k][-1]
        further = "" if step == "0" else " + e" if step == "1" else f" + e * {step}"
        return f"{self.names[k]}[{at}{further}]"

    def load(self, k: int, kind: str, at: str) -> list[str]:
        """Lines that load what a thread has of array k, as `p<k>.x`."""
        v = self.lanes
        if self.packed[k]:
            return [f"const Lanes<{kind}, {v}> p{k} = load_lanes<{v}>({self.names[k]} + {at});"]
        loop = f"for (int e = 0; e < {v}; e++) p{k}.x[e] = {self.one(k, at)};"
        return [f"Lanes<{kind}, {v}> p{k};", "#pragma unroll", loop]


def chain_launch(
    steps: Sequence[Step], inputs: Sequence[Any], kept: Sequence[int], outputs: Sequence[Any]
) -> Launch:
    """A launch that computes a chain.

    Args:
        steps: see `Step`.
        inputs: arrays that broadcast to the shape of the outputs, and numbers, which become
            constants in the source: what changes from call to call belongs in an array.
        kept: numbers of the steps that are stored.
        outputs: arrays for them, all of one shape and with at least one element. One may lie where
            an input does, in the same layout.

    Raises:
        Declined: a step, a dtype or a layout is not for it.
    """
    shape = outputs[0].shape
    if any(y.shape != shape for y in outputs):
        raise Declined
    given = [(i, x) for i, x in enumerate(inputs) if not isinstance(x, NUMBER)]
    arrays = [*outputs, *(x for _, x in given)]
    if any(x.dtype.name not in C_TYPES for x in arrays):
        raise Declined
    many = len(outputs)
    names = [f"y{k}" for k in range(many)] + [f"x{i}" for i, _ in given]
    where = Indexing(shape, arrays, names)
    kinds = [C_TYPES[x.dtype.name] for x in arrays]
    axes = range(len(where.lengths))
    number = "(i64)blockIdx.x * blockDim.x + threadIdx.x"
    count = -(-math.prod(where.lengths) // where.lanes)
    lines = [
        f"if ({number} >= {where.argument('threads', count)}) return;",
        *where.unravel(number, axes),
        *(f"const {where.kind} at{k} = {where.place(k, axes)};" for k in range(len(arrays))),
        *_body(where, kinds, many),
    ]
    pointers = [f"{kind}* {name}" for kind, name in zip(kinds, names, strict=True)]
    pointers[many:] = [f"const {p}" for p in pointers[many:]]
    text = element(steps, inputs, kept) + (
        f'extern "C" __global__ void chain({", ".join([*pointers, *where.parameters])}) {{\n    '
        + "\n    ".join(lines)
        + "\n}\n"
    )
    args = (*arrays, *where.arguments)
    return Launch(PAGE.plus(text), "chain", {}, -(-count // THREADS), THREADS, args)


def _body(where: Indexing, kinds: list[str], many: int) -> list[str]:
    """Lines that load, compute and store what a thread has, at `at0`, ...; first come results."""
    v, count = where.lanes, len(kinds)
    order = [*range(many, count), *range(many)]
    single = f"element({', '.join(where.one(k, f'at{k}') for k in order)});"
    if v == 1:
        return ["const int e = 0;", single]
    lines = []
    for k in range(many, count):
        lines += where.load(k, kinds[k], f"at{k}")
    for k in range(many):
        lines.append(f"Lanes<{kinds[k]}, {v}> p{k};")
    lines.append("#pragma unroll")
    packs = ", ".join(f"p{k}.x[e]" for k in order)
    lines.append(f"for (int e = 0; e < {v}; e++) element({packs});")
    for k in range(many):
        if where.packed[k]:
            lines.append(f"store_lanes<{v}>({where.names[k]} + at{k}, p{k});")
        else:
            lines.append("#pragma unroll")
            lines.append(f"for (int e = 0; e < {v}; e++) {where.one(k, f'at{k}')} = p{k}.x[e];")
    if len(where.lengths) > 1:
        return lines
    length = where.argument("n", where.lengths[0])  # the last thread may have fewer
    rest = f"for (int e = 0; i_0 + e < {length}; e++) {single}"
    return [f"if (i_0 + {v} > {length}) {{ {rest} }} else {{", *lines, "}"]


# --- kernels --------------------------------------------------------------------------------------

elementwise = Kernel("elementwise", PAGE)
elementwise.strided = True


def _shape(inputs: Iterable[Any]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(x.shape for x in inputs if not isinstance(x, NUMBER)))


@elementwise.accepts
def _(*inputs, steps, kept):
    """What is kept of a chain: see `chain_launch`."""
    if any(not isinstance(x, NUMBER) and x.dtype.name not in C_TYPES for x in inputs):
        return None
    try:
        shape = _shape(inputs)
        element(steps, inputs, kept)
    except (Declined, ValueError):
        return None
    return tuple(Empty(shape, steps[i].dtype) for i in kept)


@elementwise.launches
def _(p, outputs, *inputs, steps, kept):
    if outputs[0].size:
        yield chain_launch(steps, inputs, kept, outputs)


@elementwise.examples
def _(dtype):
    x, row, one = Empty((8, 64), dtype), Empty((64,), dtype), Empty((), dtype)
    steps = [
        Step("multiply", (-1, -2), dtype),
        Step("add", (0, -3), dtype),
        Step("exp", (1,), dtype),
        Step("greater", (2, -4), np.dtype(bool)),
        Step("where", (3, 2, -4), dtype),
    ]
    for other in (x, row, one, Empty((8, 1), dtype)):
        yield (x, other, row, 0.5), {"steps": steps, "kept": (4, 3)}
    floats = [*FLOAT, *ROUNDING, "power", "softplus"]
    singles = [Step(name, (-1, -2, -2)[: _arity(name)], dtype) for name in floats]
    for start in range(0, len(singles), 8):
        some = singles[start : start + 8]
        yield (x, row), {"steps": some, "kept": tuple(range(len(some)))}


def _arity(name: str) -> int:
    """How many sources an op of a chain has."""
    if name in ("power", "invert", "softplus", "where"):
        return {"power": 2, "where": 3}.get(name, 1)
    text = {**SAME, **FLOAT, **ROUNDING, **INTEGER, **COMPARE, **LOGIC}[name]
    return 1 + ("{1}" in text)


class Laid(NamedTuple):
    """How an array lies: what a launch is made by, but for where it begins."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    address: int  # as far as alignment goes

    @property
    def ndim(self) -> int:
        return len(self.shape)


def _single(name: str, op: str) -> Kernel:
    """The kernel of one op on arrays of one dtype; eagerly it is called often, and made once."""
    kernel, sources = Kernel(name, PAGE), (-1, -2)[: _arity(op)]

    @lru_cache(1024)
    def made(y: Laid, *inputs: Laid) -> Launch:
        return chain_launch([Step(op, sources, y.dtype)], inputs, (0,), [y])

    @lru_cache(64)
    def takes(dtype: np.dtype) -> bool:
        return knows(op, (Laid((), (), dtype, 0),) * len(sources), dtype)

    @kernel.accepts
    def _(*inputs):
        first = inputs[0]
        if any(x.dtype != first.dtype for x in inputs) or not takes(first.dtype):
            return None
        shapes = {x.shape for x in inputs}
        try:
            shape = first.shape if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        except ValueError:
            return None
        return Empty(shape, first.dtype)

    @kernel.launches
    def _(p, outputs, *inputs):
        arrays = (*outputs, *inputs)
        if outputs[0].size:
            laid = (Laid(x.shape, x.strides, x.dtype, address(x) % PACK) for x in arrays)
            launch = made(*laid)
            yield replace(launch, args=(*arrays, *launch.args[len(arrays) :]))

    @kernel.examples
    def _(dtype):
        yield (Empty((64,), dtype),) * _arity(op), {}

    return kernel


add, relu, relu_grad = (
    _single("add", "add"),
    _single("relu", "relu"),
    _single("relu_grad", "_relu_grad"),
)

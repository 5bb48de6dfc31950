"""Updates of optimizers: one launch over flat buffers, in place; and the norm of all gradients.

What changes from step to step lies in device memory, as a CUDA graph repeats its arguments: which
segments have gradients, how many steps each has taken, the options, the factor of clipping, the
scale of the loss, and whether this step is left out.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from minigrad.kernels.cuda.machine import C_TYPES, Empty, Kernel, Launch, Page, address, aligned
from minigrad.kernels.layouts import covered_ids

RULES = ["sgd_step", "adagrad_step", "rmsprop_step", "lion_step", "adam_variant_step", "adam_step"]
FLOATS = ("float32", "float64", "float16", "bfloat16")
TILE, THREADS = 4096, 256  # as the source has them
CHUNK, MOST = 16384, 48  # elements of a block, arrays of a launch
PAGE, BUFFERS = Page("updates"), Page("buffers")

# --- steps ----------------------------------------------------------------------------------------

update = Kernel("update", PAGE)


def _flat(*buffers: Any) -> bool:
    """Whether all are contiguous, of floats, and of one length."""
    return all(
        x.dtype.name in FLOATS and x.ndim == 1 and x.flags.c_contiguous for x in buffers
    ) and all(x.shape == buffers[0].shape for x in buffers)


@update.accepts
def _(
    w, g, a, b, c, starts, stops, steps, numbers, clip, scale, skip, late, low,
    *, rule, segment=None,
):  # fmt: skip
    """One step by a rule, in place; nothing comes out.

    Args:
        w, g: weights and gradients, flat.
        a, b, c: moments of the same length, None where the rule has none.
        starts, stops, steps: int64, as `minigrad.kernels.updates` has them; None with `segment`.
        numbers: float64; how many segments there are, then the options. None with `segment`.
        clip: () what gradients are multiplied by, or None.
        scale: () float32, what they are divided by: the scale of the loss. Or None.
        skip: () boolean; where it is true nothing is done. Or None.
        late: () int64, what is taken off `steps`, as these were left out; or None.
        low: of that length, a copy of the new weights in fewer bits; or None.
        rule: one of RULES.
        segment: (start, stop, step, options), where they are known on the host.
    """
    moments = [x for x in (a, b, c) if x is not None]
    if rule not in RULES or not _flat(w, g, *moments, *([] if low is None else [low])):
        return None
    if (w.dtype.itemsize == 8 and low is not None) or len({m.dtype for m in moments}) > 1:
        return None
    if segment is None:
        same = starts.shape == stops.shape == steps.shape
        if not same or not covered_ids(starts) or not covered_ids(stops) or not covered_ids(steps):
            return None
        if numbers.dtype.name != "float64" or not numbers.flags.c_contiguous:
            return None
    if clip is not None and clip.dtype.name not in ("float32", "float64"):
        return None
    wanted = ((scale, "float32"), (skip, "bool"), (late, "int64"))
    return None if any(x is not None and x.dtype.name != name for x, name in wanted) else ()


@update.launches
def _(
    p, outputs, w, g, a, b, c, starts, stops, steps, numbers, clip, scale, skip, late, low, **params
):
    rule, segment = params["rule"], params.get("segment")
    moments = [x for x in (a, b, c) if x is not None]
    lanes = 16 // min(x.dtype.itemsize for x in (w, g, *moments))
    define = {
        "T": w.dtype, "G": g.dtype, "M": (moments or [w])[0].dtype,
        "L": w.dtype if low is None else low.dtype,
        "F": np.dtype("float32") if clip is None else clip.dtype,
        "RULE": rule.removesuffix("_step").upper(), "A": a is not None, "B": b is not None,
        "C": c is not None, "V": lanes if aligned(w, g, *moments, low) else 1,
    }  # fmt: skip
    start, stop, step, options = segment or (0, 0, 0, ())
    known = (int(start), int(stop), int(step), *map(float, (*options, *[0.0] * 8)[:8]))
    if w.size:
        yield Launch(
            PAGE,
            "update",
            define,
            -(-w.size // TILE),
            THREADS,
            (
                w, g, a, b, c, low, w.size, starts, stops, steps, numbers, *known, clip, scale,
                skip, late, p.status(),
            ),
        )  # fmt: skip


@update.examples
def _(dtype):
    x, ids, numbers = (
        Empty((100,), dtype),
        Empty((3,), np.dtype("int64")),
        Empty((16,), np.dtype("float64")),
    )
    one, yes = Empty((), np.dtype("float32")), Empty((), np.dtype("bool"))
    late = Empty((), np.dtype("int64"))
    for rule, moments in [
        ("sgd_step", (None, None, None)), ("sgd_step", (x, None, None)),
        ("adagrad_step", (x, None, None)), ("rmsprop_step", (x, None, None)),
        ("rmsprop_step", (x, x, x)), ("lion_step", (x, None, None)),
        ("adam_variant_step", (x, x, None)), ("adam_variant_step", (x, x, x)),
        ("adam_step", (x, x, None)),
    ]:  # fmt: skip
        yield (x, x, *moments, ids, ids, ids, numbers, one, one, yes, late, None), {"rule": rule}
    if dtype.itemsize == 2:  # weights in 32 bits
        w, few = Empty((100,), np.dtype("float32")), Empty((100,), dtype)
        moments = w, w, None, ids, ids, ids, numbers, one, one, yes, late
        yield (w, few, *moments, few), {"rule": "adam_step"}


def change(
    rule: str, w: Any, g: Any, moments: Sequence[Any], stretch: slice, step: int, numbers: Sequence
) -> Any:
    """One step in place of a stretch of CuPy's flat buffers; NotImplemented if it declines.

    Args:
        rule: one of RULES.
        moments: those that the rule has, None where there is none.
        step: how many steps there have been, this one included.
        numbers: the options, as `minigrad.kernels.updates` lists them.
    """
    a, b, c = (*moments, None, None, None)[:3]
    segment = stretch.start, stretch.stop, step, tuple(numbers)
    nothing = (None,) * 9
    return update.call(w, g, a, b, c, *nothing, rule=rule, segment=segment)


# --- many arrays at once --------------------------------------------------------------------------


def _sets(arrays: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Arrays that go into one launch, with the number of the first."""
    for first in range(0, len(arrays), MOST):
        yield first, list(arrays[first : first + MOST])


def _blocks(arrays: Sequence[Any]) -> list[int]:
    """How many blocks each has."""
    return [-(-x.size // CHUNK) for x in arrays]


def _cases(ends: int, call: str) -> str:
    """Lines in C: the array of a block by its number; `call` is for array {i} and its `block`."""
    lines = ["i64 block = blockIdx.x;"]
    for i in range(ends):
        lines.append(f"if (block < b{i}) {call.format(i=i)};")
        if i + 1 < ends:
            lines.append(f"else {{ block -= b{i};")
    return "\n    ".join(lines) + "}" * (ends - 1)


clip_factor = Kernel("clip_factor", BUFFERS)


@clip_factor.accepts
def _(*gradients, max_norm):
    """The norm () of all gradients in float64, and the factor () that makes it at most `max_norm`.

    The factor is of float32 unless a gradient is of float64; 1 where the norm is not finite.
    """
    if not gradients or not _dense(gradients):
        return None
    wide = any(g.dtype.itemsize == 8 for g in gradients)
    factor = np.dtype("float64" if wide else "float32")
    return Empty((), np.dtype("float64")), Empty((), factor)


def _dense(arrays: Sequence[Any]) -> bool:
    return all(x.dtype.name in FLOATS and x.flags.c_contiguous for x in arrays)


@clip_factor.scratch
def _(*gradients, max_norm):
    return _parts(gradients)


def _parts(gradients: Sequence[Any]) -> tuple[Empty]:
    return (Empty((max(sum(_blocks(gradients)), 1),), np.dtype("float64")),)


@clip_factor.launches
def _(p, outputs, *gradients, max_norm):
    (norm, factor), (parts,) = outputs, p.scratch
    done = yield from _summed(parts, gradients, "sum_of<Square>")
    name = "clip_double" if factor.dtype.itemsize == 8 else "clip_float"
    yield Launch(BUFFERS, name, {}, 1, 1024, (norm, factor, parts, done, float(max_norm)))


def _summed(parts: Any, gradients: Sequence[Any], of: str) -> Generator[Launch, None, int]:
    """Launches that add up what `of` gives in each block; how many parts there are."""
    done = 0
    for _, some in _sets([g for g in gradients if g.size]):
        counts = _blocks(some)
        inputs = ", ".join(
            f"const {C_TYPES[g.dtype.name]}* x{i}, i64 n{i}, i64 b{i}" for i, g in enumerate(some)
        )
        text = (
            f'extern "C" __global__ void sums(double* parts, i64 done, {inputs}) {{\n'
            f"    __shared__ double box[WARP];\n    double s = 0;\n"
            f"    {_cases(len(some), f's = {of}(x{{i}}, n{{i}}, block)')}\n"
            f"    s = block_sum(s, box);\n"
            f"    if (threadIdx.x == 0) parts[done + blockIdx.x] = s;\n}}\n"
        )
        args = [x for g, count in zip(some, counts, strict=True) for x in (g, g.size, count)]
        yield Launch(BUFFERS.plus(text), "sums", {}, sum(counts), THREADS, (parts, done, *args))
        done += sum(counts)
    return done


@clip_factor.examples
def _(dtype):
    yield (Empty((100, 7), dtype), Empty((40000,), dtype)), {"max_norm": 1.0}


some_lost = Kernel("some_lost", BUFFERS)


@some_lost.accepts
def _(*gradients):
    """Whether any element of any of them is infinite or NaN: () boolean."""
    return Empty((), np.dtype("bool")) if gradients and _dense(gradients) else None


@some_lost.scratch
def _(*gradients):
    return _parts(gradients)


@some_lost.launches
def _(p, outputs, *gradients):
    done = yield from _summed(p.scratch[0], gradients, "sum_of<Zero>")
    yield Launch(BUFFERS, "lost", {}, 1, 1024, (outputs[0], p.scratch[0], done))


@some_lost.examples
def _(dtype):
    yield (Empty((100, 7), dtype), Empty((40000,), dtype)), {}


leave_out = Kernel("leave_out", BUFFERS)


@leave_out.accepts
def _(skip, late):
    """Count in `late`, () int64, in place, if a step is left out: `skip`, () boolean."""
    fits = skip.dtype.name == "bool" and late.dtype.name == "int64" and skip.size == late.size == 1
    return () if fits else None


@leave_out.launches
def _(p, outputs, skip, late):
    yield Launch(BUFFERS, "leave_out", {}, 1, 32, (skip, late))


@leave_out.examples
def _(dtype):
    yield (Empty((), np.dtype("bool")), Empty((), np.dtype("int64"))), {}


gather = Kernel("gather", BUFFERS)


@gather.accepts
def _(flat, clip, *arrays, starts):
    """Copy arrays to where they begin in a flat buffer, perhaps times a factor; nothing comes out.

    Args:
        flat: one axis.
        clip: () what they are multiplied by, or None.
        arrays: of any dtype of floats.
        starts: where each begins.
    """
    if flat.ndim != 1 or not _dense((flat, *arrays)) or len(starts) != len(arrays):
        return None
    if clip is not None and clip.dtype.name not in ("float32", "float64"):
        return None
    ends = (start + x.size for start, x in zip(starts, arrays, strict=True))
    return None if any(s < 0 for s in starts) or any(e > flat.size for e in ends) else ()


@gather.launches
def _(p, outputs, flat, clip, *arrays, starts):
    yield from _copied([At(flat, start) for start in starts], arrays, clip)


class At:
    """What begins at an element of an array, as an argument."""

    def __init__(self, x: Any, start: int):
        self.array, self.start, self.dtype = x, int(start), x.dtype

    @property
    def address(self) -> int:
        return address(self.array) + self.start * self.dtype.itemsize


def _copied(targets: Sequence[Any], arrays: Sequence[Any], factor: Any) -> Iterator[Launch]:
    """Launches that copy arrays, perhaps times a factor () in device memory."""
    pairs = [(y, x) for y, x in zip(targets, arrays, strict=True) if x.size]
    number = C_TYPES["float32" if factor is None else factor.dtype.name]
    for first, some in _sets([x for _, x in pairs]):
        counts, places = _blocks(some), [y for y, _ in pairs[first : first + len(some)]]
        both = zip(places, some, strict=True)
        kinds = [(C_TYPES[y.dtype.name], C_TYPES[x.dtype.name]) for y, x in both]
        inputs = ", ".join(
            f"{to}* y{i}, const {of}* x{i}, i64 n{i}, i64 b{i}" for i, (to, of) in enumerate(kinds)
        )
        call = "copy_of(y{i}, x{i}, n{i}, block, factor)"
        text = (
            f'extern "C" __global__ void copies(const {number}* by, {inputs}) {{\n'
            f"    const {number} factor = by ? *by : 1;\n    {_cases(len(some), call)}\n}}\n"
        )
        args = [v for y, x, n in zip(places, some, counts, strict=True) for v in (y, x, x.size, n)]
        yield Launch(BUFFERS.plus(text), "copies", {}, sum(counts), THREADS, (factor, *args))


@gather.examples
def _(dtype):
    flat, one = Empty((50000,), dtype), Empty((), np.dtype("float32"))
    arrays = Empty((100, 7), dtype), Empty((40000,), dtype), Empty((9,), np.dtype("float32"))
    yield (flat, one, *arrays), {"starts": (0, 700, 41000)}


scaled = Kernel("scaled", BUFFERS)


@scaled.accepts
def _(factor, *arrays, dtype=None):
    """Arrays of floats as `dtype`, each times one number () in device memory.

    Args:
        factor: of float32 or float64; None to cast them only.
        dtype: of all results; by default each has its own.
    """
    numbers = ("float32", "float64")
    if factor is not None and (factor.size != 1 or factor.dtype.name not in numbers):
        return None
    if not _dense(arrays) or (dtype is not None and np.dtype(dtype).name not in FLOATS):
        return None
    results = tuple(Empty(x.shape, np.dtype(dtype or x.dtype)) for x in arrays)
    pairs = zip(arrays, results, strict=True)
    if any(x.dtype.itemsize == 8 and y.dtype.itemsize == 2 for x, y in pairs):
        return None  # it would be rounded twice
    return results


@scaled.launches
def _(p, outputs, factor, *arrays, dtype=None):
    yield from _copied(outputs, arrays, factor)


@scaled.examples
def _(dtype):
    one, arrays = Empty((), np.dtype("float32")), (Empty((100, 7), dtype), Empty((40000,), dtype))
    yield (one, *arrays), {}
    yield (None, *arrays), {"dtype": np.dtype("float32")}

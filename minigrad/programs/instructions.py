"""Calls as instructions: a handler with its words, or a function that calls NumPy."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backend import is_array
from minigrad.programs import elementwise, images
from minigrad.programs.fusion import flat, norm_fits
from minigrad.programs.values import (
    Call,
    Drawn,
    Hidden,
    Instruction,
    NotStacked,
    Region,
    Value,
    alike,
    kernels_know,
    uncovered,
)


def _bits(x: float) -> int:
    return int(np.float64(x).view(np.int64))


class Writer:
    """Turns calls into instructions, once every value has its place.

    What a run draws is found in `keys`, and the two words of each in `key_words`.
    """

    def __init__(
        self,
        scratch: Callable,
        status: np.ndarray,
        keys: list,
        key_words: np.ndarray,
        region: Region | None,
    ):
        self.scratch, self.region = scratch, region
        self.keys, self.key_words = keys, key_words
        self.alive: list[Any] = []  # what instructions point to
        self.status = status.ctypes.data

    def instructions(self, call: Call, number: int) -> list[Instruction]:
        shapes = f"{', '.join(map(repr, call.reads))} -> {', '.join(map(repr, call.outputs))}"
        write = getattr(self, f"_{call.name.lstrip('_')}", None) if kernels_know(call) else None
        found = write(call, number) if write is not None else None
        by_group = self.region is not None and self.region.owns(*call.reads, *call.outputs)
        if by_group and (found is None or call.name not in _BY_GROUP):
            chain = call.params.get("chain")
            name = call.name if chain is None else ", ".join(op for op, _ in chain.lines)
            raise NotStacked(f"'{name}' of {shapes}")
        if found is None:
            found = [Instruction(call.name, function=_in_python(call, self.keys))]
        for instruction in found:
            instruction.shapes = shapes
        return found

    def _by_group(self, rows: int, *values: Any) -> list[int]:
        """Words about groups, if one of the values is a group's own; else none."""
        if self.region is None or not self.region.owns(*values):
            return [0, 0, 0]
        if rows % self.region.rows:
            raise NotStacked(f"{rows} rows of {self.region.rows} samples")
        return self.region.words(rows)

    def _place(self, value: Value) -> int:
        """The address of a value, or that of its addresses in each group."""
        return (self.region is not None and self.region.table(value)) or value.address

    def _native(self, name: str, dtype: Any, words: list[int], work: int) -> list[Instruction]:
        from minigrad.kernels import elementwise, images, machine, noise  # noqa: F401 (Numba)

        address = machine.HANDLERS[name](np.dtype(dtype))
        return [Instruction(name, address, [int(w) for w in words], work=work)]

    def _product(self, call: Call, _: int) -> list[Instruction]:
        from minigrad.kernels import blas

        (a, b, bias), y, p = call.inputs[:3], call.outputs[0], call.params
        m, n, k = p["m"], p["n"], p["k"]
        lda, flip_a, ldb, flip_b = p["layout"]
        region, routine = self.region, blas.routine(y.dtype)
        if region is not None and region.owns(y):
            if not flip_a or flip_b or p["add"] or region.owns(a, b, bias):
                raise NotStacked("a product")
            words = [region.table(y), a.address, b.address, 0, m, n, k, n, lda, ldb, 0, 0, 0, 0]
            words += [routine, *self._by_group(k, y)]
            return self._native("group_products", y.dtype, words, 2 * m * n * k)
        words = [
            y.address, a.address, b.address, bias.address if bias is not None else 0,
            m, n, k, n, lda, ldb, flip_a, flip_b, p["add"], p["relu"], routine,
        ]  # fmt: skip
        if region is not None and region.owns(a, b, bias):
            whole = [v for v in (b, bias) if v is not None]
            if p.get("by_row"):
                raise NotStacked("a convolution")
            if flip_a or region.owns(a) or not all(region.table(v) for v in whole):
                raise NotStacked("a product")
            words += [*self._by_group(m, b), region.table(b)]
            words += [region.table(bias) if bias is not None else 0]
        elif p.get("by_row"):
            words += [0, 0, 0, 0, 0, 1]
        return self._native("product", y.dtype, words, 2 * m * n * k)

    def _relu(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        if not flat(x, y):
            return None
        return self._native("relu", y.dtype, [y.address, x.address, y.size], y.size)

    def _relu_grad(self, call: Call, _: int) -> list[Instruction] | None:
        (g, y), dx = call.inputs, call.outputs[0]
        if flat(g, y, dx):
            words = [dx.address, g.address, y.address, y.size]
            return self._native("relu_grad", y.dtype, words, y.size)
        return self._strided(dx, g, y, 1)

    def _elementwise(self, call: Call, _: int) -> list[Instruction]:
        lines, y = elementwise.table(call), call.outputs[0]
        self.alive.append(lines)
        words = [y.size, len(lines), lines.ctypes.data]
        return self._native("elementwise", y.dtype, words, y.size * len(lines))

    def _dropout(self, call: Call, _: int) -> list[Instruction] | None:
        from minigrad.kernels.cpu import dropout_limit

        (x, key), y, p = call.inputs, call.outputs[0], call.params
        if p.get("shared") or p.get("levels") or not flat(x, y) or not 0 <= p["p"] <= 1:
            return None
        if type(key) is Drawn:
            place = self.key_words[key.index]
        else:
            place = np.array(tuple(key), np.int64)
            self.alive.append(place)
        if (limit := dropout_limit(p["p"])) < 0:
            return None
        words = [y.address, x.address, y.size, place.ctypes.data, limit, _bits(1 / (1 - p["p"]))]
        return self._native("dropout", y.dtype, words, 30 * y.size)

    def _strided(self, y: Value, a: Value, b: Value | None, what: int) -> list[Instruction] | None:
        words = images.strided_words(y, a, b, what)
        return None if words is None else self._native("strided", y.dtype, words, y.size)

    def _reshape(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        if not y.contiguous:
            return None
        # What is read in the order of `x` is written one element after the other.
        return self._strided(images.layout(y.root, x.shape, _packed(x), y.offset), x, None, 0)

    def _windows(self, call: Call, _: int) -> list[Instruction] | None:
        p = {"stride": 1, "dilation": 1} | call.params
        return self._strided(call.outputs[0], images.windows_of(call.inputs[0], **p), None, 0)

    def _sum_windows(self, call: Call, _: int) -> list[Instruction] | None:
        y, words = call.outputs[0], images.sum_windows_words(call)
        return None if words is None else self._native("sum_windows", y.dtype, words, y.size)

    def _batch_norm_train(self, call: Call, _: int) -> list[Instruction] | None:
        (x, *affine), y = call.inputs, call.outputs[0]
        found = self._planes(x, y, affine)
        if found is None:
            return None
        sizes, (of_x, of_y) = found
        words = [
            y.address,
            x.address,
            *(v.address for v in affine),
            _bits(call.params.get("eps", 1e-5)),
        ]
        return self._native("batch_norm_train", y.dtype, words + sizes + of_x + of_y, 8 * y.size)

    def _batch_norm_grad(self, call: Call, _: int) -> list[Instruction] | None:
        (g, x, weight), outputs = call.inputs, call.outputs
        found = self._planes(x, outputs[0], [weight, *outputs[1:]], g)
        if found is None:
            return None
        sizes, (of_x, of_dx, of_g) = found
        words = [
            *(v.address for v in (*outputs, g, x, weight)),
            _bits(call.params.get("eps", 1e-5)),
        ]
        words += sizes + of_x + of_dx + of_g
        return self._native("batch_norm_grad", x.dtype, words, 12 * x.size)

    def _batch_norm_stats(self, call: Call, _: int) -> list[Instruction] | None:
        (x, *old), new = call.inputs, call.outputs
        found = self._planes(x, x, [*old, *new])
        if found is None or x.size == x.shape[1]:
            return None
        sizes, (of_x, _) = found
        words = [*(v.address for v in (*new, x, *old)), _bits(call.params.get("momentum", 0.1))]
        return self._native("batch_norm_stats", x.dtype, words + sizes + of_x, 6 * x.size)

    def _planes(self, x: Value, y: Value, channels: list[Any], *more: Value) -> Any:
        """a, c, n of x (A, C, ...), and the steps along A and C of all; None if they do not fit."""
        if not all(type(v) is Value and v.contiguous for v in channels) or not x.size:
            return None
        if self.region is not None and self.region.owns(*channels):
            return None
        steps = [images.planes(v.shape, v.strides, v.dtype.itemsize) for v in (x, y, *more)]
        if None in steps:
            return None
        return [*x.shape[:2], math.prod(x.shape[2:])], steps

    def _max_windows(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        words = images.max_windows_words(y, x, None, call.params)
        return None if words is None else self._native("max_windows", y.dtype, words, 2 * x.size)

    def _max_windows_grad(self, call: Call, _: int) -> list[Instruction] | None:
        (g, x), dx = call.inputs, call.outputs[0]
        words = images.max_windows_words(dx, x, g, call.params)
        return (
            None if words is None else self._native("max_windows_grad", x.dtype, words, 3 * x.size)
        )

    def _add(self, call: Call, _: int) -> list[Instruction] | None:
        (a, b), y = call.inputs, call.outputs[0]
        if type(a) is not Value or type(b) is not Value or not y.size:
            return None
        if a.shape != y.shape:
            a, b = b, a
        trailing = b.shape == y.shape[len(y.shape) - len(b.shape) :]
        if not alike(a, y) or not b.contiguous or b.dtype != y.dtype or not trailing:
            return None
        words = [y.address, a.address, b.address, y.size, b.size]
        return self._native("add", y.dtype, words, y.size)

    def _sum(self, call: Call, _: int) -> list[Instruction] | None:
        x, y = call.inputs[0], call.outputs[0]
        axis = call.params.get("axis")
        if y.dtype == x.dtype and axis is not None and not (self.region and self.region.owns(y)):
            words = images.channel_sum_words(x, y, axis)
            if words is not None:
                return self._native("channel_sums", y.dtype, words, x.size)
        if axis is None and alike(x, x) and 0 < x.size <= 4096 and y.dtype == x.dtype:
            return self._native("sum_all", y.dtype, [y.address, x.address, x.size], x.size)
        if len(x.shape) != 2 or axis not in (0, (0,), -2) or not alike(x, x) or not x.size:
            return None
        if y.dtype != x.dtype or not y.contiguous:
            return None
        words = [self._place(y), x.address, *x.shape, x.shape[1], *self._by_group(x.shape[0], y)]
        return self._native("column_sums", y.dtype, words, x.size)

    def _layer_norm(self, call: Call, _: int) -> list[Instruction] | None:
        x, weight, bias, *more = call.inputs
        y = call.outputs[0]
        if not norm_fits(x, y, weight, bias):
            return None
        d = x.shape[-1]
        words = [y.address, x.address, self._place(weight), self._place(bias), x.size // d, d]
        words += [_bits(call.params.get("eps", 1e-5))]
        words += [more[0].address, call.outputs[1].address] if more else [0, 0]
        words += self._by_group(x.size // d, weight, bias)
        return self._native("layer_norm", y.dtype, words, 10 * y.size)

    def _layer_norm_grad(self, call: Call, number: int) -> list[Instruction] | None:
        g, x, weight, *more = call.inputs
        dx, dweight, dbias = call.outputs
        if not norm_fits(x, dx, weight) or not alike(g, x):
            return None
        d = x.shape[-1]
        sums = self.scratch(call)
        chunks = sums.shape[0]
        words = [dx.address, sums.address, g.address, x.address, self._place(weight)]
        words += [x.size // d, d, chunks, _bits(call.params.get("eps", 1e-5))]
        words += [more[0].address if more else 0]
        if self.region is not None and self.region.owns(weight):
            words += [
                *self._by_group(x.size // d, weight),
                *map(self.region.table, (dweight, dbias)),
            ]
            if not all(words[-2:]):
                raise NotStacked("a layer norm")
            return self._native("layer_norm_grad", dx.dtype, words, 20 * dx.size)
        found = self._native("layer_norm_grad", dx.dtype, words, 20 * dx.size)
        for i, y in enumerate((dweight, dbias)):
            if y.root.place is not None:
                words = [y.address, sums.address + i * d * x.dtype.itemsize, chunks, d, 2 * d]
                found += self._native("column_sums", y.dtype, words, chunks * d)
        return found

    def _attention(self, call: Call, _: int) -> list[Instruction] | None:
        words = self._attention_words(call, *call.inputs, out=call.outputs[0])
        if words is None:
            return None
        B, T, S, D, E = words[5:10]
        return self._native("attention", call.outputs[0].dtype, words, 2 * B * T * S * (D + E))

    def _attention_grad(self, call: Call, _: int) -> list[Instruction] | None:
        g, *rest = call.inputs
        words = self._attention_words(call, *rest, out=g)
        if words is None or not all(y.contiguous for y in call.outputs):
            return None
        places = [y.address for y in call.outputs]
        B, T, S, D, E = words[5:10]
        work = 2 * B * T * S * (3 * D + 2 * E)
        return self._native("attention_grad", g.dtype, [*words, *places], work)

    def _attention_words(self, call, q, k, v, mask=None, key=None, *, out):
        p = call.params
        if key is not None or p.get("dropout", 0.0) or len(q.shape) != 3:
            return None
        if not (alike(q, q) and alike(k, k) and alike(v, v) and alike(out, out)) or not q.size:
            return None
        if len({x.dtype for x in (q, k, v, out)}) > 1 or not k.size:
            return None
        (B, T, D), (_, S, E) = q.shape, v.shape
        heads = p.get("heads", 1)
        side = (0, 0, 0, 0)
        if mask is not None:
            if type(mask) is not Value or mask.dtype != bool or not mask.contiguous:
                return None
            side = (1,) * (4 - len(mask.shape)) + mask.shape
            if any(n not in (1, m) for n, m in zip(side, (B, heads, T, S), strict=True)):
                return None
        scale = p.get("scale")
        scale = math.sqrt(heads / max(D, 1)) if scale is None else scale
        address = self.status if mask is None else mask.address
        return [
            out.address, q.address, k.address, v.address, address, B, T, S, D, E, heads,
            p.get("causal", False), _bits(scale), *side,
        ]  # fmt: skip

    def _cross_entropy_rows(self, call: Call, number: int) -> list[Instruction] | None:
        (x, target), y = call.inputs, call.outputs[0]
        words = self._classes(call, x, target, number)
        if words is None or not y.contiguous:
            return None
        return self._native("cross_entropy_rows", x.dtype, [y.address, *words], 5 * x.size)

    def _cross_entropy_rows_grad(self, call: Call, number: int) -> list[Instruction] | None:
        (g, x, target), dx = call.inputs, call.outputs[0]
        words = self._classes(call, x, target, number)
        if words is None or not alike(x, dx):
            return None
        many = g.strides != (0,) and g.size != 1
        if many and not g.contiguous:
            return None
        words = [dx.address, *words, g.address, many]
        return self._native("cross_entropy_rows_grad", x.dtype, words, 10 * x.size)

    def _classes(self, call: Call, x: Value, target: Any, number: int) -> list[int] | None:
        if not alike(x, x) or len(x.shape) != 2 or not x.size or type(target) is not Value:
            return None
        if target.dtype != np.int64 or not target.contiguous:
            return None
        p = call.params
        return [
            x.address, target.address, *x.shape, p.get("ignore_index", -100),
            _bits(p.get("label_smoothing", 0.0)), self.status, number + 1,
        ]  # fmt: skip

    def _count_of(self, call: Call, _: int) -> list[Instruction] | None:
        ids, y = call.inputs[1], call.outputs[0]
        if type(ids) is not Value or ids.dtype != np.int64 or not ids.contiguous:
            return None
        words = [y.address, ids.address, ids.size, call.params["ignore_index"]]
        words += [_bits(1.0 if call.params.get("empty_is_zero", True) else math.nan)]
        return self._native("count_of", y.dtype, words, ids.size)

    def _embedding(self, call: Call, number: int) -> list[Instruction] | None:
        (ids, table), y = call.inputs, call.outputs[0]
        if type(ids) is not Value or ids.dtype != np.int64 or not ids.contiguous:
            return None
        if not alike(table, table) or not alike(y, y) or not table.size:
            return None
        words = [y.address, self._place(table), ids.address, ids.size, *table.shape, self.status]
        words += [number + 1, *self._by_group(ids.size, table)]
        return self._native("embedding", y.dtype, words, y.size)

    def _reorder_rows(self, call: Call, number: int) -> list[Instruction] | None:
        (x, order, _), y = call.inputs, call.outputs[0]
        if not alike(x, y) or order.dtype != np.int64 or not order.contiguous or not x.size:
            return None
        n = x.shape[0]
        words = [y.address, x.address, order.address, n, n, x.size // n, self.status, number + 1]
        return self._native("embedding", y.dtype, words, y.size)

    def _embedding_grad(self, call: Call, number: int) -> list[Instruction] | None:
        if call.op is not None:
            return None
        (g, ids), dw = call.inputs, call.outputs[0]
        words = [self._place(dw), g.address, ids.address, ids.size, *dw.shape]
        words += [call.params["padding"], self.status, number + 1, *self._by_group(ids.size, dw)]
        return self._native("embedding_grad", dw.dtype, words, g.size)


def _packed(x: Value) -> tuple[int, ...]:
    """The strides of an array of this shape in C order."""
    return np.empty((0,) * len(x.shape), x.dtype).strides if not x.size else _c_strides(x)


def _c_strides(x: Value) -> tuple[int, ...]:
    strides, step = [], x.dtype.itemsize
    for n in reversed(x.shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


_BY_GROUP = {"product", "sum", "layer_norm", "layer_norm_grad", "embedding", "embedding_grad"}


def _in_python(call: Call, keys: list) -> Callable[[], None]:
    """A function that computes a call with NumPy, into the places of its outputs."""
    inputs = [x.view() if type(x) in (Value, Hidden) else x for x in call.inputs]
    outputs = [y.view() for y in call.outputs]
    # (An op that is made of others may be called like a ufunc, and mean something else.)
    plain_op = call.op is None or getattr(call.op, "primitive", False)
    ufunc = getattr(np, call.name, None) if plain_op else None
    if type(ufunc) is np.ufunc and not call.params and len(outputs) == 1:
        y = outputs[0]
        plain = all(type(x) in (np.ndarray, int, float) for x in inputs)
        if plain and ufunc.nin == len(inputs) and _gives(ufunc, inputs) == y.dtype:
            return lambda: ufunc(*inputs, out=y)
    op, params = call.op, call.params

    def compute() -> None:
        values = [keys[x.index] if type(x) is Drawn else x for x in inputs]
        found = op(*values, **params)
        for y, new in zip(outputs, found if type(found) is tuple else (found,), strict=True):
            y[...] = uncovered(new)[0]

    return compute


def _gives(ufunc: np.ufunc, inputs: Sequence[Any]) -> Any:
    """The dtype that a ufunc gives; None if that is not known without computing."""
    try:
        types = (x.dtype if is_array(x) else type(x) for x in inputs)
        return ufunc.resolve_dtypes((*types, None))[-1]
    except TypeError:
        return None

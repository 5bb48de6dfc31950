"""Calls that are put together where one pass over memory serves several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.programs.values import Call, Hidden, Value, alike, kernels_know


class Graph:
    """The calls of a step while they are rewritten: who makes a root, and who reads it."""

    def __init__(self, calls: list[Call], kept: set[Value]):
        self.calls, self.kept = calls, kept
        self.maker: dict[Value, Call] = {}
        self.readers: dict[Value, list[Call]] = {}
        self.index: dict[Call, int] = {}
        for i, call in enumerate(calls):
            self.index[call] = i
            for y in call.outputs:
                self.maker[y.root] = call
            for x in call.reads:
                self.readers.setdefault(x.root, []).append(call)

    def plain(self) -> list[Call]:
        """The calls as they are now, without those of `vmap`, whose inputs hide an axis."""
        return [
            c for c in self.calls if c is not None and not any(type(x) is Hidden for x in c.inputs)
        ]

    def only_reader(self, value: Value) -> Call | None:
        """The call that alone reads the memory of `value`; None if more is done with it."""
        readers = self.readers.get(value.root, [])
        return readers[0] if len(readers) == 1 and value.root not in self.kept else None

    def drop(self, call: Call) -> None:
        """Without this call; nobody reads what it gives."""
        self.calls[self.index[call]] = None
        for x in call.reads:
            self.readers[x.root].remove(call)

    def replace(self, old: Sequence[Call], new: Call) -> None:
        """`new` in the place of the last of `old`."""
        place = max(self.index[c] for c in old)
        for call in old:
            self.calls[self.index[call]] = None
            for x in call.reads:
                self.readers[x.root].remove(call)
        self.calls[place] = new
        self.index[new] = place
        for y in new.outputs:
            self.maker[y.root] = new
        for x in new.reads:
            self.readers.setdefault(x.root, []).append(new)


def flat(*values: Value) -> bool:
    """Whether all lie in one stretch of memory without gaps, in the same order of axes."""
    first = values[0]
    step = first.dtype.itemsize
    for n, s in sorted(zip(first.shape, first.strides, strict=True), key=lambda axis: axis[1]):
        if n != 1 and s != step:
            return not first.size
        step *= n
    return (
        first.dtype.kind == "f"
        and first.dtype.itemsize >= 4
        and all(
            (v.shape, v.strides, v.dtype) == (first.shape, first.strides, first.dtype)
            for v in values
        )
    )


def norm_fits(x: Value, y: Value, *parts: Any) -> bool:
    """Whether `x` is normalised over its last axis, and all `parts` are of that axis."""
    d = x.shape[-1:]
    return (
        bool(x.size)
        and alike(x, y)
        and all(
            type(p) is Value and p.shape == d and p.contiguous and p.dtype == x.dtype for p in parts
        )
    )


def _products(graph: Graph) -> None:
    """Matrix products, and linear layers, become the product of the machine."""
    for call in graph.plain():
        if call.op is None or call.name not in ("matmul", "linear") or not kernels_know(call):
            continue
        y, a, b = call.outputs[0], *call.inputs[:2]
        if type(a) is not Value or type(b) is not Value or not y.contiguous or not y.size:
            continue
        if not a.dtype == b.dtype == y.dtype or y.dtype.kind != "f" or y.dtype.itemsize < 4:
            continue
        bias = None
        if call.name == "linear":
            bias = call.inputs[2] if len(call.inputs) > 2 else None
            (n, k), m = b.shape, a.size // max(a.shape[-1], 1)
            if not a.contiguous or not b.contiguous or not k:
                continue
            if bias is not None and (bias.dtype != y.dtype or not bias.contiguous):
                continue
            layout = (k, False, k, True)
        else:
            if len(a.shape) == len(b.shape) == 3 and a.shape[0] == b.shape[0] == 1:
                a, b = _first(a), _first(b)
            if len(a.shape) != 2 or len(b.shape) != 2:
                continue
            (m, k), n = a.shape, b.shape[1]
            left, right = _rows_of(a), _rows_of(b)
            if left is None or right is None or not k:
                continue
            layout = (*left, *right)
        params = {"m": m, "n": n, "k": k, "layout": layout, "add": False, "relu": False}
        graph.replace([call], Call("product", None, [a, b, bias], params, [y]))


def _first(x: Value) -> Value:
    """`x[0]`."""
    found = Value(np.empty(0, x.dtype), x.root, x.offset)
    found.shape, found.strides = x.shape[1:], x.strides[1:]
    return found


def _rows_of(x: Value) -> tuple[int, bool] | None:
    """Elements between rows of a matrix, and whether it lies transposed; None if it is neither."""
    item = x.dtype.itemsize
    (m, n), (s, t) = x.shape, x.strides
    if s % item or t % item:
        return None
    if (t == item or n == 1) and (s >= n * item or m == 1):
        return max(s // item, n), False
    if (s == item or m == 1) and (t >= m * item or n == 1):
        return max(t // item, m), True
    return None


def activations(graph: Graph) -> None:
    """relu right after a linear layer."""
    for call in graph.plain():
        if call.name == "relu" and call.op is not None:
            x, y = call.inputs[0], call.outputs[0]
            maker = graph.maker.get(x.root)
            if (
                maker is not None
                and maker.name == "product"
                and maker.inputs[2] is not None
                and graph.only_reader(x) is call
                and flat(x, y)
            ):
                params = maker.params | {"relu": True}
                graph.replace([maker, call], Call("product", None, maker.inputs, params, [y]))


def _norms(graph: Graph) -> None:
    """A sum right before a layer norm; and the sum of gradients right after its derivative."""
    for call in graph.plain():
        if (
            call.name == "add"
            and call.op is not None
            and alike(*call.outputs)
            and len(call.reads) == 2
        ):
            a, b = call.inputs
            if not alike(a, b, call.outputs[0]):
                continue
            total = call.outputs[0]
            after = next((c for c in graph.calls[graph.index[call] + 1 :] if c is not None), None)
            if after is not None and after.name == "layer_norm" and after.op is not None:
                x, weight, bias = after.inputs
                same = x.root is total.root and x.size == total.size
                if same and norm_fits(x, after.outputs[0], weight, bias):
                    outputs = [after.outputs[0], total]
                    new = Call("layer_norm", None, [a, weight, bias, b], after.params, outputs)
                    graph.replace([call, after], new)
                    continue
            for dx, r in ((a, b), (b, a)):
                maker = graph.maker.get(dx.root)
                if (
                    maker is not None
                    and maker.name == "layer_norm_grad"
                    and len(maker.inputs) == 3
                    and dx.root is maker.outputs[0].root
                    and dx.size == dx.root.size
                    and graph.only_reader(dx) is call
                    and norm_fits(maker.inputs[1], maker.outputs[0], maker.inputs[2])
                    and (
                        r.root not in graph.maker
                        or graph.index[graph.maker[r.root]] < graph.index[maker]
                    )
                ):
                    outputs = [total, *maker.outputs[1:]]
                    place = graph.index[maker]
                    new = Call("layer_norm_grad", None, [*maker.inputs, r], maker.params, outputs)
                    graph.replace([maker, call], new)
                    graph.calls[graph.index[new]] = None  # as early as it was
                    graph.calls[place] = new
                    graph.index[new] = place
                    break


def _sums(graph: Graph) -> None:
    """A product that is added to what is not read again is added in place."""
    for call in graph.plain():
        if call.name != "add" or call.op is None or len(call.reads) != 2:
            continue
        a, b = call.inputs
        y = call.outputs[0]
        if not alike(a, b, y):
            continue
        for total, term in ((a, b), (b, a)):
            maker, before = graph.maker.get(term.root), graph.maker.get(total.root)
            if (
                maker is not None
                and before is not None
                and maker is not before
                and maker.name == "product"
                and not maker.params["add"]
                and maker.inputs[2] is None
                and graph.only_reader(term) is call
                and term.size == term.root.size
                and total.size == total.root.size
                and total.root not in graph.kept
                and total.root.array is None
                and graph.index[before] < graph.index[maker]
                and all(
                    graph.index[c] <= graph.index[maker] or c is call
                    for c in graph.readers[total.root]
                )
                and all(x.root is not total.root for x in maker.reads)
            ):
                params = maker.params | {"add": True}
                new = Call("product", None, [*maker.inputs, total], params, [y], into=total)
                graph.replace([maker, call], new)
                break


def _embeddings(graph: Graph) -> None:
    """The gradient of an embedding leaves out the row of padding by itself."""
    for call in graph.plain():
        if call.name != "embedding_grad" or call.op is None:
            continue
        g, ids = call.inputs
        rows, padding, old = call.params["rows"], -1, [call]
        if type(ids) is not Value or ids.dtype != np.int64 or not ids.contiguous:
            continue
        chosen = graph.maker.get(g.root)
        if chosen is not None and chosen.name in ("where", "choice") and len(chosen.inputs) == 3:
            cond, zero, x = chosen.inputs
            test = graph.maker.get(cond.root) if type(cond) is Value else None
            if (
                test is not None
                and test.name == "equal"
                and type(test.inputs[0]) is Value
                and test.inputs[0].root is ids.root
                and type(test.inputs[1]) is int
                and type(zero) in (int, float)
                and zero == 0
                and graph.only_reader(g) is call
                and cond.size == ids.size
                and type(x) is Value
                and x.shape == g.shape
            ):
                padding, g, old = test.inputs[1], x, [chosen, call]
        rows_of_ids = len(g.shape) == len(ids.shape) + 1 and g.shape[:-1] == ids.shape
        if alike(g, g) and call.outputs[0].contiguous and rows_of_ids:
            params = {"rows": rows, "padding": padding}
            graph.replace(old, Call("embedding_grad", None, [g, ids], params, call.outputs))


RULES = (_products, activations, _norms, _sums, _embeddings)


def needed(calls: list[Call], kept: set[Value]) -> list[Call]:
    """The calls that something kept depends on."""
    wanted, found = set(kept), []
    for call in reversed(calls):
        if call.params.get("effect") or any(y.root in wanted for y in call.outputs):
            found.append(call)
            wanted.update(x.root for x in call.reads)
    return found[::-1]

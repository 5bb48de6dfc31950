"""Calls that are put together where one pass over memory serves several: a table of rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

from minigrad import ops
from minigrad.autodiff import Op
from minigrad.kernels.embeddings import embedding_grad
from minigrad.kernels.layouts import covered_ids, matrix_rows, windows_of
from minigrad.kernels.norms import layer_norm, layer_norm_grad
from minigrad.kernels.products import product
from minigrad.ops.elementwise import where
from minigrad.ops.windows import _windows
from minigrad.programs.values import Call, Graph, Value


class Rule(NamedTuple):
    """What becomes of a call of one of `ops`, beside the call that made one of its inputs.

    Attributes:
        name: what is put together.
        ops: whose calls it is about.
        makers: of which an input must be; empty if it is about one call alone.
        make: `make(graph, call, maker, x)` gives the new call in place of both, `x` being the input
            that `maker` made (or without these two); None to leave them as they are, and so they
            are left if the machine has no kernel for it.
        early: whether the new call stands where `maker` stood, not where `call` did.
    """

    name: str
    ops: tuple[Any, ...]
    makers: tuple[Any, ...]
    make: Callable[..., Call | None]
    early: bool = False


def fuse(graph: Graph) -> None:
    """Apply all rules, each to the whole, in their order."""
    for rule in RULES:
        apply(rule, graph)


def apply(rule: Rule, graph: Graph) -> None:
    for call in graph.plain():
        if call.op not in rule.ops or not graph.has(call):
            continue
        if not rule.makers:
            new = rule.make(graph, call)
            if new is not None and graph.machine.takes(new.op, new):
                graph.replace([call], new)
            continue
        for x in call.reads:
            maker = graph.maker.get(x.root)
            if maker is None or maker.op not in rule.makers or maker is call:
                continue
            new = rule.make(graph, call, maker, x)
            if new is not None and (type(new.op) is Op or graph.machine.takes(new.op, new)):
                graph.replace([maker, call], new, rule.early)
                break


# --- products -------------------------------------------------------------------------------------


def _product(graph: Graph, call: Call) -> Call | None:
    """A matrix product or a linear layer as the product of the machine."""
    (y,), (a, b, *more) = call.outputs, call.inputs
    if not graph.machine.knows(call) or type(a) is not Value or type(b) is not Value:
        return None
    if not y.c_contiguous or not y.size or not a.dtype == b.dtype == y.dtype:
        return None
    bias = more[0] if more else None
    if call.op is ops.linear:
        (n, k), m = b.shape, a.size // max(a.shape[-1], 1)
        if not a.c_contiguous or not b.c_contiguous or not k:
            return None
        if bias is not None and (bias.dtype != y.dtype or not bias.c_contiguous):
            return None
        layout = (k, False, k, True)
    else:
        if len(a.shape) == len(b.shape) == 3 and a.shape[0] == b.shape[0] == 1:
            a, b = (v.view_of(v.shape[1:], v.strides[1:]) for v in (a, b))
        if len(a.shape) != 2 or len(b.shape) != 2:
            return None
        (m, k), n = a.shape, b.shape[1]
        left, right = _rows_of(a), _rows_of(b)
        if left is None or right is None or not k:
            return None
        layout = (*left, *right)
    params = {"m": m, "n": n, "k": k, "layout": layout, "add": False, "relu": False}
    return Call("product", product, [a, b, bias], params, [y])


def _rows_of(x: Value) -> tuple[int, bool] | None:
    return matrix_rows(x.shape, x.strides, x.dtype.itemsize)


def _with_relu(graph: Graph, call: Call, maker: Call, x: Value) -> Call | None:
    """relu right after a product with a bias."""
    y = call.outputs[0]
    if maker.inputs[2] is None or graph.only_reader(x) is not call or not graph.machine.flat(x, y):
        return None
    return Call("product", product, maker.inputs, maker.params | {"relu": True}, [y])


def _in_place(graph: Graph, call: Call, maker: Call, term: Value) -> Call | None:
    """A product that is added to what is not read again is added where that lies."""
    total = next((v for v in call.inputs if v is not term), term)
    before = graph.maker.get(total.root) if type(total) is Value else None
    if before is None or before is maker or not graph.machine.alike(*call.reads, *call.outputs):
        return None
    if maker.params["add"] or maker.inputs[2] is not None or graph.only_reader(term) is not call:
        return None
    if not (term.whole and total.whole) or total.root in graph.kept:
        return None
    if total.root.array is not None or graph.index[before] > graph.index[maker]:
        return None
    readers = graph.readers[total.root]
    if any(graph.index[c] > graph.index[maker] and c is not call for c in readers):
        return None
    if any(v.root is total.root for v in maker.reads):
        return None
    inputs, params = [*maker.inputs, total], maker.params | {"add": True}
    return Call("product", product, inputs, params, call.outputs, into=total)


def _bias_of_rows(graph: Graph, call: Call, maker: Call, x: Value) -> Call | None:
    """The bias of each row of a product, as convolutions have it, added on the way."""
    bias, params, y = next((v for v in call.inputs if v is not x), x), maker.params, call.outputs[0]
    if len(call.reads) != 2 or maker.inputs[2] is not None or params["add"]:
        return None
    if graph.only_reader(x) is not call or not x.whole or not graph.machine.flat(x, y):
        return None
    if bias.size != params["m"] or not bias.c_contiguous or bias.dtype != x.dtype:
        return None
    # The axis of the bias must be the rows of the product.
    axes = [i - len(bias.shape) for i, n in enumerate(bias.shape) if n > 1]
    row = params["n"] * x.dtype.itemsize
    if len(axes) > 1 or any(x.strides[i] != row or x.shape[i] != params["m"] for i in axes):
        return None
    return Call(
        "product", product, [*maker.inputs[:2], bias], params | {"by_row": True}, call.outputs
    )


# --- layer norms ----------------------------------------------------------------------------------


def _norm_of_sum(graph: Graph, call: Call, maker: Call, x: Value) -> Call | None:
    """A sum right before a layer norm."""
    (a, b), total = maker.inputs, maker.outputs[0]
    if (
        x is not call.inputs[0]
        or not x.whole
        or len(maker.reads) != 2
        or not graph.machine.alike(a, b, total)
    ):
        return None
    if any(graph.index[c] < graph.index[call] for c in graph.readers[total.root]):
        return None
    _, weight, bias = call.inputs
    inputs = [a, weight, bias, b]
    return Call("layer_norm", layer_norm, inputs, call.settings, [*call.outputs, total])


def _norm_grad_in_sum(graph: Graph, call: Call, maker: Call, dx: Value) -> Call | None:
    """The sum of gradients right after the derivative of a layer norm."""
    more = next((v for v in call.inputs if v is not dx), dx)
    if (
        not graph.machine.alike(*call.reads, *call.outputs)
        or len(call.reads) != 2
        or len(maker.inputs) != 3
    ):
        return None
    if dx.root is not maker.outputs[0].root or not dx.whole or graph.only_reader(dx) is not call:
        return None
    made = graph.maker.get(more.root)
    if made is not None and graph.index[made] >= graph.index[maker]:
        return None
    if not graph.machine.knows(maker):
        return None
    outputs = [*call.outputs, *maker.outputs[1:]]
    return Call("layer_norm_grad", layer_norm_grad, [*maker.inputs, more], maker.settings, outputs)


# --- look-ups, windows ----------------------------------------------------------------------------


def _without_padding(graph: Graph, call: Call, maker: Call, g: Value) -> Call | None:
    """The gradient of an embedding leaves out the row of padding by itself."""
    ids, (cond, zero, x) = call.inputs[1], maker.inputs
    test = graph.maker.get(cond.root) if type(cond) is Value else None
    if test is None or test.op is not ops.equal or type(test.inputs[1]) is not int:
        return None
    if type(ids) is not Value or type(test.inputs[0]) is not Value:
        return None
    if test.inputs[0].root is not ids.root or cond.size != ids.size or not covered_ids(ids):
        return None
    if type(zero) not in (int, float) or zero != 0 or graph.only_reader(g) is not call:
        return None
    if type(x) is not Value or x.shape != g.shape:
        return None
    params = call.settings | {"padding": test.inputs[1]}
    return Call("embedding_grad", embedding_grad, [x, ids], params, call.outputs)


def _windows_of_windows(graph: Graph, call: Call, maker: Call, x: Value) -> Call | None:
    """Windows of windows are a view of what the first are windows of, which are not copied."""
    if not graph.machine.knows(maker) or graph.only_reader(x) is not call or not x.whole:
        return None
    source = maker.inputs[0]
    shape, strides = windows_of(source, **{"stride": 1, "dilation": 1} | maker.params)
    if x.shape != shape:
        return None
    return Call(call.name, call.op, [source.view_of(shape, strides)], call.params, call.outputs)


RULES = (
    Rule("windows of windows", (_windows,), (_windows,), _windows_of_windows),
    Rule("a product", (ops.matmul, ops.linear), (), _product),
    Rule("relu of a product", (ops.relu,), (product,), _with_relu),
    Rule("a layer norm of a sum", (ops.layer_norm,), (ops.add,), _norm_of_sum),
    Rule(
        "a layer norm's gradient in a sum",
        (ops.add,), (ops.layer_norm_grad,), _norm_grad_in_sum, early=True,
    ),
    Rule("a product added in place", (ops.add,), (product,), _in_place),
    Rule("an embedding gradient, no padding", (ops.embedding_grad,), (where,), _without_padding),
    Rule("the bias of each row of a product", (ops.add,), (product,), _bias_of_rows),
    Rule("relu of a product with a bias of rows", (ops.relu,), (product,), _with_relu),
)  # fmt: skip

"""The heart: gradients, by a backward pass from outputs to inputs.

It is told in three chapters, to be read in this order.

    minigrad.graph        Tensor, an array with a history; Node, one step of that history
    minigrad.operations   Op: a formula, perhaps a rule, perhaps a kernel
    minigrad.autodiff     gradients: the backward pass
"""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad import graph, memory, writes
from minigrad.backend import array_module, describe, is_array, modes, switched, to_numpy
from minigrad.devices import duplicate
from minigrad.errors import GradientError, OutOfMemoryError, ShapeError, caller
from minigrad.graph import (
    Node,
    Slot,
    Tensor,
    as_array,
    as_arrays,
    enable_grad,
    joined,
    match_levels,
    ndarray,
    no_grad,
    on_device_of,
    wrap,
)
from minigrad.operations import REGISTRY, Op, op, primitive
from minigrad.sparse import SparseRows

__all__ = [
    "REGISTRY",
    "Node",
    "Op",
    "Slot",
    "Tensor",
    "as_array",
    "as_arrays",
    "backward",
    "backward_pass",
    "caller",
    "enable_grad",
    "gradients",
    "joined",
    "no_grad",
    "on_device_of",
    "op",
    "primitive",
    "wrap",
]  # fmt: skip


def gradients(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """Gradients of the sum of `outputs`, each weighted with its `grad_outputs`, by `inputs`.

    Args:
        outputs: one tensor or several.
        inputs: one tensor, a sequence, or a mapping of names; leaves or tensors on the way.
        grad_outputs: for each output, the gradient of something further with respect to it; may be
            left out for outputs with one element.
        create_graph: make the result differentiable.
        retain_graph: as for `Tensor.backward`.

    Returns:
        What `inputs` is (tensor, list or dict), with gradients in place of the tensors. An input
        that took no part has None, which is not zero: an optimizer leaves it as it is. The
        gradients may share memory with each other.

    Raises:
        TypeError: `inputs` is neither a Tensor nor several.
        ShapeError: there are more or fewer `grad_outputs` than outputs, or of other shapes.
        GradientError: an input is not tracked; and as for `Tensor.backward`.
    """
    options: dict[str, Any] = {"create_graph": create_graph, "retain_graph": retain_graph}
    if isinstance(inputs, Mapping):
        found = gradients(outputs, list(inputs.values()), grad_outputs, **options)
        return dict(zip(inputs, found, strict=True))
    if type(inputs) is Tensor:
        return gradients(outputs, [inputs], grad_outputs, **options)[0]
    if not hasattr(inputs, "__iter__"):
        raise TypeError(
            f"gradients: inputs must be a Tensor, a sequence of them or a mapping of names to "
            f"them, and came as {type(inputs).__name__}; of a module give "
            f"dict(m.named_parameters())"
        )
    inputs = list(inputs)
    if type(outputs) is Tensor or not isinstance(outputs, list | tuple):
        outputs, grad_outputs = [outputs], [grad_outputs]  # type: ignore[list-item]
    elif grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    if len(outputs) != len(grad_outputs):
        raise ShapeError(
            f"gradients: {len(grad_outputs)} grad_outputs for {len(outputs)} outputs; give one each"
        )
    for i, x in enumerate(inputs):
        if type(x) is not Tensor or not x.requires_grad:
            came = f"{x.name or 'a tensor'} of {describe(x)}" if type(x) is Tensor else describe(x)
            raise GradientError(
                f"gradients: an input is not tracked (number {i}: {came}); give Tensors made with "
                f"requires_grad=True before they are used"
            )
    sums, _ = backward_pass(outputs, grad_outputs, inputs, create_graph, retain_graph)
    found = [sums.get(x.edge or x) for x in inputs]
    if create_graph:  # a gradient that is constant, as that of relu, has the derivative 0
        return [
            g if g is None or g.requires_grad else graph.ops.batching._constant(g, x)
            for g, x in zip(found, inputs, strict=True)
        ]
    return [g if g is None or type(g) in (Tensor, SparseRows) else wrap(g) for g in found]


def backward(
    self: Tensor,
    gradient: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of this tensor to the `.grad` of every leaf that it depends on.

    Args:
        gradient: the gradient of something further with respect to this tensor, of its shape;
            may be left out if the tensor has one element.
        retain_graph: keep what the nodes saved, for another backward pass; None means
            `create_graph`.
        create_graph: make the gradients themselves differentiable.

    Raises:
        GradientError: nothing here is tracked, the graph was freed by an earlier pass, or an
            array that it needs has been overwritten.
        TypeError: a leaf's `.grad` was set to something that is no Tensor.
    """
    sums, mine = backward_pass([self], [gradient], None, create_graph, retain_graph)
    mode = modes.get()
    for leaf, g in sums.items():
        for observer in mode.observers:
            observer.sets_gradient(leaf, adds=True)
        _add_to_grad(leaf, g, leaf in mine, create_graph or mode.capturing)
    graph.rebound[0] += 1


def _add_to_grad(leaf: Tensor, g: Any, mine: bool, as_tensors: bool) -> None:
    """Add `g` to the `.grad` of a leaf, in place where that is one's own array and stays one.

    Args:
        mine: whether nobody else has the array `g`.
    """
    old = leaf._grad
    if type(g) is SparseRows or type(old) is SparseRows:
        leaf._grad = _with_sparse_rows(old, g)
    elif old is not None:
        if type(old) is not Tensor:
            raise TypeError(
                f"backward: .grad of {leaf.name or 'a leaf'} was set to a "
                f"{type(old).__name__}; it must be a Tensor or None"
            )
        if as_tensors or old.requires_grad:
            leaf._grad = old + g
        else:
            old._data += g
            writes.wrote(old._data)
    elif type(g) is Tensor and (g.requires_grad or modes.get().capturing):
        leaf._grad = g
    else:
        # A leaf's gradient is its own: contributions may be views or serve elsewhere too.
        g = as_array(g)
        leaf._grad = wrap(g if mine and g.flags.c_contiguous else duplicate(g))


def _with_sparse_rows(old: Any, new: Any) -> Any:
    """The sum of two gradients, either of which may be `SparseRows`, and the first one None."""
    if old is None:
        return new
    total = as_array(old) + as_array(new)
    return total if type(total) is SparseRows else wrap(total)


def backward_pass(
    outputs: Sequence[Tensor],
    grad_outputs: Sequence[Any],
    inputs: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool | None,
    since: int = 0,
) -> tuple[dict[Any, Any], set[Any]]:
    """Pull gradients back from `outputs`, and sum those that arrive at `inputs` (None: all leaves).

    Nodes recorded up to the tick `since` are not entered: edges that lead there count as leaves.

    Returns:
        {leaf or edge: gradient}, of arrays, or of Tensors with `create_graph`; and the set of those
        whose gradient was allocated here and is known to nobody else.

    Raises:
        GradientError: the graph was freed by an earlier walk.
    """
    observers = modes.get().observers
    # While a step is captured, the rules' ops must be seen, operators too: they get Tensors.
    as_tensors = create_graph or modes.get().capturing
    retain = create_graph if retain_graph is None else retain_graph
    line = "" if retain else caller()
    wanted = None if inputs is None else {x.edge or x for x in inputs}
    seeds = [_seed(y, g, as_tensors) for y, g in zip(outputs, grad_outputs, strict=True)]
    found = [(y.edge or y, g) for y, g in zip(outputs, seeds, strict=True)]
    useful, leads = _usefulness(outputs, wanted)
    if useful is not None:
        found = [(target, g) for target, g in found if useful(target)]

    sums: dict[Any, Any] = {}  # of leaves, and of edges whose node is still to come
    mine: set[Any] = set()
    heap: list[tuple[int, Node]] = []  # by negative serial number: the smallest is the newest node
    push, pop = heapq.heappush, heapq.heappop
    queued: set[int] = set()  # nodes with several outputs that are in the heap

    for observer in observers:
        observer.walks_back(found)
    with switched(recording=create_graph, autocast=None):  # the rules have what was computed
        while True:
            for target, g in found:
                if (total := sums.get(target)) is not None:
                    sums[target] = total = _accumulate(total, g, target, mine, as_tensors)
                    for observer in observers:
                        observer.added_up(target, g, total)
                    continue
                sums[target] = g
                if type(target) is Tensor:
                    continue
                node = target.node
                serial = node.serial
                if serial <= since or serial in queued:
                    continue
                if leads is not None and serial not in leads:
                    continue
                if type(target) is Slot:
                    queued.add(serial)
                push(heap, (-serial, node))
            if not heap:
                break
            node = pop(heap)[1]
            g = _gradient_of(node, sums, wanted)
            began = time.perf_counter() if observers else 0.0
            try:
                found = node.pull_back(g, useful, as_tensors)
            except MemoryError as error:
                raise _without_memory(error, node, g) from error
            for observer in observers:
                observer.pulled_back(node, g, found, time.perf_counter() - began)
                if not retain:
                    observer.frees(node)
            if not retain:
                node.free(line)
        for target in () if since else sums:
            if type(target) is Tensor and (hooks := getattr(target, "_hooks", None)):
                _call_hooks(hooks, target, sums)
                mine.discard(target)
    for observer in observers:
        observer.walked_back()
    return sums, mine


def _without_memory(error: MemoryError, node: Node, g: Any) -> MemoryError:
    """The error of a rule, with who has the memory; that of an op in it says so itself."""
    if isinstance(error, OutOfMemoryError):
        return error
    gs = [x for x in (g if isinstance(g, tuple) else (g,)) if x is not None]
    arrays = [x._data if type(x) is Tensor else x for x in (*gs, *node.saved)]
    return memory.exhausted(error, f"the rule of '{node.op.__name__}'", arrays)


def _accumulate(total: Any, g: Any, target: Any, mine: set[Any], as_tensors: bool) -> Any:
    """The sum of what has arrived at `target` and of `g`, in place if the array is `mine`."""
    if target in mine and type(g) is not SparseRows:
        total += g  # another object, if it was sparse rows
        return total
    total = total + g
    if not as_tensors:
        mine.add(target)
    whole = type(total) is Tensor or is_array(total)
    return total if whole else np.asarray(total)  # a scalar


def _gradient_of(node: Node, sums: dict[Any, Any], wanted: set[Any] | None) -> Any:
    """The gradient that is complete at `node`, which nobody needs any more unless it is `wanted`.

    With several outputs a tuple, with None for those that got no gradient.
    """
    if node.freed_by is not None:
        raise GradientError(
            f"the graph was freed by the backward pass at {node.freed_by}; pass retain_graph=True "
            f"there to go through it again (at op '{node.op.__name__}')"
        )
    one = node.op.outputs == 1
    if node.hooks is not None:
        for slot, hooks in node.hooks.items():
            _call_hooks(hooks, node if one else Slot(node, slot), sums)
    if one:
        return sums.pop(node) if wanted is None or node not in wanted else sums[node]
    edges = [Slot(node, i) for i in range(node.op.outputs)]
    return tuple(
        sums.get(e) if wanted is not None and e in wanted else sums.pop(e, None) for e in edges
    )


def _call_hooks(hooks: list[Callable], target: Any, sums: dict[Any, Any]) -> None:
    """Show the gradient of `target` to its hooks; what one returns takes its place."""
    for hook in hooks:
        if (g := sums.get(target)) is None:
            return
        shown = g if type(g) is Tensor else wrap(g)
        if (new := hook(shown)) is not None:
            new = new if type(g) is Tensor else as_array(new)
            if new.shape != g.shape:
                raise ShapeError(
                    f"register_hook: the hook gave a gradient of shape {new.shape} for one of "
                    f"shape {g.shape}"
                )
            sums[target] = new if new.dtype == g.dtype else new.astype(g.dtype)


def _seed(y: Tensor, g: Any, as_tensors: bool) -> Any:
    """The gradient that a backward pass starts with at output `y`."""
    if type(y) is not Tensor:
        raise TypeError(f"gradients: the output must be a Tensor, and is {describe(y)}")
    if not y.requires_grad:
        raise GradientError(
            "the output does not depend on any tracked tensor: was it computed under no_grad, from "
            "detached tensors, or from parameters without requires_grad?"
        )
    if g is None:
        if y.size != 1:
            raise GradientError(
                f"the output has shape {y.shape}; give its gradient, or reduce it to one element "
                f"first (for example with .sum())"
            )
        g = array_module(y._data).ones_like(y._data)
    elif not (as_tensors and type(g) is Tensor):
        g = as_array(g)
        modules = array_module(g), array_module(y._data)
        if modules[0] is not modules[1] and not any(hasattr(m, "as_output") for m in modules):
            g = to_numpy(g) if isinstance(y._data, ndarray) else on_device_of([y], g)
    if g.shape != y.shape:
        raise ShapeError(f"the gradient has shape {g.shape}, the output has shape {y.shape}")
    if g.dtype != y.dtype:
        g = g.astype(y.dtype)
    g = match_levels(g, y._data)
    return wrap(g) if as_tensors and type(g) is not Tensor else g


def _usefulness(
    outputs: Sequence[Tensor], wanted: set | None
) -> tuple[Callable[[Any], bool] | None, set[int] | None]:
    """A test whether a parent is or leads to one of the `wanted` leaves or edges.

    And the serial numbers of the nodes that lead further to one. None for all, twice.
    """
    if wanted is None:
        return None, None
    nodes, stack = {}, [y.edge.node for y in outputs if y.edge is not None]
    while stack:
        node = stack.pop()
        if node.serial not in nodes:
            nodes[node.serial] = node
            stack += [p.node for p in node.parents or () if type(p) is Node or type(p) is Slot]
    useful: set[int] = set()

    def test(parent: Any) -> bool:
        return parent in wanted or (type(parent) is not Tensor and parent.node.serial in useful)

    for serial in sorted(nodes):  # oldest first: parents before children
        # A freed node is called useful, so that it is reached and says who freed it.
        if nodes[serial].parents is None or any(
            p is not None and test(p) for p in nodes[serial].parents
        ):
            useful.add(serial)
    return test, useful

"""Functions of functions: derivatives, batches, recomputation; with JAX's names.

    grad, value_and_grad      gradients of a scalar function
    vjp, jvp                  a vector times the Jacobian; the Jacobian times a vector
    jacrev, jacfwd, hessian   whole Jacobians, row by row or column by column
    hvp                       the Hessian times a vector
    vmap                      a function of one example as a function of a batch
    checkpoint                recompute in the backward pass instead of keeping
    custom_vjp                a function with a rule of its own

They nest in each other. Arguments may be arrays, tensors, numbers, `Module`s, and nested tuples,
lists and dictionaries of them. Functions keep the kind they are given: for an array comes an array,
for a Module a dictionary with the gradient of each parameter by name, None for one that took no
part. What is passed on to the function are Tensors, and it should give Tensors.

All of it stands on one backward pass. A forward derivative is two of them: the gradient is linear
in what it is pulled back from, and the derivative of that linear function is the forward one (J.
Townsend, "A new trick for calculating Jacobian vector products", 2017).
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from numbers import Integral
from types import SimpleNamespace
from typing import Any

from minigrad import ops, random, trees, writes
from minigrad.arguments import Like
from minigrad.autodiff import Node, Slot, Tensor, as_array, backward_pass, gradients, wrap
from minigrad.backend import Observer, array_module, describe, is_array, modes, switched, watched
from minigrad.batched import base
from minigrad.errors import DtypeError, GradientError, ShapeError
from minigrad.nn import Module
from minigrad.ops.batching import _fresh as fresh
from minigrad.ops.batching import _hide as hide
from minigrad.ops.batching import _show as show

# ------------------------------------------------------------------------------- derivatives


def grad(function: Callable, argnums: int | Sequence[int] = 0, *, has_aux: bool = False):
    """A function that gives the gradient of `function`, which must give a scalar.

    Args:
        argnums: by which positional argument; several give a tuple of gradients.
        has_aux: `function` gives (scalar, something else), and the result is (gradient, that).

    Raises:
        GradientError: what `function` gives is no scalar.
        DtypeError: an argument to differentiate by is not floating-point.
    """
    both = value_and_grad(function, argnums, has_aux=has_aux)

    @functools.wraps(function)
    def gradient(*args, **kwargs):
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(function: Callable, argnums: int | Sequence[int] = 0, *, has_aux: bool = False):
    """A function that gives (value, gradient) of `function`; arguments as for `grad`.

    With `has_aux` it gives ((value, something else), gradient).

    Raises:
        GradientError: when called: what `function` gives is no scalar of floats.
    """

    @functools.wraps(function)
    def value_and_gradient(*args, **kwargs):
        inputs = _Inputs("grad", args, argnums)
        out, aux = inputs.call(function, kwargs, has_aux)
        if type(out) is not Tensor or out.size != 1 or out.dtype.kind not in "fV":
            came = f"a tensor of {describe(out)}" if type(out) is Tensor else type(out).__name__
            raise GradientError(
                f"grad: the function must give a floating-point scalar, a Tensor, and gave {came}; "
                f"reduce it (for example with .sum() or .mean()), or use jacrev or vjp"
            )
        (value,), found = [out], [None] * len(inputs.variables)
        if out.requires_grad:
            outer = inputs.is_within([out])
            found = gradients(out, inputs.variables, create_graph=outer)
        value = inputs.in_kind(inputs.released(value))
        value = (value, inputs.released(aux)) if has_aux else value
        return value, inputs.arranged([inputs.released(g) for g in found])

    return value_and_gradient


def vjp(function: Callable, *primals: Any, has_aux: bool = False):
    """`function(*primals)`, and the function that pulls gradients of it back to the primals.

    Returns:
        (value, pull_back), with `has_aux` (value, pull_back, something else). `pull_back(g)` takes
        a gradient of the value (a tree like it) and gives a tuple, one gradient for each primal. It
        may be called often.
    """
    inputs = _Inputs("vjp", primals, range(len(primals)))
    out, aux = inputs.call(function, {}, has_aux)
    ys, rebuild = _outputs("vjp", out)
    outer = inputs.is_within(ys)

    def pull_back(cotangents: Any) -> tuple:
        gs = _matched(cotangents, out, "vjp: the gradient")
        found = inputs.pull_back(ys, gs, create_graph=outer or _tracked(gs))
        return inputs.arranged([inputs.released(g, _tracked(gs)) for g in found])

    value = rebuild([inputs.in_kind(inputs.released(y)) for y in ys])
    return (value, pull_back, inputs.released(aux)) if has_aux else (value, pull_back)


def jvp(function: Callable, primals: Sequence, tangents: Sequence, *, has_aux: bool = False):
    """`function(*primals)`, and its derivative in the direction `tangents`.

    Args:
        primals, tangents: tuples of the same structure and shapes. For a Module the tangent is a
            mapping of parameters' names to arrays; one that is absent counts as zero.

    Returns:
        (value, tangent of the value), with `has_aux` (value, tangent, something else).

    Raises:
        TypeError: `primals` or `tangents` is no tuple.
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError("jvp: primals and tangents must be tuples, one entry for each argument")
    inputs = _Inputs("jvp", tuple(primals), range(len(primals)))
    out, aux = inputs.call(function, {}, has_aux)
    ys, rebuild = _outputs("jvp", out)
    directions = inputs.directions(tangents)
    push = _pushed(inputs, ys, outer := inputs.is_within(ys) or _tracked(directions))
    found = push(directions)
    value, tangent = (
        rebuild([inputs.in_kind(inputs.released(v, outer)) for v in vs]) for vs in (ys, found)
    )
    return (value, tangent, inputs.released(aux)) if has_aux else (value, tangent)


def jacrev(function: Callable, argnums: int | Sequence[int] = 0, *, has_aux: bool = False):
    """A function that gives the Jacobian of `function`, one backward pass for all rows together.

    For an output of shape S and an argument of shape T it has shape (*S, *T). Cheaper than `jacfwd`
    where there are more inputs than outputs.
    """
    return _jacobian(function, argnums, has_aux, "jacrev")


def jacfwd(function: Callable, argnums: int | Sequence[int] = 0, *, has_aux: bool = False):
    """A function that gives the Jacobian of `function`, one forward pass for all columns together.

    The same as `jacrev`; cheaper where there are more outputs than inputs.
    """
    return _jacobian(function, argnums, has_aux, "jacfwd")


def hessian(function: Callable, argnums: int | Sequence[int] = 0):
    """A function that gives the second derivatives: for an argument of shape T, (*S, *T, *T)."""
    return jacfwd(jacrev(function, argnums), argnums)


def hvp(function: Callable, primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar `function` at `primals`, times `tangents`; no matrix is formed.

    `primals` and `tangents` are one argument each, or tuples of arguments; the product is like
    them.
    """
    if not isinstance(primals, tuple):
        return hvp(function, (primals,), (tangents,))[0]
    gradient = grad(function, tuple(range(len(primals))))
    return jvp(gradient, primals, tangents)[1]


def _jacobian(function: Callable, argnums: Any, has_aux: bool, name: str):
    @functools.wraps(function)
    def jacobian(*args, **kwargs):
        inputs = _Inputs(name, args, argnums)
        out, aux = inputs.call(function, kwargs, has_aux)
        ys, rebuild = _outputs(name, out)
        for y in ys:
            if y.dtype.kind not in "fV":
                raise DtypeError(
                    f"{name}: the function gave {describe(y)}, and only floating-point numbers "
                    f"have derivatives; give it beside the others with has_aux"
                )
        outer = inputs.is_within(ys)
        if name == "jacrev":
            rows = [_rows(inputs, y, outer) for y in ys]
        else:
            push, n = _pushed(inputs, ys, outer), len(inputs.variables)
            columns = [_columns(push, inputs.variables, i) for i in range(n)]
            rows = [[column[j] for column in columns] for j in range(len(ys))]
        value = rebuild([inputs.arranged([inputs.released(g) for g in row]) for row in rows])
        return (value, inputs.released(aux)) if has_aux else value

    return jacobian


def _rows(inputs: "_Inputs", y: Tensor, outer: bool) -> list[Tensor]:
    """The Jacobian of `y` by each variable: all unit vectors are pulled back as one batch."""
    level = writes.tick()
    with switched(levels=(*modes.get().levels, level)):
        unit = hide(_units(y), axis=0, level=level)
        found = inputs.pull_back([y], [unit], create_graph=outer)
        return [
            ops.reshape(show(g, axis=0, level=level, length=y.size), shape=y.shape + x.shape)
            for g, x in zip(found, inputs.variables, strict=True)
        ]


def _columns(push: Callable, variables: list[Tensor], i: int) -> list[Tensor]:
    """The Jacobian of each output by variable `i`: all unit vectors are pushed as one batch."""
    x, level = variables[i], writes.tick()
    with switched(levels=(*modes.get().levels, level)):
        found = push([hide(_units(x), axis=0, level=level) if x is v else None for v in variables])
        return [
            ops.reshape(show(t, axis=-1, level=level, length=x.size), shape=t.shape + x.shape)
            for t in found
        ]


def _units(x: Tensor) -> Tensor:
    """The unit vectors of the space of `x`: (x.size, *x.shape)."""
    return wrap(array_module(base(x.data)).eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape))


def _pushed(inputs: "_Inputs", ys: list[Tensor], outer: bool) -> Callable[[list], list[Tensor]]:
    """The function that pushes tangents of the variables forward to the outputs `ys`."""
    live = [y for y in ys if y.requires_grad]
    with switched(recording=True):
        duals = [Tensor(ops.ones_like(y.data), requires_grad=True) for y in live]
        found = [None] * len(inputs.variables)
        if live:
            found = gradients(live, inputs.variables, duals, create_graph=True)

    def push(directions: list) -> list[Tensor]:
        pairs = [
            (g, t)
            for g, t in zip(found, directions, strict=True)
            if g is not None and t is not None and g.requires_grad
        ]
        tangents = [None] * len(duals)
        if pairs:
            gs, ts = zip(*pairs, strict=True)
            tangents = gradients(gs, duals, ts, create_graph=outer, retain_graph=True)
        by_output = iter(tangents)
        return [
            zero if not y.requires_grad or (t := next(by_output)) is None else t
            for y in ys
            for zero in [wrap(ops.zeros_like(y.data))]
        ]

    return push


class _Inputs:
    """The arguments of a call that is differentiated: their leaves as tensors that are tracked.

    Attributes:
        args: the arguments to call the function with.
        variables: what is differentiated by, all leaves of all chosen arguments in a row.
    """

    def __init__(self, name: str, args: Sequence, argnums: int | Sequence[int]):
        self.name, self.single = name, isinstance(argnums, Integral)
        if not self.single and not all(isinstance(i, Integral) for i in _listed(argnums)):
            raise TypeError(f"{name}: argnums must be an int or several, and is {argnums!r}")
        if not args:
            raise TypeError(f"{name}: there is no positional argument to differentiate by")
        which: list[Any] = _listed(argnums)
        if not which or not all(-len(args) <= i < len(args) for i in which):
            raise TypeError(f"{name}: argnums={argnums} for {len(args)} positional arguments")
        if len({i % len(args) for i in which}) < len(which):
            raise TypeError(f"{name}: argnums={argnums} names one of {len(args)} arguments twice")
        self.args = list(args)
        self.variables: list[Tensor] = []
        self.leaves: list[list] = []
        self.rebuilds: list[Callable] = []
        for i in which:
            leaves, rebuild = trees.flatten(args[i])
            where = trees.paths(args[i], f"argument {i % len(args)}")
            self.args[i] = rebuild([self.track(*pair) for pair in zip(leaves, where, strict=True)])
            self.leaves.append(leaves)
            self.rebuilds.append(rebuild)
        self.keep = False

    def track(self, leaf: Any, where: str) -> Any:
        """The leaf to call the function with; notes the variables in it."""
        if isinstance(leaf, Module):
            self.variables += [p for _, p in leaf.named_parameters() if p.requires_grad]
            return leaf
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float):
            raise DtypeError(
                f"{self.name}: {where} is a {type(leaf).__name__}, and only floating-point numbers "
                f"have gradients; choose other argnums, or close over it"
            )
        array = as_array(leaf)
        if array.dtype.kind not in "fV":
            raise DtypeError(
                f"{self.name}: {where} is {describe(array)}, and only floating-point numbers have "
                f"gradients; give it as float32, or choose other argnums"
            )
        with switched(recording=True):
            tracked = type(leaf) is Tensor and leaf.requires_grad
            x = fresh(leaf) if tracked else Tensor(array, requires_grad=True)
        self.variables.append(x)
        return x

    def call(self, function: Callable, kwargs: dict, has_aux: bool) -> tuple[Any, Any]:
        """What the function gives, and what it gives beside it."""
        with switched(recording=True, differentiating=modes.get().differentiating + 1):
            out = function(*self.args, **kwargs)
        if not has_aux:
            return out, None
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(
                f"{self.name}: with has_aux the function must give a pair (value, something else), "
                f"and gave {type(out).__name__}"
            )
        return out

    def is_within(self, outputs: list[Tensor]) -> bool:
        """Whether the derivative must be differentiable itself: whether `outputs` depend on tracked
        tensors other than the variables (and are not under `no_grad`), or another transform is in
        progress around this one.
        """
        foreign = modes.get().recording and bool(_tensors_behind(outputs) - set(self.variables))
        around = modes.get().differentiating > 0
        modules = any(isinstance(x, Module) for leaves in self.leaves for x in leaves)
        self.keep = foreign or (around and modules)
        return foreign or around

    def pull_back(self, ys: list[Tensor], gs: list, create_graph: bool) -> list[Tensor]:
        """Gradients by the variables; zeros where there is none, but for parameters."""
        pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if y.requires_grad and g is not None]
        found: list[Any] = [None] * len(self.variables)
        if pairs:
            live, weights = zip(*pairs, strict=True)
            found = gradients(
                live, self.variables, weights, create_graph=create_graph, retain_graph=True
            )
        return [
            wrap(ops.zeros_like(x.data)) if g is None else g
            for g, x in zip(found, self.variables, strict=True)
        ]

    def directions(self, tangents: Sequence) -> list:
        """A tangent for each variable, from a tuple like the arguments."""
        found: list[Any] = []
        if len(tangents) != len(self.leaves):
            raise ShapeError(
                f"{self.name}: {len(tangents)} tangents for {len(self.leaves)} primals"
            )
        for leaves, arg, tree in zip(self.leaves, self.args, tangents, strict=True):
            given = _matched(tree, arg, f"{self.name}: a tangent")
            for leaf, t in zip(leaves, given, strict=True):
                if isinstance(leaf, Module):
                    found += self.direction_of(leaf, t)
                else:
                    found.append(t)
        for x, t in zip(self.variables, found, strict=True):
            shape = None if t is None else t.shape if hasattr(t, "shape") else as_array(t).shape
            if shape is not None and tuple(shape) != x.shape:
                raise ShapeError(
                    f"{self.name}: a tangent has shape {shape}, its primal has shape {x.shape}"
                )
        return found

    def direction_of(self, module: Module, tangent: Any) -> list:
        """A tangent or None for each trained parameter of `module`, from a mapping by name."""
        tangent = {} if tangent is None else tangent
        parameters = dict(module.named_parameters())
        if not isinstance(tangent, Mapping) or not set(tangent) <= set(parameters):
            came = sorted(tangent) if isinstance(tangent, Mapping) else type(tangent).__name__
            raise ShapeError(
                f"{self.name}: the tangent of a {type(module).__name__} must be a mapping of names "
                f"of its parameters, {', '.join(parameters)}, and is {came}"
            )
        return [tangent.get(name) for name, p in parameters.items() if p.requires_grad]

    def released(self, tree: Any, keep: bool = False) -> Any:
        """Tensors without the history that ends at this transform's own variables."""
        if keep or self.keep or tree is None:
            return tree
        return trees.tree_map(lambda x: x.detach() if type(x) is Tensor else x, tree)

    def in_kind(self, y: Tensor) -> Any:
        """`y` as an array if all arguments are arrays and nothing is lost by it."""
        arrays = all(is_array(leaf) for leaves in self.leaves for leaf in leaves)
        return y.data if arrays and not y.requires_grad else y

    def arranged(self, found: list[Tensor | None]) -> Any:
        """Gradients of the variables in the structure of the arguments."""
        gradients_left, variables_left = iter(found), iter(self.variables)
        results = []
        for leaves, rebuild in zip(self.leaves, self.rebuilds, strict=True):
            values: list[Any] = []
            for leaf in leaves:
                if isinstance(leaf, Module):
                    values.append({})
                    for name, p in leaf.named_parameters():
                        values[-1][name] = next(gradients_left) if p.requires_grad else None
                        p.requires_grad and next(variables_left)
                    continue
                g, x = next(gradients_left), next(variables_left)
                g = wrap(ops.zeros_like(x.data)) if g is None else g
                values.append(g.data if is_array(leaf) and not g.requires_grad else g)
            results.append(rebuild(values))
        return results[0] if self.single else tuple(results)


def _outputs(name: str, out: Any) -> tuple[list[Tensor], Callable]:
    """The leaves of what a function gave, all of them Tensors."""
    leaves, rebuild = trees.flatten(out)
    if not leaves:
        raise GradientError(f"{name}: the function gave {out!r}, and nothing to differentiate")
    for leaf in leaves:
        if type(leaf) is not Tensor and not is_array(leaf):
            raise GradientError(
                f"{name}: the function must give Tensors, there is a {type(leaf).__name__}"
            )
    return [x if type(x) is Tensor else wrap(x) for x in leaves], rebuild


def _matched(tree: Any, like: Any, what: str) -> list:
    """The leaves of `tree` in the order of those of `like`; ShapeError if it is another tree."""
    try:
        return trees.matched(tree, like, what)
    except ValueError as error:
        raise ShapeError(str(error)) from None


def _listed(argnums: Any) -> list:
    return list(argnums) if isinstance(argnums, Sequence) else [argnums]


def _tracked(leaves: list) -> bool:
    return any(type(x) is Tensor and x.requires_grad for x in leaves)


def _tensors_behind(outputs: list[Tensor]) -> set:
    """The leaf tensors that `outputs` depend on."""
    found, seen, stack = set(), set(), []
    for y in outputs:
        if type(y) is Tensor and y.requires_grad:
            found.add(y) if y.edge is None else stack.append(y.edge.node)
    while stack:
        node = stack.pop()
        if node.serial in seen:
            continue
        seen.add(node.serial)
        for parent in node.parents or ():
            if type(parent) is Tensor:
                found.add(parent)
            elif parent is not None:
                stack.append(parent.node)
    return found


# -------------------------------------------------------------------------------------- vmap


class Batching(Observer):
    """What a `vmap` did: an observer of the ops that it ran, those of rules too."""

    def __init__(self):
        self.calls: dict[str, int] = {}
        self.declined: set[str] = set()

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        if any(getattr(a, "hides_a_batch_axis", False) for a in arrays):
            self.calls[op.__name__] = self.calls.get(op.__name__, 0) + 1
            if "numpy" in op.kernel:
                self.declined.add(op.__name__)

    def __str__(self) -> str:
        lines = [
            f"{name}: {count} calls, each for the whole batch"
            + ("; its kernel declined, the formula answered" if name in self.declined else "")
            for name, count in sorted(self.calls.items())
        ]
        return "\n".join(["vmap: no loop over examples", *lines])


def vmap(function: Callable, in_axes: Any = 0, out_axes: Any = 0, *, explain: bool = False):
    """`function`, which is written for one example, as a function of a batch of them.

    There is no loop: inside, each op sees tensors whose batch axis is hidden, and computes for all
    examples at once. It may be nested, and combined with the other transforms. Dropout drops
    elsewhere in each example; numbers drawn inside by `rand` and the like are the same for all.

    Args:
        in_axes: for each argument which axis is that of the batch; None for one that all examples
            share. One value for all, or a tuple, in which a tree may stand for an argument.
        out_axes: where the batch axis goes in what comes out; likewise.
        explain: print which ops ran, and whose kernel declined; also as `.report` of the result.

    Raises:
        ShapeError: lengths of batch axes differ, or an op whose result has a shape that depends on
            values was called.
    """
    report = Batching()

    @functools.wraps(function)
    def batched_function(*args, **kwargs):
        leaves, rebuild = trees.flatten(args)
        axes_given = in_axes if isinstance(in_axes, tuple | list) else [in_axes] * len(args)
        try:
            axes = trees.prefixed(tuple(axes_given), args, "vmap: in_axes")
        except ValueError as error:
            raise ShapeError(str(error)) from None
        length = _batch_length(leaves, axes, trees.paths(args, "args"))
        level, mode = writes.tick(), modes.get()
        report.calls.clear()
        report.declined.clear()
        plain = not any(type(x) is Tensor or isinstance(x, Module) for x in leaves)
        watching = watched(report) if explain else nullcontext()
        with watching, switched(levels=(*mode.levels, level)):
            inside = [
                x if axis is None else hide(_as_tensor(x), axis=axis, level=level)
                for x, axis in zip(leaves, axes, strict=True)
            ]
            out = function(*rebuild(inside), **kwargs)
            ys, rebuild_out = trees.flatten(out)
            try:
                axes = trees.prefixed(out_axes, out, "vmap: out_axes")
            except ValueError as error:
                raise ShapeError(str(error)) from None
            shown = [_shown(y, a, level, length) for y, a in zip(ys, axes, strict=True)]
        if explain:
            print(report)
        return rebuild_out([y.data if plain and not y.requires_grad else y for y in shown])

    batched_function.report = report  # type: ignore[attr-defined]
    return batched_function


def _shown(y: Any, axis: int | None, level: int, length: int) -> Tensor:
    """An output with its batch axis back, or without one if it has none and none is wanted."""
    y = _as_tensor(y)
    strangers = {known for known, _ in getattr(y.data, "levels", ())} - set(modes.get().levels)
    if strangers:
        raise ShapeError(
            "vmap: an output comes from inside of another vmap, which has ended; return values "
            "from a function, do not store them elsewhere"
        )
    if axis is not None and not -y.ndim - 1 <= axis <= y.ndim:
        raise ShapeError(f"vmap: out_axes {axis} for an output of shape {y.shape} and a batch axis")
    if axis is None:
        if any(known == level for known, _ in getattr(y.data, "levels", ())):
            raise ShapeError(
                "vmap: out_axes is None for an output that differs from example to example"
            )
        return y
    return show(y, axis=axis, level=level, length=length)


def _as_tensor(x: Any) -> Tensor:
    return x if type(x) is Tensor else wrap(as_array(x))


def _batch_length(leaves: list, axes: list, where: list[str]) -> int:
    """The length that all batch axes have in common."""
    lengths: dict[str, int] = {}
    for x, axis, place in zip(leaves, axes, where, strict=True):
        if axis is None:
            continue
        if isinstance(x, Module):
            raise ShapeError(f"vmap: {place} is a Module, all examples share it: in_axes None")
        shape = x.shape if hasattr(x, "shape") else as_array(x).shape
        if not -len(shape) <= axis < len(shape):
            raise ShapeError(f"vmap: {place} of shape {tuple(shape)} has no axis {axis}")
        lengths[place] = shape[axis]
    if not lengths:
        raise ShapeError("vmap: at least one argument must have a batch axis (in_axes)")
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"vmap: the batch axes have different lengths: {lengths}")
    return next(iter(lengths.values()))


# ------------------------------------------------------------------ checkpoint and custom_vjp


def checkpoint(function: Callable) -> Callable:
    """`function`, of which nothing is kept for the backward pass: it is computed again there.

    Time for memory: a second forward pass instead of what its ops would keep. (Chen et al.,
    "Training deep nets with sublinear memory cost", arXiv 1604.06174.) Keys that it draws from the
    stream are drawn alike both times. It must do the same both times otherwise, too: constants
    that it reads and that are no arguments must not be written in between.

    Raises:
        GradientError: it did not do the same again.
    """

    @functools.wraps(function)
    def checkpointed(*args, **kwargs):
        if not modes.get().recording:
            return function(*args, **kwargs)
        key = random.next_key()
        call = functools.partial(_run_with, key, modes.get().autocast, function, args, kwargs)
        start = writes.tick()
        ys, rebuild = trees.flatten(call())
        live = [i for i, y in enumerate(ys) if type(y) is Tensor and y.requires_grad]
        if not live:
            return rebuild(ys)
        parents, saved = _roots([ys[i] for i in live], start)
        count = len(parents)
        # The arguments are read again: they too must not be written until then.
        given = [x.data if type(x) is Tensor else x for x in trees.leaves_of((args, kwargs))]
        saved += [x for x in given if is_array(x) and not any(x is known for known in saved)]
        parents += [None] * (len(saved) - count)

        def rule(g, _y, *_inputs, call):
            as_tensors = modes.get().recording
            since = writes.tick()
            with switched(recording=True):
                again, _ = trees.flatten(call())
            shapes = [again[i].shape if _tracked(again[i : i + 1]) else None for i in live]
            if shapes != [ys[i].shape for i in live]:
                raise GradientError(
                    f"checkpoint: {getattr(function, '__name__', 'the function')} did not do the "
                    f"same again: its differentiable outputs had the shapes "
                    f"{[ys[i].shape for i in live]}, and now {shapes}; what it does must depend on "
                    f"its arguments only"
                )
            gs = g if type(g) is tuple else (g,)
            pairs = [(again[i], v) for i, v in zip(live, gs, strict=True) if v is not None]
            outputs, gs = zip(*pairs, strict=True)
            sums, _ = backward_pass(outputs, gs, None, as_tensors, None, since)
            return [None if parent is None else sums.get(parent) for parent in parents]

        made = _made("checkpoint", rule, parents, saved, [ys[i].data for i in live], {"call": call})
        for i, y in zip(live, made, strict=True):
            ys[i] = y
        return rebuild(ys)

    return checkpointed


def _run_with(key: random.Key, autocast: Any, function: Callable, args: tuple, kwargs: dict) -> Any:
    with random.stream(key), switched(autocast=autocast):
        return function(*args, **kwargs)


def _roots(outputs: list[Tensor], start: int) -> tuple[list, list]:
    """The leaves and edges before tick `start` behind `outputs`, and what is known of each."""
    found: dict[Any, Any] = {}
    seen: set[int] = set()
    stack = []
    for y in outputs:
        if y.edge is None or y.edge.node.serial <= start:
            found[y.edge or y] = y.data
        else:
            stack.append(y.edge.node)
    while stack:
        node = stack.pop()
        if node.serial in seen:
            continue
        seen.add(node.serial)
        for parent, x in zip(node.parents, node.saved, strict=True):
            if parent is None:
                continue
            if type(parent) is Tensor or parent.node.serial <= start:
                found.setdefault(parent, x)
            else:
                stack.append(parent.node)
    likes = [
        p.data if type(p) is Tensor else Like(x.shape, x.dtype, getattr(x, "levels", ()))
        for p, x in found.items()
    ]
    return list(found), likes


def _made(name: str, rule: Callable, parents: list, saved: list, outputs: list, params: dict):
    """Tensors of `outputs` made by one node with a rule of its own."""
    op = SimpleNamespace(
        __name__=name, outputs=len(outputs), joint_rule=rule, rules=None, kernel={}
    )
    likes = tuple(Like(y.shape, y.dtype, getattr(y, "levels", ())) for y in outputs)
    node = Node(op, parents, saved, likes if len(outputs) > 1 else None, params)
    if len(outputs) == 1:
        return [wrap(outputs[0], node)]
    return [wrap(y, Slot(node, i)) for i, y in enumerate(outputs)]


class custom_vjp:  # a decorator, with JAX's name
    """A function with a derivative of your own: `f = custom_vjp(f)`, then `f.defvjp(fwd, bwd)`.

    `fwd(*args)` gives (what `f` gives, residuals); `bwd(residuals, g)` gives a tuple with a
    gradient, or None, for each argument. Both are written with ops, so that second derivatives
    work. Arguments and results may be trees. Tracked tensors come in as arguments, not otherwise.

    Raises:
        TypeError: an argument is keyword-only.
        GradientError: there is no derivative yet, `fwd` or `bwd` gives something else, a Module is
            an argument, or a tracked tensor comes in otherwise.
    """

    __name__: str  # the function's

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self.function = function
        self.fwd: Callable | None = None
        self.bwd: Callable | None = None

    def defvjp(self, fwd: Callable, bwd: Callable) -> None:
        """Give the function its derivative."""
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            bound = inspect.signature(self.function).bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise TypeError(
                    f"{self.__name__}: its derivative goes by position; {', '.join(bound.kwargs)} "
                    f"cannot be keyword-only"
                )
            args = bound.args
        leaves, _ = trees.flatten(args)
        if modes.get().recording and any(isinstance(x, Module) for x in leaves):
            raise GradientError(
                f"{self.__name__}: a Module cannot be an argument of a custom_vjp, which gives no "
                f"gradients of its parameters; pass these as tensors"
            )
        if not (modes.get().recording and _tracked(leaves)):
            return self.function(*args)
        if self.fwd is None:
            raise GradientError(f"{self.__name__}: give it a derivative with defvjp(fwd, bwd)")
        # Recorded, so that what the residuals depend on is known when `bwd` is differentiated.
        start = writes.tick()
        pair = self.fwd(*args)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise GradientError(
                f"{self.__name__}: fwd must give a pair (what the function gives, residuals), and "
                f"gave {type(pair).__name__}"
            )
        out, residuals = pair
        ys, rebuild = trees.flatten(out)
        self.refuse_others([y for y in ys if _tracked([y])], leaves, start)
        ys = [_as_tensor(y).data for y in ys]
        live = [i for i, y in enumerate(ys) if y.dtype.kind in "fV"]
        parents = [(x.edge or x) if type(x) is Tensor and x.requires_grad else None for x in leaves]
        saved = [x.data if type(x) is Tensor else x for x in leaves]

        def rule(g, _y, *_inputs, residuals):
            gs: list[Any] = [None] * len(ys)
            for i, v in zip(live, g if type(g) is tuple else (g,), strict=True):
                v = ops.zeros_like(ys[i]) if v is None else v
                gs[i] = v if type(v) is Tensor else wrap(v)
            found = self.bwd(residuals, rebuild(gs))
            if not isinstance(found, tuple | list) or len(found) != len(args):
                raise GradientError(
                    f"{self.__name__}: bwd must give a tuple of {len(args)} gradients, one for "
                    f"each argument"
                )
            flat = _matched(tuple(found), args, f"{self.__name__}: what bwd gave")
            as_tensors = modes.get().recording
            return [v if as_tensors or type(v) is not Tensor else v.data for v in flat]

        params = {"residuals": residuals}
        made = _made(self.__name__, rule, parents, saved, [ys[i] for i in live], params)
        results = [wrap(y) for y in ys]
        for i, y in zip(live, made, strict=True):
            results[i] = y
        return rebuild(results)

    def refuse_others(self, outputs: list[Tensor], leaves: list, start: int) -> None:
        """Raise if `outputs` depend on tracked tensors that are no arguments.

        Raises:
            GradientError: they do.
        """
        known = {x.edge or x for x in leaves if type(x) is Tensor}
        for root in _roots(outputs, start)[0]:
            if root not in known:
                what = root.name or "a tensor" if type(root) is Tensor else root.node.op.__name__
                raise GradientError(
                    f"{self.__name__}: it depends on {what}, which is tracked and no argument, so "
                    f"its gradient would be lost; make it an argument, or detach it"
                )

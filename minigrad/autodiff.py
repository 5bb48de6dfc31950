"""The heart: tensors that remember how they were made, ops, and the walk back.

Read it in this order.

    Tensor      an array, and the edge that leads to the node which made it
    Node        one call of an op: where its inputs came from, and what its rule needs
    Op          one formula; perhaps a rule for its derivative; perhaps a kernel
    gradients   the walk from outputs back to inputs

A *rule* is written with ops and operators only, and those take arrays as well as Tensors. So one
rule serves at two speeds: the ordinary walk hands it arrays and records nothing; with
`create_graph=True` it is handed Tensors, and the gradient can itself be differentiated.
"""

import functools
import heapq
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import kernels
from minigrad.backend import array_module, is_array, modes, sample, switched, to_numpy, xp
from minigrad.errors import (
    DtypeError,
    GradientError,
    MinigradError,
    OutOfRangeError,
    ShapeError,
)

# ---------------------------------------------------------------------------------- Tensor


class Tensor:
    """An array with a history.

    Args:
        data: an array, which is shared and not copied; a Tensor; or numbers (nested lists or a
            scalar), of which Python floats become float32 as in PyTorch.
        requires_grad: whether gradients with respect to this tensor are wanted. Only for floats.
        name: what messages, optimizers and files call it; parameters have one.

    Attributes:
        data: the array, always an array (0-d, never a scalar).
        grad: the gradient that `backward` has summed up here, a Tensor; None while absent.
        edge: (node, slot): this is output `slot` of `node`; None for a tensor made by hand.

    Its manners (operators, NumPy's methods, `len`, `repr` and so on) are taught to it by
    `minigrad.ops.methods`.
    """

    __slots__ = ("__weakref__", "data", "edge", "grad", "name", "requires_grad")

    # NumPy arrays leave `array * tensor` to us.
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self.data = as_array(data)
        self.grad: Tensor | None = None
        self.edge: tuple[Node, int] | None = None
        self.name = name
        self.requires_grad = False
        self.requires_grad_(requires_grad)

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by hand and not by a recorded op: only leaves get a `.grad`."""
        return self.edge is None

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Switch the wish for gradients on or off, in place; returns itself."""
        if requires_grad and self.data.dtype.kind not in "fV":
            raise DtypeError(
                f"Tensor: only floating-point tensors have gradients, this one is {self.dtype}; "
                f"make it with dtype float32, or leave requires_grad off"
            )
        if not requires_grad and self.edge is not None:
            raise GradientError(
                f"requires_grad_(False): this tensor was computed by '{self.edge[0].op.__name__}'; "
                f"use .detach() for a tensor without its history"
            )
        self.requires_grad = bool(requires_grad)
        return self

    def detach(self) -> "Tensor":
        """The same array without the history."""
        return Tensor(self.data)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array, shared if they are on the host.

        Raises:
            GradientError: the tensor is tracked, so a change to the array would go unnoticed.
        """
        if self.requires_grad:
            raise GradientError(
                "numpy(): the tensor is tracked for gradients; write x.detach().numpy()"
            )
        return to_numpy(self.data)

    def item(self) -> float | int | bool:
        """The only element as a Python number; ShapeError unless there is exactly one."""
        if self.size != 1:
            raise ShapeError(f"item(): the tensor has {self.size} elements, shape {self.shape}")
        return self.data.item()

    def backward(
        self,
        gradient: Any = None,
        *,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf that it depends on.

        Args:
            gradient: the gradient of something further with respect to this tensor, of its shape;
                may be left out if the tensor has one element.
            retain_graph: keep what the nodes saved, so that it can be walked again; None means
                `create_graph`.
            create_graph: make the gradients themselves differentiable.

        Raises:
            GradientError: nothing here is tracked, or the graph was freed by an earlier walk.
        """
        sums = walk([self], [gradient], None, create_graph, retain_graph)
        for leaf, (total, owned) in sums.items():
            if leaf.grad is not None:
                if create_graph or leaf.grad.requires_grad:
                    leaf.grad = leaf.grad + total
                else:
                    leaf.grad.data += total
            elif type(total) is Tensor and total.requires_grad:
                leaf.grad = total
            else:
                # A leaf's gradient is its own: contributions may be views or serve elsewhere too.
                total = as_array(total)
                own = owned and total.flags.c_contiguous
                leaf.grad = wrap(total if own else total.copy(order="C"))


def as_array(data: Any) -> Any:
    """The array behind `data`: shared if it is an array or a Tensor, made if it is numbers."""
    if type(data) is Tensor:
        return data.data
    if not is_array(data):
        numbers = np.asarray(data)
        if numbers.dtype == np.float64 and not isinstance(data, np.generic):
            numbers = numbers.astype(np.float32)
        data = xp().asarray(numbers)
    if data.dtype.kind not in "fiubV":
        raise DtypeError(
            f"Tensor: cannot hold {data.dtype}; floating-point, integer and boolean numbers only"
        )
    return data


def beside(inputs: Iterable, numbers: Any) -> Any:
    """`numbers`, which are not on a device yet, as an array where the arrays of `inputs` are."""
    return array_module(*(x.data if type(x) is Tensor else x for x in inputs)).asarray(numbers)


def wrap(data: Any, edge: tuple["Node", int] | None = None) -> Tensor:
    """A Tensor around an array that is known to be one, without the checks of the constructor."""
    x = Tensor.__new__(Tensor)
    x.data = data
    x.grad = None
    x.edge = edge
    x.name = None
    x.requires_grad = edge is not None
    return x


def no_grad() -> AbstractContextManager[None]:
    """Record nothing inside a `with` block, or inside a function that it decorates."""
    return switched(recording=False)


def enable_grad() -> AbstractContextManager[None]:
    """Record again, inside a `no_grad` block."""
    return switched(recording=True)


# ------------------------------------------------------------------------------------ Node


class Like:
    """What a rule gets for an input whose values it does not need, so that they are not kept."""

    __slots__ = ("dtype", "shape")

    __array_ufunc__ = None  # arithmetic with it, by a rule that reads it all the same, is an error

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype

    ndim = property(lambda self: len(self.shape))


like = functools.lru_cache(maxsize=1024)(Like)  # few are ever different, so they are shared


_next_serial = itertools.count().__next__


class Node:
    """One recorded call of an op.

    A node made later has a higher serial number than all nodes it depends on, so walking them in
    falling order visits each once, after everything that depends on it: no sort, no recursion.

    It keeps output *arrays*, never output Tensors: those point here, and would be a cycle.

    Attributes:
        parents: for each input, where gradients go: a leaf Tensor, the edge (node, slot) that made
            the input, or None if it is not tracked.
        saved: for each input, its array or scalar if a rule needs it, else a `Like`.
        output: the output array (a tuple of them) if a rule needs it, else its `Like`.
        freed_by: where the walk was asked for that has used up this node.
    """

    __slots__ = ("freed_by", "op", "output", "params", "parents", "saved", "serial")

    def __init__(self, op, parents, saved, output, params):
        self.op, self.parents, self.saved = op, parents, saved
        self.output, self.params = output, params
        self.serial = _next_serial()
        self.freed_by: str | None = None

    def free(self, line: str) -> None:
        """Forget everything but who did it."""
        self.parents = self.saved = self.output = self.params = None
        self.freed_by = line

    def pull_back(self, g: Any, useful: Callable[[Any], bool], as_tensors: bool) -> list:
        """Pairs (parent, gradient of that input), for the parents that are `useful`.

        Arrays in, arrays out; or Tensors in, Tensors out.
        """
        found = []
        op, inputs, output = self.op, self.saved, self.output
        if as_tensors:
            inputs = tuple(map(_as_tensor, inputs, self.parents))
            if isinstance(output, tuple):
                output = tuple(_as_tensor(y, (self, i)) for i, y in enumerate(output))
            else:
                output = _as_tensor(output, (self, 0))
        if op.joint_rule is not None:
            results = op.joint_rule(g, output, *inputs, **self.params)
            if not isinstance(results, tuple | list):
                results = (results,)
            if len(results) != len(self.parents):
                raise GradientError(
                    f"the rule of '{op.__name__}' gave {len(results)} gradients for "
                    f"{len(self.parents)} inputs"
                )
            for parent, like, result in zip(self.parents, self.saved, results, strict=True):
                if result is not None and parent is not None and useful(parent):
                    result = result() if callable(result) else result
                    found.append((parent, _fit(op, result, like)))
        else:
            for i, parent in enumerate(self.parents):
                if parent is not None and useful(parent):
                    result = op.rule_of(i)(g, output, *inputs, **self.params)
                    if result is not None:
                        found.append((parent, _fit(op, result, self.saved[i])))
        return found


def _as_tensor(x: Any, parent: Any) -> Any:
    """A saved input or output as a Tensor with its history, for rules that will be recorded."""
    if parent is None or type(x) is Like:
        return x
    if type(parent) is not Tensor:
        return wrap(x, parent)
    if parent.data is not x:
        raise GradientError(
            f"the leaf {parent.name or 'tensor'} of shape {parent.shape} was given another array "
            f"after it was used; differentiate before you replace .data"
        )
    return parent


def _fit(op: "Op", g: Any, like: Any) -> Any:
    """Gradient `g` with the shape and dtype of the input: the one place that undoes broadcasting.

    Broadcasting copied the input along its missing axes and along its axes of length 1, so the
    gradient is summed along those. (Only methods are used, which arrays and Tensors share.)
    """
    if type(g) is not Tensor and not is_array(g):
        g = np.asarray(g)  # arithmetic on 0-d arrays gives NumPy scalars
    shape, given = like.shape, g.shape
    if given != shape:
        lead = g.ndim - len(shape)
        grown = tuple(
            i for i, n in enumerate(g.shape) if i < lead or (shape[i - lead] == 1 and n != 1)
        )
        if lead >= 0:
            g = g.sum(axis=grown, keepdims=True).reshape(
                tuple(1 if i in grown else n for i, n in enumerate(g.shape))[lead:]
            )
        if g.shape != shape:
            raise GradientError(
                f"the rule of '{op.__name__}' gave a gradient of shape {given} for an input of "
                f"shape {shape}"
            )
    return g if g.dtype == like.dtype else g.astype(like.dtype)


# -------------------------------------------------------------------------------------- Op

REGISTRY: dict[str, "Op"] = {}

# Types that enter a formula as they are. A NumPy float64 is a Python float, and stays as weak.
_PLAIN = {np.ndarray, int, float, bool, type(None)}
_STATIC = {int, float, bool, str, tuple, type(None)}


class Op:
    """One formula; perhaps a rule; perhaps a kernel.

    A formula is a function `f(xp, *inputs, **params)` of an array module. With `xp` numpy or cupy
    it gives values. The formula of a *composite* calls nothing but functions that `minigrad.ops`
    has too, so with `xp = minigrad.ops` and Tensors it gives derivatives of any order. The formula
    of a *primitive* calls what only the array module has, and must have a rule.

    Inputs are what may be an array: tensors, ids, masks. Keyword parameters are static. On plain
    arrays a formula's operators are NumPy's, with its rules of promotion: where float32 may meet
    integers, call the op (`multiply(x, ids)`) or cast first.

    Calling an op with a Tensor gives a Tensor; with plain arrays it gives a plain array and records
    nothing.
    """

    def __init__(self, formula: Callable, *, primitive: bool, kernel: bool, outputs: int):
        functools.update_wrapper(self, formula)  # the formula's docstring is the op's
        first, *rest = inspect.signature(formula).parameters.values()
        if first.name != "xp":
            raise TypeError(f"the formula of '{self.__name__}' must take 'xp' first")
        self.__signature__ = inspect.Signature(rest)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in rest)
        self.static = {p.name: p.default for p in rest if p.kind is p.KEYWORD_ONLY}
        self.inputs = {p.name: p.default for p in rest if p.kind is p.POSITIONAL_OR_KEYWORD}
        self.arity = None if self.variadic else len(self.inputs)
        self.formula, self.primitive, self.kernel, self.outputs = (
            formula,
            primitive,
            kernel,
            outputs,
        )
        self.joint_rule: Callable | None = None
        self.rules: tuple[Callable, ...] | None = None
        self.differentiable = True
        self._keeps: dict[tuple[int, int], tuple[bool, tuple[bool, ...]]] = {}
        if self.__name__ in REGISTRY and REGISTRY[self.__name__].__module__ != self.__module__:
            raise ValueError(f"there is an op '{self.__name__}' in another module already")
        REGISTRY[self.__name__] = self

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        if len(inputs) != self.arity or (params and not params.keys() <= self.static.keys()):
            inputs, params = self.bind(inputs, params)
        arrays, tracked, tensors, bit = [], 0, False, 1
        for x in inputs:
            kind = type(x)
            if kind is Tensor:
                tensors = True
                if x.requires_grad:
                    tracked |= bit
                x = x.data
            elif kind not in _PLAIN:
                x = _plain(x, inputs)
            arrays.append(x)
            bit += bit
        for name, value in params.items():
            if type(value) not in _STATIC and (type(value) is Tensor or is_array(value)):
                raise TypeError(
                    f"{self.__name__}: '{name}' is a static parameter and cannot be an array"
                )
        if tracked and self.differentiable and modes.get().recording:
            if self.joint_rule is None and self.rules is None:
                if self.primitive:
                    raise GradientError(
                        f"the primitive '{self.__name__}' has no rule: give it one with @"
                        f"{self.__name__}.vjp, or declare .no_gradient()"
                    )
                return self.formula(_ops(), *inputs, **params)  # record the ops it is made of
            return self.record(inputs, arrays, params, tracked, self.compute(arrays, params))
        y = self.compute(arrays, params)
        if not tensors:
            return y
        return wrap(y) if self.outputs == 1 else tuple(map(wrap, y))

    def bind(self, inputs: tuple, params: dict) -> tuple[tuple, dict]:
        """Inputs in their places and static parameters by name, as NumPy lets one mix them.

        `sum(x, 0)`, `sum(x, axis=0)` and `layer_norm(x, weight=w)` all work.
        """
        if not self.variadic:
            inputs, extra = inputs[: self.arity], inputs[self.arity :]
            if len(extra) > len(self.static):
                raise TypeError(f"{self.__name__}{self.__signature__}: too many arguments")
            for name, value in zip(self.static, extra, strict=False):
                if name in params:
                    raise TypeError(f"{self.__name__}: two values for '{name}'")
                params[name] = value
            for name, default in list(self.inputs.items())[len(inputs) :]:
                value = params.pop(name, default)
                if value is inspect.Parameter.empty:
                    raise TypeError(f"{self.__name__}{self.__signature__}: '{name}' is missing")
                inputs += (value,)
        for name in params:
            if name not in self.static:
                raise TypeError(
                    f"{self.__name__}{self.__signature__}: there is no argument '{name}'"
                )
        return inputs, params

    def compute(self, arrays: Sequence, params: dict[str, Any]) -> Any:
        """The value for plain arrays: from the kernel, or where it declines from the formula."""
        module = array_module(*arrays)
        y = NotImplemented
        if self.kernel and module is np:
            y = self.compute_by_kernel(*arrays, **params)
        if y is NotImplemented:
            try:
                y = self.formula(module, *arrays, **params)
            except MinigradError:
                raise
            except (ValueError, IndexError) as error:
                came = ", ".join(map(sample, arrays))
                kind = OutOfRangeError if isinstance(error, IndexError) else ShapeError
                name = self.__name__.removeprefix("_")
                raise kind(f"{name}: {error} (inputs: {came})") from error
        if type(y) is np.ndarray and self.outputs == 1:
            return y
        if (len(y) if type(y) is tuple else 1) != self.outputs:
            raise TypeError(
                f"the formula of '{self.__name__}' gave {len(y) if type(y) is tuple else 1} "
                f"outputs, it was declared with outputs={self.outputs}"
            )
        if type(y) is tuple:
            return tuple(v if is_array(v) else np.asarray(v) for v in y)
        return y if is_array(y) else np.asarray(y)  # np.sum gives scalars, not 0-d arrays

    def compute_by_kernel(self, *arrays: Any, **params: Any) -> Any:
        """The kernel's value for NumPy arrays; `NotImplemented` if there is none or it declines."""
        kernel = kernels.find(self.__name__)
        if kernel is None:
            return NotImplemented
        return kernel(*arrays, **{**self.static, **params})

    def record(self, inputs: tuple, arrays: list, params: dict, tracked: int, y: Any) -> Any:
        """The output as Tensors that know this call."""
        keep_output, keep_inputs = self._keeps.get((tracked, len(inputs))) or self.keeps(
            tracked, len(inputs)
        )
        parents, saved = [], []
        for x, a, keep in zip(inputs, arrays, keep_inputs, strict=True):
            parents.append((x.edge or x) if tracked & 1 else None)
            saved.append(a if keep or not is_array(a) else like(a.shape, a.dtype))
            tracked >>= 1
        if self.outputs == 1:
            if y.dtype.kind in "iub":
                return wrap(y)  # a cast to integers or booleans: the history ends
            output = y if keep_output else like(y.shape, y.dtype)
            return wrap(y, (Node(self, parents, saved, output, params), 0))
        output = y if keep_output else tuple(like(v.shape, v.dtype) for v in y)
        node = Node(self, parents, saved, output, params)
        return tuple(wrap(v, (node, i)) for i, v in enumerate(y))

    # -- rules

    def vjp(self, rule: Callable) -> Callable:
        """Decorator: `rule(g, y, *inputs, **params)` gives the gradients of all inputs as a tuple.

        `g` is the gradient of the output `y`; with several outputs both are tuples, and an output
        that got no gradient has None. None in the result means: no gradient for that input; a
        function of no arguments is called only if that gradient is wanted.

        A rule says by its parameter names what it needs: for a name with a leading underscore
        (`_x`) it gets only the shape and dtype, and the array is not kept alive.
        """
        self.joint_rule = rule
        self._keeps.clear()  # what is kept was decided by the rule before
        return rule

    def vjps(self, *rules: Callable) -> "Op":
        """One rule per input, each giving one gradient; run only for tracked inputs."""
        self.rules = rules
        self._keeps.clear()
        return self

    def no_gradient(self) -> "Op":
        """Declare that the result is integer or boolean, and cannot be tracked."""
        self.differentiable = False
        return self

    @property
    def has_rule(self) -> bool:
        return self.joint_rule is not None or self.rules is not None

    def rule_of(self, i: int) -> Callable:
        """The rule of input `i`; the last one serves all further inputs of a variadic op."""
        return self.rules[min(i, len(self.rules) - 1)]

    def keeps(self, tracked: int, count: int) -> tuple[bool, tuple[bool, ...]]:
        """Whether the rules for the tracked inputs need the output, and which inputs."""
        key = (tracked, count)
        if key not in self._keeps:
            rules = (
                [self.joint_rule]
                if self.joint_rule is not None
                else [self.rule_of(i) for i in range(count) if tracked >> i & 1]
            )
            needs = [_needs(rule, count) for rule in rules]
            self._keeps[key] = (
                any(output for output, _ in needs),
                tuple(any(inputs[i] for _, inputs in needs) for i in range(count)),
            )
        return self._keeps[key]

    def __repr__(self) -> str:
        return f"<op {self.__name__}{self.__signature__}>"


def _needs(rule: Callable, count: int) -> tuple[bool, list[bool]]:
    """Whether a rule reads the output, and which of `count` inputs it reads."""
    _, output, *inputs = inspect.signature(rule).parameters.values()
    reads: list[bool] = []
    for p in inputs:
        if p.kind is p.VAR_POSITIONAL:
            reads += [not p.name.startswith("_")] * (count - len(reads))
        elif p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD:
            reads.append(not p.name.startswith("_"))
    return not output.name.startswith("_"), reads + [True] * (count - len(reads))


def _plain(x: Any, inputs: tuple) -> Any:
    """The input `x`, one of `inputs` and not a Tensor, as a formula takes it."""
    if isinstance(x, float) and any(_narrow(v) for v in inputs):
        return float(x)  # np.float64 is a float: it must not lift float32 arrays
    if isinstance(x, np.generic):
        return beside(inputs, x)
    if isinstance(x, list):
        numbers = np.asarray(x)
        numbers = numbers.astype(np.float32) if numbers.dtype == np.float64 else numbers
        return beside(inputs, numbers)
    if isinstance(x, complex) or (is_array(x) and x.dtype.kind == "c"):
        raise DtypeError("complex numbers are not supported; keep real and imaginary part apart")
    return x


def _narrow(x: Any) -> bool:
    """Whether `x` has a floating-point dtype below float64."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and dtype.itemsize < 8 and dtype.kind in "fV"


@functools.cache
def _ops() -> Any:
    import minigrad.ops  # the one look upwards, at run time: the array module for Tensors

    return minigrad.ops


def op(formula: Callable | None = None, *, kernel: bool = False, outputs: int = 1) -> Any:
    """Decorator: a composite op from a formula in `xp` whose functions `minigrad.ops` has too.

    Args:
        kernel: whether `minigrad.kernels.cpu` has a fast version under the same name.
        outputs: how many arrays the formula gives, as a tuple if more than one.
    """
    make = functools.partial(Op, primitive=False, kernel=kernel, outputs=outputs)
    return make if formula is None else make(formula)


def primitive(formula: Callable | None = None, *, kernel: bool = False, outputs: int = 1) -> Any:
    """Decorator: an op whose formula calls the array module itself; it must be given a rule."""
    make = functools.partial(Op, primitive=True, kernel=kernel, outputs=outputs)
    return make if formula is None else make(formula)


# --------------------------------------------------------------------------- the walk back


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
        inputs: one tensor, a sequence, or a mapping of names; leaves or tensors on the way. They
            need not be leaves.
        grad_outputs: for each output, the gradient of something further with respect to it; may be
            left out for outputs with one element.
        create_graph: make the result differentiable.
        retain_graph: as for `Tensor.backward`.

    Returns:
        What `inputs` is (tensor, list or dict), with gradients in place of the tensors. An input
        that took no part has None, which is not zero: an optimizer leaves it as it is. The
        gradients may share memory with each other.
    """
    if isinstance(inputs, Mapping):
        found = gradients(outputs, list(inputs.values()), grad_outputs,
                          create_graph=create_graph, retain_graph=retain_graph)  # fmt: skip
        return dict(zip(inputs, found, strict=True))
    if type(inputs) is Tensor:
        return gradients(outputs, [inputs], grad_outputs,
                         create_graph=create_graph, retain_graph=retain_graph)[0]  # fmt: skip
    inputs = list(inputs)
    if not isinstance(outputs, Sequence):
        outputs, grad_outputs = [outputs], [grad_outputs]
    elif grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    if len(outputs) != len(grad_outputs):
        raise ShapeError(
            f"gradients: {len(grad_outputs)} grad_outputs for {len(outputs)} outputs; give one each"
        )
    for x in inputs:
        if type(x) is not Tensor or not x.requires_grad:
            raise GradientError(
                "gradients: an input is not tracked; make it with requires_grad=True before it is "
                "used"
            )
    sums = walk(outputs, grad_outputs, inputs, create_graph, retain_graph)
    found = [sums.get(x.edge or x, (None,))[0] for x in inputs]
    return [wrap(g) if is_array(g) else g for g in found]


_ABSENT = (None, False)


def walk(
    outputs: Sequence[Tensor],
    grad_outputs: Sequence[Any],
    inputs: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool | None,
) -> dict[Any, tuple[Any, bool]]:
    """Walk back from `outputs` and sum the gradients that arrive at `inputs` (None: at all leaves).

    Returns:
        {leaf or edge: (gradient, owned)}: arrays, or Tensors with `create_graph`. `owned` says that
        the array was allocated here and is known to nobody else.
    """
    seeds = [_seed(y, g, create_graph) for y, g in zip(outputs, grad_outputs, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    line = "" if retain else _caller()
    wanted = None if inputs is None else {x.edge or x for x in inputs}
    useful, leads = _usefulness(outputs, wanted)

    sums: dict[Any, tuple[Any, bool]] = {}  # of leaves, and of edges whose node is still to come
    nodes: dict[int, Node] = {}
    heap: list[int] = []  # negative serial numbers: the smallest is the newest node

    def add(target: Any, g: Any) -> None:
        total, owned = sums.get(target, _ABSENT)
        if total is None:
            sums[target] = (g, False)
        elif owned:
            total += g
        elif create_graph:
            sums[target] = (total + g, False)
        else:
            total = total + g
            sums[target] = (total, True) if is_array(total) else (np.asarray(total), False)
        if type(target) is not tuple or (serial := target[0].serial) in nodes:
            return
        if leads is None or serial in leads:
            nodes[serial] = target[0]
            heapq.heappush(heap, -serial)

    with switched(recording=create_graph):
        for y, g in zip(outputs, seeds, strict=True):
            if useful(target := y.edge or y):
                add(target, g)
        while heap:
            node = nodes.pop(-heapq.heappop(heap))
            g = []
            for slot in range(node.op.outputs):
                edge = (node, slot)
                take = sums.get if wanted is not None and edge in wanted else sums.pop
                g.append(take(edge, _ABSENT)[0])
            if node.freed_by is not None:
                raise GradientError(
                    f"the graph was freed by the walk at {node.freed_by}; pass retain_graph=True "
                    f"there to walk it again (at op '{node.op.__name__}')"
                )
            g = g[0] if node.op.outputs == 1 else tuple(g)
            for parent, contribution in node.pull_back(g, useful, create_graph):
                add(parent, contribution)
            if not retain:
                node.free(line)
    return sums


def _seed(y: Tensor, g: Any, create_graph: bool) -> Any:
    """The gradient that a walk starts with at output `y`."""
    if type(y) is not Tensor or not y.requires_grad:
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
        g = array_module(y.data).ones_like(y.data)
    elif not (create_graph and type(g) is Tensor):
        g = as_array(g)
        if type(g) is not type(y.data):
            g = to_numpy(g) if isinstance(y.data, np.ndarray) else beside([y], g)
    if g.shape != y.shape:
        raise ShapeError(f"the gradient has shape {g.shape}, the output has shape {y.shape}")
    if g.dtype != y.dtype:
        g = g.astype(y.dtype)
    return wrap(g) if create_graph and type(g) is not Tensor else g


def _usefulness(
    outputs: Sequence[Tensor], wanted: set | None
) -> tuple[Callable[[Any], bool], set[int] | None]:
    """A test whether a parent is or leads to one of the `wanted` leaves or edges.

    And the serial numbers of the nodes that lead further to one, None for all.
    """
    if wanted is None:
        return lambda parent: True, None
    nodes, stack = {}, [y.edge[0] for y in outputs if y.edge is not None]
    while stack:
        node = stack.pop()
        if node.serial not in nodes:
            nodes[node.serial] = node
            stack += [p[0] for p in node.parents or () if type(p) is tuple]
    useful: set[int] = set()

    def test(parent: Any) -> bool:
        return parent in wanted or (type(parent) is tuple and parent[0].serial in useful)

    for serial in sorted(nodes):  # oldest first: parents before children
        # A freed node is called useful, so that the walk reaches it and says who freed it.
        if nodes[serial].parents is None or any(
            p is not None and test(p) for p in nodes[serial].parents
        ):
            useful.add(serial)
    return test, useful


_PACKAGE = str(Path(__file__).parent) + os.sep


def _caller() -> str:
    """'file.py:12' of the innermost line outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

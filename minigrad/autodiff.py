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
import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, overload

import numpy as np

from minigrad import kernels, writes
from minigrad.arguments import PLAIN, STATIC, Like, Signature, like, plain, reads
from minigrad.backend import array_module, is_array, modes, sample, switched, to_numpy, xp
from minigrad.errors import DtypeError, GradientError, MinigradError, OutOfRangeError, ShapeError

if TYPE_CHECKING:
    from minigrad.ops.methods import Manners  # what Tensor learns there
else:
    Manners = object

ndarray = np.ndarray

# ---------------------------------------------------------------------------------- Tensor


class Tensor(Manners):
    """An array with a history.

    Args:
        data: an array, which is shared and not copied; a Tensor; or numbers (nested lists or a
            scalar), of which Python floats become float32 as in PyTorch.
        requires_grad: whether gradients with respect to this tensor are wanted. Only for floats.
        name: what messages, optimizers and files call it; parameters have one.

    Attributes:
        data: the array, always an array (0-d, never a scalar).
        grad: the gradient that `backward` has summed up here, a Tensor; None while absent.
        edge: the node that made this tensor, or its slot there; None for a tensor made by hand.

    Its manners (operators, NumPy's methods, `len`, `repr` and so on) are taught to it by
    `minigrad.ops.methods`.
    """

    __slots__ = ("__weakref__", "_data", "_hooks", "edge", "grad", "name", "requires_grad")

    # NumPy arrays leave `array * tensor` to us.
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self._data = as_array(data)
        self.grad: Tensor | None = None
        self.edge: Node | Slot | None = None
        self.name = name
        self.requires_grad = False
        self.requires_grad_(requires_grad)

    def _set_data(self, array: Any) -> None:
        if array is self._data:  # `x.data += 1` ends here
            writes.wrote(array)
        else:
            self._data = as_array(array)

    data = property(operator.attrgetter("_data"), _set_data)
    shape = property(operator.attrgetter("_data.shape"))
    dtype = property(operator.attrgetter("_data.dtype"))
    ndim = property(operator.attrgetter("_data.ndim"))
    size = property(operator.attrgetter("_data.size"))

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Switch the wish for gradients on or off, in place; returns itself."""
        if requires_grad and self._data.dtype.kind not in "fV":
            raise DtypeError(
                f"Tensor: only floating-point tensors have gradients, this one is {self.dtype}; "
                f"make it with dtype float32, or leave requires_grad off"
            )
        if not requires_grad and self.edge is not None:
            raise GradientError(
                f"requires_grad_(False): this tensor was computed by '{self.edge.node.op.__name__}'"
                f"; use .detach() for a tensor without its history"
            )
        self.requires_grad = bool(requires_grad)
        return self

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
            GradientError: nothing here is tracked, the graph was freed by an earlier walk, or an
                array that it needs has been overwritten.
        """
        sums, mine = walk([self], [gradient], None, create_graph, retain_graph)
        for leaf, total in sums.items():
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
                own = leaf in mine and total.flags.c_contiguous
                leaf.grad = wrap(total if own else total.copy(order="C"))


def as_array(data: Any) -> Any:
    """The array behind `data`: shared if it is an array or a Tensor, made if it is numbers."""
    if type(data) is Tensor:
        return data._data
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
    return array_module(*(x._data if type(x) is Tensor else x for x in inputs)).asarray(numbers)


def wrap(data: Any, edge: "Node | Slot | None" = None) -> Tensor:
    """A Tensor around an array that is known to be one, without the checks of the constructor."""
    x = Tensor.__new__(Tensor)
    x._data = data
    x.grad = x.name = None
    x.edge = edge
    x.requires_grad = edge is not None
    return x


def no_grad() -> AbstractContextManager[None]:
    """Record nothing inside a `with` block, or inside a function that it decorates."""
    return switched(recording=False)


def enable_grad() -> AbstractContextManager[None]:
    """Record again, inside a `no_grad` block."""
    return switched(recording=True)


# ------------------------------------------------------------------------------------ Node


class Node:
    """One recorded call of an op.

    A node made later has a higher serial number than all nodes it depends on, so walking them in
    falling order visits each once, after everything that depends on it: no sort, no recursion.

    It keeps output *arrays*, never output Tensors: those point here, and would be a cycle.

    Attributes:
        parents: for each input, where gradients go: a leaf Tensor, the edge that made the input, or
            None if it is not tracked.
        saved: for each input, its array or scalar if a rule needs it, else a `Like`.
        output: the output array if a rule needs it, else None, as the gradient is like it; with
            several outputs a tuple of them or of their `Like`s.
        serial: the tick of `minigrad.writes` at which it was recorded.
        hooks: functions to call with the gradient of output `slot`: {slot: [function, ...]}.
        freed_by: where the walk was asked for that has used up this node.
    """

    __slots__ = ("freed_by", "hooks", "op", "output", "params", "parents", "saved", "serial")

    def __init__(self, op, parents, saved, output, params):
        self.op, self.parents, self.saved = op, parents, saved
        self.output, self.params = output, params
        self.serial = writes.tick()
        self.hooks = self.freed_by = None

    node = property(lambda self: self)

    def free(self, line: str) -> None:
        """Forget everything but who did it."""
        self.parents = self.saved = self.output = self.params = self.hooks = None
        self.freed_by = line

    def pull_back(self, g: Any, useful: Callable[[Any], bool] | None, as_tensors: bool) -> list:
        """Pairs (parent, gradient of that input), for the parents that are `useful`.

        Arrays in, arrays out; or Tensors in, Tensors out.
        """
        op, parents, saved, output = self.op, self.parents, self.saved, self.output
        if writes.latest > self.serial:
            self.check_unwritten()
        if output is None:
            output = _like(g._data if as_tensors else g)
        inputs = saved
        if as_tensors:
            inputs = tuple(map(_as_tensor, saved, parents))
            if isinstance(output, tuple):
                output = tuple(_as_tensor(y, Slot(self, i)) for i, y in enumerate(output))
            else:
                output = _as_tensor(output, self)
        found = []
        if op.joint_rule is None:
            rules, last = op.rules, len(op.rules) - 1
            for i, parent in enumerate(parents):
                if parent is not None and (useful is None or useful(parent)):
                    rule = rules[i if i < last else last]
                    result = rule(g, output, *inputs, **self.params)
                    if result is not None:
                        found.append((parent, _fit(op, result, saved[i])))
            return found
        results = op.joint_rule(g, output, *inputs, **self.params)
        if not isinstance(results, tuple | list):
            results = (results,)
        if len(results) != len(parents):
            raise GradientError(
                f"the rule of '{op.__name__}' gave {len(results)} gradients for {len(parents)} "
                f"inputs"
            )
        for parent, x, result in zip(parents, saved, results, strict=True):
            if parent is not None and result is not None and (useful is None or useful(parent)):
                result = result() if callable(result) else result
                found.append((parent, _fit(op, result, x)))
        return found

    def check_unwritten(self) -> None:
        """Raise if an array that was kept here has been overwritten since."""
        outputs = self.output if isinstance(self.output, tuple) else (self.output,)
        for what, kept in (("input", self.saved), ("output", outputs)):
            for i, x in enumerate(kept):
                if is_array(x) and writes.overwritten(x, self.serial):
                    raise GradientError(
                        f"{what} {i} of '{self.op.__name__}', {sample(x)}, has been overwritten "
                        f"since it was used, and its gradient needs the old values; walk back "
                        f"before you write, or write to a copy"
                    )


class Slot:
    """The edge of one output of a node that has several."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int):
        self.node, self.index = node, index

    def __eq__(self, other: object) -> bool:
        return type(other) is Slot and self.node is other.node and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.node.serial, self.index))


def _as_tensor(x: Any, parent: Any) -> Any:
    """A saved input or output as a Tensor with its history, for rules that will be recorded."""
    if parent is None or type(x) is Like:
        return x
    if type(parent) is not Tensor:
        return wrap(x, parent)
    if parent._data is not x:
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
    if type(g) is not ndarray:
        if type(g) is not Tensor and not is_array(g):
            g = np.asarray(g)  # arithmetic on 0-d arrays gives NumPy scalars
        g = _fit_levels(g, like)
    elif type(like) is not ndarray:
        g = _fit_levels(g, like)
    shape, given = like.shape, g.shape
    if given != shape:
        lead = len(given) - len(shape)
        grown = tuple(
            i for i, n in enumerate(given) if i < lead or (shape[i - lead] == 1 and n != 1)
        )
        if lead >= 0:
            g = g.sum(axis=grown, keepdims=True).reshape(
                tuple(1 if i in grown else n for i, n in enumerate(given))[lead:]
            )
        if g.shape != shape:
            raise GradientError(
                f"the rule of '{op.__name__}' gave a gradient of shape {given} for an input of "
                f"shape {shape}"
            )
    return g if g.dtype == like.dtype else g.astype(like.dtype)


def _fit_levels(g: Any, like: Any) -> Any:
    """`g` with the hidden batch axes of `like`: under `vmap` they broadcast as the visible do.

    Those of a `vmap` in progress stay: inside it, a gradient is that of one example.
    """
    wanted = getattr(like, "levels", ())
    given = getattr(g._data if type(g) is Tensor else g, "levels", ())
    if given != wanted:
        active = modes.get().levels
        wanted = tuple(sorted({*wanted, *(v for v in given if v[0] in active)}))
        if given != wanted:
            return _ops().batching._relevel(g, levels=wanted)
    return g


# -------------------------------------------------------------------------------------- Op

REGISTRY: dict[str, "Op"] = {}  # a user's op stands there as 'module.name'

P = ParamSpec("P")
Q = ParamSpec("Q")


class Op(Generic[P]):
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

    __name__: str

    def __init__(self, formula: Callable, *, primitive: bool, kernel: Any, outputs: int):
        functools.update_wrapper(self, formula)  # the formula's docstring is the op's
        signature = Signature(self.__name__, formula)
        self.bind, self.arity, self.static = signature.bind, signature.arity, signature.static
        self.__signature__ = signature.signature.replace(return_annotation=Tensor)
        self.formula, self.primitive, self.outputs = formula, primitive, outputs
        self.kernel = {"numpy": kernel} if callable(kernel) else (kernel or None)
        self.joint_rule: Callable | None = None
        self.rules: tuple[Callable, ...] | None = None
        self.differentiable = True
        self._keeps: dict[int, tuple[bool, tuple[bool, ...] | None]] = {}
        ours = self.__module__.startswith("minigrad.")
        REGISTRY[self.__name__ if ours else f"{self.__module__}.{self.__name__}"] = self

    @overload
    def __get__(self, x: None, owner: Any = None) -> "Op[P]": ...
    @overload
    def __get__(
        self: "Op[Concatenate[Any, Q]]", x: object, owner: Any = None
    ) -> Callable[Q, Tensor]: ...
    def __get__(self, x: Any, owner: Any = None) -> Any:
        """An op in a class body becomes a method; and `help(op)` shows it as a function."""
        return self if x is None else functools.partial(self, x)

    def __call__(self, *inputs: P.args, **params: P.kwargs) -> Tensor:
        if len(inputs) != self.arity or (params and not params.keys() <= self.static.keys()):
            inputs, params = self.bind(inputs, params)
        arrays, parents, tracked, tensors, module, bit = [], [], 0, False, np, 1
        for x in inputs:
            parent = None
            if type(x) is Tensor:
                tensors = True
                if x.requires_grad:
                    tracked |= bit
                    parent = x.edge or x
                x = x._data
            if type(x) not in PLAIN:
                module = None
            arrays.append(x)
            parents.append(parent)
            bit += bit
        if module is None:
            arrays = plain(arrays)
            module = array_module(*arrays)
        if params:
            self.check_static(params)
        mode = modes.get()
        if tracked:
            if not mode.recording or not self.differentiable:
                tracked = 0
            elif self.joint_rule is None and self.rules is None:
                return self.inline(inputs, arrays, params)
        if mode.observers:
            began = time.perf_counter()
        try:
            y = NotImplemented
            if self.kernel is not None:
                y = self.compute_by_kernel(module, arrays, params)
            if y is NotImplemented:
                y = (
                    self.formula(module, *arrays, **params)
                    if params
                    else self.formula(module, *arrays)
                )
        except (ValueError, IndexError) as error:
            raise self.explained(error, arrays) from error
        if type(y) is not ndarray or self.outputs != 1:
            y = self.checked(module, y)
        if tracked:
            y = self.record(arrays, parents, params, tracked, bit, y)
        elif tensors:
            y = wrap(y) if self.outputs == 1 else tuple(map(wrap, y))
        if mode.observers:
            for observer in mode.observers:
                observer.called(self, arrays, params, y, time.perf_counter() - began)
        return y

    def check_static(self, params: dict[str, Any]) -> None:
        """Raise if a static parameter is an array."""
        for name, value in params.items():
            if type(value) not in STATIC and (type(value) is Tensor or is_array(value)):
                raise TypeError(
                    f"{self.__name__}: '{name}' is a static parameter and cannot be an array"
                )

    def inline(self, inputs: tuple, arrays: list, params: dict) -> Any:
        """Record, in place of a call without a rule, the ops that its formula is made of."""
        if self.primitive:
            raise GradientError(
                f"the primitive '{self.__name__}' has no rule: give it one with @{self.__name__}"
                f".vjp, or declare .no_gradient()"
            )
        try:
            return self.formula(_ops(), *inputs, **params)
        except (ValueError, IndexError) as error:
            raise self.explained(error, arrays) from error

    def checked(self, module: Any, y: Any) -> Any:
        """What a formula gave, as an array or as the tuple of arrays that was declared."""
        many = type(y) is tuple
        if (len(y) if many else 1) != self.outputs:
            raise TypeError(
                f"the formula of '{self.__name__}' gave {len(y) if many else 1} outputs, it was "
                f"declared with outputs={self.outputs}"
            )
        if many:
            return tuple(self.checked_array(module, v) for v in y)
        return self.checked_array(module, y)

    def checked_array(self, module: Any, y: Any) -> Any:
        """An output as an array: np.sum gives scalars."""
        if hasattr(module, "settle"):
            return module.settle(y)
        y = y if is_array(y) else module.asarray(y)
        if y.dtype.kind not in "fiubV":
            raise DtypeError(f"{self.__name__} gave {y.dtype}; only real numbers are supported")
        return y

    def compute_by_kernel(self, module: Any, arrays: Sequence, params: dict[str, Any]) -> Any:
        """The kernel's value; `NotImplemented` if there is none for `module` or it declines."""
        if self.kernel is True:
            kernel = kernels.find(self.__name__) if module is np else None
        else:
            kernel = self.kernel.get(module.__name__) if kernels.prefer(True) else None
        if kernel is None:
            return NotImplemented
        return kernel(*arrays, **(self.static | params))

    def explained(self, error: Exception, arrays: Sequence) -> Exception:
        """An error of the formula as one that names the op and what came."""
        if isinstance(error, MinigradError):
            return error
        kind = OutOfRangeError if isinstance(error, IndexError) else ShapeError
        came, name = ", ".join(map(sample, arrays)), self.__name__.removeprefix("_")
        return kind(f"{name}: {str(error).removeprefix(f'{name}: ')} (inputs: {came})")

    def record(
        self, arrays: list, parents: list, params: dict, tracked: int, bit: int, y: Any
    ) -> Any:
        """The output as Tensors that know this call.

        The bits of `tracked` say which inputs are; `bit` is the one above, and so tells how many
        inputs there are.
        """
        keeps = self._keeps.get(tracked | bit)
        if keeps is None:
            keeps = self._keeps[tracked | bit] = self.keeps(tracked, len(arrays))
        keep_output, keep_inputs = keeps
        saved = arrays
        if keep_inputs is not None:
            saved = []
            for a, keep in zip(arrays, keep_inputs, strict=False):  # `strict` takes time
                if not keep and type(a) is ndarray:
                    a = like(a.shape, a.dtype)
                elif not keep:
                    a = _like(a)
                saved.append(a)
        if self.outputs > 1:
            node = Node(self, parents, saved, y if keep_output else tuple(map(_like, y)), params)
            return tuple(wrap(v, Slot(node, i)) for i, v in enumerate(y))
        if y.dtype.kind in "iub":
            return wrap(y)  # a cast to integers or booleans: the history ends
        return wrap(y, Node(self, parents, saved, y if keep_output else None, params))

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
        """One rule per input, each giving one gradient; run only for tracked inputs.

        The last one serves all further inputs of a variadic op.
        """
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

    def keeps(self, tracked: int, count: int) -> tuple[bool, tuple[bool, ...] | None]:
        """Whether the rules for the tracked inputs read the output, and which inputs (None: all)."""
        rules = (self.joint_rule,)
        if self.joint_rule is None:
            last = len(self.rules) - 1
            rules = [self.rules[min(i, last)] for i in range(count) if tracked >> i & 1]
        needs = [reads(rule, count) for rule in rules]
        inputs = tuple(any(wanted[i] for _, wanted in needs) for i in range(count))
        return any(output for output, _ in needs), None if all(inputs) else inputs

    def __repr__(self) -> str:
        shown = self.__signature__.replace(return_annotation=inspect.Signature.empty)
        return f"<op {self.__name__}{shown}>"


def _like(a: Any) -> Any:
    """What is kept of an array that no rule reads."""
    if type(a) is ndarray:
        return like(a.shape, a.dtype)
    return Like(a.shape, a.dtype, getattr(a, "levels", ())) if is_array(a) else a


@functools.cache
def _ops() -> Any:
    import minigrad.ops  # the one look upwards, at run time: the array module for Tensors

    return minigrad.ops


Formula = Callable[Concatenate[Any, P], Any]


@overload
def op(formula: Formula[P], /) -> Op[P]: ...
@overload
def op(*, kernel: Any = None, outputs: int = 1) -> Callable[[Formula[P]], Op[P]]: ...
def op(formula: Any = None, *, kernel: Any = None, outputs: int = 1) -> Any:
    """Decorator: a composite op from a formula in `xp` whose functions `minigrad.ops` has too.

    Args:
        kernel: a faster version for NumPy arrays, called with the inputs and all static parameters,
            which returns NotImplemented where it declines; or a mapping of such functions by
            'numpy' and 'cupy'; or True for the one in `minigrad.kernels.cpu` of the same name.
        outputs: how many arrays the formula gives, as a tuple if more than one.
    """
    make = functools.partial(Op, primitive=False, kernel=kernel, outputs=outputs)
    return make if formula is None else make(formula)


@overload
def primitive(formula: Formula[P], /) -> Op[P]: ...
@overload
def primitive(*, kernel: Any = None, outputs: int = 1) -> Callable[[Formula[P]], Op[P]]: ...
def primitive(formula: Any = None, *, kernel: Any = None, outputs: int = 1) -> Any:
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
        inputs: one tensor, a sequence, or a mapping of names; leaves or tensors on the way.
        grad_outputs: for each output, the gradient of something further with respect to it; may be
            left out for outputs with one element.
        create_graph: make the result differentiable.
        retain_graph: as for `Tensor.backward`.

    Returns:
        What `inputs` is (tensor, list or dict), with gradients in place of the tensors. An input
        that took no part has None, which is not zero: an optimizer leaves it as it is. The
        gradients may share memory with each other.
    """
    options = {"create_graph": create_graph, "retain_graph": retain_graph}
    if isinstance(inputs, Mapping):
        found = gradients(outputs, list(inputs.values()), grad_outputs, **options)
        return dict(zip(inputs, found, strict=True))
    if type(inputs) is Tensor:
        return gradients(outputs, [inputs], grad_outputs, **options)[0]
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
    sums, _ = walk(outputs, grad_outputs, inputs, create_graph, retain_graph)
    found = [sums.get(x.edge or x) for x in inputs]
    if create_graph:  # a gradient that is constant, as that of relu, has the derivative 0
        return [
            g if g is None or g.requires_grad else _ops().batching._constant(g, x)
            for g, x in zip(found, inputs, strict=True)
        ]
    return [g if g is None or type(g) is Tensor else wrap(g) for g in found]


def walk(
    outputs: Sequence[Tensor],
    grad_outputs: Sequence[Any],
    inputs: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool | None,
    since: int = 0,
) -> tuple[dict[Any, Any], set[Any]]:
    """Walk back from `outputs` and sum the gradients that arrive at `inputs` (None: at all leaves).

    Nodes recorded up to the tick `since` are not walked: edges that lead there count as leaves.

    Returns:
        {leaf or edge: gradient}, of arrays, or of Tensors with `create_graph`; and the set of those
        whose gradient was allocated here and is known to nobody else.
    """
    found = [
        (y.edge or y, _seed(y, g, create_graph)) for y, g in zip(outputs, grad_outputs, strict=True)
    ]
    retain = create_graph if retain_graph is None else retain_graph
    line = "" if retain else caller()
    wanted = None if inputs is None else {x.edge or x for x in inputs}
    useful, leads = _usefulness(outputs, wanted)
    observers = modes.get().observers

    sums: dict[Any, Any] = {}  # of leaves, and of edges whose node is still to come
    mine: set[Any] = set()
    heap: list[tuple[int, Node]] = []  # by negative serial number: the smallest is the newest node
    queued: set[int] = set()  # nodes with several outputs that are in the heap

    with switched(recording=create_graph):
        if wanted is not None:
            found = [(target, g) for target, g in found if useful(target)]
        while True:
            for target, g in found:
                total = sums.get(target)
                if total is not None:
                    if target in mine:
                        total += g
                    else:
                        total = total + g
                        if not create_graph:
                            mine.add(target)
                        sums[target] = total if type(total) is Tensor else as_array(total)
                    continue
                sums[target] = g
                if type(target) is Tensor:
                    continue
                node = target.node
                if node.serial <= since or (leads is not None and node.serial not in leads):
                    continue
                if type(target) is Slot:
                    if node.serial in queued:
                        continue
                    queued.add(node.serial)
                heapq.heappush(heap, (-node.serial, node))
            if not heap:
                break
            node = heapq.heappop(heap)[1]
            if node.freed_by is not None:
                raise GradientError(
                    f"the graph was freed by the walk at {node.freed_by}; pass retain_graph=True "
                    f"there to walk it again (at op '{node.op.__name__}')"
                )
            if node.hooks is not None:
                for slot, hooks in node.hooks.items():
                    _hooked(sums, node if node.op.outputs == 1 else Slot(node, slot), hooks)
            if node.op.outputs == 1:
                g = sums.pop(node) if wanted is None or node not in wanted else sums[node]
            else:
                edges = [Slot(node, i) for i in range(node.op.outputs)]
                g = tuple(
                    sums.get(e) if wanted is not None and e in wanted else sums.pop(e, None)
                    for e in edges
                )
            began = time.perf_counter() if observers else 0.0
            found = node.pull_back(g, useful, create_graph)
            for observer in observers:
                observer.pulled_back(node, g, found, time.perf_counter() - began)
            if not retain:
                node.free(line)
        for target in () if since else sums:
            if type(target) is Tensor and (hooks := getattr(target, "_hooks", None)):
                _hooked(sums, target, hooks)
                mine.discard(target)
    return sums, mine


def _hooked(sums: dict[Any, Any], target: Any, hooks: list[Callable]) -> None:
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
        g = array_module(y._data).ones_like(y._data)
    elif not (create_graph and type(g) is Tensor):
        g = as_array(g)
        modules = array_module(g), array_module(y._data)
        if modules[0] is not modules[1] and not any(hasattr(m, "settle") for m in modules):
            g = to_numpy(g) if isinstance(y._data, ndarray) else beside([y], g)
    if g.shape != y.shape:
        raise ShapeError(f"the gradient has shape {g.shape}, the output has shape {y.shape}")
    if g.dtype != y.dtype:
        g = g.astype(y.dtype)
    g = _fit_levels(g, y._data)
    return wrap(g) if create_graph and type(g) is not Tensor else g


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
        # A freed node is called useful, so that the walk reaches it and says who freed it.
        if nodes[serial].parents is None or any(
            p is not None and test(p) for p in nodes[serial].parents
        ):
            useful.add(serial)
    return test, useful


_PACKAGE = str(Path(__file__).parent) + os.sep


def caller() -> str:
    """'file.py:12' of the innermost line outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

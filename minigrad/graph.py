"""Tensors, and the graph of nodes behind them that remembers how they were made.

The first of three chapters; `minigrad.operations` and `minigrad.autodiff` follow.

    Tensor      an array, and the edge that leads to the node which made it
    Node        one call of an op: where its inputs came from, and what its rule needs
"""

import functools
import operator
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import memory, writes
from minigrad.arguments import Captured, Like, like
from minigrad.backend import array_module, describe, is_array, modes, switched, xp
from minigrad.errors import DtypeError, GradientError

if TYPE_CHECKING:
    from minigrad.operations import Op
    from minigrad.ops.methods import TensorMethods
else:
    TensorMethods = object  # which are copied onto Tensor there

ndarray = np.ndarray

# How often a tensor was given another array or gradient, or was frozen: who relies on what tensors
# have (`mg.jit`) looks at them again when it has grown.
rebound = [0]

# ---------------------------------------------------------------------------------- Tensor


class Tensor(TensorMethods):
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

    Its other methods (operators, NumPy's, `len`, `repr` and so on) are given to it by
    `minigrad.ops.methods`.
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_tracked", "edge", "name")

    # NumPy arrays leave `array * tensor` to us.
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self._data = as_array(data)
        self._grad: Tensor | None = None
        self.edge: Node | Slot | None = None
        self.name = name
        self._hooks: list[Callable] | None = None  # a backward pass asks every leaf
        self._tracked = False
        self.requires_grad_(requires_grad)

    def __init_subclass__(cls) -> None:
        raise TypeError(
            f"{cls.__name__}: Tensor cannot be subclassed, as ops give plain Tensors; write "
            f"functions of tensors, or a Module that holds one"
        )

    def _get_data(self) -> Any:
        observers = modes.get().observers
        if not observers:
            return self._data
        array = self._data
        for observer in observers:
            array = observer.shown(self, array)
        return array

    def _set_data(self, array: Any) -> None:
        observers = modes.get().observers
        if array is self._data:  # `x.data += 1` ends here
            for observer in observers:
                observer.overwrites(array)
            writes.wrote(array)
        else:
            array = as_array(array)
            for observer in observers:
                observer.assigned(self, array)
            if self.requires_grad and array.dtype.kind not in "fV":
                raise DtypeError(
                    f"Tensor: .data of a tensor that requires gradients must be floating-point, "
                    f"and got {array.dtype}; cast it, or call requires_grad_(False) first"
                )
            self._data = array
            rebound[0] += 1

    def _set_grad(self, grad: Any) -> None:
        for observer in modes.get().observers:
            observer.sets_gradient(self, adds=False)
        self._grad = grad
        rebound[0] += 1

    def _set_tracked(self, requires_grad: bool) -> None:
        self._tracked = requires_grad
        rebound[0] += 1

    data = property(_get_data, _set_data)
    grad = property(operator.attrgetter("_grad"), _set_grad)
    requires_grad = property(operator.attrgetter("_tracked"), _set_tracked)
    shape = property(operator.attrgetter("_data.shape"))
    dtype = property(operator.attrgetter("_data.dtype"))
    ndim = property(operator.attrgetter("_data.ndim"))
    size = property(operator.attrgetter("_data.size"))

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Switch the wish for gradients on or off, in place; returns itself.

        Raises:
            DtypeError: its elements are no floats.
            GradientError: it is to be switched off, and the tensor was computed from others.
        """
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


def as_array(data: Any) -> Any:
    """The array behind `data`: shared if it is an array or a Tensor, made if it is numbers.

    Raises:
        DtypeError: they are no real numbers.
    """
    if type(data) is Tensor:
        return data._data
    if type(data) is not ndarray:
        data = joined(data)
        if type(data) is Tensor:
            return data._data
        if type(data) is Captured:
            return data.array
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


NUMBERS = (bool, int, float, complex)
NESTED = (list, tuple, range)  # (named tuples are not meant)


def joined(x: Any) -> Any:
    """`x`; or of a list with Tensors in it, at any depth, what `stack` makes: a Tensor."""
    if type(x) in (list, tuple) and _holds_arrays(x):
        return ops.stack([joined(part) for part in x])
    return x


def _holds_arrays(xs: Any) -> bool:
    """Whether NumPy could not make an array of `xs`: there are Tensors or device arrays in it."""
    for x in xs:
        if type(x) is float or type(x) is int:
            continue
        if type(x) is Tensor or (is_array(x) and type(x) is not ndarray):
            return True
        if type(x) in (list, tuple) and _holds_arrays(x):
            return True
    return False


def as_arrays(*xs: Any) -> list[Any]:
    """`xs`, with numbers and (nested) lists as arrays where the others are.

    Their floats take the dtype of the floats among the others, and are float32 without any. A list
    with Tensors in it is stacked, and keeps their history. None stays as it is.

    Raises:
        DtypeError: something is a text, complex, or otherwise no number.
    """
    found = [joined(x) for x in xs]
    for x in found:
        if isinstance(x, str | bytes | dict | set):
            raise DtypeError(f"expected an array, a Tensor or numbers, got {describe(x)}")
    if not any(isinstance(x, NUMBERS) or type(x) in NESTED for x in found):
        return found
    arrays = [x._data if type(x) is Tensor else x for x in found]
    arrays = [x for x in arrays if is_array(x)]
    module = array_module(*arrays) if arrays else xp()
    floats = [x.dtype for x in arrays if x.dtype.kind not in "iub"]
    dtype = np.result_type(*floats) if floats else np.dtype(np.float32)

    def array(x: Any) -> Any:
        numbers = np.asarray(x)
        if numbers.dtype.kind not in "fiub":
            raise DtypeError(
                f"expected real numbers, got {describe(numbers)}; complex ones are none"
            )
        return module.asarray(numbers.astype(dtype) if numbers.dtype.kind == "f" else numbers)

    return [array(x) if isinstance(x, NUMBERS) or type(x) in NESTED else x for x in found]


def on_device_of(inputs: Iterable, numbers: Any) -> Any:
    """`numbers`, which are not on a device yet, as an array where the arrays of `inputs` are."""
    return array_module(*(x._data if type(x) is Tensor else x for x in inputs)).asarray(numbers)


def wrap(data: Any, edge: "Node | Slot | None" = None) -> Tensor:
    """A Tensor around an array that is known to be one, without the checks of the constructor."""
    x = Tensor.__new__(Tensor)
    x._data = data
    x._grad = x.name = None
    x.edge = edge
    x._tracked = edge is not None
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

    A node made later has a higher serial number than all nodes it depends on, so going through them
    in falling order visits each once, after everything that depends on it: no sort, no recursion.

    It keeps output *arrays*, never output Tensors: those point here, and would be a cycle.

    Attributes:
        parents: for each input, where gradients go: a leaf Tensor, the edge that made the input, or
            None if it is not tracked.
        saved: for each input, its array or scalar if a rule needs it, else a `Like`.
        output: the output array if a rule needs it, else None, as the gradient is like it; with
            several outputs a tuple of them or of their `Like`s.
        serial: the tick of `minigrad.writes` at which it was recorded.
        hooks: functions to call with the gradient of output `slot`: {slot: [function, ...]}.
        freed_by: where the backward pass was asked for that has used up this node.
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

        Raises:
            GradientError: the rule gave more or fewer gradients than there are inputs.
        """
        op, parents, saved, output = self.op, self.parents, self.saved, self.output
        if writes.latest > self.serial:
            self.check_unwritten()
        if output is None:
            output = stand_in(g._data if as_tensors else g)
        inputs = saved
        if as_tensors:
            inputs, output = self._as_tensors(output)
        found = []
        if op.joint_rule is None:
            rules, last = op.rules, len(op.rules) - 1
            for i, parent in enumerate(parents):
                if parent is not None and (useful is None or useful(parent)):
                    rule = rules[i if i < last else last]
                    result = rule(g, output, *inputs, **self.params)
                    if result is not None:
                        found.append((parent, unbroadcast(op, result, saved[i])))
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
                found.append((parent, unbroadcast(op, result, x)))
        return found

    def _as_tensors(self, output: Any) -> tuple[tuple, Any]:
        """What was saved, and the output, as Tensors with their history."""
        inputs = tuple(map(_as_tensor, self.saved, self.parents))
        if modes.get().capturing:  # operators on plain arrays would not be seen
            inputs = tuple(wrap(x) if is_array(x) else x for x in inputs)
        if isinstance(output, tuple):
            return inputs, tuple(_as_tensor(y, Slot(self, i)) for i, y in enumerate(output))
        return inputs, _as_tensor(output, self)

    def check_unwritten(self) -> None:
        """Raise if an array that was kept here has been overwritten since.

        Raises:
            GradientError: one has.
        """
        outputs = self.output if isinstance(self.output, tuple) else (self.output,)
        for what, kept in (("input", self.saved), ("output", outputs)):
            for i, x in enumerate(kept):
                if is_array(x) and writes.overwritten(x, self.serial):
                    raise GradientError(
                        f"{what} {i} of '{self.op.__name__}', {describe(x)}, has been overwritten "
                        f"since it was used, and its gradient needs the old values; call "
                        f"backward before you write, or write to a copy"
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


def unbroadcast(op: "Op", g: Any, like: Any) -> Any:
    """Gradient `g` with the shape and dtype of the input: the one place that undoes broadcasting.

    Broadcasting copied the input along its missing axes and along its axes of length 1, so the
    gradient is summed along those. (Only methods are used, which arrays and Tensors share.)
    """
    if type(g) is not ndarray:
        if type(g) is not Tensor and not is_array(g):
            g = np.asarray(g)  # arithmetic on 0-d arrays gives NumPy scalars
        g = match_levels(g, like)
    elif type(like) is not ndarray and (type(like) is not Like or like.levels):
        g = match_levels(g, like)
    shape, given = like.shape, g.shape
    if given != shape:
        lead = len(given) - len(shape)
        grown = tuple(
            i for i, n in enumerate(given) if i < lead or (shape[i - lead] == 1 and n != 1)
        )
        if lead >= 0:
            # 16 bits are summed in float32, as the op does.
            total = g.sum if g.dtype.itemsize > 2 else functools.partial(ops.sum, g)
            g = total(axis=grown, keepdims=True)
            g = g.reshape(tuple(1 if i in grown else n for i, n in enumerate(given))[lead:])
        if g.shape != shape:
            raise GradientError(
                f"the rule of '{op.__name__}' gave a gradient of shape {given} for an input of "
                f"shape {shape}"
            )
        g = g if g.dtype == like.dtype else g.astype(like.dtype)
        for observer in modes.get().observers:
            observer.unbroadcast(given, g)
        return g
    return g if g.dtype == like.dtype else g.astype(like.dtype)


def match_levels(g: Any, like: Any) -> Any:
    """`g` with the hidden batch axes of `like`: under `vmap` they broadcast as the visible do.

    Those of a `vmap` in progress stay: inside it, a gradient is that of one example.
    """
    wanted = getattr(like, "levels", ())
    given = getattr(g._data if type(g) is Tensor else g, "levels", ())
    if given != wanted:
        active = modes.get().levels
        wanted = tuple(sorted({*wanted, *(v for v in given if v[0] in active)}))
        if given != wanted:
            return ops.batching._relevel(g, levels=wanted)
    return g


def stand_in(a: Any) -> Any:
    """What is kept of an array that no rule reads."""
    if type(a) is ndarray:
        return like(a.shape, a.dtype)
    return Like(a.shape, a.dtype, getattr(a, "levels", ())) if is_array(a) else a


def _held_by_a_tensor(x: Tensor) -> list[tuple[str, Any]]:
    """What memory reports call the array of a tensor."""
    edge, name = getattr(x, "edge", None), getattr(x, "name", None)
    what = repr(name) if name else f"gives '{edge.node.op.__name__}'" if edge else "a tensor"
    return [(what, getattr(x, "_data", None))]


def _held_by_a_node(node: Node) -> list[tuple[str, Any]]:
    """What memory reports call the arrays that a node keeps for its rule."""
    outputs = node.output if isinstance(node.output, tuple) else (node.output,)
    return [(f"kept by '{node.op.__name__}'", x) for x in (*(node.saved or ()), *outputs)]


memory.holds(Tensor, _held_by_a_tensor, rank=1)
memory.holds(Node, _held_by_a_node, rank=2)

ops: Any = None  # `minigrad.ops`, the array module for Tensors, once it has been loaded


def use_ops(module: Any) -> None:
    """Let `module` compute with Tensors: called by `minigrad.ops`, which stands above this."""
    global ops
    ops = module

"""Ops: one formula; perhaps a rule for its derivative; perhaps a kernel.

The second of three chapters; `minigrad.graph` comes before, `minigrad.autodiff` after.

A *rule* is written with ops and operators only, and those take arrays as well as Tensors. So one
rule serves at two speeds: the ordinary backward pass hands it arrays and records nothing; with
`create_graph=True` it is handed Tensors, and the gradient can itself be differentiated.
"""

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, overload

import numpy as np

from minigrad import graph, kernels, memory
from minigrad.arguments import PLAIN, STATIC, Signature, like, plain, reads
from minigrad.backend import array_module, describe, is_array, modes, switched
from minigrad.errors import DtypeError, GradientError, MinigradError, OutOfRangeError, ShapeError
from minigrad.graph import (
    NESTED,
    NUMBERS,
    Node,
    Slot,
    Tensor,
    as_arrays,
    joined,
    ndarray,
    stand_in,
    wrap,
)
from minigrad.precision import cast_to, governed

# Static parameters for which NumPy's users give small arrays; they become tuples.
SEQUENCES = {"pad_width", "repeats", "q", "shape", "axes", "axis", "shift", "sections"}

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
        named = type(kernel) is str or callable(kernel)
        self.kernel: dict[str, Any] = {"numpy": kernel} if named else dict(kernel or {})
        self._on_numpy = "numpy" in self.kernel
        self._calls: dict[str, Callable] = {}  # kernels that have been called
        self.joint_rule: Callable | None = None
        self.rules: tuple[Callable, ...] | None = None
        self.differentiable = True
        self._keeps: dict[int, tuple[bool, tuple[int, ...]]] = {}
        ours = self.__module__.startswith("minigrad.")
        self.policy = governed(self.__name__) if ours else 0
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
            inputs, params = self.bind(inputs, params)  # type: ignore[assignment]
        module: Any
        y: Any
        arrays, parents, tracked, tensors, module, bit = [], [], 0, False, np, 1
        for x in inputs:
            parent = None
            if type(x) is Tensor:
                tensors = True
                if x._tracked:
                    tracked |= bit
                    parent = x.edge or x
                x = x._data
            if type(x) not in PLAIN:
                module = None
            arrays.append(x)
            parents.append(parent)
            bit += bit
        # A number beside others lifts nothing, and stays one; alone it becomes an array.
        if module is None or (self.arity == 1 and type(arrays[0]) is not ndarray):
            together = [joined(x) for x in inputs]
            if any(x is not y for x, y in zip(together, inputs, strict=True)):
                return self(*together, **params)  # with the history of Tensors that were in lists
            arrays = plain(arrays)
            module = array_module(*arrays)
        if params:
            self.check_static(params)
        mode = modes.get()
        if mode.autocast is not None and self.policy:
            return self.under_autocast(mode.autocast, inputs, params)
        if tracked:
            if not mode.recording or not self.differentiable:
                tracked = 0
            elif self.joint_rule is None and self.rules is None:
                return self.inline(inputs, arrays, params)
        if mode.observers:
            parts = mode.capturing and tensors and self.only_composed()
            if parts and not any(observer.whole(self) for observer in mode.observers):
                return self.inline(inputs, arrays, params)  # programs have kernels for its parts
            began, given = time.perf_counter(), list(arrays)
        try:
            y = NotImplemented
            if self.kernel and (self._on_numpy or module is not np):
                y = self.compute_by_kernel(module, arrays, params)
            if by_formula := y is NotImplemented:
                y = (
                    self.formula(module, *arrays, **params)
                    if params
                    else self.formula(module, *arrays)
                )
        except (ValueError, IndexError, AttributeError, MemoryError) as error:
            return self.failed(error, inputs, arrays, params)
        if type(y) is not ndarray or self.outputs != 1:
            y = self.checked(module, y)
        if tracked:
            y = self.record(arrays, parents, params, tracked, bit, y)
        elif tensors:
            y = wrap(y) if self.outputs == 1 else tuple(map(wrap, y))
        if mode.observers:
            seconds = time.perf_counter() - began
            for observer in mode.observers:
                observer.called(self, given, params, y, seconds, not by_formula)
        return y

    def under_autocast(self, dtype: np.dtype, inputs: tuple, params: dict) -> Any:
        """The call with its inputs in the precision that `minigrad.precision` has for the op."""
        policy, cast = self.policy, list(inputs)
        for i, x in enumerate(inputs if policy < 0 else inputs[:policy]):
            if (target := cast_to(x, policy, dtype)) is not None:
                cast[i] = graph.ops.astype(x, dtype=target)
        with switched(autocast=None):  # what the op is made of computes in what it is given
            return self(*cast, **params)

    def check_static(self, params: dict[str, Any]) -> None:
        """Raise if a static parameter is an array.

        Raises:
            TypeError: one is.
        """
        for name, value in params.items():
            if type(value) is ndarray and name in SEQUENCES and value.size <= 4096:
                params[name] = _nested(value.tolist())
            elif type(value) not in STATIC and (type(value) is Tensor or is_array(value)):
                raise TypeError(
                    f"{self.__name__}: '{name}' is a static parameter and cannot be an array"
                )

    def only_composed(self) -> bool:
        """Whether the formula is all there is: neither a rule nor a kernel stands for the whole."""
        rules = self.joint_rule is not None or self.rules is not None
        return not (self.primitive or rules or self.kernel) and self.differentiable

    def inline(self, inputs: tuple, arrays: list, params: dict) -> Any:
        """Record, in place of a call without a rule, the ops that its formula is made of.

        Raises:
            GradientError: it is a primitive, which is not made of ops.
        """
        if self.primitive:
            raise GradientError(
                f"the primitive '{self.__name__}' has no rule: give it one with @{self.__name__}"
                f".vjp, or declare .no_gradient()"
            )
        # Formulas ask their inputs for shapes and dtypes, which lists have none of.
        inputs = tuple(a if type(x) in NESTED else x for x, a in zip(inputs, arrays, strict=True))
        try:
            return self.formula(graph.ops, *inputs, **params)
        except (ValueError, IndexError, AttributeError) as error:
            return self.failed(error, inputs, arrays, params)

    def failed(self, error: Exception, inputs: tuple, arrays: list, params: dict) -> Any:
        """What the call gives after an error of the formula, if that can be mended."""
        if isinstance(error, AttributeError):
            return self.without_numbers(error, inputs, params)
        raise self.explained(error, arrays) from error

    def without_numbers(self, error: AttributeError, inputs: tuple, params: dict) -> Any:
        """The call with arrays in place of numbers, if a formula asked one what only arrays know.

        Raises:
            TypeError: it was something else, such as a text or None, that is neither.
        """
        kind = type(error.obj)
        if kind in (*NUMBERS, *NESTED) and any(type(x) in (*NUMBERS, *NESTED) for x in inputs):
            return self(*as_arrays(*inputs), **params)
        if kind not in (*NUMBERS, *NESTED, str, dict, type(None)):
            raise error
        raise TypeError(
            f"{self.__name__}: expected arrays or Tensors, there is a {kind.__name__} among "
            f"{', '.join(map(describe, inputs))}"
        ) from error

    def checked(self, module: Any, y: Any) -> Any:
        """What a formula gave, as an array or as the tuple of arrays that was declared.

        Raises:
            TypeError: it gave more or fewer than declared.
        """
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
        """An output as an array: np.sum gives scalars.

        Raises:
            DtypeError: it is not of real numbers.
        """
        if hasattr(module, "as_output"):
            return module.as_output(y)
        y = y if is_array(y) else module.asarray(y)
        if y.dtype.kind not in "fiubV":
            raise DtypeError(f"{self.__name__} gave {y.dtype}; only real numbers are supported")
        return y

    def compute_by_kernel(self, module: Any, arrays: Sequence, params: dict[str, Any]) -> Any:
        """The kernel's value; `NotImplemented` if there is none for `module` or it declines."""
        name = module.__name__
        if not kernels.enabled():
            return NotImplemented
        if name not in self._calls:  # one of ours imports Numba or CuPy: not before it is wanted
            self._calls[name] = self.call_on(name)
        return self._calls[name](*arrays, **(self.static | params))

    def call_on(self, module: str) -> Callable:
        """The kernel for the arrays of 'numpy' or 'cupy'; one that declines all, if there is none.

        A name, `page.kernel`, is that of a page for each of them.
        """
        named = self.kernel.get(module)
        if module == "cupy" and type(self.kernel.get("numpy")) is str:
            named = kernels.twin(self.kernel["numpy"])
        if named is None:
            return _declines
        return kernels.find(named).call if type(named) is str else named

    def explained(self, error: Exception, arrays: Sequence) -> Exception:
        """An error of the formula as one that names the op and what came."""
        if isinstance(error, MinigradError):
            return error
        if isinstance(error, MemoryError):
            return memory.exhausted(error, self.__name__.removeprefix("_"), arrays)
        kind = OutOfRangeError if isinstance(error, IndexError) else ShapeError
        came, name = ", ".join(map(describe, arrays)), self.__name__.removeprefix("_")
        return kind(f"{name}: {str(error).removeprefix(f'{name}: ')} (inputs: {came})")

    def record(
        self, arrays: list, parents: list, params: dict, tracked: int, bit: int, y: Any
    ) -> Any:
        """The output as Tensors that know this call; `arrays` are the node's from here on.

        The bits of `tracked` say which inputs are; `bit` is the one above, and so tells how many
        inputs there are.
        """
        keeps = self._keeps.get(tracked | bit)
        if keeps is None:
            keeps = self._keeps[tracked | bit] = self.keeps(tracked, len(arrays))
        keep_output, drop = keeps
        saved = arrays
        for i in drop:
            a = saved[i]
            saved[i] = like(a.shape, a.dtype) if type(a) is ndarray else stand_in(a)
        if self.outputs > 1:
            node = Node(self, parents, saved, y if keep_output else tuple(map(stand_in, y)), params)
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

    def keeps(self, tracked: int, count: int) -> tuple[bool, tuple[int, ...]]:
        """Whether the rules for the tracked inputs read the output; which inputs they do not."""
        rules: Sequence[Any] = (self.joint_rule,)
        if self.joint_rule is None:
            own = self.rules or ()
            rules = [own[min(i, len(own) - 1)] for i in range(count) if tracked >> i & 1]
        needs = [reads(rule, count) for rule in rules]
        unread = (i for i in range(count) if not any(inputs[i] for _, inputs in needs))
        return any(output for output, _ in needs), tuple(unread)

    def __repr__(self) -> str:
        shown = self.__signature__.replace(return_annotation=inspect.Signature.empty)
        return f"<op {self.__name__}{shown}>"


def _declines(*inputs: Any, **params: Any) -> Any:
    return NotImplemented


def _nested(x: Any) -> Any:
    return tuple(map(_nested, x)) if isinstance(x, list) else x


Formula = Callable[Concatenate[Any, P], Any]


@overload
def op(formula: Formula[P], /) -> Op[P]: ...
@overload
def op(*, kernel: Any = None, outputs: int = 1) -> Callable[[Formula[P]], Op[P]]: ...
def op(formula: Any = None, *, kernel: Any = None, outputs: int = 1) -> Any:
    """Decorator: a composite op from a formula in `xp` whose functions `minigrad.ops` has too.

    Args:
        kernel: a faster version for NumPy arrays, called with the inputs and all static parameters,
            which returns NotImplemented where it declines; or where there is one in
            `minigrad.kernels`, as 'page.name'; or a mapping of these by 'numpy' and 'cupy'.
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

"""The arguments of an op: which are inputs and which static, what may be mixed, what a rule reads;
and the options of everything else, which are counts and numbers.

Nothing here knows of tensors or gradients; `minigrad.autodiff` is read more easily without it.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minigrad.backend import array_module, is_array
from minigrad.errors import DtypeError

# Types that enter a formula as they are. A NumPy float64 is a Python float, and stays as weak.
PLAIN = {np.ndarray, int, float, bool, type(None)}
STATIC = {int, float, bool, str, tuple, type(None)}  # types that static parameters mostly have

_EMPTY = inspect.Parameter.empty


# What PyTorch's users give by a name that is not there.
_IN_PYTORCH = {
    "dim": "; it is called axis here",
    "inplace": "; nothing is changed in place, take the result",
    "input": "; give it first, without a name",
    "keepdim": "; it is called keepdims here",
    "out": "; nothing is written into, take the result",
}


class Signature:
    """The parameters of a formula `f(xp, *inputs, **params)`.

    Attributes:
        inputs: names and defaults of what may be an array.
        static: names and defaults of the keyword parameters.
        arity: how many inputs there are; None for any number.
    """

    def __init__(self, name: str, formula: Callable):
        first, *rest = inspect.signature(formula).parameters.values()
        if first.name != "xp":
            raise TypeError(f"the formula of '{name}' must take 'xp' first")
        self.name, self.signature = name, inspect.Signature(rest)
        self.static = {p.name: p.default for p in rest if p.kind is p.KEYWORD_ONLY}
        self.inputs = {p.name: p.default for p in rest if p.kind is p.POSITIONAL_OR_KEYWORD}
        variadic = any(p.kind is p.VAR_POSITIONAL for p in rest)
        self.arity = None if variadic else len(self.inputs)
        self.names = tuple(self.inputs)
        defaults = tuple(self.inputs.values())
        self.tails = {  # by the number of inputs that are given: the defaults of the others
            n: defaults[n:] for n in range(len(defaults)) if _EMPTY not in defaults[n:]
        }
        self.required = [name for name, default in self.static.items() if default is _EMPTY]

    def bind(self, inputs: tuple, params: dict) -> tuple[tuple, dict]:
        """Inputs in their places and static parameters by name, as NumPy lets one mix them.

        `sum(x, 0)`, `sum(x, axis=0)` and `layer_norm(x, weight=w)` all work.
        """
        tail = self.tails.get(len(inputs))
        if tail is not None and not params and not self.required:
            return inputs + tail, params  # the common case, quickly
        if self.arity is not None:
            inputs, extra = inputs[: self.arity], inputs[self.arity :]
            if len(extra) > len(self.static):
                raise TypeError(f"{self.name}{self.signature}: too many arguments")
            for name, value in zip(self.static, extra, strict=False):
                if name in params:
                    raise TypeError(f"{self.name}: two values for '{name}'")
                params[name] = value
            for name in self.names[: len(inputs)]:
                if name in params:
                    raise TypeError(f"{self.name}: two values for '{name}'")
            for name in self.names[len(inputs) :]:
                inputs += (params.pop(name, self.inputs[name]),)
            for name, value in zip(self.names, inputs, strict=True):
                if value is _EMPTY:
                    raise self.missing(name)
        for name in params:
            if name not in self.static:
                raise TypeError(
                    f"{self.name}{self.signature}: there is no argument '{name}'"
                    f"{_IN_PYTORCH.get(name, '')}"
                )
        for name in self.required:
            if name not in params:
                raise self.missing(name)
        return inputs, params

    def missing(self, name: str) -> TypeError:
        """The error for an argument that was not given."""
        return TypeError(f"{self.name}{self.signature}: '{name}' is missing")


def plain(arrays: Sequence[Any]) -> list[Any]:
    """Inputs as formulas take them: scalars that lift nothing, lists as arrays beside the others.

    A number alone becomes an array.

    Raises:
        DtypeError: something is complex, or a list holds no numbers.
    """
    kept = {np.ndarray} if len(arrays) == 1 else PLAIN
    return [x if type(x) in kept else _plain(x, arrays) for x in arrays]


def _plain(x: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(x, float) and any(_narrow(v) for v in arrays):
        return float(x)  # np.float64 is a float: it must not lift float32 arrays
    if type(x) is Captured:
        return x.array
    if isinstance(x, np.generic):
        x = array_module(*arrays).asarray(x)
    elif type(x) in (list, tuple, range) or (len(arrays) == 1 and type(x) in (bool, int, float)):
        numbers = np.asarray(x)
        if numbers.dtype.kind not in "fiubc":
            raise DtypeError(f"expected numbers, got {x!r:.80}")
        numbers = numbers.astype(np.float32) if numbers.dtype == np.float64 else numbers
        x = array_module(*arrays).asarray(numbers)
    elif not is_array(x) and hasattr(x, "__dlpack__") and hasattr(x, "shape"):
        raise TypeError(
            f"expected an array or a Tensor, got {type(x).__module__}.{type(x).__name__}; share it "
            f"by minigrad.from_dlpack(x)"
        )
    if isinstance(x, complex) or (is_array(x) and x.dtype.kind == "c"):
        raise DtypeError("complex numbers are not supported; keep real and imaginary part apart")
    return x


def _narrow(x: Any) -> bool:
    """Whether `x` has a floating-point dtype below float64."""
    dtype = getattr(x, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.itemsize < 8 and dtype.kind in "fV"


class Captured(np.lib.mixins.NDArrayOperatorsMixin):
    """What `x.data` is while a step is captured: an array without values, for ops and tensors only.

    The values of the moment are not those of later runs, so NumPy must not compute with them.

    Args:
        array: which it stands for.
        capture: who refuses to tell values.
    """

    __slots__ = ("array", "capture")

    def __init__(self, array: np.ndarray, capture: Any):
        self.array, self.capture = array, capture

    def __getattr__(self, name: str) -> Any:
        if name not in _WITHOUT_VALUES:
            self.capture.refuse(f".{name} of an array")
        return getattr(self.array, name)

    def __len__(self) -> int:
        return len(self.array)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            self.capture.overwrites(self.array)
        self.capture.refuse(f"np.{ufunc.__name__} of an array")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self.capture.refuse(f"np.{function.__name__} of an array")

    def __setitem__(self, key: Any, value: Any) -> None:
        self.capture.overwrites(self.array)

    def __repr__(self) -> str:
        return f"<captured {self.array.dtype} {self.array.shape}>"


_WITHOUT_VALUES = {"shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags"}


def _refused(name: str) -> Callable:
    return lambda self, *args, **kwargs: self.capture.refuse(f"{name} of an array")


for _name in ("array", "getitem", "iter", "float", "int", "bool", "index", "contains", "complex"):
    setattr(Captured, f"__{_name}__", _refused(f"__{_name}__"))


# ---------------------------------------------------------------------------- numbers as options


def count(function: str, name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """`value` as an int, if it is an integer from `least` up to `most`.

    True is none, nor is 2.0: who passes one has mistaken an argument for another.

    Raises:
        ValueError: it is not.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{function}: expects {name} to be an integer {bounds}, got {value!r}")
    return int(value)


def number(
    function: str, name: str, value: Any, least: float = 0, most: float | None = None
) -> float:
    """`value` as a float, if it is a finite number from `least` up to `most`, and not True.

    Raises:
        ValueError: it is not.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and type(value) is not bool
    if not real or not least <= value < np.inf or (most is not None and value > most):
        bounds = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{function}: expects {name} to be a number {bounds}, got {value!r}")
    return float(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """What an error about an unknown name ends with: the one that was meant, maybe, or nothing."""
    import difflib

    near = difflib.get_close_matches(str(name), [str(k) for k in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# ---------------------------------------------------------------------------- what rules read


class Like:
    """What a rule gets for an input whose values it does not need, so that they are not kept.

    Attributes:
        levels: the hidden batch axes of `minigrad.batched`, as (level, length); mostly none.
    """

    __slots__ = ("dtype", "levels", "shape")

    __array_ufunc__ = None  # arithmetic with it, by a rule that reads it all the same, is an error

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, levels: tuple = ()):
        self.shape, self.dtype, self.levels = shape, dtype, levels

    ndim = property(lambda self: len(self.shape))


like = functools.lru_cache(maxsize=1024)(Like)  # few are ever different, so they are shared


def reads(rule: Callable, count: int) -> tuple[bool, list[bool]]:
    """Whether a rule reads the output, and which of `count` inputs it reads.

    It does not read what has a leading underscore in its name.
    """
    _, output, *inputs = inspect.signature(rule).parameters.values()
    found: list[bool] = []
    for p in inputs:
        if p.kind is p.VAR_POSITIONAL:
            found += [not p.name.startswith("_")] * (count - len(found))
        elif p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD:
            found.append(not p.name.startswith("_"))
    return not output.name.startswith("_"), found + [True] * (count - len(found))

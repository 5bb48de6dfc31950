"""Modules: parameters in named attributes, and what one does with all of them at once."""

import reprlib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from minigrad.autodiff import Tensor, wrap
from minigrad.backend import array_module, is_array, to_numpy, xp
from minigrad.errors import StateError
from minigrad.writes import wrote


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """A tensor that a module owns and an optimizer changes: it has a name.

    The name is given by `Module.parameters()`; until then it is 'parameter'. The data is moved to
    the backend in force.
    """
    data = data.data if type(data) is Tensor else data
    return Tensor(xp().asarray(data), requires_grad, name="parameter")


_changes = [0]


def changes() -> int:
    """How often an attribute of any module has been set so far."""
    return _changes[0]


class Module:
    """A function with parameters. Subclasses set attributes and define `forward`.

    Whatever a module holds in its attributes is found there: parameters, other modules, and lists,
    tuples or dictionaries of them. A parameter is made with `nn.Parameter`; nothing is registered.
    The order is that in which the attributes were set. What is held twice is listed once, under its
    first name.

    Calling a module turns arrays and lists of numbers into Tensors, so a module always gives
    Tensors. (Tuples reach `forward` as they are.)
    """

    training = True
    _hooks: dict[str, list[Callable]] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        _changes[0] += 1

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = [_as_input(x) for x in args]
        kwargs = {k: _as_input(x) for k, x in kwargs.items()}
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        for hook in self._hooks["before"]:
            if (new := hook(self, tuple(args))) is not None:
                args = list(new) if isinstance(new, tuple) else [new]
        out = self.forward(*args, **kwargs)
        for hook in self._hooks["after"]:
            if (new := hook(self, tuple(args), out)) is not None:
                out = new
        return out

    def register_forward_pre_hook(self, hook: Callable) -> Callable[[], None]:
        """Have `hook(module, args)` called before `forward`; what it returns replaces `args`.

        A value that is no tuple stands for a single argument. Returns a function that removes it.
        """
        return self._register("before", hook)

    def register_forward_hook(self, hook: Callable) -> Callable[[], None]:
        """Have `hook(module, args, output)` called after `forward`; what it returns replaces the
        output, unless it is None. Returns a function that removes the hook.
        """
        return self._register("after", hook)

    def _register(self, when: str, hook: Callable) -> Callable[[], None]:
        if self._hooks is None:
            self._hooks = {"before": [], "after": []}
        hooks = self._hooks[when]
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    # -- what is inside

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """Pairs (name, module): this one, named '', and all below it, from the top down."""
        yield from ((name, m) for name, m in _walk(self, "", set()) if isinstance(m, Module))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (full name, parameter), such as ('layers.0.weight', ...), each parameter once.

        Raises:
            StateError: two parameters have one name (as the keys 1 and '1' give), or a tensor made
                with `requires_grad` is no parameter, so that nothing would train it.
        """
        found: dict[str, Tensor] = {}
        for name, p in _walk(self, "", set()):
            if type(p) is not Tensor:
                continue
            if p.name is None:
                raise StateError(
                    f"{type(self).__name__}: '{name}' requires gradients but is not a parameter, "
                    f"so it would not be trained; make it with nn.Parameter(...)"
                )
            if name in found:
                raise StateError(
                    f"{type(self).__name__}: two parameters are called '{name}', of shapes "
                    f"{found[name].shape} and {p.shape}; rename an attribute or key"
                )
            found[name] = p
        return iter(found.items())

    def parameters(self) -> list[Tensor]:
        """All parameters; from here on each knows its full name below this module."""
        found = []
        for name, p in self.named_parameters():
            p.name = name
            found.append(p)
        return found

    # -- modes

    def train(self, mode: bool = True) -> Self:
        """Behave as in training (dropout drops), here and below; returns itself."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in use (dropout passes), here and below; returns itself."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Unfreeze, or with False freeze, all parameters; returns itself."""
        for _, p in self.named_parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Make all gradients absent."""
        for _, p in self.named_parameters():
            p.grad = None

    # -- state

    def state_dict(self, layout: str = "minigrad") -> dict[str, np.ndarray]:
        """Copies of all parameters on the host, by full name.

        Args:
            layout: 'torch' for the names and shapes of PyTorch where they differ from ours: an
                attention's projections of query, key and value packed as `in_proj_weight`.
        """
        if layout not in ("minigrad", "torch"):
            raise ValueError(f"state_dict: layout must be 'minigrad' or 'torch', got {layout!r}")
        state = {name: np.array(to_numpy(p.data)) for name, p in self.named_parameters()}
        if layout == "torch":
            for prefix, module in self.named_modules():
                module.pack_state(state, f"{prefix}." if prefix else "")
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy the values of `state` into the parameters of the same names.

        Entries in PyTorch's packed layout are unpacked first. A tied parameter may stand under any
        of its names, and under several if their values are the same, as PyTorch writes it.

        Args:
            state: NumPy arrays, device arrays or Tensors by full name.
            strict: every parameter must be there and nothing else. Without it, absent and
                unexpected names are passed over; shapes and dtypes must fit all the same.

        Raises:
            StateError: `state` is not a mapping; or lists everything that is missing, unexpected,
                of another shape or dtype, or in conflict with another name of the same parameter.
                Nothing has been changed then.
        """
        if not isinstance(state, Mapping):
            raise StateError(
                f"load_state_dict: expected a mapping of names to arrays, got "
                f"{type(state).__name__}"
            )
        state = {k: v.data if type(v) is Tensor else v for k, v in state.items()}
        wanted = dict(self.named_parameters())
        names: dict[int, list[str]] = {}  # of each parameter: every path that leads to it
        for name, inside in _walk(self, "", set(), every_path=True):
            if isinstance(inside, Module):
                inside.unpack_state(state, f"{name}." if name else "")
            elif wanted.get(name, inside) is inside:
                names.setdefault(id(inside), []).append(name)
        problems = []
        if strict:
            known = {name for several in names.values() for name in several}
            problems += [f"unexpected: {k} {_kind(v)}" for k, v in state.items() if k not in known]
        values: dict[str, Any] = {}
        for first, p in wanted.items():
            given = [name for name in names[id(p)] if name in state]
            if strict and not given:
                problems.append(f"missing: {first} {_kind(p)}")
            for name in given:
                theirs = state[name]
                if not hasattr(theirs, "dtype") or tuple(theirs.shape) != p.shape:
                    problems.append(f"shape: {name} must be {_kind(p)}, got {_kind(theirs)}")
                elif theirs.dtype != p.dtype:
                    problems.append(f"dtype: {name} must be {_kind(p)}, got {_kind(theirs)}")
                elif not _same(values.setdefault(first, theirs), theirs):
                    problems.append(f"conflict: {name} is tied to {first}, and its values differ")
        if problems:
            listing = "\n  ".join(sorted(problems))
            raise StateError(
                f"load_state_dict: {len(problems)} entries do not fit {type(self).__name__}; "
                f"nothing was loaded:\n  {listing}"
            )
        for name, value in values.items():
            p = wanted[name]
            p.data[...] = array_module(p.data).asarray(value)
            wrote(p.data)

    def pack_state(self, state: dict[str, np.ndarray], prefix: str) -> None:
        """Rewrite this module's own entries of `state` to PyTorch's layout; for subclasses."""

    def unpack_state(self, state: dict[str, Any], prefix: str) -> None:
        """Rewrite PyTorch's entries for this module in `state` to ours; for subclasses."""

    # -- pictures

    def summary(self) -> str:
        """A table: each parameter's name, shape, dtype, count and bytes, and the totals."""
        rows = [("parameter", "shape", "dtype", "count", "bytes")]
        count = size = 0
        for name, p in self.named_parameters():
            frozen = "" if p.requires_grad else " (frozen)"
            rows.append(
                (name + frozen, str(p.shape), str(p.dtype), f"{p.size:,}", f"{p.data.nbytes:,}")
            )
            count, size = count + p.size, size + p.data.nbytes
        rows.append((f"total of {type(self).__name__}", "", "", f"{count:,}", f"{size:,}"))
        widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]

        def cells(row):
            for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
                gap = " " * (width - _columns(cell))
                yield cell + gap if i < 3 else gap + cell

        return "\n".join("  ".join(cells(row)).rstrip() for row in rows)

    def extra_repr(self) -> str:
        """What stands in the parentheses of this module's line in `repr`; for subclasses."""
        return ""

    @reprlib.recursive_repr()  # '...' for a module that holds itself
    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in _children(self)
        ]
        name, extra = type(self).__name__, self.extra_repr()
        if not lines:
            return f"{name}({extra})"
        return "\n".join([f"{name}(", *([f"  {extra}"] if extra else []), *lines, ")"])


def _as_input(x: Any) -> Any:
    """An array or a list of numbers as a Tensor, anything else as it is."""
    if is_array(x):
        return wrap(x)
    return Tensor(x) if isinstance(x, list) and _holds_numbers(x) else x


def _holds_numbers(values: list) -> bool:
    """Whether lists, at any depth, hold numbers and nothing else; an empty one holds none."""
    return bool(values) and all(
        _holds_numbers(v)
        if isinstance(v, list)
        else isinstance(v, int | float | np.number | np.bool)
        for v in values
    )


def _columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for each wide character, as in 日本."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _kind(x: Any) -> str:
    return f"{tuple(x.shape)} {x.dtype}" if hasattr(x, "dtype") else type(x).__name__


def _same(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape and dtype have the same values; NaN is like NaN."""
    return a is b or np.array_equal(to_numpy(a), to_numpy(b), equal_nan=True)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """The named parts of a module, list, tuple or dictionary."""
    if isinstance(value, Module):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(i), v) for i, v in enumerate(value))


def _walk(
    value: Any, name: str, seen: set[int], every_path: bool = False
) -> Iterator[tuple[str, Any]]:
    """Modules and parameters in and below `value`, in order, with full names.

    Each once, under its first name; or with `every_path` under each name that leads to it. Among
    the parameters are nameless tensors made with `requires_grad`, which ought to be parameters.
    """
    is_parameter = type(value) is Tensor and (
        value.name is not None or (value.requires_grad and value.is_leaf)
    )
    if is_parameter or isinstance(value, Module | Mapping | list | tuple):
        if id(value) in seen:
            return
        seen.add(id(value))
        if is_parameter or isinstance(value, Module):
            yield name, value
        for part, inside in _items(value):
            yield from _walk(inside, f"{name}.{part}" if name else part, seen, every_path)
        if every_path:
            seen.remove(id(value))  # met again it is another path, unless inside itself


def _children(module: Module) -> Iterator[tuple[str, Module]]:
    """The modules directly below, those in lists and dictionaries among them."""
    for name, value in _items(module):
        if isinstance(value, Module):
            yield name, value
        elif type(value) is not Tensor:
            yield from (
                (f"{name}.{part}", inside)
                for part, inside in _items(value)
                if isinstance(inside, Module)
            )

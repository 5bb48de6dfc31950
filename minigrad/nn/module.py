"""Modules: parameters and buffers in named attributes, and what one does with all of them."""

import contextlib
import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad import devices
from minigrad.autodiff import Tensor, wrap
from minigrad.backend import array_module, is_array, refuse_while_capturing, to_numpy, xp
from minigrad.errors import StateError
from minigrad.nn import overview
from minigrad.sparse import SparseRows
from minigrad.writes import wrote


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """A tensor that a module owns and an optimizer changes: it has a name.

    The name is given by `Module.parameters()`; until then it is 'parameter'. The data is moved to
    the backend in force.
    """
    data = data.data if type(data) is Tensor else data
    return Tensor(xp().asarray(data), requires_grad, name="parameter")


class Buffer(NamedTuple):
    """An array that a module owns and its `forward` changes, such as running statistics.

    Assigned to an attribute it becomes a Tensor there, which is saved and loaded with the
    parameters, and which no optimizer sees. See also `Module.register_buffer`.
    """

    data: Any
    persistent: bool = True


class Unmatched(NamedTuple("Unmatched", [("missing_keys", list), ("unexpected_keys", list)])):
    """The names that `load_state_dict(..., strict=False)` passed over; printed, a list of them.

    As PyTorch's result it is a pair, `missing, unexpected = model.load_state_dict(...)`.

    Attributes:
        missing_keys: of the model, which the state has not; of a lazy layer that is not made yet,
            its name.
        unexpected_keys: of the state, which the model has not.
        nearest: for an unexpected name the missing one that is most like it, of the same shape.
    """

    nearest: Mapping[str, str] = {}

    def __str__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "all names matched"
        lines = [f"missing: {name}" for name in self.missing_keys]
        lines += [f"unexpected: {k}{_hint(k, self.nearest)}" for k in self.unexpected_keys]
        return "\n".join(lines)


_changes = [0]


def changes() -> int:
    """How often an attribute of any module has been set so far."""
    return _changes[0]


class Module:
    """A function with parameters. Subclasses set attributes and define `forward`.

    Whatever a module holds in its attributes is found there: parameters, other modules, and lists,
    tuples or dictionaries of them. A parameter is made with `nn.Parameter`, state that is not
    trained with `nn.Buffer`. The order is that in which the attributes were set. What is held twice
    is listed once, under its first name.

    Calling a module turns arrays and lists of numbers into Tensors, so a module always gives
    Tensors. (Tuples reach `forward` as they are.)
    """

    training = True
    unmade = False  # whether it will make its parameters at its first call, see `minigrad.nn.lazy`
    _hooks: dict[str, list[Callable]] | None = None
    _buffers: Mapping[str, bool] = {}  # name: whether it is saved

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Buffer:
            return self.register_buffer(name, *value)
        if name in self._buffers and is_array(value):
            value = Tensor(value)
        object.__setattr__(self, name, value)
        _changes[0] += 1

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        _changes[0] += 1

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(_as_input(x) for x in args)
        kwargs = {k: _as_input(x) for k, x in kwargs.items()}
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        for hook in self._hooks["before"]:
            if (new := hook(self, args)) is not None:
                args = new if isinstance(new, tuple) else (new,)
        out = self.forward(*args, **kwargs)
        for hook in self._hooks["after"]:
            if (new := hook(self, args, out)) is not None:
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

    def register_buffer(self, name: str, data: Any, persistent: bool = True) -> None:
        """Set attribute `name` to a Tensor of `data`, or None, that belongs to the state.

        Args:
            data: moved to the backend in force.
            persistent: whether `state_dict` has it.
        """
        if data is not None:
            data = Tensor(xp().asarray(data.data if type(data) is Tensor else data))
        object.__setattr__(self, "_buffers", {**self._buffers, name: persistent})
        self.__setattr__(name, data)

    # -- what is inside

    def modules(self) -> list["Module"]:
        """This module and all below it, from the top down."""
        return [m for _, m in self.named_modules()]

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Pairs (name, module) of the modules directly below, those in lists among them."""
        return _children(self)

    def children(self) -> list["Module"]:
        """The modules directly below."""
        return [m for _, m in _children(self)]

    def apply(self, function: Callable[["Module"], Any]) -> Self:
        """Call `function` with every module below, then with this one; returns itself.

        For initial values: `model.apply(lambda m: ...)`.
        """
        for module in reversed(self.modules()):
            function(module)
        return self

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """Pairs (name, module): this one, named '', and all below it, from the top down."""
        yield from ((name, m) for name, m in _walk(self, "", set()) if isinstance(m, Module))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (full name, parameter), such as ('layers.0.weight', ...), each parameter once.

        Raises:
            StateError: two parameters have one name (as the keys 1 and '1' give), or a tensor made
                with `requires_grad` is no parameter, so that nothing would train it; or a lazy
                layer has not been called yet.
        """
        return iter(self._parameters(complete=True).items())

    def _parameters(self, complete: bool) -> dict[str, Tensor]:
        """Parameters by name; those that are not made yet are missing, unless `complete`."""
        found: dict[str, Tensor] = {}
        for name, p in _walk(self, "", set()):
            if type(p) is not Tensor:
                if complete and type(p) is not Buffer and p.unmade:
                    raise self._has_to_be_called(name, p)
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
        return found

    def _has_to_be_called(self, name: str, module: "Module") -> StateError:
        where = f" at '{name}'" if name else ""
        return StateError(
            f"{type(self).__name__}: the {type(module).__name__}{where} has no parameters yet, "
            f"they are made at its first call; call the model once on an example before"
        )

    def parameters(self) -> list[Tensor]:
        """All parameters; from here on each knows its full name below this module."""
        found = []
        for name, p in self.named_parameters():
            p.name = name
            found.append(p)
        return found

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (full name, buffer), such as ('norm.running_mean', ...), each buffer once."""
        for name, b in _walk(self, "", set()):
            if type(b) is Buffer:
                yield name, b.data
            elif isinstance(b, Module) and b.unmade:
                raise self._has_to_be_called(name, b)

    def buffers(self) -> list[Tensor]:
        """All buffers."""
        return [b for _, b in self.named_buffers()]

    def _named_state(self, complete: bool = True) -> dict[str, Tensor]:
        """What is saved, by full name and in order: parameters and persistent buffers."""
        found = self._parameters(complete)
        state = {}
        for name, x in _walk(self, "", set()):
            if type(x) is Buffer and x.persistent:
                if name in found:
                    raise StateError(
                        f"{type(self).__name__}: a parameter and a buffer are called '{name}'; "
                        f"rename an attribute or key"
                    )
                state[name] = x.data
            elif type(x) is Tensor:
                state[name] = found[name]
        return state

    # -- modes

    def train(self, mode: bool = True) -> Self:
        """Behave as in training (dropout drops), here and below; returns itself."""
        for _, module in self.named_modules():
            if module.training is not mode:  # what jit has looked at need not be looked at again
                module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in use (dropout passes), here and below; returns itself."""
        return self.train(False)

    @contextlib.contextmanager
    def in_mode(self, training: bool) -> Iterator[Self]:
        """In the block as after `train(training)`; afterwards each module is as it was.

        with model.in_mode(training=False):
            y = model(x)
        """
        before = [(module, module.training) for module in self.modules()]
        try:
            self.train(training)
            yield self
        finally:
            for module, mode in before:
                if module.training is not mode:
                    module.training = mode

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Unfreeze, or with False freeze, all parameters; returns itself."""
        for _, p in self.named_parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Make all gradients absent."""
        for p in self._parameters(complete=False).values():
            p.grad = None

    # -- where it is

    def to(self, target: Any = None, dtype: Any = None, *, device: str | None = None) -> Self:
        """Move all parameters, their gradients and buffers to a device, in place; returns itself.

            model.to("cuda:0")    model.to("cpu", "float64")    model.to(x)

        Move a model before its optimizer is made: `model.to(device)`, then `optim.Adam(model)`. An
        optimizer of before says so at its next step; a new one takes over its state by
        `new.load_state_dict(old.state_dict())`.

        Args:
            target: a device, a dtype, or a tensor that is where, and of the dtype, that is wanted.
            dtype: of those that hold floats; integers and booleans stay what they are.

        Raises:
            BackendError: there is no such device, or `target` is none of these.
            StateError: a lazy layer has no parameters yet; or a gradient is sparse.
            CaptureError: while a step is captured.
        """
        where, dtype = devices.target_of("Module.to", target, dtype, device)
        refuse_while_capturing("Module.to", "moves parameters; move them before the step")
        tensors = [*self.parameters(), *self.buffers()]
        for x in tensors:
            if x.grad is not None and type(x.grad.data) is SparseRows:
                raise StateError(
                    f"Module.to: the gradient of '{x.name}' is sparse; zero_grad() before you move"
                )
        known: dict[int, Any] = {}  # what shares an array does so afterwards

        def moved(array: Any) -> Any:
            if id(array) not in known:
                new = array if where is None else devices.move(array, where)
                floats = new.dtype.kind in "fV"
                known[id(array)] = (
                    new if dtype is None or not floats else new.astype(dtype, copy=False)
                )
            return known[id(array)]

        for x in tensors:
            arrays = moved(x.data), None if x.grad is None else moved(x.grad.data)
            if arrays[0] is not x.data:
                x.data = arrays[0]
            if x.grad is not None and arrays[1] is not x.grad.data:
                x.grad = Tensor(arrays[1])
        return self

    def cpu(self) -> Self:
        """Move all parameters and buffers to the host, in place; see `to`."""
        return self.to("cpu")

    def cuda(self, device: int | None = None) -> Self:
        """Move all parameters and buffers to a device of CUDA, in place; see `to`."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    # -- state

    def state_dict(self, layout: str = "minigrad") -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers on the host, by full name.

        Args:
            layout: 'torch' for the names and shapes of PyTorch where they differ from ours: an
                attention's projections of query, key and value packed as `in_proj_weight`, and
                what is tied under each of its names. A module of PyTorch of the same structure
                takes it, and so the file that `runs.save_arrays` makes of it.

        Raises:
            ValueError: there is no such layout.
            StateError: an attention's projections cannot be packed.
        """
        if layout not in ("minigrad", "torch"):
            raise ValueError(f"state_dict: layout must be 'minigrad' or 'torch', got {layout!r}")
        named = self._named_state()
        if layout == "minigrad":
            return {name: np.array(to_numpy(p.data)) for name, p in named.items()}
        saved = {id(p) for p in named.values()}
        state: dict[str, np.ndarray] = {}
        modules: dict[str, Module] = {}
        for name, x in _walk(self, "", set(), every_path=True):
            if isinstance(x, Module):
                modules.setdefault(name, x)
                continue
            x = x.data if type(x) is Buffer else x
            if id(x) in saved and named.get(name, x) is x:
                state[name] = np.array(to_numpy(x.data))
        for prefix, module in modules.items():
            module.pack_state(state, f"{prefix}." if prefix else "")
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Unmatched:
        """Copy the values of `state` into the parameters and buffers of the same names.

        Entries in PyTorch's packed layout are unpacked first. A tied parameter may stand under any
        of its names, and under several if their values are the same, as PyTorch writes it.

        Args:
            state: by full name, NumPy arrays, device arrays, Tensors, or what gives NumPy its
                array, as PyTorch's tensors do.
            strict: every one of them must be there and nothing else. Without it, absent and
                unexpected names are passed over; shapes and dtypes must fit all the same.

        Returns:
            the names that were passed over, `missing_keys` and `unexpected_keys`.

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
        state = {k: _array_of(v) for k, v in state.items()}
        lazy = [m for m in self.modules() if m.unmade]
        before = [(type(m), dict(vars(m))) for m in lazy]
        try:
            return self._load(state, strict)
        except Exception:
            for m, (kind, attributes) in zip(lazy, before, strict=True):
                m.__class__ = kind  # type: ignore[assignment]
                vars(m).clear()
                vars(m).update(attributes)
            raise

    def _load(self, state: dict[str, Any], strict: bool) -> Unmatched:
        for name, module in _walk(self, "", set(), every_path=True):
            if isinstance(module, Module) and module.unmade:
                module.make_from(state, f"{name}." if name else "")
        wanted = self._named_state(complete=False)
        modules = []
        names: dict[int, list[str]] = {}  # of each parameter: every path that leads to it
        for name, inside in _walk(self, "", set(), every_path=True):
            if isinstance(inside, Module):
                modules.append(inside)
                inside.unpack_state(state, f"{name}." if name else "")
                continue
            if type(inside) is Buffer:
                inside = inside.data
            if wanted.get(name, inside) is inside:
                names.setdefault(id(inside), []).append(name)
        known = {name for several in names.values() for name in several}
        given = {id(p): [name for name in names[id(p)] if name in state] for p in wanted.values()}
        lazy = {name: m for name, m in self.named_modules() if m.unmade}
        absent = {first: p for first, p in wanted.items() if not given[id(p)]}
        others = {name: v for name, v in state.items() if name not in known}
        unmatched = Unmatched([*absent, *lazy], list(others))
        unmatched.nearest = _nearest(others, absent)
        problems = []
        if strict:
            problems += [
                f"missing: {name or 'all'} of a {type(m).__name__} that has not been called yet"
                for name, m in lazy.items()
            ]
            problems += [f"missing: {name} {_kind(p)}" for name, p in absent.items()]
            problems += [
                f"unexpected: {name} {_kind(v)}{_hint(name, unmatched.nearest)}"
                for name, v in others.items()
            ]
        values: dict[str, Any] = {}
        for first, p in wanted.items():
            for name in given[id(p)]:
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
        for module in modules:
            module.loaded()
        return unmatched

    def loaded(self) -> None:
        """Called after new values have been loaded into this module; for subclasses."""

    def make_from(self, state: Mapping[str, Any], prefix: str) -> None:
        """Make parameters of the shapes in `state`, if they are not made yet; for lazy layers."""

    def pack_state(self, state: dict[str, np.ndarray], prefix: str) -> None:
        """Rewrite this module's own entries of `state` to PyTorch's layout; for subclasses."""

    def unpack_state(self, state: dict[str, Any], prefix: str) -> None:
        """Rewrite PyTorch's entries for this module in `state` to ours; for subclasses."""

    # -- pictures

    def summary(self, input_shape: Any = None, dtype: Any = "float32") -> str:
        """Tables of the layers' outputs and of the arrays; see `minigrad.nn.summary`."""
        return overview.summary(self, input_shape, dtype)

    def shapes(self, input_shape: Any, dtype: Any = "float32") -> dict[str, Any]:
        """The shape that each module below gives, without computing; see `minigrad.nn.shapes`."""
        return overview.shapes(self, input_shape, dtype)

    def extra_repr(self) -> str:
        """What stands in the parentheses of this module's line in `repr`; for subclasses."""
        return ""

    def __repr__(self) -> str:
        """The tree of modules, with the arrays of each, and the count of parameters."""
        count, size = overview.size_of(self)
        total = f"\n{count:,} parameters, {size:,} bytes" if count else ""
        if any(m.unmade for m in self.modules()):
            total += "\nlazy layers make their parameters at the first call"
        return "\n".join(_picture(self, ())) + total


class FunctionLayer(Module):
    """A layer that calls a function with its settings.

    A subclass names the attributes that are settings; whatever else is set on a layer stays out of
    its call.
    """

    function: Any = None
    settings: tuple[str, ...] = ()  # attributes, which are the function's parameters of these names

    def forward(self, x: Tensor) -> Any:
        """x: any shape -> what the function gives."""
        return type(self).function(x, **self._settings())

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).settings}

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self._settings().items())


def _picture(module: Module, above: tuple[Module, ...]) -> list[str]:
    """The lines of a module in `repr`."""
    name, extra = type(module).__name__, module.extra_repr()
    arrays = [
        f"  {k}{' (buffer)' if k in module._buffers else ''}: {overview.line_of(x)}"
        for k, x in vars(module).items()
        if type(x) is Tensor and (x.name is not None or k in module._buffers)
    ]
    lines = []
    for part, child in _children(module):
        if any(child is m for m in (*above, module)):
            lines.append(f"  ({part}): ...")  # a module that holds itself
        else:
            first, *rest = _picture(child, (*above, module))
            lines += [f"  ({part}): {first}", *(f"  {line}" for line in rest)]
    if not lines:
        return [f"{name}({extra})", *arrays]
    return [f"{name}(", *([f"  {extra}"] if extra else []), *arrays, *lines, ")"]


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


def _array_of(x: Any) -> Any:
    """The array of a Tensor of ours or of another library; anything else as it is, to be told."""
    if type(x) is Tensor:
        return x.data
    if not is_array(x) and hasattr(x, "__array__") and hasattr(x, "shape"):
        with contextlib.suppress(TypeError, RuntimeError):  # of a dtype that NumPy has not
            return np.asarray(x)
    return x


def _kind(x: Any) -> str:
    return f"{tuple(x.shape)} {x.dtype}" if hasattr(x, "dtype") else type(x).__name__


def _nearest(others: Mapping[str, Any], absent: Mapping[str, Tensor]) -> dict[str, str]:
    """For names that are not known, those absent names of the same shape that are most alike."""
    by_shape: dict[Any, list[str]] = {}
    for name, p in absent.items():
        by_shape.setdefault(p.shape, []).append(name)
    found = {}
    for name, x in list(others.items())[:200]:  # of more, nobody reads the hints
        if isinstance(name, str) and hasattr(x, "dtype"):
            candidates = by_shape.get(tuple(x.shape), [])[:1000]
            for near in difflib.get_close_matches(name, candidates, 1, cutoff=0.4):
                found[name] = near
    return found


def _hint(name: str, nearest: Mapping[str, str]) -> str:
    return f", perhaps {nearest[name]}" if name in nearest else ""


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
    """Modules, parameters and buffers in and below `value`, in order, with full names.

    Each once, under its first name; or with `every_path` under each name that leads to it. Buffers
    come as `Buffer(tensor, persistent)`. Among the parameters are nameless tensors made with
    `requires_grad`, which ought to be parameters.
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
        buffers = value._buffers if isinstance(value, Module) else {}
        for part, inside in _items(value):
            full = f"{name}.{part}" if name else part
            if part in buffers and type(inside) is Tensor and inside.name is None:
                if every_path or id(inside) not in seen:
                    seen.add(id(inside))
                    yield full, Buffer(inside, buffers[part])
            else:
                yield from _walk(inside, full, seen, every_path)
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

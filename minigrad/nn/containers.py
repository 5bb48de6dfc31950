"""Modules made of modules, and layers that only change a shape."""

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import index
from typing import Any, Self, overload

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.errors import OutOfRangeError, ShapeError, StateError
from minigrad.nn.module import Module, Parameter

__all__ = [
    "Flatten", "Identity", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Reshape",
    "Sequential", "Unflatten",
]  # fmt: skip

# --------------------------------------------------------------------------------- containers


class _List(Module):
    """Modules in order. They are attributes called '0', '1' and so on, as in PyTorch's states."""

    def _all(self) -> list[Module]:
        return [m for m in vars(self).values() if isinstance(m, Module)]

    def _set(self, modules: Iterable[Module]) -> None:
        """Hold exactly these."""
        modules = [_module(type(self).__name__, m) for m in modules]
        for name in [k for k, v in vars(self).items() if isinstance(v, Module)]:
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._all())

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> Self: ...
    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self._of(self._all()[i])
        return self._all()[self._place(i)]

    def _of(self, modules: Iterable[Module]) -> Self:
        """Another one of this class, that holds `modules`, which are shared."""
        new = type(self).__new__(type(self))
        new._set(modules)
        return new

    def _place(self, i: Any) -> int:
        n = len(self)
        if not -n <= index(i) < n:
            raise OutOfRangeError(f"{type(self).__name__}: there is no module {i}, there are {n}")
        return index(i) % n

    def __setitem__(self, i: int, module: Module) -> None:
        modules = self._all()
        modules[self._place(i)] = module
        self._replace(modules)

    def __delitem__(self, i: int | slice) -> None:
        modules = self._all()
        del modules[i if isinstance(i, slice) else self._place(i)]
        self._replace(modules)

    def _replace(self, modules: Iterable[Module]) -> None:
        self._set(modules)

    def append(self, module: Module) -> Self:
        """Put `module` at the end; returns itself."""
        return self.insert(len(self), module)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put all of `modules` at the end; returns itself."""
        self._replace([*self._all(), *modules])
        return self

    def insert(self, i: int, module: Module) -> Self:
        """Put `module` before module `i`; returns itself."""
        modules = self._all()
        modules.insert(i, module)
        self._replace(modules)
        return self

    def pop(self, i: int = -1) -> Module:
        """Take module `i` out."""
        module = self[i]
        del self[i]
        return module

    def __add__(self, other: "Iterable[Module]") -> Self:
        return self._of([*self, *other])


def _module(name: str, module: Any) -> Module:
    if not isinstance(module, Module):
        hint = "; functions have layers, such as nn.ReLU()" if callable(module) else ""
        hint = "; give an instance of the class" if isinstance(module, type) else hint
        raise TypeError(f"{name}: expected modules, got {type(module).__name__}{hint}")
    return module


class ModuleList(_List):
    """A list of modules, whose parameters are found.

    (A plain list in an attribute does as much; this one has the name that PyTorch's users know.)
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self._set(modules)


class Sequential(_List):
    """Modules one after the other: what each gives, the next one gets.

    `model[0]` is a module, `model[:3]` a Sequential of some.

    Args:
        modules: in order; or one mapping of names to modules, which then have those names.
    """

    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                _add(self, name, module)
        elif len(modules) == 1 and isinstance(modules[0], list | tuple):
            self._set(modules[0])  # as Keras has it
        else:
            self._set(modules)

    def forward(self, x: Any) -> Any:
        """What the last module gives."""
        for module in self._all():
            x = module(x)
        return x

    def _named(self) -> dict[str, Module]:
        return {k: v for k, v in vars(self).items() if isinstance(v, Module)}

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice) and not self._numbered():
            return Sequential(dict(list(self._named().items())[i]))
        return super().__getitem__(i)

    def _numbered(self) -> bool:
        return all(name == str(i) for i, name in enumerate(self._named()))

    def _replace(self, modules: Iterable[Module]) -> None:
        if self._numbered():
            return self._set(modules)
        # Names stay with their modules; a new one is called by its place.
        names = {id(m): name for name, m in self._named().items()}
        modules = list(modules)
        for name in self._named():
            delattr(self, name)
        for i, module in enumerate(modules):
            _add(self, names.pop(id(module), str(i)), module)

    def _of(self, modules: Iterable[Module]) -> "Sequential":
        return Sequential(*modules)

    def add(self, module: Module) -> Self:
        """Put `module` at the end, as Keras calls it; returns itself."""
        return self.append(module)


class ModuleDict(Module):
    """Modules by name, in order, whose parameters are found.

    Args:
        modules: a mapping, or pairs (name, module). Names have no dots, as they become parts of
            parameters' names, and are no names of the attributes of a module.

    Raises:
        KeyError: a name is asked for that is not there.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Take in all of `modules`."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[name] = module

    def _all(self) -> dict[str, Module]:
        return {k: v for k, v in vars(self).items() if isinstance(v, Module)}

    def __getitem__(self, name: str) -> Module:
        if name not in (known := self._all()):
            raise KeyError(f"ModuleDict: there is no module {name!r}, there are {list(known)}")
        return known[name]

    def __setitem__(self, name: str, module: Module) -> None:
        _add(self, name, module)

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._all().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._all().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Pairs (name, module)."""
        return self._all().items()

    def pop(self, name: str) -> Module:
        """Take the module called `name` out."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Take all out."""
        for name in self._all():
            delattr(self, name)


class ParameterList(Module):
    """A list of parameters, called '0', '1' and so on. (A plain list in an attribute does as much.)

    Args:
        values: parameters, or arrays and lists of numbers, of which parameters are made.
    """

    def __init__(self, values: Iterable[Any] = ()):
        self.extend(values)

    def _all(self) -> list[Tensor]:
        return [v for k, v in vars(self).items() if k.isdigit()]

    def append(self, value: Any) -> Self:
        """Put `value` at the end; returns itself."""
        setattr(self, str(len(self)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Put all of `values` at the end; returns itself."""
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._all())

    def __getitem__(self, i: Any) -> Any:
        return ParameterList(self._all()[i]) if isinstance(i, slice) else self._all()[self._at(i)]

    def __setitem__(self, i: int, value: Any) -> None:
        setattr(self, str(self._at(i)), _parameter(value))

    def _at(self, i: Any) -> int:
        n = len(self)
        if not -n <= index(i) < n:
            raise OutOfRangeError(f"ParameterList: there is no parameter {i}, there are {n}")
        return index(i) % n


class ParameterDict(Module):
    """Parameters by name, in order.

    Args:
        parameters: a mapping, or pairs (name, parameter); arrays become parameters. Names as for
            `ModuleDict`.

    Raises:
        KeyError: a name is asked for that is not there.
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        self._names: list[str] = []
        self.update(parameters)

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Take in all of `parameters`."""
        pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
        for name, value in pairs:
            self[name] = value

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(
                f"ParameterDict: there is no parameter {name!r}, there are {self._names}"
            )
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(self, name)
        setattr(self, name, _parameter(value))
        if name not in self._names:
            self._names.append(name)

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)
        self._names.remove(name)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> Iterable[str]:
        """The names."""
        return list(self._names)

    def values(self) -> Iterable[Tensor]:
        """The parameters."""
        return [self[name] for name in self._names]

    def items(self) -> Iterable[tuple[str, Tensor]]:
        """Pairs (name, parameter)."""
        return [(name, self[name]) for name in self._names]

    def pop(self, name: str) -> Tensor:
        """Take the parameter called `name` out."""
        value = self[name]
        del self[name]
        return value

    def clear(self) -> None:
        """Take all out."""
        for name in self.keys():
            del self[name]


def _parameter(value: Any) -> Tensor:
    """`value` if it is a parameter, or one of its numbers."""
    named = type(value) is Tensor and value.name is not None
    return value if named else Parameter(value if type(value) is Tensor else Tensor(value))


def _add(holder: Module, name: Any, module: Any) -> None:
    """Make `module` the attribute `name` of a container."""
    _module(type(holder).__name__, module)
    _check_name(holder, name)
    setattr(holder, name, module)


def _check_name(holder: Module, name: Any) -> None:
    kind = type(holder).__name__
    if not isinstance(name, str) or not name or "." in name or hasattr(type(holder), name):
        raise StateError(
            f"{kind}: a name must be a string without a dot, not empty and not one of the "
            f"attributes of {kind}, got {name!r}"
        )


# ------------------------------------------------------------------------------------- shapes


class Identity(Module):
    """Gives what it gets; whatever arguments it is made with."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def forward(self, x: Any) -> Any:
        """x -> x."""
        return x


class Flatten(Module):
    """Makes one axis of the axes from `start_dim` to `end_dim`: (N, C, H, W) -> (N, C H W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...) -> (N, features).

        Raises:
            ShapeError: `x` has no such axes.
        """
        n = max(x.ndim, 1)
        first, last = self.start_dim, self.end_dim
        if not (-n <= first < n and -n <= last < n and first % n <= last % n):
            raise ShapeError(
                f"Flatten: there are no axes from {first} to {last} in x of shape {x.shape}"
            )
        first, last = first % n, last % n
        shape = x.shape[:first], x.shape[first : last + 1], x.shape[last + 1 :]
        return ops.reshape(x, shape=(*shape[0], math.prod(shape[1]), *shape[2]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes several axes of axis `dim`: `Unflatten(1, (2, 3))` takes (N, 6) to (N, 2, 3).

    Args:
        dim: the axis.
        unflattened_size: the new lengths, of which one may be -1.
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]):
        self.dim, self.unflattened_size = dim, tuple(map(index, unflattened_size))

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., length, ...) -> (..., *unflattened_size, ...).

        Raises:
            ShapeError: `x` has no such axis.
        """
        if not -x.ndim <= self.dim < x.ndim:
            raise ShapeError(f"Unflatten: there is no axis {self.dim} in x of shape {x.shape}")
        axis = self.dim % x.ndim
        new = _fitting("Unflatten", self.unflattened_size, x.shape[axis])
        return ops.reshape(x, shape=(*x.shape[:axis], *new, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Reshape(Module):
    """Each example in another shape: `Reshape(16, 4, 4)` takes (N, 256) to (N, 16, 4, 4).

    Args:
        shape: without the batch; one length may be -1. A tuple is taken too, as in Keras.
    """

    def __init__(self, *shape: Any):
        if len(shape) == 1 and isinstance(shape[0], tuple | list):
            (shape,) = shape
        self.shape = tuple(map(index, shape))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...) -> (N, *shape).

        Raises:
            ShapeError: `x` has no axis.
        """
        if not x.ndim:
            raise ShapeError("Reshape: x must have a first axis, the batch")
        new = _fitting("Reshape", self.shape, math.prod(x.shape[1:]))
        return ops.reshape(x, shape=(len(x), *new))

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


def _fitting(name: str, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """`shape` with its -1 filled in, so that it has `size` elements."""
    known = math.prod(n for n in shape if n != -1)
    if shape.count(-1) == 1 and known and size % known == 0:
        return tuple(size // known if n == -1 else n for n in shape)
    if known != size or -1 in shape:
        raise ShapeError(f"{name}: {size} elements do not fit {shape}")
    return shape
